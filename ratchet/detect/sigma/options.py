"""The `ratchet:` key of a rule: what an alert says, when it ends, and the numbers that people tune.

Sigma keeps keys that it does not know, so a rule with this one is still Sigma, and other tools pass over it. Documented
for people in docs/rules.md; a test keeps the two equal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from ratchet.detect.sigma.source import Document, Fault, Path

SILENT = "machine-silent"
BURST = "failure-burst"
"""`event.action` of what only a rule's own parameters can bring about."""


class Resolve(StrEnum):
    """What ends an alert of a rule."""

    PEOPLE = "people"
    EVIDENCE = "evidence"


@dataclass(frozen=True, slots=True)
class Silence:
    """A machine that has attested stays away: longer than `after` since its latest proof, when a Tick says so."""

    after: timedelta


@dataclass(frozen=True, slots=True)
class Burst:
    """At least `machines` senders of one place with an action of `of`, within `window`.

    `by` is the field that names the place, such as `cloud.region`.
    """

    of: tuple[str, ...]
    by: str
    window: timedelta
    machines: int


@dataclass(frozen=True, slots=True)
class Options:
    """Everything under `ratchet:`.

    Attributes:
        says: the alert's title, with `{field}` in it; the rule's title where it says nothing.
        remedy: what to do, with `{field}` in it, where a reason does not know better.
        resolve: whether later evidence may end the alert, or people alone.
        silence, burst: of a rule that watches for such; else None.
    """

    says: str = ""
    remedy: str = ""
    resolve: Resolve = Resolve.PEOPLE
    silence: Silence | None = None
    burst: Burst | None = None


KEYS: Mapping[str, tuple[str, ...]] = {
    "": ("says", "remedy", "resolve", "silence", "burst"),
    "silence": ("after",),
    "burst": ("of", "by", "window", "machines"),
}
"""Every key there is, by the key that it stands under; docs/rules.md names them all."""

BLANK = re.compile(r"\{([A-Za-z0-9_.@-]{1,128})\}")
"""A field's place in `says` and `remedy`. Not str.format: that would let a rule reach into objects."""

_DURATION = re.compile(r"(\d{1,6})(s|m|h|d)")
_UNIT = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def duration(text: Any) -> timedelta | None:
    """`90s`, `30m`, `12h`, `7d`; None where it is not one between a second and 400 days."""
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    length = timedelta(**{_UNIT[found[2]]: int(found[1])})
    return length if timedelta(seconds=1) <= length <= timedelta(days=400) else None


def spelled(length: timedelta) -> str:
    """The inverse of `duration`, in the largest unit that is whole."""
    seconds = int(length.total_seconds())
    size, unit = next((s, u) for s, u in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")) if seconds % s == 0)
    return f"{seconds // size}{unit}"


def read(document: Document, faults: list[Fault]) -> Options:
    """The options of a rule; what is wrong with them is added to `faults`."""
    raw = document.data.get("ratchet", {})
    at: Path = ("ratchet",)
    if not isinstance(raw, Mapping):
        faults.append(document.fault(at, "`ratchet` is a map: see docs/rules.md"))
        return Options()
    _unknown(document, at, raw, "", faults)
    resolve = raw.get("resolve", Resolve.PEOPLE.value)
    if resolve not in tuple(Resolve):
        faults.append(document.fault((*at, "resolve"), f"`resolve` is people or evidence, not {resolve!r}"))
        resolve = Resolve.PEOPLE
    return Options(
        says=_text(document, at, raw, "says", faults),
        remedy=_text(document, at, raw, "remedy", faults),
        resolve=Resolve(resolve),
        silence=_silence(document, raw, faults),
        burst=_burst(document, raw, faults),
    )


def _unknown(document: Document, at: Path, raw: Mapping[str, Any], under: str, faults: list[Fault]) -> None:
    for key in raw:
        if key not in KEYS[under]:
            faults.append(
                document.fault((*at, key), f"no such key: {'.'.join(map(str, at))} knows {', '.join(KEYS[under])}")
            )


def _text(document: Document, at: Path, raw: Mapping[str, Any], key: str, faults: list[Fault]) -> str:
    text = raw.get(key, "")
    if not isinstance(text, str) or len(text) > 300:
        faults.append(document.fault((*at, key), f"`{key}` is text of at most 300 characters"))
        return ""
    return text


def _length(document: Document, at: Path, raw: Mapping[str, Any], key: str, faults: list[Fault]) -> timedelta:
    length = duration(raw.get(key))
    if length is None:
        faults.append(document.fault((*at, key), f"`{key}` is a duration such as 30m, 12h or 7d, not {raw.get(key)!r}"))
        return timedelta(seconds=1)
    return length


def _silence(document: Document, raw: Mapping[str, Any], faults: list[Fault]) -> Silence | None:
    if "silence" not in raw:
        return None
    at: Path = ("ratchet", "silence")
    silence = raw["silence"]
    if not isinstance(silence, Mapping):
        faults.append(document.fault(at, "`silence` is a map with `after`"))
        return None
    _unknown(document, at, silence, "silence", faults)
    return Silence(_length(document, at, silence, "after", faults))


def _burst(document: Document, raw: Mapping[str, Any], faults: list[Fault]) -> Burst | None:
    if "burst" not in raw:
        return None
    at: Path = ("ratchet", "burst")
    burst = raw["burst"]
    if not isinstance(burst, Mapping):
        faults.append(document.fault(at, "`burst` is a map with `of`, `by`, `window` and `machines`"))
        return None
    _unknown(document, at, burst, "burst", faults)
    of, by, machines = burst.get("of"), burst.get("by"), burst.get("machines")
    if not isinstance(of, list) or not of or not all(isinstance(a, str) for a in of):
        faults.append(document.fault((*at, "of"), "`of` is a list of values of event.action"))
        of = []
    if not isinstance(by, str) or not by:
        faults.append(document.fault((*at, "by"), "`by` names the field that groups, such as cloud.region"))
        by = ""
    if not isinstance(machines, int) or isinstance(machines, bool) or not 1 <= machines <= 1000:
        faults.append(document.fault((*at, "machines"), "`machines` is a whole number from 1 to 1000"))
        machines = 2
    return Burst(tuple(of), by, _length(document, at, burst, "window", faults), machines)
