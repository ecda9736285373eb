"""The SQLite file itself: whose it is, its tables, how it is opened, and what its faults mean."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from ratchet.ports import Damaged, NoSpace
from streams import chain, retention

APPLICATION_ID = 0x52544348
"""`RTCH` in the file's header, so that no other program's database is taken for ours (SQLite file format, 1.3.16)."""

_BUSY_SECONDS = 30.0
"""How long a writer waits for its turn before it gives up."""

_MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE blobs (
        id TEXT PRIMARY KEY CHECK (length(id) = 64),
        data BLOB NOT NULL
    ) STRICT;
    CREATE TABLE log (
        offset INTEGER PRIMARY KEY AUTOINCREMENT,
        topic TEXT NOT NULL,
        id TEXT NOT NULL CHECK (length(id) = 64),
        time TEXT NOT NULL,
        type TEXT NOT NULL,
        source TEXT NOT NULL,
        tenant TEXT NOT NULL,
        subject TEXT NOT NULL,
        round INTEGER,
        data TEXT,
        blob TEXT REFERENCES blobs (id),
        CHECK ((data IS NULL) <> (blob IS NULL))
    ) STRICT;
    CREATE UNIQUE INDEX log_id ON log (topic, id);
    CREATE INDEX log_topic ON log (topic, offset);
    CREATE INDEX log_topic_time ON log (topic, time, offset);
    CREATE INDEX log_subject ON log (topic, subject, offset);
    CREATE INDEX log_time ON log (time, offset);
    CREATE INDEX log_round ON log (round, offset) WHERE round IS NOT NULL;
    CREATE TABLE state (
        stage TEXT NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (stage, key)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE rounds (
        round INTEGER PRIMARY KEY,
        tick INTEGER NOT NULL,
        time TEXT NOT NULL
    ) STRICT;
    """,
    chain.SCHEMA + retention.SCHEMA,
)
"""Each brings the file from the version of its index to the next; `user_version` counts them. Add, never edit.

Version 1 is that of Ratchet 0.1, from which nothing goes on (`_fit`)."""


class BadDatabase(Exception):
    """The file is not ours, or of a version that this program does not know."""


def statements(script: str) -> list[str]:
    """The statements of a migration."""
    return [one for one in script.split(";\n") if one.strip()]


def schema() -> list[tuple[str, str]]:
    """Name and SQL of every table and index that a file of ours has."""
    empty = sqlite3.connect(":memory:")
    try:
        for script in _MIGRATIONS:
            for statement in statements(script):
                empty.execute(statement)
        return empty.execute(
            "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
    finally:
        empty.close()


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection with the settings that every user of the file needs; transactions are begun by hand."""
    mode = "ro" if read_only else "rwc"
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(
        uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    if not read_only:
        connection.execute("PRAGMA synchronous = FULL")
    return connection


def spare(path: Path) -> int:
    """Bytes of a file that are free to be written again: what was deleted does not make it smaller."""
    connection = connect(path, read_only=True)
    try:
        (pages,) = connection.execute("PRAGMA freelist_count").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    finally:
        connection.close()
    return int(pages) * int(size)


def check_version(path: Path) -> None:
    """Nothing, where this program can go on from what the file holds.

    Raises:
        BadDatabase: it is of another version.
    """
    connection = connect(path, read_only=True)
    try:
        _fit(connection, path)
    finally:
        connection.close()


def _fit(connection: sqlite3.Connection, path: Path) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(_MIGRATIONS):
        raise BadDatabase(f"{path} has version {version}; this program knows {len(_MIGRATIONS)}: use the newer one")
    if version == 1:  # its stages kept another state: no whole policy, no guests, no enrolment
        raise BadDatabase(f"{path} was written by Ratchet 0.1, and its state cannot be carried on: keep it for reading")
    return int(version)


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the file to the newest version; it is left as it is where it is none of ours.

    Raises:
        BadDatabase: another program's file, or one of a version that this program does not go on from.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != APPLICATION_ID and (application or tables):
        raise BadDatabase(f"{path} is another program's database (application_id {application:#x})")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        for script in _MIGRATIONS[_fit(connection, path) :]:
            for statement in statements(script):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def sound(blob: str, row: Sequence[bytes] | None) -> bytes:
    """The bytes of a row of `blobs`, if they are those that were kept: their hash says so.

    Raises:
        Damaged: they are not, or there are none.
    """
    if row is None:
        raise Damaged(f"blob {blob[:16]}", "it is missing; `ratchet doctor` says what else")
    if hashlib.sha256(row[0]).hexdigest() != blob:
        raise Damaged(f"blob {blob[:16]}", "its bytes are not those that were kept; `ratchet doctor` says what else")
    return row[0]


_NO_SPACE = frozenset({"SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_SHMSIZE"})
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


def fault_of(error: sqlite3.DatabaseError, path: Path) -> NoSpace | Damaged | None:
    """What SQLite says of a disk that takes no more, or of a file that is not what was written; None: another fault."""
    name = getattr(error, "sqlite_errorname", "")
    if name in _NO_SPACE:
        return NoSpace(f"{path}: {error}")
    return Damaged(str(path), str(error)) if name.startswith(_DAMAGED) else None
