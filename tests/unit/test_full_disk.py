"""A full disk: what was acknowledged is kept, what was not is refused, and after there is room all goes on."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from collectors.delivery import Delivery, accept
from ratchet.app.errors import fault_of
from ratchet.event import Event, derived_id
from ratchet.ports import NoSpace
from streams.clock import tick
from streams.embedded import Embedded
from streams.integrity import check
from streams.sqlite import Database
from streams.stage import Output, State

AT = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)


class Copies:
    """A stage that makes a verdict of each piece of evidence."""

    name = "verify"

    def step(self, batch: list[object], state: State, watermark: datetime) -> list[Output]:
        made = []
        for record in batch:
            if record.topic == "evidence":
                e = record.event
                verdict = Event(
                    derived_id("v", e.id), "/s", "verdict.reached.v1", "chip:1", e.time, "acme", {"x": "y" * 4000}
                )
                made.append(("verdicts", verdict))
                state.put(e.id, "z" * 2000)
        return made


def full(database: Database, more_pages: int) -> None:
    """Let the file grow by so many pages and no further: SQLite then says what it says of a full disk."""
    (pages,) = database._connection.execute("PRAGMA page_count").fetchone()
    database._connection.execute(f"PRAGMA max_page_count = {pages + more_pages}")


def send(database: Database, n: int) -> bool:
    """Send a piece of evidence; whether it was acknowledged."""
    one = Delivery(id=str(n), name=f"node-{n}", raw=f"{n}".encode() * 3000)
    try:
        accept(one, database.log, database.blobs, "/collectors/http/a", "acme", AT + timedelta(seconds=n))
    except NoSpace:
        return False
    return True


def test_what_was_acknowledged_is_there_when_the_disk_is_full(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "ratchet.db")) as database:
        full(database, 40)
        acknowledged = [n for n in range(60) if send(database, n)]
        assert 0 < len(acknowledged) < 60
    with closing(Database(tmp_path / "ratchet.db")) as database:
        assert [int(r.event.data["delivery"]) for r in database.log.read(["evidence"], 0, 100)] == acknowledged
        assert all(database.blobs.get(r.event.data["blob"]) for r in database.log.read(["evidence"], 0, 100))
        assert send(database, 99)


def test_a_round_that_does_not_fit_leaves_nothing_and_is_computed_again(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "ratchet.db")) as database:
        for n in range(20):
            assert send(database, n)
        database.log.append([("ticks", tick(AT + timedelta(minutes=1)))])
        full(database, 3)
        with pytest.raises(NoSpace) as caught:
            Embedded(database, [Copies()]).drain()
        fault = fault_of(caught.value)
        assert fault is not None
        assert fault.code == "disk-full"
        assert database.log.read(["verdicts"], 0, 100) == []
        assert database.position().round == 0
    with closing(Database(tmp_path / "ratchet.db")) as database:
        assert Embedded(database, [Copies()]).drain() == 1
        assert len(database.log.read(["verdicts"], 0, 100)) == 20
    assert check(tmp_path / "ratchet.db") == []


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The system lets no file of this process grow beyond this size (setrlimit(2), RLIMIT_FSIZE)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_write_that_the_system_refuses_is_a_full_disk_too(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "ratchet.db")) as database:
        assert send(database, 1)
        size = os.stat(tmp_path / "ratchet.db-wal").st_size
        with largest_file(size + 8192):
            refused = [n for n in range(2, 30) if not send(database, n)]
        assert refused
        kept = {int(r.event.data["delivery"]) for r in database.log.read(["evidence"], 0, 100)}
        assert kept == set(range(1, 30)) - set(refused)
        assert send(database, 99)
    assert check(tmp_path / "ratchet.db") == []
