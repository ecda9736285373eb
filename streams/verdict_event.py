"""What the verify stage says: a verdict event for each judgement, and the signals that later stages read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ratchet.event import Event, derived_id
from ratchet.evidence import Proof
from ratchet.policy.appraise import Verdict
from ratchet.verdict import Judged, signal, told
from streams.clock import PARTITION, TENANT

SOURCE = "/streams/verify"

SIGNALS = 64
"""Signals in one record, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why evidence is judged again: the id and the time of the event that changed what it is judged by."""

    id: str
    at: datetime


def verdict_event(event: Event, judged: Judged, proof: Proof, verdict: Verdict, cause: Cause | None) -> Event:
    """The event of one judgement; where evidence is judged again, its time is the cause's."""
    data = told(judged, proof, verdict)
    return Event(
        id=derived_id("verdict", event.id, cause.id) if cause else derived_id("verdict", event.id),
        source=SOURCE,
        type="verdict.reached.v1",
        subject=data["identity"],
        time=cause.at if cause else event.time,
        tenant=event.tenant,
        data=data,
    )


def batched(verdicts: Sequence[Event], start: int, seen: int) -> list[Event]:
    """Signals in batches of at most `SIGNALS`. Their ranges chain: a gap shows that records were lost on the way.

    Ranges count pieces of evidence, dead letters among them: the last batch covers whatever is left of the round.
    Evidence that is judged again was counted when it came.
    """
    out: list[Event] = []
    chunks = [verdicts[i : i + SIGNALS] for i in range(0, len(verdicts), SIGNALS)]
    for place, chunk in enumerate(chunks):
        new = sum(verdict.data["rejudged"] is None for verdict in chunk)
        end = seen if place == len(chunks) - 1 else start + new
        event = Event(
            id=derived_id("signals", *(verdict.id for verdict in chunk)),
            source=SOURCE,
            type="signals.batched.v1",
            subject=PARTITION,
            time=max(verdict.time for verdict in chunk),
            tenant=TENANT,
            data={"from": start, "to": end, "signals": [signal(verdict) for verdict in chunk]},
        )
        out.append(event)
        start = end
    return out
