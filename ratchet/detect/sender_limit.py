"""How many alerts one sender can open about names of its own choice.

Evidence that proves nothing is told under the name that came with it, and a sender may give any. Beyond `MOST` new
alerts on a day of event time, what a sender brings is told under the sender itself: one alert of each rule, which
counts on.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from ratchet.detect import alerts
from ratchet.detect.observation import Signal
from ratchet.detect.store import StateStore
from ratchet.event import Event, stamp

MOST = 100
"""Alerts that one sender's names open on one UTC day; a person reads no more either."""


def subject_of(state: StateStore, signal: Signal, at: datetime) -> str:
    """Whom an alert is about whose evidence names no machine: `hint:<name>`; beyond the limit `sender:<source>`."""
    hint, sender = f"hint:{signal['hint']}", signal.get("sender")
    if sender is None or any(alerts.open_rules(state, signal["tenant"], hint)):
        return hint
    return hint if _opened(state, signal, at) < MOST else f"sender:{sender}"


def count(state: StateStore, signal: Signal, at: datetime, outputs: Iterable[Event]) -> None:
    """Note the alerts that a signal opened under its sender's name for it."""
    new = sum(e.type == "alert.raised.v1" and e.subject == f"hint:{signal['hint']}" for e in outputs)
    if new and signal.get("sender") is not None:
        opened = _opened(state, signal, at)
        state.put(_key(signal), [stamp(at)[:10], opened + new])


def _opened(state: StateStore, signal: Signal, at: datetime) -> int:
    day, opened = state.get(_key(signal)) or ("", 0)
    return int(opened) if day >= stamp(at)[:10] else 0


def _key(signal: Signal) -> str:
    return f"sender/{signal['tenant']}/{signal['sender']}"
