"""A proposal on its way, as a state machine: `advance(rollout, event)` gives the next rollout and what is to be done.

    proposed --> approved --> (shadow --> canary -->) enforced
       |            |                                    |
       |            +--> halted --+--> approved          +--> rolled_back --> approved
       +--> rejected              +--> rolled_back       +--> superseded
       +--> superseded

Rules, each of which the tests hold it to:

1. Only what was approved is sent: one approval for a tightening, the quorum for a loosening, none where `Begin` says
   that an exact tightening within bounds goes by itself. An approver counts once.
2. Enforced only when every store has given its receipt for the change that was sent last.
3. A failed receipt halts. So does any approver. What a receipt halted goes on with new approvals; what a person halted
   does not.
4. Going back takes the quorum where it lets in what the floor in force refuses, else one approval.
5. A loosening ends by itself, also one that came of going back: at `expires` the floor that it loosened returns. Only a
   floor that never came into force does not return: it was loosened before it refused anybody. What the vendor itself
   replaced does not return either, nor a policy that knew fewer images (`amendment.lasts`): `Confirm` says so.
6. No event raises, whatever the state: what makes no sense in it changes nothing, and says so in a `Note`.

Shadow and canary are not entered yet; they have their places in the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from ratchet.event import Json, parse_time, stamp


class State(StrEnum):
    """Where a rollout is."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    SHADOW = "shadow"
    CANARY = "canary"
    ENFORCED = "enforced"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    HALTED = "halted"
    ROLLED_BACK = "rolled_back"


TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.PROPOSED: frozenset({State.APPROVED, State.REJECTED, State.SUPERSEDED, State.HALTED}),
    State.APPROVED: frozenset(
        {State.SHADOW, State.CANARY, State.ENFORCED, State.HALTED, State.ROLLED_BACK, State.SUPERSEDED}
    ),
    State.SHADOW: frozenset({State.CANARY, State.ENFORCED, State.HALTED, State.ROLLED_BACK, State.SUPERSEDED}),
    State.CANARY: frozenset({State.ENFORCED, State.HALTED, State.ROLLED_BACK, State.SUPERSEDED}),
    State.ENFORCED: frozenset({State.ROLLED_BACK, State.SUPERSEDED}),
    State.HALTED: frozenset({State.APPROVED, State.ROLLED_BACK, State.REJECTED, State.SUPERSEDED}),
    State.ROLLED_BACK: frozenset({State.APPROVED, State.SUPERSEDED}),
    State.REJECTED: frozenset(),
    State.SUPERSEDED: frozenset(),
}
"""Every step that a rollout may take."""

UNDERWAY = frozenset({State.APPROVED, State.SHADOW, State.CANARY})
"""Sent, not yet proven."""

ENDED = frozenset({State.REJECTED, State.SUPERSEDED})
"""Nothing comes after these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One proposal's rollout.

    Attributes:
        proposal: its id.
        state: where it is.
        attempt: how many changes were sent for it; each has an id of its own.
        loosening: it admits machines that the floor in force at the time of sending refuses.
        approvals: who approved since it was proposed or halted.
        retreats: who asked to roll it back since it was last sent.
        stores: who must give a receipt.
        confirmed: who did, for the change sent last.
        by_person: it was halted by a person, not by a receipt.
        expires: when what it loosened returns; None where nothing is loosened.
    """

    proposal: str
    stores: tuple[str, ...]
    state: State = State.PROPOSED
    attempt: int = 0
    loosening: bool = False
    approvals: tuple[str, ...] = ()
    retreats: tuple[str, ...] = ()
    confirmed: tuple[str, ...] = ()
    by_person: bool = False
    expires: datetime | None = None

    def to_data(self) -> dict[str, Json]:
        """As JSON."""
        return {
            "proposal": self.proposal,
            "stores": list(self.stores),
            "state": self.state.value,
            "attempt": self.attempt,
            "loosening": self.loosening,
            "approvals": list(self.approvals),
            "retreats": list(self.retreats),
            "confirmed": list(self.confirmed),
            "by_person": self.by_person,
            "expires": stamp(self.expires) if self.expires else None,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Json]) -> Self:
        """The inverse of `to_data`."""
        return cls(
            proposal=data["proposal"],
            stores=tuple(data["stores"]),
            state=State(data["state"]),
            attempt=data["attempt"],
            loosening=data["loosening"],
            approvals=tuple(data["approvals"]),
            retreats=tuple(data["retreats"]),
            confirmed=tuple(data["confirmed"]),
            by_person=data["by_person"],
            expires=parse_time(data["expires"]) if data["expires"] else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the floors in force make of a rollout at the moment of an event.

    Attributes:
        loosening: does its floor admit machines that the floor in force, or one being sent, refuses?
        quorum: approvals that a loosening needs.
        lasts: seconds until a loosening ends.
    """

    loosening: bool
    quorum: int
    lasts: int


@dataclass(frozen=True, slots=True)
class Begin:
    """It was proposed; `automatic` where it is exact, tightens and stays within bounds."""

    terms: Terms
    automatic: bool


@dataclass(frozen=True, slots=True)
class Approve:
    """A named approver signed it."""

    by: str
    terms: Terms
    at: datetime


@dataclass(frozen=True, slots=True)
class Reject:
    """A named approver signed a rejection."""

    by: str


@dataclass(frozen=True, slots=True)
class Halt:
    """A named approver stopped it."""

    by: str


@dataclass(frozen=True, slots=True)
class RollBack:
    """A named approver signed that the floor before it shall return; `terms` are those of that floor."""

    by: str
    terms: Terms
    at: datetime


@dataclass(frozen=True, slots=True)
class Confirm:
    """A store proved that it enforces the change of this attempt.

    `lasts` is how many seconds a loosening is for; None where nothing stricter would return when it ends.
    """

    store: str
    attempt: int
    at: datetime
    lasts: int | None


@dataclass(frozen=True, slots=True)
class Fail:
    """A store could not."""

    store: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Replace:
    """Another proposal of the family took its place."""

    by: str


@dataclass(frozen=True, slots=True)
class Superseded:
    """Another rollout of the family goes back while this one is underway: only one change can be the last."""

    to: str


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Time passed."""

    at: datetime


RolloutEvent = Begin | Approve | Reject | Halt | RollBack | Confirm | Fail | Replace | Superseded | TimePassed


@dataclass(frozen=True, slots=True)
class Send:
    """Push the proposed floor to every store, as change number `attempt`."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Restore:
    """Push the floor that was in force before this rollout, as change number `attempt`."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Enforced:
    """Every store enforces the proposed floor: it is in force now."""


@dataclass(frozen=True, slots=True)
class Restored:
    """Every store enforces the floor before: it is in force again."""


@dataclass(frozen=True, slots=True)
class Note:
    """For the rollout's history: what happened and changed nothing else, or why it changed."""

    text: str


Effect = Send | Restore | Enforced | Restored | Note


def advance(rollout: Rollout, event: RolloutEvent) -> tuple[Rollout, tuple[Effect, ...]]:
    """The next rollout, and what is to be done. Pure; raises for no sequence of events."""
    match event:
        case Begin():
            return _begin(rollout, event)
        case Approve():
            return _approve(rollout, event)
        case Reject():
            if rollout.state in (State.PROPOSED, State.HALTED):
                return replace(rollout, state=State.REJECTED), (Note(f"rejected by {event.by}"),)
        case Halt():
            if rollout.state in UNDERWAY | {State.PROPOSED}:
                halted = replace(rollout, state=State.HALTED, by_person=True, approvals=())
                return halted, (Note(f"halted by {event.by}"),)
        case RollBack():
            return _roll_back(rollout, event)
        case Confirm():
            return _confirm(rollout, event)
        case Fail():
            return _fail(rollout, event)
        case Replace():
            if rollout.state not in ENDED:
                return replace(rollout, state=State.SUPERSEDED, expires=None), (Note(f"superseded by {event.by}"),)
        case Superseded():
            if rollout.state in UNDERWAY:
                halted = replace(rollout, state=State.HALTED, by_person=False, approvals=())
                return halted, (Note(f"halted: {event.to} goes back"),)
        case TimePassed():
            return _pass(rollout, event)
    return rollout, (Note(f"{type(event).__name__.lower()}: not while {rollout.state.value}"),)


def _send(rollout: Rollout, loosening: bool) -> tuple[Rollout, tuple[Effect, ...]]:
    attempt = rollout.attempt + 1
    sent = replace(
        rollout, state=State.APPROVED, attempt=attempt, loosening=loosening, retreats=(), confirmed=(), expires=None
    )
    return sent, (Send(attempt),)


def _begin(rollout: Rollout, event: Begin) -> tuple[Rollout, tuple[Effect, ...]]:
    if rollout.state is not State.PROPOSED or rollout.approvals or rollout.attempt:
        return rollout, (Note("it had begun already"),)
    if event.automatic and not event.terms.loosening:
        return _send(rollout, False)
    begun = replace(rollout, loosening=event.terms.loosening)
    return begun, (Note("it would loosen what is in force: it waits for a quorum"),) if event.automatic else ()


def _approve(rollout: Rollout, event: Approve) -> tuple[Rollout, tuple[Effect, ...]]:
    if rollout.state is State.HALTED and rollout.by_person:
        return rollout, (Note("a person halted it: it can be rejected or rolled back, or proposed again"),)
    if rollout.state not in (State.PROPOSED, State.HALTED):
        return rollout, (Note(f"approve: not while {rollout.state.value}"),)
    if event.by in rollout.approvals:
        return rollout, (Note(f"{event.by} approved it before, and counts once"),)
    approved = replace(rollout, approvals=(*rollout.approvals, event.by), loosening=event.terms.loosening)
    needed = event.terms.quorum if event.terms.loosening else 1
    if len(approved.approvals) < needed:
        return approved, (Note(f"approved by {event.by}: {len(approved.approvals)} of {needed}"),)
    sent, effects = _send(approved, event.terms.loosening)
    return sent, (Note(f"approved by {event.by}"), *effects)


def _roll_back(rollout: Rollout, event: RollBack) -> tuple[Rollout, tuple[Effect, ...]]:
    stuck = rollout.state is State.ROLLED_BACK and set(rollout.confirmed) != set(rollout.stores)
    if rollout.attempt == 0 or not (rollout.state in UNDERWAY | {State.ENFORCED, State.HALTED} or stuck):
        return rollout, (Note(f"roll back: not while {rollout.state.value}, and only what was sent"),)
    if event.by in rollout.retreats:
        return rollout, (Note(f"{event.by} asked for it before, and counts once"),)
    retreats = (*rollout.retreats, event.by)
    needed = event.terms.quorum if event.terms.loosening else 1
    if len(retreats) < needed:
        waiting = replace(rollout, retreats=retreats)
        return waiting, (Note(f"roll-back asked for by {event.by}: {len(retreats)} of {needed}"),)
    expires = rollout.expires if stuck else None
    if rollout.state is State.ENFORCED and event.terms.loosening:
        expires = event.at + timedelta(seconds=event.terms.lasts)
    back = replace(
        rollout, state=State.ROLLED_BACK, retreats=(), attempt=rollout.attempt + 1, confirmed=(), expires=expires
    )
    return back, (Note(f"rolled back by {', '.join(retreats)}"), Restore(back.attempt))


def _confirm(rollout: Rollout, event: Confirm) -> tuple[Rollout, tuple[Effect, ...]]:
    if event.attempt != rollout.attempt or event.store not in rollout.stores:
        return rollout, (Note(f"a receipt of {event.store} for a change that is not the latest"),)
    if rollout.state not in UNDERWAY | {State.ROLLED_BACK} or event.store in rollout.confirmed:
        return rollout, (Note(f"a receipt of {event.store}: nothing waited for it"),)
    confirmed = replace(rollout, confirmed=(*rollout.confirmed, event.store))
    if set(confirmed.confirmed) != set(rollout.stores):
        return confirmed, (Note(f"{event.store} enforces it"),)
    if rollout.state is State.ROLLED_BACK:
        return confirmed, (Note(f"{event.store} enforces the floor before"), Restored())
    lasts = event.lasts if rollout.loosening else None
    expires = None if lasts is None else event.at + timedelta(seconds=lasts)
    enforced = replace(confirmed, state=State.ENFORCED, expires=expires)
    return enforced, (Note(f"{event.store} enforces it"), Enforced())


def _fail(rollout: Rollout, event: Fail) -> tuple[Rollout, tuple[Effect, ...]]:
    if event.attempt != rollout.attempt or rollout.state not in UNDERWAY:
        return rollout, (Note(f"{event.store} failed a change that nothing waits for"),)
    halted = replace(rollout, state=State.HALTED, by_person=False, approvals=())
    return halted, (Note(f"halted: {event.store} does not enforce it"),)


def _pass(rollout: Rollout, event: TimePassed) -> tuple[Rollout, tuple[Effect, ...]]:
    if rollout.expires is None or event.at < rollout.expires:
        return rollout, ()
    if rollout.state is State.ENFORCED:
        back = replace(rollout, state=State.ROLLED_BACK, attempt=rollout.attempt + 1, confirmed=(), expires=None)
        return back, (Note("the loosening ended by itself"), Restore(back.attempt))
    if rollout.state is State.ROLLED_BACK:
        sent, effects = _send(rollout, False)
        return sent, (Note("the roll-back ended by itself"), *effects)
    return replace(rollout, expires=None), ()
