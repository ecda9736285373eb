"""Every claim begins at 0 and rises by checks: what is forgotten of a format or left out of a proof affirms nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_appraise import AT, MILAN, OURS, POLICY, SNP, TDX, proof, status

from ratchet.evidence import Claims, Outcome, StepName, TcbStatus
from ratchet.policy import appraise as appraise_module
from ratchet.policy.appraise import CONFIGURATION, EXECUTABLES, HARDWARE, IDENTITY, appraise
from ratchet.policy.finding import CLAIMS
from ratchet.policy.floor import open_floor
from ratchet.policy.policy import NAMEABLE
from ratchet.policy.reference import Executables
from ratchet.standing import Tier


@pytest.mark.parametrize("base", [SNP, TDX])
@pytest.mark.parametrize("floors", [{}, {"newtee/1": replace(MILAN, family="newtee/1")}, {"newtee/1": None}])
def test_a_tee_that_nothing_judges_is_not_affirmed_whatever_the_policy_excuses(
    base: Any, floors: dict[str, Any]
) -> None:
    claims = replace(base, tee="newtee", family="newtee/1")
    bound = {family: floor or open_floor("tdx/1", "anything") for family, floor in floors.items()}
    policy = replace(POLICY.with_floors(bound), may_be_impossible=NAMEABLE)
    verdict = appraise(proof(claims, status("UpToDate")), policy, AT, OURS)
    assert verdict.tier is Tier.NONE
    assert (verdict.vector[HARDWARE], verdict.vector[CONFIGURATION]) == (0, 0)
    assert "tee" in verdict.barred
    assert [r.got for r in verdict.reasons if r.code == "tee_not_judged"] == ["newtee"]


def test_debug_of_such_a_tee_is_still_contraindicated() -> None:
    claims = replace(SNP, tee="newtee", debug=True)
    assert appraise(proof(claims), POLICY, AT, OURS).tier is Tier.CONTRAINDICATED


@pytest.mark.parametrize("missing", StepName)
@pytest.mark.parametrize(("claims", "tcb"), [(SNP, None), (TDX, status("UpToDate"))], ids=["snp", "tdx"])
def test_a_step_that_a_format_leaves_out_was_not_taken(
    claims: Claims, tcb: TcbStatus | None, missing: StepName
) -> None:
    whole = proof(claims, tcb)
    assert appraise(whole, POLICY, AT, OURS).tier is Tier.AFFIRMING
    less = replace(whole, steps=tuple(step for step in whole.steps if step.name is not missing))
    verdict = appraise(less, POLICY, AT, OURS)
    assert verdict.tier is Tier.NONE
    assert any(missing.value in one for one in verdict.barred)
    rests = {StepName.REVOCATION: HARDWARE, StepName.COLLATERAL: HARDWARE, StepName.FRESHNESS: IDENTITY}
    nothing = {claim for claim, value in verdict.vector.items() if value == 0}
    assert nothing >= ({rests[missing]} if missing in rests else set(CLAIMS))


@pytest.mark.parametrize("twice", [StepName.REVOCATION, StepName.FRESHNESS])
def test_a_step_that_is_there_twice_is_not_counted_for_another(twice: StepName) -> None:
    whole = proof(TDX, status("UpToDate"))
    again = next(step for step in whole.steps if step.name is twice)
    kept = tuple(s for s in whole.steps if s.name is not StepName.COLLATERAL)
    assert appraise(replace(whole, steps=(*kept, again)), POLICY, AT, OURS).tier is not Tier.AFFIRMING


def test_a_step_that_is_there_twice_has_passed_where_both_have() -> None:
    whole = proof(TDX, status("UpToDate"))
    bad = replace(whole.steps[list(StepName).index(StepName.SIGNATURE)], outcome=Outcome.NOT_POSSIBLE)
    assert appraise(replace(whole, steps=(*whole.steps, bad)), POLICY, AT, OURS).tier is not Tier.AFFIRMING


@pytest.mark.parametrize(
    ("check", "claim"),
    [("_identity", IDENTITY), ("hardware", HARDWARE), ("_configuration", CONFIGURATION), ("_executables", EXECUTABLES)],
)
def test_a_check_that_is_not_made_raises_nothing(monkeypatch: pytest.MonkeyPatch, check: str, claim: str) -> None:
    monkeypatch.setattr(appraise_module, check, lambda *_: Executables(0, None, ()))
    verdict = appraise(proof(SNP), POLICY, AT, OURS)
    assert verdict.vector[claim] == 0
    assert verdict.tier is not Tier.AFFIRMING
