"""The digest stage: vendors' documents -> the statements in them, as collateral and as advisories.

State: `document/<blob>` -> when it was first read: a feed that serves the same bytes every day says nothing new.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from ratchet import advisory
from ratchet.collateral import Kind, Known, UnknownDocument, parse
from ratchet.event import BlobId, Event, Json, derived_id, stamp
from ratchet.ports import Blobs, Record
from ratchet.x509.anchor import Root
from streams.dead_letters import dead
from streams.stage import Output, State

FUTURE = timedelta(minutes=5)
"""How far ahead of the watermark an event from outside may be: the clocks of those who append differ a little."""

_WITH_EVALUATION = (Kind.INTEL_TCB_INFO, Kind.INTEL_QE_IDENTITY)


class Digest:
    """documents -> collateral, advisories, dead letters."""

    name = "digest"

    def __init__(self, roots: Iterable[Root], blobs: Blobs) -> None:
        """`roots` are the trust anchors that a document's signature must lead to."""
        self._roots = tuple(roots)
        self._blobs = blobs

    def step(self, batch: Sequence[Record], state: State, watermark: datetime) -> list[Output]:
        """One document after the other, each on its own."""
        out: list[Output] = []
        for record in batch:
            out += self._document(record, state, watermark)
        return out

    def _document(self, record: Record, state: State, watermark: datetime) -> list[Output]:
        event = record.event
        blob = event.data.get("blob")
        if not isinstance(blob, str):
            return [dead(record, self.name, "event_malformed", "no blob is named", "mend whoever appended it")]
        if event.time > watermark + FUTURE:
            detail = f"{stamp(event.time)} is ahead of {stamp(watermark)}"
            return [dead(record, self.name, "time_in_future", detail, "set the sender's clock, then send it again")]
        key = f"document/{blob}"
        if state.get(key) is not None:
            return []
        raw = self._blobs.get(BlobId(blob))
        if raw is None:
            return [dead(record, self.name, "blob_missing", f"no bytes of {blob}", "fetch the document again")]
        try:
            out = self._statements(event, BlobId(blob), raw)
        except advisory.BadAdvisory as wrong:
            return [dead(record, self.name, "advisory_bad", str(wrong), "mend the file: docs/floors.md has its form")]
        except MemoryError:
            raise  # of this machine and moment, not of the bytes: computed again, it may come out otherwise
        except Exception as fault:  # a parser's fault: the stream goes on, and the letter shows what it was
            detail = f"{type(fault).__name__}: {fault}"
            return [
                dead(record, self.name, "document_fault", detail, "report it, with the bytes: it is a fault of ours")
            ]
        if not out:
            remedy = "docs/formats.md has the documents that are read; docs/floors.md the form of an advisory"
            return [dead(record, self.name, "document_unknown", "no document of a known kind", remedy)]
        state.put(key, {"at": stamp(event.time)})
        return out

    def _statements(self, event: Event, blob: BlobId, raw: bytes) -> list[Output]:
        """Empty where it is no document of a known kind.

        Raises:
            advisory.BadAdvisory: it is a floors file, and wrong.
        """
        try:
            known = parse(raw, event.time, self._roots)
        except UnknownDocument:
            try:
                advisories = advisory.parse(raw)
            except UnknownDocument:
                return []
            return [("advisories", _advisory_event(event, blob, one)) for one in advisories]
        return [("collateral", _known_event(event, one)) for one in known]


def _known_event(event: Event, known: Known) -> Event:
    data: dict[str, Json] = {
        "blob": known.id,
        "kind": known.kind.value,
        "key": known.key,
        "valid_from": stamp(known.valid_from),
        "valid_until": stamp(known.valid_until),
        "root": known.root,
        "evaluation": known.rank[0] if known.kind in _WITH_EVALUATION else None,
        "reasons": [reason.to_data() for reason in known.reasons],
    }
    return Event(
        id=derived_id("collateral", event.id, known.kind.value, known.key),
        source="/streams/digest",
        type="collateral.known.v1",
        subject=f"{known.kind.value}/{known.key}",
        time=event.time,
        tenant=event.tenant,
        data=data,
    )


def _advisory_event(event: Event, blob: BlobId, one: advisory.Advisory) -> Event:
    return Event(
        id=derived_id("advisory", event.id, one.advisory),
        source="/streams/digest",
        type="advisory.known.v1",
        subject=one.advisory,
        time=event.time,
        tenant=event.tenant,
        data={**one.to_data(), "blob": blob},
    )
