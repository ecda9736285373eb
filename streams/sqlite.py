"""One SQLite file: the log, the blobs, the state of the stages and the rounds that were run.

Durability: WAL with `synchronous=FULL`, so that what was committed survives a power cut (SQLite, "PRAGMA synchronous").
Offsets are given under `BEGIN IMMEDIATE`: writers take turns, so no record appears later below an offset that somebody
has read past. Appending is allowed to every process that can open the file; rounds are committed by one executor.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ratchet.event import INLINE_LIMIT, BlobId, Event, Json, digest, parse_time, stamp
from ratchet.ports import Damaged, Record
from streams import chain, retention
from streams.retention import Retention
from streams.sqlite_file import BadDatabase, connect, fault_of, prepare, sound
from streams.topology import TOPICS

MAX_BLOB = 16 * 1024 * 1024
"""Bytes of one blob. The largest vendor documents are below 1 MiB, evidence below 64 KiB."""

SHORT_ROUNDS = 1024
"""Rounds for which records of topics kept `short` stay. The round after needs them, and people who look on."""

FIRST, LAST = stamp(datetime(1970, 1, 1, tzinfo=UTC)), stamp(datetime(9000, 1, 1, tzinfo=UTC))
"""Event time lies between them, so that nobody has to ask whether a day more or less is one that can be written."""

_PRUNE_EVERY = 64
"""Rounds between two prunings; fixed, so that what the file holds after a round follows from the log alone."""

COLUMNS = "log.offset, log.topic, log.id, log.time, log.type, log.source, log.tenant, log.subject, log.data, log.blob"
"""What `to_record` reads."""

_NAMES = frozenset(t.name for t in TOPICS)
_SHORT = tuple(t.name for t in TOPICS if t.kept == "short")


class TooLarge(ValueError):
    """Bytes above `MAX_BLOB`: the caller makes a dead letter of it."""


class Fenced(RuntimeError):
    """Somebody else committed the round that was being computed: two executors ran at once. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Position:
    """The last round that was committed; `(0, 0, None)` before the first."""

    round: int
    tick: int
    time: datetime | None


@dataclass(frozen=True, slots=True)
class Round:
    """What one round reads: see docs/adr/0002-rounds.md.

    Attributes:
        number: from 1 on, without gap.
        tick: the record that closes it.
        external: records from outside, the tick among them, by offset.
        feedback: derived records of the round before, on the topics asked for.
    """

    number: int
    tick: Record
    external: tuple[Record, ...]
    feedback: tuple[Record, ...]


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def encode(value: Json) -> str:
    """JSON text as it is stored: sorted keys, no spaces. Lone surrogates, which UTF-8 cannot carry, become `?`.

    Raises:
        ValueError: NaN or infinity, which JSON does not have.
    """
    text = _ENCODER.encode(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def to_record(row: Sequence[Json], connection: sqlite3.Connection) -> Record:
    """A row of `COLUMNS` as a record; data that was too large for the log is fetched from the blobs."""
    offset, topic, id, time, type_, source, tenant, subject, data, blob = row
    if data is None:
        data = sound(blob, connection.execute("SELECT data FROM blobs WHERE id = ?", (blob,)).fetchone())
    try:
        return Record(offset, topic, Event(id, source, type_, subject, parse_time(time), tenant, json.loads(data)))
    except ValueError as error:
        raise Damaged(f"record {str(id)[:16]} on {topic}", f"{error}; `ratchet doctor` says what else") from error


class Database:
    """The file, opened. One connection behind one lock: share it between threads, or open one for each."""

    def __init__(self, path: Path, keeps: Retention | None = None) -> None:
        """Open or create.

        Args:
            keeps: for how long the rounds that are committed here keep records.

        Raises:
            BadDatabase: another program's file, or one of a later version.
            Damaged: the file is not what was written.
            NoSpace: the disk is full.
        """
        self.path, self.keeps = path, keeps or Retention()
        self._lock = threading.RLock()
        self._depth = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = connect(path)
        except sqlite3.DatabaseError as error:
            raise BadDatabase(f"{path} is no SQLite database that can be opened: {error}") from error
        try:
            prepare(self._connection, path)
        except sqlite3.DatabaseError as error:
            self._connection.close()
            if (fault := fault_of(error, path)) is not None:
                raise fault from error
            raise
        except BaseException:
            self._connection.close()
            raise
        self.log = SqliteLog(self)
        self.blobs = SqliteBlobs(self)

    def close(self) -> None:
        """Close the file; what was committed is safe without."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, and safe on disk at the end of the outermost; transactions inside it join it.

        Wrapped around many `put` and `append`, it makes one flush to disk of them all.
        """
        with self._lock:
            if self._depth == 0:
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield self._connection
                if self._depth == 1:
                    self._connection.execute("COMMIT")
            except BaseException as error:
                if self._depth == 1 and self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.DatabaseError) and (fault := fault_of(error, self.path)) is not None:
                    raise fault from error
                raise
            finally:
                self._depth -= 1

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for statements that only read."""
        with self._lock:
            try:
                yield self._connection
            except sqlite3.DatabaseError as error:
                if (fault := fault_of(error, self.path)) is not None:
                    raise fault from error
                raise

    def insert(self, topic: str, event: Event, text: str, round: int | None) -> int | None:
        """One record, inside a transaction: its offset, or None when (topic, id) is there already.

        Raises:
            ValueError: no such topic, a time without zone, or one that no event has.
        """
        if topic not in _NAMES:
            raise ValueError(f"no topic {topic!r} in streams/topology.py")
        time = stamp(event.time)
        if not FIRST <= time < LAST:
            raise ValueError(f"{time} is no time of an event: the clock that gave it is broken")
        data: str | None = text
        blob = None
        if len(text) > INLINE_LIMIT // 4 and len(raw := text.encode()) > INLINE_LIMIT:
            data, blob = None, self.blobs.put(raw)
        cursor = self._connection.execute(
            "INSERT INTO log (topic, id, time, type, source, tenant, subject, round, data, blob)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (topic, id) DO NOTHING",
            (
                topic,
                event.id,
                time,
                event.type,
                event.source,
                event.tenant,
                event.subject,
                round,
                data,
                blob,
            ),
        )
        if not cursor.rowcount:
            return None
        assert cursor.lastrowid is not None
        retention.refer(self._connection, cursor.lastrowid, topic, event.data, blob)
        return cursor.lastrowid

    def head(self) -> chain.Head | None:
        """The newest link of the hash chain; None before the first round."""
        with self.reading() as connection:
            return chain.head(connection)

    def known(self, topic: str, id: str) -> bool:
        """Whether this record is on the log."""
        with self.reading() as connection:
            row = connection.execute("SELECT 1 FROM log WHERE topic = ? AND id = ?", (topic, id)).fetchone()
        return row is not None

    def pending(self) -> bool:
        """Whether there are records from outside that no tick has closed into a round yet, or work left by a round."""
        with self.reading() as connection:
            (tick,) = connection.execute("SELECT max(offset) FROM log WHERE topic = 'ticks'").fetchone()
            row = connection.execute(
                "SELECT 1 FROM log WHERE offset > ? AND round IS NULL LIMIT 1", (tick or 0,)
            ).fetchone()
            row = (
                row
                or connection.execute(
                    "SELECT 1 FROM state WHERE stage = 'verify' AND key >= 'again/' AND key < 'again0' LIMIT 1"
                ).fetchone()
            )
        return row is not None

    def last_tick(self) -> datetime | None:
        """The time of the newest tick, closed into a round or not."""
        with self.reading() as connection:
            row = connection.execute(
                "SELECT time FROM log WHERE topic = 'ticks' AND subject = '0' ORDER BY offset DESC LIMIT 1"
            ).fetchone()
        return parse_time(row[0]) if row else None

    def position(self) -> Position:
        """The last committed round."""
        with self.reading() as connection:
            row = connection.execute("SELECT round, tick, time FROM rounds ORDER BY round DESC LIMIT 1").fetchone()
        return Position(row[0], row[1], parse_time(row[2])) if row else Position(0, 0, None)

    def next_round(self, external: Sequence[str], feedback: Sequence[str]) -> Round | None:
        """The first round that is closed by a tick and not yet committed.

        Args:
            external: topics that are written from outside.
            feedback: topics of which the derived records of the round before are wanted.
        """
        with self.reading() as connection:
            last = self.position()
            row = connection.execute(
                f"SELECT {COLUMNS} FROM log INDEXED BY log_subject WHERE topic = 'ticks' AND subject = '0'"
                " AND offset > ? ORDER BY offset LIMIT 1",
                (last.tick,),
            ).fetchone()
            if row is None:
                return None
            tick = to_record(row, connection)
            records = connection.execute(
                f"SELECT {COLUMNS} FROM log WHERE offset > ? AND offset <= ? AND round IS NULL"
                f" AND topic IN ({_marks(external)}) ORDER BY offset",
                (last.tick, tick.offset, *external),
            ).fetchall()
            back = connection.execute(
                f"SELECT {COLUMNS} FROM log WHERE round = ? AND topic IN ({_marks(feedback)}) ORDER BY offset",
                (last.round, *feedback),
            ).fetchall()
            return Round(
                number=last.round + 1,
                tick=tick,
                external=tuple(to_record(r, connection) for r in records),
                feedback=tuple(to_record(r, connection) for r in back),
            )

    def commit_round(
        self,
        number: int,
        tick: Record,
        outputs: Iterable[tuple[str, Event, str]],
        changes: Mapping[tuple[str, str], str | None],
    ) -> None:
        """Everything that a round changed, in one transaction.

        Args:
            number: of the round.
            tick: the record that closed it.
            outputs: topic, event and its data as `encode` gives them.
            changes: (stage, key) -> value as `encode` gives it, or None to forget the key.

        Raises:
            Fenced: the round before is not the last one on disk.
        """
        with self.transaction() as connection:
            last = self.position()
            if last.round != number - 1:
                raise Fenced(f"round {number} was computed, but the last one on disk is {last.round}")
            for topic, event, text in outputs:
                self.insert(topic, event, text, number)
            before = self._before(connection, changes)
            self._change(connection, changes)
            time = stamp(tick.event.time)
            connection.execute("INSERT INTO rounds (round, tick, time) VALUES (?, ?, ?)", (number, tick.offset, time))
            if number % _PRUNE_EVERY == 0:
                self._prune(connection, number - SHORT_ROUNDS)
                retention.carry_out(connection, tick.event.time, self.keeps)
            chain.extend(connection, number, time, (last.tick, tick.offset), changes, before)

    def change_state(self, changes: Mapping[tuple[str, str], str | None]) -> None:
        """State of a sink, which runs beside the rounds: safe on disk when this returns."""
        with self.transaction() as connection:
            self._change(connection, changes)

    def _change(self, connection: sqlite3.Connection, changes: Mapping[tuple[str, str], str | None]) -> None:
        connection.executemany(
            "INSERT INTO state (stage, key, value) VALUES (?, ?, ?)"
            " ON CONFLICT (stage, key) DO UPDATE SET value = excluded.value",
            ((stage, key, value) for (stage, key), value in changes.items() if value is not None),
        )
        connection.executemany(
            "DELETE FROM state WHERE stage = ? AND key = ?",
            ((stage, key) for (stage, key), value in changes.items() if value is None),
        )

    def _before(self, connection: sqlite3.Connection, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
        rows = (
            (key, connection.execute("SELECT value FROM state WHERE stage = ? AND key = ?", key).fetchone())
            for key in keys
        )
        return {key: row[0] for key, row in rows if row is not None}

    def _prune(self, connection: sqlite3.Connection, oldest: int) -> None:
        row = connection.execute("SELECT tick FROM rounds WHERE round = ?", (oldest,)).fetchone()
        if row is None:
            return
        chain.forget(
            connection,
            f"topic IN ({_marks(_SHORT)}) AND ((round IS NULL AND offset < ?) OR round < ?)",
            (*_SHORT, row[0], oldest),
        )
        for table in ("rounds", "chain"):
            connection.execute(f"DELETE FROM {table} WHERE round < ?", (oldest,))

    def state(self, stage: str) -> dict[str, Json]:
        """Everything that a stage keeps, by key in order."""
        with self.reading() as connection:
            rows = connection.execute("SELECT key, value FROM state WHERE stage = ? ORDER BY key", (stage,))
            return {key: json.loads(value) for key, value in rows}


class SqliteLog:
    """`ratchet.ports.Log` over the file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, events: Iterable[tuple[str, Event]]) -> int:
        """Add (topic, event) pairs not yet there by (topic, id); safe on disk when this returns. How many were new."""
        ready = [(topic, event, encode(event.data)) for topic, event in events]
        if not ready:
            return 0
        with self._database.transaction():
            return sum(self._database.insert(*one, round=None) is not None for one in ready)

    def read(self, topics: Sequence[str], after: int, limit: int) -> Sequence[Record]:
        """Records of these topics with an offset above `after`, by offset, at most `limit`."""
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT {COLUMNS} FROM log WHERE offset IN"
                f" (SELECT offset FROM log WHERE offset > ? AND topic IN ({_marks(topics)}) ORDER BY offset LIMIT ?)"
                " ORDER BY offset",
                (after, *topics, limit),
            ).fetchall()
            return [to_record(row, connection) for row in rows]


class SqliteBlobs:
    """`ratchet.ports.Blobs` over the file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, data: bytes) -> BlobId:
        """Keep these bytes; safe when this returns. Repeating changes nothing.

        Raises:
            TooLarge: above `MAX_BLOB`.
        """
        if len(data) > MAX_BLOB:
            raise TooLarge(f"{len(data)} bytes; a blob has at most {MAX_BLOB}")
        blob = digest(data)
        with self._database.transaction() as connection:
            connection.execute("INSERT INTO blobs (id, data) VALUES (?, ?) ON CONFLICT (id) DO NOTHING", (blob, data))
        return blob

    def get(self, blob: BlobId) -> bytes | None:
        """The bytes, or None when there are none of that id.

        Raises:
            Damaged: they are not those that were kept.
        """
        with self._database.reading() as connection:
            row = connection.execute("SELECT data FROM blobs WHERE id = ?", (blob,)).fetchone()
        return sound(blob, row) if row else None


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))
