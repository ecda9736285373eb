"""The search language for people: `field:value`, AND, OR, NOT, parentheses, quotes, ranges, wildcards, plain words.

`parse` gives a tree (`ratchet.query.tree`); `Query.matches` is its meaning over records. docs/search.md explains the
language.

An attacker may write the query as well as the records, so both are bounded: `MAX_LENGTH` characters, `MAX_DEPTH`
levels, `MAX_TERMS` terms, and `MAX_COST` of all of them together. Wildcards are matched in linear time
(`ratchet.query.glob`). An archive adds a deadline.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from ratchet.ports import Record
from ratchet.query import glob, predicate
from ratchet.query.fields import ATTRIBUTES, FlatRecord, of_record
from ratchet.query.matchers import Case, Range, Text, read_time
from ratchet.query.tree import All, Node, Not, Some, Term

MAX_LENGTH = 2000
"""Characters of a query."""

MAX_DEPTH = 24
"""Levels of parentheses and NOT."""

MAX_TERMS = 100
"""Terms of a query."""

MAX_COST = 300
"""Of a query: about how often every character of a record may be looked at."""

ALIASES: Mapping[str, tuple[str, ...]] = {
    "machine": ("subject", "hint.name", "machines"),
    "hint": ("hint.name",),
    "region": ("hint.region", "region"),
    "workload": ("hint.workload", "workload"),
    "measurement": ("claims.measurement", "measurement"),
    "reason": ("reasons.code",),
    "tcb_status": ("tcb.merged",),
}
"""Short names for people."""

IDENTITIES = ("chip", "ppid", "platform")
"""A machine's identity, pasted as it is shown, is a search for that machine."""


class BadQuery(ValueError):
    """Not a query. `position` is where it went wrong, counted from 0; `pointer` shows the place below the text."""

    def __init__(self, text: str, position: int, why: str) -> None:
        super().__init__(f"at character {position + 1}: {why}")
        self.text, self.position, self.why = text, position, why

    @property
    def pointer(self) -> str:
        """Two lines: the query, and a caret."""
        return f"{self.text}\n{' ' * self.position}^"


class TooCostly(BadQuery):
    """A query that would take, or took, too long; says which part of it costs most, and what would narrow it."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query, understood.

    Attributes:
        text: as it was written.
        tree: for those who translate it.
        costliest: where the part begins that costs most.
        matches: whether it holds for a record.
    """

    text: str
    tree: Node
    costliest: int
    matches: Callable[[Record], bool] = field(repr=False, compare=False)

    def stopped(self, seconds: float) -> TooCostly:
        """What to say when it took longer than so many seconds."""
        return TooCostly(
            self.text,
            self.costliest,
            f"stopped after {seconds:g} seconds: this part costs most; narrow the search with a topic:, a type:, or "
            "a time as in time:[2026-11-01 TO 2026-11-02]",
        )

    def too_large(self, why: str) -> TooCostly:
        """What to say when an archive cannot be asked for so much at once."""
        return TooCostly(self.text, self.costliest, f"{why}; write fewer terms, or fewer levels")


def parse(text: str) -> Query:
    """Read a query; the empty one matches everything.

    Raises:
        BadQuery: it is none, or beyond the bounds.
    """
    if len(text) > MAX_LENGTH:
        raise BadQuery(text[:MAX_LENGTH], MAX_LENGTH, f"a query has at most {MAX_LENGTH} characters")
    parser = _Parser(text)
    tree = parser.query()
    holds = predicate.compile(tree, of_record)
    return Query(text, tree, parser.costliest[1], lambda record: holds(FlatRecord.of(record)))


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*:")
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_COMPARED = re.compile(r"[<>]=?")


class _Parser:
    """Recursive descent, one method a level: `query` > `either` > `both` > `negated` > `primary` > `value`."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.terms, self.cost = text, 0, 0, 0
        self.costliest = (0, 0)  # what it costs, and where it begins

    def fail(self, why: str, at: int | None = None) -> NoReturn:
        raise BadQuery(self.text, self.at if at is None else at, why)

    def space(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def keyword(self, word: str) -> bool:
        """Take `word` if it comes next, as a word of its own, in capitals."""
        self.space()
        end = self.at + len(word)
        follows = self.text[end : end + 1]
        if self.text.startswith(word, self.at) and (not follows or follows.isspace() or follows in "()"):
            self.at = end
            return True
        return False

    def coming(self) -> str:
        self.space()
        return self.text[self.at : self.at + 1]

    def query(self) -> Node:
        if not self.coming():
            return All(())
        tree = self.either((), 0)
        if self.coming():
            self.fail("this ) closes nothing" if self.coming() == ")" else "not expected here")
        return tree

    def either(self, fields: tuple[str, ...], depth: int) -> Node:
        parts = [self.both(fields, depth)]
        while self.keyword("OR"):
            parts.append(self.both(fields, depth))
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def both(self, fields: tuple[str, ...], depth: int) -> Node:
        parts = [self.negated(fields, depth)]
        while True:
            before = self.at
            if self.keyword("OR"):
                self.at = before
                break
            if not self.keyword("AND") and self.coming() in ("", ")"):
                break
            parts.append(self.negated(fields, depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def negated(self, fields: tuple[str, ...], depth: int) -> Node:
        if depth > MAX_DEPTH:
            self.fail(f"more than {MAX_DEPTH} levels")
        if self.keyword("NOT"):
            return Not(self.negated(fields, depth + 1))
        return self.primary(fields, depth)

    def primary(self, fields: tuple[str, ...], depth: int) -> Node:
        here = self.coming()
        for word in ("AND", "OR"):
            start = self.at
            if self.keyword(word):
                self.fail(f"{word} needs something before it", start)
        if not here:
            self.fail("something to look for is missing")
        if here == "(":
            start = self.at
            self.at += 1
            inner = self.either(fields, depth + 1)
            if self.coming() != ")":
                self.fail("this ( is never closed", start)
            self.at += 1
            return inner
        if here == ")":
            self.fail("something to look for is missing before )")
        if not fields and (named := _NAME.match(self.text, self.at)):
            return self.field(named.group()[:-1], named.end(), depth)
        return self.term(fields, "")

    def field(self, name: str, end: int, depth: int) -> Node:
        start, self.at = self.at, end
        follows = self.text[end : end + 1]
        if not follows or follows.isspace() or follows == ")":
            self.fail(f"{name}: needs a value right after the colon", start)
        if name.lower() in IDENTITIES:
            return self.term(("subject",), f"{name.lower()}:")
        fields = ALIASES.get(name.lower()) or (name.lower() if name.lower() in ATTRIBUTES else name,)
        return self.primary(fields, depth) if follows == "(" else self.term(fields, "")

    def term(self, fields: tuple[str, ...], prefix: str) -> Term:
        self.terms += 1
        if self.terms > MAX_TERMS:
            self.fail(f"more than {MAX_TERMS} terms")
        here = self.text[self.at]
        if fields and not prefix:
            if here in "[{":
                return Term(fields, self.between())
            if compared := _COMPARED.match(self.text, self.at):
                self.at = compared.end()
                bound = self.bound(f"{compared.group()} needs a number or a time after it")
                including = compared.group().endswith("=")
                if compared.group().startswith(">"):
                    return Term(fields, Range(bound, None, including, False))
                return Term(fields, Range(None, bound, False, including))
        if here in "[]{}":
            self.fail(f"{here} belongs to a range: field:[from TO to]; put it in quotes to look for it")
        start = self.at
        match = self.value(prefix)
        self.pay(glob.cost(match.pattern) * max(1, len(fields)), start)
        if not fields:
            return Term((), Text(glob.anywhere(match.pattern), Case.ASCII))
        if fields == ("time",) and match.plain is not None:
            exact = read_time(match.plain.upper()) if match.plain.endswith("z") else None
            # A date alone is the whole day, an hour the whole hour.
            match = Text((tuple(Case.ASCII.fold(exact)),) if exact else (*match.pattern, ()), Case.ASCII)
        return Term(fields, match)

    def pay(self, cost: int, start: int) -> None:
        self.cost += cost
        self.costliest = max(self.costliest, (cost, start), key=lambda one: one[0])
        if self.cost > MAX_COST:
            raise TooCostly(
                self.text,
                self.costliest[1],
                f"this query costs more than {MAX_COST}: this part costs {self.costliest[0]}; "
                "write fewer wildcards, or fewer terms",
            )

    def value(self, prefix: str) -> Text:
        """A word or a quoted text; `prefix` belongs in front of it."""
        start = self.at
        quoted = self.text[self.at] == '"'
        self.at += quoted
        parts: list[list[str | None]] = [list(prefix)]
        raw: list[str] = []
        while True:
            if self.at >= len(self.text):
                if quoted:
                    self.fail('this " is never closed', start)
                break
            char = self.text[self.at]
            if char == '"' if quoted else (char.isspace() or char in '()"'):
                self.at += quoted
                break
            if char == "\\":
                self.at += 1
                if self.at >= len(self.text):
                    self.fail("\\ needs a character after it", self.at - 1)
                parts[-1].append(Case.ASCII.fold(self.text[self.at]))
            elif char == "*" and not quoted:
                if parts[-1] or len(parts) == 1:
                    parts.append([])
            elif char == "?" and not quoted:
                parts[-1].append(None)
            else:
                parts[-1].append(Case.ASCII.fold(char))
            raw.append(char)
            self.at += 1
        if not raw and not prefix and not quoted:
            self.fail("something to look for is missing")
        word = "".join(raw)
        number = float(word) if not quoted and not prefix and _NUMBER.fullmatch(word) else None
        return Text(tuple(tuple(part) for part in parts), Case.ASCII, number=number)

    def between(self) -> Range:
        """`[from TO to]`, with `{` or `}` where the bound itself is left out, and `*` where there is none."""
        start = self.at
        low_in = self.text[self.at] == "["
        self.at += 1
        low = self.bound("a range is [from TO to]")
        if not self.keyword("TO"):
            self.fail("a range is [from TO to]: TO is missing")
        high = self.bound("a range is [from TO to]")
        end = self.coming()
        if end not in ("]", "}"):
            self.fail("this range is never closed", start)
        self.at += 1
        if low is not None and high is not None and type(low) is not type(high):
            self.fail("a range lies between two numbers or between two times", start)
        if low is None and high is None:
            self.fail("a range needs a bound: for any value at all, field:*", start)
        return Range(low, high, low_in, end == "]")

    def bound(self, why: str) -> float | str | None:
        self.space()
        start = self.at
        while self.at < len(self.text) and not self.text[self.at].isspace() and self.text[self.at] not in ']}()"':
            self.at += 1
        word = self.text[start : self.at]
        if word == "*":
            return None
        if _NUMBER.fullmatch(word):
            return float(word)
        if at := read_time(word):
            return at
        self.fail(f"{why}; {word!r} is neither a number nor a time such as 2026-11-23 or 2026-11-23T10:00:00Z", start)
