"""What AMD publishes over a scenario, and what must be reported of firmware."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Literal

from collectors.simulated.amd.groups import BulletinReviewed, Product, SnpFirmware, SnpHardware, snp_groups
from collectors.simulated.amd.pki import amd_of
from collectors.simulated.keys import Keyring
from collectors.simulated.model import BaseScenario
from collectors.simulated.spec import Document, Fleet, Judge, Machine
from ratchet.advisory import MEDIA_TYPE
from ratchet.event import stamp


@dataclass(frozen=True, slots=True)
class AmdDocument(Document):
    """A product's chain or CRL, or the VCEK of one chip at one TCB."""

    VENDOR: ClassVar[str] = "amd"

    product: Product
    what: Literal["chain", "crl", "vcek"]
    machine: Machine | None = None
    firmware: SnpFirmware | None = None


@dataclass(frozen=True, slots=True)
class Review(Document):
    """A reviewed floors file about a bulletin of AMD's."""

    VENDOR: ClassVar[str] = "amd"

    event: BulletinReviewed


def documents(scenario: BaseScenario, fleet: Fleet) -> Iterator[AmdDocument | Review]:
    """Chains and CRLs at the start; VCEKs just before they are needed, for groups that have them fetched; reviews."""
    for product in {group.product: None for group in snp_groups(scenario)}:
        yield AmdDocument(scenario.start, f"{scenario.seed}-amd-{product}-chain", product, "chain")
        yield AmdDocument(scenario.start, f"{scenario.seed}-amd-{product}-crl", product, "crl")
    for machine in fleet.values():
        group = machine.group
        if isinstance(group, SnpHardware) and group.vcek == "fetched":
            for number, (at, firmware) in enumerate(machine.changes):
                if isinstance(firmware, SnpFirmware):
                    label = f"{scenario.seed}-amd-vcek-{machine.name}-{number:02d}"
                    yield AmdDocument(at, label, group.product, "vcek", machine, firmware)
    for number, event in enumerate(scenario.timeline):
        if isinstance(event, BulletinReviewed):
            yield Review(scenario.start + event.at, f"{scenario.seed}-review-{number:03d}", event)


def publish(scenario: BaseScenario, keys: Keyring) -> Callable[[Document], tuple[str, bytes]]:
    """What turns AMD's documents, and reviews of its bulletins, into bytes."""
    vendor = amd_of(keys)

    def mint(one: Document) -> tuple[str, bytes]:
        match one:
            case Review():
                return one.event.bulletin, _review(one)
            case AmdDocument(product=product, what="chain"):
                return f"chain {product}", vendor.chain(product)
            case AmdDocument(product=product, what="crl"):
                return f"crl {product}", vendor.crl(product, scenario.start)
            case AmdDocument(product=product, machine=Machine() as machine, firmware=SnpFirmware() as firmware):
                chip = vendor.chip(product, machine.name)
                return f"vcek {product} {chip.hwid.hex()[:16]}", vendor.vcek(chip, firmware)
        raise ValueError(f"{one.delivery}: no document of AMD's, or a VCEK of no machine")

    return mint


def _review(one: Review) -> bytes:
    """A reviewed floors file (docs/floors.md)."""
    event = one.event
    document = {
        "format": MEDIA_TYPE,
        "version": 1,
        "vendor": "AMD",
        "bulletin": event.bulletin,
        "title": f"A simulated bulletin: SEV firmware of {event.product}",
        "url": f"https://bulletins.simulated.invalid/{event.bulletin.lower()}",
        "published": stamp(one.time - timedelta(days=1)),
        "reviewer": event.reviewer,
        "reviewed_at": stamp(one.time),
        "floors": [
            {
                "family": f"snp/{event.product}",
                "minima": [{"tcb": {f"reported.{name}": svn for name, svn in event.minimum.items()}}],
            }
        ],
    }
    return json.dumps(document, indent=1).encode()


class AmdJudge(Judge):
    """No version of the reported TCB may be lower than it was."""

    def marks(self, firmware: object) -> Mapping[str, int]:
        """Every component."""
        return firmware.model_dump() if isinstance(firmware, SnpFirmware) else {}
