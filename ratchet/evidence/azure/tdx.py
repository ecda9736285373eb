"""Azure confidential virtual machines on Intel TDX: a TDREPORT of the paravisor's, the TD quote made of it, and the
vTPM's quote.

What is particular to them beside `ratchet.evidence.azure.vtpm`: the HCL report holds a TDREPORT, whose MAC the machine
alone can check; so the guest has Azure's metadata service make a TD quote of it, which is the part that is proven. Both
must have the same report data.
Sources: Intel TDX Module 1.5 ABI specification, TDREPORT_STRUCT and REPORTMACSTRUCT; Microsoft Learn, "Azure Instance
Metadata Service", acc/tdquote.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from ratchet.collateral import Collateral
from ratchet.evidence.azure import hcl, tpm, vtpm
from ratchet.evidence.azure.hcl import HclReport
from ratchet.evidence.azure.vtpm import BOOT_PCRS, MEASUREMENTS, NUMBERS, WORDS, Kind
from ratchet.evidence.intel import tdx as intel
from ratchet.evidence.proof import Claims, Evidence, Field, Format, Proof
from ratchet.evidence.spec import FormatSpec, Freshness
from ratchet.reason import Reason

AZ_TDX_VTPM = Format("az-tdx-vtpm")

TDREPORT_SPEC = "Intel TDX Module ABI, REPORTMACSTRUCT (REPORTDATA)"

REPORT_DATA = slice(128, 192)
"""Of a TDREPORT."""


def _bound(report: HclReport, claims: Claims) -> Iterator[Reason]:
    held = report.slot[REPORT_DATA]
    if claims.report_data != held:
        remedy = "send the TD quote that was made of this TDREPORT"
        got, want = claims.report_data.hex(), f"{held.hex()}, those of the TDREPORT"
        yield Reason("td_report_mismatch", "report_data", got, want, TDREPORT_SPEC, remedy)


KIND = Kind(
    format=AZ_TDX_VTPM,
    tee="az-tdx",
    report_type=hcl.TDX,
    part="quote",
    bytes_of=lambda sent, report: sent.td_quote,
    missing=Reason(
        "td_quote_missing", "td_quote", None, "a TD quote of the TDREPORT", hcl.SPEC,
        "send td_quote: let Azure's metadata service make it of the TDREPORT (acc/tdquote)",
    ),
    verify=intel.verify,
    endorsements=lambda sent: (),
    bound=_bound,
    binding="report data are the hash of the run-time data, in the TD quote as in the TDREPORT",
    fields=intel.fields,
    place=("td_quote", 0),
)  # fmt: skip
"""What `vtpm` must know of it."""


def verify(evidence: Evidence, collateral: Collateral, at: datetime) -> Proof:
    """Is it genuine? See `ratchet.evidence.azure.vtpm` for the steps."""
    return vtpm.prove(evidence, collateral, at, KIND)


def detect(raw: bytes) -> bool:
    """JSON with an HCL report of type 4."""
    return vtpm.detect(raw, hcl.TDX)


def fields(raw: bytes) -> tuple[Field, ...]:
    """Every claim with its place in the bytes; empty where they cannot be parsed."""
    return vtpm.fields(raw, KIND)


AZ_TDX = replace(
    intel.TDX,
    name="az-tdx",
    title="Azure TDX",
    numbers=intel.TDX.numbers | NUMBERS,
    measurements=intel.TDX.measurements | MEASUREMENTS,
    # MRTD is of the paravisor, which leaves the RTMRs at zero and measures into the PCRs instead.
    boot=("mrtd", *BOOT_PCRS),
    runtime=(),
    draws_instance=True,  # the paravisor makes the vTPM's key: no guest or host can choose it
    shown_by={
        **intel.TDX.shown_by,
        "freshness": ("extradata",),
        "tpm_quote": ("tpmsignature",),
        "pcrs": ("pcrdigest",),
        "vm": ("vmconfiguration",),
    },
    words=intel.TDX.words | WORDS,
)
"""What Azure's evidence on TDX can say, and how it is judged: TDX's, and above it what the vTPM measured.

Families, floors and Intel's documents are TDX's: the hardware is the same."""

SPEC = FormatSpec(
    format=AZ_TDX_VTPM,
    title="Azure vTPM evidence (TDX)",
    tee=AZ_TDX,
    detect=detect,
    verify=verify,
    fields=fields,
    replay_key=vtpm.replay_key,
    freshness=Freshness(place="extraData of the TPM quote", size=50, hashed=True, source=tpm.SPEC),
    family=intel.SPEC.family,
    simulated="azure",
    source=hcl.SPEC,
)
"""Azure's evidence on TDX among the formats."""
