"""Which of Intel's evaluations is judged by: a choice of policy, not of whichever document came last.

Every TCB recovery of Intel's has a tcbEvaluationDataNumber. For a time there are several: the newest, at once
(`early`), and the one that verifiers are held to when they ask for nothing else (`standard`), which Intel lets follow
later, so that platforms can be updated first (PCS API v4, "Get TCB info", `update`).

| policy | which |
|---|---|
| `"early"` | the highest number that is known |
| `"standard"` | the highest whose TCB recovery was at least `STANDARD_AFTER` ago; where none is so old, the lowest |
| `"newest"` | as `early`; and evidence is judged by a document from its arrival on, whatever floor is in force |
| a number | that one, and no other: while no document of it is known, none |

A document that arrives moves nothing by itself (but under `newest`): it makes a proposal, with its effect on the fleet.
Until that is enforced, evidence of the family is judged by the evaluation of the floor in force, whatever came since.
So when that evaluation's last document expires, its machines are not judged by another one, but are unverified. A
family that has no floor in force yet is judged by the newest document.

A signed document does not say whether it was served as early or standard. The date of its TCB recovery it does say: its
newest level's tcbDate (a day after the recovery event). So "standard" is computed from signed bytes alone, and is the
same whoever fetched the document, and how.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal

from ratchet.policy.floor import IntelFloor

Evaluation = int | Literal["early", "standard", "newest"]
"""What a policy may say."""

STANDARD_AFTER = timedelta(days=365)
"""From a TCB recovery to its evaluation being the standard one: 12 months, as observed for evaluations 18 to 20
(2024-11-12 to 2025-11, 2025-05-13 to 2026-05, 2025-08-12 to 2026-08); Intel promises no other number."""


def recovered(floor: IntelFloor) -> datetime:
    """The date of the TCB recovery that this list is of."""
    return max(level.date for level in floor.levels)


def choose(floors: Iterable[IntelFloor], evaluation: Evaluation, at: datetime) -> IntelFloor | None:
    """The list of one family to judge by at `at`; None where there is none of the evaluation that is wanted.

    Args:
        floors: of one family, each of another evaluation.
        evaluation: as the policy says.
        at: aware time to judge at.
    """
    known = sorted((floor for floor in floors if floor.levels), key=lambda floor: floor.evaluation)
    if isinstance(evaluation, int):
        return next((floor for floor in known if floor.evaluation == evaluation), None)
    if evaluation == "standard":
        old = [floor for floor in known if recovered(floor) + STANDARD_AFTER <= at]
        return old[-1] if old else known[0] if known else None
    return known[-1] if known else None
