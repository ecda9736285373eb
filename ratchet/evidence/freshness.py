"""Freshness: was this made for us, now? Report data must hold the challenge that the collector gave (RFC 9334, 10.2).

One rule for every format whose attester chooses 64 bytes of report data: they are the challenge itself, filled up with
zeros, or its SHA-256, SHA-384 or SHA-512, filled up with zeros. Nothing looser: a challenge found "somewhere inside"
would let the attester choose what stands around it.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from hmac import compare_digest

from ratchet.evidence import Outcome, Step, StepName
from ratchet.reason import Reason

SIZE = 64
"""Bytes of report data in SGX and TDX quotes and in SNP reports."""

_SOURCE = "RFC 9334, 10.2 (nonces)"


def step(report_data: bytes | None, challenge: bytes | None, source: str = _SOURCE) -> Step:
    """The freshness step.

    Args:
        report_data: as the evidence has it; None where the evidence could not be parsed.
        challenge: what the collector asked to be bound; None, or empty, where it asked nothing.
        source: where the format's specification defines report data.
    """
    if not challenge:
        return _unasked(source)
    if report_data is None:
        reason = Reason("unparsed", "freshness", None, "report data", source, "send evidence that can be parsed")
        return Step(StepName.FRESHNESS, Outcome.NOT_POSSIBLE, "no report data could be read", source, (reason,))
    held = holds(report_data, challenge)
    if held is not None:
        return Step(StepName.FRESHNESS, Outcome.PASSED, f"report data is {held}", source)
    reason = Reason(
        "challenge_mismatch",
        "freshness",
        report_data.hex(),
        f"{challenge[:SIZE].hex()}, or its SHA-256, SHA-384 or SHA-512, zero-filled",
        source,
        "ask for new evidence: this was made for another challenge, or is replayed",
    )
    return Step(StepName.FRESHNESS, Outcome.FAILED, "report data does not hold the challenge", source, (reason,))


@lru_cache(maxsize=16)
def _unasked(source: str) -> Step:
    reason = Reason("no_challenge", "freshness", None, "a challenge", _SOURCE, "let the collector give a challenge")
    return Step(StepName.FRESHNESS, Outcome.NOT_POSSIBLE, "no challenge was given to compare with", source, (reason,))


def holds(report_data: bytes, challenge: bytes) -> str | None:
    """How the challenge is held, in words; None where it is not. An empty challenge is never held."""
    if not challenge or len(report_data) != SIZE:
        return None
    if len(challenge) <= SIZE and compare_digest(report_data, challenge.ljust(SIZE, b"\0")):
        return "the challenge"
    for name, label in (("sha256", "SHA-256"), ("sha384", "SHA-384"), ("sha512", "SHA-512")):
        if compare_digest(report_data, hashlib.new(name, challenge).digest().ljust(SIZE, b"\0")):
            return f"the {label} of the challenge"
    return None
