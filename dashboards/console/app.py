"""The console as an ASGI application. Pages come from the read side (`ratchet.ports.Reader`) alone."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime

from starlette.applications import Starlette
from starlette.types import ASGIApp

from dashboards.console.guard import Guard, LoginToken
from ratchet.event import Event
from ratchet.ports import Reader


def create(
    reader: Reader,
    submit: Callable[[str, Event], None],
    *,
    tenant: str,
    token: LoginToken,
    hosts: Collection[str],
    now: Callable[[], datetime],
) -> ASGIApp:
    """The console.

    Args:
        reader: the read side; called from the event loop's thread only.
        submit: takes (topic, event): decisions about alerts. Returns when they are safe.
        tenant: whose fleet is shown, and whose decisions are made.
        token: the one-time login; `token.issue(now())` is what to print.
        hosts: Host headers that are answered, with port.
        now: the clock.
    """
    return Guard(Starlette(), token=token, hosts=hosts, now=now)
