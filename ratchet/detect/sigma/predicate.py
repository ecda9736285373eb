"""From a detection to a Python function over a flat event: live detection, and the checks of a rule's cases.

What Sigma leaves to whoever evaluates a rule is settled so (docs/rules.md says it to people):

- a field that is absent or null meets nothing but `null` and `exists: false`; so does an empty list;
- a list meets a test when one of its elements does;
- text meets text, numbers meet numbers, truth meets truth: 22 is not "22", and true is not 1;
- text is compared without regard to case (`str.lower` on both sides) unless the rule says `cased`;
- a regular expression is searched in the first 256 characters, and refused where its worst case is dear
  (`regex_cost`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from re import _parser  # type: ignore[attr-defined]  # the only parser that agrees with `re`; typeshed leaves it out
from typing import Any

from ratchet.detect.sigma.tree import And, Exists, Node, Not, Null, Number, Or, Pattern, Regex, Text, Truth, Wild
from ratchet.event import Json

Predicate = Callable[[Mapping[str, Json]], bool]

SUBJECT = 256
"""Characters of a value that a regular expression looks at. The longest identity is 134."""

MAX_COST = 1 << 18
"""Steps of the worst case of a regular expression: a few milliseconds, for who sends evidence chooses the text."""

_ABSENT: tuple[Json, ...] = ()


def compile(node: Node) -> Predicate:
    """The tree as a function."""
    match node:
        case And(nodes):
            return _all(tuple(compile(n) for n in nodes))
        case Or(nodes):
            return _any(tuple(compile(n) for n in nodes))
        case Not(inner):
            negated = compile(inner)
            return lambda event: not negated(event)
        case Null(field):
            return lambda event: event.get(field) in (None, [], ())
        case Exists(field, wanted):
            return lambda event: (event.get(field) not in (None, [], ())) is wanted
        case Truth(field, truth):
            return _field(field, lambda value: value is truth)
        case Number(field, comparison, number):
            compare = _COMPARE[comparison]
            return _field(
                field,
                lambda value: isinstance(value, int | float) and not isinstance(value, bool) and compare(value, number),
            )
        case Regex(field, expression, flags):
            found = re.compile(expression, _flags(flags)).search
            return _field(field, lambda value: isinstance(value, str) and found(value[:SUBJECT]) is not None)
        case Text(field, pattern, cased):
            return _field(field, _text(pattern, cased))


def _all(parts: Sequence[Predicate]) -> Predicate:
    return lambda event: all(part(event) for part in parts)


def _any(parts: Sequence[Predicate]) -> Predicate:
    return lambda event: any(part(event) for part in parts)


def _field(field: str, test: Callable[[Any], bool]) -> Predicate:
    def met(event: Mapping[str, Json]) -> bool:
        value = event.get(field)
        if isinstance(value, list | tuple):
            return any(test(one) for one in value)
        return value is not None and test(value)

    return met


_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda got, want: bool(got == want),
    "gt": lambda got, want: bool(got > want),
    "gte": lambda got, want: bool(got >= want),
    "lt": lambda got, want: bool(got < want),
    "lte": lambda got, want: bool(got <= want),
}


def _text(pattern: Pattern, cased: bool) -> Callable[[Any], bool]:
    """A test of one value. Cost is linear in pieces times length: a pattern of many stars cannot be made to explode."""
    fold: Callable[[str], str] = (lambda text: text) if cased else str.lower
    if all(not isinstance(p, Wild) for p in pattern):
        whole = fold("".join(pattern))
        return lambda value: isinstance(value, str) and fold(value) == whole
    pieces = _pieces(pattern, fold)
    if len(pieces) == 1:
        fits = re.compile(pieces[0], re.DOTALL).fullmatch
        return lambda value: isinstance(value, str) and fits(fold(value)) is not None
    first = re.compile(pieces[0], re.DOTALL)
    middle = [re.compile(p, re.DOTALL) for p in pieces[1:-1]]
    last = re.compile(pieces[-1] + r"\Z", re.DOTALL)
    tail = _width(pieces[-1])

    def met(value: Any) -> bool:
        if not isinstance(value, str):
            return False
        text = fold(value)
        head = first.match(text)
        if head is None:
            return False
        place = head.end()
        for piece in middle:
            found = piece.search(text, place)
            if found is None:
                return False
            place = found.end()
        return len(text) - tail >= place and last.match(text, len(text) - tail) is not None

    return met


def _pieces(pattern: Pattern, fold: Callable[[str], str]) -> list[str]:
    """Between the stars: expressions of fixed width, in which only `.` is special."""
    pieces = [""]
    for part in pattern:
        if part is Wild.ANY:
            pieces.append("")
        elif part is Wild.ONE:
            pieces[-1] += "."
        else:
            pieces[-1] += re.escape(fold(part))
    return pieces


def _width(piece: str) -> int:
    return int(_parser.parse(piece).getwidth()[1])


def _flags(flags: str) -> int:
    return sum({"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}[f] for f in flags)


def regex_cost(expression: str, flags: str = "") -> int | None:
    """How many steps `re` may take on the dearest text of 256 characters, from above; None where there is no bound.

    A repeat that may end in several places, and an alternative, are choices; backtracking tries their product. So
    `(a+)+` costs beyond counting and is refused before an attacker names a machine `aaaaaaaaaaaaaaaaaaaaaaaa!`.
    Back-references and conditionals are refused outright.

    Raises:
        re.error: not a regular expression.
    """
    parsed = _parser.parse(expression, _flags(flags))
    cost = _cost(parsed)
    if cost is None:
        return None
    begins = str(parsed[0]) if len(parsed) else ""
    anchored = "AT_BEGINNING" in begins and "m" not in flags
    return cost if anchored else cost * SUBJECT


def _cost(parsed: Any) -> int | None:
    total = 1
    for operation, argument in parsed:
        name = str(operation)
        cost: int | None
        if name in ("LITERAL", "NOT_LITERAL", "ANY", "IN", "RANGE", "CATEGORY", "AT"):
            cost = 1
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            least, most, body = argument
            least, most = min(int(least), SUBJECT), min(int(most), SUBJECT)
            inner = _cost(body)
            cost = None if inner is None else (most - least + 1) * (1 if inner == 1 else _power(inner, most))
        elif name == "BRANCH":
            each = [_cost(branch) for branch in argument[1]]
            cost = None if any(c is None for c in each) else sum(c for c in each if c is not None)
        elif name == "SUBPATTERN":
            cost = _cost(argument[3])
        elif name in ("ASSERT", "ASSERT_NOT"):
            cost = _cost(argument[1])
        elif name == "ATOMIC_GROUP":
            cost = _cost(argument)
        else:
            cost = None
        if cost is None:
            return None
        total = min(total * cost, MAX_COST + 1)
    return total


def _power(base: int, exponent: int) -> int:
    """`base ** exponent`, without making numbers of thousands of digits."""
    result = 1
    for _ in range(exponent):
        result *= base
        if result > MAX_COST:
            return MAX_COST + 1
    return result
