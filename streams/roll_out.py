"""The roll-out stage: proposals on their way into force, by signed decisions and receipts (rollout/advance.py decides).

Intents are whole (streams/ledger.py): every change names the policy and the floors of all families of the tenant, those
in force and those being sent. An approval is over the hash of that whole: it counts for this policy and no other, and
earlier approvals count no longer when something else changes what would be pushed.

Whether a proposal loosens is judged here, when it is sent, against what is in force and being sent at that moment:
what the proposal said of itself counts only where it is stricter. A loosening that ends by itself is no measure: what
comes after it is judged against the floor that will return, too, and when that ends, this is what returns.

State:
- `rollout/<proposal>` -> {proposal, tenant, state, approvals, history, change, receipts, quorum, expires, signed,
  digest, pushes, returns, agreed, rollout, enforced, previous}: what people see; who signed what was sent last; the
  digest of what is proposed; the hash of the whole policy that approving it would push, and of the one that going back
  would; which of these those who have signed so far signed; the state machine's own record; whether it ever came into
  force, and the record of what returns when it goes.
- what is in force, being sent and alive: streams/ledger.py.
- `change/<change>` -> {proposal, attempt}: whose receipts these are.
- `expiring/<proposal>` -> when its loosening ends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from ratchet.event import Event, Json, canonical, derived_id, digest, parse_time, stamp
from ratchet.policy.amendment import POLICY, Amendment
from ratchet.policy.appraise import Policy
from ratchet.policy.floor import from_data
from ratchet.policy.simulate import Bounds, samples_of
from ratchet.ports import Record, Samples
from ratchet.rollout import approval, terms
from ratchet.rollout.advance import (
    ENDED,
    UNDERWAY,
    Approve,
    Begin,
    Confirm,
    Effect,
    Enforced,
    Fail,
    Halt,
    Note,
    Reject,
    Replace,
    Restore,
    Restored,
    RollBack,
    Rollout,
    RolloutEvent,
    Send,
    Superseded,
    Terms,
    TimePassed,
    advance,
)
from ratchet.rollout.advance import State as At
from ratchet.rollout.approval import Approvers, DecisionKeys, configuration_objection
from streams.dead_letters import dead
from streams.ledger import Ledger, live, part, proof, rollout
from streams.stage import Output, State

SOURCE = "/streams/roll-out"

HISTORY = 200
"""Entries kept of one rollout: the first and the latest."""

PATIENCE = timedelta(hours=1)
"""How long the end of a loosening waits for another rollout of the family that is underway and may replace it."""

_DECISIONS = {f"decision.{verb}.v1": verb for verb in approval.VERBS}


class RollOut:
    """receipts, proposals, decisions, ticks -> changes, dead letters."""

    name = "roll-out"

    def __init__(
        self, policy: Policy, bounds: Bounds, approvers: Approvers, stores: Sequence[str], keys: DecisionKeys
    ) -> None:
        """`stores` are the names of those that must all give a receipt before something is in force."""
        self._ledger = Ledger(policy)
        self._keys = keys
        self._bounds = bounds
        self._approvers = approvers
        self._stores = tuple(stores)

    def step(self, batch: Sequence[Record], state: State, watermark: datetime) -> list[Output]:
        """One event after the other."""
        out: list[Output] = []
        for record in batch:
            match record.topic:
                case "proposals":
                    out += self._proposed(record, state)
                case "decisions":
                    out += self._decided(record, state)
                case "receipts":
                    out += self._received(record.event, state)
                case "ticks":
                    out += self._ticked(record.event, state)
        for tenant in sorted(
            {event.tenant for _, event in out} | {r.event.tenant for r in batch if r.topic != "ticks"}
        ):
            self._show_what_would_be_pushed(tenant, state)
        return out

    # What comes in

    def _proposed(self, record: Record, state: State) -> list[Output]:
        event, data = record.event, record.event.data
        key = f"rollout/{data['proposal']}"
        if state.get(key) is not None:
            return []
        if approval.proposal_hash(data) != data["hash"]:
            remedy = "look for who writes to the proposals topic"
            return [dead(record, self.name, "proposal_hash_mismatch", "its hash is not that of its content", remedy)]
        tenant, family, proposal = event.tenant, data["family"], data["proposal"]
        families = sorted({*(state.get(f"families/{tenant}") or ()), *data["families"], family} - {POLICY})
        state.put(f"families/{tenant}", families)
        out: list[Output] = []
        for other in live(tenant, family, state):
            if rollout(other, state)["state"] == At.PROPOSED:
                out += self._apply(other, Replace(proposal), event.time, None, "", state)
        state.put(
            key,
            {
                "proposal": dict(data),
                "tenant": tenant,
                "state": At.PROPOSED.value,
                "approvals": [],
                "history": [{"at": stamp(event.time), "state": At.PROPOSED.value, "by": None, "comment": data["why"]}],
                "change": None,
                "receipts": {},
                "quorum": 1,
                "expires": None,
                "signed": [],
                "digest": digest(canonical(data[part(family)])),
                "pushes": None,
                "returns": None,
                "agreed": None,
                "rollout": Rollout(proposal=proposal, stores=self._stores).to_data(),
                "enforced": False,
                "previous": None,
            },
        )
        state.put(f"live/{tenant}/{family}", [*live(tenant, family, state), proposal])
        begin = Begin(self._terms(tenant, data, state), self._automatic(tenant, data, state))
        return out + self._apply(proposal, begin, event.time, None, "", state)

    def _automatic(self, tenant: str, data: Mapping[str, Json], state: State) -> bool:
        """May it go by itself, as things are now?"""
        family = data["family"]
        before = self._ledger.policy(tenant, state).bind(from_data(data["before"])) if data["before"] else None
        record = self._ledger.record(tenant, family, state) if family != POLICY else None
        in_force = self._ledger.amendment(tenant, family, record, state) if record is not None else None
        return terms.may_go_by_itself(data, self._bounds, before, in_force)

    def _decided(self, record: Record, state: State) -> list[Output]:
        event = record.event
        if event.type == "decision.configured.v1":
            return self._configured(record, state)
        verb = _DECISIONS.get(event.type)
        if verb is None:
            return []  # about an alert or a machine
        data = event.data
        texts = [data.get(name) for name in ("proposal", "hash", "by", "signature")]
        comment = data.get("comment") or ""
        if not all(isinstance(text, str) and len(text) <= 256 for text in texts) or not isinstance(comment, str):
            remedy = "decide with `ratchet approve`"
            return [dead(record, self.name, "decision_malformed", "proposal, hash, by and signature are text", remedy)]
        proposal, hash, by, signature = (str(text) for text in texts)
        kept = state.get(f"rollout/{proposal}")
        if kept is None or kept["tenant"] != event.tenant:
            remedy = "`ratchet proposals` lists them"
            return [dead(record, self.name, "decision_unknown_proposal", f"no proposal {proposal}", remedy)]
        attempt, expected = kept["rollout"]["attempt"], self._would_push(kept, verb, state)
        asked = kept["proposal"]["hash"]
        other = approval.misplaced(data, verb=verb, hash=asked, attempt=attempt, pushes=expected)
        if other is not None:
            return [dead(record, self.name, other.code, str(other.want), other.remedy)]
        wrong = approval.objection(self._approvers, verb, hash, attempt, by, signature, expected)
        if wrong is not None:
            self._remember(proposal, event.time, by, f"{verb}: ignored, {wrong.code}", state)
            return [dead(record, self.name, wrong.code, f"{verb} by {by}: {wrong.want}", wrong.remedy)]
        self._only_of_one_policy(proposal, verb, expected, event.time, state)
        now = self._terms(kept["tenant"], kept["proposal"], state)
        rollout_event: RolloutEvent
        match verb:
            case "approved":
                rollout_event = Approve(by, now, event.time)
            case "rejected":
                rollout_event = Reject(by)
            case "halted":
                rollout_event = Halt(by)
            case _:
                rollout_event = RollBack(by, self._terms_back(kept, state), event.time)
        return self._apply(proposal, rollout_event, event.time, dict(data), comment[:1000], state)

    def _configured(self, record: Record, state: State) -> list[Output]:
        """The first policy of a tenant is in force at once. What is in force needs no proposal: those are withdrawn."""
        event = record.event
        wrong = configuration_objection(self._keys, event)
        if wrong is not None:
            return [dead(record, self.name, wrong.code, f"{event.type}: wanted {wrong.want}", wrong.remedy)]
        if self._ledger.configure(event, state):
            return []
        policy = Policy.from_data(event.data["policy"]).with_floors({})
        if policy.hash != self._ledger.policy(event.tenant, state).hash:
            return []
        waiting = [p for p in live(event.tenant, POLICY, state) if rollout(p, state)["state"] == At.PROPOSED]
        replaced = Replace("the configuration, which is again what is in force")
        return [one for p in waiting for one in self._apply(p, replaced, event.time, None, "", state)]

    def _would_push(self, kept: Mapping[str, Json], verb: str, state: State) -> str | None:
        """The hash of the whole policy that this decision would push; None of one that pushes nothing."""
        tenant, family = kept["tenant"], kept["proposal"]["family"]
        if verb not in approval.PUSHING:
            return None
        if verb == "approved":
            pushed = {part(family): kept["proposal"][part(family)], "digest": kept["digest"]}
        else:
            pushed = {part(family): self._ledger.before(kept, state).to_data()}
        return self._ledger.whole(tenant, state, family, pushed).hash

    def _only_of_one_policy(self, proposal: str, verb: str, policy: str | None, at: datetime, state: State) -> None:
        """Whoever signed before, signed for another policy than would be pushed now: they have to look again."""
        kept = rollout(proposal, state)
        agreed = {"verb": verb, "policy": policy}
        machine = Rollout.from_data(kept["rollout"])
        stale = kept["agreed"] is not None and policy is not None and kept["agreed"] != agreed
        if stale and (machine.approvals if verb == "approved" else machine.retreats):
            fresh = replace(machine, approvals=()) if verb == "approved" else replace(machine, retreats=())
            kept |= {"rollout": fresh.to_data(), "approvals": [] if verb == "approved" else kept["approvals"]}
            state.put(f"rollout/{proposal}", kept)
            self._remember(
                proposal, at, None, "what would be pushed has changed: earlier signatures do not count", state
            )
            kept = rollout(proposal, state)
        if policy is not None:
            state.put(f"rollout/{proposal}", {**kept, "agreed": agreed})

    def _show_what_would_be_pushed(self, tenant: str, state: State) -> None:
        """For those who sign: kept with every proposal that has not ended."""
        for proposal in [one for _, every in state.scan(f"live/{tenant}/") for one in every]:
            kept = rollout(proposal, state)
            waits, sent = kept["state"] in (At.PROPOSED, At.HALTED), kept["rollout"]["attempt"] > 0
            pushes = self._would_push(kept, "approved", state) if waits else None
            returns = self._would_push(kept, "rolled_back", state) if sent else None
            if (kept["pushes"], kept["returns"]) != (pushes, returns):
                state.put(f"rollout/{proposal}", {**kept, "pushes": pushes, "returns": returns})

    def _received(self, event: Event, state: State) -> list[Output]:
        if event.type not in ("receipt.confirmed.v1", "receipt.failed.v1"):
            return []
        change = state.get(f"change/{event.data['change']}")
        if change is None:
            return []
        kept = rollout(change["proposal"], state)
        store = event.data["store"]
        if kept["change"] == event.data["change"]:
            state.put(
                f"rollout/{change['proposal']}", {**kept, "receipts": {**kept["receipts"], store: dict(event.data)}}
            )
        rollout_event: RolloutEvent = Fail(store, change["attempt"])
        if event.type == "receipt.confirmed.v1":
            rollout_event = Confirm(store, change["attempt"], event.time, self._lasts(kept, state))
        return self._apply(change["proposal"], rollout_event, event.time, None, "", state)

    def _ticked(self, tick: Event, state: State) -> list[Output]:
        """What ends by itself. It waits a while for another rollout of the family, which may replace it."""
        out: list[Output] = []
        for key, ends in list(state.scan("expiring/")):
            proposal = key.removeprefix("expiring/")
            if state.get(key) is None or tick.time < (end := parse_time(ends)):
                continue
            if tick.time >= end + PATIENCE or not self._busy(proposal, state):
                out += self._apply(proposal, TimePassed(tick.time), tick.time, None, "", state)
        return out

    def _busy(self, proposal: str, state: State) -> bool:
        kept = rollout(proposal, state)
        others = live(kept["tenant"], kept["proposal"]["family"], state)
        return any(p != proposal and At(rollout(p, state)["state"]) in UNDERWAY for p in others)

    # What follows

    def _apply(
        self,
        proposal: str,
        rollout_event: RolloutEvent,
        at: datetime,
        decision: Mapping[str, Json] | None,
        comment: str,
        state: State,
    ) -> list[Output]:
        """Advance one rollout, keep it, and carry the effects out."""
        key = f"rollout/{proposal}"
        kept = rollout(proposal, state)
        before = Rollout.from_data(kept["rollout"])
        after, effects = advance(before, rollout_event)
        tenant, family = kept["tenant"], kept["proposal"]["family"]
        kept |= {
            "state": after.state.value,
            "rollout": after.to_data(),
            "expires": stamp(after.expires) if after.expires else None,
        }
        if isinstance(rollout_event, Begin | Approve):
            kept["quorum"] = rollout_event.terms.quorum if rollout_event.terms.loosening else 1
        if isinstance(rollout_event, Approve):
            kept["signed"] = list(after.approvals)
        elif isinstance(rollout_event, RollBack) and after.attempt > before.attempt:
            kept["signed"] = [*before.retreats, rollout_event.by]
        if decision is not None and isinstance(rollout_event, Approve) and rollout_event.by not in before.approvals:
            counted = len(after.approvals) > len(before.approvals)
            fresh = [] if not before.approvals else kept["approvals"]
            kept["approvals"] = [*fresh, {**decision, "at": stamp(at)}] if counted else kept["approvals"]
        state.put(key, kept)
        if after.expires:
            state.put(f"expiring/{proposal}", stamp(after.expires))
        else:
            state.delete(f"expiring/{proposal}")
        if after.state in ENDED:
            state.put(f"live/{tenant}/{family}", [p for p in live(tenant, family, state) if p != proposal])
        if after.state not in UNDERWAY | {At.ROLLED_BACK}:
            self._ledger.sent_no_more(tenant, family, proposal, state)
        notes = "; ".join(effect.text for effect in effects if isinstance(effect, Note))
        by = decision["by"] if decision else None
        if notes or comment or after.state is not before.state:
            text = ": ".join(part for part in (notes, comment) if part)
            self._remember(proposal, at, by, text, state)
        return [one for effect in effects for one in self._carry_out(proposal, effect, at, state)]

    def _carry_out(self, proposal: str, effect: Effect, at: datetime, state: State) -> list[Output]:
        kept = rollout(proposal, state)
        key, tenant, family = f"rollout/{proposal}", kept["tenant"], kept["proposal"]["family"]
        match effect:
            case Send(attempt):
                out = self._others(proposal, UNDERWAY | {At.HALTED}, Replace(proposal), at, state)
                state.put(key, {**kept, "enforced": False, "previous": None})
                what = self._ledger.amendment(tenant, family, kept["proposal"], state)
                loosens = self._loosens(proposal, at, state)
                return out + self._change(proposal, attempt, what, kept["proposal"]["samples"], loosens, at, state)
            case Restore(attempt):
                out = self._others(proposal, UNDERWAY, Superseded(proposal), at, state)
                what = self._ledger.before(kept, state)
                whole = self._ledger.whole(tenant, state, family, {part(family): what.to_data()}).read()
                proved, loosens = _data(samples_of((), whole, family)), self._still_loosens(proposal, state)
                return out + self._change(proposal, attempt, what, proved, loosens, at, state)
            case Enforced():
                name = part(family)
                data = {name: kept["proposal"][name], "digest": kept["digest"], "proposal": proposal}
                record = {**data, **proof(kept, at)}
                previous = self._ledger.lasting(tenant, family, proposal, state)
                state.put(key, {**kept, "enforced": True, "previous": previous})
                self._ledger.enforce(tenant, family, record, state)
                self._ledger.sent_no_more(tenant, family, proposal, state)
                return self._others(proposal, {At.ENFORCED, At.ROLLED_BACK}, Replace(proposal), at, state)
            case Restored():
                if kept["enforced"]:
                    returned = kept["previous"] and {**kept["previous"], **proof(kept, at)}
                    self._ledger.enforce(tenant, family, returned, state)
                self._ledger.sent_no_more(tenant, family, proposal, state)
        return []

    def _others(
        self, proposal: str, states: Collection[At], rollout_event: RolloutEvent, at: datetime, state: State
    ) -> list[Output]:
        """The family's other rollouts in these states."""
        kept = rollout(proposal, state)
        every = live(kept["tenant"], kept["proposal"]["family"], state)
        others = [p for p in every if p != proposal and At(rollout(p, state)["state"]) in states]
        return [one for other in others for one in self._apply(other, rollout_event, at, None, "", state)]

    def _loosens(self, proposal: str, at: datetime, state: State) -> Json:
        """Of a proposal that is being sent: how long its floor would be in force for, if it is one that ends."""
        kept = rollout(proposal, state)
        lasts = self._lasts(kept, state) if kept["rollout"]["loosening"] else None
        return None if lasts is None else _loosening(kept, stamp(at + timedelta(seconds=lasts)))

    def _still_loosens(self, proposal: str, state: State) -> Json:
        """Of a going back: it loosens itself, or what returns is a loosening of another that has not ended."""
        kept = rollout(proposal, state)
        if kept["expires"] is not None:
            return _loosening(kept, kept["expires"])
        if kept["enforced"]:
            return None
        for other in live(kept["tenant"], kept["proposal"]["family"], state):
            one = rollout(other, state)
            if other != proposal and one["expires"] is not None and one["state"] in (At.ENFORCED, At.ROLLED_BACK):
                return _loosening(one, one["expires"])
        return None

    def _change(
        self,
        proposal: str,
        attempt: int,
        what: Amendment,
        proved: Mapping[str, Json],
        loosens: Json,
        at: datetime,
        state: State,
    ) -> list[Output]:
        """One change, to every store: the whole policy with this in it."""
        kept = rollout(proposal, state)
        tenant, family = kept["tenant"], kept["proposal"]["family"]
        change = derived_id("change", proposal, str(attempt))
        self._ledger.send(proposal, tenant, family, what, state)
        state.put(f"change/{change}", {"proposal": proposal, "attempt": attempt})
        state.put(f"rollout/{proposal}", {**kept, "change": change, "receipts": {}})
        whole = self._ledger.whole(tenant, state, family, {part(family): what.to_data()})
        return [
            (
                "changes",
                Event(
                    id=derived_id("change-due", change, store),
                    source=SOURCE,
                    type="change.due.v1",
                    subject=store,
                    time=at,
                    tenant=tenant,
                    data={
                        "change": change,
                        "proposal": proposal,
                        "store": store,
                        "family": family,
                        "intent": whole.intent,
                        "policy": whole.hash,
                        "approvals": kept["approvals"],
                        "samples": proved,
                        "loosens": loosens,
                    },
                ),
            )
            for store in self._stores
        ]

    def _lasts(self, kept: Mapping[str, Json], state: State) -> int | None:
        """How long this is for where it loosens."""
        tenant, family, proposal = kept["tenant"], kept["proposal"]["family"], kept["proposal"]["proposal"]
        kept_back = self._ledger.lasting(tenant, family, proposal, state)
        returns = self._ledger.amendment(tenant, family, kept_back, state) if kept_back is not None else None
        return terms.lasts(self._ledger.amendment(tenant, family, kept["proposal"], state), returns, self._approvers)

    def _terms(self, tenant: str, data: Mapping[str, Json], state: State) -> Terms:
        """Against everything that it would take the place of: in force, to return, or being sent by another."""
        family = data["family"]
        places = (
            self._ledger.record(tenant, family, state),
            self._ledger.lasting(tenant, family, data["proposal"], state),
            state.get(f"sending/{tenant}/{family}"),
        )
        others = [one for one in places if one and one.get("proposal") != data["proposal"]]
        held = [self._ledger.amendment(tenant, family, one, state) for one in others]
        return terms.against(self._ledger.amendment(tenant, family, data, state), held, self._approvers)

    def _terms_back(self, kept: Mapping[str, Json], state: State) -> Terms:
        """Of going back: does what returns let in what is refused now?"""
        tenant, family = kept["tenant"], kept["proposal"]["family"]
        now = self._ledger.record(tenant, family, state)
        held = [] if now is None else [self._ledger.amendment(tenant, family, now, state)]
        return terms.against(self._ledger.before(kept, state), held, self._approvers)

    def _remember(self, proposal: str, at: datetime, by: str | None, text: str, state: State) -> None:
        key = f"rollout/{proposal}"
        kept = rollout(proposal, state)
        entry = {"at": stamp(at), "state": kept["state"], "by": by, "comment": text}
        history = kept["history"]
        if len(history) >= HISTORY:
            history = [history[0], *history[-(HISTORY - 2) :]]
        state.put(key, {**kept, "history": [*history, entry]})


def _loosening(kept: Mapping[str, Json], until: str) -> dict[str, Json]:
    """What a change says of the loosening that comes with it."""
    return {"proposal": kept["proposal"]["proposal"], "until": until, "by": kept.get("signed") or []}


def _data(proved: Samples) -> dict[str, Json]:
    return {"refuse": [dict(s) for s in proved.refuse], "pass": [dict(s) for s in proved.admit]}
