"""The console while the log grows, and what its script adds: marks that move, keys, claims that light their bytes."""

from __future__ import annotations

import re

from conftest import Browse, Console
from playwright.sync_api import Page, expect


def remember(page: Page, name: str, selector: str) -> None:
    """Keep a node of the page, to ask later whether it is still the same object."""
    page.evaluate("([name, at]) => { window[name] = document.querySelector(at) }", [name, selector])


def same(page: Page, name: str, selector: str) -> bool:
    """Is it?"""
    return bool(page.evaluate("([name, at]) => window[name] === document.querySelector(at)", [name, selector]))


def test_a_tick_is_on_the_screen_within_a_second_and_moves_nothing_else(browse: Browse, console: Console) -> None:
    page = browse("/")
    evidence = console.pipeline.reader.counts()["evidence"]
    expect(page.locator("#alive")).to_contain_text(f"{evidence} pieces")
    remember(page, "floors", "#floors tbody tr")
    remember(page, "clock", "#alive time")
    console.pipeline.receive("somebody-new", b"no evidence at all", f"live-{evidence}")
    console.pipeline.tick()
    expect(page.locator("#alive")).to_contain_text(f"{evidence + 1} pieces", timeout=1000)
    stamp = console.pipeline.now.strftime("%Y-%m-%d %H:%M:%SZ")
    expect(page.locator("#alive time")).to_have_text(stamp, timeout=1000)
    assert same(page, "clock", "#alive time"), "what changed is changed in place"
    assert same(page, "floors", "#floors tbody tr"), "what did not change was not touched"


def test_a_new_alert_appears_by_itself(browse: Browse, console: Console) -> None:
    page = browse("/alerts")
    before = page.locator("#list tbody tr").count()
    remember(page, "first", "#list tbody tr")
    console.pipeline.receive("another-stranger", b"garbage", f"alert-{before}")
    console.pipeline.tick()
    expect(page.locator("#list tbody tr")).to_have_count(before + 1, timeout=1000)
    expect(page.locator("#list")).to_contain_text("another-stranger")
    assert same(page, "first", "#list tbody tr")


def test_a_list_under_the_pointer_is_not_moved_but_says_that_it_changed(browse: Browse, console: Console) -> None:
    page = browse("/alerts")
    before = page.locator("#list tbody tr").count()
    page.locator("#list tbody tr").last.hover()
    console.pipeline.receive("third-stranger", b"garbage", f"held-{before}")
    console.pipeline.tick()
    expect(page.locator("#list .changed")).to_be_visible(timeout=1000)
    assert page.locator("#list tbody tr").count() == before
    page.mouse.move(5, 5)
    expect(page.locator("#list tbody tr")).to_have_count(before + 1)
    expect(page.locator("#list .changed")).to_be_hidden()


def test_pause_stops_what_moves_and_following_again_catches_up(browse: Browse, console: Console) -> None:
    page = browse("/")
    pulse = page.get_by_role("button", name="Live")
    pulse.click()
    expect(page.locator("html")).to_have_attribute("data-state", "paused")
    evidence = console.pipeline.reader.counts()["evidence"]
    console.pipeline.receive("fourth-stranger", b"garbage", f"paused-{evidence}")
    console.pipeline.tick()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-state", "paused")
    expect(page.locator("#alive")).to_contain_text(f"{evidence + 1} pieces")
    console.pipeline.receive("fourth-stranger", b"more garbage", f"paused-again-{evidence}")
    console.pipeline.tick()
    page.get_by_role("button", name="Paused").click()
    expect(page.locator("html")).to_have_attribute("data-state", "live")
    expect(page.locator("#alive")).to_contain_text(f"{evidence + 2} pieces")


def test_a_decision_made_here_comes_back_through_the_log(browse: Browse, console: Console) -> None:
    page = browse("/")
    row = page.locator("#alerts tbody tr", has_text="certificate-revoked")
    row.get_by_role("button", name=re.compile("^Acknowledge")).click()
    row = page.locator("#alerts tbody tr", has_text="certificate-revoked")
    expect(row).to_contain_text("acknowledged by rana, from the next tick on")
    page.mouse.move(5, 5)
    page.wait_for_selector("html[data-state=live]")
    console.pipeline.tick()
    expect(row.locator(".is")).to_have_text("Acknowledged", timeout=1000)


def test_what_somebody_writes_is_not_taken_away(browse: Browse, console: Console) -> None:
    page = browse("alert")
    page.get_by_label("Comment").fill("half a senten")
    console.pipeline.tick()
    stamp = console.pipeline.now.strftime("%Y-%m-%d %H:%M:%SZ")
    expect(page.locator("#alive time")).to_have_text(stamp)
    expect(page.get_by_label("Comment")).to_have_value("half a senten")
    expect(page.get_by_label("Comment")).to_be_focused()


def test_a_claim_lights_its_bytes_and_bytes_their_claim(browse: Browse) -> None:
    page = browse("evidence")
    claim = page.locator(".claims tr", has=page.get_by_text("Chip ID", exact=True))
    key = claim.get_attribute("data-f")
    claim.hover()
    runs = page.locator(f".hex [data-f='{key}']")
    expect(runs).to_have_count(4)
    for run in runs.all():
        expect(run).to_have_class(re.compile(r"\blit\b"))
    expect(page.locator(f"#b{key}")).to_be_in_viewport()
    page.locator(".hex [data-f]").first.hover()
    expect(page.locator(".claims tr.lit")).to_contain_text("Report version")
    expect(runs.first).not_to_have_class(re.compile(r"\blit\b"))
    # with keys too
    claim.get_by_role("link").focus()
    expect(runs.first).to_have_class(re.compile(r"\blit\b"))


def test_the_claim_behind_a_reason_comes_first_and_its_bytes_are_marked(browse: Browse) -> None:
    page = browse("evidence")
    expect(page.locator("#h-why")).to_have_text("Why it is degraded")
    expect(page.locator(".why h3", has_text="Measurement unknown")).to_be_visible()
    expect(page.locator(".claims tbody tr").first).to_contain_text("Launch measurement")
    expect(page.locator(".hex .cause").first).to_have_text(re.compile("^([0-9a-f]{2} ?){16}$"))
    link = page.get_by_role("link", name="bytes 0x090 +48").first
    link.click()
    expect(page.locator(".hex :target")).to_have_count(1)


def test_every_step_of_the_proof_has_an_outcome_and_a_source(browse: Browse) -> None:
    page = browse("quote")
    steps = page.locator(".steps > li")
    expect(steps).to_have_count(7)
    for step, name in zip(
        steps.all(),
        ("Parse", "Chain", "Revocation", "Signature", "Binding", "Collateral", "Freshness"),
        strict=True,
    ):
        expect(step).to_contain_text(f"{name}: Passed")
        expect(step.locator("p.soft")).not_to_be_empty()
    expect(page.locator(".facts").first).to_contain_text("OutOfDate")
    expect(page.locator(".facts").first).to_contain_text("INTEL-SA-09102")


def test_keys_move_between_rows_and_pages(browse: Browse, console: Console) -> None:
    page = browse("/")
    page.keyboard.press("j")
    expect(page.locator("#alerts tbody tr a.title").first).to_be_focused()
    page.keyboard.press("j")
    expect(page.locator("#alerts tbody tr a.title").nth(1)).to_be_focused()
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/alerts/[0-9a-f]{64}$"))
    page.wait_for_selector("html[data-state=live]")
    page.keyboard.press("g")
    page.keyboard.press("p")
    expect(page).to_have_url(f"{console.origin}/policy")
    page.wait_for_selector("html[data-state=live]")
    page.keyboard.press("?")
    expect(page).to_have_url(f"{console.origin}/help")
    page.wait_for_selector("html[data-state=live]")
    page.keyboard.press("/")
    expect(page.get_by_label("Search")).to_be_focused()
    page.keyboard.type("milan-004")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("milan-004")


def test_who_is_not_signed_in_sees_a_form_and_nothing_else(browse: Browse, console: Console) -> None:
    page = browse("/help")
    page.context.clear_cookies()
    for path in ("/", "/fleet", "/live", "/blobs/" + "0" * 64):
        answer = page.context.request.get(console.origin + path)
        assert answer.status == 401
        assert "milan" not in answer.text()
