"""Alerts, policy changes and receipts in the words of the Elastic Common Schema. Pure.

ECS has no fields for attestation, so those are our own, all below `attestation.`; every other field is ECS's and of its
type. Sources: ECS 9.0.0 field reference; its "ECS Categorization Fields" for event.kind, .category, .type and .outcome
(`intrusion_detection` with `info`; `configuration` with `change`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ratchet.event import Event, Json, stamp
from ratchet.ports import Refused

if TYPE_CHECKING:
    from ratchet.detect.sigma.rule import Rule

ECS_VERSION = "9.0.0"
"""Pinned: a field is only used if this version has it. Raise it with docs/siem.md and its test."""

SEVERITY = {"informational": 1, "low": 21, "medium": 47, "high": 73, "critical": 99}
"""event.severity by level; the numbers that Elastic's detection rules give to the same words (risk_score)."""

_CHANGES = {
    "change.due.v1": ("policy-change-due", "unknown"),
    "receipt.confirmed.v1": ("policy-change-confirmed", "success"),
    "receipt.failed.v1": ("policy-change-failed", "failure"),
    "store.drifted.v1": ("policy-store-drifted", "failure"),
}

_MACHINES = frozenset({"chip", "ppid", "platform", "hint"})
"""Kinds of subject that are one machine (ratchet.standing)."""

_ECS_FACTS = frozenset({"host.name", "host.id", "cloud.region", "user.name", "vulnerability.id"})
"""Names of facts that are ECS fields as they are; others are put below `attestation.`."""


class Mapper:
    """Events to ECS documents.

    Args:
        rules: those that raise alerts, for their ids, references and techniques; an alert of another has none of these.
    """

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._rules = {rule.name: rule for rule in rules}

    def document(self, event: Event) -> dict[str, Json]:
        """One document. Equal events give equal documents.

        Raises:
            Refused: not an alert, a change or a receipt, or not whole.
        """
        try:
            if event.type.startswith("alert."):
                return _base(event, "alert") | self._alert(event)
            if event.type in _CHANGES:
                return _base(event, "policy") | _change(event)
        except (KeyError, TypeError, AttributeError) as why:
            raise Refused(
                f"{event.type} {event.id[:16]} lacks what it should have: {type(why).__name__} {why}"
            ) from why
        raise Refused(f"{event.type} is neither an alert nor a change of policy")

    def _alert(self, event: Event) -> dict[str, Json]:
        data = event.data
        found: dict[str, Json] = {
            "message": _line(data),
            "event": _event(event, "alert")
            | {
                "kind": "alert",
                "category": ["intrusion_detection"],
                "type": ["info"],
                "action": data["rule"],
                "severity": SEVERITY.get(data["level"], 0),
                "start": data["opened"],
                "reason": _why(data["reasons"]),
            },
            "log": {"level": data["level"]},
            "rule": self._rule(data["rule"]),
            "related": {"hosts": sorted({str(name) for name in data["machines"]})},
        }
        threat = self._threat(data["rule"])
        if threat:
            found["threat"] = threat
        found["attestation"] = {
            "alert": {
                key: data[key]
                for key in (
                    "status",
                    "subject",
                    "first_cause",
                    "causes",
                    "count",
                    "updated",
                    "revision",
                    "by",
                    "comment",
                )
                if data.get(key) is not None
            }
            | {"id": data["alert"]},
            "reasons": [_reason(one) for one in data["reasons"]],
        }
        for name, value in sorted(data["facts"].items()):
            if value is not None:
                _place(found, name, value)
        return _about(found, data["subject"], data["machines"])

    def _rule(self, name: str) -> dict[str, Json]:
        rule = self._rules.get(name)
        if rule is None:
            return {"name": name, "ruleset": "ratchet"}
        found: dict[str, Json] = {"name": name, "ruleset": "ratchet", "id": rule.id, "description": rule.title}
        return found | ({"reference": rule.references[0]} if rule.references else {})

    def _threat(self, name: str) -> dict[str, Json] | None:
        """MITRE ATT&CK: a technique, and where the rule names a part of one, that part beside it."""
        techniques = self._rules[name].techniques if name in self._rules else ()
        if not techniques:
            return None
        parts = sorted(one for one in techniques if "." in one)
        technique: dict[str, Json] = {"id": sorted({*techniques, *(one.partition(".")[0] for one in techniques)})}
        if parts:
            technique["subtechnique"] = {"id": parts}
        return {"framework": "MITRE ATT&CK", "technique": technique}


def with_head(document: dict[str, Json], head: str | None) -> dict[str, Json]:
    """The document with the newest link of our hash chain: whoever keeps it can tell later that ours was changed."""
    if head is None:
        return document
    attestation = document.get("attestation")
    return document | {"attestation": {**(attestation if isinstance(attestation, dict) else {}), "head": head}}


def _base(event: Event, dataset: str) -> dict[str, Json]:
    return {
        "@timestamp": stamp(event.time),
        "ecs": {"version": ECS_VERSION},
        "data_stream": {"type": "logs", "dataset": f"attestation.{dataset}", "namespace": event.tenant},
        "organization": {"id": event.tenant},
        "observer": {"vendor": "Ratchet", "product": "Ratchet", "type": "attestation-verifier"},
    }


def _event(event: Event, dataset: str) -> dict[str, Json]:
    return {
        "id": event.id,
        "module": "attestation",
        "dataset": f"attestation.{dataset}",
        "provider": event.source,
        "code": event.type,
    }


def _change(event: Event) -> dict[str, Json]:
    """A change of policy, and what became of it at a store."""
    data = event.data
    action, outcome = _CHANGES[event.type]
    if data.get("outcome") == "restored":
        action = "policy-store-restored"
    approvers = sorted({str(one["by"]) for one in data.get("approvals", ())})
    facts = {
        key: data[key] for key in ("proposal", "base", "revision", "refused", "passed") if data.get(key) is not None
    }
    families = sorted(data["intent"]["floors"]) if event.type == "change.due.v1" else None
    found: dict[str, Json] = {
        "message": f"{action.replace('-', ' ')} at store {data['store']}: {data.get('detail') or 'to be written'}",
        "event": _event(event, "policy")
        | {
            "kind": "event",
            "category": ["configuration"],
            "type": ["change"],
            "action": action,
            "outcome": outcome,
            **({"reason": data["detail"]} if data.get("detail") else {}),
        },
        "service": {"name": data["store"], "type": "policy-store"},
        "attestation": {
            "change": facts
            | ({"id": data["change"]} if data.get("change") else {})
            | ({"families": families} if families is not None else {})
            | ({"outcome": data["outcome"]} if data.get("outcome") else {}),
        },
    }
    if approvers:
        found["related"] = {"user": approvers}
    return found


def _about(found: dict[str, Json], subject: str, machines: Iterable[str]) -> dict[str, Json]:
    """Say whom an alert is about in the fields that ECS has for it."""
    kind, colon, name = subject.partition(":")
    if colon and kind == "region":
        found.setdefault("cloud", {})["region"] = name
    elif colon and kind == "store":
        found["service"] = {"name": name, "type": "policy-store"}
    elif kind in _MACHINES:
        host = found.setdefault("host", {})
        host["id"] = subject
        for machine in list(machines)[:1]:
            host.setdefault("name", machine)
    return found


def _line(data: Mapping[str, Json]) -> str:
    after = "" if data["status"] == "open" else f" ({data['status']}{' by ' + data['by'] if data.get('by') else ''})"
    return f"{data['title']}{after}"


def _why(reasons: Iterable[Mapping[str, Json]]) -> str:
    return "; ".join(f"{one['component']}: {one['code']}" for one in reasons) or "see the rule"


def _reason(one: Mapping[str, Json]) -> dict[str, Json]:
    """A Reason whose values are text: an index takes one type for a field."""
    return dict(one) | {"got": _text(one.get("got")), "want": _text(one.get("want"))}


def _text(value: Json) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, sort_keys=True)


def _place(found: dict[str, Json], name: str, value: Json) -> None:
    """Put a fact under its own name if that is ECS's or ours; else below `attestation.`; never over another."""
    path = (
        name.split(".") if name in _ECS_FACTS or name.startswith("attestation.") else ["attestation", *name.split(".")]
    )
    inner = found
    for step in path[:-1]:
        below = inner.setdefault(step, {})
        if not isinstance(below, dict):
            return
        inner = below
    inner.setdefault(path[-1], value)
