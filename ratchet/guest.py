"""Which guest of a machine is it? A name for whoever may hold a word of its own about the machine.

One machine runs several guests, and one of them must not speak for another: a clean guest would clear what a bad one
showed. What tells them apart:

- Where something below the guest makes an id, which no guest or host can choose, that id (SNP's report id, which the
  firmware draws for each launch; the attestation key of the vTPM that Azure's paravisor makes).
- Elsewhere (TDX and SGX have no such id in the quote: Intel TDX Module ABI, TDREPORT_STRUCT; Intel SDM 3D, REPORT), and
  where that id is zero, a guest is everything that the evidence says of it and its launch decided, with the sender's
  name: measurements, configuration and owner, attributes (debug is one), for SGX product and security version. So
  whoever runs a debug TD beside a clean one of the same image has two guests, whatever name they send under. What
  belongs to the platform (MRSEAM and what goes with it) is left out: it changes under a living guest.

Which claims are which, the entry of the TEE says (`ratchet.evidence.spec.Tee`).

Two guests that agree in all of it, under one name, are one here: nothing in the evidence tells them apart, and they
show the same. Source of the claims: docs/formats.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from ratchet.event import Json, canonical, digest
from ratchet.evidence import TEES


def guest_of(signal: Mapping[str, Json]) -> str:
    """The name of a signal's guest, within its machine.

    Args:
        signal: on evidence that could be read (docs/events.md, signals.batched.v1).
    """
    tee, instance = TEES.get(signal.get("tee") or ""), signal.get("instance")
    if tee is not None and tee.draws_instance and instance and instance != signal.get("measurement"):
        return str(instance)
    bits = signal.get("bits") or {}
    platform = tee.platform_measurements if tee is not None else ()
    about: dict[str, Json] = {
        "tee": signal.get("tee"),
        "measurement": signal.get("measurement"),
        "measurements": {k: v for k, v in (signal.get("measurements") or {}).items() if k not in platform},
        "launched_as": {name: bits[name] for name in (tee.launched_as if tee is not None else ()) if name in bits},
        "debug": bool(signal.get("debug")),
        "hint": signal["hint"],
    }
    return digest(canonical(about))[:32]
