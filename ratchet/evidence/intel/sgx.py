"""Intel SGX quotes: version 3, and versions 4 and 5 with an SGX report.

Source: Intel SGX ECDSA QuoteLibReference, A.4; Intel SDM volume 3D, 38.15 (REPORT) and 38.7.1 (ATTRIBUTES).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache, partial

from ratchet.collateral import Collateral
from ratchet.evidence.intel.dcap import prove
from ratchet.evidence.intel.pck import IDENTITIES
from ratchet.evidence.intel.platform import COMPONENTS, NUMBERS, TCB_NAMES, WORDS, Platform, concerns, replay_key
from ratchet.evidence.intel.quote import (
    SGX_FIELDS,
    SGX_QUOTE,
    SOURCES,
    TEE_SGX,
    BadQuote,
    Quote,
    piece,
    read,
    shared_fields,
)
from ratchet.evidence.proof import Claims, Evidence, Field, Proof
from ratchet.evidence.spec import SIGNER, FormatSpec, Freshness, Judge, Tee

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
    """Is it genuine? See `ratchet.evidence.intel.dcap` for the steps."""
    return prove(evidence, collateral, at, SGX_QUOTE, lambda _: None, claims)


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
        format=SGX_QUOTE,
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


SGX = Tee(
    name="sgx",
    title="SGX",
    judge=Judge.STATUS,
    versions=TCB_NAMES,
    components=COMPONENTS,
    numbers=NUMBERS | {f"attributes.{name}" for name in ATTRIBUTES} | {"isvprodid", "isvsvn", "configsvn"},
    measurements=frozenset(MEASUREMENTS),
    identities=IDENTITIES,
    signers=("mrsigner",),
    boot=("mrenclave",),
    # Who signed it, which product, from which version on, names an enclave as well as its measurement does.
    boot_instead=frozenset({SIGNER, "isvprodid", "isvsvn"}),
    at_least=frozenset({"isvsvn"}),
    launched_as=("isvprodid", "isvsvn", "configsvn", *(f"attributes.{name}" for name in ATTRIBUTES)),
    required={},
    debug_source="Intel SDM 3D, ATTRIBUTES.DEBUG",
    brings_key=True,
    concerns=partial(concerns, qe="QE"),
    shown_by={
        "attributes": ("attributes",),
        "debug": ("attributes",),
        "freshness": ("reportdata",),
        "measurement": ("mrenclave",),
    },
    words=WORDS,
)
"""What SGX quotes can say, and how it is judged."""


def detect(raw: bytes) -> bool:
    """Header version 3, 4 or 5 with an ECDSA attestation key (2, 3); TEE type 0 from version 4 on (TDX A.3)."""
    version, key_type = int.from_bytes(raw[:2], "little"), int.from_bytes(raw[2:4], "little")
    return len(raw) >= 48 and version in (3, 4, 5) and key_type in (2, 3) and (version == 3 or not any(raw[4:8]))


SPEC = FormatSpec(
    format=SGX_QUOTE,
    title="Intel SGX quote",
    tee=SGX,
    detect=detect,
    verify=verify,
    fields=fields,
    replay_key=replay_key,
    freshness=Freshness(place="report data", size=64, hashed=True, source="Intel SDM volume 3D, 38.15 (REPORTDATA)"),
    family="sgx/<fmspc>",
    simulated="intel",
    source=SOURCES[SGX_QUOTE],
)
"""SGX quotes among the formats."""
