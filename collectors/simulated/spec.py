"""What a simulated vendor says of itself, once: all that the rest of the simulated fleet must know of it.

A vendor is a folder (or module) beside this file and an entry in `registry`. Nothing outside it asks which TEE a
machine has: it asks what the entry says. For each kind of machine that is

- a `Group`: its keys in a scenario file, what its machines send and in which ways that may be bad, their firmware;
- a `Mint`: the bytes of each piece of evidence, honest and bad;
- a `Judge`: what must be reported of its firmware, worked out without the pipeline's code;

and for the vendor itself its trust anchors, the documents that it publishes, and what can happen to its machines alone.
Evidence that wraps another vendor's uses that one's `Mint` and `Judge`, and a group derived from that one's groups, so
that the documents about the hardware come by themselves.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar, Literal, Protocol

from collectors.simulated.certificates import CERTIFICATES_FROM
from collectors.simulated.dice import Plant
from collectors.simulated.keys import Keyring
from collectors.simulated.model import FAILED, BaseScenario, Changes, Group, Happened, How
from ratchet.x509.anchor import Vendor as Maker


@dataclass(frozen=True, slots=True, eq=False)
class Machine:
    """One machine.

    Attributes:
        name: its hint name.
        group: what it is.
        region: where.
        changes: (from when, firmware), in order of time; the first from the start.
        releases: (from when, release), in order of time; the first from the start.
        away: when nothing comes from it.
    """

    name: str
    group: Group
    region: str
    changes: Changes
    releases: tuple[tuple[datetime, str], ...]
    away: tuple[tuple[datetime, datetime], ...]

    def firmware(self, at: datetime) -> object:
        """What it runs then."""
        return self.changes[bisect_right(self.changes, at, key=lambda change: change[0]) - 1][1]

    def release(self, at: datetime) -> str:
        """Which release of its workload it runs then."""
        return self.releases[bisect_right(self.releases, at, key=lambda change: change[0]) - 1][1]

    def silent(self, at: datetime) -> bool:
        """Whether nothing comes from it then."""
        return any(since <= at < until for since, until in self.away)


Fleet = Mapping[str, Machine]
"""Every machine by name, group by group."""


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
    firmware: object
    release: str
    original: Piece | None = None
    name: str | None = None

    @property
    def sender(self) -> str:
        """Under which name it is sent."""
        return self.name or self.machine.name

    @property
    def chip(self) -> str:
        """What tells the machine that made it from every other: what keys and identities are derived from."""
        return f"foreign/{self.sender}" if self.how == "foreign" else self.machine.name

    @property
    def debug(self) -> bool:
        """Whether the guest that sends it is debugged: another guest than the one beside it."""
        return self.how == "debug"

    @property
    def certified_from(self) -> datetime:
        """From when on its certificate holds: since long ago, unless it is dated into the future."""
        return self.time + timedelta(days=30) if self.how == "future-dated" else CERTIFICATES_FROM

    @property
    def rules(self) -> tuple[str, ...]:
        """Which rules must report what was done to it."""
        return () if self.how == "honest" else self.machine.group.ways()[self.how]

    @property
    def refused(self) -> bool:
        """Whether it is no genuine evidence of the machine that it names."""
        return FAILED in self.rules


@dataclass(frozen=True, slots=True)
class Document:
    """Something that a vendor publishes, or that somebody writes of it. Each vendor derives its own kinds.

    Attributes:
        VENDOR: name of the simulated vendor that mints it.
        time: when it is delivered.
        delivery: its delivery id.
        how: `honest`, or in which way it is bad; bytes that are cut short or random are no document at all.
    """

    VENDOR: ClassVar[str]

    time: datetime
    delivery: str
    how: Literal["honest", "truncated", "random", "future-dated", "another-root", "forged"] = field(
        default="honest", kw_only=True
    )

    @property
    def readable(self) -> bool:
        """Whether it can be taken for a document."""
        return self.how not in ("truncated", "random")


class Mint(Protocol):
    """Makes the evidence of one kind of machine in one scenario; keeps what machines would: keys, certificates."""

    def evidence(self, piece: Piece, challenge: bytes) -> tuple[bytes, tuple[bytes, ...]]:
        """The bytes of a piece, and the certificates that are sent beside it.

        All that `piece.how` says of keys, certificates and the guest is done here: `another-key`, `another-root`,
        `future-dated`, `debug`, `unendorsed`, `foreign` (`piece.chip`). What is done to finished bytes (bits flipped,
        cut short, another name) is not: there, as for `honest`, these are a genuine machine's. The same call gives the
        same bytes.

        Args:
            piece: what is sent, when and by whom.
            challenge: what the collector asked for, 32 bytes; bound as the format has it.
        """
        ...


class Judge:
    """What must be reported of the firmware of one kind of machine in one scenario.

    As it stands: of a TEE whose vendor publishes nothing about its versions, and revokes nothing.
    """

    def __init__(self, scenario: BaseScenario) -> None:
        self.scenario = scenario

    def marks(self, firmware: object) -> Mapping[str, int]:
        """Versions that may never be lower than a machine once proved: less is `firmware-rolled-back`."""
        return {}

    def outdated(self, piece: Piece, at: datetime) -> bool:
        """Whether a piece shows firmware that is `tcb-out-of-date`, as judged at a time."""
        return False

    def publications(self, group: Group) -> tuple[datetime, ...]:
        """When, after the start, something is published by which evidence of the group is judged again."""
        return ()

    def revoked(self, machine: str) -> datetime | None:
        """Since when a machine's certificate is revoked (`certificate-revoked`), by name; None where it is not."""
        return None

    def trusted_until(self, piece: Piece, trusted_for: timedelta) -> datetime:
        """Until when a genuine piece lets a machine be trusted: not as long as the policy allows, if its proof ends."""
        return piece.time + trusted_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of machine.

    Attributes:
        group: its keys in a scenario file, discriminated by `tee`.
        mint: what makes its evidence; called once for a scenario.
        judge: what is true of its firmware; called once for a scenario.
    """

    group: type[Group]
    mint: Callable[[BaseScenario, Keyring], Mint]
    judge: Callable[[BaseScenario], Judge] = Judge


def _no_documents(scenario: BaseScenario, fleet: Fleet) -> Iterator[Document]:
    yield from ()


def _publishes_nothing(scenario: BaseScenario, keys: Keyring) -> Callable[[Document], tuple[str, bytes]]:
    def mint(one: Document) -> tuple[str, bytes]:
        raise ValueError(f"{one.delivery}: a document of a vendor that publishes none")

    return mint


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedVendor:
    """One simulated vendor.

    Attributes:
        name: as `FormatSpec.simulated` calls it.
        kinds: the machines whose evidence it signs.
        roots: its trust anchors: unique name, whose formats it may vouch for, certificate (DER).
        documents: everything that it publishes over a scenario, in any order.
        publish: called once for a scenario, makes what turns its documents into bytes: name for people, bytes. What is
            cut short or random is made so afterwards.
        events: what can happen to its machines alone.
        plants: name of an event -> how it is drawn for a scenario made by chance.
    """

    name: str
    kinds: tuple[Kind, ...]
    roots: Callable[[Keyring], Iterable[tuple[str, Maker, bytes]]]
    documents: Callable[[BaseScenario, Fleet], Iterable[Document]] = _no_documents
    publish: Callable[[BaseScenario, Keyring], Callable[[Document], tuple[str, bytes]]] = _publishes_nothing
    events: tuple[type[Happened], ...] = ()
    plants: Mapping[str, Plant] = field(default_factory=dict)


def chance(scenario: BaseScenario, *about: object) -> random.Random:
    """A source of chance that depends on the seed and on what it is about alone, not on what was asked before."""
    return random.Random("/".join(map(str, (scenario.seed, *about))))  # noqa: S311 (a simulation, no secret)
