"""From a rule's `detection` to our tree: bounds first, then pySigma reads it, then what it read is translated.

pySigma is the reference implementation of the Sigma specification (2.1), so what a field modifier or a condition
means is its word, not ours. What it would read but we could not answer for (keywords without a field, CIDR, base64,
placeholders, field references, several conditions) is a fault with a line, never a rule that silently does less than
it says.

pySigma takes a tenth of a second to import; this is the only module that does, when rules are loaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from ratchet.detect.sigma.source import BadRules, Document, Fault, Path
from ratchet.query.glob import Pattern
from ratchet.query.matchers import Case, Matcher, Present, Range, Regex, Text, Truth
from ratchet.query.regex import MAX_COST, SUBJECT, regex_cost
from ratchet.query.tree import All, Node, Not, Some, Term

if TYPE_CHECKING:
    from sigma.rule import SigmaRule

MODIFIERS = frozenset(
    {"all", "cased", "contains", "endswith", "exists", "gt", "gte", "i", "ignorecase", "lt", "lte", "m", "multiline"}
    | {"neq", "re", "s", "dotall", "startswith"}
)
"""Field modifiers that we answer for (Sigma specification, appendix "Modifiers")."""

_COMPARING = frozenset({"gt", "gte", "lt", "lte"})
_WORDING = frozenset({"contains", "startswith", "endswith", "cased"})

MAX_TEXT = 1024
MAX_CONDITION = 1024
MAX_WORDS = 64
"""Of a condition; the parser recurses on brackets and on `not`."""

MAX_NODES = 1000


def read(document: Document) -> Node:
    """The tree of a rule's detection. Only for a document in which `faults` finds none.

    Raises:
        BadRules: it cannot be used.
    """
    from sigma.exceptions import SigmaError
    from sigma.rule import SigmaRule

    try:
        rule = SigmaRule.from_dict(document.data)
        parsed = rule.detection.parsed_condition[0].parsed
    except SigmaError as e:
        raise BadRules([document.fault(_place(e), f"not Sigma: {e}")]) from e
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as e:
        # pySigma assumes types here and there (a list where it wants a map): what it stumbles over is the rule's fault.
        raise BadRules([document.fault(("detection",), f"not Sigma: {type(e).__name__}: {e}")]) from e
    return _Translation(document, _identifiers(rule)).node(parsed)


def _identifiers(rule: SigmaRule) -> tuple[str, ...]:
    return tuple(rule.detection.detections)


def _place(error: Exception) -> Path:
    """Where to point: pySigma knows files, not lines; the kind of its error tells the key."""
    kind = type(error).__name__.removeprefix("Sigma").removesuffix("Error").lower()
    if kind == "condition":
        return ("detection", "condition")
    return ({"identifier": "id", "modifier": "detection", "value": "detection"}.get(kind, kind),)


def faults(document: Document) -> list[Fault]:
    """What must be right before pySigma sees it."""
    at: Path = ("detection",)
    detection = document.data.get("detection")
    if not isinstance(detection, Mapping) or not detection:
        return [document.fault(at, "a rule needs `detection`: a map of named searches and a `condition`")]
    found = _condition(document, detection)
    for name, search in detection.items():
        if name == "condition":
            continue
        if name.startswith("_") or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
            found.append(document.fault((*at, name), f"{name!r} cannot be a search's name: letters, digits, _ and -"))
        maps = search if isinstance(search, list) else [search]
        for i, one in enumerate(maps):
            where: Path = (*at, name, i) if isinstance(search, list) else (*at, name)
            if not isinstance(one, Mapping):
                found.append(document.fault(where, "keywords are not supported: name the field that holds the value"))
            elif not one:
                found.append(document.fault(where, "an empty search would match everything"))
            else:
                for key, value in one.items():
                    found += _item(document, (*where, key), key, value)
    return found


def _condition(document: Document, detection: Mapping[str, Any]) -> list[Fault]:
    at: Path = ("detection", "condition")
    condition = detection.get("condition")
    if not isinstance(condition, str):
        return [document.fault(at, "`detection` needs one `condition`, a text")]
    words = re.findall(r"[A-Za-z0-9_*-]+|\S", condition)
    if len(condition) > MAX_CONDITION or len(words) > MAX_WORDS:
        return [document.fault(at, f"a condition of more than {MAX_WORDS} words: split the rule")]
    names = [name for name in detection if name != "condition"]
    found = []
    for i, word in enumerate(words):
        if word.count("*") > 2:
            found.append(document.fault(at, f"{word!r} has more than two `*`"))
        elif i and words[i - 1] == "of" and word != "them":
            if not any(re.fullmatch(word.replace("*", ".*"), name) for name in names if re.match(r"[\w*-]+$", word)):
                found.append(document.fault(at, f"{word!r} names no search: there are {', '.join(names)}"))
        elif re.match(r"[\w-]+$", word) and word not in _WORDS and word not in names:
            found.append(document.fault(at, f"{word!r} is no search: there are {', '.join(names)}"))
    return found


_WORDS = frozenset({"and", "or", "not", "of", "1", "any", "all", "them"})


def _item(document: Document, at: Path, key: str, value: Any) -> list[Fault]:
    """One `field|modifier: value`."""
    field, *modifiers = key.split("|")
    found = []
    if not field:
        found.append(document.fault(at, "a search without a field: name the field that holds the value"))
    for unknown in [m for m in modifiers if m not in MODIFIERS]:
        found.append(
            document.fault(at, f"modifier {unknown!r} is not supported: use one of {', '.join(sorted(MODIFIERS))}")
        )
    if "re" in modifiers and {"contains", "startswith", "endswith", "cased"} & set(modifiers):
        found.append(document.fault(at, "`re` stands alone: say contains, startswith and endswith in the expression"))
    values = value if isinstance(value, list) else [value]
    if not values:
        found.append(document.fault(at, "an empty list matches nothing: say `null` if that is meant"))
    for i, one in enumerate(values):
        where = (*at, i) if isinstance(value, list) else at
        if isinstance(one, list | Mapping):
            found.append(document.fault(where, "a value is text, a number, true, false or null, or a list of such"))
        elif isinstance(one, str) and len(one) > MAX_TEXT:
            found.append(document.fault(where, f"text of more than {MAX_TEXT} characters"))
        elif not isinstance(one, str | int | float | bool | None):
            found.append(document.fault(where, f"{one!r} is a {type(one).__name__} to YAML: put it in quotes"))
        elif isinstance(one, float) and (one != one or one in (float("inf"), float("-inf"))):
            found.append(document.fault(where, "not a finite number"))
        elif isinstance(one, int) and abs(one) > 1 << 53:
            found.append(document.fault(where, "a number beyond 53 bits, which JSON does not keep exactly"))
        elif _COMPARING & set(modifiers) and (isinstance(one, bool) or not isinstance(one, int | float)):
            found.append(document.fault(where, f"only numbers are greater or less, not {one!r}"))
        elif "exists" in modifiers and not isinstance(one, bool):
            found.append(document.fault(where, f"`exists` is true or false, not {one!r}"))
        elif _WORDING & set(modifiers) and not isinstance(one, str):
            found.append(document.fault(where, f"only text has parts and case, not {one!r}: put it in quotes"))
        elif "re" in modifiers:
            found += _expression(document, where, one, modifiers)
    return found


def _expression(document: Document, at: Path, expression: Any, modifiers: list[str]) -> list[Fault]:
    if not isinstance(expression, str) or not expression or len(expression) > SUBJECT:
        return [document.fault(at, f"a regular expression is text of 1 to {SUBJECT} characters")]
    try:
        cost = regex_cost(expression, "m" if {"m", "multiline"} & set(modifiers) else "")
    except (re.error, OverflowError, RecursionError) as e:
        return [document.fault(at, f"not a regular expression: {e}")]
    if cost is None:
        return [document.fault(at, "back-references and conditionals are not supported in regular expressions")]
    if cost > MAX_COST:
        return [document.fault(at, "this regular expression can take for ever: anchor it with ^, repeat less")]
    return []


class _Translation:
    """pySigma's tree to ours."""

    def __init__(self, document: Document, searches: tuple[str, ...]) -> None:
        self._document = document
        self._searches = searches
        self._nodes = 0

    def node(self, parsed: Any) -> Node:
        """One node and what hangs on it; depth is bounded by `MAX_WORDS` and the source's depth."""
        from sigma import conditions

        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._refuse(f"more than {MAX_NODES} tests: split the rule")
        match parsed:
            case conditions.ConditionAND(args):
                return All(tuple(self.node(a) for a in args))
            case conditions.ConditionOR(args):
                return Some(tuple(self.node(a) for a in args))
            case conditions.ConditionNOT(args):
                return Not(self.node(args[0]))
            case conditions.ConditionFieldEqualsValueExpression(field, value):
                return self._test(field, value)
        raise self._refuse(f"{type(parsed).__name__} is not supported; searches: {', '.join(self._searches)}")

    def _test(self, field: str, value: Any) -> Node:
        from sigma import types

        match value:
            case types.SigmaNull():
                return Not(Term((field,), Present()))
            case types.SigmaExists():
                there = Term((field,), Present())
                return there if bool(value) else Not(there)
        return Term((field,), self._matcher(field, value))

    def _matcher(self, field: str, value: Any) -> Matcher:
        from sigma import types

        match value:
            case types.SigmaBool():
                return Truth(bool(value))
            case types.SigmaCompareExpression() if value.op.name in ("GT", "GTE", "LT", "LTE"):
                return Range.of(cast(Any, value.op.name.lower()), value.number.number)
            case types.SigmaNumber() if type(value) is types.SigmaNumber:
                return Range.of("eq", value.number)
            case types.SigmaRegularExpression():
                flags = "".join(
                    sorted({"IGNORECASE": "i", "MULTILINE": "m", "DOTALL": "s"}[f.name] for f in value.flags)
                )
                return Regex(str(value.regexp), flags)
            case types.SigmaString():
                case = Case.EXACT if isinstance(value, types.SigmaCasedString) else Case.UNICODE
                return Text(self._pattern(value, case), case, text_only=True)
        raise self._refuse(f"{field}: {type(value).__name__} is not supported")

    def _pattern(self, value: Any, case: Case) -> Pattern:
        from sigma.types import SpecialChars

        parts: list[list[str | None]] = [[]]
        for part in value.s:
            if part is SpecialChars.WILDCARD_MULTI:
                parts.append([])
            elif part is SpecialChars.WILDCARD_SINGLE:
                parts[-1].append(None)
            elif isinstance(part, str):
                parts[-1] += case.fold(part)
            else:
                raise self._refuse("placeholders are not supported")
        return tuple(tuple(part) for part in parts)

    def _refuse(self, what: str) -> BadRules:
        return BadRules([self._document.fault(("detection",), what)])
