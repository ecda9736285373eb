"""What policy stores prove or fail to prove, and floors that are loosened for a time."""

from __future__ import annotations

from ratchet.detect import observation as observed
from ratchet.detect.raising import Raising
from ratchet.detect.store import StateStore
from ratchet.event import Event


def change(raising: Raising, state: StateStore, event: Event) -> list[Event]:
    """What the stores are to hold: a loosening is told when it is sent, and until all have proved what ends it.

    There is one event for each store. The first tells; the others only add who has to prove.
    """
    tenant, family, change = event.tenant, event.data["family"], event.data["change"]
    key = f"loosened/{tenant}/{family}"
    previous = state.get(key)
    loosens = event.data.get("loosens") is not None
    if previous is None and not loosens:
        return []
    if previous is not None and previous["change"] == change:
        if not loosens:
            state.put(key, {**previous, "waiting": [*previous["waiting"], event.data["store"]]})
        return []
    if previous is not None:
        state.delete(f"tightened/{tenant}/{previous['change']}")  # it is no longer the latest, and ends nothing
    state.put(key, {"change": change, "waiting": [] if loosens else [event.data["store"]]})
    if not loosens:
        state.put(f"tightened/{tenant}/{change}", family)
        return []
    return raising.of(state, observed.of_change(event), subject=_floor(family), cause=event.id, at=event.time)


def receipt(raising: Raising, state: StateStore, event: Event) -> list[Event]:
    """What a store proved, or failed to."""
    subject = f"store:{event.data.get('store') or event.subject}"
    if event.type == "receipt.confirmed.v1":
        proved = raising.ended(state, event.tenant, subject, event.time, cause=event.id)
        return proved + _tightened(raising, state, event)
    return raising.of(state, observed.of_receipt(event), subject=subject, cause=event.id, at=event.time)


def _tightened(raising: Raising, state: StateStore, receipt: Event) -> list[Event]:
    """A store confirms a change; where that ends a loosening and this store is the last, it is over."""
    tenant, ending = receipt.tenant, f"tightened/{receipt.tenant}/{receipt.data.get('change')}"
    family = state.get(ending)
    if family is None:
        return []
    key = f"loosened/{tenant}/{family}"
    previous = state.get(key) or {"waiting": []}
    waiting = [store for store in previous["waiting"] if store != receipt.data.get("store")]
    if waiting:
        state.put(key, {**previous, "waiting": waiting})
        return []
    state.delete(key)
    state.delete(ending)
    return raising.ended(state, tenant, _floor(family), receipt.time, cause=receipt.id)


def _floor(family: str) -> str:
    """The subject of what concerns a family's floor."""
    return f"policy:{family}"
