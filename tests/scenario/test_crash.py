"""Crashes: whenever the process dies, what it leaves behind in the end is what it would have left anyway."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from crash_world import AFTERNOON, Crash, Faults, World

from ratchet.event import Event

SETTLED = 7
"""Rounds of the afternoon after which everything that it set going has come to rest."""

PORTS = {
    "Database.change_state",
    "Database.commit_round",
    "GitStore.check",
    "GitStore.plan",
    "GitStore.prove",
    "GitStore.push",
    "OpaStore.check",
    "OpaStore.plan",
    "OpaStore.prove",
    "OpaStore.push",
    "Siem.send",
    "SqliteBlobs.get",
    "SqliteBlobs.put",
    "SqliteLog.append",
    "SqliteLog.read",
}
"""Every port, and every one of its methods that a stage or the executor calls."""


class Siem:
    """A notifier whose memory outlives the process: a server elsewhere."""

    name = "siem"

    def __init__(self) -> None:
        self.heard: list[str] = []

    def send(self, event: Event) -> None:
        self.heard.append(event.id)


class Counting(Faults):
    """No faults; what was called, in each round."""

    def __init__(self) -> None:
        self.calls: list[Counter[str]] = []

    def before(self, call: str) -> None:
        self.calls[-1][call] += 1


class EachOnce(Faults):
    """Dies at every call that it has not died at yet, before it and, the next time, after it.

    A call is known by the round, its name, and how many of that name came before it in this attempt at the round.
    """

    def __init__(self) -> None:
        self.round, self.so_far = -1, Counter[str]()
        self.died: set[tuple[int, str, int, str]] = set()

    def attempt(self, round: int) -> None:
        self.round, self.so_far = round, Counter()

    def before(self, call: str) -> None:
        self.so_far[call] += 1
        self._die(call, "before")

    def after(self, call: str) -> None:
        self._die(call, "after")

    def _die(self, call: str, when: str) -> None:
        place = (self.round, call, self.so_far[call], when)
        if place not in self.died:
            self.died.add(place)
            raise Crash(f"{when} {call}")


class At(Faults):
    """Dies once, at the first call of one name in one round."""

    def __init__(self, round: int, call: str, when: str) -> None:
        self.wanted, self.round, self.died = (round, call, when), -1, False

    def before(self, call: str) -> None:
        self._die(call, "before")

    def after(self, call: str) -> None:
        self._die(call, "after")

    def _die(self, call: str, when: str) -> None:
        if not self.died and (self.round, call, when) == self.wanted:
            self.died = True
            raise Crash(f"{when} {call}")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.of(AFTERNOON, tmp_path_factory.getbasetemp() / "simulated-vendor")


@pytest.fixture(scope="module")
def calm(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, str]], Counting, Siem]:
    """The undisturbed run: the digest after each round, what was called, and who heard of what."""
    folder = tmp_path_factory.mktemp("calm")
    counting, siem = Counting(), Siem()
    digests = []
    with world.process(folder, siem, counting) as run:
        for number in range(SETTLED):
            counting.calls.append(Counter())
            run(number)
            digests.append(world.digest(folder))
    told = world.told(folder)
    assert Counter(e.type for e in told)["change.due.v1"] >= 4  # else it would show little
    assert siem.heard == [e.id for e in told]
    return digests, counting, siem


def test_the_afternoon_calls_every_port(calm: tuple[list[dict[str, str]], Counting, Siem]) -> None:
    assert set().union(*calm[1].calls) == PORTS


def test_a_crash_at_every_call_of_every_port_in_turn_leaves_the_same_behind(
    world: World, calm: tuple[list[dict[str, str]], Counting, Siem], tmp_path: Path
) -> None:
    digests, counting, calm_siem = calm
    faults, siem = EachOnce(), Siem()
    crashes = 0
    number = 0
    # when the process dies at each call, before and after it, and is started again each time
    while number < SETTLED:
        try:
            with world.process(tmp_path, siem, faults) as run:
                while number < SETTLED:
                    faults.attempt(number)
                    run(number)
                    # then after each round it stands where it would have stood
                    assert world.digest(tmp_path) == digests[number]
                    number += 1
        except Crash:
            crashes += 1
    assert crashes == len(faults.died)
    for number, calls in enumerate(counting.calls):
        for call, times in calls.items():
            for n in range(1, times + 1):
                assert {(number, call, n, "before"), (number, call, n, "after")} <= faults.died
    # and everybody heard of everything, at least once, in order
    assert list(dict.fromkeys(siem.heard)) == calm_siem.heard


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", sorted(PORTS))
def test_one_crash_in_an_undisturbed_afternoon(
    world: World, calm: tuple[list[dict[str, str]], Counting, Siem], tmp_path: Path, call: str, when: str
) -> None:
    # given a crash in the round that changes the policy
    faults, siem = At(2, call, when), Siem()
    number = 0
    while number < SETTLED:
        try:
            with world.process(tmp_path, siem, faults) as run:
                while number < SETTLED:
                    faults.round = number
                    run(number)
                    number += 1
        except Crash:
            assert number == 2
    assert faults.died
    assert world.digest(tmp_path) == calm[0][-1]


def test_the_digest_sees_one_changed_bit_of_anything(world: World, tmp_path: Path) -> None:
    """A digest that never differs would show nothing."""
    import sqlite3

    faults = Faults()
    with world.process(tmp_path, Siem(), faults) as run:
        for number in range(SETTLED):
            run(number)
    before = world.digest(tmp_path)
    for part, sql in {
        "log/verdicts": "UPDATE log SET data = replace(data, 'affirming', 'affirminh') WHERE topic = 'verdicts'",
        "state/correlate": "UPDATE state SET key = key || 'x' WHERE stage = 'correlate' AND key LIKE 'alert/%'",
        "blobs": "INSERT INTO blobs VALUES (printf('%064d', 0), x'00')",
        "rounds": "DELETE FROM rounds WHERE round = (SELECT max(round) FROM rounds)",
    }.items():
        connection = sqlite3.connect(tmp_path / "ratchet.db")
        connection.execute(sql)
        connection.commit()
        connection.close()
        now = world.digest(tmp_path)
        assert now[part] != before[part], part
        assert now["all"] != before["all"]
        before = now
    (tmp_path / "bundles" / "ratchet.tar.gz").unlink()
    assert world.digest(tmp_path)["store/opa"] != before["store/opa"]


def test_a_hundred_kills_within_a_day_leave_what_the_unkilled_day_leaves(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    vendor = tmp_path_factory.getbasetemp() / "simulated-vendor"
    script = Path(__file__).with_name("killed.py")
    done = subprocess.run(
        [sys.executable, str(script), str(vendor), str(tmp_path), "100", "20260302"],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["kills"] == 100
    assert seen["signals"] == ["SIGKILL"]
    assert seen["rounds_hit"] > 10  # all over the day, not at one place
    assert seen["killed"] == seen["calm"]
    # the file that log shippers follow has each id once, and none is missing
    assert seen["killed_lines"] == seen["calm_lines"]
    assert len(set(seen["killed_lines"])) == len(seen["killed_lines"]) > 5
