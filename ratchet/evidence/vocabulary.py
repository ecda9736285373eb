"""Which claims evidence of each TEE can make: what a policy may speak of, by name.

A policy that asks for a claim which no evidence makes would refuse everything, or nothing, and not say so: names are
checked when it is read. docs/formats.md describes each.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache

TEES = ("sgx", "tdx", "snp")

SIGNER = "signer"
"""A name for the key that vouches for what runs: MRSIGNER of SGX, the digests of id key and author key of SNP."""

SIGNERS: Mapping[str, tuple[str, ...]] = {
    "sgx": ("mrsigner",),
    "snp": ("id_key_digest", "author_key_digest"),
    "tdx": (),
}
"""TEE -> claims that name a signer of the guest. Nobody signs a TD; MRSIGNERSEAM is the TDX module's."""


@cache
def measurements(tee: str) -> frozenset[str]:
    """Claims that are strings of bytes, as in `Claims.measurements`."""
    from ratchet.evidence import sgx, snp_report, tdx

    match tee:
        case "sgx":
            return frozenset(sgx.MEASUREMENTS)
        case "tdx":
            return frozenset(tdx.MEASUREMENTS)
        case "snp":
            return frozenset(snp_report.MEASUREMENTS)
    raise ValueError(f"{tee!r} is none of {', '.join(TEES)}")


@cache
def numbers(tee: str) -> frozenset[str]:
    """Claims that are whole numbers or truth values, as in `Claims.bits` and `Claims.tcb`."""
    from ratchet.evidence import sgx, snp_report, tdx

    platform = {"platform.dynamic", "platform.cached_keys", "platform.smt", "pcesvn", "qe.isvsvn"}
    platform |= {f"sgx.{n}" for n in range(16)}
    match tee:
        case "sgx":
            own = {f"attributes.{name}" for name in sgx.ATTRIBUTES} | {"isvprodid", "isvsvn", "configsvn"}
            return frozenset(platform | own)
        case "tdx":
            own = {f"attributes.{name}" for name in tdx.ATTRIBUTES} | {f"xfam.{name}" for name in tdx.XFAM}
            own |= {f"{kind}.{n}" for kind in ("tdx", "tdx2") for n in range(16)}
            return frozenset(platform | own | {"service_td"})
        case "snp":
            return snp_report.NUMBERS
    raise ValueError(f"{tee!r} is none of {', '.join(TEES)}")


def check(tee: str, claim: str) -> None:
    """Is there such a claim?

    Raises:
        ValueError: no; names the nearest.
    """
    known = measurements(tee) | numbers(tee) | ({SIGNER} if SIGNERS.get(tee) else frozenset())
    if claim not in known:
        near = difflib.get_close_matches(claim, known, 1)
        hint = f"did you mean {near[0]}?" if near else "docs/formats.md lists them"
        raise ValueError(f"{tee} evidence makes no claim {claim}: {hint}")
