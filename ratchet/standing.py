"""Standing: what is known of a machine now. Affirming only until `trusted_until`: not renewed, it lapses to none.

A machine has guests, and each guest's evidence speaks for the machine: its tier is the worst of what its live guests
last proved. A guest is live until its word expires. When none is live, the last to speak stands for the machine: what
was good lapses to none, what was contraindicated stays so until something better is proven.

Only proven evidence counts, in either direction: a forgery says nothing about the machine whose name it bears.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from ratchet.event import Json, parse_time, stamp


class Tier(StrEnum):
    """AR4SI trustworthiness tiers (draft-ietf-rats-ar4si, 2.3), from good to bad but for `none`."""

    NONE = "none"
    AFFIRMING = "affirming"
    WARNING = "warning"
    CONTRAINDICATED = "contraindicated"


def tier_of(claim: int) -> Tier:
    """The tier of one trustworthiness claim: -1..1 none, 2..31 affirming, 32..95 warning, 96.. contraindicated.

    Source: draft-ietf-rats-ar4si-09, 2.3.2 (negative values mirror the positive ones and are read the same way).
    """
    size = abs(claim)
    if size < 2:
        return Tier.NONE
    if size < 32:
        return Tier.AFFIRMING
    return Tier.WARNING if size < 96 else Tier.CONTRAINDICATED


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """The last word on one guest of a machine."""

    tier: Tier
    at: datetime
    trusted_until: datetime | None
    hint: str
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of one machine.

    Attributes:
        tenant, identity: who; `identity` is `chip:…`, `ppid:…`, or `hint:…` where nothing stronger was ever proven.
        hint, region, workload: as its latest proven evidence was sent.
        tee, family: of that evidence.
        tier: now; the worst of its live guests.
        since: when it became so.
        seen: time of the latest proven evidence.
        trusted_until: when `tier` lapses to none without fresh proof; None where there is nothing to lapse.
        verdict, evidence: ids of the latest proven verdict event and of its evidence event; of those that showed a
            certificate revoked, where that came since.
        reasons: codes of that verdict.
        tcb: security versions as in `Claims.tcb`.
        tcb_status: Intel's, else None.
        measurement: of that evidence.
        root, simulated: the trust anchor of that evidence.
        guests: by instance.
    """

    tenant: str
    identity: str
    hint: str
    region: str | None
    workload: str | None
    tee: str | None
    family: str | None
    tier: Tier
    since: datetime
    seen: datetime
    trusted_until: datetime | None
    verdict: str
    evidence: str
    reasons: tuple[str, ...]
    tcb: Mapping[str, int]
    bits: Mapping[str, int]
    tcb_status: str | None
    measurement: str | None
    root: str | None
    simulated: bool
    guests: Mapping[str, Guest]

    def to_data(self) -> dict[str, Json]:
        """As JSON: what state and the read side hold."""
        return {
            "tenant": self.tenant,
            "identity": self.identity,
            "hint": self.hint,
            "region": self.region,
            "workload": self.workload,
            "tee": self.tee,
            "family": self.family,
            "tier": self.tier.value,
            "since": stamp(self.since),
            "seen": stamp(self.seen),
            "trusted_until": stamp(self.trusted_until) if self.trusted_until else None,
            "verdict": self.verdict,
            "evidence": self.evidence,
            "reasons": list(self.reasons),
            "tcb": dict(self.tcb),
            "bits": dict(self.bits),
            "tcb_status": self.tcb_status,
            "measurement": self.measurement,
            "root": self.root,
            "simulated": self.simulated,
            "guests": {
                name: {
                    "tier": g.tier.value,
                    "at": stamp(g.at),
                    "trusted_until": stamp(g.trusted_until) if g.trusted_until else None,
                    "hint": g.hint,
                    "verdict": g.verdict,
                }
                for name, g in sorted(self.guests.items())
            },
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Json]) -> Self:
        """The inverse of `to_data`."""
        until = data["trusted_until"]
        return cls(
            tenant=data["tenant"],
            identity=data["identity"],
            hint=data["hint"],
            region=data["region"],
            workload=data["workload"],
            tee=data["tee"],
            family=data["family"],
            tier=Tier(data["tier"]),
            since=parse_time(data["since"]),
            seen=parse_time(data["seen"]),
            trusted_until=parse_time(until) if until else None,
            verdict=data["verdict"],
            evidence=data["evidence"],
            reasons=tuple(data["reasons"]),
            tcb=data["tcb"],
            bits=data["bits"],
            tcb_status=data["tcb_status"],
            measurement=data["measurement"],
            root=data["root"],
            simulated=data["simulated"],
            guests={
                name: Guest(
                    tier=Tier(g["tier"]),
                    at=parse_time(g["at"]),
                    trusted_until=parse_time(g["trusted_until"]) if g["trusted_until"] else None,
                    hint=g["hint"],
                    verdict=g["verdict"],
                )
                for name, g in data["guests"].items()
            },
        )


GUEST_COUNTS = timedelta(hours=24)
"""For how long the word of a guest counts that says no end itself (tiers none and contraindicated), beside other
guests.

Guests come and go without telling: without an end, one that was bad and is gone would hold its machine down for
ever."""

MAX_GUESTS = 64
"""Kept of one machine; beyond, affirming ones make room first, then those that spoke longest ago."""

_BADNESS = {Tier.AFFIRMING: 0, Tier.NONE: 1, Tier.WARNING: 2, Tier.CONTRAINDICATED: 3}


def renew(standing: Standing | None, signal: Mapping[str, Json]) -> Standing | None:
    """What is known once a Signal (docs/events.md, signals.batched.v1) is taken into account.

    Unproven evidence changes nothing. Evidence older than what is known of its guest changes nothing either; older
    than the machine's latest, it counts for its guest alone.

    Args:
        standing: what was known of this tenant and identity; None where nothing was.
        signal: about the same tenant and identity. Must not be a replay: that proves nothing anew.
    """
    if not signal["genuine"]:
        return standing
    at = parse_time(signal["time"])
    if standing is not None:
        standing = lapse(standing, at)  # what ended before this was proven ended then, whether a Tick saw it or not
    name = signal.get("instance") or signal.get("measurement") or ""
    before = dict(standing.guests) if standing else {}
    if name in before and before[name].at > at:
        return standing
    until = signal.get("trusted_until")
    word = Guest(
        tier=Tier(signal["tier"]),
        at=at,
        trusted_until=parse_time(until) if until else None,
        hint=signal["hint"],
        verdict=signal["id"],
    )
    if word.tier is Tier.AFFIRMING and word.trusted_until is None:
        word = replace(word, tier=Tier.NONE)  # affirming without an end is not a thing: fail closed
    guests = _capped({**before, name: word})
    if standing is not None and at < standing.seen:
        return _judged(replace(standing, guests=guests), standing.seen, standing)
    latest = Standing(
        tenant=signal["tenant"],
        identity=signal["subject"],
        hint=signal["hint"],
        region=signal.get("region"),
        workload=signal.get("workload"),
        tee=signal.get("tee"),
        family=signal.get("family"),
        tier=Tier.NONE,
        since=at,
        seen=at,
        trusted_until=None,
        verdict=signal["id"],
        evidence=signal["evidence"],
        reasons=tuple(signal.get("reasons") or ()),
        tcb=signal.get("tcb") or {},
        bits=signal.get("bits") or {},
        tcb_status=signal.get("tcb_status"),
        measurement=signal.get("measurement"),
        root=signal.get("root"),
        simulated=bool(signal.get("simulated")),
        guests=guests,
    )
    return _judged(latest, at, standing)


def revoke(standing: Standing, signal: Mapping[str, Json]) -> Standing:
    """What is known once a Signal shows that the vendor vouches for the machine no longer: every guest is distrusted.

    Such a Signal proves nothing, so `seen` and the claims stay as they were; older than `seen`, it changes nothing.
    """
    at = parse_time(signal["time"])
    if at < standing.seen:
        return standing
    standing = lapse(standing, at)
    distrusted = {
        name: replace(guest, tier=Tier.CONTRAINDICATED, at=at, trusted_until=None)
        for name, guest in standing.guests.items()
    }
    told = replace(
        standing,
        guests=distrusted,
        verdict=signal["id"],
        evidence=signal["evidence"],
        reasons=tuple(signal.get("reasons") or ()),
    )
    return _judged(told, at, standing)


def lapse(standing: Standing, at: datetime) -> Standing:
    """What is left of it at `at` without fresh proof. `since` tells when it ended, not when that was noticed."""
    while (when := due(standing)) is not None and when <= at:
        standing = _judged(standing, when, standing)
    return standing


def due(standing: Standing) -> datetime | None:
    """When `lapse` will next change something, if nothing is proven meanwhile; None: never."""
    last = max(standing.guests, key=lambda name: (standing.guests[name].at, name), default=None)
    ends = [
        _ends(guest)
        for name, guest in standing.guests.items()
        if name != last or (standing.tier is not Tier.NONE and guest.trusted_until is not None)
    ]
    return min(ends, default=None)


def _ends(guest: Guest) -> datetime:
    """Until when its word counts."""
    return guest.trusted_until or guest.at + GUEST_COUNTS


def _worst(guests: Iterable[Guest]) -> Tier:
    return max((guest.tier for guest in guests), key=_BADNESS.__getitem__)


def _judged(standing: Standing, at: datetime, before: Standing | None) -> Standing:
    """With the guests that are live at `at`, the tier that follows, and since when."""
    live = {name: guest for name, guest in standing.guests.items() if _ends(guest) > at}
    if live:
        guests, tier = live, _worst(live.values())
    else:
        last = max(standing.guests, key=lambda name: (standing.guests[name].at, name))
        guests = {last: standing.guests[last]}
        tier = guests[last].tier if guests[last].trusted_until is None else Tier.NONE
    until = max((g.trusted_until for g in live.values() if g.tier is tier and g.trusted_until), default=None)
    since = before.since if before is not None and before.tier is tier else at
    return replace(standing, guests=guests, tier=tier, since=since, trusted_until=until)


def _capped(guests: Mapping[str, Guest]) -> Mapping[str, Guest]:
    if len(guests) <= MAX_GUESTS:
        return guests
    kept = sorted(guests, key=lambda n: (guests[n].tier is not Tier.AFFIRMING, guests[n].at, n))[-MAX_GUESTS:]
    return {name: guests[name] for name in kept}
