"""What a floor would do to the fleet as it is: machine by machine, named, and why; and how to prove it in a store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Self

from ratchet.appraise import KNOWN, Policy, objections, presented
from ratchet.event import Json
from ratchet.floor import ABSTAINS, Floor, open_floor, shortfalls
from ratchet.ports import Samples
from ratchet.reason import Reason
from ratchet.tighten import below, edge

FROM_FLEET = 3
"""Machines of the fleet among the samples, of each sort: enough to show that it works on real ones."""

SYNTHETIC = 4
"""Made-up machines at the floor's edge among the samples, of each sort."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How many machines a tightening may newly refuse and still go on by itself. Both must hold.

    Attributes:
        max_refused: machines.
        max_fraction: of the family's machines, 0 to 1.
    """

    max_refused: int = 0
    max_fraction: float = 0.0

    def __post_init__(self) -> None:
        if self.max_refused < 0 or not 0 <= self.max_fraction <= 1:
            raise ValueError("bounds: max_refused must be at least 0, max_fraction between 0 and 1")

    def hold(self, blast: Blast) -> bool:
        """Is this blast within them? A machine that cannot be told counts as refused: a store refuses it."""
        hit = len(blast.refused) + len(blast.unknown)
        return hit <= self.max_refused and hit <= self.max_fraction * blast.considered

    def to_data(self) -> dict[str, Json]:
        """As JSON."""
        return {"max_refused": self.max_refused, "max_fraction": self.max_fraction}

    @classmethod
    def from_data(cls, data: Mapping[str, Json]) -> Self:
        """The inverse of `to_data`."""
        return cls(max_refused=data["max_refused"], max_fraction=data["max_fraction"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One machine that a floor would keep out.

    Attributes:
        identity, hint, region: which machine, and where.
        why: every shortfall.
    """

    identity: str
    hint: str
    region: str | None
    why: tuple[Reason, ...]

    def to_data(self) -> dict[str, Json]:
        """As JSON."""
        return {
            "identity": self.identity,
            "hint": self.hint,
            "region": self.region,
            "why": [r.to_data() for r in self.why],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Blast:
    """The effect of a floor on a fleet.

    Attributes:
        considered: machines of the family.
        refused: those admitted now that fall below the floor.
        already_refused: how many are not admitted now, whatever becomes of the floor.
        unknown: those admitted now whose evidence does not attest all that the floor asks for.
    """

    considered: int
    refused: tuple[Hit, ...]
    already_refused: int
    unknown: tuple[Hit, ...]

    def to_data(self) -> dict[str, Json]:
        """As JSON: `unknown` counts, `abstains` names."""
        return {
            "considered": self.considered,
            "refused": [hit.to_data() for hit in self.refused],
            "already_refused": self.already_refused,
            "unknown": len(self.unknown),
            "abstains": [hit.to_data() for hit in self.unknown],
        }


def simulate(fleet: Iterable[Mapping[str, Json]], before: Floor | None, after: Floor, policy: Policy) -> Blast:
    """What changing from one floor to another does to each machine, exactly as a store would decide.

    Args:
        fleet: the latest genuine signal of each machine (docs/events.md); those of other families are passed over.
        before: the floor in force; None where the family has none, and then nobody is refused by it now.
        after: the floor proposed.
        policy: its reference values say who is refused already for what runs there.
    """
    considered = already = 0
    refused: list[Hit] = []
    unknown: list[Hit] = []
    nothing = open_floor(after.family, "none in force")
    for machine in sorted(fleet, key=lambda m: str(m["subject"])):
        if machine["family"] != after.family:
            continue
        considered += 1
        ask = _known(machine)
        if objections(ask, {after.family: before or nothing}, policy.reference_values):
            already += 1
            continue
        why = shortfalls(after, ask["tcb"], ask["bits"])
        if why:
            hit = Hit(identity=machine["subject"], hint=machine["hint"], region=machine["region"], why=why)
            (unknown if all(r.code == ABSTAINS for r in why) else refused).append(hit)
    return Blast(considered=considered, refused=tuple(refused), already_refused=already, unknown=tuple(unknown))


def samples(fleet: Iterable[Mapping[str, Json]], floor: Floor, policy: Policy) -> Samples:
    """Claims that a store must refuse and must admit once `floor` is in force: from the fleet, and made up at its edge.

    There is always one to refuse (evidence that is not genuine), and one to admit unless no machine can meet the floor.

    Args:
        fleet: latest genuine signals.
        floor: to be in force.
        policy: its reference values give made-up machines a measurement.
    """
    values = policy.reference_values
    refuse: list[Mapping[str, Json]] = []
    admit: list[Mapping[str, Json]] = []
    for machine in sorted(fleet, key=lambda m: str(m["subject"])):
        if machine["family"] != floor.family:
            continue
        ask = _known(machine)
        kind = refuse if objections(ask, {floor.family: floor}, values) else admit
        if len(kind) < FROM_FLEET and _plain(ask):
            kind.append(ask)
    tee = floor.family.partition("/")[0]
    known = sorted(m for m, state in values.get(tee, {}).items() if state == KNOWN)
    measurement = known[0] if known else "00" * (32 if tee == "sgx" else 48)
    good = [_ask(floor, measurement, *at) for at in islice(edge(floor), SYNTHETIC)]
    bad = [_ask(floor, measurement, *at) for at in islice(_spread(below(floor)), SYNTHETIC)]
    admit += [ask for ask in good if not objections(ask, {floor.family: floor}, values)]
    refuse += bad
    refuse.append({**(admit[0] if admit else _ask(floor, measurement, {}, {})), "genuine": False})
    return Samples(refuse=tuple(refuse), admit=tuple(admit))


SAMPLED_FAMILIES = 8
"""Families of which a change of the policy brings samples, at most."""


def samples_of(fleet: Iterable[Mapping[str, Json]], policy: Policy, family: str) -> Samples:
    """As `samples`, of a change of one family's floor in a whole policy; of several families for one of the policy."""
    machines = list(fleet)
    if family in policy.floors:
        return samples(machines, policy.floors[family], policy)
    every = [samples(machines, floor, policy) for _, floor in sorted(policy.floors.items())[:SAMPLED_FAMILIES]]
    refuse = tuple(ask for one in every for ask in one.refuse)
    return Samples(refuse=refuse, admit=tuple(ask for one in every for ask in one.admit))


def _known(machine: Mapping[str, Json]) -> dict[str, Json]:
    """What a store will be asked once the vendor's statements are at hand that a proposal comes of: a machine of which
    too little is known to be admitted today counts as one that a floor may keep out.
    """
    return {**presented(machine), "genuine": machine["genuine"] is True}


def _plain(ask: Mapping[str, Json]) -> bool:
    """Has it only numbers that every JSON reader takes alike (RFC 7493, 2.2)? A 64-bit vector may not."""
    return all(abs(n) < 2**53 for part in ("tcb", "bits") for n in ask[part].values())


def _spread(
    points: Iterator[tuple[dict[str, int], dict[str, int]]],
) -> Iterator[tuple[dict[str, int], dict[str, int]]]:
    """No point twice."""
    seen: list[tuple[dict[str, int], dict[str, int]]] = []
    for point in points:
        if point not in seen:
            seen.append(point)
            yield point


def _ask(floor: Floor, measurement: str, tcb: Mapping[str, int], bits: Mapping[str, int]) -> dict[str, Json]:
    return {
        "family": floor.family,
        "tee": floor.family.partition("/")[0],
        "measurement": measurement,
        "debug": False,
        "genuine": True,
        "tcb": dict(tcb),
        "bits": dict(bits),
    }
