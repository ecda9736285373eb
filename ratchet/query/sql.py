"""A tree as SQL: a parameterised condition over the log's columns, for SQLite. It finds what the predicate finds.

What SQL says exactly is said in SQL: equality and times of attributes, for which there are indexes. The rest is a test
of our own, a function that the archive registers, behind a cheap condition that it implies. No value of the tree's is
ever in the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from ratchet.event import Json
from ratchet.query.fields import ATTRIBUTES, SEARCHED, Leaves, leaves
from ratchet.query.matchers import Case, Matcher, Range, Text
from ratchet.query.tree import All, Node, Not, Some, Term


@dataclass(frozen=True, slots=True)
class Sql:
    """A condition.

    Attributes:
        where: with `?` in place of every value.
        parameters: for them, in order.
        tests: `query_test(n, x)` in the condition stands for `tests[n](x)`: register it on the connection.
    """

    where: str
    parameters: tuple[Json, ...]
    tests: tuple[Callable[[str], bool], ...]


def translate(node: Node, data: str = "data") -> Sql:
    """A tree as a condition over columns named as an event's attributes are.

    Args:
        node: its top.
        data: the SQL expression for the event's data as JSON text.
    """
    return _Translation(data).of(node)


class _Translation:
    """A walk over the tree that gathers parameters and tests in the order of the text."""

    def __init__(self, data: str) -> None:
        self.data = data
        self.parameters: list[Json] = []
        self.tests: list[Callable[[str], bool]] = []
        self.parsed: tuple[str, Leaves] = ("", ())

    def of(self, node: Node) -> Sql:
        where = self.node(node)
        return Sql(where, tuple(self.parameters), tuple(self.tests))

    def node(self, node: Node) -> str:
        match node:
            case Not(part):
                return f"NOT {self.node(part)}"
            case All(parts):
                return self.joined(" AND ", parts) if parts else "1"
            case Some(parts):
                return self.joined(" OR ", parts) if parts else "0"
            case Term(fields, match):
                each = [self.field(f, match) for f in fields or SEARCHED]
                if not fields:
                    matches = match.compile()
                    each.append(self.in_data(match, lambda leaves: any(matches(v) for _, v in leaves)))
                return "(" + " OR ".join(each) + ")"

    def joined(self, operator: str, parts: tuple[Node, ...]) -> str:
        return "(" + operator.join(self.node(part) for part in parts) + ")"

    def field(self, name: str, match: Matcher) -> str:
        matches = match.compile()
        if name not in ATTRIBUTES:
            return self.in_data(match, lambda leaves: any(n == name and matches(v) for n, v in leaves))
        match match:
            case Text(case=case) if match.plain is not None and case is not Case.UNICODE and _is_plain(match.plain):
                self.parameters.append(match.plain)
                # Topics and ids are always in lower case: their indexes serve.
                exact = case is Case.EXACT or name in ("topic", "id")
                return f"{name} = ?" if exact else f"{name} = ? COLLATE NOCASE"
            case Range() if name == "time" and match.of_times:
                return self.between(match)
            case _:
                return self.test(name, matches)

    def between(self, times: Range) -> str:
        conditions = []
        for bound, sign, including in ((times.low, ">", times.low_in), (times.high, "<", times.high_in)):
            if bound is not None:
                self.parameters.append(bound)
                conditions.append(f"time {sign}{'=' if including else ''} ?")
        return "(" + " AND ".join(conditions) + ")"

    def in_data(self, match: Matcher, test: Callable[[Leaves], bool]) -> str:
        """A test over the parsed data, tried only where its text has the longest part of the value in it."""
        tested = self.test(self.data, lambda text: test(self.leaves(text)))
        longest = _longest(match)
        if not longest:
            return tested
        self.parameters.append(longest)
        # The parameter of the test is a literal number, so the order of parameters is that of the text.
        return f"(instr(lower({self.data}), ?) > 0 AND {tested})"

    def leaves(self, text: str) -> Leaves:
        """One row is asked several things in turn: parse it once."""
        if self.parsed[0] is not text and self.parsed[0] != text:
            self.parsed = (text, tuple(leaves(json.loads(text))))
        return self.parsed[1]

    def test(self, subject: str, test: Callable[[str], bool]) -> str:
        self.tests.append(test)
        return f"query_test({len(self.tests) - 1}, {subject})"


def _is_plain(text: str) -> bool:
    """Whether SQLite compares it as Python does: NOCASE stops at a NUL, and a lone surrogate cannot be bound."""
    return "\x00" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


_UNESCAPED = re.compile(r'[^\x00-\x1f"\\\x7f-\U0010ffff]+')
"""Runs of characters that JSON text and SQLite's `lower` leave as they are."""

_UNESCAPED_IN_ANY_CASE = re.compile(r'[^\x00-\x1f"\\ik\x7f-\U0010ffff]+')
"""The same without `i` and `k`, which are also the lower case of letters beyond ASCII (U+0130, U+212A)."""


def _longest(match: Matcher) -> str:
    """The longest text that the JSON of any record that matches must have in it; empty where none is sure."""
    if not isinstance(match, Text) or match.number is not None:
        return ""
    unescaped = _UNESCAPED_IN_ANY_CASE if match.case is Case.UNICODE else _UNESCAPED
    runs: list[str] = []
    for part in match.pattern:
        for piece in "".join("\x00" if c is None else c for c in part).split("\x00"):
            runs += unescaped.findall(Case.ASCII.fold(piece))
    return max(runs, key=len, default="")
