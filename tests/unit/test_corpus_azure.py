"""Real evidence of Azure's confidential virtual machines, on SEV-SNP and TDX, of 2023 to 2026."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ratchet.cli.corpus import check_file
from ratchet.collateral import Collateral, parse
from ratchet.collateral.roots import vendor_roots
from ratchet.conformance.check import evidence_of
from ratchet.event import parse_time
from ratchet.evidence import Evidence, Format, Outcome, Proof, StepName, detect, fields, replay_key, verify
from ratchet.evidence.azure.vtpm import BOOT_PCRS
from ratchet.evidence.recognise import recognise

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FORMATS = ("az-snp-vtpm", "az-tdx-vtpm")
Item = Mapping[str, Any]


@pytest.fixture(scope="module")
def items(corpus: Path) -> dict[str, Item]:
    return {one["id"]: one for one in json.loads((corpus / "MANIFEST.json").read_bytes()) if one["format"] in FORMATS}


def evidence(corpus: Path, item: Item) -> Evidence:
    return evidence_of(item, lambda path: (corpus / path).read_bytes())


def judge(corpus: Path, item: Item, sent: Evidence) -> Proof:
    documents = [(corpus / path).read_bytes() for path in item["collateral"]]
    known = [one for document in documents for one in parse(document, EPOCH, vendor_roots())]
    return verify(sent, Collateral(vendor_roots(), known), parse_time(item["verification_time"]))


def genuine(corpus: Path, items: Mapping[str, Item]) -> Iterator[tuple[Item, Proof]]:
    for item in items.values():
        if item["expected"]["signature"] == "valid":
            yield item, judge(corpus, item, evidence(corpus, item))


def test_every_item_is_seen_as_the_manifest_says(corpus: Path) -> None:
    report = check_file(corpus / "MANIFEST.json", list(FORMATS))
    assert len(report.items) >= 7
    assert [(item.id, item.disagreements) for item in report.items if item.disagreements] == []


def test_genuine_evidence_rests_on_the_vendors_own_roots(corpus: Path, items: dict[str, Item]) -> None:
    for item, proof in genuine(corpus, items):
        assert proof.genuine, item["id"]
        assert proof.root is not None
        assert not proof.root.simulated
        assert proof.claims is not None
        assert set(BOOT_PCRS) <= proof.claims.measurements.keys()
        sent = evidence(corpus, item)
        assert detect(sent.raw) == item["format"]
        assert len(fields(sent)) > 60


def test_what_trustees_agent_sent_is_the_same_evidence(corpus: Path, items: dict[str, Item]) -> None:
    """The text as it was sent, against the files that were taken out of it."""
    item = items["azsnp-trustee-v2"]
    sent = Evidence((corpus / "az-snp-vtpm/azsnp-trustee-v2.json").read_bytes())
    ours = evidence(corpus, item)
    assert detect(sent.raw) == Format("az-snp-vtpm")
    theirs, same = judge(corpus, item, sent), judge(corpus, item, ours)
    assert theirs.claims == same.claims
    assert replay_key(sent.raw, theirs) == replay_key(ours.raw, same)


def test_the_challenge_that_was_quoted_is_met_and_no_other(corpus: Path, items: dict[str, Item]) -> None:
    for item, _ in genuine(corpus, items):
        nonce = bytes.fromhex(item["expected"]["claims"]["tpm_extra_data"])
        sent = evidence(corpus, item)
        for challenge, outcome in (
            (nonce, Outcome.PASSED if len(nonce) >= 16 else Outcome.NOT_POSSIBLE),  # nine bytes could be guessed
            (nonce[::-1] + b"1", Outcome.FAILED),
        ):
            asked = Evidence(sent.raw, sent.format, sent.endorsements, challenge)
            assert judge(corpus, item, asked).outcome(StepName.FRESHNESS) is outcome, item["id"]


def test_an_hcl_report_alone_is_named_with_what_to_send(corpus: Path, items: dict[str, Item]) -> None:
    for item in items.values():
        found = recognise((corpus / item["file"]).read_bytes())
        assert found is not None
        assert "without its TPM quote" in found.name
        assert "docs/formats.md" in found.next


def test_pieces_of_two_machines_are_no_evidence(corpus: Path, items: dict[str, Item]) -> None:
    """Every genuine item with the quote, the hardware report or the TD quote of another."""
    bodies = {id: json.loads(evidence(corpus, item).raw) for id, item in items.items() if id != "azsnp-kinvolk-hcl"}
    for id, body in bodies.items():
        for other, theirs in bodies.items():
            for member in theirs.keys() & body.keys():
                if other == id or theirs[member] == body[member] or (member == "vcek" and _same_chip(items, id, other)):
                    continue
                mixed = json.dumps({**body, member: theirs[member]}).encode()
                proof = judge(corpus, items[id], Evidence(mixed, Format(items[id]["format"])))
                assert not proof.genuine, (id, other, member)


def _same_chip(items: Mapping[str, Item], one: str, other: str) -> bool:
    def of(id: str) -> Any:
        snp = items[id]["expected"]["claims"].get("snp", {})
        return snp.get("chip_id"), snp.get("reported_tcb")

    return bool(of(one) == of(other))
