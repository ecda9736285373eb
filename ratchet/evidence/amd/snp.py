"""AMD SEV-SNP reports: is this report genuine? Every proof step is taken, whatever came of those before it.

1. parse: version, reserved fields (AMD 56860, table "ATTESTATION_REPORT").
2. chain: VCEK -> ASK -> ARK, or VLEK -> ASVK -> ARK, to a trusted root, all valid at the time (AMD 57230, 3).
3. revocation: AMD's revocation list names none of them (AMD 57230, 4.3).
4. signature: ECDSA P-384 with SHA-384 over bytes 0 to 0x29F, by the VCEK or VLEK.
5. binding: its extensions say the report's REPORTED_TCB and CHIP_ID; its kind is the one that the report names; its
   product line is that of the report's CPUID (AMD 57230, 3.1).
6. collateral: what was used of AMD's documents was in force at the time.
7. freshness: report data holds the challenge.

Not checked, on purpose: launch TCB against current TCB (a guest may have been launched on older firmware that was
updated since, or imported), committed against current TCB (firmware may be provisional): floors and correlation judge
both. The serial number of the leaf: AMD gives every VCEK number 0.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from ratchet.collateral import Collateral, Kind, amd
from ratchet.event import BlobId, digest
from ratchet.evidence import freshness
from ratchet.evidence.amd import snp_report, steps, versions
from ratchet.evidence.amd.endorsement import NO_CHIP, Search, endorsed_by
from ratchet.evidence.amd.snp_report import SIGNED, SIZE, SNP_REPORT, VERSIONS, SnpReport
from ratchet.evidence.amd.snp_report import SPEC as LAYOUT
from ratchet.evidence.amd.steps import SIGNATURE_SPEC, VEK_SPEC
from ratchet.evidence.proof import Claims, Evidence, Field, Outcome, Proof, Step, StepName
from ratchet.evidence.spec import FormatSpec, Freshness, Identity, Judge, Subject, Tee
from ratchet.reason import Reason
from ratchet.x509.chain import (
    Checks,
    Path,
)

MAX_KEPT = 16 * 1024
"""Bytes beside a report that are remembered with what was read in them; real ones are below 8 KiB."""

MAX_VERSION = 255
"""The greatest number that may be a report's version."""

_REPORT_DATA_SPEC = "AMD 56860, MSG_REPORT_REQ (REPORT_DATA)"

_NO_DIGEST = bytes(48)


def fields(raw: bytes) -> tuple[Field, ...]:
    """Every claim with its place in the bytes; empty where they cannot be parsed."""
    return snp_report.fields(raw)


def verify(evidence: Evidence, collateral: Collateral, at: datetime, *, comes_again: bool = False) -> Proof:
    """Judge one report; see the module's steps. Never raises for bad bytes.

    Args:
        evidence: the report, and what came with it.
        collateral: AMD's documents and trusted roots.
        at: aware time to judge at.
        comes_again: the same report will come many times, inside other evidence: remember that its signature held.
    """
    raw = evidence.raw
    blob = digest(raw)
    try:
        report = snp_report.read(raw)
    except ValueError as short:
        return _unparsed(
            blob, evidence, Outcome.FAILED, Reason("truncated", "report", len(raw), SIZE, LAYOUT), str(short)
        )
    if report.version not in VERSIONS:
        # A newer version may be perfectly genuine; an older one is no more in use, and a great number is no version.
        outcome = Outcome.NOT_POSSIBLE if VERSIONS[-1] < report.version <= MAX_VERSION else Outcome.FAILED
        why = Reason("unsupported_version", "report", report.version, list(VERSIONS), LAYOUT, "update Ratchet")
        return _unparsed(blob, evidence, outcome, why, f"report version {report.version} is not known here")

    memo = collateral.memo
    endorsed = endorsed_by(evidence, memo)
    checks = Checks(collateral.refused)
    search = Search(raw, blob, report, endorsed, collateral, at, checks)
    leaf, way = search.best()
    proven = isinstance(way, Path)
    product = report.product if report.version >= 3 else leaf.product if leaf and proven else None
    revocation, crls, stale = steps.revocation(leaf, way, collateral, at, checks)
    signature = steps.signature(report, leaf, search)
    other = steps.for_other_firmware(report, leaf) if proven and signature.outcome is Outcome.FAILED else None
    if other is not None:
        signature = steps.wrong_key(StepName.SIGNATURE, SIGNATURE_SPEC, other)
    taken = (
        steps.parse(report, product, len(raw), endorsed),
        steps.chain(report, product, leaf, way, at),
        revocation,
        signature,
        steps.binding(report, leaf) if other is None else steps.wrong_key(StepName.BINDING, VEK_SPEC, other),
        steps.collateral(report, product, leaf, way, crls, at),
        freshness.step(report.report_data, evidence.challenge, _REPORT_DATA_SPEC, evidence.key),
    )
    if proven and any(leaf is one for one in endorsed.leaves) and memo.get(endorsed.key) is not endorsed:
        # Only what was signed and leads to a trusted root: refused bytes cannot crowd the memo. And not what is large:
        # nothing of it is signed, so one good report could be sent with as many others behind it as the memo holds.
        size = len(raw) - SIZE + sum(map(len, evidence.endorsements))
        if size <= MAX_KEPT and taken[3].outcome is Outcome.PASSED:
            memo[endorsed.key] = endorsed
    if comes_again and proven and leaf is not None and taken[3].outcome is Outcome.PASSED:
        search.remember(leaf)
    used = {*endorsed.ids, *[known.id for known in (*crls, *stale, *search.used(leaf, way))]}
    claims = _claims(report, product, leaf.csp if leaf is not None and proven else None)
    if evidence.key is not None:
        claims = replace(claims, key=freshness.key(report.report_data, evidence.challenge, evidence.key))
    return Proof(
        evidence=blob,
        format=SNP_REPORT,
        steps=taken,
        claims=claims,
        root=way.root if isinstance(way, Path) else None,
        collateral=tuple(sorted(used)),
        valid_until=min((way.valid_until, *(k.valid_until for k in crls))) if isinstance(way, Path) else None,
    )


def _unparsed(blob: BlobId, evidence: Evidence, outcome: Outcome, why: Reason, detail: str) -> Proof:
    missing = Reason("unparsed", "report", None, "a report that can be read", LAYOUT)
    steps = [Step(StepName.PARSE, outcome, detail, LAYOUT, (why,))]
    steps += [
        Step(name, Outcome.NOT_POSSIBLE, "the report could not be read", LAYOUT, (missing,))
        for name in StepName
        if name not in (StepName.PARSE, StepName.FRESHNESS)
    ]
    steps.append(freshness.step(None, evidence.challenge, _REPORT_DATA_SPEC))
    return Proof(blob, SNP_REPORT, tuple(steps))


def _claims(report: SnpReport, product: str | None, csp: str | None) -> Claims:
    """What the report says; with it, whose VLEK signed it, which that certificate alone says."""
    layout = product or ("Milan" if report.version < 3 else "")  # before version 3 there was one layout
    chip = report.chip_id
    size = amd.HWID_SIZE.get(layout, 64)
    if any(chip[size:]):
        size = 64
    measurements = snp_report.measurements(report)
    if csp is not None:
        measurements["csp_id"] = csp
    return Claims(
        format=SNP_REPORT,
        tee="snp",
        family=f"snp/{product or 'unknown'}",
        platform=None if chip == NO_CHIP else f"chip:{chip[:size].hex()}",
        instance=report.report_id.hex() if any(report.report_id) else measurements["measurement"],
        measurement=measurements["measurement"],
        signer=None if report.id_key_digest == _NO_DIGEST else measurements["id_key_digest"],
        debug=bool(report.policy >> snp_report.POLICY_BITS["debug"] & 1),
        report_data=report.report_data,
        tcb=snp_report.tcb(report, layout),
        bits=snp_report.bits(report),
        native=report,
        measurements=measurements,
    )


def _concerns(subject: Subject, kind: str, about: str) -> bool:
    """Is what was concluded from a report of this subject judged by that statement of AMD's?"""
    first = about.partition("/")[0]
    match kind:
        case Kind.AMD_VEK:
            return subject.platform in (None, f"chip:{first}")
        case Kind.AMD_CHAIN | Kind.AMD_CRL:
            return (subject.family or "").partition("/")[2] == first
    return False


def _replay_key(raw: bytes, proof: Proof) -> BlobId:
    """Over the signed part and the signature's r."""
    report = proof.claims.native if proof.claims is not None else None
    return digest(raw[:SIGNED] + report.signature_r) if isinstance(report, SnpReport) else proof.evidence


SNP = Tee(
    name="snp",
    title="SNP",
    judge=Judge.FLOOR,
    versions=snp_report.TCB_NAMES,
    components=versions.COMPONENTS,
    numbers=snp_report.NUMBERS,
    measurements=frozenset(snp_report.MEASUREMENTS),
    texts=frozenset({"csp_id"}),
    # Turin's chips have eight bytes, the others 64 (AMD 57230, 3.1, HWID).
    identities=(Identity(kind="chip", form="[0-9a-f]{16}|[0-9a-f]{128}", label="chip id"),),
    signers=("id_key_digest", "author_key_digest"),
    boot=("measurement",),
    platform_measurements=frozenset({"csp_id"}),
    launched_as=("vmpl", "guest_svn", *sorted(name for name in snp_report.NUMBERS if name.startswith("policy."))),
    draws_instance=True,  # AMD 56860, ATTESTATION_REPORT, REPORT_ID: no guest or host can choose it
    # A migration agent can read the guest's memory (AMD 56860, "Guest Policy", MIGRATE_MA).
    required={"policy.migrate_ma": False},
    views=versions.VIEWS,
    behind=versions.BEHIND,
    versions_source=versions.SOURCE,
    debug_source="AMD 56860, Guest Policy, DEBUG",
    brings_key=False,  # the VCEK may have been another's, and the right one come later
    concerns=_concerns,
    shown_by={
        "debug": ("policy",),
        "freshness": ("reportdata",),
        "measurement": ("measurement",),
        "mitigation": ("currentmitvector",),
        "platform": ("platforminfo",),
        "policy": ("policy",),
        **dict.fromkeys(("bl", "fmc", "snp", "tee", "ucode"), ("reportedtcb",)),
    },
    words=frozenset({"snp", "vcek", "vek", "vlek", "vmpl"}),
)
"""What SNP reports can say, and how it is judged."""


def detect(raw: bytes) -> bool:
    """A u32 version of 2 to 5, and at least as many bytes as a report has (AMD 56860, table "ATTESTATION_REPORT")."""
    return len(raw) >= SIZE and int.from_bytes(raw[:4], "little") in VERSIONS


SPEC = FormatSpec(
    format=SNP_REPORT,
    title="AMD SEV-SNP attestation report",
    tee=SNP,
    detect=detect,
    verify=verify,
    fields=fields,
    replay_key=_replay_key,
    freshness=Freshness(place="report data", size=64, hashed=True, source=_REPORT_DATA_SPEC),
    family="snp/<product line>",
    simulated="amd",
    source=LAYOUT,
)
"""SNP reports among the formats."""
