"""Intel SGX quotes: what is proven of them, step by step, and what no mutation may change."""

from __future__ import annotations

import base64
import struct
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intel_world import (
    CHALLENGE,
    DAY,
    NOW,
    World,
    certificate,
    codes,
    integer,
    isv_level,
    level,
    not_passed,
    outcomes,
    pem,
    step,
    tlv,
)

from ratchet.collateral import Collateral, Known
from ratchet.evidence import Evidence, Format, Outcome, Proof, StepName, fields, verify
from ratchet.evidence.intel.pck import read as read_pck
from ratchet.evidence.intel.quote import TEE_SGX, read
from ratchet.x509.certificate import read_certificate
from ratchet.x509.der import BadDer

WORLD = World(tee="sgx", version=3)
QUOTE = WORLD.quote()
COLLATERAL = WORLD.collateral()


def prove(raw: bytes, *, endorsements: tuple[bytes, ...] = (), challenge: bytes | None = CHALLENGE) -> Proof:
    return verify(Evidence(raw, None, endorsements, challenge), COLLATERAL, NOW)


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_genuine_quote_passes_every_step(version: int) -> None:
    proof = World(tee="sgx", version=version).prove()
    assert not_passed(proof) == set()
    assert proof.genuine
    assert proof.root is not None
    assert (proof.root.name, proof.root.simulated) == ("Test SGX Root CA", True)
    assert proof.tcb is not None
    assert (proof.tcb.merged, proof.tcb.platform, proof.tcb.qe, proof.tcb.module) == ("UpToDate",) * 3 + (None,)
    assert proof.valid_until == NOW + 20 * DAY


def test_claims_are_in_the_words_common_to_all_formats() -> None:
    claims = prove(QUOTE).claims
    assert claims is not None
    assert (claims.tee, claims.family, claims.platform) == ("sgx", "sgx/90c06f000000", "ppid:" + "11" * 16)
    assert (claims.measurement, claims.signer, claims.debug) == ("aa" * 32, "bb" * 32, False)
    assert claims.tcb == {**{f"sgx.{i}": 3 for i in range(16)}, "pcesvn": 13, "qe.isvsvn": 8}
    assert claims.bits == {
        "attributes.init": True,
        "attributes.debug": False,
        "attributes.mode64bit": True,
        "attributes.provision_key": False,
        "attributes.einittoken_key": False,
        "attributes.cet": False,
        "attributes.kss": False,
        "attributes.aexnotify": False,
        "isvprodid": 5,
        "isvsvn": 6,
        "configsvn": 0,
        "platform.dynamic": True,
        "platform.smt": False,
    }


def test_a_debug_enclave_is_genuine_and_says_so() -> None:
    proof = prove(WORLD.quote(attributes=b"\x07"))
    assert proof.genuine
    assert proof.claims is not None
    assert proof.claims.debug


def test_a_platform_without_ppid_is_known_by_its_instance() -> None:
    world = replace(WORLD, ppid=bytes(16))
    assert world.prove().claims.platform == "platform:" + "22" * 16
    nameless = replace(WORLD, ppid=bytes(16), instance=None)
    assert nameless.prove().claims.platform is None


# Each step fails for its own reason, and alone.


def test_a_changed_body_fails_the_signature_alone() -> None:
    raw = bytearray(QUOTE)
    raw[112] ^= 1
    proof = prove(bytes(raw))
    assert not_passed(proof) == {StepName.SIGNATURE}
    assert codes(proof) == {"signature_invalid"}
    assert not proof.genuine


def test_the_signature_is_checked_even_where_no_collateral_is_known() -> None:
    proof = verify(Evidence(QUOTE), Collateral((WORLD.root(),)), NOW)
    assert outcomes(proof) == {
        StepName.PARSE: Outcome.PASSED,
        StepName.CHAIN: Outcome.PASSED,
        StepName.REVOCATION: Outcome.NOT_POSSIBLE,
        StepName.SIGNATURE: Outcome.PASSED,
        StepName.BINDING: Outcome.PASSED,
        StepName.COLLATERAL: Outcome.NOT_POSSIBLE,
        StepName.FRESHNESS: Outcome.NOT_POSSIBLE,
    }
    assert codes(proof) == {"crl_missing", "collateral_missing", "no_challenge"}
    assert proof.tcb is None
    assert proof.genuine


def test_a_root_that_nobody_trusts_is_no_root() -> None:
    forged = World(prefix="Other", tee="sgx", version=3)
    proof = prove(forged.quote())
    assert codes(proof, StepName.CHAIN) == {"chain_untrusted_root"}
    assert proof.outcome(StepName.SIGNATURE) is Outcome.PASSED
    assert proof.outcome(StepName.BINDING) is Outcome.PASSED
    assert proof.outcome(StepName.REVOCATION) is Outcome.NOT_POSSIBLE
    assert proof.root is None
    assert not proof.genuine


def test_a_root_of_the_same_name_with_another_key_is_no_root() -> None:
    impostor = World(tee="sgx", version=3)
    other = Collateral((replace(World(prefix="Other").root(), name=impostor.root_name),))
    assert verify(Evidence(QUOTE), other, NOW).outcome(StepName.CHAIN) is Outcome.FAILED


def test_an_expired_certificate_fails_the_chain() -> None:
    world = replace(WORLD, pck_until=NOW - DAY)
    proof = world.prove()
    assert codes(proof, StepName.CHAIN) == {"certificate_expired"}
    assert proof.root is not None
    assert world.prove(at=NOW - 2 * DAY).outcome(StepName.CHAIN) is Outcome.PASSED


def test_a_revoked_platform_is_named_with_the_list_that_revokes_it() -> None:
    proof = replace(WORLD, revoked=[5, WORLD.pck_serial]).prove()
    assert not_passed(proof) == {StepName.REVOCATION}
    (reason,) = step(proof, StepName.REVOCATION).reasons
    assert (reason.code, reason.component) == ("certificate_revoked", "Test SGX PCK Certificate")


def test_a_revoked_ca_revokes_what_it_issued() -> None:
    proof = replace(WORLD, root_revoked=[WORLD.ca_serial]).prove()
    assert codes(proof) == {"certificate_revoked"}


def test_an_expired_list_still_revokes_and_no_longer_clears() -> None:
    stale = replace(WORLD, crl_until=NOW - DAY)
    cleared = stale.prove()
    assert cleared.outcome(StepName.REVOCATION) is Outcome.NOT_POSSIBLE
    assert codes(cleared, StepName.COLLATERAL) == {"crl_expired"}
    revoked = replace(stale, revoked=[WORLD.pck_serial]).prove()
    assert revoked.outcome(StepName.REVOCATION) is Outcome.FAILED


def test_an_attestation_key_of_another_enclave_is_not_bound() -> None:
    proof = prove(WORLD.quote(qe_report_data=b"\x01" * 64))
    assert not_passed(proof) == {StepName.BINDING}
    assert codes(proof) == {"ak_not_bound"}


def test_a_qe_report_that_another_platform_signed_is_not_bound() -> None:
    proof = prove(WORLD.quote(qe_key="somebody"))
    assert not_passed(proof) == {StepName.BINDING}
    assert codes(proof) == {"qe_report_signature_invalid"}


def test_an_enclave_that_is_not_intels_is_no_quoting_enclave() -> None:
    proof = prove(WORLD.quote(qe_signer=b"\x66" * 32))
    (reason,) = step(proof, StepName.BINDING).reasons
    assert (reason.code, reason.component, reason.got) == ("qe_identity_mismatch", "qe.mrsigner", "66" * 32)
    assert not proof.genuine


def test_an_attestation_key_that_is_no_point_is_refused() -> None:
    raw = bytearray(QUOTE)
    at = read(QUOTE, TEE_SGX).signature + 64
    raw[at : at + 64] = b"\x01" * 64
    assert codes(prove(bytes(raw)), StepName.SIGNATURE) == {"attestation_key_invalid"}


def test_signatures_of_nothing_are_refused_without_a_fuss() -> None:
    layout = read(QUOTE, TEE_SGX)
    for at in (layout.signature, layout.qe + 384):
        for value in (bytes(64), b"\xff" * 64):
            raw = bytearray(QUOTE)
            raw[at : at + 64] = value
            assert not prove(bytes(raw)).genuine


# Certification data: who the platform is.


def test_a_quote_with_an_encrypted_ppid_proves_no_platform() -> None:
    proof = prove(WORLD.quote(certification=(3, bytes(384 + 16 + 4))))
    assert proof.outcome(StepName.CHAIN) is Outcome.NOT_POSSIBLE
    assert proof.outcome(StepName.SIGNATURE) is Outcome.PASSED
    assert codes(proof, StepName.BINDING) == {"pck_missing"}
    assert proof.outcome(StepName.BINDING) is Outcome.NOT_POSSIBLE
    assert proof.claims is not None
    assert proof.claims.family == "sgx/unknown"


def test_a_chain_beside_such_a_quote_completes_it() -> None:
    raw = WORLD.quote(certification=(3, bytes(384 + 16 + 4)))
    proof = prove(raw, endorsements=(b"junk", WORLD.chain()))
    assert not_passed(proof) == set()
    stranger = prove(raw, endorsements=(World(prefix="Other", tee="sgx").chain(),))
    assert codes(stranger, StepName.BINDING) == {"qe_report_signature_invalid"}


def test_a_chain_beside_a_quote_does_not_replace_its_own() -> None:
    forged = World(prefix="Other", tee="sgx", version=3).quote()
    assert codes(prove(forged, endorsements=(WORLD.chain(),)), StepName.CHAIN) == {"chain_untrusted_root"}
    short = WORLD.quote(certification=(5, pem(WORLD.pck_der())))
    beside = prove(short, endorsements=(pem(WORLD.ca_der()),))
    assert beside == prove(short)
    assert codes(beside, StepName.CHAIN) == {"chain_incomplete"}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (0, 2, 1), (1, 0)])
@pytest.mark.parametrize("end", [b"", b"\0"])
def test_the_order_of_the_chain_and_its_end_do_not_matter(order: tuple[int, ...], end: bytes) -> None:
    ders = (WORLD.pck_der(), WORLD.ca_der(), WORLD.root_der())
    proof = prove(WORLD.quote(certification=(5, pem(*[ders[i] for i in order]) + end)))
    assert not_passed(proof) == set()


def test_a_chain_without_its_ca_is_incomplete() -> None:
    proof = prove(WORLD.quote(certification=(5, pem(WORLD.pck_der(), WORLD.root_der()))))
    assert codes(proof, StepName.CHAIN) == {"chain_incomplete"}


@pytest.mark.parametrize(
    ("chain", "code"),
    [
        (b"", "certificate_unreadable"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA", "certificate_unreadable"),
        (b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----", "certificate_unreadable"),
        (pem(WORLD.signer_der(), WORLD.root_der()), "not_a_pck"),
    ],
)
def test_a_chain_that_is_none_says_why(chain: bytes, code: str) -> None:
    proof = prove(WORLD.quote(certification=(5, chain)))
    assert proof.outcome(StepName.CHAIN) is Outcome.FAILED
    assert codes(proof, StepName.CHAIN) == {code}
    assert proof.outcome(StepName.SIGNATURE) is Outcome.PASSED


def test_a_pck_that_issues_certificates_is_no_ca() -> None:
    """Whoever holds a PCK key must not be able to mint another platform below it."""
    extension = ("1.2.840.113741.1.13.1", replace(WORLD, ppid=b"\x99" * 16).sgx_extension(), False)
    child = certificate("child", "Test SGX PCK Certificate", extensions=(extension,))
    chain = pem(child, WORLD.pck_der(), WORLD.ca_der(), WORLD.root_der())
    proof = prove(WORLD.quote(certification=(5, chain), qe_key="child"))
    assert codes(proof, StepName.CHAIN) == {"chain_not_a_ca"}
    assert not proof.genuine


# TCB status: the algorithm itself is in test_intel_collateral; here, that the quote's numbers reach it.


def test_an_old_quoting_enclave_makes_a_current_platform_out_of_date() -> None:
    world = replace(WORLD, qe_levels=[isv_level(9), isv_level(6, "OutOfDate", ["INTEL-SA-00615"])])
    tcb = world.prove().tcb
    assert tcb is not None
    assert (tcb.merged, tcb.platform, tcb.qe, tcb.advisories) == (
        "OutOfDate",
        "UpToDate",
        "OutOfDate",
        ("INTEL-SA-00615",),
    )


def test_an_old_platform_is_genuine_and_out_of_date() -> None:
    levels = [level(4), level(2, status="OutOfDate", advisories=["INTEL-SA-00586"])]
    proof = replace(WORLD, levels=levels).prove()
    assert proof.genuine
    assert proof.tcb is not None
    assert (proof.tcb.merged, proof.tcb.tcb_date) == ("OutOfDate", datetime(2025, 8, 13, tzinfo=UTC))
    below = replace(WORLD, levels=levels[:1]).prove()
    assert below.tcb is not None
    assert (below.tcb.merged, below.tcb.tcb_date) == ("NoMatchingTcbLevel", None)


# Freshness.


def test_freshness_is_the_challenge_in_report_data() -> None:
    assert prove(QUOTE).outcome(StepName.FRESHNESS) is Outcome.PASSED
    assert prove(QUOTE, challenge=b"another").outcome(StepName.FRESHNESS) is Outcome.FAILED
    assert not prove(QUOTE, challenge=b"another").genuine
    assert prove(QUOTE, challenge=None).outcome(StepName.FRESHNESS) is Outcome.NOT_POSSIBLE


# The memo changes how long an answer takes, never the answer.


def test_the_memo_never_changes_the_answer() -> None:
    known = WORLD.known()
    collateral = Collateral((WORLD.root(),), known)
    raw = bytearray(QUOTE)
    raw[112] ^= 1
    older = replace(WORLD, pck_serial=33)
    moments = [NOW, NOW + 40 * DAY, NOW - 40 * DAY, NOW - DAY / 2, NOW]
    for at in moments:
        for one in (QUOTE, bytes(raw), older.quote(), QUOTE + b"tail"):
            evidence = Evidence(one, challenge=CHALLENGE)
            assert verify(evidence, collateral, at) == verify(evidence, Collateral((WORLD.root(),), known), at)


def test_a_document_that_becomes_known_changes_the_answer_from_then_on() -> None:
    collateral = WORLD.collateral()
    evidence = Evidence(QUOTE, challenge=CHALLENGE)
    assert verify(evidence, collateral, NOW).tcb.merged == "UpToDate"
    later = replace(WORLD, evaluation=21, levels=[level(9), level(1, status="OutOfDate")])
    for known in later.known(at=NOW + DAY):
        collateral.add(known)
    assert verify(evidence, collateral, NOW).tcb.merged == "UpToDate"
    assert verify(evidence, collateral, NOW + DAY).tcb.merged == "OutOfDate"
    assert verify(evidence, collateral, NOW + 21 * DAY).outcome(StepName.COLLATERAL) is Outcome.FAILED


# Bad input.


@pytest.mark.parametrize(
    ("at", "value", "why"),
    [
        (0, b"\x06\0", "version 6"),
        (2, b"\x03\0", "attestation key type 3"),
        (4, b"\x81\0\0\0", "TEE type 0x81"),
        (12, bytes(16), "QE vendor"),
        (432, b"\xff\xff\xff\xff", "signature data of"),
    ],
)
def test_what_is_not_a_quote_says_why(at: int, value: bytes, why: str) -> None:
    raw = QUOTE[:at] + value + QUOTE[at + len(value) :]
    proof = verify(Evidence(raw, Format("sgx-quote")), COLLATERAL, NOW)
    assert why in step(proof, StepName.PARSE).detail
    assert outcomes(proof)[StepName.PARSE] is Outcome.FAILED
    assert {o for name, o in outcomes(proof).items() if name is not StepName.PARSE} == {Outcome.NOT_POSSIBLE}
    assert proof.claims is None
    assert not proof.genuine


def test_lengths_inside_the_signature_data_must_agree() -> None:
    for version in (3, 4):
        raw = World(tee="sgx", version=version).quote()
        layout = read(raw, TEE_SGX)
        for at in {layout.signed, layout.auth - 2, layout.auth_end + 2, layout.signature + 130}:
            changed = bytearray(raw)
            changed[at] ^= 1
            if at != layout.signature + 130 or version > 3:
                assert codes(prove(bytes(changed)), StepName.PARSE) == {"evidence_unreadable"}


def test_every_truncation_is_a_reason() -> None:
    for size in range(0, len(QUOTE), 7):
        proof = verify(Evidence(QUOTE[:size], Format("sgx-quote")), COLLATERAL, NOW)
        assert codes(proof, StepName.PARSE) == {"evidence_unreadable"}


def test_a_quote_beyond_the_limit_is_not_read() -> None:
    proof = verify(Evidence(QUOTE + bytes(65536)), COLLATERAL, NOW)
    assert codes(proof, StepName.PARSE) == {"evidence_unreadable"}


@settings(deadline=None)
@given(st.binary(max_size=1500))
def test_random_bytes_never_raise(raw: bytes) -> None:
    for form in (Format("sgx-quote"), None):
        proof = verify(Evidence(raw, form, (raw,), raw), COLLATERAL, NOW)
        assert [s.name for s in proof.steps] == list(StepName)
        assert not proof.genuine
    fields(Evidence(raw, Format("sgx-quote")))


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, len(QUOTE) - 1), flip=st.integers(1, 255))
def test_a_mutation_is_refused_where_it_is_signed_and_harmless_elsewhere(at: int, flip: int) -> None:
    raw = bytearray(QUOTE)
    raw[at] ^= flip
    proof = prove(bytes(raw))
    genuine = prove(QUOTE)
    if at < read(QUOTE, TEE_SGX).signed:
        assert not proof.genuine
    elif proof.genuine:
        # Only what nobody signs and nothing rests on may change: spaces between certificates, the PEM's root.
        assert replace(proof.claims, native=None) == replace(genuine.claims, native=None)
        assert proof.tcb == genuine.tcb


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_what_follows_a_quote_changes_nothing_but_its_id(tail: bytes) -> None:
    proof = prove(QUOTE + tail)
    genuine = prove(QUOTE)
    assert replace(proof, evidence=genuine.evidence, claims=genuine.claims) == genuine
    assert replace(proof.claims, native=None) == replace(genuine.claims, native=None)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_mutated_pck_certificate_never_raises_and_never_passes(data: st.DataObject) -> None:
    der = bytearray(WORLD.pck_der())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(der) - 1))
        der[at] ^= data.draw(st.integers(1, 255))
    if bytes(der) == WORLD.pck_der():
        return
    text = b"-----BEGIN CERTIFICATE-----\n" + base64.b64encode(bytes(der)) + b"\n-----END CERTIFICATE-----\n"
    proof = prove(WORLD.quote(certification=(5, text + pem(WORLD.ca_der()))))
    assert proof.outcome(StepName.CHAIN) is Outcome.FAILED
    assert not proof.genuine


# Every claim and its bytes.


def test_fields_point_at_the_bytes_they_name() -> None:
    for version in (3, 4, 5):
        raw = World(tee="sgx", version=version).quote()
        found = fields(Evidence(raw))
        assert [f.offset for f in found] == sorted(f.offset for f in found)
        for one in found:
            content = raw[one.offset : one.offset + one.length]
            assert one.value in (content.hex(), int.from_bytes(content, "little"))
        names = {f.name: f for f in found}
        assert names["mrenclave"].value == "aa" * 32
        assert names["report_data"].value == CHALLENGE.ljust(64, b"\0").hex()
        assert names["qe.isvsvn"].value == 8
        assert names["certification_data"].length == len(World(tee="sgx").chain())
    assert fields(Evidence(QUOTE[:100], Format("sgx-quote"))) == ()


def test_a_version_5_body_must_be_as_long_as_its_type() -> None:
    raw = World(tee="sgx", version=5).quote()
    for kind, size in ((1, 385), (2, 584), (4, 384)):
        changed = raw[:48] + struct.pack("<HI", kind, size) + raw[54:]
        assert codes(prove(changed), StepName.PARSE) == {"evidence_unreadable"}


def test_the_pck_extension_is_read_strictly() -> None:
    leaf = read_certificate(WORLD.pck_der())
    pck = read_pck(leaf)
    assert (pck.fmspc.hex(), pck.sgx, pck.pcesvn, pck.smt, pck.cached_keys) == (
        "90c06f000000",
        (3,) * 16,
        13,
        False,
        None,
    )
    whole = leaf.extensions["1.2.840.113741.1.13.1"]
    for broken in (b"", whole[:-1], tlv(0x30, integer(1)), tlv(0x30, whole), whole.replace(b"\x11" * 16, b"\x11" * 15)):
        with pytest.raises(BadDer):
            read_pck(replace(leaf, extensions={"1.2.840.113741.1.13.1": broken}))


def test_collateral_of_one_root_does_not_speak_for_another() -> None:
    """A quote of a platform below one root is never judged by what another root's signer says."""
    other = World(prefix="Other", tee="sgx", version=3)
    roots = (WORLD.root(), other.root())
    known: list[Known] = list(other.known())
    proof = verify(Evidence(QUOTE), Collateral(roots, known), NOW)
    assert proof.root == WORLD.root()
    assert codes(proof, StepName.COLLATERAL) == {"collateral_missing"}
    assert proof.tcb is None


def test_the_path_names_every_certificate_on_the_way() -> None:
    detail = step(prove(QUOTE), StepName.CHAIN).detail
    assert detail == "Test SGX PCK Certificate <- Test SGX PCK Platform CA <- Test SGX Root CA"
