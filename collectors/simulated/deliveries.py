"""From the plan to bytes: mint each piece and each document, in order of time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache

from collectors.simulated.delivery import Delivery, DeliveryKind
from collectors.simulated.keys import Keyring
from collectors.simulated.model import BaseScenario
from collectors.simulated.plan import plan
from collectors.simulated.registry import KINDS, VENDORS
from collectors.simulated.spec import Document, Piece, chance
from collectors.simulated.vendor import Vendor
from ratchet.evidence import MAX_EVIDENCE, Format


def deliveries(scenario: BaseScenario, vendor: Vendor, *, after: datetime | None = None) -> Iterator[Delivery]:
    """Everything that the scenario delivers, in order of time; the same bytes each time.

    Args:
        scenario: who does what.
        vendor: whose keys sign it.
        after: leave out what is due at or before this time, without minting it.
    """
    mint = _Mint(scenario, vendor.keys)
    for one in plan(scenario):
        if after is None or one.time > after:
            yield mint.evidence(one) if isinstance(one, Piece) else mint.document(one)


def _label(piece: Piece) -> Format | None:
    """What the sender says that the bytes are."""
    if piece.how == "random":
        return None
    group = piece.machine.group
    return group.MISLABELLED if piece.how == "wrong-format" else group.FORMAT


class _Mint:
    """Asks the vendors for genuine bytes, and does to them what somebody in between would."""

    def __init__(self, scenario: BaseScenario, keys: Keyring) -> None:
        self._scenario = scenario
        there = {group.tee for group in scenario.machines.values()}
        self._mints = {tee: KINDS[tee].mint(scenario, keys) for tee in there}
        self._publish = {name: vendor.publish(scenario, keys) for name, vendor in VENDORS.items()}
        self._raw = lru_cache(maxsize=256)(self._signed)

    def document(self, one: Document) -> Delivery:
        """One document, as its vendor publishes it or as somebody altered it."""
        name, raw = self._publish[one.VENDOR](one)
        if one.how == "truncated":
            raw = raw[: len(raw) // 3]
        elif one.how == "random":
            raw = chance(self._scenario, one.delivery).randbytes(len(raw))
        return Delivery(DeliveryKind.DOCUMENT, one.time, raw, name, None, (), None, one.delivery, None, None)

    def evidence(self, piece: Piece) -> Delivery:
        """One piece, as its sender delivers it."""
        raw, endorsements = self._raw(piece.original) if piece.original is not None else self._bytes(piece)
        return Delivery(
            kind=DeliveryKind.EVIDENCE,
            time=piece.time,
            raw=raw,
            name=piece.sender,
            format=_label(piece),
            endorsements=endorsements,
            challenge=None if piece.how == "unchallenged" else self.challenge(piece),
            delivery=piece.delivery,
            region=piece.machine.region,
            workload=piece.machine.group.runs,
        )

    def challenge(self, piece: Piece) -> bytes:
        """What the collector asked for this delivery: 32 bytes, never the same twice."""
        return hashlib.sha256(f"challenge {self._scenario.name} {piece.delivery}".encode()).digest()

    def _bytes(self, piece: Piece) -> tuple[bytes, tuple[bytes, ...]]:
        """The evidence and what is sent beside it."""
        draw = chance(self._scenario, piece.delivery)
        if piece.how == "random":
            return draw.randbytes(2048), ()
        raw, endorsements = self._signed(piece)
        if piece.how == "bit-flipped":
            place = piece.machine.group.signed(raw)
            at = draw.randrange(place.start, place.stop)
            flipped = bytearray(raw)
            flipped[at] ^= 1 << draw.randrange(8)
            raw = bytes(flipped)
        elif piece.how == "truncated":
            raw = raw[: draw.randrange(len(raw) // 4, len(raw) * 3 // 4)]
        elif piece.how == "oversized":
            raw = raw + bytes(MAX_EVIDENCE)
        return raw, endorsements

    def _signed(self, piece: Piece) -> tuple[bytes, tuple[bytes, ...]]:
        """What its vendor signs; by another key or under another root, for the pieces that are so."""
        return self._mints[piece.machine.group.tee].evidence(piece, self.challenge(piece))
