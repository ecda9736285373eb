"""Words for people in place of values for programs: the same on the command line, in the console and in logs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ratchet.event import Event, Json

STANDING = MappingProxyType(
    {
        "affirming": "Trusted",
        "warning": "Degraded",
        "contraindicated": "Not trusted",
        "none": "Unverified",
    }
)
"""AR4SI tier (draft-ietf-rats-ar4si-09, 2.3.2) -> the word for it on a page. Where there is room for a detail, AR4SI's
own word stands in it."""


def standing(tier: str) -> str:
    """A tier in plain words; a word that is no tier stays as it is."""
    return STANDING.get(tier, tier)


def standing_in_full(tier: str) -> str:
    """A tier in plain words, with AR4SI's word behind it: `Trusted (AR4SI: affirming)`."""
    return f"{STANDING[tier]} (AR4SI: {tier})" if tier in STANDING else tier


HOLDS = MappingProxyType(
    {
        "firmware_rolled_back": "firmware rolled back, not restored yet",
        "certificate_revoked": "its vendor revoked its certificate",
        "machine_unknown": "not one of our machines",
        "machine_waiting": "waits to be enrolled",
        "name_moved": "sends under the name of another machine",
        "critical_alert": "a critical alert is open",
    }
)
"""Code of a hold (ratchet/standing.py) -> what it says to people."""


def because(machine: Mapping[str, Json]) -> tuple[str, ...]:
    """Why a machine stands as it does, beside the reasons of its evidence: that it lapsed, and what is held against it.

    Args:
        machine: `Standing.to_data()`.
    """
    said = []
    if machine.get("lapsed_at"):
        lapsed, seen = (str(machine[key])[:16].replace("T", " ") for key in ("lapsed_at", "seen"))
        said.append(f"lapsed at {lapsed} UTC: no fresh proof since {seen}")
    for hold in machine.get("holds") or ():
        text = f"{HOLDS.get(hold['code'], hold['code'])}, since {hold['since'][:16].replace('T', ' ')} UTC"
        if text not in said:
            said.append(text)
    return tuple(said)


def simulated(alert: Mapping[str, Json]) -> str:
    """A mark behind the title of an alert that rests on a simulated root."""
    return " (simulated root)" if alert["facts"].get("attestation.simulated") else ""


def summary(event: Event) -> str:
    """What an event says, in one line; empty where its type and subject say it all."""
    type, data = event.type, event.data
    if type.startswith("alert."):
        return f"[{data['level']}] {data['title']}{simulated(data)}"
    if type == "verdict.reached.v1":
        why = ", ".join(dict.fromkeys(reason["code"] for reason in data["reasons"]))
        mark = " (simulated root)" if data["root"] and data["root"]["simulated"] else ""
        return f"{data['hint']['name']} {standing(data['tier']).lower()}{mark}: {why}"
    if type == "proposal.made.v1":
        return f"{data['family']}: {data['why']}"
    if type.startswith(("receipt.", "store.")):
        return f"{data['store']}: {data['outcome']}: {data['detail']}"
    if type == "letter.dead.v1":
        return f"{data['origin']}: {data['code']}: {data['detail']}"
    return ""
