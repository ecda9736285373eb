"""DER, written: the few ASN.1 types that certificates, CRLs and vendors' extensions are made of (ITU-T X.690).

Certificates are written here and not with a builder because real ones are odd: AMD's leaf certificates have serial 0,
and a deterministic RSA-PSS signature needs the bytes to be signed.
"""

from __future__ import annotations

from datetime import UTC, datetime


def tlv(tag: int, content: bytes) -> bytes:
    """One element: tag, definite length in its shortest form, content (X.690, 8.1)."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def sequence(*parts: bytes) -> bytes:
    """SEQUENCE."""
    return tlv(0x30, b"".join(parts))


def set_of(*parts: bytes) -> bytes:
    """SET OF, in DER's order (X.690, 11.6)."""
    return tlv(0x31, b"".join(sorted(parts)))


def explicit(number: int, content: bytes) -> bytes:
    """`[number] EXPLICIT`."""
    return tlv(0xA0 | number, content)


def implicit(number: int, content: bytes) -> bytes:
    """`[number] IMPLICIT` of a primitive type."""
    return tlv(0x80 | number, content)


def integer(value: int) -> bytes:
    """INTEGER, not negative, in the fewest octets (X.690, 8.3.2)."""
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def enumerated(value: int) -> bytes:
    """ENUMERATED."""
    return tlv(0x0A, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def boolean(value: bool) -> bytes:
    """BOOLEAN; true is 0xFF (X.690, 11.1)."""
    return tlv(0x01, b"\xff" if value else b"\x00")


def octets(content: bytes) -> bytes:
    """OCTET STRING."""
    return tlv(0x04, content)


def bits(content: bytes, unused: int = 0) -> bytes:
    """BIT STRING with `unused` bits at its end."""
    return tlv(0x03, bytes((unused,)) + content)


def null() -> bytes:
    """NULL."""
    return tlv(0x05, b"")


def utf8(text: str) -> bytes:
    """UTF8String."""
    return tlv(0x0C, text.encode())


def printable(text: str) -> bytes:
    """PrintableString."""
    return tlv(0x13, text.encode("ascii"))


def ia5(text: str) -> bytes:
    """IA5String."""
    return tlv(0x16, text.encode("ascii"))


def oid(dotted: str) -> bytes:
    """OBJECT IDENTIFIER (X.690, 8.19)."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    out = bytearray()
    for arc in (first * 40 + second, *rest):
        digits = [arc & 0x7F]
        while arc := arc >> 7:
            digits.append(arc & 0x7F | 0x80)
        out += bytes(reversed(digits))
    return tlv(0x06, bytes(out))


def time(at: datetime) -> bytes:
    """UTCTime until 2049, GeneralizedTime from 2050 on (RFC 5280, 4.1.2.5)."""
    at = at.astimezone(UTC)
    if at.year < 2050:
        return tlv(0x17, at.strftime("%y%m%d%H%M%SZ").encode())
    return tlv(0x18, at.strftime("%Y%m%d%H%M%SZ").encode())
