"""What a scenario file is made of: groups of machines, things that happen, and the frame around them.

A TEE is a subclass of `Group` in its vendor's folder; what happens to every kind of machine is in `events`, and what
happens to one vendor's alone is in that vendor's folder. `scenario` puts them together to the file that people write.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    field_validator,
    model_validator,
)

from ratchet.evidence import Format

_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_SPAN = re.compile(r"(\d{1,6}d)?(\d{1,6}h)?(\d{1,6}m)?(\d{1,6}s)?")


def span(text: object) -> object:
    """Reads `7d`, `1d4h30m`, `90s`; passes a timedelta on.

    Raises:
        ValueError: not written so.
    """
    if isinstance(text, timedelta):
        return text
    found = _SPAN.fullmatch(text) if isinstance(text, str) and text else None
    if found is None:
        raise ValueError("a span of time is written like 7d, 1d4h30m or 90s")
    return timedelta(**{_UNITS[part[-1]]: int(part[:-1]) for part in found.groups() if part})


def write_span(value: timedelta) -> str:
    """The inverse of `span`."""
    left = int(value.total_seconds())
    out = ""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        out += f"{count}{unit}" if count else ""
    return out or "0s"


Span = Annotated[timedelta, BeforeValidator(span), PlainSerializer(write_span)]
Svn = Annotated[int, Field(ge=0, le=255)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
MachineName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}-\d{3}$")]
Release = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]{0,39}$")]

How = str
"""What is done to a piece of evidence: `honest`, one of `WAYS`, or a vendor's own, for which it has an event."""

Ways = Mapping[How, tuple[str, ...]]
"""Each way in which a group's evidence may be no honest one -> the rules that must report it."""

FAILED = "evidence-failed"
"""The rule on what is no genuine evidence of the machine that it names."""

WAYS: Ways = MappingProxyType(
    {
        "bit-flipped": (FAILED,),
        "another-key": (FAILED,),
        "truncated": (FAILED,),
        "random": (FAILED,),
        "oversized": (FAILED,),
        "wrong-format": (FAILED,),
        "future-dated": (FAILED,),
        "another-root": (FAILED,),
        "replayed": ("evidence-replayed",),
        "debug": ("debug-enabled",),
        "unchallenged": ("evidence-age-unknown",),
        "foreign": ("machine-unknown",),
    }
)
"""What most kinds of machines can be made to send. A foreign machine under a known name is `name-moved` instead."""


class Strict(BaseModel):
    """Frozen, of exact types, and without unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Attest(Strict):
    """How often machines send evidence: `every`, give or take `jitter`."""

    every: Span = Field(description="at least 10m")
    jitter: Span = timedelta(0)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.every < timedelta(minutes=10):
            raise ValueError("every: at least 10m")
        if self.jitter * 2 >= self.every:
            raise ValueError("jitter: less than half of every")
        return self


Changes = tuple[tuple[datetime, object], ...]
"""(from when, firmware), in order of time; what firmware is, its vendor alone knows."""


class Group(Strict):
    """Machines of one kind. A subclass for each TEE, in its vendor's folder, says all that is particular to it.

    Attributes:
        FORMAT: what they send.
        MISLABELLED: the name under which a piece of the wrong format is sent.
        SAMPLES: groups that scenarios made by chance may hold: name -> its keys but `count`, `runs` and `regions`.
        tee: how a scenario file calls the kind.
        count: how many there are.
        runs: which workload.
        regions: region -> share.
    """

    FORMAT: ClassVar[Format]
    MISLABELLED: ClassVar[Format]
    SAMPLES: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({})

    tee: str
    count: Annotated[int, Field(ge=1, le=999)]
    runs: Name
    regions: Mapping[Name, Annotated[int, Field(ge=1, le=1000)]] = Field(min_length=1)

    @abstractmethod
    def measurements(self, release: str) -> dict[str, str]:
        """What is measured of a release of its workload: claim -> hex, for a policy's reference values."""

    @abstractmethod
    def signed(self, raw: bytes) -> range:
        """Where the signed bytes lie behind the fields that say which format it is: where a forger flips a bit."""

    def firmware_of(self, scenario: BaseScenario, machine: str) -> Changes:
        """What a machine runs from when on; here, and where a TEE attests no versions, nothing that changes."""
        return ((scenario.start, None),)

    def ways(self) -> Ways:
        """What its machines can be made to send, and what must be reported of it. Every kind has `bit-flipped` and
        `another-key`, for `failure-burst` draws from them.
        """
        return WAYS


Fault = tuple[str, str]
"""The key that does not fit, of several none, and why not."""


class Happened(Strict):
    """Something on the time line, `at` an offset from the start. Each subclass has a literal `event`, its name."""

    at: Span

    @property
    def named(self) -> tuple[str, ...]:
        """The machines that it names; each must be there."""
        machine = getattr(self, "machine", None)
        return () if machine is None else (machine,)

    @property
    def way(self) -> How | None:
        """How the one piece of evidence is that it adds under the name of its machine; None where it adds none."""
        return None

    def faults(self, scenario: BaseScenario) -> Iterator[Fault]:
        """What of it does not fit the scenario; asked when every machine that it names is there."""
        yield from ()


E = TypeVar("E", bound=Happened)


class BaseScenario(Strict):
    """A fleet and what happens to it, as far as no vendor matters (`scenario.Scenario` knows them all).

    Attributes:
        name: for people.
        seed: of everything that chance decides.
        start: of the first document; machines begin to attest within `attest.every` of it.
        duration: no delivery comes later.
        attest: how often machines send evidence.
        tick: how far apart the clock's ticks are.
        workloads: name -> releases that may run; each release has one measurement for each TEE.
        machines: group -> machines, named `<group>-001` and so on.
        timeline: what happens, in any order.
    """

    name: Annotated[str, Field(min_length=1, max_length=200)]
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    start: datetime
    duration: Span
    attest: Attest
    tick: Span = timedelta(minutes=10)
    workloads: Mapping[Name, tuple[Release, ...]] = Field(min_length=1)
    machines: Mapping[Name, Group] = Field(min_length=1)
    timeline: tuple[Happened, ...] = ()

    @field_validator("timeline", mode="before")
    @classmethod
    def _events(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("workloads", mode="before")
    @classmethod
    def _releases(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}

    @field_validator("start")
    @classmethod
    def _in_range(cls, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise ValueError("a time with a zone, such as 2026-11-02T00:00:00Z")
        value = value.astimezone(UTC)
        if not datetime(2025, 1, 1, tzinfo=UTC) <= value < datetime(2031, 1, 1, tzinfo=UTC):
            raise ValueError("from 2025 to 2030: the simulated vendors' certificates are of these years")
        return value

    @field_validator("duration")
    @classmethod
    def _bounded(cls, value: timedelta) -> timedelta:
        if not timedelta(hours=1) <= value <= timedelta(days=28):
            raise ValueError("from 1h to 28d: vendors' documents are published once, and are valid for 30 days")
        return value

    @field_validator("tick")
    @classmethod
    def _ticks(cls, value: timedelta) -> timedelta:
        if not timedelta(seconds=10) <= value <= timedelta(hours=1):
            raise ValueError("from 10s to 1h")
        return value

    @property
    def end(self) -> datetime:
        """When the last delivery may come."""
        return self.start + self.duration

    @property
    def names(self) -> tuple[str, ...]:
        """Every machine's name, group by group."""
        return tuple(f"{group}-{n:03d}" for group, g in self.machines.items() for n in range(1, g.count + 1))

    def group_of(self, machine: str) -> Group:
        """The group that a machine belongs to.

        Raises:
            KeyError: no such machine.
        """
        group, _, number = machine.rpartition("-")
        found = self.machines[group]
        if not 1 <= int(number) <= found.count:
            raise KeyError(machine)
        return found

    def events(self, kind: type[E]) -> list[E]:
        """What happens of one kind, in order of time."""
        return sorted((e for e in self.timeline if isinstance(e, kind)), key=lambda event: event.at)
