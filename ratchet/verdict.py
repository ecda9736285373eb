"""A verdict as it is told: the data of verdict.reached.v1, and the signal that later stages read (docs/events.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ratchet import __version__
from ratchet.event import Event, Json, stamp
from ratchet.evidence import Evidence, Outcome, Proof, StepName, replay_key
from ratchet.policy.appraise import Recognition, Verdict
from ratchet.standing import MASKED, masked

_DEVELOPER = "https://github.com/ratchet-attest/ratchet"
"""`ear_verifier_id.developer` (draft-ietf-rats-ear, 3.1)."""

_WHY = 16
"""Reasons that a signal carries for people; their codes are all there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What was judged: evidence as it came, with who sent it.

    Attributes:
        event: id of the evidence event.
        source: of the sender.
        hint: the sender's word for who it is.
        evidence: the bytes and what came with them.
        received: when.
        late: it was older than what had been judged when it came.
        vouched: a sender that the configuration trusts to says that it was made then.
        recognition: whether its machine is ours.
        again: id of the event because of which it is judged again; None where it was not.
        replay_of: id of the evidence event that brought the same signed bytes before; None where none did.
        identity: the machine that it proved when it came: it speaks of that one whatever is concluded from it now.
    """

    event: str
    source: str
    hint: Mapping[str, Json]
    evidence: Evidence
    received: datetime
    late: bool
    vouched: bool
    recognition: Recognition
    again: str | None = None
    replay_of: str | None = None
    identity: str | None = None


def is_fresh(proof: Proof, *, vouched: bool) -> bool:
    """Is it known that the evidence was made now, and not taken from somebody who made it earlier?

    The freshness step says so, or a sender that the configuration trusts to say it (`vouches_freshness`). Nobody can
    vouch for evidence that does not hold the challenge which was given for it (RFC 9334, 10).
    """
    outcome = proof.outcome(StepName.FRESHNESS)
    return outcome is Outcome.PASSED or (vouched and outcome is Outcome.NOT_POSSIBLE)


def identity_of(proof: Proof, hint: Mapping[str, Json], source: str, *, fresh: bool) -> tuple[str, bool]:
    """Whom evidence speaks of: the platform that fresh genuine evidence proves, else its hint; and whether it is weak.

    Evidence at which nothing failed but revocation names its machine too: what is known of that one must worsen now.
    Evidence of unknown age names none: anybody may have taken it from the machine that made it.
    """
    claims = proof.claims
    if fresh and claims is not None and (proof.genuine or proof.revoked):
        if claims.platform is not None:
            return claims.platform, False
        if proof.genuine:
            return masked(source, str(hint["name"])), True
    return f"hint:{hint['name']}", True


def told(judged: Judged, proof: Proof, verdict: Verdict) -> dict[str, Json]:
    """The data of verdict.reached.v1."""
    claims = proof.claims
    fresh = is_fresh(proof, vouched=judged.vouched)
    identity, weak = identity_of(proof, judged.hint, judged.source, fresh=fresh)
    if judged.identity is not None:
        identity, weak = judged.identity, judged.identity.startswith(("hint:", MASKED))
    proven = proof.to_data()
    return {
        "evidence": judged.event,
        "blob": proof.evidence,
        "replay_key": replay_key(judged.evidence.raw, proof),
        "received": stamp(judged.received),
        "late": judged.late,
        "fresh": fresh,
        "vouched": judged.vouched,
        "recognition": judged.recognition.value,
        "rejudged": judged.again,
        "replay_of": judged.replay_of,
        "hint": dict(judged.hint),
        "sender": judged.source,
        "format": proven["format"],
        "identity": identity,
        "weak": weak,
        "instance": claims.instance if claims is not None and proof.genuine else None,
        "family": claims.family if claims else None,
        "tee": claims.tee if claims else None,
        "genuine": proof.genuine,
        **verdict.to_data(),
        "ear": verdict.ear(developer=_DEVELOPER, build=__version__, nonce=judged.evidence.challenge),
        **{name: proven[name] for name in ("steps", "claims", "tcb", "root", "collateral", "valid_until", "parts")},
        "code": __version__,
    }


def signal(verdict: Event) -> dict[str, Json]:
    """A verdict event reduced to what can change an opinion. Also how rules are tried backwards over the archive."""
    data = verdict.data
    claims = data["claims"] or {}
    tcb = data["tcb"] or {}
    root = data["root"] or {}
    return {
        "id": verdict.id,
        "time": stamp(verdict.time),
        "tenant": verdict.tenant,
        "subject": verdict.subject,
        "hint": data["hint"]["name"],
        "sender": data.get("sender"),
        "region": data["hint"].get("region"),
        "workload": data["hint"].get("workload"),
        "labels": data["hint"].get("labels") or {},
        "evidence": data["evidence"],
        "blob": data["blob"],
        "replay_key": data.get("replay_key") or data["blob"],
        "tier": data["tier"],
        "barred": data["barred"],
        "genuine": data["genuine"],
        "failed": [step["name"] for step in data["steps"] if step["outcome"] == Outcome.FAILED.value],
        "reasons": sorted({reason["code"] for reason in data["reasons"]}),
        "why": data["reasons"][:_WHY],
        "tee": data["tee"],
        "family": data["family"],
        "tcb": claims.get("tcb", {}),
        "bits": claims.get("bits", {}),
        "tcb_status": tcb.get("merged"),
        "advisories": tcb.get("advisories", []),
        "evaluation": tcb.get("evaluation"),
        "measurement": claims.get("measurement"),
        "debug": claims.get("debug", False),
        "instance": data["instance"],
        "weak": data["weak"],
        "root": root.get("name"),
        "simulated": root.get("simulated", False),
        "trusted_until": data["trusted_until"],
        "late": data["late"],
        "fresh": data.get("fresh", False),
        "vouched": data.get("vouched", False),
        "received": data["received"],
        "rejudged": data.get("rejudged"),
        "replay_of": data.get("replay_of"),
        "recognition": data.get("recognition", Recognition.NOT_ASKED.value),
        "measurements": claims.get("measurements", {}),
        "key": claims.get("key"),
        "proof": {name: data.get(name) for name in _PROOF} | {"evidence": data["blob"]},
    }


_PROOF = ("format", "steps", "claims", "tcb", "root", "collateral", "valid_until", "parts")
"""Of `Proof.to_data`, under the same names in a verdict event."""
