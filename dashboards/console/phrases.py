"""Words and numbers for people: ages, ids, families, components. Pure, so that pages and tests say the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import quote

from ratchet.event import Json, parse_time
from ratchet.evidence import TEES
from ratchet.evidence.registry import COMPONENTS

TIERS = ("affirming", "warning", "contraindicated", "none")
"""Always in this order (draft-ietf-rats-ar4si, 2.3.2, from good to unknown)."""

LEVELS = ("critical", "high", "medium", "low", "informational")
"""Severity of an alert, worst first (Sigma specification, "level")."""

STATUSES = ("open", "acknowledged", "resolved")

_BARS = {"critical": "sev4", "high": "sev3", "medium": "sev2", "low": "sev1", "informational": "sev1"}
_MARKS = {"open": "open", "acknowledged": "acknowledged", "resolved": "check"}
_OUTCOMES = {"passed": "check", "failed": "cross", "not_possible": "dash"}

_THINGS = {
    "measurement": "Measurement",
    "tcb_info": "TCB info",
    "qe": "Quoting enclave",
    "pck": "PCK certificate",
}
"""Words for what reasons speak of beside claims (Intel PCS API v4)."""

_PARTS = {name.rpartition(".")[2]: one.label for name, one in reversed(tuple(COMPONENTS.items()))}
"""Components without the view that they are of (`snp`): the words of the first."""


def icon(word: str) -> str:
    """The sprite's name for a tier, severity, status or outcome; an unknown word has the mark of `none`."""
    if word in TIERS:
        return word
    return _BARS.get(word) or _MARKS.get(word) or _OUTCOMES.get(word) or "none"


def age(seconds: float) -> str:
    """A span in one unit: `6 s`, `12 min`, `5 h`, `4 d`."""
    whole = int(abs(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if whole >= size * 2 or (whole >= size and unit != "d"):
            return f"{whole // size} {unit}"
    return f"{whole} s"


def ago(text: str | None, at: datetime) -> str:
    """How long before `at` a time was; `in …` where it lies ahead; a dash where there is none."""
    if not text:
        return "–"
    seconds = (at - parse_time(text)).total_seconds()
    return age(seconds) if seconds > -1 else f"in {age(seconds)}"


def exact(text: str | None) -> str:
    """`2026-11-23 23:31:04Z`: where a time is proof."""
    return parse_time(text).strftime("%Y-%m-%d %H:%M:%SZ") if text else "–"


def short(text: str | None) -> str:
    """A long id as its first eight and last four characters; with its kind, where it has one (`chip:…`)."""
    if not text:
        return "–"
    kind, colon, rest = text.partition(":") if re.match(r"[a-z]{3,9}:[0-9a-f]+$", text) else ("", "", text)
    return f"{kind}{colon}{rest[:8]}…{rest[-4:]}" if len(rest) > 20 and re.fullmatch(r"[0-9a-f]+", rest) else text


def part(text: str) -> str:
    """One segment of a path, whatever a sender put into a name."""
    return quote(text, safe="")


def family(text: str | None) -> str:
    """`snp/Milan` as `SNP Milan`."""
    if not text:
        return "unknown family"
    tee, _, rest = text.partition("/")
    return f"{TEES[tee].title if tee in TEES else tee.upper()} {rest}"


def component(text: str) -> str:
    """A component's name in words: `reported.snp` is `SNP`, `committed.ucode` is `Microcode committed`."""
    if text in COMPONENTS:
        return COMPONENTS[text].label
    if re.fullmatch(r"TDX_[0-9A-F]{2}", text, re.IGNORECASE):
        return f"Module {text.upper()}"
    if text.partition("/")[0] in TEES and "/" in text:
        return family(text)
    return _THINGS.get(text) or _PARTS.get(text) or words(text)


def words(code: str) -> str:
    """A code as words: `below_floor` is `Below floor`, `tcb_out_of_date` is `TCB out of date`."""
    spaced = [w.upper() if w in _ACRONYMS else w for w in re.split(r"[_.\s-]+", code)]
    text = " ".join(spaced)
    return text[:1].upper() + text[1:]


_ACRONYMS = frozenset({"crl", "id", "svn", "tcb", "tee"}).union(*(tee.words for tee in TEES.values()))


def tidy(text: str) -> str:
    """A line with its long digests and exact times shortened, for lists; the whole of it is one click away."""
    text = re.sub(r"[0-9a-f]{32,}", lambda found: short(found.group()), text)
    return re.sub(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(\.\d+)?Z", r"\1 \2Z", text)


def say(value: Json) -> str:
    """A JSON value in one line."""
    match value:
        case None:
            return "not attested"
        case bool():
            return "yes" if value else "no"
        case str():
            return value
        case Mapping():
            return ", ".join(f"{_name(str(k))} {say(v)}" for k, v in value.items()) or "–"
        case Sequence():
            return " ".join(say(v) for v in value) or "–"
        case _:
            return str(value)


def _name(key: str) -> str:
    known = _THINGS.get(key) or _PARTS.get(key) or key.replace("_", " ")
    return known if known.isupper() else known[:1].lower() + known[1:]


def plain(text: str) -> str:
    """Text that a sender chose, with what cannot be seen made visible: controls, and overrides of direction.

    Unicode general categories Cc, Cf, Cs, Co, Cn, Zl and Zp (Unicode 4.5; on spoofing by overrides, UTR #36, 3.2).
    """
    return "".join(c if unicodedata.category(c) not in _UNSEEN else f"\\u{{{ord(c):x}}}" for c in text)


_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def clip(text: str, most: int) -> str:
    """The beginning of a sender's text, made visible, with `…` where something is left out."""
    seen = plain(text[: most + 1])
    return seen if len(text) <= most and len(seen) <= most else seen[: most - 1] + "…"


def count(n: int, one: str, many: str | None = None) -> str:
    """A number with its noun: `1 machine`, `2,041 machines`."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
