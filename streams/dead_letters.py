"""Dead letters: what could not even be judged, kept with its bytes so that somebody can look, mend and send again."""

from __future__ import annotations

from ratchet.event import Event, Json, derived_id
from ratchet.ports import Record
from streams.stage import Output

_MOST = 500
"""Characters of a detail: it may quote what an attacker wrote."""

_I_JSON = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly (RFC 7493, 2.2)."""


def dead(record: Record, stage: str, code: str, detail: str, remedy: str) -> Output:
    """The record as a dead letter, under the source it came from.

    Args:
        record: what could not be used.
        stage: who gave up on it.
        code: stable, `snake_case`; listed in docs/reasons.md.
        detail: for people.
        remedy: what to do, imperative.
    """
    event = record.event
    data: dict[str, Json] = {
        "code": code,
        "detail": detail[:_MOST],
        "blob": blob if isinstance(blob := event.data.get("blob"), str) else None,
        "size": size if type(size := event.data.get("size")) is int and 0 <= size <= _I_JSON else None,
        "origin": event.source,
        "topic": record.topic,
        "event": event.id,
        "remedy": remedy,
    }
    letter = Event(
        id=derived_id("letter", stage, event.id),
        source=f"/streams/{stage}",
        type="letter.dead.v1",
        subject=event.source,
        time=event.time,
        tenant=event.tenant,
        data=data,
    )
    return "dead-letters", letter
