"""On what terms a proposal goes: by itself or by approvals, whether it loosens, and for how long.

What a proposal said of itself when it was made counts only where it is stricter: things may have changed since. A
loosening that ends by itself is no measure: what comes after it is judged against what will return, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ratchet.event import Json
from ratchet.policy import amendment
from ratchet.policy.amendment import POLICY, Amendment
from ratchet.policy.simulate import Bounds
from ratchet.rollout.advance import Terms
from ratchet.rollout.approval import Approvers


def may_go_by_itself(
    proposed: Mapping[str, Json], bounds: Bounds, before: Amendment | None, in_force: Amendment | None
) -> bool:
    """May it, as things are now?

    Args:
        proposed: data of the proposal (docs/events.md, proposal.made.v1).
        bounds: how many guests it may refuse.
        before: what its effect was counted from; None where nothing was in force. From a looser one it would be more.
        in_force: what is in force now.
    """
    if proposed["family"] == POLICY or not (proposed["automatic"] and proposed["exact"] and proposed["tightening"]):
        return False
    impact = proposed["impact"]
    if impact.get("unseen") and not impact["considered"]:
        return False
    hit = len(impact["refused"]) + impact["unknown"]
    if hit > bounds.max_refused or hit > bounds.max_fraction * impact["considered"]:
        return False
    return before is None or (in_force is not None and amendment.tightens(in_force, before))


def against(new: Amendment, others: Iterable[Amendment], approvers: Approvers) -> Terms:
    """The terms of what would take the place of all these: in force, to return, or being sent by another."""
    loosening = not all(amendment.tightens(new, one) for one in others)
    return Terms(loosening=loosening, quorum=approvers.quorum, lasts=approvers.loosening_lasts)


def lasts(new: Amendment, returns: Amendment | None, approvers: Approvers) -> int | None:
    """For how many seconds it is in force where it loosens; None where nothing stricter would return, or it may stay.

    Only what people lower against the vendor, or excuse, ends by itself (`ratchet.policy.amendment.lasts`).
    """
    if returns is None or amendment.tightens(new, returns) or amendment.lasts(new, returns):
        return None
    return approvers.loosening_lasts
