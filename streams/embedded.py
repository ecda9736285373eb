"""The embedded executor: one process, one SQLite file, rounds one after the other (docs/adr/0002-rounds.md).

A round is computed in memory, on an overlay over the state, and committed in one transaction: outputs, state, position.
Until then nothing of it can be seen, so a crash anywhere leaves the round to be computed again from the same records,
with the same result; what stages did to the world meanwhile is safe to repeat (ratchet/ports.py).
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from ratchet.event import Event, Json
from ratchet.ports import Log, Record
from streams import topology
from streams.dead_letters import dead
from streams.sqlite import Database, Round, encode
from streams.stage import Sink, Stage


class AlreadyRunning(Exception):
    """Another process runs the rounds of this data directory."""

    def __init__(self, path: Path, pid: str) -> None:
        who = f"process {pid}" if pid else "another process"
        super().__init__(f"{who} already runs on {path.parent}: stop it first, or use another data directory")
        self.path, self.pid = path, pid


class DataDirectoryLock:
    """The right to run rounds over one database: a lock of the operating system's, gone when the process is."""

    def __init__(self, database: Path) -> None:
        """Take it.

        Raises:
            AlreadyRunning: somebody else has it.
        """
        self.path = path = database.with_name(database.name + ".lock")
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pid = os.read(self._file, 20).decode("ascii", "replace").strip()
            os.close(self._file)
            raise AlreadyRunning(path, pid) from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give it back. The file stays: removing it would let two hold locks on two files of one name."""
        os.close(self._file)


class Kept:
    """A stage's state: all of it in memory, and what the round has changed until that is committed."""

    def __init__(self, values: dict[str, Json]) -> None:
        self._values = values
        self._keys = sorted(values)
        self.changes: dict[str, str | None] = {}

    def get(self, key: str) -> Json | None:
        """The value, or None."""
        return self._values.get(key)

    def put(self, key: str, value: Json) -> None:
        """Set it. It is kept as it will be read after a restart, so that a tuple or a shared list cannot show."""
        text = encode(value)
        if key not in self._values:
            insort(self._keys, key)
        self._values[key] = json.loads(text)
        self.changes[key] = text

    def delete(self, key: str) -> None:
        """Forget it; absent is no error."""
        if key in self._values:
            del self._values[key]
            del self._keys[bisect_left(self._keys, key)]
            self.changes[key] = None

    def scan(self, prefix: str) -> Iterator[tuple[str, Json]]:
        """Keys that begin so, in order of key, with their values; what is put or deleted meanwhile does not show."""
        begin, end = bisect_left(self._keys, prefix), len(self._keys)
        if prefix:
            # The first text that is above all that begins so: the last letter's successor in its place.
            end = bisect_left(self._keys, prefix[:-1] + chr(ord(prefix[-1]) + 1))
        return iter([(key, self._values[key]) for key in self._keys[begin:end]])


class Beat(Protocol):
    """What decides when a round ends: `streams.clock.Live`."""

    def beat(self) -> float:
        """Append a tick if one is due. Seconds until it is worth asking again."""


_READS = {stage.name: {topic: place for place, topic in enumerate(stage.reads)} for stage in topology.STAGES}
_FEEDBACK = topology.feedback()

_SINK_SECONDS = 1.0
"""Between two looks of the sinks when no round wakes them: back-off runs out without one."""


class Embedded:
    """Runs rounds. Hold a `DataDirectoryLock` on the database while using one.

    After any failure it is of no more use, nor are its stages: what they keep in memory may be of a round that was not
    committed. Make both anew.
    """

    def __init__(self, database: Database, stages: Sequence[Stage]) -> None:
        """Load the stages' state.

        Args:
            database: with the log, the state and the position.
            stages: the boxes to run, by their names in streams/topology.py; those left out are not run.

        Raises:
            ValueError: a stage that the topology does not have.
        """
        order = [stage.name for stage in topology.STAGES]
        self._stages = sorted(stages, key=lambda stage: order.index(stage.name))
        self._database = database
        self._broken = False
        self._state = {stage.name: Kept(database.state(stage.name)) for stage in self._stages}
        self._back = tuple(dict.fromkeys(topic for s in self._stages for topic in _FEEDBACK.get(s.name, ())))

    def run_round(self) -> bool:
        """Compute and commit the next round; False when no tick closes one."""
        if self._broken:
            raise RuntimeError("a round failed: make the executor and its stages anew")
        round = self._database.next_round(topology.EXTERNAL, self._back)
        if round is None:
            return False
        self._broken = True
        outputs = self._compute(round)
        changes = {(name, key): text for name, kept in self._state.items() for key, text in kept.changes.items()}
        self._database.commit_round(round.number, round.tick, outputs, changes)
        for kept in self._state.values():
            kept.changes.clear()
        self._broken = False
        return True

    def drain(self) -> int:
        """Run every round that is closed; how many there were."""
        rounds = 0
        while self.run_round():
            rounds += 1
        return rounds

    def _compute(self, round: Round) -> list[tuple[str, Event, str]]:
        outputs: list[tuple[str, Event, str]] = []
        made: dict[str, list[Record]] = {}
        seen: set[tuple[str, str]] = set()
        external: list[Record] = []
        for record in round.external:
            if isinstance(record.event.data, dict):
                external.append(record)
                continue
            # Anybody who can open the file can append; no stage is asked to make sense of what has no fields.
            topic, event = dead(
                Record(record.offset, record.topic, replace(record.event, data={})),
                "executor",
                "event_malformed",
                f"data is {type(record.event.data).__name__}, not an object",
                "mend whoever appended it: docs/events.md has the form",
            )
            outputs.append((topic, event, encode(event.data)))
        for stage in self._stages:
            back = _FEEDBACK.get(stage.name, ())
            place = _READS[stage.name]
            batch = [r for r in external if r.topic in place]
            batch += [r for r in round.feedback if r.topic in back]
            batch += [r for topic in place for r in made.get(topic, ())]
            if not batch:
                continue
            batch.sort(key=lambda r: (r.event.time, place[r.topic], r.event.id))
            for topic, event in stage.step(batch, self._state[stage.name], round.tick.event.time):
                if (topic, event.id) in seen or self._database.known(topic, event.id):
                    continue  # said before: create-if-absent, and nobody downstream counts it twice
                seen.add((topic, event.id))
                text = encode(event.data)
                outputs.append((topic, event, text))
                made.setdefault(topic, []).append(Record(-1, topic, _as_read(event, text)))
        return outputs


class Sinks:
    """Runs sinks beside the rounds, each from its own position."""

    def __init__(self, database: Database, sinks: Sequence[Sink], log: Log | None = None) -> None:
        """`log` is what they read; the database's own unless something is put in front of it."""
        self._database = database
        self._sinks = tuple(sinks)
        self._log = log or database.log

    def turn(self) -> bool:
        """Let every sink send a part of what is waiting, and keep its state; whether any can send more at once."""
        position = self._database.position()
        if position.time is None:
            return False
        more = False
        for sink in self._sinks:
            state = Kept(self._database.state(sink.name))
            more = sink.deliver(self._log, state, position.time) or more
            self._database.change_state({(sink.name, key): text for key, text in state.changes.items()})
        return more

    def drain(self) -> None:
        """Send until nothing is left that can be sent now."""
        while self.turn():
            pass


def run(executor: Embedded, sinks: Sinks, clock: Beat, stop: threading.Event) -> None:
    """Rounds as the clock closes them, until `stop` is set.

    Sinks have a thread of their own: a server that is slow to be told of an alert does not hold up the next round.

    Raises:
        Exception: a stage or the disk failed. Nothing of the round was kept: start again, and it is computed again.
    """
    committed = threading.Event()
    failures: list[BaseException] = []

    def tell() -> None:
        try:
            while not stop.is_set():
                committed.wait(_SINK_SECONDS)
                committed.clear()
                while sinks.turn() and not stop.is_set():
                    pass
        except BaseException as failure:
            failures.append(failure)
            stop.set()

    teller = threading.Thread(target=tell, name="ratchet-sinks", daemon=True)
    teller.start()
    try:
        while not stop.is_set():
            pause = clock.beat()
            if executor.drain():
                committed.set()
            stop.wait(pause)
    finally:
        stop.set()
        committed.set()
        teller.join()
    if failures:
        raise failures[0]


def _as_read(event: Event, text: str) -> Event:
    """The event as a reader of the log will see it."""
    return Event(event.id, event.source, event.type, event.subject, event.time, event.tenant, json.loads(text))
