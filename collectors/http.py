"""`POST /v1/evidence`: where agents send evidence. Answered only when the bytes are safe on disk.

One request is one delivery: a JSON object

    {"delivery": "id given before the first send", "name": "who it is", "evidence": "base64",
     "format"?: "one of docs/formats.md", "endorsements"?: ["base64"], "challenge"?: "hex",
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

import hashlib
import hmac
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

from collectors import request as read
from collectors.delivery import Delivery, Rejected, accept
from ratchet.ear import PROOF_AUDIENCE
from ratchet.event import Event, Json
from ratchet.evidence import Evidence
from ratchet.ports import Blobs, Log, NoSpace, Unreachable

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


class EvidenceAPI:
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
            read.check(request)
            body = await read.body_of(request)
            return await run_in_threadpool(act, sender, request, body)
        except _Quota as quota:
            return _problem(
                429,
                "quota",
                f"this sender brought its {sender.bytes_per_day} bytes of today (UTC)",
                {"Retry-After": str(quota.wait)},
            )
        except read.TooLarge:
            return _problem(413, "too-large", f"a request is at most {read.MAX_BODY} bytes")
        except Rejected as rejected:
            return _problem(422, rejected.code, rejected.why)
        except read.Encoded as encoded:
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
        delivery = read.delivery_of(request, body)
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
        delivery, audience = read.question_of(request, body)
        if audience == PROOF_AUDIENCE:
            raise Rejected("audience", f"{PROOF_AUDIENCE} is how stores are proven: nothing is released for it")
        if delivery.challenge is None:
            raise Rejected("challenge", "challenge is the relying party's nonce, in hex: without it, nobody knows when")
        kept = replace(delivery, challenge=delivery.challenge if sender.gives_challenges else None)
        event, _ = self._accept(sender, kept, within=read.content(kept))
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


class _Quota(Exception):
    """The sender's bytes of today are used up: seconds until there are more."""

    def __init__(self, wait: int) -> None:
        super().__init__(wait)
        self.wait = wait


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
