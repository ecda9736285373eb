"""Reference values: named sets of conditions that say what may run, and what evidence is to them.

A set speaks of one TEE. Evidence is of a set when it meets all of its conditions. AR4SI's "executables"
(draft-ietf-rats-ar4si-09, 2.3.2) follows from the best set that it is of:

| value | when |
|---|---|
| 2 | a known set that pins every boot and every run-time measurement of the TEE |
| 3 | a known set that pins every boot measurement |
| 32 | a set whose window is closing |
| 33 | no set at all: not recognised |
| 96 | a contraindicated set, whatever else it is of |
| 0 | a known set that leaves a boot measurement open: what runs was not judged |

Which measurements are a TEE's boot and run-time measurements, and what may be pinned in their stead (for SGX the signer
with product id and least security version), its entry says (`ratchet.evidence.spec.Tee`, `boot`, `runtime`,
`boot_instead`). Of a TEE without run-time measurements 3 is the best that it can have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, Self

from ratchet.event import Json, parse_time, stamp
from ratchet.evidence import TEES, Claims
from ratchet.policy.condition import Answer, Condition, values_of
from ratchet.reason import Reason

KNOWN, CLOSING, CONTRAINDICATED = "known", "closing", "contraindicated"
STATES: Mapping[str, int] = {KNOWN: 2, CLOSING: 32, CONTRAINDICATED: 96}
"""State of a set -> the best that it makes of executables (AR4SI)."""

SOURCE = "draft-ietf-rats-ar4si-09, 2.3.2 (executables)"

MAX_TURNS = 16
"""Changes by windows that are looked ahead to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceSet:
    """A named set of reference values.

    Attributes:
        name: for people, unique in the policy.
        tee: whose evidence it speaks of.
        conditions: all must be met; by claim.
        state: `known`, `closing` or `contraindicated`.
        by, source: who vouches for it, and from where it was taken (a build, a release page).
        since, until: outside this window it is as if it were not there; None: no end.
    """

    name: str
    tee: str
    conditions: tuple[Condition, ...]
    state: str = KNOWN
    by: str = ""
    source: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        if self.tee not in TEES:
            raise ValueError(f"tee: {self.tee!r} is none of {', '.join(TEES)}")
        if self.state not in STATES:
            raise ValueError(f"state: {self.state!r} is none of {', '.join(STATES)}")
        if not self.conditions:
            raise ValueError("conditions: there are none, so every machine would meet it")

    def in_force(self, at: datetime) -> bool:
        """Does its window cover this moment?"""
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)

    def unmet(self, claims: Claims) -> tuple[Condition, ...]:
        """The conditions that evidence does not meet."""
        return tuple(one for one in self.conditions if one.answer(claims) is not Answer.MET)

    @property
    def open_boot_claims(self) -> tuple[str, ...]:
        """Boot measurements that it leaves open."""
        tee = TEES[self.tee]
        pinned = {one.claim for one in self.conditions if one.exact}
        least = {one.claim for one in self.conditions if one.at_least}
        if tee.boot_instead and pinned | (least & tee.at_least) >= tee.boot_instead:
            return ()
        return tuple(name for name in tee.boot if name not in pinned)

    @property
    def judges_run_time(self) -> bool:
        """Does it pin the run-time measurements, of a TEE that has some?"""
        pinned = {one.claim for one in self.conditions if one.exact}
        runtime = TEES[self.tee].runtime
        return bool(runtime) and set(runtime) <= pinned

    def to_data(self) -> dict[str, Json]:
        """As JSON: a table of `[policy.reference_values]` without its name."""
        return {
            "tee": self.tee,
            "state": self.state,
            "conditions": {one.claim: one.to_data() for one in self.conditions},
            "by": self.by,
            "source": self.source,
            "since": stamp(self.since) if self.since else None,
            "until": stamp(self.until) if self.until else None,
        }

    @classmethod
    def from_data(cls, name: str, data: Mapping[str, Json]) -> Self:
        """Read one.

        Raises:
            ValueError: says what is wrong with it.
        """
        tee = data["tee"]
        if tee not in TEES:
            raise ValueError(f"tee: {tee!r} is none of {', '.join(TEES)}")
        conditions = []
        for claim, condition in sorted(data["conditions"].items()):
            try:
                conditions.append(Condition.from_data(tee, claim, condition))
            except ValueError as error:
                raise ValueError(f"conditions.{claim}: {error}") from error
        return cls(
            name=name,
            tee=tee,
            conditions=tuple(conditions),
            state=data.get("state", KNOWN),
            by=data.get("by", ""),
            source=data.get("source", ""),
            since=_time(data.get("since")),
            until=_time(data.get("until")),
        )


def _time(value: Json) -> datetime | None:
    if value is None or isinstance(value, datetime):
        if value is not None and value.tzinfo is None:
            raise ValueError("since and until have a zone: 2026-03-01T00:00:00Z")
        return value
    return parse_time(value)


class Executables(NamedTuple):
    """What became of it: AR4SI's value, which set it is of, why, and when windows make other values of it.

    `turns`: (moment, value from then on), in order, at most `MAX_TURNS`.
    """

    value: int
    set: str | None
    reasons: tuple[Reason, ...]
    turns: tuple[tuple[datetime, int], ...] = ()


def judge(claims: Claims, sets: Iterable[ReferenceSet], at: datetime) -> Executables:
    """What evidence is to the reference values of its TEE.

    Args:
        claims: proven.
        sets: of the policy.
        at: aware time.
    """
    of_tee = [one for one in sets if one.tee == claims.tee]
    if not of_tee:
        return Executables(0, None, (_not_judged(claims, of_tee),))
    now = _judge(claims, of_tee, at)
    if all(one.since is None and one.until is None for one in of_tee):
        return now
    met = [one for one in of_tee if not one.unmet(claims)]
    edges = {edge for one in met for edge in (one.since, one.until) if edge is not None}
    turns: list[tuple[datetime, int]] = []
    value = now.value
    for edge in sorted(edge for edge in edges | set(_flips(of_tee)) if edge > at):
        then = _value([one for one in met if one.in_force(edge)], any(one.in_force(edge) for one in of_tee))
        if then != value:
            turns.append((edge, then))
            value = then
        if len(turns) == MAX_TURNS:
            break
    return now._replace(turns=tuple(turns))


def _flips(sets: list[ReferenceSet]) -> list[datetime]:
    """When the first of several sets opens, and when the last that is open ends: whether any speaks at all changes."""
    if any(one.since is None and one.until is None for one in sets):
        return []
    steps = sorted(
        [(one.since or _EVER[0], 1) for one in sets] + [(one.until or _EVER[1], -1) for one in sets],
        key=lambda step: (step[0], -step[1]),
    )
    found, open_ = [], 0
    for when, change in steps:
        if open_ + change == 0 or open_ == 0:
            found.append(when)
        open_ += change
    return [when for when in found if when not in _EVER]


_EVER = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


def _value(met: list[ReferenceSet], judged: bool) -> int:
    """AR4SI's value, of the sets that evidence is of; `judged`: is any set in force?"""
    if any(one.state == CONTRAINDICATED for one in met):
        return STATES[CONTRAINDICATED]
    whole = [one for one in met if not one.open_boot_claims]
    known = [one for one in whole if one.state == KNOWN]
    if known:
        return 2 if any(one.judges_run_time for one in known) else 3
    if any(one.state == CLOSING for one in whole):
        return STATES[CLOSING]
    return 0 if met or not judged else 33


def _judge(claims: Claims, of_tee: list[ReferenceSet], at: datetime) -> Executables:
    current = [one for one in of_tee if one.in_force(at)]
    if not current:
        return Executables(0, None, (_not_judged(claims, of_tee),))
    met = [one for one in current if not one.unmet(claims)]
    bad = next((one for one in met if one.state == CONTRAINDICATED), None)
    if bad is not None:
        remedy = f"stop this image: {bad.by or 'the policy'} names it as bad"
        return Executables(96, bad.name, (_reason("measurement_contraindicated", claims, f"not {bad.name}", remedy),))
    known = [one for one in met if one.state == KNOWN]
    whole = [one for one in known if not one.open_boot_claims]
    if whole:
        best = max(whole, key=lambda one: one.judges_run_time)
        return Executables(2 if best.judges_run_time else 3, best.name, ())
    closing = next((one for one in met if one.state == CLOSING and not one.open_boot_claims), None)
    if closing is not None:
        remedy = "move to the current image before the window closes"
        return Executables(32, closing.name, (_reason("measurement_closing", claims, "a known set", remedy),))
    if met:
        return Executables(0, met[0].name, tuple(_open(claims, met[0], name) for name in met[0].open_boot_claims))
    return Executables(33, None, _unknown(claims, current))


def _reason(code: str, claims: Claims, want: Json, remedy: str) -> Reason:
    return Reason(code, "measurement", claims.measurement, want, SOURCE, remedy)


def _not_judged(claims: Claims, of_tee: list[ReferenceSet]) -> Reason:
    if of_tee:
        want, remedy = f"a set for {claims.tee} whose window is open", "renew the reference values: all have ended"
    else:
        want = f"reference values for {claims.tee}"
        remedy = (
            "add reference values to the policy (`ratchet verify --vouch` prints them), or let it name `executables`"
        )
    return _reason("measurement_not_judged", claims, want, remedy)


def _open(claims: Claims, found: ReferenceSet, name: str) -> Reason:
    """A boot measurement that a set leaves open: whatever it is, the set would vouch for it."""
    got = values_of(claims, name)
    remedy = (
        f"add {name} to the reference values {found.name}: without it they vouch for anything that is measured there"
    )
    return Reason("measurement_left_open", name, got[0] if got else None, f"a value in {found.name}", SOURCE, remedy)


def _unknown(claims: Claims, sets: list[ReferenceSet]) -> tuple[Reason, ...]:
    """In what it differs from the nearest set, claim by claim."""
    known = [one for one in sets if one.state != CONTRAINDICATED] or sets
    nearest = min(known, key=lambda one: (len(one.unmet(claims)), one.name))
    remedy = "find out what was launched; add it to the reference values if it is yours"
    reasons = [
        _reason("measurement_unknown", claims, f"one of {len(sets)} sets; the nearest is {nearest.name}", remedy)
    ]
    for one in nearest.unmet(claims)[:8]:
        got = values_of(claims, one.claim)
        code = "measurement_differs" if got else "measurement_not_attested"
        source = f"reference values {nearest.name}"
        reasons.append(Reason(code, one.claim, got[0] if got else None, one.want, source))
    return tuple(reasons)
