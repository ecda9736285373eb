"""What an alert says: its title, facts and reasons, from a rule and the observations that it matched."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ratchet.detect.observation import Observation
from ratchet.detect.sigma.options import BLANK
from ratchet.detect.sigma.rule import Rule
from ratchet.event import Json
from ratchet.reason import Reason

MAX_VALUE = 100
"""Characters of one value in a title."""

MAX_REASONS = 16

_DIGEST = re.compile(r"[0-9a-f]{40,}")
"""A measurement, an id: nobody reads it out, and facts and reasons have it whole."""


def facts(rule: Rule, matched: Sequence[Observation]) -> dict[str, Json]:
    """What the rule's `fields` say. Where several observations differ in one, all their values, in order.

    A simulated trust anchor is said whatever the rule asks for: nobody may take such an alert for a real one.
    """
    told: dict[str, Json] = {}
    simulated = any(o.get("attestation.simulated") for o in matched)
    for name in (*rule.fields, *(("attestation.root", "attestation.simulated") if simulated else ())):
        values = [o.get(name) for o in matched]
        if any(v is not None for v in values):
            told[name] = values[0] if all(v == values[0] for v in values) else values
    return told


def title(rule: Rule, matched: Sequence[Observation]) -> str:
    """For people: names the machine and the fact."""
    text = fill(rule.options.says, matched[0]) if rule.options.says else rule.title
    return text if len(matched) == 1 else f"{text} (and {len(matched) - 1} more)"


def reasons(
    rule: Rule, matched: Sequence[Observation], why: Sequence[Mapping[str, Json]]
) -> tuple[Mapping[str, Json], ...]:
    """Why, and what to do: those of `why` that the rule asks for, or one of its own where there are none.

    Args:
        rule: which found it; its remedy stands where a reason has none.
        matched: what it found; the first fills the remedy's blanks.
        why: Reasons as data, of the verdict or of the step that made the observations.
    """
    wanted = rule.mentions("attestation.reasons")
    remedy = fill(rule.options.remedy, matched[0])
    chosen = [r for r in why if wanted is None or wanted(str(r.get("code")))]
    if not chosen:
        codes = [c for c in matched[0].get("attestation.reasons") or () if wanted is None or wanted(c)]
        source = f"{rule.path} ({rule.id})"
        chosen = [Reason(code, "verdict", None, None, source).to_data() for code in codes]
        chosen = chosen or [Reason(rule.name.replace("-", "_"), "rule", None, None, source).to_data()]
    return tuple({**r, "remedy": r.get("remedy") or remedy} for r in chosen[:MAX_REASONS])


def fill(text: str, observation: Observation) -> str:
    """Put values where `{field}` stands. They come from strangers: cut, and without control characters."""
    return BLANK.sub(lambda blank: _value(observation.get(blank[1])), text)


def _value(value: Json) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, list):
        shown = ", ".join(_value(v) for v in value[:5])
        return shown if len(value) <= 5 else f"{shown} and {len(value) - 5} more"
    text = str(value) if not isinstance(value, bool) else str(value).lower()
    text = "".join(c if c.isprintable() else "?" for c in text)
    if _DIGEST.fullmatch(text):
        return f"{text[:16]}…"
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"
