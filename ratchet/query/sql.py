"""A tree as SQL: a parameterised condition over the log's columns, for SQLite. It finds what the predicate finds.

What SQL says exactly is said in SQL: equality and times of attributes, for which there are indexes. The rest is a test
of our own, a function that the archive registers, behind a cheap condition that it implies. No value of the tree's is
ever in the text. A tree that SQLite's parser has no room for is refused (`NotInSql`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from ratchet.event import Json
from ratchet.query import tree
from ratchet.query.fields import ATTRIBUTES, SEARCHED, Leaves, leaves
from ratchet.query.matchers import Case, Matcher, Range, Text
from ratchet.query.tree import All, Node, Not, Some, Term

MAX_HEIGHT = 900
"""Of SQLite's expression tree, in which `a OR b OR c` has one level for each; SQLite refuses 1,000."""

MAX_STACK = 95
"""Entries of the stack of SQLite's parser; before version 3.45 it refuses more than 100."""

_TERM_STACK = 30
"""Entries of that stack for the longest condition that one field makes."""


class NotInSql(ValueError):
    """A tree that SQLite cannot be asked for."""


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

    Raises:
        NotInSql: it is too large or too deep for SQLite.
    """
    try:
        tree.levels(node)
    except tree.TooDeep as e:
        raise NotInSql(str(e)) from e
    deepest_first = _size(node, False).stack > MAX_STACK
    size = _size(node, deepest_first)
    if size.height > MAX_HEIGHT or size.stack > MAX_STACK:
        raise NotInSql("too many conditions inside each other for SQLite")
    return _Translation(data, deepest_first).of(node)


@dataclass(frozen=True, slots=True)
class _Size:
    """What an expression takes of SQLite's limits."""

    height: int
    stack: int


def _size(node: Node, deepest_first: bool) -> _Size:
    match node:
        case Term(fields, _):
            return _Size(len(fields or SEARCHED) + 4, _TERM_STACK)
        case Not(part):
            inner = _size(part, deepest_first)
            return _Size(inner.height + 1, inner.stack + 1)
        case All(parts) | Some(parts):
            sizes = [_size(part, deepest_first) for part in parts]
            stacks = [size.stack for size in sizes]
            if deepest_first:
                stacks.sort(reverse=True)
            # Every part but the first waits behind `(`, what is before it, and AND or OR.
            stack = max((stack + (3 if i else 1) for i, stack in enumerate(stacks)), default=1)
            return _Size(len(parts) + max((size.height for size in sizes), default=0), stack)


class _Translation:
    """A walk over the tree that gathers parameters and tests in the order of the text."""

    def __init__(self, data: str, deepest_first: bool) -> None:
        self.data, self.deepest_first = data, deepest_first
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
        """In the order given, unless the parser's stack has only room for the deepest part in front."""
        if self.deepest_first:
            parts = tuple(sorted(parts, key=lambda part: _size(part, True).stack, reverse=True))
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
