"""What a tree means: a function over events. Translations, such as `ratchet.query.sql`, must find the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from ratchet.event import Json
from ratchet.query import tree
from ratchet.query.tree import All, Node, Not, Some, Term

E = TypeVar("E")

Values = Callable[[E, str | None], Iterable[Json]]
"""(event, field) -> the field's values, none where it is absent; with None as the field, all values of the event."""


def compile(node: Node, values: Values[E]) -> Callable[[E], bool]:
    """The tree as a function.

    Args:
        node: its top.
        values: how a field's values are found in an event.

    Raises:
        TooDeep: the tree has more than `tree.MAX_LEVELS` levels.
    """
    tree.levels(node)
    return _compile(node, values)


def _compile(node: Node, values: Values[E]) -> Callable[[E], bool]:
    match node:
        case Not(part):
            holds = _compile(part, values)
            return lambda event: not holds(event)
        case All(parts):
            every = tuple(_compile(part, values) for part in parts)
            return lambda event: all(part(event) for part in every)
        case Some(parts):
            each = tuple(_compile(part, values) for part in parts)
            return lambda event: any(part(event) for part in each)
        case Term(fields, match):
            matches = match.compile()
            names = fields or (None,)
            if len(names) == 1:
                [name] = names
                return lambda event: any(map(matches, values(event, name)))
            return lambda event: any(matches(value) for field in names for value in values(event, field))
