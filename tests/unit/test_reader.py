"""The read side: what people are shown is what the stages keep, page by page, whoever else is at work on the file."""

from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ratchet.event import Event, derived_id, digest, stamp
from ratchet.query.language import BadQuery
from streams.archive.sqlite import SqliteReader
from streams.clock import tick
from streams.sqlite import Database, encode

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


class World:
    """A database as stages would leave it, written by hand."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(folder / "ratchet.db")
        self.reader = SqliteReader(folder / "ratchet.db")
        self.round = 0

    def keep(self, stage: str, key: str, value: Any) -> None:
        self.database.change_state({(stage, key): encode(value)})

    def machine(
        self, identity: str, hint: str, tier: str = "affirming", family: str = "snp/Milan", **more: Any
    ) -> None:
        seen = more.pop("seen", NOON)
        row = {
            "identity": identity,
            "hint": hint,
            "tier": tier,
            "family": family,
            "simulated": False,
            "seen": stamp(seen),
            **more,
        }
        self.keep("correlate", f"standing/acme/{identity}", row)

    def say(self, topic: str, type_: str, subject: str, at: datetime = NOON, /, **data: Any) -> Event:
        """A derived record, in a round of its own."""
        event = Event(derived_id(topic, subject, stamp(at), repr(data)), "/t", type_, subject, at, "acme", data)
        self.round += 1
        self.database.log.append([("ticks", tick(NOON + timedelta(minutes=self.round)))])
        round = self.database.next_round(["ticks"], [])
        assert round is not None
        self.database.commit_round(self.round, round.tick, [(topic, event, encode(data))], {})
        return event

    def alert(self, name: str, level: str, minute: int, status: str = "open", revision: int = 0) -> str:
        alert = derived_id("alert", name)
        data = {
            "alert": alert, "rule": "evidence-failed", "level": level, "status": status, "subject": f"hint:{name}",
            "updated": stamp(NOON + timedelta(minutes=minute)), "revision": revision,
        }  # fmt: skip
        kind = "alert.revised.v1" if revision else "alert.raised.v1"
        self.say("alerts", kind, f"hint:{name}", NOON + timedelta(minutes=minute), **data)
        self.keep("correlate", f"alert/{alert}", data)
        return alert

    def proposal(self, name: str, state: str, minute: int) -> str:
        proposal = derived_id("proposal", name)
        data = {"proposal": proposal, "family": "snp/Milan", "why": name}
        self.say("proposals", "proposal.made.v1", "snp/Milan", NOON + timedelta(minutes=minute), **data)
        at = stamp(NOON + timedelta(minutes=minute))
        history = [{"at": at, "state": "proposed", "by": None, "comment": ""}]
        row = {
            "proposal": data,
            "tenant": "acme",
            "state": state,
            "approvals": [],
            "history": history,
            "change": None,
            "receipts": {},
        }
        self.keep("roll-out", f"rollout/{proposal}", row)
        return proposal


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_an_empty_file_has_nothing_to_say(world: World) -> None:
    assert set(world.reader.counts().values()) == {0}
    assert world.reader.fleet().rows == []
    assert world.reader.alerts().after is None
    assert world.reader.machine("node-1") is None
    assert world.reader.event("0" * 64) is None
    assert world.reader.head() == 0
    assert list(world.reader.search("")) == []


def test_counts(world: World) -> None:
    world.machine("chip:01", "node-1")
    world.machine("chip:02", "node-2", tier="warning", simulated=True)
    world.machine("hint:node-3", "node-3", tier="none", simulated=True)
    world.alert("a", "high", 1)
    world.alert("b", "low", 2, status="acknowledged")
    world.proposal("p", "proposed", 3)
    world.proposal("q", "enforced", 4)
    world.say("dead-letters", "letter.dead.v1", "/t", code="blob_missing")
    counts = world.reader.counts()
    tiers = {tier: counts[tier] for tier in ("affirming", "warning", "contraindicated", "none")}
    assert tiers == {"affirming": 1, "warning": 1, "contraindicated": 0, "none": 1}
    assert (counts["simulated"], counts["alerts"], counts["proposals"], counts["dead_letters"]) == (2, 1, 1, 1)
    assert counts["events"] == 10  # five records and the ticks that closed their rounds


def test_the_fleet_page_by_page_and_by_facet(world: World) -> None:
    for n in range(7):
        world.machine(
            f"chip:{n:02}",
            f"node-{n}",
            tier="warning" if n % 2 else "affirming",
            family=f"snp/{'Milan' if n < 4 else 'Genoa'}",
        )
    seen: list[str] = []
    after = None
    pages = 0
    while pages == 0 or after is not None:
        page = world.reader.fleet(after=after, limit=3)
        seen += [row["identity"] for row in page.rows]
        after = page.after
        pages += 1
    assert pages == 3
    assert seen == [f"chip:{n:02}" for n in range(7)]
    assert [r["hint"] for r in world.reader.fleet(tier="warning").rows] == ["node-1", "node-3", "node-5"]
    assert [r["hint"] for r in world.reader.fleet(tier="warning", family="snp/Genoa").rows] == ["node-5"]
    assert world.reader.fleet(after="no such place").rows == []  # beyond the last, for it sorts so


def test_a_machine_by_whatever_people_call_it(world: World) -> None:
    world.machine("chip:aa11", "node-1")
    world.machine("chip:aa22", "node-2")
    world.machine("chip:bb33", "node_%", seen=NOON)
    # the same name on another chip, seen later: the board was replaced
    world.machine("chip:cc44", "node-1", seen=NOON + timedelta(days=1))

    def find(name: str) -> str | None:
        found = world.reader.machine(name)
        return found["identity"] if found else None

    assert find("chip:aa11") == "chip:aa11"
    assert find("node-1") == "chip:cc44"
    assert find("chip:b") == "chip:bb33"
    assert find("node_") == "chip:bb33"
    assert find("chip:aa") is None  # two have it
    assert find("%") is None
    assert find("node-3") is None


def test_alerts_come_gravest_and_newest_first_page_by_page(world: World) -> None:
    names = [("a", "low", 9), ("b", "critical", 1), ("c", "high", 5), ("d", "high", 7), ("e", "critical", 0)]
    for name, level, minute in names:
        world.alert(name, level, minute, status="resolved" if name == "c" else "open")
    pages, after = [], None
    for _ in range(3):
        page = world.reader.alerts(after=after, limit=2)
        pages.append([row["subject"][-1] for row in page.rows])
        after = page.after
    assert pages == [["b", "e"], ["d", "c"], ["a"]]
    assert after is None
    assert [row["subject"][-1] for row in world.reader.alerts(status="resolved").rows] == ["c"]
    for odd in ("", "9 9 9", "x", "1", "critical 0 0"):
        assert len(world.reader.alerts(after=odd).rows) == 5


def test_an_event_by_any_id_that_people_may_have(world: World) -> None:
    # given an alert with two revisions, a proposal, and some verdict
    world.alert("a", "low", 1)
    alert = world.alert("a", "low", 2, revision=1)
    proposal = world.proposal("p", "proposed", 3)
    verdict = world.say("verdicts", "verdict.reached.v1", "chip:01", tier="none")
    # then the alert's id gives its latest revision, and eight digits are enough
    for id, type_ in ((alert, "alert.revised.v1"), (proposal, "proposal.made.v1"), (verdict.id, "verdict.reached.v1")):
        for given in (id, id[:8], id[:30]):
            found = world.reader.event(given)
            assert found is not None
            assert found.event.type == type_
        assert world.reader.event(id[:7]) is None
    assert world.reader.event("%" * 8) is None


def test_a_prefix_that_two_have_gives_neither(world: World) -> None:
    ids = ["abcdef12" + "0" * 56, "abcdef12" + "1" * 56]
    world.database.log.append(
        [("evidence", Event(id, "/t", "evidence.received.v1", "n", NOON, "acme", {})) for id in ids]
    )
    assert world.reader.event("abcdef12") is None
    found = world.reader.event("abcdef120")
    assert found is not None
    assert found.event.id == ids[0]


def test_history_since_and_head_follow_the_log(world: World) -> None:
    first = world.say("verdicts", "verdict.reached.v1", "chip:01", n=1)
    head = world.reader.head()
    second = world.say("verdicts", "verdict.reached.v1", "chip:01", n=2)
    world.say("verdicts", "verdict.reached.v1", "chip:02", n=3)
    assert [r.event.id for r in world.reader.history("verdicts", "chip:01")] == [second.id, first.id]
    assert [r.event.id for r in world.reader.history("verdicts", "chip:01", 1)] == [second.id]
    followed = world.reader.since(head)
    assert [r.topic for r in followed] == ["ticks", "verdicts", "ticks", "verdicts"]
    assert followed[-1].offset == world.reader.head()
    assert world.reader.since(followed[-1].offset) == []


def test_dead_letters_newest_first_with_their_bytes(world: World) -> None:
    blob = world.database.blobs.put(b"what was sent")
    for n in range(5):
        world.say("dead-letters", "letter.dead.v1", "/t", NOON + timedelta(minutes=n), code=f"c{n}", blob=blob)
    page = world.reader.dead_letters(limit=3)
    assert [row["code"] for row in page.rows] == ["c4", "c3", "c2"]
    assert page.rows[0]["time"] == stamp(NOON + timedelta(minutes=4))
    assert [row["code"] for row in world.reader.dead_letters(after=page.after, limit=3).rows] == ["c1", "c0"]
    assert len(world.reader.dead_letters(after="junk").rows) == 5
    assert world.reader.blob(blob) == b"what was sent"
    assert world.reader.blob(digest(b"something else")) is None


def test_searches_are_newest_first_and_do_not_disturb_each_other(world: World) -> None:
    for n in range(6):
        world.say(
            "verdicts",
            "verdict.reached.v1",
            f"chip:0{n}",
            NOON + timedelta(minutes=n),
            tier="warning" if n % 2 else "none",
            n=n,
        )
    # given one search that somebody is in the middle of
    slow = world.reader.search("tier:war*")
    assert next(slow).event.data["n"] == 5
    # when others search meanwhile
    assert [r.event.data["n"] for r in world.reader.search("tier:n?ne", limit=2)] == [4, 2]
    # then it goes on with what it was asked
    assert [r.event.data["n"] for r in slow] == [3, 1]
    with pytest.raises(BadQuery):
        world.reader.search("(((")  # at once, before anything is asked of the file


def test_proposals_floors_and_notifiers(world: World) -> None:
    old, new = world.proposal("old", "enforced", 1), world.proposal("new", "proposed", 2)
    world.keep("roll-out", "floor/acme/snp/Milan", {"floor": {"family": "snp/Milan"}, "stores": {}})
    world.keep("notify", "notifier/siem", {"position": 7, "failures": 3, "error": "refused"})
    assert [row["proposal"]["proposal"] for row in world.reader.proposals()] == [new, old]
    assert [row["state"] for row in world.reader.proposals("enforced")] == ["enforced"]
    assert [row["floor"]["family"] for row in world.reader.floors()] == ["snp/Milan"]
    assert world.reader.notifiers() == [{"name": "siem", "position": 7, "failures": 3, "error": "refused"}]


def test_it_sees_what_others_commit_from_any_thread_and_writes_nothing(world: World, tmp_path: Path) -> None:
    assert world.reader.head() == 0
    found: list[int] = []
    world.say("verdicts", "verdict.reached.v1", "chip:01")
    thread = threading.Thread(target=lambda: found.append(world.reader.head()))
    thread.start()
    thread.join()
    assert found == [world.reader.head()] == [2]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        world.reader._connection.execute("DELETE FROM log")
    world.reader.close()
    assert world.reader.head() == 2
    with pytest.raises(FileNotFoundError):
        SqliteReader(tmp_path / "nothing.db")
