"""What comes out of correlation depends on what happened and when: not on batches, nor on the order of arrival."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from test_correlate import (
    KEYS,
    MILAN,
    MINUTE,
    NOON,
    Kept,
    batch,
    decision,
    forged,
    receipt,
    shipped,
    signal,
    tick,
)

from ratchet.detect.alerts import alert_id
from ratchet.event import Event, canonical, parse_time
from ratchet.ports import Record
from streams.correlate import Correlate

Item = tuple[str, Any]
"""`signal` and a signal, or a topic and a record."""


@st.composite
def happenings(draw: st.DrawFn) -> list[Item]:
    """A day or two of six machines of two regions, with ticks, a person and a store; in order of time."""
    items: list[tuple[Any, int, str, Item]] = []
    seen: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 40))):
        at = NOON + draw(st.integers(0, 2000)) * MINUTE
        name = f"n{draw(st.integers(0, 5))}"
        place = {"region": draw(st.sampled_from(["eu-1", "us-1"])), "instance": draw(st.sampled_from(["a", "b"]))}
        kind = draw(st.sampled_from(["good", "good", "good", "old", "low", "debug", "forged", "again", "revoked"]))
        if kind == "good":
            one = signal(name, at, **place)
        elif kind == "old":
            one = signal(name, at, **place, tier="warning", tcb_status="OutOfDate", reasons=["tcb_out_of_date"])
        elif kind == "low":
            one = signal(name, at, **place, tcb={**MILAN, "reported.snp": draw(st.integers(20, 26))})
        elif kind == "debug":
            one = signal(name, at, **place, tier="contraindicated", trusted_until=None, debug=True)
        elif kind == "forged":
            one = forged(name, at, **place)
        elif kind == "revoked":
            one = forged(name, at, **place, failed=["revocation"], reasons=["certificate_revoked"])
        else:
            one = signal(name, at, **place)
            if seen:
                one["blob"] = draw(st.sampled_from(seen))["blob"]
        seen.append(one)
        items.append((at, 0, one["id"], ("signal", one)))
    for minutes in draw(st.lists(st.integers(0, 3000), max_size=25)):
        record = tick(NOON + minutes * MINUTE)
        items.append((record.event.time, 3, record.event.id, ("ticks", record)))
    for one in draw(st.lists(st.sampled_from(seen), max_size=3)):
        alert = alert_id("acme", "evidence-failed", f"hint:{one['hint']}", one["id"])
        verb = draw(st.sampled_from(["acknowledged", "resolved"]))
        record = decision(verb, alert, parse_time(one["time"]) + draw(st.integers(0, 60)) * MINUTE)
        items.append((record.event.time, 2, record.event.id, ("decisions", record)))
    for minutes in draw(st.lists(st.integers(0, 2000), max_size=3)):
        type = draw(st.sampled_from(["store.drifted.v1", "receipt.confirmed.v1", "receipt.failed.v1"]))
        record = receipt(type, "git", NOON + minutes * MINUTE, outcome="drifted")
        items.append((record.event.time, 1, record.event.id, ("receipts", record)))
    unique = {(place, id): (at, place, id, item) for at, place, id, item in items}
    return [item for *_, item in sorted(unique.values(), key=lambda i: i[:3])]


def run(batches: list[list[Record]]) -> tuple[list[bytes], dict[str, str]]:
    stage, state = Correlate(shipped(), KEYS), Kept()
    out: list[Event] = []
    for records in batches:
        out += [e for _, e in stage.step(records, state, max(r.event.time for r in records))]
    return [canonical(e.envelope()) for e in out], state.values


@given(happenings(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_batches_and_arrival_do_not_show(items: list[Item], chance: Any) -> None:
    whole = [batch(i) if topic == "signal" else i for topic, i in items]
    expected = run([whole])
    pieces: list[list[Record]] = []
    rest = list(items)
    while rest:
        cut = chance.randint(1, len(rest))
        taken, rest = rest[:cut], rest[cut:]
        chance.shuffle(taken)
        together = [i for topic, i in taken if topic == "signal"]
        half = chance.randint(0, len(together))
        records = [i for topic, i in taken if topic != "signal"]
        records += [batch(*part) for part in (together[:half], together[half:]) if part]
        pieces.append(records)
    assert run(pieces) == expected


@given(happenings())
@settings(max_examples=30, deadline=None)
def test_every_alert_has_one_life(items: list[Item]) -> None:
    """Raised once, then revised, and once resolved silent; revisions count up; ids never repeat."""
    stage, state = Correlate(shipped(), KEYS), Kept()
    records = [batch(i) if topic == "signal" else i for topic, i in items]
    events = [e for _, e in stage.step(records, state, NOON)]
    assert len({e.id for e in events}) == len(events)
    lives: dict[str, list[Event]] = {}
    for event in events:
        lives.setdefault(event.data["alert"], []).append(event)
    for life in lives.values():
        assert [e.data["revision"] for e in life] == list(range(1, len(life) + 1))
        assert life[0].type == "alert.raised.v1"
        assert [e.type for e in life[1:-1]] == ["alert.revised.v1"] * len(life[1:-1])
        assert all((e.data["status"] == "resolved") == (e.type == "alert.resolved.v1") for e in life)
        assert all(len(e.data["causes"]) <= 50 and e.data["count"] >= len(e.data["causes"]) for e in life)
        first = life[0].data
        assert first["alert"] == alert_id("acme", first["rule"], first["subject"], first["first_cause"])


def test_a_week_of_two_hundred_machines_is_a_matter_of_seconds() -> None:
    stage, state = Correlate(shipped(), KEYS), Kept()
    cadence = timedelta(hours=4, minutes=15)
    rounds: dict[int, list[dict[str, Any]]] = {}
    for machine in range(200):
        for turn in range(40):
            at = NOON + turn * cadence + machine * timedelta(seconds=70)
            rounds.setdefault(int((at - NOON) / (10 * MINUTE)), []).append(signal(f"n{machine:03}", at))
    begin = time.process_time()
    for number in range(1008):
        records = [tick(NOON + (number + 1) * 10 * MINUTE)]
        if number in rounds:
            records.append(batch(*rounds[number]))
        assert stage.step(records, state, records[0].event.time) == []
    assert time.process_time() - begin < 20, (
        "of processor time; 5 s where this was written, most of it the test's state"
    )
