"""Ten thousand changes to genuine evidence: none raises, none inside the signed range is believed.

Outside the signed range a change is either noticed (a chain, a signature, a length) or has no effect on the claims.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pytest

from ratchet.collateral import Collateral, parse
from ratchet.collateral.roots import vendor_roots
from ratchet.conformance.check import evidence_of, is_root
from ratchet.event import parse_time
from ratchet.evidence import MAX_EVIDENCE, Claims, Evidence, Format, Proof, verify
from ratchet.policy.appraise import Policy, appraise
from ratchet.standing import Tier

MUTATIONS = 10_000

SPECIMENS = (
    "sgx-oasis-pckchain",
    "sgx-signal-dcap",
    "tdx4-near-mpc",
    "tdx4-dcapqvl-sample",
    "tdx5-oe-relaunch",
    "snp-ms-milan",
    "snp-ms-turin",
    "snp3-trustee-vlek",
    "snp5-attrs-genoa-evidence",
    "azsnp-trustee-v2",
    "aztdx-attrs-live",
    "nitro-base-1",
    "nitro-dstack-nsm",
)


@dataclass(frozen=True)
class Specimen:
    """A genuine piece of evidence, all that it takes to prove it, and how many of its first bytes are signed."""

    name: str
    raw: bytes
    endorsements: tuple[bytes, ...]
    collateral: Collateral
    at: datetime
    signed: int

    def judged(self, raw: bytes) -> Proof:
        proof = verify(Evidence(raw, endorsements=self.endorsements), self.collateral, self.at)
        verdict = appraise(proof, Policy(), self.at)
        if not proof.genuine:
            assert verdict.tier is not Tier.AFFIRMING
        return proof


def signed_length(raw: bytes, format: Format) -> int:
    """Bytes under the attestation key's signature (sources: ratchet/evidence).

    None of text that carries evidence, nor of CBOR, whose first bytes may be written in several ways.
    """
    if raw.startswith(b"{") or format == Format("nitro"):
        return 0
    if format == Format("snp-report"):
        return 0x2A0
    version = int.from_bytes(raw[:2], "little")
    if version == 5:
        return 54 + int.from_bytes(raw[50:54], "little")
    return 48 + (584 if format == Format("tdx-quote") else 384)


@pytest.fixture(scope="module")
def specimens(corpus: Path) -> tuple[Specimen, ...]:
    manifest = {entry["id"]: entry for entry in json.loads((corpus / "MANIFEST.json").read_text())}
    return tuple(collect(corpus, manifest[name]) for name in SPECIMENS if name in manifest)


def collect(corpus: Path, entry: dict[str, object]) -> Specimen:
    at = parse_time(str(entry["verification_time"]))
    collateral = Collateral(vendor_roots())
    for name in entry["collateral"]:
        document = (corpus / name).read_bytes()
        for known in () if is_root(document, vendor_roots()) else parse(document, at, vendor_roots()):
            collateral.add(known)
    evidence = evidence_of(entry, lambda path: (corpus / path).read_bytes())
    return Specimen(
        name=str(entry["id"]),
        raw=evidence.raw,
        endorsements=evidence.endorsements,
        collateral=collateral,
        at=at,
        signed=signed_length(evidence.raw, Format(str(entry["format"]))),
    )


def mutations(raw: bytes, rng: random.Random) -> Iterator[tuple[str, int, bytes]]:
    """What was done, the first byte that it touched, and the result; for ever."""
    size = len(raw)
    while True:
        at = rng.randrange(size)
        yield "flip", at, raw[:at] + bytes([raw[at] ^ (1 << rng.randrange(8))]) + raw[at + 1 :]
        yield "set", at, raw[:at] + bytes([(raw[at] + rng.randrange(1, 256)) % 256]) + raw[at + 1 :]
        yield "cut", at, raw[:at]
        yield "drop", at, raw[:at] + raw[at + 1 + rng.randrange(8) :]
        yield "insert", at, raw[:at] + rng.randbytes(1 + rng.randrange(8)) + raw[at:]
        other, length = rng.randrange(size), 1 + rng.randrange(64)
        yield "copy", at, raw[:at] + raw[other : other + length] + raw[at + length :]
        wide = rng.choice((2, 4))
        yield "extreme", at, raw[:at] + rng.choice((b"\xff", b"\x00", b"\x80")) * wide + raw[at + wide :]


def common(proof: Proof) -> Claims:
    """The claims in the words common to all formats; the format's own record keeps the raw bytes too."""
    assert proof.claims is not None
    return replace(proof.claims, native=None)


def test_ten_thousand_mutations_are_refused_or_change_nothing(specimens: tuple[Specimen, ...]) -> None:
    assert len(specimens) >= 6
    outcomes: Counter[str] = Counter()
    each = MUTATIONS // len(specimens) + 1
    for specimen in specimens:
        genuine = specimen.judged(specimen.raw)
        assert genuine.genuine, specimen.name
        rng = random.Random(specimen.name)
        for _, (what, first, raw) in zip(range(each), mutations(specimen.raw, rng), strict=False):
            if raw[: len(specimen.raw)] == specimen.raw:
                continue  # bytes behind the evidence are none of it
            proof = specimen.judged(raw)
            if raw[: specimen.signed] != specimen.raw[: specimen.signed]:
                assert not proof.genuine, f"{specimen.name}: {what} at {first} was believed"
                outcomes["inside"] += 1
                continue
            outcomes["outside"] += 1
            if proof.genuine:
                assert common(proof) == common(genuine), f"{specimen.name}: {what} at {first} changed a claim"
                outcomes["without effect"] += 1
            elif proof.claims is not None and genuine.claims is not None and specimen.signed:
                assert proof.claims.measurement == genuine.claims.measurement
                assert proof.claims.report_data == genuine.claims.report_data
                assert proof.claims.debug == genuine.claims.debug
    assert outcomes["inside"] > MUTATIONS // 10
    assert outcomes["outside"] > MUTATIONS // 10
    assert outcomes["without effect"] > 0


def test_what_is_no_evidence_at_all_gets_a_reason(specimens: tuple[Specimen, ...]) -> None:
    rng = random.Random(1)
    specimen = specimens[0]
    for raw in (
        b"",
        b"\x00",
        b"\xff" * 5000,
        rng.randbytes(1184),
        rng.randbytes(MAX_EVIDENCE),
        bytes(MAX_EVIDENCE + 1),
    ):
        proof = specimen.judged(raw)
        assert not proof.genuine
        assert any(step.reasons for step in proof.steps)
