"""The time line of a scenario, worked out: each piece of evidence and each document, when, and what is done to it.

Bytes are minted from it (`deliveries`), and what must be reported follows from it (`truth`): neither knows the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from collectors.simulated.events import FailureBurst, ForeignMachine, ReplayedEvidence
from collectors.simulated.fleet import machines
from collectors.simulated.model import BaseScenario, How
from collectors.simulated.registry import VENDORS
from collectors.simulated.spec import Document, Fleet, Machine, Piece, chance


def plan(scenario: BaseScenario) -> list[Piece | Document]:
    """Everything that is delivered, in order of time; at one time documents first."""
    fleet = machines(scenario)
    everything: list[Piece | Document] = [*_regular(scenario, fleet), *_special(scenario, fleet)]
    for vendor in VENDORS.values():
        everything += vendor.documents(scenario, fleet)
    return sorted(everything, key=lambda one: (one.time, isinstance(one, Piece), one.delivery))


def _piece(scenario: BaseScenario, machine: Machine, at: datetime, label: str, how: How) -> Piece:
    return Piece(
        time=at,
        machine=machine,
        delivery=f"{scenario.seed}-{machine.name}-{label}",
        how=how,
        firmware=machine.firmware(at),
        release=machine.release(at),
    )


def attestations(scenario: BaseScenario, machine: Machine) -> Iterator[datetime]:
    """When the machine attests of its own accord: every so often from a moment of its own, give or take the jitter."""
    draw = chance(scenario, machine.name, "times")
    every = scenario.attest.every.total_seconds()
    jitter = scenario.attest.jitter.total_seconds()
    first = draw.uniform(jitter, every)
    number = 0
    while True:
        after = first + number * every + draw.uniform(-jitter, jitter)
        at = scenario.start + timedelta(seconds=max(1, int(after)))
        if at > scenario.end:
            return
        if not machine.silent(at):
            yield at
        number += 1


def _regular(scenario: BaseScenario, fleet: Fleet) -> Iterator[Piece]:
    for machine in fleet.values():
        for number, at in enumerate(attestations(scenario, machine)):
            yield _piece(scenario, machine, at, f"{number:05d}", "honest")


def _special(scenario: BaseScenario, fleet: Fleet) -> Iterator[Piece]:
    """Pieces that events add beside what machines send of their own accord."""
    for number, event in enumerate(scenario.timeline):
        at = scenario.start + event.at
        label = f"event-{number:03d}"
        match event:
            case ReplayedEvidence():
                machine = fleet[event.machine]
                before = [(n, t) for n, t in enumerate(attestations(scenario, machine)) if t < at]
                if before:  # nothing to replay: nothing is sent
                    original = _piece(scenario, machine, before[-1][1], f"{before[-1][0]:05d}", "honest")
                    yield replace(_piece(scenario, machine, at, label, event.way), original=original)
            case ForeignMachine():
                yield replace(_piece(scenario, fleet[event.machine], at, label, event.way), name=event.name)
            case FailureBurst():
                yield from _burst(scenario, fleet, event, label)
            case _ if event.way is not None:
                yield from (_piece(scenario, fleet[machine], at, label, event.way) for machine in event.named)


def _burst(scenario: BaseScenario, fleet: Fleet, event: FailureBurst, label: str) -> Iterator[Piece]:
    draw = chance(scenario, "burst", label)
    there = [machine for machine in fleet.values() if machine.region == event.region]
    for machine in draw.sample(there, min(event.machines, len(there))):
        later = timedelta(seconds=draw.randint(0, int(event.within.total_seconds())))
        how: How = "bit-flipped" if draw.random() < 0.5 else "another-key"
        at = min(scenario.start + event.at + later, scenario.end)
        yield _piece(scenario, machine, at, label, how)
