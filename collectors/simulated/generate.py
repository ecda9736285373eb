"""Scenarios by chance: small fleets, a day or two, with all sorts of things planted. For tests, and for whoever doubts.

What is planted lies on both sides of the rules' limits: bursts that are too small to be one, silences that end in time,
recoveries that everybody was patched for. In half of the scenarios most of it falls on two or three machines, so that
what happens to one of them meets what happened to it before. A scenario follows from its seed; its time line is in no
order.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from collectors.simulated.dice import Dice, Events, Plant
from collectors.simulated.model import How
from collectors.simulated.registry import KINDS, VENDORS
from collectors.simulated.scenario import Scenario

_REGIONS = ("eu-west", "us-east", "ap-south")
_WORKLOADS = {"vault": ["2.3.0", "2.3.1"], "payments": ["7.14.2"], "inference": ["0.9.8", "0.9.9"]}

_FORGED = ("bit-flipped", "another-key")
_BAD_EVIDENCE = ("truncated", "random", "oversized", "wrong-format", "future-dated", "another-root")


def generate(seed: int) -> Scenario:
    """The scenario of that seed: 10 to 18 machines, one to two days."""
    dice = Dice(seed, {tee: kind.group for tee, kind in KINDS.items()})
    rng = dice.rng
    dice.populate(_machines(dice))
    events = [event for plant in _planted(dice) for event in plant(dice)]
    rng.shuffle(events)
    start = datetime(2026, 1, 5, tzinfo=UTC) + timedelta(minutes=rng.randrange(500_000))
    return Scenario.model_validate(
        {
            "name": f"Generated from seed {seed}",
            "seed": seed,
            "start": start,
            "duration": dice.duration,
            "attest": {
                "every": timedelta(minutes=rng.choice((120, 150, 180))),
                "jitter": timedelta(minutes=rng.randrange(0, 25)),
            },
            "tick": timedelta(minutes=rng.choice((10, 15, 30))),
            "workloads": _WORKLOADS,
            "machines": dice.groups,
            "timeline": events,
        }
    )


def _machines(dice: Dice) -> dict[str, dict[str, Any]]:
    """One group of every kind and one or two more, of the kinds' samples."""
    rng = dice.rng
    samples = {name: keys for kind in KINDS.values() for name, keys in kind.group.SAMPLES.items()}
    chosen = [rng.choice(list(kind.group.SAMPLES)) for kind in KINDS.values() if kind.group.SAMPLES]
    chosen += rng.sample([name for name in samples if name not in chosen], rng.randrange(1, 3))
    total = rng.randrange(10, 19)
    shares = [rng.uniform(1, 2) for _ in chosen]
    regions = rng.sample(_REGIONS, rng.choice((1, 2)))
    found = {}
    for name, share in zip(chosen, shares, strict=True):
        found[name] = {
            **samples[name],
            "count": max(2, int(total * share / sum(shares))),
            "runs": rng.choice(list(_WORKLOADS)),
            "regions": {region: rng.randrange(1, 4) for region in regions},
        }
    return found


def _planted(dice: Dice) -> list[Plant]:
    """Which kinds, some of them twice; all of them now and then."""
    kinds = list(PLANTS.values())
    return dice.rng.choices(kinds, k=dice.rng.randrange(0, 4)) + dice.rng.sample(kinds, dice.rng.randrange(4, 12))


def _possible(dice: Dice, event: dict[str, Any], way: How) -> Events:
    """The event, if its machine can be made to send such evidence."""
    return [event] if way in dice.ways(event["machine"]) else []


def _sent(event: str, way: How, earliest: float, dice: Dice) -> Events:
    """An event that has a machine and a moment alone."""
    machine = dice.machine()
    return _possible(dice, {"event": event, "at": dice.at(earliest), "machine": machine}, way)


def _forged(dice: Dice) -> Events:
    how = dice.rng.choice(_FORGED)
    machine = dice.machine()
    return [{"event": "forged-evidence", "at": dice.at(), "machine": machine, "how": how}]


def _unknown(dice: Dice) -> Events:
    machine, at = dice.machine(), dice.at()
    return [{"event": "unknown-measurement", "at": at, "machine": machine, "release": "9.9.9-rc1", **dice.until(at)}]


def _silent(dice: Dice) -> Events:
    machine, at = dice.machine(), dice.at(0.1, 0.6)
    hours = dice.rng.choice((None, 6, 9, 11, 13, 16))
    until = at + timedelta(hours=hours) if hours is not None else None
    back = {"until": until} if until is not None and until < dice.duration else {}
    return [{"event": "goes-silent", "at": at, "machine": machine, **back}]


def _burst(dice: Dice) -> Events:
    rng = dice.rng
    region = rng.choice(sorted({r for spec in dice.groups.values() for r in spec["regions"]}))
    count, within = rng.randrange(3, 10), timedelta(minutes=rng.randrange(5, 50))
    return [{"event": "failure-burst", "at": dice.at(), "region": region, "machines": count, "within": within}]


def _bad_evidence(dice: Dice) -> Events:
    how, machine = dice.rng.choice(_BAD_EVIDENCE), dice.machine()
    return _possible(dice, {"event": "bad-evidence", "at": dice.at(), "machine": machine, "how": how}, how)


def _foreign(dice: Dice) -> Events:
    """Under a machine's name, or under one of its own; after the day in which first use enrols."""
    if dice.duration < timedelta(hours=28):
        return []
    machine, number = dice.machine(), dice.rng.randrange(1, 100)
    name = {"name": f"rented-{number:03d}"} if dice.rng.random() < 0.4 else {}
    at = timedelta(hours=25) + dice.rng.random() * (dice.duration - timedelta(hours=26))
    at = timedelta(seconds=int(at.total_seconds()))
    return _possible(dice, {"event": "foreign-machine", "at": at, "machine": machine, **name}, "foreign")


def _unendorsed(dice: Dice) -> Events:
    machines = [n for names in dice.members.values() for n in names if "unendorsed" in dice.ways(n)]
    if not machines:
        return []
    mine = [n for n in dice.favourites if n in machines] or machines
    return [{"event": "missing-endorsement", "at": dice.at(), "machine": dice.rng.choice(mine)}]


_EVERYBODYS: dict[str, Plant] = {
    "forged-evidence": _forged,
    "replayed-evidence": partial(_sent, "replayed-evidence", "replayed", 0.05),
    "debug-guest": partial(_sent, "debug-guest", "debug", 0.1),
    "unknown-measurement": _unknown,
    "goes-silent": _silent,
    "failure-burst": _burst,
    "bad-evidence": _bad_evidence,
    "unchallenged-evidence": partial(_sent, "unchallenged-evidence", "unchallenged", 0.1),
    "missing-endorsement": _unendorsed,
    "foreign-machine": _foreign,
}
"""What can happen to every kind of machine."""

_FIRST = (
    "firmware-rolls-back",
    "forged-evidence",
    "replayed-evidence",
    "debug-guest",
    "unknown-measurement",
    "certificate-revoked",
    "tcb-recovery",
    "goes-silent",
    "failure-burst",
    "bad-evidence",
    "bad-document",
)
"""The order in which seeds draw them; all others come behind, as they are listed."""


def _in_order(plants: dict[str, Plant]) -> dict[str, Plant]:
    behind = [name for name in plants if name not in _FIRST]
    return {name: plants[name] for name in (*_FIRST, *behind)}


PLANTS = _in_order({**_EVERYBODYS, **{k: v for vendor in VENDORS.values() for k, v in vendor.plants.items()}})
"""Everything that is drawn: name of an event -> how. A bulletin is not: what it says is a person's word."""
