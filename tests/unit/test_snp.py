"""SEV-SNP reports: what is proven of each, step by step, and what an attacker's bytes come to."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from snp_world import DAY, MADE, NOW, World, codes, outcomes, table

from ratchet.collateral import Collateral
from ratchet.collateral.roots import INTEL
from ratchet.evidence import (
    MAX_EVIDENCE,
    Claims,
    Evidence,
    Format,
    Outcome,
    Proof,
    StepName,
    fields,
    verify,
)
from ratchet.evidence.amd import endorsement, snp
from ratchet.evidence.amd.snp_report import SIGNED, SIZE, SnpReport, product_line

MILAN, GENOA, TURIN = World("Milan"), World("Genoa"), World("Turin")
PRODUCTS = pytest.mark.parametrize("world", [MILAN, GENOA, TURIN], ids=lambda world: world.product)

slow = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def claims_of(proof: Proof) -> Claims:
    assert proof.claims is not None
    return proof.claims


# -- an honest machine


@PRODUCTS
@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_an_honest_machine_passes_every_step(world, version):
    challenge = b"asked by the collector"
    raw = world.report(version, report_data=hashlib.sha512(challenge).digest())
    proof = world.judge(raw, world.vek(), world.signer(), documents=[world.crl()], challenge=challenge)
    assert set(outcomes(proof).values()) == {"passed"}
    assert proof.genuine
    assert proof.root is not None
    assert proof.root.simulated
    claims = claims_of(proof)
    assert (claims.tee, claims.family) == ("snp", f"snp/{world.product}")
    assert claims.platform == f"chip:{world.hwid.hex()}"
    assert claims.instance == (b"\x1d" * 32).hex()


def test_versions_are_named_by_component_and_by_which_of_the_four_tcbs():
    world = replace(TURIN, levels={"fmc": 1, "bl": 2, "tee": 3, "snp": 4, "ucode": 81})
    proof = world.judge(world.report(reported={"snp": 3}, current={"ucode": 82}), world.vek(levels={"snp": 3}))
    tcb = claims_of(proof).tcb
    assert {name: tcb[f"reported.{name}"] for name in world.levels} == {**world.levels, "snp": 3}
    assert {name: tcb[f"current.{name}"] for name in world.levels} == {**world.levels, "ucode": 82}
    assert {name.partition(".")[0] for name in tcb} == {"reported", "committed", "current", "launch"}
    assert "reported.fmc" not in claims_of(MILAN.judge(MILAN.report(), MILAN.vek())).tcb


def test_policy_platform_and_mitigation_bits_are_claims():
    policy = 1 << 17 | 1 << 19 | 1 << 18 | 0x0137
    raw = MILAN.report(policy=policy, patches=[(0x40, (0x20).to_bytes(8, "little")), (0x30, b"\x02")])
    claims = claims_of(MILAN.judge(raw, MILAN.vek()))
    assert claims.debug
    assert claims.bits["policy.debug"]
    assert claims.bits["policy.migrate_ma"]
    assert not claims.bits["policy.smt"]
    assert (claims.bits["policy.abi_major"], claims.bits["policy.abi_minor"]) == (1, 0x37)
    assert claims.bits["platform.alias_check"]
    assert not claims.bits["platform.smt"]
    assert claims.bits["vmpl"] == 2
    assert (claims.bits["mitigation.launch"], claims.bits["mitigation.current"]) == (0x3F, 0x3B)
    assert [claims.bits[f"cpuid.{name}"] for name in ("family", "model", "stepping")] == [0x19, 1, 1]


def test_an_old_report_attests_neither_cpuid_nor_mitigations():
    bits = claims_of(MILAN.judge(MILAN.report(2), MILAN.vek(), MILAN.signer())).bits
    assert not any(name.startswith(("cpuid.", "mitigation.")) for name in bits)


def test_numbers_in_claims_can_be_written_as_json():
    raw = MILAN.report(patches=[(0x200, b"\xff" * 8), (0x30, b"\xff" * 4)])
    assert max(claims_of(MILAN.judge(raw, MILAN.vek())).bits.values()) < 1 << 53


# -- who signed it


def test_without_a_certificate_nothing_is_proven_and_it_says_where_to_fetch_one():
    proof = MILAN.judge(MILAN.report())
    assert proof.unproven == (StepName.CHAIN, StepName.SIGNATURE, StepName.BINDING)
    assert Outcome.FAILED not in {step.outcome for step in proof.steps}
    assert codes(proof, StepName.CHAIN) == {"no_endorsement_key"}
    (why,) = proof.steps[1].reasons
    assert why.remedy.startswith(f"fetch https://kdsintf.amd.com/vcek/v1/Milan/{MILAN.chip.hex()}?blSPL=04&teeSPL=00")
    assert claims_of(proof).family == "snp/Milan"


def test_an_old_report_without_a_proven_chain_is_of_no_known_family():
    assert claims_of(MILAN.judge(MILAN.report(2))).family == "snp/unknown"
    assert claims_of(MILAN.judge(MILAN.report(2), World("Milan", "stranger").vek())).family == "snp/unknown"


@PRODUCTS
def test_the_key_is_found_among_collateral_by_chip_and_tcb(world):
    other = world.vek(hwid=bytes(len(world.hwid)))
    documents = [other, world.vek(), world.signer()]
    proof = world.judge(world.report(2), documents=documents)
    assert proof.genuine
    assert len(proof.collateral) == 2
    assert hashlib.sha256(world.vek()).hexdigest()


def test_what_was_not_known_yet_is_not_used():
    collateral = MILAN.collateral(MILAN.vek(), MILAN.signer())
    evidence = Evidence(MILAN.report())
    assert verify(evidence, collateral, NOW).genuine
    early = verify(evidence, collateral, NOW - 2 * DAY)
    assert codes(early, StepName.CHAIN) == {"no_endorsement_key"}


def test_certificates_may_come_in_the_guest_certificate_table():
    world = GENOA
    raw = world.report() + table(world.ark, world.signer(), world.vek())
    assert world.judge(raw).genuine
    assert world.judge(world.report(), table(world.signer(), world.vek())).genuine


def test_bytes_behind_the_report_that_are_no_table_are_passed_over():
    proof = MILAN.judge(MILAN.report() + b"whatever" * 9, MILAN.vek(), MILAN.signer())
    assert proof.genuine
    assert "passed over" in proof.steps[0].detail


def test_a_vlek_is_of_a_provider_not_of_a_chip():
    raw = MILAN.report(kind="VLEK", chip_id=bytes(64))
    proof = MILAN.judge(raw, MILAN.vek("VLEK"), MILAN.signer("VLEK"))
    assert proof.genuine
    assert claims_of(proof).platform is None
    assert claims_of(proof).bits["signer.vlek"]
    assert "CN=test" in proof.steps[4].detail


def test_a_masked_chip_id_is_genuine_but_names_no_platform():
    proof = MILAN.judge(MILAN.report(chip_id=bytes(64)), MILAN.vek(), MILAN.signer())
    assert proof.genuine
    assert claims_of(proof).platform is None


def test_the_best_fitting_of_several_keys_is_taken():
    others = [MILAN.vek(levels={"snp": 23}), MILAN.vek("VLEK"), MILAN.vek(hwid=b"\x09" * 64)]
    assert MILAN.judge(MILAN.report(), *others, MILAN.vek(), MILAN.signer()).genuine


def test_a_forged_twin_of_the_key_does_not_hide_the_true_one():
    twin = World("Milan", "stranger").vek()
    assert MILAN.judge(MILAN.report(), twin, MILAN.vek(), MILAN.signer()).genuine


# -- what is refused, and as what


def test_another_chips_certificate_is_refused():
    proof = MILAN.judge(MILAN.report(), MILAN.vek(hwid=b"\x09" * 64), MILAN.signer())
    assert outcomes(proof)["binding"] == "failed"
    assert codes(proof, StepName.BINDING) == {"chip_mismatch"}
    assert not proof.genuine


@pytest.mark.parametrize("component", ["fmc", "bl", "tee", "snp", "ucode"])
def test_a_certificate_for_other_firmware_is_refused_and_names_the_component(component):
    proof = TURIN.judge(TURIN.report(), TURIN.vek(levels={component: 99}), TURIN.signer())
    step = proof.steps[4]
    assert step.outcome is Outcome.FAILED
    assert [(r.code, r.component, r.got, r.want) for r in step.reasons] == [
        ("tcb_mismatch", component, 99, TURIN.levels[component])
    ]


def test_a_key_of_another_kind_than_the_report_names_is_refused():
    raw = MILAN.report(patches=[(0x48, b"\x04")])  # says VLEK, signed by the VCEK
    proof = MILAN.judge(raw, MILAN.vek(), MILAN.signer())
    assert outcomes(proof)["signature"] == "passed"
    assert codes(proof, StepName.BINDING) == {"signer_mismatch"}


def test_a_chip_of_another_product_line_than_its_cpuid_is_refused():
    raw = MILAN.report(cpuid=(0x19, 0x11, 0x01))
    proof = MILAN.judge(raw, MILAN.vek(), MILAN.signer())
    assert "product_mismatch" in codes(proof, StepName.BINDING)


def test_a_forged_signature_is_refused_while_the_other_steps_stand():
    raw = bytearray(MILAN.report())
    raw[0x90] ^= 1
    proof = MILAN.judge(bytes(raw), MILAN.vek(), MILAN.signer(), documents=[MILAN.crl()])
    assert {name for name, outcome in outcomes(proof).items() if outcome == "failed"} == {"signature"}
    assert outcomes(proof)["revocation"] == "passed"


def test_a_chain_to_a_root_that_nobody_trusts_is_refused():
    stranger = World("Milan", "stranger")
    proof = MILAN.judge(stranger.report(), stranger.vek(), stranger.signer())
    assert outcomes(proof)["chain"] == "failed"
    assert outcomes(proof)["signature"] == "passed"
    assert proof.root is None
    assert not proof.genuine


def test_a_root_of_another_vendor_vouches_for_nothing():
    intel = replace(MILAN.root(), vendor=INTEL)
    proof = MILAN.judge(MILAN.report(), MILAN.vek(), MILAN.signer(), roots=[intel])
    assert not proof.genuine
    assert proof.root is None


def test_a_missing_ask_is_no_forgery():
    proof = MILAN.judge(MILAN.report(), MILAN.vek())
    assert outcomes(proof)["chain"] == "not_possible"
    assert codes(proof, StepName.CHAIN) == {"chain_incomplete"}
    assert "vcek/v1/Milan/cert_chain" in proof.steps[1].reasons[0].remedy


def test_a_leaf_that_the_root_signed_itself_is_no_chain_of_amds():
    leaf = MILAN.vek(issuer="Tests ARK-Milan")
    proof = MILAN.judge(MILAN.report(), leaf)
    assert not proof.genuine


def test_an_asvk_cannot_issue_a_vcek():
    leaf = MILAN.vek(issuer=MILAN.signer_name("VLEK"))
    proof = MILAN.judge(MILAN.report(), leaf, MILAN.signer("VLEK"))
    assert not proof.genuine


def test_an_ask_that_an_asvk_issued_makes_no_chain_of_amds():
    name = MILAN.signer_name("VCEK")
    rogue = MILAN.certify(name, MILAN.signer_name("VLEK"), MILAN.key_of_signer("VCEK").public_key(), serial=66, ca=True)
    proof = MILAN.judge(MILAN.report(), MILAN.vek(), rogue, MILAN.signer("VLEK"))
    assert codes(proof, StepName.CHAIN) == {"chain_wrong_shape"}
    assert not proof.genuine


def test_a_signer_that_is_no_ca_is_refused():
    proof = MILAN.judge(MILAN.report(), MILAN.vek(), MILAN.signer(ca=False))
    assert not proof.genuine


def test_a_weaker_signature_than_amds_is_refused():
    assert not MILAN.judge(MILAN.report(), MILAN.vek(salt=20), MILAN.signer()).genuine


def test_a_critical_extension_that_nobody_knows_is_refused():
    assert not MILAN.judge(MILAN.report(), MILAN.vek(critical=True), MILAN.signer()).genuine


@pytest.mark.parametrize(
    ("start", "end", "code"),
    [(MADE, NOW - DAY, "certificate_expired"), (NOW + DAY, NOW + 9 * DAY, "certificate_not_yet_valid")],
)
def test_a_certificate_is_believed_only_while_it_is_valid(start, end, code):
    proof = MILAN.judge(MILAN.report(), MILAN.vek(start=start, end=end), MILAN.signer())
    assert outcomes(proof)["chain"] == "failed"
    assert codes(proof, StepName.CHAIN) == {code}


# -- revocation


@pytest.mark.parametrize(("listed", "outcome"), [(4711, "passed"), (65537, "failed")])
def test_a_list_with_entries_of_a_form_not_read_here_revokes_what_it_may_and_stops_nothing(
    listed: int, outcome: str
) -> None:
    """AMD may say more of a certificate one day than fits in a short entry: no report is to become a dead letter."""
    documents = [MILAN.crl(listed, remark=bytes(200))]
    proof = MILAN.judge(MILAN.report(), MILAN.vek(), MILAN.signer(serial=65537), documents=documents)
    assert outcomes(proof)["revocation"] == outcome


def test_a_revoked_ask_fails_whatever_it_issued():
    proof = MILAN.judge(MILAN.report(), MILAN.vek(), MILAN.signer(serial=65537), documents=[MILAN.crl(65537)])
    assert outcomes(proof)["revocation"] == "failed"
    assert codes(proof, StepName.REVOCATION) == {"certificate_revoked"}


def test_a_vlek_that_its_asvk_revoked_fails():
    raw = MILAN.report(kind="VLEK", chip_id=bytes(64))
    theirs = MILAN.crl(77, issuer=MILAN.signer_name("VLEK"))
    documents = [MILAN.crl(), theirs]
    assert MILAN.judge(raw, MILAN.vek("VLEK"), MILAN.signer("VLEK"), documents=documents).genuine
    proof = MILAN.judge(raw, MILAN.vek("VLEK", serial=77), MILAN.signer("VLEK"), documents=documents)
    assert codes(proof, StepName.REVOCATION) == {"certificate_revoked"}


def test_a_list_in_the_name_of_an_asvk_that_did_not_sign_it_revokes_nothing():
    raw = MILAN.report(kind="VLEK", chip_id=bytes(64))
    forged = World("Milan", "stranger").crl(7, issuer=MILAN.signer_name("VLEK"))
    proof = MILAN.judge(raw, MILAN.vek("VLEK"), MILAN.signer("VLEK"), documents=[MILAN.crl(), forged])
    assert outcomes(proof)["revocation"] == "passed"


def test_without_a_list_revocation_is_not_possible():
    proof = MILAN.judge(MILAN.report(), MILAN.vek(), MILAN.signer())
    assert outcomes(proof)["revocation"] == "not_possible"
    assert codes(proof, StepName.REVOCATION) == {"no_crl"}
    assert proof.genuine


def test_an_expired_list_proves_no_absence_but_still_revokes():
    old = {"start": NOW - 40 * DAY, "end": NOW - 2 * DAY}
    proof = MILAN.judge(MILAN.report(), MILAN.vek(), MILAN.signer(), documents=[MILAN.crl(**old)])
    assert (outcomes(proof)["revocation"], outcomes(proof)["collateral"]) == ("not_possible", "failed")
    assert codes(proof, StepName.REVOCATION) == codes(proof, StepName.COLLATERAL) == {"crl_expired"}
    revoked = MILAN.judge(MILAN.report(), MILAN.vek(), MILAN.signer(), documents=[MILAN.crl(65537, **old)])
    assert outcomes(revoked)["revocation"] == "failed"


def test_a_strangers_list_neither_revokes_nor_clears():
    stranger = World("Milan", "stranger")
    proof = MILAN.judge(MILAN.report(), MILAN.vek(), MILAN.signer(), documents=[stranger.crl(65537)])
    assert outcomes(proof)["revocation"] == "not_possible"
    assert "crl_signature_invalid" in codes(proof, StepName.REVOCATION)


def test_a_list_with_a_critical_extension_is_not_used():
    proof = MILAN.judge(MILAN.report(), MILAN.vek(), MILAN.signer(), documents=[MILAN.crl(critical=True)])
    assert outcomes(proof)["revocation"] == "not_possible"


def test_it_is_trusted_no_longer_than_all_it_rests_on():
    proof = MILAN.judge(MILAN.report(), MILAN.vek(), MILAN.signer(), documents=[MILAN.crl(end=NOW + 3 * DAY)])
    assert proof.valid_until == NOW + 3 * DAY


# -- freshness


@pytest.mark.parametrize("how", [None, "sha256", "sha384", "sha512"])
def test_report_data_may_hold_the_challenge_or_its_hash(how):
    challenge = b"c" * 32
    data = (hashlib.new(how, challenge).digest() if how else challenge).ljust(64, b"\0")
    proof = MILAN.judge(MILAN.report(report_data=data), MILAN.vek(), MILAN.signer(), challenge=challenge)
    assert outcomes(proof)["freshness"] == "passed"
    assert proof.genuine


@pytest.mark.parametrize("data", [bytes(64), b"c" * 33 + bytes(31), b"\0" + b"c" * 32 + bytes(31)])
def test_report_data_made_for_something_else_is_not_fresh(data):
    proof = MILAN.judge(MILAN.report(report_data=data), MILAN.vek(), MILAN.signer(), challenge=b"c" * 32)
    assert outcomes(proof)["freshness"] == "failed"
    assert codes(proof, StepName.FRESHNESS) == {"challenge_mismatch"}


def test_an_empty_challenge_proves_nothing():
    proof = MILAN.judge(MILAN.report(), MILAN.vek(), MILAN.signer(), challenge=b"")
    assert outcomes(proof)["freshness"] == "not_possible"


# -- the shape


@pytest.mark.parametrize(("version", "outcome"), [(0, "failed"), (1, "failed"), (6, "not_possible"), (9999, "failed")])
def test_a_version_that_is_not_known_is_said_and_nothing_is_claimed(version, outcome):
    proof = MILAN.judge(MILAN.report(version), MILAN.vek(), MILAN.signer())
    assert codes(proof, StepName.PARSE) == {"unsupported_version"}
    assert proof.claims is None
    assert outcomes(proof)["parse"] == outcome
    assert [step.name for step in proof.steps] == list(StepName)


def test_a_product_line_that_is_not_known_is_said_and_is_no_forgery():
    proof = MILAN.judge(MILAN.report(cpuid=(0x1A, 0x50, 0)))
    assert outcomes(proof)["parse"] == "not_possible"
    assert codes(proof, StepName.PARSE) == {"unknown_product"}
    assert claims_of(proof).family == "snp/unknown"
    assert claims_of(proof).tcb == {}


@pytest.mark.parametrize(
    ("family", "model", "line"),
    [
        (0x19, 0x01, "Milan"),
        (0x19, 0x11, "Genoa"),
        (0x19, 0xA0, "Genoa"),  # Bergamo, Siena
        (0x1A, 0x02, "Turin"),
        (0x1A, 0x11, "Turin"),  # Turin Dense
        (0x19, 0x21, None),
        (0x1A, 0x50, None),
        (0x17, 0x31, None),
    ],
)
def test_product_lines_by_cpuid(family, model, line):
    assert product_line(family, model) == line


@pytest.mark.parametrize(
    ("version", "offset", "content", "component"),
    [
        (5, 0x0A, b"\x01", "policy"),  # bit 17 clear
        (5, 0x0F, b"\x80", "policy"),
        (5, 0x49, b"\x01", "key_info"),
        (5, 0x48, b"\x08", "signing_key"),
        (5, 0x4C, b"\x01", "offset 0x4c"),
        (2, 0x188, b"\x19", "offset 0x188"),
        (5, 0x18B, b"\x01", "offset 0x18b"),
        (5, 0x1EB, b"\x01", "offset 0x1eb"),
        (5, 0x1EF, b"\x01", "offset 0x1ef"),
        (4, 0x1F8, b"\x01", "offset 0x1f8"),
        (5, 0x29F, b"\x01", "offset 0x208"),
        (5, 0x34, b"\x02", "signature_algo"),
    ],
)
def test_reserved_fields_must_be_as_specified(version, offset, content, component):
    raw = MILAN.report(version, patches=[(offset, content)])
    proof = MILAN.judge(raw, MILAN.vek(), MILAN.signer())
    assert outcomes(proof)["parse"] == "failed"
    assert component in {reason.component for reason in proof.steps[0].reasons}
    assert outcomes(proof)["signature"] == "passed"
    assert not proof.genuine


def test_new_platform_bits_are_no_fault():
    raw = MILAN.report(patches=[(0x40, b"\xff\xff")])
    assert MILAN.judge(raw, MILAN.vek(), MILAN.signer()).genuine


@pytest.mark.parametrize("key_info", [7 << 2, 2])
def test_a_report_that_the_firmware_was_told_not_to_sign_is_not_called_forged(key_info):
    raw = MILAN.report(patches=[(0x48, bytes([key_info]))], signed=False)
    proof = MILAN.judge(raw, MILAN.vek(), MILAN.signer())
    assert outcomes(proof)["signature"] == "not_possible"
    assert codes(proof, StepName.SIGNATURE) == {"not_signed"}
    assert not proof.genuine


def test_a_signature_of_zeros_is_forged_where_the_report_says_it_is_signed():
    proof = MILAN.judge(MILAN.report(signed=False), MILAN.vek(), MILAN.signer())
    assert outcomes(proof)["signature"] == "failed"


@PRODUCTS
@pytest.mark.parametrize("version", [2, 3, 5])
def test_fields_show_where_each_claim_lies(world, version):
    raw = world.report(version)
    shown = fields(Evidence(raw))
    ends = 0
    for one in shown:
        assert one.offset >= ends
        ends = one.offset + one.length
    assert ends <= SIZE
    by_name = {one.name: one for one in shown}
    place = by_name["measurement"]
    assert raw[place.offset : place.offset + place.length].hex() == place.value
    assert by_name["reported_tcb"].value["snp"] == world.levels["snp"] or version == 2
    assert ("cpuid_family" in by_name) == (version >= 3)
    assert ("current_mit_vector" in by_name) == (version >= 5)
    assert fields(Evidence(raw[:-1], Format("snp-report"))) == ()


# -- what repeats, and what an attacker sends


def test_what_is_remembered_changes_no_answer():
    world = MILAN
    collateral = world.collateral(world.crl())
    good = Evidence(world.report(), Format("snp-report"), (world.vek(), world.signer()))
    first = verify(good, collateral, NOW)
    assert verify(good, collateral, NOW) == first == verify(good, world.collateral(world.crl()), NOW)
    late = verify(good, collateral, MADE + 3000 * DAY)
    assert codes(late, StepName.CHAIN) == {"certificate_expired"}
    forged = Evidence(bytes([*good.raw[:-1], 1]), Format("snp-report"), good.endorsements)
    assert not verify(forged, collateral, NOW).genuine


def test_refused_certificates_are_not_remembered_as_a_machines_own():
    stranger = World("Milan", "stranger")
    collateral = MILAN.collateral()
    for serial in range(2, 8):
        endorsements = (stranger.vek(serial=serial), stranger.signer())
        assert not verify(Evidence(stranger.report(), None, endorsements), collateral, NOW).genuine
    assert not any(isinstance(key, tuple) and str(key[0]).startswith("snp.") for key in collateral.memo)


def test_what_is_put_beside_a_report_cannot_fill_the_memory():
    """Everybody has the certificates of somebody's machine, and may put anything beside them."""
    collateral = MILAN.collateral()
    real, padding = MILAN.report(), b"-" * snp.MAX_KEPT
    unsigned = real[:0x50] + b"another" + real[0x57:]
    for n in range(3):
        beside = (MILAN.vek(), MILAN.signer(), bytes([n]))
        assert not verify(Evidence(unsigned, None, beside), collateral, NOW).genuine
        assert verify(Evidence(real, None, (*beside, padding)), collateral, NOW).genuine
        assert verify(Evidence(real + bytes([n]) + padding, None, beside), collateral, NOW).genuine
    kept = [key for key in collateral.memo if isinstance(key, tuple) and key[0] == "snp.endorsed"]
    assert kept == []
    assert verify(Evidence(real, None, (MILAN.vek(), MILAN.signer())), collateral, NOW).genuine
    assert any(isinstance(key, tuple) and key[0] == "snp.endorsed" for key in collateral.memo)


HONEST = MILAN.report(report_data=b"c" * 64)
BESIDE = (MILAN.vek(), MILAN.signer())
KNOWN = MILAN.collateral(MILAN.crl())
TRUTH = claims_of(verify(Evidence(HONEST, Format("snp-report"), BESIDE), KNOWN, NOW))


@slow
@given(st.integers(0, SIGNED - 1), st.integers(1, 255))
@example(0x08, 1)
@example(0x180, 1)
@example(0x48, 7 << 2)
@example(SIGNED - 1, 0x80)
def test_any_change_in_the_signed_range_is_refused(offset, flip):
    raw = bytearray(HONEST)
    raw[offset] ^= flip
    proof = verify(Evidence(bytes(raw), Format("snp-report"), BESIDE), KNOWN, NOW)
    assert not proof.genuine
    assert [step.name for step in proof.steps] == list(StepName)


@slow
@given(st.integers(SIGNED, SIZE - 1), st.integers(1, 255))
@example(SIGNED + 48, 1)
@example(SIZE - 1, 1)
def test_a_change_outside_it_leaves_the_claims_as_they_are(offset, flip):
    raw = bytearray(HONEST)
    raw[offset] ^= flip
    proof = verify(Evidence(bytes(raw), Format("snp-report"), BESIDE), KNOWN, NOW)
    assert not proof.genuine  # the signature and its padding are checked too
    assert plain(proof.claims) == plain(TRUTH)


@slow
@given(st.binary(max_size=600))
def test_bytes_behind_the_report_change_nothing(tail):
    proof = verify(Evidence(HONEST + tail, Format("snp-report"), BESIDE), KNOWN, NOW)
    assert proof.genuine
    assert plain(proof.claims) == plain(TRUTH)


def plain(claims: Claims | None) -> Claims | None:
    """The claims without the record of the bytes, which has the signature in it."""
    return replace(claims, native=None) if claims is not None else None


@slow
@given(st.binary(max_size=1400), st.lists(st.binary(max_size=200), max_size=3))
def test_random_bytes_never_raise(raw, beside):
    proof = verify(Evidence(raw, Format("snp-report"), tuple(beside)), KNOWN, NOW)
    assert not proof.genuine
    assert [step.name for step in proof.steps] == list(StepName)
    fields(Evidence(raw, Format("snp-report")))


@slow
@given(st.integers(0, SIZE - 1))
def test_a_truncated_report_is_said_to_be_so(size):
    proof = verify(Evidence(HONEST[:size], Format("snp-report"), BESIDE), KNOWN, NOW)
    assert codes(proof, StepName.PARSE) == {"truncated"}


def test_an_oversized_one_is_not_read():
    proof = verify(Evidence(HONEST + bytes(MAX_EVIDENCE), Format("snp-report"), BESIDE), KNOWN, NOW)
    assert not proof.genuine
    assert proof.claims is None


@slow
@given(st.data())
def test_mutated_certificates_never_raise_and_never_vouch(data):
    leaf = bytearray(BESIDE[0])
    for _ in range(data.draw(st.integers(1, 4))):
        leaf[data.draw(st.integers(0, len(leaf) - 1))] ^= data.draw(st.integers(1, 255))
    fresh = Collateral(KNOWN.roots, KNOWN.all())
    proof = verify(Evidence(HONEST, Format("snp-report"), (bytes(leaf), BESIDE[1])), fresh, NOW)
    assert not proof.genuine or bytes(leaf) == BESIDE[0]


@slow
@given(st.binary(max_size=300), st.integers(0, 5))
def test_hostile_certificate_tables_never_raise(noise, entries):
    made = bytearray(table(*[b"x" * 40] * entries) + noise)
    for i, byte in enumerate(noise[:24]):
        made[(i * 7) % len(made)] = byte
    assert all(len(entry) <= endorsement.MAX_ENTRY for entry in endorsement.certificate_table(bytes(made)))


def test_the_native_record_is_the_reports_own():
    native = claims_of(MILAN.judge(MILAN.report(), MILAN.vek())).native
    assert isinstance(native, SnpReport)
    assert native.current_firmware == native.committed_firmware == "1.55.29"
