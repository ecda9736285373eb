"""How much a regular expression may cost: who sends evidence chooses the text that it is searched in."""

from __future__ import annotations

import re
from re import _parser  # type: ignore[attr-defined]  # the only parser that agrees with `re`; typeshed leaves it out
from typing import Any

SUBJECT = 256
"""Characters of a value that a regular expression looks at. The longest identity is 134."""

MAX_COST = 1 << 18
"""Steps of the worst case of a regular expression: a few milliseconds."""


def to_flags(flags: str) -> int:
    """The flags of `re` for letters of `ims`."""
    return sum({"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}[f] for f in flags)


def regex_cost(expression: str, flags: str = "") -> int | None:
    """How many steps `re` may take on the dearest text of 256 characters, from above; None where there is no bound.

    A repeat that may end in several places, and an alternative, are choices; backtracking tries their product. So
    `(a+)+` costs beyond counting and is refused before an attacker names a machine `aaaaaaaaaaaaaaaaaaaaaaaa!`.
    Back-references and conditionals are refused outright.

    Raises:
        re.error: not a regular expression.
    """
    parsed = _parser.parse(expression, to_flags(flags))
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
