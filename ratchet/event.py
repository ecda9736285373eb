"""Events: CloudEvents 1.0 attributes, a tenant and JSON data; and the ids that make retries harmless.

Everything on the log is an `Event`. Its `time` is event time (UTC, microseconds), its `id` a hash of what caused it, so
that the same cause always gives the same record, on any executor and after any crash.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NewType

import rfc8785

Json = Any
"""A JSON value: what `json.loads` returns. Times in it are RFC 3339 text, bytes are lower-case hex, blobs are ids."""

BlobId = NewType("BlobId", str)
"""SHA-256 of a blob's bytes, 64 lower-case hex digits."""

PREFIX = "dev.ratchet."
"""Of every event type on the wire (docs/design.md, Frozen)."""

INLINE_LIMIT = 256 * 1024
"""Bytes of payload above which data travels by blob id (docs/design.md, Frozen)."""


@dataclass(frozen=True, slots=True)
class Event:
    """One record of the log.

    Attributes:
        id: 64 hex digits; see `delivery_id` and `derived_id`.
        source: who says so, a URI reference such as `/collectors/http/agent-7` or `/streams/verify`.
        type: without the prefix, such as `evidence.received.v1`.
        subject: what it is about; with the tenant it is the record's key on its topic.
        time: event time, aware and in UTC.
        tenant: whose it is.
        data: JSON, never altered once it is here.
    """

    id: str
    source: str
    type: str
    subject: str
    time: datetime
    tenant: str
    data: Mapping[str, Json]

    def envelope(self) -> dict[str, Json]:
        """The structured-mode CloudEvent (CloudEvents JSON format 1.0)."""
        return {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": PREFIX + self.type,
            "subject": self.subject,
            "time": stamp(self.time),
            "tenant": self.tenant,
            "datacontenttype": "application/json",
            "data": self.data,
        }


_PLAIN = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

_NUMBER = re.compile(r'(?:^|":|[\[,])-?(?:[0-9]+[.e]|[0-9]{16})')
"""A number that is written otherwise in RFC 8785, or may not be: a fraction, or one that may be above 2^53."""


def canonical(value: Json) -> bytes:
    """RFC 8785 bytes of a JSON value: what hashes, signatures and comparisons are taken over.

    Of ASCII text and whole numbers these are what the standard library writes, ten times as fast; all else goes the
    long way, and a value that RFC 8785 has no form for is refused there. Names in objects must be text, as in all JSON.

    Raises:
        ValueError: no such form: NaN, infinity, a whole number of 2^53 or more.
    """
    try:
        text = _PLAIN.encode(value)
    except (ValueError, TypeError):
        return rfc8785.dumps(value)
    return rfc8785.dumps(value) if not text.isascii() or _NUMBER.search(text) else text.encode()


def digest(data: bytes) -> BlobId:
    """The id of a blob."""
    return BlobId(hashlib.sha256(data).hexdigest())


def delivery_id(tenant: str, source: str, delivery: str) -> str:
    """The id of an event that enters from outside.

    Args:
        tenant: whose it is.
        source: who delivers.
        delivery: the id that the sender gave it before sending it first: the same on a retry, another on a replay.
    """
    return hashlib.sha256(canonical(["delivery", tenant, source, delivery])).hexdigest()


def derived_id(kind: str, *parts: str) -> str:
    """The id of something computed: a hash of its kind and of the ids and names that it follows from, in order."""
    return hashlib.sha256(canonical([kind, *parts])).hexdigest()


def stamp(at: datetime) -> str:
    """RFC 3339 in UTC with six digits of fraction and `Z`: of fixed width, so that text order is time order.

    Raises:
        ValueError: `at` has no zone.
    """
    if at.tzinfo is None:
        raise ValueError("a time without zone cannot be placed: pass an aware datetime")
    return at.astimezone(UTC).isoformat(timespec="microseconds")[: -len("+00:00")] + "Z"


def parse_time(text: str) -> datetime:
    """The inverse of `stamp`; also reads any RFC 3339 time with a zone.

    Raises:
        ValueError: not a time, or one without a zone.
    """
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} lies before the first or after the last moment in UTC") from error
