"""Quotes of Intel's: the layout that SGX and TDX quotes share, and where each part lies.

Sources: Intel SGX ECDSA QuoteLibReference, appendix A.4 (version 3); Intel TDX DCAP Quoting Library API, appendix A.3
(versions 4 and 5). Whole numbers are little-endian; ECDSA values are r and s, 32 bytes each, big-endian.

    version 3   header 48, SGX report 384, u32 length, signature data
    version 4   header 48, SGX report 384 or TD report 584, u32 length, signature data
    version 5   header 48, u16 body type, u32 body size, body, u32 length, signature data
    signature data (3)     signature 64, attestation key 64, QE report 384, QE report signature 64, u16 length,
                           QE authentication data, u16 certification type, u32 length, certification data
    signature data (4, 5)  signature 64, attestation key 64, u16 type 6, u32 length, then as in 3 from the QE report on

The signature covers everything before the length of the signature data. What follows the signature data is padding or
somebody else's, and is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from ratchet.event import Json
from ratchet.evidence.proof import Field, Format

ECDSA_P256 = 2
"""The attestation key type of every quote in use; 3 (P-384) is defined and made by nobody."""
TEE_SGX, TEE_TDX = 0, 0x81
INTEL_QE = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
"""QE vendor id of Intel's quoting enclaves; others' are not of this layout (QVL, Quote::validate)."""

HEADER, SGX_REPORT, TD_REPORT, TD_REPORT_15 = 48, 384, 584, 648
BODY_SGX, BODY_TD_10, BODY_TD_15 = 1, 2, 3
_BODIES = {BODY_SGX: SGX_REPORT, BODY_TD_10: TD_REPORT, BODY_TD_15: TD_REPORT_15}

PCK_CHAIN, PCK_LEAF, QE_REPORT_CERTIFICATION = 5, 4, 6
"""Certification data types: a PEM chain, a leaf alone, and the wrapper of versions 4 and 5. 1 to 3 hold the PPID."""

_HEADER = Struct("<HHIHH16s20s")
_BODY = Struct("<HI")
_U16, _U32 = Struct("<H"), Struct("<I")

SGX_QUOTE, TDX_QUOTE = Format("sgx-quote"), Format("tdx-quote")

SOURCES = {
    SGX_QUOTE: "Intel SGX ECDSA QuoteLibReference, A.4",
    TDX_QUOTE: "Intel TDX DCAP Quoting Library API, A.3",
}


class BadQuote(ValueError):
    """The bytes are no quote of the expected kind; the text says why."""


class Quote(NamedTuple):
    """A quote's parts, as offsets into its bytes: nothing is copied that nobody asks for.

    A named tuple, for it is made for every quote, and a frozen dataclass of twelve fields takes three times as long.

    Attributes:
        raw: the bytes as received.
        version: 3, 4 or 5.
        body_type: 1 SGX report, 2 TD report 1.0, 3 TD report 1.5.
        body: where the report begins.
        signed: where the signed range ends; it begins at 0.
        signature: where the quote signature begins; the attestation key follows it.
        qe: where the QE report begins; its signature follows it.
        auth, auth_end: QE authentication data.
        certification: type of the certification data.
        chain, end: the certification data; `end` is also that of the whole quote.
    """

    raw: bytes
    version: int
    body_type: int
    body: int
    signed: int
    signature: int
    qe: int
    auth: int
    auth_end: int
    certification: int
    chain: int
    end: int

    @property
    def attestation_key(self) -> bytes:
        """X and Y of a point on P-256."""
        return self.raw[self.signature + 64 : self.signature + 128]

    @property
    def qe_report(self) -> bytes:
        """The quoting enclave's own report, which binds the attestation key to the platform."""
        return self.raw[self.qe : self.qe + SGX_REPORT]

    @property
    def qe_report_signature(self) -> bytes:
        """By the PCK."""
        return self.raw[self.qe + SGX_REPORT : self.qe + SGX_REPORT + 64]

    @property
    def qe_isvsvn(self) -> int:
        """Security version of the quoting enclave."""
        at = self.qe + 258
        return self.raw[at] | self.raw[at + 1] << 8

    @property
    def certification_data(self) -> bytes:
        """A PEM chain, or what `certification` says."""
        return self.raw[self.chain : self.end]

    @property
    def trailing(self) -> int:
        """Bytes behind the quote."""
        return len(self.raw) - self.end


def read(raw: bytes, tee: int) -> Quote:
    """Take a quote apart.

    Args:
        raw: the bytes.
        tee: `TEE_SGX` or `TEE_TDX`: which kind it must be.

    Raises:
        BadQuote: truncated, of another kind, or with lengths that do not agree.
    """
    size = len(raw)
    if size < HEADER + SGX_REPORT + 4:
        raise BadQuote(f"{size} bytes are too few for a quote")
    version, key_type, found, _, _, vendor, _ = _HEADER.unpack_from(raw)
    if version not in (3, 4, 5):
        raise BadQuote(f"version {version}, expected 3, 4 or 5")
    if found != tee or (version == 3 and tee != TEE_SGX):
        raise BadQuote(f"version {version} with TEE type 0x{found:x}, expected 0x{tee:x}")
    if key_type != ECDSA_P256:
        raise BadQuote(f"attestation key type {key_type}, expected {ECDSA_P256} (ECDSA P-256)")
    if vendor != INTEL_QE:
        raise BadQuote(f"QE vendor {vendor.hex()}, expected Intel's")
    body, body_type = HEADER, BODY_SGX if tee == TEE_SGX else BODY_TD_10
    if version == 5:
        body_type, length = _BODY.unpack_from(raw, HEADER)
        body += _BODY.size
        if _BODIES.get(body_type) != length or (body_type == BODY_SGX) != (tee == TEE_SGX):
            raise BadQuote(f"body type {body_type} of {length} bytes in a quote of TEE type 0x{tee:x}")
    signed = body + _BODIES[body_type]
    signature = signed + 4
    if size < signature:
        raise BadQuote("truncated before the signature data")
    end = signature + _U32.unpack_from(raw, signed)[0]
    if end > size:
        raise BadQuote(f"signature data of {end - signature} bytes, {size - signature} are there")
    qe = signature + 128
    if version > 3:
        if end < qe + 6:
            raise BadQuote("signature data too short")
        if _U16.unpack_from(raw, qe)[0] != QE_REPORT_CERTIFICATION or _U32.unpack_from(raw, qe + 2)[0] != end - qe - 6:
            raise BadQuote("certification data is not of type 6, or not as long as what holds it")
        qe += 6
    auth = qe + SGX_REPORT + 64 + 2
    if end < auth:
        raise BadQuote("signature data too short")
    auth_end = auth + _U16.unpack_from(raw, auth - 2)[0]
    chain = auth_end + 6
    if end < chain:
        raise BadQuote("QE authentication data reaches beyond the signature data")
    certification = _U16.unpack_from(raw, auth_end)[0]
    if _U32.unpack_from(raw, auth_end + 2)[0] != end - chain:
        raise BadQuote("certification data is not as long as what holds it")
    if not 1 <= certification <= PCK_CHAIN:
        raise BadQuote(f"certification data of type {certification}, expected 1 to {PCK_CHAIN}")
    return Quote(raw, version, body_type, body, signed, signature, qe, auth, auth_end, certification, chain, end)


def piece(raw: bytes, name: str, label: str, offset: int, length: int, *, number: bool = False) -> Field:
    """One claim with its place: little-endian number or hex."""
    content = raw[offset : offset + length]
    value: Json = int.from_bytes(content, "little") if number else content.hex()
    return Field(name, label, offset, length, value)


SGX_FIELDS: tuple[tuple[str, str, int, int, bool], ...] = (
    ("cpusvn", "CPU security version", 0, 16, False),
    ("miscselect", "MISCSELECT", 16, 4, False),
    ("isvextprodid", "Extended product id", 32, 16, False),
    ("attributes", "Attributes", 48, 16, False),
    ("mrenclave", "MRENCLAVE (measurement)", 64, 32, False),
    ("mrsigner", "MRSIGNER (signer)", 128, 32, False),
    ("configid", "Config id", 192, 64, False),
    ("isvprodid", "Product id", 256, 2, True),
    ("isvsvn", "Security version", 258, 2, True),
    ("configsvn", "Config security version", 260, 2, True),
    ("isvfamilyid", "Family id", 304, 16, False),
    ("report_data", "Report data", 320, 64, False),
)
"""Of an SGX report: name, label, offset, length, whether a number (Intel SDM volume 3D, 38.15, REPORT)."""


def shared_fields(quote: Quote) -> Iterator[Field]:
    """Header and signature data, with their places; the body is the format's own."""
    raw = quote.raw
    yield piece(raw, "version", "Quote version", 0, 2, number=True)
    yield piece(raw, "attestation_key_type", "Attestation key type", 2, 2, number=True)
    yield piece(raw, "tee_type", "TEE type", 4, 4, number=True)
    if quote.version == 3:
        yield piece(raw, "qe_svn", "QE security version", 8, 2, number=True)
        yield piece(raw, "pce_svn", "PCE security version", 10, 2, number=True)
    yield piece(raw, "qe_vendor_id", "QE vendor", 12, 16)
    yield piece(raw, "user_data", "User data (QE id in the first 16 bytes)", 28, 20)
    if quote.version == 5:
        yield piece(raw, "body_type", "Body type", 48, 2, number=True)
        yield piece(raw, "body_size", "Body size", 50, 4, number=True)
    yield piece(raw, "signature_data_length", "Length of signature data", quote.signed, 4, number=True)
    yield piece(raw, "quote_signature", "Quote signature", quote.signature, 64)
    yield piece(raw, "attestation_key", "Attestation key", quote.signature + 64, 64)
    for name, label, offset, length, number in SGX_FIELDS:
        yield piece(raw, f"qe.{name}", f"Quoting enclave: {label}", quote.qe + offset, length, number=number)
    yield piece(raw, "qe_report_signature", "QE report signature (by the PCK)", quote.qe + SGX_REPORT, 64)
    yield piece(raw, "qe_auth_data", "QE authentication data", quote.auth, quote.auth_end - quote.auth)
    yield piece(raw, "certification_data_type", "Certification data type", quote.auth_end, 2, number=True)
    yield piece(raw, "certification_data", "Certification data", quote.chain, quote.end - quote.chain)
