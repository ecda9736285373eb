"""Which evidence brought signed bytes first: whoever brings them again proves nothing, and takes nothing's place.

A key is used up by fresh evidence that proved something; of others nobody can say that they were sent before.

State:
- `used/<tenant>/<hash>` -> [id of the evidence event, its time]: by the hash of the bytes, and by the replay key
  (`ratchet.evidence.replay_key`). Kept for `KEPT` after the evidence came, as correlation keeps its own.
- `used-day` -> the day on which they were last looked through.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from ratchet.event import Event, stamp
from ratchet.evidence import Proof, replay_key
from streams.stage import State

KEPT = timedelta(days=30)
"""By then no challenge is open that the evidence could answer again (ratchet/detect/forgetting.py)."""


def keys_of(raw: bytes, proof: Proof) -> tuple[str, ...]:
    """What these bytes are recognised by."""
    return tuple(dict.fromkeys((proof.evidence, replay_key(raw, proof))))


def first_use(state: State, tenant: str, keys: Iterable[str]) -> str | None:
    """The evidence event that brought them first; None where none did."""
    found = (state.get(f"used/{tenant}/{key}") for key in keys)
    return next((str(one[0]) for one in found if one is not None), None)


def use_up(state: State, event: Event, keys: Iterable[str]) -> None:
    """This event brought them, unless another did before."""
    for key in keys:
        if state.get(place := f"used/{event.tenant}/{key}") is None:
            state.put(place, [event.id, stamp(event.time)])


def forget(state: State, at: datetime) -> None:
    """Those that are over their time, once a day."""
    day, old = stamp(at)[:10], stamp(at - KEPT)
    if state.get("used-day") == day:
        return
    state.put("used-day", day)
    for place in [place for place, (_, time) in state.scan("used/") if time < old]:
        state.delete(place)
