"""A format that is added and not judged yet affirms nothing; and what each TEE needs is there for all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_appraise import AT, MILAN, OURS, POLICY, SNP, TDX, proof, status

from ratchet.evidence import BOOT_CLAIMS, RUNTIME_CLAIMS
from ratchet.evidence.vocabulary import SIGNERS, TEES, measurements, numbers
from ratchet.policy.appraise import CONFIGURATION, HARDWARE, appraise
from ratchet.policy.floor import open_floor
from ratchet.policy.policy import NAMEABLE, REQUIRED
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


@pytest.mark.parametrize("table", [BOOT_CLAIMS, RUNTIME_CLAIMS, SIGNERS, REQUIRED])
def test_every_table_by_tee_has_all_of_them(table: dict[str, object]) -> None:
    assert set(table) == set(TEES)


@pytest.mark.parametrize("tee", TEES)
def test_every_tee_has_claims_that_conditions_can_name(tee: str) -> None:
    assert set(BOOT_CLAIMS[tee]) | set(RUNTIME_CLAIMS[tee]) | set(SIGNERS[tee]) <= measurements(tee)
    assert numbers(tee)
