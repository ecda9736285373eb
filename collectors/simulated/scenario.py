"""The scenario file: who is in the fleet, and what happens to it when. People read it and write it (docs/scenarios.md).

Strict: an unknown key, a machine that does not exist, an event after the end is an error that names file, key and what
is allowed. Times on the time line are offsets from the start (`1d4h`), so that a scenario can be moved in time whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    field_validator,
    model_validator,
)


class ScenarioError(ValueError):
    """The file is no scenario. Its text names file, key, and what is allowed."""


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
Machine = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}-\d{3}$")]
Fmspc = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$", description="six bytes, lower-case hex, in quotes")]
Advisory = Annotated[str, Field(pattern=r"^INTEL-SA-\d{5}$")]
Release = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]{0,39}$")]
Product = Literal["Milan", "Genoa", "Turin"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Attest(_Strict):
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


class IntelFirmware(_Strict):
    """Security versions of an Intel machine.

    Attributes:
        microcode: components 0 and 1 of the SGX TCB, and 2 of the TDX TCB.
        pcesvn: of the Provisioning Certification Enclave.
        qe: ISVSVN of the quoting enclave.
        module: TEE_TCB_SVN[1], the TDX module's version: 0 for 1.0, 1 for TDX_01, 3 for TDX_03. TDX alone.
        module_svn: TEE_TCB_SVN[0], the TDX module's security version. TDX alone.
    """

    microcode: Annotated[int, Field(ge=3, le=255)] = 7
    pcesvn: Annotated[int, Field(ge=5, le=65535)] = 13
    qe: Annotated[int, Field(ge=2, le=65535)] = 8
    module: Literal[0, 1, 3] = 1
    module_svn: Annotated[int, Field(ge=3, le=255)] = 5


class SnpFirmware(_Strict):
    """Security versions of an AMD machine, as in its reported TCB; `fmc` exists on Turin alone."""

    fmc: Svn = 0
    bl: Svn = 4
    tee: Svn = 0
    snp: Svn = 24
    ucode: Svn = 219


class _Group(_Strict):
    count: Annotated[int, Field(ge=1, le=999)]
    runs: Name
    regions: Mapping[Name, Annotated[int, Field(ge=1, le=1000)]] = Field(min_length=1)


class SgxGroup(_Group):
    """Machines that send SGX quotes of version 3."""

    tee: Literal["sgx"]
    fmspc: Fmspc
    ca: Literal["platform", "processor"] = "platform"
    firmware: IntelFirmware = IntelFirmware()


class TdxGroup(_Group):
    """Machines that send TDX quotes, of version 4, or of version 5 with a TD 1.5 report."""

    tee: Literal["tdx"]
    fmspc: Fmspc
    quote: Literal[4, 5] = 4
    firmware: IntelFirmware = IntelFirmware()


class SnpGroup(_Group):
    """Machines that send SEV-SNP reports; their VCEK is `sent` beside the evidence or `fetched` with the documents."""

    tee: Literal["snp"]
    product: Product
    report: Literal[2, 3, 4, 5] = 3
    vcek: Literal["sent", "fetched"] = "sent"
    firmware: SnpFirmware = SnpFirmware()

    @model_validator(mode="after")
    def _fmc_on_turin(self) -> Self:
        if self.product != "Turin" and self.firmware.fmc:
            raise ValueError("firmware.fmc: exists on Turin alone")
        if self.product == "Turin" and self.report < 3:
            raise ValueError("report: Turin has no reports of version 2")
        return self


Group = Annotated[SgxGroup | TdxGroup | SnpGroup, Field(discriminator="tee")]


FIRST_USE = timedelta(days=1)
"""For how long after the first start fresh genuine evidence enrols its machine (docs/policy.md)."""


class Happened(_Strict):
    """Something on the time line, `at` an offset from the start."""

    at: Span


class FirmwareRollsBack(Happened):
    """From `at` on the machine's firmware is older in one component, until `until`."""

    event: Literal["firmware-rolls-back"]
    machine: Machine
    component: Literal["fmc", "bl", "tee", "snp", "ucode"]
    to: Svn
    until: Span | None = None


class ForgedEvidence(Happened):
    """One piece under the machine's name that it never signed."""

    event: Literal["forged-evidence"]
    machine: Machine
    how: Literal["bit-flipped", "another-key"] = "bit-flipped"


class ReplayedEvidence(Happened):
    """The machine's latest honest piece before `at` is sent once more, as the answer to a new challenge."""

    event: Literal["replayed-evidence"]
    machine: Machine


class DebugGuest(Happened):
    """One piece from a guest whose memory the host may read."""

    event: Literal["debug-guest"]
    machine: Machine


class UnknownMeasurement(Happened):
    """From `at` on the machine runs a release that is not among its workload's, until `until`."""

    event: Literal["unknown-measurement"]
    machine: Machine
    release: Release
    until: Span | None = None


class CertificateRevoked(Happened):
    """Intel revokes the machine's PCK certificate and publishes a new CRL; the machine goes on attesting with it."""

    event: Literal["certificate-revoked"]
    machine: Machine


class Patched(_Strict):
    """When the machines that are patched are, around the publication.

    Attributes:
        before: how long before it the first is.
        ready: how long before it the last is; or, `after`, how long after it.
    """

    before: Span = timedelta(days=1)
    ready: Span = timedelta(0)
    after: Span = timedelta(0)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.ready > self.before:
            raise ValueError("ready: at most before")
        if self.ready and self.after:
            raise ValueError("ready, after: one of them, for the last machine is patched once")
        return self


class TcbRecovery(Happened):
    """Intel publishes new TCB info of a higher evaluation number: what was up to date before is out of date.

    Attributes:
        fmspc: of which machines.
        microcode: the new level; absent: as before.
        module_svn: new level of every TDX module; absent: as before.
        advisory: why.
        patched: around publication, when: all but `unpatched` are at some moment in between.
        unpatched: machines that miss it.
    """

    event: Literal["tcb-recovery"]
    fmspc: Fmspc
    microcode: Svn | None = None
    module_svn: Annotated[int, Field(ge=3, le=255)] | None = None
    advisory: Advisory
    patched: Patched = Patched()
    unpatched: tuple[Machine, ...] = ()

    @field_validator("unpatched", mode="before")
    @classmethod
    def _list(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _moves(self) -> Self:
        if self.microcode is None and self.module_svn is None:
            raise ValueError("microcode, module_svn: at least one of them")
        return self


class GoesSilent(Happened):
    """From `at` on nothing comes from the machine, until `until`."""

    event: Literal["goes-silent"]
    machine: Machine
    until: Span | None = None


class FailureBurst(Happened):
    """Within `within` from `at` on, this many machines of one region each send one forged piece."""

    event: Literal["failure-burst"]
    region: Name
    machines: Annotated[int, Field(ge=2, le=999)]
    within: Span = timedelta(minutes=10)


class BadEvidence(Happened):
    """One piece under the machine's name that is not what it should be.

    `truncated`, `random`, `oversized` bytes; `wrong-format`: honest bytes under another format's name;
    `future-dated`: a certificate that is not valid yet; `another-root`: all correct, under a root that nobody trusts.
    """

    event: Literal["bad-evidence"]
    machine: Machine
    how: Literal["truncated", "random", "oversized", "wrong-format", "future-dated", "another-root"]


class UnchallengedEvidence(Happened):
    """One genuine piece that nobody asked for: it holds no challenge, so nobody knows when it was made."""

    event: Literal["unchallenged-evidence"]
    machine: Machine


class MissingEndorsement(Happened):
    """One genuine SNP report without its VCEK, which nobody else has either."""

    event: Literal["missing-endorsement"]
    machine: Machine


class ForeignMachine(Happened):
    """One genuine piece of a machine that is none of the fleet's, of the same kind as `machine`.

    Attributes:
        machine: what it is like; and under whose name it sends, unless `name` says another.
        name: a name that no machine of the fleet has.
    """

    event: Literal["foreign-machine"]
    machine: Machine
    name: Name | None = None


class BadDocument(Happened):
    """A vendor's document that must change nothing: `truncated`, `random`, `future-dated`, `another-root`, `forged`."""

    event: Literal["bad-document"]
    how: Literal["truncated", "random", "future-dated", "another-root", "forged"]
    fmspc: Fmspc


class BulletinReviewed(Happened):
    """A person wrote down minimum versions from a bulletin of AMD's: a reviewed floors file is entered.

    It makes a proposal, which waits for approval; as long as it waits nothing comes of it.
    """

    event: Literal["bulletin-reviewed"]
    product: Product
    bulletin: Annotated[str, Field(pattern=r"^AMD-SB-\d{4}$")]
    minimum: Mapping[Literal["fmc", "bl", "tee", "snp", "ucode"], Svn] = Field(min_length=1)
    reviewer: Annotated[str, Field(min_length=1, max_length=100)] = "a simulated reviewer"


Happening = Annotated[
    FirmwareRollsBack
    | ForgedEvidence
    | ReplayedEvidence
    | DebugGuest
    | UnknownMeasurement
    | CertificateRevoked
    | TcbRecovery
    | GoesSilent
    | FailureBurst
    | BadEvidence
    | UnchallengedEvidence
    | MissingEndorsement
    | ForeignMachine
    | BadDocument
    | BulletinReviewed,
    Field(discriminator="event"),
]


class Scenario(_Strict):
    """A fleet and what happens to it.

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
    timeline: tuple[Happening, ...] = ()

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

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        faults = [*_faults(self), *_idle_recoveries(self)]
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
    known = set(scenario.names)
    regions = {r for g in scenario.machines.values() for r in g.regions}
    fmspcs = {g.fmspc for g in scenario.machines.values() if not isinstance(g, SnpGroup)}
    for n, event in enumerate(scenario.timeline):
        key = f"timeline.{n}"
        if event.at >= scenario.duration:
            yield f"{key}.at: {write_span(event.at)} is not before the end, {write_span(scenario.duration)}"
        until = getattr(event, "until", None)
        if until is not None and until <= event.at:
            yield f"{key}.until: later than at, {write_span(event.at)}"
        named = [getattr(event, "machine", None)] if hasattr(event, "machine") else []
        named += getattr(event, "unpatched", ())
        for machine in named:
            if machine not in known:
                groups = ", ".join(f"{g}-001 to {g}-{v.count:03d}" for g, v in scenario.machines.items())
                yield f"{key}: no machine {machine!r}; there are {groups}"
        if named and not set(named) <= known:
            continue
        if isinstance(event, FailureBurst) and event.region not in regions:
            yield f"{key}.region: no region {event.region!r}; there are {', '.join(sorted(regions))}"
        if isinstance(event, TcbRecovery | BadDocument) and event.fmspc not in fmspcs:
            yield f"{key}.fmspc: no machines of {event.fmspc!r}; there are {', '.join(sorted(fmspcs)) or 'none'}"
        if isinstance(event, BulletinReviewed):
            there = {g.product for g in scenario.machines.values() if isinstance(g, SnpGroup)}
            if event.product not in there:
                yield f"{key}.product: no machines of {event.product}; there are {', '.join(sorted(there)) or 'none'}"
        if isinstance(event, FirmwareRollsBack):
            group = scenario.group_of(event.machine)
            if not isinstance(group, SnpGroup):
                yield f"{key}.machine: firmware goes back on SNP machines, {event.machine} is {group.tee}"
            elif event.to >= getattr(group.firmware, event.component):
                yield f"{key}.to: below the {getattr(group.firmware, event.component)} that {event.machine} has"
        if isinstance(event, MissingEndorsement):
            group = scenario.group_of(event.machine)
            if not isinstance(group, SnpGroup) or group.vcek != "sent":
                yield f"{key}.machine: an SNP machine whose VCEK is sent beside the report, {event.machine} is not"
        if isinstance(event, ForeignMachine):
            if event.at < FIRST_USE:
                yield f"{key}.at: after {write_span(FIRST_USE)}; until then new machines are enrolled by first use"
            if event.name in known:
                yield f"{key}.name: {event.name} is a machine of the fleet; leave `name` out to send under its name"
        if isinstance(event, CertificateRevoked) and isinstance(scenario.group_of(event.machine), SnpGroup):
            yield f"{key}.machine: PCK certificates are Intel's, {event.machine} is snp"
        if isinstance(event, UnknownMeasurement):
            runs = scenario.group_of(event.machine).runs
            if event.release in scenario.workloads[runs]:
                yield f"{key}.release: {event.release} is one of the known releases of {runs}"
        if isinstance(event, TcbRecovery):
            for machine in event.unpatched:
                group = scenario.group_of(machine)
                if isinstance(group, SnpGroup) or group.fmspc != event.fmspc:
                    yield f"{key}.unpatched: {machine} is not of fmspc {event.fmspc}"


def _idle_recoveries(scenario: Scenario) -> Iterator[str]:
    """TCB recoveries after which nothing is out of date that was not before."""
    level: dict[str, tuple[int, int]] = {}
    for group in scenario.machines.values():
        if not isinstance(group, SnpGroup):
            old = level.get(group.fmspc, (0, 0))
            level[group.fmspc] = (
                max(old[0], group.firmware.microcode),
                max(old[1], group.firmware.module_svn),
            )
    recoveries = [(n, e) for n, e in enumerate(scenario.timeline) if isinstance(e, TcbRecovery) and e.fmspc in level]
    for n, event in sorted(recoveries, key=lambda one: one[1].at):
        old = level[event.fmspc]
        new = (event.microcode or old[0], event.module_svn or old[1])
        if new[0] < old[0] or new[1] < old[1] or new == old:
            yield f"timeline.{n}: microcode and module_svn, one at least above the {old[0]} and {old[1]} asked before"
        level[event.fmspc] = new


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
