"""The hash chain of the rounds: what shows that somebody, or a disk, changed what is kept.

Each committed round has a hash:

    hash = SHA-256(hash of the round before, number, time, content)
    content = SHA-256(digest of the log, digest of the state)

The digests are of everything that is kept after the round, not of what was added in it, so that pruning and retention
leave them checkable. They are sums of hashes (AdHash: M. Bellare, D. Micciancio, "A New Paradigm for Collision-Free
Hashing", EUROCRYPT 1997): a record that comes is added, one that goes is taken away, and order does not matter. The
modulus has 4,096 bits, since generalised birthday attacks (D. Wagner, CRYPTO 2002) take about 2^(2 sqrt(n)) steps
against n bits: 2^128.

Whoever can write the file can also compute a new chain. So the newest hash, the head, is given outward: commits of the
Git store carry it, and so does what notifiers are sent. `check` finds what does not agree within the file; `compare`
says whether a head that was given outward is of this history.

Not covered: records from outside that no round has read yet, and the positions of sinks, which may be repeated.
Offsets are not hashed: they depend on how the rounds were cut into processes, and the head may not.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ratchet.event import Json
from streams.topology import SINKS

_BYTES = 512
_MASK = (1 << (8 * _BYTES)) - 1

_LOG = "topic, id, time, type, source, tenant, subject, round, data, blob"
_BEFORE_ALL = "0" * 64
"""`previous` of the first round."""

SCHEMA = """
    CREATE TABLE chain (
        round INTEGER PRIMARY KEY,
        previous TEXT NOT NULL CHECK (length(previous) = 64),
        content TEXT NOT NULL CHECK (length(content) = 64),
        hash TEXT NOT NULL CHECK (length(hash) = 64)
    ) STRICT;
    CREATE TABLE sums (
        name TEXT PRIMARY KEY CHECK (name IN ('log', 'state')),
        value BLOB NOT NULL CHECK (length(value) = 512)
    ) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest link: what is given outward."""

    round: int
    hash: str

    def __str__(self) -> str:
        return f"{self.round}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """What `str` writes.

        Raises:
            ValueError: it is not that.
        """
        number, colon, hash = text.strip().partition(":")
        if not (colon and number.isdecimal() and len(number) < 16):
            raise ValueError(f"{text[:100]!r} is no head: round:hash")
        if len(hash) != 64 or set(hash) - set("0123456789abcdef"):
            raise ValueError(f"{text[:100]!r} is no head: round:hash")
        return cls(int(number), hash)


def extend(
    connection: sqlite3.Connection,
    number: int,
    time: str,
    read: tuple[int, int],
    changes: Mapping[tuple[str, str], str | None],
    before: Mapping[tuple[str, str], str],
) -> None:
    """Add a round's link: after its records and state are written, in its transaction.

    Args:
        number, time: of the round.
        read: the tick of the round before, and of this one: records from outside between them were read.
        changes: of state, as they were written.
        before: what those keys held until then, where they held anything.
    """
    log = _sum(
        connection.execute(f"SELECT {_LOG} FROM log WHERE offset > ? AND offset <= ? AND round IS NULL", read)
    ) + _sum(connection.execute(f"SELECT {_LOG} FROM log WHERE round = ?", (number,)))
    state = sum(_weight((*key, value)) for key, value in changes.items() if value is not None)
    state -= sum(_weight((*key, value)) for key, value in before.items())
    _add(connection, "log", log)
    _add(connection, "state", state)
    _link(connection, number, time)


def forget(connection: sqlite3.Connection, where: str, parameters: Iterable[Json]) -> int:
    """Delete records that rounds have read or made, and take them from the digest; how many there were.

    In the transaction of a round, before its link is made.
    """
    given = tuple(parameters)
    rows = connection.execute(f"SELECT {_LOG} FROM log WHERE {where}", given).fetchall()
    if rows:
        connection.execute(f"DELETE FROM log WHERE {where}", given)
        _add(connection, "log", -_sum(rows))
    return len(rows)


def head(connection: sqlite3.Connection) -> Head | None:
    """The newest link; None before the first round."""
    row = connection.execute("SELECT round, hash FROM chain ORDER BY round DESC LIMIT 1").fetchone()
    return Head(*row) if row else None


def head_of(path: Path) -> str | None:
    """The head of a file, as it is given outward; None where there is none yet, or no file."""
    if not path.is_file():
        return None
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30.0)) as connection:
        try:
            newest = head(connection)
        except sqlite3.OperationalError:  # a file of Ratchet 0.1
            return None
    return str(newest) if newest else None


def comparable(connection: sqlite3.Connection, given: Head) -> bool:
    """Whether the link of a head is still kept; one from before them can no longer be compared."""
    (first,) = connection.execute("SELECT min(round) FROM chain").fetchone()
    return first is None or given.round >= first


def compare(connection: sqlite3.Connection, given: Head) -> str | None:
    """What is wrong, if this file's history does not have a head that was given outward; None when nothing is."""
    newest = head(connection)
    if newest is None or given.round > newest.round:
        last = newest.round if newest else 0
        return f"round {given.round} was given outward, and the last one here is {last}: an older copy was restored"
    row = connection.execute("SELECT hash FROM chain WHERE round = ?", (given.round,)).fetchone()
    if row is not None and row[0] != given.hash:
        return f"round {given.round} has another hash than was given outward: this is another history"
    return None


def check(connection: sqlite3.Connection, keep: int, schema: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Everything that does not agree within the file, a sentence each.

    Args:
        connection: on which nothing is written meanwhile: in a transaction.
        keep: rounds whose links are kept at least.
        schema: name and SQL of what a file of ours has.
    """
    for (said,) in connection.execute("PRAGMA integrity_check(5)"):
        if said != "ok":
            yield f"SQLite: {said}"
    found = dict(connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))
    found = {name: _words(sql) for name, sql in found.items() if not name.startswith("sqlite_")}
    ours = {name: _words(sql) for name, sql in schema}
    for name in sorted(found.keys() ^ ours.keys()):
        yield f"{name}: the file {'has it, and ours do not' if name in found else 'does not have it'}"
    for name in sorted(found.keys() & ours.keys()):
        if found[name] != ours[name]:
            yield f"{name}: its definition was changed"
    for name, rows in (("log", _covered(connection)), ("state", _state(connection))):
        if _sum(rows) & _MASK != _get(connection, name):
            yield f"{name}: records were changed, added or removed since they were written"
    yield from _links(connection, keep)
    yield from _blobs(connection)


def _links(connection: sqlite3.Connection, keep: int) -> Iterator[str]:
    last = connection.execute("SELECT max(round) FROM rounds").fetchone()[0]
    rows = connection.execute(
        "SELECT chain.round, previous, content, hash, rounds.time FROM chain LEFT JOIN rounds USING (round)"
        " ORDER BY chain.round"
    ).fetchall()
    if not rows:
        if last is not None:
            yield "chain: there are rounds, and no link"
        return
    before = None
    for number, previous, content, hash, time in rows:
        if before is not None and number != before[0] + 1:
            yield f"chain: rounds {before[0] + 1} to {number - 1} are missing"
        elif before is not None and previous != before[1]:
            yield f"chain: round {number} does not follow round {before[0]}"
        if time is None:
            yield f"rounds: round {number} is missing"
        elif _hash(previous, number, time, content) != hash:
            yield f"chain: round {number} is not what it was when it was committed"
        before = (number, hash)
    first = rows[0][0]
    if first == 1 and rows[0][1] != _BEFORE_ALL:
        yield "chain: the first round follows another"
    if rows[-1][0] != last:
        yield f"chain: the last round is {last}, the last link that of {rows[-1][0]}"
    if first > 1 and last - first + 1 < keep:
        yield f"chain: links before round {first} are missing"
    if rows[-1][2] != _content(connection):
        yield "chain: the last round is of another content"


def _blobs(connection: sqlite3.Connection) -> Iterator[str]:
    for id, data in connection.execute("SELECT id, data FROM blobs"):
        if hashlib.sha256(data).hexdigest() != id:
            yield f"blobs: the bytes of {id[:16]}… are not those that were kept"


def _covered(connection: sqlite3.Connection) -> Iterator[tuple[Json, ...]]:
    """Records that rounds have read or made."""
    (tick,) = connection.execute("SELECT max(tick) FROM rounds").fetchone()
    return connection.execute(f"SELECT {_LOG} FROM log WHERE round IS NOT NULL OR offset <= ?", (tick or 0,))


def _state(connection: sqlite3.Connection) -> Iterator[tuple[Json, ...]]:
    """The state of stages, without that of sinks."""
    marks = ", ".join("?" * len(SINKS))
    return connection.execute(f"SELECT stage, key, value FROM state WHERE stage NOT IN ({marks})", sorted(SINKS))


def _link(connection: sqlite3.Connection, number: int, time: str) -> None:
    before = head(connection)
    previous, content = before.hash if before else _BEFORE_ALL, _content(connection)
    connection.execute(
        "INSERT INTO chain (round, previous, content, hash) VALUES (?, ?, ?, ?)",
        (number, previous, content, _hash(previous, number, time, content)),
    )


def _content(connection: sqlite3.Connection) -> str:
    both = b"".join(hashlib.sha256(_bytes(_get(connection, name))).digest() for name in ("log", "state"))
    return hashlib.sha256(both).hexdigest()


def _hash(previous: str, number: int, time: str, content: str) -> str:
    return hashlib.sha256(f"ratchet-round\n{previous}\n{number}\n{time}\n{content}\n".encode()).hexdigest()


def _weight(fields: tuple[Json, ...]) -> int:
    """A record's part in a sum: its fields, each with its length and kind, so that no two records look alike."""
    text = "".join("-;" if f is None else f"{len(f)}:{f};" if type(f) is str else f"#{f};" for f in fields)
    return int.from_bytes(hashlib.shake_256(hashlib.sha256(text.encode()).digest()).digest(_BYTES))


def _sum(rows: Iterable[tuple[Json, ...]]) -> int:
    return sum(map(_weight, rows))


def _get(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute("SELECT value FROM sums WHERE name = ?", (name,)).fetchone()
    return int.from_bytes(row[0]) if row else 0


def _add(connection: sqlite3.Connection, name: str, value: int) -> None:
    if value:
        _put(connection, name, _get(connection, name) + value)


def _put(connection: sqlite3.Connection, name: str, value: int) -> None:
    connection.execute(
        "INSERT INTO sums (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, _bytes(value)),
    )


def _bytes(value: int) -> bytes:
    return (value & _MASK).to_bytes(_BYTES)


def _words(sql: str) -> str:
    return " ".join(sql.split())
