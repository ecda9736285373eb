"""Firmware that goes back: security versions against the highest that the same machine ever proved.

A mark per component, never a number for all of them: a platform that raises its microcode and lowers its SNP firmware
has gone back. Which components there are, how their values compare and to whom each belongs, the entry of the TEE says
(`ratchet.evidence.spec.Component`):

- What belongs to the platform has one mark, whichever guest asks; what belongs to a TEE (its
  quoting enclave) one for each TEE.
- What belongs to a guest from its start on has a mark for each guest, and a version that was seen before the higher one
  is a guest that lives on through an update (TD-preserving update), or another guest of the same image. So a rollback
  of the TDX module is missed where such a TD lives on and the quotes are of TD report 1.0.
- What is of a guest's start alone has no mark: a guest that lives on through an update keeps it.
- Where one component counts above another, the two are compared as one number: a new major version of the TDX module
  starts again at a low minor one.

A mark stays at its highest, whatever comes later: the ratchet. A signed decision alone lowers it (`accept`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from ratchet.event import Json
from ratchet.evidence import TEES
from ratchet.evidence.proof import Version
from ratchet.evidence.spec import Component, Order, Scope

Marks = Mapping[str, list[Json]]
"""Component (for TDX launch versions: behind its guest) -> [highest value, when it was proved, by which evidence
event]; for those behind a guest also [lower versions that were seen before it]."""

MAX_GUESTS = 64
"""Guests of one machine whose TDX marks are kept; the least recently raised goes first."""

_MINORS = 256
"""Values of a component that a major version counts above: one byte."""

_HEX = re.compile(r"[0-9A-Fa-f]{1,16}")

MAX_EARLIER = 4
"""Versions of earlier launches that are remembered of one guest and component."""


@dataclass(frozen=True, slots=True)
class Regression:
    """One component below its mark.

    Attributes:
        component: as in `Claims.tcb`.
        was, now: the mark, and what is proven now.
        value: `now`, as it is held against the mark: of a TDX module, its major version counts too.
        since, evidence: when and by which evidence event the mark was proved.
    """

    component: str
    was: Version
    now: Version
    value: Version
    since: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of holding proven versions against the marks.

    Attributes:
        marks: the marks (the same object where none rose).
        fell: key of the mark -> what fell below it, in order of the component.
        reached: keys of the marks that are met or exceeded.
    """

    marks: Marks
    fell: Mapping[str, Regression]
    reached: frozenset[str]


def compare(marks: Marks, tcb: Mapping[str, Version], *, tee: str, guest: str, at: str, evidence: str) -> Comparison:
    """Hold what is proven now against the marks, and raise those that it exceeds.

    Args:
        marks: of this machine.
        tcb: as in `Claims.tcb`, proven.
        tee: of the evidence.
        guest: that proved it (`ratchet.guest`).
        at: event time, as on the log. A mark that was proved later than this is passed over: the evidence came late,
            and what it shows is older, not lower.
        evidence: id of the evidence event.
    """
    raised: dict[str, list[Json]] = {}
    fell: dict[str, Regression] = {}
    reached: set[str] = set()
    for component, value in _compared(tee, tcb):
        key = component.name
        if component.scope is Scope.TEE:
            key = f"{key}@{tee}"
        elif component.scope is Scope.GUEST:
            key = f"{guest}/{key}"
        mark = marks.get(key)
        earlier: list[Json] = mark[3] if mark is not None and len(mark) > 3 else []
        if mark is None:
            raised[key] = [value, at, evidence]
            reached.add(key)
        elif value == mark[0] or is_above(component.order, value, mark[0]):
            reached.add(key)
            if value != mark[0]:
                seen = [[mark[0], *earlier][:MAX_EARLIER]] if "/" in key else []
                raised[key] = [value, at, evidence, *seen]
        elif value not in earlier and mark[1] <= at:
            fell[key] = _regression(component, mark, value)
    return Comparison(_capped({**marks, **raised}) if raised else marks, fell, frozenset(reached))


def accept(marks: Marks, key: str, value: Version, *, at: str, evidence: str) -> Marks:
    """The marks, where somebody who may has accepted that one of them went down to `value`."""
    return {**marks, key: [value, at, evidence]}


def is_above(order: Order, one: Version, other: Version) -> bool:
    """Is one value of a component above another? Values of different kinds are not.

    Versions are compared part by part, each as a hexadecimal number; a part that is none is compared as text.
    """
    match order:
        case Order.NUMBER:
            return isinstance(one, int) and isinstance(other, int) and one > other
        case Order.VERSION:
            return isinstance(one, str) and isinstance(other, str) and _parts(one) > _parts(other)
        case Order.NONE:
            return False


def _parts(version: str) -> list[tuple[int, int, str]]:
    parts = version.split(".")
    return [(1, int(part, 16), "") if _HEX.fullmatch(part) else (0, 0, part) for part in parts]


def _compared(tee: str, tcb: Mapping[str, Version]) -> Iterator[tuple[Component, Version]]:
    """The components that are held against marks, with their values; with their major version, as one number.

    A component that the entry of the TEE does not name is held as a number of the platform's: it may raise a false
    alarm, and never goes back unseen.
    """
    known = _ordered(tee)
    for name in sorted(tcb):
        component, value = known.get(name, _unnamed(name)), tcb[name]
        if component is None or (component.unless is not None and component.unless in tcb):
            continue
        major = tcb.get(component.major, 0) if component.major is not None else 0
        if isinstance(value, int) and isinstance(major, int):
            value += major * _MINORS
        yield component, value


def _unnamed(name: str) -> Component:
    return Component(name=name, scope=Scope.PLATFORM, label=name, field=name)


@cache
def _ordered(tee: str) -> Mapping[str, Component | None]:
    """Components by name; None for those that have no mark, or of which another one's mark speaks."""
    components = TEES[tee].components if tee in TEES else ()
    majors = {one.major for one in components}
    unmarked = {one.name for one in components if one.scope is Scope.START or one.order is Order.NONE}
    return {one.name: None if one.name in majors | unmarked else one for one in components}


def _regression(component: Component, mark: list[Json], value: Version) -> Regression:
    name, was, now = component.name, mark[0], value
    if component.major is not None and isinstance(was, int) and isinstance(now, int):
        if was // _MINORS != now // _MINORS:
            name, was, now = component.major, was // _MINORS, now // _MINORS
        else:
            was, now = was % _MINORS, now % _MINORS
    return Regression(name, was, now, value, str(mark[1]), str(mark[2]))


def _capped(marks: Marks) -> Marks:
    """Without the marks of the guests that were raised longest ago, where there are too many guests."""
    latest: dict[str, str] = {}
    for key, mark in marks.items():
        guest, _, component = key.rpartition("/")
        if component != key:
            latest[guest] = max(latest.get(guest, ""), str(mark[1]))
    if len(latest) <= MAX_GUESTS:
        return marks
    gone = set(sorted(latest, key=lambda guest: (latest[guest], guest))[: len(latest) - MAX_GUESTS])
    return {key: mark for key, mark in marks.items() if "/" not in key or key.rpartition("/")[0] not in gone}
