"""Push: bring each change to its store, prove that it is in force, and notice when somebody else writes there.

For a change: plan, push, prove. What comes out is a receipt:

- `receipt.confirmed.v1`: the store was read back, and refused and passed what it must. With outcome `restored` and no
  change: it drifted or was silent, and is again as we left it.
- `receipt.failed.v1`: final for this change. `drifted`: somebody else wrote, nothing was overwritten; `not_enforced`:
  it is written, and a sample was decided wrongly; `refused`: the store cannot take it, or the change is malformed.

A store that cannot be reached keeps its changes waiting, in order, and is asked again at a later Tick, each time after
twice as long; other stores do not wait for it. On Ticks each store is also checked: `store.drifted.v1` says once, until
it changes, that a store was written by somebody else or has not answered three times.

State: `store/<store>` is what was written last, `{revision, change, at, tenant, drift}`; `waiting/<store>` the changes
that wait; `away/<store>` how often it did not answer and when to ask again; `checked/<store>` when it was last checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ratchet.event import Event, Json, canonical, derived_id, digest, parse_time, stamp
from ratchet.policy import floor
from ratchet.ports import (
    Drifted,
    Intent,
    Plan,
    PolicyStore,
    Receipt,
    Record,
    Refused,
    Samples,
    Unreachable,
    Written,
)
from streams.stage import Output, State

SOURCE = "/streams/push"

CHECK_EVERY = timedelta(minutes=5)
"""Of event time, between two looks at a store that nothing is being pushed to."""

FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=30), timedelta(hours=1)
"""Before asking a store again that did not answer: doubled each time, from the first to the longest."""

TRIES_UNTIL_SAID = 3
"""Vain tries after which people are told that a store does not answer."""

CONFIRMED, RESTORED, DRIFTED, NOT_ENFORCED, REFUSED, UNREACHABLE = (
    "confirmed",
    "restored",
    "drifted",
    "not_enforced",
    "refused",
    "unreachable",
)


@dataclass(frozen=True, slots=True)
class _Change:
    """A change.due.v1 event as far as it is understood: what waits in state, too."""

    id: str
    tenant: str
    time: datetime
    data: Mapping[str, Json]
    base: str | None = None
    written: bool = False

    def to_data(self) -> dict[str, Json]:
        return {
            "id": self.id,
            "tenant": self.tenant,
            "time": stamp(self.time),
            "data": dict(self.data),
            "base": self.base,
            "written": self.written,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Json]) -> _Change:
        time = parse_time(data["time"])
        return cls(data["id"], data["tenant"], time, data["data"], data["base"], data["written"])

    @property
    def name(self) -> str:
        """The change's own id; the event's where it has none."""
        change = self.data.get("change")
        return change if isinstance(change, str) else self.id

    def intent(self) -> Intent:
        """What the store should hold.

        Raises:
            Refused: the data is not that of a change.
        """
        try:
            wanted = self.data["intent"]
            floors, policy = wanted["floors"], dict(wanted["policy"])
            for family, one in floors.items():
                if floor.from_data(one).family != family:
                    raise Refused(f"the floor under {family!r} is for another family")
            return Intent(self.name, self.tenant, floors, self.time, self._reason(), policy)
        except (KeyError, TypeError, ValueError, AttributeError) as why:
            raise Refused(f"malformed change: {type(why).__name__} {why}") from why

    def _reason(self) -> str:
        approvers = sorted({str(one["by"]) for one in self.data["approvals"]})
        who = f"approved by {', '.join(approvers)}" if approvers else "within the written bounds"
        return f"Proposal {str(self.data['proposal'])[:16]}, {who}"

    def samples(self) -> Samples:
        """What the store must refuse and pass.

        Raises:
            Refused: the data is not that of a change.
        """
        try:
            samples = self.data["samples"]
            return Samples(tuple(dict(one) for one in samples["refuse"]), tuple(dict(one) for one in samples["pass"]))
        except (KeyError, TypeError, ValueError) as why:
            raise Refused(f"malformed samples: {type(why).__name__} {why}") from why


class Push:
    """The stage.

    Args:
        stores: in the order in which they are written; one that is built from another's content comes after it.
        every: how often a store is checked, in event time.
    """

    def __init__(self, stores: Sequence[PolicyStore], *, every: timedelta = CHECK_EVERY) -> None:
        self._stores = {store.name: store for store in stores}
        if len(self._stores) != len(stores):
            raise ValueError("two stores have the same name")
        self._every = every

    @property
    def name(self) -> str:
        """As in streams/topology.py."""
        return "push"

    def step(self, batch: Sequence[Record], state: State, watermark: datetime) -> list[Output]:
        """See `streams.stage.Stage.step`.

        Changes for one moment go change by change, each in the order of the stores: event ids order them otherwise at
        each store, and what is built from another store's content would be built in the wrong order.
        """
        out: list[Event] = []
        order = {name: place for place, name in enumerate(self._stores)}
        due = [
            (_Change(record.event.id, record.event.tenant, record.event.time, record.event.data), record.event.subject)
            for record in batch
            if record.event.type == "change.due.v1"
        ]
        for change, subject in sorted(due, key=lambda d: (d[0].time, d[0].name, order.get(d[1], len(order)))):
            out += self._due(change, subject, state)
        for record in batch:
            if record.event.type == "clock.ticked.v1":
                out += self._tick(record.event, state)
        return [("receipts", event) for event in out]

    def _due(self, change: _Change, subject: str, state: State) -> list[Event]:
        store = self._stores.get(subject)
        if store is None:
            return [_receipt(change, subject, change.time, REFUSED, "no store of that name is configured")]
        waiting = state.get(f"waiting/{subject}")
        if waiting or _below_waits(store, change, state):
            state.put(f"waiting/{subject}", [*(waiting or ()), change.to_data()])
            return []
        left, events = self._bring(store, change, change.time, state)
        if left is not None:
            state.put(f"waiting/{subject}", [left.to_data()])
        return events

    def _tick(self, tick: Event, state: State) -> list[Event]:
        out: list[Event] = []
        for name, store in self._stores.items():
            away = state.get(f"away/{name}")
            if away is not None and tick.time < parse_time(away["again"]):
                continue
            waiting = [_Change.from_data(one) for one in state.get(f"waiting/{name}") or ()]
            if waiting:
                out += self._resume(store, waiting, tick.time, state)
            else:
                out += self._check(store, tick, state)
        return out

    def _resume(self, store: PolicyStore, waiting: list[_Change], at: datetime, state: State) -> list[Event]:
        """Bring what waits, in order, until the store does not answer again."""
        out: list[Event] = []
        while waiting and not _below_waits(store, waiting[0], state):
            left, events = self._bring(store, waiting[0], at, state)
            out += events
            if left is not None:
                waiting[0] = left
                break
            del waiting[0]
        if waiting:
            state.put(f"waiting/{store.name}", [one.to_data() for one in waiting])
        else:
            state.delete(f"waiting/{store.name}")
        return out

    def _bring(
        self, store: PolicyStore, change: _Change, at: datetime, state: State
    ) -> tuple[_Change | None, list[Event]]:
        """Plan, push, prove. What is left to do, None when it is done, and the events of it."""
        held = _held(state, store.name)
        if not change.written:
            change = _Change(change.id, change.tenant, change.time, change.data, held["revision"])
        try:
            intent, samples = change.intent(), change.samples()
            written = store.plan(intent, held["revision"])
            if isinstance(written, Plan):
                written = store.push(written)
            if isinstance(written, Written):
                change = _Change(change.id, change.tenant, change.time, change.data, change.base, True)
                held |= {"revision": written.revision, "change": intent.change, "at": stamp(at)}
                held |= {"tenant": change.tenant}
                state.put(f"store/{store.name}", held)
                ended: Receipt | Drifted = store.prove(written, samples)
            else:
                ended = written
        except Refused as why:
            return None, [_receipt(change, store.name, at, REFUSED, str(why), revision=held["revision"])]
        except Unreachable as why:
            return change, self._away(store.name, why, change.tenant, at, state)
        state.delete(f"away/{store.name}")
        state.put(f"checked/{store.name}", stamp(at))
        if isinstance(ended, Receipt):
            state.put(f"store/{store.name}", held | {"drift": None})
            return None, [
                _receipt(
                    change,
                    store.name,
                    at,
                    CONFIRMED,
                    ended.detail,
                    revision=ended.revision,
                    refused=ended.refused,
                    passed=ended.admitted,
                )
            ]
        outcome = NOT_ENFORCED if ended.found == ended.expected else DRIFTED
        failed = _receipt(change, store.name, at, outcome, ended.detail, revision=ended.found)
        said = _report(ended, outcome, change.tenant, at, state)
        # That it does not enforce is said by the receipt itself.
        return None, [failed] if outcome == NOT_ENFORCED else [failed, *said]

    def _check(self, store: PolicyStore, tick: Event, state: State) -> list[Event]:
        last = state.get(f"checked/{store.name}")
        if last is not None and tick.time - parse_time(last) < self._every:
            return []
        held = _held(state, store.name)
        tenant = held["tenant"] or tick.tenant
        try:
            store.refresh(held["revision"])
            drift = store.check(held["revision"])
        except Unreachable as why:
            return self._away(store.name, why, tenant, tick.time, state)
        state.delete(f"away/{store.name}")
        state.put(f"checked/{store.name}", stamp(tick.time))
        if drift is not None:
            return _report(drift, DRIFTED, tenant, tick.time, state)
        if held["drift"] is not None and held["drift"]["outcome"] != NOT_ENFORCED:
            # It is again what we wrote. That it does not enforce is only undone by a receipt.
            state.put(f"store/{store.name}", held | {"drift": None})
            return [_restored(store.name, held, tenant, tick.time)]
        return []

    def _away(self, name: str, why: Unreachable, tenant: str, at: datetime, state: State) -> list[Event]:
        """Count it, and say when to ask again."""
        tries = (state.get(f"away/{name}") or {"tries": 0})["tries"] + 1
        wait = min(FIRST_WAIT * 2 ** min(tries - 1, 16), LONGEST_WAIT)
        wait = max(wait, min(timedelta(seconds=why.retry_after or 0), LONGEST_WAIT))
        state.put(f"away/{name}", {"tries": tries, "again": stamp(at + wait), "why": str(why)[:500]})
        if tries < TRIES_UNTIL_SAID:
            return []
        held = _held(state, name)
        said = held["drift"]
        if said is not None and said["outcome"] != UNREACHABLE:
            return []  # what was wrong before it fell silent is still the thing to act on
        drift = Drifted(name, held["change"], held["revision"], None, str(why)[:500])
        return _report(drift, UNREACHABLE, tenant, at, state)


def _below_waits(store: PolicyStore, change: _Change, state: State) -> bool:
    """Whether the change still waits at the store that this one is built from."""
    below = state.get(f"waiting/{store.built_from}") if store.built_from else None
    return any(_Change.from_data(one).name == change.name for one in below or ())


def _held(state: State, store: str) -> dict[str, Json]:
    """What we know that a store holds."""
    nothing = {"revision": None, "change": None, "at": None, "tenant": None, "drift": None}
    return dict(state.get(f"store/{store}") or nothing)


def _report(drift: Drifted, outcome: str, tenant: str, at: datetime, state: State) -> list[Event]:
    """Say that a store drifted, unless that was said and nothing has changed since."""
    held = _held(state, drift.store)
    told = held["drift"]
    now = {"outcome": outcome, "expected": drift.expected, "found": drift.found, "detail": drift.detail}
    if told is not None and all(told[key] == now[key] for key in ("outcome", "expected", "found")):
        return []
    state.put(f"store/{drift.store}", held | {"drift": {**now, "since": stamp(at)}})
    parts = (drift.store, outcome, drift.expected or "", drift.found or "", stamp(at))
    data = _facts(drift.change or held["change"], drift.store, outcome, drift.detail)
    data |= {"base": drift.expected, "revision": drift.found}
    return [Event(derived_id("drift", *parts), SOURCE, "store.drifted.v1", drift.store, at, tenant, data)]


def _restored(store: str, held: Mapping[str, Json], tenant: str, at: datetime) -> Event:
    """It is again as we left it: ends what `_report` began, and is about no change."""
    data = _facts(None, store, RESTORED, "the store is again as it was left")
    data |= {"base": held["revision"], "revision": held["revision"]}
    return Event(derived_id("restored", store, stamp(at)), SOURCE, "receipt.confirmed.v1", store, at, tenant, data)


def _facts(change: str | None, store: str, outcome: str, detail: str) -> dict[str, Json]:
    """The data that every event of ours has."""
    return {
        "change": change,
        "store": store,
        "intent": None,
        "base": None,
        "revision": None,
        "outcome": outcome,
        "refused": 0,
        "passed": 0,
        "detail": detail[:1000],
    }


def _receipt(
    change: _Change,
    store: str,
    at: datetime,
    outcome: str,
    detail: str,
    *,
    revision: str | None = None,
    refused: int = 0,
    passed: int = 0,
) -> Event:
    """The one last word on a change at a store."""
    data = _facts(change.name, store, outcome, detail) | {
        "intent": _hash(change.data.get("intent")),
        "base": change.base,
        "revision": revision,
        "refused": refused,
        "passed": passed,
    }
    kind = "receipt.confirmed.v1" if outcome == CONFIRMED else "receipt.failed.v1"
    return Event(derived_id("receipt", change.id, store), SOURCE, kind, store, at, change.tenant, data)


def _hash(intent: Json) -> str | None:
    """Of what was asked; None where it has no canonical form, which no sound change lacks."""
    try:
        return digest(canonical(intent))
    except ValueError:
        return None
