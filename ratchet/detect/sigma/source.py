"""YAML as rules need it: plain data with the line of every value, bounded, and nothing in it that can surprise.

Rules come from people, and one day from other people's repositories. So before anything is built: size, depth and
number of values are capped, anchors and aliases (a few lines of which unfold into gigabytes), explicit tags, several
documents and repeated keys are refused. What is left is YAML 1.1's core types as PyYAML's safe loader resolves them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

MAX_BYTES = 64 * 1024
"""Of one file. The longest rule that SigmaHQ publishes is below 40 KiB."""

MAX_DEPTH = 12
MAX_VALUES = 4000

Path = tuple[str | int, ...]
"""From the top of a document to a value: keys and positions in lists."""


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing wrong with a file, for the person who wrote it."""

    path: str
    line: int
    column: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.what}"


class BadRules(ValueError):
    """Rules that cannot be used: every fault of every file, in order."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(set(faults)))
        super().__init__("\n".join(str(f) for f in self.faults))


@dataclass(frozen=True, slots=True)
class Document:
    """A file's data, and where each value begins."""

    name: str
    data: Any
    marks: Mapping[Path, tuple[int, int]]

    def fault(self, at: Path, what: str) -> Fault:
        """A fault at that value, or at the nearest one around it that is there."""
        while at and at not in self.marks:
            at = at[:-1]
        line, column = self.marks.get(at, (1, 1))
        return Fault(self.name, line, column, what)


def read(name: str, text: str | bytes) -> Document:
    """Parse one file.

    Args:
        name: its path, for faults.
        text: as it lies on disk; bytes must be UTF-8.

    Raises:
        BadRules: with one fault, where it lies.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as e:
            raise BadRules([Fault(name, 1, 1, f"not UTF-8: byte {e.start}")]) from e
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise BadRules([Fault(name, 1, 1, f"larger than {MAX_BYTES} bytes")])
    try:
        _bound(name, text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        marks: dict[Path, tuple[int, int]] = {}
        data = _build(name, node, (), marks) if node is not None else None
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        at = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise BadRules([Fault(name, *at, f"not YAML: {e.problem or e.context or 'unreadable'}")]) from e
    except yaml.YAMLError as e:
        raise BadRules([Fault(name, 1, 1, f"not YAML: {str(e).splitlines()[0]}")]) from e
    return Document(name, data, marks)


def _bound(name: str, text: str) -> None:
    """Walk the events, which costs no more than the text, before anything is built from them."""
    depth = values = documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        mark = event.start_mark

        def refuse(what: str, mark: Any = mark) -> BadRules:
            return BadRules([Fault(name, mark.line + 1, mark.column + 1, what)])

        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise refuse("anchors and aliases are not read here: write the value out")
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise refuse("one document in one file")
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if isinstance(event, yaml.NodeEvent):
            values += 1
            if getattr(event, "tag", None):
                raise refuse("explicit tags are not read here")
        if depth > MAX_DEPTH:
            raise refuse(f"nested deeper than {MAX_DEPTH}")
        if values > MAX_VALUES:
            raise refuse(f"more than {MAX_VALUES} values")


def _build(name: str, node: yaml.Node, at: Path, marks: dict[Path, tuple[int, int]]) -> Any:
    """Plain data from a composed node; its recursion is bounded by MAX_DEPTH."""
    here = (node.start_mark.line + 1, node.start_mark.column + 1)
    marks[at] = here
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key, value in node.value:
            where = (key.start_mark.line + 1, key.start_mark.column + 1)
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                raise BadRules([Fault(name, *where, "a key must be text: put it in quotes")])
            if key.value in mapping:
                raise BadRules([Fault(name, *where, f"{key.value!r} is given twice")])
            mapping[key.value] = _build(name, value, (*at, key.value), marks)
            marks[(*at, key.value)] = where
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_build(name, value, (*at, i), marks) for i, value in enumerate(node.value)]
    try:
        return yaml.SafeLoader("").construct_object(node)
    except (ValueError, OverflowError) as e:
        raise BadRules([Fault(name, *here, f"{node.value[:40]!r} cannot be read: {e}")]) from e
