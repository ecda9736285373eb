"""The HTTP server that the evidence API, the console and the bundle are served by: uvicorn, with bounds.

Whoever can open a connection can hold one, without a token. So each server bounds what a connection costs:

1. A request's head, and then its body, must be complete within a deadline; so must the reading of an answer.
2. Connections are limited in all and for each address (IPv6: for each /64, the least that one customer has, RFC 6177).
   At the limit the connection that has waited longest for a request gives way to the new one: idle sockets cannot keep
   others out. Only when all are being answered is a new one refused, with 503.
3. The limits stay below the number of files that the process may open, with room for the database (`RESERVED`).
   If files run out all the same, asyncio stops accepting for a second, and says so once.
4. What is logged is bounded: a few lines of one kind a minute, then how many were left out. There is no access log.

Sources: CWE-400, CWE-770, CWE-779; RFC 9110, 15.5.9 (408) and 15.6.4 (503).
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import resource
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

RESERVED = 256
"""Files that the process keeps for itself: database, Git, stores, and connections that are about to be refused."""

SERVERS = 3
"""How many of these servers one process runs, at most: the evidence API, the console, the bundle."""

AT_ONE_GO = 64
"""Connections that are accepted at one go: above the limits only so many are open briefly."""

QUEUE = 1024
"""Connections that wait in the kernel to be accepted; when there are more, it makes them try again a second later."""

HEAD_BYTES = 16 * 1024
"""Bytes of a request's head."""

FILES_WANTED = 8192
"""Files that the process asks to be allowed to open, where the system permits it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server bears.

    Attributes:
        connections: at once.
        per_address: at once from one address.
        head_seconds: until a request's head is complete, from the connection's start or the answer before.
        body_seconds: until its body is.
        write_seconds: until somebody who reads an answer has read on.
    """

    connections: int = 512
    per_address: int = 128
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    write_seconds: float = 30.0


def server(app: ASGIApp, limits: Limits | None = None) -> uvicorn.Server:
    """A server for the application: `server(app).run(sockets=[listening])`.

    A stop waits one second for open streams. Headers that name proxies are not believed.
    """
    limits = limits or Limits()
    connections = Connections(min(limits.connections, _files() // SERVERS), limits.per_address)

    def protocol(**given: Any) -> asyncio.Protocol:
        return BoundedProtocol(connections, limits, **given)

    config = uvicorn.Config(
        app,
        http=protocol,  # type: ignore[arg-type]  # uvicorn calls it, whatever makes the protocol
        loop="asyncio",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=HEAD_BYTES,
        backlog=AT_ONE_GO,
        lifespan="off",
        ws="none",
    )
    for name in ("uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        if not any(isinstance(one, LogLimit) for one in logger.filters):
            logger.addFilter(LogLimit())
    return _Server(config)


def _files() -> int:
    """How many connections all servers may have together, by the number of files that the process may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES_WANTED:
        wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
        soft = max(soft, wanted)
    return FILES_WANTED if soft == resource.RLIM_INFINITY else max(SERVERS, soft - RESERVED)


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(_said_shortly)
        await super().startup(sockets)
        for one in sockets or ():
            one.listen(QUEUE)


def _said_shortly(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What went wrong in the loop, in a line: of files that ran out, asyncio would print a traceback each time."""
    failure = context.get("exception")
    if isinstance(failure, OSError):
        logging.getLogger("asyncio").error("%s: %s", context.get("message"), failure.strerror)
    else:
        loop.default_exception_handler(context)


class Connections:
    """Who is connected, by address, and in which order they wait for a request."""

    def __init__(self, most: int, per_address: int) -> None:
        """Nobody yet."""
        self._most, self._per_address = most, per_address
        self._by_address: dict[str, dict[BoundedProtocol, None]] = {}
        self._waiting: dict[BoundedProtocol, None] = {}  # in order: who has waited longest comes first
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def admit(self, connection: BoundedProtocol) -> bool:
        """Take it in, if need be in the place of one that waits; False: there is no room."""
        mine = self._by_address.get(connection.address, {})
        if len(mine) >= self._per_address:
            if not self._give_way(next((one for one in self._waiting if one.address == connection.address), None)):
                return False
        elif self._total >= self._most:
            # The crowded address gives way, so that one sender's idle connections do not cost another its own.
            crowded = max(self._by_address.values(), key=len)
            if not self._give_way(next((one for one in self._waiting if one in crowded), None)) and not self._give_way(
                next(iter(self._waiting), None)
            ):
                return False
        self._by_address.setdefault(connection.address, {})[connection] = None
        self._total += 1
        return True

    def waits(self, connection: BoundedProtocol) -> None:
        """It waits for a request from now on."""
        self._waiting.pop(connection, None)
        self._waiting[connection] = None

    def answers(self, connection: BoundedProtocol) -> None:
        """It has a whole request: it does not give way."""
        self._waiting.pop(connection, None)

    def gone(self, connection: BoundedProtocol) -> None:
        """It is closed; repeating changes nothing."""
        self._waiting.pop(connection, None)
        mine = self._by_address.get(connection.address, {})
        if connection in mine:
            del mine[connection]
            self._total -= 1
        if not mine:
            self._by_address.pop(connection.address, None)

    def _give_way(self, oldest: BoundedProtocol | None) -> bool:
        if oldest is None:
            return False
        self.gone(oldest)
        oldest.transport.abort()
        return True


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 on one connection, with deadlines; see the module."""

    def __init__(self, connections: Connections, limits: Limits, **given: Any) -> None:
        """`given` is what uvicorn gives to a protocol."""
        super().__init__(**given)
        self._open, self._limits = connections, limits
        self._phase = ""
        self._deadline: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self.address = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take it in, or answer that there is no room."""
        super().connection_made(transport)
        # asyncio leaves Nagle's algorithm on where a listening socket was made without naming TCP: 40 ms an answer.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.address = _network(self.client[0] if self.client else "")
        if not self._open.admit(self):
            transport.write(_FULL)
            transport.close()
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        for timer in (self._deadline, self._writing):
            if timer is not None:
                timer.cancel()
        self._open.gone(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A piece of a request."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """An answer is out."""
        super().on_response_complete()
        self._watch(anew=True)

    def pause_writing(self) -> None:
        """Whoever reads the answer is slow."""
        super().pause_writing()
        self._writing = self.loop.call_later(self._limits.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """They have read on."""
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        super().resume_writing()

    def _watch(self, anew: bool = False) -> None:
        """Set the deadline of the phase that the connection is in, when it has come into it."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            phase, seconds = "head", self._limits.head_seconds
        elif cycle.more_body:
            phase, seconds = "body", self._limits.body_seconds
        else:
            phase, seconds = "answer", 0.0
        if phase == self._phase and not anew:
            return
        self._phase = phase
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self.transport.is_closing():
            return
        if phase == "answer":
            self._open.answers(self)
        else:
            self._open.waits(self)
            self._deadline = self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        """The deadline is over (RFC 9110, 15.5.9: whoever tires of waiting for a request answers 408, and closes)."""
        if self.cycle is None or self._phase == "head":
            self.transport.write(_LATE)
            self.transport.close()
        else:
            self.transport.abort()


def _answer(status: bytes, code: str, detail: str, retry: bytes = b"") -> bytes:
    body = f'{{"type":"about:blank","status":{status[:3].decode()},"code":"{code}","detail":"{detail}"}}'.encode()
    return (
        b"HTTP/1.1 " + status + b"\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n" + retry
        + b"connection: close\r\ncontent-length: " + str(len(body)).encode() + b"\r\n\r\n" + body
    )  # fmt: skip


_FULL = _answer(
    b"503 Service Unavailable", "connections", "as many connections are open as may be", b"retry-after: 1\r\n"
)
_LATE = _answer(b"408 Request Timeout", "request-late", "the request was not complete in time")


def _network(host: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 that an IPv6 address is in."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


class LogLimit(logging.Filter):
    """Lets through `most` lines of one kind in `seconds`; the next line after that says how many were left out."""

    def __init__(
        self, most: int = 5, seconds: float = 60.0, kinds: int = 100, now: Callable[[], float] = time.monotonic
    ) -> None:
        """A line's kind is its message before anything is put into it; of more than `kinds` the oldest is forgotten."""
        super().__init__()
        self._most, self._seconds, self._kinds, self._now = most, seconds, kinds, now
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this line is written."""
        kind, at = str(record.msg)[:200], self._now()
        begun, count = self._seen.get(kind, (at, 0))
        if at - begun >= self._seconds:
            if count > self._most:
                record.msg = f"{record.msg} (and {count - self._most} more like it since the last)"
            begun, count = at, 0
        self._seen.pop(kind, None)
        if len(self._seen) >= self._kinds:
            del self._seen[next(iter(self._seen))]
        self._seen[kind] = (begun, count + 1)
        return count < self._most
