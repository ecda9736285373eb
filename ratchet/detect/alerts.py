"""The life of an alert: raised, revised, acknowledged, resolved.

An alert is (tenant, rule, subject, first cause). While it is open, whatever else its rule finds about its subject is
a further cause of the same alert, not another alert. It is revised, which means sent again, when what it says changes
(its facts, the codes of its reasons, the machines it names), and otherwise only when the number of its causes reaches
a power of two: a machine that is out of date for a year is heard of 12 times, not 2,000.

`alert/<id>` holds the data of its latest event; what came since and was not worth saying waits in `open/…`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ratchet.detect.sigma.options import Resolve
from ratchet.event import Event, Json, derived_id, stamp

if TYPE_CHECKING:
    from ratchet.detect.sigma.rule import Rule
    from ratchet.detect.store import StateStore

MAX_CAUSES = 50
"""Kept in an alert, the first ones; `count` goes on."""

MAX_MACHINES = 50
"""Named in an alert; a burst may concern more."""

MAX_SAID = 2000
"""Characters of a name or a comment that are kept."""

SOURCE = "/streams/correlate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A rule found something.

    Attributes:
        rule: which.
        tenant, subject: about whom: a machine identity, `region:<name>`, `store:<name>`,
            `policy:<family>`.
        causes: events that led to it, oldest first; the first of them names the alert if there is none yet.
        at: event time.
        title: for people.
        facts: what the rule's `fields` say of it.
        reasons: Reasons as data.
        machines: names of those concerned, as senders call them.
        guest: whose evidence shows it, so that another guest's cannot end it.
    """

    rule: Rule
    tenant: str
    subject: str
    causes: tuple[str, ...]
    at: datetime
    title: str
    facts: Mapping[str, Json]
    reasons: tuple[Mapping[str, Json], ...]
    machines: tuple[str, ...]
    guest: str = ""


def alert_id(tenant: str, rule: str, subject: str, first_cause: str) -> str:
    """The id of an alert (docs/design.md, rule 5)."""
    return derived_id("alert", tenant, rule, subject, first_cause)


def hit(state: StateStore, found: Hit) -> list[Event]:
    """Raise an alert, or add to the open one; what is to be said."""
    index = _index(found.tenant, found.subject)
    opened = state.get(index) or {}
    entry = opened.get(found.rule.name)
    said = state.get(_key(entry["alert"])) if entry else None
    if entry is None or said is None:
        return _raise(state, found, index, opened)
    fresh = [cause for cause in found.causes if cause not in entry["causes"]]
    if not fresh and found.guest in entry["showing"]:
        return []
    entry = {
        "alert": entry["alert"],
        "count": entry["count"] + len(fresh),
        "causes": (entry["causes"] + fresh)[:MAX_CAUSES],
        "showing": sorted({*entry["showing"], found.guest}),
    }
    state.put(index, {**opened, found.rule.name: entry})
    machines = list(dict.fromkeys((*said["machines"], *found.machines)))[:MAX_MACHINES]
    changed = (
        said["facts"] != dict(found.facts)
        or _codes(said["reasons"]) != _codes(found.reasons)
        or said["machines"] != machines
    )
    if not changed and not (fresh and _power_of_two(entry["count"])):
        return []
    new = {
        "title": found.title,
        "level": found.rule.level,
        "facts": dict(found.facts),
        "reasons": [dict(r) for r in found.reasons],
        "machines": machines,
    }
    return [_say(state, "alert.revised.v1", {**said, **new}, entry, found.at)]


def clear(
    state: StateStore, rule: Rule, tenant: str, subject: str, at: datetime, *, cause: str, live: Iterable[str] = ()
) -> list[Event]:
    """End a rule's alert on a subject, if evidence may, once no live guest shows it any more.

    Args:
        state: state.
        rule: whose.
        tenant, subject: about whom.
        at: event time.
        cause: the event that shows it no longer.
        live: guests, other than the one that spoke, whose word still counts.
    """
    if rule.options.resolve is not Resolve.EVIDENCE:
        return []
    index = _index(tenant, subject)
    opened = state.get(index) or {}
    entry = opened.get(rule.name)
    said = state.get(_key(entry["alert"])) if entry else None
    if entry is None or said is None:
        return []
    showing = sorted({*entry["showing"]} & {*live})
    if showing:
        if showing != entry["showing"]:
            state.put(index, {**opened, rule.name: {**entry, "showing": showing}})
        return []
    _forget(state, index, opened, rule.name)
    end = {"status": "resolved", "by": None, "comment": f"later evidence no longer shows it: {cause}"}
    return [_say(state, "alert.resolved.v1", {**said, **end}, entry, at)]


def decide(state: StateStore, decision: Event) -> list[Event]:
    """A person acknowledges or resolves an alert (decision.acknowledged.v1, decision.resolved.v1).

    Passed over without effect: an alert of another tenant, one that is not there, one that is resolved already, a
    second acknowledgement, and the resolution of one that ends with its cause alone (`by_hand`). The console and the
    CLI look first, and tell the person.
    """
    said = state.get(_key(str(decision.data.get("alert"))))
    if said is None or said["tenant"] != decision.tenant or said["status"] == "resolved":
        return []
    index = _index(said["tenant"], said["subject"])
    opened = state.get(index) or {}
    entry = opened.get(said["rule"])
    if entry is None or entry["alert"] != said["alert"]:
        return []
    if decision.type == "decision.resolved.v1" and not by_hand(said):
        return []
    who = {"by": _said(decision.data.get("by")), "comment": _said(decision.data.get("comment"))}
    if decision.type == "decision.resolved.v1":
        _forget(state, index, opened, said["rule"])
        return [_say(state, "alert.resolved.v1", {**said, **who, "status": "resolved"}, entry, decision.time)]
    if said["status"] == "acknowledged":
        return []
    return [_say(state, "alert.revised.v1", {**said, **who, "status": "acknowledged"}, entry, decision.time)]


def retire(state: StateStore, decision: Event, subject: str) -> list[Event]:
    """End every open alert on a machine that was retired."""
    index = _index(decision.tenant, subject)
    opened = state.get(index) or {}
    comment = _said(decision.data.get("comment"))
    end = {"status": "resolved", "by": _said(decision.data.get("by")), "comment": f"the machine was retired: {comment}"}
    out: list[Event] = []
    for rule, entry in sorted(opened.items()):
        said = state.get(_key(entry["alert"]))
        left = state.get(index) or {}
        _forget(state, index, left, rule)
        out += [_say(state, "alert.resolved.v1", {**said, **end}, entry, decision.time)] if said else []
    return out


def accept(state: StateStore, decision: Event, rule: Rule, subject: str) -> list[Event]:
    """A person accepts what a rule found on a subject (decision.accepted.v1): its alert is over, if one is open."""
    index = _index(decision.tenant, subject)
    opened = state.get(index) or {}
    entry = opened.get(rule.name)
    said = state.get(_key(entry["alert"])) if entry else None
    if entry is None or said is None:
        return []
    _forget(state, index, opened, rule.name)
    who = {"by": _said(decision.data.get("by")), "comment": _said(decision.data.get("comment")), "status": "resolved"}
    return [_say(state, "alert.resolved.v1", {**said, **who}, entry, decision.time)]


def by_hand(alert: Mapping[str, Json]) -> bool:
    """May a person resolve it? Not one on a policy itself (`policy:<family>`): a loosening that lasts must not be made
    to look over. The stores prove its end.
    """
    return not alert["subject"].startswith("policy:")


def _said(text: Json) -> str | None:
    """What a person said of it: text, and not without end; anything else was not said by a person."""
    return text[:MAX_SAID] if isinstance(text, str) else None


def open_rules(state: StateStore, tenant: str, subject: str) -> tuple[str, ...]:
    """Names of the rules that have an alert open on a subject."""
    return tuple(sorted(state.get(_index(tenant, subject)) or ()))


def opened(state: StateStore, tenant: str, subject: str) -> tuple[Mapping[str, Json], ...]:
    """The latest data of every alert that is open on a subject, by rule."""
    entries = state.get(_index(tenant, subject)) or {}
    found = (state.get(_key(entries[name]["alert"])) for name in sorted(entries))
    return tuple(alert for alert in found if alert is not None)


def _raise(state: StateStore, found: Hit, index: str, opened: Mapping[str, Json]) -> list[Event]:
    first = found.causes[0]
    alert = alert_id(found.tenant, found.rule.name, found.subject, first)
    if state.get(_key(alert)) is not None:
        return []  # this very cause raised it before, and it has been resolved since
    causes = list(found.causes[:MAX_CAUSES])
    entry = {"alert": alert, "count": len(found.causes), "causes": causes, "showing": [found.guest]}
    state.put(index, {**opened, found.rule.name: entry})
    data: dict[str, Json] = {
        "alert": alert,
        "rule": found.rule.name,
        "title": found.title,
        "level": found.rule.level,
        "status": "open",
        "subject": found.subject,
        "tenant": found.tenant,
        "first_cause": first,
        "opened": stamp(found.at),
        "revision": 0,
        "facts": dict(found.facts),
        "reasons": [dict(r) for r in found.reasons],
        "by": None,
        "comment": None,
        "machines": list(found.machines[:MAX_MACHINES]),
    }
    return [_say(state, "alert.raised.v1", data, entry, found.at)]


def _say(state: StateStore, type: str, data: Mapping[str, Json], entry: Mapping[str, Json], at: datetime) -> Event:
    """The next event of an alert; its data becomes what is known of the alert."""
    whole = {
        **data,
        "causes": entry["causes"],
        "count": entry["count"],
        "updated": stamp(at),
        "revision": data["revision"] + 1,
    }
    state.put(_key(whole["alert"]), whole)
    return Event(
        id=derived_id("alert-event", whole["alert"], str(whole["revision"])),
        source=SOURCE,
        type=type,
        subject=whole["subject"],
        time=at,
        tenant=whole["tenant"],
        data=whole,
    )


def _forget(state: StateStore, index: str, opened: Mapping[str, Json], rule: str) -> None:
    left = {name: entry for name, entry in opened.items() if name != rule}
    if left:
        state.put(index, left)
    else:
        state.delete(index)


def _key(alert: str) -> str:
    return f"alert/{alert}"


def _index(tenant: str, subject: str) -> str:
    return f"open/{tenant}/{subject}"


def _codes(reasons: Iterable[Mapping[str, Json]]) -> set[tuple[Json, Json]]:
    """Of reasons, what counts as saying something else: not the values, which may differ with every nonce."""
    return {(r.get("code"), r.get("component")) for r in reasons}


def _power_of_two(n: int) -> bool:
    return n & (n - 1) == 0
