"""The verify stage: evidence -> verdicts, and the signals that correlation reads.

State:
- `document/<blob>` -> {known_from}: every document that was known, from which `Collateral` is built again at the start.
- `floors/<tenant>` -> {change, floors}: those in force, from the last change.
- `clock` -> {tick}: the last tick: evidence from before it is late.
- `covered` -> {seen, to}: how many pieces of evidence were taken, and how many of them the batches of signals cover.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from ratchet import __version__
from ratchet.appraise import Policy, Verdict, appraise
from ratchet.collateral import Collateral, Root, parse
from ratchet.event import BlobId, Event, Json, derived_id, parse_time, stamp
from ratchet.evidence import Claims, Evidence, Format, Outcome, Proof, StepName, verify
from ratchet.evidence.replay_key import replay_key
from ratchet.floor import from_data
from ratchet.ports import Blobs, Record
from streams.clock import PARTITION, TENANT
from streams.digest import FUTURE
from streams.letters import dead
from streams.stage import Output, State

SIGNALS = 64
"""Signals in one record, at most."""

MAX_LABELS = 64
"""Of one hint."""

_WHY = 16
"""Reasons that a signal carries for people; their codes are all there."""

_DEVELOPER = "https://github.com/ratchet-attest/ratchet"
"""`ear_verifier_id.developer` (draft-ietf-rats-ear, 3.1)."""

_I_JSON = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly (RFC 7493, 2.2)."""


class _Malformed(ValueError):
    """An event that names no evidence: code, and what is wrong."""

    def __init__(self, code: str, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.code, self.detail, self.remedy = code, detail, remedy


class Verify:
    """collateral, changes, evidence, ticks -> verdicts, signals, dead letters."""

    name = "verify"

    def __init__(self, roots: Iterable[Root], policy: Policy, blobs: Blobs) -> None:
        """`policy` as configured; floors come from the changes that are in force, above those in it."""
        self._roots = tuple(roots)
        self._policy = policy
        self._blobs = blobs
        self._collateral: Collateral | None = None
        self._policies: dict[str, Policy] = {}

    def step(self, batch: Sequence[Record], state: State, watermark: datetime) -> list[Output]:
        """In order: what is known, what is in force, then the evidence that is judged by it."""
        collateral = self._collateral = self._collateral or self._rebuild(state)
        clock = state.get("clock")
        before = parse_time(clock["tick"]) if clock else None
        covered = state.get("covered") or {"seen": 0, "to": 0}
        seen: int = covered["seen"]
        out: list[Output] = []
        verdicts: list[Event] = []
        for record in batch:
            match record.topic:
                case "collateral":
                    self._learn(record.event, state, collateral)
                case "changes":
                    self._put_in_force(record.event, state)
                case "ticks":
                    state.put("clock", {"tick": stamp(record.event.time)})
                case "evidence":
                    seen += 1
                    late = before is not None and record.event.time < before
                    made = self._judge(record, state, collateral, watermark, late)
                    out.append(made)
                    if made[0] == "verdicts":
                        verdicts.append(made[1])
        out += self._batched(verdicts, covered["to"], seen)
        to = seen if verdicts else covered["to"]
        if covered != {"seen": seen, "to": to}:
            state.put("covered", {"seen": seen, "to": to})
        return out

    # Collateral and floors

    def _rebuild(self, state: State) -> Collateral:
        collateral = Collateral(self._roots)
        for key, value in state.scan("document/"):
            self._add(collateral, BlobId(key.removeprefix("document/")), parse_time(value["known_from"]))
        return collateral

    def _learn(self, event: Event, state: State, collateral: Collateral) -> None:
        """A bundle gives several statements, and so several events: the first brings them all."""
        key = f"document/{event.data['blob']}"
        kept = state.get(key)
        if kept is not None and parse_time(kept["known_from"]) <= event.time:
            return
        state.put(key, {"known_from": stamp(event.time)})
        self._add(collateral, event.data["blob"], event.time)

    def _add(self, collateral: Collateral, blob: BlobId, known_from: datetime) -> None:
        raw = self._blobs.get(blob)
        if raw is None:
            raise RuntimeError(f"the document {blob} was digested, but its bytes are gone: the database is damaged")
        for known in parse(raw, known_from, self._roots, collateral.memo):
            collateral.add(known)

    def _put_in_force(self, event: Event, state: State) -> None:
        """Each store of a proposal gets its change; all carry the same intent."""
        key = f"floors/{event.tenant}"
        kept = state.get(key)
        if kept is None or kept["change"] != event.data["change"]:
            state.put(key, {"change": event.data["change"], "floors": event.data["intent"]["floors"]})
            self._policies.pop(event.tenant, None)

    def _policy_of(self, tenant: str, state: State) -> Policy:
        policy = self._policies.get(tenant)
        if policy is None:
            kept = state.get(f"floors/{tenant}")
            floors = {family: from_data(floor) for family, floor in kept["floors"].items()} if kept else {}
            policy = self._policy.with_floors({**self._policy.floors, **floors}) if floors else self._policy
            self._policies[tenant] = policy
        return policy

    # Evidence

    def _judge(self, record: Record, state: State, collateral: Collateral, watermark: datetime, late: bool) -> Output:
        """A verdict on anything that has bytes; a dead letter for what has none, or is no evidence event."""
        event = record.event
        try:
            if event.time > watermark + FUTURE:
                detail = f"{stamp(event.time)} is ahead of {stamp(watermark)}"
                raise _Malformed("time_in_future", detail, "set the sender's clock, then send it again")
            evidence = self._evidence(event.data)
            hint = _hint(event.data)
            vouched = _vouched(event.data)
        except _Malformed as wrong:
            return dead(record, self.name, wrong.code, wrong.detail, wrong.remedy)
        try:
            proof = verify(evidence, collateral, event.time)
            policy = self._policy_of(event.tenant, state)
            verdict = appraise(proof, policy, event.time)
            return "verdicts", _verdict_event(event, hint, evidence, proof, verdict, late=late, vouched=vouched)
        except MemoryError:
            raise  # of this machine and moment, not of the bytes: computed again, it may come out otherwise
        except Exception as fault:  # a fault of ours that an attacker found: the stream goes on, and the bytes are kept
            detail = f"{type(fault).__name__}: {fault}"
            return dead(record, self.name, "verifier_fault", detail, "report it, with the bytes: it is a fault of ours")

    def _evidence(self, data: Mapping[str, Json]) -> Evidence:
        endorsements = data.get("endorsements", [])
        challenge = data.get("challenge")
        if not isinstance(endorsements, list) or not isinstance(challenge, str | None):
            raise _Malformed("event_malformed", "endorsements or challenge of a wrong type", _MEND)
        try:
            asked = bytes.fromhex(challenge) if challenge is not None else None
        except ValueError as error:
            raise _Malformed("event_malformed", f"challenge: {error}", _MEND) from error
        said = data.get("format")
        return Evidence(
            raw=self._bytes(data.get("blob")),
            format=Format(said) if isinstance(said, str) and said in _FORMATS else None,
            endorsements=tuple(self._bytes(blob) for blob in endorsements),
            challenge=asked,
        )

    def _bytes(self, blob: Json) -> bytes:
        if not isinstance(blob, str):
            raise _Malformed("event_malformed", "a blob is named by its hash", _MEND)
        raw = self._blobs.get(BlobId(blob))
        if raw is None:
            raise _Malformed("blob_missing", f"no bytes of {blob}", "send the evidence again")
        return raw

    # Signals

    def _batched(self, verdicts: Sequence[Event], start: int, seen: int) -> list[Output]:
        """Batches of at most `SIGNALS`. Their ranges chain, so that a gap shows that records were lost on the way."""
        out: list[Output] = []
        chunks = [verdicts[i : i + SIGNALS] for i in range(0, len(verdicts), SIGNALS)]
        for place, chunk in enumerate(chunks):
            # Dead letters are counted too: the last batch covers whatever is left of the round.
            end = seen if place == len(chunks) - 1 else start + len(chunk)
            data = {"from": start, "to": end, "signals": [signal(verdict) for verdict in chunk]}
            event = Event(
                id=derived_id("signals", *(verdict.id for verdict in chunk)),
                source="/streams/verify",
                type="signals.batched.v1",
                subject=PARTITION,
                time=max(verdict.time for verdict in chunk),
                tenant=TENANT,
                data=data,
            )
            out.append(("signals", event))
            start = end
        return out


_FORMATS = frozenset(f.value for f in Format)
_MEND = "mend whoever appended it: docs/events.md has the form"


def _hint(data: Mapping[str, Json]) -> dict[str, Json]:
    hint = data.get("hint")
    if not isinstance(hint, dict) or not isinstance(name := hint.get("name"), str) or not 1 <= len(name) <= 128:
        raise _Malformed("event_malformed", "hint.name has 1 to 128 characters", _MEND)
    labels = hint.get("labels") or {}
    if not isinstance(labels, dict) or len(labels) > MAX_LABELS:
        raise _Malformed("event_malformed", f"hint.labels is an object of at most {MAX_LABELS} texts", _MEND)
    texts = [hint.get("region"), hint.get("workload"), *labels.values()]
    if not all(text is None or (isinstance(text, str) and len(text) <= 256) for text in texts):
        raise _Malformed("event_malformed", "hint.region, .workload and each of .labels are short text", _MEND)
    return {key: hint[key] for key in ("name", "region", "workload", "labels") if key in hint}


def _vouched(data: Mapping[str, Json]) -> bool:
    vouched = data.get("vouched", False)
    if not isinstance(vouched, bool):
        raise _Malformed("event_malformed", "vouched is true or false", _MEND)
    return vouched


def _verdict_event(
    event: Event,
    hint: Mapping[str, Json],
    evidence: Evidence,
    proof: Proof,
    verdict: Verdict,
    *,
    late: bool,
    vouched: bool,
) -> Event:
    """Who it is: what genuine evidence proves; else it stays under its hint, and says nothing of a machine.

    Evidence at which nothing failed but revocation names its machine too: what is known of that one must worsen now.
    """
    claims = proof.claims
    strong = claims.platform if claims is not None and (proof.genuine or proof.revoked) else None
    identity = strong or f"hint:{hint['name']}"
    data: dict[str, Json] = {
        "evidence": event.id,
        "blob": proof.evidence,
        "replay_key": replay_key(evidence.raw, proof),
        "received": stamp(event.time),
        "late": late,
        "fresh": is_fresh(proof, vouched=vouched),
        "vouched": vouched,
        "rejudged": None,
        "hint": dict(hint),
        "format": proof.format.value if proof.format else None,
        "identity": identity,
        "weak": strong is None,
        "instance": claims.instance if claims is not None and proof.genuine else None,
        "family": claims.family if claims else None,
        "tee": claims.tee if claims else None,
        "genuine": proof.genuine,
        **verdict.to_data(),
        "ear": verdict.ear(developer=_DEVELOPER, build=__version__, nonce=evidence.challenge),
        "steps": [
            {
                "name": step.name.value,
                "outcome": step.outcome.value,
                "detail": step.detail,
                "source": step.source,
                "reasons": [reason.to_data() for reason in step.reasons],
            }
            for step in proof.steps
        ],
        "claims": _claims(claims) if claims else None,
        "tcb": _tcb(proof),
        "root": {"name": proof.root.name, "fingerprint": proof.root.fingerprint, "simulated": proof.root.simulated}
        if proof.root
        else None,
        "collateral": list(proof.collateral),
        "code": __version__,
    }
    return Event(
        id=derived_id("verdict", event.id),
        source="/streams/verify",
        type="verdict.reached.v1",
        subject=identity,
        time=event.time,
        tenant=event.tenant,
        data=data,
    )


def is_fresh(proof: Proof, *, vouched: bool) -> bool:
    """Is it known that the evidence was made now, and not taken from somebody who made it earlier?

    The freshness step says so, or a sender that the configuration trusts to say it (`vouches_freshness`). Nobody can
    vouch for evidence that does not hold the challenge which was given for it (RFC 9334, 10).
    """
    outcome = proof.outcome(StepName.FRESHNESS)
    return outcome is Outcome.PASSED or (vouched and outcome is Outcome.NOT_POSSIBLE)


def _claims(claims: Claims) -> dict[str, Json]:
    return {
        "measurement": claims.measurement,
        "signer": claims.signer,
        "debug": claims.debug,
        "report_data": claims.report_data.hex(),
        "tcb": dict(claims.tcb),
        # A mitigation vector has 64 bits. Losing the high ones means "not mitigated" for them: it fails closed.
        "bits": {name: value & _I_JSON if value > _I_JSON else value for name, value in claims.bits.items()},
        "measurements": dict(claims.measurements),
        "key": claims.key,
    }


def _tcb(proof: Proof) -> dict[str, Json] | None:
    return proof.tcb.to_data() if proof.tcb is not None else None


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
        "region": data["hint"].get("region"),
        "workload": data["hint"].get("workload"),
        "labels": data["hint"].get("labels") or {},
        "evidence": data["evidence"],
        "blob": data["blob"],
        "replay_key": data.get("replay_key") or data["blob"],
        "tier": data["tier"],
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
        "fresh": data["fresh"],
        "vouched": data["vouched"],
        "received": data["received"],
        "rejudged": data["rejudged"],
    }
