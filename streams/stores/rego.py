"""Deciding samples by the Rego that a store holds, in process (rego-cpp), and what a proof is.

A store is believed when evidence that must be refused is refused and evidence that must pass passes. What is asked is
always the object `data.ratchet.decision`, never `data.ratchet.allow`: rego-cpp answers a query whose value is false
with "undefined". Undefined, an error, or anything but the two fields in their types is a refusal (docs/adr/0004).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import regopy

from ratchet import floor as floors
from ratchet.event import Json
from ratchet.ports import Drifted, Receipt, Samples, Written

QUERY = "data.ratchet.decision"
"""Defined for every input."""

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

    def decide(self, policy: Policy, inputs: Sequence[Mapping[str, Json]]) -> tuple[Decision, ...]:
        """Each input, decided by this policy and no other revision.

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
    """rego-cpp through `regopy`: no server, no other process."""

    def decide(self, policy: Policy, inputs: Sequence[Mapping[str, Json]]) -> tuple[Decision, ...]:
        """See `Prover.decide`."""
        try:
            rego = regopy.Interpreter()
            rego.log_level = regopy.LogLevel.NONE
            for path, data in sorted(policy.files.items()):
                if path.endswith(".rego"):
                    rego.add_module(path, data.decode())
                elif path.endswith("/data.json"):
                    rego.add_data_json(json.dumps(_rooted(path.split("/")[:-1], json.loads(data))))
            compiled = rego.build(QUERY)
        except (regopy.RegoError, ValueError, TypeError):
            return (REFUSED,) * len(inputs)
        return tuple(_ask(rego, compiled, one) for one in inputs)

    def revision(self) -> str | None:
        """None: it decides what it is handed."""
        return None


def _rooted(path: Sequence[str], value: Json) -> Json:
    for name in reversed(path):
        value = {name: value}
    return value


def _ask(rego: regopy.Interpreter, compiled: regopy.Bundle, one: Mapping[str, Json]) -> Decision:
    try:
        if not _exact(one):
            return REFUSED
        rego.set_input_term(json.dumps(one, allow_nan=False))
        results = rego.query_bundle(compiled).results
        return decision_of(results[0].expressions[0]) if results and results[0].expressions else REFUSED
    except (regopy.RegoError, ValueError, TypeError, KeyError, IndexError):
        return REFUSED


def _exact(value: Json) -> bool:
    """Whether every number in it is one that both evaluators read alike."""
    if isinstance(value, Mapping):
        return all(map(_exact, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_exact, value))
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
    refuse = [*samples.refuse, *probes(done.intent.floors, done.intent.reference_values)]
    inputs = [dict(one) for one in (*refuse, *samples.admit)]
    decisions = prover.decide(policy, inputs)
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


def probes(held: Mapping[str, Json], values: Mapping[str, Json]) -> Iterable[Mapping[str, Json]]:
    """Inputs that any policy with these floors must refuse, whatever the fleet is like.

    Nothing at all; a family without a floor; and for each family, evidence that is not genuine, and firmware of version
    zero (left out where the floor asks for nothing that zero lacks). Where measurements are judged, an admitted one
    is given, so that nothing but the fault in question speaks against the probe.
    """
    known = {tee: min((m for m, state in of.items() if state == "known"), default="") for tee, of in values.items()}
    yield {}
    yield _probe("none/none", known, genuine=True)
    for family, data in sorted(held.items()):
        yield _probe(family, known, genuine=False)
        names = [f"{kind}.{n}" for kind in ("sgx", "tdx") for n in range(16)] + ["pcesvn"]
        floor = floors.from_data(data)
        if isinstance(floor, floors.AmdFloor):
            names = sorted({name for minimum in floor.minima for name in minimum.tcb})
        zero = dict.fromkeys(names, 0)
        if floors.shortfalls(floor, zero, {}):
            yield _probe(family, known, genuine=True, tcb=zero)


def _probe(
    family: str, known: Mapping[str, str], *, genuine: bool, tcb: Mapping[str, int] | None = None
) -> Mapping[str, Json]:
    tee = family.partition("/")[0]
    return {
        "family": family,
        "tee": tee,
        "measurement": known.get(tee, ""),
        "debug": False,
        "genuine": genuine,
        "tcb": dict(tcb or {}),
        "bits": {},
    }


def _wrong(number: int, one: Mapping[str, Json], decision: Decision, must_pass: bool) -> str:
    who = one.get("family", "the empty input")
    if must_pass:
        codes = ", ".join(sorted({str(r.get("code")) for r in decision.reasons})) or "no reason given"
        return f"sample {number} of {who} must pass and was refused: {codes}"
    return f"sample {number} of {who} must be refused and passed"
