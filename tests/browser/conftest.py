"""A real Chromium, a real pipeline behind the console, and a `browse` that forgives nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from pipeline import HOSTILE, OPERATOR, TENANT, Pipeline, run
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from dashboards.console import app, serve
from dashboards.console.guard import LoginToken
from ratchet.app import http_server

SIZES = {"laptop": (1280, 800), "wall": (1920, 1080), "phone": (390, 844)}

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """The browser. Its event loop runs in this thread until it is closed, so it must not outlive its tests."""
    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=chromium, headless=True, args=list(FLAGS))
        yield started
        started.close()


@dataclass
class Console:
    """The console of a pipeline, listening; `pipeline` is driven by the test."""

    pipeline: Pipeline
    origin: str
    cookies: list[Any]

    def path(self, what: str) -> str:
        """The address of a page, by what is on it."""
        reader = self.pipeline.reader
        rules = {a["rule"]: a for a in reversed(reader.alerts().rows)}
        waiting = [p["proposal"] for p in reader.proposals("proposed")]
        match what:
            case "alert":
                return f"/alerts/{rules['firmware-rolled-back']['alert']}"
            case "hostile alert":
                return f"/alerts/{next(a for a in reader.alerts().rows if a['subject'].startswith('hint:<'))['alert']}"
            case "machine":
                return f"/machines/{rules['firmware-rolled-back']['machines'][0]}"
            case "evidence":
                return f"/evidence/{rules['measurement-unknown']['causes'][-1]}"
            case "quote":
                return f"/evidence/{rules['tcb-out-of-date']['causes'][-1]}"
            case "hostile evidence":
                return f"/evidence/{self.pipeline.latest('verdicts', identity=f'hint:{HOSTILE}').id}"
            case "proposal":
                return f"/proposals/{next(p for p in waiting if p['exact'])['proposal']}"
            case "reviewed proposal":
                return f"/proposals/{next(p for p in waiting if not p['exact'])['proposal']}"
            case "dead letter":
                return f"/dead-letters/{reader.dead_letters().rows[0]['id']}"
        return what


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Console]:
    """The pipeline after a bad day, and its console with somebody signed in."""
    pipeline = run(tmp_path_factory.mktemp("data"))
    token = LoginToken("rana")
    secret = token.issue(datetime.now(UTC))
    listening = socket.create_server(("127.0.0.1", 0))
    server = http_server.server(
        app.create(
            pipeline.reader,
            lambda topic, event: pipeline.append(topic, event),
            tenant=TENANT,
            token=token,
            hosts=serve.hosts(listening),
            now=lambda: datetime.now(UTC),
            key=OPERATOR,
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    origin = f"http://{serve.hosts(listening)[0]}"
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{origin}/login")
    page.get_by_label("Token").fill(secret)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{origin}/")
    cookies = context.cookies()
    context.close()
    yield Console(pipeline, origin, cookies)
    server.should_exit = True
    thread.join(timeout=5)


Browse = Callable[..., Page]


@pytest.fixture
def browse(console: Console, browser: Browser) -> Iterator[Browse]:
    """Opens a page as one who is signed in. Its test fails on any console message, page error or request elsewhere."""
    wrong: list[str] = []
    contexts: list[BrowserContext] = []

    def open_page(path: str = "/", size: str = "laptop", **options: Any) -> Page:
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        context.add_cookies(console.cookies)
        page = context.new_page()
        page.on("console", lambda m: wrong.append(f"console {m.type}: {m.text}"))
        page.on("pageerror", lambda e: wrong.append(f"page error: {e}"))
        page.on(
            "request", lambda r: None if r.url.startswith(f"{console.origin}/") else wrong.append(f"request: {r.url}")
        )
        answer = page.goto(console.origin + console.path(path))
        assert answer is not None
        assert answer.ok, (path, answer.status)
        if options.get("java_script_enabled", True):
            page.wait_for_selector("html[data-state=live]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []
