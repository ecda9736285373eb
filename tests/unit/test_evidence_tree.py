"""Evidence that carries other evidence: the whole is as good as the worst of its parts and of what joins them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from test_appraise import AT, OURS, POLICY, SNP, TDX, proof, status

from ratchet.event import BlobId
from ratchet.evidence import Format, Outcome, Proof, Step, StepName
from ratchet.evidence.proof import Part
from ratchet.evidence.tree import joined
from ratchet.policy.appraise import appraise
from ratchet.reason import Reason
from ratchet.standing import Tier

WHOLE = BlobId("e" * 64)
BOUND = Step(StepName.BINDING, Outcome.PASSED, "report data holds the hash of the run-time data", "a specification")


def step(name: StepName, outcome: Outcome = Outcome.PASSED) -> Step:
    reasons = () if outcome is Outcome.PASSED else (Reason("unparsed", "quote", [1], None, "a specification"),)
    return Step(name, outcome, f"quote: {name.value}", "a specification", reasons)


OWN = [step(name) for name in (StepName.PARSE, StepName.SIGNATURE, StepName.FRESHNESS)]


def whole(own: list[Step] = OWN, part: Proof | None = None, binding: Step = BOUND) -> Proof:
    return joined(WHOLE, Format("test"), own, [Part("report", part or proof(SNP), binding)], SNP)


def test_it_is_genuine_where_the_whole_the_part_and_what_joins_them_are() -> None:
    assert whole().genuine
    assert [one.name for one in whole().steps] == list(StepName)
    assert whole().outcome(StepName.FRESHNESS) is Outcome.PASSED
    assert appraise(whole(), POLICY, AT, OURS).tier is Tier.AFFIRMING


@pytest.mark.parametrize("bad", [Outcome.FAILED, Outcome.NOT_POSSIBLE])
@pytest.mark.parametrize("name", [StepName.PARSE, StepName.CHAIN, StepName.SIGNATURE, StepName.BINDING])
def test_one_bad_step_of_the_part_is_enough(name: StepName, bad: Outcome) -> None:
    found = whole(part=proof(SNP, **{name.value: bad}))
    assert (found.outcome(name), found.genuine) == (bad, False)
    assert appraise(found, POLICY, AT, OURS).tier is not Tier.AFFIRMING


@pytest.mark.parametrize("bad", [Outcome.FAILED, Outcome.NOT_POSSIBLE])
def test_one_bad_step_of_its_own_is_enough(bad: Outcome) -> None:
    for name in (StepName.PARSE, StepName.SIGNATURE, StepName.FRESHNESS):
        found = whole(own=[step(one.name, bad) if one.name is name else one for one in OWN])
        assert found.outcome(name) is bad
        assert appraise(found, POLICY, AT, OURS).tier is not Tier.AFFIRMING


@pytest.mark.parametrize("missing", [StepName.PARSE, StepName.CHAIN, StepName.SIGNATURE, StepName.REVOCATION])
def test_a_step_that_a_part_leaves_out_was_not_taken(missing: StepName) -> None:
    less = replace(proof(SNP), steps=tuple(one for one in proof(SNP).steps if one.name is not missing))
    found = whole(part=less)
    assert found.outcome(missing) is Outcome.NOT_POSSIBLE
    assert appraise(found, POLICY, AT, OURS).tier is not Tier.AFFIRMING


def test_two_parts_with_a_status_need_a_rule_that_merges_them() -> None:
    intel = proof(TDX, status("UpToDate"))
    with pytest.raises(ValueError, match="how they are merged"):
        joined(WHOLE, Format("test"), OWN, [Part("one", intel, BOUND), Part("two", intel, BOUND)], TDX)


@pytest.mark.parametrize("bad", [Outcome.FAILED, Outcome.NOT_POSSIBLE])
def test_parts_that_are_not_joined_prove_nothing(bad: Outcome) -> None:
    found = whole(binding=replace(BOUND, outcome=bad, detail="report data holds another hash"))
    assert (found.outcome(StepName.BINDING), found.genuine) == (bad, False)


def test_what_a_part_was_made_for_is_nobodys_challenge() -> None:
    """Its report data hold what joins it to the whole: only the whole answers a challenge."""
    stale = proof(SNP, freshness=Outcome.FAILED)
    assert whole(part=stale).outcome(StepName.FRESHNESS) is Outcome.PASSED
    asked_of_none = [one for one in OWN if one.name is not StepName.FRESHNESS]
    assert whole(own=asked_of_none).outcome(StepName.FRESHNESS) is Outcome.NOT_POSSIBLE


def test_what_it_rests_on_is_what_all_of_it_rests_on() -> None:
    part = replace(proof(SNP), collateral=(BlobId("b" * 64),), valid_until=AT + timedelta(hours=2))
    later, sooner = AT + timedelta(hours=3), AT + timedelta(hours=1)
    for end, wanted in ((later, AT + timedelta(hours=2)), (sooner, sooner), (None, AT + timedelta(hours=2))):
        found = joined(WHOLE, Format("test"), OWN, [Part("report", part, BOUND)], SNP, valid_until=end)
        assert (found.valid_until, found.collateral) == (wanted, ("b" * 64,))


def test_it_survives_being_data() -> None:
    data = json.loads(json.dumps(whole().to_data()))
    assert Proof.from_data(data).to_data() == data
    assert data["parts"][0]["name"] == "report"
    assert data["parts"][0]["proof"]["claims"]["tee"] == SNP.tee
