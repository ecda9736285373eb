"""The verify stage: evidence -> verdicts, and the signals that later stages read.

Each piece of evidence is judged when it comes, by what was known at its time; and again when that changes
(streams/last_evidence.py). Only evidence whose freshness is proven, or vouched for by a sender that the configuration
trusts to, says anything of a machine, and enrols one (ratchet/policy/enrolment.py).

State:
- `document/<blob>` -> {known_from}: every document that was known, from which `Collateral` is built again at the start.
- `policy/<tenant>` -> {change, policy, floors}: what is in force: from the last change, else what was configured first.
- `clock` -> {tick}: the last tick: evidence from before it is late.
- `anchors` -> hashes of the trust anchors: those that `[trust]` names are configuration, and not on the log.
- `started` -> {at}: the first tick, from which the window of enrolment counts.
- `changed` -> {id, at}: the last sound vendor statement; evidence that is older but comes later is judged again by it.
- `covered` -> {seen, to}: how many pieces of evidence were taken, and how many of them the batches of signals cover.
- `enrolled/`, `retired/`, `name/`, `names/`, `waiting/`: see ratchet/policy/enrolment.py.
- `last/`, `sender/`, `ends/`, `again/`, `revision`: see streams/last_evidence.py.
- `used/`, `used-day`: see streams/replays.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from ratchet.collateral import Collateral, Kind, parse
from ratchet.event import BlobId, Event, Json, digest, parse_time, stamp
from ratchet.evidence import Proof, verify
from ratchet.evidence.registry import identity_forms, is_identity
from ratchet.policy import enrolment
from ratchet.policy.appraise import Circumstances, Policy, Recognition, Verdict, appraise
from ratchet.ports import Blobs, Record
from ratchet.rollout.approval import DecisionKeys, configuration_objection, decision_objection
from ratchet.standing import Tier
from ratchet.verdict import Judged, is_fresh
from ratchet.x509.anchor import Root
from streams import last_evidence, replays
from streams.dead_letters import dead
from streams.digest import FUTURE
from streams.evidence_event import Malformed, Received, read
from streams.last_evidence import Due
from streams.stage import Output, State
from streams.verdict_event import Cause, batched, verdict_event

AGAIN = 256
"""Pieces of evidence that one round judges again: about a quarter of a second."""

_ENROLMENT = ("decision.enrolled.v1", "decision.retired.v1")


class Verify:
    """collateral, changes, decisions, evidence, ticks -> verdicts, signals, dead letters."""

    name = "verify"

    def __init__(self, roots: Iterable[Root], policy: Policy, blobs: Blobs, keys: DecisionKeys | None = None) -> None:
        """`policy` as configured; it counts until the log says otherwise. `keys` sign decisions about machines."""
        self._roots = tuple(roots)
        self._configured = policy
        self._blobs = blobs
        self._keys = keys or DecisionKeys()
        self._collateral: Collateral | None = None
        self._crls: dict[BlobId, tuple[str, ...]] = {}
        self._policies: dict[str, Policy] = {}

    def step(self, batch: Sequence[Record], state: State, watermark: datetime) -> list[Output]:
        """What is known, what is in force, the evidence that is judged by it; then evidence that is judged again."""
        collateral = self._collateral = self._collateral or self._rebuild(state)
        if state.get("started") is None:
            state.put("started", {"at": stamp(watermark)})
        clock = state.get("clock")
        before = parse_time(clock["tick"]) if clock else None
        covered = state.get("covered") or {"seen": 0, "to": 0}
        seen: int = covered["seen"]
        out: list[Output] = []
        for record in batch:
            match record.topic:
                case "collateral":
                    self._learn(record.event, state, collateral)
                case "changes":
                    self._put_in_force(record.event, state)
                case "decisions":
                    out += self._decided(record, state)
                case "ticks":
                    self._ticked(record.event, state)
                case "evidence":
                    seen += 1
                    late = before is not None and record.event.time < before
                    out.append(self._came(record, state, collateral, watermark, late))
        for due in last_evidence.take(state, AGAIN):
            out += self._again(due, state, collateral)
        verdicts = [event for topic, event in out if topic == "verdicts"]
        out += [("signals", one) for one in batched(verdicts, covered["to"], seen)]
        to = seen if verdicts else covered["to"]
        if covered != {"seen": seen, "to": to}:
            state.put("covered", {"seen": seen, "to": to})
        return out

    # What evidence is judged by

    def _rebuild(self, state: State) -> Collateral:
        collateral = Collateral(self._roots)
        for key, value in state.scan("document/"):
            self._add(collateral, BlobId(key.removeprefix("document/")), parse_time(value["known_from"]))
        return collateral

    def _learn(self, event: Event, state: State, collateral: Collateral) -> None:
        """A bundle gives several statements, and so several events: the first brings them all."""
        data = event.data
        key = f"document/{data['blob']}"
        kept = state.get(key)
        if kept is None or parse_time(kept["known_from"]) > event.time:
            state.put(key, {"known_from": stamp(event.time)})
            self._add(collateral, data["blob"], event.time)
        if data.get("root") is None or data["reasons"]:
            return  # nothing is ever judged by it
        changed = state.get("changed")
        if changed is None or changed["at"] < stamp(event.time):
            state.put("changed", {"id": event.id, "at": stamp(event.time)})
        touched = last_evidence.touched_by_document(state, data["kind"], data["key"], event.time)
        last_evidence.queue(state, touched, event.id, event.time)

    def _add(self, collateral: Collateral, blob: BlobId, known_from: datetime) -> None:
        raw = self._blobs.get(blob)
        if raw is None:
            raise RuntimeError(f"the document {blob} was digested, but its bytes are gone: the database is damaged")
        statements = parse(raw, known_from, self._roots, collateral.memo)
        for known in statements:
            collateral.add(known)
        self._crls[blob] = tuple(k.key.partition("/")[2] for k in statements if k.kind is Kind.INTEL_CRL)

    def _put_in_force(self, event: Event, state: State) -> None:
        """Each store of a proposal gets its change; all carry the same intent."""
        key, tenant, intent = f"policy/{event.tenant}", event.tenant, event.data["intent"]
        kept = state.get(key)
        if kept is not None and kept["change"] == event.data["change"]:
            return
        old = self._policy_of(tenant, state)
        state.put(key, {"change": event.data["change"], "policy": intent["policy"], "floors": intent["floors"]})
        del self._policies[tenant]
        self._judge_by(old, self._policy_of(tenant, state), event, state)

    def _judge_by(self, old: Policy, new: Policy, event: Event, state: State) -> None:
        """Have judged again whom the difference between two policies concerns."""
        families: set[str] | None = None
        if old.with_floors({}).hash == new.with_floors({}).hash:
            every = {*old.floors, *new.floors}
            families = {family for family in every if old.floors.get(family) != new.floors.get(family)}
        touched = last_evidence.touched_by_policy(state, event.tenant, families)
        last_evidence.queue(state, touched, event.id, event.time)

    def _decided(self, record: Record, state: State) -> list[Output]:
        """Who is enrolled or retired; and the policy that a tenant configured first, which is in force at once."""
        event = record.event
        if event.type not in (*_ENROLMENT, "decision.configured.v1"):
            return []
        configured, enrolled = event.type == "decision.configured.v1", event.type == "decision.enrolled.v1"
        wrong = (configuration_objection if configured else decision_objection)(self._keys, event)
        if wrong is not None:  # of the others, stages that read them too make the dead letter
            return [dead(record, self.name, wrong.code, _wanted(event, wrong.want), wrong.remedy)] * enrolled
        if configured:
            key = f"policy/{event.tenant}"
            if state.get(key) is None:
                old = self._policy_of(event.tenant, state)
                policy = dict(event.data["policy"])
                state.put(key, {"change": None, "floors": policy.pop("floors", {}), "policy": policy})
                del self._policies[event.tenant]
                self._judge_by(old, self._policy_of(event.tenant, state), event, state)
            return []
        identity = enrolment.decide(state, event)
        if identity is not None and event.type == "decision.retired.v1":
            for place in list(last_evidence.of_machine(state, event.tenant, identity)):
                last_evidence.forget(state, place)  # nothing is known of it any more, until it speaks again
        elif identity is not None:
            touched = last_evidence.of_machine(state, event.tenant, identity)
            last_evidence.queue(state, touched, event.id, event.time)
        elif not is_identity(str(event.data.get("identity"))):
            detail = _wanted(event, f"an identity: {identity_forms()}")
            return [dead(record, self.name, "not_an_identity", detail, "`ratchet enrol --list` shows identities")]
        return []

    def _ticked(self, event: Event, state: State) -> None:
        """What rested on something that has ended is judged again, so that its verdict says what that was."""
        state.put("clock", {"tick": stamp(event.time)})
        last_evidence.queue(state, last_evidence.ended(state, event.time), event.id, event.time)
        replays.forget(state, event.time)
        anchors = sorted(digest(root.der) for root in self._roots)
        if state.get("anchors") != anchors:
            last_evidence.queue(state, last_evidence.everybody(state), event.id, event.time)
            state.put("anchors", anchors)

    def _policy_of(self, tenant: str, state: State) -> Policy:
        policy = self._policies.get(tenant)
        if policy is None:
            kept, policy = state.get(f"policy/{tenant}"), self._configured
            if kept is not None:
                configured = policy.to_data()
                floors = {**configured["floors"], **kept["floors"]}
                policy = Policy.from_data({**(kept["policy"] or configured), "floors": floors})
            self._policies[tenant] = policy
        return policy

    # Evidence

    def _came(self, record: Record, state: State, collateral: Collateral, watermark: datetime, late: bool) -> Output:
        """A verdict on anything that has bytes; a dead letter for what has none, or is no evidence event."""
        event = record.event
        if event.time > watermark + FUTURE:
            detail = f"{stamp(event.time)} is ahead of {stamp(watermark)}"
            return dead(record, self.name, "time_in_future", detail, "set the sender's clock, then send it again")
        return self._judge(record, state, collateral, late, None)

    def _again(self, due: Due, state: State, collateral: Collateral) -> list[Output]:
        """A verdict where it is another than before; what comes out the same is not told twice.

        Nor is that evidence is too old by now, but for what newly disqualifies its machine: trust in it has lapsed.
        What was told to be trusted for longer than the policy would say today has not. Nor is that a short-lived
        certificate has ended under evidence in which nobody trusted.
        """
        told = self._judge(Record(-1, "evidence", due.event), state, collateral, due.entry["late"], due)
        if told[0] != "verdicts":
            return [told]
        data = told[1].data
        if last_evidence.is_over(data) and due.entry["tier"] not in (Tier.AFFIRMING, Tier.WARNING):
            return []  # it ends trust; what was bad does not become better because nobody could prove it now
        believed = timedelta(seconds=self._policy_of(told[1].tenant, state).trusted_for)
        told_until = due.entry["until"]
        lapsed = due.event.time + believed <= due.at and (told_until is None or parse_time(told_until) <= due.at)
        if due.identity is not None and lapsed:
            disqualified = data["tier"] == Tier.CONTRAINDICATED and not last_evidence.is_accused(data)
            return [told] if disqualified and due.entry["tier"] != Tier.CONTRAINDICATED else []
        return [] if last_evidence.outcome(data) == due.entry["outcome"] else [told]

    def _judge(self, record: Record, state: State, collateral: Collateral, late: bool, due: Due | None) -> Output:
        event = record.event
        cause = Cause(id=due.cause, at=due.at) if due is not None else None
        at = due.at if due is not None else event.time
        try:
            received = read(event.data, self._blobs)
        except Malformed as wrong:
            return dead(record, self.name, wrong.code, wrong.detail, wrong.remedy)
        try:
            policy = self._policy_of(event.tenant, state)
            proof = verify(received.evidence, collateral.judging_by(policy.evaluations()), at)
            keys = replays.keys_of(received.evidence.raw, proof)
            first = replays.first_use(state, event.tenant, keys)
            replay_of = first if first != event.id else None
            recognition = self._recognise(event, received, proof, policy, state, due, replayed=replay_of is not None)
            about = Circumstances(received=event.time, recognition=recognition, vouched=received.vouched)
            verdict = appraise(proof, policy, at, about)
            known_as = due.identity if due is not None else None
            judged = Judged(
                event=event.id,
                source=event.source,
                hint=received.hint,
                evidence=received.evidence,
                received=event.time,
                late=late,
                vouched=received.vouched,
                recognition=recognition,
                again=cause.id if cause else None,
                replay_of=replay_of,
                identity=known_as,
            )
            reached = verdict_event(event, judged, proof, verdict, cause)
        except MemoryError:
            raise  # of this machine and moment, not of the bytes: computed again, it may come out otherwise
        except Exception as fault:  # a fault of ours that an attacker found: the stream goes on, and the bytes are kept
            detail = f"{type(fault).__name__}: {fault}"
            return dead(record, self.name, "verifier_fault", detail, "report it, with the bytes: it is a fault of ours")
        if replay_of is not None:  # it takes no place: what came first is what news is about
            if due is not None:
                last_evidence.forget(state, due.place)
            return "verdicts", reached
        if reached.data["fresh"] and (proof.genuine or proof.revoked):
            replays.use_up(state, event, keys)
        crls = {crl for blob in proof.collateral for crl in self._crls.get(blob, ())}
        place = last_evidence.remember(
            state,
            event,
            reached,
            proof,
            crls,
            ends=_ends(proof, verdict, about, policy),
            believed=timedelta(seconds=policy.trusted_for),
            before=due.place if due else None,
        )
        changed = state.get("changed")
        if due is None and changed is not None and stamp(event.time) < changed["at"]:
            last_evidence.queue(state, [place], changed["id"], parse_time(changed["at"]))
        return "verdicts", reached

    def _recognise(
        self,
        event: Event,
        received: Received,
        proof: Proof,
        policy: Policy,
        state: State,
        due: Due | None,
        *,
        replayed: bool,
    ) -> Recognition:
        claims = proof.claims
        if claims is None or claims.platform is None or proof.unproven:
            return Recognition.NOT_ASKED
        if replayed or not proof.genuine or not is_fresh(proof, vouched=received.vouched):
            return enrolment.known(state, event.tenant, claims.platform, policy.enrolment)
        asked = enrolment.Asked(
            tenant=event.tenant,
            identity=claims.platform,
            hint=received.hint,
            family=claims.family,
            tee=claims.tee,
            evidence=event.id,
            received=event.time,
            # Its first use was when it came, or when what it waited for did: not because it is judged again.
            first=due is None or due.place.startswith("sender/"),
        )
        opened = parse_time(state.get("started")["at"])  # type: ignore[index]  # put before anything is judged
        recently = timedelta(seconds=policy.trusted_for)
        return enrolment.recognise(state, asked, policy.enrolment, opened=opened, recently=recently)


def _ends(proof: Proof, verdict: Verdict, about: Circumstances, policy: Policy) -> datetime | None:
    """When the first thing ends that the judgement rests on, other than that evidence is believed for a time."""
    believed = about.received + timedelta(seconds=policy.trusted_for)
    sooner = verdict.trusted_until if verdict.trusted_until is not None and verdict.trusted_until < believed else None
    ends = (proof.valid_until, sooner, verdict.turns)
    return min([end for end in ends if end is not None and end >= verdict.at], default=None)


def _wanted(event: Event, want: Json) -> str:
    return f"{event.type}: wanted {want}"
