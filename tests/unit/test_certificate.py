"""Certificates and chains: read strictly, linked only where every rule holds, in whatever order they come."""

from __future__ import annotations

import warnings
from functools import cache
from itertools import permutations
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA224, SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from intel_world import DAY, MADE, NOW, World, certificate, integer, key, name_of, oid, pem, tlv

from ratchet.collateral.roots import AMD, INTEL, BadRoot, root_from, vendor_roots
from ratchet.x509 import der
from ratchet.x509.chain import (
    Algorithm,
    BadCertificate,
    Certificate,
    NoPath,
    Path,
    as_der,
    lowest,
    path,
    pem_blocks,
    read_certificate,
    read_chain,
    read_crl,
    signed_by,
)

ROOT = certificate("root", "root", ca=True, path_length=1)
CA = certificate("ca", "root", ca=True, path_length=0)
LEAF = certificate("leaf", "ca", serial=99)
NO_CA_BELOW_EXAMPLE = tlv(0x30, tlv(0xA1, tlv(0x30, tlv(0x82, b"example"))))  # name constraints (RFC 5280, 4.2.1.10)
TRUSTED = (root_from("root", INTEL, ROOT, "test", simulated=True),)


def link(leaf: bytes, *others: bytes) -> Path | NoPath:
    return path(read_certificate(leaf), [read_certificate(one) for one in others], TRUSTED)


def fault(leaf: bytes, *others: bytes) -> str:
    found = link(leaf, *others)
    assert isinstance(found, NoPath)
    return found.code


# Reading.


def test_a_certificate_is_read_as_another_reader_reads_it() -> None:
    for raw in (ROOT, CA, LEAF, World().pck_der()):
        ours, theirs = read_certificate(raw), x509.load_der_x509_certificate(raw)
        assert ours.serial == theirs.serial_number
        assert (ours.not_before, ours.not_after) == (theirs.not_valid_before_utc, theirs.not_valid_after_utc)
        assert ours.issuer == theirs.issuer.public_bytes()
        assert ours.subject == theirs.subject.public_bytes()
        assert ours.subject_name == theirs.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
        assert ours.tbs == theirs.tbs_certificate_bytes
        assert ours.signature == theirs.signature
        assert ours.fingerprint == theirs.fingerprint(SHA256()).hex()
        assert ours.key == theirs.public_key()
        constraints = theirs.extensions.get_extension_for_class(x509.BasicConstraints).value
        assert (ours.is_ca, ours.path_length) == (constraints.ca, constraints.path_length)
        untyped = {e.oid.dotted_string for e in theirs.extensions if isinstance(e.value, x509.UnrecognizedExtension)}
        assert set(ours.extensions) == untyped
        assert ours.key_id == theirs.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def test_a_serial_number_of_zero_is_read() -> None:
    """AMD's leaves have it, though RFC 5280 forbids it."""
    zero = read_certificate(LEAF)
    at = zero.der.index(b"\x02\x01\x63")
    assert read_certificate(zero.der[:at] + b"\x02\x01\x00" + zero.der[at + 3 :]).serial == 0


def test_a_certificate_that_contradicts_itself_is_refused() -> None:
    algorithm = oid("1.2.840.10045.4.3.2")
    at = LEAF.rindex(algorithm)
    with pytest.raises(BadCertificate, match="algorithms differ"):
        read_certificate(LEAF[:at] + oid("1.2.840.10045.4.3.3") + LEAF[at + len(algorithm) :])
    with pytest.raises(BadCertificate, match="Duplicate"):
        read_certificate(LEAF.replace(oid("2.5.29.35"), oid("2.5.29.14")))
    with pytest.raises(BadCertificate, match="version"):
        read_certificate(LEAF.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01"))


def test_every_shipped_root_is_a_ca_that_signed_itself() -> None:
    for root in vendor_roots():
        found = read_certificate(root.der)
        assert found.may_sign_certificates
        assert found.fingerprint == root.fingerprint
        assert signed_by(found.key, found.algorithm, found.signature, found.tbs)
        assert root.source.startswith("https://")
        assert not root.simulated


def test_what_is_no_ca_is_no_root() -> None:
    for raw in (LEAF, b"", b"junk"):
        with pytest.raises(BadRoot):
            root_from("x", INTEL, raw, "test", simulated=True)


@pytest.mark.parametrize(
    "make", [lambda: rsa.generate_private_key(65537, 1024), lambda: ec.generate_private_key(ec.SECP521R1())]
)
def test_keys_that_no_vendor_uses_are_refused(make: Any) -> None:
    private = make()
    builder = (
        x509.CertificateBuilder()
        .subject_name(name_of("x"))
        .issuer_name(name_of("root"))
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(MADE)
        .not_valid_after(NOW)
    )
    raw = builder.sign(key("root"), SHA256()).public_bytes(Encoding.DER)
    with pytest.raises(BadCertificate, match="kind or size"):
        read_certificate(raw)


@cache
def rsa_key(size: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, size)


def signed_with_rsa(digest: Any, rsa_padding: Any, private: rsa.RSAPrivateKey | None = None) -> bytes:
    private = private or rsa_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(name_of("amd"))
        .issuer_name(name_of("amd"))
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(MADE)
        .not_valid_after(NOW)
        .add_extension(x509.BasicConstraints(True, None), critical=True)
    )
    return builder.sign(private, digest, rsa_padding=rsa_padding).public_bytes(Encoding.DER)


@pytest.mark.parametrize("digest", [SHA256(), SHA384(), SHA512()])
@pytest.mark.parametrize("family", ["rsa-pss", "rsa-pkcs1"])
def test_rsa_is_checked_with_the_padding_and_hash_that_were_named(family: str, digest: Any) -> None:
    size = digest.digest_size if family == "rsa-pss" else 0
    pad = padding.PSS(padding.MGF1(digest), size) if size else padding.PKCS1v15()
    found = read_certificate(signed_with_rsa(digest, pad))
    assert (found.algorithm.family, found.algorithm.digest.name, found.algorithm.salt) == (family, digest.name, size)
    assert signed_by(found.key, found.algorithm, found.signature, found.tbs)
    root = root_from("amd", AMD, found.der, "test", simulated=True)
    assert isinstance(path(found, (), (root,)), Path)
    assert not signed_by(found.key, found.algorithm, found.signature, found.tbs + b"\0")
    for other in ("rsa-pss", "rsa-pkcs1", "ecdsa"):
        for hashed in (SHA256(), SHA384(), SHA512()):
            algorithm = Algorithm(other, hashed, hashed.digest_size if other == "rsa-pss" else 0)
            same = (other, hashed.name) == (family, digest.name)
            assert signed_by(found.key, algorithm, found.signature, found.tbs) == same
    assert not signed_by(key("root").public_key(), found.algorithm, found.signature, found.tbs)


@pytest.mark.parametrize(
    ("digest", "pad"),
    [
        (SHA384(), padding.PSS(padding.MGF1(SHA384()), 32)),
        (SHA384(), padding.PSS(padding.MGF1(SHA256()), 48)),
        (SHA224(), padding.PSS(padding.MGF1(SHA224()), 28)),
        (SHA224(), padding.PKCS1v15()),
    ],
)
def test_paddings_and_hashes_that_no_vendor_uses_are_refused(digest: Any, pad: Any) -> None:
    with pytest.raises(BadCertificate, match="algorithm"):
        read_certificate(signed_with_rsa(digest, pad))


def test_rsa_keys_out_of_bounds_are_refused_wherever_they_come_from() -> None:
    """A token's key comes from no certificate: the rule is held where signatures are checked, too."""
    pkcs1 = Algorithm("rsa-pkcs1", SHA256())
    for size in (1024, 4224):
        private = rsa_key(size)
        with pytest.raises(BadCertificate, match="kind or size"):
            read_certificate(signed_with_rsa(SHA256(), padding.PKCS1v15(), private))
        signature = private.sign(b"token", padding.PKCS1v15(), SHA256())
        assert not signed_by(private.public_key(), pkcs1, signature, b"token")
    three = rsa.generate_private_key(3, 2048)
    assert not signed_by(three.public_key(), pkcs1, three.sign(b"token", padding.PKCS1v15(), SHA256()), b"token")
    good = rsa_key()
    assert signed_by(good.public_key(), pkcs1, good.sign(b"token", padding.PKCS1v15(), SHA256()), b"token")


# Linking.


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_path_is_found_in_any_order(order: tuple[int, ...]) -> None:
    others = [(ROOT, CA, LEAF)[i] for i in order]
    found = link(LEAF, *others)
    assert isinstance(found, Path)
    assert found.detail == "leaf <- ca <- root"
    assert (found.valid_from, found.valid_until) == (MADE, NOW + 3650 * DAY)
    assert lowest([read_certificate(one) for one in others]).subject_name == "leaf"


def test_the_root_need_not_be_sent_and_a_sent_one_is_not_believed() -> None:
    assert isinstance(link(LEAF, CA), Path)
    impostor = certificate("root", "root", ca=True, key_name="thief", signed_by="thief")
    forged = certificate("leaf", "root", signed_by="thief")
    assert fault(forged, impostor) in ("chain_signature_invalid", "chain_untrusted_root")
    stranger = certificate("elsewhere", "elsewhere", ca=True)
    assert fault(certificate("leaf", "elsewhere"), stranger) == "chain_untrusted_root"


def test_the_root_itself_has_a_path_of_its_own() -> None:
    found = link(ROOT)
    assert isinstance(found, Path)
    assert found.leaf.subject_name == "root"


def test_a_path_is_valid_while_all_of_it_is() -> None:
    short = certificate("ca", "root", ca=True, path_length=0, until=NOW)
    found = link(LEAF, short)
    assert isinstance(found, Path)
    assert found.valid_until == NOW


@pytest.mark.parametrize(
    ("others", "leaf", "code"),
    [
        ((), LEAF, "chain_incomplete"),
        ((certificate("ca", "root"),), LEAF, "chain_not_a_ca"),
        ((certificate("ca", "root", ca=True, usage="data"),), LEAF, "chain_not_a_ca"),
        ((CA,), certificate("leaf", "ca", signed_by="thief"), "chain_signature_invalid"),
        ((certificate("ca", "root", ca=True, signed_by="thief"),), LEAF, "chain_signature_invalid"),
        (
            (certificate("sub", "ca", ca=True), CA),
            certificate("leaf", "sub"),
            "chain_not_a_ca",  # the CA's path length is 0
        ),
        (
            (CA,),
            certificate("leaf", "ca", extensions=[("2.5.29.30", NO_CA_BELOW_EXAMPLE, True)]),
            "chain_critical_extension",
        ),
    ],
)
def test_a_chain_that_breaks_a_rule_is_no_path(others: tuple[bytes, ...], leaf: bytes, code: str) -> None:
    assert fault(leaf, *others) == code


def test_an_unknown_extension_that_is_not_critical_does_not_matter() -> None:
    assert isinstance(link(certificate("leaf", "ca", extensions=[("1.2.3.4", b"\x05\0", False)]), CA), Path)


def test_many_certificates_of_one_name_cannot_be_tried_in_every_order() -> None:
    """Each signed the next: without a limit the search would grow with the factorial of their number."""
    ring = [certificate("same", "same", ca=True, serial=i + 1) for i in range(16)]
    leaf = certificate("leaf", "same")
    checks = 0

    class Counting(dict[object, object]):
        def __contains__(self, item: object) -> bool:
            nonlocal checks
            checks += 1
            return super().__contains__(item)

    found = path(read_certificate(leaf), [read_certificate(one) for one in ring], TRUSTED, Counting())
    assert isinstance(found, NoPath)
    assert checks < 600


def test_the_memo_keeps_what_held_and_nothing_else() -> None:
    memo: dict[object, object] = {}
    good, bad = read_certificate(LEAF), read_certificate(certificate("leaf", "ca", signed_by="thief"))
    for _ in range(2):
        assert isinstance(path(good, [read_certificate(CA)], TRUSTED, memo), Path)
        assert isinstance(path(bad, [read_certificate(CA)], TRUSTED, memo), NoPath)
    assert not any(bad.fingerprint in repr(one) for one in memo)


# PEM.


def test_pem_is_found_between_whatever_else_there_is() -> None:
    text = b"# the chain\r\n" + pem(LEAF).replace(b"\n", b"\r\n") + b"\0\0 junk " + pem(CA) + b"\0"
    assert [c.subject_name for c in read_chain(text)] == ["leaf", "ca"]
    assert [c.subject_name for c in read_chain(LEAF)] == ["leaf"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"nothing",
        b"-----BEGIN CERTIFICATE-----",
        b"-----BEGIN CERTIFICATE-----\n####\n-----END CERTIFICATE-----",
        b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
        pem(LEAF) * 17,
    ],
)
def test_pem_that_is_none_is_refused(text: bytes) -> None:
    with pytest.raises(BadCertificate):
        read_chain(text)


# Revocation lists.


def test_a_list_is_read_as_another_reader_reads_it() -> None:
    for serials in ([], [1, 127, 128, 2**155 + 3]):
        raw = World().crl("ca", serials)
        ours, theirs = read_crl(raw), x509.load_der_x509_crl(raw)
        assert ours.revoked == {r.serial_number for r in theirs} == set(serials)
        assert (ours.this_update, ours.next_update) == (theirs.last_update_utc, theirs.next_update_utc)
        assert ours.tbs == theirs.tbs_certlist_bytes
        assert ours.issuer == theirs.issuer.public_bytes()
        assert signed_by(key("ca").public_key(), ours.algorithm, ours.signature, ours.tbs)


def test_a_delta_list_is_refused() -> None:
    """It names what was revoked since another list, and would pass for one that names all."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(name_of("ca")).last_update(MADE).next_update(NOW)
    builder = builder.add_extension(x509.DeltaCRLIndicator(1), critical=True)
    with pytest.raises(BadCertificate, match="delta"):
        read_crl(builder.sign(key("ca"), SHA256()).public_bytes(Encoding.DER))


# DER.


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x30",
        b"\x30\x80\0\0",
        b"\x30\x81\x7f" + bytes(127),
        b"\x30\x82\x00\x80" + bytes(128),
        b"\x30\x85\x01\0\0\0\0",
        b"\x1f\x01\x00",
        b"\x30\x02\x00",
    ],
)
def test_lengths_and_tags_that_der_does_not_allow_are_refused(raw: bytes) -> None:
    with pytest.raises(der.BadDer):
        der.element(raw, 0, len(raw))
    with pytest.raises(der.BadDer):
        der.children(raw or b"\x30", 0, max(len(raw), 1))


@settings(deadline=None)
@given(st.integers(-(2**80), 2**80))
def test_whole_numbers_are_read_in_their_shortest_form_only(value: int) -> None:
    size = (value.bit_length() if value >= 0 else (value + 1).bit_length()) // 8 + 1
    content = value.to_bytes(size, "big", signed=True)
    raw = tlv(2, content)
    assert der.integer(raw, der.element(raw, 0, len(raw))) == value
    padded = tlv(2, (b"\0" if value >= 0 else b"\xff") + content)
    with pytest.raises(der.BadDer):
        der.integer(padded, der.element(padded, 0, len(padded)))


# Bad input.


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_mutated_certificate_is_refused_or_does_not_link(data: st.DataObject) -> None:
    raw = bytearray(LEAF)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    if bytes(raw) == LEAF:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = read_certificate(bytes(raw))
        except BadCertificate:
            return
    assert isinstance(found, Certificate)
    assert isinstance(path(found, [read_certificate(CA)], TRUSTED), NoPath)


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from([read_certificate, read_crl, read_chain, pem_blocks]))
def test_random_bytes_are_refused_in_one_way_only(raw: bytes, reader: Any) -> None:
    for one in (raw, tlv(0x30, raw), b"-----BEGIN CERTIFICATE-----" + raw + b"-----END CERTIFICATE-----"):
        try:
            reader(one)
        except BadCertificate:
            continue


@settings(deadline=None)
@given(st.binary(min_size=64, max_size=64))
def test_any_64_bytes_can_be_asked_about(raw: bytes) -> None:
    assert not signed_by(key("ca").public_key(), read_certificate(CA).algorithm, as_der(raw), b"message")


def test_integers_of_the_helper_are_der() -> None:
    assert integer(200) == b"\x02\x02\x00\xc8"
