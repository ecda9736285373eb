"""The servers under attack by real sockets on loopback: who has no token can neither hold them nor fill their log."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from ratchet.app.http_server import Limits, LogLimit, server

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 10.0

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class Site:
    """A small application behind our server, on a port of its own."""

    def __init__(self, limits: Limits) -> None:
        self.release, self.entered = threading.Event(), threading.Semaphore(0)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = self._listening.getsockname()
        self.server = server(
            Starlette(
                routes=[
                    Route("/", self.hello),
                    Route("/read", self.read, methods=["POST"]),
                    Route("/hold", self.hold),
                    Route("/large", self.large),
                ]
            ),
            limits,
        )
        self._thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self._listening]}, daemon=True)
        self._thread.start()
        self.held: list[socket.socket] = []

    async def hello(self, _: Request) -> Response:
        return PlainTextResponse("hello")

    async def read(self, request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    async def hold(self, _: Request) -> Response:
        self.entered.release()
        await asyncio.to_thread(self.release.wait, PATIENCE)
        return PlainTextResponse("held")

    async def large(self, _: Request) -> Response:
        async def parts() -> object:
            for _ in range(1000):
                yield bytes(65536)

        return StreamingResponse(parts())

    def connect(self, first: bytes = b"") -> socket.socket:
        one = socket.create_connection(self.address, timeout=PATIENCE)
        self.held.append(one)
        if first:
            one.sendall(first)
        return one

    def ask(self, request: bytes = GET) -> bytes:
        return answer(self.connect(request))

    def close(self) -> None:
        self.release.set()
        for one in self.held:
            one.close()
        self.server.should_exit = True
        self._thread.join(PATIENCE)


def answer(one: socket.socket) -> bytes:
    """What is received until there is an end of the answer, or of the connection."""
    received = b""
    try:
        while part := one.recv(65536):
            received += part
            head, ends, body = received.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            if ends and length and len(body) >= int(length[1]):
                return received
    except ConnectionResetError:
        pass
    return received


@pytest.fixture
def site() -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(**limits: float) -> Site:
        made.append(Site(Limits(**limits)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_idle_sockets_do_not_keep_others_out(site: Callable[..., Site]) -> None:
    """An attacker opened 1,100 connections, sent nothing, and nobody else was answered any more."""
    attacked = site(connections=16, per_address=16, head_seconds=600.0)
    for _ in range(200):
        attacked.connect()
    assert attacked.ask().startswith(b"HTTP/1.1 200")
    assert len(attacked.server.server_state.connections) <= 16 + 64


def test_half_a_head_or_half_a_body_does_not_keep_others_out(site: Callable[..., Site]) -> None:
    attacked = site(connections=8, per_address=8, head_seconds=600.0, body_seconds=600.0)
    for i in range(60):
        attacked.connect(b"GET / HT" if i % 2 else b"POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nx")
    assert attacked.ask().startswith(b"HTTP/1.1 200")


def test_a_head_that_does_not_end_is_answered_408_and_closed(site: Callable[..., Site]) -> None:
    slow = site(head_seconds=0.05)
    assert slow.ask(b"GET / HTTP/1.1\r\nhost: x\r\n").startswith(b"HTTP/1.1 408")


def test_a_head_that_comes_byte_by_byte_has_no_more_time(site: Callable[..., Site]) -> None:
    """Each byte came in time, and the head never ended (slowloris)."""
    one = site(head_seconds=0.2).connect()
    one.settimeout(0.01)
    received = b""
    for _ in range(1000):
        try:
            one.sendall(b"x")
            received = one.recv(1000)
            break
        except TimeoutError:
            continue
        except (BrokenPipeError, ConnectionResetError):
            break
    else:
        pytest.fail("the connection was still open after a thousand bytes")
    assert received == b"" or received.startswith(b"HTTP/1.1 408")


def test_after_an_answer_the_next_head_has_its_deadline_too(site: Callable[..., Site]) -> None:
    one = (slow := site(head_seconds=0.1)).connect(GET)
    assert answer(one).startswith(b"HTTP/1.1 200")
    one.sendall(b"GET / HT")
    assert answer(one).startswith(b"HTTP/1.1 408")
    assert slow.ask().startswith(b"HTTP/1.1 200")


def test_a_body_that_does_not_end_closes_the_connection(site: Callable[..., Site]) -> None:
    one = site(body_seconds=0.05).connect(b"POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nx")
    assert not answer(one).startswith(b"HTTP/1.1 200")


def test_who_does_not_read_the_answer_loses_the_connection(site: Callable[..., Site]) -> None:
    slow = site(write_seconds=0.05, connections=1)
    reader = slow.connect(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
    for _ in range(1000):  # while it is being answered it does not give way, and then it is gone
        if slow.ask().startswith(b"HTTP/1.1 200"):
            break
    else:
        pytest.fail("a reader that reads nothing held the connection")
    got = sum(len(part) for part in iter(lambda: _rest(reader), b""))
    assert got < 1000 * 65536


def _rest(one: socket.socket) -> bytes:
    try:
        return one.recv(1 << 20)
    except ConnectionResetError:
        return b""


def test_who_is_answered_does_not_give_way_and_a_new_one_is_told_so(site: Callable[..., Site]) -> None:
    full = site(connections=2, per_address=2)
    busy = []
    for _ in range(2):
        busy.append(full.connect(b"GET /hold HTTP/1.1\r\nhost: x\r\n\r\n"))
        assert full.entered.acquire(timeout=PATIENCE)
    refused = full.ask()
    assert refused.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in refused
    assert b'"code":"connections"' in refused
    full.release.set()
    assert all(answer(one).startswith(b"HTTP/1.1 200") for one in busy)
    assert full.ask().startswith(b"HTTP/1.1 200")


def test_one_connection_carries_many_requests(site: Callable[..., Site]) -> None:
    one = site().connect()
    for _ in range(50):
        one.sendall(GET)
        assert answer(one).startswith(b"HTTP/1.1 200")
        one.sendall(b"POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc")
        assert answer(one).endswith(b"3")


FEW_FILES = """
import os, resource, socket, sys
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from ratchet.app.http_server import Limits, server
listening = socket.create_server(("127.0.0.1", 0))
async def hello(_): return PlainTextResponse("hello")
served = server(Starlette(routes=[Route("/", hello)]), Limits(connections=500, per_address=500))
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
print(listening.getsockname()[1], flush=True)
import threading
threading.Thread(target=lambda: (sys.stdin.read(), setattr(served, "should_exit", True)), daemon=True).start()
served.run(sockets=[listening])
"""


def test_when_files_run_out_it_says_so_briefly_and_goes_on(tmp_path: Path) -> None:
    """Accepting was tried again at once, with a traceback each time: 379 MB of log."""
    with (tmp_path / "log").open("w+b") as log:
        run = subprocess.Popen(
            [sys.executable, "-c", FEW_FILES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=ROOT
        )
        assert run.stdin is not None
        assert run.stdout is not None
        port = int(run.stdout.readline())
        attack = [socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) for _ in range(120)]
        last = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        last.sendall(GET)
        for one in attack:
            one.close()
        assert answer(last).startswith(b"HTTP/1.1 200")
        last.close()
        run.stdin.close()
        assert run.wait(PATIENCE) == 0
        run.stdout.close()
        log.seek(0)
        said = log.read()
    assert b"Too many open files" in said
    assert len(said) < 4096


def test_a_log_is_bounded_and_says_what_it_left_out() -> None:
    seconds = [0.0]
    limit = LogLimit(most=2, seconds=60.0, kinds=3, now=lambda: seconds[0])

    def line(text: str) -> logging.LogRecord:
        return logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, text, (), None)

    assert [limit.filter(line("bad request")) for _ in range(5)] == [True, True, False, False, False]
    assert limit.filter(line("another kind"))
    seconds[0] = 61.0
    assert limit.filter(later := line("bad request"))
    assert later.getMessage() == "bad request (and 3 more like it since the last)"
    for i in range(1000):
        assert limit.filter(line(f"kind {i}"))
