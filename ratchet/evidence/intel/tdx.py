"""Intel TDX quotes: version 4, and version 5 with a TD report 1.0 or 1.5.

Sources: Intel TDX DCAP Quoting Library API, A.3; Intel TDX Module 1.5 ABI specification, 3.7 (TDREPORT, ATTRIBUTES).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache, partial

from ratchet.collateral import Collateral
from ratchet.evidence.intel.dcap import prove
from ratchet.evidence.intel.dcap_appraisal import Module
from ratchet.evidence.intel.pck import IDENTITIES
from ratchet.evidence.intel.platform import COMPONENTS as PLATFORM_COMPONENTS
from ratchet.evidence.intel.platform import NUMBERS, TCB_NAMES, WORDS, Platform, concerns, replay_key
from ratchet.evidence.intel.quote import (
    BODY_TD_15,
    SOURCES,
    TDX_QUOTE,
    TEE_TDX,
    BadQuote,
    Quote,
    piece,
    read,
    shared_fields,
)
from ratchet.evidence.proof import Claims, Evidence, Field, Proof
from ratchet.evidence.spec import Component, FormatSpec, Freshness, Judge, Scope, Tee

TdxQuote = Quote
"""The record behind `Claims.native`."""

ATTRIBUTES: Mapping[str, int] = {
    "debug": 0,
    "hgs_plus_prof": 4,
    "perf_prof": 5,
    "pmt_prof": 6,
    "icssd": 16,
    "lass": 27,
    "sept_ve_disable": 28,
    "migratable": 29,
    "pks": 30,
    "kl": 31,
    "tpa": 62,
    "perfmon": 63,
}
"""Bits of TDATTRIBUTES (Intel TDX Module 1.5 ABI specification, ATTRIBUTES; Linux, arch/x86/include/asm/shared/tdx.h).
SEAMATTRIBUTES has no bit with a name: all of them are zero (`mrsignerseam` and `seamattributes` among the claims)."""

XFAM: Mapping[str, int] = {
    "x87": 0,
    "sse": 1,
    "avx": 2,
    "bndregs": 3,
    "bndcsr": 4,
    "opmask": 5,
    "zmm_hi256": 6,
    "hi16_zmm": 7,
    "pt": 8,
    "pkru": 9,
    "pasid": 10,
    "cet_u": 11,
    "cet_s": 12,
    "hdc": 13,
    "uintr": 14,
    "lbr": 15,
    "hwp": 16,
    "tilecfg": 17,
    "tiledata": 18,
    "apx": 19,
}
"""Bits of XFAM, which are those of XCR0 and IA32_XSS (Intel SDM volume 1, 13.1)."""

_TUD = 0xFF
"""TD under debug: with any of the lowest eight bits set the TD is untrusted (same table)."""

TD_FIELDS: tuple[tuple[str, str, int, int], ...] = (
    ("tee_tcb_svn", "TEE TCB SVN (at launch)", 0, 16),
    ("mrseam", "MRSEAM (TDX module)", 16, 48),
    ("mrsignerseam", "MRSIGNERSEAM (signer of the TDX module)", 64, 48),
    ("seamattributes", "SEAM attributes", 112, 8),
    ("tdattributes", "TD attributes", 120, 8),
    ("xfam", "XFAM", 128, 8),
    ("mrtd", "MRTD (measurement)", 136, 48),
    ("mrconfigid", "MRCONFIGID", 184, 48),
    ("mrowner", "MROWNER", 232, 48),
    ("mrownerconfig", "MROWNERCONFIG", 280, 48),
    ("rtmr0", "RTMR0", 328, 48),
    ("rtmr1", "RTMR1", 376, 48),
    ("rtmr2", "RTMR2", 424, 48),
    ("rtmr3", "RTMR3", 472, 48),
    ("report_data", "Report data", 520, 64),
)
"""Of a TD report 1.0: name, label, offset in the body, length."""

TD_15_FIELDS: tuple[tuple[str, str, int, int], ...] = (
    ("tee_tcb_svn2", "TEE TCB SVN 2 (now)", 584, 16),
    ("mrservicetd", "MRSERVICETD", 600, 48),
)
"""What a TD report 1.5 adds."""

_BYTES = tuple(
    (name, 2 * offset, 2 * (offset + size))
    for name, _, offset, size in TD_FIELDS + TD_15_FIELDS
    if name not in ("tee_tcb_svn", "tee_tcb_svn2", "report_data")
)
"""Of `Claims.measurements`: name, and where its hex begins and ends in that of the body."""

MEASUREMENTS = tuple(name for name, _, _ in _BYTES)
"""Names of `Claims.measurements`; `mrservicetd` is of TD reports 1.5 alone."""

_TDX = tuple(f"tdx.{i}" for i in range(16))
_TDX2 = tuple(f"tdx2.{i}" for i in range(16))


def verify(evidence: Evidence, collateral: Collateral, at: datetime) -> Proof:
    """Is it genuine? See `ratchet.evidence.intel.dcap` for the steps."""
    return prove(evidence, collateral, at, TDX_QUOTE, module, claims)


@lru_cache(maxsize=1024)
def _flags(attributes: int, xfam: int) -> Mapping[str, int]:
    found: dict[str, int] = {f"attributes.{name}": bool(attributes >> bit & 1) for name, bit in ATTRIBUTES.items()}
    found |= {f"xfam.{name}": bool(xfam >> bit & 1) for name, bit in XFAM.items()}
    return found


def module(quote: Quote) -> Module:
    """What the TD report says of the TDX module."""
    raw, at = quote.raw, quote.body
    now = raw[at + 584 : at + 600] if quote.body_type == BODY_TD_15 else None
    return Module(raw[at : at + 16], now, raw[at + 64 : at + 112], raw[at + 112 : at + 120])


def claims(quote: Quote, platform: Platform) -> Claims:
    """What the TD report says."""
    raw, at = quote.raw, quote.body
    attributes = int.from_bytes(raw[at + 120 : at + 128], "little")
    body = raw[at : quote.signed].hex()
    measurements = {name: body[start:stop] for name, start, stop in _BYTES if stop <= len(body)}
    measurement = measurements["mrtd"]
    tcb = dict(platform.tcb)
    tcb.update(zip(_TDX, raw[at : at + 16], strict=True))
    bits = {**platform.bits, **_flags(attributes, int.from_bytes(raw[at + 128 : at + 136], "little"))}
    if quote.body_type == BODY_TD_15:
        tcb.update(zip(_TDX2, raw[at + 584 : at + 600], strict=True))
        bits["service_td"] = any(raw[at + 600 : at + 648])
    return Claims(
        format=TDX_QUOTE,
        tee="tdx",
        family=f"tdx/{platform.family}",
        platform=platform.pck.identity if platform.pck is not None else None,
        instance=measurement,
        measurement=measurement,
        signer=None,
        debug=bool(attributes & _TUD),
        report_data=raw[at + 520 : at + 584],
        tcb=tcb,
        bits=bits,
        native=quote,
        measurements=measurements,
    )


def fields(raw: bytes) -> tuple[Field, ...]:
    """Every claim with its place in the bytes; empty where they cannot be parsed."""
    try:
        quote = read(raw, TEE_TDX)
    except BadQuote:
        return ()
    places = TD_FIELDS + (TD_15_FIELDS if quote.body_type == BODY_TD_15 else ())
    body = [piece(raw, name, label, quote.body + at, size) for name, label, at, size in places]
    return tuple(sorted([*shared_fields(quote), *body], key=lambda f: f.offset))


_MODULE = ("mrseam", "mrsignerseam", "seamattributes")

COMPONENTS = (
    *PLATFORM_COMPONENTS,
    # What the module is now belongs to the platform; what it was when a TD started stays with that TD, and says
    # nothing where the other is attested (TD report 1.5). Byte 1 is the module's major version, byte 0 counts within
    # it (Intel PCS API v4, tdxModuleIdentities).
    *(
        Component(
            name=f"{kind}.{n}",
            scope=scope,
            major=f"{kind}.1" if n == 0 else None,
            unless="tdx2.0" if kind == "tdx" else None,
            label=f"{kind.upper()} component {n + 1}",
            field="teetcbsvn" if kind == "tdx" else "teetcbsvn2",
        )
        for kind, scope in (("tdx", Scope.GUEST), ("tdx2", Scope.PLATFORM))
        for n in range(16)
    ),
)
"""Every name in `Claims.tcb`."""

TDX = Tee(
    name="tdx",
    title="TDX",
    judge=Judge.STATUS,
    versions=TCB_NAMES | {*_TDX, *_TDX2},
    components=COMPONENTS,
    numbers=NUMBERS
    | {f"attributes.{name}" for name in ATTRIBUTES}
    | {f"xfam.{name}" for name in XFAM}
    | {"service_td"},
    measurements=frozenset(MEASUREMENTS),
    identities=IDENTITIES,
    # MRTD is the firmware alone; RTMR0 its configuration, RTMR1 and RTMR2 boot loader, kernel and command line (Intel
    # TDX virtual firmware design guide, 8). A set of MRTD alone would vouch for any kernel.
    boot=("mrtd", "rtmr0", "rtmr1", "rtmr2"),
    runtime=("rtmr3",),
    platform_measurements=frozenset(_MODULE),
    launched_as=tuple(f"attributes.{name}" for name in ATTRIBUTES),
    # Without SEPT_VE_DISABLE the host can inject #VE on private memory; a migratable TD may leave the machine that
    # attested; a service TD (MRSERVICETD not zero) is bound to it and may change it (Intel TDX Module ABI, ATTRIBUTES,
    # SERVTD_HASH). TD reports 1.0 do not say whether there is one.
    required={
        "attributes.sept_ve_disable": True,
        "attributes.migratable": False,
        "service_td": {"one_of": [0], "unattested": "admit"},
    },
    debug_source="Intel TDX Module ABI, ATTRIBUTES.TUD.DEBUG",
    brings_key=True,
    concerns=partial(concerns, qe="TD_QE"),
    shown_by={
        "attributes": ("tdattributes",),
        "debug": ("tdattributes",),
        "freshness": ("reportdata",),
        "measurement": ("mrtd",),
    },
    words=WORDS | {"tdx"},
)
"""What TDX quotes can say, and how it is judged."""


def detect(raw: bytes) -> bool:
    """Header version 4 or 5 with an ECDSA attestation key (2, 3), TEE type 0x81 (A.3)."""
    version, key_type = int.from_bytes(raw[:2], "little"), int.from_bytes(raw[2:4], "little")
    return len(raw) >= 48 and version in (4, 5) and key_type in (2, 3) and raw[4:8] == b"\x81\0\0\0"


SPEC = FormatSpec(
    format=TDX_QUOTE,
    title="Intel TDX quote",
    tee=TDX,
    detect=detect,
    verify=verify,
    fields=fields,
    replay_key=replay_key,
    freshness=Freshness(
        place="report data", size=64, hashed=True, source="Intel TDX Module ABI, TDREPORT (REPORTDATA)"
    ),
    family="tdx/<fmspc>",
    simulated="intel",
    source=SOURCES[TDX_QUOTE],
)
"""TDX quotes among the formats."""
