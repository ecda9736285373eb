"""One rule, read and ready: its Sigma, its options, its predicate."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from ratchet.detect.sigma import detection, options, reach
from ratchet.detect.sigma.options import Options
from ratchet.detect.sigma.source import BadRules, Document, Fault
from ratchet.event import Json
from ratchet.query import predicate
from ratchet.query.fields import of_flat_event
from ratchet.query.matchers import Text
from ratchet.query.tree import Node, terms, values

LEVELS = ("informational", "low", "medium", "high", "critical")
"""Sigma specification 2.1, "Level"."""

SERVICES = ("evidence", "collateral", "policy", "advisory")
"""Log sources of `product: ratchet`; a rule lies in the folder of its service."""

_TECHNIQUE = re.compile(r"attack\.t\d{4}(\.\d{3})?")


@dataclass(frozen=True, slots=True)
class Rule:
    """A detection rule.

    Attributes:
        name: its file's stem: what alerts carry and people say.
        path: where it lies, for messages.
        id: UUID; outlives renaming.
        title, description, level, status, tags, references, falsepositives, fields: Sigma's own.
        service: of its log source.
        options: the `ratchet:` key.
        tree: its detection, for outputs other than the predicate.
        matches: its detection as a function over a flat event.
        actions: values of `event.action` outside which it cannot match; None: any.
    """

    name: str
    path: str
    id: str
    title: str
    description: str
    level: str
    status: str
    service: str
    tags: tuple[str, ...]
    references: tuple[str, ...]
    falsepositives: tuple[str, ...]
    fields: tuple[str, ...]
    options: Options
    tree: Node
    matches: Callable[[Mapping[str, Json]], bool] = field(compare=False)
    actions: frozenset[str] | None

    @property
    def techniques(self) -> tuple[str, ...]:
        """MITRE ATT&CK technique ids, such as `T1542.001`."""
        return tuple(t.removeprefix("attack.").upper() for t in self.tags if _TECHNIQUE.fullmatch(t))

    def mentions(self, field: str) -> Callable[[str], bool] | None:
        """Which of a field's texts the rule asks for (not under `not`), as a test; None where it asks for none."""
        asked = [
            term.match.compile()
            for term in terms(self.tree, negated=False)
            if isinstance(term.match, Text) and field in term.fields
        ]
        return (lambda text: any(test(text) for test in asked)) if asked else None


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What events can say. A rule that asks for anything else could never fire: that is a fault, not a rule.

    Attributes:
        fields: names.
        families: prefixes behind which any name may stand, such as `labels.`.
        actions: values of `event.action`.
        shapes: field -> what it can say; of one that is left out anything is believed.
    """

    fields: tuple[str, ...]
    families: tuple[str, ...]
    actions: tuple[str, ...]
    shapes: Mapping[str, reach.Shape] = field(default_factory=dict)

    def shape(self, field: str) -> reach.Shape:
        """What a field can say."""
        return self.shapes.get(field, reach.ANYTHING)

    def has(self, field: str) -> bool:
        """Whether an event can have this field."""
        return field in self.fields or any(field.startswith(f) and field != f for f in self.families)


def read(document: Document, vocabulary: Vocabulary) -> Rule:
    """Read one rule.

    Args:
        document: the file.
        vocabulary: of the events that it will see.

    Raises:
        BadRules: it cannot be used; every fault that was found.
    """
    data = document.data
    if not isinstance(data, Mapping):
        raise BadRules([document.fault((), "a rule is a map: see docs/rules.md")])
    faults: list[Fault] = []
    _metadata(document, faults)
    chosen = options.read(document, faults)
    faults += detection.faults(document)
    faults += _fields(document, vocabulary)
    if faults:
        raise BadRules(faults)
    tree = detection.read(document)
    actions = values(tree, "event.action")
    faults += _parameters(document, chosen, actions, vocabulary)
    if not faults and (why := reach.never(tree, vocabulary.shape)) is not None:
        faults.append(document.fault(("detection",), f"this rule can never fire: {why}"))
    if faults:
        raise BadRules(faults)
    return Rule(
        name=PurePosixPath(document.name).stem,
        path=document.name,
        id=data["id"].lower(),
        title=data["title"],
        description=data["description"],
        level=data["level"],
        status=data.get("status", "experimental"),
        service=data["logsource"]["service"],
        tags=_texts(data, "tags"),
        references=_texts(data, "references"),
        falsepositives=_texts(data, "falsepositives"),
        fields=_texts(data, "fields"),
        options=chosen,
        tree=tree,
        matches=predicate.compile(tree, of_flat_event),
        actions=actions,
    )


def _texts(data: Mapping[str, Any], key: str) -> tuple[str, ...]:
    return tuple(data.get(key) or ())


def _metadata(document: Document, faults: list[Fault]) -> None:
    """What Sigma leaves open and an alert cannot do without."""
    data = document.data
    for key, most in (("title", 256), ("description", 4000), ("id", 36), ("level", 20)):
        value = data.get(key)
        if not isinstance(value, str) or not value.strip() or len(value) > most:
            faults.append(document.fault((key,), f"a rule needs `{key}`: text of at most {most} characters"))
    if isinstance(data.get("id"), str) and not re.fullmatch(
        r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", data["id"]
    ):
        faults.append(document.fault(("id",), "`id` is a UUID with its dashes"))
    if isinstance(data.get("level"), str) and data["level"] not in LEVELS:
        faults.append(document.fault(("level",), f"`level` is one of {', '.join(LEVELS)}"))
    source = data.get("logsource")
    if not isinstance(source, Mapping) or source.get("product") != "ratchet" or source.get("service") not in SERVICES:
        wanted = f"{{product: ratchet, service: {' | '.join(SERVICES)}}}"
        faults.append(document.fault(("logsource",), f"`logsource` is {wanted}"))
    for key in ("tags", "references", "falsepositives", "fields"):
        value = data.get(key)
        if value is not None and not (isinstance(value, list) and all(isinstance(v, str) for v in value)):
            faults.append(document.fault((key,), f"`{key}` is a list of texts"))
    status = data.get("status", "experimental")
    if status not in ("stable", "test", "experimental", "deprecated", "unsupported"):
        faults.append(document.fault(("status",), "`status` is stable, test, experimental, deprecated or unsupported"))


def _fields(document: Document, vocabulary: Vocabulary) -> list[Fault]:
    """A field that no event has makes a rule that never fires: say so now, not after the incident."""
    faults = []

    def check(name: str, at: tuple[str | int, ...]) -> None:
        if name and not vocabulary.has(name):
            near = difflib.get_close_matches(name, vocabulary.fields, 1)
            hint = f": did you mean {near[0]}?" if near else ": docs/rules.md lists them"
            faults.append(document.fault(at, f"there is no field {name}{hint}"))

    searches = document.data.get("detection")
    for name, search in searches.items() if isinstance(searches, Mapping) else ():
        for i, one in enumerate(search if isinstance(search, list) else [search]):
            for key in one if isinstance(one, Mapping) else ():
                at = ("detection", name, i, key) if isinstance(search, list) else ("detection", name, key)
                check(key.split("|")[0], at)
    listed = document.data.get("fields")
    for i, name in enumerate(listed if isinstance(listed, list) else ()):
        check(str(name), ("fields", i))
    own = document.data.get("ratchet")
    for key in ("says", "remedy"):
        text = own.get(key) if isinstance(own, Mapping) else None
        for name in options.BLANK.findall(text) if isinstance(text, str) else ():
            check(name, ("ratchet", key))
    burst = own.get("burst") if isinstance(own, Mapping) else None
    if isinstance(burst, Mapping) and isinstance(burst.get("by"), str):
        check(burst["by"], ("ratchet", "burst", "by"))
    return faults


def _parameters(
    document: Document, chosen: Options, actions: frozenset[str] | None, vocabulary: Vocabulary
) -> list[Fault]:
    """A rule that watches for silence or a burst needs their numbers, and only such a rule may have them."""
    faults = []
    there_are = f"there are {', '.join(vocabulary.actions)}"
    for unknown in sorted((actions or frozenset()) - set(vocabulary.actions)):
        faults.append(document.fault(("detection",), f"no event.action is {unknown!r}: {there_are}"))
    for i, action in enumerate(chosen.burst.of if chosen.burst else ()):
        if action not in vocabulary.actions:
            faults.append(document.fault(("ratchet", "burst", "of", i), f"no event.action is {action!r}: {there_are}"))
    for action, key, given in ((options.SILENT, "silence", chosen.silence), (options.BURST, "burst", chosen.burst)):
        asks = actions is not None and action in actions
        if asks and given is None:
            faults.append(
                document.fault(("detection",), f"a rule on {action} needs `ratchet: {key}:`; without, it never fires")
            )
        if given is not None and not asks:
            faults.append(document.fault(("ratchet", key), f"`{key}` is for rules on `event.action: {action}` alone"))
    return faults
