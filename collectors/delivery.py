"""One piece of evidence, or one vendor document, on its way in: bounds first, bytes safe, then the event."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ratchet.event import Event, delivery_id
from ratchet.evidence import MAX_EVIDENCE, Format
from ratchet.evidence.freshness import MAX_KEY, MIN_CHALLENGE
from ratchet.ports import Blobs, Log

MAX_DOCUMENT = 8 * 1024 * 1024
"""Bytes of a vendor document; the largest real one (a CRL, a collateral bundle) is below 300 KiB."""

MAX_CHALLENGE = 64
"""Bytes; more does report data not hold. The least is `ratchet.evidence.freshness.MIN_CHALLENGE`."""


class Rejected(ValueError):
    """A delivery that cannot become an event: `code` is stable, `why` is for people. Nothing was kept."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.code, self.why = code, why


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A piece of evidence as a sender gives it.

    Attributes:
        id: given by the sender before the first send; the same on a retry.
        name: who the sender says it is, 1 to 128 characters.
        raw: the evidence.
        format: what the sender says it is.
        endorsements: certificates beside it.
        challenge: what the collector asked to be bound.
        key: the public key (DER) or run-time data that the sender says is bound, alone or with the challenge.
        region, workload: what the sender says of it, for grouping.
        vouched: the configuration trusts this sender to deliver fresh evidence alone; never the sender's own word.
    """

    id: str
    name: str
    raw: bytes
    format: Format | None = None
    endorsements: tuple[bytes, ...] = ()
    challenge: bytes | None = None
    key: bytes | None = None
    region: str | None = None
    workload: str | None = None
    vouched: bool = False

    @property
    def size(self) -> int:
        """Bytes of all that it brings."""
        return len(self.raw) + sum(len(one) for one in self.endorsements) + len(self.key or b"")


def accept(
    delivery: Delivery, log: Log, blobs: Blobs, source: str, tenant: str, at: datetime, *, within: str = ""
) -> tuple[Event, bool]:
    """Keep a piece of evidence: its bytes, then its event. Safe on disk when this returns.

    Oversized evidence is taken all the same, and what it is comes out as a verdict; only what is beyond the bounds of a
    delivery is refused here.

    Args:
        source: who delivers, a URI reference.
        at: when we have it; on a retry the first time stands.
        within: the same delivery id is another delivery where this is another; no sender chooses it.

    Returns:
        The event, and whether it was new.

    Raises:
        Rejected: it is out of bounds.
    """
    _bounded(delivery)
    data = {
        "blob": blobs.put(delivery.raw),
        "size": len(delivery.raw),
        "format": delivery.format.value if delivery.format else None,
        "endorsements": [blobs.put(one) for one in delivery.endorsements],
        "challenge": delivery.challenge.hex() if delivery.challenge is not None else None,
        "key": delivery.key.hex() if delivery.key is not None else None,
        "vouched": delivery.vouched,
        "delivery": delivery.id,
        "hint": {
            "name": delivery.name,
            **({"region": delivery.region} if delivery.region else {}),
            **({"workload": delivery.workload} if delivery.workload else {}),
        },
        "late": False,
    }
    id = delivery_id(tenant, f"{source}#{within}" if within else source, delivery.id)
    event = Event(id, source, "evidence.received.v1", delivery.name, at, tenant, data)
    return event, log.append([("evidence", event)]) == 1


def accept_document(
    raw: bytes,
    document: str,
    origin: str,
    delivery: str,
    log: Log,
    blobs: Blobs,
    source: str,
    tenant: str,
    at: datetime,
) -> tuple[Event, bool]:
    """Keep a vendor's document; like `accept`.

    Args:
        document: its name, for people.
        origin: the URL or file it came from.
        delivery: the id of this fetch.

    Raises:
        Rejected: it is larger than `MAX_DOCUMENT`.
    """
    if len(raw) > MAX_DOCUMENT:
        raise Rejected("too-large", f"{len(raw)} bytes: a document is at most {MAX_DOCUMENT}")
    data = {"blob": blobs.put(raw), "size": len(raw), "document": document, "origin": origin, "delivery": delivery}
    id = delivery_id(tenant, source, delivery)
    event = Event(id, source, "document.fetched.v1", f"{source}/{document}", at, tenant, data)
    return event, log.append([("documents", event)]) == 1


def _bounded(delivery: Delivery) -> None:
    for what, text, least, most in (
        ("delivery", delivery.id, 1, 256),
        ("name", delivery.name, 1, 128),
        ("region", delivery.region or "", 0, 64),
        ("workload", delivery.workload or "", 0, 128),
    ):
        if not least <= len(text) <= most or not text.isprintable():
            raise Rejected(what, f"{what} has {least} to {most} printable characters")
    size = delivery.size
    if size > 4 * MAX_EVIDENCE:
        raise Rejected("too-large", f"{size} bytes of evidence and endorsements: at most {4 * MAX_EVIDENCE}")
    if len(delivery.endorsements) > 8:
        raise Rejected("endorsements", "at most 8 endorsements")
    if delivery.challenge is not None and not MIN_CHALLENGE <= len(delivery.challenge) <= MAX_CHALLENGE:
        raise Rejected("challenge", f"a challenge has {MIN_CHALLENGE} to {MAX_CHALLENGE} bytes")
    if delivery.key is not None and not 1 <= len(delivery.key) <= MAX_KEY:
        raise Rejected("key", f"a key has 1 to {MAX_KEY} bytes")
