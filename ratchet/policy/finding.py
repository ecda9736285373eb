"""What is gathered while evidence is appraised: each claim of the vector begins at 0 and rises by checks made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ratchet.policy.policy import Policy
from ratchet.reason import Reason

IDENTITY, CONFIGURATION, EXECUTABLES, HARDWARE = "instance-identity", "configuration", "executables", "hardware"
"""Names of the vector's claims (draft-ietf-rats-ar4si-09, 2.3.1)."""

CLAIMS = (IDENTITY, CONFIGURATION, EXECUTABLES, HARDWARE)


@dataclass(slots=True)
class Finding:
    """The worst outcome of the checks on each claim, the reasons, and what bars affirming.

    Attributes:
        policy, at: what is judged by, and when.
        until: the end of a grace that was given; None where none was.
    """

    policy: Policy
    at: datetime
    until: datetime | None = None
    worst: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CLAIMS, 0))
    unchecked: set[str] = field(default_factory=set)
    reasons: list[Reason] = field(default_factory=list)
    barred: list[str] = field(default_factory=list)

    def passed(self, claim: str, value: int = 2) -> None:
        """A check was made, and this is what it found."""
        if value > self.worst[claim]:
            self.worst[claim] = value

    def worse(self, claim: str, value: int, *reasons: Reason) -> None:
        """A check was made, and found fault."""
        self.passed(claim, value)
        self.reasons.extend(reasons)

    def not_checked(self, claim: str, what: str, *reasons: Reason) -> None:
        """Something could not be checked: the claim is 0 unless a fault is known; bars affirming unless excused."""
        self.unchecked.add(claim)
        self.reasons.extend(reasons)
        if what not in self.policy.may_be_impossible and what not in self.barred:
            self.barred.append(what)

    def bar_what_nobody_checked(self, vector: Mapping[str, int]) -> None:
        """A claim that stayed 0 without a word bars affirming: a check was forgotten."""
        if not self.barred:
            self.barred.extend(claim for claim, value in vector.items() if value == 0 and claim not in self.unchecked)

    @property
    def vector(self) -> dict[str, int]:
        """AR4SI claim -> value. Of several checks the worst; 0 where one was not possible, or none was made."""
        unchecked = self.unchecked
        return {claim: worst if worst >= 32 or claim not in unchecked else 0 for claim, worst in self.worst.items()}
