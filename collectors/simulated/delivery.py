"""What the simulated fleet hands over: a piece of evidence or a vendor's document, and what is true of the whole."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ratchet.evidence import Format


class DeliveryKind(StrEnum):
    """Which entrance it comes through."""

    EVIDENCE = "evidence"
    DOCUMENT = "document"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One thing that arrives, as bytes.

    Attributes:
        kind: evidence from a machine, or a document from a vendor.
        time: when the collector has it, safe.
        raw: the bytes.
        name: the hint of who sends it; for a document its name for people, such as `tcb_info tdx 51806f050000`.
        format: what the sender says the bytes are; None where it does not say, and for documents.
        endorsements: certificates beside the evidence.
        challenge: what the collector asked to be bound into report data.
        delivery: the id given before the first send: the same on a retry, another on a replay.
        region: where the sender says it is.
        workload: what the sender says it runs.
    """

    kind: DeliveryKind
    time: datetime
    raw: bytes
    name: str
    format: Format | None
    endorsements: tuple[bytes, ...]
    challenge: bytes | None
    delivery: str
    region: str | None
    workload: str | None


@dataclass(frozen=True, slots=True, order=True)
class Fact:
    """Something planted that must be reported: by which rule, about whom.

    Attributes:
        rule: name of the rule, the stem of its file in rules/.
        subject: the machine's hint name, or `region:<name>`.
    """

    rule: str
    subject: str
