"""Whether a database file is what was written: the hash chain, the digests, the hashes of blobs and what names them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from streams import chain, retention
from streams.sqlite import SHORT_ROUNDS
from streams.sqlite_file import connect, schema


def check(path: Path) -> list[str]:
    """What was changed in a file since it was written, a sentence each; see streams/chain.py. Nothing is written."""
    with closing(connect(path, read_only=True)) as connection:
        connection.execute("BEGIN")  # one state of the file, while rounds go on
        try:
            return list(_all(connection))
        except sqlite3.DatabaseError as error:
            return [f"SQLite: {error}"]


def _all(connection: sqlite3.Connection) -> Iterator[str]:
    yield from chain.check(connection, SHORT_ROUNDS, schema())
    yield from retention.check(connection)
