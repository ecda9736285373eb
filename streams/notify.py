"""The notify sink: alerts, policy changes and receipts to those who must hear of them, at least once each.

It runs after the commit, from a position of its own for each notifier, so that one that is down holds up neither the
rounds nor the others. Times to try again are counted in event time, which goes on with the ticks.

State: `notifier/<name>` -> {position, sent, failures, since, retry_at, error, refused}; the read side shows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from ratchet.event import Json, parse_time, stamp
from ratchet.ports import Log, Notifier, Record, Refused, Unreachable
from streams.stage import State
from streams.topology import STAGES

TOPICS: tuple[str, ...] = next(stage.reads for stage in STAGES if stage.name == "notify")

TURN = 32
"""Records that one notifier is sent in one turn; after a crash at most so many are sent again."""

LONGEST = timedelta(hours=1)
"""Between two attempts at a notifier that stays down."""

_FIRST_SECONDS = 2

_MOST = 300
"""Characters of an error that are kept."""


class Notify:
    """alerts, changes, receipts -> notifiers."""

    name = "notify"

    def __init__(self, notifiers: Sequence[Notifier]) -> None:
        """Names must differ: they are where positions are kept.

        Raises:
            ValueError: two of one name.
        """
        names = [notifier.name for notifier in notifiers]
        if len(set(names)) != len(names):
            raise ValueError(f"two notifiers of one name: {', '.join(sorted(names))}")
        self._notifiers = tuple(notifiers)

    def deliver(self, log: Log, state: State, watermark: datetime) -> bool:
        """Send each notifier what it has not had, in order, until it fails; whether any can take more at once."""
        more = False
        for notifier in self._notifiers:
            kept = state.get(f"notifier/{notifier.name}") or _NEW
            if kept["retry_at"] is not None and watermark < parse_time(kept["retry_at"]):
                continue
            records = log.read(TOPICS, kept["position"], TURN)
            if not records:
                continue
            after = _send(notifier, records, kept, watermark)
            state.put(f"notifier/{notifier.name}", after)
            more = more or (len(records) == TURN and after["retry_at"] is None)
        return more


_NEW: Mapping[str, Json] = {
    "position": 0,
    "sent": 0,
    "failures": 0,
    "since": None,
    "retry_at": None,
    "error": None,
    "refused": 0,
}


def _send(
    notifier: Notifier, records: Sequence[Record], kept: Mapping[str, Json], watermark: datetime
) -> dict[str, Json]:
    """The notifier's state after these records, or those of them that it took."""
    now = {**kept, "retry_at": None}
    for record in records:
        retry_after: float | None = None
        try:
            notifier.send(record.event)
        except Refused as refused:
            # Never to be had again: going on is better than silence about all that follows. The count is shown.
            now |= {"position": record.offset, "refused": now["refused"] + 1, "error": str(refused)[:_MOST]}
            continue
        except Unreachable as away:
            retry_after, error = away.retry_after, str(away)
        except Exception as fault:  # a notifier's own fault must not stop the stream either
            error = f"{type(fault).__name__}: {fault}"
        else:
            now |= {"position": record.offset, "sent": now["sent"] + 1, "failures": 0, "since": None}
            if not now["refused"]:
                now["error"] = None
            continue
        failures = now["failures"] + 1
        wait = timedelta(seconds=retry_after if retry_after else _FIRST_SECONDS ** min(failures, 16))
        now |= {
            "failures": failures,
            "since": now["since"] or stamp(watermark),
            "retry_at": stamp(watermark + min(wait, LONGEST)),
            "error": error[:_MOST],
        }
        break
    return now
