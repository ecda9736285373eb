"""Retention: what grows has an end by the log's own time, and what a standing rests on stays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ratchet.event import BlobId, Event, Json, derived_id
from streams import retention
from streams.clock import tick
from streams.integrity import check
from streams.retention import Retention
from streams.sqlite import Database, encode

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class World:
    """A database that keeps evidence for ten days, and rounds in it."""

    def __init__(self, path: Path) -> None:
        self.database = Database(path, Retention(evidence=10, alerts=20))
        self.rounds = 0

    def evidence(self, name: str, raw: bytes, at: datetime, endorsement: bytes | None = None) -> str:
        blobs = self.database.blobs
        data = {"blob": blobs.put(raw), "endorsements": [blobs.put(endorsement)] if endorsement else []}
        event = Event(derived_id("test", name, str(at)), "/c", "evidence.received.v1", name, at, "acme", data)
        self.database.log.append([("evidence", event)])
        return event.id

    def round(
        self, at: datetime, made: list[tuple[str, Event]] | None = None, state: dict[str, Json] | None = None
    ) -> None:
        self.database.log.append([("ticks", tick(at))])
        read = self.database.next_round(["evidence", "ticks"], [])
        assert read is not None
        changes = {("correlate", key): None if value is None else encode(value) for key, value in (state or {}).items()}
        self.database.commit_round(
            read.number, read.tick, [(topic, e, encode(e.data)) for topic, e in made or []], changes
        )
        self.rounds = read.number

    def time_passes(self, until: datetime) -> None:
        """Rounds up to the next one in which retention is carried out."""
        while True:
            self.round(until + timedelta(seconds=self.rounds))
            if self.rounds % 64 == 0:
                return

    def ids(self, topic: str) -> set[str]:
        return {record.event.id for record in self.database.log.read([topic], 0, 1000)}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "ratchet.db")
    yield made
    assert check(made.database.path) == [], "what retention deletes leaves the hash chain whole"
    made.database.close()


def derived(topic: str, n: int, at: datetime, **data: Json) -> tuple[str, Event]:
    type_ = {"verdicts": "verdict.reached.v1", "alerts": "alert.raised.v1", "dead-letters": "letter.dead.v1"}[topic]
    return topic, Event(derived_id(topic, str(n)), "/s", type_, "chip:1", at, "acme", data)


def blob(world: World, raw: bytes) -> bytes | None:
    import hashlib

    return world.database.blobs.get(BlobId(hashlib.sha256(raw).hexdigest()))


def test_old_evidence_goes_with_its_bytes_and_new_evidence_stays(world: World) -> None:
    world.evidence("node-1", b"old", START, b"vcek")
    new = world.evidence("node-1", b"new", START + 5 * DAY, b"vcek")
    world.round(START + 5 * DAY, [derived("dead-letters", 1, START, blob=None)])
    world.time_passes(START + 12 * DAY)
    assert world.ids("evidence") == {new}
    assert world.ids("dead-letters") == set()
    assert blob(world, b"old") is None
    assert blob(world, b"new") == b"new"
    assert blob(world, b"vcek") == b"vcek", "newer evidence names it"


def test_what_a_machines_standing_rests_on_stays_however_old_it_is(world: World) -> None:
    """Its bytes are what it would be judged again by."""
    old = world.evidence("node-1", b"its last evidence", START)
    verdict = derived("verdicts", 1, START, evidence=old, blob="ab" * 32)
    gone = derived("verdicts", 2, START)
    world.round(START + DAY, [verdict, gone], {"standing/acme/chip:1": {"guests": {"a": {"verdict": verdict[1].id}}}})
    world.time_passes(START + 100 * DAY)
    assert world.ids("verdicts") == {verdict[1].id}
    assert world.ids("evidence") == {old}
    assert blob(world, b"its last evidence") == b"its last evidence"
    world.round(START + 101 * DAY, state={"standing/acme/chip:1": None})
    world.time_passes(START + 102 * DAY)
    assert world.ids("evidence") == set()
    assert blob(world, b"its last evidence") is None


def test_an_open_alert_stays_and_a_resolved_one_goes_after_its_own_time(world: World) -> None:
    opened, over = "aa" * 32, "bb" * 32
    state: dict[str, Json] = {
        f"alert/{opened}": {"alert": opened, "status": "open"},
        f"alert/{over}": {"alert": over, "status": "resolved"},
    }
    world.round(
        START + DAY, [derived("alerts", 1, START, alert=opened), derived("alerts", 2, START, alert=over)], state
    )
    world.time_passes(START + 15 * DAY)
    assert len(world.ids("alerts")) == 2
    world.time_passes(START + 30 * DAY)
    assert world.ids("alerts") == {derived_id("alerts", "1")}


def test_a_large_part_is_deleted_over_several_rounds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PART", 3)
    for n in range(7):
        world.evidence(f"node-{n}", f"quote {n}".encode(), START)
    world.round(START + DAY)
    left = []
    for _ in range(4):
        world.time_passes(START + 20 * DAY)
        left.append(len(world.ids("evidence")))
    assert left == [4, 1, 0, 0]


def test_without_a_limit_nothing_goes(tmp_path: Path) -> None:
    world = World(tmp_path / "ratchet.db")
    world.database.keeps = Retention(evidence=None, alerts=None)
    world.evidence("node-1", b"old", START)
    world.round(START + DAY)
    world.time_passes(START + 5000 * DAY)
    assert len(world.ids("evidence")) == 1
    world.database.close()


def test_what_is_kept_follows_from_the_log(tmp_path: Path) -> None:
    """Two files that read the same log keep the same, whenever their processes ran."""
    heads = []
    for name in ("a", "b"):
        with closing(Database(tmp_path / name)):
            pass
        world = World(tmp_path / name)
        for n in range(30):
            world.evidence(f"node-{n}", f"quote {n}".encode(), START + n * DAY)
            world.round(START + n * DAY + timedelta(hours=1))
            if name == "b" and n % 7 == 0:
                world.database.close()
                world.database = Database(tmp_path / name, Retention(evidence=10, alerts=20))
        world.time_passes(START + 31 * DAY)
        heads.append((world.database.head(), world.ids("evidence")))
        world.database.close()
    assert heads[0] == heads[1]
    assert 0 < len(heads[0][1]) < 30
