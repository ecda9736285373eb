"""Which way a change of the policy goes: a tightening only where that is known, and said in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ratchet.amendment import differences, lasts, tightens, widened
from ratchet.appraise import Policy
from ratchet.enrolment import Rules
from ratchet.grace import Grace

IMAGE, OTHER, BAD = "ab" * 48, "cd" * 48, "ba" * 48
BASE = Policy(
    accept={"SWHardeningNeeded": ("INTEL-SA-00615",)},
    may_be_impossible=("freshness",),
    minimum_evaluation=17,
    reference_values={"snp": {IMAGE: "known", BAD: "contraindicated"}},
    grace=(Grace(status="OutOfDate", days=30),),
)


def values(**snp: str) -> dict[str, Any]:
    return {"reference_values": {"snp": {name.removeprefix("_"): state for name, state in snp.items()}}}


TIGHTER: list[dict[str, Any]] = [
    {"name": "another"},
    {"accept": {}},
    {"accept": {"SWHardeningNeeded": ()}},
    {"may_be_impossible": ()},
    {"minimum_evaluation": 18},
    {"trusted_for": BASE.trusted_for - 1},
    {"require_bits": {**BASE.require_bits, "sgx": {"attributes.kss": True}}},
    {"grace": ()},
    {"holds": {"firmware_rolled_back": "contraindicated"}},
    {"enrolment": Rules(window=60)},
    values(**{"_" + IMAGE: "closing", "_" + BAD: "contraindicated"}),
    values(**{"_" + IMAGE: "known", "_" + BAD: "contraindicated", "_" + OTHER: "contraindicated"}),
    values(**{"_" + BAD: "contraindicated"}),
]
LOOSER: list[dict[str, Any]] = [
    {"accept": {**BASE.accept, "OutOfDate": ("*",)}},
    {"accept": {"SWHardeningNeeded": ("INTEL-SA-00615", "INTEL-SA-00657")}},
    {"accept": {"SWHardeningNeeded": ("*",)}},
    {"may_be_impossible": ("freshness", "revocation")},
    {"minimum_evaluation": 16},
    {"minimum_evaluation": None},
    {"evaluation": "newest"},
    {"evaluation": 17},
    {"production": False},
    {"trusted_for": BASE.trusted_for + 1},
    {"require_bits": {}},
    {"require_bits": {**BASE.require_bits, "snp": {"policy.migrate_ma": True}}},
    {"grace": (Grace(status="OutOfDate", days=31),)},
    {"enrolment": Rules(required=False)},
    {"holds": {"certificate_revoked": "warning"}},
    {"enrolment": Rules(window=10**6)},
    {"reference_values": {}},
    values(**{"_" + IMAGE: "known"}),
    values(**{"_" + IMAGE: "known", "_" + BAD: "known"}),
    values(**{"_" + IMAGE: "known", "_" + BAD: "contraindicated", "_" + OTHER: "known"}),
    values(**{"_" + IMAGE: "known", "_" + BAD: "contraindicated", "_" + OTHER: "closing"}),
]


@pytest.mark.parametrize("change", TIGHTER, ids=str)
def test_what_admits_nothing_more_is_a_tightening(change: dict[str, Any]) -> None:
    changed = replace(BASE, **change)
    assert widened(changed, BASE) == ()
    assert tightens(changed, BASE)
    assert differences(changed, BASE), "and is told in words"


@pytest.mark.parametrize("change", LOOSER, ids=str)
def test_what_may_admit_more_is_a_loosening(change: dict[str, Any]) -> None:
    changed = replace(BASE, **change)
    assert not tightens(changed, BASE)
    assert any(line.endswith("(LOOSER)") for line in differences(changed, BASE))


def test_one_loosening_among_tightenings_is_a_loosening() -> None:
    changed = replace(BASE, trusted_for=60, accept={}, may_be_impossible=("freshness", "floor"))
    assert widened(changed, BASE) == ("may_be_impossible: floor is added",)


def test_a_policy_is_as_strict_as_itself_and_floors_are_another_matter() -> None:
    assert tightens(BASE, BASE)
    assert differences(BASE, BASE) == ()
    assert not lasts(BASE, BASE)


def test_only_more_known_images_and_nothing_else_may_stay() -> None:
    more = {"snp": {**BASE.reference_values["snp"], OTHER: "known"}}
    assert lasts(replace(BASE, reference_values=more), BASE)
    assert lasts(replace(BASE, reference_values={**more, "tdx": {IMAGE: "known"}}, name="new"), BASE)
    for change in (
        {"reference_values": more, "trusted_for": 60},
        {"reference_values": {"snp": {OTHER: "known"}}},
        {"reference_values": {"snp": {**BASE.reference_values["snp"], OTHER: "closing"}}},
        {"may_be_impossible": ("freshness", "floor")},
    ):
        assert not lasts(replace(BASE, **change), BASE)  # type: ignore[arg-type]
