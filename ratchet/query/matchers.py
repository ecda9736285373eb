"""What one value is compared with. Each matcher says which types it takes and whether letter case counts.

The languages differ here, and a matcher carries the difference: the search language compares every value as people
write it (`5`, `true`, `null`) and folds ASCII letters; in Sigma text meets text alone, all letters are folded, and a
rule may say that case counts. `compile` makes a matcher ready once, for many values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from ratchet.event import Json, parse_time, stamp
from ratchet.query import glob, regex

Comparison = Literal["eq", "gt", "gte", "lt", "lte"]
"""How a number is compared with another."""

Test = Callable[[Json], bool]
"""A test of one JSON value."""


class Case(StrEnum):
    """Which letters are the same."""

    EXACT = "exact"
    ASCII = "ascii"
    UNICODE = "unicode"

    def fold(self, text: str) -> str:
        """The text as it is compared. ASCII: what SQLite's `lower` does; UNICODE: `str.lower`."""
        match self:
            case Case.EXACT:
                return text
            case Case.ASCII:
                return text.lower() if text.isascii() else text.translate(_LOWER)
            case Case.UNICODE:
                return text.lower()


_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def as_text(value: Json) -> str:
    """A JSON value as people write it: `true`, `null`, `24`, text without quotes."""
    if isinstance(value, str):
        return value
    return json.dumps(value)


@dataclass(frozen=True, slots=True)
class Text:
    """A text that fits the whole pattern.

    Attributes:
        pattern: folded as `case` says.
        case: which letters are the same.
        text_only: values of other types never match; otherwise they are compared as people write them.
        number: the pattern as a number, where it is one: numbers are compared with it, not with the pattern.
    """

    pattern: glob.Pattern
    case: Case
    text_only: bool = False
    number: float | None = None

    @property
    def plain(self) -> str | None:
        """The text without wildcards, folded; None where there are any."""
        return glob.plain(self.pattern)

    def compile(self) -> Test:
        """The matcher as a function."""
        fits, fold, number = glob.compile(self.pattern), self.case.fold, self.number
        if self.text_only:
            return lambda value: isinstance(value, str) and fits(fold(value))
        if number is None:
            return lambda value: fits(fold(as_text(value)))

        def matches(value: Json) -> bool:
            if isinstance(value, int | float) and not isinstance(value, bool):
                return bool(value == number)
            return fits(fold(as_text(value)))

        return matches


@dataclass(frozen=True, slots=True)
class Range:
    """Between two numbers, or two times; None is open. Values of another type are never within."""

    low: float | str | None
    high: float | str | None
    low_in: bool
    high_in: bool

    @classmethod
    def of(cls, comparison: Comparison, number: float) -> Range:
        """All numbers that compare so with this one."""
        match comparison:
            case "eq":
                return cls(number, number, True, True)
            case "gt" | "gte":
                return cls(number, None, comparison == "gte", False)
            case "lt" | "lte":
                return cls(None, number, False, comparison == "lte")

    @property
    def of_times(self) -> bool:
        """Whether the bounds are times (`stamp` text), not numbers."""
        return isinstance(self.low, str) or isinstance(self.high, str)

    def compile(self) -> Test:
        """The matcher as a function."""
        if self.of_times:
            return self._has_time
        return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and self._has(value)

    def _has_time(self, value: Json) -> bool:
        at = read_time(value) if isinstance(value, str) else None
        return at is not None and self._has(at)

    def _has(self, value: float | str) -> bool:
        if self.low is not None and not (value > self.low or (self.low_in and value == self.low)):  # type: ignore[operator]  # one type, by `of_times`
            return False
        return self.high is None or value < self.high or (self.high_in and value == self.high)  # type: ignore[operator]  # likewise


@dataclass(frozen=True, slots=True)
class Truth:
    """This truth value; 1 is not true."""

    value: bool

    def compile(self) -> Test:
        """The matcher as a function."""
        return lambda value: value is self.value


@dataclass(frozen=True, slots=True)
class Regex:
    """A text in whose first `regex.SUBJECT` characters the expression is found. `flags` are of `ims`.

    Who makes one refuses an expression that `regex.regex_cost` puts above `regex.MAX_COST`.
    """

    expression: str
    flags: str = ""

    def compile(self) -> Test:
        """The matcher as a function."""
        search = re.compile(self.expression, regex.to_flags(self.flags)).search
        return lambda value: isinstance(value, str) and search(value[: regex.SUBJECT]) is not None


@dataclass(frozen=True, slots=True)
class Present:
    """Any value but null."""

    def compile(self) -> Test:
        """The matcher as a function."""
        return lambda value: value is not None


Matcher = Text | Range | Truth | Regex | Present

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9:.]+([Zz]|[+-][0-9]{2}:[0-9]{2})?)?")
_DATE = len("2026-01-01")


def read_time(text: str) -> str | None:
    """A time as people write it, UTC unless it has a zone, as `stamp` writes it; None: not a time."""
    if not _TIME.fullmatch(text):
        return None
    try:
        at = datetime.fromisoformat(text)
        return stamp(parse_time(text if at.tzinfo else f"{text}+00:00" if len(text) > _DATE else f"{text}T00:00:00Z"))
    except (ValueError, OverflowError):
        return None
