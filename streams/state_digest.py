"""The state digest: everything that a run leaves behind, in one canonical dump and one hash.

Two runs over the same records from outside, however often killed and started again, leave equal digests. What may
differ between them counts for nothing: offsets, how deliveries went (the notify sink is at-least-once), and the order
in which records of different keys came to lie. In are, each a part with a hash of its own:

- `log/<topic>`: per (tenant, subject) the sequence of (id, type, subject, time, data);
- `blobs`: their ids (an id is the hash of the bytes);
- `state/<stage>`: every key and value;
- `rounds`: how many, and the time of the last;
- `store/<name>`: what the store says of itself (`dump`): Git's refs, commits and files, the bundle's content;
- `archive`: what the read side makes of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, runtime_checkable

import rfc8785

from ratchet.event import Json, canonical
from streams.archive.sqlite import SqliteReader
from streams.sqlite import Database
from streams.topology import SINKS, STAGES, TOPICS

ALL = "all"
"""The name of the digest over the digests."""


@runtime_checkable
class Dumped(Protocol):
    """A store that can say all that it holds."""

    @property
    def name(self) -> str:
        """Unique among the configured stores."""

    def dump(self) -> Json:
        """As JSON, without what differs from one run to the next."""


def state_digest(database: Database, stores: Iterable[object] = ()) -> dict[str, str]:
    """Part -> SHA-256, hex; `all` is over all of them. Stores that cannot be dumped are left out."""
    found = {name: _hash(lines) for name, lines in parts(database, stores)}
    found[ALL] = hashlib.sha256(canonical(found)).hexdigest()
    return found


def parts(database: Database, stores: Iterable[object] = ()) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The parts in their order, each as canonical lines: to find the line in which two runs differ."""
    for topic in TOPICS:
        yield f"log/{topic.name}", _log(database, topic.name)
    yield "blobs", _blobs(database)
    for stage in STAGES:
        if stage.name not in SINKS:
            yield f"state/{stage.name}", _state(database, stage.name)
    yield "rounds", _rounds(database)
    for store in stores:
        if isinstance(store, Dumped):
            yield f"store/{store.name}", iter([canonical(store.dump())])
    yield "archive", _archive(database)


def line(value: Json) -> bytes:
    """RFC 8785 bytes of a value that was read from JSON.

    Python's own writer gives the same bytes, ten times faster, for values without fractions, without integers above
    2^53-1 and with keys of the Basic Multilingual Plane (RFC 8785, 3.2.2 and 3.2.3). What RFC 8785 cannot write, an
    integer beyond that, is written in full: a digest must be had of any state.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    if not _plain(value):
        try:
            return rfc8785.dumps(value)
        except rfc8785.CanonicalizationError:
            return text.encode("utf-8", "surrogatepass")
    return text.encode()


def _plain(value: Json) -> bool:
    if isinstance(value, Mapping):
        return all(max(key, default="") < "\ud800" for key in value) and all(_plain(inner) for inner in value.values())
    if isinstance(value, list):
        return all(_plain(inner) for inner in value)
    if isinstance(value, int):
        return -(2**53) < value < 2**53
    return not isinstance(value, float)


def _hash(lines: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for one in lines:
        digest.update(one)
        digest.update(b"\n")
    return digest.hexdigest()


def _log(database: Database, topic: str) -> Iterator[bytes]:
    with database.reading() as connection:
        rows = connection.execute(
            "SELECT tenant, subject, id, type, time, source,"
            " coalesce(data, (SELECT CAST(b.data AS TEXT) FROM blobs b WHERE b.id = log.blob))"
            " FROM log WHERE topic = ? ORDER BY tenant, subject, offset",
            (topic,),
        )
        for tenant, subject, id, type_, time, source, data in rows:
            yield line([tenant, subject, id, type_, time, source, json.loads(data)])


def _blobs(database: Database) -> Iterator[bytes]:
    with database.reading() as connection:
        for (id,) in connection.execute("SELECT id FROM blobs ORDER BY id"):
            yield id.encode()


def _state(database: Database, stage: str) -> Iterator[bytes]:
    for key, value in database.state(stage).items():
        yield line([key, value])


def _rounds(database: Database) -> Iterator[bytes]:
    position = database.position()
    yield line([position.round, str(position.time)])


def _archive(database: Database) -> Iterator[bytes]:
    reader = SqliteReader(database.path)
    try:
        yield line(dict(reader.counts()))
        for rows in (reader.alerts(limit=10_000).rows, reader.proposals(), reader.floors()):
            for row in rows:
                yield line(row)
        for record in reader.search("topic:alerts OR topic:verdicts", limit=100_000):
            yield record.event.id.encode()
    finally:
        reader.close()
