"""A machine that is ours no longer: what is known of it ends, by a signed decision (decision.retired.v1)."""

from __future__ import annotations

from ratchet.detect import alerts
from ratchet.detect.store import StateStore, due_key
from ratchet.event import Event


def retire(state: StateStore, decision: Event) -> list[Event]:
    """End a machine's standing and its open alerts; nothing waits for it any more, so it is not missed.

    Its firmware marks stay: should it come back on older firmware, that is a rollback still.
    """
    tenant, identity = decision.tenant, str(decision.data.get("identity"))
    standing, known = f"standing/{tenant}/{identity}", f"known/{tenant}/{identity}"
    if state.get(standing) is None:
        return []
    state.delete(standing)
    if (kept := state.get(known)) is not None:
        for kind, when in kept["due"].items():
            state.delete(due_key(when, kind, tenant, identity))
        state.put(known, {"marks": kept["marks"], "due": {}})
    return alerts.retire(state, decision, identity)
