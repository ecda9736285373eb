"""COSE_Sign1: a CBOR message with one signature (RFC 9052, 4.2), taken apart. What it holds, its readers know."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from ratchet.cbor import BadCbor, Tag, Value, decode

SIGN1 = 18
"""CBOR tag of a COSE_Sign1 message (RFC 9052, 2, table 1); a message may go without it."""

ALGORITHM, CRITICAL = 1, 2
"""Labels of header parameters (RFC 9052, 3.1): `alg`, and `crit`: labels that a reader has to understand."""

ES384 = -35
"""ECDSA with SHA-384 (RFC 9053, 2.1); its signature is r and s, each as long as the curve's order."""


class BadCose(ValueError):
    """The bytes are no COSE_Sign1 message that is read here; says why."""


@dataclass(frozen=True, slots=True)
class Sign1:
    """A COSE_Sign1 message.

    Attributes:
        protected: the protected header as it came, which is signed.
        header: what it says.
        unprotected: the header that nobody signed.
        payload: as it came.
        signature: over `signed`.
    """

    protected: bytes
    header: Mapping[Hashable, Value]
    unprotected: Mapping[Hashable, Value]
    payload: bytes
    signature: bytes

    @property
    def signed(self) -> bytes:
        """The bytes that the signature is over: Sig_structure without external data (RFC 9052, 4.4)."""
        begin = b"\x84\x6aSignature1" + _head(len(self.protected)) + self.protected
        return b"".join((begin, b"\x40", _head(len(self.payload)), self.payload))


def read_sign1(data: bytes) -> Sign1:
    """A COSE_Sign1 message, tagged or not.

    Raises:
        BadCose: it is none; or its payload is elsewhere, a label is in both headers, or a parameter is critical.
    """
    try:
        message = decode(data)
    except BadCbor as wrong:
        raise BadCose(str(wrong)) from None
    if isinstance(message, Tag) and message.number == SIGN1:
        message = message.value
    if not isinstance(message, list) or len(message) != 4:
        raise BadCose("not a COSE_Sign1 message: no array of four")
    protected, unprotected, payload, signature = message
    if not isinstance(protected, bytes) or not isinstance(unprotected, dict) or not isinstance(signature, bytes):
        raise BadCose("not a COSE_Sign1 message: headers or signature of another type")
    if not isinstance(payload, bytes):
        raise BadCose("the payload is not in the message")
    try:
        header = decode(protected) if protected else {}
    except BadCbor as wrong:
        raise BadCose(f"protected header: {wrong}") from None
    if not isinstance(header, dict):
        raise BadCose("the protected header is no map")
    if header.keys() & unprotected.keys():
        raise BadCose("a label in both headers")
    if CRITICAL in header or CRITICAL in unprotected:
        raise BadCose("a critical header parameter, of which none is understood here")
    return Sign1(protected, header, unprotected, payload, signature)


def _head(size: int) -> bytes:
    """What stands before a byte string of that size, in its shortest form (RFC 8949, 3.1 and 4.1)."""
    if size < 24:
        return bytes([0x40 | size])
    for low, width in ((24, 1), (25, 2), (26, 4)):
        if size < 1 << 8 * width:
            return bytes([0x40 | low]) + size.to_bytes(width, "big")
    return b"\x5b" + size.to_bytes(8, "big")
