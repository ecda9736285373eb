"""The proof of what could not be read: parsing failed, and nothing else was possible."""

from __future__ import annotations

from ratchet.event import digest
from ratchet.evidence import Evidence, Format, Outcome, Proof, Step, StepName
from ratchet.evidence.recognise import Recognised
from ratchet.reason import Reason

_FORMATS = "docs/formats.md"


def proof(evidence: Evidence, why: str, format: Format | None = None, source: str = _FORMATS) -> Proof:
    """A proof that failed at its first step.

    Args:
        evidence: what was received.
        why: what is wrong with the bytes, for a person.
        format: what they were taken for; None where they look like nothing known.
        source: the specification whose layout they break.
    """
    remedy = "send evidence as the attester made it, whole and unaltered"
    reason = Reason("evidence_unreadable", "parse", why, "evidence in a known format", source, remedy)
    return _proof(evidence, why, format, source, reason)


def not_supported(evidence: Evidence, what: Recognised) -> Proof:
    """The same of bytes whose format has a name here, but no verifier: it says so, and nothing of tampering.

    Args:
        evidence: what was received.
        what: which format it is.
    """
    why = f"{what.name}: {'not supported yet' if what.evidence else 'not evidence'}"
    reason = Reason("format_not_supported", "parse", what.name, "evidence in a supported format", _FORMATS, what.next)
    return _proof(evidence, why, None, _FORMATS, reason)


def _proof(evidence: Evidence, why: str, format: Format | None, source: str, reason: Reason) -> Proof:
    steps = [Step(StepName.PARSE, Outcome.FAILED, why, source, (reason,))]
    for name in list(StepName)[1:]:
        unparsed = Reason("unparsed", name.value, None, "evidence that can be read", source, reason.remedy)
        steps.append(Step(name, Outcome.NOT_POSSIBLE, "the evidence could not be read", source, (unparsed,)))
    return Proof(digest(evidence.raw), format, tuple(steps))
