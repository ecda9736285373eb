"""Of real evidence, too: what appraisal does not affirm no store admits, and what it affirms every store admits."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from real_evidence import Asked, Item, asked, decides, items, own_floor, policies, reference

from ratchet.collateral import Kind, Known
from ratchet.evidence import Outcome, Proof, StepName
from ratchet.policy.circumstances import Recognition
from ratchet.policy.policy import Policy
from ratchet.standing import Tier
from streams.stores.samples import OneKey
from tests.scenario.test_mutations import mutations

KEYS = OneKey()
MUTATIONS = 300

SUBJECT = "tdx4-near-mpc"
"""A TD on an up-to-date platform with a module that Intel lists."""


def agrees(one: Asked, allowed: bool) -> None:
    """The property itself; what is affirmed and lost must be one of the losses that docs/stores.md names."""
    affirmed = one.verdict.tier is Tier.AFFIRMING
    assert affirmed or not allowed, f"{one.what}: admitted, and {one.verdict.tier}"
    assert allowed or not affirmed or one.lost, f"{one.what}: affirming, and refused"


def test_of_the_corpus_stores_admit_what_is_affirmed_and_nothing_else(corpus: Path) -> None:
    affirmed: Counter[str] = Counter()
    lost: set[str] = set()
    for item in items(corpus):
        for name, policy in policies(item):
            store, [one] = asked(item, [(f"{item.name}, {name}", item.proof(policy=policy))], policy, KEYS)
            allowed, _ = decides(store)(one)
            agrees(one, allowed)
            if one.verdict.tier is Tier.AFFIRMING and not allowed:
                lost.add(name)
            affirmed[name] += allowed
            affirmed[f"{name}: {one.verdict.tee}"] += allowed
    assert lost == {"lenient, no floor", "TDRelaunchAdvised alone, own floor"}, "docs/stores.md names them"
    assert affirmed["default"] == 0, "without reference values nothing is affirmed"
    for name in ("strict, own floor", "lenient, own floor", "lenient, open floor"):
        assert affirmed[name] > 20, name
    for tee in ("sgx", "tdx", "snp"):
        assert affirmed[f"lenient, own floor: {tee}"] > 0, tee


def test_of_changed_evidence_too(corpus: Path) -> None:
    specimens = [item for item in items(corpus) if " " not in item.name]
    rng = random.Random("one judgement")
    seen: Counter[bool] = Counter()
    for item in specimens:
        changed = mutations(item.evidence.raw, rng)
        each = [next(changed) for _ in range(MUTATIONS // len(specimens) + 1)]
        for name, policy in policies(item):
            if name not in ("default", "lenient, own floor"):
                continue
            proofs = [(f"{item.name}, {what} at {at}", item.proof(raw, policy)) for what, at, raw in each]
            store, found = asked(item, proofs, policy, KEYS)
            decide = decides(store)
            for one in found:
                allowed, _ = decide(one)
                agrees(one, allowed)
                assert not allowed or one.proof.genuine, one.what
                seen[allowed] += 1
    assert seen[False] > MUTATIONS
    assert seen[True] > 0, "a change outside of what is signed may have no effect"


@cache
def subject(corpus: Path) -> Item:
    return next(item for item in items(corpus) if item.name == SUBJECT)


def good_policy(item: Item, **reference_values: Any) -> Policy:
    """All that the default policy asks, the platform's own floor, and this image."""
    proof = item.proof()
    policy = Policy.from_data(
        {"may_be_impossible": ["freshness"], "reference_values": reference(proof, **reference_values)}
    )
    return policy.with_floors(own_floor(item, proof, policy))


def quoting_enclave(status: str) -> Callable[[Item], Item]:
    """Had Intel said this of the quoting enclave."""

    def change(one: Known) -> Known:
        if one.kind is not Kind.INTEL_QE_IDENTITY:
            return one
        levels = tuple(replace(level, status=status) for level in one.parsed.levels)
        return replace(one, parsed=replace(one.parsed, levels=levels))

    return lambda item: item.with_statements(change)


def without_module(item: Item) -> Item:
    """Had Intel's TCB info no TDX module in it."""

    def change(one: Known) -> Known:
        if one.kind is not Kind.INTEL_TCB_INFO:
            return one
        return replace(one, parsed=replace(one.parsed, modules={}))

    return item.with_statements(change)


def without_crls(item: Item) -> Item:
    return item.with_statements(lambda one: None if one.kind is Kind.INTEL_CRL else one)


@dataclass(frozen=True)
class Bad:
    """One thing that is wrong, while all else is good.

    Attributes:
        code: among the reasons of the verdict.
        item: the same evidence with other words of its vendor.
        bits: that it attests in the place of its own.
        expired: its reference values have ended.
        recognition: of its machine.
    """

    code: str
    item: Callable[[Item], Item] = lambda item: item
    bits: Mapping[str, int] | None = None
    expired: bool = False
    recognition: Recognition = Recognition.OURS


BAD = {
    "the quoting enclave is revoked": Bad("tcb_revoked", quoting_enclave("Revoked")),
    "the quoting enclave is out of date": Bad("tcb_out_of_date", quoting_enclave("OutOfDate")),
    "SEPT_VE_DISABLE is off": Bad("requirement_not_met", bits={"attributes.sept_ve_disable": False}),
    "migratable": Bad("requirement_not_met", bits={"attributes.migratable": True}),
    "a service TD": Bad("requirement_not_met", bits={"service_td": True}),
    "a TDX module that is not listed": Bad("tcb_no_matching_level", without_module),
    "revocation lists are missing": Bad("crl_missing", without_crls),
    "an expired set of reference values": Bad("measurement_not_judged", expired=True),
    "not enrolled": Bad("machine_not_enrolled", recognition=Recognition.STRANGER),
    "waiting for enrolment": Bad("machine_waits_for_enrolment", recognition=Recognition.WAITING),
}


@pytest.mark.parametrize("why", BAD)
@pytest.mark.parametrize("floors", ["of before", "as it is now"])
def test_one_thing_that_is_bad_is_enough(corpus: Path, why: str, floors: str) -> None:
    good, bad = subject(corpus), BAD[why]
    policy = good_policy(good)
    store, [one] = asked(good, [("good", good.proof(policy=policy))], policy, KEYS)
    assert (one.verdict.tier, decides(store)(one)) == (Tier.AFFIRMING, (True, set()))
    item = bad.item(good)
    window = {"until": f"{good.at - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"} if bad.expired else {}
    policy = good_policy(good, **window)
    if floors == "as it is now":
        policy = policy.with_floors(own_floor(item, item.proof(), policy))
    proof = claiming(item.proof(policy=policy), bad.bits)
    if "lists" in why:
        assert proof.outcome(StepName.REVOCATION) is Outcome.NOT_POSSIBLE
    store, [one] = asked(item, [(why, proof)], policy, KEYS, recognition=bad.recognition)
    assert bad.code in {reason.code for reason in one.verdict.reasons}
    allowed, codes = decides(store)(one)
    assert (one.verdict.tier is Tier.AFFIRMING, allowed) == (False, False)
    assert "not_affirming" in codes


def claiming(proof: Proof, bits: Mapping[str, int] | None) -> Proof:
    """The same proof, of evidence that says this of itself."""
    assert proof.claims is not None
    return replace(proof, claims=replace(proof.claims, bits={**proof.claims.bits, **(bits or {})}))
