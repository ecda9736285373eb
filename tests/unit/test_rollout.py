"""A proposal's way into force, one event at a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.rollout.advance import (
    TRANSITIONS,
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
    State,
    Superseded,
    Terms,
    TimePassed,
    advance,
)

AT = datetime(2026, 3, 1, tzinfo=UTC)
WEEK = 7 * 24 * 3600
UP = Terms(loosening=False, quorum=2, lasts=WEEK)
DOWN = Terms(loosening=True, quorum=2, lasts=WEEK)
NEW = Rollout(proposal="p", stores=("git", "opa"))


def run(*events: RolloutEvent, rollout: Rollout = NEW) -> tuple[Rollout, list[Effect]]:
    done: list[Effect] = []
    for event in events:
        rollout, effects = advance(rollout, event)
        done += [e for e in effects if not isinstance(e, Note)]
    return rollout, done


def both(attempt: int) -> tuple[Confirm, Confirm]:
    return Confirm("git", attempt, AT, WEEK), Confirm("opa", attempt, AT, WEEK)


def test_an_exact_tightening_within_bounds_goes_by_itself() -> None:
    rollout, effects = run(Begin(UP, automatic=True))
    assert (rollout.state, effects) == (State.APPROVED, [Send(1)])


def test_a_loosening_never_goes_by_itself() -> None:
    rollout, effects = run(Begin(DOWN, automatic=True))
    assert (rollout.state, effects) == (State.PROPOSED, [])


def test_it_is_in_force_only_when_every_store_has_said_so() -> None:
    git, opa = both(1)
    rollout, effects = run(Begin(UP, automatic=True), git)
    assert rollout.state is State.APPROVED
    rollout, effects = run(git, opa, rollout=rollout)
    assert (rollout.state, effects) == (State.ENFORCED, [Enforced()])
    assert rollout.expires is None


def test_one_approval_lets_a_tightening_go() -> None:
    rollout, effects = run(Begin(UP, automatic=False), Approve("ada", UP, AT))
    assert (rollout.state, effects) == (State.APPROVED, [Send(1)])


def test_a_loosening_takes_two_people_and_one_of_them_twice_is_not_two() -> None:
    rollout, effects = run(Begin(DOWN, automatic=False), Approve("ada", DOWN, AT), Approve("ada", DOWN, AT))
    assert (rollout.state, effects) == (State.PROPOSED, [])
    rollout, effects = run(Approve("bob", DOWN, AT), rollout=rollout)
    assert (rollout.state, effects) == (State.APPROVED, [Send(1)])


def test_a_loosening_ends_by_itself() -> None:
    begun = (Begin(DOWN, automatic=False), Approve("ada", DOWN, AT), Approve("bob", DOWN, AT), *both(1))
    rollout, _ = run(*begun)
    assert rollout.expires == AT + timedelta(seconds=WEEK)
    rollout, effects = run(TimePassed(AT + timedelta(days=6)), rollout=rollout)
    assert rollout.state is State.ENFORCED
    rollout, effects = run(TimePassed(AT + timedelta(days=7)), *both(2), rollout=rollout)
    assert (rollout.state, effects) == (State.ROLLED_BACK, [Restore(2), Restored()])


def test_a_failed_receipt_halts_and_new_approvals_let_it_go_on() -> None:
    rollout, _ = run(Begin(UP, automatic=True), Confirm("git", 1, AT, WEEK), Fail("opa", 1))
    assert rollout.state is State.HALTED
    assert run(Confirm("opa", 1, AT, WEEK), rollout=rollout)[0].state is State.HALTED, "too late for a receipt"
    rollout, effects = run(Approve("ada", UP, AT), rollout=rollout)
    assert (rollout.state, effects) == (State.APPROVED, [Send(2)])
    assert run(*both(1), rollout=rollout)[0].state is State.APPROVED, "receipts of the first attempt prove nothing"
    assert run(*both(2), rollout=rollout)[0].state is State.ENFORCED


def test_what_a_person_halted_does_not_go_on() -> None:
    rollout, _ = run(Begin(UP, automatic=True), Halt("ada"))
    rollout, effects = run(Approve("bob", UP, AT), rollout=rollout)
    assert (rollout.state, effects) == (State.HALTED, [])
    assert run(Reject("bob"), rollout=rollout)[0].state is State.REJECTED


def test_going_back_on_a_tightening_takes_the_quorum_and_lasts_for_a_while() -> None:
    rollout, _ = run(Begin(UP, automatic=True), *both(1), RollBack("ada", DOWN, AT))
    assert rollout.state is State.ENFORCED
    rollout, effects = run(RollBack("ada", DOWN, AT), RollBack("bob", DOWN, AT), rollout=rollout)
    assert (rollout.state, effects) == (State.ROLLED_BACK, [Restore(2)])
    rollout, effects = run(*both(2), TimePassed(AT + timedelta(days=7)), rollout=rollout)
    assert (rollout.state, effects) == (State.APPROVED, [Restored(), Send(3)])


def test_going_back_on_a_loosening_takes_one() -> None:
    begun = (Begin(DOWN, automatic=False), Approve("ada", DOWN, AT), Approve("bob", DOWN, AT), *both(1))
    rollout, effects = run(*begun, RollBack("bob", UP, AT))
    assert (rollout.state, effects[-1], rollout.expires) == (State.ROLLED_BACK, Restore(2), None)


def test_a_newer_proposal_takes_the_place_of_one_that_waits() -> None:
    rollout, _ = run(Begin(UP, automatic=False), Replace("q"))
    assert rollout.state is State.SUPERSEDED
    assert run(Approve("ada", UP, AT), rollout=rollout) == (rollout, [])


_TERMS = st.sampled_from([UP, DOWN])
_NAMES = st.sampled_from(["ada", "bob", "cyd"])
_ATTEMPTS = st.integers(0, 4)
_STORES = st.sampled_from(["git", "opa", "elsewhere"])
_TIMES = st.integers(0, 30).map(lambda days: AT + timedelta(days=days))
_EVENTS = st.one_of(
    st.builds(Begin, _TERMS, st.booleans()),
    st.builds(Approve, _NAMES, _TERMS, _TIMES),
    st.builds(Reject, _NAMES),
    st.builds(Halt, _NAMES),
    st.builds(RollBack, _NAMES, _TERMS, _TIMES),
    st.builds(Confirm, _STORES, _ATTEMPTS, _TIMES, st.just(WEEK)),
    st.builds(Fail, _STORES, _ATTEMPTS),
    st.builds(Replace, st.just("q")),
    st.builds(Superseded, st.just("q")),
    st.builds(TimePassed, _TIMES),
)


@settings(max_examples=600, deadline=None)
@given(events=st.lists(_EVENTS, max_size=25))
def test_no_sequence_of_events_breaks_the_rules(events: list[RolloutEvent]) -> None:
    rollout = NEW
    approved: set[str] = set()
    confirmed: set[str] = set()
    for event in events:
        before = rollout
        rollout, effects = advance(before, event)
        assert rollout.state is before.state or rollout.state in TRANSITIONS[before.state]
        assert Rollout.from_data(rollout.to_data()) == rollout
        if isinstance(event, Approve) and before.state in (State.PROPOSED, State.HALTED):
            approved.add(event.by)
        for effect in effects:
            if isinstance(effect, Send):
                ended = isinstance(event, TimePassed) and before.state is State.ROLLED_BACK
                automatic = isinstance(event, Begin) and event.automatic and not event.terms.loosening
                asked = isinstance(event, Approve) and len(approved) >= (2 if event.terms.loosening else 1)
                assert ended or automatic or asked
            if isinstance(effect, Send | Restore):
                assert effect.attempt == rollout.attempt == before.attempt + 1
                confirmed = set()
            if isinstance(effect, Restore) and isinstance(event, RollBack):
                assert len({*before.retreats, event.by}) >= (2 if event.terms.loosening else 1)
        if isinstance(event, Confirm) and event.attempt == rollout.attempt:
            confirmed.add(event.store)
        if Enforced() in effects or Restored() in effects:
            assert {"git", "opa"} <= confirmed
        if rollout.state is State.HALTED and before.state is not State.HALTED:
            approved = set()
        if rollout.state is State.ENFORCED and rollout.loosening:
            assert rollout.expires is not None
