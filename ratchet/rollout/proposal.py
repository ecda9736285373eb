"""Proposals: a change of floors or of the policy beside them, its effect on the fleet, whether it may go by itself.

Pure: the fleet is given, as the last fresh signal of each guest. docs/events.md, proposal.made.v1, has the form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ratchet.event import Json, derived_id
from ratchet.policy import amendment
from ratchet.policy.amendment import POLICY
from ratchet.policy.floor import Floor, floor_hash, open_floor
from ratchet.policy.policy import Policy
from ratchet.policy.simulate import Bounds, Impact, effect, samples_of
from ratchet.policy.tighten import succeeds, tightens

Fleet = Sequence[Mapping[str, Json]]
"""The last fresh signal of each guest (docs/events.md, signals.batched.v1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """When and why something is proposed, and to which fleet.

    Attributes:
        tenant: whose.
        at: event time.
        cause: id of the event because of which.
        fleet: of the tenant.
        bounds: how far an exact tightening may reach by itself.
    """

    tenant: str
    at: datetime
    cause: str
    fleet: Fleet
    bounds: Bounds

    @property
    def families(self) -> list[str]:
        """Of the fleet."""
        return sorted({str(signal["family"]) for signal in self.fleet})


def of_floor(
    family: str, floor: Floor, before: Floor | None, policy: Policy, occasion: Occasion, *, configured: bool = False
) -> dict[str, Json]:
    """The proposal of a floor in the place of another.

    Args:
        family: whose floor.
        floor: what is wanted.
        before: what is in force; None where nothing is.
        policy: in force, with its floors.
        occasion: when, why, and to whom.
        configured: it was written into the configuration: no document is behind it, so it never goes by itself.
    """
    now = policy.with_floors({**policy.floors, family: before or open_floor(family, "none in force")})
    then = policy.with_floors({**policy.floors, family: floor})
    impact = effect(occasion.fleet, now, then, occasion.at, family, _unseen(occasion))
    tightening = tightens(floor, before)
    automatic, why = by_itself(floor, before, tightening, impact, occasion.bounds)
    if configured:
        automatic = False
        why = f"waits for approval: written into the configuration; {why.partition('; ')[2]}"
    return {
        "proposal": derived_id(
            "proposal", occasion.tenant, family, floor_hash(floor), floor_hash(before), occasion.cause
        ),
        "family": family,
        "floor": floor.to_data(),
        "before": before.to_data() if before else None,
        "policy": None,
        "policy_before": None,
        "diff": [],
        "exact": floor.provenance.exact and not configured,
        "tightening": tightening,
        "impact": impact.to_data(),
        "bound": occasion.bounds.to_data(),
        "automatic": automatic,
        "why": why,
        "cause": occasion.cause,
        "families": occasion.families,
        "samples": _samples(occasion.fleet, then, family),
    }


def of_policy(wanted: Policy, in_force: Policy, occasion: Occasion) -> dict[str, Json]:
    """The proposal of a policy beside the floors. Never by itself: no vendor signed it."""
    impact = effect(occasion.fleet, in_force, wanted, occasion.at, None, _unseen(occasion))
    new, old = wanted.with_floors({}), in_force.with_floors({})
    tightening = amendment.tightens(new, old)
    needs = "waits for approval: it admits nothing more"
    if not tightening:
        stays = "once approved it stays" if amendment.lasts(new, old) else "it ends by itself"
        needs = f"waits for a quorum: it may admit what the policy in force refuses, and {stays}"
    return {
        "proposal": derived_id("proposal", occasion.tenant, POLICY, new.hash, old.hash, occasion.cause),
        "family": POLICY,
        "floor": None,
        "before": None,
        "policy": new.to_data(),
        "policy_before": old.to_data(),
        "diff": list(amendment.differences(new, old)),
        "exact": False,
        "tightening": tightening,
        "impact": impact.to_data(),
        "bound": occasion.bounds.to_data(),
        "automatic": False,
        "why": f"{needs}; {_counted(impact)}",
        "cause": occasion.cause,
        "families": occasion.families,
        "samples": _samples(occasion.fleet, wanted, POLICY),
    }


def _unseen(occasion: Occasion) -> timedelta:
    return timedelta(seconds=occasion.bounds.unseen_after)


def _samples(fleet: Fleet, policy: Policy, family: str) -> dict[str, Json]:
    proved = samples_of(fleet, policy, family)
    return {"refuse": [dict(s) for s in proved.refuse], "pass": [dict(s) for s in proved.admit]}


def by_itself(floor: Floor, before: Floor | None, tightening: bool, impact: Impact, bounds: Bounds) -> tuple[bool, str]:
    """Whether it may go by itself, and why, in one line."""
    hit = len(impact.refused) + len(impact.unknown)
    effect = _counted(impact)
    if not tightening and succeeds(floor, before):
        return (
            False,
            "waits for a quorum: the vendor's own successor lets in what the floor in force refuses; once approved it "
            f"stays in force; {effect}",
        )
    if not tightening:
        return False, f"waits for a quorum: it lets in what the floor in force refuses, and ends by itself; {effect}"
    if not floor.provenance.exact:
        return (
            False,
            f"waits for approval: reviewed by {floor.provenance.reviewed_by}, not signed by the vendor; {effect}",
        )
    if not bounds.hold(impact):
        limit = f"{bounds.max_refused} guests and {bounds.max_fraction:.1%}"
        return False, f"waits for approval: {effect}, beyond the bounds of {limit}"
    return True, f"goes by itself: exact, tighter, and within bounds; {effect}" if hit else (
        "goes by itself: exact, tighter, and refuses nobody"
    )


def _counted(impact: Impact) -> str:
    """The effect in one line."""
    effect = f"would refuse {len(impact.refused)} of {impact.considered} guests"
    if impact.unknown:
        effect += f" and cannot tell of {len(impact.unknown)}"
    if impact.admitted:
        effect += f", and admit {len(impact.admitted)} more"
    if impact.unseen:
        effect += f"; {len(impact.unseen)} were not seen lately"
    return effect
