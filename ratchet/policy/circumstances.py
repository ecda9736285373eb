"""What is known of evidence beside its proof: when it came, who vouches for it, and whether its machine is ours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Recognition(StrEnum):
    """Whether the machine that evidence proves is one of ours (`ratchet.policy.enrolment` decides it).

    `NOT_ASKED` where nobody keeps a list of machines, as for a file on the command line.
    """

    OURS = "ours"
    WAITING = "waiting"
    STRANGER = "stranger"
    MOVED = "moved"
    NOT_ASKED = "not_asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """Of one piece of evidence.

    Attributes:
        received: when we had it. Trust counts from then, also when it is judged again later.
        recognition: whether its machine is ours.
        vouched: a sender that the configuration trusts to say so says that it is fresh.
    """

    received: datetime
    recognition: Recognition = Recognition.NOT_ASKED
    vouched: bool = False
