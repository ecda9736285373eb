"""Observations: what rules see. Flat, ECS-like dictionaries of facts; one for each thing that came to light.

Names follow the Elastic Common Schema 9 where it has one (`host.id`, `event.action`); attestation has none, so it is
`attestation.*`. A field that has nothing to say is left out, so that `exists` and `null` mean something.
docs/rules.md lists them all for people; a test keeps it equal to `FIELDS`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ratchet.detect.firmware import Regression
from ratchet.detect.sigma import options
from ratchet.detect.sigma.reach import Shape, Type
from ratchet.event import Event, Json, stamp
from ratchet.standing import MASKED, Standing, Tier

Observation = dict[str, Json]
Signal = Mapping[str, Json]
"""As in docs/events.md, signals.batched.v1."""

APPRAISED = "evidence-appraised"
REFUSED = "evidence-refused"
UNPROVEN = "evidence-unproven"
COLLATERAL = "collateral-failed"
AGE_UNKNOWN = "evidence-age-unknown"
REPLAYED = "evidence-replayed"
ROLLED_BACK = "firmware-rolled-back"
SILENT = options.SILENT
BURST = options.BURST
DRIFTED = "store-drifted"
NOT_ENFORCING = "store-not-enforcing"
LOOSENED = "floor-loosened"

ACTIONS: Mapping[str, str] = {
    APPRAISED: "fresh genuine evidence, and what the policy made of it; again when it is judged again",
    REFUSED: "evidence of which a proof step failed for a reason of its own",
    COLLATERAL: "evidence that cannot be proven because a vendor's statement is expired or unsound",
    UNPROVEN: "evidence of which no step failed, but one without which nothing is proven was not possible",
    AGE_UNKNOWN: "genuine evidence of which nobody knows when it was made; it counts for no machine",
    REPLAYED: "bytes that an earlier event brought already",
    ROLLED_BACK: "proven evidence with a security version below one that this machine proved; one for each component",
    SILENT: "a machine that has attested is longer away than the rule allows",
    BURST: "as many senders of one place in trouble as the rule names, within its window",
    DRIFTED: "a policy store holds what we did not write, or does not answer",
    NOT_ENFORCING: "a policy store did not prove that it enforces a change",
    LOOSENED: "a floor is sent, for a time, that admits what the one before it refuses",
}
"""Every value of `event.action`."""

FIELDS: Mapping[str, str] = {
    "@timestamp": "event time, RFC 3339",
    "event.action": "what came to light",
    "event.category": "`host`, or `configuration` for stores and floors",
    "event.outcome": "`success`, `failure` or `unknown`",
    "organization.id": "tenant",
    "host.id": (
        "machine identity: `chip:…`, `ppid:…`, `platform:…`, `ec2:…`, `masked:…`, or `hint:…` where nothing is proven"
    ),
    "host.name": "who the sender says it is",
    "cloud.region": "as sent",
    "service.name": "workload, as sent",
    "attestation.tee": "`sgx`, `tdx` or `snp`",
    "attestation.family": "product family, such as `snp/Milan`",
    "attestation.genuine": "whether the evidence is proven",
    "attestation.tier": "`affirming`, `warning`, `contraindicated` or `none`",
    "attestation.failed": "proof steps that failed, a list",
    "attestation.reasons": "codes of reasons, a list (docs/reasons.md)",
    "attestation.not_possible": "proof steps that were not possible, a list",
    "attestation.barred": "what kept `affirming` away for want of a check, a list",
    "attestation.recognition": "`ours`, `stranger`, `moved` (the name is another machine's), `waiting` or `not_asked`",
    "attestation.url": "where what is missing can be had",
    "attestation.fresh": "whether it is known that the evidence was made now",
    "attestation.rejudged": "id of the event because of which it was judged again",
    "attestation.tcb_status": "Intel's TCB status, merged",
    "attestation.advisories": "Intel's advisories, a list",
    "attestation.evaluation": "Intel's evaluation number",
    "attestation.measurement": "launch measurement, hex",
    "attestation.debug": "whether the guest may be debugged",
    "attestation.instance": "the guest",
    "attestation.weak": "whether the identity is only the sender's word",
    "attestation.root": "trust anchor",
    "attestation.simulated": "whether that anchor is a simulated vendor's",
    "attestation.late": "whether it arrived after its round",
    "attestation.evidence": "id of the evidence event",
    "attestation.component": "the component that went back",
    "attestation.was": "the version it had proved",
    "attestation.now": "the version it proves now",
    "attestation.first_seen": "when replayed bytes first came",
    "attestation.first_sender": "who sent replayed bytes first",
    "attestation.last_seen": "latest proof of a silent machine",
    "attestation.silent_hours": "whole hours since",
    "attestation.machines": "how many senders are in a burst",
    "attestation.until": "when a loosening ends by itself, if it is in force as soon as it is sent",
    "attestation.proposal": "the proposal that a loosening comes of",
    "attestation.approvers": "who signed a loosening, a list",
    "store.name": "policy store",
    "store.outcome": "what it did, such as `drifted` or `unreachable`",
    "store.detail": "one line from it",
    "store.expected": "the revision it should hold",
    "store.found": "the revision it holds",
    "store.change": "the change that it concerns",
}
"""Every field, but for the families `attestation.tcb.<name>`, `attestation.bits.<name>` and `labels.<name>`."""

FAMILIES: Mapping[str, str] = {
    "attestation.tcb.": "a security version by name, such as `attestation.tcb.reported.snp`",
    "attestation.bits.": "a policy or platform bit by name, such as `attestation.bits.policy.smt`",
    "labels.": "a label of the sender's hint",
}

_EVIDENCE = frozenset(ACTIONS) - {DRIFTED, NOT_ENFORCING, LOOSENED, BURST}
"""Actions that are about one machine or sender."""
_STORES = frozenset({DRIFTED, NOT_ENFORCING})

RECOGNITIONS = frozenset({"ours", "stranger", "moved", "waiting", "not_asked"})
"""What enrolment makes of a machine."""


def _said_of(type: Type, *actions: str) -> Shape:
    return Shape(type, None, frozenset(actions) if actions else None)


SHAPES: Mapping[str, Shape] = {
    "event.action": Shape(Type.TEXT, frozenset(ACTIONS)),
    "event.category": Shape(Type.TEXT, frozenset({"host", "configuration"})),
    "event.outcome": Shape(Type.TEXT, frozenset({"success", "failure", "unknown"})),
    "attestation.tier": Shape(Type.TEXT, frozenset(tier.value for tier in Tier), _EVIDENCE),
    "attestation.failed": _said_of(Type.TEXTS, *_EVIDENCE - {SILENT}),
    "attestation.reasons": _said_of(Type.TEXTS, *_EVIDENCE - {SILENT}),
    "attestation.advisories": _said_of(Type.TEXTS, *_EVIDENCE - {SILENT}),
    "attestation.evaluation": _said_of(Type.NUMBER, *_EVIDENCE - {SILENT}),
    "attestation.not_possible": _said_of(Type.TEXTS, *_EVIDENCE - {SILENT}),
    "attestation.barred": _said_of(Type.TEXTS, *_EVIDENCE - {SILENT}),
    "attestation.recognition": Shape(Type.TEXT, RECOGNITIONS, _EVIDENCE),
    "attestation.url": _said_of(Type.TEXT, *_EVIDENCE - {SILENT}),
    "attestation.fresh": _said_of(Type.TRUTH, *_EVIDENCE - {SILENT}),
    "attestation.rejudged": _said_of(Type.TEXT, *_EVIDENCE - {SILENT}),
    "attestation.genuine": _said_of(Type.TRUTH, *_EVIDENCE - {SILENT}),
    "attestation.debug": _said_of(Type.TRUTH, *_EVIDENCE - {SILENT}),
    "attestation.late": _said_of(Type.TRUTH, *_EVIDENCE - {SILENT}),
    "attestation.weak": _said_of(Type.TRUTH, *_EVIDENCE),
    "attestation.simulated": _said_of(Type.TRUTH, *_EVIDENCE),
    "attestation.component": _said_of(Type.TEXT, ROLLED_BACK),
    "attestation.was": _said_of(Type.NUMBER, ROLLED_BACK),
    "attestation.now": _said_of(Type.NUMBER, ROLLED_BACK),
    "attestation.first_seen": _said_of(Type.TEXT, REPLAYED),
    "attestation.first_sender": _said_of(Type.TEXT, REPLAYED),
    "attestation.last_seen": _said_of(Type.TEXT, SILENT),
    "attestation.silent_hours": _said_of(Type.NUMBER, SILENT),
    "attestation.machines": _said_of(Type.NUMBER, BURST),
    "attestation.until": _said_of(Type.TEXT, LOOSENED),
    "attestation.proposal": _said_of(Type.TEXT, LOOSENED),
    "attestation.approvers": _said_of(Type.TEXTS, LOOSENED),
    "store.name": _said_of(Type.TEXT, *_STORES),
    "store.outcome": _said_of(Type.TEXT, *_STORES),
    "store.detail": _said_of(Type.TEXT, *_STORES),
    "store.expected": _said_of(Type.TEXT, *_STORES),
    "store.found": _said_of(Type.TEXT, *_STORES),
    "store.change": _said_of(Type.TEXT, *_STORES, LOOSENED),
}
"""What these fields can say, and of which actions: a rule that asks for anything else could never fire, and is refused
when it is loaded (`ratchet.detect.sigma.reach`)."""


def of_signal(signal: Signal, action: str) -> Observation:
    """A signal's facts, under what came to light."""
    genuine = bool(signal["genuine"])
    outcome = "failure" if action in (REFUSED, REPLAYED, ROLLED_BACK) else "success" if genuine else "unknown"
    facts: Observation = {
        "@timestamp": signal["time"],
        "event.action": action,
        "event.category": "host",
        "event.outcome": outcome,
        "organization.id": signal["tenant"],
        "host.id": signal["subject"],
        "host.name": signal["hint"],
        "cloud.region": signal.get("region"),
        "service.name": signal.get("workload"),
        "attestation.genuine": genuine,
        "attestation.debug": bool(signal.get("debug")),
        "attestation.weak": bool(signal.get("weak")),
        "attestation.simulated": bool(signal.get("simulated")),
        "attestation.late": bool(signal.get("late")),
        "attestation.fresh": bool(signal["fresh"]),
        "attestation.not_possible": [
            step["name"] for step in signal["proof"]["steps"] if step["outcome"] == "not_possible"
        ],
        "attestation.url": next((u for why in signal.get("why") or () if (u := _url(why.get("remedy")))), None),
    }
    for name in _COPIED:
        facts[f"attestation.{name}"] = signal.get(name)
    for family in ("tcb", "bits"):
        for name, value in (signal.get(family) or {}).items():
            facts[f"attestation.{family}.{name}"] = value
    for name, value in (signal.get("labels") or {}).items():
        facts[f"labels.{name}"] = value
    return _said(facts)


_COPIED = (
    "tee",
    "family",
    "tier",
    "failed",
    "barred",
    "recognition",
    "rejudged",
    "reasons",
    "tcb_status",
    "advisories",
    "evaluation",
    "measurement",
    "instance",
    "root",
    "evidence",
)


_LINK = re.compile(r"https://[!-~]{1,500}")


def _url(remedy: Json) -> str | None:
    """Where a remedy says that something is to be had."""
    found = _LINK.search(remedy) if isinstance(remedy, str) else None
    return found[0].rstrip(".,;:)") if found else None


def of_regression(signal: Signal, regression: Regression) -> Observation:
    """A component below the version that its machine proved."""
    facts = of_signal(signal, ROLLED_BACK)
    facts["attestation.component"] = regression.component
    facts["attestation.was"], facts["attestation.now"] = regression.was, regression.now
    return facts


def of_standing(standing: Standing, action: str, at: str) -> Observation:
    """A machine's latest proven facts."""
    facts: Observation = {
        "@timestamp": at,
        "event.action": action,
        "event.category": "host",
        "event.outcome": "unknown",
        "organization.id": standing.tenant,
        "host.id": standing.identity,
        "host.name": standing.hint,
        "cloud.region": standing.region,
        "service.name": standing.workload,
        "attestation.tee": standing.tee,
        "attestation.family": standing.family,
        "attestation.tier": standing.tier.value,
        "attestation.recognition": standing.recognition,
        "attestation.measurement": standing.measurement,
        "attestation.tcb_status": standing.tcb_status,
        "attestation.weak": standing.identity.startswith(MASKED),
        "attestation.root": standing.root,
        "attestation.simulated": standing.simulated,
        "attestation.evidence": standing.evidence,
        "attestation.last_seen": stamp(standing.seen),
    }
    return _said(facts)


def of_receipt(event: Event) -> Observation:
    """A receipt that is bad news (docs/events.md, receipt.failed.v1 and store.drifted.v1)."""
    data = event.data
    facts: Observation = {
        "@timestamp": stamp(event.time),
        "event.action": DRIFTED if event.type == "store.drifted.v1" else NOT_ENFORCING,
        "event.category": "configuration",
        "event.outcome": "failure",
        "organization.id": event.tenant,
        "store.name": data.get("store") or event.subject,
        "store.outcome": data.get("outcome"),
        "store.detail": data.get("detail"),
        "store.expected": data.get("base"),
        "store.found": data.get("revision"),
        "store.change": data.get("change"),
    }
    return _said(facts)


def of_change(event: Event) -> Observation:
    """A change that loosens (docs/events.md, change.due.v1)."""
    data = event.data
    facts: Observation = {
        "@timestamp": stamp(event.time),
        "event.action": LOOSENED,
        "event.category": "configuration",
        "event.outcome": "success",
        "organization.id": event.tenant,
        "attestation.family": data["family"],
        "attestation.until": data["loosens"]["until"],
        "attestation.proposal": data["loosens"]["proposal"],
        "attestation.approvers": data["loosens"]["by"],
        "store.change": data["change"],
    }
    return _said(facts)


def _said(facts: Mapping[str, Any]) -> Observation:
    """Without what has nothing to say."""
    return {name: value for name, value in facts.items() if value is not None and value != []}
