"""Certificates and revocation lists as they stand in their bytes (RFC 5280, 4 and 5): read strictly, nothing believed.

Read by hand rather than with `cryptography.x509`: AMD's leaves have serial number 0, which it warns about and means to
refuse; certificates that verdicts rest on should be read one way only; and it is faster.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_der_public_key

from ratchet.x509 import der
from ratchet.x509.der import BadDer

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

MAX_CERTIFICATE = 16 * 1024
MAX_CERTIFICATES = 16
"""Of one chain as it is sent. Real ones have three."""
MAX_CRL = 2 * 1024 * 1024
MAX_REVOKED = 65536

COMMON_NAME = "2.5.4.3"
BASIC_CONSTRAINTS = "2.5.29.19"
KEY_USAGE = "2.5.29.15"
SUBJECT_KEY_ID = "2.5.29.14"
AUTHORITY_KEY_ID = "2.5.29.35"
CRL_DISTRIBUTION_POINTS = "2.5.29.31"

_DIGITAL_SIGNATURE, _CERT_SIGN, _CRL_SIGN = 0x80, 0x04, 0x02  # RFC 5280, 4.2.1.3: bits 0, 5 and 6 of the first byte

_UNDERSTOOD = frozenset({BASIC_CONSTRAINTS, KEY_USAGE, SUBJECT_KEY_ID, AUTHORITY_KEY_ID, CRL_DISTRIBUTION_POINTS})
"""Extensions that may be critical; another critical one makes the certificate unusable (RFC 5280, 4.2)."""


class BadCertificate(ValueError):
    """The bytes are no certificate or revocation list that may be relied on. The text says why."""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """How something is signed.

    Attributes:
        family: `ecdsa` or `rsa-pss`.
        digest: the hash.
        salt: bytes of salt, for `rsa-pss`.
    """

    family: str
    digest: hashes.HashAlgorithm
    salt: int = 0


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate, as it stands in its bytes.

    Attributes:
        der: the whole.
        fingerprint: SHA-256 of it, hex.
        tbs: the part that is signed.
        signature, algorithm: over `tbs`, by the issuer.
        serial: serial number; AMD's leaves have 0.
        issuer, subject: names in DER, to be compared byte by byte.
        issuer_name, subject_name: their common names, for people; empty where there is none.
        not_before, not_after: both included.
        key: the subject's.
        is_ca, path_length: basic constraints; None where no length is set.
        usage: first byte of key usage; None where the extension is absent.
        key_id, authority_key_id: None where absent.
        extensions: by dotted OID, the octets inside.
        critical: OIDs of critical extensions that are not understood here.
    """

    der: bytes
    fingerprint: str
    tbs: bytes
    signature: bytes
    algorithm: Algorithm
    serial: int
    issuer: bytes
    subject: bytes
    issuer_name: str
    subject_name: str
    not_before: datetime
    not_after: datetime
    key: PublicKey
    is_ca: bool
    path_length: int | None
    usage: int | None
    key_id: bytes | None
    authority_key_id: bytes | None
    extensions: Mapping[str, bytes]
    critical: frozenset[str]

    @property
    def may_sign_certificates(self) -> bool:
        """A CA, and its key usage does not forbid it."""
        return self.is_ca and (self.usage is None or bool(self.usage & _CERT_SIGN))

    @property
    def may_sign_crls(self) -> bool:
        """Its key usage does not forbid it."""
        return self.usage is None or bool(self.usage & _CRL_SIGN)

    @property
    def may_sign_data(self) -> bool:
        """Its key usage does not forbid it."""
        return self.usage is None or bool(self.usage & _DIGITAL_SIGNATURE)


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A certificate revocation list (RFC 5280, 5).

    Attributes:
        der: the whole.
        tbs, signature, algorithm: as in `Certificate`.
        issuer, issuer_name: who signs it.
        this_update: when it was made.
        next_update: until when it is to be believed; None where it does not say, which no vendor's list leaves out.
        entries: the revoked certificates, in DER; read by `revokes` and `revoked`.
        authority_key_id: of the issuer's key; None where absent.
        critical: OIDs of critical extensions, none of which is understood here: delta and indirect lists have some.
    """

    der: bytes
    tbs: bytes
    signature: bytes
    algorithm: Algorithm
    issuer: bytes
    issuer_name: str
    this_update: datetime
    next_update: datetime | None
    entries: bytes
    authority_key_id: bytes | None
    critical: frozenset[str]

    @property
    def revoked(self) -> frozenset[int]:
        """Every serial number in it.

        Raises:
            BadCertificate: the entries are malformed.
        """
        try:
            return _revoked(self.entries)
        except BadDer as error:
            raise BadCertificate(str(error)) from None

    def revokes(self, serial: int) -> bool:
        """Is this serial number in it? Whatever the reason that the entry gives; yes where the entries are malformed.

        Lists name hundreds and are asked about one: a number whose bytes occur nowhere is in no entry.
        """
        if serial.to_bytes(serial.bit_length() // 8 + 1, "big", signed=True).lstrip(b"\0") not in self.entries:
            return False
        try:
            return serial in self.revoked
        except BadCertificate:
            return True


_SIGNATURES: dict[str, Algorithm] = {
    "1.2.840.10045.4.3.2": Algorithm("ecdsa", hashes.SHA256()),  # RFC 5758, 3.2
    "1.2.840.10045.4.3.3": Algorithm("ecdsa", hashes.SHA384()),
    "1.2.840.10045.4.3.4": Algorithm("ecdsa", hashes.SHA512()),
}
_RSA_PSS = "1.2.840.113549.1.1.10"  # RFC 4055, 3.1
_MGF1 = "1.2.840.113549.1.1.8"
_DIGESTS: dict[str, hashes.HashAlgorithm] = {
    "2.16.840.1.101.3.4.2.1": hashes.SHA256(),
    "2.16.840.1.101.3.4.2.2": hashes.SHA384(),
    "2.16.840.1.101.3.4.2.3": hashes.SHA512(),
}
_CURVES = ("secp256r1", "secp384r1")
RSA_EXPONENT = 65537
"""The only one that vendors use (AMD 57230, 3). A long one costs seconds a signature, and is the sender's to choose."""
_MIN_RSA, _MAX_RSA = 2048, 8192
"""Bits. Below is too weak; above, a hostile key would cost more than it is worth."""


def read_certificate(data: bytes) -> Certificate:
    """One certificate from DER.

    Raises:
        BadCertificate: not DER, not X.509 version 3, inconsistent, or of a key or signature kind that no vendor uses.
    """
    if len(data) > MAX_CERTIFICATE:
        raise BadCertificate(f"{len(data)} bytes, at most {MAX_CERTIFICATE} are read")
    try:
        return _certificate(data)
    except BadDer as error:
        raise BadCertificate(str(error)) from None


def _certificate(data: bytes) -> Certificate:
    begin, body, outer, signature = _signed(data)
    parts = der.children(data, body[1], body[2], 16)
    if not parts or parts[0][0] != 0xA0 or data[parts[0][1] : parts[0][2]] != _VERSION_3:
        raise BadCertificate("not X.509 version 3")
    if len(parts) < 7:
        raise BadCertificate("incomplete")
    serial, inner, issuer, validity, subject, spki = parts[1:7]
    if data[inner[1] : inner[2]] != data[outer[1] : outer[2]] or inner[0] != outer[0]:
        raise BadCertificate("its two signature algorithms differ")
    if (issuer[0], validity[0], subject[0], spki[0]) != (der.SEQUENCE,) * 4:
        raise BadCertificate("fields of the wrong type")
    times = der.children(data, validity[1], validity[2], 2)
    if len(times) != 2:
        raise BadCertificate("validity is not two times")
    not_before, not_after = der.moment(data, times[0]), der.moment(data, times[1])
    extensions, critical = _extensions(data, parts[7:], 0xA3)
    is_ca, path_length = _basic_constraints(extensions.get(BASIC_CONSTRAINTS))
    return Certificate(
        der=data,
        fingerprint=hashlib.sha256(data).hexdigest(),
        tbs=data[begin : body[2]],
        signature=signature,
        algorithm=_algorithm(data, outer),
        serial=der.integer(data, serial),
        issuer=data[inner[2] : issuer[2]],
        subject=data[validity[2] : subject[2]],
        issuer_name=_common_name(data[inner[2] : issuer[2]]),
        subject_name=_common_name(data[validity[2] : subject[2]]),
        not_before=not_before,
        not_after=not_after,
        key=_key(data[subject[2] : spki[2]]),
        is_ca=is_ca,
        path_length=path_length,
        usage=_key_usage(extensions.get(KEY_USAGE)),
        key_id=_key_id(extensions.get(SUBJECT_KEY_ID)),
        authority_key_id=_authority_key_id(extensions.get(AUTHORITY_KEY_ID)),
        extensions=extensions,
        critical=critical - _UNDERSTOOD,
    )


_VERSION_3 = b"\x02\x01\x02"
"""The INTEGER 2, which DER writes in one way only (RFC 5280, 4.1.2.1)."""


def _signed(data: bytes) -> tuple[int, der.Element, der.Element, bytes]:
    """Where what is signed begins, and the three parts of a certificate or CRL: that, how, and the signature."""
    begin, end = der.only(data, der.SEQUENCE)
    parts = der.children(data, begin, end, 3)
    if len(parts) != 3 or parts[0][0] != der.SEQUENCE or parts[1][0] != der.SEQUENCE:
        raise BadDer("not something signed")
    return begin, parts[0], parts[1], der.bits(data, parts[2])


def _algorithm(data: bytes, one: der.Element) -> Algorithm:
    parts = der.children(data, one[1], one[2], 2)
    if not parts:
        raise BadDer("signature algorithm without a name")
    name = der.oid(data, parts[0])
    if name == _RSA_PSS and len(parts) == 2 and parts[1][0] == der.SEQUENCE:
        return _pss(data, parts[1])
    known = _SIGNATURES.get(name)
    if known is None or len(parts) != 1:
        raise BadCertificate(f"signature algorithm {name} is not one that a vendor uses")
    return known


def _pss(data: bytes, one: der.Element) -> Algorithm:
    """RSASSA-PSS parameters (RFC 4055, 3.1): one hash for message and mask, and a salt no longer than it."""
    digest = mask = None
    salt = 20
    for tag, start, stop in der.children(data, one[1], one[2], 4):
        inside = der.children(data, start, stop, 1)
        if len(inside) != 1:
            raise BadDer("malformed RSASSA-PSS parameters")
        if tag == 0xA0:
            digest = _digest(data, inside[0])
        elif tag == 0xA1:
            parts = der.children(data, inside[0][1], inside[0][2], 2)
            if len(parts) != 2 or der.oid(data, parts[0]) != _MGF1:
                raise BadDer("mask generation is not MGF1")
            mask = _digest(data, parts[1])
        elif tag == 0xA2:
            salt = der.integer(data, inside[0])
        elif tag != 0xA3 or der.integer(data, inside[0]) != 1:
            raise BadDer("malformed RSASSA-PSS parameters")
    if digest is None or mask is None or digest.name != mask.name or not 0 <= salt <= digest.digest_size:
        raise BadCertificate("RSASSA-PSS parameters that no vendor uses")
    return Algorithm("rsa-pss", digest, salt)


def _digest(data: bytes, one: der.Element) -> hashes.HashAlgorithm:
    parts = der.children(data, one[1], one[2], 2)
    name = der.oid(data, parts[0]) if parts else ""
    if one[0] != der.SEQUENCE or name not in _DIGESTS or (len(parts) == 2 and parts[1][0] != der.NULL):
        raise BadCertificate("hash algorithm that no vendor uses")
    return _DIGESTS[name]


def _key(spki: bytes) -> PublicKey:
    try:
        key: PublicKeyTypes = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        raise BadCertificate("public key cannot be read") from None
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return key
    if isinstance(key, rsa.RSAPublicKey) and _MIN_RSA <= key.key_size <= _MAX_RSA:
        if key.public_numbers().e != RSA_EXPONENT:
            raise BadCertificate(f"an RSA key whose exponent is not {RSA_EXPONENT}")
        return key
    raise BadCertificate("public key of a kind or size that no vendor uses")


@lru_cache(maxsize=256)
def _common_name(name: bytes) -> str:
    """The common name in a name, which every certificate of one kind repeats; empty where there is none."""
    for _, start, stop in der.children(name, *der.only(name, der.SEQUENCE), 32):
        for _, inner, end in der.children(name, start, stop, 8):
            parts = der.children(name, inner, end, 2)
            if len(parts) == 2 and der.oid(name, parts[0]) == COMMON_NAME:
                return name[parts[1][1] : parts[1][2]][:128].decode("utf-8", "replace")
    return ""


def _extensions(data: bytes, rest: Sequence[der.Element], tag: int) -> tuple[dict[str, bytes], frozenset[str]]:
    """Extensions by OID, and the OIDs of the critical ones."""
    found: dict[str, bytes] = {}
    critical: set[str] = set()
    for kind, start, stop in rest:
        if kind != tag:
            if kind in (0x81, 0x82):  # unique identifiers: allowed, used by nobody
                continue
            raise BadDer("unexpected field")
        lists = der.children(data, start, stop, 1)
        if len(lists) != 1 or lists[0][0] != der.SEQUENCE:
            raise BadDer("malformed extensions")
        for outer, at, end in der.children(data, lists[0][1], lists[0][2], 64):
            first = der.element(data, at, end)
            name = der.oid(data, first)
            value = der.element(data, first[2], end)
            if value[0] == der.BOOLEAN:
                if data[value[1] : value[2]] not in (b"\xff", b"\x00"):
                    raise BadDer("malformed extension")
                if data[value[1]]:
                    critical.add(name)
                value = der.element(data, value[2], end)
            if outer != der.SEQUENCE or value[2] != end or name in found:
                raise BadDer(f"extension {name} malformed, or there twice")
            found[name] = der.octets(data, value)
    return found, frozenset(critical)


def _basic_constraints(value: bytes | None) -> tuple[bool, int | None]:
    """RFC 5280, 4.2.1.9."""
    if value is None:
        return False, None
    parts = der.children(value, *der.only(value, der.SEQUENCE), 2)
    is_ca = bool(parts) and parts[0][0] == der.BOOLEAN and value[parts[0][1] : parts[0][2]] == b"\xff"
    length = der.integer(value, parts[-1]) if parts and parts[-1][0] == der.INTEGER else None
    return is_ca, length


def _key_usage(value: bytes | None) -> int | None:
    """RFC 5280, 4.2.1.3: the first byte of the named bits."""
    if value is None:
        return None
    start, stop = der.only(value, der.BIT_STRING)
    if stop - start < 1 or value[start] > 7:
        raise BadDer("malformed key usage")
    return value[start + 1] if stop - start > 1 else 0


def _key_id(value: bytes | None) -> bytes | None:
    """RFC 5280, 4.2.1.2."""
    if value is None:
        return None
    start, stop = der.only(value, der.OCTET_STRING)
    return value[start:stop]


def _authority_key_id(value: bytes | None) -> bytes | None:
    """RFC 5280, 4.2.1.1: the key identifier in it, if it has one."""
    if value is None:
        return None
    for tag, start, stop in der.children(value, *der.only(value, der.SEQUENCE), 3):
        if tag == 0x80:
            return value[start:stop]
    return None


def read_crl(data: bytes) -> RevocationList:
    """One revocation list from DER.

    Entries' own extensions are not read: every serial number listed counts as revoked, whatever the reason.

    Raises:
        BadCertificate: not DER, or not a version 2 list.
    """
    if len(data) > MAX_CRL:
        raise BadCertificate(f"{len(data)} bytes, at most {MAX_CRL} are read")
    try:
        return _crl(data)
    except BadDer as error:
        raise BadCertificate(str(error)) from None


def _crl(data: bytes) -> RevocationList:
    begin, body, outer, signature = _signed(data)
    parts = der.children(data, body[1], body[2], 8)
    if len(parts) < 4 or der.integer(data, parts[0]) != 1:
        raise BadCertificate("not a version 2 revocation list")
    inner, issuer, made = parts[1:4]
    if data[inner[1] : inner[2]] != data[outer[1] : outer[2]] or inner[0] != outer[0]:
        raise BadCertificate("its two signature algorithms differ")
    if issuer[0] != der.SEQUENCE:
        raise BadCertificate("fields of the wrong type")
    rest = parts[4:]
    until = None
    if rest and rest[0][0] in (der.UTC_TIME, der.GENERALIZED_TIME):
        until = der.moment(data, rest[0])
        rest = rest[1:]
    entries = b""
    if rest and rest[0][0] == der.SEQUENCE:
        entries = data[rest[0][1] : rest[0][2]]
        rest = rest[1:]
    extensions, critical = _extensions(data, rest, 0xA0)
    return RevocationList(
        der=data,
        tbs=data[begin : body[2]],
        signature=signature,
        algorithm=_algorithm(data, outer),
        issuer=data[inner[2] : issuer[2]],
        issuer_name=_common_name(data[inner[2] : issuer[2]]),
        this_update=der.moment(data, made),
        next_update=until,
        entries=entries,
        authority_key_id=_authority_key_id(extensions.get(AUTHORITY_KEY_ID)),
        critical=critical,
    )


def _revoked(data: bytes) -> frozenset[int]:
    """Serial numbers of entries, each a short sequence that begins with a short integer."""
    found: set[bytes] = set()
    at, stop = 0, len(data)
    while at < stop:
        # One loop without calls: a list has an entry for every certificate that was ever revoked.
        if stop - at < 5 or data[at] != der.SEQUENCE or data[at + 2] != der.INTEGER:
            raise BadDer("malformed entry")
        size, inner = data[at + 1], data[at + 3]
        end = at + 2 + size
        if size >= 0x80 or inner > size - 2 or end > stop:
            raise BadDer("malformed entry")
        found.add(data[at + 4 : at + 4 + inner])
        at = end
        if len(found) > MAX_REVOKED:
            raise BadDer(f"more than {MAX_REVOKED} entries")
    return frozenset([int.from_bytes(serial, "big", signed=True) for serial in found])


_BEGIN, _END = b"-----BEGIN ", b"-----END "


def pem_blocks(text: bytes, label: bytes = b"CERTIFICATE") -> list[bytes]:
    """DER of every PEM block of this label (RFC 7468), in order; text around the blocks is passed over.

    Raises:
        BadCertificate: a block that does not end, or is no base64; or more than `MAX_CERTIFICATES` of them.
    """
    begin, end = _BEGIN + label + b"-----", _END + label + b"-----"
    found: list[bytes] = []
    at = text.find(begin)
    while at >= 0:
        stop = text.find(end, at)
        if stop < 0:
            raise BadCertificate("PEM block without an end")
        if len(found) == MAX_CERTIFICATES:
            raise BadCertificate(f"more than {MAX_CERTIFICATES} PEM blocks")
        try:
            found.append(
                binascii.a2b_base64(text[at + len(begin) : stop].translate(None, b" \t\r\n"), strict_mode=True)
            )
        except binascii.Error:
            raise BadCertificate("PEM block that is no base64") from None
        at = text.find(begin, stop)
    return found
