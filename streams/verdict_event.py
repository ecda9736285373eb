"""What the verify stage says: a verdict event for each judgement, and the signals that later stages read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ratchet import __version__
from ratchet.event import Event, Json, derived_id, stamp
from ratchet.evidence import Outcome, Proof, StepName, replay_key
from ratchet.policy.appraise import Recognition, Verdict
from streams.clock import PARTITION, TENANT
from streams.evidence_event import Received

SOURCE = "/streams/verify"

SIGNALS = 64
"""Signals in one record, at most."""

_WHY = 16
"""Reasons that a signal carries for people; their codes are all there."""

_DEVELOPER = "https://github.com/ratchet-attest/ratchet"
"""`ear_verifier_id.developer` (draft-ietf-rats-ear, 3.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why evidence is judged again: the id and the time of the event that changed what it is judged by."""

    id: str
    at: datetime


def is_fresh(proof: Proof, *, vouched: bool) -> bool:
    """Is it known that the evidence was made now, and not taken from somebody who made it earlier?

    The freshness step says so, or a sender that the configuration trusts to say it (`vouches_freshness`). Nobody can
    vouch for evidence that does not hold the challenge which was given for it (RFC 9334, 10).
    """
    outcome = proof.outcome(StepName.FRESHNESS)
    return outcome is Outcome.PASSED or (vouched and outcome is Outcome.NOT_POSSIBLE)


def identity_of(proof: Proof, hint: Mapping[str, Json], *, fresh: bool) -> tuple[str, bool]:
    """Whom evidence speaks of: the platform that fresh genuine evidence proves, else its hint; and whether it is weak.

    Evidence at which nothing failed but revocation names its machine too: what is known of that one must worsen now.
    Evidence of unknown age names none: anybody may have taken it from the machine that made it.
    """
    claims = proof.claims
    if fresh and claims is not None and claims.platform is not None and (proof.genuine or proof.revoked):
        return claims.platform, False
    return f"hint:{hint['name']}", True


def verdict_event(
    event: Event,
    received: Received,
    proof: Proof,
    verdict: Verdict,
    *,
    recognition: Recognition,
    late: bool,
    cause: Cause | None = None,
    identity: str | None = None,
) -> Event:
    """The event of one judgement.

    Args:
        event: the evidence event; `late` as it was when it came.
        received: what it says.
        proof, verdict: what came of it.
        recognition: whether its machine is ours.
        cause: where it is judged again: why. The verdict's time is then the cause's.
        identity: the machine that it proved when it came; it speaks of that one whatever is concluded from it now.
    """
    claims = proof.claims
    fresh = is_fresh(proof, vouched=received.vouched)
    identity, weak = (
        (identity, identity.startswith("hint:")) if identity else identity_of(proof, received.hint, fresh=fresh)
    )
    proven = proof.to_data()
    data: dict[str, Json] = {
        "evidence": event.id,
        "blob": proof.evidence,
        "replay_key": replay_key(received.evidence.raw, proof),
        "received": stamp(event.time),
        "late": late,
        "fresh": fresh,
        "vouched": received.vouched,
        "recognition": recognition.value,
        "rejudged": cause.id if cause else None,
        "hint": dict(received.hint),
        "sender": event.source,
        "format": proven["format"],
        "identity": identity,
        "weak": weak,
        "instance": claims.instance if claims is not None and proof.genuine else None,
        "family": claims.family if claims else None,
        "tee": claims.tee if claims else None,
        "genuine": proof.genuine,
        **verdict.to_data(),
        "ear": verdict.ear(developer=_DEVELOPER, build=__version__, nonce=received.evidence.challenge),
        **{name: proven[name] for name in ("steps", "claims", "tcb", "root", "collateral", "valid_until", "parts")},
        "code": __version__,
    }
    return Event(
        id=derived_id("verdict", event.id, cause.id) if cause else derived_id("verdict", event.id),
        source=SOURCE,
        type="verdict.reached.v1",
        subject=identity,
        time=cause.at if cause else event.time,
        tenant=event.tenant,
        data=data,
    )


def batched(verdicts: Sequence[Event], start: int, seen: int) -> list[Event]:
    """Signals in batches of at most `SIGNALS`. Their ranges chain: a gap shows that records were lost on the way.

    Ranges count pieces of evidence, dead letters among them: the last batch covers whatever is left of the round.
    Evidence that is judged again was counted when it came.
    """
    out: list[Event] = []
    chunks = [verdicts[i : i + SIGNALS] for i in range(0, len(verdicts), SIGNALS)]
    for place, chunk in enumerate(chunks):
        new = sum(verdict.data["rejudged"] is None for verdict in chunk)
        end = seen if place == len(chunks) - 1 else start + new
        event = Event(
            id=derived_id("signals", *(verdict.id for verdict in chunk)),
            source=SOURCE,
            type="signals.batched.v1",
            subject=PARTITION,
            time=max(verdict.time for verdict in chunk),
            tenant=TENANT,
            data={"from": start, "to": end, "signals": [signal(verdict) for verdict in chunk]},
        )
        out.append(event)
        start = end
    return out


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
        "recognition": data.get("recognition", Recognition.NOT_ASKED.value),
        "measurements": claims.get("measurements", {}),
        "key": claims.get("key"),
        "proof": {name: data.get(name) for name in _PROOF} | {"evidence": data["blob"]},
    }


_PROOF = ("format", "steps", "claims", "tcb", "root", "collateral", "valid_until", "parts")
"""Of `Proof.to_data`, under the same names in a verdict event."""
