"""Floors in words, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from ratchet.app.output import short
from ratchet.event import Json


def summary(floor: Mapping[str, Json] | None) -> str:
    """A floor in a few words."""
    if floor is None:
        return "nothing"
    if floor["kind"] == "intel":
        admitted = sum(1 for level in floor["levels"] if level["status"] in floor["accepted"])
        return f"evaluation {floor['evaluation']}, {admitted} of {len(floor['levels'])} levels accepted"
    parts = []
    for minimum in floor["minima"]:
        which = "".join(f" {k} {minimum[k]}" for k in ("model", "stepping") if minimum[k] is not None)
        asked = [f"{name} {value:#x}" for name, value in sorted(minimum["tcb"].items())]
        asked += [f"{name} {int(value)}" for name, value in sorted(minimum["bits"].items())]
        asked += [f"mitigation {minimum['mitigation']:#x}"] if minimum["mitigation"] else []
        parts.append(", ".join(asked) + which)
    return "; ".join(parts)


def provenance(said: Mapping[str, Json]) -> str:
    """Where a floor comes from, in a few words."""
    if said["reviewed_by"]:
        return f"{said['bulletin'] or said['url']}, reviewed by {said['reviewed_by']}"
    return ", ".join(short(document) for document in said["documents"]) + f" {said['pointer']}"
