"""The console without a browser: who is let in, what every answer carries, what is shown and what may be decided."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from console_world import HOST, HOSTILE, NOON, OPERATOR, Browser, Fleet, Memory, reason

from dashboards.console import app, guard, live, phrases
from ratchet.event import digest, stamp
from ratchet.ports import Record
from ratchet.rollout.approval import DecisionKeys, decision_objection, public_key


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture
def browser(fleet: Fleet) -> Browser:
    return Browser(fleet.reader).sign_in()


# --- the guard ---


def test_a_token_opens_one_session_and_no_second(fleet: Fleet) -> None:
    browser = Browser(fleet.reader)
    assert browser.ask("/").status_code == 401
    first = browser.post("/login", {"token": browser.secret})
    assert (first.status_code, first.headers["location"]) == (303, "/")
    cookie = first.headers["set-cookie"]
    assert cookie.startswith("ratchet-8400=")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert browser.secret not in cookie
    assert browser.ask("/").status_code == 200
    other = Browser(fleet.reader)
    other.app = browser.app
    assert other.post("/login", {"token": browser.secret}).status_code == 403


def test_a_token_is_typed_into_the_page_that_asks_for_it_and_is_in_no_address(fleet: Fleet) -> None:
    browser = Browser(fleet.reader)
    assert 'method="post" action="/login"' in browser.ask("/").text
    assert browser.ask(f"/login?token={browser.secret}").status_code == 200
    assert browser.ask("/").status_code == 401, "an address with the token in it opens nothing"
    assert browser.post("/login", {"token": f" {browser.secret} "}).status_code == 303
    assert browser.ask("/").status_code == 200


def test_another_page_cannot_sign_anybody_in(fleet: Fleet) -> None:
    browser = Browser(fleet.reader)
    assert browser.post("/login", {"token": browser.secret}, "http://evil.example").status_code == 403
    assert browser.post("/login", {"token": browser.secret}).status_code == 303


def test_a_token_is_void_after_ten_minutes(fleet: Fleet) -> None:
    browser = Browser(fleet.reader)
    browser.clock += guard.TOKEN_LIFE
    assert browser.post("/login", {"token": browser.secret}).status_code == 403


def test_only_hashes_of_token_and_session_are_kept(browser: Browser) -> None:
    kept = repr(vars(browser.app)) + repr(vars(browser.token))
    assert browser.secret not in kept
    assert all(value not in kept for value in browser.cookies.values())


def test_a_session_ends_after_a_day_of_work_and_when_one_signs_out(browser: Browser) -> None:
    browser.clock += guard.SESSION_LIFE - timedelta(seconds=1)
    assert browser.ask("/").status_code == 200
    assert browser.post("/logout", {}).status_code == 200
    assert browser.ask("/").status_code == 401
    again = Browser(Memory()).sign_in()
    again.clock += guard.SESSION_LIFE
    assert again.ask("/").status_code == 401


def test_a_name_that_is_rebound_to_us_is_refused(browser: Browser) -> None:
    assert browser.ask("/", headers={"host": "evil.example"}).status_code == 400
    assert browser.ask("/static/console.css", headers={"host": "127.0.0.1:1"}).status_code == 400


@pytest.mark.parametrize("origin", ["http://evil.example", "null", f"https://{HOST}", "http://127.0.0.1:8401"])
def test_another_page_cannot_decide(fleet: Fleet, browser: Browser, origin: str) -> None:
    alert = fleet.alert(fleet.attests("cvm-1", "warning"))
    assert browser.post(f"/alerts/{alert}/resolve", {"status": "open"}, origin).status_code == 403
    bare = browser.ask(f"/alerts/{alert}/resolve", "POST", data={"status": "open"})
    assert bare.status_code == 403
    assert browser.sent == []


@pytest.mark.parametrize("body", [b"--x\r\nno such header", b"", b"--x\r\n" * 9])
def test_what_is_no_form_is_refused_before_and_after_signing_in(story: Fleet, body: bytes) -> None:
    headers = {"origin": f"http://{HOST}", "content-type": "multipart/form-data; boundary=x"}
    browser = Browser(story.reader)
    assert browser.ask("/login", "POST", headers, content=body).status_code in (400, 403)
    browser.sign_in()
    alert = next(r.event.data["alert"] for r in story.reader.log if r.topic == "alerts")
    assert browser.ask(f"/alerts/{alert}/resolve", "POST", headers, content=body).status_code in (400, 409)
    assert browser.sent == []


def test_forms_are_short_and_methods_few(browser: Browser) -> None:
    assert browser.post("/logout", {"comment": "x" * guard.BODY_LIMIT}).status_code == 413
    assert browser.ask("/", "DELETE").status_code == 405


def test_every_answer_carries_the_headers_errors_too(fleet: Fleet) -> None:
    fleet.attests("cvm-1")
    outside, inside = Browser(fleet.reader), Browser(fleet.reader).sign_in()

    class Broken(Memory):
        def counts(self) -> Mapping[str, int]:
            raise OSError("the disk is gone")

    broken = Browser(Broken()).sign_in()
    answers = [
        outside.ask("/"),
        outside.ask("/static/console.js"),
        outside.ask("/login"),
        inside.ask("/"),
        inside.ask("/nothing"),
        inside.ask("/static/nothing.css"),
        inside.ask("/", headers={"host": "evil.example"}),
        broken.ask("/"),
    ]
    assert [a.status_code for a in answers] == [401, 200, 200, 200, 404, 404, 400, 500]
    for answer in answers:
        for name, value in guard.HEADERS.items():
            assert answer.headers.get_list(name) == [value]
        static = answer.request.url.path.startswith("/static/")
        assert answer.headers["cache-control"] == ("no-cache" if static else "no-store")
    assert "unsafe" not in guard.POLICY
    assert "http" not in guard.POLICY


def test_under_tls_the_cookie_is_pinned_to_its_host() -> None:
    assert guard.cookie_name("ratchet.example", True) == "__Host-ratchet-443"
    assert guard.cookie_name("[::1]:8400", False) == "ratchet-8400"
    assert guard.cookie_name("[::1]", False) == "ratchet-80"


# --- pages ---


def pages(fleet: Fleet) -> list[str]:
    reader = fleet.reader
    verdict = next(r.event for r in reversed(reader.log) if r.topic == "verdicts")
    alert = next(r.event.data["alert"] for r in reversed(reader.log) if r.topic == "alerts")
    letter = next(r.event for r in reader.log if r.topic == "dead-letters")
    proposal = reader.waiting_proposals[0]["proposal"]["proposal"]
    return [
        "/",
        "/alerts",
        "/alerts?level=high",
        f"/alerts/{alert}",
        "/fleet",
        "/fleet?tier=warning",
        f"/machines/{phrases.part(verdict.subject)}",
        "/evidence",
        f"/evidence/{verdict.id}",
        "/policy",
        f"/proposals/{proposal}",
        f"/proposals/{proposal}?all",
        "/dead-letters",
        f"/dead-letters/{letter.id}",
        "/search",
        "/search?q=cvm",
        "/help",
    ]


@pytest.fixture
def story(fleet: Fleet) -> Fleet:
    for n in range(5):
        fleet.attests(f"cvm-mil-{n:06}", simulated=n == 0)
    bad = [reason("firmware_rolled_back", "reported.snp", 23, 24, "update SEV firmware to 24")]
    fleet.attests("cvm-mil-004711")
    fleet.alert(fleet.attests("cvm-mil-004711", "warning", 23, reasons=bad), level="critical")
    hostile = fleet.attests(
        HOSTILE,
        "contraindicated",
        raw=b"<img src=x>" * 9,
        simulated=True,
        reasons=[reason("unparsed", "report", HOSTILE, "a report that can be read")],
    )
    fleet.alert(hostile, "evidence-failed", title=f"{HOSTILE}: evidence that cannot be read")
    fleet.proposal(41)
    fleet.letter(b"not evidence\x00\xff" * 200)
    fleet.tick()
    return fleet


def test_every_page_is_whole_and_light_with_a_hostile_name_in_it(story: Fleet) -> None:
    browser = Browser(story.reader).sign_in()
    for path in pages(story):
        answer = browser.ask(path)
        assert answer.status_code == 200, path
        assert len(answer.content) < 55_000, path
        assert answer.text.endswith("</html>")
        assert "<script>alert" not in answer.text
        assert "<img" not in answer.text
        assert "\u202e" not in answer.text, path
        assert not re.search(r'\sstyle=|\son[a-z]+=|(src|href)="https?:', answer.text), path


def test_an_empty_fleet_says_so_on_every_page(browser: Browser) -> None:
    for path in ("/", "/alerts", "/fleet", "/evidence", "/policy", "/dead-letters", "/search?q=nobody"):
        answer = browser.ask(path)
        assert answer.status_code == 200
        assert 'class="empty"' in answer.text


def test_the_overview_ranks_what_needs_somebody(story: Fleet) -> None:
    text = Browser(story.reader).sign_in().ask("/").text
    assert text.index("SNP firmware went back") < text.index("evidence-failed")
    assert "41 would be refused" in text
    assert "2 machines verified with simulated vendor roots" in text


def test_who_does_not_answer_is_named_and_nobody_when_all_do(story: Fleet) -> None:
    browser = Browser(story.reader).sign_in()
    assert re.search(r'<section[^>]*id="silent"[^>]* hidden>', browser.ask("/").text)
    story.reader.told = [
        {"name": "webhook", "since": "2026-11-23T11:00:00.000000Z", "error": "refused: 127.0.0.1:9"},
        {"name": "ndjson", "since": None, "error": None},
    ]
    text = browser.ask("/").text.split('id="silent"')[1].split("</section>")[0]
    assert "webhook" in text
    assert "refused: 127.0.0.1:9" in text
    assert "ndjson" not in text


def test_simulated_roots_are_named_wherever_their_verdicts_are(story: Fleet) -> None:
    browser = Browser(story.reader).sign_in()
    hostile = next(r.event for r in reversed(story.reader.log) if r.topic == "verdicts")
    alert = next(r.event.data["alert"] for r in reversed(story.reader.log) if r.topic == "alerts")
    for path in (
        "/fleet",
        "/evidence",
        f"/evidence/{hostile.id}",
        f"/alerts/{alert}",
        f"/machines/{phrases.part(hostile.subject)}",
    ):
        main = browser.ask(path).text.split("simulated vendor roots")[1]
        assert "imulated" in main, path


def test_facets_count_what_the_others_leave(story: Fleet) -> None:
    text = Browser(story.reader).sign_in().ask("/alerts?level=critical").text
    assert "SNP firmware went back" in text
    assert "evidence that cannot be read" not in text
    assert "?level=high" in text, "another level can be chosen"
    assert "rule=evidence-failed" not in text, "a rule that no critical alert has is no choice"


def test_a_proposal_of_another_policy_says_in_words_what_differs_and_what_is_signed(story: Fleet) -> None:
    row = story.reader.waiting_proposals[0]
    said = {"family": "policy", "floor": None, "before": None, "policy": {"name": "b"}, "policy_before": {"name": "a"}}
    diff = ["accept: OutOfDate is accepted with any advisory   (LOOSER)", "trusted_for: 7200 becomes 3600"]
    inner = {**row["proposal"], **said, "diff": diff, "tightening": False, "exact": False}
    story.reader.waiting_proposals[0] = {**row, "proposal": inner, "pushes": "5e" * 32}
    browser = Browser(story.reader).sign_in()
    text = browser.ask(f"/proposals/{inner['proposal']}").text
    assert "accept: OutOfDate is accepted with any advisory" in text
    assert "trusted_for: 7200 becomes 3600" in text
    assert "looser" in text
    assert ("5e" * 32)[:12] in text, "the hash of the whole policy"
    for page in ("/", "/policy"):
        assert "Policy: accept: OutOfDate" in browser.ask(page).text


def test_a_proposal_shows_whom_why_and_the_command_that_signs(story: Fleet) -> None:
    browser = Browser(story.reader).sign_in()
    id = story.reader.waiting_proposals[0]["proposal"]["proposal"]
    text = browser.ask(f"/proposals/{id}").text
    assert "cvm-mil-000011" in text
    assert "cvm-mil-000012" not in text
    assert "SNP 22, needs 24" in text
    assert f"ratchet approve {id[:16]}" in text
    button = re.search(r"<button[^>]*>(?:(?!</button>).)*Approve", text, re.S)
    assert button is not None
    assert "disabled" in button.group()
    assert "never holds one" in text
    assert "cvm-mil-000040" in browser.ask(f"/proposals/{id}?all").text


def test_a_floor_that_was_loosened_for_a_time_says_so_wherever_it_is(story: Fleet) -> None:
    browser = Browser(story.reader).sign_in()
    row = story.reader.waiting_proposals[-1]  # the floor in force came of it
    pages = ("/", "/policy", f"/proposals/{row['proposal']['proposal']}")
    assert not any("Loosened until" in browser.ask(page).text for page in pages)
    row["expires"] = "2026-12-01T10:00:00.000000Z"
    try:
        for page in pages:
            assert re.search(r"Loosened until <time[^>]*>2026-12-01 10:00:00Z", browser.ask(page).text), page
    finally:
        del row["expires"]


def test_evidence_is_reached_by_its_own_id_too(story: Fleet) -> None:
    browser = Browser(story.reader).sign_in()
    sent = next(r.event for r in story.reader.log if r.topic == "evidence" and r.event.subject == "cvm-mil-004711")
    assert "Is it genuine?" in browser.ask(f"/evidence/{sent.id}").text


def test_bytes_are_given_to_keep_and_not_to_show(story: Fleet) -> None:
    answer = Browser(story.reader).sign_in().ask(f"/blobs/{digest(b'<img src=x>' * 9)}")
    assert answer.content == b"<img src=x>" * 9
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment;")


def test_search_goes_straight_to_a_machine_a_record_or_says_what_is_wrong(story: Fleet) -> None:
    browser = Browser(story.reader).sign_in()
    assert browser.ask("/search?q=cvm-mil-004711").headers["location"].startswith("/machines/chip%3A")
    alert = next(r.event.data["alert"] for r in story.reader.log if r.topic == "alerts")
    assert browser.ask(f"/search?q={alert[:12]}").headers["location"] == f"/alerts/{alert}"
    assert "a bracket is not closed" in browser.ask("/search?q=((").text


# --- deciding ---


def test_acknowledging_writes_one_event_in_the_name_of_who_signed_in(story: Fleet) -> None:
    browser = Browser(story.reader).sign_in()
    alert = next(r.event.data["alert"] for r in story.reader.log if r.topic == "alerts")
    answer = browser.post(f"/alerts/{alert}/acknowledge", {"status": "open", "comment": "on it", "back": "/"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    [(topic, event)] = browser.sent
    assert (topic, event.type, event.subject, event.tenant) == ("decisions", "decision.acknowledged.v1", alert, "acme")
    said = {name: event.data[name] for name in ("alert", "by", "comment")}
    assert said == {"alert": alert, "by": "rana", "comment": "on it"}
    assert decision_objection(DecisionKeys(operators=(public_key(OPERATOR),)), event) is None
    assert event.time >= story.at, "a decision is not late"
    # and until a tick takes it up, the page says that it is written
    story.reader.add(topic, replace(event, time=story.at + timedelta(seconds=1)))
    assert "acknowledged by rana, from the next tick on" in browser.ask("/").text


def test_a_decision_on_what_has_changed_since_is_refused(story: Fleet) -> None:
    browser = Browser(story.reader).sign_in()
    alert = next(r.event.data["alert"] for r in story.reader.log if r.topic == "alerts")
    answer = browser.post(f"/alerts/{alert}/resolve", {"status": "acknowledged"})
    assert answer.status_code == 409
    assert "by now" in answer.text
    assert browser.post(f"/alerts/{alert}/erase", {"status": "open"}).status_code == 404
    assert browser.post("/alerts/0000000000/resolve", {"status": "open"}).status_code == 404
    assert browser.sent == []


def test_a_decision_never_leads_elsewhere(story: Fleet) -> None:
    browser = Browser(story.reader).sign_in()
    alert = next(r.event.data["alert"] for r in story.reader.log if r.topic == "alerts")
    answer = browser.post(f"/alerts/{alert}/resolve", {"status": "open", "back": "//evil.example"})
    assert answer.headers["location"] == f"/alerts/{alert}"


def test_alerts_of_another_tenant_are_not_decided_here(story: Fleet) -> None:
    browser = Browser(story.reader)
    browser.app = app.create(
        story.reader,
        lambda *_: None,
        tenant="other",
        token=browser.token,
        hosts=(HOST,),
        now=lambda: NOON,
        key=OPERATOR,
    )
    browser.sign_in()
    alert = next(r.event.data["alert"] for r in story.reader.log if r.topic == "alerts")
    assert browser.post(f"/alerts/{alert}/resolve", {"status": "open"}).status_code == 403


# --- live ---


def test_the_log_is_looked_at_only_while_somebody_listens(fleet: Fleet) -> None:
    fleet.attests("cvm-1")

    async def tale() -> None:
        changes = live.Changes(fleet.reader, period=0)
        assert not changes.watching
        assert fleet.reader.looks == 0
        first, second = changes.stream(), changes.stream()
        assert await anext(first) == b"retry: 1000\n\n"
        assert await anext(second) == b"retry: 1000\n\n"
        fleet.attests("cvm-2")
        said = b'event: change\ndata: ["evidence", "verdicts"]\n\n'
        assert await anext(first) == said, "what was there before is not told, what is new is"
        assert await anext(second) == said
        await first.aclose()
        assert changes.watching
        await second.aclose()
        await asyncio.sleep(0)
        assert not changes.watching

    asyncio.run(tale())


def test_a_stream_ends_when_its_session_does_and_others_go_on(fleet: Fleet) -> None:
    fleet.attests("cvm-1")

    async def tale() -> None:
        changes = live.Changes(fleet.reader, period=0)
        mine, theirs = object(), object()
        first, second = changes.stream(mine), changes.stream(theirs)
        await anext(first)
        await anext(second)
        changes.end(mine)
        assert [part async for part in first] == []
        fleet.attests("cvm-2")
        assert b"verdicts" in await anext(second)
        await second.aclose()

    asyncio.run(tale())


def test_one_session_cannot_take_every_stream(fleet: Fleet) -> None:
    fleet.attests("cvm-1")

    async def tale() -> None:
        changes = live.Changes(fleet.reader, period=0)
        mine = object()
        streams = [changes.stream(mine) for _ in range(live.MOST_EACH)]
        for one in streams:
            assert not changes.full(mine)
            await anext(one)
        assert changes.full(mine)
        assert not changes.full(object())
        for one in streams:
            await one.aclose()

    asyncio.run(tale())


def test_signing_out_ends_the_sessions_streams(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that was left open went on to be told what changes, for an hour."""
    ended: list[object] = []
    monkeypatch.setattr(live.Changes, "end", lambda _, owner: ended.append(owner))
    assert browser.ask("/").status_code == 200
    assert browser.post("/logout", {}).status_code == 200
    (session,) = ended
    assert isinstance(session, guard.Session)


def test_a_reader_that_fails_ends_the_streams_so_that_browsers_connect_again(fleet: Fleet) -> None:
    class Gone(Memory):
        def since(self, offset: int, limit: int = 1000) -> Sequence[Record]:
            raise OSError("the disk is gone")

    async def tale() -> None:
        changes = live.Changes(Gone(), period=0)
        assert [part async for part in changes.stream()] == [b"retry: 1000\n\n"]
        assert not changes.watching

    asyncio.run(tale())


# --- searches ---


def test_a_session_runs_two_searches_at_once_and_pages_are_answered_meanwhile(fleet: Fleet, browser: Browser) -> None:
    """One search held up the event loop, and with it every page, for as long as it took."""
    fleet.attests("cvm-1")
    started, go_on = threading.Semaphore(0), threading.Event()
    search = fleet.reader.search

    def slow(query: str, limit: int = 100, seconds: float | None = None) -> Iterator[Record]:
        assert seconds == app.SEARCH_SECONDS
        started.release()
        go_on.wait(10)
        return search(query, limit)

    fleet.reader.search = slow
    headers = {"host": HOST, "cookie": "; ".join(f"{k}={v}" for k, v in browser.cookies.items())}

    async def tale() -> None:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=browser.app), base_url=f"http://{HOST}", headers=headers
        ) as client:
            running = [asyncio.create_task(client.get("/search?q=anything")) for _ in range(app.SEARCHES_EACH)]
            for _ in running:
                await asyncio.to_thread(started.acquire)
            assert (await client.get("/help")).status_code == 200, "the event loop is free"
            refused = await client.get("/search?q=anything")
            assert refused.status_code == 429
            assert "Other searches are running" in refused.text
            go_on.set()
            assert [one.status_code for one in await asyncio.gather(*running)] == [200] * app.SEARCHES_EACH
            assert (await client.get("/search?q=anything")).status_code == 200

    asyncio.run(tale())


def test_a_machine_that_waits_is_enrolled_with_one_click_by_who_is_signed_in(fleet: Fleet, browser: Browser) -> None:
    fleet.attests("cvm-1")
    identity = "chip:" + "ab" * 64
    fleet.reader.unenrolled.append(
        {
            "tenant": "acme",
            "identity": identity,
            "name": HOSTILE[:128],
            "region": "eu-1",
            "workload": None,
            "family": "snp/Milan",
            "tee": "snp",
            "since": stamp(fleet.at),
            "seen": stamp(fleet.at),
            "evidence": "e" * 64,
            "recognition": "moved",
            "moved_from": "chip:" + "cd" * 64,
        }
    )
    page = browser.ask("/fleet").text
    assert "Waiting to be enrolled" in page
    assert "<script>alert" not in page
    (said,) = re.findall('name="shown" value="([0-9a-f]{64})"', page)
    # what it is called may have changed since the page was drawn: nothing is decided then
    fleet.reader.unenrolled[0] = {**(row := fleet.reader.unenrolled[0]), "name": "another"}
    assert browser.post("/fleet/enrol", {"identity": identity, "shown": said}).status_code == 409
    assert browser.post("/fleet/enrol", {"identity": identity}).status_code == 409
    fleet.reader.unenrolled[0] = row
    answer = browser.post("/fleet/enrol", {"identity": identity, "shown": said})
    assert (answer.status_code, answer.headers["location"]) == (303, "/fleet")
    ((topic, event),) = browser.sent
    assert (topic, event.type, event.data["identity"]) == ("decisions", "decision.enrolled.v1", identity)
    assert decision_objection(DecisionKeys(operators=(public_key(OPERATOR),)), event) is None
    # not one that does not wait, and not from another page
    assert browser.post("/fleet/enrol", {"identity": "chip:" + "00" * 64}).status_code == 404
    assert browser.post("/fleet/enrol", {"identity": identity}, "http://evil.example").status_code == 403
    assert len(browser.sent) == 1


def test_senders_that_have_proved_nothing_are_listed_with_what_is_missing(fleet: Fleet, browser: Browser) -> None:
    reason = {"code": "no_endorsement_key", "component": "vcek", "got": None, "want": "a VCEK", "source": "AMD 57230"}
    fleet.reader.unproven.append(
        {
            "tenant": "acme",
            "identity": "hint:new-1",
            "hint": "new-1",
            "region": None,
            "workload": None,
            "tee": "snp",
            "family": "snp/Milan",
            "tier": "none",
            "genuine": False,
            "fresh": True,
            "since": stamp(fleet.at),
            "seen": stamp(fleet.at),
            "evidence": "e" * 64,
            "verdict": "f" * 64,
            "reasons": ["no_endorsement_key"],
            "missing": [{**reason, "remedy": "get it from https://kdsintf.amd.com/vcek/v1/Milan/00"}],
            "simulated": False,
        }
    )
    page = browser.ask("/fleet").text
    assert "Have proved nothing yet" in page
    assert "https://kdsintf.amd.com/vcek/v1/Milan/00" in page
    assert "new-1" not in browser.ask("/fleet?tier=affirming").text
