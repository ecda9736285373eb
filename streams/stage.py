"""What an executor and a stage are to each other: a stage takes events in order and keeps state.

An executor gives a stage the events of one round (docs/adr/0002-rounds.md) sorted by (time, order of the topic in its
`reads`, id), and makes one transaction of what was read, the state that changed and what came out. A stage never knows
who runs it, and needs no locks, no offsets and no retries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol

from ratchet.event import Event, Json
from ratchet.ports import Log, Record

Output = tuple[str, Event]
"""A topic (without `ratchet.`) and what goes on it."""


class State(Protocol):
    """A stage's own keyed JSON values, kept with what it has read. Values are never altered in place: `put` anew."""

    def get(self, key: str) -> Json | None:
        """The value, or None."""

    def put(self, key: str, value: Json) -> None:
        """Set it; seen by `get` and `scan` at once, kept when the batch is."""

    def delete(self, key: str) -> None:
        """Forget it; absent is no error."""

    def scan(self, prefix: str) -> Iterator[tuple[str, Json]]:
        """Keys that begin so, in order of key, with their values."""


class Stage(Protocol):
    """The code behind a box of the picture. `name` is its name in streams/topology.py."""

    @property
    def name(self) -> str:
        """Its name in streams/topology.py."""

    def step(self, batch: Sequence[Record], state: State, watermark: datetime) -> list[Output]:
        """Take these events, in this order; change `state`; return what comes of it, in order.

        `watermark` is the time of the tick that closes the round. Records that a stage above made in the same round
        have no offset yet: it is -1. `batch` is never empty.

        Deterministic: equal batches in equal state give equal output, byte for byte, however events were batched. Calls
        of ports within it are safe to repeat, for a crash may come between them and the end of the transaction. Bad
        input is a dead letter in the output, never an exception; an exception stops the executor.
        """


class Sink(Protocol):
    """A stage where the record leaves: it runs after the commit, from a position in its own state, and writes no topic.

    What it sends goes out at least once. However it fares, rounds go on.
    """

    @property
    def name(self) -> str:
        """Its name in streams/topology.py."""

    def deliver(self, log: Log, state: State, watermark: datetime) -> bool:
        """Send a bounded part of what is waiting; whether more can be sent at once.

        `state` is kept when this returns. `watermark` is the time of the last tick: what back-off is counted in.
        """
