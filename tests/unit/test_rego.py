"""The policy that stores enforce says what the core says, and whatever is malformed is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rego_claims import amd, seen, wanted, worlds

from ratchet.policy.floor import AmdFloor, Minimum, shortfalls
from ratchet.ports import Drifted, Intent, Receipt, Samples, Written
from streams.stores.layout import files_of, served
from streams.stores.rego import REFUSED, Policy, RegoInProcess, decision_of, probes, prove
from streams.stores.samples import FAULTS

AT = datetime(2026, 3, 1, tzinfo=UTC)


def policy(intent: Intent) -> Policy:
    return Policy("r" * 40, served(files_of(intent)))


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_rego_in_process_decides_as_the_core_does(world: tuple[Intent, list[dict[str, Any]]]) -> None:
    intent, asked = world
    decisions = RegoInProcess().decide(policy(intent), asked, AT)
    for ask, decision in zip(asked, decisions, strict=True):
        why = wanted(intent, ask)
        assert decision.allow is (not why), ask
        assert seen(decision.reasons, ask) == why, ask


@pytest.fixture(scope="module")
def milan() -> Intent:
    """Milan from SNP firmware 24 on, one known measurement."""
    floor = AmdFloor(
        family="snp/Milan",
        minima=(Minimum(tcb={"reported.snp": 24}),),
        provenance=replace(_provenance(), reviewed_by="ann"),
    )
    return Intent("c1", "default", {"snp/Milan": floor.to_data()}, AT, "SB-3019")


def _provenance() -> Any:
    from rego_claims import FROM

    return FROM


def good(**changed: Any) -> dict[str, Any]:
    """Claims that meet `milan`."""
    base: dict[str, Any] = {
        "family": "snp/Milan",
        "tee": "snp",
        "measurement": "aa",
        "debug": False,
        "genuine": True,
        "tcb": {"reported.snp": 24},
        "bits": {},
    }
    return base | changed


@pytest.mark.parametrize(
    ("why", "ask"),
    [
        ("nothing is asked", {}),
        ("a version as text", good(tcb={"reported.snp": "99"})),
        ("a version as a list", good(tcb={"reported.snp": [99]})),
        ("no number that all readers take alike", good(tcb={"reported.snp": 2**70})),
        ("a fraction", good(tcb={"reported.snp": 24.5})),
        ("versions that are no object", good(tcb="24")),
        ("truth as a number", good(genuine=1)),
        ("truth as text", good(genuine="true")),
        ("debug is not said", {k: v for k, v in good().items() if k != "debug"}),
        ("debug as null", good(debug=None)),
        ("a family that is no text", good(family={"snp": "Milan"})),
        ("appraisal did not affirm it", good(status="warning")),
        ("a status that is none", good(status=["affirming"])),
        *[(f"a token with a fault: {fault}", good(fault=fault)) for fault in FAULTS],
        ("a family nobody heard of", good(family="snp/Naples")),
    ],
)
def test_what_is_malformed_is_refused(milan: Intent, why: str, ask: dict[str, Any]) -> None:
    admitted, refused = RegoInProcess().decide(policy(milan), [good(), ask], AT)
    assert admitted.allow
    assert not refused.allow, why


@settings(max_examples=80, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["family", "tee", "genuine", "debug", "measurement", "tcb", "bits", "reported.snp"]),
                inner,
                max_size=5,
            )
        ),
        max_leaves=12,
    )
)
def test_random_json_is_refused_and_never_raises(value: Any) -> None:
    intent = Intent("c1", "default", {}, AT, "nothing")
    (decision,) = RegoInProcess().decide(policy(intent), [value if isinstance(value, dict) else {"tcb": value}], AT)
    assert not decision.allow


def test_a_policy_that_does_not_compile_refuses_everything(milan: Intent) -> None:
    broken = Policy("r", {**policy(milan).files, "ratchet/decision.rego": b"package ratchet\ndecision := {"})
    assert RegoInProcess().decide(broken, [good()], AT) == (REFUSED,)


@pytest.mark.parametrize("answer", [None, True, {}, {"allow": True}, {"allow": 1, "reasons": []}, [{"allow": True}]])
def test_only_a_whole_answer_can_admit(answer: Any) -> None:
    assert not decision_of(answer).allow


def test_a_receipt_is_given_when_both_sides_are_as_they_must_be(milan: Intent) -> None:
    done = Written("opa", milan, None, "r" * 40)
    samples = Samples(refuse=(good(tcb={"reported.snp": 23}),), admit=(good(),))
    receipt = prove("opa", RegoInProcess(), policy(milan), done, samples)
    assert isinstance(receipt, Receipt)
    assert (receipt.refused, receipt.admitted) == (
        1 + len(list(probes(milan.floors))) + len(FAULTS),
        1,
    )


def test_no_receipt_when_stale_firmware_passes_or_good_firmware_is_refused(milan: Intent) -> None:
    done = Written("opa", milan, None, "r" * 40)
    stale = prove("opa", RegoInProcess(), policy(milan), done, Samples(refuse=(good(),), admit=()))
    shut = prove("opa", RegoInProcess(), policy(milan), done, Samples((), admit=(good(tcb={"reported.snp": 1}),)))
    assert isinstance(stale, Drifted)
    assert "must be refused and passed" in stale.detail
    assert isinstance(shut, Drifted)
    assert "reported.snp" not in shut.detail
    assert "below_floor" in shut.detail
    assert stale.found == stale.expected


def test_a_policy_without_its_floor_fails_even_with_no_samples(milan: Intent) -> None:
    # given a bundle that was emptied of its minimum but still names the family
    open_ = AmdFloor(family="snp/Milan", minima=(), provenance=_provenance())
    emptied = policy(replace(milan, floors={"snp/Milan": open_.to_data()}))
    # when it is proved against what was meant, with nothing from the fleet
    drift = prove("opa", RegoInProcess(), emptied, Written("opa", milan, None, "r"), Samples((), ()))
    # then firmware of version zero is what tells
    assert isinstance(drift, Drifted)
    assert "snp/Milan" in drift.detail


@settings(max_examples=50, deadline=None)
@given(amd())
def test_probes_are_only_what_the_core_refuses(floor: AmdFloor) -> None:
    for probe in probes({floor.family: floor.to_data()}):
        if probe.get("genuine") and probe["family"] == floor.family:
            assert shortfalls(floor, probe["tcb"], probe["bits"])
