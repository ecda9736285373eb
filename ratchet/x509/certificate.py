"""Certificates and revocation lists (RFC 5280, 4 and 5): read by `cryptography`, refused where no vendor makes such.

`cryptography` decodes everything: names, times, extensions, keys, revoked entries. What it does not tell is looked up
in the bytes with `der`: the two algorithm identifiers, AMD's serial number 0, names as they stand. Each such case is in
docs/adr/0012-x509.md; tests/unit/test_x509_library.py shows the library failing at it.
"""

from __future__ import annotations

import binascii
import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtensionOID, NameOID

from ratchet.x509 import der

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)

MAX_CERTIFICATE = 16 * 1024
MAX_CERTIFICATES = 16
"""Of one chain as it is sent. Real ones have three."""
MAX_CRL = 2 * 1024 * 1024
MAX_EXTENSIONS = 64
MAX_NAME, MAX_ATTRIBUTES = 32, 8
"""Relative distinguished names of a name, and attributes of each."""

_UNDERSTOOD = (
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.SubjectKeyIdentifier,
    x509.AuthorityKeyIdentifier,
    x509.CRLDistributionPoints,
)
"""Extensions that may be critical; another critical one makes the certificate unusable (RFC 5280, 4.2)."""

_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    UserWarning,
)
"""How `cryptography` refuses bytes. Warnings are among them, for a process that makes errors of those."""

_MAX_TEXT = 200
"""Characters of what `cryptography` says, for it repeats the bytes that it refuses."""

# `cryptography` warns of long names (X.520) and of an issuer's serial number that is not positive (4.2.1.1).
# Both are the sender's to choose, so they do not belong into our output.
for _text in ("Attribute's length must be", "Parsed a serial number"):
    warnings.filterwarnings("ignore", _text, UserWarning, module=r"ratchet\.x509\.")


class BadCertificate(ValueError):
    """The bytes are no certificate or revocation list that may be relied on. The text says why."""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """How something is signed.

    Attributes:
        family: `ecdsa` (FIPS 186-5, 6), `rsa-pss` (RFC 8017, 8.1) or `rsa-pkcs1` (RFC 8017, 8.2).
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
        serial: serial number, never negative; AMD's leaves have 0.
        issuer, subject: names in DER, to be compared byte by byte.
        issuer_name, subject_name: their common names, for people; empty where there is none.
        not_before, not_after: both included.
        key: the subject's.
        is_ca, path_length: basic constraints; None where no length is set.
        usage: key usage; None where the extension is absent.
        key_id, authority_key_id: None where absent.
        extensions: those that `cryptography` has no type for, by dotted OID: the octets inside.
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
    usage: x509.KeyUsage | None
    key_id: bytes | None
    authority_key_id: bytes | None
    extensions: Mapping[str, bytes]
    critical: frozenset[str]

    @property
    def may_sign_certificates(self) -> bool:
        """A CA, and its key usage does not forbid it."""
        return self.is_ca and (self.usage is None or self.usage.key_cert_sign)

    @property
    def may_sign_crls(self) -> bool:
        """Its key usage does not forbid it."""
        return self.usage is None or self.usage.crl_sign

    @property
    def may_sign_data(self) -> bool:
        """Its key usage does not forbid it."""
        return self.usage is None or self.usage.digital_signature


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A certificate revocation list (RFC 5280, 5).

    Attributes:
        der: the whole.
        tbs, signature, algorithm: as in `Certificate`.
        issuer, issuer_name: who signs it.
        this_update: when it was made.
        next_update: until when it is to be believed; None where it does not say, which no vendor's list leaves out.
        authority_key_id: of the issuer's key; None where absent.
        critical: OIDs of critical extensions, none of which is understood here: delta and indirect lists have some.
        entries: the same list, in which `revokes` and `revoked` look.
    """

    der: bytes
    tbs: bytes
    signature: bytes
    algorithm: Algorithm
    issuer: bytes
    issuer_name: str
    this_update: datetime
    next_update: datetime | None
    authority_key_id: bytes | None
    critical: frozenset[str]
    entries: x509.CertificateRevocationList = field(compare=False, repr=False)

    @property
    def revoked(self) -> frozenset[int]:
        """Every serial number in it."""
        return frozenset([one.serial_number for one in self.entries])

    def revokes(self, serial: int) -> bool:
        """Is this serial number, of a `Certificate`, in it? Whatever the reason that the entry gives."""
        return self.entries.get_revoked_certificate_by_serial_number(serial) is not None


def _identifiers() -> dict[bytes, Algorithm]:
    """The content of each algorithm identifier that vendors use, which DER writes in one way only.

    ECDSA: RFC 5758, 3.2, without parameters. PKCS #1 v1.5: RFC 4055, 5, with NULL. PSS: RFC 4055, 3.1, one hash for
    message and mask, as many bytes of salt as it has, and the trailer left out (as DER has it) or given, as AMD does.
    """
    found: dict[bytes, Algorithm] = {}
    sha2: tuple[hashes.HashAlgorithm, ...] = (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())
    for i, digest in enumerate(sha2):
        size = digest.digest_size
        named = f"300d06096086480165030402{1 + i:02x}0500"
        pss = f"a00f{named}a11c301a06092a864886f70d010108{named}a2030201{size:02x}"
        found[bytes.fromhex(f"06082a8648ce3d0403{2 + i:02x}")] = Algorithm("ecdsa", digest)
        found[bytes.fromhex(f"06092a864886f70d0101{11 + i:02x}0500")] = Algorithm("rsa-pkcs1", digest)
        for parameters in (f"3034{pss}", f"3039{pss}a303020101"):
            found[bytes.fromhex(f"06092a864886f70d01010a{parameters}")] = Algorithm("rsa-pss", digest, size)
    return found


_ALGORITHMS = _identifiers()
_CURVES = ("secp256r1", "secp384r1")
RSA_EXPONENT = 65537
"""The only one that vendors use (AMD 57230, 3). A long one costs seconds a signature, and is the sender's to choose."""
MIN_RSA, MAX_RSA = 2048, 4096
"""Bits. Below is too weak; above, no vendor has one, and a hostile key would cost more than it is worth."""


def usable(key: CertificatePublicKeyTypes) -> PublicKey | None:
    """The key, if vendors use its kind: P-256, P-384, or RSA of 2048 to 4096 bits and exponent 65537; else None."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key if key.curve.name in _CURVES else None
    if isinstance(key, rsa.RSAPublicKey) and MIN_RSA <= key.key_size <= MAX_RSA:
        return key if key.public_numbers().e == RSA_EXPONENT else None
    return None


def read_certificate(data: bytes, names: Mapping[object, object] | None = None) -> Certificate:
    """One certificate from DER.

    Args:
        data: its bytes.
        names: where the caller has them, common names under `name_key` of the whole name in DER. Decoding a name takes
            a sixth of the time, and most are those of other certificates too: the issuer's, and of Intel's and AMD's
            leaves the subject's.

    Raises:
        BadCertificate: not DER, not X.509 version 3, inconsistent, or of a key or signature kind that no vendor uses.
    """
    if len(data) > MAX_CERTIFICATE:
        raise BadCertificate(f"{len(data)} bytes, at most {MAX_CERTIFICATE} are read")
    try:
        return _certificate(data, names or {})
    except _UNREADABLE as error:
        raise BadCertificate(str(error)[:_MAX_TEXT]) from None


def _certificate(data: bytes, names: Mapping[object, object]) -> Certificate:
    tbs, fields, algorithm, identifier = _signed(data)
    if len(fields) < 7:
        raise BadCertificate("not X.509 version 3, or incomplete")
    number, inner, issuer, validity, subject = fields[1:6]
    serial = der.integer(data, number)
    if serial < 0:
        raise BadCertificate("a negative serial number")
    if data[inner[1] : inner[2]] != identifier:
        raise BadCertificate("its two signature algorithms differ")
    # In place of AMD's 0 the library is given 1, because it warns of 0 and means to refuse it.
    found = x509.load_der_x509_certificate(data if serial else data[: number[1]] + b"\1" + data[number[2] :])
    key = usable(found.public_key())
    if key is None:
        raise BadCertificate("public key of a kind or size, or with an exponent, that no vendor uses")
    extensions = _bounded(found.extensions)
    by_kind = _by_kind(extensions)
    constraints = _value(by_kind, x509.BasicConstraints)
    key_id = _value(by_kind, x509.SubjectKeyIdentifier)
    issuer_der, subject_der = data[inner[2] : issuer[2]], data[validity[2] : subject[2]]
    issuer_name, subject_name = names.get(name_key(issuer_der)), names.get(name_key(subject_der))
    return Certificate(
        der=data,
        fingerprint=hashlib.sha256(data).hexdigest(),
        tbs=tbs,
        signature=found.signature,
        algorithm=algorithm,
        serial=serial,
        issuer=issuer_der,
        subject=subject_der,
        issuer_name=issuer_name if isinstance(issuer_name, str) else _common_name(found.issuer),
        subject_name=subject_name if isinstance(subject_name, str) else _common_name(found.subject),
        not_before=found.not_valid_before_utc,
        not_after=found.not_valid_after_utc,
        key=key,
        is_ca=constraints is not None and constraints.ca,
        path_length=constraints.path_length if constraints is not None else None,
        usage=_value(by_kind, x509.KeyUsage),
        key_id=key_id.digest if key_id is not None else None,
        authority_key_id=_authority_key_id(by_kind),
        extensions={
            one.oid.dotted_string: one.value.value
            for one in extensions
            if isinstance(one.value, x509.UnrecognizedExtension)
        },
        critical=frozenset(
            [one.oid.dotted_string for one in extensions if one.critical and not isinstance(one.value, _UNDERSTOOD)]
        ),
    )


def _signed(data: bytes) -> tuple[bytes, list[der.Element], Algorithm, bytes]:
    """What is signed, the elements in it, how it is signed, and the content of the identifier that says so.

    RFC 5280, 4.1.1 and 5.1.1.
    """
    begin, end = der.only(data, der.SEQUENCE)
    parts = der.children(data, begin, end, 3)
    if len(parts) != 3:
        raise BadCertificate("not something signed")
    body, algorithm, signature = parts
    identifier = data[algorithm[1] : algorithm[2]]
    known = _ALGORITHMS.get(identifier)
    if known is None:
        raise BadCertificate(f"signature algorithm {identifier.hex()} is not one that a vendor uses")
    if data[signature[1] : signature[1] + 1] != b"\0":
        raise BadCertificate("a signature that is not whole bytes")
    return data[begin : body[2]], der.children(data, body[1], body[2], 10), known, identifier


def name_key(name: bytes) -> tuple[str, bytes]:
    """Under which a memo has the common name in a name, by the whole name in DER."""
    return "name", name


def _common_name(name: x509.Name) -> str:
    """The first common name in a name; empty where there is none."""
    parts = name.rdns
    if len(parts) > MAX_NAME or max(map(len, parts), default=0) > MAX_ATTRIBUTES:
        raise BadCertificate(f"a name of more than {MAX_NAME} parts, or of more than {MAX_ATTRIBUTES} in one")
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value)[:128] if found else ""


def _bounded(extensions: x509.Extensions) -> x509.Extensions:
    if len(extensions) > MAX_EXTENSIONS:
        raise BadCertificate(f"{len(extensions)} extensions, at most {MAX_EXTENSIONS} are read")
    return extensions


def _by_kind(extensions: x509.Extensions) -> Mapping[type, x509.ExtensionType]:
    """By the library's type, which stands for one OID, and no OID occurs twice: the library refuses that."""
    return {type(one.value): one.value for one in extensions}


def _value(extensions: Mapping[type, x509.ExtensionType], kind: type[_Extension]) -> _Extension | None:
    found = extensions.get(kind)
    return found if isinstance(found, kind) else None


def _authority_key_id(extensions: Mapping[type, x509.ExtensionType]) -> bytes | None:
    """RFC 5280, 4.2.1.1: the key identifier in it, if it has one."""
    found = _value(extensions, x509.AuthorityKeyIdentifier)
    return found.key_identifier if found is not None else None


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
    except _UNREADABLE as error:
        raise BadCertificate(str(error)[:_MAX_TEXT]) from None


def _crl(data: bytes) -> RevocationList:
    tbs, fields, algorithm, _ = _signed(data)
    if len(fields) < 4 or fields[0][0] != der.INTEGER:
        raise BadCertificate("not a version 2 revocation list")
    found = x509.load_der_x509_crl(data)
    inner, issuer = fields[1:3]
    extensions = _bounded(found.extensions)
    if any(one.oid == ExtensionOID.DELTA_CRL_INDICATOR for one in extensions):
        raise BadCertificate("a delta list: it does not name all that is revoked (RFC 5280, 5.2.4)")
    return RevocationList(
        der=data,
        tbs=tbs,
        signature=found.signature,
        algorithm=algorithm,
        issuer=data[inner[2] : issuer[2]],
        issuer_name=_common_name(found.issuer),
        this_update=found.last_update_utc,
        next_update=found.next_update_utc,
        authority_key_id=_authority_key_id(_by_kind(extensions)),
        critical=frozenset([one.oid.dotted_string for one in extensions if one.critical]),
        entries=found,
    )


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
