"""What a policy makes of a proof: the vector, the tier, every reason, and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.collateral.tcb import ModuleLevel, TcbLevel, converge
from ratchet.event import BlobId, canonical
from ratchet.evidence import Claims, Format, Outcome, Proof, Step, StepName, TcbStatus
from ratchet.policy.appraise import (
    CONFIGURATION,
    EAR_PROFILE,
    EXECUTABLES,
    HARDWARE,
    IDENTITY,
    NAMEABLE,
    Circumstances,
    Policy,
    Recognition,
    Verdict,
)
from ratchet.policy.appraise import appraise as core
from ratchet.policy.enrolment import Rules
from ratchet.policy.floor import AmdFloor, IntelFloor, Minimum, open_floor
from ratchet.policy.floor.provenance import Provenance
from ratchet.policy.reference import ReferenceSet
from ratchet.reason import Reason
from ratchet.standing import Tier

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
MEASURED = "ab" * 48
REVIEWED = Provenance(documents=(BlobId("e" * 64),), pointer="/floors/0", rule="amd.reviewed/1", reviewed_by="Ada")
MILAN = AmdFloor(family="snp/Milan", minima=(Minimum(tcb={"reported.snp": 24}),), provenance=REVIEWED)
REGISTERS = {"mrtd": MEASURED, **{f"rtmr{n}": f"{n}{n}" * 48 for n in range(4)}}
IMAGES: Mapping[str, Mapping[str, str]] = {"snp": {"measurement": MEASURED}, "tdx": REGISTERS}
"""What a release measures, by tee."""


def known(tee: str, state: str = "known", name: str = "release", **changed: Any) -> ReferenceSet:
    """Reference values of that release; `changed` conditions take the place of its own, None leaves one out."""
    asked = {claim: value for claim, value in {**IMAGES[tee], **changed}.items() if value is not None}
    data = {"tee": tee, "state": state, "conditions": asked, "by": "ann", "source": "a build"}
    return ReferenceSet.from_data(f"{name}-{tee}", data)


KNOWN = (known("snp"), known("tdx"))
POLICY = Policy(reference_values=KNOWN, floors={"snp/Milan": MILAN}, enrolment=Rules(required=True))
OURS = Circumstances(received=AT, recognition=Recognition.OURS)


def appraise(proof: Proof, policy: Policy, at: datetime, circumstances: Circumstances = OURS) -> Verdict:
    """As the core does, of a machine that is ours unless something else is said."""
    return core(proof, policy, at, circumstances)


def steps(**outcomes: Outcome) -> tuple[Step, ...]:
    """Every step passed, but for these; a step that did not pass has a reason of its own."""
    found = []
    for name in StepName:
        outcome = outcomes.get(name.value, Outcome.PASSED)
        why = () if outcome is Outcome.PASSED else (Reason(f"{name.value}_why", name.value, None, "", "spec"),)
        found.append(Step(name, outcome, "", "spec", why))
    return tuple(found)


SNP_TCB = {f"{of}.{name}": value for of in ("reported", "committed", "current", "launch") for name, value in
           {"bl": 4, "tee": 0, "snp": 24, "ucode": 219}.items()}  # fmt: skip

SNP = Claims(
    format=Format("snp-report"),
    tee="snp",
    family="snp/Milan",
    platform="chip:" + "11" * 64,
    instance="22" * 32,
    measurement=MEASURED,
    signer=None,
    debug=False,
    report_data=bytes(64),
    tcb=SNP_TCB,
    bits={"policy.migrate_ma": False, "policy.smt": True, "vmpl": 0, "cpuid.model": 1, "cpuid.stepping": 1},
    native=None,
    measurements={"measurement": MEASURED},
)
TDX = replace(
    SNP,
    format=Format("tdx-quote"),
    tee="tdx",
    family="tdx/90c06f000000",
    platform="ppid:" + "33" * 16,
    tcb={f"{kind}.{n}": 5 for kind in ("sgx", "tdx") for n in range(16)} | {"pcesvn": 13},
    bits={"attributes.sept_ve_disable": True, "attributes.migratable": False, "attributes.debug": False},
    measurements=REGISTERS,
)


def status(merged: str, *advisories: str, evaluation: int = 18) -> TcbStatus:
    return TcbStatus(merged, merged, "UpToDate", None, advisories, evaluation, AT, BlobId("d" * 64))


def proof(claims: Claims | None = SNP, tcb: TcbStatus | None = None, **outcomes: Outcome) -> Proof:
    return Proof(
        evidence=BlobId("a" * 64),
        format=claims.format if claims else None,
        steps=steps(**outcomes),
        claims=claims,
        tcb=tcb,
        valid_until=AT + timedelta(days=10),
    )


def tdx(merged: str = "UpToDate", *advisories: str, policy: Policy = POLICY) -> Verdict:
    return appraise(proof(TDX, status(merged, *advisories)), policy, AT)


def codes(verdict: Verdict) -> set[str]:
    return {r.code for r in verdict.reasons}


# Good


def test_a_genuine_current_known_machine_is_affirmed_for_as_long_as_the_policy_says() -> None:
    for verdict, executables in ((appraise(proof(), POLICY, AT), 3), (tdx(), 2)):
        assert verdict.vector == {IDENTITY: 2, CONFIGURATION: 2, EXECUTABLES: executables, HARDWARE: 2}
        assert verdict.tier is Tier.AFFIRMING
        assert verdict.reasons == ()
        assert verdict.trusted_until == AT + timedelta(seconds=POLICY.trusted_for)


def test_trust_ends_when_the_first_thing_it_rests_on_does() -> None:
    soon = replace(proof(), valid_until=AT + timedelta(hours=1))
    assert appraise(soon, POLICY, AT).trusted_until == AT + timedelta(hours=1)


def test_what_ends_in_the_instant_of_judging_is_not_trusted() -> None:
    verdict = appraise(replace(proof(), valid_until=AT), POLICY, AT)
    assert verdict.tier is Tier.NONE
    assert verdict.trusted_until is None
    assert "validity_over" in codes(verdict)


# Old is not forged, forged is not old


@pytest.mark.parametrize(
    ("merged", "hardware", "configuration", "code"),
    [
        ("SWHardeningNeeded", 32, 2, "tcb_sw_hardening_needed"),
        ("ConfigurationNeeded", 2, 32, "tcb_configuration_needed"),
        ("ConfigurationAndSWHardeningNeeded", 32, 32, "tcb_configuration_and_sw_hardening_needed"),
        ("OutOfDate", 32, 2, "tcb_out_of_date"),
        ("OutOfDateConfigurationNeeded", 32, 32, "tcb_out_of_date_configuration_needed"),
        ("TDRelaunchAdvised", 32, 2, "tcb_relaunch_advised"),
        ("TDRelaunchAdvisedConfigurationNeeded", 32, 32, "tcb_relaunch_advised_configuration_needed"),
        ("NoMatchingTcbLevel", 32, 2, "tcb_no_matching_level"),
        ("Revoked", 96, 2, "tcb_revoked"),
    ],
)
def test_each_tcb_status_has_its_place_in_the_vector(merged: str, hardware: int, configuration: int, code: str) -> None:
    verdict = tdx(merged)
    assert (verdict.vector[HARDWARE], verdict.vector[CONFIGURATION]) == (hardware, configuration)
    assert codes(verdict) == {code}
    assert verdict.tier is (Tier.CONTRAINDICATED if hardware == 96 else Tier.WARNING)


def test_an_old_machine_is_a_warning_and_nothing_in_it_says_forged() -> None:
    verdict = tdx("OutOfDate", "INTEL-SA-00837")
    assert 99 not in verdict.vector.values()
    assert verdict.tier is Tier.WARNING
    assert verdict.reasons[0].got == "OutOfDate (INTEL-SA-00837)"
    assert verdict.reasons[0].remedy


@pytest.mark.parametrize("step", ["chain", "signature", "binding"])
def test_a_forged_quote_is_contraindicated_and_nothing_in_it_says_old(step: str) -> None:
    # its claims say the oldest firmware there is, and debug: none of that is proven, so none of it is said
    claims = replace(SNP, debug=True, tcb=dict.fromkeys(SNP_TCB, 0))
    verdict = appraise(proof(claims, **{step: Outcome.FAILED}), POLICY, AT)
    assert verdict.vector == {IDENTITY: 99, HARDWARE: 99, CONFIGURATION: 0, EXECUTABLES: 0}
    assert verdict.tier is Tier.CONTRAINDICATED
    assert codes(verdict) == {f"{step}_why"}
    assert verdict.trusted_until is None


@pytest.mark.parametrize("step", ["chain", "signature"])
def test_what_could_not_be_checked_is_neither(step: str) -> None:
    verdict = appraise(proof(**{step: Outcome.NOT_POSSIBLE}), POLICY, AT)
    assert set(verdict.vector.values()) == {0}
    assert (verdict.tier, verdict.barred) == (Tier.NONE, (step,))


def test_bytes_that_are_no_evidence_accuse_no_hardware() -> None:
    unread = dict.fromkeys((n.value for n in StepName if n is not StepName.PARSE), Outcome.NOT_POSSIBLE)
    verdict = appraise(proof(None, parse=Outcome.FAILED, **unread), POLICY, AT)
    assert set(verdict.vector.values()) == {0}
    assert verdict.tier is Tier.NONE
    assert verdict.tee is None


def test_a_revoked_certificate_is_contraindicated_though_the_quote_is_signed_well() -> None:
    verdict = appraise(proof(revocation=Outcome.FAILED), POLICY, AT)
    assert verdict.vector[HARDWARE] == 96
    assert verdict.tier is Tier.CONTRAINDICATED


# Not possible


@pytest.mark.parametrize("step", ["revocation", "collateral", "freshness"])
def test_a_step_that_was_not_possible_bars_affirming_unless_the_policy_names_it(step: str) -> None:
    seen = proof(**{step: Outcome.NOT_POSSIBLE})
    strict = appraise(seen, POLICY, AT)
    assert (strict.tier, strict.barred) == (Tier.NONE, (step,))
    named = appraise(seen, replace(POLICY, may_be_impossible=(step,)), AT)
    assert named.tier is Tier.AFFIRMING
    assert named.vector[HARDWARE] == named.vector[IDENTITY] == 2, "what was checked beside it stands"
    assert f"{step}_why" in codes(named), "excused, and still said"


@pytest.mark.parametrize("step", ["collateral", "freshness"])
def test_naming_a_step_excuses_its_absence_not_its_failure(step: str) -> None:
    policy = replace(POLICY, may_be_impossible=("collateral", "freshness", "revocation"))
    verdict = appraise(proof(**{step: Outcome.FAILED}), policy, AT)
    assert verdict.tier is Tier.NONE


@pytest.mark.parametrize("step", ["parse", "chain", "signature", "binding", "anything"])
def test_what_makes_evidence_genuine_cannot_be_excused(step: str) -> None:
    with pytest.raises(ValueError, match=step):
        Policy(may_be_impossible=(step,))


def test_without_tcb_info_an_intel_machine_is_not_judged() -> None:
    verdict = appraise(proof(TDX, None), POLICY, AT)
    assert verdict.vector[HARDWARE] == 0
    assert verdict.tier is Tier.NONE
    assert "tcb_unknown" in codes(verdict)


def test_no_policy_takes_a_quote_whose_quoting_enclave_was_never_held_against_intels() -> None:
    lax = replace(POLICY, may_be_impossible=NAMEABLE)
    seen = proof(TDX, None, collateral=Outcome.NOT_POSSIBLE)
    verdict = appraise(seen, lax, AT)
    assert seen.genuine
    assert verdict.tier is Tier.NONE
    assert verdict.barred == ("tcb_status",)


def test_a_status_that_nobody_knows_yet_is_not_good() -> None:
    verdict = tdx("SomethingNew")
    assert verdict.tier is Tier.NONE
    assert codes(verdict) == {"tcb_status_unrecognised"}


# What a policy admits


def test_a_status_is_admitted_with_the_advisories_that_the_policy_names() -> None:
    policy = replace(POLICY, accept={"SWHardeningNeeded": ("INTEL-SA-00615",)})
    verdict = tdx("SWHardeningNeeded", "INTEL-SA-00615", policy=policy)
    assert verdict.tier is Tier.AFFIRMING
    assert codes(verdict) == {"tcb_status_admitted"}
    more = tdx("SWHardeningNeeded", "INTEL-SA-00615", "INTEL-SA-00828", policy=policy)
    assert more.vector[HARDWARE] == 32
    whatever = replace(POLICY, accept={"ConfigurationNeeded": ("*",)})
    assert tdx("ConfigurationNeeded", "INTEL-SA-1", policy=whatever).vector[CONFIGURATION] == 2


@pytest.mark.parametrize("never", ["Revoked", "NoMatchingTcbLevel"])
def test_no_policy_admits_a_revoked_tcb(never: str) -> None:
    with pytest.raises(ValueError, match=never):
        Policy(accept={never: ("*",)})


def test_an_evaluation_below_the_least_allowed_judges_nobody() -> None:
    verdict = tdx(policy=replace(POLICY, minimum_evaluation=19))
    assert verdict.tier is Tier.NONE
    assert [(r.code, r.got, r.want) for r in verdict.reasons] == [("evaluation_too_old", 18, 19)]


# Floors


def test_below_the_floor_is_a_warning_that_says_by_how_much() -> None:
    low = replace(SNP, tcb={**SNP_TCB, "reported.snp": 22})
    verdict = appraise(proof(low), POLICY, AT)
    assert verdict.vector[HARDWARE] == 32
    below = next(r for r in verdict.reasons if r.code == "below_floor")
    assert (below.component, below.got, below.want) == ("reported.snp", 22, 24)


def test_a_floor_that_abstains_bars_affirming_and_blames_nobody() -> None:
    floor = replace(MILAN, minima=(Minimum(model=1, stepping=1, tcb={"reported.ucode": 219}),))
    old_report = replace(SNP, bits={"policy.migrate_ma": False})
    verdict = appraise(proof(old_report), replace(POLICY, floors={"snp/Milan": floor}), AT)
    assert (verdict.tier, verdict.vector[HARDWARE]) == (Tier.NONE, 0)
    assert codes(verdict) == {"floor_abstains"}


def test_without_a_floor_nothing_judges_amd_firmware() -> None:
    for floors in ({}, {"snp/Milan": open_floor("snp/Milan", "no-floor-yet/1")}):
        policy = replace(POLICY, floors=floors)
        assert (appraise(proof(), policy, AT).tier, codes(appraise(proof(), policy, AT))) == (Tier.NONE, {"no_floor"})
        named = replace(policy, may_be_impossible=("floor",))
        assert appraise(proof(), named, AT).tier is Tier.AFFIRMING


def test_snp_versions_are_held_against_each_other_component_by_component() -> None:
    tcb = {**SNP_TCB, "current.snp": 27, "committed.snp": 26, "launch.snp": 23, "launch.ucode": 200}
    verdict = appraise(proof(replace(SNP, tcb=tcb)), POLICY, AT)
    assert verdict.tier is Tier.WARNING, "the guest's memory was prepared under firmware below the floor"
    assert {(r.code, r.component) for r in verdict.reasons} == {
        ("reported_below_current", "reported.snp"),
        ("current_not_committed", "committed.snp"),
        ("launched_on_older_tcb", "launch.snp"),
        ("launched_on_older_tcb", "launch.ucode"),
        ("launched_below_floor", "launch.snp"),
    }


@pytest.mark.parametrize(
    ("of", "code"), [("committed", "committed_below_floor"), ("launch", "launched_below_floor"), ("current", None)]
)
def test_firmware_that_can_come_back_and_that_prepared_the_guest_must_meet_the_floor_too(
    of: str, code: str | None
) -> None:
    seen = proof(replace(SNP, tcb={**SNP_TCB, f"{of}.snp": 23, "current.snp": 24 if of != "current" else 23}))
    verdict = appraise(seen, POLICY, AT)
    assert verdict.tier is Tier.WARNING
    assert code is None or code in codes(verdict)
    alone = appraise(seen, replace(POLICY, floor_of=("reported",)), AT)
    assert alone.tier is (Tier.WARNING if of == "current" else Tier.AFFIRMING), "the policy says which must meet it"


def test_no_policy_leaves_the_reported_version_out() -> None:
    with pytest.raises(ValueError, match="floor_of"):
        Policy(floor_of=("committed",))


def test_a_reported_version_above_the_current_one_is_a_warning() -> None:
    verdict = appraise(proof(replace(SNP, tcb={**SNP_TCB, "current.snp": 20})), POLICY, AT)
    assert verdict.vector[HARDWARE] == 32
    assert "tcb_inconsistent" in codes(verdict)


# Configuration


def test_debug_is_contraindicated_in_production_and_a_warning_elsewhere() -> None:
    seen = proof(replace(SNP, debug=True))
    assert appraise(seen, POLICY, AT).vector[CONFIGURATION] == 96
    lab = appraise(seen, replace(POLICY, production=False), AT)
    assert (lab.vector[CONFIGURATION], lab.tier) == (32, Tier.WARNING)


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        (replace(SNP, bits={**SNP.bits, "policy.migrate_ma": True}), "policy.migrate_ma"),
        (replace(TDX, bits={**TDX.bits, "attributes.sept_ve_disable": False}), "attributes.sept_ve_disable"),
        (replace(TDX, bits={**TDX.bits, "attributes.migratable": True}), "attributes.migratable"),
    ],
)
def test_bits_that_loosen_a_guest_are_a_warning(claims: Claims, name: str) -> None:
    verdict = appraise(proof(claims, status("UpToDate") if claims.tee == "tdx" else None), POLICY, AT)
    assert verdict.vector[CONFIGURATION] == 32
    assert [(r.code, r.component) for r in verdict.reasons] == [("requirement_not_met", name)]


def test_a_policy_may_ask_for_more_bits() -> None:
    more = {"snp": {"policy.smt": False, "vmpl": 0, "platform.alias_check": True}}
    verdict = appraise(proof(), Policy.from_data({**POLICY.to_data(), "require": more}), AT)
    assert {(r.code, r.component) for r in verdict.reasons} == {
        ("requirement_not_met", "policy.smt"),
        ("requirement_not_attested", "platform.alias_check"),
    }
    assert verdict.tier is Tier.WARNING


def test_what_only_some_formats_attest_can_be_required_of_those() -> None:
    mixed = {"snp": {"mitigation.current": {"mask": 2, "value": 2, "unattested": "admit"}}}
    policy = Policy.from_data({**POLICY.to_data(), "require": mixed})
    says = {has: replace(SNP, bits={**SNP.bits, "mitigation.current": has}) for has in (1, 2)}
    assert appraise(proof(SNP), policy, AT).tier is Tier.AFFIRMING, "an older report cannot say"
    assert appraise(proof(says[2]), policy, AT).tier is Tier.AFFIRMING
    assert appraise(proof(says[1]), policy, AT).tier is Tier.WARNING, "which is not the same as saying no"


def test_a_service_td_is_refused_unless_the_policy_names_it() -> None:
    bound = proof(replace(TDX, bits={**TDX.bits, "service_td": True}), status("UpToDate"))
    verdict = appraise(bound, POLICY, AT)
    assert verdict.tier is Tier.WARNING
    assert [(r.code, r.component) for r in verdict.reasons] == [("requirement_not_met", "service_td")]
    named = Policy.from_data({**POLICY.to_data(), "require": {"tdx": {"service_td": "any"}}})
    assert appraise(bound, named, AT).tier is Tier.AFFIRMING
    assert Policy.from_data(named.to_data()) == named


# Executables


@pytest.mark.parametrize(
    ("state", "value", "code"),
    [
        ("closing", 32, "measurement_closing"),
        (None, 33, "measurement_unknown"),
        ("contraindicated", 96, "measurement_contraindicated"),
    ],
)
def test_measurements_are_judged_by_reference_values(state: str | None, value: int, code: str) -> None:
    other = known("snp", name="other", measurement="00" * 48)
    values = (other, *([known("snp", state)] if state else []))
    verdict = appraise(proof(), replace(POLICY, reference_values=values), AT)
    assert verdict.vector[EXECUTABLES] == value
    assert code in codes(verdict)


def test_another_kernel_under_a_known_firmware_is_not_known() -> None:
    """MRTD is the firmware of a TD alone: who vouches for it vouches for no kernel."""
    another = proof(replace(TDX, measurements={**REGISTERS, "rtmr1": "ee" * 48}), status("UpToDate"))
    verdict = appraise(another, POLICY, AT)
    assert verdict.vector[EXECUTABLES] == 33
    assert ("measurement_differs", "rtmr1") in {(r.code, r.component) for r in verdict.reasons}
    firmware_alone = replace(
        POLICY, reference_values=(known("tdx", **dict.fromkeys(("rtmr0", "rtmr1", "rtmr2", "rtmr3"))),)
    )
    for seen in (another, proof(TDX, status("UpToDate"))):
        verdict = appraise(seen, firmware_alone, AT)
        assert (verdict.tier, verdict.vector[EXECUTABLES], verdict.barred) == (Tier.NONE, 0, ("executables",))
        assert {r.component for r in verdict.reasons if r.code == "measurement_left_open"} == {
            "rtmr0",
            "rtmr1",
            "rtmr2",
        }


def test_run_time_measurements_make_the_difference_between_2_and_3() -> None:
    boot = replace(POLICY, reference_values=(known("tdx", rtmr3=None),))
    verdict = tdx(policy=boot)
    assert (verdict.vector[EXECUTABLES], verdict.tier) == (3, Tier.AFFIRMING)
    assert verdict.reference == "release-tdx"
    assert tdx().vector[EXECUTABLES] == 2


def test_an_enclave_may_be_known_by_its_signer_product_and_least_version() -> None:
    measurements = {"mrenclave": "ab" * 32, "mrsigner": "cd" * 32}
    enclave = replace(
        TDX, tee="sgx", family="sgx/90c06f000000", measurements=measurements, bits={"isvprodid": 5, "isvsvn": 6}
    )
    asked = {"signer": {"signed_by": "cd" * 32}, "isvprodid": 5, "isvsvn": {"at_least": 6}}
    values = ReferenceSet.from_data("ours", {"tee": "sgx", "conditions": asked, "by": "ann", "source": "a build"})
    policy = replace(POLICY, reference_values=(values,))
    assert appraise(proof(enclave, status("UpToDate")), policy, AT).vector[EXECUTABLES] == 3
    for bits in ({"isvprodid": 5, "isvsvn": 5}, {"isvprodid": 4, "isvsvn": 6}):
        seen = proof(replace(enclave, bits=bits), status("UpToDate"))
        assert appraise(seen, policy, AT).vector[EXECUTABLES] == 33
    unsigned = replace(enclave, measurements={**measurements, "mrsigner": "00" * 32})
    assert appraise(proof(unsigned, status("UpToDate")), policy, AT).vector[EXECUTABLES] == 33


def test_a_signer_whose_every_product_would_do_names_no_enclave() -> None:
    measurements = {"mrenclave": "ab" * 32, "mrsigner": "cd" * 32}
    enclave = replace(
        TDX, tee="sgx", family="sgx/90c06f000000", measurements=measurements, bits={"isvprodid": 5, "isvsvn": 6}
    )
    asked = {"signer": {"signed_by": "cd" * 32}, "isvprodid": {"at_least": 1}, "isvsvn": {"at_least": 6}}
    values = ReferenceSet.from_data("ours", {"tee": "sgx", "conditions": asked, "by": "ann", "source": "a build"})
    verdict = appraise(proof(enclave, status("UpToDate")), replace(POLICY, reference_values=(values,)), AT)
    assert (verdict.vector[EXECUTABLES], verdict.tier, verdict.barred) == (0, Tier.NONE, ("executables",))


def test_reference_values_have_a_window() -> None:
    until = replace(known("snp"), until=AT)
    verdict = appraise(proof(), replace(POLICY, reference_values=(until,)), AT)
    assert (verdict.tier, verdict.barred) == (Tier.NONE, ("executables",))
    early = AT - timedelta(seconds=1)
    circumstances = replace(OURS, received=early)
    assert appraise(proof(), replace(POLICY, reference_values=(until,)), early, circumstances).tier is Tier.AFFIRMING


def test_trust_ends_with_the_window_that_it_rests_on() -> None:
    hour, day = timedelta(hours=1), timedelta(days=1)
    closing = replace(known("snp"), until=AT + hour)
    verdict = appraise(proof(), replace(POLICY, reference_values=(closing,)), AT)
    assert (verdict.tier, verdict.trusted_until, verdict.turns) == (Tier.AFFIRMING, AT + hour, AT + hour)
    # another set that knows it goes on: nothing ends
    both = (closing, replace(known("snp"), name="again"))
    verdict = appraise(proof(), replace(POLICY, reference_values=both), AT)
    assert verdict.trusted_until == appraise(proof(), POLICY, AT).trusted_until
    # one that names it as bad from a certain time on ends it then, and what is not met says nothing
    bad = replace(known("snp"), name="bad", state="contraindicated", since=AT + hour, until=AT + day)
    other = replace(known("snp", measurement="77" * 48), name="other", state="contraindicated", since=AT + hour / 2)
    policy = replace(POLICY, reference_values=(known("snp"), bad, other))
    assert appraise(proof(), policy, AT).trusted_until == AT + hour
    # what is unknown until a window opens is looked at again then
    later = replace(known("snp"), since=AT + hour)
    verdict = appraise(proof(), replace(POLICY, reference_values=(later,)), AT)
    assert (verdict.tier, verdict.trusted_until, verdict.turns) == (Tier.NONE, None, AT + hour)


def test_without_reference_values_executables_are_not_judged() -> None:
    policy = replace(POLICY, reference_values=())
    assert appraise(proof(), policy, AT).barred == ("executables",)
    assert appraise(proof(), replace(policy, may_be_impossible=("executables",)), AT).tier is Tier.AFFIRMING


# All of it at once


def test_no_reason_hides_another() -> None:
    bad = replace(
        SNP,
        debug=True,
        platform=None,
        measurement="cd" * 48,
        measurements={"measurement": "cd" * 48},
        tcb={**SNP_TCB, "reported.snp": 20},
        bits={"policy.migrate_ma": True},
    )
    verdict = appraise(proof(bad, freshness=Outcome.NOT_POSSIBLE, revocation=Outcome.NOT_POSSIBLE), POLICY, AT)
    assert codes(verdict) == {
        "freshness_why",
        "revocation_why",
        "identity_masked",
        "reported_below_current",
        "below_floor",
        "debug_enabled",
        "requirement_not_met",
        "measurement_unknown",
        "measurement_differs",
    }
    assert verdict.tier is Tier.CONTRAINDICATED
    assert set(verdict.barred) == {"freshness", "revocation", "identity"}


_OUTCOMES = st.fixed_dictionaries({name.value: st.sampled_from(list(Outcome)) for name in StepName})
_ORDER = [Tier.AFFIRMING, Tier.NONE, Tier.WARNING, Tier.CONTRAINDICATED]


@settings(max_examples=300, deadline=None)
@given(outcomes=_OUTCOMES, merged=st.sampled_from(["UpToDate", "OutOfDate", "Revoked", "?"]), debug=st.booleans())
def test_whatever_the_steps_say_only_whole_proof_is_affirmed(
    outcomes: dict[str, Outcome], merged: str, debug: bool
) -> None:
    seen = proof(replace(TDX, debug=debug), status(merged), **outcomes)
    strict = appraise(seen, POLICY, AT)
    whole = set(outcomes.values()) == {Outcome.PASSED}
    assert (strict.tier is Tier.AFFIRMING) == (whole and merged == "UpToDate" and not debug)
    if not seen.genuine:
        assert strict.tier is not Tier.AFFIRMING
    lax = appraise(seen, replace(POLICY, may_be_impossible=NAMEABLE), AT)
    assert lax.tier is not Tier.AFFIRMING or seen.genuine
    assert _ORDER.index(lax.tier) <= _ORDER.index(strict.tier)


def test_a_time_without_zone_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="time zone"):
        appraise(proof(), POLICY, datetime(2026, 3, 1))


# The attestation result


def test_the_ear_says_what_the_verdict_says() -> None:
    verdict = appraise(proof(replace(SNP, debug=True)), POLICY, AT)
    ear = verdict.ear(developer="https://example.org", build="1.0", nonce=bytes(range(64)))
    assert ear["eat_profile"] == EAR_PROFILE == "tag:ietf.org,2026:rats/ear#04"
    assert ear["iat"] == int(AT.timestamp())
    assert ear["ear_verifier_id"] == {"developer": "https://example.org", "build": "1.0"}
    submod = ear["submods"]["snp"]
    assert submod["ear_status"] == "contraindicated"
    assert submod["ear_trustworthiness_vector"] == {
        "configuration": 96,
        "executables": 3,
        "hardware": 2,
        "instance-identity": 2,
    }
    assert submod["ear_appraisal_policy_ids"] == [f"urn:ratchet:policy:{POLICY.hash}"]
    assert 8 <= len(ear["eat_nonce"]) <= 88
    canonical(ear)


# A policy as data


def test_a_policy_survives_being_data() -> None:
    policy = replace(
        POLICY, accept={"SWHardeningNeeded": ("INTEL-SA-00615",)}, may_be_impossible=("freshness",), production=False
    )
    again = Policy.from_data(policy.to_data())
    assert again == policy
    assert again.hash == policy.hash != POLICY.hash


def written(**changed: object) -> dict[str, object]:
    """Reference values as people write them."""
    return {"tee": "snp", "conditions": {"measurement": MEASURED}, "by": "ann", "source": "a build", **changed}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"acept": {}}, "acept"),
        ({"reference_values": {"web": {"tee": "snp", "conditions": {}}}}, "reference_values.web.by"),
        ({"reference_values": {"web": written(state="good")}}, "reference_values.web: state"),
        ({"reference_values": {"web": written(conditions={})}}, "reference_values.web: conditions"),
        ({"reference_values": {"web": written(conditions={"mrtd": "ab"})}}, "snp evidence makes no claim mrtd"),
        ({"reference_values": {"web": written(conditions={"measurment": "ab"})}}, "did you mean measurement"),
        ({"reference_values": {"web": written(conditions={"guest_svn": {"at_most": 2}})}}, "at_most"),
        ({"reference_values": {"web": written(conditions={"measurement": {"at_least": 2}})}}, "string of bytes"),
        ({"reference_values": {"web": written(conditions={"vmpl": {"mask": 1, "value": 2}})}}, "nothing could meet it"),
        ({"require": {"sev": {}}}, "require: 'sev'"),
        ({"require": {"snp": {"policy.smtt": False}}}, "require.snp.policy.smtt"),
        ({"require_bits": {"snp": {"policy.smt": False}}}, "require_bits"),
        ({"floor_of": ["launch"]}, "floor_of"),
        ({"trusted_for": 0}, "trusted_for"),
        ({"trusted_for": "a day"}, "trusted_for"),
        ({"accept": {"OutOfDate": "INTEL-SA-00615"}}, "accept.OutOfDate"),
        ({"reference_values": {"web": written(conditions={"measurement": "ABCD"})}}, "lower-case hex"),
        ({"floors": {"snp/Milan": {"kind": "amd"}}}, "floors"),
    ],
)
def test_a_bad_policy_is_refused_by_the_key(data: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Policy.from_data(data)


# What a store is asked


# With a floor and without

_STATUS = st.sampled_from(["UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "OutOfDate", "Revoked"])
_PART = st.sampled_from(["UpToDate", "OutOfDate", "Revoked"])
_ACCEPTABLE = ("SWHardeningNeeded", "ConfigurationNeeded", "OutOfDate", "OutOfDateConfigurationNeeded")
_ACCEPT = st.dictionaries(st.sampled_from(_ACCEPTABLE), st.sampled_from([("*",), ("SA-1",), ()]), max_size=4)


@given(platform=_STATUS, module=_PART, qe=_PART, named=st.sampled_from([(), ("SA-1",), ("SA-2",)]), accept=_ACCEPT)
def test_accept_means_the_same_whether_a_family_has_a_floor_or_none(
    platform: str, module: str, qe: str, named: tuple[str, ...], accept: dict[str, tuple[str, ...]]
) -> None:
    """Also of a floor that was made when something else was accepted."""
    claims = replace(TDX, tcb={**TDX.tcb, "tdx.0": 5, "tdx.1": 1})
    zeros = (0,) * 16
    level = TcbLevel(sgx=zeros, pcesvn=0, tdx=zeros, status=platform, date=AT, advisories=named)
    floor = IntelFloor(
        family=claims.family,
        tee="tdx",
        evaluation=18,
        accepted=("OutOfDate", "UpToDate"),
        conditional={"SWHardeningNeeded": ("SA-2",)},
        levels=(level,),
        modules={"TDX_01": (ModuleLevel(isvsvn=5, status=module, date=AT, advisories=()),)},
        provenance=Provenance(documents=(BlobId("d" * 64),), pointer="", rule="intel.tcb-info/1"),
    )
    merged = converge(platform, module, qe)
    tcb = TcbStatus(merged, platform, qe, module, named, 18, AT, BlobId("d" * 64))
    without = replace(POLICY, accept=accept, floors={})
    with_floor = without.with_floors({claims.family: floor})
    one, other = (appraise(proof(claims, tcb), policy, AT) for policy in (without, with_floor))
    assert one.tier is other.tier, (merged, codes(one), codes(other))
    assert one.barred == other.barred
