"""Standing: what is known of a machine now. Affirming only until `trusted_until`: not renewed, it lapses to none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
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
        verdict, evidence: ids of the latest proven verdict event and of its evidence event.
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
