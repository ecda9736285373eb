"""Intel SGX quotes: version 3, and versions 4 and 5 with an SGX report.

Source: Intel SGX ECDSA QuoteLibReference, A.4; Intel SDM volume 3D, 38.15 (REPORT) and 38.7.1 (ATTRIBUTES).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache

from ratchet.collateral import Collateral
from ratchet.evidence import Claims, Evidence, Field, Format, Proof
from ratchet.evidence.dcap import prove
from ratchet.evidence.platform import Platform
from ratchet.evidence.quote import SGX_FIELDS, TEE_SGX, BadQuote, Quote, piece, read, shared_fields

SgxQuote = Quote
"""The record behind `Claims.native`."""

ATTRIBUTES: Mapping[str, int] = {
    "init": 0,
    "debug": 1,
    "mode64bit": 2,
    "provision_key": 4,
    "einittoken_key": 5,
    "cet": 6,
    "kss": 7,
    "aexnotify": 10,
}
"""Bits of ATTRIBUTES (Intel SDM volume 3D, table 38-3). Its last 8 bytes are XFRM."""

_BYTES = (
    ("mrenclave", 64, 96),
    ("mrsigner", 128, 160),
    ("configid", 192, 256),
    ("isvextprodid", 32, 48),
    ("isvfamilyid", 304, 320),
    ("attributes", 48, 64),
    ("xfrm", 56, 64),
    ("miscselect", 16, 20),
)
"""Of `Claims.measurements`: name, and where it begins and ends in the report (Intel SDM volume 3D, 38.15)."""

MEASUREMENTS = tuple(name for name, _, _ in _BYTES)
"""Names of `Claims.measurements`."""


def verify(evidence: Evidence, collateral: Collateral, at: datetime) -> Proof:
    """Is it genuine? See `ratchet.evidence.dcap` for the steps."""
    return prove(evidence, collateral, at, Format.SGX_QUOTE, lambda _: None, claims)


@lru_cache(maxsize=256)
def _flags(attributes: int) -> Mapping[str, int]:
    return {f"attributes.{name}": bool(attributes >> bit & 1) for name, bit in ATTRIBUTES.items()}


def claims(quote: Quote, platform: Platform) -> Claims:
    """What the SGX report says."""
    raw, at = quote.raw, quote.body
    attributes = raw[at + 48] | raw[at + 49] << 8
    signer = raw[at + 128 : at + 160]
    measurements = {name: raw[at + start : at + stop].hex() for name, start, stop in _BYTES}
    measurement = measurements["mrenclave"]
    bits = {**platform.bits, **_flags(attributes)}
    bits["isvprodid"] = raw[at + 256] | raw[at + 257] << 8
    bits["isvsvn"] = raw[at + 258] | raw[at + 259] << 8
    bits["configsvn"] = raw[at + 260] | raw[at + 261] << 8
    return Claims(
        format=Format.SGX_QUOTE,
        tee="sgx",
        family=f"sgx/{platform.family}",
        platform=platform.pck.identity if platform.pck is not None else None,
        instance=measurement,
        measurement=measurement,
        signer=measurements["mrsigner"] if any(signer) else None,
        debug=bool(attributes & 2),
        report_data=raw[at + 320 : at + 384],
        tcb=platform.tcb,
        bits=bits,
        native=quote,
        measurements=measurements,
    )


def fields(raw: bytes) -> tuple[Field, ...]:
    """Every claim with its place in the bytes; empty where they cannot be parsed."""
    try:
        quote = read(raw, TEE_SGX)
    except BadQuote:
        return ()
    body = [piece(raw, n, label, quote.body + at, size, number=number) for n, label, at, size, number in SGX_FIELDS]
    return tuple(sorted([*shared_fields(quote), *body], key=lambda f: f.offset))
