"""X.509 certificates and CRLs, written (RFC 5280), with the extensions that Intel's and AMD's have."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.x509 import SubjectKeyIdentifier

from collectors.simulated import der
from collectors.simulated.keys import Key

CERTIFICATES_FROM = datetime(2024, 6, 1, tzinfo=UTC)
CERTIFICATES_UNTIL = datetime(2031, 6, 1, tzinfo=UTC)
"""For how long the simulated vendors' certificates hold: long before and after any scenario."""

_ATTRIBUTES = {"CN": "2.5.4.3", "C": "2.5.4.6", "L": "2.5.4.7", "ST": "2.5.4.8", "O": "2.5.4.10", "OU": "2.5.4.11"}


@dataclass(frozen=True, slots=True)
class Name:
    """A distinguished name: attributes in order, country as PrintableString and all else as UTF8String."""

    parts: tuple[tuple[str, str], ...]

    def encoded(self) -> bytes:
        """RDNSequence."""
        return der.sequence(
            *(
                der.set_of(
                    der.sequence(der.oid(_ATTRIBUTES[key]), der.printable(text) if key == "C" else der.utf8(text))
                )
                for key, text in self.parts
            )
        )


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs: its name and key."""

    name: Name
    key: Key


def extension(oid: str, value: bytes, critical: bool = False) -> bytes:
    """One Extension (RFC 5280, 4.1)."""
    return der.sequence(der.oid(oid), *((der.boolean(True),) if critical else ()), der.octets(value))


def key_id(key: Key) -> bytes:
    """SHA-1 of the public key's bits (RFC 5280, 4.2.1.2, method 1)."""
    return SubjectKeyIdentifier.from_public_key(key.public).digest


def authority_key_id(key: Key) -> bytes:
    """authorityKeyIdentifier with its keyIdentifier alone."""
    return extension("2.5.29.35", der.sequence(der.implicit(0, key_id(key))))


def subject_key_id(key: Key) -> bytes:
    """subjectKeyIdentifier."""
    return extension("2.5.29.14", der.octets(key_id(key)))


def distribution_point(url: str) -> bytes:
    """cRLDistributionPoints with one address."""
    general = der.implicit(6, url.encode("ascii"))
    return extension("2.5.29.31", der.sequence(der.sequence(der.explicit(0, der.explicit(0, general)))))


def key_usage(*names: str) -> bytes:
    """keyUsage, critical; names are bits of RFC 5280, 4.2.1.3."""
    order = ("digitalSignature", "nonRepudiation", "", "", "", "keyCertSign", "cRLSign")
    value = sum(0x80 >> order.index(name) for name in names)
    unused = (value & -value).bit_length() - 1
    return extension("2.5.29.15", der.bits(bytes((value,)), unused), critical=True)


def basic_constraints(ca: bool, path_length: int | None = None) -> bytes:
    """basicConstraints, critical."""
    parts: tuple[bytes, ...] = (der.boolean(True),) if ca else ()
    if path_length is not None:
        parts += (der.integer(path_length),)
    return extension("2.5.29.19", der.sequence(*parts), critical=True)


def certificate(
    *,
    serial: int,
    issuer: Issuer,
    subject: Name,
    key: Key,
    valid_from: datetime,
    valid_until: datetime,
    extensions: Iterable[bytes],
) -> bytes:
    """A version 3 certificate, DER."""
    signed = der.sequence(
        der.explicit(0, der.integer(2)),
        der.integer(serial),
        issuer.key.algorithm,
        issuer.name.encoded(),
        der.sequence(der.time(valid_from), der.time(valid_until)),
        subject.encoded(),
        key.spki,
        der.explicit(3, der.sequence(*extensions)),
    )
    return der.sequence(signed, issuer.key.algorithm, der.bits(issuer.key.sign(signed)))


KEY_COMPROMISE = 1
"""CRLReason (RFC 5280, 5.3.1)."""


def crl(
    *,
    issuer: Issuer,
    number: int,
    issued: datetime,
    next_update: datetime,
    revoked: Iterable[tuple[int, datetime]] = (),
) -> bytes:
    """A version 2 CRL, DER; `revoked` are serial numbers with their dates, each for key compromise."""
    reason = der.sequence(extension("2.5.29.21", der.enumerated(KEY_COMPROMISE)))
    entries = [der.sequence(der.integer(serial), der.time(at), reason) for serial, at in revoked]
    signed = der.sequence(
        der.integer(1),
        issuer.key.algorithm,
        issuer.name.encoded(),
        der.time(issued),
        der.time(next_update),
        *((der.sequence(*entries),) if entries else ()),
        der.explicit(0, der.sequence(extension("2.5.29.20", der.integer(number)), authority_key_id(issuer.key))),
    )
    return der.sequence(signed, issuer.key.algorithm, der.bits(issuer.key.sign(signed)))


def pem(certificate: bytes) -> str:
    """PEM with lines of 64, ended by a newline (RFC 7468)."""
    text = base64.b64encode(certificate).decode()
    lines = "\n".join(text[n : n + 64] for n in range(0, len(text), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"
