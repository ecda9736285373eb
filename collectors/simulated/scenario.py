"""The scenario file: who is in the fleet, and what happens to it when. People read it and write it (docs/scenarios.md).

Strict: an unknown key, a machine that does not exist, an event after the end is an error that names file, key and what
is allowed. Times on the time line are offsets from the start (`1d4h`), so that a scenario can be moved in time whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from importlib.resources import files
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from collectors.simulated.model import BaseScenario, Fault, Group, Happened, Name, write_span
from collectors.simulated.registry import EVENTS, KINDS


class ScenarioError(ValueError):
    """The file is no scenario. Its text names file, key, and what is allowed."""


if TYPE_CHECKING:
    AnyGroup = Group
    AnyEvent = Happened
else:
    AnyGroup = Annotated[reduce(or_, (kind.group for kind in KINDS.values())), Field(discriminator="tee")]
    AnyEvent = Annotated[reduce(or_, EVENTS), Field(discriminator="event")]


class Scenario(BaseScenario):
    """A scenario of machines and events that the simulated vendors know (`BaseScenario` has the keys)."""

    machines: Mapping[Name, AnyGroup] = Field(min_length=1)
    timeline: tuple[AnyEvent, ...] = ()

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        faults = [*_faults(self)]
        if faults:
            raise ValueError("\n".join(faults))
        return self


def _faults(scenario: Scenario) -> Iterator[str]:
    """What does not fit together, each with its key."""
    for name, group in scenario.machines.items():
        if group.runs not in scenario.workloads:
            yield f"machines.{name}.runs: no workload {group.runs!r}; there are {', '.join(scenario.workloads)}"
    for name, releases in scenario.workloads.items():
        if not releases:
            yield f"workloads.{name}: at least one release"
    for n, event in enumerate(scenario.timeline):
        yield from (f"timeline.{n}{'.' * bool(key)}{key}: {why}" for key, why in _faults_of(scenario, event))


def _faults_of(scenario: Scenario, event: Happened) -> Iterator[Fault]:
    if event.at >= scenario.duration:
        yield "at", f"{write_span(event.at)} is not before the end, {write_span(scenario.duration)}"
    until = getattr(event, "until", None)
    if until is not None and until <= event.at:
        yield "until", f"later than at, {write_span(event.at)}"
    absent = [machine for machine in event.named if machine not in scenario.names]
    for machine in absent:
        groups = ", ".join(f"{g}-001 to {g}-{v.count:03d}" for g, v in scenario.machines.items())
        yield "", f"no machine {machine!r}; there are {groups}"
    if absent:
        return
    if event.way is not None:
        for machine in event.named:
            ways = scenario.group_of(machine).ways()
            if event.way not in ways:
                yield "machine", f"{machine} sends nothing that is {event.way}; what it sends can be {', '.join(ways)}"
    yield from event.faults(scenario)


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, but a key given twice is an error: the second would win unseen."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Every key once."""
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse(text: str, where: str = "scenario") -> Scenario:
    """Read a scenario from YAML.

    Raises:
        ScenarioError: it is none; every fault, with its key.
    """
    try:
        data = yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        raise ScenarioError(f"{where}: not YAML: {error}") from error
    if not isinstance(data, dict):
        raise ScenarioError(f"{where}: a scenario is a mapping with the keys {', '.join(Scenario.model_fields)}")
    try:
        return Scenario.model_validate(data)
    except ValidationError as error:
        raise ScenarioError("\n".join(_explain(where, error))) from error


def load(path: Path) -> Scenario:
    """Read a scenario file.

    Raises:
        ScenarioError: it is none, or cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: cannot be read: {error}") from error
    return parse(text, str(path))


def week() -> Scenario:
    """The scenario that ships, which `ratchet demo` shows: a week of a fleet in three regions (week.yml)."""
    return parse(files(__package__).joinpath("week.yml").read_text(encoding="utf-8"), "week.yml")


def dump(scenario: Scenario) -> str:
    """The scenario as YAML that `parse` reads back to an equal one."""
    data = scenario.model_dump(mode="python", exclude_none=True)
    return yaml.safe_dump(_plain(data), sort_keys=False, allow_unicode=True, width=120)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value


def _explain(where: str, error: ValidationError) -> Iterator[str]:
    for fault in error.errors():
        place = fault["loc"]
        if place[:1] in (("timeline",), ("machines",)):
            place = place[:2] + place[3:]  # the third says which kind of event or machine it was taken for
        key = ".".join(str(part) for part in place)
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            message = "no such key"
        elif fault["type"] == "missing":
            message = "missing"
        for line in message.splitlines():
            yield f"{where}: {key}: {line}" if key else f"{where}: {line}"
