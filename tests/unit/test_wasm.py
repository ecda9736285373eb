"""The compiled policy in process: bounded, and with OPA's own results for what it leaves to its host."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from tokens import AUDIENCE, ISSUER, NOW, Keys, b64

from streams.stores.layout import policy as source
from streams.stores.rego import REFUSED, Policy, RegoInProcess
from streams.stores.wasm import MAX_INPUT, Compiled, Undecided, decode, decode_verify

AT = datetime(2026, 3, 1, tzinfo=UTC)
EMPTY = b'{"floors": {}, "tenant": "t", "policy": "p"}'


@pytest.fixture(scope="module")
def keys() -> Keys:
    return Keys()


def test_a_store_with_another_policy_than_the_compiled_one_is_not_proven_here() -> None:
    lax = source().replace(b"default allow := false", b"default allow := true")
    for files in (
        {"ratchet/decision.rego": lax, "ratchet_policy/data.json": EMPTY},
        {"ratchet/decision.rego": source(), "ratchet/more.rego": b"package ratchet", "ratchet_policy/data.json": EMPTY},
        {"ratchet_policy/data.json": EMPTY},
    ):
        assert RegoInProcess().decide(Policy("r", files), [{}], AT) == (REFUSED,)


def test_bytes_that_are_no_compiled_policy_decide_nothing() -> None:
    for module in (b"", b"\0asm\1\0\0\0", b"nonsense"):
        with pytest.raises(Undecided):
            Compiled(module, {})


def test_an_input_without_end_is_refused_and_the_next_one_decided() -> None:
    files = {"ratchet/decision.rego": source(), "ratchet_policy/data.json": EMPTY}
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    large, nested, plain = {"family": "x" * (MAX_INPUT + 1)}, {"family": deep}, {"family": "snp/Milan"}
    decisions = RegoInProcess().decide(Policy("r", files), [large, plain, nested, plain], AT)
    assert [bool(d.reasons) for d in decisions] == [False, True, False, True]
    assert not any(d.allow for d in decisions)


def test_a_decision_does_not_see_what_was_asked_before() -> None:
    files = {"ratchet/decision.rego": source(), "ratchet_policy/data.json": EMPTY}
    asked = [{"family": f"snp/{n}", "debug": bool(n % 2), "genuine": True} for n in range(100)]
    together = RegoInProcess().decide(Policy("r", files), asked, AT)
    assert list(together) == [RegoInProcess().decide(Policy("r", files), [one], AT)[0] for one in asked]


def test_a_good_token_is_verified_and_shows_what_it_says(keys: Keys) -> None:
    verified = decode_verify(keys.token(), keys.constraints(), NOW)
    assert verified is not None
    assert verified[0] is True
    assert verified[2]["iss"] == ISSUER
    assert decode(keys.token()) is not None


@pytest.mark.parametrize("case", Keys().bad(), ids=lambda case: case.name)
def test_no_other_token_is_verified(case: Any) -> None:
    answer = decode_verify(case.token, case.constraints, NOW)
    assert answer is None or answer == [False, {}, {}]


def test_a_token_of_the_wrong_shape_is_no_fault_of_ours(keys: Keys) -> None:
    for token in (None, 1, "", "..", "a.b", "a.b.c.d", f"{b64(b'[]')}.{b64(b'[]')}.{b64(b'')}", "\u2028.\u2028.x"):
        assert decode_verify(token, keys.constraints(), NOW) is None
        assert decode(token) is None


def test_the_audience_is_named(keys: Keys) -> None:
    several = keys.token(aud=["another", AUDIENCE])
    assert decode_verify(several, keys.constraints(), NOW)[0] is True
    without = json.loads(json.dumps(keys.constraints()))
    del without["aud"]
    assert decode_verify(several, without, NOW) == [False, {}, {}]
