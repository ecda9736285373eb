"""Floors and proposals in words: what would change, component by component, and whether that is up or down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dashboards.console import phrases
from ratchet.event import Json, parse_time
from ratchet.policy.amendment import LOOSER

Floor = Mapping[str, Json]
"""As data: see docs/floors.md."""


@dataclass(frozen=True, slots=True)
class Change:
    """One row of "what changes". `way` is `same`, `tighter`, `looser`, `new`, `gone` or `changed`."""

    component: str
    before: str
    after: str
    way: str


@dataclass(frozen=True, slots=True)
class Row:
    """A requirement of a floor; `number` where more of it is tighter."""

    key: str
    label: str
    value: str
    number: int | None = None


def rows(floor: Floor | None) -> list[Row]:
    """What a floor asks for, in order, for people."""
    if not floor:
        return []
    return list(_intel(floor) if floor["kind"] == "intel" else _amd(floor))


def changes(before: Floor | None, after: Floor) -> list[Change]:
    """Both floors side by side."""
    old = {r.key: r for r in rows(before)}
    new = {r.key: r for r in rows(after)}
    return [_change(old.get(key), new.get(key)) for key in [*new, *(k for k in old if k not in new)]]


def _change(old: Row | None, new: Row | None) -> Change:
    if old is None and new is not None:
        return Change(new.label, "–", new.value, "new")
    if new is None and old is not None:
        return Change(old.label, old.value, "–", "gone")
    assert old is not None
    assert new is not None
    if old.value == new.value:
        way = "same"
    elif old.number is not None and new.number is not None:
        way = "tighter" if new.number > old.number else "looser"
    else:
        way = "changed"
    return Change(new.label, old.value, new.value, way)


def policy_changes(diff: list[str]) -> list[Change]:
    """What a proposal of another policy changes, each with which way it goes."""
    return [
        Change(text.removesuffix(LOOSER).rstrip(), "", "", "looser" if text.endswith(LOOSER) else "tighter")
        for text in diff
    ]


def title(family: str, before: Floor | None, after: Floor) -> str:
    """A proposal in one line: `SNP Genoa: SNP from 22 to 24, Microcode from 72 to 84`."""
    name = phrases.family(family)
    moved = [c for c in changes(before, after) if c.way in ("tighter", "looser")]
    if moved:
        more = f" and {len(moved) - 3} more" if len(moved) > 3 else ""
        return f"{name}: " + ", ".join(f"{c.component} from {c.before} to {c.after}" for c in moved[:3]) + more
    return f"{name}: first floor, {brief(after)}" if not before else f"{name}: {brief(after)}"


def brief(floor: Floor | None) -> str:
    """A floor in a few words: `evaluation 20` or `SNP 24, Microcode 84`."""
    if not floor:
        return "no floor"
    if floor["kind"] == "intel":
        return f"evaluation {floor['evaluation']}"
    first = [r for r in rows(floor) if r.number is not None][:3]
    return ", ".join(f"{r.label} {r.value}" for r in first) or ("bits alone" if floor["minima"] else "nothing yet")


def source(floor: Floor | None) -> str:
    """Who says so: a bulletin, or the document and the place in it."""
    if not floor:
        return "–"
    p = floor["provenance"]
    where = ", ".join(phrases.short(d) for d in p["documents"])
    return f"{p['bulletin']} ({where})" if p.get("bulletin") else f"{where} {p['pointer']}"


def short_of(tcb: Mapping[str, int], floor: Floor | None) -> int | None:
    """The least reported SNP version that an AMD floor asks for, for the chart; None for other floors."""
    if not floor or floor["kind"] != "amd":
        return None
    asked = [m["tcb"]["reported.snp"] for m in floor["minima"] if "reported.snp" in m["tcb"]]
    return max(asked, default=None) if "reported.snp" in tcb else None


def _amd(floor: Floor) -> Iterator[Row]:
    for minimum in floor["minima"]:
        only = [f"{word} {minimum[word]}" for word in ("model", "stepping") if minimum.get(word) is not None]
        suffix = f" ({', '.join(only)})" if only else ""
        for name, least in sorted(minimum["tcb"].items()):
            yield Row(f"{only}{name}", phrases.component(name) + suffix, str(least), least)
        for name, want in sorted(minimum["bits"].items()):
            yield Row(f"{only}{name}", phrases.words(name) + suffix, phrases.say(want))
        if minimum.get("mitigation"):
            yield Row(f"{only}mitigation", "Mitigations" + suffix, hex(minimum["mitigation"]))


def _intel(floor: Floor) -> Iterator[Row]:
    yield Row("evaluation", "TCB evaluation", str(floor["evaluation"]), floor["evaluation"])
    yield Row("accepted", "Statuses accepted", ", ".join(floor["accepted"]) or "none")
    for status, allowed in sorted(floor["conditional"].items()):
        yield Row(f"with {status}", f"{status} only with", ", ".join(allowed) or "no advisory")
    kinds = Counter(level["status"] for level in floor["levels"])
    yield Row("levels", "Levels", ", ".join(f"{n} {status}" for status, n in kinds.items()) or "none")
    best = next((level for level in floor["levels"] if level["status"] in floor["accepted"]), None)
    if best:
        yield Row("date", "Newest level of", parse_time(best["date"]).date().isoformat())
        yield Row("pcesvn", "PCE", str(best["pcesvn"]), best["pcesvn"])
        asked = [(f"sgx.{i}", least) for i, least in enumerate(best["sgx"])]
        asked += [(f"tdx.{i}", least) for i, least in enumerate(best["tdx"] or ())]
        yield from (Row(name, phrases.component(name), str(least), least) for name, least in asked if least)
    for name, levels in sorted(floor["modules"].items()):
        good = next((level for level in levels if level["status"] in floor["accepted"]), None)
        if good:
            yield Row(name, f"Module {name}", str(good["isvsvn"]), good["isvsvn"])
