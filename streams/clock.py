"""The clock stage: the only place in the pipeline that reads a clock. It appends ticks; a tick closes a round.

Only a tick may declare that something is absent or has lapsed, so everything that depends on time passing follows from
the log (docs/adr/0002-rounds.md). `Live` goes by the machine's clock, `drive` by the times of what it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Protocol

from ratchet.event import Event, derived_id, stamp
from ratchet.ports import Log
from streams.stage import Output

TENANT = "ratchet"
"""Whose the records are that concern the pipeline itself: ticks, batches of signals."""

PARTITION = "0"
"""The one partition of the embedded executor."""

GRACE = timedelta(seconds=1)
"""How far live ticks stay behind the machine's clock. Evidence is stamped when it arrives and readable once it is on
disk: without grace, a tick between the two would call it late. It delays no round, for rounds go by offset."""

_STEP = timedelta(microseconds=1)
"""The resolution of event time."""


def tick(at: datetime) -> Event:
    """The tick of `at`: the same time is the same event, however often it is appended."""
    return Event(
        id=derived_id("tick", PARTITION, stamp(at)),
        source="/streams/clock",
        type="clock.ticked.v1",
        subject=PARTITION,
        time=at,
        tenant=TENANT,
        data={"partition": PARTITION},
    )


class Closing(Protocol):
    """What the live clock must know of the log: `streams.sqlite.Database`."""

    def pending(self) -> bool:
        """Whether something waits for a tick."""

    def last_tick(self) -> datetime | None:
        """The time of the newest tick, closed into a round or not."""


class Live:
    """Ticks by the machine's clock: soon when something waits, now and then when nothing does."""

    def __init__(
        self,
        log: Log,
        closing: Closing,
        interval: timedelta = timedelta(milliseconds=250),
        idle: timedelta = timedelta(seconds=5),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`interval` is between ticks while records arrive; `idle` while none do."""
        self._log, self._closing = log, closing
        self._interval, self._idle, self._now = interval, idle, now
        self._last = closing.last_tick()

    def beat(self) -> float:
        """Append a tick if one is due. Seconds until it is worth asking again.

        A clock that was set back does not stop the stream: while something waits, event time goes on in its smallest
        steps until the clock has caught up.
        """
        at = self._now() - GRACE
        last = self._last
        since = at - last if last is not None else self._idle
        if since >= self._idle or ((since >= self._interval or since < -GRACE) and self._closing.pending()):
            at = at if last is None or at > last else last + _STEP
            self._log.append([("ticks", tick(at))])
            self._last = at
        return self._interval.total_seconds()


def drive(
    outputs: Iterable[Output],
    every: timedelta,
    idle: timedelta | None = None,
    until: datetime | None = None,
    last: datetime | None = None,
) -> Iterator[Output]:
    """Records from outside, in order of time, with the ticks that a clock would have put between them.

    A tick at T comes after all records of times up to T. Ticks lie on whole multiples of `every` since 1970, so that a
    run that is started again makes the same ones.

    Args:
        outputs: (topic, event), sorted by time.
        every: between ticks where there are records.
        idle: between ticks where there are none; `every` unless given. A multiple of `every`.
        until: ticks go on to this time after the last record; without it, to the first tick after that.
        last: the newest tick that the log has, where a run is taken up again: earlier ones are not made again.

    Raises:
        ValueError: records out of order, or steps that do not fit.
    """
    idle = idle or every
    if every <= timedelta(0) or idle % every:
        raise ValueError(f"idle ({idle}) must be a multiple of every ({every}), which must be above zero")
    due: datetime | None = None
    before: datetime | None = None
    for output in outputs:
        at = output[1].time
        if before is not None and at < before:
            raise ValueError(f"{stamp(at)} after {stamp(before)}: give records in order of time")
        before = at
        yield from (("ticks", tick(t)) for t in _between(due, at, idle) if last is None or t > last)
        due = _ceiling(at, every)
        yield output
    if due is not None:
        end = max(until, due) if until is not None else due
        yield from (("ticks", tick(t)) for t in _between(due, end + _STEP, idle) if last is None or t > last)


def _between(due: datetime | None, at: datetime, idle: timedelta) -> Iterator[datetime]:
    """Ticks before `at`: the one that the last record is due, then those of a quiet time."""
    if due is None or due >= at:
        return
    yield due
    coarse = _ceiling(due + _STEP, idle)
    while coarse < at:
        yield coarse
        coarse += idle


def _ceiling(at: datetime, step: timedelta) -> datetime:
    """The first whole multiple of `step` since 1970 that is not before `at`."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch - ((epoch - at) // step) * step
