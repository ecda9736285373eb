"""The hash chain: whatever is changed in the file shows, and so does an older copy of it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ratchet.event import BlobId, Event, derived_id
from ratchet.ports import Damaged
from streams import chain, integrity, retention, sqlite
from streams.chain import Head
from streams.clock import tick
from streams.integrity import check
from streams.sqlite import Database, encode
from streams.sqlite_file import BadDatabase, schema

START = datetime(2026, 11, 23, 12, tzinfo=UTC)


def event(type_: str, n: int, subject: str, **data: object) -> Event:
    return Event(derived_id("test", type_, str(n)), "/test", type_, subject, START + timedelta(seconds=n), "acme", data)


def one_round(database: Database, n: int) -> None:
    """A round that reads one piece of evidence, makes a verdict and a signal, and keeps some state."""
    blob = database.blobs.put(f"quote {n}".encode())
    database.log.append([("evidence", event("evidence.received.v1", n, "node-1", blob=blob, endorsements=[]))])
    database.log.append([("ticks", tick(START + timedelta(seconds=n)))])
    round = database.next_round(["evidence", "ticks"], [])
    assert round is not None
    made = [("verdicts", event("verdict.reached.v1", n, "chip:1")), ("signals", event("signals.v1", n, "0"))]
    database.commit_round(
        round.number,
        round.tick,
        [(topic, one, encode(one.data)) for topic, one in made],
        {
            ("verify", f"evidence/{n}"): encode(blob),
            ("verify", "last"): encode(n),
            ("verify", f"evidence/{n - 5}"): None,
        },
    )


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(tmp_path / "ratchet.db")) as made:
        for n in range(1, 11):
            one_round(made, n)
        made.change_state({("notify", "position"): "7"})
        made.log.append([("evidence", event("evidence.received.v1", 99, "node-2", blob=None))])  # not yet read
        yield made


def test_what_nobody_touched_agrees(database: Database) -> None:
    assert check(database.path) == []


def test_the_head_follows_from_what_is_on_the_log_alone(tmp_path: Path) -> None:
    heads = []
    for name in ("a", "b"):
        with closing(Database(tmp_path / name)) as database:
            if name == "b":
                database.log.append([("documents", event("document.fetched.v1", 0, "x", blob=None))])
                database._connection.execute("DELETE FROM log")  # offsets begin elsewhere
            for n in range(1, 4):
                one_round(database, n)
            heads.append(database.head())
    assert heads[0] == heads[1]
    assert heads[0] is not None
    assert heads[0].round == 3


def test_pruning_leaves_the_chain_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sqlite, integrity):
        monkeypatch.setattr(module, "SHORT_ROUNDS", 10)
    with closing(Database(tmp_path / "ratchet.db")) as database:
        for n in range(1, 131):
            one_round(database, n)
        assert check(database.path) == []
        with database.reading() as connection:
            assert connection.execute("SELECT min(round) FROM chain").fetchone() == (118,)


CHANGES = {
    "a record's data": "UPDATE log SET data = '{\"a\":1}' WHERE topic = 'verdicts' AND round = 4",
    "a record's time": "UPDATE log SET time = '2026-11-23T12:00:00.000000Z' WHERE topic = 'evidence' AND offset < 20",
    "a record's subject": "UPDATE log SET subject = 'chip:2' WHERE topic = 'verdicts' AND round = 9",
    "a record's round": "UPDATE log SET round = 3 WHERE topic = 'verdicts' AND round = 2",
    "a removed record": "DELETE FROM log WHERE topic = 'verdicts' AND round = 4",
    "a removed piece of evidence": "DELETE FROM log WHERE topic = 'evidence' AND offset < 3",
    "an inserted record": "INSERT INTO log (offset, topic, id, time, type, source, tenant, subject, round, data)"
    " SELECT 1000, 'decisions', id, time, type, source, tenant, subject, 4, data FROM log WHERE round = 4 LIMIT 1",
    "an inserted piece of evidence": "INSERT INTO log (offset, topic, id, time, type, source, tenant, subject, data)"
    " SELECT 0, 'documents', id, time, type, source, tenant, subject, data FROM log WHERE round = 4 LIMIT 1",
    "state": "UPDATE state SET value = '11' WHERE key = 'last'",
    "removed state": "DELETE FROM state WHERE key = 'last'",
    "inserted state": "INSERT INTO state VALUES ('verify', 'more', '1')",
    "the last round": "UPDATE rounds SET time = '2026-11-24T12:00:00.000000Z' WHERE round = 10",
    "an earlier round": "UPDATE rounds SET time = '2026-11-24T12:00:00.000000Z' WHERE round = 1",
    "a removed round": "DELETE FROM rounds WHERE round = 1",
    "the last round and its link": "DELETE FROM rounds WHERE round = 10; DELETE FROM chain WHERE round = 10",
    "the first links": "DELETE FROM rounds WHERE round < 5; DELETE FROM chain WHERE round < 5",
    "a hash": "UPDATE chain SET hash = previous WHERE round = 5",
    "a content": "UPDATE chain SET content = previous WHERE round = 5",
    "a sum": "UPDATE sums SET value = zeroblob(512) WHERE name = 'log'",
    "a blob's bytes": "UPDATE blobs SET data = CAST('quote 0' AS BLOB) WHERE data = CAST('quote 3' AS BLOB)",
    "a removed blob": "DELETE FROM blobs WHERE data = CAST('quote 3' AS BLOB)",
    "a trigger": "CREATE TRIGGER quiet AFTER INSERT ON log BEGIN DELETE FROM log WHERE topic = 'alerts'; END",
    "a removed index": "DROP INDEX log_time",
    "what names a blob": "DELETE FROM refs WHERE offset IN (SELECT offset FROM log WHERE topic = 'evidence' LIMIT 1)",
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_is_found(database: Database, change: str) -> None:
    with closing(sqlite3.connect(database.path)) as attacker:
        attacker.executescript(CHANGES[change])
    assert check(database.path) != []


def test_a_flipped_byte_anywhere_in_the_file_is_found_or_changes_nothing(database: Database, tmp_path: Path) -> None:
    """Every 61st byte of the file, one at a time; those that nothing is kept in may differ."""
    with database.reading() as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        before = list(connection.iterdump())
    database.close()
    whole = database.path.read_bytes()
    copy = tmp_path / "flipped.db"
    found, known = 0, schema()
    for place in range(100, len(whole), 61):
        copy.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        with closing(sqlite3.connect(copy)) as connection:
            try:
                wrong = [*chain.check(connection, sqlite.SHORT_ROUNDS, known), *retention.check(connection)]
            except (sqlite3.DatabaseError, ValueError, OverflowError):
                wrong = ["it cannot be read"]
            if wrong:
                found += 1
                continue
            assert [one for one in connection.iterdump() if "notify" not in one] == [
                one for one in before if "notify" not in one
            ], f"byte {place} changed what is kept, and nobody saw it"
    assert found > 100


def test_blobs_are_hashed_when_they_are_read(database: Database) -> None:
    (blob,) = (BlobId(database.state("verify")["evidence/7"]),)
    assert database.blobs.get(blob) == b"quote 7"
    with closing(sqlite3.connect(database.path)) as attacker, attacker:
        attacker.execute("UPDATE blobs SET data = CAST('quote 0' AS BLOB) WHERE id = ?", (blob,))
    with pytest.raises(Damaged, match="not those that were kept"):
        database.blobs.get(blob)


def test_an_older_copy_that_was_restored_is_told_from_the_head_that_was_given_outward(tmp_path: Path) -> None:
    path = tmp_path / "ratchet.db"
    with closing(Database(path)) as database:
        for n in range(1, 4):
            one_round(database, n)
    shutil.copy(path, older := tmp_path / "older.db")
    with closing(Database(path)) as database:
        one_round(database, 4)
        given = database.head()
        assert given is not None
        assert chain.compare(database._connection, given) is None
    with closing(Database(older)) as database:
        assert "an older copy was restored" in (chain.compare(database._connection, given) or "")
        one_round(database, 5)
        assert "another history" in (chain.compare(database._connection, given) or "")
        assert check(database.path) == [], "within itself it agrees: only what was given outward tells"


def test_a_head_is_read_as_it_is_written() -> None:
    head = Head(7, "ab" * 32)
    assert Head.parse(str(head)) == head
    for wrong in ("", "7", "7:ab", f"x:{'ab' * 32}", f"7:{'zz' * 32}", f"{'9' * 30}:{'ab' * 32}"):
        with pytest.raises(ValueError, match="no head"):
            Head.parse(wrong)


def test_a_file_of_the_first_version_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ratchet.db"
    with closing(Database(path)) as database:
        one_round(database, 1)
    with closing(sqlite3.connect(path)) as old:
        old.executescript(
            "DROP TABLE chain; DROP TABLE sums; DROP TABLE refs; DROP TABLE retention; PRAGMA user_version = 1"
        )
    with pytest.raises(BadDatabase, match=r"written by Ratchet 0\.1"):
        Database(path)
    with closing(sqlite3.connect(path)) as old:
        assert old.execute("PRAGMA user_version").fetchone() == (1,)
