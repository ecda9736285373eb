"""Evidence: bytes in, and what is proven of them. One folder per vendor, one entry per format (`registry`).

`verify` answers "is it genuine?" and nothing else; whether it is good enough is `ratchet.policy.appraise`'s business.
"""

from __future__ import annotations

from datetime import datetime

from ratchet.collateral import Collateral
from ratchet.event import BlobId
from ratchet.evidence.proof import (
    MAX_EVIDENCE,
    Claims,
    Evidence,
    Field,
    Format,
    Outcome,
    Proof,
    Step,
    StepName,
    TcbStatus,
    not_supported,
    unreadable,
)
from ratchet.evidence.recognise import recognise
from ratchet.evidence.registry import FORMATS, TEES, detect

__all__ = [
    "FORMATS",
    "MAX_EVIDENCE",
    "TEES",
    "Claims",
    "Evidence",
    "Field",
    "Format",
    "Outcome",
    "Proof",
    "Step",
    "StepName",
    "TcbStatus",
    "detect",
    "fields",
    "replay_key",
    "verify",
]


def verify(evidence: Evidence, collateral: Collateral, at: datetime) -> Proof:
    """Is it genuine? Parse, chain, revocation, signature, binding, collateral, freshness; every step has an outcome.

    Pure, and never raises for bad evidence: an attacker's bytes give a `Proof` whose steps say what is wrong.

    Args:
        evidence: the bytes and what came with them.
        collateral: vendor documents and trusted roots; only what was known at `at` is used.
        at: aware time to judge at, so that yesterday can be judged again.

    Raises:
        ValueError: `at` has no zone.
    """
    if at.tzinfo is None:
        raise ValueError("at= has no time zone: pass an aware datetime")
    size = len(evidence.raw)
    if size > MAX_EVIDENCE:
        return _unnamed(evidence, f"{size} bytes, at most {MAX_EVIDENCE} are read")
    spec = FORMATS.get(evidence.format or detect(evidence.raw) or "")
    if spec is None:
        return _unnamed(evidence, "bytes of no known format")
    return spec.verify(evidence, collateral, at)


def _unnamed(evidence: Evidence, why: str) -> Proof:
    what = recognise(evidence.raw)
    if what is None:
        return unreadable(evidence, why)
    return not_supported(evidence, what.name, what.next, evidence_at_all=what.evidence)


def fields(evidence: Evidence) -> tuple[Field, ...]:
    """Every claim with its place in the bytes, in order of offset; empty where the bytes cannot be parsed."""
    spec = FORMATS.get(evidence.format or detect(evidence.raw) or "")
    return spec.fields(evidence.raw) if spec is not None else ()


def replay_key(raw: bytes, proof: Proof) -> BlobId:
    """The hash of what was signed and of the signature's part that nobody can alter without the key; of the bytes where
    it is not proven that they were signed. A certificate that has ended since takes nothing away from that.

    Much of evidence is signed by nobody: what follows a quote, the text around its certificates, a certificate table.
    And from an ECDSA signature (r, s) anybody makes another, (r, n - s), that holds as well. So the same evidence can
    be sent again as other bytes, and a hash of the bytes would take it for fresh proof. What was signed and r cannot be
    altered without the key, and r is another each time: the signature's nonce makes it (FIPS 186-5, 6.4.1).

    Args:
        raw: the evidence.
        proof: of it, as `verify` gave it.
    """
    if proof.format is None or proof.claims is None or (proof.unproven and not _ended(proof)):
        return proof.evidence
    return FORMATS[proof.format].replay_key(raw, proof)


def _ended(proof: Proof) -> bool:
    """Is all that is not proven that its certificates are still in force?"""
    codes = {reason.code for step in proof.steps if step.name is StepName.CHAIN for reason in step.reasons}
    return proof.unproven == (StepName.CHAIN,) and proof.root is not None and codes == {"certificate_expired"}
