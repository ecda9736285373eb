"""The search language for people: `field:value`, AND, OR, NOT, parentheses, quotes, ranges, wildcards, plain words.

`parse` gives a tree, whose meaning is `Query.matches`, a predicate over records. An archive translates the tree into
its own language: `ratchet.query.sql` for SQLite; Elasticsearch's query DSL will be one more such module. A test holds
each translation equal to the predicate. docs/search.md explains the language.

An attacker may write the query as well as the records, so both are bounded: `MAX_LENGTH` characters, `MAX_DEPTH`
levels, `MAX_TERMS` terms, and `MAX_COST` of all of them together. Wildcards are matched without backtracking: `*` by
leftmost places, `?` by bit-parallel search (R. Baeza-Yates, G. Gonnet, "A New Approach to Text Searching", CACM 1992),
so that time is linear in the text, whatever the two are. An archive adds a deadline.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from ratchet.event import Event, Json, parse_time, stamp
from ratchet.ports import Record

MAX_LENGTH = 2000
"""Characters of a query."""

MAX_DEPTH = 24
"""Levels of parentheses and NOT."""

MAX_TERMS = 100
"""Terms of a query."""

MAX_COST = 300
"""Of a query: about how often every character of a record may be looked at."""

ATTRIBUTES = ("id", "topic", "type", "source", "subject", "tenant", "time")
"""Fields that are an event's own; every other name is looked for in its data."""

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
class Text:
    """A value to be equal to, without regard to the case of ASCII letters; `*` and `?` are wildcards unless quoted.

    Attributes:
        parts: what stands between the `*`; one part: no `*`. None in a part is a `?`.
        number: the value as a number, where it is one.
    """

    parts: tuple[tuple[str | None, ...], ...]
    number: float | None = None

    def holds(self, value: Json) -> bool:
        """For one JSON value that is no object and no list."""
        if self.number is not None and isinstance(value, int | float) and not isinstance(value, bool):
            return value == self.number
        return _glob(self.parts, fold(as_text(value)))

    def within(self, value: Json) -> bool:
        """Whether it is found anywhere in the value's text."""
        return _glob(((), *self.parts, ()), fold(as_text(value)))

    @property
    def cost(self) -> int:
        """About how often each character of a text is looked at, in units of a search for plain text."""
        marked = [len(part) for part in self.parts if None in part]
        return 1 + len(self.parts) // 64 + (8 + max(marked) // 16 if marked else 0)

    @property
    def plain(self) -> str | None:
        """The text without wildcards, folded; None where there are any."""
        if len(self.parts) != 1 or None in self.parts[0]:
            return None
        return "".join(c for c in self.parts[0] if c is not None)


@dataclass(frozen=True, slots=True)
class Range:
    """Between two numbers, or two times; None is open. Values of another type are never within."""

    low: float | str | None
    high: float | str | None
    low_in: bool
    high_in: bool

    @property
    def timely(self) -> bool:
        """Whether the bounds are times (`stamp` text), not numbers."""
        return isinstance(self.low, str) or isinstance(self.high, str)

    def holds(self, value: Json) -> bool:
        """For one JSON value that is no object and no list."""
        if isinstance(value, bool) or value is None:
            return False
        if self.timely:
            at = _stamped(value)
            return at is not None and self._between(at)
        return isinstance(value, int | float) and self._between(value)

    def _between(self, value: float | str) -> bool:
        if self.low is not None and not (value > self.low or (self.low_in and value == self.low)):  # type: ignore[operator]  # one type, by `timely`
            return False
        return self.high is None or value < self.high or (self.high_in and value == self.high)  # type: ignore[operator]  # likewise


@dataclass(frozen=True, slots=True)
class Term:
    """One of `fields` has a value that `match` holds for; without fields, any value has the text in it."""

    fields: tuple[str, ...]
    match: Text | Range


@dataclass(frozen=True, slots=True)
class Not:
    """Its part does not hold."""

    part: Node


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds; with none, always."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one part holds."""

    parts: tuple[Node, ...]


Node = Term | Not | All | Some


@dataclass(frozen=True, slots=True)
class Query:
    """A query, understood.

    Attributes:
        text: as it was written.
        tree: for those who translate it.
        costliest: where the part begins that costs most.
    """

    text: str
    tree: Node
    costliest: int = 0

    def stopped(self, seconds: float) -> TooCostly:
        """What to say when it took longer than so many seconds."""
        return TooCostly(
            self.text,
            self.costliest,
            f"stopped after {seconds:g} seconds: this part costs most; narrow the search with a topic:, a type:, or "
            "a time as in time:[2026-11-01 TO 2026-11-02]",
        )

    def matches(self, record: Record) -> bool:
        """Whether it holds for this record."""
        return _holds(self.tree, record.topic, record.event, tuple(leaves(record.event.data)))


def parse(text: str) -> Query:
    """Read a query; the empty one matches everything.

    Raises:
        BadQuery: it is none, or beyond the bounds.
    """
    if len(text) > MAX_LENGTH:
        raise BadQuery(text[:MAX_LENGTH], MAX_LENGTH, f"a query has at most {MAX_LENGTH} characters")
    parser = _Parser(text)
    tree = parser.query()
    return Query(text, tree, parser.costliest[1])


def fold(text: str) -> str:
    """ASCII letters in lower case, and nothing else changed: what SQLite's `lower` does too."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def as_text(value: Json) -> str:
    """A JSON value as people write it: `true`, `null`, `24`, text without quotes."""
    if isinstance(value, str):
        return value
    return json.dumps(value)


def leaves(data: Json, name: str = "") -> Iterator[tuple[str, Json]]:
    """Every value that is no object and no list, with its name: keys joined by dots; places in lists do not count."""
    waiting: list[tuple[str, Json]] = [(name, data)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [(f"{name}.{key}" if name else str(key), inner) for key, inner in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(name, inner) for inner in value]
        else:
            yield name, value


_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*:")
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9:.]+([Zz]|[+-][0-9]{2}:[0-9]{2})?)?")
_COMPARED = re.compile(r"[<>]=?")
_DATE = len("2026-01-01")


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
        self.pay(match.cost * max(1, len(fields)), start)
        if fields == ("time",) and match.plain is not None:
            exact = _time(match.plain.upper()) if match.plain.endswith("z") else None
            # A date alone is the whole day, an hour the whole hour.
            match = Text((tuple(fold(exact)),)) if exact else Text((*match.parts, ()))
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
                parts[-1].append(fold(self.text[self.at]))
            elif char == "*" and not quoted:
                if parts[-1] or len(parts) == 1:
                    parts.append([])
            elif char == "?" and not quoted:
                parts[-1].append(None)
            else:
                parts[-1].append(fold(char))
            raw.append(char)
            self.at += 1
        if not raw and not prefix and not quoted:
            self.fail("something to look for is missing")
        word = "".join(raw)
        number = float(word) if not quoted and not prefix and _NUMBER.fullmatch(word) else None
        return Text(tuple(tuple(part) for part in parts), number)

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
        if at := _time(word):
            return at
        self.fail(f"{why}; {word!r} is neither a number nor a time such as 2026-11-23 or 2026-11-23T10:00:00Z", start)


def _time(text: str) -> str | None:
    """A time as people write it, UTC unless it has a zone, as `stamp` writes it."""
    if not _TIME.fullmatch(text):
        return None
    try:
        at = datetime.fromisoformat(text)
        return stamp(parse_time(text if at.tzinfo else f"{text}+00:00" if len(text) > _DATE else f"{text}T00:00:00Z"))
    except (ValueError, OverflowError):
        return None


def _stamped(value: Json) -> str | None:
    return _time(value) if isinstance(value, str) else None


def _glob(parts: Sequence[tuple[str | None, ...]], text: str) -> bool:
    """Parts in their order with anything between; the first at the start, the last at the end. Without backtracking:
    the leftmost place for each part in the middle leaves the most to those behind it."""
    first, last = parts[0], parts[-1]
    if len(parts) == 1:
        return len(text) == len(first) and _at(first, text, 0)
    if len(first) + len(last) > len(text) or not _at(first, text, 0) or not _at(last, text, len(text) - len(last)):
        return False
    place, end = len(first), len(text) - len(last)
    for part in parts[1:-1]:
        found = _find(part, text, place, end)
        if found < 0:
            return False
        place = found + len(part)
    return True


def _at(part: tuple[str | None, ...], text: str, place: int) -> bool:
    return all(char is None or char == text[place + i] for i, char in enumerate(part))


def _find(part: tuple[str | None, ...], text: str, start: int, end: int) -> int:
    if None not in part:
        return text.find("".join(c for c in part if c is not None), start, end)
    width, anything = len(part), 0
    places: dict[str, int] = {}
    for i, char in enumerate(part):
        if char is None:
            anything |= 1 << i
        else:
            places[char] = places.get(char, 0) | 1 << i
    # Bit i of `found` says: the first i + 1 of the part are just behind us.
    found, whole = 0, 1 << (width - 1)
    for at in range(start, end):
        found = ((found << 1) | 1) & (places.get(text[at], 0) | anything)
        if found & whole:
            return at - width + 1
    return -1


def _attribute(name: str, topic: str, event: Event) -> str | None:
    match name:
        case "topic":
            return topic
        case "time":
            return stamp(event.time)
        case "id" | "type" | "source" | "subject" | "tenant":
            return str(getattr(event, name))
        case _:
            return None


SEARCHED = ("id", "type", "source", "subject")
"""Attributes that words without a field are looked for in, beside all data."""


def _holds(node: Node, topic: str, event: Event, data: tuple[tuple[str, Json], ...]) -> bool:
    match node:
        case Not(part):
            return not _holds(part, topic, event, data)
        case All(parts):
            return all(_holds(part, topic, event, data) for part in parts)
        case Some(parts):
            return any(_holds(part, topic, event, data) for part in parts)
        case Term((), match):
            values: Iterable[Json] = (_attribute(name, topic, event) for name in SEARCHED)
            return any(within(match, v) for v in values) or any(within(match, v) for _, v in data)
        case Term(fields, match):
            for field in fields:
                value = _attribute(field, topic, event)
                if value is not None:
                    if match.holds(value):
                        return True
                elif any(name == field and match.holds(v) for name, v in data):
                    return True
            return False


def within(match: Text | Range, value: Json) -> bool:
    """For words without a field: whether the value has the text in it."""
    return isinstance(match, Text) and match.within(value)
