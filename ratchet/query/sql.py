"""The search language as SQL: a parameterised condition over the log's columns, for SQLite.

What SQL says exactly is said in SQL: equality and times of attributes, for which there are indexes. The rest is a test
of our own, a function that the archive registers, behind a cheap condition that it implies. No value of the query's is
ever in the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from ratchet.event import Json
from ratchet.query.language import ATTRIBUTES, SEARCHED, All, Node, Not, Query, Range, Some, Term, Text, leaves, within

Leaves = tuple[tuple[str, Json], ...]
"""Names and values of an event's data, as `ratchet.query.language.leaves` gives them."""


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


def translate(query: Query, data: str = "data") -> Sql:
    """A query as a condition over columns named as an event's attributes are.

    Args:
        query: understood by `ratchet.query.language.parse`.
        data: the SQL expression for the event's data as JSON text.
    """
    return _Translation(data).of(query.tree)


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
                return "(" + " AND ".join(self.node(part) for part in parts) + ")" if parts else "1"
            case Some(parts):
                return "(" + " OR ".join(self.node(part) for part in parts) + ")"
            case Term((), match):
                alike = [self.test(name, lambda x: within(match, x)) for name in SEARCHED]
                inside = self.in_data(match, lambda leaves: any(within(match, v) for _, v in leaves))
                return "(" + " OR ".join([*alike, inside]) + ")"
            case Term(fields, match):
                each = [self.attribute(f, match) if f in ATTRIBUTES else self.field(f, match) for f in fields]
                return "(" + " OR ".join(each) + ")"

    def attribute(self, name: str, match: Text | Range) -> str:
        if isinstance(match, Text):
            if match.plain is None:
                return self.test(name, match.holds)
            self.parameters.append(match.plain)
            exact = name in ("topic", "id")  # always in lower case: their indexes serve
            return f"{name} = ?" if exact else f"{name} = ? COLLATE NOCASE"
        if name != "time":
            return self.test(name, match.holds)
        if not match.timely:
            return "0"
        conditions = []
        for bound, sign, including in ((match.low, ">", match.low_in), (match.high, "<", match.high_in)):
            if bound is not None:
                self.parameters.append(bound)
                conditions.append(f"time {sign}{'=' if including else ''} ?")
        return "(" + " AND ".join(conditions) + ")"

    def field(self, name: str, match: Text | Range) -> str:
        return self.in_data(match, lambda leaves: any(n == name and match.holds(v) for n, v in leaves))

    def in_data(self, match: Text | Range, test: Callable[[Leaves], bool]) -> str:
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


_UNESCAPED = re.compile(r'[^\x00-\x1f"\\\x7f-\U0010ffff]+')
"""Runs of characters that JSON text and SQLite's `lower` leave as they are."""


def _longest(match: Text | Range) -> str:
    """The longest text that the JSON of any record that matches must have in it; empty where none is sure."""
    if isinstance(match, Range) or match.number is not None:
        return ""
    runs: list[str] = []
    for part in match.parts:
        for piece in "".join("\x00" if c is None else c for c in part).split("\x00"):
            runs += _UNESCAPED.findall(piece)
    return max(runs, key=len, default="")
