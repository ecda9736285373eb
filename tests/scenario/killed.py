"""Runs a day of a fleet twice: once undisturbed, once in processes that are killed (SIGKILL) and started again.

    python killed.py VENDOR FOLDER KILLS SEED

This process only starts and kills. Each life is a process of its own, forked before anything was opened; it writes one
byte to a pipe at every call of a port, and when as many have come as its life is to be long, it is killed wherever it
is by then: in Python, in SQLite, in Git, in the middle of a flush. Life lengths follow from the seed.

Prints one JSON object: digests and lines of both runs, and how it went.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path

from crash_world import DAY, Faults, World

from streams.siem.ndjson import NdjsonFile
from streams.sqlite import Database

SHORTEST, LONGEST = 1, 40
"""Calls of ports in one life."""


class Pulse(Faults):
    """One byte at each call."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe

    def before(self, call: str) -> None:
        os.write(self.pipe, b".")


def live(world: World, folder: Path, faults: Faults) -> None:
    """Go on from where the data directory stands, to the end of the day."""
    with world.process(folder, NdjsonFile(folder / "alerts.ndjson"), faults) as run:
        for number in range(reached(folder), len(world.rounds)):
            run(number)


def reached(folder: Path) -> int:
    """Rounds committed so far. The one after may be half done: it is begun again."""
    database = Database(folder / "ratchet.db")
    try:
        return max(0, database.position().round - 1)  # the last once more: what it told may not have been kept
    finally:
        database.close()


def life(world: World, folder: Path, calls: int | None) -> int:
    """One process, killed at its `calls`-th call; without, to the end. Its wait status."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        try:
            live(world, folder, Pulse(theirs))
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(theirs)
    seen = 0
    while pulses := os.read(ours, 1 if calls is not None else 4096):
        seen += len(pulses)
        if seen == calls:
            os.kill(child, signal.SIGKILL)
            break
    os.close(ours)
    _, status = os.waitpid(child, 0)
    return status


def main(vendor: Path, folder: Path, kills: int, seed: int) -> None:
    """Both runs."""
    world = World.of(DAY, vendor)
    assert world.rounds  # minted here, once for all lives
    calm, killed = folder / "calm", folder / "killed"
    for one in (calm, killed):
        one.mkdir()
    if status := life(world, calm, None):
        sys.exit(f"the undisturbed run failed: {status}")
    lengths = random.Random(seed)
    signals, hit = set(), set()
    for n in range(kills):
        status = life(world, killed, lengths.randint(SHORTEST, LONGEST))
        if not os.WIFSIGNALED(status):
            sys.exit(f"life {n} ended by itself ({status}): the day is too short for {kills} kills")
        signals.add(signal.Signals(os.WTERMSIG(status)).name)
        hit.add(reached(killed))
    if status := life(world, killed, None):
        sys.exit(f"the last life failed: {status}")
    lines = {
        one.name: [json.loads(line)["event"]["id"] for line in (one / "alerts.ndjson").read_text().splitlines()]
        for one in (calm, killed)
    }
    result = {
        "kills": kills,
        "signals": sorted(signals),
        "rounds_hit": len(hit),
        "calm": world.digest(calm),
        "killed": world.digest(killed),
        "calm_lines": lines["calm"],
        "killed_lines": lines["killed"],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
