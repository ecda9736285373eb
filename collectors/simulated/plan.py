"""The time line of a scenario, worked out: each piece of evidence and each document, when, and what is done to it.

Bytes are minted from it (`deliveries`), and what must be reported follows from it (`truth`): neither knows the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from collectors.simulated.fleet import Machine, chance, histories, machines, revocations
from collectors.simulated.intel import BASE_EVALUATION, Ca, Level, Tcb, Tee
from collectors.simulated.scenario import (
    BadDocument,
    BadEvidence,
    BulletinReviewed,
    DebugGuest,
    FailureBurst,
    ForeignMachine,
    ForgedEvidence,
    MissingEndorsement,
    Product,
    ReplayedEvidence,
    Scenario,
    SgxGroup,
    SnpFirmware,
    SnpGroup,
    UnchallengedEvidence,
)

How = Literal[
    "honest",
    "bit-flipped",
    "another-key",
    "replayed",
    "debug",
    "truncated",
    "random",
    "oversized",
    "wrong-format",
    "future-dated",
    "another-root",
    "unchallenged",
    "unendorsed",
    "foreign",
]

REFUSED: frozenset[How] = frozenset(
    {
        "bit-flipped",
        "another-key",
        "truncated",
        "random",
        "oversized",
        "wrong-format",
        "future-dated",
        "another-root",
    }
)
"""What is no genuine evidence of the machine that it names."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One piece of evidence.

    Attributes:
        time: when the collector has it.
        machine: under whose name.
        delivery: its delivery id.
        how: honest, or what is done to it.
        firmware: what the machine runs then.
        release: which release of its workload it runs then.
        original: the piece whose bytes are sent again, for a replay.
        name: under which name it is sent, where that is not the machine's.
    """

    time: datetime
    machine: Machine
    delivery: str
    how: How
    firmware: Tcb | SnpFirmware
    release: str
    original: Piece | None = None
    name: str | None = None

    @property
    def sender(self) -> str:
        """Under which name it is sent."""
        return self.name or self.machine.name

    @property
    def chip(self) -> str:
        """What tells the machine that made it from every other."""
        return f"foreign/{self.sender}" if self.how == "foreign" else self.machine.name


@dataclass(frozen=True, slots=True)
class IntelBundle:
    """Intel's documents about one platform, as published at `time`.

    Attributes:
        levels: newest first.
        evaluation: tcbEvaluationDataNumber.
        issued: issueDate of TCB info and QE identity.
        revoked: (when, machine, TCB) of every certificate revoked by then under that CA.
        how: `honest`, or in which way it is bad.
    """

    time: datetime
    delivery: str
    tee: Tee
    fmspc: str
    ca: Ca
    qe: int
    levels: tuple[Level, ...]
    evaluation: int
    issued: datetime
    revoked: tuple[tuple[datetime, Machine, Tcb], ...] = ()
    how: Literal["honest", "truncated", "random", "future-dated", "another-root", "forged"] = "honest"


@dataclass(frozen=True, slots=True)
class AmdDocument:
    """A product's chain or CRL, or the VCEK of one chip at one TCB."""

    time: datetime
    delivery: str
    product: Product
    what: Literal["chain", "crl", "vcek"]
    machine: Machine | None = None
    firmware: SnpFirmware | None = None


@dataclass(frozen=True, slots=True)
class Review:
    """A reviewed floors file about a bulletin of AMD's."""

    time: datetime
    delivery: str
    event: BulletinReviewed


Planned = Piece | IntelBundle | AmdDocument | Review


def plan(scenario: Scenario) -> list[Planned]:
    """Everything that is delivered, in order of time; at one time documents first."""
    fleet = machines(scenario)
    pieces = [*_regular(scenario, fleet), *_special(scenario, fleet)]
    reviews = [
        Review(scenario.start + event.at, f"{scenario.seed}-review-{number:03d}", event)
        for number, event in enumerate(scenario.timeline)
        if isinstance(event, BulletinReviewed)
    ]
    everything: list[Planned] = [*_intel(scenario, fleet), *_amd(scenario, fleet), *reviews, *pieces]
    return sorted(everything, key=lambda one: (one.time, isinstance(one, Piece), one.delivery))


def _piece(scenario: Scenario, machine: Machine, at: datetime, label: str, how: How) -> Piece:
    return Piece(
        time=at,
        machine=machine,
        delivery=f"{scenario.seed}-{machine.name}-{label}",
        how=how,
        firmware=machine.firmware(at),
        release=machine.release(at),
    )


def attestations(scenario: Scenario, machine: Machine) -> Iterator[datetime]:
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


def _regular(scenario: Scenario, fleet: dict[str, Machine]) -> Iterator[Piece]:
    for machine in fleet.values():
        for number, at in enumerate(attestations(scenario, machine)):
            yield _piece(scenario, machine, at, f"{number:05d}", "honest")


def _special(scenario: Scenario, fleet: dict[str, Machine]) -> Iterator[Piece]:
    """Pieces that events add beside what machines send of their own accord."""
    for number, event in enumerate(scenario.timeline):
        at = scenario.start + event.at
        label = f"event-{number:03d}"
        match event:
            case ForgedEvidence() | BadEvidence():
                yield _piece(scenario, fleet[event.machine], at, label, event.how)
            case DebugGuest():
                yield _piece(scenario, fleet[event.machine], at, label, "debug")
            case ReplayedEvidence():
                machine = fleet[event.machine]
                before = [(n, t) for n, t in enumerate(attestations(scenario, machine)) if t < at]
                if before:  # nothing to replay: nothing is sent
                    original = _piece(scenario, machine, before[-1][1], f"{before[-1][0]:05d}", "honest")
                    yield replace(_piece(scenario, machine, at, label, "replayed"), original=original)
            case UnchallengedEvidence():
                yield _piece(scenario, fleet[event.machine], at, label, "unchallenged")
            case MissingEndorsement():
                yield _piece(scenario, fleet[event.machine], at, label, "unendorsed")
            case ForeignMachine():
                yield replace(_piece(scenario, fleet[event.machine], at, label, "foreign"), name=event.name)
            case FailureBurst():
                yield from _burst(scenario, fleet, event, label)
            case _:
                pass


def _burst(scenario: Scenario, fleet: dict[str, Machine], event: FailureBurst, label: str) -> Iterator[Piece]:
    draw = chance(scenario, "burst", label)
    there = [machine for machine in fleet.values() if machine.region == event.region]
    for machine in draw.sample(there, min(event.machines, len(there))):
        later = timedelta(seconds=draw.randint(0, int(event.within.total_seconds())))
        how: How = "bit-flipped" if draw.random() < 0.5 else "another-key"
        at = min(scenario.start + event.at + later, scenario.end)
        yield _piece(scenario, machine, at, label, how)


def _intel(scenario: Scenario, fleet: dict[str, Machine]) -> Iterator[IntelBundle]:
    """Bundles at the start, after each recovery and each revocation, and bad ones."""
    platforms = _platforms(scenario)
    published = histories(scenario)
    revoked = [(at, fleet[name]) for at, name in revocations(scenario)]

    def bundle(platform: tuple[Tee, str, Ca], at: datetime, why: str) -> IntelBundle:
        tee, fmspc, ca = platform
        so_far = [(n, when, levels) for n, (when, levels) in enumerate(published[fmspc]) if when <= at]
        number, issued, levels = so_far[-1]
        return IntelBundle(
            time=at,
            delivery=f"{scenario.seed}-intel-{tee}-{fmspc}-{ca}-{why}",
            tee=tee,
            fmspc=fmspc,
            ca=ca,
            qe=platforms[platform],
            levels=levels,
            evaluation=BASE_EVALUATION + number,
            issued=issued,
            revoked=tuple(
                (when, machine, tcb)
                for when, machine in revoked
                for tcb in _certified(machine)
                if when <= at and _ca(machine) == ca
            ),
        )

    for platform in platforms:
        for number, (at, _) in enumerate(published[platform[1]]):
            yield bundle(platform, at, f"published-{number:02d}")
    for number, (at, machine) in enumerate(revoked):
        own = next(
            p for p in platforms if p[0] == machine.group.tee and p[2] == _ca(machine) and p[1] == fmspc_of(machine)
        )
        yield bundle(own, at, f"revocation-{number:02d}")
    for number, event in enumerate(scenario.timeline):
        if isinstance(event, BadDocument):
            own = next(p for p in platforms if p[1] == event.fmspc)
            at = scenario.start + event.at
            good = bundle(own, at, f"bad-{number:03d}")
            top = good.levels[0]
            # Would put every machine out of date, if it were believed.
            higher = replace(top, microcode=min(top.microcode + 50, 255), date=top.date + timedelta(days=1))
            later = scenario.end + timedelta(days=2) if event.how == "future-dated" else at
            yield replace(
                good, how=event.how, levels=(higher, *good.levels), evaluation=good.evaluation + 50, issued=later
            )


def _platforms(scenario: Scenario) -> dict[tuple[Tee, str, Ca], int]:
    """Each (TEE, FMSPC, PCK CA) of the fleet with the quoting enclave that is up to date."""
    found: dict[tuple[Tee, str, Ca], int] = {}
    newest: dict[Tee, int] = {}
    for group in scenario.machines.values():
        if not isinstance(group, SnpGroup):
            newest[group.tee] = max(group.firmware.qe, newest.get(group.tee, 0))
    for group in scenario.machines.values():
        if not isinstance(group, SnpGroup):
            ca: Ca = group.ca if isinstance(group, SgxGroup) else "platform"
            found[(group.tee, group.fmspc, ca)] = newest[group.tee]
    return found


def _ca(machine: Machine) -> Ca:
    return machine.group.ca if isinstance(machine.group, SgxGroup) else "platform"


def fmspc_of(machine: Machine) -> str:
    """The FMSPC of an Intel machine."""
    if isinstance(machine.group, SnpGroup):
        raise ValueError(f"{machine.name} has no FMSPC: it is not Intel's")
    return machine.group.fmspc


def _certified(machine: Machine) -> list[Tcb]:
    """Every TCB that a machine has a certificate for; a compromised platform loses them all, patched or not."""
    return [firmware for _, firmware in machine.changes if isinstance(firmware, Tcb)]


def _amd(scenario: Scenario, fleet: dict[str, Machine]) -> Iterator[AmdDocument]:
    """Chains and CRLs at the start; VCEKs just before they are needed, for groups that have them fetched."""
    products = {group.product: None for group in scenario.machines.values() if isinstance(group, SnpGroup)}
    for product in products:
        for what in ("chain", "crl"):
            yield AmdDocument(scenario.start, f"{scenario.seed}-amd-{product}-{what}", product, what)
    for machine in fleet.values():
        if isinstance(machine.group, SnpGroup) and machine.group.vcek == "fetched":
            for number, (at, firmware) in enumerate(machine.changes):
                if isinstance(firmware, SnpFirmware):
                    label = f"{scenario.seed}-amd-vcek-{machine.name}-{number:02d}"
                    yield AmdDocument(at, label, machine.group.product, "vcek", machine, firmware)
