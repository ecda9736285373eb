"""The machines of a scenario, and how software on them changes over its time line."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from collectors.simulated.events import GoesSilent, UnknownMeasurement
from collectors.simulated.model import BaseScenario, Group
from collectors.simulated.spec import Machine
from ratchet.event import Json
from ratchet.evidence import FORMATS


def machines(scenario: BaseScenario) -> dict[str, Machine]:
    """Every machine by name, group by group."""
    found: dict[str, Machine] = {}
    for prefix, group in scenario.machines.items():
        places = _places(group.regions, group.count)
        for number in range(1, group.count + 1):
            name = f"{prefix}-{number:03d}"
            found[name] = Machine(
                name=name,
                group=group,
                region=places[number - 1],
                changes=group.firmware_of(scenario, name),
                releases=_releases(scenario, name, group),
                away=_away(scenario, name),
            )
    return found


def reference_values(scenario: BaseScenario) -> dict[str, Json]:
    """What a relying party knows of the workloads, as a policy has it: one set for each release on each TEE."""
    found: dict[str, Json] = {}
    for group in scenario.machines.values():
        for release in scenario.workloads[group.runs]:
            found[f"{group.runs}-{release}-{group.tee}"] = {
                "tee": FORMATS[group.FORMAT].tee.name,
                "conditions": group.measurements(release),
                "by": "demo",
                "source": "the simulated fleet's releases",
            }
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


def _releases(scenario: BaseScenario, name: str, group: Group) -> tuple[tuple[datetime, str], ...]:
    usual = scenario.workloads[group.runs][-1]
    changes = [(scenario.start, usual)]
    for event in scenario.events(UnknownMeasurement):
        if event.machine == name:
            changes.append((scenario.start + event.at, event.release))
            if event.until is not None:
                changes.append((scenario.start + event.until, usual))
    return tuple(changes)


def _away(scenario: BaseScenario, name: str) -> tuple[tuple[datetime, datetime], ...]:
    forever = scenario.end + timedelta(days=1)
    return tuple(
        (scenario.start + event.at, scenario.start + event.until if event.until is not None else forever)
        for event in scenario.events(GoesSilent)
        if event.machine == name
    )
