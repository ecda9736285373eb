"""Feed a simulated fleet into a log at simulated times, and compare what was reported with what was planted.

Nothing here keeps a position. Ids and bytes follow from the scenario and the vendor's folder alone and a log takes each
id once, so after a kill the same call goes over the same ground and changes nothing until it reaches new ground;
`after` skips the minting of what is known to be on the log.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime

from collectors.simulated.deliveries import deliveries
from collectors.simulated.delivery import Delivery, DeliveryKind, Fact
from collectors.simulated.model import BaseScenario
from collectors.simulated.truth import ticks
from collectors.simulated.vendor import Vendor
from ratchet.event import BlobId, Event, Json, delivery_id, stamp
from ratchet.ports import Blobs, Log

SOURCE = "/collectors/simulated"
"""Of every event that this collector makes; a vendor's documents add the vendor."""


@dataclass(frozen=True, slots=True)
class Driven:
    """What was fed: deliveries by kind, and ticks."""

    evidence: int
    documents: int
    ticks: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Planted against reported."""

    found: frozenset[Fact]
    missed: frozenset[Fact]
    unexpected: frozenset[Fact]

    @property
    def agrees(self) -> bool:
        """Every planted fact was found, and nothing else was reported."""
        return not self.missed and not self.unexpected


def drive(
    scenario: BaseScenario,
    vendor: Vendor,
    log: Log,
    blobs: Blobs,
    tick: Callable[[datetime], None],
    *,
    tenant: str = "default",
    after: datetime | None = None,
    shuffle: int | None = None,
    progress: Callable[[int], None] | None = None,
    together: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Driven:
    """Append the scenario's deliveries to the log; call `tick` at each simulated instant once all before it is there.

    Args:
        scenario: who does what.
        vendor: whose keys sign it.
        log: takes `evidence.received.v1` and `document.fetched.v1`.
        blobs: takes the bytes, always before the event that names them.
        tick: the clock, told the simulated time; closes a round. It must make the same tick of the same time.
        tenant: whose fleet it is.
        after: skip what is due at or before the tick of this time, which is known to be on the log.
        shuffle: seed of the order in which deliveries between two ticks arrive; None: in order of time.
        progress: told how many deliveries the batch just appended held.
        together: a transaction around the writes of one batch, where log and blobs have one: one flush for all.
    """
    evidence = documents = ticked = 0
    certificates = _Once(blobs)
    for at, batch in rounds(scenario, deliveries(scenario, vendor, after=after)):
        if after is not None and at <= after:
            continue
        if shuffle is not None:
            random.Random(f"{shuffle}/{stamp(at)}").shuffle(batch)  # noqa: S311 (order of arrival, not a secret)
        with together():
            log.append([rollout_event(one, tenant, blobs, certificates) for one in batch])
        evidence += sum(one.kind is DeliveryKind.EVIDENCE for one in batch)
        documents += sum(one.kind is DeliveryKind.DOCUMENT for one in batch)
        tick(at)
        ticked += 1
        if progress is not None:
            progress(len(batch))
    return Driven(evidence, documents, ticked)


def rounds(scenario: BaseScenario, arriving: Iterable[Delivery]) -> Iterator[tuple[datetime, list[Delivery]]]:
    """Deliveries by the tick that closes their round: at or before its time, after the tick before."""
    waiting: list[Delivery] = []
    due = ticks(scenario)
    at = next(due)
    for one in arriving:
        while one.time > at:
            yield at, waiting
            at, waiting = next(due), []
        waiting.append(one)
    yield at, waiting
    yield from ((later, []) for later in due)


def rollout_event(
    one: Delivery, tenant: str, blobs: Blobs, certificate: Callable[[bytes], BlobId] | None = None
) -> tuple[str, Event]:
    """Topic and event of one delivery, its bytes kept first (docs/events.md)."""
    blob = blobs.put(one.raw)
    if one.kind is DeliveryKind.DOCUMENT:
        source = f"{SOURCE}/vendor"
        data: dict[str, Json] = {
            "blob": blob,
            "size": len(one.raw),
            "document": one.name,
            "origin": f"simulated:{one.delivery}",
            "delivery": one.delivery,
        }
        kind, topic, subject = "document.fetched.v1", "documents", f"{source}/{one.name}"
    else:
        source = SOURCE
        hint: dict[str, Json] = {"name": one.name}
        if one.region is not None:
            hint["region"] = one.region
        if one.workload is not None:
            hint["workload"] = one.workload
        data = {
            "blob": blob,
            "size": len(one.raw),
            "format": one.format.value if one.format else None,
            "endorsements": [(certificate or blobs.put)(e) for e in one.endorsements],
            "challenge": one.challenge.hex() if one.challenge else None,
            "delivery": one.delivery,
            "hint": hint,
            "late": False,
        }
        kind, topic, subject = "evidence.received.v1", "evidence", one.name
    event = Event(
        id=delivery_id(tenant, source, one.delivery),
        source=source,
        type=kind,
        subject=subject,
        time=one.time,
        tenant=tenant,
        data=data,
    )
    return topic, event


class _Once:
    """Keeps each certificate once: machines send the same ones again and again."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._kept: dict[bytes, BlobId] = {}

    def __call__(self, data: bytes) -> BlobId:
        if data not in self._kept:
            if len(self._kept) >= 4096:
                self._kept.clear()
            self._kept[data] = self._blobs.put(data)
        return self._kept[data]


def compare(planted: Iterable[Fact], alerts: Iterable[Mapping[str, Json]]) -> Comparison:
    """Hold what was planted against the data of alert events (docs/events.md), raised, revised or resolved alike.

    An alert speaks of its subject where that is a region, a store or a floor, else of the machines whose hints it
    names.
    """
    wanted = frozenset(planted)
    reported: set[Fact] = set()
    for alert in alerts:
        subject = str(alert["subject"])
        if subject.startswith(("region:", "store:", "policy:")):
            reported.add(Fact(str(alert["rule"]), subject))
        else:
            names = [str(n) for n in alert.get("machines") or ()] or [subject.removeprefix("hint:")]
            reported.update(Fact(str(alert["rule"]), name) for name in names)
    return Comparison(wanted & reported, wanted - reported, frozenset(reported - wanted))


def expected_ticks(scenario: BaseScenario) -> int:
    """How many ticks `drive` makes, for a progress bar."""
    return sum(1 for _ in ticks(scenario))
