"""The roll-out stage: proposals on their way into force, by signed decisions and receipts (ratchet/rollout.py decides).

Intents are whole: every change names the floors of all families of the tenant, those in force and those being sent. A
family of the fleet that has none yet gets an open floor, because a store refuses what it was told nothing of.

Whether a proposal loosens is judged here, when it is sent, against the floors in force and being sent at that moment:
what the proposal said of itself counts only where it is stricter. A loosening that ends by itself is no measure: what
comes after it is judged against the floor that will return, too, and when that ends, this is what returns.

State:
- `rollout/<proposal>` -> {proposal, tenant, state, approvals, history, change, receipts, quorum, expires, signed,
  rollout, enforced, previous}: what people see, who signed what was sent last, the state machine's own record, whether
  it ever came into force, and the record of the floor that returns when it goes.
- `floor/<tenant>/<family>` -> {floor, proposal, change, since, stores: {store: revision}}: proven by receipts.
- `sending/<tenant>/<family>` -> {proposal, floor}: approved, not proven yet.
- `live/<tenant>/<family>` -> proposals that have not ended.
- `families/<tenant>` -> families that the fleet has had.
- `change/<change>` -> {proposal, attempt}: whose receipts these are.
- `expiring/<proposal>` -> when its loosening ends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from ratchet import approval
from ratchet.appraise import Policy
from ratchet.approval import Approvers
from ratchet.event import Event, Json, derived_id, parse_time, stamp
from ratchet.floor import Floor, from_data, is_open, open_floor
from ratchet.ports import Record, Samples
from ratchet.rollout import (
    ENDED,
    UNDERWAY,
    Approve,
    Begin,
    Confirm,
    Effect,
    Enforced,
    Fail,
    Halt,
    Happening,
    Note,
    Pass,
    Reject,
    Replace,
    Restore,
    Restored,
    RollBack,
    Rollout,
    Send,
    Terms,
    Yield,
    advance,
)
from ratchet.rollout import State as At
from ratchet.simulate import Bounds, samples
from ratchet.tighten import succeeds, tightens
from streams.letters import dead
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

    def __init__(self, policy: Policy, bounds: Bounds, approvers: Approvers, stores: Sequence[str]) -> None:
        """`stores` are the names of those that must all give a receipt before a floor is in force."""
        self._policy = policy
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
        families = sorted({*(state.get(f"families/{tenant}") or ()), *data["families"], family})
        state.put(f"families/{tenant}", families)
        out: list[Output] = []
        for other in self._live(tenant, family, state):
            if _kept(other, state)["state"] == At.PROPOSED:
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
                "rollout": Rollout(proposal=proposal, stores=self._stores).to_data(),
                "enforced": False,
                "previous": None,
            },
        )
        state.put(f"live/{tenant}/{family}", [*self._live(tenant, family, state), proposal])
        terms = self._terms(tenant, data, state)
        begin = Begin(terms, self._automatic(tenant, data, state))
        return out + self._apply(proposal, begin, event.time, None, "", state)

    def _automatic(self, tenant: str, data: Mapping[str, Json], state: State) -> bool:
        """May it go by itself, as things are now? Its blast was counted from `before`; from a looser one it is more."""
        if not (data["automatic"] and data["exact"] and data["tightening"]):
            return False
        blast, family = data["blast"], data["family"]
        hit = len(blast["refused"]) + blast["unknown"]
        if hit > self._bounds.max_refused or hit > self._bounds.max_fraction * blast["considered"]:
            return False
        before = from_data(data["before"]) if data["before"] else None
        if before is None:
            return True
        in_force = self._in_force(tenant, family, state)
        return in_force is not None and tightens(from_data(in_force["floor"]), before)

    def _decided(self, record: Record, state: State) -> list[Output]:
        event = record.event
        verb = _DECISIONS.get(event.type)
        if verb is None:
            return []  # about an alert
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
        if hash != kept["proposal"]["hash"]:
            remedy = "look at the proposal again: what was signed is not what is proposed"
            return [dead(record, self.name, "decision_hash_mismatch", f"{hash} is not the proposal's hash", remedy)]
        attempt = kept["rollout"]["attempt"]
        if type(said := data.get("attempt")) is not int or said != attempt:
            remedy = "look at the proposal again, then sign: what was signed before has been used, or is not asked now"
            detail = f"signed for attempt {str(said)[:16]}; {attempt} changes were sent"
            return [dead(record, self.name, "decision_out_of_turn", detail, remedy)]
        wrong = approval.objection(self._approvers, verb, hash, attempt, by, signature)
        if wrong is not None:
            self._remember(proposal, event.time, by, f"{verb}: ignored, {wrong.code}", state)
            return [dead(record, self.name, wrong.code, f"{verb} by {by}: {wrong.want}", wrong.remedy)]
        terms = self._terms(kept["tenant"], kept["proposal"], state)
        happening: Happening
        match verb:
            case "approved":
                happening = Approve(by, terms, event.time)
            case "rejected":
                happening = Reject(by)
            case "halted":
                happening = Halt(by)
            case _:
                happening = RollBack(by, self._terms_back(kept, state), event.time)
        return self._apply(proposal, happening, event.time, dict(data), comment[:1000], state)

    def _received(self, event: Event, state: State) -> list[Output]:
        if event.type not in ("receipt.confirmed.v1", "receipt.failed.v1"):
            return []
        change = state.get(f"change/{event.data['change']}")
        if change is None:
            return []
        kept = _kept(change["proposal"], state)
        store = event.data["store"]
        if kept["change"] == event.data["change"]:
            state.put(
                f"rollout/{change['proposal']}", {**kept, "receipts": {**kept["receipts"], store: dict(event.data)}}
            )
        happening: Happening = Fail(store, change["attempt"])
        if event.type == "receipt.confirmed.v1":
            happening = Confirm(store, change["attempt"], event.time, self._lasts(kept, state))
        return self._apply(change["proposal"], happening, event.time, None, "", state)

    def _ticked(self, tick: Event, state: State) -> list[Output]:
        """What ends by itself. It waits a while for another rollout of the family, which may replace it."""
        out: list[Output] = []
        for key, ends in list(state.scan("expiring/")):
            proposal = key.removeprefix("expiring/")
            if state.get(key) is None or tick.time < (end := parse_time(ends)):
                continue
            if tick.time >= end + PATIENCE or not self._busy(proposal, state):
                out += self._apply(proposal, Pass(tick.time), tick.time, None, "", state)
        return out

    def _busy(self, proposal: str, state: State) -> bool:
        kept = _kept(proposal, state)
        live = self._live(kept["tenant"], kept["proposal"]["family"], state)
        return any(p != proposal and At(_kept(p, state)["state"]) in UNDERWAY for p in live)

    # What follows

    def _apply(
        self,
        proposal: str,
        happening: Happening,
        at: datetime,
        decision: Mapping[str, Json] | None,
        comment: str,
        state: State,
    ) -> list[Output]:
        """Advance one rollout, keep it, and carry the effects out."""
        key = f"rollout/{proposal}"
        kept = _kept(proposal, state)
        before = Rollout.from_data(kept["rollout"])
        after, effects = advance(before, happening)
        tenant, family = kept["tenant"], kept["proposal"]["family"]
        kept |= {
            "state": after.state.value,
            "rollout": after.to_data(),
            "expires": stamp(after.expires) if after.expires else None,
        }
        if isinstance(happening, Begin | Approve):
            kept["quorum"] = happening.terms.quorum if happening.terms.loosening else 1
        if isinstance(happening, Approve):
            kept["signed"] = list(after.approvals)
        elif isinstance(happening, RollBack) and after.attempt > before.attempt:
            kept["signed"] = [*before.retreats, happening.by]
        if decision is not None and isinstance(happening, Approve) and happening.by not in before.approvals:
            counted = len(after.approvals) > len(before.approvals)
            fresh = [] if not before.approvals else kept["approvals"]
            kept["approvals"] = [*fresh, {**decision, "at": stamp(at)}] if counted else kept["approvals"]
        state.put(key, kept)
        if after.expires:
            state.put(f"expiring/{proposal}", stamp(after.expires))
        else:
            state.delete(f"expiring/{proposal}")
        if after.state in ENDED:
            state.put(f"live/{tenant}/{family}", [p for p in self._live(tenant, family, state) if p != proposal])
        if after.state not in UNDERWAY | {At.ROLLED_BACK}:
            self._sent_no_more(tenant, family, proposal, state)
        notes = "; ".join(effect.text for effect in effects if isinstance(effect, Note))
        by = decision["by"] if decision else None
        if notes or comment or after.state is not before.state:
            text = ": ".join(part for part in (notes, comment) if part)
            self._remember(proposal, at, by, text, state)
        return [one for effect in effects for one in self._carry_out(proposal, effect, at, state)]

    def _carry_out(self, proposal: str, effect: Effect, at: datetime, state: State) -> list[Output]:
        kept = _kept(proposal, state)
        key, tenant, family = f"rollout/{proposal}", kept["tenant"], kept["proposal"]["family"]
        match effect:
            case Send(attempt):
                out = self._others(proposal, UNDERWAY | {At.HALTED}, Replace(proposal), at, state)
                state.put(key, {**kept, "enforced": False, "previous": None})
                floor = from_data(kept["proposal"]["floor"])
                loosens = self._loosens(proposal, at, state)
                return out + self._change(proposal, attempt, floor, kept["proposal"]["samples"], loosens, at, state)
            case Restore(attempt):
                out = self._others(proposal, UNDERWAY, Yield(proposal), at, state)
                floor = self._floor_before(kept, state)
                proved, loosens = _data(samples((), floor, self._policy)), self._still_loosens(proposal, state)
                return out + self._change(proposal, attempt, floor, proved, loosens, at, state)
            case Enforced():
                record = {"floor": kept["proposal"]["floor"], "proposal": proposal, **_proof(kept, at)}
                state.put(key, {**kept, "enforced": True, "previous": self._lasting(tenant, family, proposal, state)})
                state.put(f"floor/{tenant}/{family}", record)
                self._sent_no_more(tenant, family, proposal, state)
                return self._others(proposal, {At.ENFORCED, At.ROLLED_BACK}, Replace(proposal), at, state)
            case Restored():
                if kept["enforced"] and kept["previous"] is None:
                    state.delete(f"floor/{tenant}/{family}")
                elif kept["enforced"]:
                    state.put(f"floor/{tenant}/{family}", {**kept["previous"], **_proof(kept, at)})
                self._sent_no_more(tenant, family, proposal, state)
        return []

    def _others(
        self, proposal: str, states: Collection[At], happening: Happening, at: datetime, state: State
    ) -> list[Output]:
        """The family's other rollouts in these states."""
        kept = _kept(proposal, state)
        live = self._live(kept["tenant"], kept["proposal"]["family"], state)
        others = [p for p in live if p != proposal and At(_kept(p, state)["state"]) in states]
        return [one for other in others for one in self._apply(other, happening, at, None, "", state)]

    def _floor_before(self, kept: Mapping[str, Json], state: State) -> Floor:
        """What comes back when it goes: the floor it took the place of, or the one that is in force still."""
        family = kept["proposal"]["family"]
        record = kept["previous"] if kept["enforced"] else self._in_force(kept["tenant"], family, state)
        return from_data(record["floor"]) if record else open_floor(family, "rolled-back/1")

    def _sent_no_more(self, tenant: str, family: str, proposal: str, state: State) -> None:
        key = f"sending/{tenant}/{family}"
        sending = state.get(key)
        if sending is not None and sending["proposal"] == proposal:
            state.delete(key)

    def _loosens(self, proposal: str, at: datetime, state: State) -> Json:
        """Of a proposal that is being sent: how long its floor would be in force for, if it is one that ends."""
        kept = _kept(proposal, state)
        lasts = self._lasts(kept, state) if kept["rollout"]["loosening"] else None
        return None if lasts is None else _loosening(kept, stamp(at + timedelta(seconds=lasts)))

    def _still_loosens(self, proposal: str, state: State) -> Json:
        """Of a going back: it loosens itself, or what returns is a loosening of another that has not ended."""
        kept = _kept(proposal, state)
        if kept["expires"] is not None:
            return _loosening(kept, kept["expires"])
        if kept["enforced"]:
            return None
        for other in self._live(kept["tenant"], kept["proposal"]["family"], state):
            one = _kept(other, state)
            if other != proposal and one["expires"] is not None and one["state"] in (At.ENFORCED, At.ROLLED_BACK):
                return _loosening(one, one["expires"])
        return None

    def _change(
        self,
        proposal: str,
        attempt: int,
        floor: Floor,
        proved: Mapping[str, Json],
        loosens: Json,
        at: datetime,
        state: State,
    ) -> list[Output]:
        """One change, to every store: the whole policy with this floor in it."""
        kept = _kept(proposal, state)
        tenant, family = kept["tenant"], kept["proposal"]["family"]
        change = derived_id("change", proposal, str(attempt))
        state.put(f"sending/{tenant}/{family}", {"proposal": proposal, "floor": floor.to_data()})
        state.put(f"change/{change}", {"proposal": proposal, "attempt": attempt})
        state.put(f"rollout/{proposal}", {**kept, "change": change, "receipts": {}})
        intent = {
            "policy": self._policy.with_floors({}).to_data(),
            "floors": self._floors(tenant, state),
        }
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
                        "intent": intent,
                        "approvals": kept["approvals"],
                        "samples": proved,
                        "loosens": loosens,
                    },
                ),
            )
            for store in self._stores
        ]

    def _floors(self, tenant: str, state: State) -> dict[str, Json]:
        """Every family's floor: being sent, else in force, else open."""
        families = {*(state.get(f"families/{tenant}") or ()), *self._policy.floors}
        floors: dict[str, Json] = {}
        for family in sorted(families):
            sending = state.get(f"sending/{tenant}/{family}")
            record = sending or self._in_force(tenant, family, state)
            floors[family] = record["floor"] if record else open_floor(family, "no-floor-yet/1").to_data()
        return floors

    def _in_force(self, tenant: str, family: str, state: State) -> dict[str, Json] | None:
        """The record of the floor in force; that of the configuration where no change has touched it."""
        record = state.get(f"floor/{tenant}/{family}")
        if record is not None:
            return dict(record)
        floor = self._policy.floors.get(family)
        if floor is None or is_open(floor):
            return None
        return {"floor": floor.to_data(), "proposal": None, **_NOT_PROVEN}

    def _lasting(self, tenant: str, family: str, but: str, state: State) -> dict[str, Json] | None:
        """The record of the floor in force; where a loosening is, of the one that returns when that ends.

        `but` is the rollout that asks, which may be in force itself by now.
        """
        for proposal in self._live(tenant, family, state):
            kept = _kept(proposal, state)
            if proposal == but or kept["expires"] is None:
                continue
            if kept["state"] == At.ENFORCED:
                return dict(kept["previous"]) if kept["previous"] else None
            if kept["state"] == At.ROLLED_BACK:
                return {"floor": kept["proposal"]["floor"], "proposal": proposal, **_NOT_PROVEN}
        return self._in_force(tenant, family, state)

    def _lasts(self, kept: Mapping[str, Json], state: State) -> int | None:
        """How long this floor is for where it loosens; None where what would return is no stricter, or is what the
        vendor itself replaced: only what people lower against the vendor ends by itself.
        """
        said = kept["proposal"]
        returns = self._lasting(kept["tenant"], said["family"], said["proposal"], state)
        if returns is None:
            return None
        new, old = from_data(said["floor"]), from_data(returns["floor"])
        if tightens(new, old) or succeeds(new, old):
            return None
        return self._approvers.loosening_lasts

    def _terms(self, tenant: str, data: Mapping[str, Json], state: State) -> Terms:
        """Against every floor that it would take the place of: in force, to return, or being sent by another."""
        floor, family = from_data(data["floor"]), data["family"]
        against = [
            self._in_force(tenant, family, state),
            self._lasting(tenant, family, data["proposal"], state),
            state.get(f"sending/{tenant}/{family}"),
        ]
        others = [from_data(one["floor"]) for one in against if one and one.get("proposal") != data["proposal"]]
        loosening = not all(tightens(floor, other) for other in others)
        return Terms(loosening=loosening, quorum=self._approvers.quorum, lasts=self._approvers.loosening_lasts)

    def _terms_back(self, kept: Mapping[str, Json], state: State) -> Terms:
        """Of going back: does the floor that returns let in what is refused now?"""
        floor = self._floor_before(kept, state)
        now = self._in_force(kept["tenant"], kept["proposal"]["family"], state)
        loosening = now is not None and not tightens(floor, from_data(now["floor"]))
        return Terms(loosening=loosening, quorum=self._approvers.quorum, lasts=self._approvers.loosening_lasts)

    def _live(self, tenant: str, family: str, state: State) -> list[str]:
        return list(state.get(f"live/{tenant}/{family}") or ())

    def _remember(self, proposal: str, at: datetime, by: str | None, text: str, state: State) -> None:
        key = f"rollout/{proposal}"
        kept = _kept(proposal, state)
        entry = {"at": stamp(at), "state": kept["state"], "by": by, "comment": text}
        history = kept["history"]
        if len(history) >= HISTORY:
            history = [history[0], *history[-(HISTORY - 2) :]]
        state.put(key, {**kept, "history": [*history, entry]})


_NOT_PROVEN: Mapping[str, Json] = {"change": None, "since": None, "stores": {}}
"""Of a floor's record, as long as no receipt speaks of it."""


def _kept(proposal: str, state: State) -> dict[str, Json]:
    """A rollout's record; only ever asked of proposals that have one."""
    kept = state.get(f"rollout/{proposal}")
    if kept is None:
        raise KeyError(f"no rollout {proposal}")
    return dict(kept)


def _loosening(kept: Mapping[str, Json], until: str) -> dict[str, Json]:
    """What a change says of the loosening that comes with it."""
    return {"proposal": kept["proposal"]["proposal"], "until": until, "by": kept.get("signed") or []}


def _proof(kept: Mapping[str, Json], at: datetime) -> dict[str, Json]:
    stores = {store: receipt["revision"] for store, receipt in kept["receipts"].items()}
    return {"change": kept["change"], "since": stamp(at), "stores": stores}


def _data(proved: Samples) -> dict[str, Json]:
    return {"refuse": [dict(s) for s in proved.refuse], "pass": [dict(s) for s in proved.admit]}
