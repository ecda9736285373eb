"""One piece of evidence explained: its bytes as lines, each byte tinted by the claim that it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ratchet.event import Json
from ratchet.evidence import FORMATS, TEES, Evidence, Field, Format, fields
from ratchet.evidence.registry import COMPONENTS

TINTS = 5
"""Colours of claims, taken in turn: neighbours differ."""

LINE = 16
"""Bytes on a line."""

_WHOLE = 4
"""Lines of a claim up to which all of it is shown; of longer ones the first three and the last."""


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring bytes of one claim on one line. `claim` is its index, None for bytes that no claim speaks of."""

    text: str
    claim: int | None
    first: bool


@dataclass(frozen=True, slots=True)
class Line:
    """A line of bytes, or a fold: then `runs` is empty and `folded` bytes are left out."""

    at: str
    runs: tuple[Run, ...] = ()
    text: str = ""
    folded: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """A row beside the bytes."""

    index: int
    field: Field
    cause: bool

    @property
    def tint(self) -> int:
        """Its colour's number."""
        return self.index % TINTS


def read(raw: bytes, format: str | None) -> tuple[Field, ...]:
    """The claims with their places; none where the bytes cannot be parsed. Never raises: the bytes are a sender's."""
    return fields(Evidence(raw=raw, format=Format(format) if format else None))


def claims(found: Sequence[Field], reasons: Sequence[Mapping[str, Json]], format: str | None = None) -> list[Claim]:
    """Every claim as a row, those that a reason rests on first, otherwise in order of place."""
    causes = {p.name for r in reasons if (p := place(found, r, format))}
    rows = [Claim(i, f, f.name in causes) for i, f in enumerate(found)]
    return sorted(rows, key=lambda c: (not c.cause, c.index))


def place(found: Sequence[Field], reason: Mapping[str, Json], format: str | None = None) -> Field | None:
    """The claim that a reason rests on, where its component names one; None where it rests on something else.

    Args:
        found: the claims with their places.
        reason: as JSON.
        format: of the evidence: what shows a component may differ between formats. None: as any of them shows it.
    """
    spec = FORMATS.get(format or "")
    shown = _SHOWN_BY if spec is None else _plainly(spec.tee.shown_by)
    wanted = _names(str(reason.get("component", "")), shown)
    return next((f for name in wanted for f in found if _plain(f.name) == name), None)


def _names(component: str, shown_by: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Names that a claim behind this component may have, best first."""
    own, of = _plain(component), component.rpartition(".")[0]
    if component in COMPONENTS:
        return [own, _plain(COMPONENTS[component].field)]
    return [*(shown_by.get(of, ()) if of else ()), own, *shown_by.get(component, ())]


def _plainly(shown_by: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {component: tuple(map(_plain, names)) for component, names in shown_by.items()}


def _shown_by() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for tee in TEES.values():
        for component, names in _plainly(tee.shown_by).items():
            found[component] = tuple(dict.fromkeys((*found.get(component, ()), *names)))
    return found


def _plain(name: str) -> str:
    """A name without case and punctuation; of a dotted one (`report.mrtd`) the last part decides."""
    return re.sub(r"[^a-z0-9]", "", name.rsplit(".", 1)[-1].lower())


_SHOWN_BY = _shown_by()
"""Components in other words than the format's: the claims that show them."""


def lines(raw: bytes, found: Sequence[Field]) -> list[Line]:
    """The bytes as lines of sixteen; what is zero, or the middle of a long claim, or no claim's, is folded."""
    owner: list[int | None] = [None] * len(raw)
    # The shortest claim that covers a byte has it: parts are painted over wholes.
    for i in sorted(range(len(found)), key=lambda i: -found[i].length):
        field = found[i]
        end = min(field.offset + field.length, len(raw))
        owner[field.offset : end] = [i] * max(0, end - field.offset)
    keep = _kept(raw, found)
    out: list[Line] = []
    hidden: list[int] = []
    for start in range(0, len(raw), LINE):
        if start // LINE in keep:
            out += _fold(raw, owner, hidden)
            hidden = []
            out.append(_line(raw, owner, start))
        else:
            hidden.append(start)
    return out + _fold(raw, owner, hidden)


def _kept(raw: bytes, found: Sequence[Field]) -> set[int]:
    keep: set[int] = set()
    for field in found:
        if field.length <= 0 or field.offset >= len(raw):
            continue
        first, last = field.offset // LINE, (min(field.offset + field.length, len(raw)) - 1) // LINE
        body = raw[field.offset : field.offset + field.length]
        if not any(body):
            keep.add(first)
        elif last - first < _WHOLE:
            keep.update(range(first, last + 1))
        else:
            keep.update((first, first + 1, first + 2, last))
    return keep


def _fold(raw: bytes, owner: Sequence[int | None], hidden: Sequence[int]) -> list[Line]:
    if len(hidden) == 1:
        return [_line(raw, owner, hidden[0])]
    if not hidden:
        return []
    return [Line(f"{hidden[0]:03x}", folded=min(hidden[-1] + LINE, len(raw)) - hidden[0])]


def _line(raw: bytes, owner: Sequence[int | None], start: int) -> Line:
    runs: list[Run] = []
    end = min(start + LINE, len(raw))
    at = start
    while at < end:
        stop = at + 1
        while stop < end and owner[stop] == owner[at]:
            stop += 1
        mine = owner[at]
        first = mine is not None and (at == 0 or owner[at - 1] != mine)
        runs.append(Run(raw[at:stop].hex(" "), mine, first))
        at = stop
    return Line(f"{start:03x}", tuple(runs), printable(raw[start:end]))


def dump(raw: bytes, most: int = 1024) -> list[Line]:
    """The first bytes of anything at all, as they are, with what is left out."""
    out = [Line(f"{at:03x}", (Run(raw[at : at + LINE].hex(" "), None, False),), printable(raw[at : at + LINE]))
           for at in range(0, min(len(raw), most), LINE)]  # fmt: skip
    return out if len(raw) <= most else [*out, Line(f"{most:03x}", folded=len(raw) - most)]


def printable(raw: bytes) -> str:
    """ASCII beside the bytes; a dot for what cannot be shown."""
    return "".join(chr(b) if 32 <= b < 127 else "." for b in raw)
