"""Is the hardware good enough? By its vendor's TCB status, by the floor in force, and its versions against each other.

Which of these judges a TEE, its entry says (`ratchet.evidence.spec.Judge`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from ratchet.event import stamp
from ratchet.evidence import TEES, Claims, Proof, TcbStatus
from ratchet.evidence.proof import Version
from ratchet.evidence.spec import Behind, Judge, Tee, View
from ratchet.policy import grace
from ratchet.policy.finding import CONFIGURATION, HARDWARE, Finding
from ratchet.policy.floor import ABSTAINS, BELOW, Floor, IntelFloor, is_open, merged_status, shortfalls
from ratchet.policy.policy import AR4SI, NEVER_ACCEPTED
from ratchet.reason import Reason


class _Status(NamedTuple):
    """What one of Intel's TCB statuses does to the vector, and what to do about it."""

    code: str
    hardware: bool
    configuration: bool
    remedy: str


_STATUSES = {
    "SWHardeningNeeded": _Status(
        "tcb_sw_hardening_needed",
        hardware=True,
        configuration=False,
        remedy="harden the workload as the advisories say, then admit them in the policy",
    ),
    "ConfigurationNeeded": _Status(
        "tcb_configuration_needed",
        hardware=False,
        configuration=True,
        remedy="change the firmware settings that the advisories name",
    ),
    "ConfigurationAndSWHardeningNeeded": _Status(
        "tcb_configuration_and_sw_hardening_needed",
        hardware=True,
        configuration=True,
        remedy="change the firmware settings and harden the workload",
    ),
    "OutOfDate": _Status(
        "tcb_out_of_date",
        hardware=True,
        configuration=False,
        remedy="update microcode and firmware (BIOS), then provision the PCK certificate anew",
    ),
    "OutOfDateConfigurationNeeded": _Status(
        "tcb_out_of_date_configuration_needed",
        hardware=True,
        configuration=True,
        remedy="update microcode and firmware, and change the settings",
    ),
    "TDRelaunchAdvised": _Status(
        "tcb_relaunch_advised",
        hardware=True,
        configuration=False,
        remedy="relaunch the TD: it started under an older TDX module",
    ),
    "TDRelaunchAdvisedConfigurationNeeded": _Status(
        "tcb_relaunch_advised_configuration_needed",
        hardware=True,
        configuration=True,
        remedy="relaunch the TD, and change the firmware settings",
    ),
    "NoMatchingTcbLevel": _Status(
        "tcb_no_matching_level",
        hardware=True,
        configuration=False,
        remedy="update firmware: it is below every level that Intel lists",
    ),
}
"""Intel's statuses (PCS API v4, "Get TCB info", tcbStatus; TDX DCAP library for the relaunch ones)."""


def hardware(proof: Proof, claims: Claims, found: Finding) -> None:
    """TCB status, versions held against each other, floor.

    A TEE whose versions nothing here judges stays at 0, and no policy excuses that: a floor alone, whoever wrote it, is
    no judgement of firmware that nobody knows how to read.
    """
    policy, tee = found.policy, TEES.get(claims.tee)
    if tee is None:
        found.not_checked(HARDWARE, "tee", not_judged(claims.tee))
        return
    if tee.judge is Judge.ISSUER:
        # It attests no versions: that its vendor's certificate for it is in force is all there is to check, and was.
        found.passed(HARDWARE)
        return
    if tee.judge is Judge.STATUS:
        _status(proof, claims, found)
    _against_each_other(tee, claims, found)
    floor = policy.floors.get(claims.family)
    if floor is not None and not is_open(floor):
        found.passed(HARDWARE)
        short = shortfalls(floor, _numbers(claims.tcb), claims.bits, proof.tcb.qe if proof.tcb is not None else None)
        if short and isinstance(floor, IntelFloor) and _floor_in_grace(floor, proof.tcb, claims, found):
            short = ()
        for view in tee.views[1:]:
            # A floor is written of the first view; the policy says which others must meet it, too.
            if view.name in policy.floor_of:
                short += tuple(_of_view(view, one) for one in _below(floor, claims, tee, view))
        if any(r.code != ABSTAINS for r in short):
            found.worse(HARDWARE, 32, *short)
        elif short:
            found.not_checked(HARDWARE, "floor (abstains)", *short)
    elif tee.judge is Judge.FLOOR:
        # A status is a judgement of the versions; where nobody publishes one, nothing judged them without a floor.
        found.not_checked(
            HARDWARE,
            "floor",
            Reason(
                "no_floor",
                claims.family,
                None,
                "a floor in force",
                "docs/floors.md",
                "enter a reviewed advisory and approve its proposal, or let the policy name `floor`",
            ),
        )
        found.passed(HARDWARE)


def not_judged(tee: str) -> Reason:
    """Evidence of a TEE for which there is no judgement: its format was added and this was forgotten."""
    return Reason("tee_not_judged", "tee", tee, ", ".join(TEES), AR4SI, "update Ratchet: it reads more than it judges")


def _numbers(tcb: Mapping[str, Version]) -> dict[str, int]:
    """The versions that are numbers, which are all that today's kinds of floors speak of."""
    return {name: value for name, value in tcb.items() if isinstance(value, int)}


def _below(floor: Floor, claims: Claims, tee: Tee, view: View) -> list[Reason]:
    """In which components another view of the versions is below what the floor asks of the first."""
    first = tee.views[0].name
    names = [name.partition(".")[2] for name in claims.tcb if name.startswith(f"{view.name}.")]
    numbers = _numbers(claims.tcb)
    instead = {**numbers, **{f"{first}.{name}": numbers[f"{view.name}.{name}"] for name in names}}
    below = shortfalls(floor, instead, claims.bits)
    return [one for one in below if one.code == BELOW and one.component.startswith(f"{first}.")]


def _of_view(view: View, one: Reason) -> Reason:
    component = f"{view.name}.{one.component.partition('.')[2]}"
    return Reason(view.code, component, one.got, one.want, one.source, view.remedy)


def _floor_in_grace(floor: IntelFloor, tcb: TcbStatus | None, claims: Claims, found: Finding) -> bool:
    """Would the floor's own list let it pass for a while yet?"""
    if (
        tcb is None
        or not found.policy.grace
        or any(r.code == ABSTAINS for r in shortfalls(floor, _numbers(claims.tcb), {}))
    ):
        return False
    by_floor = merged_status(floor, _numbers(claims.tcb), tcb.qe)
    end = grace.ends(found.policy.grace, claims.family, by_floor.merged, by_floor.advisories, by_floor.superseded)
    if end is None or found.at >= end:
        return False
    found.until = min(found.until, end) if found.until else end
    return floor.admits(grace.IN_GRACE[by_floor.merged], by_floor.advisories)


def _status(proof: Proof, claims: Claims, found: Finding) -> None:
    tcb, policy = proof.tcb, found.policy
    if tcb is None:
        # Never excused: without the QE identity, any enclave that the PCK vouches for may have made this quote.
        found.not_checked(
            HARDWARE,
            "tcb_status",
            Reason("tcb_unknown", "tcb_info", None, "TCB info for this platform", "Intel PCS API v4, Get TCB info",
                   "fetch TCB info and QE identity"),
        )  # fmt: skip
        return
    if policy.minimum_evaluation is not None and tcb.evaluation < policy.minimum_evaluation:
        found.not_checked(
            HARDWARE,
            "evaluation",
            Reason(
                "evaluation_too_old",
                "tcb_info",
                tcb.evaluation,
                policy.minimum_evaluation,
                tcb.document,
                "fetch TCB info of a newer evaluation",
            ),
        )
    merged = tcb.merged
    end = grace.ends(policy.grace, claims.family, merged, tcb.advisories, tcb.superseded)
    if end is not None and found.at < end:
        remedy = f"update microcode and firmware before {stamp(end)[:10]}"
        found.reasons.append(Reason("tcb_in_grace", "tcb_status", merged, f"until {stamp(end)}", tcb.document, remedy))
        found.until = min(found.until, end) if found.until else end
        merged = grace.IN_GRACE[merged]
    if merged == "UpToDate":
        found.passed(HARDWARE)
        found.passed(CONFIGURATION)
        return
    want = ", ".join((*policy.accepted, *policy.conditional))
    named = "advisories unknown" if tcb.advisories is None else ", ".join(tcb.advisories)
    with_advisories = f"{merged} ({named})" if named else merged
    if merged == "Revoked":
        found.worse(HARDWARE, 96, Reason("tcb_revoked", "tcb_status", with_advisories, want, tcb.document,
                                         "take the machine out of service"))  # fmt: skip
        return
    status = _STATUSES.get(merged)
    if status is None:
        found.not_checked(
            HARDWARE, "tcb_status",
            Reason("tcb_status_unrecognised", "tcb_status", with_advisories, want, tcb.document, "update Ratchet"),
        )  # fmt: skip
        return
    if merged not in NEVER_ACCEPTED and policy.admits(merged, tcb.advisories):
        found.reasons.append(Reason("tcb_status_admitted", "tcb_status", with_advisories, want, tcb.document))
        found.passed(HARDWARE)
        return
    found.reasons.append(Reason(status.code, "tcb_status", with_advisories, want, tcb.document, status.remedy))
    found.passed(HARDWARE, 32 if status.hardware else 2)
    if status.configuration:
        found.passed(CONFIGURATION, 32)


def _against_each_other(tee: Tee, claims: Claims, found: Finding) -> None:
    """The views of the versions against each other: component by component, for they are no integers.

    Lower ones are reasons without weight: the floor judges versions. One that is above what it cannot be above on sound
    firmware is a warning.
    """
    versions = claims.tcb.get
    for pair, name, higher in _pairs(tee.name):
        got, want = versions(name), versions(higher)
        if got == want or not (isinstance(got, int) and isinstance(want, int)):
            continue
        if got < want:
            found.reasons.append(Reason(pair.code, name, got, want, tee.versions_source, pair.remedy))
        elif not pair.sound:
            reason = Reason(
                "tcb_inconsistent",
                name,
                got,
                f"at most {want}, as {pair.higher}",
                tee.versions_source,
                "look at the host: its firmware went back without a reset, or lies",
            )
            found.worse(HARDWARE, 32, reason)


@cache
def _pairs(tee: str) -> tuple[tuple[Behind, str, str], ...]:
    """Components that are held against each other."""
    names = [one.name for one in TEES[tee].components]
    return tuple(
        (pair, name, f"{pair.higher}.{name.partition('.')[2]}")
        for pair in TEES[tee].behind
        for name in names
        if name.startswith(f"{pair.lower}.")
    )
