"""What a challenge looks like in report data when an agent binds its key with it, and which key that was."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from intel_world import NOW, World
from snp_world import World as Amd

from ratchet.event import canonical
from ratchet.evidence import Evidence, Outcome, Proof, StepName, verify
from ratchet.evidence.freshness import thumbprint

CHALLENGE = bytes(range(32))
KEY = b"\x30\x59 the DER of an agent's TLS key"
KEY_HASH = hashlib.sha256(KEY).hexdigest()
JWK = {"kty": "EC", "crv": "P-256", "x": "gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0", "y": "SLW_xSffzlPWrHEVI30DHM_4"}
RUN_TIME_DATA = {"nonce": base64.b64encode(CHALLENGE).decode(), "tee-pubkey": {**JWK, "alg": "ECDH-ES+A256KW"}}
TDX = World(tee="tdx")


def prove(report_data: bytes, challenge: bytes | None = CHALLENGE, key: bytes | None = KEY) -> Proof:
    quote = TDX.quote(report_data=report_data)
    return verify(Evidence(quote, challenge=challenge, key=key), TDX.collateral(), NOW)


def bound(proof: Proof) -> str | None:
    assert proof.claims is not None
    return proof.claims.key


def codes(proof: Proof) -> list[str]:
    return [reason.code for step in proof.steps if step.name is StepName.FRESHNESS for reason in step.reasons]


@pytest.mark.parametrize("name", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("joined", [CHALLENGE + KEY, KEY + CHALLENGE])
def test_a_key_hashed_together_with_the_challenge_is_fresh_and_a_claim(name: str, joined: bytes) -> None:
    """SHA-512 of nonce and held data is what Intel Trust Authority's clients put into report data."""
    proof = prove(hashlib.new(name, joined).digest())
    assert proof.outcome(StepName.FRESHNESS) is Outcome.PASSED
    assert proof.genuine
    assert bound(proof) == KEY_HASH


def test_the_hash_of_a_key_beside_the_challenge_is_fresh() -> None:
    proof = prove(hashlib.sha256(KEY).digest() + CHALLENGE)
    assert proof.outcome(StepName.FRESHNESS) is Outcome.PASSED
    assert bound(proof) == KEY_HASH


@pytest.mark.parametrize("pretty", [False, True])
def test_run_time_data_of_trustees_protocol_are_fresh_where_they_hold_the_challenge(pretty: bool) -> None:
    """SHA-384 over canonical JSON, whatever white space the data come in; the key is its JWK thumbprint."""
    digest = hashlib.sha384(canonical(RUN_TIME_DATA)).digest()
    sent = json.dumps(RUN_TIME_DATA, indent=1).encode() if pretty else canonical(RUN_TIME_DATA)
    proof = prove(digest, key=sent)
    assert proof.outcome(StepName.FRESHNESS) is Outcome.PASSED
    assert bound(proof) == thumbprint(JWK) == hashlib.sha256(canonical(JWK)).hexdigest()


def test_run_time_data_made_for_another_challenge_are_not_fresh() -> None:
    other = {**RUN_TIME_DATA, "nonce": base64.b64encode(bytes(32)).decode()}
    proof = prove(hashlib.sha384(canonical(other)).digest(), key=canonical(other))
    assert proof.outcome(StepName.FRESHNESS) is Outcome.NOT_POSSIBLE
    assert codes(proof) == ["challenge_not_bound"]


def test_run_time_data_that_can_be_read_two_ways_are_none() -> None:
    nonce = RUN_TIME_DATA["nonce"]
    twice = f'{{"nonce":"AAAA","nonce":"{nonce}"}}'.encode()
    proof = prove(hashlib.sha384(twice).digest(), key=twice)
    assert proof.outcome(StepName.FRESHNESS) is Outcome.NOT_POSSIBLE


def test_a_key_without_a_challenge_proves_whose_it_is_and_not_when() -> None:
    """Plain RA-TLS: no forger, and not fresh either."""
    proof = prove(hashlib.sha256(KEY).digest())
    assert proof.genuine
    assert proof.outcome(StepName.FRESHNESS) is Outcome.NOT_POSSIBLE
    assert codes(proof) == ["challenge_not_bound"]
    assert bound(proof) == KEY_HASH
    unasked = prove(hashlib.sha256(KEY).digest(), challenge=None)
    assert codes(unasked) == ["no_challenge"]
    assert bound(unasked) == KEY_HASH


def test_another_key_than_the_one_that_was_hashed_is_refused() -> None:
    proof = prove(hashlib.sha512(CHALLENGE + b"another key").digest())
    assert proof.outcome(StepName.FRESHNESS) is Outcome.FAILED
    assert codes(proof) == ["challenge_mismatch"]
    assert bound(proof) is None


def test_a_key_that_is_not_bound_is_no_claim_though_the_challenge_holds() -> None:
    proof = prove(CHALLENGE)
    assert proof.outcome(StepName.FRESHNESS) is Outcome.PASSED
    assert codes(proof) == ["key_not_bound"]
    assert bound(proof) is None


@pytest.mark.parametrize("size", [1, 8, 15])
def test_a_challenge_that_could_be_guessed_proves_nothing(size: int) -> None:
    proof = prove(CHALLENGE[:size], challenge=CHALLENGE[:size], key=None)
    assert proof.outcome(StepName.FRESHNESS) is Outcome.NOT_POSSIBLE
    assert codes(proof) == ["challenge_too_short"]
    assert prove(CHALLENGE[:16], challenge=CHALLENGE[:16], key=None).outcome(StepName.FRESHNESS) is Outcome.PASSED


def test_the_key_of_an_snp_report_is_a_claim_too() -> None:
    world = Amd("Milan")
    report = world.report(report_data=hashlib.sha512(CHALLENGE + KEY).digest())
    evidence = Evidence(report, endorsements=(world.vek(), world.signer()), challenge=CHALLENGE, key=KEY)
    proof = verify(evidence, world.collateral(), NOW)
    assert proof.outcome(StepName.FRESHNESS) is Outcome.PASSED
    assert bound(proof) == KEY_HASH


@pytest.mark.parametrize(
    ("report_data", "challenge"),
    [(hashlib.sha256(KEY).digest(), KEY), (hashlib.sha256(KEY).digest(), hashlib.sha256(KEY).digest())],
)
def test_a_challenge_that_was_made_of_a_key_binds_no_key(report_data: bytes, challenge: bytes) -> None:
    """An agent that holds no key put the challenge alone into report data, as it was asked."""
    proof = prove(report_data, challenge=challenge)
    assert proof.outcome(StepName.FRESHNESS) is Outcome.PASSED
    assert codes(proof) == ["key_not_bound"]
    assert bound(proof) is None
