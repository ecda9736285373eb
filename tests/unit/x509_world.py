"""Certificates and revocation lists put together from their pieces, well or badly, and signed by the test's CA."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from intel_world import certificate, integer, key, oid

from ratchet.x509 import der


def tlv(tag: int, content: bytes) -> bytes:
    """As in DER: a length in its shortest form."""
    size = len(content)
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag]) + (bytes([size]) if size < 128 else bytes([0x80 | len(octets)]) + octets) + content


def sequence(*parts: bytes) -> bytes:
    return tlv(0x30, b"".join(parts))


def split(data: bytes) -> list[bytes]:
    """The elements inside of one element, each with its tag and length."""
    _, at, end = der.element(data, 0, len(data))
    found = []
    for _, _, stop in der.children(data, at, end):
        found.append(data[at:stop])
        at = stop
    return found


ECDSA_SHA256 = oid("1.2.840.10045.4.3.2")
BASIC, USAGE, SKI, AKI = "2.5.29.19", "2.5.29.15", "2.5.29.14", "2.5.29.35"
NULL, TRUE, FALSE = b"\x05\x00", b"\x01\x01\xff", b"\x01\x01\x00"


def extension(name: str, value: bytes, critical: bytes = b"") -> bytes:
    return sequence(oid(name), critical, tlv(4, value))


def name(*parts: bytes) -> bytes:
    """A name with one attribute in each part."""
    return sequence(*(tlv(0x31, one) for one in parts))


def attribute(value: bytes, tag: int = 0x0C, kind: str = "2.5.4.3") -> bytes:
    return sequence(oid(kind), tlv(tag, value))


BEGIN, END = tlv(0x17, b"260101000000Z"), tlv(0x17, b"350101000000Z")


@dataclass(frozen=True)
class Parts:
    """A certificate in pieces; `sign` puts them together as the issuer would."""

    version: bytes = b"\xa0\x03\x02\x01\x02"
    serial: bytes = integer(99)
    inner: bytes = sequence(ECDSA_SHA256)
    issuer: bytes = name(attribute(b"ca"))
    validity: bytes = sequence(BEGIN, END)
    subject: bytes = name(attribute(b"leaf"))
    key: bytes = split(split(certificate("leaf", "ca"))[0])[6]
    ids: bytes = b""
    extensions: tuple[bytes, ...] | None = (
        extension(BASIC, sequence(TRUE, integer(0)), TRUE),
        extension(USAGE, b"\x03\x02\x01\x06", TRUE),
        extension(SKI, tlv(4, bytes(20))),
        extension(AKI, sequence(tlv(0x80, bytes(range(20))))),
        extension("1.2.840.113741.1.13.1", sequence()),
    )
    more: bytes = b""
    outer: bytes = sequence(ECDSA_SHA256)
    signature: bytes | None = None
    behind: bytes = b""

    @property
    def tbs(self) -> bytes:
        block = b"" if self.extensions is None else tlv(0xA3, sequence(*self.extensions))
        fields = (self.version, self.serial, self.inner, self.issuer, self.validity, self.subject, self.key, self.ids)
        return sequence(*fields, block, self.more)

    def sign(self) -> bytes:
        bits = tlv(3, b"\0" + sign(self.tbs)) if self.signature is None else self.signature
        return sequence(self.tbs, self.outer, bits, self.behind)


def sign(tbs: bytes) -> bytes:
    return key("ca").sign(tbs, ec.ECDSA(SHA256()))


GOOD = Parts()


def with_extension(value: bytes, without: str = "") -> Parts:
    """One more extension, in place of `without`."""
    assert GOOD.extensions is not None
    rest = [one for one in GOOD.extensions if not without or oid(without) not in one]
    return replace(GOOD, extensions=(*rest, value))


def both_say(identifier: bytes) -> Parts:
    return replace(GOOD, inner=identifier, outer=identifier)


def times(*parts: bytes) -> Parts:
    return replace(GOOD, validity=sequence(*parts))


def utc(text: bytes) -> bytes:
    return tlv(0x17, text)


def generalized(text: bytes) -> bytes:
    return tlv(0x18, text)


SHA384_NAME = sequence(oid("2.16.840.1.101.3.4.2.2"), NULL)
SHA256_NAME = sequence(oid("2.16.840.1.101.3.4.2.1"), NULL)


def pss(salt: bytes, digest: bytes = SHA384_NAME, mask: bytes = SHA384_NAME, trailer: bytes = b"") -> Parts:
    mgf = sequence(oid("1.2.840.113549.1.1.8"), mask)
    parameters = sequence(tlv(0xA0, digest), tlv(0xA1, mgf), salt, trailer)
    return both_say(sequence(oid("1.2.840.113549.1.1.10"), parameters))


SALT_48 = tlv(0xA2, integer(48))


def entry(serial: bytes = integer(5), *more: bytes) -> bytes:
    return sequence(serial, BEGIN, *more)


def crl(
    *entries: bytes,
    version: bytes = integer(1),
    inner: bytes = GOOD.inner,
    outer: bytes = GOOD.outer,
    made: bytes = BEGIN,
    extensions: Iterable[bytes] = (extension("2.5.29.20", integer(1)),),
    unused: int = 0,
) -> bytes:
    block = tlv(0xA0, sequence(*extensions))
    tbs = sequence(version, inner, GOOD.issuer, made, END, sequence(*entries), block)
    return sequence(tbs, outer, tlv(3, bytes([unused]) + sign(tbs)[:-1] + b"\0"))
