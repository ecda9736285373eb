"""A rule's cases: `<name>.cases.yml` beside it, with events at which it must fire and events at which it must not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ratchet.detect.sigma.rule import Rule
from ratchet.detect.sigma.source import BadRules, Document, Fault, read
from ratchet.event import Json

SUFFIX = ".cases.yml"


@dataclass(frozen=True, slots=True)
class Case:
    """One event, what the rule must make of it, and why."""

    why: str
    fires: bool
    event: Mapping[str, Json]
    line: int


def load(path: str, text: str | bytes) -> tuple[Case, ...]:
    """Read a file of cases.

    Raises:
        BadRules: it is not one.
    """
    document = read(path, text)
    data = document.data
    if not isinstance(data, Mapping) or set(data) != {"fires", "silent"}:
        raise BadRules([document.fault((), "cases are a map of two lists, `fires` and `silent`")])
    faults: list[Fault] = []
    cases = [case for kind in ("fires", "silent") for case in _cases(document, kind, data[kind], faults)]
    if faults:
        raise BadRules(faults)
    return tuple(cases)


def _cases(document: Document, kind: str, listed: Any, faults: list[Fault]) -> list[Case]:
    if not isinstance(listed, list) or not listed:
        faults.append(document.fault((kind,), f"`{kind}` needs at least one case"))
        return []
    cases = []
    for i, one in enumerate(listed):
        if not isinstance(one, Mapping) or set(one) != {"why", "event"} or not isinstance(one["event"], Mapping):
            faults.append(document.fault((kind, i), "a case is {why: text, event: {field: value}}"))
        elif not isinstance(one["why"], str) or not one["why"].strip():
            faults.append(document.fault((kind, i), "a case says `why`"))
        else:
            cases.append(Case(one["why"], kind == "fires", one["event"], document.marks[(kind, i)][0]))
    return cases


def wrong(rule: Rule, cases: tuple[Case, ...]) -> tuple[Case, ...]:
    """Those in which the rule does otherwise."""
    return tuple(case for case in cases if rule.matches(case.event) is not case.fires)
