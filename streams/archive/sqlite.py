"""The read side over one SQLite file: `ratchet.ports.Reader`. docs/reading.md has its rows.

Reads the log and what stages keep; writes nothing, and may be open in any number of processes while rounds run. Each
thread gets a connection of its own. Every answer is what one committed state of the file says.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ratchet.event import BlobId, Json, stamp
from ratchet.ports import Page, Record
from ratchet.query.language import Query, parse
from ratchet.query.sql import NotInSql, Sql, translate
from streams.sqlite import COLUMNS, to_record
from streams.sqlite_file import connect, sound
from streams.topology import TOPICS

LEVELS = ("informational", "low", "medium", "high", "critical")
"""Of alerts, from mild to grave (Sigma specification, "level")."""

MOST = 100_000
"""Rows of one answer, whatever was asked."""

_STEPS = 10_000
"""Of SQLite's virtual machine between two looks at the clock."""

SHORTEST_PREFIX = 8
"""Digits of an id that may stand for the whole."""

_TOPICS = tuple(topic.name for topic in TOPICS)
_DATA = "coalesce(data, (SELECT CAST(b.data AS TEXT) FROM blobs b WHERE b.id = log.blob))"
_RANK = "CASE json_extract(value, '$.level') " + " ".join(f"WHEN '{x}' THEN {i}" for i, x in enumerate(LEVELS)) + " END"


class SqliteReader:
    """The read side of one database file."""

    def __init__(self, path: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Open for reading.

        Args:
            path: of the database.
            monotonic: seconds, for the deadlines of searches.

        Raises:
            FileNotFoundError: there is no such file.
        """
        if not path.is_file():
            raise FileNotFoundError(path)
        self._path, self._monotonic = path, monotonic
        self._local = threading.local()

    @property
    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = connect(self._path, read_only=True)
        return connection

    def close(self) -> None:
        """Close this thread's connection."""
        if (connection := getattr(self._local, "connection", None)) is not None:
            connection.close()
            del self._local.connection

    def _rows(self, sql: str, *parameters: Json) -> list[tuple[Json, ...]]:
        # Numbered parameters are named ones to Python, which takes a sequence for them no longer from 3.14 on.
        named = {str(n): value for n, value in enumerate(parameters, 1)}
        return self._connection.execute(sql, named if "?1" in sql else parameters).fetchall()

    def _records(self, where: str, *parameters: Json) -> list[Record]:
        rows = self._rows(f"SELECT {COLUMNS} FROM log WHERE {where}", *parameters)
        return [to_record(row, self._connection) for row in rows]

    def _state(self, stage: str, prefix: str) -> list[Mapping[str, Json]]:
        rows = self._rows(
            "SELECT value FROM state WHERE stage = ? AND key >= ? AND key < ? ORDER BY key", stage, *_below(prefix)
        )
        return [json.loads(value) for (value,) in rows]

    # What is known now

    def counts(self) -> Mapping[str, int]:
        """Machines by tier and on simulated roots, open alerts, waiting proposals, dead letters, events, evidence."""
        found = dict.fromkeys(("affirming", "warning", "contraindicated", "none"), 0)
        simulated = 0
        for tier, simulated_root, number in self._rows(
            "SELECT json_extract(value, '$.tier'), json_extract(value, '$.simulated'), count(*) FROM state"
            " WHERE stage = 'correlate' AND key >= ? AND key < ? GROUP BY 1, 2",
            *_below("standing/"),
        ):
            found[tier] = found.get(tier, 0) + number
            simulated += number if simulated_root else 0
        topics: dict[Json, Json] = dict(self._rows("SELECT topic, count(*) FROM log GROUP BY topic"))
        return found | {
            "simulated": simulated,
            "alerts": self._number("correlate", "alert/", "$.status", "open"),
            "proposals": self._number("roll-out", "rollout/", "$.state", "proposed"),
            "dead_letters": topics.get("dead-letters", 0),
            "events": sum(topics.values()),
            "evidence": topics.get("evidence", 0),
        }

    def _number(self, stage: str, prefix: str, path: str, value: str) -> int:
        ((number,),) = self._rows(
            "SELECT count(*) FROM state WHERE stage = ? AND key >= ? AND key < ? AND json_extract(value, ?) = ?",
            stage,
            *_below(prefix),
            path,
            value,
        )
        return int(number)

    def fleet(
        self, tier: str | None = None, family: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page:
        """Machines with their standing, by tenant and identity."""
        low, high = _below("standing/")
        limit = _bounded(limit)
        rows = self._rows(
            "SELECT key, value FROM state WHERE stage = 'correlate' AND key >= ?1 AND key < ?2 AND key > ?3"
            " AND (?4 IS NULL OR json_extract(value, '$.tier') = ?4)"
            " AND (?5 IS NULL OR json_extract(value, '$.family') = ?5) ORDER BY key LIMIT ?6",
            low,
            high,
            low + (after or ""),
            tier,
            family,
            limit + 1,
        )
        more = len(rows) > limit
        return Page(
            [json.loads(value) for _, value in rows[:limit]], rows[limit - 1][0].removeprefix(low) if more else None
        )

    def machine(self, identity: str) -> Mapping[str, Json] | None:
        """One machine's standing, by identity or hint name, or a prefix of either that only one machine has.

        Of several machines that go by one hint name it is the one seen last.
        """
        for name in ("$.identity", "$.hint"):
            if rows := self._standing(f"json_extract(value, '{name}') = ?3", identity):
                return rows[0]
        for name in ("$.identity", "$.hint"):
            rows = self._standing(f"substr(json_extract(value, '{name}'), 1, length(?3)) = ?3", identity)
            if len(rows) == 1:
                return rows[0]
        return None

    def _standing(self, condition: str, wanted: str) -> list[Mapping[str, Json]]:
        rows = self._rows(
            f"SELECT value FROM state WHERE stage = 'correlate' AND key >= ?1 AND key < ?2 AND {condition}"
            " ORDER BY json_extract(value, '$.seen') DESC LIMIT 2",
            *_below("standing/"),
            wanted,
        )
        return [json.loads(value) for (value,) in rows]

    def waiting(self) -> Sequence[Mapping[str, Json]]:
        """Genuine machines that nobody has enrolled, those that wait longest first."""
        return sorted(self._state("verify", "waiting/"), key=lambda row: (row["since"], row["identity"]))

    def senders(self) -> Sequence[Mapping[str, Json]]:
        """Senders that have proved nothing yet, by name; one whose name a machine goes by is that machine."""
        rows = self._rows(
            "SELECT json_extract(value, '$.row') FROM state WHERE stage = 'verify' AND key >= ?1 AND key < ?2"
            " AND NOT EXISTS (SELECT 1 FROM state AS s WHERE s.stage = 'correlate' AND s.key >= ?3 AND s.key < ?4"
            " AND json_extract(s.value, '$.hint') = json_extract(state.value, '$.row.hint')"
            " AND json_extract(s.value, '$.tenant') = json_extract(state.value, '$.row.tenant'))"
            " ORDER BY json_extract(value, '$.row.hint'), key",
            *_below("sender/"),
            *_below("standing/"),
        )
        return [json.loads(value) for (value,) in rows]

    def alerts(self, status: str | None = None, after: str | None = None, limit: int = 100) -> Page:
        """Alerts at their latest revision, worst and newest first."""
        limit = _bounded(limit)
        begin = _cursor(after)
        rows = self._rows(
            f"SELECT {_RANK} AS rank, json_extract(value, '$.updated') AS updated, key, value FROM state"
            " WHERE stage = 'correlate' AND key >= ?1 AND key < ?2"
            " AND (?3 IS NULL OR json_extract(value, '$.status') = ?3)"
            " AND (?4 IS NULL OR (rank, updated, key) < (?4, ?5, ?6))"
            " ORDER BY rank DESC, updated DESC, key DESC LIMIT ?7",
            *_below("alert/"),
            status,
            *begin,
            limit + 1,
        )
        last = rows[limit - 1] if len(rows) > limit else None
        return Page([json.loads(row[3]) for row in rows[:limit]], f"{last[0]} {last[1]} {last[2]}" if last else None)

    def proposals(self, state: str | None = None) -> Sequence[Mapping[str, Json]]:
        """Proposals with the state of their rollout, newest first."""
        rows = [row for row in self._state("roll-out", "rollout/") if state is None or row["state"] == state]
        return sorted(rows, key=lambda row: (_begun(row), row["proposal"]["proposal"]), reverse=True)

    def floors(self) -> Sequence[Mapping[str, Json]]:
        """Floors in force, by tenant and family."""
        return self._state("roll-out", "floor/")

    def policy(self, tenant: str) -> Mapping[str, Json] | None:
        """The policy in force beside the floors; None where none was put on the log."""
        where = "SELECT value FROM state WHERE stage = 'roll-out' AND key = ?"
        rows, first = self._rows(where, f"policy/{tenant}"), self._rows(where, f"configured/{tenant}")
        if not rows:
            return None
        return {**json.loads(rows[0][0]), "floors": json.loads(first[0][0])["floors"] if first else {}}

    def judged_by(self, tenant: str) -> Mapping[str, Json] | None:
        """What the verify stage judges evidence by; None before the first change."""
        rows = self._rows("SELECT value FROM state WHERE stage = 'verify' AND key = ?", f"policy/{tenant}")
        found: Mapping[str, Json] | None = json.loads(rows[0][0]) if rows else None
        return found

    def marks(self, tenant: str, identity: str) -> Mapping[str, list[Json]]:
        """The firmware marks of a machine."""
        where = "SELECT value FROM state WHERE stage = 'correlate' AND key = ?"
        rows = self._rows(where, f"known/{tenant}/{identity}")
        found: Mapping[str, list[Json]] = json.loads(rows[0][0]).get("marks") or {} if rows else {}
        return found

    def retired(self, tenant: str, identity: str) -> bool:
        """Whether the last decision about a machine retired it."""
        key = f"retired/{tenant}/{identity}"
        return bool(self._rows("SELECT 1 FROM state WHERE stage = 'verify' AND key = ?", key))

    def notifiers(self) -> Sequence[Mapping[str, Json]]:
        """Who is told, how far each is, and which of them do not answer."""
        rows = self._rows("SELECT key, value FROM state WHERE stage = 'notify' ORDER BY key")
        return [{"name": key.removeprefix("notifier/"), **json.loads(value)} for key, value in rows]

    # What happened

    def event(self, id: str) -> Record | None:
        """One record by event id, alert id, proposal id, or a prefix of 8 or more digits that only one of them has.

        An alert or a proposal is given as its latest event.
        """
        if len(id) < SHORTEST_PREFIX:
            return None
        marks = ", ".join("?" * len(_TOPICS))
        low, high = _below(id)
        offsets = {
            offset
            for (offset,) in self._rows(
                f"SELECT offset FROM log WHERE topic IN ({marks}) AND id >= ? AND id < ? LIMIT 2",
                *_TOPICS,
                low,
                high,
            )
        }
        alerts = self._rows(
            "SELECT value FROM state WHERE stage = 'correlate' AND key >= ? AND key < ? LIMIT 2", *_below(f"alert/{id}")
        )
        for (value,) in alerts:
            alert = json.loads(value)
            offsets |= self._latest("alerts", alert["subject"], "$.alert", alert["alert"])
        for proposal, family in self._rows(
            "SELECT DISTINCT json_extract(data, '$.proposal') AS proposal, subject FROM log"
            " WHERE topic = 'proposals' AND substr(proposal, 1, length(?1)) = ?1 LIMIT 2",
            id,
        ):
            offsets |= self._latest("proposals", family, "$.proposal", proposal)
        if len(offsets) != 1:
            return None
        return self._records("offset = ?", offsets.pop())[0]

    def _latest(self, topic: str, subject: str, path: str, value: str) -> set[int]:
        rows = self._rows(
            "SELECT offset FROM log WHERE topic = ? AND subject = ? AND json_extract(data, ?) = ?"
            " ORDER BY offset DESC LIMIT 1",
            topic,
            subject,
            path,
            value,
        )
        return {offset for (offset,) in rows}

    def history(self, topic: str, subject: str, limit: int = 50) -> Sequence[Record]:
        """Latest records about one subject, newest first."""
        return self._records("topic = ? AND subject = ? ORDER BY offset DESC LIMIT ?", topic, subject, _bounded(limit))

    def search(self, query: str, limit: int = 100, seconds: float | None = None) -> Iterator[Record]:
        """Records that match, by time, newest first. A query that is none raises at once, not at the first record.

        Raises:
            ratchet.query.language.BadQuery: not a query; says where.
            ratchet.query.language.TooCostly: a query that is too costly, or took longer than `seconds`.
        """
        understood = parse(query)
        try:
            condition = translate(understood.tree, _DATA)
        except NotInSql as e:
            raise understood.too_large(str(e)) from e
        return self._found(understood, condition, _bounded(limit), seconds)

    def _found(self, query: Query, condition: Sql, limit: int, seconds: float | None) -> Iterator[Record]:
        end = None if seconds is None else self._monotonic() + seconds

        def late() -> bool:
            return end is not None and self._monotonic() > end

        def test(n: int, text: str) -> bool:
            if late():  # between two steps of SQLite there may be many of these
                raise TimeoutError
            return condition.tests[n](text)

        # A connection of its own: its function stands for this query alone, and another may begin before this one ends.
        connection = connect(self._path, read_only=True)
        try:
            connection.create_function("query_test", 2, test, deterministic=True)
            connection.set_progress_handler(late, _STEPS)
            rows = connection.execute(
                f"SELECT {COLUMNS} FROM log WHERE {condition.where} ORDER BY time DESC, offset DESC LIMIT ?",
                (*condition.parameters, limit),
            )
            for row in rows:
                yield to_record(row, connection)
        except sqlite3.OperationalError as error:
            if seconds is not None and late():
                raise query.stopped(seconds) from error
            raise
        finally:
            connection.close()

    def dead_letters(self, after: str | None = None, limit: int = 100) -> Page:
        """Dead letters, newest first: their data, with `id`, `time` and `tenant` of the event."""
        limit = _bounded(limit)
        before = int(after) if after and after.isascii() and after.isdigit() and len(after) < 19 else 2**62
        records = self._records("topic = 'dead-letters' AND offset < ? ORDER BY offset DESC LIMIT ?", before, limit + 1)
        rows = [
            {**r.event.data, "id": r.event.id, "time": stamp(r.event.time), "tenant": r.event.tenant}
            for r in records[:limit]
        ]
        return Page(rows, str(records[limit - 1].offset) if len(records) > limit else None)

    def blob(self, blob: BlobId) -> bytes | None:
        """Raw bytes.

        Raises:
            Damaged: they are not those that were kept.
        """
        rows = self._rows("SELECT data FROM blobs WHERE id = ?", blob)
        return sound(blob, rows[0]) if rows else None

    def since(self, offset: int, limit: int = 1000) -> Sequence[Record]:
        """Records of every topic above an offset, by offset."""
        return self._records("offset > ? ORDER BY offset LIMIT ?", offset, _bounded(limit))

    def head(self) -> int:
        """Offset of the newest record; 0 on an empty log."""
        ((newest,),) = self._rows("SELECT max(offset) FROM log")
        return int(newest or 0)


def _below(prefix: str) -> tuple[str, str]:
    """The range of keys that begin with `prefix`: from it on, and before the next text of its length."""
    return prefix, prefix + "\U0010ffff"


def _bounded(limit: int) -> int:
    return max(1, min(limit, MOST))


def _cursor(after: str | None) -> tuple[int | None, str | None, str | None]:
    """Where a list of alerts goes on; one that is not ours begins at the beginning."""
    parts = (after or "").split(" ", 2)
    if len(parts) != 3 or parts[0] not in {str(i) for i in range(len(LEVELS))}:
        return None, None, None
    return int(parts[0]), parts[1], parts[2]


def _begun(row: Mapping[str, Json]) -> str:
    return str(row["history"][0]["at"]) if row["history"] else ""
