"""What a proposal would change: the floor of one family, or the policy beside the floors; and which way that goes.

For floors this is exact (`tighten`). For policies it is decided key by key: a change is a tightening only
where this module knows that nothing is admitted afterwards that was refused before. A changed key that it does not know
is a loosening: so a new key of the policy can make this module too strict, never too lax.

| key | tighter when |
|---|---|
| `accept`, `may_be_impossible` | something is taken out |
| `reference_values` | a set is taken out while the tee keeps others, is added as `contraindicated`, or becomes worse |
| `require` | a requirement is added |
| `floor_of` | another of SNP's TCB versions is added |
| `minimum_evaluation`, `evaluation` | a number rises |
| `trusted_for` | shorter |
| `grace` | a rule is taken out |
| `holds` | a machine is lowered to `contraindicated` |
| `production`, `enrolment.required` | it becomes true |
| `enrolment.window` | shorter |
| `name` | always: it judges nothing |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ratchet.event import Json, canonical
from ratchet.policy import tighten
from ratchet.policy.floor import Floor, from_data
from ratchet.policy.policy import Policy
from ratchet.policy.reference import CONTRAINDICATED, KNOWN, STATES

POLICY = "policy"
"""The family of a proposal that changes the policy beside the floors."""

LOOSER = "(LOOSER)"
"""At the end of a difference that may admit more."""

Amendment = Floor | Policy
"""What a proposal would put in force."""


def read(family: str, data: Mapping[str, Json], policy: Policy) -> Amendment:
    """From its JSON; a floor with the statuses that `policy` accepts, whatever was accepted when it was written."""
    return Policy.from_data(data) if family == POLICY else policy.bind(from_data(data))


def tightens(new: Amendment, old: Amendment | None) -> bool:
    """Does it admit nothing that the one before refuses?"""
    if isinstance(new, Policy):
        return not isinstance(old, Policy) or not widened(new, old)
    return not isinstance(old, Policy) and tighten.tightens(new, old)


def lasts(new: Amendment, old: Amendment | None) -> bool:
    """May it stay in force though it admits more, once a quorum signed it?

    What the vendor itself put in the place of the floor before (`tighten.succeeds`), and a policy that knows more
    reference values and differs in nothing else: an own image that is released is no exception (docs/adr/0008).
    """
    if isinstance(new, Policy):
        return isinstance(old, Policy) and _only_knows_more(new, old)
    return not isinstance(old, Policy) and tighten.succeeds(new, old)


def widened(new: Policy, old: Policy) -> tuple[str, ...]:
    """Each way in which `new` may admit what `old` refuses, in words; empty where it is a tightening."""
    return tuple(text for text, wider in _differences(new, old) if wider)


def differences(new: Policy, old: Policy | None) -> tuple[str, ...]:
    """What changes, in words: one line for each difference, the wider ones said to be so."""
    if old is None:
        return ()
    return tuple(f"{text}   {LOOSER}" if wider else text for text, wider in _differences(new, old))


def _beside_floors(policy: Policy) -> dict[str, Json]:
    return {key: value for key, value in policy.to_data().items() if key != "floors"}


def _differences(new: Policy, old: Policy) -> Iterator[tuple[str, bool]]:
    after, before = _beside_floors(new), _beside_floors(old)
    for key in sorted({*after, *before}):
        a, b = after.get(key), before.get(key)
        if _same(a, b):
            continue
        tell = _TELLERS.get(key)
        yield from tell(key, a, b) if tell else _unknown(key, a, b)


def _same(one: Json, other: Json) -> bool:
    return canonical(one) == canonical(other)


def _only_knows_more(new: Policy, old: Policy) -> bool:
    after, before = _beside_floors(new), _beside_floors(old)
    changed = {key for key in {*after, *before} - {"name"} if not _same(after.get(key), before.get(key))}
    if changed != {"reference_values"}:
        return False
    values, had = _entries(after["reference_values"]), _entries(before["reference_values"])
    return all(name in values and _same(values[name], had[name]) for name in had) and all(
        _state(values[name]) == KNOWN for name in values if name not in had
    )


_Told = Iterator[tuple[str, bool]]


def _unknown(key: str, new: Json, old: Json) -> _Told:
    yield f"{key}: {_short(old)} becomes {_short(new)}", True


def _neutral(key: str, new: Json, old: Json) -> _Told:
    yield f"{key}: {_short(old)} becomes {_short(new)}", False


def _number(higher_is_tighter: bool) -> Callable[[str, Json, Json], _Told]:
    def tell(key: str, new: Json, old: Json) -> _Told:
        known = _is_number(new) and _is_number(old)
        tighter = known and ((new > old) if higher_is_tighter else (new < old))
        # A least value where there was none is tighter; none where there was one is not.
        tighter = tighter or (higher_is_tighter and old is None and _is_number(new) and key == "minimum_evaluation")
        yield f"{key}: {_short(old)} becomes {_short(new)}", not tighter

    return tell


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _truth(key: str, new: Json, old: Json) -> _Told:
    yield f"{key}: {_short(old)} becomes {_short(new)}", new is not True


def _taken_out_is_tighter(key: str, new: Json, old: Json) -> _Told:
    """Lists of what is let through."""
    after, before = [*(new or ())], [*(old or ())]
    for one in after:
        if not any(_same(one, other) for other in before):
            yield f"{key}: {_short(one)} is added", True
    for one in before:
        if not any(_same(one, other) for other in after):
            yield f"{key}: {_short(one)} is taken out", False


def _added_is_tighter(key: str, new: Json, old: Json) -> _Told:
    """Lists of what is asked."""
    for text, wider in _taken_out_is_tighter(key, new, old):
        yield text, not wider


def _accept(key: str, new: Json, old: Json) -> _Told:
    after, before = new or {}, old or {}
    for status in sorted({*after, *before}):
        yes, was = {*after.get(status, ())}, {*before.get(status, ())}
        if (status in after) and (status not in before):
            yield f"{key}: {status} is accepted with {_listed(yes)}", True
        elif status not in after:
            yield f"{key}: {status} is no longer accepted", False
        elif yes != was:
            yield f"{key}: {status} with {_listed(was)} becomes {_listed(yes)}", "*" not in was and not yes <= was


def _listed(advisories: set[str]) -> str:
    return "any advisory" if "*" in advisories else ", ".join(sorted(advisories)) or "no advisory"


def _requirements(key: str, new: Json, old: Json) -> _Told:
    after, before = _leaves(new), _leaves(old)
    for place in sorted({*after, *before}):
        if place.rpartition(".")[2] == "unattested" and not _same(after.get(place), before.get(place)):
            # What becomes of evidence that cannot say: refusing it is the stricter of the two.
            yield f"{key}: {place} is {_short(after.get(place))}", after.get(place) != "refuse"
        elif place not in before:
            yield f"{key}: {place} must be {_short(after[place])}", False
        elif place not in after:
            yield f"{key}: {place} need no longer be {_short(before[place])}", True
        elif not _same(after[place], before[place]):
            yield f"{key}: {place} must be {_short(after[place])}, not {_short(before[place])}", True


def _leaves(value: Json, depth: int = 2) -> dict[str, Json]:
    """`tee.condition` -> what is asked."""
    found: dict[str, Json] = {}
    for tee, asked in (value or {}).items():
        if depth > 1 and isinstance(asked, Mapping):
            found |= {f"{tee}.{name}": one for name, one in asked.items()}
        else:
            found[tee] = asked
    return found


def _reference_values(key: str, new: Json, old: Json) -> _Told:
    after, before = _entries(new), _entries(old)
    kept = {tee for tee, _ in after}
    for place in sorted({*after, *before}):
        name = ".".join(part for part in place if part)
        if place not in before:
            state = _state(after[place])
            yield f"{key}: {name} is {state}", state not in STATES or STATES[state] < STATES["contraindicated"]
        elif place not in after:
            # With the last of a tee goes the judgement of what runs there, which the policy may excuse; and what was
            # contraindicated is merely unknown then.
            wider = place[0] not in kept or _state(before[place]) == "contraindicated"
            yield f"{key}: {name} is no longer listed", wider
        elif not _same(after[place], before[place]):
            now, was = _state(after[place]), _state(before[place])
            worse = now in STATES and was in STATES and STATES[now] > STATES[was] and _rest(after[place], before[place])
            yield f"{key}: {name} was {was} and is {now}, or its conditions change", not worse


def _rest(one: Json, other: Json) -> bool:
    """Do two entries differ in their state alone?"""
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return True
    return _same({**one, "state": None}, {**other, "state": None})


def _entries(values: Json) -> dict[tuple[str, str], Json]:
    """(tee, name) -> entry: of sets by name that hold their tee, or of measurements under their tee."""
    found: dict[tuple[str, str], Json] = {}
    for name, entry in (values or {}).items():
        if isinstance(entry, Mapping) and isinstance(entry.get("tee"), str):
            found[entry["tee"], name] = entry
        elif isinstance(entry, Mapping):
            found |= {(name, measurement): state for measurement, state in entry.items()}
        else:
            found[name, ""] = entry
    return found


def _state(entry: Json) -> str:
    return str(entry.get("state", KNOWN)) if isinstance(entry, Mapping) else str(entry)


def _enrolment(key: str, new: Json, old: Json) -> _Told:
    after, before = new or {}, old or {}
    for name in sorted({*after, *before}):
        a, b = after.get(name), before.get(name)
        if _same(a, b):
            continue
        tell = {"required": _truth, "window": _number(higher_is_tighter=False)}.get(name, _unknown)
        yield from tell(f"{key}.{name}", a, b)


def _holds(key: str, new: Json, old: Json) -> _Told:
    after, before = new or {}, old or {}
    for code in sorted({*after, *before}):
        if after.get(code) != before.get(code):
            yield (
                f"{key}: {code} lowers to {after.get(code, 'the default')}, not to {before.get(code, 'the default')}",
                after.get(code) != CONTRAINDICATED,
            )


_TELLERS: Mapping[str, Callable[[str, Json, Json], _Told]] = {
    "accept": _accept,
    "enrolment": _enrolment,
    "floor_of": _added_is_tighter,
    "evaluation": _number(higher_is_tighter=True),
    "grace": _taken_out_is_tighter,
    "holds": _holds,
    "may_be_impossible": _taken_out_is_tighter,
    "minimum_evaluation": _number(higher_is_tighter=True),
    "name": _neutral,
    "production": _truth,
    "reference_values": _reference_values,
    "require": _requirements,
    "trusted_for": _number(higher_is_tighter=False),
}


def _short(value: Json) -> str:
    """A value on one line, not without end: an approver reads it."""
    text = "none" if value is None else canonical(value).decode() if not isinstance(value, str) else value
    return text if len(text) <= 120 else f"{text[:100]}… ({len(text)} characters)"
