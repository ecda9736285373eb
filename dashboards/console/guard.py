"""The guard: what every request to the console passes first, and what every answer leaves with.

Pure ASGI, outermost, so that nothing behind it can forget a header or a check:

1. Host must be one that was allowed, or a page elsewhere could reach us by rebinding a name (DNS rebinding).
2. Writes must carry an Origin equal to the scheme and Host they were sent to (Fetch standard, "Origin header").
3. Whoever asks must have a session: a cookie that a one-time login token was exchanged for.
4. Every answer, errors too, gets the security headers.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request, cookie_parser
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_LIFE = timedelta(minutes=10)
"""How long a login token may be used, once."""

SESSION_LIFE = timedelta(hours=12)
"""A working day: then a new login token is needed."""

BODY_LIMIT = 16 * 1024
"""Bytes of a form that is posted; ours hold a comment and two ids."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types page",
    )
)
"""Content Security Policy Level 3 and Trusted Types: scripts and styles are our own files, nothing is inline."""

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    # Not no-referrer: with it Chromium posts our own forms with `Origin: null`, and rule 2 refuses them.
    "referrer-policy": "same-origin",
}

_READS = frozenset({"GET", "HEAD"})


class LoginToken:
    """A one-time secret that opens a session. Printed where the console is started; only its hash is kept here."""

    def __init__(self, name: str = "console") -> None:
        """Nothing is open before `issue`.

        Args:
            name: who may sign in with it: the `by` of what they decide.
        """
        self.name = name
        self._hash: bytes | None = None
        self._until: datetime | None = None

    def issue(self, at: datetime) -> str:
        """A fresh secret, good for one use within ten minutes; an earlier one that was not used is void."""
        secret = secrets.token_urlsafe(32)
        self._hash, self._until = _hash(secret), at + TOKEN_LIFE
        return secret

    def redeem(self, secret: str, at: datetime) -> bool:
        """True once, for the secret issued last, in time."""
        if self._hash is None or self._until is None or at >= self._until:
            return False
        if not hmac.compare_digest(self._hash, _hash(secret)):
            return False
        self._hash = self._until = None
        return True


@dataclass(frozen=True, slots=True)
class Session:
    """Who is signed in, and until when."""

    name: str
    until: datetime


class Guard:
    """The outermost ASGI application: see the module."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: LoginToken,
        hosts: Collection[str],
        now: Callable[[], datetime],
        ended: Callable[[Session], None] = lambda _: None,
    ) -> None:
        """Wrap an application.

        Args:
            app: what is guarded; sees the session in `scope["state"]["session"]`.
            token: what sessions are exchanged for.
            hosts: values of the Host header that are answered, with port: `127.0.0.1:8400`.
            now: the clock for tokens and sessions.
            ended: is told of a session that was ended, so that what is open for it can be closed.
        """
        self._app, self._token, self._now, self._ended = app, token, now, ended
        self._hosts = frozenset(h.lower() for h in hosts)
        self._sessions: dict[bytes, Session] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        guarded = _Sealed(send, scope["path"].startswith("/static/"))
        try:
            answer = self._admit(scope)
            if answer is None and scope["path"] == "/login":
                answer = await self._posted(Request(scope, receive))
            await (answer or self._app)(scope, receive, guarded)
        except Exception:
            if not guarded.started:
                await page("Something went wrong", "The fault is ours; the log of the console has it.", 500)(
                    scope, receive, guarded
                )
            raise

    def _admit(self, scope: Scope) -> Response | None:
        """None when the application may answer, or a posted login is to be read; otherwise what is answered instead."""
        headers = Headers(scope=scope)
        given = headers.getlist("host")
        if len(given) != 1 or given[0].lower() not in self._hosts:
            return page("Unknown host", "Open the console at the address that it printed when it started.", 400)
        host, method, path = given[0].lower(), scope["method"], scope["path"]
        if method not in _READS and method != "POST":
            return page("Not a method of this console", "It reads with GET and decides with POST.", 405)
        if method == "POST" and (refusal := _refuse_write(headers, f"{scope['scheme']}://{host}")):
            return refusal
        if path.startswith("/static/"):
            return None
        if path == "/login":
            return None if method == "POST" else _sign_in(200)
        key = self._key(headers, host, scope["scheme"] == "https")
        session = self._sessions.get(key) if key else None
        if key is None or session is None or session.until <= self._now():
            return _sign_in(401)
        if path == "/logout" and method == "POST":
            del self._sessions[key]
            self._ended(session)
            return page("Signed out", "Start the console again for a new login link.", 200)
        scope.setdefault("state", {})["session"] = session
        return None

    async def _posted(self, request: Request) -> Response:
        try:
            form = await request.form(max_fields=1, max_files=0)
        except (HTTPException, MultiPartException):
            return page("Not a form", "Use the form of this page.", 400)
        return self._login(
            str(form.get("token", "")).strip(), request.headers["host"].lower(), request.url.scheme == "https"
        )

    def _login(self, secret: str, host: str, tls: bool) -> Response:
        at = self._now()
        if not self._token.redeem(secret, at):
            return page(
                "This token opens nothing",
                "A token is good once, for ten minutes. Start the console again for a new one.",
                403,
            )
        self._sessions = {k: s for k, s in self._sessions.items() if s.until > at}
        value = secrets.token_urlsafe(32)
        self._sessions[_hash(value)] = Session(self._token.name, at + SESSION_LIFE)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            cookie_name(host, tls), value, path="/", httponly=True, samesite="strict", secure=tls,
            max_age=int(SESSION_LIFE.total_seconds()),
        )  # fmt: skip
        return answer

    def _key(self, headers: Headers, host: str, tls: bool) -> bytes | None:
        mine = cookie_parser(headers.get("cookie", "")).get(cookie_name(host, tls))
        return _hash(mine) if mine else None


class _Sealed:
    """`send`, with the headers that every answer leaves with."""

    def __init__(self, send: Send, static: bool) -> None:
        self._send, self._static, self.started = send, static, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(raw=list(message.get("headers", [])))
            for name, value in HEADERS.items():
                headers[name] = value
            headers["cache-control"] = "no-cache" if self._static else "no-store"
            message = {**message, "headers": headers.raw}
        await self._send(message)


def cookie_name(host: str, tls: bool) -> str:
    """The session's cookie: named by port, since cookies do not tell ports apart (RFC 6265, 8.5).

    Under TLS with the prefix that pins it to this host and to secure transport (RFC 6265bis, 4.1.3.2).
    """
    port = host.rsplit(":", 1)[1] if ":" in host.rsplit("]", 1)[-1] else ("443" if tls else "80")
    return f"{'__Host-' if tls else ''}ratchet-{port}"


def page(title: str, text: str, status: int, form: str = "") -> HTMLResponse:
    """A page that says one thing, for those who may not see more. All of it is ours, nothing a sender's."""
    return HTMLResponse(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title} – Ratchet</title>'
        '<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/static/console.css">'
        '<link rel="icon" href="/static/mark.svg" type="image/svg+xml"></head>'
        '<body><main class="alone"><p class="brand"><img src="/static/mark.svg" alt="" width="18" height="18">Ratchet'
        f"</p><h1>{title}</h1><p>{text}</p>{form}</main></body></html>",
        status,
    )


def _sign_in(status: int) -> HTMLResponse:
    """The form that takes the token: in a body, since addresses end up in logs and histories."""
    return page(
        "Sign in",
        "Ratchet printed a token where it was started. It is good once, for ten minutes; start it again for a new one.",
        status,
        '<form class="legend" method="post" action="/login"><label for="token">Token</label> '
        '<input id="token" name="token" type="password" autocomplete="off" required autofocus> '
        '<button class="go">Sign in</button></form>',
    )


def _refuse_write(headers: Headers, origin: str) -> Response | None:
    if headers.getlist("origin") != [origin]:
        return page("Not from here", "Only the console's own pages may decide.", 403)
    length = headers.get("content-length", "")
    if not length.isdecimal():
        return page("No length", "A form is sent with its length.", 411)
    if int(length) > BODY_LIMIT:
        return page("Too long", f"At most {BODY_LIMIT} bytes are read.", 413)
    return None


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
