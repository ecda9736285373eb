"""What is in force, what is being sent and what would return: the part of the roll-out's state that is policy.

A tenant's whole policy is the policy of its configuration, as it was first put on the log or as a proposal changed it
since, and the floor of every family. Each of these parts is in force when every store has proved it.

State:
- `floor/<tenant>/<family>` -> {floor, proposal, change, since, stores: {store: revision}}.
- `policy/<tenant>` -> the same with {policy} in the place of {floor}: the policy beside the floors.
- `configured/<tenant>` -> {floors}: those of the first policy that was configured.
- `sending/<tenant>/<family>` -> {proposal, floor} or {proposal, policy}: approved, not proven yet.
- `live/<tenant>/<family>` -> proposals that have not ended.
- `families/<tenant>` -> families that the fleet has had.
- `rollout/<proposal>` -> streams/roll_out.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ratchet.event import Event, Json, canonical, digest, stamp
from ratchet.policy import amendment
from ratchet.policy.amendment import POLICY, Amendment
from ratchet.policy.appraise import Policy
from ratchet.policy.floor import Floor, from_data, is_open, open_floor
from ratchet.policy.policy import hash_of
from ratchet.rollout.advance import State as At
from streams.stage import State

NOT_PROVEN: Mapping[str, Json] = {"change": None, "since": None, "stores": {}}
"""Of a record, as long as no receipt speaks of it."""


def part(family: str) -> str:
    """The name under which a record or a proposal of this family holds what it is about."""
    return "policy" if family == POLICY else "floor"


def rollout(proposal: str, state: State) -> dict[str, Json]:
    """A rollout's record; only ever asked of proposals that have one."""
    record = state.get(f"rollout/{proposal}")
    if record is None:
        raise KeyError(f"no rollout {proposal}")
    return dict(record)


def live(tenant: str, family: str, state: State) -> list[str]:
    """A family's proposals that have not ended."""
    return list(state.get(f"live/{tenant}/{family}") or ())


def proof(record: Mapping[str, Json], at: datetime) -> dict[str, Json]:
    """Who proved it, and since when."""
    stores = {store: receipt["revision"] for store, receipt in record["receipts"].items()}
    return {"change": record["change"], "since": stamp(at), "stores": stores}


@dataclass(frozen=True, slots=True)
class Whole:
    """A policy with all its floors, as data.

    Attributes:
        policy: beside the floors.
        floors: family -> floor, as this policy means it.
        sums: family -> SHA-256 of the floor's RFC 8785 bytes.
    """

    policy: Policy
    floors: Mapping[str, Json]
    sums: Mapping[str, str]

    @property
    def hash(self) -> str:
        """That of the policy with these floors (`Policy.hash`)."""
        return hash_of(self.policy.to_data(), self.sums)

    @property
    def intent(self) -> dict[str, Json]:
        """What a change asks of stores."""
        return {"policy": self.policy.to_data(), "floors": dict(self.floors)}

    def read(self) -> Policy:
        """The policy with its floors."""
        return self.policy.with_floors({family: from_data(floor) for family, floor in self.floors.items()})


def bound(record: Mapping[str, Json], policy: Policy) -> tuple[Json, str]:
    """A record's floor as this policy means it, and its digest; read again only where what is accepted differs."""
    data, sum = record["floor"], record.get("digest")
    conditional = {status: list(advisories) for status, advisories in policy.conditional.items()}
    same = data["kind"] != "intel" or (
        tuple(data["accepted"]) == policy.accepted and data["conditional"] == conditional
    )
    if same and isinstance(sum, str):
        return data, sum
    whole = data if same else policy.bind(from_data(data)).to_data()
    return whole, digest(canonical(whole))


class Ledger:
    """Reads and writes the state above."""

    def __init__(self, configured: Policy) -> None:
        """`configured` is in force where nothing on the log says otherwise, with its floors."""
        self._configured = configured

    def configure(self, event: Event, state: State) -> bool:
        """Take the first policy that was configured for a tenant: it is in force at once. Whether it was the first."""
        key = f"policy/{event.tenant}"
        if state.get(key) is not None:
            return False
        policy = Policy.from_data(event.data["policy"])
        state.put(f"configured/{event.tenant}", {"floors": policy.to_data()["floors"]})
        state.put(key, {"policy": policy.with_floors({}).to_data(), "proposal": None, **NOT_PROVEN})
        return True

    def _configured_floors(self, tenant: str, state: State) -> Mapping[str, Floor]:
        """Floors that were configured with the first policy: in force until a proposal changes them."""
        first = state.get(f"configured/{tenant}")
        return Policy.from_data(first).floors if first is not None else self._configured.floors

    def policy(self, tenant: str, state: State) -> Policy:
        """The policy in force beside the floors."""
        record = state.get(f"policy/{tenant}")
        return Policy.from_data(record["policy"]) if record is not None else self._configured.with_floors({})

    def record(self, tenant: str, family: str, state: State) -> dict[str, Json] | None:
        """Of what is in force; of what the configuration says where no change has touched it."""
        if family == POLICY:
            record = state.get(f"policy/{tenant}")
            if record is not None:
                return dict(record)
            return {"policy": self.policy(tenant, state).to_data(), "proposal": None, **NOT_PROVEN}
        record = state.get(f"floor/{tenant}/{family}")
        if record is not None:
            return dict(record)
        floor = self._configured_floors(tenant, state).get(family)
        if floor is None or is_open(floor):
            return None
        return {"floor": floor.to_data(), "proposal": None, **NOT_PROVEN}

    def lasting(self, tenant: str, family: str, but: str, state: State) -> dict[str, Json] | None:
        """The record of what is in force; where that is for a time, of what returns when that ends.

        `but` is the rollout that asks, which may be in force itself by now.
        """
        for proposal in live(tenant, family, state):
            record = rollout(proposal, state)
            if proposal == but or record["expires"] is None:
                continue
            if record["state"] == At.ENFORCED:
                return dict(record["previous"]) if record["previous"] else None
            if record["state"] == At.ROLLED_BACK:
                data, sum = record["proposal"][part(family)], record["digest"]
                return {part(family): data, "digest": sum, "proposal": proposal, **NOT_PROVEN}
        return self.record(tenant, family, state)

    def amendment(self, tenant: str, family: str, record: Mapping[str, Json], state: State) -> Amendment:
        """What a record or a proposal is about, as the policy in force means it."""
        return amendment.read(family, record[part(family)], self.policy(tenant, state))

    def before(self, record: Mapping[str, Json], state: State) -> Amendment:
        """What comes back when a rollout goes: what it took the place of, or what is in force still."""
        tenant, family = record["tenant"], record["proposal"]["family"]
        returns = record["previous"] if record["enforced"] else self.record(tenant, family, state)
        return self.amendment(tenant, family, returns, state) if returns else open_floor(family, "rolled-back/1")

    def send(self, proposal: str, tenant: str, family: str, what: Amendment, state: State) -> None:
        """It is underway."""
        data = what.to_data()
        record = {"proposal": proposal, part(family): data, "digest": digest(canonical(data))}
        state.put(f"sending/{tenant}/{family}", record)

    def sent_no_more(self, tenant: str, family: str, proposal: str, state: State) -> None:
        """It is underway no longer, if it was."""
        sending = state.get(f"sending/{tenant}/{family}")
        if sending is not None and sending["proposal"] == proposal:
            state.delete(f"sending/{tenant}/{family}")

    def enforce(self, tenant: str, family: str, record: Mapping[str, Json] | None, state: State) -> None:
        """It is in force from now on; with None, the family has no floor."""
        key = f"policy/{tenant}" if family == POLICY else f"floor/{tenant}/{family}"
        if record is None:
            state.delete(key)
            return
        state.put(key, dict(record))
        if family != POLICY:
            return
        policy = self.policy(tenant, state)
        for kept, value in list(state.scan(f"floor/{tenant}/")):  # what is accepted may be something else now
            data, sum = bound(value, policy)
            state.put(kept, {**value, "floor": data, "digest": sum})

    def whole(self, tenant: str, state: State, family: str, record: Mapping[str, Json]) -> Whole:
        """The whole policy that would be pushed with this in it: of all else what is being sent, or else in force.

        A family of the fleet that has no floor yet gets an open one: a store refuses what it was told nothing of.
        """
        base = record if family == POLICY else self._sent(tenant, POLICY, state)
        policy = Policy.from_data(base["policy"]).with_floors({}) if base else self.policy(tenant, state)
        floors: dict[str, Json] = {}
        sums: dict[str, str] = {}
        own = () if family == POLICY else (family,)
        given = self._configured_floors(tenant, state)
        for name in sorted({*(state.get(f"families/{tenant}") or ()), *given, *own}):
            one = record if name == family else self._sent(tenant, name, state)
            if one is None:
                one = {"floor": open_floor(name, "no-floor-yet/1").to_data()}
            floors[name], sums[name] = bound(one, policy)
        return Whole(policy, floors, sums)

    def _sent(self, tenant: str, family: str, state: State) -> Mapping[str, Json] | None:
        sending: Mapping[str, Json] | None = state.get(f"sending/{tenant}/{family}")
        return sending if sending is not None else self.record(tenant, family, state)
