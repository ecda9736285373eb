"""Intel machines in a scenario: their groups, what happens to them alone, and what Intel publishes of them."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from collectors.simulated.intel.pki import Ca, Level, Tcb, Tee
from collectors.simulated.model import BaseScenario, Changes, Fault, Group, Happened, MachineName, Span, Strict, Svn
from collectors.simulated.spec import chance
from ratchet.evidence import Format

Fmspc = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$", description="six bytes, lower-case hex, in quotes")]
Advisory = Annotated[str, Field(pattern=r"^INTEL-SA-\d{5}$")]

BASE_ADVISORY = "INTEL-SA-01153"
"""The advisory that made the first level of a simulated platform what is up to date."""


class IntelFirmware(Strict):
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


class IntelHardware(Group):
    """Machines whose firmware Intel speaks of: whoever else's evidence wraps their quotes derives from it.

    Attributes:
        PLATFORM: of which kind Intel's documents about them are.
    """

    PLATFORM: ClassVar[Tee]

    fmspc: Fmspc
    firmware: IntelFirmware = IntelFirmware()

    def pck_ca(self) -> Ca:
        """Which CA issued their PCK certificates."""
        return "platform"

    @abstractmethod
    def quote_version(self) -> int:
        """Which version of quotes they make."""

    @abstractmethod
    def measured(self, release: str) -> tuple[bytes, ...]:
        """What a quote holds of a release: MRENCLAVE; or MRTD, and RTMR0 to RTMR3."""

    def firmware_of(self, scenario: BaseScenario, machine: str) -> Changes:
        """Patched around each recovery, but for the machines that miss it."""
        has, tdx = self.firmware, self.PLATFORM == "tdx"
        tcb = Tcb(has.microcode, has.pcesvn, has.qe, has.module if tdx else 0, has.module_svn if tdx else 0)
        patches: list[tuple[datetime, TcbRecovery]] = []
        for event in scenario.events(TcbRecovery):
            if event.fmspc == self.fmspc and machine not in event.unpatched:
                window = event.patched.before - event.patched.ready + event.patched.after
                share = chance(scenario, machine, "patch", event.advisory).random()
                patches.append((scenario.start + event.at - event.patched.before + share * window, event))
        changes: list[tuple[datetime, Tcb]] = [(scenario.start, tcb)]
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


class SgxGroup(IntelHardware):
    """Machines that send SGX quotes of version 3."""

    FORMAT = Format("sgx-quote")
    MISLABELLED = Format("tdx-quote")
    PLATFORM = "sgx"
    SAMPLES: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "icelake": {"tee": "sgx", "fmspc": "51606a000000"},
            "coffee": {"tee": "sgx", "fmspc": "51906ed50000", "ca": "processor", "firmware": {"microcode": 15}},
        }
    )

    tee: Literal["sgx"]
    ca: Ca = "platform"

    def pck_ca(self) -> Ca:
        """As the scenario says."""
        return self.ca

    def quote_version(self) -> int:
        """Version 3 alone."""
        return 3

    def measured(self, release: str) -> tuple[bytes, ...]:
        """MRENCLAVE."""
        return (hashlib.sha256(f"simulated sgx image of {self.runs} {release}".encode()).digest(),)

    def measurements(self, release: str) -> dict[str, str]:
        """MRENCLAVE."""
        return {"mrenclave": self.measured(release)[0].hex()}

    def signed(self, raw: bytes) -> range:
        """The enclave report."""
        return range(48, 432)


class TdxHardware(IntelHardware):
    """Machines that run trust domains."""

    PLATFORM = "tdx"

    def quote_version(self) -> int:
        """Version 4, which every host can make."""
        return 4

    def measured(self, release: str) -> tuple[bytes, ...]:
        """MRTD, and RTMR0 to RTMR3: the first three follow from the release, nothing is measured at run time."""
        texts = ("simulated tdx image", *(f"simulated RTMR{n}" for n in range(3)))
        held = (hashlib.sha384(f"{text} of {self.runs} {release}".encode()).digest() for text in texts)
        return (*held, bytes(48))


class TdxGroup(TdxHardware):
    """Machines that send TDX quotes, of version 4, or of version 5 with a TD 1.5 report."""

    FORMAT = Format("tdx-quote")
    MISLABELLED = Format("sgx-quote")
    SAMPLES: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "sapphire": {"tee": "tdx", "fmspc": "51806f050000"},
            "emerald": {"tee": "tdx", "fmspc": "51c06f000000", "firmware": {"module": 0, "module_svn": 6}},
            "granite": {"tee": "tdx", "fmspc": "51a06d080000", "quote": 5, "firmware": {"module": 3, "microcode": 11}},
        }
    )

    tee: Literal["tdx"]
    quote: Literal[4, 5] = 4

    def quote_version(self) -> int:
        """As the scenario says."""
        return self.quote

    def measurements(self, release: str) -> dict[str, str]:
        """MRTD, and RTMR0 to RTMR3."""
        names = ("mrtd", *(f"rtmr{n}" for n in range(4)))
        return {name: held.hex() for name, held in zip(names, self.measured(release), strict=True)}

    def signed(self, raw: bytes) -> range:
        """The TD report, as far as both versions have it."""
        return range(54, 632)


class CertificateRevoked(Happened):
    """Intel revokes the machine's PCK certificate and publishes a new CRL; the machine goes on attesting with it."""

    event: Literal["certificate-revoked"]
    machine: MachineName

    def faults(self, scenario: BaseScenario) -> Iterator[Fault]:
        """The machine has no PCK certificate."""
        group = scenario.group_of(self.machine)
        if not isinstance(group, IntelHardware):
            yield "machine", f"PCK certificates are Intel's, {self.machine} is {group.tee}"


class Patched(Strict):
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
    unpatched: tuple[MachineName, ...] = ()

    @field_validator("unpatched", mode="before")
    @classmethod
    def _list(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _moves(self) -> Self:
        if self.microcode is None and self.module_svn is None:
            raise ValueError("microcode, module_svn: at least one of them")
        return self

    @property
    def named(self) -> tuple[str, ...]:
        """Those that miss it."""
        return self.unpatched

    def faults(self, scenario: BaseScenario) -> Iterator[Fault]:
        """It concerns no machine, or other machines than it names, or asks for no more than was asked before."""
        yield from _unknown_platform(scenario, self.fmspc)
        for machine in self.unpatched:
            group = scenario.group_of(machine)
            if not isinstance(group, IntelHardware) or group.fmspc != self.fmspc:
                yield "unpatched", f"{machine} is not of fmspc {self.fmspc}"
        mine = [g.firmware for g in intel_groups(scenario) if g.fmspc == self.fmspc]
        if not mine:
            return
        old = max(has.microcode for has in mine), max(has.module_svn for has in mine)
        for event in scenario.events(TcbRecovery):
            if event is self:
                break
            if event.fmspc == self.fmspc:
                old = event.microcode or old[0], event.module_svn or old[1]
        new = self.microcode or old[0], self.module_svn or old[1]
        if new[0] < old[0] or new[1] < old[1] or new == old:
            yield "", f"microcode and module_svn, one at least above the {old[0]} and {old[1]} asked before"


class BadDocument(Happened):
    """A document of Intel's that must change nothing, whatever is wrong with it."""

    event: Literal["bad-document"]
    how: Literal["truncated", "random", "future-dated", "another-root", "forged"]
    fmspc: Fmspc

    def faults(self, scenario: BaseScenario) -> Iterator[Fault]:
        """It is about no machine of the fleet."""
        yield from _unknown_platform(scenario, self.fmspc)


def intel_groups(scenario: BaseScenario) -> list[IntelHardware]:
    """Every group of whose firmware Intel speaks."""
    return [group for group in scenario.machines.values() if isinstance(group, IntelHardware)]


def _unknown_platform(scenario: BaseScenario, fmspc: str) -> Iterator[Fault]:
    known = {group.fmspc for group in intel_groups(scenario)}
    if fmspc not in known:
        yield "fmspc", f"no machines of {fmspc!r}; there are {', '.join(sorted(known)) or 'none'}"


Histories = Mapping[str, tuple[tuple[datetime, tuple[Level, ...]], ...]]
"""FMSPC -> (from when, levels newest first), the first at the start."""


def histories(scenario: BaseScenario) -> Histories:
    """What Intel publishes of each platform."""
    found: dict[str, tuple[tuple[datetime, tuple[Level, ...]], ...]] = {}
    first: dict[str, Level] = {}
    for group in intel_groups(scenario):
        has, before = group.firmware, first.get(group.fmspc)
        first[group.fmspc] = Level(
            microcode=max(has.microcode, before.microcode if before else 0),
            pcesvn=max(has.pcesvn, before.pcesvn if before else 0),
            module_svn=max(has.module_svn, before.module_svn if before else 0),
            date=_midnight(scenario.start - timedelta(days=180)),
            advisory=BASE_ADVISORY,
        )
    for fmspc, level in first.items():
        older = Level(level.microcode - 1, level.pcesvn, level.module_svn - 1, level.date - timedelta(days=365), None)
        oldest = Level(1, 5, 1, datetime(2018, 1, 4, tzinfo=scenario.start.tzinfo), None)
        levels: tuple[Level, ...] = (level, older, oldest)
        published = [(scenario.start, levels)]
        for event in scenario.events(TcbRecovery):
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


def revocations(scenario: BaseScenario) -> tuple[tuple[datetime, str], ...]:
    """(when, machine) of each revoked certificate, in order of time."""
    return tuple((scenario.start + event.at, event.machine) for event in scenario.events(CertificateRevoked))


def newest_qe(scenario: BaseScenario) -> dict[Tee, int]:
    """ISVSVN of the newest quoting enclave of each kind in the fleet: the one that is up to date."""
    found: dict[Tee, int] = {}
    for group in intel_groups(scenario):
        found[group.PLATFORM] = max(group.firmware.qe, found.get(group.PLATFORM, 0))
    return found
