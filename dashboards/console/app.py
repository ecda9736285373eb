"""The console as an ASGI application. Pages come from the read side (`ratchet.ports.Reader`) alone.

Every page is its own partial: the browser's script asks for the same address again when the log says that something
changed, and puts in place what differs. So filters and permissions exist once, and everything works without script.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from dashboards.console import phrases
from dashboards.console.guard import Guard, LoginToken, Session, page
from dashboards.console.live import Changes
from dashboards.console.views import Views
from ratchet.detect.alerts import by_hand
from ratchet.event import BlobId, Event, canonical, digest, parse_time
from ratchet.ports import NoSpace, Reader, Record
from ratchet.rollout.approval import decision
from ratchet.words import because, standing, summary

HERE = Path(__file__).parent

COMMENT = 500
"""Characters of a comment that are kept."""

SEARCH_SECONDS = 5.0
"""Until a search is stopped: whoever waits longer wants to ask for less."""

SEARCHES, SEARCHES_EACH = 8, 2
"""Searches at once, in all and of one session."""

LONGEST_NAME = 200
"""Characters of what may be a machine's name or an id."""

_VERBS = {"acknowledge": "acknowledged", "resolve": "resolved"}


def create(
    reader: Reader,
    submit: Callable[[str, Event], None],
    *,
    tenant: str,
    token: LoginToken,
    hosts: Collection[str],
    now: Callable[[], datetime],
    key: bytes,
) -> ASGIApp:
    """The console.

    Args:
        reader: the read side; searches call it from other threads than pages do.
        submit: takes (topic, event): decisions about alerts. Returns when they are safe.
        tenant: whose fleet is shown, and whose decisions are made.
        token: the one-time login; `token.issue(now())` is what to print.
        hosts: Host headers that are answered, with port.
        now: the wall's clock, for sessions; pages speak of the time of the log's last tick.
        key: the data directory's operator key, 32 bytes: signs what a session's user decides.
    """
    console = _Console(reader, submit, tenant, now, key)
    return Guard(console.app(), token=token, hosts=hosts, now=now, ended=console.ended)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a search found: another page, records, or what is wrong with it."""

    elsewhere: str | None = None
    rows: tuple[Record, ...] = ()
    wrong: str | None = None


class _Console:
    """The routes. Each page is one view (views.py) and one template."""

    def __init__(
        self,
        reader: Reader,
        submit: Callable[[str, Event], None],
        tenant: str,
        now: Callable[[], datetime],
        key: bytes,
    ) -> None:
        self._reader, self._submit, self._tenant, self._now, self._key = reader, submit, tenant, now, key
        self._views = Views(reader, tenant)
        self._changes = Changes(reader)
        self._searching: list[Session] = []
        self._pages = environment()

    def app(self) -> ASGIApp:
        return Starlette(
            routes=[
                Route("/", self.overview),
                Route("/live", self.live),
                Route("/alerts", self.alerts),
                Route("/alerts/{id}", self.alert),
                Route("/alerts/{id}/{verb}", self.decide, methods=["POST"]),
                Route("/fleet", self.fleet),
                Route("/fleet/enrol", self.enrol, methods=["POST"]),
                Route("/machines/{name:path}", self.machine),
                Route("/evidence", self.latest),
                Route("/evidence/{id}", self.evidence),
                Route("/policy", self.policy),
                Route("/proposals/{id}", self.proposal),
                Route("/dead-letters", self.letters),
                Route("/dead-letters/{id}", self.letter),
                Route("/records/{id}", self.record),
                Route("/blobs/{id}", self.blob),
                Route("/search", self.search),
                Route("/help", self.help),
                Mount("/static", StaticFiles(directory=HERE / "static")),
            ],
            exception_handlers={HTTPException: self.problem},
        )

    # Async throughout, though nothing is awaited: Starlette runs plain functions in other threads, and the reader is
    # used from this one alone.

    async def overview(self, request: Request) -> Response:
        return self._page(request, "overview", "Overview", self._views.overview())

    async def alerts(self, request: Request) -> Response:
        ask = request.query_params
        found = self._views.alerts(ask.get("status"), ask.get("level"), ask.get("rule"))
        return self._page(request, "alerts", "Alerts", found)

    async def alert(self, request: Request) -> Response:
        found = _found(self._views.alert(request.path_params["id"]), "alert")
        return self._page(request, "alert", "Alerts", found)

    async def fleet(self, request: Request) -> Response:
        ask = request.query_params
        tier = ask.get("tier") if ask.get("tier") in phrases.TIERS else None
        return self._page(request, "fleet", "Fleet", self._views.fleet(tier, ask.get("family"), ask.get("after")))

    async def machine(self, request: Request) -> Response:
        found = _found(self._views.machine(request.path_params["name"]), "machine")
        return self._page(request, "machine", "Fleet", found)

    async def latest(self, request: Request) -> Response:
        return self._page(request, "latest", "Evidence", {"rows": self._views.latest()})

    async def evidence(self, request: Request) -> Response:
        found = _found(self._views.evidence(request.path_params["id"]), "evidence")
        return self._page(request, "evidence", "Evidence", found)

    async def policy(self, request: Request) -> Response:
        return self._page(request, "policy", "Policy", self._views.policy())

    async def proposal(self, request: Request) -> Response:
        found = _found(self._views.proposal(request.path_params["id"]), "proposal")
        return self._page(request, "proposal", "Policy", {"p": found, "all": "all" in request.query_params})

    async def letters(self, request: Request) -> Response:
        return self._page(request, "letters", "Evidence", self._views.letters(request.query_params.get("after")))

    async def letter(self, request: Request) -> Response:
        found = _found(self._views.letter(request.path_params["id"]), "dead letter")
        return self._page(request, "letter", "Evidence", found)

    async def help(self, request: Request) -> Response:
        return self._page(request, "help", "", {})

    async def record(self, request: Request) -> Response:
        """Any record as the log has it."""
        record: Record = _found(self._reader.event(request.path_params["id"]), "record")
        return JSONResponse({"topic": record.topic, "offset": record.offset, **record.event.envelope()})

    async def blob(self, request: Request) -> Response:
        """Raw bytes, to keep and never to show: a sender chose them."""
        id = request.path_params["id"]
        raw = _found(self._reader.blob(BlobId(id)), "blob")
        name = f'attachment; filename="{"".join(c for c in id if c in "0123456789abcdef")}.bin"'
        return Response(raw, media_type="application/octet-stream", headers={"content-disposition": name})

    async def live(self, request: Request) -> Response:
        session: Session = request.state.session
        if self._changes.full(session):
            return PlainTextResponse("as many pages are open as this console follows", 503)
        life = (session.until - self._now()).total_seconds()
        return StreamingResponse(self._changes.stream(session, life), media_type="text/event-stream")

    def ended(self, session: Session) -> None:
        """A session is over: what is open for it is closed."""
        self._changes.end(session)

    async def search(self, request: Request) -> Response:
        """One machine, one record by its id, or what the search language finds."""
        query = request.query_params.get("q", "").strip()
        session: Session = request.state.session
        if len(self._searching) >= SEARCHES or self._searching.count(session) >= SEARCHES_EACH:
            found = _Found(wrong="Other searches are running: wait until they end, then search again.")
            return self._found(request, query, found, 429)
        self._searching.append(session)
        try:
            # In another thread, so that pages and streams are answered meanwhile; readers have a connection for each.
            found = await run_in_threadpool(self._look_for, query)
        finally:
            self._searching.remove(session)
        if found.elsewhere is not None:
            return RedirectResponse(found.elsewhere, 303)
        return self._found(request, query, found, 200)

    def _look_for(self, query: str) -> _Found:
        if query and len(query) <= LONGEST_NAME and (machine := self._reader.machine(query)):
            return _Found(elsewhere=f"/machines/{phrases.part(machine['identity'])}")
        if 8 <= len(query) <= LONGEST_NAME and (record := self._reader.event(query)):
            return _Found(elsewhere=where(record))
        try:
            found = self._reader.search(query, 50, SEARCH_SECONDS) if query else iter(())
            return _Found(rows=tuple(islice(found, 50)))
        except ValueError as error:
            return _Found(wrong=str(error))

    def _found(self, request: Request, query: str, found: _Found, status: int) -> Response:
        said = {"q": query, "rows": found.rows, "wrong": found.wrong, "where": where}
        return self._page(request, "search", "", said, status)

    async def decide(self, request: Request) -> Response:
        """Acknowledge or resolve an alert: an event, taken up by the next tick."""
        id, verb = request.path_params["id"], request.path_params["verb"]
        if verb not in _VERBS:
            raise HTTPException(404, "There is no such decision.")
        alert = _found(self._views.alert(id), "alert")["alert"]
        if alert["tenant"] != self._tenant:
            raise HTTPException(403, "This alert is another tenant's.")
        form = await request.form(max_fields=8, max_files=0)
        if form.get("status") != alert["status"]:
            raise HTTPException(409, f"This alert is {alert['status']} by now: look again before you decide.")
        session: Session = request.state.session
        at = max(self._now(), self._views.frame(self._now())["at"], parse_time(alert["updated"]))
        comment = str(form.get("comment", ""))[:COMMENT]
        word = _VERBS[verb]
        if word == "resolved" and not by_hand(alert):
            raise HTTPException(409, "This alert ends when every store has proved the end of the loosening.")
        said = {"alert": alert["alert"], "by": session.name, "comment": comment}
        event = decision(self._key, word, alert["alert"], said, tenant=self._tenant, at=at, source="/console")
        try:
            self._submit("decisions", event)
        except NoSpace as error:
            raise HTTPException(503, "The disk is full: nothing was decided. Make room, then decide again.") from error
        back = str(form.get("back", ""))
        return RedirectResponse(back if back in ("/", "/alerts") else f"/alerts/{alert['alert']}", 303)

    async def enrol(self, request: Request) -> Response:
        """Enrol a machine that waits: an event, taken up by the next tick."""
        form = await request.form(max_fields=8, max_files=0)
        row = _found(self._views.waits(str(form.get("identity", ""))), "machine that waits")
        if form.get("shown") != shown(row):
            raise HTTPException(409, "This machine goes by another name by now: look again before you decide.")
        session: Session = request.state.session
        at = max(self._now(), self._views.frame(self._now())["at"], parse_time(row["seen"]))
        said = {"identity": row["identity"], "name": row["name"], "by": session.name, "comment": ""}
        event = decision(self._key, "enrolled", row["identity"], said, tenant=self._tenant, at=at, source="/console")
        try:
            self._submit("decisions", event)
        except NoSpace as error:
            raise HTTPException(503, "The disk is full: nothing was decided. Make room, then decide again.") from error
        return RedirectResponse("/fleet", 303)

    async def problem(self, request: Request, error: Exception) -> Response:
        status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "")
        if not hasattr(request.state, "session"):  # a style sheet that is not there: who asks may see nothing else
            return page("Not here", "There is no such file.", status)
        return self._page(request, "problem", "", {"detail": detail}, status)

    def _page(
        self, request: Request, template: str, section: str, found: dict[str, Any], status: int = 200
    ) -> Response:
        frame = self._views.frame(self._now())
        session: Session = request.state.session
        text = self._pages.get_template(f"{template}.html").render(
            **frame, **found, section=section, path=request.url.path, who=session.name
        )
        return HTMLResponse(text, status)


def where(record: Record) -> str:
    """The page of a record."""
    event = record.event
    match record.topic:
        case "verdicts":
            return f"/evidence/{event.id}"
        case "alerts":
            return f"/alerts/{event.data['alert']}"
        case "proposals":
            return f"/proposals/{event.data['proposal']}"
        case "dead-letters":
            return f"/dead-letters/{event.id}"
        case _:
            return f"/records/{event.id}"


def shown(row: Mapping[str, Any]) -> str:
    """What a person was shown of a machine that waits: it may send under another name before they decide."""
    return digest(canonical([row["name"], row["recognition"], row["moved_from"]]))


def environment() -> Environment:
    """Templates, with everything escaped, nothing hidden and nothing undefined."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "ago": phrases.ago,
        "clip": phrases.clip,
        "component": phrases.component,
        "exact": phrases.exact,
        "family": phrases.family,
        "icon": phrases.icon,
        "part": phrases.part,
        "say": phrases.say,
        "short": phrases.short,
        "shown": shown,
        "tidy": phrases.tidy,
        "words": phrases.words,
        "held": because,
        "standing": standing,
        "summary": summary,
    }
    made.globals |= {
        "is_digest": re.compile(r"[0-9a-f]{64}").fullmatch,
        "count": phrases.count,
        "query": query,
        "TIERS": phrases.TIERS,
    }
    return made


def _visible(value: Any) -> Any:
    """Whatever a page says, without what cannot be seen; Jinja escapes it afterwards."""
    return phrases.plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def query(**fields: str | None) -> str:
    """A query of the fields that are set; a link to the same page with none of them where nothing is."""
    given = {name: value for name, value in fields.items() if value}
    return f"?{urlencode(given)}" if given else "?"


def _found(value: Any, what: str) -> Any:
    if value is None:
        raise HTTPException(404, f"There is no such {what} here, or its id is the beginning of several.")
    return value
