"""A proof is kept as JSON, so that it can be judged again under another policy, and nothing of it is lost."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from intel_world import World

from ratchet.conformance.check import evidence_of
from ratchet.evidence import FORMATS, TEES, Evidence, Proof, fields, verify
from ratchet.policy.appraise import Policy, appraise


def again(proof: Proof) -> Proof:
    return Proof.from_data(json.loads(json.dumps(proof.to_data())))


@pytest.mark.parametrize("tee", ["sgx", "tdx"])
def test_a_proof_that_was_kept_is_the_proof_that_was_made(tee: str) -> None:
    world = World(tee=tee)
    proof = world.prove()
    kept = again(proof)
    assert kept.claims is not None
    assert proof.claims is not None
    assert replace(kept, claims=None, root=None) == replace(proof, claims=None, root=None)
    assert replace(proof.claims, native=None) == kept.claims
    assert kept.genuine
    assert {*TEES[tee].boot, *TEES[tee].runtime} <= set(kept.claims.measurements)


def test_a_proof_that_was_kept_is_appraised_alike(corpus: Path) -> None:
    from ratchet.collateral import Collateral
    from ratchet.collateral.roots import vendor_roots

    manifest = json.loads((corpus / "MANIFEST.json").read_text())
    formats = ("sgx-quote", "tdx-quote", "snp-report", "nitro")
    items = [one for one in manifest if one["format"] in formats and one["verification_time"]]
    assert items
    for one in items:
        at = datetime.fromisoformat(one["verification_time"])
        proof = verify(Evidence((corpus / one["file"]).read_bytes()), Collateral(vendor_roots()), at)
        assert appraise(again(proof), Policy(), at) == appraise(proof, Policy(), at), one["id"]


PARTS = ("report.", "quote.")
"""What the fields of a part begin with, in evidence that carries other evidence."""


def test_every_measurement_is_what_lies_in_the_bytes_of_real_evidence(corpus: Path) -> None:
    """Claims and fields are read by tables of their own: both must say what the bytes say, at the same place."""
    from ratchet.collateral import Collateral
    from ratchet.collateral.roots import vendor_roots

    manifest = json.loads((corpus / "MANIFEST.json").read_text())
    seen: set[str] = set()
    for one in manifest:
        if one["format"] not in FORMATS:
            continue
        evidence = evidence_of(one, lambda path: (corpus / path).read_bytes())
        raw = evidence.raw
        claims = verify(evidence, Collateral(vendor_roots()), datetime.now(UTC)).claims
        places = {field.name: field for field in fields(evidence)}
        places = {n.partition(".")[2]: f for n, f in places.items() if n.startswith(PARTS)} | places
        for name, value in (claims.measurements if claims is not None else {}).items():
            if name in TEES[claims.tee].texts:
                continue
            if name == "xfrm":
                assert value == places["attributes"].value[16:]
                continue
            if name == "csp_id":  # in a certificate beside it
                continue
            place = places[name]
            assert value == place.value, (one["id"], name)
            if not raw.startswith(b"{"):  # in text they lie in base64: tests/unit/test_azure.py
                assert value == raw[place.offset : place.offset + place.length].hex(), (one["id"], name)
            seen.add(name)
    assert {"rtmr3", "mrservicetd", "mrownerconfig", "configid", "host_data", "author_key_digest"} <= seen
    assert all(claims <= seen for claims in (set(tee.boot) for tee in TEES.values()))
