"""Can a rule ever fire? Decided from what events can say; a rule that cannot is refused when it is loaded.

The answer is exact in one direction: a rule that is refused can match no event. One that is let through may still never
match, for reasons that only the world knows. What is looked at, each within one conjunction (nested ones are one):

- a test of the wrong type: `attestation.debug: "true"` asks truth for text;
- a value that a field never has: `attestation.tier: trusted`;
- a field that none of the asked actions carries: `attestation.component` of an `evidence-appraised`;
- tests of one field that exclude each other: two texts of a one-valued field, an empty range of numbers,
  `exists: false` beside a value, a test beside its own negation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ratchet.detect.sigma.predicate import compile
from ratchet.detect.sigma.tree import And, Exists, Leaf, Node, Not, Null, Number, Or, Regex, Text, Truth, values

ACTION = "event.action"


class Type(StrEnum):
    """What a field's value is; a list of texts is met by one of them."""

    TEXT = "text"
    TEXTS = "a list of texts"
    NUMBER = "a number"
    TRUTH = "true or false"


@dataclass(frozen=True, slots=True)
class Shape:
    """What a field can say.

    Attributes:
        type: of its value; None where any may stand (labels, bits).
        values: all the texts that it can have, lower case; None where there is no such list.
        actions: values of `event.action` whose events carry it; None: any may.
    """

    type: Type | None = None
    values: frozenset[str] | None = None
    actions: frozenset[str] | None = None


ANYTHING = Shape()
"""Of a field of which nothing is known."""


def never(tree: Node, shapes: Callable[[str], Shape]) -> str | None:
    """Why the tree can be true of no event; None where it may be.

    Args:
        tree: a rule's detection.
        shapes: field -> what it can say.
    """
    match tree:
        case Or(nodes):
            found = [never(node, shapes) for node in nodes]
            return found[0] if all(why is not None for why in found) else None
        case Not(inner):
            return _always(inner)
        case And(_):
            return _conjunction(list(_flat(tree)), shapes)
        case _:
            return _impossible(tree, shapes)


def _always(node: Node) -> str | None:
    """A negated search that matches everything."""
    match node:
        case Or(nodes) if any(
            isinstance(a, Exists) and isinstance(b, Exists) and a.field == b.field and a.value is not b.value
            for a in nodes
            for b in nodes
        ):
            return "it is the negation of something that every event meets"
        case _:
            return None


def _flat(node: Node) -> Iterable[Node]:
    """The members of a conjunction, those of nested ones too; one that is searched for is one test."""
    match node:
        case And(nodes):
            for one in nodes:
                yield from _flat(one)
        case Or((only,)):
            yield from _flat(only)
        case Not(Not(inner)):
            yield from _flat(inner)
        case _:
            yield node


def _conjunction(nodes: list[Node], shapes: Callable[[str], Shape]) -> str | None:
    for node in nodes:
        if (why := never(node, shapes)) is not None:
            return why
    negated = {node.node for node in nodes if isinstance(node, Not)}
    for node in nodes:
        if node in negated:
            return f"it asks for {_named(node)} and for its opposite"
    asked = values(And(tuple(nodes)), ACTION)
    if asked is not None and not asked:
        return f"no event has two values of {ACTION}"
    seen: dict[str, _Asked] = {}
    for node in nodes:
        if isinstance(node, And | Or | Not):
            continue
        shape = shapes(node.field)
        if asked and shape.actions is not None and not asked & shape.actions and not _absent(node):
            return (
                f"{node.field} is never said of {', '.join(sorted(asked))}: it is of {', '.join(sorted(shape.actions))}"
            )
        why = seen.setdefault(node.field, _Asked()).add(node, shape)
        if why is not None:
            return why
    return None


def _named(node: Node) -> str:
    return node.field if not isinstance(node, And | Or | Not) else "a search"


def _absent(leaf: Leaf) -> bool:
    """Is it met by a field that is not there?"""
    return isinstance(leaf, Null) or (isinstance(leaf, Exists) and not leaf.value)


@dataclass(slots=True)
class _Asked:
    """What a conjunction has asked of one field so far."""

    texts: frozenset[str] | None = None
    truth: bool | None = None
    least: float = float("-inf")
    most: float = float("inf")
    open_below: bool = False
    open_above: bool = False
    absent: bool = False
    present: bool = False
    tests: list[Leaf] = field(default_factory=list)

    def add(self, leaf: Leaf, shape: Shape) -> str | None:
        """Why this test cannot hold beside the others; None where it can."""
        if _absent(leaf):
            self.absent = True
        else:
            self.present = True
        if self.absent and self.present:
            return f"{leaf.field} cannot be both absent and there"
        self.tests.append(leaf)
        if shape.type is None or shape.type is Type.TEXTS:
            return None  # a list may meet several tests that exclude each other
        match leaf:
            case Text():
                only = values(leaf, leaf.field)
                if only is not None:
                    self.texts = only if self.texts is None else self.texts & only
                if self.texts is not None and not self._text_left():
                    return f"{leaf.field} has one value, and two different ones are asked for"
            case Truth(_, value):
                if self.truth is not None and self.truth is not value:
                    return f"{leaf.field} cannot be both true and false"
                self.truth = value
            case Number(_, comparison, number):
                self._narrow(comparison, number)
                if self.least > self.most or (self.least == self.most and (self.open_below or self.open_above)):
                    return f"no number is what is asked of {leaf.field}"
        return None

    def _text_left(self) -> bool:
        """Is one of the texts that are left met by every pattern on the field?"""
        patterns = [compile(one) for one in self.tests if isinstance(one, Text) and not one.cased]
        name = self.tests[0].field
        return any(all(test({name: text}) for test in patterns) for text in self.texts or ())

    def _narrow(self, comparison: str, number: float) -> None:
        if comparison in ("gt", "gte", "eq") and number >= self.least:
            self.open_below = comparison == "gt" or (self.open_below and number == self.least)
            self.least = number
        if comparison in ("lt", "lte", "eq") and number <= self.most:
            self.open_above = comparison == "lt" or (self.open_above and number == self.most)
            self.most = number


_TYPES: Mapping[type, frozenset[Type]] = {
    Text: frozenset({Type.TEXT, Type.TEXTS}),
    Regex: frozenset({Type.TEXT, Type.TEXTS}),
    Number: frozenset({Type.NUMBER}),
    Truth: frozenset({Type.TRUTH}),
}


def _impossible(leaf: Leaf, shapes: Callable[[str], Shape]) -> str | None:
    """Why one test alone is met by nothing."""
    shape = shapes(leaf.field)
    fits = _TYPES.get(type(leaf))
    if shape.type is not None and fits is not None and shape.type not in fits:
        return f"{leaf.field} is {shape.type.value}, and is compared with {_what(leaf)}"
    if shape.values is not None and isinstance(leaf, Text | Regex):
        test = compile(leaf)
        if not any(test({leaf.field: value}) for value in shape.values):
            return f"{leaf.field} is one of {', '.join(sorted(shape.values))}"
    return None


def _what(leaf: Leaf) -> str:
    match leaf:
        case Number():
            return "a number"
        case Truth():
            return "true or false"
        case _:
            return "text: take the quotes away" if isinstance(leaf, Text) else "a regular expression"
