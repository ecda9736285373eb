"""A webhook, signed in the way of Standard Webhooks, so that receivers verify it with a library that is there already.

Source: Standard Webhooks 1.0 (spec/standard-webhooks.md): headers `webhook-id`, `webhook-timestamp` and
`webhook-signature`; signed is `<id>.<timestamp>.<body>` with HMAC-SHA256; the body is `{type, timestamp, data}`; any
answer but 2xx is a failure. Trying again is the notify stage's business, with the same id each time.
"""

from __future__ import annotations

import base64
import binascii
import email.utils
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import httpx

from ratchet.event import PREFIX, Event, stamp
from ratchet.ports import Refused, Unreachable
from streams.endpoint import checked, shown
from streams.siem.ecs import Mapper, with_head

if TYPE_CHECKING:
    from ratchet.detect.sigma.rule import Rule

TIMEOUT = 15.0
"""Seconds for one delivery; the specification asks for 15 to 30."""

LONGEST_WAIT = 3600.0
"""Seconds that a receiver may make us wait."""

_NEVER = frozenset({400, 413, 415, 422})
"""Answers that say the same of the same body for ever: trying again would hold up every alert behind it."""


class Webhook:
    """A `ratchet.ports.Notifier`.

    Args:
        url: https, or http to this machine.
        secret: `whsec_` and the base64 of 24 to 64 bytes; in no error, no log, and not in `repr`.
        rules: see `Mapper`.
        name: among the notifiers.
        dangerous_plain_http: allow http beyond loopback.
        now: seconds since 1970; signed, so that receivers can turn old deliveries away.
        client: to send through; one of our own by default.
        head: the newest link of the hash chain (streams/chain.py), sent along.

    Raises:
        ValueError: a URL or secret that must not be used.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        rules: Iterable[Rule] = (),
        name: str = "webhook",
        dangerous_plain_http: bool = False,
        now: Callable[[], float] = time.time,
        client: httpx.Client | None = None,
        head: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._url = checked(url, dangerous_plain_http=dangerous_plain_http)
        self._key, self._who = _key(secret), f"webhook {shown(url)}"
        self._mapper, self._name, self._now, self._head = Mapper(rules), name, now, head
        # No proxies or credentials of the environment, no redirects: it goes where the configuration says, or nowhere.
        self._client = client or httpx.Client(timeout=TIMEOUT, trust_env=False, follow_redirects=False)

    @property
    def name(self) -> str:
        """For receipts and errors."""
        return self._name

    def send(self, event: Event) -> None:
        """One attempt.

        Raises:
            Unreachable: no answer, or one that may be better later; `retry_after` as the receiver asks.
            Refused: this receiver will never take this one, or it is not an event that is told.
        """
        body = json.dumps(
            {
                "type": PREFIX + event.type,
                "timestamp": stamp(event.time),
                "data": with_head(self._mapper.document(event), self._head()),
            },
            separators=(",", ":"),
            ensure_ascii=False,
            allow_nan=False,
        ).encode()
        at = int(self._now())
        headers = {
            "content-type": "application/json",
            "webhook-id": event.id,
            "webhook-timestamp": str(at),
            "webhook-signature": signature(self._key, event.id, at, body),
        }
        try:
            # The answer's body is never read: it can only be large, and nothing follows from it.
            with self._client.stream("POST", self._url, content=body, headers=headers) as answer:
                status, wait = answer.status_code, answer.headers.get("retry-after")
        except httpx.HTTPError as why:
            raise Unreachable(self._who, f"{type(why).__name__} {why}") from why
        if 200 <= status < 300:
            return
        if status in _NEVER:
            raise Refused(f"{self._who} answered {status} to {event.id[:16]}: it will not take this one")
        raise Unreachable(self._who, f"it answered {status}", retry_after=self._seconds(status, wait))

    def _seconds(self, status: int, text: str | None) -> float | None:
        """Retry-After in seconds (RFC 9110, 10.2.3: a number or a date). Gone (410) means long, and not soon."""
        if status == 410:
            return LONGEST_WAIT
        if text is None:
            return None
        try:
            wait = float(text) if text.isascii() and text.isdigit() else _date(text) - self._now()
        except (ValueError, TypeError, OverflowError):
            return None
        return min(max(wait, 0.0), LONGEST_WAIT) or None


def signature(key: bytes, id: str, at: int, body: bytes) -> str:
    """`v1,` and the base64 of HMAC-SHA256 over `<id>.<timestamp>.<body>`."""
    mac = hmac.new(key, f"{id}.{at}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(mac).decode("ascii")


def _date(text: str) -> float:
    return email.utils.parsedate_to_datetime(text).timestamp()


def _key(secret: str) -> bytes:
    """The bytes of a secret. What is wrong with it is said without showing it."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_").encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        key = b""
    if not secret.startswith("whsec_") or not 24 <= len(key) <= 64:
        raise ValueError("the secret is not `whsec_` and the base64 of 24 to 64 bytes (Standard Webhooks)")
    return key
