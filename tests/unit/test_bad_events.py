"""Whoever can open the file can append to the log: whatever they append, the stream goes on, and somebody is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_correlate import shipped, signal

from ratchet.app.composition import known_collateral
from ratchet.app.home import Home
from ratchet.collateral.roots import vendor_roots
from ratchet.detect.engine import Correlator
from ratchet.event import Event, canonical, derived_id, parse_time, stamp
from ratchet.policy.appraise import Policy
from ratchet.policy.simulate import Bounds
from ratchet.rollout.approval import Approvers, DecisionKeys
from streams.clock import tick
from streams.correlate import Correlate
from streams.decide import Decide
from streams.digest import Digest
from streams.embedded import Embedded, Kept
from streams.push import Push
from streams.roll_out import RollOut
from streams.sqlite import Database
from streams.verify import Verify

AT = datetime(2026, 8, 14, 10, 45, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

TYPES = {
    "evidence": ("evidence.received.v1",),
    "documents": ("document.fetched.v1",),
    "decisions": tuple(
        f"decision.{verb}.v1"
        for verb in ("approved", "rejected", "halted", "rolled_back", "acknowledged", "resolved", "sung")
    ),
}
FIELDS = {
    "evidence": ("blob", "hint", "endorsements", "challenge", "format", "size"),
    "documents": ("blob", "size", "document", "origin"),
    "decisions": ("alert", "by", "comment", "proposal", "hash", "signature", "attempt"),
}

_SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.text(max_size=5), st.just("0" * 64))
_HINTS = st.fixed_dictionaries({"name": st.just("n01")}, optional=dict.fromkeys(("region", "workload"), _SCALARS))
_VALUES = st.one_of(
    _SCALARS,
    st.lists(_SCALARS, max_size=2),
    st.dictionaries(st.text(max_size=5), _SCALARS, max_size=2),
    _HINTS,
    st.builds(lambda hint, labels: {**hint, "labels": labels}, _HINTS, st.one_of(_SCALARS, st.lists(_SCALARS))),
)
_EVENTS = st.sampled_from(sorted(TYPES)).flatmap(
    lambda topic: st.tuples(
        st.just(topic),
        st.sampled_from(TYPES[topic]),
        st.one_of(st.dictionaries(st.sampled_from(FIELDS[topic]), _VALUES), _VALUES),
        st.sampled_from([0, -1, -(10**6), 30, 10**6]),
    )
)


@contextmanager
def pipeline(path: Path) -> Iterator[tuple[Database, Embedded]]:
    roots = vendor_roots()
    with closing(Database(path)) as database:
        database.blobs.put(b"no evidence")
        yield (
            database,
            Embedded(
                database,
                [
                    Digest(roots, database.blobs),
                    Verify(roots, Policy(), database.blobs),
                    Correlate(shipped(), DecisionKeys()),
                    Decide(roots, Policy(), Bounds(), database.blobs, DecisionKeys()),
                    RollOut(Policy(), Bounds(), Approvers(), ("git",), DecisionKeys()),
                    Push(()),
                ],
            ),
        )


def append(database: Database, at: datetime, *events: tuple[str, str, Any, int]) -> list[str]:
    """The events, seconds from `at`, and a tick behind them."""
    made = [
        (topic, Event(derived_id("bad", str(i), str(at)), "/t", type, "s", at + timedelta(seconds=s), "acme", data))
        for i, (topic, type, data, s) in enumerate(events)
    ]
    database.log.append([*made, ("ticks", tick(at + MINUTE))])
    return [event.id for _, event in made]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(_EVENTS, min_size=1, max_size=6))
def test_nothing_that_is_appended_stops_the_stream(
    events: list[tuple[str, str, Any, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pipeline(tmp_path_factory.mktemp("log") / "ratchet.db") as (database, executor):
        append(database, AT, *events)
        assert executor.drain() == 1
        for record in database.log.read(["verdicts", "alerts", "dead-letters", "changes"], 0, 1000):
            canonical(record.event.envelope())


@pytest.mark.parametrize(
    "data",
    [
        [],
        None,
        "text",
        {"blob": "0" * 64, "hint": {"name": "n01"}, "format": ["sgx-quote"]},
        {"blob": "0" * 64, "hint": {"name": "n01", "labels": "x"}},
        {"blob": "0" * 64, "hint": {"name": "n01", "region": {}}},
        {"blob": "0" * 64, "hint": {"name": "n01", "labels": {str(n): "x" for n in range(100)}}},
    ],
)
def test_what_is_no_evidence_event_is_a_dead_letter_and_what_comes_behind_it_is_judged(
    tmp_path: Path, data: Any
) -> None:
    with pipeline(tmp_path / "ratchet.db") as (database, executor):
        blob = database.blobs.put(b"no evidence")
        if isinstance(data, dict):
            data = {**data, "blob": blob}
        good = {"blob": blob, "hint": {"name": "n02"}, "endorsements": []}
        bad, behind = append(
            database, AT, ("evidence", "evidence.received.v1", data, 0), ("evidence", "evidence.received.v1", good, 1)
        )
        executor.drain()
        judged = [r.event.data["evidence"] for r in database.log.read(["verdicts"], 0, 10)]
        assert behind in judged
        letters = {r.event.data["event"]: r.event.data["code"] for r in database.log.read(["dead-letters"], 0, 10)}
        # A format that is none is no reason to throw evidence away: it is looked at instead.
        assert (letters.get(bad) == "event_malformed") != (bad in judged)


@pytest.mark.parametrize("year", [1, 999, 1969, 9000, 9999])
def test_a_time_that_no_clock_gives_is_refused_where_it_is_appended(tmp_path: Path, year: int) -> None:
    """On the log it would be too late: every stage counts days from it, or cannot even read it."""
    event = Event("e" * 64, "/t", "evidence.received.v1", "s", datetime(year, 1, 1, tzinfo=UTC), "acme", {})
    with pipeline(tmp_path / "ratchet.db") as (database, executor):
        with pytest.raises(ValueError, match="no time of an event"):
            database.log.append([("evidence", event)])
        append(database, AT)
        assert executor.drain() == 1


@given(at=st.datetimes(timezones=st.just(UTC)))
def test_a_time_is_read_as_it_was_written_and_text_order_is_time_order(at: datetime) -> None:
    """Vendors' documents name any year; a forged one names the first."""
    assert parse_time(stamp(at)) == at
    assert (stamp(at) < stamp(AT)) == (at < AT)


def test_a_time_that_is_none_in_utc_is_none() -> None:
    with pytest.raises(ValueError, match="moment in UTC"):
        parse_time("0001-01-01T00:00:00+05:00")


def test_what_was_not_said_by_a_person_is_not_put_into_an_alert() -> None:
    """Those who show alerts, and those who are told of them, take these for text."""
    state, correlator = Kept({}), Correlator(shipped())
    (raised,) = correlator.signal(state, signal(genuine=False, failed=["signature"], reasons=["signature_invalid"]))
    data = {"alert": raised.data["alert"], "by": {"no": "name"}, "comment": "x" * 10**5}
    (said,) = correlator.decision(
        state, Event("d" * 64, "/t", "decision.acknowledged.v1", raised.data["alert"], AT, "acme", data)
    )
    assert said.data["by"] is None
    assert len(said.data["comment"]) <= 2000


def test_the_command_line_passes_over_a_document_event_that_names_no_document(tmp_path: Path) -> None:
    with pipeline(tmp_path / "ratchet.db") as (database, _):
        append(database, AT, *(("documents", "document.fetched.v1", data, 0) for data in ({}, [], {"blob": 7})))
    assert list(known_collateral(Home(tmp_path, {}), vendor_roots()).all()) == []
