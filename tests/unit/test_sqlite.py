"""One SQLite file: what is appended stays, once; what is not ours is left alone; what is short does not pile up."""

from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ratchet.event import Event, derived_id, digest
from streams import sqlite
from streams.clock import tick
from streams.sqlite import Database, Fenced, TooLarge
from streams.sqlite_file import APPLICATION_ID, BadDatabase

START = datetime(2026, 3, 1, tzinfo=UTC)


def event(name: str, subject: str = "node-1", at: datetime = START, **data: object) -> Event:
    return Event(derived_id("test", name), "/tests", "evidence.received.v1", subject, at, "acme", data)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "ratchet.db")


def test_a_retry_is_the_same_record_and_a_second_topic_another(database: Database) -> None:
    # given one event on the log
    assert database.log.append([("evidence", event("a"))]) == 1
    # when it is sent again, beside a new one
    assert database.log.append([("evidence", event("a")), ("evidence", event("b"))]) == 1
    # then each is there once, in order of arrival; ids are per topic
    assert database.log.append([("documents", event("a"))]) == 1
    assert [r.event.id for r in database.log.read(["evidence"], 0, 10)] == [event("a").id, event("b").id]


def test_what_was_written_is_read_back_to_the_microsecond(database: Database) -> None:
    sent = event("a", "nœud 1", START + timedelta(microseconds=1), text='"quoted" \u0000 \n ∂', number=2**60, none=None)
    database.log.append([("evidence", sent)])
    (record,) = database.log.read(["evidence"], 0, 10)
    assert record.event == sent


def test_a_lone_surrogate_cannot_stop_the_stream(database: Database) -> None:
    database.log.append([("evidence", event("a", text="\ud800!"))])
    (record,) = database.log.read(["evidence"], 0, 10)
    assert record.event.data == {"text": "?!"}


def test_large_data_goes_by_blob_and_comes_back_whole(database: Database, tmp_path: Path) -> None:
    database.log.append([("documents", event("large", text="x" * 300_000)), ("documents", event("small", text="x"))])
    large, _ = database.log.read(["documents"], 0, 10)
    assert len(large.event.data["text"]) == 300_000
    rows = sqlite3.connect(tmp_path / "ratchet.db").execute("SELECT data IS NULL FROM log ORDER BY offset").fetchall()
    assert rows == [(1,), (0,)]


def test_blobs_are_their_hash_and_bounded(database: Database) -> None:
    blob = database.blobs.put(b"evidence")
    assert blob == digest(b"evidence") == database.blobs.put(b"evidence")
    assert database.blobs.get(blob) == b"evidence"
    assert database.blobs.get(digest(b"nothing")) is None
    with pytest.raises(TooLarge):
        database.blobs.put(b"\0" * (sqlite.MAX_BLOB + 1))


def test_a_transaction_is_all_or_nothing(database: Database) -> None:
    def cut_short() -> None:
        with database.transaction():
            database.blobs.put(b"evidence")
            database.log.append([("evidence", event("a"))])
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power"):
        cut_short()
    assert database.blobs.get(digest(b"evidence")) is None
    assert database.log.read(["evidence"], 0, 10) == []


def test_two_processes_append_at_once_and_no_reader_misses_a_record(tmp_path: Path) -> None:
    # given two writers on files of their own, and a reader that follows
    path = tmp_path / "ratchet.db"
    reader = Database(path)
    writers = [Database(path), Database(path)]

    def write(database: Database, name: str) -> None:
        for i in range(100):
            database.log.append([("evidence", event(f"{name}-{i}"))])

    threads = [threading.Thread(target=write, args=(w, str(i))) for i, w in enumerate(writers)]
    for thread in threads:
        thread.start()
    # when it reads on from the last offset it saw
    seen: list[int] = []
    while any(t.is_alive() for t in threads) or len(seen) < 200:
        seen += [r.offset for r in reader.log.read(["evidence"], seen[-1] if seen else 0, 50)]
    # then it saw each record once, for none appeared behind it
    assert len(seen) == 200 == len(set(seen))


def test_another_programs_file_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    theirs = sqlite3.connect(path)
    theirs.execute("CREATE TABLE log (x)")
    theirs.commit()
    theirs.close()
    before = path.read_bytes()
    with pytest.raises(BadDatabase, match="another program"):
        Database(path)
    assert path.read_bytes() == before
    (tmp_path / "text.db").write_text("no database at all, but long enough to be looked at\n" * 50)
    with pytest.raises(BadDatabase, match="no SQLite database"):
        Database(tmp_path / "text.db")


def test_a_file_of_a_later_version_is_refused(tmp_path: Path) -> None:
    Database(tmp_path / "ratchet.db").close()
    later = sqlite3.connect(tmp_path / "ratchet.db")
    later.execute("PRAGMA user_version = 99")
    later.close()
    with pytest.raises(BadDatabase, match="version 99"):
        Database(tmp_path / "ratchet.db")


def test_the_file_is_durable_and_strict(tmp_path: Path) -> None:
    database = Database(tmp_path / "ratchet.db")
    with database.reading() as connection:

        def ask(pragma: str) -> object:
            return connection.execute(f"PRAGMA {pragma}").fetchone()[0]

        assert ask("journal_mode") == "wal"
        assert ask("synchronous") == 2  # FULL
        assert ask("foreign_keys") == 1
        assert ask("application_id") == APPLICATION_ID
        strict = connection.execute(
            "SELECT strict FROM pragma_table_list WHERE schema = 'main' AND name IN ('log', 'blobs', 'state', 'rounds')"
        )
        assert [s for (s,) in strict] == [1, 1, 1, 1]


def test_an_unknown_topic_and_a_time_without_zone_are_refused(database: Database) -> None:
    with pytest.raises(ValueError, match="no topic"):
        database.log.append([("evidense", event("a"))])
    with pytest.raises(ValueError, match="zone"):
        database.log.append([("evidence", event("a", at=datetime(2026, 3, 1)))])


def test_a_round_is_what_lies_between_two_ticks(database: Database) -> None:
    # given two pieces of evidence, a tick, and one more that no tick has closed yet
    database.log.append([("evidence", event("a")), ("evidence", event("b")), ("ticks", tick(START))])
    assert not database.pending()
    database.log.append([("evidence", event("c"))])
    assert database.pending()
    # then the first round has two, and there is no second
    round = database.next_round(["evidence", "ticks"], [])
    assert round is not None
    assert [r.event.id for r in round.external if r.topic == "evidence"] == [event("a").id, event("b").id]
    database.commit_round(1, round.tick, [], {})
    assert database.next_round(["evidence", "ticks"], []) is None
    assert database.position().round == 1


def test_a_second_executor_cannot_commit_the_same_round(database: Database) -> None:
    database.log.append([("ticks", tick(START))])
    round = database.next_round(["ticks"], [])
    assert round is not None
    database.commit_round(1, round.tick, [], {("stage", "key"): "1"})
    with pytest.raises(Fenced):
        database.commit_round(1, round.tick, [], {("stage", "key"): "2"})
    assert database.state("stage") == {"key": 1}


def test_short_topics_do_not_pile_up(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    # given a file that keeps ten rounds of what is short
    monkeypatch.setattr(sqlite, "SHORT_ROUNDS", 10)
    for n in range(1, 1 + 4 * 64):
        database.log.append([("ticks", tick(START + timedelta(minutes=n))), ("evidence", event(f"e{n}"))])
        round = database.next_round(["ticks"], [])
        assert round is not None
        signals = Event(derived_id("s", str(n)), "/t", "signals.batched.v1", "0", START, "ratchet", {})
        database.commit_round(n, round.tick, [("signals", signals, "{}")], {})
    # then evidence is all there, and of ticks and signals what the last rounds need
    assert len(database.log.read(["evidence"], 0, 1000)) == 256
    assert len(database.log.read(["ticks"], 0, 1000)) == 11
    assert len(database.log.read(["signals"], 0, 1000)) == 11


def test_a_round_costs_what_is_in_it_not_what_lies_before(tmp_path: Path) -> None:
    def steps(name: str, past: int) -> int:
        """Of SQLite's machine, for reading one round and following the log behind a past of that many records."""
        database = Database(tmp_path / name)
        with database.transaction():
            database.log.append(("evidence", event(f"{name}{n}", subject=f"node-{n}")) for n in range(past))
        database.log.append([("ticks", tick(START))])
        round = database.next_round(["evidence", "ticks"], ["changes"])
        assert round is not None
        signals = Event(derived_id("s"), "/t", "signals.batched.v1", "0", START, "ratchet", {})
        database.commit_round(1, round.tick, [("signals", signals, "{}")], {})
        database.log.append([("evidence", event("new")), ("ticks", tick(START + timedelta(minutes=1)))])
        count = [0]
        with database.reading() as connection:
            connection.set_progress_handler(lambda: count.__setitem__(0, count[0] + 1), 1)
        assert database.next_round(["evidence", "ticks"], ["changes"]) is not None
        assert database.log.read(["evidence", "alerts"], round.tick.offset, 10)
        assert not database.pending()
        assert database.last_tick()
        return count[0]

    assert steps("long", 4000) < steps("short", 40) * 1.1
