"""What Intel publishes over a scenario, and what must be reported of firmware because of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import ClassVar

from collectors.simulated.intel.groups import (
    BadDocument,
    IntelHardware,
    histories,
    intel_groups,
    newest_qe,
    revocations,
)
from collectors.simulated.intel.pki import BASE_EVALUATION, STRANGER, Ca, Level, Tcb, Tee, intel_of
from collectors.simulated.keys import Keyring
from collectors.simulated.model import BaseScenario, Group
from collectors.simulated.spec import Document, Fleet, Judge, Machine, Piece

Platform = tuple[Tee, str, Ca]
"""What one bundle is about: the kind of TCB info, FMSPC, and the CA of the PCK certificates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntelBundle(Document):
    """Intel's documents about one platform, as published at `time`.

    Attributes:
        tee, fmspc, ca: of which platform.
        qe: ISVSVN of the quoting enclave that is up to date.
        levels: newest first.
        evaluation: tcbEvaluationDataNumber.
        issued: issueDate of TCB info and QE identity.
        revoked: (when, machine, TCB) of every certificate revoked by then under that CA.
    """

    VENDOR: ClassVar[str] = "intel"

    tee: Tee
    fmspc: str
    ca: Ca
    qe: int
    levels: tuple[Level, ...]
    evaluation: int
    issued: datetime
    revoked: tuple[tuple[datetime, Machine, Tcb], ...] = ()


def documents(scenario: BaseScenario, fleet: Fleet) -> Iterator[IntelBundle]:
    """Bundles at the start, after each recovery and each revocation, and bad ones."""
    platforms = _platforms(scenario)
    published = histories(scenario)
    revoked = [(at, fleet[name], hardware(fleet[name])) for at, name in revocations(scenario)]

    def bundle(platform: Platform, at: datetime, why: str) -> IntelBundle:
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
                for when, machine, group in revoked
                for tcb in _certified(machine)
                if when <= at and group.pck_ca() == ca
            ),
        )

    for platform in platforms:
        for number, (at, _) in enumerate(published[platform[1]]):
            yield bundle(platform, at, f"published-{number:02d}")
    for number, (at, _, group) in enumerate(revoked):
        yield bundle((group.PLATFORM, group.fmspc, group.pck_ca()), at, f"revocation-{number:02d}")
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


def publish(scenario: BaseScenario, keys: Keyring) -> Callable[[Document], tuple[str, bytes]]:
    """What turns a bundle into bytes."""
    vendor, stranger = intel_of(keys), intel_of(keys, STRANGER)

    def mint(one: Document) -> tuple[str, bytes]:
        if not isinstance(one, IntelBundle):
            raise ValueError(f"{one.delivery}: no document of Intel's")
        raw = (stranger if one.how == "another-root" else vendor).bundle(
            tee=one.tee,
            fmspc=one.fmspc,
            ca=one.ca,
            history=one.levels,
            qe=one.qe,
            evaluation=one.evaluation,
            issued=one.issued,
            crl_issued=one.issued if one.how == "future-dated" else one.time,
            revoked=[
                (vendor.pck(machine.name, hardware(machine).fmspc, one.ca, tcb).serial, when)
                for when, machine, tcb in one.revoked
            ],
        )
        if one.how == "forged":
            # The advisory's list of levels as it was signed, and a level more that nobody signed.
            raw = raw.replace(b"OutOfDate", b"UpToDate")
        return f"bundle {one.tee} {one.fmspc}", raw

    return mint


def _platforms(scenario: BaseScenario) -> dict[Platform, int]:
    """Each platform of the fleet with the quoting enclave that is up to date."""
    newest = newest_qe(scenario)
    return {(g.PLATFORM, g.fmspc, g.pck_ca()): newest[g.PLATFORM] for g in intel_groups(scenario)}


def hardware(machine: Machine) -> IntelHardware:
    """The group of an Intel machine.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(machine.group, IntelHardware):
        raise ValueError(f"{machine.name} is not Intel's")
    return machine.group


def _certified(machine: Machine) -> list[Tcb]:
    """Every TCB that a machine has a certificate for; a compromised platform loses them all, patched or not."""
    return [firmware for _, firmware in machine.changes if isinstance(firmware, Tcb)]


class IntelJudge(Judge):
    """Firmware is out of date where it lacks something of what Intel asks; certificates may be revoked."""

    def __init__(self, scenario: BaseScenario) -> None:
        super().__init__(scenario)
        self._published = histories(scenario)
        self._newest_qe = newest_qe(scenario)
        self._revoked = {name: at for at, name in reversed(revocations(scenario))}

    def outdated(self, piece: Piece, at: datetime) -> bool:
        """Whether it lacks something of what Intel asks by then."""
        group, tcb = hardware(piece.machine), piece.firmware
        if not isinstance(tcb, Tcb):
            raise ValueError(f"{piece.machine.name} has no Intel firmware")
        levels = [levels for when, levels in self._published[group.fmspc] if when <= at][-1]
        return not levels[0].met_by(tcb, group.PLATFORM) or tcb.qe < self._newest_qe[group.PLATFORM]

    def publications(self, group: Group) -> tuple[datetime, ...]:
        """Each TCB recovery."""
        if not isinstance(group, IntelHardware):
            return ()
        return tuple(when for when, _ in self._published[group.fmspc][1:])

    def revoked(self, machine: str) -> datetime | None:
        """Since its PCK certificate was on Intel's list."""
        return self._revoked.get(machine)
