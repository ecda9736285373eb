"""Whether a database file is what was written: the hash chain, the digests, the hashes of blobs and what names them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from streams import chain, retention
from streams.sqlite import SHORT_ROUNDS, Database
from streams.sqlite_file import schema


def check(database: Database) -> list[str]:
    """What was changed in the file since it was written, a sentence each; see streams/chain.py."""
    with database.reading() as connection:
        connection.execute("BEGIN")
        try:
            return list(_all(connection))
        finally:
            connection.execute("ROLLBACK")


def _all(connection: sqlite3.Connection) -> Iterator[str]:
    yield from chain.check(connection, SHORT_ROUNDS, schema())
    yield from retention.check(connection)
