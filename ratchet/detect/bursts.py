"""Bursts: many senders of one place in trouble within a short time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from ratchet.detect import alerts
from ratchet.detect import observation as observed
from ratchet.detect.observation import Observation, Signal
from ratchet.detect.raising import Raising
from ratchet.detect.sigma import Rule
from ratchet.detect.sigma.options import Burst, spelled
from ratchet.detect.store import StateStore, due_key
from ratchet.event import Event, Json, parse_time, stamp
from ratchet.reason import Reason

MAX_BURST = 1000
"""Senders of one place that a burst keeps; the oldest make room."""


def count(
    raising: Raising, state: StateStore, signal: Signal, at: datetime, seen: Observation, actions: set[str]
) -> list[Event]:
    """Count a signal's observations in every burst that they belong to."""
    outputs = []
    for rule, burst in raising.bursts:
        if actions & set(burst.of):
            outputs += _count(raising, state, rule, burst, signal, at, seen)
    return outputs


def _count(
    raising: Raising, state: StateStore, rule: Rule, burst: Burst, signal: Signal, at: datetime, seen: Observation
) -> list[Event]:
    place = seen.get(burst.by)
    place = "unknown" if place is None else str(place)
    key = f"burst/{rule.name}/{signal['tenant']}/{place}"
    senders = dict(state.get(key) or {})
    if senders.get(signal["hint"], [""])[0] <= signal["time"]:
        senders[signal["hint"]] = [signal["time"], signal["id"]]
    senders = _within(senders, max(time for time, _ in senders.values()), burst)
    state.put(key, senders)
    if len(senders) < burst.machines:
        return []
    one: Observation = {
        "@timestamp": signal["time"],
        "event.action": observed.BURST,
        "event.category": "host",
        "event.outcome": "failure",
        "organization.id": signal["tenant"],
        burst.by: place,
        "attestation.machines": len(senders),
        "attestation.tee": signal.get("tee"),
    }
    if not rule.matches(one):
        return []
    subject = f"{burst.by.rpartition('.')[2]}:{place}"
    causes = tuple(verdict for _, verdict in sorted(senders.values()))
    if rule.name in alerts.open_rules(state, signal["tenant"], subject):
        causes = (signal["id"],)
    else:
        kind = f"burst:{rule.name}"
        due = due_key(_over(senders, burst), kind, signal["tenant"], place)
        state.put(due, [kind, signal["tenant"], place])
    got, want = f"{len(senders)} senders within {spelled(burst.window)}", f"fewer than {burst.machines}"
    why = Reason("failure_burst", place, got, want, rule.path).to_data()
    return raising.alert(
        state,
        rule,
        [one],
        tenant=signal["tenant"],
        subject=subject,
        causes=causes,
        at=at,
        why=[why],
        machines=tuple(sorted(senders, key=lambda name: senders[name])),
    )


def over(raising: Raising, state: StateStore, kind: str, tenant: str, place: str, at: datetime) -> list[Event]:
    """A burst's due entry has come up: it is over, or its next one is put."""
    rule = raising.by_name.get(kind.removeprefix("burst:"))
    if rule is None or rule.options.burst is None:
        return []
    burst = rule.options.burst
    key = f"burst/{rule.name}/{tenant}/{place}"
    senders = state.get(key) or {}
    left = _within(senders, stamp(at), burst)
    if len(left) >= burst.machines:
        state.put(due_key(_over(left, burst), kind, tenant, place), [kind, tenant, place])
        return []
    if left:
        state.put(key, left)
    else:
        state.delete(key)
    subject = f"{burst.by.rpartition('.')[2]}:{place}"
    return alerts.clear(
        state, rule, tenant, subject, at, cause=f"fewer than {burst.machines} within {spelled(burst.window)}"
    )


def _within(senders: Mapping[str, Json], until: str, burst: Burst) -> dict[str, Json]:
    """Those of the window that ends then, at most MAX_BURST, in order of time."""
    begin = stamp(parse_time(until) - burst.window)
    kept = sorted((entry, name) for name, entry in senders.items() if entry[0] > begin)[-MAX_BURST:]
    return {name: entry for entry, name in kept}


def _over(senders: Mapping[str, Json], burst: Burst) -> datetime:
    """When so many have left the window that it is no burst any more."""
    times = sorted((time for time, _ in senders.values()), reverse=True)
    return parse_time(times[burst.machines - 1]) + burst.window
