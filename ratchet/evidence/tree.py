"""Evidence that carries other evidence: one proof of the whole, from what was proven of each part.

Every part is verified by itself, by its own format; what joins it to the rest is a step of its own (`Part.binding`).
The whole is only as good as the worst of them: a step has passed where its own and every part's has, and failed where
one of them has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from ratchet.event import BlobId
from ratchet.evidence.proof import Claims, Format, Outcome, Part, Proof, Step, StepName
from ratchet.reason import Reason

_WORST = (Outcome.FAILED, Outcome.NOT_POSSIBLE, Outcome.PASSED)

_OF_THE_WHOLE = frozenset({StepName.FRESHNESS})
"""Steps that only the whole can take: a part answers the whole's binding, and nobody's challenge."""


def joined(
    evidence: BlobId,
    form: Format,
    own: Sequence[Step],
    parts: Sequence[Part],
    claims: Claims | None,
    *,
    collateral: Iterable[BlobId] = (),
    valid_until: datetime | None = None,
) -> Proof:
    """The proof of evidence with parts.

    Args:
        evidence: blob id of the whole.
        form: of the whole.
        own: steps that the whole takes beside its parts, each name once; those that it has none of are the parts' own.
        parts: what it carries.
        claims: of the whole, as its format merges them.
        collateral, valid_until: what the whole rests on beside its parts.

    Raises:
        ValueError: two parts have a status of their own: a format that has such needs a rule for merging them first.
    """
    statuses = [part.proof.tcb for part in parts if part.proof.tcb is not None]
    if len(statuses) > 1:
        raise ValueError("two parts have a TCB status, and nothing says how they are merged")
    ends = [end for end in (valid_until, *(part.proof.valid_until for part in parts)) if end is not None]
    used = {*collateral, *(blob for part in parts for blob in part.proof.collateral)}
    return Proof(
        evidence=evidence,
        format=form,
        steps=tuple(_worst(name, own, parts) for name in StepName),
        claims=claims,
        tcb=statuses[0] if statuses else None,
        root=next((part.proof.root for part in parts if part.proof.root is not None), None),
        collateral=tuple(sorted(used)),
        valid_until=min(ends, default=None),
        parts=tuple(parts),
    )


def _not_taken(name: StepName) -> Step:
    return Step(name, Outcome.NOT_POSSIBLE, "not taken", "docs/design.md, 3")


def _worst(name: StepName, own: Sequence[Step], parts: Sequence[Part]) -> Step:
    """One step of the whole."""
    found: list[tuple[Step, str]] = [(step, step.detail) for step in own if step.name is name]
    if name not in _OF_THE_WHOLE:
        for part in parts:
            taken = [(step, f"{part.name}: {step.detail}") for step in part.proof.steps if step.name is name]
            found += taken or [(_not_taken(name), f"{part.name}: not taken")]
    if name is StepName.BINDING:
        found += [(part.binding, part.binding.detail) for part in parts]
    if not found:
        return Step(name, Outcome.NOT_POSSIBLE, "no part of the evidence takes this step", "docs/design.md, 3")
    if len(found) == 1:
        only, detail = found[0]
        return only if detail is only.detail else Step(name, only.outcome, detail, only.source, only.reasons)
    outcomes = [step.outcome for step, _ in found]
    outcome = next(outcome for outcome in _WORST if outcome in outcomes)
    shown = [(step, detail) for step, detail in found if step.outcome is outcome]
    reasons: list[Reason] = []  # a value in one may be a list, which has no hash
    for step, _ in found:
        reasons += [reason for reason in step.reasons if reason not in reasons]
    details = "; ".join(dict.fromkeys([detail for _, detail in shown]))
    return Step(name, outcome, details, shown[0][0].source, tuple(reasons))
