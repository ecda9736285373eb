"""Charts as plain numbers: templates draw them as SVG with attributes alone, themed by the style sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

WIDTH = 1000.0
"""Units across a bar."""

LEAST = 14.0
"""Units that any part that is not zero gets, or 38 in 100,000 would vanish."""

GAP = 3.0
"""Units between neighbours."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a bar."""

    name: str
    count: int
    x: float
    width: float


def share(parts: Sequence[tuple[str, int]]) -> list[Part]:
    """A bar split by counts, in the order given; parts that are zero are left out, small ones are widened."""
    present = [(name, n) for name, n in parts if n > 0]
    room = WIDTH - GAP * max(0, len(present) - 1)
    widths = _widths([n for _, n in present], room)
    drawn: list[Part] = []
    x = 0.0
    for (name, n), width in zip(present, widths, strict=True):
        drawn.append(Part(name, n, round(x, 2), round(width, 2)))
        x += width + GAP
    return drawn


def _widths(counts: Sequence[int], room: float) -> list[float]:
    """Proportional, but none below `LEAST`: what the small ones get is taken from the others, until it holds."""
    small: set[int] = set()
    while True:
        rest = sum(n for i, n in enumerate(counts) if i not in small)
        free = room - LEAST * len(small)
        widths = [LEAST if i in small else free * n / rest for i, n in enumerate(counts)]
        more = {i for i, w in enumerate(widths) if w < LEAST}
        if not more:
            return widths
        small |= more


def bars(counts: Mapping[str, int], most: int = 8) -> list[Part]:
    """One bar for each name, longest first, against the longest."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]
    top = max((n for _, n in ranked), default=1)
    return [Part(name, n, 0.0, round(max(WIDTH * n / top, LEAST), 2)) for name, n in ranked]


@dataclass(frozen=True, slots=True)
class Band:
    """A span of equal standing."""

    tier: str
    since: str
    until: str
    count: int


def bands(points: Sequence[tuple[str, str]]) -> list[Band]:
    """Neighbours of equal tier as one; `points` are (time, tier), oldest first."""
    merged: list[Band] = []
    for time, tier in points:
        if merged and merged[-1].tier == tier:
            merged[-1] = Band(tier, merged[-1].since, time, merged[-1].count + 1)
        else:
            merged.append(Band(tier, time, time, 1))
    return merged


@dataclass(frozen=True, slots=True)
class Steps:
    """A line of steps in a box of `width` by `height`: versions over reports."""

    width: int
    height: int
    path: str
    dots: tuple[tuple[float, float, bool], ...]
    rules: tuple[tuple[float, int], ...]
    floor: float | None


def steps(values: Sequence[int], floor: int | None, width: int = 360, height: int = 150) -> Steps | None:
    """Versions in order of time as a line of steps, with a dot where they changed; None where there is nothing to draw.

    A dot is bad where the version went down. The floor in force, if any, is a height.
    """
    if not values:
        return None
    levels = sorted({*values, *([floor] if floor is not None else [])})
    low, high = levels[0], levels[-1]
    left, top, right, bottom = 34.0, 12.0, width - 8.0, height - 12.0

    def y(value: int) -> float:
        return round(bottom - (bottom - top) * (value - low) / (high - low), 1) if high > low else (top + bottom) / 2

    pace = (right - left) / len(values)
    path, dots = f"M{left} {y(values[0])}", [(left, y(values[0]), False)]
    for i, (was, value) in enumerate(pairwise(values), 1):
        if value != was:
            x = round(left + pace * i, 1)
            path += f"H{x}V{y(value)}"
            dots.append((x, y(value), value < was))
    path += f"H{right}"
    shown = levels if len(levels) <= 6 else [low, high]
    return Steps(width, height, path, tuple(dots), tuple((y(v), v) for v in shown), None if floor is None else y(floor))
