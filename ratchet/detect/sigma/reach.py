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

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from ratchet.query.matchers import Case, Matcher, Present, Range, Regex, Text, Truth
from ratchet.query.tree import All, Node, Not, Some, Term, values

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
        case Some(parts):
            found = [never(part, shapes) for part in parts]
            if any(why is None for why in found):
                return None
            return found[0] if found else "it asks for one of no searches"
        case Not(part):
            return _always(part)
        case All(_):
            return _conjunction(list(_flat(tree)), shapes)
        case Term(fields, match):
            found = [_impossible(field, match, shapes(field)) for field in fields]
            return found[0] if found and all(why is not None for why in found) else None


def _always(node: Node) -> str | None:
    """A negated search that matches everything."""
    match node:
        case Some(parts) if any(
            isinstance(p, Term) and isinstance(p.match, Present) and Not(p) in parts for p in parts
        ):
            return "it is the negation of something that every event meets"
        case _:
            return None


def _flat(node: Node) -> Iterable[Node]:
    """The members of a conjunction, those of nested ones too; one that is searched for is one test."""
    match node:
        case All(parts):
            for part in parts:
                yield from _flat(part)
        case Some((only,)):
            yield from _flat(only)
        case Not(Not(inner)):
            yield from _flat(inner)
        case _:
            yield node


def _conjunction(nodes: list[Node], shapes: Callable[[str], Shape]) -> str | None:
    for node in nodes:
        if (why := never(node, shapes)) is not None:
            return why
    negated = {node.part for node in nodes if isinstance(node, Not)}
    for node in nodes:
        if node in negated and not _asks_presence(node):
            return f"it asks for {_named(node)} and for its opposite"
    asked = values(All(tuple(nodes)), ACTION)
    if asked is not None and not asked:
        return f"no event has two values of {ACTION}"
    seen: dict[str, _Asked] = {}
    for node in nodes:
        match node:
            case Term((name,), matcher):
                shape = shapes(name)
                if asked and shape.actions is not None and not asked & shape.actions:
                    carried = ", ".join(sorted(shape.actions))
                    return f"{name} is never said of {', '.join(sorted(asked))}: it is of {carried}"
                why = seen.setdefault(name, _Asked(name)).add(matcher, shape)
            case Not(Term((name,), Present())):
                why = seen.setdefault(name, _Asked(name)).add(None, shapes(name))
            case _:
                why = None
        if why is not None:
            return why
    return None


def _asks_presence(node: Node) -> bool:
    return isinstance(node, Term) and isinstance(node.match, Present)


def _named(node: Node) -> str:
    return node.fields[0] if isinstance(node, Term) and node.fields else "a search"


@dataclass(slots=True)
class _Asked:
    """What a conjunction has asked of one field so far."""

    name: str
    texts: frozenset[str] | None = None
    truth: bool | None = None
    least: float = float("-inf")
    most: float = float("inf")
    open_below: bool = False
    open_above: bool = False
    absent: bool = False
    present: bool = False
    patterns: list[Text] = field(default_factory=list)

    def add(self, matcher: Matcher | None, shape: Shape) -> str | None:
        """Why this cannot hold beside the others; None where it can. Without a matcher: the field is absent."""
        if matcher is None:
            self.absent = True
        else:
            self.present = True
        if self.absent and self.present:
            return f"{self.name} cannot be both absent and there"
        if shape.type is None or shape.type is Type.TEXTS:
            return None  # a list may meet several tests that exclude each other
        match matcher:
            case Text(text_only=True):
                self.patterns.append(matcher)
                only = values(Term((self.name,), matcher), self.name)
                if only is not None:
                    self.texts = only if self.texts is None else self.texts & only
                if self.texts is not None and not self._text_left():
                    return f"{self.name} has one value, and two different ones are asked for"
            case Truth(value):
                if self.truth is not None and self.truth is not value:
                    return f"{self.name} cannot be both true and false"
                self.truth = value
            case Range() if not matcher.of_times:
                self._narrow(matcher)
                if self.least > self.most or (self.least == self.most and (self.open_below or self.open_above)):
                    return f"no number is what is asked of {self.name}"
        return None

    def _text_left(self) -> bool:
        """Is one of the texts that are left met by every pattern on the field?"""
        tests = [pattern.compile() for pattern in self.patterns if pattern.case is Case.UNICODE]
        return any(all(test(text) for test in tests) for text in self.texts or ())

    def _narrow(self, asked: Range) -> None:
        if isinstance(asked.low, int | float) and asked.low >= self.least:
            self.open_below = not asked.low_in or (self.open_below and asked.low == self.least)
            self.least = asked.low
        if isinstance(asked.high, int | float) and asked.high <= self.most:
            self.open_above = not asked.high_in or (self.open_above and asked.high == self.most)
            self.most = asked.high


def _types(matcher: Matcher) -> frozenset[Type]:
    """Types of fields that it may match."""
    match matcher:
        case Text(text_only=True) | Regex():
            return frozenset({Type.TEXT, Type.TEXTS})
        case Range():
            return frozenset({Type.TEXT, Type.TEXTS} if matcher.of_times else {Type.NUMBER})
        case Truth():
            return frozenset({Type.TRUTH})
        case _:
            return frozenset(Type)


def _impossible(name: str, matcher: Matcher, shape: Shape) -> str | None:
    """Why one test alone is met by nothing."""
    if shape.type is not None and shape.type not in _types(matcher):
        return f"{name} is {shape.type.value}, and is compared with {_what(matcher)}"
    if shape.values is not None and isinstance(matcher, Text | Regex):
        test = matcher.compile()
        if not any(test(value) for value in shape.values):
            return f"{name} is one of {', '.join(sorted(shape.values))}"
    return None


def _what(matcher: Matcher) -> str:
    match matcher:
        case Range():
            return "a time" if matcher.of_times else "a number"
        case Truth():
            return "true or false"
        case _:
            return "text: take the quotes away" if isinstance(matcher, Text) else "a regular expression"
