"""What the simulated Azure's virtual machines send, good and bad, before Ratchet and before dcap-qvl."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import get_args

import dcap_qvl
import pytest

from collectors.simulated.azure.groups import AzureSnpGroup, AzureTdxGroup, Bad
from collectors.simulated.deliveries import deliveries
from collectors.simulated.delivery import Delivery
from collectors.simulated.intel.pki import intel_of
from collectors.simulated.plan import plan
from collectors.simulated.scenario import Scenario, parse
from collectors.simulated.spec import Piece
from collectors.simulated.truth import truth
from collectors.simulated.vendor import Vendor
from ratchet.collateral import Collateral
from ratchet.collateral import parse as read
from ratchet.evidence import FORMATS, Evidence, Format, Outcome, Proof, verify

FLEET = """
name: Azure alone
seed: 6
start: 2026-03-02T00:00:00Z
duration: 12h
attest: {every: 3h, jitter: 5m}
workloads: {vault: ["1.0", "1.1"]}
machines:
  azure-milan: {tee: az-snp, product: Milan, count: 2, runs: vault, regions: {eu-west: 1}}
  azure-genoa: {tee: az-snp, product: Genoa, vcek: fetched, count: 1, runs: vault, regions: {eu-west: 1}}
  azure-emerald: {tee: az-tdx, fmspc: "51c06f000000", count: 2, runs: vault, regions: {eu-west: 1}}
timeline: [%s]
"""


@pytest.fixture(scope="session")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Vendor:
    return Vendor(tmp_path_factory.getbasetemp() / "simulated-vendor")


def fleet(*events: str) -> Scenario:
    return parse(FLEET % ", ".join(f"{{{event}}}" for event in events))


def proofs(scenario: Scenario, vendor: Vendor) -> Iterator[tuple[Piece, Delivery, Proof]]:
    """Everything that is sent, as Ratchet sees it."""
    pieces = {p.delivery: p for p in plan(scenario) if isinstance(p, Piece)}
    for one, collateral in delivered(scenario, vendor):
        if one.delivery in pieces:
            evidence = Evidence(one.raw, one.format, one.endorsements, one.challenge)
            yield pieces[one.delivery], one, verify(evidence, collateral, one.time)


def delivered(scenario: Scenario, vendor: Vendor) -> Iterator[tuple[Delivery, Collateral]]:
    """Everything that is sent, with what vendors had published by then."""
    roots = vendor.roots()
    collateral = Collateral(roots)
    for one in deliveries(scenario, vendor):
        if one.challenge is None and one.format is None:
            for known in read(one.raw, one.time, roots):
                collateral.add(known)
        yield one, collateral


def members(one: Delivery) -> dict[str, bytes]:
    """The JSON of a piece, decoded, but for the quote."""
    sent = {name: value for name, value in json.loads(one.raw).items() if isinstance(value, str)}
    return {name: base64.urlsafe_b64decode(value + "==") for name, value in sent.items()}


def test_all_that_honest_machines_send_is_proven_in_every_step_with_what_their_tpm_measured(vendor: Vendor) -> None:
    seen = defaultdict(set)
    for piece, one, proof in proofs(fleet(), vendor):
        assert [step for step in proof.steps if step.outcome is not Outcome.PASSED] == []
        assert one.endorsements == ()
        assert FORMATS[piece.machine.group.FORMAT].detect(one.raw)
        claims = proof.claims
        assert claims is not None
        assert proof.root is not None
        assert proof.root.simulated
        wanted = piece.machine.group.measurements("1.1")
        assert {name: claims.measurements[name] for name in wanted} == wanted
        assert one.challenge is not None
        assert claims.report_data == one.challenge
        assert {"ek", "vm_unique_id"} <= claims.measurements.keys()
        seen[piece.machine.name].add((claims.platform, claims.instance))
    assert {len(of) for of in seen.values()} == {1}
    assert len({identity for of in seen.values() for identity in of}) == len(seen) == 5


def test_the_same_scenario_gives_the_same_bytes_each_time(vendor: Vendor) -> None:
    first = list(deliveries(fleet(), vendor))
    assert list(deliveries(fleet(), Vendor(vendor.keys.folder))) == first


def test_the_hardware_report_of_a_machine_stays_the_same_and_the_tpm_answers_each_challenge(vendor: Vendor) -> None:
    sent = [one for one, _ in delivered(fleet(), vendor) if one.name == "azure-milan-001"]
    assert len(sent) == 4
    assert len({members(one)["hcl_report"] for one in sent}) == 1
    assert len({one.raw for one in sent}) == 4


def test_dcap_qvl_agrees_on_the_quotes_inside(vendor: Vendor) -> None:
    bundle, judged = b"", set()
    for one, _ in delivered(fleet(), vendor):
        if one.name.startswith("bundle"):
            bundle = one.raw
        elif one.format == Format("az-tdx-vtpm"):
            fields = {
                key: bytes.fromhex(value) if key.endswith(("signature", "crl")) else value
                for key, value in json.loads(bundle).items()
            }
            seconds = int(one.time.timestamp())
            verifier = dcap_qvl.QuoteVerifier(intel_of(vendor.keys).root)
            claims = verifier.verify_with_policy(
                members(one)["td_quote"],
                dcap_qvl.QuoteCollateralV3(**fields),
                seconds,
                dcap_qvl.QuotePolicy.claims_only(seconds),
            )
            judged.add(json.loads(claims.to_json())["tcb"]["status"])
    assert judged == {"UpToDate"}


SNP, TDX = "azure-milan-001", "azure-emerald-001"


@pytest.mark.parametrize(
    ("machine", "event", "codes"),
    [
        (SNP, "event: forged-evidence, how: another-key", {"signature_invalid"}),
        (TDX, "event: forged-evidence, how: another-key", {"signature_invalid"}),
        (SNP, "event: bad-evidence, how: another-root", {"chain_signature_invalid"}),
        (TDX, "event: bad-evidence, how: another-root", {"chain_untrusted_root"}),
        (SNP, "event: bad-evidence, how: future-dated", {"certificate_not_yet_valid", "certificate_expired"}),
        (SNP, "event: bad-evidence, how: truncated", {"evidence_unreadable"}),
        (TDX, "event: bad-evidence, how: truncated", {"evidence_unreadable"}),
        (TDX, "event: bad-evidence, how: wrong-format", {"evidence_unreadable"}),
        (SNP, "event: bad-vtpm-evidence, how: pcrs-altered", {"pcr_digest_mismatch"}),
        (TDX, "event: bad-vtpm-evidence, how: pcrs-altered", {"pcr_digest_mismatch"}),
        (SNP, "event: bad-vtpm-evidence, how: run-time-data-swapped", {"run_time_data_not_bound"}),
        (TDX, "event: bad-vtpm-evidence, how: run-time-data-swapped", {"run_time_data_not_bound"}),
        (SNP, "event: bad-vtpm-evidence, how: report-by-another-key", {"signature_invalid"}),
        (TDX, "event: bad-vtpm-evidence, how: report-by-another-key", {"ak_not_bound"}),
        (SNP, "event: bad-vtpm-evidence, how: above-vmpl-0", {"vmpl_not_paravisor"}),
        (TDX, "event: bad-vtpm-evidence, how: another-td-report", {"td_report_mismatch"}),
    ],
)
def test_what_is_bad_fails_for_the_reason_that_it_should_and_for_no_other(
    machine: str, event: str, codes: set[str], vendor: Vendor
) -> None:
    scenario = fleet(f"at: 9h, machine: {machine}, {event}")
    (proof,) = (proof for piece, _, proof in proofs(scenario, vendor) if piece.how != "honest")
    failed = [step for step in proof.steps if step.outcome is Outcome.FAILED]
    assert {reason.code for step in failed for reason in step.reasons} == codes
    assert {(fact.rule, fact.subject) for fact in truth(scenario)} == {("evidence-failed", machine)}


@pytest.mark.parametrize(
    ("machine", "event", "code", "rule"),
    [
        (SNP, "event: missing-endorsement", "no_endorsement_key", "endorsement-missing"),
        (SNP, "event: bad-vtpm-evidence, how: without-quote", "tpm_quote_missing", "evidence-unproven"),
        (TDX, "event: bad-vtpm-evidence, how: without-quote", "tpm_quote_missing", "evidence-unproven"),
    ],
)
def test_what_is_wanting_is_said_and_accuses_nobody(
    machine: str, event: str, code: str, rule: str, vendor: Vendor
) -> None:
    scenario = fleet(f"at: 9h, machine: {machine}, {event}")
    (proof,) = (proof for piece, _, proof in proofs(scenario, vendor) if piece.how != "honest")
    assert {step.outcome for step in proof.steps} == {Outcome.PASSED, Outcome.NOT_POSSIBLE}
    assert code in {reason.code for step in proof.steps for reason in step.reasons}
    assert {(fact.rule, fact.subject) for fact in truth(scenario)} == {(rule, machine)}


@pytest.mark.parametrize("machine", [SNP, TDX])
def test_a_debugged_guest_is_genuine_and_another_one_than_the_guest_beside_it(machine: str, vendor: Vendor) -> None:
    instances = {}
    for piece, _, proof in proofs(fleet(f"at: 9h, machine: {machine}, event: debug-guest"), vendor):
        if piece.machine.name == machine:
            assert proof.genuine
            assert proof.claims is not None
            assert proof.claims.debug is (piece.how == "debug")
            instances[piece.how] = proof.claims.instance
    assert instances["debug"] != instances["honest"]


def test_another_image_has_other_pcrs_under_the_same_paravisor(vendor: Vendor) -> None:
    event = f"at: 6h, event: unknown-measurement, machine: {TDX}, release: '2.0'"
    found = defaultdict(set)
    for piece, _, proof in proofs(fleet(event), vendor):
        if piece.machine.name == TDX:
            assert proof.claims is not None
            held = proof.claims.measurements
            found[piece.release].add((held["mrtd"], held["pcr4"], held["pcr0"], held["pcr1"]))
    ((before,), (after,)) = found["1.1"], found["2.0"]
    assert before[0] == after[0]
    assert before[1] != after[1]
    assert before[2:] == after[2:]
    assert {fact.rule for fact in truth(fleet(event))} == {"measurement-unknown"}


@pytest.mark.parametrize("machine", [SNP, TDX])
def test_a_bit_flipped_in_any_signed_part_is_refused(machine: str, vendor: Vendor) -> None:
    # given every piece of one machine, whose bytes decide which part it is
    places = set()
    for one, collateral in delivered(fleet(), vendor):
        if one.name != machine:
            continue
        group = fleet().group_of(machine)
        at = group.signed(one.raw)
        places.add(at)
        # when any character is altered, whichever bit it is
        for number, place in enumerate(range(at.start, at.stop, 3)):
            flipped = bytearray(one.raw)
            flipped[place] ^= 1 << number % 8
            proof = verify(Evidence(bytes(flipped), one.format, (), one.challenge), collateral, one.time)
            # then some step fails
            assert Outcome.FAILED in {step.outcome for step in proof.steps}, place
    assert len(places) > 1


def test_firmware_is_the_hardware_vendors_affair(vendor: Vendor) -> None:
    scenario = fleet(
        "at: 6h, event: firmware-rolls-back, machine: azure-genoa-001, component: snp, to: 20",
        "at: 6h, event: tcb-recovery, fmspc: '51c06f000000', microcode: 8, advisory: INTEL-SA-09001, "
        "patched: {before: 5h, ready: 4h}, unpatched: [azure-emerald-002]",
    )
    assert {(fact.rule, fact.subject) for fact in truth(scenario)} == {
        ("firmware-rolled-back", "azure-genoa-001"),
        ("tcb-out-of-date", "azure-emerald-002"),
    }
    found = defaultdict(set)
    for piece, _, proof in proofs(scenario, vendor):
        assert proof.genuine
        assert proof.claims is not None
        found[piece.machine.name].add((proof.claims.tcb.get("reported.snp"), proof.tcb and proof.tcb.merged))
    assert {snp for snp, _ in found["azure-genoa-001"]} == {24, 20}
    assert {status for _, status in found["azure-emerald-002"]} == {"UpToDate", "OutOfDate"}
    assert {status for _, status in found["azure-emerald-001"]} == {"UpToDate"}


def test_each_way_belongs_to_the_kind_of_machine_that_can_send_it() -> None:
    common = {"count": 1, "runs": "vault", "regions": {"eu-west": 1}}
    snp = AzureSnpGroup.model_validate({**common, **AzureSnpGroup.SAMPLES["azure-milan"]}).ways()
    tdx = AzureTdxGroup.model_validate({**common, **AzureTdxGroup.SAMPLES["azure-sapphire"]}).ways()
    assert set(get_args(Bad)) - set(snp) == {"another-td-report"}
    assert set(get_args(Bad)) - set(tdx) == {"above-vmpl-0"}
    with pytest.raises(ValueError, match="azure-emerald-001 sends nothing that is above-vmpl-0"):
        fleet("at: 6h, event: bad-vtpm-evidence, machine: azure-emerald-001, how: above-vmpl-0")
