"""What Ratchet made of an item, and the ways in which a manifest's words are looked up in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ratchet.collateral import Known, amd
from ratchet.event import Json
from ratchet.evidence import Claims, Evidence, Field, Format, Outcome, Proof, Step, StepName
from ratchet.evidence.amd.endorsement import certificate_table


class Absent(Exception):
    """Ratchet has nothing under that name; says why."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What Ratchet made of one piece of evidence.

    Attributes:
        proof: of `verify`.
        fields: of `fields`, by name.
        beside: the files that came with the evidence.
        known: statements in a document of collateral.
    """

    proof: Proof | None = None
    fields: Mapping[str, Field] = field(default_factory=dict)
    beside: tuple[bytes, ...] = ()
    known: tuple[Known, ...] = ()

    @property
    def claims(self) -> Claims:
        """Of the proof."""
        if self.proof is None or self.proof.claims is None:
            raise Absent("the evidence could not be parsed")
        return self.proof.claims

    def step(self, name: StepName) -> Step:
        """One proof step."""
        if self.proof is None:
            raise Absent("nothing was verified")
        return next(step for step in self.proof.steps if step.name is name)

    def passed(self, name: StepName) -> bool:
        """Whether that proof step passed."""
        return self.step(name).outcome is Outcome.PASSED

    def free_of(self, name: StepName, *codes: str) -> bool:
        """Whether that step was possible, and none of these codes is among its reasons."""
        step = self.step(name)
        return step.outcome is not Outcome.NOT_POSSIBLE and not any(r.code in codes for r in step.reasons)


Look = Callable[[Seen], Json]

Read = Callable[[str], bytes]
"""The bytes of a file that the manifest names."""


def bit(name: str) -> Look:
    """A number or truth value among the claims."""

    def look(seen: Seen) -> Json:
        value = seen.claims.bits[name]
        return bool(value) if isinstance(value, bool) else value

    return look


def measured(name: str) -> Look:
    """A claim that is a string of bytes, as `Claims.measurements` has it."""
    return lambda seen: seen.claims.measurements[name]


def field_of(name: str) -> Look:
    """A field of the evidence, by the format's own word."""
    return lambda seen: seen.fields[name].value


def debug(seen: Seen) -> Json:
    """Whether anybody on the host may look inside."""
    return seen.claims.debug


def report_data(seen: Seen) -> Json:
    """What the attester chose, hex."""
    return seen.claims.report_data.hex()


def step_passed(name: StepName) -> Look:
    """Whether that proof step passed."""
    return lambda seen: seen.passed(name)


def alone(raw: bytes, beside: Mapping[str, bytes], format: Format) -> Evidence:
    """The main file as evidence; certificates beside it are endorsements."""
    return Evidence(raw, format, tuple(data for data in beside.values() if is_endorsement(data)))


def is_endorsement(data: bytes) -> bool:
    """Is a file beside the evidence a certificate, or a table of certificates?"""
    return bool(amd.certificates(data) or b"-----BEGIN CERTIFICATE-----" in data[:64] or certificate_table(data))


@dataclass(frozen=True, slots=True)
class Tables:
    """What a manifest calls things of one format.

    Attributes:
        claims, checks, facts: its words for claims, for proof steps, and for what stands beside them.
        evidence: makes evidence of an item's files: the main one, and those beside it by their names.
    """

    claims: Mapping[str, Look]
    checks: Mapping[str, Look]
    facts: Mapping[str, Look]
    evidence: Callable[[bytes, Mapping[str, bytes], Format], Evidence] = alone
