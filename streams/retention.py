"""Retention: what grows with evidence has an end, by the log's own time, so that what is kept follows from the log.

Once for each day of the log's time, in parts, records of the topics kept by `retention` that are older than their time
are deleted, with the blobs that nothing names any more. Never deleted is

- what the state of a stage names by its id: a machine's last evidence and verdict, an open alert;
- a record of an alert that is not resolved;
- a document of a vendor: verdicts are computed again from it.

`refs` says which records name which blobs, so that finding out does not mean reading the log.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from ratchet.event import Json, stamp
from streams import chain
from streams.topology import SINKS, TOPICS

PART = 20_000
"""Records that one round deletes, at most: a round is not to take long."""

SCHEMA = """
    CREATE TABLE refs (
        blob TEXT NOT NULL,
        offset INTEGER NOT NULL,
        PRIMARY KEY (blob, offset)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX refs_offset ON refs (offset);
    CREATE TABLE retention (
        day TEXT PRIMARY KEY
    ) STRICT, WITHOUT ROWID;
"""

_TOPICS = tuple(topic.name for topic in TOPICS if topic.kept == "retention")
_NAMING = frozenset({"evidence", "documents", "dead-letters"})
_NO_USE = ("replay/", "blob/")
"""State that names evidence to recognise it again, and does not need its bytes."""

_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


@dataclass(frozen=True, slots=True)
class Retention:
    """For how long records are kept, in days of the log's time; None: for ever.

    Attributes:
        evidence: evidence, its bytes, and what was made of it: verdicts and dead letters.
        alerts: alerts that are resolved.
    """

    evidence: int | None = 400
    alerts: int | None = 400

    def of(self, topic: str) -> int | None:
        """Of one topic."""
        return self.alerts if topic == "alerts" else self.evidence


_NAMED = (
    "SELECT blob, offset FROM log WHERE blob IS NOT NULL"
    " UNION SELECT json_extract(data, '$.blob'), offset FROM log"
    " WHERE topic IN ('evidence', 'documents', 'dead-letters') AND json_valid(data)"
    " AND typeof(json_extract(data, '$.blob')) = 'text' AND length(json_extract(data, '$.blob')) = 64"
    " UNION SELECT one.value, log.offset FROM log, json_each(log.data, '$.endorsements') AS one"
    " WHERE topic = 'evidence' AND json_valid(data) AND typeof(one.value) = 'text' AND length(one.value) = 64"
)
"""What `named` says of every record, in SQL. A record whose data are a blob names that alone: so does `refer`."""


def check(connection: sqlite3.Connection) -> Iterator[str]:
    """What `refs` says wrongly, and blobs that are missing."""
    for one, other, wrong in (
        (_NAMED, "SELECT blob, offset FROM refs", "a record names a blob and it is not noted"),
        ("SELECT blob, offset FROM refs", _NAMED, "a blob is noted as named by a record, and is not"),
    ):
        if row := connection.execute(
            f"SELECT blob FROM (SELECT * FROM ({one}) EXCEPT SELECT * FROM ({other})) LIMIT 1"
        ).fetchone():
            yield f"refs: {wrong}: {str(row[0])[:16]}…"
    for blob, topic, id in connection.execute(
        "SELECT refs.blob, topic, id FROM refs JOIN log USING (offset)"
        " WHERE NOT EXISTS (SELECT 1 FROM blobs WHERE blobs.id = refs.blob) LIMIT 20"
    ):
        yield f"blobs: {blob[:16]}… is missing, which {topic} {id[:16]}… names"


def refer(connection: sqlite3.Connection, offset: int, topic: str, data: Json, blob: str | None) -> None:
    """Note which blobs a record names: with its insertion."""
    found = {blob} if blob else set(named(topic, data))
    if found:
        connection.executemany(
            "INSERT OR IGNORE INTO refs (blob, offset) VALUES (?, ?)", ((one, offset) for one in found)
        )


def named(topic: str, data: Json) -> Iterator[str]:
    """The blobs that a record's data names."""
    if topic not in _NAMING or not isinstance(data, dict):
        return
    endorsements = data.get("endorsements")
    for one in (data.get("blob"), *(endorsements if isinstance(endorsements, list) else ())):
        if isinstance(one, str) and _ID.fullmatch(one):
            yield one


def brought(connection: sqlite3.Connection, source: str, since: datetime) -> int:
    """Bytes of evidence that a source has brought since then: what counts against its day after a restart."""
    (size,) = connection.execute(
        "SELECT coalesce(sum(json_extract(data, '$.size')), 0) FROM log"
        " WHERE topic = 'evidence' AND time >= ? AND source = ? AND json_valid(data)",
        (stamp(since), source),
    ).fetchone()
    return int(size)


def carry_out(connection: sqlite3.Connection, at: datetime, keeps: Retention) -> int:
    """Delete what is over its time, at most `PART` records; how many. In the transaction of a round.

    Args:
        at: the time of the round's tick.
    """
    day = stamp(at)[:10]
    if connection.execute("SELECT 1 FROM retention WHERE day = ?", (day,)).fetchone():
        return 0
    over = [
        (topic, stamp(at - timedelta(days=days)))
        for topic in _TOPICS
        if (days := keeps.of(topic)) is not None and at - timedelta(days=days) > _EARLIEST
    ]
    deleted = 0
    if any(
        connection.execute("SELECT 1 FROM log WHERE topic = ? AND time < ? LIMIT 1", one).fetchone() for one in over
    ):
        deleted = _delete(connection, over)
    if deleted < PART:
        connection.execute("DELETE FROM retention")
        connection.execute("INSERT INTO retention (day) VALUES (?)", (day,))
    return deleted


_EARLIEST = datetime.fromisoformat("1970-01-02T00:00:00+00:00")


def _delete(connection: sqlite3.Connection, over: Iterable[tuple[str, str]]) -> int:
    in_use = _in_use(connection)
    (tick,) = connection.execute("SELECT max(tick) FROM rounds").fetchone()
    offsets: list[int] = []
    for topic, before in over:
        of_alert = "json_extract(data, '$.alert')" if topic == "alerts" else "NULL"
        rows = connection.execute(
            f"SELECT offset, id, {of_alert} FROM log WHERE topic = ? AND time < ?"
            " AND (round IS NOT NULL OR offset <= ?) ORDER BY offset",
            (topic, before, tick),
        )
        for offset, id, alert in rows:
            if len(offsets) >= PART:
                break
            if id not in in_use and alert not in in_use:
                offsets.append(offset)
    for i in range(0, len(offsets), 500):
        _delete_some(connection, offsets[i : i + 500], in_use)
    return len(offsets)


def _delete_some(connection: sqlite3.Connection, offsets: list[int], in_use: set[str]) -> None:
    marks = ", ".join("?" * len(offsets))
    blobs = [b for (b,) in connection.execute(f"SELECT DISTINCT blob FROM refs WHERE offset IN ({marks})", offsets)]
    chain.forget(connection, f"offset IN ({marks})", offsets)
    connection.execute(f"DELETE FROM refs WHERE offset IN ({marks})", offsets)
    connection.executemany(
        "DELETE FROM blobs WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM refs WHERE blob = ?1)",
        ((blob,) for blob in blobs if blob not in in_use),
    )


def _in_use(connection: sqlite3.Connection) -> set[str]:
    """Every id that the state of a stage names, but for replay keys and alerts that are resolved."""
    found: set[str] = set()
    marks = ", ".join("?" * len(SINKS))
    for key, value in connection.execute(f"SELECT key, value FROM state WHERE stage NOT IN ({marks})", sorted(SINKS)):
        if key.startswith(_NO_USE) or (key.startswith("alert/") and '"status":"resolved"' in value):
            continue
        found.update(_ID.findall(key))
        found.update(_ID.findall(value))
    # A verdict that a standing rests on may be younger than its evidence: it was judged again.
    for id in tuple(found):
        row = connection.execute("SELECT data FROM log WHERE topic = 'verdicts' AND id = ?", (id,)).fetchone()
        if row is not None and row[0] is not None:
            found.update(_ID.findall(row[0]))
    return found
