"""The verify stage: evidence -> verdicts, and the signals that correlation reads.

State:
- `document/<blob>` -> {known_from}: every document that was known, from which `Collateral` is built again at the start.
- `floors/<tenant>` -> {change, policy, floors}: those in force, from the last change.
- `clock` -> {tick}: the last tick: evidence from before it is late.
- `covered` -> {seen, to}: how many pieces of evidence were taken, and how many of them the batches of signals cover.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from ratchet.appraise import Policy, appraise
from ratchet.collateral import Collateral, Root, parse
from ratchet.event import BlobId, Event, parse_time, stamp
from ratchet.evidence import verify
from ratchet.floor import from_data
from ratchet.ports import Blobs, Record
from streams.digest import FUTURE
from streams.evidence_event import Malformed, read
from streams.letters import dead
from streams.stage import Output, State
from streams.verdict_event import batched, verdict_event


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
        out += [("signals", one) for one in batched(verdicts, covered["to"], seen)]
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
        """Each store of a proposal gets its change; all carry the same intent: the whole policy."""
        key = f"floors/{event.tenant}"
        kept, intent = state.get(key), event.data["intent"]
        if kept is None or kept["change"] != event.data["change"]:
            held = {"change": event.data["change"], "policy": intent["policy"], "floors": intent["floors"]}
            state.put(key, held)
            self._policies.pop(event.tenant, None)

    def _policy_of(self, tenant: str, state: State) -> Policy:
        policy = self._policies.get(tenant)
        if policy is None:
            kept = state.get(f"floors/{tenant}")
            floors = {family: from_data(floor) for family, floor in kept["floors"].items()} if kept else {}
            given = kept.get("policy") if kept else None
            base = Policy.from_data(given) if given else self._policy
            policy = base.with_floors({**self._policy.floors, **floors}) if kept else base
            self._policies[tenant] = policy
        return policy

    # Evidence

    def _judge(self, record: Record, state: State, collateral: Collateral, watermark: datetime, late: bool) -> Output:
        """A verdict on anything that has bytes; a dead letter for what has none, or is no evidence event."""
        event = record.event
        try:
            if event.time > watermark + FUTURE:
                detail = f"{stamp(event.time)} is ahead of {stamp(watermark)}"
                raise Malformed("time_in_future", detail, "set the sender's clock, then send it again")
            received = read(event.data, self._blobs)
        except Malformed as wrong:
            return dead(record, self.name, wrong.code, wrong.detail, wrong.remedy)
        try:
            policy = self._policy_of(event.tenant, state)
            proof = verify(received.evidence, collateral.judging_by(policy.evaluations()), event.time)
            verdict = appraise(proof, policy, event.time)
            return "verdicts", verdict_event(event, received, proof, verdict, late=late)
        except MemoryError:
            raise  # of this machine and moment, not of the bytes: computed again, it may come out otherwise
        except Exception as fault:  # a fault of ours that an attacker found: the stream goes on, and the bytes are kept
            detail = f"{type(fault).__name__}: {fault}"
            return dead(record, self.name, "verifier_fault", detail, "report it, with the bytes: it is a fault of ours")
