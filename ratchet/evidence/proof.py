"""Evidence and what verifying it gives: claims, proof steps, TCB status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Self

from ratchet.event import BlobId, Json, digest, parse_time, stamp
from ratchet.reason import Reason
from ratchet.x509.anchor import Anchor, Vendor

MAX_EVIDENCE = 64 * 1024
"""Bytes; the largest real quote with its chain is below 16 KiB, a report with its certificate table below 24 KiB."""


class Format(str):
    """Name of a format of evidence: `sgx-quote`. The media type on the wire is `application/vnd.ratchet.<format>`.

    Which formats there are, `ratchet.evidence.registry` knows.
    """

    __slots__ = ()

    @property
    def value(self) -> str:
        """The name as plain text."""
        return str(self)

    @property
    def media_type(self) -> str:
        """The media type that a sender gives (a RATS CMW record's type)."""
        return f"application/vnd.ratchet.{self}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Raw bytes from an attester, never altered, and what came with them.

    Attributes:
        raw: the bytes as received.
        format: what the sender says they are; None lets `verify` look for itself.
        endorsements: certificates that the sender put beside it (DER or PEM, any order, unproven): a VCEK, a PCK chain.
        challenge: what the collector asked to be bound into report data; None where it asked nothing.
        key: the public key (DER), or the run-time data that holds it, which the sender says is bound into report data;
            None where it says nothing. `freshness` has the forms.
    """

    raw: bytes
    format: Format | None = None
    endorsements: tuple[bytes, ...] = ()
    challenge: bytes | None = None
    key: bytes | None = None


Version = int | str
"""The value of a component: a number, a dotted version, or a digest. How it compares, the component says."""


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
        reasons: why it is not `passed`; of a step that is, what is worth knowing and bars nothing.
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
        tee: `sgx`, `tdx`, `snp`, or another name in `ratchet.evidence.registry.TEES`.
        family: the product family that floors speak of: `sgx/<fmspc>`, `tdx/<fmspc>` or `snp/Milan`.
        platform: identity of the machine that it proves (`Tee.identities`): `ppid:<hex>`, `chip:<hex>`, `ec2:i-…`; None
            when masked or zero.
        instance: identity of the guest: SNP report id, thumbprint of a vTPM's key, Nitro module id, else the
            measurement.
        measurement: MRENCLAVE, MRTD or launch measurement, hex.
        signer: MRSIGNER or id-key digest, hex; None when zero.
        debug: whether anybody on the host may look inside.
        report_data: 64 bytes that the attester chose; of a TPM quote its extraData, of a Nitro document its user data,
            as long as they are.
        tcb: every security version that floors may speak of, by name. SNP: `reported.snp`, `committed.bl`,
            `current.ucode`, `launch.tee`, `reported.fmc` (Turin). Intel: `sgx.0` to `sgx.15`, `pcesvn`, `tdx.0` to
            `tdx.15` (TEE_TCB_SVN), `tdx2.0`.. (TEE_TCB_SVN2), `qe.isvsvn`.
        bits: numbers and flags that a policy may loosen or require, by name, each at most 2^53-1: SNP `policy.smt`,
            `policy.debug`, `policy.migrate_ma`, `platform.smt`, `platform.alias_check`, `mitigation.current`, `vmpl`,
            `guest_svn`; TDX `attributes.sept_ve_disable`, `xfam.avx`, `service_td`; SGX `attributes.kss`, `isvprodid`,
            `isvsvn`, `configsvn`. A name that is absent is one of which this format or version cannot say anything,
            which differs from false or 0.
        native: the format's own record (`SgxQuote`, `TdxQuote`, `SnpReport`); None in a proof that was read from JSON.
        measurements: every claim that is a string of bytes, by the format's own word, in lower-case hex; absent as in
            `bits`. docs/formats.md has all of them, with their places.
        key: SHA-256, hex, of the key that report data was found to bind, or that the evidence itself holds for the
            guest; None where none was.
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
    tcb: Mapping[str, Version]
    bits: Mapping[str, int]
    native: object
    measurements: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None


@dataclass(frozen=True, slots=True)
class TcbStatus:
    """Intel's TCB evaluation (PCS API v4, "TCB status"); AMD has none.

    Attributes:
        merged: what Intel's verifier would say; `NoMatchingTcbLevel` where no level fits.
        platform: from the TCB info's levels alone.
        qe: of the quoting enclave.
        module: of the TDX module identity; None where none is judged.
        advisories: INTEL-SA ids of the levels that were matched, merged, sorted and unique; None where the TCB info
            does not say (version 2 names none), which is not the same as none.
        evaluation: tcbEvaluationDataNumber of the TCB info.
        tcb_date: of the level that was matched; None where none fits.
        document: blob id of the TCB info.
        launch: merged status by what the TDX module was when the TD was launched (TEE_TCB_SVN), before what it is now
            was taken into account; None where the quote does not tell the two apart (SGX, TD 1.0).
        current: merged status by what the TDX module is now (TEE_TCB_SVN2); None as for `launch`.
        current_module: of the identity of the module that runs now; None as for `launch` and `module`.
        superseded: since when what is out of date is so; None where nothing is, or nobody knows.
    """

    merged: str
    platform: str
    qe: str
    module: str | None
    advisories: tuple[str, ...] | None
    evaluation: int
    tcb_date: datetime | None
    document: BlobId
    launch: str | None = None
    current: str | None = None
    current_module: str | None = None
    superseded: datetime | None = None

    def to_data(self) -> dict[str, Json]:
        """As JSON."""
        return {
            "merged": self.merged,
            "platform": self.platform,
            "qe": self.qe,
            "module": self.module,
            "advisories": None if self.advisories is None else list(self.advisories),
            "evaluation": self.evaluation,
            "tcb_date": stamp(self.tcb_date) if self.tcb_date else None,
            "document": self.document,
            "launch": self.launch,
            "current": self.current,
            "current_module": self.current_module,
            "superseded": stamp(self.superseded) if self.superseded else None,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Json]) -> Self:
        """The inverse of `to_data`."""
        advisories = data["advisories"]
        return cls(
            merged=data["merged"],
            platform=data["platform"],
            qe=data["qe"],
            module=data["module"],
            advisories=None if advisories is None else tuple(advisories),
            evaluation=data["evaluation"],
            tcb_date=parse_time(data["tcb_date"]) if data["tcb_date"] else None,
            document=BlobId(data["document"]),
            launch=data.get("launch"),
            current=data.get("current"),
            current_module=data.get("current_module"),
            superseded=parse_time(data["superseded"]) if data.get("superseded") else None,
        )


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of evidence inside another: the report that a TPM quote rests on, the GPU beside a CPU.

    Attributes:
        name: which part, unique among its neighbours: `report`.
        proof: of it, by itself: its own chain, root, status and claims.
        binding: what joins it to the rest: passed where these bytes belong to that evidence, and to no other.
    """

    name: str
    proof: Proof
    binding: Step


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
        parts: evidence inside this one. The steps above take theirs into account (`ratchet.evidence.tree`), so whoever
            asks whether the whole is genuine need not look into them.
    """

    evidence: BlobId
    format: Format | None
    steps: tuple[Step, ...]
    claims: Claims | None = None
    tcb: TcbStatus | None = None
    root: Anchor | None = None
    collateral: tuple[BlobId, ...] = field(default=())
    valid_until: datetime | None = None
    parts: tuple[Part, ...] = ()

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
        """Those of parse, chain, signature and binding that did not pass: with any, nothing in the claims is proven.

        A step that is not there was not taken, and one that is there twice has passed where both have.
        """
        passed: list[StepName] = []
        others: list[StepName] = []
        for step in self.steps:
            (passed if step.outcome is _PASSED else others).append(step.name)
        return tuple([name for name in _AUTHENTIC if name not in passed or name in others])

    def outcome(self, name: StepName) -> Outcome:
        """Of one step; one that is not there was not possible."""
        return next((s.outcome for s in self.steps if s.name is name), Outcome.NOT_POSSIBLE)

    def to_data(self) -> dict[str, Json]:
        """As JSON: all that appraisal asks about, so that it can be judged again under another policy.

        `Claims.native` is left out: whoever needs it has the bytes.
        """
        root = self.root
        return {
            "evidence": self.evidence,
            "format": self.format.value if self.format else None,
            "steps": [_step_data(step) for step in self.steps],
            "claims": _claims_data(self.claims) if self.claims else None,
            "tcb": self.tcb.to_data() if self.tcb else None,
            "root": root
            and {
                "name": root.name,
                "vendor": root.vendor,
                "fingerprint": root.fingerprint,
                "simulated": root.simulated,
            },
            "collateral": list(self.collateral),
            "valid_until": stamp(self.valid_until) if self.valid_until else None,
            "parts": [
                {"name": part.name, "binding": _step_data(part.binding), "proof": part.proof.to_data()}
                for part in self.parts
            ],
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Json]) -> Self:
        """The inverse of `to_data`; `claims.native` is None, and the root is an `Anchor`, without its certificate.

        Raises:
            ValueError, KeyError: not what `to_data` gave.
        """
        root = data["root"]
        return cls(
            evidence=BlobId(data["evidence"]),
            format=Format(data["format"]) if data["format"] else None,
            steps=tuple(map(_step, data["steps"])),
            claims=_claims(data["claims"]) if data["claims"] else None,
            tcb=TcbStatus.from_data(data["tcb"]) if data["tcb"] else None,
            root=Anchor(root["name"], Vendor(root["vendor"]), root["fingerprint"], root["simulated"]) if root else None,
            collateral=tuple(map(BlobId, data["collateral"])),
            valid_until=parse_time(data["valid_until"]) if data["valid_until"] else None,
            parts=tuple(
                [Part(one["name"], cls.from_data(one["proof"]), _step(one["binding"])) for one in data.get("parts", ())]
            ),
        )


def _step_data(step: Step) -> dict[str, Json]:
    return {
        "name": step.name.value,
        "outcome": step.outcome.value,
        "detail": step.detail,
        "source": step.source,
        "reasons": [reason.to_data() for reason in step.reasons],
    }


def _step(data: Mapping[str, Json]) -> Step:
    reasons = tuple([Reason(**reason) for reason in data["reasons"]])
    return Step(StepName(data["name"]), Outcome(data["outcome"]), data["detail"], data["source"], reasons)


def _claims_data(claims: Claims) -> dict[str, Json]:
    return {
        "format": claims.format.value,
        "tee": claims.tee,
        "family": claims.family,
        "platform": claims.platform,
        "instance": claims.instance,
        "measurement": claims.measurement,
        "signer": claims.signer,
        "debug": claims.debug,
        "report_data": claims.report_data.hex(),
        "tcb": dict(claims.tcb),
        "bits": dict(claims.bits),
        "measurements": dict(claims.measurements),
        "key": claims.key,
    }


def _claims(data: Mapping[str, Json]) -> Claims:
    return Claims(
        format=Format(data["format"]),
        tee=data["tee"],
        family=data["family"],
        platform=data["platform"],
        instance=data["instance"],
        measurement=data["measurement"],
        signer=data["signer"],
        debug=data["debug"],
        report_data=bytes.fromhex(data["report_data"]),
        tcb=dict(data["tcb"]),
        bits=dict(data["bits"]),
        native=None,
        measurements=dict(data["measurements"]),
        key=data["key"],
    )


_AUTHENTIC = (StepName.PARSE, StepName.CHAIN, StepName.SIGNATURE, StepName.BINDING)
_PASSED = Outcome.PASSED


_FORMATS = "docs/formats.md"


def unreadable(evidence: Evidence, why: str, format: Format | None = None, source: str = _FORMATS) -> Proof:
    """A proof that failed at its first step.

    Args:
        evidence: what was received.
        why: what is wrong with the bytes, for a person.
        format: what they were taken for; None where they look like nothing known.
        source: the specification whose layout they break.
    """
    remedy = "send evidence as the attester made it, whole and unaltered"
    reason = Reason("evidence_unreadable", "parse", why, "evidence in a known format", source, remedy)
    return _unread(evidence, why, format, source, reason)


def not_supported(evidence: Evidence, name: str, remedy: str, *, evidence_at_all: bool) -> Proof:
    """The same of bytes whose format has a name here, but no verifier: it says so, and nothing of tampering.

    Args:
        evidence: what was received.
        name: of the format, in its vendor's words.
        remedy: what its sender can do.
        evidence_at_all: whether it is evidence, and not something that belongs beside it.
    """
    why = f"{name}: {'not supported yet' if evidence_at_all else 'not evidence'}"
    reason = Reason("format_not_supported", "parse", name, "evidence in a supported format", _FORMATS, remedy)
    return _unread(evidence, why, None, _FORMATS, reason)


def _unread(evidence: Evidence, why: str, format: Format | None, source: str, reason: Reason) -> Proof:
    steps = [Step(StepName.PARSE, Outcome.FAILED, why, source, (reason,))]
    for name in list(StepName)[1:]:
        unparsed = Reason("unparsed", name.value, None, "evidence that can be read", source, reason.remedy)
        steps.append(Step(name, Outcome.NOT_POSSIBLE, "the evidence could not be read", source, (unparsed,)))
    return Proof(digest(evidence.raw), format, tuple(steps))
