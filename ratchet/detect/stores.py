"""What policy stores prove or fail to prove, and floors that are loosened for a time."""

from __future__ import annotations

from ratchet.detect import observation as observed
from ratchet.detect.memory import Memory
from ratchet.detect.raising import Raising
from ratchet.event import Event


def change(raising: Raising, memory: Memory, event: Event) -> list[Event]:
    """What the stores are to hold: a loosening is told when it is sent, and until all have proved what ends it.

    There is one event for each store. The first tells; the others only add who has to prove.
    """
    tenant, family, change = event.tenant, event.data["family"], event.data["change"]
    key = f"loosened/{tenant}/{family}"
    previous = memory.get(key)
    loosens = event.data.get("loosens") is not None
    if previous is None and not loosens:
        return []
    if previous is not None and previous["change"] == change:
        if not loosens:
            memory.put(key, {**previous, "waiting": [*previous["waiting"], event.data["store"]]})
        return []
    if previous is not None:
        memory.delete(f"tightened/{tenant}/{previous['change']}")  # it is no longer the latest, and ends nothing
    memory.put(key, {"change": change, "waiting": [] if loosens else [event.data["store"]]})
    if not loosens:
        memory.put(f"tightened/{tenant}/{change}", family)
        return []
    return raising.of(memory, observed.of_change(event), subject=_floor(family), cause=event.id, at=event.time)


def receipt(raising: Raising, memory: Memory, event: Event) -> list[Event]:
    """What a store proved, or failed to."""
    subject = f"store:{event.data.get('store') or event.subject}"
    if event.type == "receipt.confirmed.v1":
        proved = raising.ended(memory, event.tenant, subject, event.time, cause=event.id)
        return proved + _tightened(raising, memory, event)
    return raising.of(memory, observed.of_receipt(event), subject=subject, cause=event.id, at=event.time)


def _tightened(raising: Raising, memory: Memory, receipt: Event) -> list[Event]:
    """A store confirms a change; where that ends a loosening and this store is the last, it is over."""
    tenant, ending = receipt.tenant, f"tightened/{receipt.tenant}/{receipt.data.get('change')}"
    family = memory.get(ending)
    if family is None:
        return []
    key = f"loosened/{tenant}/{family}"
    previous = memory.get(key) or {"waiting": []}
    waiting = [store for store in previous["waiting"] if store != receipt.data.get("store")]
    if waiting:
        memory.put(key, {**previous, "waiting": waiting})
        return []
    memory.delete(key)
    memory.delete(ending)
    return raising.ended(memory, tenant, _floor(family), receipt.time, cause=receipt.id)


def _floor(family: str) -> str:
    """The subject of what concerns a family's floor."""
    return f"policy:{family}"
