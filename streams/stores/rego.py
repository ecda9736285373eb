"""Deciding samples by the Rego that a store holds, in process, and what a proof is.

A store is believed when evidence that must be refused is refused and evidence that must pass passes. What is asked is
always the object `data.ratchet.decision`. In process it is decided by the policy that OPA compiled to WebAssembly when
it was written (`scripts/build-policy`; docs/adr/0004): a store whose policy is another text is not proven by it, and
every input is refused. Undefined, an error, or anything but the two fields in their types is a refusal.
"""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Protocol

from ratchet.event import Json
from ratchet.policy import floor as floors
from ratchet.ports import Drifted, Receipt, Samples, Written
from streams.stores.layout import KEYS, RULES
from streams.stores.layout import policy as source
from streams.stores.samples import FAULTS, Minter, OneKey, keys_file, question
from streams.stores.wasm import Compiled, Undecided

EXACT = 2**53 - 1
"""The greatest whole number that every JSON reader takes exactly (RFC 8259, 6); what is beyond is not asked."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What OPA is served: files by path, and the commit that they are of."""

    revision: str
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer: `reasons` as the policy lists them; empty where it could not say."""

    allow: bool
    reasons: tuple[Mapping[str, Json], ...]


class Prover(Protocol):
    """Something that holds a policy and decides by it."""

    def decide(self, policy: Policy, inputs: Sequence[Mapping[str, Json]], at: datetime) -> tuple[Decision, ...]:
        """Each input, decided by this policy and no other revision, as of `at` (a server has a clock of its own).

        Raises:
            Unreachable: it cannot be asked now, or does not hold this revision yet.
        """

    def revision(self) -> str | None:
        """What it holds now; None where it holds nothing of its own and decides whatever it is handed.

        Raises:
            Unreachable: it cannot be asked now.
        """


REFUSED = Decision(False, ())
"""What an answer is taken for that is none."""


def decision_of(value: Json) -> Decision:
    """Read the policy's answer; whatever is not one is a refusal."""
    if not isinstance(value, dict) or not isinstance(value.get("reasons"), list):
        return REFUSED
    return Decision(value.get("allow") is True, tuple(r for r in value["reasons"] if isinstance(r, dict)))


class RegoInProcess:
    """OPA's compiled policy in this process: no server, no other program."""

    def decide(self, policy: Policy, inputs: Sequence[Mapping[str, Json]], at: datetime) -> tuple[Decision, ...]:
        """See `Prover.decide`."""
        minter = _own_key()
        try:
            files = {**policy.files, KEYS: keys_file(minter.jwks(at))}
            compiled = Compiled(_compiled(), _data(Policy(policy.revision, files)))
        except (Undecided, ValueError, TypeError):
            return (REFUSED,) * len(inputs)
        return tuple(_ask(compiled, one, policy.files, minter, at) for one in inputs)

    def revision(self) -> str | None:
        """None: it decides what it is handed."""
        return None


@cache
def _compiled() -> bytes:
    """What `scripts/build-policy` made of decision.rego; a test compiles it again and compares."""
    return importlib.resources.files("streams.stores").joinpath("decision.wasm").read_bytes()


def _data(policy: Policy) -> dict[str, Json]:
    """The document `data` of a policy whose text is the one that was compiled.

    Raises:
        ValueError: it has another text, or data that is no object.
    """
    texts = {path: text for path, text in policy.files.items() if path.endswith(".rego")}
    if texts != {RULES: source()}:
        raise ValueError("not the policy that was compiled")
    data: dict[str, Json] = {}
    for path, text in sorted(policy.files.items()):
        if path.endswith("/data.json"):
            below = _rooted(path.split("/")[:-1], json.loads(text))
            if not isinstance(below, dict) or data.keys() & below.keys():
                raise ValueError("two documents at one place")
            data |= below
    return data


def _rooted(path: Sequence[str], value: Json) -> Json:
    for name in reversed(path):
        value = {name: value}
    return value


@cache
def _own_key() -> OneKey:
    return OneKey()


def _ask(
    compiled: Compiled, one: Mapping[str, Json], files: Mapping[str, bytes], minter: Minter, at: datetime
) -> Decision:
    try:
        return decision_of(compiled.decide(question(one, files, minter, at), at)) if _exact(one) else REFUSED
    except (Undecided, ValueError, KeyError, TypeError):
        return REFUSED


MAX_DEPTH = 32
"""Of an input; the deepest that anybody means has 6."""


def _exact(value: Json, depth: int = 0) -> bool:
    """Whether it is no deeper than is read, and every number in it one that all evaluators read alike."""
    if depth > MAX_DEPTH:
        return False
    if isinstance(value, Mapping):
        return all(_exact(inner, depth + 1) for inner in value.values())
    if isinstance(value, list | tuple):
        return all(_exact(inner, depth + 1) for inner in value)
    return (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or (isinstance(value, int) and abs(value) <= EXACT)
    )


def prove(store: str, prover: Prover, policy: Policy, done: Written, samples: Samples) -> Receipt | Drifted:
    """Evaluate the samples, and probes of our own, on a policy that was read back.

    Raises:
        Unreachable: the prover cannot be asked now.
    """
    refuse = [*samples.refuse, *probes(done.intent.floors)]
    refuse += [{**one, "fault": fault} for one in samples.admit[:1] for fault in FAULTS]
    inputs = [dict(one) for one in (*refuse, *samples.admit)]
    decisions = prover.decide(policy, inputs, done.intent.at)
    wrong = [
        _wrong(number, one, decision, number >= len(refuse))
        for number, (one, decision) in enumerate(zip(inputs, decisions, strict=True))
        if decision.allow is not (number >= len(refuse))
    ]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        return Drifted(store, done.intent.change, done.revision, done.revision, wrong[0] + more)
    detail = f"{len(refuse)} refused and {len(samples.admit)} passed, as they must be"
    return Receipt(store, done.intent.change, done.revision, len(refuse), len(samples.admit), detail)


def probes(held: Mapping[str, Json]) -> Iterable[Mapping[str, Json]]:
    """Samples that any policy with these floors must refuse, whatever the fleet is like.

    Nothing at all; a family without a floor; and for each family, a forged token, and firmware of version zero (left
    out where the floor asks for nothing that zero lacks).
    """
    yield {}
    yield _probe("none/none", genuine=True)
    for family, data in sorted(held.items()):
        yield _probe(family, genuine=False)
        floor = floors.from_data(data)
        zero = dict.fromkeys(floor.asks, 0)
        if floors.shortfalls(floor, zero, {}):
            yield _probe(family, genuine=True, tcb=zero)


def _probe(family: str, *, genuine: bool, tcb: Mapping[str, int] | None = None) -> Mapping[str, Json]:
    tee = family.partition("/")[0]
    return {"family": family, "tee": tee, "debug": False, "genuine": genuine, "tcb": dict(tcb or {}), "bits": {}}


def _wrong(number: int, one: Mapping[str, Json], decision: Decision, must_pass: bool) -> str:
    who = f"{one.get('family', 'nothing')}{' (' + one['fault'] + ')' if 'fault' in one else ''}"
    if must_pass:
        codes = ", ".join(sorted({str(r.get("code")) for r in decision.reasons})) or "no reason given"
        return f"sample {number} of {who} must pass and was refused: {codes}"
    return f"sample {number} of {who} must be refused and passed"
