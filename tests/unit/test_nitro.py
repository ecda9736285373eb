"""AWS Nitro attestation documents: what is proven of each, step by step, and what an attacker's bytes come to."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nitro_world import DAY, ENCLAVE, HOUR, IMAGE, INSTANCE, NOW, World, cbor, codes, head, other_curve, outcomes

from dashboards.console import explain
from ratchet.app.errors import Fault
from ratchet.app.vouching import reference_values
from ratchet.collateral.roots import AMD
from ratchet.evidence import MAX_EVIDENCE, TEES, Claims, Evidence, Format, Proof, StepName, detect, fields, verify
from ratchet.evidence import replay_key as key_of
from ratchet.evidence.aws.nitro import AHEAD
from ratchet.evidence.recognise import recognise
from ratchet.evidence.registry import is_identity
from ratchet.policy.appraise import (
    CONFIGURATION,
    EXECUTABLES,
    HARDWARE,
    IDENTITY,
    Circumstances,
    Policy,
    Recognition,
    appraise,
)
from ratchet.policy.reference import ReferenceSet
from ratchet.standing import Tier

AWS = World()
CHALLENGE = bytes(range(32))
MS = 1000

slow = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def claims_of(proof: Proof) -> Claims:
    assert proof.claims is not None
    return proof.claims


def why(proof: Proof, name: StepName) -> set[str]:
    return {reason.code for reason in next(step for step in proof.steps if step.name is name).reasons}


# -- an honest enclave


def test_an_honest_enclave_passes_every_step() -> None:
    proof = AWS.judge(AWS.document(nonce=CHALLENGE), challenge=CHALLENGE)
    assert set(outcomes(proof).values()) == {"passed"}
    assert proof.genuine
    assert proof.root is not None
    assert proof.root.simulated
    claims = claims_of(proof)
    assert (claims.format, claims.tee, claims.family) == ("nitro", "nitro", "nitro/tests")
    assert claims.platform == f"ec2:{INSTANCE}"
    assert claims.instance == f"{INSTANCE}-{ENCLAVE}"
    assert [claims.measurements[f"pcr{i}"] for i in (0, 1, 2)] == [IMAGE[i].hex() for i in (0, 1, 2)]
    assert set(claims.measurements) == {*(f"pcr{i}" for i in range(16)), "region"}
    assert claims.measurements["region"] == "eu-test-1"
    assert (claims.debug, claims.signer, claims.key, claims.tcb, claims.bits) == (False, None, None, {}, {})


def test_tag_and_lengths_may_be_written_otherwise() -> None:
    raw = AWS.document()
    payload = cbor(AWS.fields())
    inner = cbor(AWS.fields())[1:]
    assert raw[:1] == b"\x84"
    for other in (b"\xd2" + raw, b"\xd8\x12" + raw, b"\x98\x04" + raw[1:], b"\x9f" + raw[1:] + b"\xff"):
        assert AWS.judge(other).unproven == (), other[:3].hex()
    indefinite = b"\xbf" + inner + b"\xff"
    assert AWS.judge(AWS.sign(indefinite)).unproven == ()
    assert AWS.judge(AWS.sign(payload[:1] + inner)).unproven == ()


def test_optional_fields_may_be_null_or_left_out() -> None:
    assert AWS.judge(AWS.document(public_key=..., user_data=..., nonce=...)).unproven == ()
    assert AWS.judge(AWS.document(public_key=b"k" * 1024, user_data=b"u" * 512, nonce=b"")).unproven == ()


def test_registers_of_the_enclave_are_claims_where_it_locked_them() -> None:
    pcrs = {**AWS.fields()["pcrs"], 16: b"\x16" * 48, 31: b"\x31" * 48}
    claims = claims_of(AWS.judge(AWS.document(pcrs=pcrs)))
    assert (claims.measurements["pcr16"], claims.measurements["pcr31"]) == ("16" * 48, "31" * 48)
    assert {"pcr16", "pcr31"} <= set(TEES["nitro"].runtime)


def test_who_signed_the_image_is_a_claim() -> None:
    signed = replace(AWS, image={**IMAGE, 8: b"\x88" * 48})
    assert claims_of(signed.judge(signed.document())).signer == "88" * 48


def test_its_machine_can_be_enrolled() -> None:
    platform = claims_of(AWS.judge(AWS.document())).platform
    assert platform is not None
    assert is_identity(platform)
    assert not any(map(is_identity, ("ec2:", "ec2:i-", "ec2:i-XYZ", f"ec2:{INSTANCE}\n", f"instance:{INSTANCE}")))


@pytest.mark.parametrize("module", ["module", "i-0123456789abcdef0", "x-0123456789abcdef0-enc01"])
def test_a_module_of_another_form_names_no_machine(module: str) -> None:
    raw = AWS.sign(
        cbor(AWS.fields(module_id=module, certificate=AWS.leaf(module=module))), by=f"{module}.eu-test-1.aws"
    )
    assert claims_of(AWS.judge(raw)).platform is None


# -- AWS's syntactical validation

RULES: list[tuple[dict[str, Any], str, str]] = [
    *(({name: ...}, "field_missing", name) for name in ("module_id", "digest", "timestamp", "pcrs", "certificate")),
    ({"cabundle": ...}, "field_missing", "cabundle"),
    *(({name: None}, "field_missing", name) for name in ("module_id", "digest", "timestamp", "pcrs", "certificate")),
    ({"cabundle": None}, "field_missing", "cabundle"),
    ({"module_id": ""}, "field_not_as_specified", "module_id"),
    ({"module_id": b"i-1"}, "field_not_as_specified", "module_id"),
    ({"digest": "SHA256"}, "field_not_as_specified", "digest"),
    ({"digest": 384}, "field_not_as_specified", "digest"),
    ({"timestamp": 0}, "field_not_as_specified", "timestamp"),
    ({"timestamp": -1}, "field_not_as_specified", "timestamp"),
    ({"timestamp": "now"}, "field_not_as_specified", "timestamp"),
    ({"timestamp": True}, "field_not_as_specified", "timestamp"),
    ({"timestamp": 2**64 - 1}, "field_not_as_specified", "timestamp"),
    ({"pcrs": {}}, "field_not_as_specified", "pcrs"),
    ({"pcrs": [bytes(48)]}, "field_not_as_specified", "pcrs"),
    ({"pcrs": dict.fromkeys(range(33), bytes(48))}, "field_not_as_specified", "pcrs"),
    ({"pcrs": {32: bytes(48)}}, "field_not_as_specified", "pcrs"),
    ({"pcrs": {-1: bytes(48)}}, "field_not_as_specified", "pcrs"),
    ({"pcrs": {"0": bytes(48)}}, "field_not_as_specified", "pcrs"),
    ({"pcrs": {0: bytes(47)}}, "field_not_as_specified", "pcr0"),
    ({"pcrs": {0: "0" * 48}}, "field_not_as_specified", "pcr0"),
    ({"certificate": b""}, "field_not_as_specified", "certificate"),
    ({"certificate": bytes(1025)}, "field_not_as_specified", "certificate"),
    ({"certificate": "pem"}, "field_not_as_specified", "certificate"),
    ({"cabundle": []}, "field_not_as_specified", "cabundle"),
    ({"cabundle": b"x"}, "field_not_as_specified", "cabundle"),
    ({"cabundle": [b"x"] * 16}, "field_not_as_specified", "cabundle"),
    ({"cabundle": [b"x", b""]}, "field_not_as_specified", "cabundle_1"),
    ({"cabundle": [bytes(1025)]}, "field_not_as_specified", "cabundle_0"),
    ({"cabundle": ["x"]}, "field_not_as_specified", "cabundle_0"),
    ({"public_key": b""}, "field_not_as_specified", "public_key"),
    ({"public_key": bytes(1025)}, "field_not_as_specified", "public_key"),
    ({"public_key": "k"}, "field_not_as_specified", "public_key"),
    ({"user_data": bytes(513)}, "field_not_as_specified", "user_data"),
    ({"user_data": 7}, "field_not_as_specified", "user_data"),
    ({"nonce": bytes(513)}, "field_not_as_specified", "nonce"),
    ({"nonce": [1]}, "field_not_as_specified", "nonce"),
    ({"colour": "blue"}, "field_unknown", "document"),
]


@pytest.mark.parametrize(("changed", "code", "component"), RULES, ids=lambda value: str(value)[:40])
def test_every_rule_that_a_document_breaks_is_a_reason(changed: dict[str, Any], code: str, component: str) -> None:
    proof = AWS.judge(AWS.document(**changed))
    (parse,) = (step for step in proof.steps if step.name is StepName.PARSE)
    assert [(reason.code, reason.component) for reason in parse.reasons] == [(code, component)]
    assert outcomes(proof)["parse"] == ("not_possible" if code == "field_unknown" else "failed")
    assert not proof.genuine
    assert proof.claims is None


def test_names_of_fields_are_text() -> None:
    assert why(AWS.judge(AWS.sign(cbor({**AWS.fields(), 7: "blue"}))), StepName.PARSE) == {"field_unknown"}


def test_all_that_is_wrong_is_said_at_once() -> None:
    proof = AWS.judge(AWS.document(digest="MD5", timestamp=0, nonce=bytes(600), pcrs={0: b"", 40: bytes(48)}))
    assert [reason.component for reason in proof.steps[0].reasons] == ["digest", "timestamp", "pcr0", "pcrs", "nonce"]


PAYLOAD = cbor(AWS.fields())


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (AWS.sign(PAYLOAD, protected=b"\xa1\x01\x26"), "unsupported_algorithm"),
        (AWS.sign(PAYLOAD, protected=b"\xa0"), "unsupported_algorithm"),
        (AWS.sign(PAYLOAD, protected=b""), "unsupported_algorithm"),
        (AWS.sign(PAYLOAD, protected=b"\xa2\x01\x38\x22\x04\x41k"), "field_not_as_specified"),
        (AWS.sign(PAYLOAD, protected=b"\xa2\x01\x38\x22\x02\x81\x01"), "evidence_unreadable"),
        (AWS.sign(PAYLOAD, unprotected={4: b"k"}), "field_not_as_specified"),
        (AWS.sign(b""), "evidence_unreadable"),
        (AWS.sign(cbor([1])), "field_not_as_specified"),
        (AWS.sign(PAYLOAD + b"\x00"), "evidence_unreadable"),
        (AWS.sign(cbor(AWS.fields(user_data=b""))[:-7] + cbor("user_data") + cbor(b"")), "evidence_unreadable"),
        (AWS.sign(cbor({**AWS.fields(), "x": bytes(16384)})), "field_not_as_specified"),
        (AWS.document() + b"\x00", "evidence_unreadable"),
        (cbor([b"\xa1\x01\x38\x22", {}, PAYLOAD, bytes(95)]), "field_not_as_specified"),
        (cbor([b"\xa1\x01\x38\x22", {}, None, bytes(96)]), "evidence_unreadable"),
    ],
)
def test_another_message_than_aws_signs_is_refused(raw: bytes, code: str) -> None:
    proof = AWS.judge(raw)
    assert code in why(proof, StepName.PARSE)
    assert not proof.genuine


# -- the chain


def bundled(*changes: tuple[int, bytes]) -> bytes:
    bundle = AWS.bundle()
    for place, certificate in changes:
        bundle[place] = certificate
    return AWS.document(cabundle=bundle)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (AWS.document(cabundle=AWS.bundle()[:3]), "chain_incomplete"),
        (AWS.document(cabundle=AWS.bundle()[1:]), "chain_wrong_shape"),
        (AWS.document(cabundle=AWS.bundle()[::-1]), "chain_wrong_shape"),
        (AWS.document(cabundle=[*AWS.bundle(), AWS.leaf()]), "chain_wrong_shape"),
        (AWS.document(cabundle=[*AWS.bundle(), b"no certificate"]), "certificate_unreadable"),
        (AWS.document(certificate=b"no certificate"), "certificate_unreadable"),
        (bundled((3, AWS.certify(AWS.host, AWS.zonal, ca=False))), "chain_not_a_ca"),
        (bundled((3, AWS.certify(AWS.host, AWS.zonal, length=0, usage=None))), "chain_not_a_ca"),
        (bundled((2, AWS.certify(AWS.zonal, AWS.regional, length=0))), "chain_not_a_ca"),
        (bundled((1, AWS.certify(AWS.regional, AWS.root_name, critical=True))), "chain_critical_extension"),
        (bundled((2, World("strangers").bundle()[2])), "chain_signature_invalid"),
        (AWS.document(certificate=AWS.leaf(usage=None)), "chain_wrong_shape"),
        (AWS.document(certificate=AWS.leaf(ca=True)), "chain_wrong_shape"),
        (AWS.document(certificate=AWS.leaf(ca=True, usage="sign")), "chain_wrong_shape"),
        (AWS.document(certificate=AWS.leaf(ca=True, length=0, usage="sign")), "chain_wrong_shape"),
        (AWS.document(certificate=AWS.leaf(issuer=AWS.zonal)), "chain_wrong_shape"),
        (AWS.document(certificate=AWS.leaf(public=other_curve("x").public_key())), "chain_wrong_shape"),
        (World("strangers").document(), "chain_untrusted_root"),
    ],
)
def test_a_chain_that_is_not_as_aws_makes_them_is_refused(raw: bytes, code: str) -> None:
    proof = AWS.judge(raw)
    assert why(proof, StepName.CHAIN) == {code}
    assert outcomes(proof)["chain"] == "failed"
    assert not proof.genuine
    assert proof.root is None
    assert proof.valid_until is None


def test_a_root_of_another_vendor_vouches_for_nothing() -> None:
    proof = AWS.judge(AWS.document(), roots=[replace(AWS.root(), vendor=AMD)])
    assert not proof.genuine
    assert proof.root is None


def test_without_a_root_nothing_is_proven() -> None:
    proof = AWS.judge(AWS.document(), roots=[])
    assert (outcomes(proof)["chain"], outcomes(proof)["signature"]) == ("failed", "passed")
    assert outcomes(proof)["revocation"] == "not_possible"
    claims = claims_of(proof)
    assert (claims.family, "region" in claims.measurements) == ("nitro/unknown", False)


# -- time


def test_trust_ends_with_the_leaf() -> None:
    proof = AWS.judge(AWS.document())
    assert proof.valid_until == NOW + 2 * HOUR
    assert appraise(proof, POLICY, NOW, OURS).trusted_until is None  # no challenge was given
    fresh = AWS.judge(AWS.document(nonce=CHALLENGE), challenge=CHALLENGE)
    assert appraise(fresh, POLICY, NOW, OURS).trusted_until == NOW + 2 * HOUR


@pytest.mark.parametrize(
    ("at", "code"),
    [
        (NOW + 2 * HOUR + timedelta(seconds=1), "certificate_expired"),
        (NOW + 30 * DAY, "certificate_expired"),
        (NOW - HOUR - timedelta(seconds=1), "certificate_not_yet_valid"),
    ],
)
def test_a_leaf_that_is_not_in_force_proves_nothing_and_accuses_nobody(at: datetime, code: str) -> None:
    proof = AWS.judge(AWS.document(), at=at)
    assert code in why(proof, StepName.CHAIN)
    assert outcomes(proof)["chain"] == "not_possible"
    assert not proof.genuine
    assert appraise(proof, POLICY, at, Circumstances(received=NOW)).tier is Tier.NONE


@pytest.mark.parametrize("at", [NOW - HOUR, NOW, NOW + 2 * HOUR])
def test_it_is_in_force_to_the_second(at: datetime) -> None:
    assert AWS.judge(AWS.document(timestamp=int(at.timestamp()) * MS), at=at).unproven == ()


@pytest.mark.parametrize("made", [NOW - HOUR - timedelta(milliseconds=1), NOW + 2 * HOUR + timedelta(milliseconds=1)])
def test_a_document_from_when_its_leaf_was_not_in_force_is_refused(made: datetime) -> None:
    raw = AWS.document(timestamp=round(made.timestamp() * MS))
    proof = AWS.judge(raw)
    assert why(proof, StepName.BINDING) == {"timestamp_outside_certificate"}
    assert outcomes(proof)["binding"] == "failed"


def test_a_document_from_the_future_is_not_believed_yet() -> None:
    def at(ahead: timedelta) -> Proof:
        return AWS.judge(AWS.document(timestamp=int((NOW + ahead).timestamp() * MS)))

    assert at(AHEAD).unproven == ()
    proof = at(AHEAD + timedelta(milliseconds=1))
    assert (outcomes(proof)["binding"], why(proof, StepName.BINDING)) == ("not_possible", {"document_from_future"})


def test_a_certificate_above_the_leaf_may_end_first() -> None:
    host = AWS.certify(AWS.host, AWS.zonal, length=0, end=NOW + HOUR)
    bundle = [*AWS.bundle()[:3], host]
    assert AWS.judge(AWS.document(cabundle=bundle)).valid_until == NOW + HOUR


# -- signature and binding


def test_any_change_of_what_is_signed_is_refused() -> None:
    raw = AWS.document(nonce=CHALLENGE, user_data=b"data", public_key=b"key")
    assert AWS.judge(raw).unproven == ()
    for place in range(len(raw)):
        for bit in (1, 0x80):
            changed = raw[:place] + bytes([raw[place] ^ bit]) + raw[place + 1 :]
            proof = AWS.judge(changed)
            assert proof.unproven, place


def test_a_signature_by_another_key_is_refused() -> None:
    proof = AWS.judge(AWS.sign(PAYLOAD, by="somebody"))
    assert why(proof, StepName.SIGNATURE) == {"signature_invalid"}
    again = AWS.collateral()
    for _ in range(2):  # what did not hold once is not checked again, and does not hold then either
        proof = verify(Evidence(AWS.sign(PAYLOAD, by="somebody")), again, NOW)
        assert why(proof, StepName.SIGNATURE) == {"signature_invalid"}


def test_a_signature_with_data_from_outside_is_refused() -> None:
    assert why(AWS.judge(AWS.sign(PAYLOAD, external=b"x")), StepName.SIGNATURE) == {"signature_invalid"}


def test_a_memo_serves_the_very_certificates_alone() -> None:
    collateral = AWS.collateral()
    assert verify(Evidence(AWS.document()), collateral, NOW).unproven == ()
    assert verify(Evidence(AWS.document()), collateral, NOW).unproven == ()
    other = AWS.document(cabundle=AWS.bundle()[1:])
    assert why(verify(Evidence(other), collateral, NOW), StepName.CHAIN) == {"chain_wrong_shape"}


def test_one_instance_cannot_speak_for_another() -> None:
    """An instance holds the key of a CA: whoever gets hold of it can make leaves of any name."""
    other = "i-0fedcba9876543210"
    module = f"{other}-{ENCLAVE}"
    pcrs = {**AWS.fields()["pcrs"], 4: hashlib.sha384(bytes(48) + other.encode()).digest()}
    stolen = AWS.fields(module_id=module, certificate=AWS.leaf(module=module), pcrs=pcrs)
    proof = AWS.judge(AWS.sign(cbor(stolen), by=f"{module}.{AWS.region}.aws"))
    assert (outcomes(proof)["chain"], outcomes(proof)["signature"]) == ("passed", "passed")
    assert [(r.code, r.component) for r in proof.steps[4].reasons] == [("module_mismatch", "cabundle")]
    assert not proof.genuine


@pytest.mark.parametrize(
    ("changed", "component"),
    [
        ({"module_id": f"{INSTANCE}-enc00"}, "certificate"),
        ({"pcrs": {0: b"\xa0" * 48, 4: b"\x04" * 48}}, "pcr4"),
    ],
)
def test_leaf_and_pcr4_are_of_the_enclave_that_is_named(changed: dict[str, Any], component: str) -> None:
    proof = AWS.judge(AWS.document(**changed))
    assert [(r.code, r.component) for r in proof.steps[4].reasons] == [("module_mismatch", component)]


def test_a_pcr4_that_nothing_was_measured_into_says_nothing() -> None:
    for pcrs in ({0: b"\xa0" * 48, 4: bytes(48)}, {0: b"\xa0" * 48}):
        assert AWS.judge(AWS.document(pcrs=pcrs)).unproven == ()


# -- freshness and keys


@pytest.mark.parametrize(
    "places",
    [
        {"nonce": CHALLENGE},
        {"nonce": hashlib.sha256(CHALLENGE).digest()},
        {"nonce": hashlib.sha512(CHALLENGE).digest()},
        {"nonce": CHALLENGE.ljust(64, b"\0")},
        {"user_data": CHALLENGE},
        {"user_data": hashlib.sha384(CHALLENGE).digest().ljust(64, b"\0")},
        {"nonce": b"something else", "user_data": CHALLENGE},
        {"nonce": CHALLENGE, "user_data": b"x" * 512},
    ],
)
def test_the_challenge_may_be_in_nonce_or_user_data(places: dict[str, bytes]) -> None:
    assert outcomes(AWS.judge(AWS.document(**places), challenge=CHALLENGE))["freshness"] == "passed"


@pytest.mark.parametrize(
    "places",
    [
        {},
        {"nonce": b""},
        {"nonce": CHALLENGE[:-1]},
        {"nonce": CHALLENGE + b"x"},
        {"user_data": b"x" + CHALLENGE},
        {"public_key": CHALLENGE},
        {"user_data": CHALLENGE + bytes(100)},
    ],
)
def test_a_document_made_for_something_else_is_not_fresh(places: dict[str, bytes]) -> None:
    proof = AWS.judge(AWS.document(**places), challenge=CHALLENGE)
    assert why(proof, StepName.FRESHNESS) == {"challenge_mismatch"}


def test_a_challenge_may_be_longer_than_report_data_elsewhere() -> None:
    long = bytes(range(256))
    assert outcomes(AWS.judge(AWS.document(nonce=long), challenge=long))["freshness"] == "passed"
    assert outcomes(AWS.judge(AWS.document(nonce=long[:-1]), challenge=long))["freshness"] == "failed"


def test_a_challenge_that_could_be_guessed_is_none() -> None:
    proof = AWS.judge(AWS.document(nonce=b"short"), challenge=b"short")
    assert why(proof, StepName.FRESHNESS) == {"challenge_too_short"}


def test_which_key_is_bound_is_a_claim() -> None:
    def bound(sent: bytes | None = None, **places: bytes) -> tuple[str | None, str, set[str]]:
        proof = AWS.judge(AWS.document(**places), challenge=CHALLENGE, key=sent)
        return claims_of(proof).key, outcomes(proof)["freshness"], why(proof, StepName.FRESHNESS)

    own, tls = hashlib.sha256(b"enclave's key").hexdigest(), hashlib.sha256(b"TLS key").hexdigest()
    together = hashlib.sha256(b"TLS key" + CHALLENGE).digest()
    assert bound(nonce=CHALLENGE, public_key=b"enclave's key") == (own, "passed", set())
    assert bound(b"enclave's key", nonce=CHALLENGE, public_key=b"enclave's key") == (own, "passed", set())
    assert bound(b"TLS key", user_data=together) == (tls, "passed", set())
    assert bound(b"TLS key", user_data=together, public_key=b"enclave's key") == (tls, "passed", set())
    assert bound(b"another", nonce=CHALLENGE, public_key=b"enclave's key") == (own, "passed", {"key_not_bound"})
    assert bound(b"another", nonce=CHALLENGE) == (None, "passed", {"key_not_bound"})
    only = hashlib.sha256(b"TLS key").digest()
    assert bound(b"TLS key", user_data=only) == (tls, "not_possible", {"challenge_not_bound"})
    assert bound(b"TLS key", user_data=only, nonce=b"x" * 32) == (tls, "not_possible", {"challenge_not_bound"})


def test_dressed_otherwise_it_is_the_same_replay_key() -> None:
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
    raw = AWS.document()
    turned = raw[:-48] + (order - int.from_bytes(raw[-48:], "big")).to_bytes(48, "big")  # SEC 2, 2.5.1
    payload = cbor(AWS.fields())
    longer = raw.replace(head(2, len(payload)) + payload, b"\x5a" + len(payload).to_bytes(4, "big") + payload)
    first = key_of(raw, AWS.judge(raw))
    for other in (b"\xd2" + raw, turned, longer):
        proof = AWS.judge(other)
        assert proof.unproven == ()
        assert proof.evidence != first
        assert key_of(other, proof) == first
    again = AWS.document()
    assert key_of(again, AWS.judge(again)) != first, "the same document, signed once more"
    late = AWS.judge(b"\xd2" + raw, at=NOW + DAY)
    assert late.unproven == (StepName.CHAIN,)
    assert key_of(b"\xd2" + raw, late) == first, "sent once more when its leaf has ended"
    for forged in (raw[:-49] + bytes([raw[-49] ^ 1]) + raw[-48:], World("strangers").document()):
        assert key_of(forged, AWS.judge(forged, at=NOW + DAY)) == AWS.judge(forged).evidence


# -- is it good enough?


def known(state: str = "known", **conditions: Any) -> ReferenceSet:
    asked = conditions or {f"pcr{i}": IMAGE[i].hex() for i in (0, 1, 2)}
    data = {"tee": "nitro", "state": state, "conditions": asked, "by": "ann", "source": "a build"}
    return ReferenceSet.from_data("release", data)


POLICY = Policy(reference_values=(known(),))
OURS = Circumstances(received=NOW, recognition=Recognition.OURS)


def appraised(world: World = AWS, policy: Policy = POLICY, **changed: Any) -> Any:
    proof = world.judge(world.document(nonce=CHALLENGE, **changed), challenge=CHALLENGE)
    return appraise(proof, policy, NOW, OURS)


def test_a_good_enclave_is_affirmed_under_the_default_policy_with_reference_values() -> None:
    verdict = appraised()
    assert (verdict.tier, verdict.barred, verdict.reasons) == (Tier.AFFIRMING, (), ())
    assert verdict.vector == {HARDWARE: 2, CONFIGURATION: 2, IDENTITY: 2, EXECUTABLES: 3}
    assert verdict.reference == "release"


def test_without_reference_values_nothing_says_what_runs() -> None:
    verdict = appraised(policy=Policy())
    assert (verdict.tier, verdict.vector[EXECUTABLES]) == (Tier.NONE, 0)


def test_another_image_is_unknown() -> None:
    for index in (0, 1, 2):
        other = replace(AWS, image={**IMAGE, index: b"\xee" * 48})
        verdict = appraised(other)
        assert (verdict.tier, verdict.vector[EXECUTABLES]) == (Tier.WARNING, 33)
        assert (f"pcr{index}", "measurement_differs") in {(r.component, r.code) for r in verdict.reasons}


def test_a_set_of_pcr0_alone_leaves_the_rest_open() -> None:
    verdict = appraised(policy=Policy(reference_values=(known(pcr0=IMAGE[0].hex()),)))
    assert {r.component for r in verdict.reasons if r.code == "measurement_left_open"} == {"pcr1", "pcr2"}


def test_a_signed_image_is_known_by_its_signer() -> None:
    policy = Policy(reference_values=(known(signer={"signed_by": "88" * 48}),))
    signed = replace(AWS, image={**IMAGE, 8: b"\x88" * 48})
    assert appraised(signed, policy).tier is Tier.AFFIRMING
    assert appraised(replace(AWS, image={**IMAGE, 8: b"\x89" * 48}), policy).vector[EXECUTABLES] == 33


def test_an_image_that_nobody_signed_has_no_signer() -> None:
    """PCR8 is zero of every unsigned image: it must not vouch for them all."""
    policy = Policy(reference_values=(known(signer={"signed_by": "00" * 48}),))
    assert appraised(policy=policy).vector[EXECUTABLES] == 33
    assert appraised(policy=Policy(reference_values=(known(pcr8="00" * 48),))).vector[EXECUTABLES] == 0


def test_debug_is_contraindicated() -> None:
    debug = replace(AWS, image=dict.fromkeys(range(3), bytes(48)))
    verdict = appraised(debug)
    assert (verdict.tier, verdict.vector[CONFIGURATION]) == (Tier.CONTRAINDICATED, 96)
    zeros = Policy(reference_values=(known(**{f"pcr{i}": "00" * 48 for i in (0, 1, 2)}),))
    assert appraised(debug, zeros).tier is Tier.CONTRAINDICATED
    assert appraised(debug, replace(POLICY, production=False)).tier is Tier.WARNING


def test_what_its_document_does_not_measure_may_be_debug() -> None:
    assert appraised(pcrs={3: b"\x03" * 48}).tier is Tier.CONTRAINDICATED


def test_a_policy_may_ask_for_a_role_or_a_region() -> None:
    asked = Policy.from_data({"require": {"nitro": {"region": ["eu-test-1"], "pcr3": "00" * 48}}})
    assert CONFIGURATION not in {r.component for r in appraised(policy=asked).reasons}
    assert appraised(policy=asked).vector[CONFIGURATION] == 2
    elsewhere = Policy.from_data({"require": {"nitro": {"region": "us-east-1"}}})
    assert appraised(policy=elsewhere).vector[CONFIGURATION] == 32


def test_a_set_is_printed_of_what_was_measured() -> None:
    values = reference_values(AWS.judge(AWS.document()), "document")
    assert values["conditions"] == {f"pcr{i}": IMAGE[i].hex() for i in (0, 1, 2)}
    debug = replace(AWS, image=dict.fromkeys(range(3), bytes(48)))
    with pytest.raises(Fault, match="nothing was measured"):
        reference_values(debug.judge(debug.document()), "document")


# -- whatever else comes


def test_it_is_told_by_its_bytes() -> None:
    raw = AWS.document()
    assert detect(raw) == detect(b"\xd2" + raw) == Format("nitro")
    turned = AWS.sign(cbor(dict(reversed(AWS.fields().items()))))
    assert detect(turned) == Format("nitro")
    tpm = AWS.sign(cbor({"module_id": INSTANCE, "nitrotpm_pcrs": {0: bytes(48)}}))
    assert detect(tpm) is None
    found = recognise(tpm)
    assert found is not None
    assert found.name == "AWS NitroTPM attestation document"


def test_fields_point_at_the_bytes_they_name() -> None:
    raw = b"\xd2" + AWS.document(nonce=CHALLENGE, public_key=b"key")
    found = {one.name: one for one in fields(Evidence(raw))}
    assert {"module_id", "pcr0", "pcr15", "certificate", "cabundle_0", "nonce", "public_key", "signature"} <= set(found)
    assert "user_data" not in found
    for name in ("pcr0", "pcr4", "nonce", "public_key", "signature", "protected"):
        one = found[name]
        assert raw[one.offset : one.offset + one.length].hex() == one.value
    one = found["module_id"]
    assert raw[one.offset : one.offset + one.length].decode() == one.value == AWS.module
    one = found["cabundle_3"]
    assert raw[one.offset : one.offset + one.length] == AWS.bundle()[3]
    assert [f.offset for f in fields(Evidence(raw))] == sorted(f.offset for f in found.values())
    assert fields(Evidence(b"\x84nothing", Format("nitro"))) == ()
    assert fields(Evidence(AWS.document(digest="MD5"))) == ()


def test_the_console_shows_the_bytes_behind_a_reason() -> None:
    raw = AWS.document(nonce=CHALLENGE)
    found = explain.read(raw, "nitro")
    shown = {"debug": "pcr0", "measurement": "pcr0", "pcr4": "pcr4", "freshness": "nonce", "timestamp": "timestamp"}
    shown |= {"certificate": "certificate", "cabundle": "cabundle_3", "document": "signature", "signer": "pcr8"}
    for component, name in shown.items():
        place = explain.place(found, {"component": component}, "nitro")
        assert place is not None
        assert place.name == name
    assert explain.lines(raw, found)


def test_every_truncation_gives_a_verdict() -> None:
    raw = AWS.document()
    for size in range(0, len(raw), 7):
        proof = AWS.judge(raw[:size])
        assert not proof.genuine
        assert why(proof, StepName.PARSE) == {"evidence_unreadable"}


def test_oversized_evidence_gives_a_verdict() -> None:
    assert not AWS.judge(AWS.document() + bytes(MAX_EVIDENCE)).genuine


@slow
@given(st.binary(max_size=400))
def test_any_bytes_give_a_verdict(raw: bytes) -> None:
    proof = AWS.judge(raw)
    assert not proof.genuine
    assert {step.name for step in proof.steps} == set(StepName)


_LEAVES = st.none() | st.booleans() | st.integers(-3, 2**64 - 1) | st.binary(max_size=70) | st.text(max_size=8)
_ANYTHING = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers(0, 40), inner)
)


@slow
@given(st.dictionaries(st.sampled_from(sorted(AWS.fields())), _ANYTHING, max_size=4))
def test_any_signed_fields_give_a_verdict(changed: dict[str, Any]) -> None:
    """Whoever holds a leaf's key can sign what he likes: it must be read, or refused with a reason."""
    raw = AWS.document(**changed)
    proof = AWS.judge(raw, challenge=CHALLENGE)
    assert {step.name for step in proof.steps} == set(StepName)
    assert proof.claims is not None or codes(proof)
    fields(Evidence(raw, Format("nitro")))
    Proof.from_data(proof.to_data())
    appraise(proof, POLICY, NOW, OURS)


@slow
@given(st.data())
def test_changed_bytes_prove_nothing_else(data: st.DataObject) -> None:
    """An honest document may be written in several ways (the tag, lengths); whatever is proven says what it said."""
    raw = bytearray(AWS.document(nonce=CHALLENGE))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    proof = AWS.judge(bytes(raw))
    if not proof.unproven:
        assert proof.claims == replace(
            claims_of(AWS.judge(AWS.document(nonce=CHALLENGE))), native=claims_of(proof).native
        )


def test_a_proof_that_was_kept_says_the_same() -> None:
    proof = AWS.judge(AWS.document(nonce=CHALLENGE, public_key=b"key"), challenge=CHALLENGE)
    kept = Proof.from_data(proof.to_data())
    assert appraise(kept, POLICY, NOW, OURS) == appraise(proof, POLICY, NOW, OURS)
