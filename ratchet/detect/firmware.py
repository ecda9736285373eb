"""Firmware that goes back: security versions against the highest that the same machine ever proved.

A mark per component, never a number for all of them: a platform that raises its microcode and lowers its SNP firmware
has gone back. What is compared:

- SNP (AMD 56860, TCB_VERSION): every component of reported, committed and current TCB. They belong to the chip,
  whichever
  guest asks. Not the launch TCB: it is of the guest's start, and a guest that lives on through an update keeps it.
- Intel: the 16 SGX components and PCESVN of the PCK certificate (Intel PCK Certificate Profile 1.5, 1.3.5), the
  platform's. The security version of the quoting enclave, for each TEE apart: SGX and TDX have quoting enclaves of
  their own, whose numbers say nothing of each other (Intel PCS API v4, QE identity and TD QE identity).
- TDX: what the module is now, TEE_TCB_SVN2, where the quote has it (TD report 1.5; Intel TDX Module ABI). Where it has
  not, TEE_TCB_SVN, which is of the TD's start: it is kept per guest, and a version that was seen before the higher one
  is a TD that lives on through an update of the module (TD-preserving update), or another TD of the same image. So a
  rollback of the module is missed where such a TD lives on and the quotes are of TD report 1.0.
  Byte 1 is the module's major version and byte 0 counts within it, so the two are compared as one number: a new major
  version starts again at a low byte 0.

A mark stays at its highest, whatever comes later: the ratchet. A signed decision alone lowers it (`accept`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ratchet.event import Json

Marks = Mapping[str, list[Json]]
"""Component (for TDX launch versions: behind its guest) -> [highest value, when it was proved, by which evidence
event]; for those behind a guest also [lower versions that were seen before it]."""

MAX_GUESTS = 64
"""Guests of one machine whose TDX marks are kept; the least recently raised goes first."""

MAX_EARLIER = 4
"""Versions of earlier launches that are remembered of one guest and component."""

_PLATFORM = re.compile(r"(reported|committed|current)\.[a-z]+|sgx\.\d{1,2}|pcesvn|tdx2\.\d{1,2}")
_GUEST = re.compile(r"tdx\.\d{1,2}")
_QE = "qe.isvsvn"


@dataclass(frozen=True, slots=True)
class Regression:
    """One component below its mark.

    Attributes:
        component: as in `Claims.tcb`.
        was, now: the mark, and what is proven now.
        value: `now`, as it is held against the mark: of a TDX module, its major version counts too.
        since, evidence: when and by which evidence event the mark was proved.
    """

    component: str
    was: int
    now: int
    value: int
    since: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of holding proven versions against the marks.

    Attributes:
        marks: the marks (the same object where none rose).
        fell: key of the mark -> what fell below it, in order of the component.
        reached: keys of the marks that are met or exceeded.
    """

    marks: Marks
    fell: Mapping[str, Regression]
    reached: frozenset[str]


def compare(marks: Marks, tcb: Mapping[str, int], *, tee: str, guest: str, at: str, evidence: str) -> Comparison:
    """Hold what is proven now against the marks, and raise those that it exceeds.

    Args:
        marks: of this machine.
        tcb: as in `Claims.tcb`, proven.
        tee: of the evidence.
        guest: that proved it (`ratchet.guest`).
        at: event time, as on the log. A mark that was proved later than this is passed over: the evidence came late,
            and what it shows is older, not lower.
        evidence: id of the evidence event.
    """
    raised: dict[str, list[Json]] = {}
    fell: dict[str, Regression] = {}
    reached: set[str] = set()
    for component, value in _compared(tcb):
        key = component
        if component == _QE:
            key = f"{_QE}@{tee}"
        elif _GUEST.fullmatch(component):
            key = f"{guest}/{component}"
        mark = marks.get(key)
        earlier: list[Json] = mark[3] if mark is not None and len(mark) > 3 else []
        if mark is None:
            raised[key] = [value, at, evidence]
            reached.add(key)
        elif value >= mark[0]:
            reached.add(key)
            if value > mark[0]:
                seen = [[mark[0], *earlier][:MAX_EARLIER]] if "/" in key else []
                raised[key] = [value, at, evidence, *seen]
        elif value not in earlier and mark[1] <= at:
            fell[key] = _regression(component, mark, value)
    return Comparison(_capped({**marks, **raised}) if raised else marks, fell, frozenset(reached))


def accept(marks: Marks, key: str, value: int, *, at: str, evidence: str) -> Marks:
    """The marks, where somebody who may has accepted that one of them went down to `value`."""
    return {**marks, key: [value, at, evidence]}


def _compared(tcb: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """The components that are held against marks, with their values; versions of a TDX module as one number."""
    launch_only = "tdx2.0" not in tcb
    for component, value in sorted(tcb.items()):
        if component in ("tdx.1", "tdx2.1"):
            continue  # its byte 0 speaks for both
        if component in ("tdx.0", "tdx2.0"):
            value += tcb.get(f"{component[:-1]}1", 0) * 256
        if _PLATFORM.fullmatch(component) or component == _QE or (launch_only and _GUEST.fullmatch(component)):
            yield component, value


def _regression(component: str, mark: list[Json], value: int) -> Regression:
    was, now = int(mark[0]), value
    if component in ("tdx.0", "tdx2.0"):
        prefix = component.split(".")[0]
        if was // 256 != now // 256:
            component, was, now = f"{prefix}.1", was // 256, now // 256
        else:
            was, now = was % 256, now % 256
    return Regression(component, was, now, value, str(mark[1]), str(mark[2]))


def _capped(marks: Marks) -> Marks:
    """Without the marks of the guests that were raised longest ago, where there are too many guests."""
    latest: dict[str, str] = {}
    for key, mark in marks.items():
        guest, _, component = key.rpartition("/")
        if component != key:
            latest[guest] = max(latest.get(guest, ""), str(mark[1]))
    if len(latest) <= MAX_GUESTS:
        return marks
    gone = set(sorted(latest, key=lambda guest: (latest[guest], guest))[: len(latest) - MAX_GUESTS])
    return {key: mark for key, mark in marks.items() if "/" not in key or key.rpartition("/")[0] not in gone}
