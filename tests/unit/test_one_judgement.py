"""What appraisal does not affirm no store admits; what it affirms the store that holds the same floors admits."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_appraise import AT, POLICY, SNP, TDX, proof, status

from ratchet import ear
from ratchet.evidence import Outcome, Proof, StepName
from ratchet.policy.appraise import Circumstances, Recognition, appraise
from ratchet.policy.floor import open_floor
from ratchet.ports import Intent
from ratchet.standing import Tier
from streams.stores.layout import KEYS, files_of, policy_hash, served
from streams.stores.rego import Policy as Held
from streams.stores.rego import _compiled, _data, decision_of
from streams.stores.samples import OneKey, keys_file
from streams.stores.wasm import Compiled

CHALLENGE = bytes(range(32))
JUDGED_BY = POLICY.with_floors({**POLICY.floors, TDX.family: open_floor(TDX.family, "judged by status alone")})


@cache
def store() -> tuple[OneKey, Compiled]:
    """What a store holds once the policy is pushed."""
    data = JUDGED_BY.to_data()
    floors = data.pop("floors")
    intent = Intent("c1", "default", floors, AT, "all", data)
    assert policy_hash(intent) == JUDGED_BY.hash
    keys = OneKey()
    files = {**served(files_of(intent)), KEYS: keys_file(keys.jwks(AT))}
    return keys, Compiled(_compiled(), _data(Held("r", files)))


def decided(judged: Proof) -> tuple[Tier, bool]:
    """What appraisal says of it, and whether a store admits it."""
    keys, compiled = store()
    ours = Circumstances(received=AT, recognition=Recognition.OURS)
    verdict = appraise(judged, JUDGED_BY, AT, ours)
    claims = ear.result(verdict, judged, JUDGED_BY, audience="kbs", tenant="default", challenge=CHALLENGE, build="0")
    asked = {
        "token": ear.sign(claims, keys.signer(AT)),
        "audience": "kbs",
        "tenant": "default",
        "nonce": CHALLENGE.hex(),
    }
    return verdict.tier, decision_of(compiled.decide(asked, AT)).allow


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([SNP, TDX]),
    st.sampled_from(["UpToDate", "UpToDate", "OutOfDate", "Revoked", "SWHardeningNeeded", "ConfigurationNeeded"]),
    st.dictionaries(st.sampled_from([s.value for s in StepName]), st.sampled_from(list(Outcome)), max_size=2),
    st.sampled_from([24, 24, 23, 25]),
    st.booleans(),
    st.sampled_from(["ab" * 48, "ab" * 48, "cd" * 48]),
)
def test_no_store_admits_more_or_less_than_appraisal_affirms(
    base: Any, merged: str, outcomes: dict[str, Outcome], snp: int, debug: bool, measurement: str
) -> None:
    tcb = {**base.tcb, "reported.snp": snp} if base is SNP else base.tcb
    claims = replace(base, tcb=tcb, debug=debug, measurement=measurement)
    tier, admitted = decided(proof(claims, status(merged) if base is TDX else None, **outcomes))
    assert admitted is (tier is Tier.AFFIRMING)


@pytest.mark.parametrize(
    ("why", "claims", "tcb", "outcomes"),
    [
        ("the quoting enclave is revoked", TDX, "Revoked", {}),
        ("the quoting enclave is out of date", TDX, "OutOfDate", {}),
        (
            "SEPT_VE_DISABLE is off",
            replace(TDX, bits={**TDX.bits, "attributes.sept_ve_disable": False}),
            "UpToDate",
            {},
        ),
        ("migratable", replace(TDX, bits={**TDX.bits, "attributes.migratable": True}), "UpToDate", {}),
        ("a module that is not listed", TDX, "NoMatchingTcbLevel", {}),
        ("revocation lists are missing", TDX, "UpToDate", {"revocation": Outcome.NOT_POSSIBLE}),
    ],
)
def test_what_stores_let_in_once_is_refused(why: str, claims: Any, tcb: str, outcomes: dict[str, Outcome]) -> None:
    assert decided(proof(TDX, status("UpToDate"))) == (Tier.AFFIRMING, True)
    tier, admitted = decided(proof(claims, status(tcb), **outcomes))
    assert tier is not Tier.AFFIRMING
    assert not admitted, why
