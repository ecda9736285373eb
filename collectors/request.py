"""What a request to the entrance says, read one way only: of two that differ, readers would take different ones."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping

from starlette.requests import Request

from collectors.delivery import Delivery, Rejected
from ratchet.event import Json, canonical
from ratchet.event import digest as blob_of
from ratchet.evidence import FORMATS, MAX_EVIDENCE, Format

MAX_BODY = 4 * MAX_EVIDENCE
"""Bytes of a request: evidence and endorsements in base64, with room for the rest."""


class TooLarge(Exception):
    """More bytes than a request may have."""


class Encoded(Exception):
    """A Content-Encoding: bytes that are not what they stand for, and may be a thousand times as many."""


_ONCE = (
    "authorization",
    "content-type",
    "ratchet-delivery",
    "ratchet-name",
    "ratchet-challenge",
    "ratchet-key",
    "ratchet-region",
    "ratchet-workload",
)


def check(request: Request) -> None:
    """Refuse what two readers could read as two different things.

    Raises:
        Encoded, Rejected: it is so.
    """
    encodings = request.headers.getlist("content-encoding")
    if any(one.strip().lower() not in ("", "identity") for one in encodings):
        raise Encoded(", ".join(encodings)[:100])
    for name in _ONCE:
        if len(request.headers.getlist(name)) > 1:
            raise Rejected("repeated-header", f"{name} is there twice: which of them counts?")


async def body_of(request: Request) -> bytes:
    """The body, as far as it may be long.

    Raises:
        TooLarge: it is longer.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > MAX_BODY:
        raise TooLarge
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise TooLarge
    return bytes(body)


def delivery_of(request: Request, body: bytes) -> Delivery:
    """One delivery: a JSON object, or raw bytes with the rest in headers.

    Raises:
        Rejected: it is none.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return _delivery(_json_object(body, _KEYS))
    media = {f.format.media_type: f.format for f in FORMATS.values()}
    if kind != "application/octet-stream" and kind not in media:
        raise Rejected("media-type", f"{kind or 'no content type'}: send application/json or the evidence's media type")
    h = request.headers
    return Delivery(
        id=h.get("ratchet-delivery", ""),
        name=h.get("ratchet-name", ""),
        raw=body,
        format=media.get(kind),
        challenge=_hex(h.get("ratchet-challenge")),
        key=_base64(h["ratchet-key"], "ratchet-key") if "ratchet-key" in h else None,
        region=h.get("ratchet-region"),
        workload=h.get("ratchet-workload"),
    )


def question_of(request: Request, body: bytes) -> tuple[Delivery, str]:
    """What a relying party asks: evidence, with its nonce as the challenge; and who will rely on the answer.

    Raises:
        Rejected: it is no such question.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Rejected("media-type", "a verdict is asked for with application/json")
    said = _json_object(body, _KEYS | {"audience"})
    audience = _text(said, "audience") or ""
    if not 1 <= len(audience) <= 256 or not audience.isprintable():
        raise Rejected("audience", "audience has 1 to 256 printable characters: who will rely on the answer")
    return _delivery(said), audience


def _json_object(body: bytes, keys: frozenset[str]) -> dict[str, Json]:
    """The JSON object of a request, with these keys at most."""
    try:
        said = json.loads(body, object_pairs_hook=_object, parse_constant=_no_constant)
    except Rejected:
        raise
    except (ValueError, RecursionError) as error:
        raise Rejected("not-json", "the body is no JSON value") from error
    if not isinstance(said, dict):
        raise Rejected("not-an-object", "the body is a JSON value, but not an object")
    unknown = sorted(set(said) - keys)
    if unknown:
        raise Rejected("unknown-key", f"{unknown[0]!r} is no key of a delivery: {', '.join(sorted(keys))}")
    return said


def _delivery(said: Mapping[str, Json]) -> Delivery:
    endorsements = said.get("endorsements", [])
    if not isinstance(endorsements, list) or len(endorsements) > 8:
        raise Rejected("endorsements", "endorsements is a list of at most 8")
    name = _text(said, "format")
    if name is not None and name not in FORMATS:
        raise Rejected("format", f"{name!r} is not one of {', '.join(FORMATS)}")
    return Delivery(
        id=_text(said, "delivery") or "",
        name=_text(said, "name") or "",
        raw=_base64(said.get("evidence"), "evidence"),
        format=Format(name) if name else None,
        endorsements=tuple(_base64(one, "endorsements") for one in endorsements),
        challenge=_hex(_text(said, "challenge")),
        key=_base64(said["key"], "key") if said.get("key") is not None else None,
        region=_text(said, "region"),
        workload=_text(said, "workload"),
    )


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """An object with each key once (RFC 8259, 4: of two, readers take different ones)."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise Rejected("repeated-key", "an object of the body has a key twice: which of them counts?")
    return made


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


_KEYS = frozenset({"delivery", "name", "evidence", "format", "endorsements", "challenge", "key", "region", "workload"})


def content(delivery: Delivery) -> str:
    """A hash of what a delivery brings, whatever it is called."""
    said = [delivery.challenge.hex() if delivery.challenge else None, delivery.key.hex() if delivery.key else None]
    return blob_of(canonical([blob_of(delivery.raw), [blob_of(one) for one in delivery.endorsements], *said]))


def _text(said: Mapping[str, Json], key: str) -> str | None:
    value = said.get(key)
    if value is not None and not isinstance(value, str):
        raise Rejected("not-text", f"{key} is text")
    return value


def _base64(value: Json, key: str) -> bytes:
    if not isinstance(value, str):
        raise Rejected("not-base64", f"{key} is base64 text")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Rejected("not-base64", f"{key} is not base64 (RFC 4648, 4)") from error


def _hex(value: str | None) -> bytes | None:
    if value is None:
        return None
    try:
        return bytes.fromhex(value)
    except ValueError as error:
        raise Rejected("not-hex", "challenge is hex") from error
