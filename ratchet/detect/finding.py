"""What one signal shows, put to every rule: alerts that it raises, and alerts that it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from ratchet.detect import alerts, bursts
from ratchet.detect.observation import REFUSED, Observation, Signal
from ratchet.detect.raising import Raising
from ratchet.detect.sigma import Rule
from ratchet.detect.store import StateStore
from ratchet.event import Event, Json
from ratchet.guest import guest_of
from ratchet.standing import Tier


def found(
    raising: Raising,
    state: StateStore,
    signal: Signal,
    at: datetime,
    seen: Sequence[Observation],
    *,
    subject: str,
    why: Sequence[Mapping[str, Json]] | None = None,
    ends: Callable[[Rule], set[str] | None] | None = None,
) -> list[Event]:
    """Put observations of one signal to every rule.

    Args:
        raising: the rules.
        state: state.
        signal: whose observations.
        at: event time.
        seen: the observations.
        subject: whom an alert is about.
        why: Reasons as data; those of the signal where left out.
        ends: for a rule that has an alert open and matches nothing of this: which other guests' word still counts, any
            of which may hold the alert open; None where this signal ends no alert of that rule.
    """
    tenant, cause = signal["tenant"], signal["id"]
    why = list(signal.get("why") or ()) if why is None else why
    opened = set(alerts.open_rules(state, tenant, subject)) if ends is not None else set()
    rules = {r.name: r for o in seen for r in raising.by_action[o["event.action"]]}
    outputs: list[Event] = []
    for name in sorted({*rules, *(opened & {r.name for r in raising.plain})}):
        rule = raising.by_name[name]
        matched = [o for o in seen if rule.matches(o)]
        if matched:
            outputs += raising.alert(
                state,
                rule,
                matched,
                tenant=tenant,
                subject=subject,
                causes=(cause,),
                at=at,
                why=why,
                guest=guest_of(signal),
            )
        elif ends is not None and name in opened and (live := ends(rule)) is not None:
            outputs += alerts.clear(state, rule, tenant, subject, at, cause=cause, live=live)
    actions = {o["event.action"] for o in seen}
    if signal["rejudged"]:
        actions.discard(REFUSED)  # nobody sent anything: it is no burst of forgeries
    return outputs + bursts.count(raising, state, signal, at, seen[0], actions)


def judged(signal: Signal) -> bool:
    """Whether it could be judged at all: evidence that could not ends nothing."""
    return bool(signal["tier"] != Tier.NONE)
