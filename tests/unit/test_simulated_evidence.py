"""What the fleet mints, before judges that know nothing of it: dcap-qvl, and Ratchet's own verification."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

import dcap_qvl
import pytest

from collectors.simulated.deliveries import deliveries
from collectors.simulated.delivery import Delivery
from collectors.simulated.intel.groups import IntelHardware
from collectors.simulated.intel.pki import intel_of
from collectors.simulated.plan import plan
from collectors.simulated.scenario import Scenario, parse
from collectors.simulated.spec import Piece
from collectors.simulated.vendor import Vendor
from ratchet.collateral import Collateral, UnknownDocument
from ratchet.collateral import parse as read
from ratchet.evidence import Evidence, Proof, StepName, detect, verify

FLEET = """
name: One of each
seed: 5
start: 2026-03-02T00:00:00Z
duration: 12h
attest: {every: 3h, jitter: 5m}
workloads: {vault: ["1.0", "1.1"]}
machines:
  icelake: {tee: sgx, fmspc: "51606a000000", count: 2, runs: vault, regions: {eu-west: 1}}
  coffee: {tee: sgx, ca: processor, fmspc: "51906ed50000", count: 1, runs: vault, regions: {eu-west: 1}}
  sapphire: {tee: tdx, fmspc: "51806f050000", count: 2, runs: vault, regions: {eu-west: 1}}
  emerald: {tee: tdx, fmspc: "51c06f000000", count: 1, runs: vault, regions: {eu-west: 1}, firmware: {module: 0}}
  granite: {tee: tdx, quote: 5, fmspc: "51a06d080000", count: 1, runs: vault, regions: {eu-west: 1}}
  milan-old: {tee: snp, product: Milan, report: 2, count: 1, runs: vault, regions: {eu-west: 1}}
  milan: {tee: snp, product: Milan, report: 3, count: 2, runs: vault, regions: {eu-west: 1}}
  genoa: {tee: snp, product: Genoa, report: 4, vcek: fetched, count: 1, runs: vault, regions: {eu-west: 1}}
  turin: {tee: snp, product: Turin, report: 5, count: 1, runs: vault, regions: {eu-west: 1}, firmware: {fmc: 1, snp: 4}}
timeline:
"""
EVENTS = """
  - at: 6h
    event: tcb-recovery
    fmspc: "51606a000000"
    microcode: 8
    advisory: INTEL-SA-09001
    patched: {before: 2h}
    unpatched: [icelake-002]
  - at: 6h
    event: tcb-recovery
    fmspc: "51806f050000"
    module_svn: 6
    advisory: INTEL-SA-09002
    unpatched: [sapphire-002]
  - {at: 8h, event: certificate-revoked, machine: coffee-001}
  - {at: 7h, event: firmware-rolls-back, machine: milan-002, component: snp, to: 20}
"""


@pytest.fixture(scope="session")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Vendor:
    return Vendor(tmp_path_factory.getbasetemp() / "simulated-vendor")


def fleet(*events: str) -> Scenario:
    """One of each, to which these things happen."""
    return parse(FLEET + ("\n".join(f"  - {{{event}}}" for event in events) if events else EVENTS))


def proofs(scenario: Scenario, vendor: Vendor) -> list[tuple[Piece, Delivery, Proof]]:
    """Everything that the scenario sends, as Ratchet sees it."""
    roots = vendor.roots()
    collateral = Collateral(roots)
    pieces = {p.delivery: p for p in plan(scenario) if isinstance(p, Piece)}
    found = []
    for one in deliveries(scenario, vendor):
        if one.delivery in pieces:
            evidence = Evidence(one.raw, one.format, one.endorsements, one.challenge)
            found.append((pieces[one.delivery], one, verify(evidence, collateral, one.time)))
            continue
        try:
            for known in read(one.raw, one.time, roots):
                collateral.add(known)
        except UnknownDocument:
            assert "bad" in one.delivery
    return found


def test_all_that_an_honest_fleet_sends_is_proven_in_every_step(vendor: Vendor) -> None:
    seen = defaultdict(set)
    for piece, one, proof in proofs(fleet(), vendor):
        assert one.format == detect(one.raw)
        if piece.machine.name == "coffee-001" and piece.time >= fleet().start + timedelta(hours=8):
            assert [s.name for s in proof.steps if s.outcome != "passed"] == [StepName.REVOCATION]
            continue
        assert [s.name for s in proof.steps if s.outcome != "passed"] == []
        assert proof.claims is not None
        assert proof.root is not None
        assert proof.root.simulated
        seen[piece.machine.name].add((proof.claims.platform, proof.claims.family, proof.tcb and proof.tcb.merged))
    assert len(seen) == 12
    # each machine is one platform, and no two are the same
    assert all(len({platform for platform, _, _ in of}) == 1 for of in seen.values())
    assert len({platform for of in seen.values() for platform, _, _ in of}) == 12
    # and those that missed a recovery fall out of date
    status = {name: {status for _, _, status in of} for name, of in seen.items()}
    assert status["icelake-001"] == status["sapphire-001"] == {"UpToDate"}
    assert status["icelake-002"] == status["sapphire-002"] == {"UpToDate", "OutOfDate"}


def test_dcap_qvl_agrees_on_every_quote(vendor: Vendor) -> None:
    scenario = fleet()
    bundles: dict[tuple[str, str], bytes] = {}
    judged = defaultdict(set)
    machines = {p.delivery: p.machine for p in plan(scenario) if isinstance(p, Piece)}
    for one in deliveries(scenario, vendor):
        if one.name.startswith("bundle"):
            bundles[(one.name.split()[1], one.name.split()[2])] = one.raw
        elif one.delivery in machines and isinstance(group := machines[one.delivery].group, IntelHardware):
            bundle = bundles[(group.tee, group.fmspc)]
            try:
                claims = _dcap(vendor, one.raw, bundle, one.time)
                judged[one.name].add((claims["tcb"]["status"], tuple(claims["tcb"]["advisory_ids"])))
            except ValueError as refused:
                judged[one.name].add((str(refused).rsplit(":", 1)[-1].strip(), ()))
    assert judged["granite-001"] == judged["emerald-001"] == {("UpToDate", ())}
    assert judged["icelake-001"] == judged["sapphire-001"] == {("UpToDate", ())}
    assert judged["icelake-002"] == {("UpToDate", ()), ("OutOfDate", ("INTEL-SA-09001",))}
    assert judged["sapphire-002"] == {("UpToDate", ()), ("OutOfDate", ("INTEL-SA-09002",))}
    # its words for a certificate on a list; until then the same chain was good
    assert judged["coffee-001"] == {("UpToDate", ()), ("Failed to verify certificate chain", ())}


@pytest.mark.parametrize(
    ("how", "step"),
    [
        ("event: forged-evidence, how: bit-flipped", StepName.SIGNATURE),
        ("event: bad-evidence, how: truncated", StepName.PARSE),
        ("event: bad-evidence, how: random", StepName.PARSE),
        ("event: bad-evidence, how: oversized", StepName.PARSE),
        ("event: bad-evidence, how: wrong-format", StepName.PARSE),
        ("event: bad-evidence, how: future-dated", StepName.CHAIN),
        ("event: bad-evidence, how: another-root", StepName.CHAIN),
        ("event: replayed-evidence", StepName.FRESHNESS),
    ],
)
def test_what_is_bad_fails_at_the_step_that_it_should(how: str, step: StepName, vendor: Vendor) -> None:
    names = ("icelake-001", "sapphire-001", "granite-001", "milan-old-001", "milan-001", "genoa-001", "turin-001")
    scenario = fleet(*(f"at: 9h, machine: {name}, {how}" for name in names))
    special = [(p, proof) for p, _, proof in proofs(scenario, vendor) if p.how != "honest"]
    assert {p.machine.name for p, _ in special} == set(names)
    for _, proof in special:
        assert not proof.genuine
        assert next(s.name for s in proof.steps if s.outcome == "failed") is step


def test_a_key_that_nobody_certified_is_found_out(vendor: Vendor) -> None:
    scenario = fleet(
        "at: 9h, machine: sapphire-001, event: forged-evidence, how: another-key",
        "at: 9h, machine: milan-001, event: forged-evidence, how: another-key",
    )
    failed = {
        p.machine.name: [s.name for s in proof.steps if s.outcome == "failed"]
        for p, _, proof in proofs(scenario, vendor)
        if p.how == "another-key"
    }
    assert failed == {"sapphire-001": [StepName.BINDING], "milan-001": [StepName.SIGNATURE]}


@pytest.mark.parametrize("name", ["icelake-001", "sapphire-001", "granite-001", "milan-001"])
def test_a_debug_guest_is_genuine_and_says_so(name: str, vendor: Vendor) -> None:
    found = proofs(fleet(f"at: 9h, machine: {name}, event: debug-guest"), vendor)
    debug = [p.how for p, _, proof in found if proof.claims is not None and proof.claims.debug and proof.genuine]
    assert debug == ["debug"]


@pytest.mark.parametrize("how", ["truncated", "random", "future-dated", "another-root", "forged"])
def test_a_bad_document_changes_no_verdict(how: str, vendor: Vendor) -> None:
    good = _outcomes(proofs(fleet("at: 11h, event: goes-silent, machine: coffee-001"), vendor))
    bad = _outcomes(
        proofs(
            fleet(
                "at: 11h, event: goes-silent, machine: coffee-001",
                f"at: 2h, event: bad-document, fmspc: '51806f050000', how: {how}",
                f"at: 2h, event: bad-document, fmspc: '51606a000000', how: {how}",
            ),
            vendor,
        )
    )
    assert bad == good


def test_a_machine_that_goes_back_had_not_committed_what_it_gives_up(vendor: Vendor) -> None:
    tcbs = [
        proof.claims.tcb
        for p, _, proof in proofs(fleet(), vendor)
        if p.machine.name == "milan-002" and proof.claims is not None
    ]
    assert [t["reported.snp"] for t in tcbs] == sorted((t["reported.snp"] for t in tcbs), reverse=True)
    assert {t["reported.snp"] for t in tcbs} == {24, 20}
    assert {t["committed.snp"] for t in tcbs} == {20}


def test_the_same_scenario_gives_the_same_bytes_and_may_be_taken_up_in_the_middle(vendor: Vendor) -> None:
    scenario = fleet()
    first = list(deliveries(scenario, vendor))
    assert list(deliveries(scenario, Vendor(vendor.keys.folder))) == first
    middle = scenario.start + timedelta(hours=6)
    assert list(deliveries(scenario, vendor, after=middle)) == [one for one in first if one.time > middle]
    assert [one.time for one in first] == sorted(one.time for one in first)
    assert len({one.delivery for one in first}) == len(first)
    assert all(one.time <= scenario.end for one in first)


def test_a_patched_machine_has_a_new_certificate(vendor: Vendor) -> None:
    chains = {one.raw[-3000:] for one in deliveries(fleet(), vendor) if one.name == "icelake-001"}
    assert len(chains) == 2


def _outcomes(found: Sequence[tuple[Piece, Delivery, Proof]]) -> list[tuple[object, ...]]:
    return [
        (p.delivery, proof.genuine, tuple(s.outcome for s in proof.steps), proof.tcb and proof.tcb.merged)
        for p, _, proof in found
    ]


def _dcap(vendor: Vendor, quote: bytes, bundle: bytes, at: datetime) -> dict[str, dict[str, list[str]]]:
    """What dcap-qvl says of a quote under the simulated root."""
    fields = {
        key: bytes.fromhex(value) if key.endswith(("signature", "crl")) else value
        for key, value in json.loads(bundle).items()
    }
    seconds = int(at.timestamp())
    verifier = dcap_qvl.QuoteVerifier(intel_of(vendor.keys).root)
    policy = dcap_qvl.QuotePolicy.claims_only(seconds)
    claims = verifier.verify_with_policy(quote, dcap_qvl.QuoteCollateralV3(**fields), seconds, policy)
    return json.loads(claims.to_json())
