"""Real Nitro attestation documents, of four years and three regions, with debug enclaves and negatives among them."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ratchet.cli.corpus import check_file
from ratchet.collateral import Collateral
from ratchet.collateral.roots import vendor_roots
from ratchet.event import parse_time
from ratchet.evidence import Claims, Evidence, Format, Outcome, Proof, detect, fields, verify
from ratchet.policy.appraise import CONFIGURATION, HARDWARE, Policy, appraise


@pytest.fixture(scope="module")
def items(corpus: Path) -> list[dict[str, Any]]:
    return [item for item in json.loads((corpus / "MANIFEST.json").read_bytes()) if item["format"] == "nitro"]


def judge(corpus: Path, item: dict[str, Any], challenge: bytes | None = None) -> Proof:
    raw = (corpus / item["file"]).read_bytes()
    return verify(Evidence(raw, challenge=challenge), Collateral(vendor_roots()), parse_time(item["verification_time"]))


def claims_of(proof: Proof) -> Claims:
    assert proof.claims is not None
    return proof.claims


def test_every_document_is_seen_as_the_manifest_says(corpus: Path) -> None:
    report = check_file(corpus / "MANIFEST.json", ["nitro"])
    assert len(report.items) >= 12
    assert [(item.id, item.disagreements) for item in report.items if item.disagreements] == []


def test_every_document_is_recognised_by_its_bytes(corpus: Path, items: list[dict[str, Any]]) -> None:
    assert {detect((corpus / item["file"]).read_bytes()) for item in items} == {Format("nitro")}


def test_a_genuine_document_rests_on_awss_own_root_and_on_nothing_beside(
    corpus: Path, items: list[dict[str, Any]]
) -> None:
    genuine = [item for item in items if not item["id"].startswith("nitro-neg")]
    assert len(genuine) >= 9
    for item in genuine:
        proof = judge(corpus, item)
        assert proof.genuine, item["id"]
        assert proof.root is not None
        assert (proof.root.simulated, proof.root.vendor, proof.collateral) == (False, "aws", ())
        assert proof.valid_until is not None
        assert timedelta() < proof.valid_until - parse_time(item["verification_time"]) <= timedelta(hours=3, seconds=9)
        claims = claims_of(proof)
        assert (claims.family, claims.platform) == ("nitro/aws", f"ec2:{str(claims.instance).partition('-enc')[0]}")
        assert claims.measurements["region"] in {"us-east-1", "us-west-1", "ap-south-1"}


def test_no_other_document_is_genuine(corpus: Path, items: list[dict[str, Any]]) -> None:
    for item in items:
        if item["id"].startswith("nitro-neg"):
            assert not judge(corpus, item).genuine, item["id"]


def test_a_document_whose_leaf_has_ended_is_no_forgery(corpus: Path, items: list[dict[str, Any]]) -> None:
    item = next(item for item in items if item["id"] == "nitro-neg-expired-at-4h")
    proof = judge(corpus, item)
    assert Outcome.FAILED not in {step.outcome for step in proof.steps}
    assert appraise(proof, Policy(), parse_time(item["verification_time"])).vector[HARDWARE] == 0


def test_debug_enclaves_are_contraindicated(corpus: Path, items: list[dict[str, Any]]) -> None:
    debug = [item for item in items if item["expected"]["debug"] and item["expected"]["signature"] == "valid"]
    assert len(debug) >= 3
    for item in debug:
        at = parse_time(item["verification_time"])
        assert appraise(judge(corpus, item), Policy(), at).vector[CONFIGURATION] == 96, item["id"]


def test_the_nonce_of_a_document_is_its_challenge(corpus: Path, items: list[dict[str, Any]]) -> None:
    for item in items:
        nonce = bytes.fromhex(item["expected"]["claims"].get("nonce") or "")
        if len(nonce) >= 16:
            assert judge(corpus, item, nonce).steps[-1].outcome is Outcome.PASSED, item["id"]
            assert judge(corpus, item, nonce[::-1]).steps[-1].outcome is Outcome.FAILED, item["id"]


def test_fields_say_what_the_claims_say(corpus: Path, items: list[dict[str, Any]]) -> None:
    for item in items:
        raw = (corpus / item["file"]).read_bytes()
        found = {one.name: one for one in fields(Evidence(raw))}
        measurements = claims_of(judge(corpus, item)).measurements
        for name, value in measurements.items():
            if name != "region":
                place = found[name]
                assert raw[place.offset : place.offset + place.length].hex() == place.value == value
