"""Which guest of a machine is it? A name for whoever may hold a word of its own about the machine.

One machine runs several guests, and one of them must not speak for another: a clean guest would clear what a bad one
showed. What tells them apart:

- SNP: the report id, which the firmware draws anew for each launch and no guest or host can choose (AMD 56860,
  ATTESTATION_REPORT, REPORT_ID).
- TDX and SGX have no such id in the quote (Intel TDX Module ABI, TDREPORT_STRUCT; Intel SDM 3D, REPORT), nor has an SNP
  report whose id is zero. There a guest is everything that the evidence says of it and its launch decided, with the
  sender's name: measurements, configuration and owner, attributes (debug is one), for SGX product and security version.
  So whoever runs a debug TD beside a clean one of the same image has two guests, whatever name they send under.
  What belongs to the platform (MRSEAM and what goes with it) is left out: it changes under a living guest.

Two guests that agree in all of it, under one name, are one here: nothing in the evidence tells them apart, and they
show the same. Source of the claims: docs/formats.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from ratchet.event import Json, canonical, digest

_PLATFORM = frozenset({"mrseam", "mrsignerseam", "seamattributes", "csp_id"})
"""Measurements that say nothing of the guest."""

_LAUNCHED_AS = ("isvprodid", "isvsvn", "configsvn", "vmpl", "guest_svn")
"""Numbers in `Claims.bits` that do."""


def guest_of(signal: Mapping[str, Json]) -> str:
    """The name of a signal's guest, within its machine.

    Args:
        signal: on evidence that could be read (docs/events.md, signals.batched.v1).
    """
    instance = signal.get("instance")
    if signal.get("tee") == "snp" and instance and instance != signal.get("measurement"):
        return str(instance)
    bits = signal.get("bits") or {}
    said = {name: value for name, value in (signal.get("measurements") or {}).items() if name not in _PLATFORM}
    about: dict[str, Json] = {
        "tee": signal.get("tee"),
        "measurement": signal.get("measurement"),
        "measurements": said,
        "launched_as": {name: bits[name] for name in _LAUNCHED_AS if name in bits},
        "attributes": {name: value for name, value in bits.items() if name.startswith(("attributes.", "policy."))},
        "debug": bool(signal.get("debug")),
        "hint": signal["hint"],
    }
    return digest(canonical(about))[:32]
