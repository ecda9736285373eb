"""Azure confidential virtual machines on AMD SEV-SNP: an SNP report of the paravisor's, and its vTPM's quote.

What is particular to them beside `ratchet.evidence.azure.vtpm`: the report must be of VMPL 0, where the paravisor runs.
A guest at a higher one may ask the firmware for reports with report data of its choice, but each says its VMPL, and the
firmware makes none for a lower number than the asker's (AMD 56860, MSG_REPORT_REQ, VMPL). Trustee refuses them as well
(deps/verifier, az_snp_vtpm, HCL_VMPL_VALUE).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial

from ratchet.collateral import Collateral
from ratchet.evidence.amd import snp as amd
from ratchet.evidence.amd.snp_report import SIZE
from ratchet.evidence.azure import hcl, tpm, vtpm
from ratchet.evidence.azure.hcl import HclReport
from ratchet.evidence.azure.vtpm import BOOT_PCRS, MEASUREMENTS, NUMBERS, WORDS, Kind
from ratchet.evidence.proof import Claims, Evidence, Field, Format, Proof
from ratchet.evidence.spec import FormatSpec, Freshness
from ratchet.reason import Reason

AZ_SNP_VTPM = Format("az-snp-vtpm")

VMPL_SPEC = "AMD 56860, MSG_REPORT_REQ (VMPL); trustee, az_snp_vtpm, HCL_VMPL_VALUE"

PARAVISOR_VMPL = 0
"""Where Azure's paravisor runs."""


def _bound(report: HclReport, claims: Claims) -> Iterator[Reason]:
    vmpl = claims.bits["vmpl"]
    if vmpl != PARAVISOR_VMPL:
        remedy = "refuse it: the guest asked for this report itself, and chose its report data and the key in them"
        yield Reason("vmpl_not_paravisor", "vmpl", vmpl, PARAVISOR_VMPL, VMPL_SPEC, remedy)


KIND = Kind(
    format=AZ_SNP_VTPM,
    tee="az-snp",
    report_type=hcl.SNP,
    part="report",
    bytes_of=lambda sent, report: report.slot[:SIZE],
    missing=Reason("unparsed", "report", None, "a hardware report that can be read", hcl.SPEC),
    verify=partial(amd.verify, comes_again=True),  # the paravisor asks for one when the machine starts
    endorsements=lambda sent: (sent.vcek,) if sent.vcek is not None else (),
    bound=_bound,
    binding="report data are the hash of the run-time data; VMPL 0",
    fields=amd.fields,
    place=("hcl_report", hcl.REPORT),
)
"""What `vtpm` must know of it."""


def verify(evidence: Evidence, collateral: Collateral, at: datetime) -> Proof:
    """Is it genuine? See `ratchet.evidence.azure.vtpm` for the steps."""
    return vtpm.prove(evidence, collateral, at, KIND)


def detect(raw: bytes) -> bool:
    """JSON with an HCL report of type 2."""
    return vtpm.detect(raw, hcl.SNP)


def fields(raw: bytes) -> tuple[Field, ...]:
    """Every claim with its place in the bytes; empty where they cannot be parsed."""
    return vtpm.fields(raw, KIND)


AZ_SNP = replace(
    amd.SNP,
    name="az-snp",
    title="Azure SNP",
    numbers=amd.SNP.numbers | NUMBERS,
    measurements=amd.SNP.measurements | MEASUREMENTS,
    # The launch measurement is of the paravisor and the firmware that it brings, the PCRs of what that started.
    boot=("measurement", *BOOT_PCRS),
    # Microsoft replaces the paravisor without notice. Its ID block, which the firmware holds against the launch
    # measurement, names product and security version, and the key that signed it vouches for them (AMD 56860, ID Block,
    # SNP_LAUNCH_FINISH).
    boot_instead=frozenset({"id_key_digest", "family_id", "image_id", "guest_svn", *BOOT_PCRS}),
    at_least=frozenset({"guest_svn"}),
    runtime=(),
    draws_instance=True,  # the paravisor makes the vTPM's key: no guest or host can choose it
    shown_by={
        **amd.SNP.shown_by,
        "freshness": ("extradata",),
        "tpm_quote": ("tpmsignature",),
        "pcrs": ("pcrdigest",),
        "vm": ("vmconfiguration",),
    },
    words=amd.SNP.words | WORDS,
)
"""What Azure's evidence on SNP can say, and how it is judged: SNP's, and above it what the vTPM measured.

Families, floors and AMD's documents are SNP's: the hardware is the same."""

SPEC = FormatSpec(
    format=AZ_SNP_VTPM,
    title="Azure vTPM evidence (SEV-SNP)",
    tee=AZ_SNP,
    detect=detect,
    verify=verify,
    fields=fields,
    replay_key=vtpm.replay_key,
    freshness=Freshness(place="extraData of the TPM quote", size=50, hashed=True, source=tpm.SPEC),
    family=amd.SPEC.family,
    simulated="azure",
    source=hcl.SPEC,
)
"""Azure's evidence on SNP among the formats."""
