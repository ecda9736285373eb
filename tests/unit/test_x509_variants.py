"""Certificates that are nearly right, each held against other readers: `cryptography`'s, and OpenSSL's behind `ssl`.

All are signed by their issuer, so that a signature that does not hold hides nothing. What another reader refuses is
never accepted here; what is accepted by both is read alike.
"""

from __future__ import annotations

import _ssl
import os
import random
import ssl
import warnings
from base64 import encodebytes
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.x509.name import _ASN1Type
from intel_world import World, certificate, integer, key, oid
from x509_world import (
    AKI,
    BASIC,
    BEGIN,
    ECDSA_SHA256,
    END,
    FALSE,
    GOOD,
    NULL,
    SALT_48,
    SHA256_NAME,
    SKI,
    TRUE,
    USAGE,
    Parts,
    attribute,
    both_say,
    crl,
    entry,
    extension,
    generalized,
    name,
    pss,
    sequence,
    sign,
    split,
    times,
    tlv,
    utc,
    with_extension,
)

from ratchet.x509 import der
from ratchet.x509.certificate import BadCertificate, Certificate, read_certificate, read_crl
from ratchet.x509.chain import signed_by

RESIGNED = 6000


def length_again(raw: bytes, form: Callable[[int], bytes]) -> bytes:
    """The outermost element with its length written otherwise."""
    tag, start, stop = der.element(raw, 0, len(raw))
    return bytes([tag]) + form(stop - start) + raw[start:]


RAW = GOOD.sign()

REFUSED: dict[str, Parts | bytes] = {
    # X.690, 8.1: tags and lengths
    "bytes behind it": RAW + b"\0",
    "the last byte missing": RAW[:-1],
    "a set instead of a sequence": b"\x31" + RAW[1:],
    "a primitive tag": b"\x10" + RAW[1:],
    "a tag of two bytes": b"\x3f\x10" + RAW[1:],
    "indefinite length": b"\x30\x80" + RAW[4:] + b"\0\0",
    "a length of three bytes where two do": length_again(RAW, lambda n: b"\x83" + n.to_bytes(3, "big")),
    "a length of five bytes": length_again(RAW, lambda n: b"\x85" + n.to_bytes(5, "big")),
    "a length beyond the end": length_again(RAW, lambda n: b"\x82" + (n + 1).to_bytes(2, "big")),
    "a short length in long form inside": replace(GOOD, serial=b"\x02\x81\x01\x63"),
    # RFC 5280, 4.1.1: the three parts
    "four parts": replace(GOOD, behind=NULL),
    "two parts": sequence(GOOD.tbs, GOOD.outer),
    "the signed part is a set": RAW.replace(GOOD.tbs, b"\x31" + GOOD.tbs[1:]),
    "a signature with unused bits": replace(GOOD, signature=tlv(3, b"\x01" + sign(GOOD.tbs)[:-1] + b"\0")),
    "a signature without its first byte": replace(GOOD, signature=tlv(3, b"")),
    "a signature that is an octet string": replace(GOOD, signature=tlv(4, sign(GOOD.tbs))),
    # 4.1.1.2 and 4.1.2.3: the algorithm
    "two algorithms": replace(GOOD, outer=sequence(oid("1.2.840.10045.4.3.3"))),
    "two algorithms, one with NULL": replace(GOOD, outer=sequence(ECDSA_SHA256, NULL)),
    "ECDSA with NULL": both_say(sequence(ECDSA_SHA256, NULL)),
    "ECDSA with SHA-1": both_say(sequence(oid("1.2.840.10045.4.1"))),
    "ECDSA with SHA-224": both_say(sequence(oid("1.2.840.10045.4.3.1"))),
    "no algorithm's name": both_say(sequence()),
    "Ed25519": both_say(sequence(oid("1.3.101.112"))),
    "RSA with MD5": both_say(sequence(oid("1.2.840.113549.1.1.4"), NULL)),
    "RSA with SHA-1": both_say(sequence(oid("1.2.840.113549.1.1.5"), NULL)),
    "RSA with SHA-256, parameters an octet string": both_say(sequence(oid("1.2.840.113549.1.1.11"), tlv(4, b""))),
    "PSS without parameters": both_say(sequence(oid("1.2.840.113549.1.1.10"))),
    "PSS with all defaults, which is SHA-1": both_say(sequence(oid("1.2.840.113549.1.1.10"), sequence())),
    "PSS with two hashes": pss(SALT_48, mask=SHA256_NAME),
    "PSS with more salt than hash": pss(tlv(0xA2, integer(49))),
    "PSS with a negative salt": pss(tlv(0xA2, b"\x02\x01\xff")),
    "PSS with the default salt written out": pss(tlv(0xA2, integer(20))),
    "PSS with another trailer": pss(SALT_48, trailer=tlv(0xA3, integer(2))),
    # 4.1.2.1: the version
    "version 1": replace(GOOD, version=b"", extensions=None),
    "version 1 with extensions": replace(GOOD, version=b""),
    "version 1 written out": replace(GOOD, version=b"\xa0\x03\x02\x01\x00"),
    "version 2": replace(GOOD, version=b"\xa0\x03\x02\x01\x01"),
    "version 4": replace(GOOD, version=b"\xa0\x03\x02\x01\x03"),
    "a version with padding": replace(GOOD, version=b"\xa0\x04\x02\x02\x00\x02"),
    "a version without its tag": replace(GOOD, version=b"\x02\x01\x02"),
    # 4.1.2.2: the serial number
    "a negative serial number": replace(GOOD, serial=b"\x02\x01\xff"),
    "a serial number with padding": replace(GOOD, serial=b"\x02\x02\x00\x63"),
    "an empty serial number": replace(GOOD, serial=b"\x02\x00"),
    "a serial number that is an octet string": replace(GOOD, serial=tlv(4, b"\x63")),
    "no serial number": replace(GOOD, serial=b""),
    # 4.1.2.4 and 4.1.2.6: names
    "an issuer that is a set": replace(GOOD, issuer=b"\x31" + GOOD.issuer[1:]),
    "no issuer": replace(GOOD, issuer=b""),
    "no subject": replace(GOOD, subject=b""),
    "a name with an empty part": replace(GOOD, subject=name(b"")),
    "a name that is no UTF-8": replace(GOOD, subject=name(attribute(b"\xff\xfe"))),
    "a name that is an integer": replace(GOOD, subject=name(attribute(b"\x01", tag=2))),
    "a name that is a bit string": replace(GOOD, subject=name(attribute(b"\0a", tag=3))),
    "a printable name that is none": replace(GOOD, subject=name(attribute(b"a*@", tag=0x13))),
    "a part whose attributes are not sorted": replace(
        GOOD, subject=name(attribute(b"z", kind="2.5.4.10") + attribute(b"a"))
    ),
    "a name of 33 parts": replace(GOOD, subject=name(*[attribute(b"a")] * 33)),
    "a part of 9 attributes": replace(
        GOOD, subject=name(b"".join(attribute(b"a", kind=f"2.5.4.{i}") for i in (3, 4, 5, 7, 8, 9, 10, 11, 12)))
    ),
    # 4.1.2.5: times
    "one time": times(BEGIN),
    "three times": times(BEGIN, END, END),
    "a time without seconds": times(utc(b"2601010000Z"), END),
    "a time with a zone": times(utc(b"260101000000+0000"), END),
    "a time with a fraction": times(generalized(b"20260101000000.5Z"), END),
    "a time without Z": times(generalized(b"20260101000000"), END),
    "the 13th month": times(utc(b"261301000000Z"), END),
    "the 30th of February": times(utc(b"260230000000Z"), END),
    "24 o'clock": times(utc(b"260101240000Z"), END),
    "a leap second": times(utc(b"260101000060Z"), END),
    "the year 0": times(generalized(b"00000101000000Z"), END),
    "a time that is text": times(tlv(0x0C, b"260101000000Z"), END),
    # 4.1.2.7: the key
    "no key": replace(GOOD, key=b""),
    "a key with more behind it": replace(GOOD, key=sequence(*split(GOOD.key), NULL)),
    "a key that is no point": replace(GOOD, key=GOOD.key[:-64] + bytes(64)),
    "a key of an unknown curve": replace(
        GOOD, key=GOOD.key.replace(oid("1.2.840.10045.3.1.7"), oid("1.2.3.4.5.6.7.8"))
    ),
    # 4.1.2.8: unique identifiers
    "two issuer ids": replace(GOOD, ids=tlv(0x81, b"\0\1") * 2),
    "ids in the wrong order": replace(GOOD, ids=tlv(0x82, b"\0\1") + tlv(0x81, b"\0\1")),
    "an id behind the extensions": replace(GOOD, more=tlv(0x81, b"\0\1")),
    # 4.2: extensions
    "a field of no known tag": replace(GOOD, more=tlv(0xA4, NULL)),
    "two blocks of extensions": replace(GOOD, more=tlv(0xA3, sequence(extension("1.2.3.4", NULL)))),
    "an extension twice": with_extension(extension(SKI, tlv(4, bytes(20)))),
    "an unknown extension twice": with_extension(extension("1.2.840.113741.1.13.1", NULL)),
    "critical that is neither true nor false": with_extension(extension("1.2.3.4", NULL, b"\x01\x01\x01")),
    "not critical, written out": with_extension(extension("1.2.3.4", NULL, FALSE)),
    "an extension without a value": with_extension(sequence(oid("1.2.3.4"))),
    "an extension with more behind it": with_extension(sequence(oid("1.2.3.4"), tlv(4, NULL), NULL)),
    "an extension whose value is no octet string": with_extension(sequence(oid("1.2.3.4"), NULL)),
    "an extension's name with padding": with_extension(sequence(tlv(6, b"\x2a\x80\x03"), tlv(4, NULL))),
    "65 extensions": replace(GOOD, extensions=tuple(extension(f"1.2.3.{i}", NULL) for i in range(65))),
    # 4.2.1.9: basic constraints
    "a CA by another truth": with_extension(extension(BASIC, sequence(b"\x01\x01\x01"), TRUE), BASIC),
    "no CA, written out": with_extension(extension(BASIC, sequence(FALSE), TRUE), BASIC),
    "a negative path length": with_extension(extension(BASIC, sequence(TRUE, b"\x02\x01\xff"), TRUE), BASIC),
    "a path length of nine bytes": with_extension(extension(BASIC, sequence(TRUE, integer(2**70)), TRUE), BASIC),
    "a path length without a CA": with_extension(extension(BASIC, sequence(integer(0)), TRUE), BASIC),
    "basic constraints of another type": with_extension(extension(BASIC, tlv(0x31, TRUE), TRUE), BASIC),
    "basic constraints with more inside": with_extension(
        extension(BASIC, sequence(TRUE, integer(0), NULL), TRUE), BASIC
    ),
    "basic constraints with more behind": with_extension(extension(BASIC, sequence(TRUE) + NULL, TRUE), BASIC),
    # 4.2.1.3: key usage
    "key usage of no bytes": with_extension(extension(USAGE, b"\x03\x00"), USAGE),
    "key usage with nine unused bits": with_extension(extension(USAGE, b"\x03\x02\x09\x80"), USAGE),
    "key usage with unused bits set": with_extension(extension(USAGE, b"\x03\x02\x07\xff"), USAGE),
    "key usage of another type": with_extension(extension(USAGE, tlv(4, b"\x80")), USAGE),
    # 4.2.1.1, 4.2.1.2 and others that a reader meets
    "a key identifier of another type": with_extension(extension(SKI, sequence()), SKI),
    "an issuer's key identifier cut short": with_extension(extension(AKI, b"\x30\x03\x80\x02\x01"), AKI),
    "distribution points that are none": with_extension(extension("2.5.29.31", b"zz")),
    "alternative names that are none": with_extension(extension("2.5.29.17", b"zz")),
}

READ: dict[str, Parts] = {
    "as it should be": GOOD,
    "serial number 0, as AMD's": replace(GOOD, serial=integer(0)),
    "a serial number of 20 bytes": replace(GOOD, serial=tlv(2, b"\x7f" * 20)),
    "a serial number of 100 bytes": replace(GOOD, serial=tlv(2, b"\x7f" * 100)),
    "empty names": replace(GOOD, issuer=sequence(), subject=sequence()),
    "two common names": replace(GOOD, subject=name(attribute(b"first"), attribute(b"second"))),
    "a long name": replace(GOOD, subject=name(attribute(b"x" * 200))),
    "a name in UTF-16": replace(GOOD, subject=name(attribute("é".encode("utf-16-be"), tag=0x1E))),
    "a country of three letters": replace(GOOD, subject=name(attribute(b"USA", tag=0x13, kind="2.5.4.6"))),
    "32 parts": replace(GOOD, subject=name(*[attribute(b"a")] * 32)),
    "until the end of time": times(BEGIN, generalized(b"99991231235959Z")),
    "GeneralizedTime before 2050": times(generalized(b"20260101000000Z"), END),
    "1950": times(utc(b"500101000000Z"), END),
    "2049": times(BEGIN, utc(b"491231235959Z")),
    "it ends before it begins": times(END, BEGIN),
    "both unique ids": replace(GOOD, ids=tlv(0x81, b"\0\1") + tlv(0x82, b"\0\1")),
    "no extensions": replace(GOOD, extensions=None),
    "an unknown extension that is critical": with_extension(extension("1.2.3.4", b"no DER", TRUE)),
    "an unknown extension that is not": with_extension(extension("1.2.3.4", b"")),
    "name constraints that are critical": with_extension(
        extension("2.5.29.30", sequence(tlv(0xA1, sequence(tlv(0x82, b"a")))), TRUE)
    ),
    "64 extensions": replace(GOOD, extensions=tuple(extension(f"1.2.3.{i}", NULL) for i in range(64))),
    "no constraints": with_extension(extension("1.2.3.4", NULL), BASIC),
    "empty constraints": with_extension(extension(BASIC, sequence()), BASIC),
    "a CA of any path length": with_extension(extension(BASIC, sequence(TRUE)), BASIC),
    "no key usage": with_extension(extension("1.2.3.4", NULL), USAGE),
    "key usage that forbids all": with_extension(extension(USAGE, b"\x03\x01\x00"), USAGE),
    "key usage with zeros behind": with_extension(extension(USAGE, b"\x03\x02\x00\x80"), USAGE),
    "no key identifiers": with_extension(extension(AKI, sequence()), AKI),
    "PSS, as AMD writes it": pss(SALT_48, trailer=tlv(0xA3, integer(1))),
    "PSS, as DER has it": pss(SALT_48),
    "RSA with SHA-384": both_say(sequence(oid("1.2.840.113549.1.1.12"), NULL)),
}


def raw(variant: Parts | bytes) -> bytes:
    return variant if isinstance(variant, bytes) else variant.sign()


# The other readers.


def theirs(data: bytes) -> x509.Certificate | None:
    """As `cryptography` reads it, all of it: it looks at most fields only when asked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = x509.load_der_x509_certificate(data)
            _ = (found.version, found.serial_number, found.issuer, found.subject, found.extensions, found.public_key())
            _ = (found.not_valid_before_utc, found.not_valid_after_utc)
            _ = (found.signature_algorithm_parameters, found.signature_hash_algorithm)
        except Exception:
            return None
    return found


def openssls(data: bytes, file: Path) -> dict[str, object] | None:
    """As OpenSSL reads it, through what CPython tests its `ssl` with."""
    body = encodebytes(data).decode()
    file.write_text(f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n")
    try:
        return _ssl._test_decode_cert(str(file))
    except (ssl.SSLError, ValueError):
        return None


def value(extensions: x509.Extensions, kind: type[Any]) -> Any:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


NOT_OPENSSLS = (_ASN1Type.OctetString, _ASN1Type.UTCTime, _ASN1Type.GeneralizedTime, _ASN1Type.VisibleString)
"""Types of text in names that `cryptography` reads and OpenSSL does not. Names are compared byte by byte, so reading
more of them lets nobody be taken for another."""


def agree(ours: Certificate, file: Path) -> None:
    """Every field that anything is decided by is what the others read."""
    other = theirs(ours.der)
    assert other is not None, "accepted what cryptography refuses"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert ours.serial == other.serial_number
    assert (ours.issuer, ours.subject) == (other.issuer.public_bytes(), other.subject.public_bytes())
    for text, full in ((ours.issuer_name, other.issuer), (ours.subject_name, other.subject)):
        common = full.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        assert text == (common[0].value[:128] if common else "")
    assert (ours.not_before, ours.not_after) == (other.not_valid_before_utc, other.not_valid_after_utc)
    assert ours.key == other.public_key()
    assert (ours.tbs, ours.signature) == (other.tbs_certificate_bytes, other.signature)
    assert ours.algorithm.digest.name == other.signature_hash_algorithm.name
    padded = {"ecdsa": ec.ECDSA, "rsa-pss": padding.PSS, "rsa-pkcs1": padding.PKCS1v15}[ours.algorithm.family]
    assert isinstance(other.signature_algorithm_parameters, padded)
    basic = value(other.extensions, x509.BasicConstraints)
    assert (ours.is_ca, ours.path_length) == ((basic.ca, basic.path_length) if basic else (False, None))
    usage = value(other.extensions, x509.KeyUsage)
    assert ours.may_sign_certificates == (ours.is_ca and (usage is None or usage.key_cert_sign))
    assert ours.may_sign_crls == (usage is None or usage.crl_sign)
    assert ours.may_sign_data == (usage is None or usage.digital_signature)
    subject_key = value(other.extensions, x509.SubjectKeyIdentifier)
    authority_key = value(other.extensions, x509.AuthorityKeyIdentifier)
    assert ours.key_id == (subject_key.digest if subject_key else None)
    assert ours.authority_key_id == (authority_key.key_identifier if authority_key else None)
    untyped = [e for e in other.extensions if isinstance(e.value, x509.UnrecognizedExtension)]
    assert ours.extensions == {e.oid.dotted_string: e.value.value for e in untyped}
    critical = {e.oid.dotted_string for e in other.extensions if e.critical}
    assert ours.critical == critical - {BASIC, USAGE, SKI, AKI, "2.5.29.31"}
    openssl = openssls(ours.der, file)
    if openssl is None and any(one._type in NOT_OPENSSLS for full in (other.issuer, other.subject) for one in full):
        return
    assert openssl is not None, "accepted what OpenSSL refuses"
    number = str(openssl["serialNumber"])
    if not number.endswith("\n"):  # `ssl` gives the first line alone
        assert int(number, 16) == ours.serial
    assert openssl["version"] == 3
    for field, ours_at in (("notBefore", ours.not_before), ("notAfter", ours.not_after)):
        if ours_at.year >= 1970:
            assert datetime.fromtimestamp(ssl.cert_time_to_seconds(str(openssl[field])), UTC) == ours_at


# Structural variants.


def test_there_are_as_many_variants_as_were_once_tried_by_hand() -> None:
    assert len(REFUSED) + len(READ) >= 63
    made = [raw(one) for one in (*REFUSED.values(), *READ.values())]
    assert len(set(made)) == len(made)


@pytest.mark.parametrize("variant", REFUSED.values(), ids=REFUSED.keys())
def test_a_certificate_that_is_no_good_is_refused(variant: Parts | bytes) -> None:
    with pytest.raises(BadCertificate):
        read_certificate(raw(variant))


@pytest.mark.filterwarnings("ignore:Attribute's length must be")
@pytest.mark.parametrize("variant", READ.values(), ids=READ.keys())
def test_an_unusual_certificate_is_read_as_others_read_it(variant: Parts, tmp_path: Path) -> None:
    ours = read_certificate(variant.sign())
    agree(ours, tmp_path / "one.pem")
    if ours.algorithm.family == "ecdsa":
        assert signed_by(key("ca").public_key(), ours.algorithm, ours.signature, ours.tbs)


# Certificates with bytes changed, signed anew.


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def as_amd(tbs: bytes) -> bytes:
    return rsa_key().sign(tbs, padding.PSS(padding.MGF1(SHA384()), 48), SHA384())


def originals() -> Iterable[tuple[bytes, bytes, Callable[[bytes], bytes], int]]:
    """What is signed, how, by what, and how often in 20: RSA takes ten times as long."""
    for whole in (RAW, World().pck_der(), certificate("ca", "root", ca=True, path_length=0)):
        yield split(whole)[0], GOOD.outer, sign, 6
    amd = pss(SALT_48, trailer=tlv(0xA3, integer(1)))
    yield replace(amd, serial=integer(0)).tbs, amd.outer, as_amd, 2


LIKELY = bytes((0, 1, 2, 3, 4, 5, 6, 10, 12, 19, 23, 24, 48, 49, 0x7F, 0x80, 0x81, 0x82, 0xA0, 0xA1, 0xA3, 0xFF))
"""Tags, lengths and truth values."""


def changed(data: bytes, chance: random.Random) -> bytes:
    """One to three bytes set to others, of any value or of one that means something; at times a bit, or a piece."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(found))
        match chance.randrange(8):
            case 0:
                found[at] ^= 1 << chance.randrange(8)
            case 1:
                found[at] = chance.choice(LIKELY)
            case 2:
                found[at : at + 2] = found[at : at + 2][::-1]
            case _:
                found[at] = chance.randrange(256)
    return bytes(found)


@pytest.mark.filterwarnings("ignore:Attribute's length must be")
def test_changed_and_signed_anew_it_is_read_as_others_read_it_or_refused(tmp_path: Path) -> None:
    seed = int(os.environ["RATCHET_SEED"])
    print(f"RATCHET_SEED={seed}")
    chance = random.Random(seed)
    pool = [one for one in originals() for _ in range(one[3])]
    accepted = refused = 0
    for number in range(RESIGNED):
        tbs, identifier, signer, _ = chance.choice(pool)
        tbs = changed(tbs, chance)
        data = sequence(tbs, identifier, tlv(3, b"\0" + signer(tbs)))
        try:
            ours = read_certificate(data)
        except BadCertificate:
            refused += 1
            continue
        accepted += 1
        try:
            agree(ours, tmp_path / "one.pem")
        except AssertionError as error:
            raise AssertionError(f"RATCHET_SEED={seed}, certificate {number}: {data.hex()}") from error
        public = rsa_key().public_key() if signer is as_amd else key("ca").public_key()
        assert signed_by(public, ours.algorithm, ours.signature, ours.tbs)
    print(f"{accepted} read, {refused} refused")
    assert accepted > RESIGNED // 10, "changes are too wild to show anything"
    assert refused > RESIGNED // 10


# Revocation lists.


@pytest.mark.parametrize(
    "data",
    [
        crl(entry(), version=b"", extensions=()),
        crl(entry(), version=b""),
        crl(entry(), version=integer(0)),
        crl(entry(), version=integer(2)),
        crl(entry(), outer=sequence(oid("1.2.840.10045.4.3.3"))),
        crl(entry(), inner=sequence(ECDSA_SHA256, NULL), outer=sequence(ECDSA_SHA256, NULL)),
        crl(entry(), unused=1),
        crl(entry()) + b"\0",
        crl(entry(), made=utc(b"2601010000Z")),
        crl(entry(), extensions=[extension("1.2.3.4", NULL)] * 2),
        crl(entry(), extensions=[extension(AKI, b"zz")]),
        crl(entry(), extensions=[extension("1.2.3.4", NULL, FALSE)]),
        crl(entry(), extensions=[extension(f"1.2.3.{i}", NULL) for i in range(65)]),
        crl(entry(b"\x02\x02\x00\x05")),
        crl(sequence(integer(5))),
        crl(sequence(integer(5), utc(b"no time"))),
        crl(tlv(4, integer(5))),
        crl(entry(integer(5), sequence(b"zz"))),
    ],
)
def test_a_list_that_is_no_good_is_refused(data: bytes) -> None:
    with pytest.raises(BadCertificate):
        read_crl(data)


def test_a_certificate_counts_as_revoked_whatever_its_entry_says() -> None:
    remarks = [extension("2.5.29.21", b"zz"), extension("1.2.3.4", bytes(300), TRUE), extension("2.5.29.21", b"\n\1\1")]
    found = read_crl(crl(*(entry(integer(i), sequence(one)) for i, one in enumerate(remarks)), entry(integer(0))))
    assert found.revoked == {0, 1, 2}
    assert [found.revokes(serial) for serial in (0, 1, 2, 3, 2**200)] == [True, True, True, False, False]
    assert not read_crl(crl()).revokes(0)
