"""The decide stage: what vendors ask of firmware, held against the fleet as it is, becomes proposals.

A proposal is made when a floor is wanted that is not in force and was not proposed before in its place:

- on a TCB info that is sound, signed under a trusted root and newer than the last (evaluation number, then issue date);
- on a reviewed advisory, or a later review of one;
- when the first machine of a family appears: until then nobody would be concerned, so nothing is proposed.

A floor that no machine can meet, or that admits exactly the machines that the last proposal or, where there was none,
the floor in force admits, is not proposed. So a stale evaluation that arrives late proposes nothing, nor does one that
only gives its levels other dates.

State, each under the tenant:
- `machine/<tenant>/<identity>` -> its latest genuine signal.
- `family/<tenant>/<family>` -> when its first machine was seen.
- `tcb-info/<tenant>/<family>` -> {rank, floor}: the newest TCB info, read as a floor.
- `advisory/<tenant>/<advisory>` -> the latest review of a bulletin.
- `in-force/<tenant>` -> {change, floors}: what the last change of the roll-out asked of stores.
- `wanted/<tenant>/<family>` -> the floor proposed last.
- `proposed/<tenant>/<family>/<hash>` -> the proposal of this floor in place of that one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from ratchet.advisory import Advisory, combined
from ratchet.appraise import Policy
from ratchet.approval import proposal_hash
from ratchet.collateral import Kind, Root, parse
from ratchet.event import BlobId, Event, Json, canonical, derived_id, digest, parse_time, stamp
from ratchet.floor import Floor, IntelFloor, floor_hash, floors_from, from_data, is_open
from ratchet.ports import Blobs, Record
from ratchet.simulate import Blast, Bounds, samples, simulate
from ratchet.tighten import attainable, same_effect, succeeds, tightens
from streams.stage import Output, State

SOURCE = "/streams/decide"


class Decide:
    """changes, collateral, advisories, signals -> proposals."""

    name = "decide"

    def __init__(self, roots: Iterable[Root], policy: Policy, bounds: Bounds, blobs: Blobs) -> None:
        """`bounds` say how far an exact tightening may reach by itself."""
        self._roots = tuple(roots)
        self._policy = policy
        self._bounds = bounds
        self._blobs = blobs

    def step(self, batch: Sequence[Record], state: State, watermark: datetime) -> list[Output]:
        """In order of time; signals by their own times, not by those of the records that carry them."""
        out: list[Output] = []
        for topic, event, signal in _ordered(batch):
            match topic:
                case "changes":
                    self._in_force(event, state)
                case "collateral":
                    out += self._tcb_info(event, state)
                case "advisories":
                    out += self._advisory(event, state)
                case "signals":
                    out += self._machine(signal, event, state)
        return out

    def _in_force(self, event: Event, state: State) -> None:
        key = f"in-force/{event.tenant}"
        kept = state.get(key)
        if kept is None or kept["change"] != event.data["change"]:
            state.put(key, {"change": event.data["change"], "floors": event.data["intent"]["floors"]})

    def _tcb_info(self, event: Event, state: State) -> list[Output]:
        data = event.data
        if data["kind"] != Kind.INTEL_TCB_INFO.value or data["root"] is None or data["reasons"]:
            return []
        raw = self._blobs.get(BlobId(data["blob"]))
        if raw is None:
            raise RuntimeError(f"the document {data['blob']} was digested, but its bytes are gone")
        known = [one for one in parse(raw, event.time, self._roots) if one.key == data["key"]]
        out: list[Output] = []
        for floor in floors_from(known, self._policy, event.time):
            issued = max(one.rank[1] for one in known if one.kind is Kind.INTEL_TCB_INFO)
            key = f"tcb-info/{event.tenant}/{floor.family}"
            kept = state.get(key)
            rank = [floor.evaluation, stamp(issued)]
            if kept is not None and kept["rank"] >= rank:
                continue
            state.put(key, {"rank": rank, "floor": floor.to_data()})
            out += self._propose(event.tenant, floor.family, event.time, event.id, state)
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
        if signal["genuine"] is not True or not isinstance(signal["family"], str):
            return []
        tenant, family = signal["tenant"], signal["family"]
        key = f"machine/{tenant}/{signal['subject']}"
        kept = state.get(key)
        if kept is not None and (kept["time"], kept["id"]) >= (signal["time"], signal["id"]):
            return []
        state.put(key, dict(signal))
        first = f"family/{tenant}/{family}"
        if state.get(first) is not None:
            return []
        state.put(first, signal["time"])
        return self._propose(tenant, family, parse_time(signal["time"]), signal["id"], state)

    def _wanted(self, tenant: str, family: str, state: State) -> Floor | None:
        kept = state.get(f"tcb-info/{tenant}/{family}")
        if kept is not None:
            return IntelFloor.from_data(kept["floor"])
        return combined((Advisory.from_data(a) for _, a in state.scan(f"advisory/{tenant}/")), family)

    def _propose(self, tenant: str, family: str, at: datetime, cause: str, state: State) -> list[Output]:
        if state.get(f"family/{tenant}/{family}") is None:
            return []
        floor = self._wanted(tenant, family, state)
        if floor is None or not attainable(floor):
            return []
        in_force = (state.get(f"in-force/{tenant}") or {"floors": {}})["floors"].get(family)
        before = from_data(in_force) if in_force else self._policy.floors.get(family)
        if before is not None and is_open(before):
            before = None
        last = state.get(f"wanted/{tenant}/{family}")
        # Held against the last proposal, not the floor in force: so one that waits is superseded when it is withdrawn.
        if same_effect(floor, from_data(last) if last is not None else before):
            return []
        mark = digest(canonical([floor_hash(floor), floor_hash(before)]))
        key = f"proposed/{tenant}/{family}/{mark}"
        if state.get(key) is not None:
            return []
        made = self._proposal(tenant, family, floor, before, at, cause, state)
        state.put(key, made.data["proposal"])
        state.put(f"wanted/{tenant}/{family}", floor.to_data())
        return [("proposals", made)]

    def _proposal(
        self,
        tenant: str,
        family: str,
        floor: Floor,
        before: Floor | None,
        at: datetime,
        cause: str,
        state: State,
    ) -> Event:
        fleet = [signal for _, signal in state.scan(f"machine/{tenant}/")]
        blast = simulate(fleet, before, floor, self._policy)
        tightening = tightens(floor, before)
        automatic, why = _verdict(floor, before, tightening, blast, self._bounds)
        proved = samples(fleet, floor, self._policy)
        data: dict[str, Json] = {
            "proposal": derived_id("proposal", tenant, family, floor_hash(floor), floor_hash(before), cause),
            "family": family,
            "floor": floor.to_data(),
            "before": before.to_data() if before else None,
            "exact": floor.provenance.exact,
            "tightening": tightening,
            "blast": blast.to_data(),
            "bound": self._bounds.to_data(),
            "automatic": automatic,
            "why": why,
            "cause": cause,
            "families": sorted({str(signal["family"]) for signal in fleet}),
            "samples": {"refuse": [dict(s) for s in proved.refuse], "pass": [dict(s) for s in proved.admit]},
        }
        data["hash"] = proposal_hash(data)
        return Event(
            id=derived_id("proposal-event", data["proposal"]),
            source=SOURCE,
            type="proposal.made.v1",
            subject=family,
            time=at,
            tenant=tenant,
            data=data,
        )


def _ordered(batch: Sequence[Record]) -> Iterator[tuple[str, Event, Mapping[str, Json]]]:
    """(topic, event, signal or nothing), by time; of one time, changes and documents before signals."""
    items: list[tuple[str, int, str, str, Event, Mapping[str, Json]]] = []
    for place, record in enumerate(batch):
        event = record.event
        if record.topic == "signals":
            for signal in event.data["signals"]:
                items.append((signal["time"], len(batch), signal["id"], record.topic, event, signal))
        else:
            items.append((stamp(event.time), place, event.id, record.topic, event, {}))
    items.sort(key=lambda item: item[:3])
    return ((topic, event, signal) for _, _, _, topic, event, signal in items)


def _verdict(floor: Floor, before: Floor | None, tightening: bool, blast: Blast, bounds: Bounds) -> tuple[bool, str]:
    """Whether it may go by itself, and why, in one line."""
    hit = len(blast.refused) + len(blast.unknown)
    effect = f"would refuse {len(blast.refused)} of {blast.considered} machines"
    if blast.unknown:
        effect += f" and cannot tell of {len(blast.unknown)}"
    if not tightening and succeeds(floor, before):
        return (
            False,
            "waits for a quorum: the vendor's own successor lets in what the floor in force refuses; once approved it "
            f"stays in force; {effect}",
        )
    if not tightening:
        return False, f"waits for a quorum: it lets in what the floor in force refuses; {effect}"
    if not floor.provenance.exact:
        return (
            False,
            f"waits for approval: reviewed by {floor.provenance.reviewed_by}, not signed by the vendor; {effect}",
        )
    if not bounds.hold(blast):
        limit = f"{bounds.max_refused} machines and {bounds.max_fraction:.1%}"
        return False, f"waits for approval: {effect}, beyond the bounds of {limit}"
    return True, f"goes by itself: exact, tighter, and within bounds; {effect}" if hit else (
        "goes by itself: exact, tighter, and refuses no machine"
    )
