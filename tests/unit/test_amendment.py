"""Which way a change of the policy goes: a tightening only where that is known, and said in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ratchet.policy.amendment import differences, lasts, tightens, widened
from ratchet.policy.appraise import Policy
from ratchet.policy.enrolment import Rules
from ratchet.policy.grace import Grace
from ratchet.policy.policy import required
from ratchet.policy.reference import ReferenceSet

IMAGE, OTHER, BAD = "ab" * 48, "cd" * 48, "ba" * 48


def images(**states: str) -> tuple[ReferenceSet, ...]:
    """Reference values of SNP images, by name."""
    known = {"image": IMAGE, "other": OTHER, "bad": BAD}
    return tuple(
        ReferenceSet.from_data(
            name,
            {
                "tee": "snp",
                "state": state,
                "conditions": {"measurement": known[name]},
                "by": "ann",
                "source": "a build",
            },
        )
        for name, state in states.items()
    )


def values(**states: str) -> dict[str, Any]:
    return {"reference_values": images(**states)}


BASE = Policy(
    accept={"SWHardeningNeeded": ("INTEL-SA-00615",)},
    may_be_impossible=("freshness",),
    minimum_evaluation=17,
    reference_values=images(image="known", bad="contraindicated"),
    grace=(Grace(status="OutOfDate", days=30),),
)
KSS = {"sgx": {"attributes.kss": True}}


TIGHTER: list[dict[str, Any]] = [
    {"name": "another"},
    {"accept": {}},
    {"accept": {"SWHardeningNeeded": ()}},
    {"may_be_impossible": ()},
    {"minimum_evaluation": 18},
    {"trusted_for": BASE.trusted_for - 1},
    {"require": required(KSS)},
    {"floor_of": ("reported", "committed", "launch", "current")},
    {"grace": ()},
    {"holds": {"firmware_rolled_back": "contraindicated"}},
    {"enrolment": Rules(window=60)},
    values(image="closing", bad="contraindicated"),
    values(image="known", bad="contraindicated", other="contraindicated"),
    values(bad="contraindicated"),
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
    {"require": required({"tdx": {"service_td": "any"}})},
    {"require": required({"snp": {"policy.migrate_ma": True}})},
    {"floor_of": ("reported",)},
    {"grace": (Grace(status="OutOfDate", days=31),)},
    {"enrolment": Rules(required=False)},
    {"holds": {"certificate_revoked": "warning"}},
    {"enrolment": Rules(window=10**6)},
    {"reference_values": ()},
    values(image="known"),
    values(image="known", bad="known"),
    values(image="known", bad="contraindicated", other="known"),
    values(image="known", bad="contraindicated", other="closing"),
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
    more = images(image="known", bad="contraindicated", other="known")
    assert lasts(replace(BASE, reference_values=more), BASE)
    assert lasts(replace(BASE, reference_values=more, name="new"), BASE)
    changes: tuple[dict[str, Any], ...] = (
        {"reference_values": more, "trusted_for": 60},
        values(other="known"),
        values(image="known", bad="contraindicated", other="closing"),
        {"may_be_impossible": ("freshness", "floor")},
    )
    for change in changes:
        assert not lasts(replace(BASE, **change), BASE)
