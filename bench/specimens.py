"""What is measured: one genuine piece of evidence of each format, with all that it takes to prove it.

Real evidence where it is at hand (RATCHET_CORPUS, else ../shared/corpus beside the checkout), else the simulated
fleet's, which is laid out the same under other roots.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ratchet.collateral import Collateral, parse
from ratchet.collateral.roots import vendor_roots
from ratchet.conformance.check import evidence_of
from ratchet.event import parse_time
from ratchet.evidence import Evidence, Format, verify
from ratchet.x509.anchor import Root

REAL = {
    "sgx": "sgx-signal-dcap",
    "tdx": "tdx4-near-mpc",
    "snp": "snp5-attrs-genoa-evidence",
    "az-snp": "azsnp-trustee-v2",
    "az-tdx": "aztdx-attrs-live",
    "nitro": "nitro-base-1",
}
"""Items of the corpus: each verifies whole, Intel's own under collateral that dcap-qvl can read too."""

INTEL = ("sgx", "tdx")
"""What a status judges, and what dcap-qvl reads."""

_FORMATS = {
    "sgx": Format("sgx-quote"),
    "tdx": Format("tdx-quote"),
    "snp": Format("snp-report"),
    "nitro": Format("nitro"),
}


@dataclass(frozen=True)
class Specimen:
    """One piece of evidence.

    Attributes:
        evidence: with the certificates beside it.
        documents: the vendor's.
        roots: to trust.
        at: when to judge.
        source: where it is from, for the reader of the figures.
    """

    evidence: Evidence
    documents: tuple[bytes, ...]
    roots: tuple[Root, ...]
    at: datetime
    source: str


def specimens() -> dict[str, Specimen]:
    """One of each format; of Azure's only where real evidence is at hand."""
    folder = Path(os.environ.get("RATCHET_CORPUS") or Path(__file__).resolve().parents[2] / "shared" / "corpus")
    if (folder / "MANIFEST.json").is_file():
        return _real(folder)
    return _simulated()


def _real(folder: Path) -> dict[str, Specimen]:
    manifest = {item["id"]: item for item in json.loads((folder / "MANIFEST.json").read_text())}
    found = {}
    for kind, id in REAL.items():
        item = manifest[id]
        at = parse_time(item["verification_time"])
        # Of a Nitro document it is the root alone, which ships.
        documents = [folder / path for path in item["collateral"] if kind != "nitro"]
        if not kind.endswith("snp") and documents:
            documents = [_in_force(documents, at)]
        evidence = evidence_of(item, lambda path: (folder / path).read_bytes())
        found[kind] = Specimen(evidence, tuple(d.read_bytes() for d in documents), vendor_roots(), at, f"real: {id}")
    return found


def _in_force(bundles: list[Path], at: datetime) -> Path:
    """The newest of the bundles that holds at that time: what a verifier would have been given then."""
    infos = {bundle: json.loads(json.loads(bundle.read_text())["tcb_info"]) for bundle in bundles}
    held = [b for b, i in infos.items() if parse_time(i["issueDate"]) <= at <= parse_time(i["nextUpdate"])]
    return max(held, key=lambda bundle: str(infos[bundle]["issueDate"]))


def _simulated() -> dict[str, Specimen]:
    from collectors.simulated.deliveries import deliveries
    from collectors.simulated.delivery import DeliveryKind
    from collectors.simulated.scenario import week
    from collectors.simulated.vendor import Vendor

    with tempfile.TemporaryDirectory() as folder:
        vendor = Vendor(Path(folder))
        documents: list[bytes] = []
        found: dict[str, Specimen] = {}
        for one in deliveries(week(), vendor):
            if one.kind is DeliveryKind.DOCUMENT:
                documents.append(one.raw)
                continue
            kind = next((k for k in _FORMATS if _FORMATS[k] == one.format and k not in found), None)
            if kind is not None:
                evidence = Evidence(one.raw, one.format, tuple(one.endorsements), one.challenge)
                roots = (*vendor_roots(), *vendor.roots())
                needed = _needed(kind, evidence, documents, roots, one.time)
                if needed is not None:
                    found[kind] = Specimen(evidence, needed, roots, one.time, f"simulated: {one.name}")
            if len(found) == len(_FORMATS):
                break
        return {kind: found[kind] for kind in _FORMATS}


def _needed(
    kind: str, evidence: Evidence, documents: list[bytes], roots: tuple[Root, ...], at: datetime
) -> tuple[bytes, ...] | None:
    """Of the documents, those without which this evidence is not proven; None where all of them do not prove it."""

    def proves(some: list[bytes]) -> bool:
        known = [one for document in some for one in parse(document, at, roots)]
        proof = verify(evidence, Collateral(roots, known), at)
        return proof.genuine and (proof.tcb is not None or kind not in INTEL)

    needed = [d for d in documents if d.startswith(b"{") == (kind in INTEL)]
    if not proves(needed):
        return None
    for document in list(needed):
        without = [d for d in needed if d is not document]
        if proves(without):
            needed = without
    return tuple(needed)
