"""The console in a real browser: every page on every screen in both themes, and what people do with them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import SIZES, Browse, Console
from pipeline import HOSTILE
from playwright.sync_api import Page, expect

from ratchet.words import STANDING

PAGES = (
    "/",
    "/alerts",
    "alert",
    "hostile alert",
    "/fleet",
    "machine",
    "/evidence",
    "evidence",
    "quote",
    "hostile evidence",
    "/policy",
    "proposal",
    "reviewed proposal",
    "/dead-letters",
    "dead letter",
    "/search?q=milan",
    "/help",
)

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def faults(page: Page) -> list[str]:
    """What axe finds: rule, and the first place of each."""
    found: dict[str, Any] = Axe().run(page, options={"runOnly": RULES, "resultTypes": ["violations"]}).response
    return [f"{v['id']}: {v['nodes'][0]['target']} {v['nodes'][0]['failureSummary']}" for v in found["violations"]]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("path", PAGES)
def test_every_page_can_be_used_by_everybody(browse: Browse, path: str, size: str, theme: str) -> None:
    page = browse(path, size, color_scheme=theme)
    assert faults(page) == []
    wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wider == 0, "it scrolls sideways"
    assert page.evaluate("performance.getEntriesByType('navigation')[0].decodedBodySize") < 55_000


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_that_asks_for_the_token_is_for_everybody(browse: Browse, console: Console, theme: str) -> None:
    page = browse("/help", "phone", color_scheme=theme)
    page.goto(f"{console.origin}/login")
    assert faults(page) == []
    expect(page.get_by_label("Token")).to_be_focused()


def test_axe_runs_and_sees_a_planted_fault(browse: Browse) -> None:
    page = browse("/")
    page.evaluate(
        "document.getElementById('q').labels[0].remove(); document.getElementById('q').removeAttribute('placeholder')"
    )
    assert any(fault.startswith("label:") for fault in faults(page))


def test_a_hostile_name_stays_text(browse: Browse) -> None:
    for path in ("/alerts", "hostile alert", "/evidence", "hostile evidence"):
        page = browse(path)
        expect(page.locator("body")).to_contain_text("<script>alert(1)</script>")
        assert page.locator("script").count() == 1, path
        assert "\u202e" not in page.content(), path
    assert HOSTILE.startswith("<script>")


def test_colours_are_not_the_only_sign_of_standing(browse: Browse) -> None:
    page = browse("/")
    for tier, word in STANDING.items():
        tile = page.locator("#standing a").filter(has=page.get_by_text(word, exact=True))
        expect(tile).to_have_count(1)
        assert tile.locator(f"use[href$='#{tier}']").count() == 1


def test_without_script_one_filters_decides_and_reads_on(browse: Browse, console: Console) -> None:
    page = browse("/alerts", java_script_enabled=False)
    page.get_by_role("link", name=re.compile("^machine-silent")).click()
    expect(page).to_have_url(re.compile(r"\?rule=machine-silent"))
    expect(page.locator("#list tbody tr")).to_have_count(1)
    page.locator("#list a.title").click()
    page.get_by_label("Comment").fill("the rack is being moved")
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.locator("#alert")).to_contain_text("recorded; takes effect at the next tick")
    console.pipeline.tick()
    page.reload()
    expect(page.locator("#alert .head")).to_contain_text("Acknowledged")
    expect(page.locator("#alert")).to_contain_text("the rack is being moved")
    assert console.pipeline.latest("decisions").data["by"] == "rana"


def test_what_cannot_be_signed_here_says_how_it_is_signed(browse: Browse, console: Console) -> None:
    page = browse("proposal")
    button = page.get_by_role("button", name=re.compile("^Approve: refuse 5 machines"))
    expect(button).to_be_disabled()
    expect(button).to_have_accessible_description(
        re.compile("signed with your Ed25519 key, and this console never holds one")
    )
    id = console.path("proposal").rsplit("/", 1)[1]
    expect(page.locator("#command")).to_have_text(re.compile(f"^ratchet approve {id[:16]} --as NAME --reason"))
    for name in ("sapphire-001", "sapphire-004", "sapphire-007", "sapphire-008"):
        expect(page.locator("#proposal table").first).to_contain_text(name)
    expect(page.locator("#proposal")).to_contain_text("needs 8")


def test_bad_input_is_seen_with_its_bytes(browse: Browse) -> None:
    page = browse("/")
    page.locator("#letters a.title").click()
    expect(page.locator("h1")).to_have_text("Document unknown")
    expect(page.get_by_role("region", name="Bytes", exact=True)).to_contain_text(
        "6e 6f 74 20 61 20 64 6f 63 75 6d 65 6e 74 00 ff"
    )
    expect(page.get_by_role("region", name="Bytes", exact=True)).to_contain_text("not a document..")


def test_simulated_roots_are_shown_where_their_verdicts_are(browse: Browse) -> None:
    expect(browse("/").locator("#simulated")).to_contain_text("22 machines")
    expect(browse("evidence").locator(".head")).to_contain_text("Simulated root: Simulated ARK-Milan")
    expect(browse("machine").locator(".head")).to_contain_text("Simulated root: Simulated ARK-Milan")
    expect(browse("alert").locator(".head")).to_contain_text("Simulated root: Simulated ARK-Milan")


def test_forced_colours_keep_signs_and_bars(browse: Browse) -> None:
    page = browse("/", forced_colors="active")
    expect(page.locator("#standing .share rect").first).to_be_visible()
    assert faults(page) == []
