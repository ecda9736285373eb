"""What correlation forgets, on the first Tick of each UTC day, so that its state is bounded by the rules below.

- Replay keys, `REPLAYS` after the evidence came: by then no challenge is open that it could answer again.
- Resolved alerts, `RESOLVED` after their last word; the log keeps them for as long as it is told to.
- What a sender opened on earlier days.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from ratchet.detect.store import StateStore
from ratchet.event import stamp

REPLAYS = timedelta(days=30)
RESOLVED = timedelta(days=400)


def forget(state: StateStore, before: str | None, at: datetime) -> None:
    """Forget what is over its time, if a new day has begun since the Tick at `before`."""
    day = stamp(at)[:10]
    if before is not None and before[:10] >= day:
        return
    old, over = stamp(at - REPLAYS), stamp(at - RESOLVED)
    for prefix in ("blob/", "replay/"):
        for key, (_, time, *_) in state.scan(prefix):
            if time < old:
                state.delete(key)
    for key, alert in state.scan("alert/"):
        if alert["status"] == "resolved" and alert["updated"] < over:
            state.delete(key)
    for key, (opened_on, _) in state.scan("sender/"):
        if opened_on < day:
            state.delete(key)
