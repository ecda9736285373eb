"""Standing: what is known of a machine now. Affirming only until `trusted_until`: not renewed, it lapses to none.

A machine has guests, and each guest's evidence speaks for the machine: its tier is the worst of what its live guests
last proved. A guest is live until its word expires. When none is live, the last to speak stands for the machine: what
was good lapses to none, what was contraindicated stays so until something better is proven.

Only proven evidence of known age counts, in either direction: neither a forgery nor a quote that somebody kept says
anything about the machine whose name it bears.

Holds lower a machine's tier for what its guests' evidence does not show: its firmware went back, its certificate was
revoked, it is not ours, an alert of level critical is open on it. Each has its cause, and is gone when that is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Self

from ratchet.event import Json, parse_time, stamp
from ratchet.guest import guest_of


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


MASKED = "masked:"
"""What the identity of a machine begins with that proves none; see `masked`."""


def masked(source: str, name: str) -> str:
    """The identity of a machine that proves none: who sent it, and the sender's name for it.

    What is not proven at all stays under `hint:` and the name, and another sender's machines under theirs: nothing that
    anybody else sends is held against it.
    """
    return f"{MASKED}{source.rpartition('/')[2]}/{name}"


ROLLED_BACK = "firmware_rolled_back"
REVOKED = "certificate_revoked"
STRANGER = "machine_unknown"
WAITING = "machine_waiting"
MOVED = "name_moved"
OPEN_ALERT = "critical_alert"

HOLDS: Mapping[str, Tier] = MappingProxyType(
    {
        ROLLED_BACK: Tier.WARNING,
        REVOKED: Tier.CONTRAINDICATED,
        STRANGER: Tier.CONTRAINDICATED,
        WAITING: Tier.CONTRAINDICATED,
        MOVED: Tier.CONTRAINDICATED,
        OPEN_ALERT: Tier.WARNING,
    }
)
"""Code of a hold -> the tier that it lowers a machine to, unless the policy says another."""

HOLD_TIERS = (Tier.WARNING.value, Tier.CONTRAINDICATED.value)
"""What a policy may say of a hold: one that lowers nothing would let an open alert be trusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Something that keeps a machine from being trusted, whatever its guests prove.

    Attributes:
        code: of `HOLDS`.
        cause: id of what it comes of: a verdict event, or an alert.
        since: when that was.
        tier: warning or contraindicated.
    """

    code: str
    cause: str
    since: datetime
    tier: Tier

    def to_data(self) -> dict[str, Json]:
        """As JSON."""
        return {"code": self.code, "cause": self.cause, "since": stamp(self.since), "tier": self.tier.value}

    @classmethod
    def from_data(cls, data: Mapping[str, Json]) -> Self:
        """The inverse of `to_data`."""
        return cls(code=data["code"], cause=data["cause"], since=parse_time(data["since"]), tier=Tier(data["tier"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """The last word on one guest of a machine.

    Attributes:
        tier: what the policy made of its evidence.
        at: when we had that evidence.
        judged_at: when it was judged: `at`, or later where it was judged again.
        since: when this evidence was first judged to be of this tier. Judging it again to the same tier is no sign that
            the guest is still there.
        trusted_until: when the word ends; None where the tier has no end of its own.
        hint: under which name it was sent.
        verdict, evidence: ids of the events.
    """

    tier: Tier
    at: datetime
    judged_at: datetime
    since: datetime
    trusted_until: datetime | None
    hint: str
    verdict: str
    evidence: str

    def to_data(self) -> dict[str, Json]:
        """As JSON."""
        return {
            "tier": self.tier.value,
            "at": stamp(self.at),
            "judged_at": stamp(self.judged_at),
            "since": stamp(self.since),
            "trusted_until": stamp(self.trusted_until) if self.trusted_until else None,
            "hint": self.hint,
            "verdict": self.verdict,
            "evidence": self.evidence,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Json]) -> Self:
        """The inverse of `to_data`."""
        return cls(
            tier=Tier(data["tier"]),
            at=parse_time(data["at"]),
            judged_at=parse_time(data.get("judged_at") or data["at"]),
            since=parse_time(data.get("since") or data.get("judged_at") or data["at"]),
            trusted_until=parse_time(data["trusted_until"]) if data["trusted_until"] else None,
            hint=data["hint"],
            verdict=data["verdict"],
            evidence=data.get("evidence") or "",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of one machine.

    Attributes:
        tenant, identity: who; `identity` is `chip:…`, `ppid:…`, or `masked:…` of one that proves none.
        hint, region, workload: as its latest proven evidence was sent.
        tee, family: of that evidence.
        tier: now; the worst of its live guests, lowered by `holds`.
        since: when it became so.
        seen: time of the latest proven evidence.
        trusted_until: when `tier` lapses to none without fresh proof; None where there is nothing to lapse.
        lapsed_at: when the word of its last live guest ended without fresh proof; None while a word counts.
        holds: what lowers it, whatever its guests prove.
        recognition: whether it is ours, as the latest proven evidence was judged: `ours`, `stranger`, `moved`,
            `waiting` or `not_asked`.
        verdict, evidence: ids of the latest proven verdict event and of its evidence event; of those that showed a
            certificate revoked, where that came since.
        reasons: codes of that verdict.
        tcb: security versions as in `Claims.tcb`.
        tcb_status: Intel's, else None.
        measurement: of that evidence.
        root, simulated: the trust anchor of that evidence.
        guests: by name (`ratchet.guest`).
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
    lapsed_at: datetime | None = None
    holds: tuple[Hold, ...] = ()
    recognition: str = "not_asked"

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
            "guests": {name: guest.to_data() for name, guest in sorted(self.guests.items())},
            "lapsed_at": stamp(self.lapsed_at) if self.lapsed_at else None,
            "holds": [hold.to_data() for hold in self.holds],
            "recognition": self.recognition,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Json]) -> Self:
        """The inverse of `to_data`; what an older version did not write has its default."""
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
            guests={name: Guest.from_data(guest) for name, guest in data["guests"].items()},
            lapsed_at=parse_time(data["lapsed_at"]) if data.get("lapsed_at") else None,
            holds=tuple([Hold.from_data(hold) for hold in data.get("holds") or ()]),
            recognition=data.get("recognition") or "not_asked",
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

    Unproven evidence changes nothing, nor does evidence of unknown age. Evidence older than what is known of its guest
    changes nothing either; older than the machine's latest, it counts for its guest alone. Evidence that was judged
    again (`rejudged`) takes the place of what it was judged to be before, whenever that was, and proves nothing anew.

    Args:
        standing: what was known of this tenant and identity; None where nothing was.
        signal: about the same tenant and identity. Must not be a replay: that proves nothing anew.
    """
    if not signal["genuine"] or not signal["fresh"]:
        return standing
    at, received = parse_time(signal["time"]), parse_time(signal["received"])
    if standing is not None:
        standing = lapse(standing, at)  # what ended before this was proven ended then, whether a Tick saw it or not
    name = guest_of(signal)
    before = dict(standing.guests) if standing else {}
    if name in before and (before[name].at, before[name].judged_at) > (received, at):
        return standing
    until = signal.get("trusted_until")
    word = Guest(
        tier=Tier(signal["tier"]),
        at=received,
        judged_at=at,
        since=at,
        trusted_until=parse_time(until) if until else None,
        hint=signal["hint"],
        verdict=signal["id"],
        evidence=signal["evidence"],
    )
    if word.tier is Tier.AFFIRMING and word.trusted_until is None:
        word = replace(word, tier=Tier.NONE)  # affirming without an end is not a thing: fail closed
    if name in before and (before[name].evidence, before[name].tier) == (word.evidence, word.tier):
        word = replace(word, since=before[name].since)
    guests = _capped({**before, name: word})
    if standing is not None and received < standing.seen:
        return _judged(replace(standing, guests=guests), max(at, standing.seen), standing)
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
        seen=received,
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
        holds=standing.holds if standing else (),
        recognition=signal.get("recognition") or "not_asked",
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
        name: replace(guest, tier=Tier.CONTRAINDICATED, at=max(guest.at, parse_time(signal["received"])),
                      judged_at=at, since=at, trusted_until=None)
        for name, guest in standing.guests.items()
    }  # fmt: skip
    told = replace(
        standing,
        guests=distrusted,
        verdict=signal["id"],
        evidence=signal["evidence"],
        reasons=tuple(signal.get("reasons") or ()),
    )
    return _judged(told, at, standing)


def end(standing: Standing, signal: Mapping[str, Json]) -> Standing:
    """What is known without the word that came of this evidence, where the machine has proved itself since.

    Nothing changes where no guest's word came of it, or it is all that is known.
    """
    left = {name: guest for name, guest in standing.guests.items() if guest.evidence != signal["evidence"]}
    if not left or len(left) == len(standing.guests):
        return standing
    return _judged(replace(standing, guests=left), parse_time(signal["time"]), standing)


def withdraw(standing: Standing, signal: Mapping[str, Json]) -> Standing:
    """What is known once evidence that was judged again is proven no longer: the word that came of it is void.

    The evidence itself is as it was; what was relied on to prove it is not (a statement ended, or was found unsound).
    """
    at = parse_time(signal["time"])
    standing = lapse(standing, at)
    void = {
        name: replace(guest, tier=Tier.NONE, judged_at=at, since=at, trusted_until=None, verdict=signal["id"])
        for name, guest in standing.guests.items()
        if guest.evidence == signal["evidence"] and guest.judged_at <= at
    }
    if not void:
        return standing
    told = replace(standing, guests={**standing.guests, **void})
    if standing.evidence == signal["evidence"]:
        told = replace(told, verdict=signal["id"], reasons=tuple(signal.get("reasons") or ()))
    return _judged(told, at, standing)


def held(standing: Standing, holds: tuple[Hold, ...], at: datetime) -> Standing:
    """The same machine with these holds instead, from `at` on."""
    if holds == standing.holds:
        return standing
    return _judged(replace(standing, holds=holds), max(at, standing.since, standing.lapsed_at or at), standing)


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
        if name != last or (guest.trusted_until is not None and guest.tier is not Tier.NONE and not standing.lapsed_at)
    ]
    return min(ends, default=None)


def _ends(guest: Guest) -> datetime:
    """Until when its word counts."""
    return guest.trusted_until or guest.since + GUEST_COUNTS


def _worst(guests: Iterable[Guest]) -> Tier:
    return max((guest.tier for guest in guests), key=_BADNESS.__getitem__)


def _judged(standing: Standing, at: datetime, before: Standing | None) -> Standing:
    """With the guests that are live at `at`, the tier that follows, and since when."""
    live = {name: guest for name, guest in standing.guests.items() if _ends(guest) > at}
    lapsed_at = None
    if live:
        guests, proven = live, _worst(live.values())
    else:
        last = max(standing.guests, key=lambda name: (standing.guests[name].at, name))
        guests, word = {last: standing.guests[last]}, standing.guests[last]
        proven = word.tier if word.trusted_until is None else Tier.NONE
        if word.trusted_until is not None and word.tier is not Tier.NONE:
            lapsed_at = standing.lapsed_at or at
    tier = lowered(proven, [hold.tier for hold in standing.holds])
    until = max((g.trusted_until for g in live.values() if g.tier is proven and g.trusted_until), default=None)
    since = before.since if before is not None and before.tier is tier else at
    return replace(
        standing,
        guests=guests,
        tier=tier,
        since=since,
        trusted_until=None if tier is Tier.CONTRAINDICATED else until,
        lapsed_at=lapsed_at,
    )


def lowered(proven: Tier, holds: Iterable[Tier]) -> Tier:
    """A hold takes trust away and gives none: where nothing is proven any more, a warning would say too much."""
    tier = max((proven, *holds), key=_BADNESS.__getitem__)
    return proven if proven is Tier.NONE and tier is Tier.WARNING else tier


def _capped(guests: Mapping[str, Guest]) -> Mapping[str, Guest]:
    if len(guests) <= MAX_GUESTS:
        return guests
    kept = sorted(guests, key=lambda n: (guests[n].tier is not Tier.AFFIRMING, guests[n].at, n))[-MAX_GUESTS:]
    return {name: guests[name] for name in kept}
