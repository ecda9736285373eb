"""What a change of policy would do to the fleet: guest by guest, named, and why; and how to prove it in a store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple, Self

from ratchet.event import Json, parse_time
from ratchet.evidence import Proof
from ratchet.guest import guest_of
from ratchet.policy.appraise import Policy, appraise
from ratchet.policy.circumstances import Circumstances, Recognition
from ratchet.policy.floor import ABSTAINS, Floor, open_floor, shortfalls
from ratchet.policy.tighten import below, edge
from ratchet.ports import Samples
from ratchet.reason import Reason
from ratchet.standing import Tier

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
        unseen_after: seconds after which a guest that was not seen counts no more, neither way.
    """

    max_refused: int = 0
    max_fraction: float = 0.0
    unseen_after: int = 7 * 24 * 3600

    def __post_init__(self) -> None:
        if self.unseen_after <= 0:
            raise ValueError("bounds: unseen_after must be above 0 seconds")
        if self.max_refused < 0 or not 0 <= self.max_fraction <= 1:
            raise ValueError("bounds: max_refused must be at least 0, max_fraction between 0 and 1")

    def hold(self, impact: Impact) -> bool:
        """Is this impact within them? A guest that cannot be told counts as refused: a store refuses it.

        Where nobody was seen lately, nobody can say whom it would refuse.
        """
        if impact.unseen and not impact.considered:
            return False
        hit = len(impact.refused) + len(impact.unknown)
        return hit <= self.max_refused and hit <= self.max_fraction * impact.considered

    def to_data(self) -> dict[str, Json]:
        """As JSON."""
        return {
            "max_refused": self.max_refused,
            "max_fraction": self.max_fraction,
            "unseen_after": self.unseen_after,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Json]) -> Self:
        """The inverse of `to_data`."""
        return cls(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One guest of a machine that a change concerns.

    Attributes:
        identity, hint, region: of which machine, who sends for it, and where.
        why: what is in its way: every reason.
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
class Impact:
    """The effect of a change on a fleet, guest by guest: two guests of one machine may run on different terms.

    Attributes:
        considered: guests that the change concerns and that were seen lately.
        refused: those admitted now that would not be; and those that another reason keeps out today, but the change
            would refuse besides.
        already_refused: how many are not admitted now, whatever becomes of the change.
        unknown: as `refused`, where evidence does not attest all that is asked for.
        admitted: those refused now that would be admitted.
        unseen: those not seen for too long to count: they dilute no bound.
    """

    considered: int
    refused: tuple[Hit, ...]
    already_refused: int
    unknown: tuple[Hit, ...]
    admitted: tuple[Hit, ...] = ()
    unseen: tuple[Hit, ...] = ()

    def to_data(self) -> dict[str, Json]:
        """As JSON: `unknown` counts, `abstains` names."""
        return {
            "considered": self.considered,
            "refused": [hit.to_data() for hit in self.refused],
            "already_refused": self.already_refused,
            "unknown": len(self.unknown),
            "abstains": [hit.to_data() for hit in self.unknown],
            "admitted": [hit.to_data() for hit in self.admitted],
            "unseen": [hit.to_data() for hit in self.unseen],
        }


def simulate(fleet: Iterable[Mapping[str, Json]], before: Floor | None, after: Floor, policy: Policy) -> Impact:
    """`effect` of one floor in the place of another, on its family alone.

    Args:
        fleet: the latest fresh signal of each guest (docs/events.md).
        before: the floor in force; None where the family has none, and then nobody is refused by it now.
        after: the floor proposed.
        policy: everything beside.
    """
    family = after.family
    nothing = open_floor(family, "none in force")
    return effect(
        fleet, policy.with_floors({family: before or nothing}), policy.with_floors({family: after}), None, family
    )


def effect(
    fleet: Iterable[Mapping[str, Json]],
    before: Policy,
    after: Policy,
    at: datetime | None,
    family: str | None = None,
    unseen_after: timedelta | None = None,
) -> Impact:
    """What changing from one whole policy to another does to each guest, as stores and verdicts will decide.

    Each guest's last fresh proof is appraised again under both, as if it attested the same now: admitted is what is
    affirming. A signal without a proof is held against what a store asks.

    Args:
        fleet: the latest fresh signal of each guest.
        before, after: policies with their floors.
        at: aware time to judge at; None: the time of each signal.
        family: that the change concerns; None for all.
        unseen_after: guests not seen for so long count apart; None: none do.
    """
    considered = already = 0
    refused: list[Hit] = []
    unknown: list[Hit] = []
    admitted: list[Hit] = []
    unseen: list[Hit] = []
    for guest in sorted(fleet, key=_place):
        if family is not None and guest["family"] != family:
            continue
        if at is not None and unseen_after is not None and parse_time(seen_at(guest)) <= at - unseen_after:
            unseen.append(_hit(guest, ()))
            continue
        considered += 1
        was, now = _judge(guest, before, at), _judge(guest, after, at)
        why = _more(was.objections, now.objections)
        if was.admitted and not now.admitted:
            why = _more(was.reasons, now.reasons) or now.reasons
        elif was.objections or not now.objections:
            already += not was.admitted and not now.admitted
            admitted += [_hit(guest, _more(now.reasons, was.reasons))] if now.admitted and not was.admitted else []
            continue
        (unknown if why and all(r.code == ABSTAINS for r in why) else refused).append(_hit(guest, why))
    return Impact(
        considered=considered,
        refused=tuple(refused),
        already_refused=already,
        unknown=tuple(unknown),
        admitted=tuple(admitted),
        unseen=tuple(unseen),
    )


class _Judged(NamedTuple):
    """What becomes of a guest under a policy: is it admitted, why not, and what a store would say of its claims."""

    admitted: bool
    reasons: tuple[Reason, ...]
    objections: tuple[Reason, ...]


def _judge(guest: Mapping[str, Json], policy: Policy, at: datetime | None) -> _Judged:
    floor = policy.floors.get(guest["family"])
    short = _refused_anyway(guest)
    if floor is not None:
        short += shortfalls(floor, guest.get("tcb") or {}, guest.get("bits") or {})
    proof = guest.get("proof")
    if proof is None:
        return _Judged(not short, short, short)
    moment = at or parse_time(guest["time"])
    about = Circumstances(
        received=moment,
        recognition=Recognition(guest.get("recognition") or Recognition.NOT_ASKED),
        vouched=guest.get("vouched") is True,
    )
    verdict = appraise(Proof.from_data(proof), policy, moment, about)
    return _Judged(verdict.tier is Tier.AFFIRMING, verdict.reasons, short)


def _more(some: tuple[Reason, ...], others: tuple[Reason, ...]) -> tuple[Reason, ...]:
    """Those of the others that are not among some, by what they say."""
    said = {(r.code, r.component, str(r.want)) for r in some}
    return tuple(r for r in others if (r.code, r.component, str(r.want)) not in said)


def _place(guest: Mapping[str, Json]) -> tuple[str, str, str]:
    return str(guest["subject"]), str(guest["hint"]), guest_name(guest)


def seen_at(signal: Mapping[str, Json]) -> str:
    """When the guest attested: the time of its evidence, also where that was judged again later."""
    return str(signal.get("received") or signal["time"])


def guest_name(signal: Mapping[str, Json]) -> str:
    """What tells the guests of one machine apart, behind the name of who sends for it (ratchet/guest.py)."""
    return f"{signal['hint']}/{guest_of(signal)}"


def _hit(guest: Mapping[str, Json], why: tuple[Reason, ...]) -> Hit:
    return Hit(identity=guest["subject"], hint=guest["hint"], region=guest["region"], why=why)


def _refused_anyway(guest: Mapping[str, Json]) -> tuple[Reason, ...]:
    """Why it is refused whatever the floor is."""
    if guest["genuine"] is True and not guest.get("debug") and guest.get("tier") != Tier.CONTRAINDICATED:
        return ()
    remedy = "see the verdict's reasons: `ratchet explain`"
    return (Reason("not_affirming", "status", guest.get("tier"), Tier.AFFIRMING.value, "docs/stores.md", remedy),)


def samples(fleet: Iterable[Mapping[str, Json]], floor: Floor, policy: Policy) -> Samples:
    """Machines that a store must refuse and must admit once `floor` is in force: of the fleet, and made up at its edge.

    All of them are said to be affirming, so that it is the floor which decides. What else a store must refuse (another
    status, a forged token) needs no machine: `streams.stores.rego.probes`.

    Args:
        fleet: latest genuine signals.
        floor: to be in force.
        policy: what is judged by.
    """
    refuse: list[Mapping[str, Json]] = []
    admit: list[Mapping[str, Json]] = []
    for machine in sorted(fleet, key=lambda m: str(m["subject"])):
        if machine["family"] != floor.family:
            continue
        ask = _ask(floor, machine.get("tcb") or {}, machine.get("bits") or {})
        kind = refuse if shortfalls(floor, ask["tcb"], ask["bits"]) else admit
        if len(kind) < FROM_FLEET and _plain(ask):
            kind.append(ask)
    admit += [_ask(floor, *at) for at in islice(edge(floor), SYNTHETIC)]
    refuse += [_ask(floor, *at) for at in islice(_spread(below(floor)), SYNTHETIC)]
    refuse.append({**(admit[0] if admit else _ask(floor, {}, {})), "genuine": False})
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


def _ask(floor: Floor, tcb: Mapping[str, int], bits: Mapping[str, int]) -> dict[str, Json]:
    return {
        "tee": floor.family.partition("/")[0],
        "family": floor.family,
        "status": Tier.AFFIRMING.value,
        "genuine": True,
        "debug": False,
        "tcb": dict(tcb),
        "bits": dict(bits),
    }
