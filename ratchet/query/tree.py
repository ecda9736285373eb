"""The tree that a query of the search language and a rule of Sigma are read into.

`ratchet.query.language` and `ratchet.detect.sigma.detection` make it; `ratchet.query.predicate` is its meaning;
`ratchet.query.sql` says the same in SQL. Another archive's language is one more such module.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ratchet.query.matchers import Matcher, Text

MAX_LEVELS = 100
"""Of a tree that is compiled or translated; both parsers stay below it."""


@dataclass(frozen=True, slots=True)
class Term:
    """One of `fields` has a value that matches; without fields, any value of the event does."""

    fields: tuple[str, ...]
    match: Matcher


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
    """At least one part holds; with none, never."""

    parts: tuple[Node, ...]


Node = Term | Not | All | Some


class TooDeep(ValueError):
    """A tree of more than `MAX_LEVELS` levels."""


def levels(node: Node) -> int:
    """How many nodes lie on the longest way down.

    Raises:
        TooDeep: more than `MAX_LEVELS`.
    """
    deepest, waiting = 0, [(node, 1)]
    while waiting:
        one, level = waiting.pop()
        if level > MAX_LEVELS:
            raise TooDeep(f"more than {MAX_LEVELS} levels")
        deepest = max(deepest, level)
        match one:
            case All(parts) | Some(parts):
                waiting += [(part, level + 1) for part in parts]
            case Not(part):
                waiting.append((part, level + 1))
    return deepest


def terms(node: Node, *, negated: bool) -> Iterator[Term]:
    """The terms under an odd (`negated`) or even number of `Not`, in order."""
    match node:
        case All(parts) | Some(parts):
            for part in parts:
                yield from terms(part, negated=negated)
        case Not(part):
            yield from terms(part, negated=not negated)
        case Term() if not negated:
            yield node


def values(node: Node, field: str) -> frozenset[str] | None:
    """The only texts (lower case) of a one-valued field with which the tree can be true; None where any might do.

    A bound, for skipping rules that cannot fire: it may name a text too many, never one too few.
    """
    match node:
        case Term((name,), Text() as text) if name == field and text.plain is not None:
            return frozenset({text.plain.lower()})
        case All(parts):
            known = [v for v in (values(part, field) for part in parts) if v is not None]
            return frozenset.intersection(*known) if known else None
        case Some(parts):
            found = [values(part, field) for part in parts]
            return None if any(v is None for v in found) else frozenset().union(*(v for v in found if v is not None))
        case _:
            return None
