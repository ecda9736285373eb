"""Push: each change reaches its stores or says why not, whatever crashes, drifts or falls silent."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dulwich.repo import Repo
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_stores import AT, MAIN, intent, somebody_commits

from ratchet.event import Event, Json, derived_id, stamp
from ratchet.ports import Drifted, Intent, Plan, PolicyStore, Receipt, Record, Samples, Unreachable, Written
from streams.push import CHECK_EVERY, Push
from streams.stores import local

MINUTE = timedelta(minutes=1)


class Memory:
    """State of one stage."""

    def __init__(self) -> None:
        self.held: dict[str, Json] = {}

    def get(self, key: str) -> Json | None:
        return copy.deepcopy(self.held.get(key))

    def put(self, key: str, value: Json) -> None:
        self.held[key] = copy.deepcopy(value)

    def delete(self, key: str) -> None:
        self.held.pop(key, None)

    def scan(self, prefix: str) -> Iterator[tuple[str, Json]]:
        yield from sorted((k, v) for k, v in self.held.items() if k.startswith(prefix))


def due(store: str, change: str = "c1", snp: int = 24, *, minute: int = 0, **data: Any) -> Event:
    """change.due.v1: Milan from this SNP firmware on."""
    want = intent(change, snp)
    good = {"family": "snp/Milan", "tee": "snp", "measurement": "aa", "debug": False, "genuine": True, "bits": {}}
    whole = {
        "change": change,
        "proposal": "p1",
        "store": store,
        "intent": {"policy": dict(want.policy), "floors": want.floors},
        "approvals": [{"by": "ann"}],
        "samples": {
            "refuse": [good | {"tcb": {"reported.snp": snp - 1}}],
            "pass": [good | {"tcb": {"reported.snp": snp}}],
        },
    }
    id = derived_id("change-due", change, store)
    return Event(id, "/streams/roll-out", "change.due.v1", store, AT + minute * MINUTE, "default", whole | data)


def tick(minute: int) -> Event:
    at = AT + minute * MINUTE
    return Event(derived_id("tick", stamp(at)), "/clock", "clock.ticked.v1", "0", at, "default", {"partition": "0"})


def records(*events: Event) -> list[Record]:
    """One round, in the order in which an executor gives it."""
    order = {"change.due.v1": 0, "clock.ticked.v1": 1}
    given = sorted(events, key=lambda e: (e.time, order[e.type], e.id))
    return [Record(n, "changes" if e.type == "change.due.v1" else "ticks", e) for n, e in enumerate(given)]


def ran(push: Push, state: Memory, *events: Event) -> list[Event]:
    """What comes of one round."""
    assert events
    out = push.step(records(*events), state, max(e.time for e in events))
    assert all(topic == "receipts" for topic, _ in out)
    return [event for _, event in out]


def said(events: list[Event]) -> list[tuple[str, str, str]]:
    return [(e.type.removesuffix(".v1"), e.subject, e.data["outcome"]) for e in events]


class Scripted:
    """A store that holds one revision and can be told to be away, to have drifted, or to enforce nothing."""

    def __init__(self, name: str, built_from: str | None = None) -> None:
        self.name, self.built_from = name, built_from
        self.held: str | None = None
        self.away: set[str] = set()
        self.retry_after: float | None = None
        self.foreign: str | None = None
        self.enforces = True
        self.calls: list[str] = []

    def _called(self, what: str) -> None:
        self.calls.append(what)
        if what in self.away:
            raise Unreachable(self.name, "connection refused", self.retry_after)

    def _now(self) -> str | None:
        return self.foreign or self.held

    def plan(self, want: Intent, expected: str | None) -> Plan | Written | Drifted:
        self._called("plan")
        if self.foreign or (self.held != expected and self.held != f"r-{want.change}"):
            return Drifted(self.name, want.change, expected, self._now(), "somebody else")
        if self.held == f"r-{want.change}":
            return Written(self.name, want, expected, self.held)
        return Plan(self.name, expected, want, ())

    def push(self, plan: Plan) -> Written | Drifted:
        self._called("push")
        self.held = f"r-{plan.intent.change}"
        return Written(self.name, plan.intent, plan.base, self.held)

    def prove(self, done: Written, samples: Samples) -> Receipt | Drifted:
        self._called("prove")
        if not self.enforces:
            return Drifted(self.name, done.intent.change, done.revision, done.revision, "sample 0 passed")
        return Receipt(self.name, done.intent.change, done.revision, len(samples.refuse), len(samples.admit), "proved")

    def refresh(self, expected: str | None) -> None:
        self._called("refresh")

    def check(self, expected: str | None) -> Drifted | None:
        self._called("check")
        return None if self._now() == expected else Drifted(self.name, None, expected, self._now(), "somebody else")


@pytest.fixture
def state() -> Memory:
    return Memory()


@pytest.fixture
def git() -> Scripted:
    return Scripted("git")


@pytest.fixture
def opa() -> Scripted:
    return Scripted("opa", "git")


# The way it should go


def test_a_change_is_written_proved_and_confirmed_at_both_stores(tmp_path: Path, state: Memory) -> None:
    out = ran(Push(local(tmp_path)), state, due("opa"), due("git"), tick(1))
    assert said(out) == [("receipt.confirmed", "git", "confirmed"), ("receipt.confirmed", "opa", "confirmed")]
    in_git, in_opa = (e.data for e in out)
    assert in_git["revision"] == in_opa["revision"] == state.held["store/git"]["revision"]
    assert in_git["base"] is None
    assert in_git["passed"] == 1
    assert in_git["refused"] > 1
    assert in_git["intent"] == in_opa["intent"]
    assert state.held["store/opa"] | {"tenant": None} == {
        "revision": in_git["revision"],
        "change": "c1",
        "at": stamp(AT),
        "tenant": None,
        "drift": None,
    }


def test_changes_of_one_moment_go_in_one_order_to_every_store(tmp_path: Path, state: Memory) -> None:
    # ids differ by store, and would order c1 and c2 one way at git and perhaps the other way at opa
    changes = [
        due(store, change, snp) for store in ("git", "opa") for change, snp in (("c1", 24), ("c2", 25), ("c3", 26))
    ]
    out = ran(Push(local(tmp_path)), state, *changes, tick(9))
    assert [(e.data["change"], e.subject) for e in out] == [(c, s) for c in ("c1", "c2", "c3") for s in ("git", "opa")]
    assert {e.data["outcome"] for e in out} == {"confirmed"}
    assert state.held["store/git"]["revision"] == state.held["store/opa"]["revision"]


class Killed(BaseException):
    """As SIGKILL."""


class Mortal:
    """A store at one of whose calls the process dies: before the call, or after it had its effect."""

    def __init__(self, store: PolicyStore, fate: list[int], after: bool) -> None:
        self._store, self._fate, self._after = store, fate, after
        self.name, self.built_from = store.name, store.built_from

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)

        def called(*args: Any) -> Any:
            self._fate[0] -= 1
            if self._fate[0] == 0 and not self._after:
                raise Killed
            answer = real(*args)
            if self._fate[0] == 0:
                raise Killed
            return answer

        return called


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_call_of_a_store_changes_nothing_in_the_end(tmp_path: Path, after: bool) -> None:
    rounds = [
        (due("git"), due("opa"), due("git", "c2", 25), due("opa", "c2", 25), tick(1)),
        (tick(7),),
        (due("git", "c3", 26, minute=8), due("opa", "c3", 26, minute=8), tick(20)),
    ]

    def run(folder: Path, kill_at: int) -> tuple[list[Event], Memory, Any, bool]:
        fate, state, out = [kill_at], Memory(), []
        for one in rounds:
            before = copy.deepcopy(state.held)
            stores = local(folder)
            try:
                out += ran(Push([Mortal(s, fate, after) for s in stores]), state, *one)
            except Killed:
                state.held = before  # the transaction is gone, the effects are not
                out += ran(Push(local(folder)), state, *one)
        git, opa = local(folder)
        return out, state, (git.dump(), opa.dump()), fate[0] <= 0

    want, state, dumps, _ = run(tmp_path / "whole", 10_000)
    assert len(want) == 6
    for kill_at in range(1, 100):
        got, state_then, dumps_then, died = run(tmp_path / f"{kill_at}", kill_at)
        assert got == want, kill_at
        assert state_then.held == state.held
        assert dumps_then == dumps
        if not died:
            assert kill_at > 20
            return
    pytest.fail("more calls than were tried")


# Drift


def test_a_push_that_meets_drift_fails_and_overwrites_nothing(tmp_path: Path, state: Memory) -> None:
    push = Push(local(tmp_path))
    ran(push, state, due("git"), due("opa"), tick(1))
    foreign = somebody_commits(tmp_path / "policy.git")
    out = ran(push, state, due("git", "c2", 25, minute=2), due("opa", "c2", 25, minute=2), tick(3))
    assert said(out) == [
        ("receipt.failed", "git", "drifted"),
        ("store.drifted", "git", "drifted"),
        ("receipt.failed", "opa", "refused"),
    ]
    assert out[1].data["revision"] == foreign
    assert "gitops" in out[1].data["detail"]
    with Repo(str(tmp_path / "policy.git"), bare=True) as repo:
        assert repo.refs.read_ref(MAIN) == foreign.encode()


def test_drift_is_found_on_a_tick_said_once_and_again_when_it_changes(state: Memory, git: Scripted) -> None:
    push = Push([git])
    ran(push, state, due("git"))
    git.foreign = "f1"
    assert said(ran(push, state, tick(10))) == [("store.drifted", "git", "drifted")]
    assert ran(push, state, tick(20)) == []
    git.foreign = "f2"
    (again,) = ran(push, state, tick(30))
    assert (again.data["base"], again.data["revision"]) == ("r-c1", "f2")
    assert state.held["store/git"]["drift"]["found"] == "f2"
    # when it is put back
    git.foreign = None
    assert said(ran(push, state, tick(40))) == [("receipt.confirmed", "git", "restored")]
    assert state.held["store/git"]["drift"] is None
    # and the same drift a second time is news again
    git.foreign = "f2"
    (news,) = ran(push, state, tick(50))
    assert news.id != again.id


def test_a_store_is_checked_no_more_often_than_it_should_be(state: Memory, git: Scripted) -> None:
    push = Push([git])
    for minute in range(20):
        ran(push, state, tick(minute))
    assert git.calls == ["refresh", "check"] * 4
    assert CHECK_EVERY == 5 * MINUTE


def test_an_empty_store_that_holds_something_is_drift_from_the_first_tick(state: Memory, git: Scripted) -> None:
    git.foreign = "f1"
    assert said(ran(Push([git]), state, tick(0))) == [("store.drifted", "git", "drifted")]


def test_what_is_not_enforced_is_no_receipt_and_stays_known(state: Memory, git: Scripted) -> None:
    push = Push([git])
    git.enforces = False
    assert said(ran(push, state, due("git"))) == [("receipt.failed", "git", "not_enforced")]
    ran(push, state, tick(10))
    assert state.held["store/git"]["drift"]["outcome"] == "not_enforced"
    git.enforces = True
    ran(push, state, due("git", "c2", 25, minute=11))
    assert state.held["store/git"]["drift"] is None


# Silence


def test_a_store_that_is_away_holds_up_nobody_else(state: Memory, git: Scripted) -> None:
    other = Scripted("vault")
    other.away = {"plan"}
    push = Push([other, git])
    assert said(ran(push, state, due("vault"), due("git"))) == [("receipt.confirmed", "git", "confirmed")]
    assert len(state.held["waiting/vault"]) == 1
    other.away = set()
    (late,) = ran(push, state, tick(1))
    assert (late.data["change"], late.data["outcome"], late.time) == ("c1", "confirmed", AT + MINUTE)
    assert "waiting/vault" not in state.held
    assert "away/vault" not in state.held


def test_it_is_asked_again_after_longer_and_longer(state: Memory, git: Scripted) -> None:
    git.away = {"plan"}
    push = Push([git])
    ran(push, state, due("git"))
    asked = []
    for minute in range(1, 300):
        before = len(git.calls)
        ran(push, state, tick(minute))
        asked += [minute] * (len(git.calls) > before)
    assert asked[:6] == [1, 2, 4, 8, 16, 32]
    assert max(b - a for a, b in itertools.pairwise(asked)) == 60


def test_the_store_may_say_when_to_come_again(state: Memory, git: Scripted) -> None:
    git.away, git.retry_after = {"plan"}, 600
    push = Push([git])
    ran(push, state, due("git"))
    for minute in range(1, 10):
        ran(push, state, tick(minute))
    assert git.calls == ["plan"]
    git.retry_after = 1e12  # but not never
    ran(push, state, tick(10))
    git.away = set()
    assert said(ran(push, state, tick(71))) == [("receipt.confirmed", "git", "confirmed")]


def test_silence_is_said_once_after_three_vain_tries_and_so_is_its_end(state: Memory, git: Scripted) -> None:
    git.away = {"check"}
    push = Push([git])
    out = [event for minute in range(0, 200, 5) for event in ran(push, state, tick(minute))]
    assert said(out) == [("store.drifted", "git", "unreachable")]
    assert "connection refused" in out[0].data["detail"]
    git.away = set()
    assert said(ran(push, state, tick(300))) == [("receipt.confirmed", "git", "restored")]


def test_changes_wait_in_order(state: Memory, git: Scripted) -> None:
    git.away = {"plan"}
    push = Push([git])
    ran(push, state, due("git"))
    ran(push, state, due("git", "c2", 25, minute=1), tick(2))
    git.away = set()
    out = ran(push, state, tick(10))
    assert [(e.data["change"], e.data["base"]) for e in out] == [("c1", None), ("c2", "r-c1")]


def test_what_was_written_but_not_proved_is_not_written_again(state: Memory, git: Scripted) -> None:
    git.away = {"prove"}
    push = Push([git])
    assert ran(push, state, due("git")) == []
    assert state.held["store/git"]["revision"] == "r-c1"
    git.away = set()
    (late,) = ran(push, state, tick(1))
    assert git.calls.count("push") == 1
    assert (late.data["base"], late.data["revision"]) == (None, "r-c1")


def test_a_store_built_from_another_waits_for_it(state: Memory, git: Scripted, opa: Scripted) -> None:
    git.away = {"push"}
    push = Push([git, opa])
    assert ran(push, state, due("git"), due("opa")) == []
    assert opa.calls == []
    ran(push, state, tick(1))
    assert opa.calls == []
    git.away = set()
    out = ran(push, state, tick(10))
    assert said(out) == [("receipt.confirmed", "git", "confirmed"), ("receipt.confirmed", "opa", "confirmed")]


# Bad input


@pytest.mark.parametrize(
    "broken",
    [
        {"intent": None},
        {"intent": {"floors": {}}},
        {"intent": {"floors": [], "policy": {}}},
        {"intent": {"floors": {"snp/Milan": {"kind": "nvidia"}}, "policy": {}}},
        {"intent": {"floors": {"snp/Rome": intent().floors["snp/Milan"]}, "policy": {}}},
        {"intent": {"floors": {}, "policy": {"reference_values": {"snp": {"aa": 1}}}}},
        {"samples": None},
        {"samples": {"refuse": ["x"], "pass": []}},
        {"approvals": None},
        {"change": "../../x"},
        {"change": 7},
    ],
)
def test_a_malformed_change_fails_and_nothing_is_written(
    tmp_path: Path, state: Memory, broken: Mapping[str, Any]
) -> None:
    out = ran(Push(local(tmp_path)), state, due("git", **broken))
    if broken == {"change": 7}:  # then the event's own id is its name
        assert said(out) == [("receipt.confirmed", "git", "confirmed")]
        return
    assert said(out) == [("receipt.failed", "git", "refused")]
    assert not (tmp_path / "policy.git").exists()


def test_a_store_that_is_not_configured_is_said(state: Memory, git: Scripted) -> None:
    (out,) = ran(Push([git]), state, due("azure"))
    assert (out.type, out.subject, out.data["outcome"]) == ("receipt.failed.v1", "azure", "refused")


mangling = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just([]) | st.just({})


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_change_however_mangled_stops_the_stream(data: st.DataObject) -> None:
    whole = copy.deepcopy(dict(due("git").data))
    for _ in range(data.draw(st.integers(1, 3))):
        node: Any = whole
        while isinstance(node, dict | list) and node:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            key = data.draw(st.sampled_from(keys))
            if not isinstance(node[key], dict | list) or not node[key] or data.draw(st.booleans()):
                node[key] = data.draw(
                    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just([]) | st.just({})
                )
                break
            node = node[key]
    event = due("git")
    mangled = Event(event.id, event.source, event.type, event.subject, event.time, event.tenant, whole)
    store = Scripted("git")
    (out,) = ran(Push([store]), Memory(), mangled)
    assert out.data["outcome"] in ("confirmed", "refused")


def test_two_stores_of_one_name_are_refused(git: Scripted) -> None:
    with pytest.raises(ValueError, match="same name"):
        Push([git, Scripted("git")])
