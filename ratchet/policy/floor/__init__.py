"""Floors: the least that a product family's machines must run, with where that was read.

A floor is not a number (docs/design.md, 6), and each kind is one module: for Intel it is the whole list of TCB levels
with the statuses that are accepted, for AMD minima per model and stepping. What both mean to a machine is `shortfalls`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ratchet.event import Json, canonical, digest
from ratchet.policy.floor import amd, intel
from ratchet.policy.floor.amd import AmdFloor, Minimum, applicable
from ratchet.policy.floor.codes import ABSTAINS, BELOW
from ratchet.policy.floor.intel import IntelFloor, merged_status
from ratchet.policy.floor.provenance import Provenance
from ratchet.reason import Reason

__all__ = [
    "ABSTAINS",
    "BELOW",
    "AmdFloor",
    "Floor",
    "IntelFloor",
    "Minimum",
    "accepting",
    "applicable",
    "floor_hash",
    "from_data",
    "is_open",
    "merged_status",
    "open_floor",
    "shortfalls",
]

Floor = IntelFloor | AmdFloor


def accepting(floor: Floor, accepted: tuple[str, ...], conditional: Mapping[str, tuple[str, ...]]) -> Floor:
    """The same floor, accepting these statuses of Intel's levels; AMD's have none."""
    if not isinstance(floor, IntelFloor) or (floor.accepted, floor.conditional) == (accepted, conditional):
        return floor
    return replace(floor, accepted=accepted, conditional=dict(conditional))


def open_floor(family: str, rule: str) -> AmdFloor:
    """A floor that asks nothing, for a family of which something must be said and nothing is known yet.

    A store refuses a family that it was told nothing of (`ratchet.ear.refusals`). This tells it, in so many
    words, that the family is not judged. `appraise` treats it as no floor at all.
    """
    return AmdFloor(family=family, minima=(), provenance=Provenance(documents=(), pointer="", rule=rule))


def is_open(floor: Floor | None) -> bool:
    """Does it ask nothing?"""
    return floor is None or (isinstance(floor, AmdFloor) and not floor.minima)


def from_data(data: Mapping[str, Json]) -> Floor:
    """A floor from its JSON.

    Raises:
        ValueError: of no known kind.
    """
    match data["kind"]:
        case "intel":
            return IntelFloor.from_data(data)
        case "amd":
            return AmdFloor.from_data(data)
        case kind:
            raise ValueError(f"a floor of kind {kind!r} is not known: intel or amd")


def floor_hash(floor: Floor | None) -> str:
    """What tells floors apart: SHA-256 over the RFC 8785 bytes of what is asked, whoever asks it and from where."""
    if floor is None:
        return digest(b"null")
    data = floor.to_data()
    del data["provenance"]
    return digest(canonical(data))


def shortfalls(
    floor: Floor, tcb: Mapping[str, int], bits: Mapping[str, int], qe: str | None = None
) -> tuple[Reason, ...]:
    """Everything in which a machine falls short of a floor; empty when it meets it.

    Args:
        floor: of the machine's family.
        tcb: its security versions, named as in `Claims.tcb`.
        bits: its bits, named as in `Claims.bits`.
        qe: the status of the quoting enclave, for Intel, where it is known. Then what is accepted or not is the merged
            status, as Intel's verifier makes it of platform, TDX module and quoting enclave: the very word that a
            policy accepts where a family has no floor. Without it, platform and module are judged one by one.
    """
    if isinstance(floor, IntelFloor):
        return intel.shortfalls(floor, tcb, qe)
    return amd.shortfalls(floor, tcb, bits)
