"""The decide stage: what vendors ask and what operators configure, held against the fleet as it is, becomes proposals.

A floor is proposed when one is wanted that is not in force and was not proposed before in its place:

- on a TCB info that is sound, signed under a trusted root and newer than the last of its evaluation;
- on a reviewed advisory, or a later review of one;
- when the first machine of a family appears: until then nobody would be concerned, so nothing is proposed;
- when another policy comes into force, which may want another evaluation or accept other statuses.

Which of Intel's evaluations is wanted is policy (ratchet/policy/evaluation.py). A floor that no machine can meet is not
proposed; nor is one of the same evaluation that admits exactly the machines that the last proposal or, where there was
none, the floor in force admits. So a stale document that arrives late proposes nothing, nor one that only gives its
levels other dates.

A policy is proposed when the configuration says another than is in force (decision.configured.v1).

The effect of a proposal is counted guest by guest (policy/simulate.py), on each one's last fresh proof. A machine that
was retired (decision.retired.v1) counts no more until it attests again.

State, each under the tenant:
- `machine/<tenant>/<identity>/<guest>` -> its latest fresh signal.
- `retired/<tenant>/<identity>` -> when it was retired last.
- `family/<tenant>/<family>` -> when its first machine was seen.
- `tcb-info/<tenant>/<family>/<evaluation>` -> {issued, floor}: the newest TCB info of each evaluation, read as a floor.
- `advisory/<tenant>/<advisory>` -> the latest review of a bulletin.
- `in-force/<tenant>` -> {change, policy, floors}: what the last change of the roll-out asked of stores; before the
  first, the policy that was configured first, with change null.
- `configured/<tenant>` -> {floors}: those of the policy that was configured last.
- `wanted/<tenant>/<family>` -> the floor proposed last.
- `proposed/<tenant>/<family>/<hash>` -> the proposal of this floor in place of that one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from ratchet.advisory import Advisory, combined
from ratchet.collateral import Kind, parse
from ratchet.event import BlobId, Event, Json, canonical, derived_id, digest, parse_time, stamp
from ratchet.policy.appraise import Policy
from ratchet.policy.evaluation import choose
from ratchet.policy.floor import Floor, IntelFloor, floor_hash, from_data, is_open
from ratchet.policy.simulate import Bounds, guest_name, seen_at
from ratchet.policy.tighten import attainable, same_effect
from ratchet.policy.vendor_floors import floors_from
from ratchet.ports import Blobs, Record
from ratchet.rollout import proposal
from ratchet.rollout.approval import DecisionKeys, configuration_objection, decision_objection, proposal_hash
from ratchet.x509.anchor import Root
from streams.dead_letters import dead
from streams.stage import Output, State

SOURCE = "/streams/decide"


class Decide:
    """changes, collateral, advisories, decisions, signals -> proposals, dead letters."""

    name = "decide"

    def __init__(self, roots: Iterable[Root], policy: Policy, bounds: Bounds, blobs: Blobs, keys: DecisionKeys) -> None:
        """`bounds` say how far an exact tightening may reach by itself; `keys` sign what operators decide."""
        self._roots = tuple(roots)
        self._policy = policy
        self._bounds = bounds
        self._blobs = blobs
        self._keys = keys

    def step(self, batch: Sequence[Record], state: State, watermark: datetime) -> list[Output]:
        """In order of time; signals by their own times, not by those of the records that carry them."""
        out: list[Output] = []
        for record, signal in _ordered(batch):
            match record.topic:
                case "changes":
                    out += self._in_force(record.event, state)
                case "collateral":
                    out += self._tcb_info(record.event, state)
                case "advisories":
                    out += self._advisory(record.event, state)
                case "decisions":
                    out += self._decided(record, state)
                case "signals":
                    out += self._machine(signal, record.event, state)
        return out

    def _in_force(self, event: Event, state: State) -> list[Output]:
        """Another policy beside the floors may want other floors."""
        key = f"in-force/{event.tenant}"
        kept, intent = state.get(key), event.data["intent"]
        if kept is not None and kept["change"] == event.data["change"]:
            return []
        before = self._policy_of(event.tenant, state)
        held = {"change": event.data["change"], "policy": intent.get("policy") or None, "floors": intent["floors"]}
        state.put(key, held)
        after = self._policy_of(event.tenant, state)
        if before.with_floors({}).hash == after.with_floors({}).hash:
            return []
        prefix = f"family/{event.tenant}/"
        families = [name.removeprefix(prefix) for name, _ in state.scan(prefix)]
        return [one for name in families for one in self._propose(event.tenant, name, event.time, event.id, state)]

    def _policy_of(self, tenant: str, state: State) -> Policy:
        """The whole policy in force."""
        kept = state.get(f"in-force/{tenant}")
        if kept is None:
            return self._policy
        policy = Policy.from_data(kept["policy"]) if kept["policy"] else self._policy
        floors = {family: from_data(floor) for family, floor in kept["floors"].items()}
        return policy.with_floors({**self._policy.floors, **floors})

    def _tcb_info(self, event: Event, state: State) -> list[Output]:
        data = event.data
        if data["kind"] != Kind.INTEL_TCB_INFO.value or data["root"] is None or data["reasons"]:
            return []
        raw = self._blobs.get(BlobId(data["blob"]))
        if raw is None:
            raise RuntimeError(f"the document {data['blob']} was digested, but its bytes are gone")
        known = [one for one in parse(raw, event.time, self._roots) if one.key == data["key"]]
        out: list[Output] = []
        for floor in floors_from(known, self._policy_of(event.tenant, state), event.time):
            issued = stamp(max(one.rank[1] for one in known if one.kind is Kind.INTEL_TCB_INFO))
            key = f"tcb-info/{event.tenant}/{floor.family}/{floor.evaluation:08}"
            kept = state.get(key)
            if kept is not None and kept["issued"] >= issued:
                continue
            state.put(key, {"issued": issued, "floor": floor.to_data()})
            out += self._propose(event.tenant, floor.family, event.time, event.id, state)
        return out

    def _decided(self, record: Record, state: State) -> list[Output]:
        event = record.event
        if event.type == "decision.configured.v1":
            wrong = configuration_objection(self._keys, event)
        elif event.type == "decision.retired.v1":
            wrong = decision_objection(self._keys, event)
        else:
            return []
        if wrong is not None:
            return [dead(record, self.name, wrong.code, f"{event.type}: wanted {wrong.want}", wrong.remedy)]
        return self._configured(event, state) if event.type == "decision.configured.v1" else self._retired(event, state)

    def _retired(self, event: Event, state: State) -> list[Output]:
        identity = str(event.data.get("identity"))
        state.put(f"retired/{event.tenant}/{identity}", stamp(event.time))
        for key, _ in list(state.scan(f"machine/{event.tenant}/{identity}/")):
            state.delete(key)
        return []

    def _configured(self, event: Event, state: State) -> list[Output]:
        """The first policy of a tenant is in force at once; of another a proposal is made."""
        key, wanted = f"in-force/{event.tenant}", Policy.from_data(event.data["policy"])
        if state.get(key) is None:
            data = wanted.to_data()
            state.put(key, {"change": None, "policy": wanted.with_floors({}).to_data(), "floors": data["floors"]})
            state.put(f"configured/{event.tenant}", {"floors": data["floors"]})
            return []
        in_force = self._policy_of(event.tenant, state)
        out: list[Output] = []
        if wanted.with_floors({}).hash != in_force.with_floors({}).hash:
            occasion = self._occasion(event.tenant, event.time, event.id, state)
            out.append(_made(proposal.of_policy(wanted.with_floors(in_force.floors), in_force, occasion), occasion))
        return out + self._configured_floors(event, wanted, in_force, state)

    def _configured_floors(self, event: Event, wanted: Policy, in_force: Policy, state: State) -> list[Output]:
        """Floors that the configuration says otherwise than before; never by themselves: no document is behind them."""
        last = (state.get(f"configured/{event.tenant}") or {"floors": {}})["floors"]
        state.put(f"configured/{event.tenant}", {"floors": wanted.to_data()["floors"]})
        out: list[Output] = []
        for family, floor in sorted(wanted.floors.items()):
            before = in_force.floors.get(family)
            if last.get(family) == floor.to_data() or same_effect(floor, before):
                continue
            occasion = self._occasion(event.tenant, event.time, event.id, state)
            state.put(f"wanted/{event.tenant}/{family}", floor.to_data())
            out.append(_made(proposal.of_floor(family, floor, before, in_force, occasion, configured=True), occasion))
        return out

    def _advisory(self, event: Event, state: State) -> list[Output]:
        advisory = Advisory.from_data(event.data)
        key = f"advisory/{event.tenant}/{advisory.advisory}"
        kept = state.get(key)
        if kept is not None and parse_time(kept["reviewed_at"]) >= advisory.reviewed_at:
            return []
        state.put(key, advisory.to_data())
        before = Advisory.from_data(kept).floors if kept else ()
        families = sorted({floor.family for floor in (*before, *advisory.floors)})
        return [one for family in families for one in self._propose(event.tenant, family, event.time, event.id, state)]

    def _machine(self, signal: Mapping[str, Json], event: Event, state: State) -> list[Output]:
        if signal["genuine"] is not True or signal.get("fresh") is not True or not isinstance(signal["family"], str):
            return []
        if signal.get("replay_of") is not None:
            return []  # it proves nothing, under whatever name it comes
        tenant, family, identity = signal["tenant"], signal["family"], signal["subject"]
        if seen_at(signal) <= (state.get(f"retired/{tenant}/{identity}") or ""):
            return []
        key = f"machine/{tenant}/{identity}/{guest_name(signal)}"
        kept = state.get(key)
        if kept is not None and (kept["time"], kept["id"]) >= (signal["time"], signal["id"]):
            return []
        state.put(key, dict(signal))
        if kept is None:
            self._relaunched(signal, key, state)
        first = f"family/{tenant}/{family}"
        if state.get(first) is not None:
            return []
        state.put(first, signal["time"])
        return self._propose(tenant, family, parse_time(signal["time"]), signal["id"], state)

    def _relaunched(self, signal: Mapping[str, Json], key: str, state: State) -> None:
        """A guest that is launched anew is another instance under the old name: what the name said before ends when
        nobody would believe it any more.
        """
        lasts = timedelta(seconds=self._policy_of(signal["tenant"], state).trusted_for)
        old = stamp(parse_time(seen_at(signal)) - lasts)
        prefix = f"machine/{signal['tenant']}/{signal['subject']}/{signal['hint']}/"
        for other, value in list(state.scan(prefix)):
            if other != key and seen_at(value) <= old:
                state.delete(other)

    def _wanted(self, tenant: str, family: str, policy: Policy, at: datetime, state: State) -> Floor | None:
        kept = [IntelFloor.from_data(one["floor"]) for _, one in state.scan(f"tcb-info/{tenant}/{family}/")]
        if kept:
            chosen = choose(kept, policy.evaluation, at)
            return chosen and policy.bind(chosen)
        return combined((Advisory.from_data(a) for _, a in state.scan(f"advisory/{tenant}/")), family)

    def _propose(self, tenant: str, family: str, at: datetime, cause: str, state: State) -> list[Output]:
        if state.get(f"family/{tenant}/{family}") is None:
            return []
        policy = self._policy_of(tenant, state)
        floor = self._wanted(tenant, family, policy, at, state)
        if floor is None or not attainable(floor):
            return []
        before = policy.floors.get(family)
        if before is not None and is_open(before):
            before = None
        last = state.get(f"wanted/{tenant}/{family}")
        # Held against the last proposal, not the floor in force: so one that waits is superseded when it is withdrawn.
        held = policy.bind(from_data(last)) if last is not None else before
        moves = isinstance(held, IntelFloor) and isinstance(floor, IntelFloor) and held.evaluation != floor.evaluation
        if same_effect(floor, held) and not moves:
            return []
        mark = digest(canonical([floor_hash(floor), floor_hash(before)]))
        key = f"proposed/{tenant}/{family}/{mark}"
        if state.get(key) is not None:
            return []
        occasion = self._occasion(tenant, at, cause, state)
        data = proposal.of_floor(family, floor, before, policy, occasion)
        state.put(key, data["proposal"])
        state.put(f"wanted/{tenant}/{family}", floor.to_data())
        return [_made(data, occasion)]

    def _fleet(self, tenant: str, state: State) -> list[Mapping[str, Json]]:
        return [signal for _, signal in state.scan(f"machine/{tenant}/")]

    def _occasion(self, tenant: str, at: datetime, cause: str, state: State) -> proposal.Occasion:
        return proposal.Occasion(
            tenant=tenant, at=at, cause=cause, fleet=self._fleet(tenant, state), bounds=self._bounds
        )


def _made(data: Mapping[str, Json], occasion: proposal.Occasion) -> Output:
    event = Event(
        id=derived_id("proposal-event", data["proposal"]),
        source=SOURCE,
        type="proposal.made.v1",
        subject=data["family"],
        time=occasion.at,
        tenant=occasion.tenant,
        data={**data, "hash": proposal_hash(data)},
    )
    return "proposals", event


def _ordered(batch: Sequence[Record]) -> Iterator[tuple[Record, Mapping[str, Json]]]:
    """(record, signal or nothing), by time; of one time, changes, documents and decisions before signals."""
    items: list[tuple[str, int, str, Record, Mapping[str, Json]]] = []
    for place, record in enumerate(batch):
        event = record.event
        if record.topic == "signals":
            for signal in event.data["signals"]:
                items.append((signal["time"], len(batch), signal["id"], record, signal))
        else:
            items.append((stamp(event.time), place, event.id, record, {}))
    items.sort(key=lambda item: item[:3])
    return ((record, signal) for _, _, _, record, signal in items)
