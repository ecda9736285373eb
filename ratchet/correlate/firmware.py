"""Firmware that goes back: security versions against the highest that the same machine ever proved.

A mark per component, never a number for all of them: a platform that raises its microcode and lowers its SNP firmware
has gone back. What is compared:

- SNP (AMD 56860, TCB_VERSION): every component of reported, committed and current TCB. They belong to the chip,
  whichever
  guest asks. Not the launch TCB: it is of the guest's start, and a guest that lives on through an update keeps it.
- Intel: the 16 SGX components and PCESVN of the PCK certificate (Intel PCK Certificate Profile 1.5, 1.3.5), and the
  security version of the quoting enclave: the platform's.
- TDX: TEE_TCB_SVN is of the TD's start (Intel TDX Module ABI, TEE_TCB_SVN; TEE_TCB_SVN2 is current), so its marks are
  kept per guest; TEE_TCB_SVN2's are the platform's. Byte 1 is the module's major version and byte 0 counts within it,
  so the two are compared as one number: a new major version starts again at a low byte 0.

A mark stays at its highest, whatever comes later: the ratchet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ratchet.event import Json

Marks = Mapping[str, list[Json]]
"""Component (for TDX: behind its guest) -> [highest value, when it was proved, by which evidence event]."""

MAX_GUESTS = 64
"""Guests of one machine whose TDX marks are kept; the least recently raised goes first."""

_PLATFORM = re.compile(r"(reported|committed|current)\.[a-z]+|sgx\.\d{1,2}|pcesvn|qe\.isvsvn|tdx2\.\d{1,2}")
_GUEST = re.compile(r"tdx\.\d{1,2}")


@dataclass(frozen=True, slots=True)
class Fall:
    """One component below its mark.

    Attributes:
        component: as in `Claims.tcb`.
        was, now: the mark, and what is proven now.
        since, evidence: when and by which evidence event the mark was proved.
    """

    component: str
    was: int
    now: int
    since: str
    evidence: str


def compare(
    marks: Marks, tcb: Mapping[str, int], *, guest: str, at: str, evidence: str
) -> tuple[Marks, tuple[Fall, ...]]:
    """Hold what is proven now against the marks, and raise those that it exceeds.

    Args:
        marks: of this machine.
        tcb: as in `Claims.tcb`, proven.
        guest: instance that proved it.
        at: event time, as on the log. A mark that was proved later than this is passed over: the evidence came late,
            and what it shows is older, not lower.
        evidence: id of the evidence event.

    Returns:
        The marks (the same object where none rose) and what fell, by component.
    """
    raised: dict[str, list[Json]] = {}
    falls: list[Fall] = []
    for component, value in sorted(tcb.items()):
        for prefix in ("tdx", "tdx2"):
            if component in (f"{prefix}.0", f"{prefix}.1"):
                value = tcb.get(f"{prefix}.1", 0) * 256 + tcb.get(f"{prefix}.0", 0)
        if _PLATFORM.fullmatch(component):
            key = component
        elif _GUEST.fullmatch(component):
            key = f"{guest}/{component}"
        else:
            continue
        if component in ("tdx.1", "tdx2.1"):
            continue  # its byte 0 speaks for both
        mark = marks.get(key)
        if mark is None or value > mark[0]:
            raised[key] = [value, at, evidence]
        elif value < mark[0] and mark[1] <= at:
            falls.append(_fall(component, mark, value))
    return (_capped({**marks, **raised}) if raised else marks), tuple(falls)


def _fall(component: str, mark: list[Json], value: int) -> Fall:
    was, now = int(mark[0]), value
    if component in ("tdx.0", "tdx2.0"):
        prefix = component.split(".")[0]
        if was // 256 != now // 256:
            component, was, now = f"{prefix}.1", was // 256, now // 256
        else:
            was, now = was % 256, now % 256
    return Fall(component, was, now, str(mark[1]), str(mark[2]))


def _capped(marks: Marks) -> Marks:
    """Without the marks of the guests that were raised longest ago, where there are too many guests."""
    latest: dict[str, str] = {}
    for key, (_, at, _) in marks.items():
        guest, _, component = key.rpartition("/")
        if component != key:
            latest[guest] = max(latest.get(guest, ""), at)
    if len(latest) <= MAX_GUESTS:
        return marks
    gone = set(sorted(latest, key=lambda guest: (latest[guest], guest))[: len(latest) - MAX_GUESTS])
    return {key: mark for key, mark in marks.items() if "/" not in key or key.rpartition("/")[0] not in gone}
