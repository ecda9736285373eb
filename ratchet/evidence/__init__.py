"""Evidence and what verifying it gives: claims, proof steps, TCB status. One module per format beside this one.

`verify` answers "is it genuine?" and nothing else; whether it is good enough is `ratchet.appraise`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING

from ratchet.event import BlobId, Json
from ratchet.reason import Reason

if TYPE_CHECKING:
    from ratchet.collateral import Collateral, Root

MAX_EVIDENCE = 64 * 1024
"""Bytes; the largest real quote with its chain is below 16 KiB, a report with its certificate table below 24 KiB."""


class Format(StrEnum):
    """What the bytes are. The media type on the wire is `application/vnd.ratchet.<format>`."""

    SGX_QUOTE = "sgx-quote"
    TDX_QUOTE = "tdx-quote"
    SNP_REPORT = "snp-report"

    @property
    def media_type(self) -> str:
        """The media type that a sender gives (a RATS CMW record's type)."""
        return f"application/vnd.ratchet.{self.value}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Raw bytes from an attester, never altered, and what came with them.

    Attributes:
        raw: the bytes as received.
        format: what the sender says they are; None lets `verify` look for itself.
        endorsements: certificates that the sender put beside it (DER or PEM, any order, unproven): a VCEK, a PCK chain.
        challenge: what the collector asked to be bound into report data; None where it asked nothing.
    """

    raw: bytes
    format: Format | None = None
    endorsements: tuple[bytes, ...] = ()
    challenge: bytes | None = None


class Outcome(StrEnum):
    """Of one proof step."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_POSSIBLE = "not_possible"


class StepName(StrEnum):
    """The proof steps, in the order in which they are shown. Every verdict has each of them once."""

    PARSE = "parse"
    CHAIN = "chain"
    REVOCATION = "revocation"
    SIGNATURE = "signature"
    BINDING = "binding"
    COLLATERAL = "collateral"
    FRESHNESS = "freshness"


@dataclass(frozen=True, slots=True)
class Step:
    """One proof step.

    Attributes:
        name: which.
        outcome: passed, failed, or not possible.
        detail: one short line for a person: `VCEK -> ASK Milan -> ARK Milan`.
        source: specification and section.
        reasons: why it is not `passed`; empty when it is.
    """

    name: StepName
    outcome: Outcome
    detail: str
    source: str
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Field:
    """Where a claim lies in the bytes, for people who look at both.

    Attributes:
        name: the format's own word, such as `reported_tcb`.
        label: for a person: `Reported TCB`.
        offset: bytes from the start of the evidence.
        length: in bytes.
        value: JSON: what it says there.
    """

    name: str
    label: str
    offset: int
    length: int
    value: Json


@dataclass(frozen=True, slots=True)
class Claims:
    """What the evidence says, in words common to all formats. Only as true as the steps beside it.

    Attributes:
        format: of the bytes.
        tee: `sgx`, `tdx` or `snp`.
        family: the product family that floors speak of: `sgx/<fmspc>`, `tdx/<fmspc>` or `snp/Milan`.
        platform: identity of the machine that it proves: `ppid:<hex>` or `chip:<hex>`; None when masked or zero.
        instance: identity of the guest: SNP report id, else the measurement, hex.
        measurement: MRENCLAVE, MRTD or launch measurement, hex.
        signer: MRSIGNER or id-key digest, hex; None when zero.
        debug: whether anybody on the host may look inside.
        report_data: 64 bytes that the attester chose.
        tcb: every security version that floors may speak of, by name. SNP: `reported.snp`, `committed.bl`,
            `current.ucode`, `launch.tee`, `reported.fmc` (Turin). Intel: `sgx.0` to `sgx.15`, `pcesvn`, `tdx.0` to
            `tdx.15` (TEE_TCB_SVN), `tdx2.0`.. (TEE_TCB_SVN2), `qe.isvsvn`.
        bits: what policy bits may loosen or require, by name: SNP `policy.smt`, `policy.debug`, `policy.migrate_ma`,
            `platform.smt`, `platform.alias_check`, `mitigation.current`, `vmpl`; TDX `attributes.sept_ve_disable`,
            `attributes.debug`, `attributes.migratable`; whole numbers or booleans.
        native: the format's own record (`SgxQuote`, `TdxQuote`, `SnpReport`).
    """

    format: Format
    tee: str
    family: str
    platform: str | None
    instance: str | None
    measurement: str
    signer: str | None
    debug: bool
    report_data: bytes
    tcb: Mapping[str, int]
    bits: Mapping[str, int]
    native: object


@dataclass(frozen=True, slots=True)
class TcbStatus:
    """Intel's TCB evaluation (PCS API v4, "TCB status"); AMD has none.

    Attributes:
        merged: what Intel's verifier would say; `NoMatchingTcbLevel` where no level fits.
        platform: from the TCB info's levels alone.
        qe: of the quoting enclave.
        module: of the TDX module identity; None where none is judged.
        advisories: INTEL-SA ids of the levels that were matched, merged, sorted and unique.
        evaluation: tcbEvaluationDataNumber of the TCB info.
        tcb_date: of the level that was matched; None where none fits.
        document: blob id of the TCB info.
    """

    merged: str
    platform: str
    qe: str
    module: str | None
    advisories: tuple[str, ...]
    evaluation: int
    tcb_date: datetime | None
    document: BlobId


@dataclass(frozen=True, slots=True)
class Proof:
    """What `verify` found, whole: nothing is left out because something else failed first.

    Attributes:
        evidence: blob id of the raw bytes.
        format: None where the bytes are of no known format.
        steps: every `StepName` once, in order.
        claims: None where the bytes could not be parsed.
        tcb: Intel's status; None for AMD, or where it could not be had.
        root: the trust anchor at the end of the chain; None where the chain ends in no trusted root.
        collateral: blob ids of every vendor document that was used, sorted.
        valid_until: the earliest end of what was relied on (certificates, CRLs, TCB info); None where nothing was.
    """

    evidence: BlobId
    format: Format | None
    steps: tuple[Step, ...]
    claims: Claims | None = None
    tcb: TcbStatus | None = None
    root: Root | None = None
    collateral: tuple[BlobId, ...] = field(default=())
    valid_until: datetime | None = None

    @property
    def genuine(self) -> bool:
        """No step failed, and the chain and the signatures passed: these bytes come from the machine they name."""
        return not self.unproven and all(s.outcome is not Outcome.FAILED for s in self.steps)

    @property
    def revoked(self) -> bool:
        """Revocation is all that failed: the bytes come from the machine they name, and its vendor disowns it.

        It says nothing good of that machine, but this it does say of it, and of no other.
        """
        failed = {s.name for s in self.steps if s.outcome is Outcome.FAILED}
        return self.unproven == () and failed == {StepName.REVOCATION}

    @property
    def unproven(self) -> tuple[StepName, ...]:
        """Those of parse, chain, signature and binding that did not pass: with any, nothing in the claims is proven."""
        return tuple([s.name for s in self.steps if s.outcome is not Outcome.PASSED and s.name in _AUTHENTIC])

    def outcome(self, name: StepName) -> Outcome:
        """Of one step."""
        return next(s.outcome for s in self.steps if s.name is name)


_AUTHENTIC = frozenset({StepName.PARSE, StepName.CHAIN, StepName.SIGNATURE, StepName.BINDING})


def detect(raw: bytes) -> Format | None:
    """Which format the bytes are of, from their first fields; None where they are of none.

    SGX and TDX quotes begin with a u16 version of 3, 4 or 5 and carry the TEE type at offset 4 (Intel SGX ECDSA
    QuoteLibReference, A.4; TDX DCAP Quoting Library API, A.3). SNP reports begin with a u32 version of 2 to 5 and are
    at least 1184 bytes long (AMD 56860, table "ATTESTATION_REPORT").
    """
    if len(raw) < 48:
        return None
    version = int.from_bytes(raw[:2], "little")
    tee = int.from_bytes(raw[4:8], "little")
    key_type = int.from_bytes(raw[2:4], "little")
    if version in (3, 4, 5) and key_type in (2, 3):
        if tee == 0x81 and version >= 4:
            return Format.TDX_QUOTE
        if tee == 0 or version == 3:
            return Format.SGX_QUOTE
        return None
    if len(raw) >= 1184 and int.from_bytes(raw[:4], "little") in (2, 3, 4, 5):
        return Format.SNP_REPORT
    return None


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
    form = evidence.format or detect(evidence.raw)
    if form is None:
        return _unnamed(evidence, "bytes of no known format")
    return _verifiers()[form](evidence, collateral, at)


@cache
def _verifiers() -> Mapping[Format, Callable[[Evidence, Collateral, datetime], Proof]]:
    """The formats' own, which import this module; once, for an import within `verify` would cost it 2 µs each time."""
    from ratchet.evidence import sgx, snp, tdx

    return {Format.SGX_QUOTE: sgx.verify, Format.TDX_QUOTE: tdx.verify, Format.SNP_REPORT: snp.verify}


def _unnamed(evidence: Evidence, why: str) -> Proof:
    from ratchet.evidence import unreadable
    from ratchet.evidence.recognise import recognise

    what = recognise(evidence.raw)
    if what is None:
        return unreadable.proof(evidence, why)
    return unreadable.not_supported(evidence, what)


def fields(evidence: Evidence) -> tuple[Field, ...]:
    """Every claim with its place in the bytes, in order of offset; empty where the bytes cannot be parsed."""
    from ratchet.evidence import sgx, snp, tdx

    match evidence.format or detect(evidence.raw):
        case Format.SGX_QUOTE:
            return sgx.fields(evidence.raw)
        case Format.TDX_QUOTE:
            return tdx.fields(evidence.raw)
        case Format.SNP_REPORT:
            return snp.fields(evidence.raw)
        case None:
            return ()
