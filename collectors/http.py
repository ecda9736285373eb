"""`POST /v1/evidence`: where agents send evidence. Answered only when the bytes are safe on disk.

One request is one delivery: a JSON object

    {"delivery": "id given before the first send", "name": "who it is", "evidence": "base64",
     "format"?: "sgx-quote | tdx-quote | snp-report", "endorsements"?: ["base64"], "challenge"?: "hex",
     "key"?: "base64", "region"?: "…", "workload"?: "…"}

or the raw bytes with `Content-Type: application/octet-stream` or `application/vnd.ratchet.<format>` (the media type in
which a RATS CMW record carries them) and the rest in `Ratchet-Delivery`, `Ratchet-Name`, `Ratchet-Challenge`,
`Ratchet-Key`, `Ratchet-Region` and `Ratchet-Workload` headers. `key` is the public key (DER) or the run-time data that
the attester bound into report data; anybody may send it, for report data say whether it is so. The same delivery id
again is a retry: it changes nothing and is answered the same.

A challenge proves that evidence is fresh only where the attester did not choose it (RFC 9334, 10.2). So only a sender
that is configured as one that gives challenges, a collector that made it and asked for the evidence, may say what it
was; of another the whole delivery is refused, for without the challenge it would be another delivery. In the same way
only the configuration says of a sender that it vouches for freshness; no request can.

Every sender has a bearer token (RFC 6750, 2.1), of which only the SHA-256 is kept, a size limit, a rate and a number of
bytes for each UTC day. When the disk is nearly full nothing is taken any more, so that what was taken before can still
be judged and read. Answers are problem details (RFC 9457) with a stable `code`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Protocol

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from collectors.delivery import Delivery, Rejected, accept
from ratchet.ear import PROOF_AUDIENCE
from ratchet.event import Event, Json, canonical
from ratchet.event import digest as blob_of
from ratchet.evidence import FORMATS, MAX_EVIDENCE, Evidence, Format
from ratchet.ports import Blobs, Log, NoSpace, Unreachable

MAX_BODY = 4 * MAX_EVIDENCE
"""Bytes of a request: evidence and endorsements in base64, with room for the rest."""

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'",
}


@dataclass(frozen=True, slots=True)
class Sender:
    """Who may send.

    Attributes:
        name: for the event's source.
        token_sha256: of its bearer token, hex.
        rate: requests a second that it may sustain.
        burst: requests that it may send at once.
        gives_challenges: it makes challenges, and is believed what it asked; never an attester itself.
        vouches_freshness: what it delivers is believed to be fresh without a challenge: a collector that reads a log to
            which only trusted parties write, as they write it; never an attester itself.
        bytes_per_day: evidence and endorsements that it may bring on one UTC day.
    """

    name: str
    token_sha256: str
    rate: float = 50.0
    burst: int = 200
    gives_challenges: bool = False
    vouches_freshness: bool = False
    bytes_per_day: int = 4 << 30


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float = field(default=0.0)


@dataclass(slots=True)
class _Day:
    """What one sender brought on a UTC day."""

    date: date
    taken: int


class RelyingParties(Protocol):
    """What judges for relying parties."""

    def __call__(self, evidence: Evidence, audience: str, at: datetime) -> Mapping[str, Json]:
        """The answer of `POST /v1/verdict`: a signed EAR, its status, and the reasons."""

    def jwks(self, at: datetime) -> tuple[Mapping[str, Json], int]:
        """The keys of the tokens, and for how many seconds they may be cached."""


class Entrance:
    """Takes requests; see the module's description.

    Args:
        senders: who may send; none: every request is refused.
        log, blobs: where deliveries go.
        tenant: whose they are.
        now: the wall clock; gives a delivery its time.
        monotonic: seconds, for the rates.
        room: whether the disk has room for more evidence.
        taken: bytes that each sender, by name, has brought today already.
        relying: judges for relying parties; None: there is no `POST /v1/verdict`.
    """

    def __init__(
        self,
        senders: tuple[Sender, ...],
        log: Log,
        blobs: Blobs,
        tenant: str,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        room: Callable[[], bool] = lambda: True,
        taken: Mapping[str, int] = MappingProxyType({}),
        relying: RelyingParties | None = None,
    ) -> None:
        self._senders = senders
        self._log, self._blobs, self._tenant, self._now, self._monotonic = log, blobs, tenant, now, monotonic
        self._buckets: dict[str, _Bucket] = {s.name: _Bucket(float(s.burst)) for s in senders}
        self._room, self._relying = room, relying
        self._counting = threading.Lock()
        today = now().astimezone(UTC).date()
        self._days = {s.name: _Day(today, taken.get(s.name, 0)) for s in senders}

    def app(self) -> Starlette:
        """The ASGI application."""
        made = Starlette(
            routes=[
                Route("/v1/evidence", self._post, methods=["POST"]),
                Route("/healthz", _health, methods=["GET"]),
                *(
                    [
                        Route("/v1/verdict", self._verdict, methods=["POST"]),
                        Route("/v1/jwks", self._jwks, methods=["GET"]),
                    ]
                    if self._relying is not None
                    else ()
                ),
            ],
            exception_handlers={404: _not_found, 405: _not_allowed},
        )
        # Starlette would redirect `/v1/evidence/` to whatever place the Host header names.
        made.router.redirect_slashes = False
        return made

    async def _post(self, request: Request) -> Response:
        return await self._take_in(request, self._keep)

    async def _verdict(self, request: Request) -> Response:
        return await self._take_in(request, self._judge)

    async def _take_in(self, request: Request, act: Callable[[Sender, Request, bytes], Response]) -> Response:
        """Whoever may send, within their bounds: what is to be done with the body, then."""
        sender = self._who(request)
        if sender is None:
            return _problem(401, "unauthenticated", "no sender has this bearer token", {"WWW-Authenticate": "Bearer"})
        wait = self._take(sender)
        if wait > 0:
            return _problem(429, "too-many", "this sender's rate is used up", {"Retry-After": str(math.ceil(wait))})
        if not self._room():
            return _full()
        try:
            _plain(request)
            body = await _body(request)
            return await run_in_threadpool(act, sender, request, body)
        except _Quota as quota:
            return _problem(
                429,
                "quota",
                f"this sender brought its {sender.bytes_per_day} bytes of today (UTC)",
                {"Retry-After": str(quota.wait)},
            )
        except _TooLarge:
            return _problem(413, "too-large", f"a request is at most {MAX_BODY} bytes")
        except Rejected as rejected:
            return _problem(422, rejected.code, rejected.why)
        except _Encoded as encoded:
            return _problem(
                415, "content-encoding", f"{encoded}: a body is sent as it is", {"Accept-Encoding": "identity"}
            )
        except NoSpace:
            return _full()
        except Unreachable:
            return _problem(503, "keys", "the keys that sign cannot be read", {"Retry-After": "60"})
        except ClientDisconnect:
            return _problem(400, "cut-short", "the request ended before its body did")

    def _keep(self, sender: Sender, request: Request, body: bytes) -> Response:
        delivery = _read(request, body)
        if delivery.challenge is not None and not sender.gives_challenges:
            raise Rejected("challenge-not-yours", "this sender gives no challenges: it would vouch for itself")
        event, new = self._accept(sender, delivery)
        return JSONResponse(
            {"id": event.id, "blob": event.data["blob"], "repeated": not new},
            status_code=201 if new else 200,
            headers=_HEADERS,
        )

    def _judge(self, sender: Sender, request: Request, body: bytes) -> Response:
        """A verdict for a relying party: the nonce is its challenge, whoever brings it, for it knows what it gave.

        On the log the challenge counts only where the sender gives challenges, as for any evidence. What is judged here
        is there, whatever the sender brought under the same delivery id before.
        """
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Rejected("media-type", "a verdict is asked for with application/json")
        said = _said(body, _KEYS | {"audience"})
        audience = _text(said, "audience") or ""
        if not 1 <= len(audience) <= 256 or not audience.isprintable():
            raise Rejected("audience", "audience has 1 to 256 printable characters: who will rely on the answer")
        if audience == PROOF_AUDIENCE:
            raise Rejected("audience", f"{PROOF_AUDIENCE} is how stores are proven: nothing is released for it")
        delivery = _delivery(said)
        if delivery.challenge is None:
            raise Rejected("challenge", "challenge is the relying party's nonce, in hex: without it, nobody knows when")
        kept = replace(delivery, challenge=delivery.challenge if sender.gives_challenges else None)
        event, _ = self._accept(sender, kept, within=_content(kept))
        assert self._relying is not None  # its route is there
        evidence = Evidence(
            delivery.raw,
            format=delivery.format,
            endorsements=delivery.endorsements,
            challenge=delivery.challenge,
            key=delivery.key,
        )
        answer = self._relying(evidence, audience, self._now())
        return JSONResponse({**answer, "evidence": event.id}, headers=_HEADERS)

    def _accept(self, sender: Sender, delivery: Delivery, within: str = "") -> tuple[Event, bool]:
        delivery = replace(delivery, vouched=sender.vouches_freshness)
        if wait := self._take_bytes(sender, delivery.size):
            raise _Quota(wait)
        source = f"/collectors/http/{sender.name}"
        return accept(delivery, self._log, self._blobs, source, self._tenant, self._now(), within=within)

    def _jwks(self, _: Request) -> Response:
        """The keys of the tokens: public, and cacheable for less than a new one is published before it signs."""
        assert self._relying is not None  # its route is there
        try:
            keys, seconds = self._relying.jwks(self._now())
        except Unreachable:
            return _problem(503, "keys", "the keys cannot be read", {"Retry-After": "60"})
        headers = {**_HEADERS, "Cache-Control": f"public, max-age={seconds}"}
        return JSONResponse(keys, headers=headers, media_type="application/jwk-set+json")

    def _who(self, request: Request) -> Sender | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not 16 <= len(token) <= 512:
            return None
        digest = hashlib.sha256(token.encode()).hexdigest()
        found = None
        for sender in self._senders:  # all are compared, so that time does not tell which came close
            if hmac.compare_digest(sender.token_sha256, digest):
                found = sender
        return found

    def _take(self, sender: Sender) -> float:
        """Take one from the sender's bucket; else how many seconds until there is one."""
        bucket, now = self._buckets[sender.name], self._monotonic()
        bucket.tokens = min(float(sender.burst), bucket.tokens + max(0.0, now - bucket.at) * sender.rate)
        bucket.at = now
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / sender.rate
        bucket.tokens -= 1
        return 0.0

    def _take_bytes(self, sender: Sender, size: int) -> int:
        """Take them from the sender's day; else how many seconds until there is a new one."""
        now, day = self._now().astimezone(UTC), self._days[sender.name]
        with self._counting:
            if now.date() > day.date:
                day.date, day.taken = now.date(), 0
            if day.taken + size > sender.bytes_per_day:
                midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC)
                return max(1, math.ceil((midnight - now).total_seconds()))
            day.taken += size
        return 0


class _TooLarge(Exception):
    pass


class _Quota(Exception):
    """The sender's bytes of today are used up: seconds until there are more."""

    def __init__(self, wait: int) -> None:
        super().__init__(wait)
        self.wait = wait


class _Encoded(Exception):
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


def _plain(request: Request) -> None:
    """Refuse what two readers could read as two different things."""
    encodings = request.headers.getlist("content-encoding")
    if any(one.strip().lower() not in ("", "identity") for one in encodings):
        raise _Encoded(", ".join(encodings)[:100])
    for name in _ONCE:
        if len(request.headers.getlist(name)) > 1:
            raise Rejected("repeated-header", f"{name} is there twice: which of them counts?")


async def _body(request: Request) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > MAX_BODY:
        raise _TooLarge
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise _TooLarge
    return bytes(body)


def _read(request: Request, body: bytes) -> Delivery:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return _delivery(_said(body, _KEYS))
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


def _said(body: bytes, keys: frozenset[str]) -> dict[str, Json]:
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


def _content(delivery: Delivery) -> str:
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


def _problem(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(
        {"type": "about:blank", "status": status, "code": code, "detail": detail},
        status_code=status,
        media_type="application/problem+json",
        headers={**_HEADERS, **(headers or {})},
    )


def _full() -> Response:
    return _problem(
        503, "disk", "the disk is nearly full: nothing was kept, send it again later", {"Retry-After": "60"}
    )


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"}, headers=_HEADERS)


async def _not_found(_request: Request, _error: Exception) -> Response:
    return _problem(404, "not-found", "there is nothing at this path: POST /v1/evidence")


async def _not_allowed(request: Request, _error: Exception) -> Response:
    takes = "GET" if request.url.path in ("/healthz", "/v1/jwks") else "POST"
    return _problem(405, "method", f"this path takes {takes}", {"Allow": takes})
