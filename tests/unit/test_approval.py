"""Who may approve, and what a signature is over."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from ratchet.rollout.approval import VERBS, Approvers, message, objection, proposal_hash, sign

ADA, BOB = bytes(range(32)), bytes(range(1, 33))


def public(key: bytes) -> str:
    return Ed25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw().hex()


APPROVERS = Approvers(keys={"ada": public(ADA), "bob": public(BOB)})
HASH = "7c" * 32
PUSHED = "5e" * 32


def test_what_is_signed_is_ascii_that_a_person_can_read() -> None:
    assert (
        message("approved", HASH, 2, PUSHED) == b"ratchet-approve:approved:" + HASH.encode() + b":2:" + PUSHED.encode()
    )
    assert message("halted", HASH, 2, None) == b"ratchet-approve:halted:" + HASH.encode() + b":2:-"


def test_a_named_approvers_signature_counts() -> None:
    assert objection(APPROVERS, "approved", HASH, 0, "ada", sign(ADA, "approved", HASH, 0, PUSHED), PUSHED) is None


@pytest.mark.parametrize(
    ("verb", "hash", "by", "signature", "code"),
    [
        ("approved", HASH, "eve", sign(ADA, "approved", HASH, 0, PUSHED), "not_an_approver"),
        ("approved", HASH, "bob", sign(ADA, "approved", HASH, 0, PUSHED), "approval_signature_invalid"),
        ("approved", "8d" * 32, "ada", sign(ADA, "approved", HASH, 0, PUSHED), "approval_signature_invalid"),
        ("rolled_back", HASH, "ada", sign(ADA, "approved", HASH, 0, PUSHED), "approval_signature_invalid"),
        ("approved", HASH, "ada", sign(ADA, "approved", HASH, 1, PUSHED), "approval_signature_invalid"),
        ("approved", HASH, "ada", sign(ADA, "approved", HASH, 0, "4d" * 32), "approval_signature_invalid"),
        ("approved", HASH, "ada", "", "approval_signature_invalid"),
        ("approved", HASH, "ada", "zz", "approval_signature_invalid"),
        ("sung", HASH, "ada", sign(ADA, "approved", HASH, 0, PUSHED), "approval_signature_invalid"),
    ],
)
def test_any_other_does_not(verb: str, hash: str, by: str, signature: str, code: str) -> None:
    reason = objection(APPROVERS, verb, hash, 0, by, signature, PUSHED)
    assert reason is not None
    assert reason.code == code
    assert reason.remedy


@given(verb=st.sampled_from(VERBS), by=st.text(max_size=8), signature=st.text(max_size=140))
def test_nothing_that_is_sent_raises(verb: str, by: str, signature: str) -> None:
    assert objection(APPROVERS, verb, HASH, 0, by, signature, PUSHED) is not None


def test_the_hash_covers_what_was_shown() -> None:
    shown = {"proposal": "p", "family": "snp/Milan", "floor": {"a": 1}, "before": None, "impact": {"refused": []}}
    assert proposal_hash({**shown, "why": "anything"}) == proposal_hash(shown)
    for name in (*shown, "policy", "policy_before"):
        assert proposal_hash({**shown, name: "another"}) != proposal_hash(shown)


def test_one_key_under_two_names_would_count_twice_and_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        Approvers(keys={"ada": public(ADA), "ada-again": public(ADA).upper()})


def test_a_key_written_with_spaces_is_no_other_key() -> None:
    with pytest.raises(ValueError, match="twice"):
        Approvers(keys={"ada": public(ADA), "ada-again": " ".join((public(ADA)[:32], public(ADA)[32:]))})


@pytest.mark.parametrize("key", ["", "00", "zz" * 32])
def test_a_key_that_is_none_is_named(key: str) -> None:
    with pytest.raises(ValueError, match=r"approvers\.keys\.ada"):
        Approvers(keys={"ada": key})


def test_approvers_survive_being_data() -> None:
    assert Approvers.from_data(APPROVERS.to_data()) == APPROVERS
