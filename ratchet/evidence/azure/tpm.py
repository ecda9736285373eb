"""TPM 2.0 quotes: what a TPM says of its PCRs, and how that is signed. Integers are big-endian.

Sources: TCG TPM 2.0 Library part 2 (revision 1.59), 10.12.8 TPMS_ATTEST, 10.12.1 TPMS_QUOTE_INFO, 10.6.2
TPMS_PCR_SELECTION, 10.11.1 TPMS_CLOCK_INFO, 11.3.4 TPMT_SIGNATURE; part 1, 23.2 (what a quote's digest is over).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from hmac import compare_digest
from typing import NamedTuple

SPEC = "TPM 2.0 Library part 2, 10.12.8 (TPMS_ATTEST)"
QUOTE_SPEC = "TPM 2.0 Library part 2, 10.12.1 (TPMS_QUOTE_INFO)"
SIGNATURE_SPEC = "TPM 2.0 Library part 2, 11.3.4 (TPMT_SIGNATURE)"

MAGIC = b"\xffTCG"
"""TPM_GENERATED_VALUE (part 2, 6.2): a restricted key signs nothing from outside that begins with it."""

QUOTE = b"\x80\x18"
"""TPM_ST_ATTEST_QUOTE (part 2, 6.9)."""

RSASSA, SHA256 = 0x0014, 0x000B
"""TPM_ALG_RSASSA and TPM_ALG_SHA256 (part 2, 6.3)."""

MAX_NAME = 68
"""Bytes of a name: algorithm and digest of at most 64 (part 2, 10.5.3 TPM2B_NAME), or a handle."""

MAX_EXTRA = 64
"""Bytes of extraData. TPM2B_DATA holds a digest with its algorithm, so Azure's vTPM takes at most 50."""

PCRS = 24
"""Registers of a PC Client TPM (TCG PC Client Platform TPM Profile 1.05, 4.6.1)."""


class BadQuote(ValueError):
    """Not a TPM quote that can be judged here; says why."""


class UnsupportedAlgorithm(BadQuote):
    """A signature scheme, or a bank of PCRs, that is not read here."""


class TpmQuote(NamedTuple):
    """A TPMS_ATTEST of type quote.

    Attributes:
        qualified_signer: name of the key with all its ancestors' in it; its word alone.
        extra_data: what the caller of TPM2_Quote gave: the challenge.
        clock, reset_count, restart_count, safe: of TPMS_CLOCK_INFO.
        firmware_version: of the TPM.
        pcrs: numbers of the PCRs of the SHA-256 bank that are quoted, ascending.
        digest: SHA-256 over their values, in that order.
        offset: where clockInfo begins, for people.
    """

    qualified_signer: bytes
    extra_data: bytes
    clock: int
    reset_count: int
    restart_count: int
    safe: int
    firmware_version: int
    pcrs: tuple[int, ...]
    digest: bytes
    offset: int


def read(message: bytes) -> TpmQuote:
    """Read one; every byte is accounted for.

    Raises:
        BadQuote: it is none.
        UnsupportedAlgorithm: it is of another bank than SHA-256, or of several.
    """
    if message[:4] != MAGIC:
        raise BadQuote("the TPM quote does not begin with TPM_GENERATED")
    if message[4:6] != QUOTE:
        raise BadQuote(f"the TPM made an attestation of type {message[4:6].hex()}, not a quote")
    qualified_signer, at = _sized(message, 6, MAX_NAME, "qualifiedSigner")
    extra_data, at = _sized(message, at, MAX_EXTRA, "extraData")
    fixed = at
    if len(message) < at + 25 + 4:
        raise BadQuote("the TPM quote is cut short")
    clock, resets, restarts, safe, firmware, banks = struct.unpack_from(">QIIBQI", message, at)
    at += 29
    if banks != 1:
        raise UnsupportedAlgorithm(f"{banks} banks of PCRs are quoted, one is read")
    if len(message) < at + 3:
        raise BadQuote("the TPM quote is cut short")
    bank, size = struct.unpack_from(">HB", message, at)
    if bank != SHA256:
        raise UnsupportedAlgorithm(f"PCRs of bank {bank:#06x} are quoted, SHA-256 (0x000b) is read")
    selected = message[at + 3 : at + 3 + size]
    if len(selected) != size:
        raise BadQuote("the TPM quote is cut short")
    pcrs = tuple([8 * i + bit for i, byte in enumerate(selected) for bit in range(8) if byte >> bit & 1])
    if pcrs and pcrs[-1] >= PCRS:
        raise BadQuote(f"PCR {pcrs[-1]} is quoted, and a PC Client TPM has {PCRS}")
    digest, at = _sized(message, at + 3 + size, 32, "pcrDigest")
    if len(digest) != 32:
        raise BadQuote(f"a PCR digest of {len(digest)} bytes, SHA-256 has 32")
    if at != len(message):
        raise BadQuote(f"{len(message) - at} bytes behind the TPM quote")
    return TpmQuote(qualified_signer, extra_data, clock, resets, restarts, safe, firmware, pcrs, digest, fixed)


def _sized(message: bytes, at: int, most: int, what: str) -> tuple[bytes, int]:
    """A TPM2B there, and where it ends."""
    if len(message) < at + 2:
        raise BadQuote("the TPM quote is cut short")
    size = int.from_bytes(message[at : at + 2], "big")
    end = at + 2 + size
    if size > most or end > len(message):
        raise BadQuote(f"{what} of {size} bytes: at most {most}, and within the quote")
    return message[at + 2 : end], end


def rsassa(signature: bytes, size: int) -> bytes:
    """The signature value, which comes bare or as a TPMT_SIGNATURE with RSASSA and SHA-256.

    Args:
        signature: as it came.
        size: bytes of the key's modulus, and so of the value (RFC 8017, 8.2.1).

    Raises:
        UnsupportedAlgorithm: it is of another scheme.
        BadQuote: it is of another length.
    """
    if len(signature) == size:
        return signature
    if len(signature) != size + 6:
        raise BadQuote(f"a TPM signature of {len(signature)} bytes: {size}, or {size + 6} as TPMT_SIGNATURE")
    scheme, hashed, length = struct.unpack_from(">HHH", signature)
    if (scheme, hashed) != (RSASSA, SHA256):
        raise UnsupportedAlgorithm(f"scheme {scheme:#06x} with hash {hashed:#06x}: RSASSA with SHA-256 is read")
    if length != size:
        raise BadQuote(f"a TPM signature of {length} bytes, and the key's have {size}")
    return signature[6:]


def values_of(quote: TpmQuote, given: Sequence[bytes]) -> dict[int, bytes] | None:
    """The values of the quoted PCRs by number, from those that were given; None where these are not the quoted ones.

    Args:
        quote: says which are quoted, and the digest of their values.
        given: the values of all 24, or of those that are quoted alone; ascending.
    """
    if len(given) == PCRS:
        found = {n: given[n] for n in quote.pcrs}
    elif len(given) == len(quote.pcrs):
        found = dict(zip(quote.pcrs, given, strict=True))
    else:
        return None
    return found if compare_digest(hashlib.sha256(b"".join(found.values())).digest(), quote.digest) else None
