"""The machines of a scenario, and how firmware and software on them change over its time line."""

from __future__ import annotations

import hashlib
import random
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from collectors.simulated.intel import Level, Tcb
from collectors.simulated.scenario import (
    CertificateRevoked,
    FirmwareRollsBack,
    GoesSilent,
    Group,
    Happened,
    Scenario,
    SnpFirmware,
    SnpGroup,
    TcbRecovery,
    TdxGroup,
    UnknownMeasurement,
)

E = TypeVar("E", bound=Happened)

BASE_ADVISORY = "INTEL-SA-01153"
"""The advisory that made the first level of a simulated platform what is up to date."""


@dataclass(frozen=True, slots=True, eq=False)
class Machine:
    """One machine.

    Attributes:
        name: its hint name.
        group: what it is.
        region: where.
        changes: (from when, firmware), in order of time; the first from the start.
        committed: the firmware below which it can never go back; AMD alone.
        releases: (from when, release), in order of time; the first from the start.
        away: when nothing comes from it.
    """

    name: str
    group: Group
    region: str
    changes: tuple[tuple[datetime, Tcb | SnpFirmware], ...]
    committed: SnpFirmware | None
    releases: tuple[tuple[datetime, str], ...]
    away: tuple[tuple[datetime, datetime], ...]

    def firmware(self, at: datetime) -> Tcb | SnpFirmware:
        """What it runs then."""
        return self.changes[bisect_right(self.changes, at, key=lambda change: change[0]) - 1][1]

    def release(self, at: datetime) -> str:
        """Which release of its workload it runs then."""
        return self.releases[bisect_right(self.releases, at, key=lambda change: change[0]) - 1][1]

    def silent(self, at: datetime) -> bool:
        """Whether nothing comes from it then."""
        return any(since <= at < until for since, until in self.away)


def chance(scenario: Scenario, *about: object) -> random.Random:
    """A source of chance that depends on the seed and on what it is about alone, not on what was asked before."""
    return random.Random("/".join(map(str, (scenario.seed, *about))))  # noqa: S311 (a simulation, no secret)


def measurement(workload: str, release: str, tee: str) -> bytes:
    """MRENCLAVE (32 bytes), MRTD or launch measurement (48) of a release."""
    algorithm = "sha256" if tee == "sgx" else "sha384"
    return hashlib.new(algorithm, f"simulated {tee} image of {workload} {release}".encode()).digest()


def register(workload: str, release: str, number: int) -> bytes:
    """What RTMR0 to RTMR3 of a TD hold: the first three follow from the release, nothing is measured at run time."""
    return (
        hashlib.sha384(f"simulated RTMR{number} of {workload} {release}".encode()).digest() if number < 3 else bytes(48)
    )


def measurements(workload: str, release: str, tee: str) -> dict[str, str]:
    """Every boot and run-time measurement of a release, by the format's own word, in hex."""
    image = measurement(workload, release, tee).hex()
    if tee != "tdx":
        return {"mrenclave" if tee == "sgx" else "measurement": image}
    return {"mrtd": image, **{f"rtmr{n}": register(workload, release, n).hex() for n in range(4)}}


def histories(scenario: Scenario) -> dict[str, tuple[tuple[datetime, tuple[Level, ...]], ...]]:
    """For each FMSPC what Intel publishes: (from when, levels newest first), the first at the start."""
    found: dict[str, tuple[tuple[datetime, tuple[Level, ...]], ...]] = {}
    first: dict[str, Level] = {}
    for group in scenario.machines.values():
        if isinstance(group, SnpGroup):
            continue
        has, before = group.firmware, first.get(group.fmspc)
        first[group.fmspc] = Level(
            microcode=max(has.microcode, before.microcode if before else 0),
            pcesvn=max(has.pcesvn, before.pcesvn if before else 0),
            module_svn=max(has.module_svn, before.module_svn if before else 0),
            date=_midnight(scenario.start - timedelta(days=180)),
            advisory=BASE_ADVISORY,
        )
    for fmspc, level in first.items():
        older = Level(level.microcode - 1, level.pcesvn, level.module_svn - 1, _year_before(level.date), None)
        oldest = Level(1, 5, 1, datetime(2018, 1, 4, tzinfo=scenario.start.tzinfo), None)
        levels: tuple[Level, ...] = (level, older, oldest)
        published = [(scenario.start, levels)]
        for event in _in_order(scenario, TcbRecovery):
            if event.fmspc == fmspc:
                top = levels[0]
                newer = Level(
                    microcode=event.microcode if event.microcode is not None else top.microcode,
                    pcesvn=top.pcesvn,
                    module_svn=event.module_svn if event.module_svn is not None else top.module_svn,
                    date=_midnight(scenario.start + event.at),
                    advisory=event.advisory,
                )
                levels = (newer, *levels)
                published.append((scenario.start + event.at, levels))
        found[fmspc] = tuple(published)
    return found


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def _year_before(at: datetime) -> datetime:
    return at - timedelta(days=365)


def _in_order(scenario: Scenario, kind: type[E]) -> list[E]:
    found = [event for event in scenario.timeline if isinstance(event, kind)]
    return sorted(found, key=lambda event: event.at)


def machines(scenario: Scenario) -> dict[str, Machine]:
    """Every machine by name, group by group."""
    found: dict[str, Machine] = {}
    for prefix, group in scenario.machines.items():
        places = _places(group.regions, group.count)
        for number in range(1, group.count + 1):
            name = f"{prefix}-{number:03d}"
            committed = None if not isinstance(group, SnpGroup) else _committed(scenario, name, group.firmware)
            found[name] = Machine(
                name=name,
                group=group,
                region=places[number - 1],
                changes=_firmware(scenario, name, group),
                committed=committed,
                releases=_releases(scenario, name, group),
                away=_away(scenario, name),
            )
    return found


def _places(regions: Mapping[str, int], count: int) -> list[str]:
    """A region for each machine, in the order and the shares given."""
    total = sum(regions.values())
    bounds: list[tuple[int, str]] = []
    upto = 0
    for region, share in regions.items():
        upto += share
        bounds.append((upto, region))
    return [next(region for upto, region in bounds if n * total < upto * count) for n in range(count)]


def _firmware(scenario: Scenario, name: str, group: Group) -> tuple[tuple[datetime, Tcb | SnpFirmware], ...]:
    if isinstance(group, SnpGroup):
        return _rolled_back(scenario, name, group.firmware)
    has = group.firmware
    tdx = isinstance(group, TdxGroup)
    tcb = Tcb(has.microcode, has.pcesvn, has.qe, has.module if tdx else 0, has.module_svn if tdx else 0)
    patches: list[tuple[datetime, TcbRecovery]] = []
    for event in _in_order(scenario, TcbRecovery):
        if event.fmspc == group.fmspc and name not in event.unpatched:
            window = event.patched.before - event.patched.ready + event.patched.after
            share = chance(scenario, name, "patch", event.advisory).random()
            patches.append((scenario.start + event.at - event.patched.before + share * window, event))
    changes: list[tuple[datetime, Tcb | SnpFirmware]] = [(scenario.start, tcb)]
    for at, event in sorted(patches, key=lambda patch: patch[0]):
        tcb = Tcb(
            max(tcb.microcode, event.microcode or 0),
            tcb.pcesvn,
            tcb.qe,
            tcb.module,
            max(tcb.module_svn, event.module_svn or 0) if tdx else 0,
        )
        # A machine patched before the scenario begins begins patched.
        changes = [(scenario.start, tcb)] if at <= scenario.start else [*changes, (at, tcb)]
    return tuple(changes)


def _rolled_back(scenario: Scenario, name: str, own: SnpFirmware) -> tuple[tuple[datetime, SnpFirmware], ...]:
    changes = [(scenario.start, own)]
    for event in _in_order(scenario, FirmwareRollsBack):
        if event.machine == name:
            changes.append((scenario.start + event.at, own.model_copy(update={event.component: event.to})))
            if event.until is not None:
                changes.append((scenario.start + event.until, own))
    return tuple(changes)


def _committed(scenario: Scenario, name: str, own: SnpFirmware) -> SnpFirmware:
    """What it committed: nothing above what it will go back to, for committed firmware cannot (AMD 56860, 3.3)."""
    lowest: dict[str, int] = {}
    for event in _in_order(scenario, FirmwareRollsBack):
        if event.machine == name:
            lowest[event.component] = min(event.to, lowest.get(event.component, event.to))
    return own.model_copy(update=lowest)


def _releases(scenario: Scenario, name: str, group: Group) -> tuple[tuple[datetime, str], ...]:
    usual = scenario.workloads[group.runs][-1]
    changes = [(scenario.start, usual)]
    for event in _in_order(scenario, UnknownMeasurement):
        if event.machine == name:
            changes.append((scenario.start + event.at, event.release))
            if event.until is not None:
                changes.append((scenario.start + event.until, usual))
    return tuple(changes)


def _away(scenario: Scenario, name: str) -> tuple[tuple[datetime, datetime], ...]:
    forever = scenario.end + timedelta(days=1)
    return tuple(
        (scenario.start + event.at, scenario.start + event.until if event.until is not None else forever)
        for event in _in_order(scenario, GoesSilent)
        if event.machine == name
    )


def revocations(scenario: Scenario) -> tuple[tuple[datetime, str], ...]:
    """(when, machine) of each revoked certificate, in order of time."""
    return tuple((scenario.start + event.at, event.machine) for event in _in_order(scenario, CertificateRevoked))
