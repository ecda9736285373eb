"""A detection as a tree: what stands between Sigma's syntax and everything that a rule is turned into.

`read` (ratchet/detect/sigma/detection.py) makes it with pySigma; `predicate` folds it to a Python function. SQL for the
archive and other SIEMs' languages are folds over the same tree: each gets a module beside predicate.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Wild(StrEnum):
    """A wildcard in a text pattern (Sigma specification 2.1, "Wildcard")."""

    ANY = "*"
    ONE = "?"


Pattern = tuple[str | Wild, ...]
"""Text with wildcards. Plain text is a `str`, a wildcard a `Wild` (which is a `str` too: test for `Wild` first)."""


@dataclass(frozen=True, slots=True)
class Text:
    """The field is text that fits the whole pattern; without regard to case unless `cased`."""

    field: str
    pattern: Pattern
    cased: bool = False


@dataclass(frozen=True, slots=True)
class Regex:
    """The expression is found in the field's text. `flags` are of `ims`."""

    field: str
    expression: str
    flags: str = ""


@dataclass(frozen=True, slots=True)
class Number:
    """The field is a number that compares so."""

    field: str
    comparison: Literal["eq", "gt", "gte", "lt", "lte"]
    number: int | float


@dataclass(frozen=True, slots=True)
class Truth:
    """The field is this truth value."""

    field: str
    value: bool


@dataclass(frozen=True, slots=True)
class Null:
    """The field is absent, null or an empty list."""

    field: str


@dataclass(frozen=True, slots=True)
class Exists:
    """The field is there and not null (True), or the reverse."""

    field: str
    value: bool


@dataclass(frozen=True, slots=True)
class And:
    """All of them."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One of them."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Not this."""

    node: Node


Leaf = Text | Regex | Number | Truth | Null | Exists
Node = Leaf | And | Or | Not


def leaves(node: Node, positive: bool | None = None) -> Iterator[Leaf]:
    """Every test in the tree, in order; with `positive`, only those under an even (True) or odd number of `not`."""
    yield from _leaves(node, True, positive)


def _leaves(node: Node, sign: bool, wanted: bool | None) -> Iterator[Leaf]:
    match node:
        case And(nodes) | Or(nodes):
            for one in nodes:
                yield from _leaves(one, sign, wanted)
        case Not(inner):
            yield from _leaves(inner, not sign, wanted)
        case _:
            if wanted is None or sign is wanted:
                yield node


def values(node: Node, field: str) -> frozenset[str] | None:
    """The only texts (lower case) of a one-valued field with which the tree can be true; None where any might do.

    A bound, for skipping rules that cannot fire: it may name a text too many, never one too few.
    """
    match node:
        case Text(name, pattern) if name == field and all(not isinstance(p, Wild) for p in pattern):
            return frozenset({"".join(pattern).lower()})
        case And(nodes):
            known = [v for v in (values(n, field) for n in nodes) if v is not None]
            return frozenset.intersection(*known) if known else None
        case Or(nodes):
            found = [values(n, field) for n in nodes]
            return None if any(v is None for v in found) else frozenset().union(*(v for v in found if v is not None))
        case _:
            return None
