"""What is known of evidence beside its proof counts too: whose machine it is, who vouches for it, and when it came."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from test_appraise import AT, POLICY, codes, proof

from ratchet.evidence import Outcome
from ratchet.policy.appraise import IDENTITY, Circumstances, Recognition, appraise
from ratchet.policy.enrolment import Rules
from ratchet.standing import Tier

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("recognition", "code"),
    [
        (Recognition.WAITING, "machine_waits_for_enrolment"),
        (Recognition.STRANGER, "machine_not_enrolled"),
        (Recognition.MOVED, "machine_name_moved"),
    ],
)
def test_a_genuine_machine_that_is_not_ours_is_not_recognised(recognition: Recognition, code: str) -> None:
    verdict = appraise(proof(), POLICY, AT, Circumstances(received=AT, recognition=recognition))
    assert (verdict.tier, verdict.vector[IDENTITY]) == (Tier.CONTRAINDICATED, 97)
    assert code in codes(verdict)
    ours = appraise(proof(), POLICY, AT, Circumstances(received=AT, recognition=Recognition.OURS))
    assert (ours.tier, ours.vector[IDENTITY]) == (Tier.AFFIRMING, 2)


def test_where_nobody_said_whose_machine_it_is_nothing_is_affirmed_unless_the_policy_names_it() -> None:
    unasked = Circumstances(received=AT)
    verdict = appraise(proof(), POLICY, AT, unasked)
    assert (verdict.tier, verdict.vector[IDENTITY], verdict.barred) == (Tier.NONE, 0, ("enrolment",))
    assert "enrolment_not_judged" in codes(verdict)
    for lax in (replace(POLICY, may_be_impossible=("enrolment",)), replace(POLICY, enrolment=Rules(required=False))):
        assert appraise(proof(), lax, AT, unasked).tier is Tier.AFFIRMING


def test_a_sender_that_is_trusted_to_can_vouch_for_freshness_but_not_against_a_challenge() -> None:
    vouched = Circumstances(received=AT, recognition=Recognition.OURS, vouched=True)
    unasked = appraise(proof(freshness=Outcome.NOT_POSSIBLE), POLICY, AT, vouched)
    assert unasked.tier is Tier.AFFIRMING
    assert appraise(proof(freshness=Outcome.FAILED), POLICY, AT, vouched).tier is not Tier.AFFIRMING


def test_trust_counts_from_when_the_evidence_came_however_late_it_is_judged_again() -> None:
    came = Circumstances(received=AT, recognition=Recognition.OURS)
    later = appraise(proof(), POLICY, AT + 3 * HOUR, came)
    assert (later.tier, later.trusted_until) == (Tier.AFFIRMING, AT + timedelta(seconds=POLICY.trusted_for))
    too_late = appraise(proof(), POLICY, AT + timedelta(seconds=POLICY.trusted_for), came)
    assert (too_late.tier, too_late.trusted_until) == (Tier.NONE, None)
    assert "proof_too_old" in codes(too_late)
