"""A format that is added and not judged yet affirms nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_appraise import AT, MILAN, OURS, POLICY, SNP, TDX, proof, status

from ratchet.policy.appraise import CONFIGURATION, HARDWARE, appraise
from ratchet.policy.floor import open_floor
from ratchet.policy.policy import NAMEABLE
from ratchet.standing import Tier


@pytest.mark.parametrize("base", [SNP, TDX])
@pytest.mark.parametrize("floors", [{}, {"nitro/1": replace(MILAN, family="nitro/1")}, {"nitro/1": None}])
def test_a_tee_that_nothing_judges_is_not_affirmed_whatever_the_policy_excuses(
    base: Any, floors: dict[str, Any]
) -> None:
    claims = replace(base, tee="nitro", family="nitro/1")
    bound = {family: floor or open_floor("tdx/1", "anything") for family, floor in floors.items()}
    policy = replace(POLICY.with_floors(bound), may_be_impossible=NAMEABLE)
    verdict = appraise(proof(claims, status("UpToDate")), policy, AT, OURS)
    assert verdict.tier is Tier.NONE
    assert (verdict.vector[HARDWARE], verdict.vector[CONFIGURATION]) == (0, 0)
    assert "tee" in verdict.barred
    assert [r.got for r in verdict.reasons if r.code == "tee_not_judged"] == ["nitro"]


def test_debug_of_such_a_tee_is_still_contraindicated() -> None:
    claims = replace(SNP, tee="nitro", debug=True)
    assert appraise(proof(claims), POLICY, AT, OURS).tier is Tier.CONTRAINDICATED
