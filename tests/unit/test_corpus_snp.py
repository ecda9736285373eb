"""Real SEV-SNP reports: Milan, Genoa (Bergamo and Siena among it) and Turin, VCEK and VLEK, versions 2 to 5."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ratchet.cli.corpus import check_file
from ratchet.collateral import Collateral, amd
from ratchet.collateral.roots import vendor_roots
from ratchet.event import parse_time
from ratchet.evidence import Evidence, Format, Outcome, Proof, StepName, detect, fields, verify
from ratchet.evidence.amd.endorsement import certificate_table

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def items(corpus: Path) -> list[dict]:
    return [item for item in json.loads((corpus / "MANIFEST.json").read_bytes()) if item["format"] == "snp-report"]


def judge(corpus: Path, item: dict, *, at: datetime | None = None, beside: tuple[bytes, ...] | None = None) -> Proof:
    roots = vendor_roots()
    documents = [(corpus / path).read_bytes() for path in item["collateral"]]
    collateral = Collateral(roots, [known for one in documents for known in amd.parse(one, EPOCH, roots)])
    if beside is None:
        beside = tuple((corpus / f["path"]).read_bytes() for f in item["files"] if f["path"].endswith(".der"))
    raw = (corpus / item["file"]).read_bytes()
    return verify(Evidence(raw, None, beside), collateral, at or parse_time(item["verification_time"]))


def test_every_report_is_seen_as_the_manifest_says(corpus: Path):
    report = check_file(corpus / "MANIFEST.json", ["snp-report"])
    assert len(report.items) >= 16
    assert [(item.id, item.disagreements) for item in report.items if item.disagreements] == []


def test_every_report_is_recognised_by_its_bytes(corpus: Path, items):
    assert {detect((corpus / item["file"]).read_bytes()) for item in items} == {Format("snp-report")}


def test_a_genuine_report_rests_on_amds_own_root_and_on_what_was_used(corpus: Path, items):
    for item in items:
        proof = judge(corpus, item)
        if item["expected"]["signature"] == "valid":
            assert proof.genuine, item["id"]
            assert proof.root is not None
            assert not proof.root.simulated
            assert proof.valid_until is not None
            assert len(proof.collateral) == 2  # the ASK's document, and the VCEK beside the report
        else:
            assert Outcome.FAILED in {step.outcome for step in proof.steps}, item["id"]


def test_a_certificate_is_judged_at_the_time_given_not_by_the_clock(corpus: Path, items):
    item = next(item for item in items if item["id"] == "snp3-trustee-vlek")  # a VLEK lives for a year
    assert judge(corpus, item).genuine
    for late in (datetime(2026, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)):
        assert judge(corpus, item, at=late).outcome(StepName.CHAIN) is Outcome.FAILED


def test_a_reported_tcb_below_the_current_one_is_seen(corpus: Path, items):
    item = next(item for item in items if item["id"] == "snp3-dstack-milan")
    claims = judge(corpus, item).claims
    assert claims is not None
    assert (claims.tcb["reported.snp"], claims.tcb["current.snp"]) == (23, 24)


def test_the_certificate_table_of_a_real_guest_suffices(corpus: Path, items):
    item = next(item for item in items if item["id"] == "snp3-veraison-tsm")
    aux = (corpus / "snp-report/snp3-veraison-tsm.auxblob.bin").read_bytes()
    assert len(certificate_table(aux)) == 3
    assert judge(corpus, item, beside=(aux,)).genuine
    raw = (corpus / item["file"]).read_bytes() + aux
    proof = verify(Evidence(raw), Collateral(vendor_roots()), parse_time(item["verification_time"]))
    assert proof.genuine
    assert fields(Evidence(raw))[-1].name == "certificates"


def test_no_report_of_a_chip_is_passed_off_as_anothers(corpus: Path, items):
    good = [item for item in items if item["expected"]["signature"] == "valid"]
    leaves = {item["id"]: (corpus / item["files"][1]["path"]).read_bytes() for item in good}
    for item in good:
        for other, leaf in leaves.items():
            if leaf != leaves[item["id"]]:
                assert not judge(corpus, item, beside=(leaf,)).genuine, (item["id"], other)


def test_reports_of_the_feed_find_their_keys_among_its_documents(feeds: Path):
    roots = vendor_roots()
    documents = [path.read_bytes() for path in sorted((feeds / "amd").rglob("*")) if path.is_file()]
    collateral = Collateral(roots, [known for one in documents for known in amd.parse(one, EPOCH, roots)])
    at = datetime(2026, 3, 1, tzinfo=UTC)
    found = {
        path.name: verify(Evidence(path.read_bytes()), collateral, at)
        for path in (feeds / "fleet-evidence").glob("snp-*.bin")
    }
    assert found["snp-report-genoa-v5.bin"].genuine
    assert all(proof.claims is not None for proof in found.values())
    assert found["snp-report-milan.bin"].outcome(StepName.CHAIN) is Outcome.NOT_POSSIBLE
