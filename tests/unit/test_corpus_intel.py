"""Every Intel quote and document of the corpus is as its manifest says: as it is, under other collateral, and later."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ratchet.collateral import Collateral, Known, parse
from ratchet.collateral.roots import vendor_roots
from ratchet.evidence import Evidence, Format, Outcome, Proof, StepName, verify

CORPUS = Path(os.environ.get("RATCHET_CORPUS", Path(__file__).resolve().parents[3] / "shared" / "corpus"))
QUOTES = ("sgx-quote", "tdx-quote")
COLLATERAL = "intel-collateral"


def entries(*formats: str) -> list[Any]:
    manifest = CORPUS / "MANIFEST.json"
    if not manifest.is_file():
        return []
    return [e for e in json.loads(manifest.read_text()) if e["format"] in formats]


def params(found: list[Any]) -> list[Any]:
    absent = pytest.mark.skip(reason=f"no corpus at {CORPUS}: set RATCHET_CORPUS to a folder with a MANIFEST.json")
    return found or [pytest.param(None, marks=absent, id="corpus")]


def moment(text: str | None) -> datetime:
    return datetime.fromisoformat(text) if text else datetime(2026, 1, 1, tzinfo=UTC)


def known(paths: list[str], at: datetime) -> list[Known]:
    return [k for path in paths for k in parse((CORPUS / path).read_bytes(), at, vendor_roots())]


def prove(entry: Any, collateral: list[str], at: datetime) -> Proof:
    evidence = Evidence((CORPUS / entry["file"]).read_bytes(), Format(entry["format"]))
    return verify(evidence, Collateral(vendor_roots(), known(collateral, at)), at)


def authentic(proof: Proof) -> bool:
    return proof.unproven == () and proof.root is not None and proof.root.name == "Intel SGX Root CA"


@pytest.mark.parametrize("entry", params(entries(*QUOTES)), ids=lambda e: e and e["id"])
def test_a_quote_is_authentic_exactly_when_the_manifest_says_so(entry: Any) -> None:
    proof = prove(entry, [], moment(entry["verification_time"]))
    expected = entry["expected"]
    assert [s.name for s in proof.steps] == list(StepName)
    if expected["signature"] == "valid":
        assert authentic(proof)
        assert proof.genuine
    elif expected["signature"] == "invalid":
        assert not proof.genuine
        assert Outcome.FAILED in {s.outcome for s in proof.steps}
    else:
        assert proof.outcome(StepName.SIGNATURE) is Outcome.PASSED
        assert proof.outcome(StepName.CHAIN) is Outcome.NOT_POSSIBLE
        assert proof.outcome(StepName.BINDING) is Outcome.NOT_POSSIBLE
        assert not proof.genuine
    assert proof.outcome(StepName.COLLATERAL) is Outcome.NOT_POSSIBLE


@pytest.mark.parametrize("entry", params(entries(*QUOTES)), ids=lambda e: e and e["id"])
def test_what_a_quote_claims_is_what_its_bytes_hold(entry: Any) -> None:
    from ratchet.evidence import fields

    raw = (CORPUS / entry["file"]).read_bytes()
    expected = entry["expected"]
    proof = prove(entry, [], moment(entry["verification_time"]))
    assert proof.claims is not None
    said = {f.name: f.value for f in fields(Evidence(raw, Format(entry["format"])))}
    claims = dict(expected["claims"])
    pck = claims.pop("pck", None)
    rtmrs = claims.pop("rtmr", None)
    assert said["qe.isvsvn"] == claims.pop("qe_isvsvn")
    assert {name: said[name] for name in claims} == claims
    if rtmrs is not None:
        assert [said[f"rtmr{i}"] for i in range(4)] == rtmrs
    if pck is not None and pck["fmspc"] is not None:
        assert proof.claims.family == f"{entry['tee']}/{pck['fmspc']}"
        assert [proof.claims.tcb[f"sgx.{i}"] for i in range(16)] == pck["tcbcomp"]
        assert proof.claims.tcb["pcesvn"] == pck["pcesvn"]
        assert proof.claims.platform == f"ppid:{pck['ppid']}"
    assert proof.claims.debug == expected["debug"]
    assert proof.claims.native.trailing == expected["trailing_bytes"]
    assert proof.claims.native.version == expected["quote_version"]


def cases() -> list[Any]:
    return [
        pytest.param(e, c, id=f"{e['id']}/{Path(c['collateral']).stem}")
        for e in entries(*QUOTES)
        for c in e["expected"]["cases"]
    ]


@pytest.mark.parametrize(
    ("entry", "case"), cases() or [pytest.param(None, None, marks=params([])[0].marks, id="corpus")]
)
def test_tcb_status_follows_the_collateral(entry: Any, case: Any) -> None:
    proof = prove(entry, [case["collateral"]], moment(case["verification_time"]))
    assert authentic(proof)
    assert proof.tcb is not None
    assert proof.tcb.merged == case["tcb_status"]
    # Version 2 names none of the platform's, so which there are is unknown; the manifest counts the quoting enclave's.
    if proof.tcb.advisories is not None:
        assert list(proof.tcb.advisories) == case["advisory_ids"]
    assert proof.tcb.evaluation == case["tcb_evaluation_data_number"]
    assert proof.outcome(StepName.COLLATERAL) is Outcome.PASSED
    revocation = {False: Outcome.PASSED, True: Outcome.FAILED, None: Outcome.NOT_POSSIBLE}[case["pck_revoked"]]
    assert proof.outcome(StepName.REVOCATION) is revocation


def late() -> list[Any]:
    return [
        pytest.param(e, c, id=f"{e['id']}/{Path(c['collateral']).stem}")
        for e in entries(*QUOTES)
        for c in e["expected"].get("time_cases", [])
    ]


@pytest.mark.parametrize(
    ("entry", "case"), late() or [pytest.param(None, None, marks=params([])[0].marks, id="corpus")]
)
def test_expired_collateral_is_refused(entry: Any, case: Any) -> None:
    at = moment(case["verification_time"])
    proof = prove(entry, [case["collateral"]], at)
    step = next(s for s in proof.steps if s.name is StepName.COLLATERAL)
    assert step.outcome is Outcome.FAILED
    assert {r.code for r in step.reasons} & {"collateral_expired", "crl_expired"}
    assert proof.valid_until is not None
    assert proof.valid_until < at


@pytest.mark.parametrize("entry", params(entries(COLLATERAL)), ids=lambda e: e and e["id"])
def test_an_altered_document_is_refused_and_the_sound_ones_beside_it_are_not(entry: Any) -> None:
    at = moment(entry["verification_time"])
    found = known([entry["file"]], at)
    sound = {k.kind.value: not k.reasons for k in found if k.kind.value != "intel.crl"}
    checks = entry["expected"]["checks"]
    assert sound == {
        "intel.tcb-info": checks["tcb_info_signature"],
        "intel.qe-identity": checks["qe_identity_signature"],
    }
    assert all(not k.reasons for k in found if k.kind.value == "intel.crl") == checks["pck_crl_signature"]
    tcb_info = next(k for k in found if k.kind.value == "intel.tcb-info")
    collateral = Collateral(vendor_roots(), found)
    if not checks["tcb_info_signature"]:
        assert collateral.choose(tcb_info.kind, tcb_info.key, at) is None
        assert collateral.rejected(tcb_info.kind, tcb_info.key, at) is tcb_info


@pytest.mark.parametrize("entry", params(entries(*QUOTES)), ids=lambda e: e and e["id"])
def test_checks_that_the_manifest_names_one_by_one(entry: Any) -> None:
    checks = entry["expected"].get("checks")
    if checks is None:
        return
    proof = prove(entry, [], moment(entry["verification_time"]))
    codes = {r.code for s in proof.steps for r in s.reasons}
    assert (proof.outcome(StepName.SIGNATURE) is Outcome.PASSED) == checks["quote_sig_ok"]
    assert ("ak_not_bound" not in codes) == checks["ak_bound"]
    assert ("qe_report_signature_invalid" not in codes) == checks["qe_report_sig_ok"]
    assert (proof.outcome(StepName.CHAIN) is Outcome.PASSED) == checks["chain_ok"]
