"""AMD machines in a scenario: their groups, and what happens to them alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from collectors.simulated.model import (
    WAYS,
    BaseScenario,
    Changes,
    Fault,
    Group,
    Happened,
    MachineName,
    Span,
    Strict,
    Svn,
    Ways,
)
from ratchet.evidence import Format

Product = Literal["Milan", "Genoa", "Turin"]
Component = Literal["fmc", "bl", "tee", "snp", "ucode"]


class SnpFirmware(Strict):
    """Security versions of an AMD machine, as in its reported TCB; `fmc` exists on Turin alone."""

    fmc: Svn = 0
    bl: Svn = 4
    tee: Svn = 0
    snp: Svn = 24
    ucode: Svn = 219


class SnpHardware(Group):
    """Machines that make SEV-SNP reports: whoever else's evidence wraps them derives from it."""

    product: Product
    report: Literal[2, 3, 4, 5] = 3
    vcek: Literal["sent", "fetched"] = "sent"
    firmware: SnpFirmware = SnpFirmware()

    @model_validator(mode="after")
    def _fits_the_product(self) -> Self:
        if self.product != "Turin" and self.firmware.fmc:
            raise ValueError("firmware.fmc: exists on Turin alone")
        if self.product == "Turin" and self.report < 3:
            raise ValueError("report: Turin has no reports of version 2")
        return self

    def firmware_of(self, scenario: BaseScenario, machine: str) -> Changes:
        """Its own, but for the times when it went back."""
        changes = [(scenario.start, self.firmware)]
        for event in scenario.events(FirmwareRollsBack):
            if event.machine == machine:
                changes.append(
                    (scenario.start + event.at, self.firmware.model_copy(update={event.component: event.to}))
                )
                if event.until is not None:
                    changes.append((scenario.start + event.until, self.firmware))
        return tuple(changes)

    def committed(self, scenario: BaseScenario, machine: str) -> SnpFirmware:
        """Nothing above what it will go back to, for committed firmware cannot (AMD 56860, 3.3)."""
        lowest: dict[str, int] = {}
        for event in scenario.events(FirmwareRollsBack):
            if event.machine == machine:
                lowest[event.component] = min(event.to, lowest.get(event.component, event.to))
        return self.firmware.model_copy(update=lowest)

    def ways(self) -> Ways:
        """A VCEK that is sent beside the evidence may be missing."""
        return {**WAYS, "unendorsed": ("endorsement-missing",)} if self.vcek == "sent" else WAYS

    def measured(self, release: str) -> bytes:
        """The launch measurement that a report holds of a release."""
        return hashlib.sha384(f"simulated snp image of {self.runs} {release}".encode()).digest()


class SnpGroup(SnpHardware):
    """Machines that send SEV-SNP reports; their VCEK is `sent` beside the evidence or `fetched` with the documents."""

    FORMAT = Format("snp-report")
    MISLABELLED = Format("sgx-quote")
    SAMPLES: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "milan-old": {"tee": "snp", "product": "Milan", "report": 2, "firmware": {"snp": 23, "ucode": 213}},
            "milan": {"tee": "snp", "product": "Milan", "report": 3},
            "genoa": {
                "tee": "snp",
                "product": "Genoa",
                "report": 4,
                "vcek": "fetched",
                "firmware": {"bl": 10, "ucode": 84},
            },
            "turin": {
                "tee": "snp",
                "product": "Turin",
                "report": 5,
                "firmware": {"fmc": 1, "bl": 1, "tee": 1, "snp": 4, "ucode": 81},
            },
        }
    )

    tee: Literal["snp"]

    def measurements(self, release: str) -> dict[str, str]:
        """The launch measurement."""
        return {"measurement": self.measured(release).hex()}

    def signed(self, raw: bytes) -> range:
        """From the measurement to the chip id."""
        return range(0x90, 0x180)


class FirmwareRollsBack(Happened):
    """From `at` on the machine's firmware is older in one component, until `until`."""

    event: Literal["firmware-rolls-back"]
    machine: MachineName
    component: Component
    to: Svn
    until: Span | None = None

    def faults(self, scenario: BaseScenario) -> Iterator[Fault]:
        """The machine has no such firmware, or none that is newer."""
        group = scenario.group_of(self.machine)
        if not isinstance(group, SnpHardware):
            yield "machine", f"firmware goes back on SNP machines, {self.machine} is {group.tee}"
        elif self.to >= getattr(group.firmware, self.component):
            yield "to", f"below the {getattr(group.firmware, self.component)} that {self.machine} has"


class BulletinReviewed(Happened):
    """A person wrote down minimum versions from a bulletin of AMD's: a reviewed floors file is entered.

    It makes a proposal, which waits for approval; as long as it waits nothing comes of it.
    """

    event: Literal["bulletin-reviewed"]
    product: Product
    bulletin: Annotated[str, Field(pattern=r"^AMD-SB-\d{4}$")]
    minimum: Mapping[Component, Svn] = Field(min_length=1)
    reviewer: Annotated[str, Field(min_length=1, max_length=100)] = "a simulated reviewer"

    def faults(self, scenario: BaseScenario) -> Iterator[Fault]:
        """It is about no machine of the fleet."""
        there = {group.product for group in snp_groups(scenario)}
        if self.product not in there:
            yield "product", f"no machines of {self.product}; there are {', '.join(sorted(there)) or 'none'}"


def snp_groups(scenario: BaseScenario) -> list[SnpHardware]:
    """Every group of machines that make SEV-SNP reports."""
    return [group for group in scenario.machines.values() if isinstance(group, SnpHardware)]
