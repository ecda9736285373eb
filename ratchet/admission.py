"""Admission: what a store is asked about a machine, and why it refuses. The Rego that stores hold says the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ratchet.event import Json
from ratchet.floor import Floor, shortfalls
from ratchet.policy import AR4SI, KNOWN
from ratchet.reason import Reason


def presented(source: Mapping[str, Json]) -> dict[str, Json]:
    """What a store is asked about a machine, from the data of a verdict or from a signal (docs/events.md).

    `genuine` is narrower here than there: a store has no step for collateral, so what a quote lacks of it counts.
    """
    claims = source.get("claims") if "claims" in source else source
    claims = claims or {}
    if "genuine" in source:
        genuine = bool(source["genuine"])
    else:
        outcome = {step["name"]: step["outcome"] for step in source.get("steps", ())}
        must = ("parse", "chain", "signature", "binding")
        genuine = "failed" not in outcome.values() and all(outcome.get(name) == "passed" for name in must)
    if source.get("tee") in ("sgx", "tdx"):
        # The PCK signs the report of any enclave that may ask it. Until the quoting enclave was held against Intel's
        # identity, which gives a TCB status, another may have made the quote: no store is told that it is genuine.
        status = (source.get("tcb") or {}).get("merged") if "claims" in source else source.get("tcb_status")
        genuine = genuine and status is not None
    return {
        "family": source.get("family"),
        "tee": source.get("tee"),
        "measurement": claims.get("measurement"),
        "debug": bool(claims.get("debug")),
        "genuine": genuine,
        "tcb": dict(claims.get("tcb") or {}),
        "bits": dict(claims.get("bits") or {}),
    }


def objections(
    ask: Mapping[str, Json], floors: Mapping[str, Floor], reference_values: Mapping[str, Mapping[str, str]]
) -> tuple[Reason, ...]:
    """What a store must answer to `presented` claims: why it refuses, empty when it admits. The Rego says the same.

    A tee without reference values is not judged by measurement; a family that the store was told nothing of is refused
    (`ratchet.floor.open_floor` is how it is told that a family is not judged yet).
    """
    found: list[Reason] = []
    if ask.get("genuine") is not True:
        remedy = "verify the evidence: see its proof steps"
        found.append(Reason("not_genuine", "evidence", ask.get("genuine"), True, "docs/design.md, rule 2", remedy))
    if ask.get("debug") is not False:
        remedy = "relaunch without debug"
        found.append(Reason("debug_enabled", "debug", ask.get("debug"), False, "docs/policy.md, AR4SI", remedy))
    values = reference_values.get(str(ask.get("tee")))
    if values:
        reason = judge_measurement(str(ask.get("tee")), ask.get("measurement"), values)
        if reason is not None and reason.code != "measurement_closing":
            found.append(replace(reason, code="measurement_not_admitted"))
    floor = floors.get(str(ask.get("family")))
    if floor is None:
        remedy = "push a floor for the family, or an open one"
        found.append(
            Reason("no_floor", "family", ask.get("family"), "a family that has a floor", "docs/floors.md", remedy)
        )
    else:
        found += shortfalls(floor, ask.get("tcb") or {}, ask.get("bits") or {})
    return tuple(found)


def judge_measurement(tee: str, measurement: str | None, values: Mapping[str, str]) -> Reason | None:
    """Why a measurement is not simply known; None when it is."""
    state = values.get(measurement) if measurement is not None else None
    match state:
        case "known":
            return None
        case "closing":
            return Reason("measurement_closing", "measurement", measurement, KNOWN, AR4SI,
                          "move to the current image before the window closes")  # fmt: skip
        case "contraindicated":
            return Reason("measurement_contraindicated", "measurement", measurement, KNOWN, AR4SI,
                          "stop this image: the policy names it as bad")  # fmt: skip
    return Reason(
        "measurement_unknown",
        "measurement",
        measurement,
        f"one of {len(values)} reference values for {tee}",
        AR4SI,
        "find out what was launched; add it to the reference values if it is yours",
    )
