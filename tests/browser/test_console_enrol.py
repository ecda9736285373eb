"""Machines that wait and senders that have proved nothing, in a real browser: seen, and enrolled with a click."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from conftest import Console
from pipeline import TENANT
from playwright.sync_api import Page

from ratchet.event import stamp
from streams.archive.sqlite import SqliteReader

Browse = Callable[..., Page]
IDENTITY = "chip:" + "ab" * 64


@pytest.fixture
def waiting(console: Console, monkeypatch: pytest.MonkeyPatch) -> Console:
    """The console of a fleet to which a machine wants to belong, and a sender that has proved nothing."""
    at = console.pipeline.reader.history("ticks", "0", 1)[0].event.time
    common: dict[str, Any] = {
        "tenant": TENANT,
        "region": "eu-1",
        "workload": None,
        "family": "snp/Milan",
        "tee": "snp",
        "since": stamp(at),
        "seen": stamp(at),
        "evidence": "e" * 64,
    }
    machine = {**common, "identity": IDENTITY, "name": "node-77", "recognition": "waiting", "moved_from": None}
    remedy = (
        "get it from https://kdsintf.amd.com/vcek/v1/Milan/" + "ab" * 64 + "?blSPL=4&teeSPL=0&snpSPL=24&ucodeSPL=219"
    )
    missing = {"code": "no_endorsement_key", "component": "vcek", "got": None, "want": "a VCEK", "source": "AMD 57230"}
    sender = {
        **common,
        "identity": "hint:node-78",
        "hint": "node-78",
        "tier": "none",
        "genuine": False,
        "fresh": True,
        "verdict": "f" * 64,
        "reasons": ["no_endorsement_key"],
        "missing": [{**missing, "remedy": remedy}],
        "simulated": False,
    }
    monkeypatch.setattr(SqliteReader, "waiting", lambda self: [machine])
    monkeypatch.setattr(SqliteReader, "senders", lambda self: [sender])
    return console


@pytest.mark.parametrize("size", ["laptop", "phone"])
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_who_waits_and_what_is_missing_fit_on_the_page(
    waiting: Console, browse: Browse, size: str, colours: str
) -> None:
    page = browse("/fleet", size, color_scheme=colours)
    assert page.locator("#waiting").get_by_text("node-77").first.is_visible()
    assert page.locator("#senders").get_by_text("/Milan/" + "ab" * 64 + "?blSPL=4").first.is_visible(), (
        "the whole address"
    )
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_a_click_enrols_the_machine(waiting: Console, browse: Browse) -> None:
    page = browse("/fleet")
    page.locator("#waiting button").first.click()
    page.wait_for_url("**/fleet")
    (decided,) = waiting.pipeline.reader.history("decisions", IDENTITY)
    assert decided.event.type == "decision.enrolled.v1"
    assert page.locator("#waiting").get_by_text("from the next tick on").is_visible()
