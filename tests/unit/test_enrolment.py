"""Which machines are ours: by first use while the window is open, then by decision; and what a name is worth."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ratchet.event import Event, derived_id
from ratchet.policy import enrolment
from ratchet.policy.circumstances import Recognition
from ratchet.policy.enrolment import MAX_NAMES, Asked, Rules, decide, known, recognise
from streams.embedded import Kept

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
A, B = "chip:" + "aa" * 64, "ppid:" + "bb" * 16


class Fleet:
    """A register, and machines that send to it."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.state, self.rules = Kept({}), rules or Rules()

    def sends(self, identity: str, name: str, at: datetime) -> Recognition:
        hint = {"name": name, "region": "eu-1"}
        asked = Asked(
            tenant="acme", identity=identity, hint=hint, family="snp/Milan", tee="snp", evidence="e1", received=at
        )
        return recognise(self.state, asked, self.rules, opened=START, recently=DAY)

    def says(self, verb: str, identity: str, at: datetime) -> str | None:
        data = {"identity": identity, "by": "ann"}
        return decide(self.state, Event(derived_id(verb), "/t", f"decision.{verb}.v1", identity, at, "acme", data))


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def test_first_use_enrols_for_a_day_then_new_machines_wait_until_somebody_decides(fleet: Fleet) -> None:
    assert fleet.sends(A, "node-1", START + HOUR) is Recognition.OURS
    assert fleet.sends(B, "node-2", START + 2 * DAY) is Recognition.WAITING
    assert fleet.sends(A, "node-1", START + 2 * DAY) is Recognition.OURS
    ((_, row),) = fleet.state.scan("waiting/")
    assert (row["name"], row["family"], row["region"]) == ("node-2", "snp/Milan", "eu-1")
    # when somebody says that it is ours
    assert fleet.says("enrolled", B, START + 3 * DAY) == B
    assert fleet.sends(B, "node-2", START + 3 * DAY) is Recognition.OURS
    assert list(fleet.state.scan("waiting/")) == []


def test_a_machine_may_be_enrolled_before_it_is_first_seen(fleet: Fleet) -> None:
    fleet.says("enrolled", B, START + 3 * DAY)
    assert fleet.says("enrolled", B, START + 3 * DAY) is None
    assert fleet.sends(B, "node-2", START + 4 * DAY) is Recognition.OURS


def test_a_stranger_does_not_become_ours_by_the_name_of_one_of_ours(fleet: Fleet) -> None:
    fleet.sends(A, "node-3", START)
    assert fleet.sends(B, "node-3", START + HOUR) is Recognition.MOVED
    ((_, row),) = fleet.state.scan("waiting/")
    assert (row["recognition"], row["moved_from"]) == ("moved", A)
    # but a machine that is ours may take the name of another: guests move
    fleet.says("enrolled", B, START + 2 * HOUR)
    assert fleet.sends(B, "node-3", START + 3 * HOUR) is Recognition.OURS
    assert fleet.sends(A, "node-3", START + 4 * HOUR) is Recognition.OURS


def test_a_name_is_free_when_its_machine_was_not_seen_for_long(fleet: Fleet) -> None:
    fleet.rules = Rules(window=30 * 86400)
    fleet.sends(A, "node-3", START)
    assert fleet.sends(B, "node-3", START + DAY + HOUR) is Recognition.OURS


def test_who_is_retired_is_a_stranger_until_enrolled_again(fleet: Fleet) -> None:
    fleet.sends(A, "node-1", START)
    assert fleet.says("retired", A, START + HOUR) == A
    assert fleet.sends(A, "node-1", START + HOUR) is Recognition.STRANGER
    assert fleet.sends(B, "node-1", START + HOUR) is Recognition.OURS, "its name is free"
    fleet.says("enrolled", A, START + 2 * HOUR)
    assert fleet.sends(A, "node-9", START + 2 * HOUR) is Recognition.OURS


def test_an_enrolment_from_before_its_retirement_does_not_bring_a_machine_back(fleet: Fleet) -> None:
    fleet.says("enrolled", A, START)
    fleet.says("retired", A, START + 2 * HOUR)
    assert fleet.says("enrolled", A, START + HOUR) is None
    assert fleet.sends(A, "node-1", START + 3 * HOUR) is Recognition.STRANGER


def test_where_enrolment_is_not_required_every_genuine_machine_counts() -> None:
    fleet = Fleet(Rules(required=False))
    assert fleet.sends(A, "node-1", START + 9 * DAY) is Recognition.OURS
    assert fleet.sends(B, "node-1", START + 9 * DAY) is Recognition.OURS


def test_evidence_of_unknown_age_is_told_whose_machine_it_is_and_enrols_nobody(fleet: Fleet) -> None:
    assert known(fleet.state, "acme", A, fleet.rules) is Recognition.NOT_ASKED
    fleet.sends(A, "node-1", START)
    assert known(fleet.state, "acme", A, fleet.rules) is Recognition.OURS


def test_what_is_kept_is_bounded(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(2 * MAX_NAMES):
        fleet.sends(A, f"guest-{n}", START + n * timedelta(seconds=1))
    assert len(list(fleet.state.scan("name/"))) == MAX_NAMES
    monkeypatch.setattr(enrolment, "MAX_WAITING", 3)
    told = [fleet.sends(f"ppid:{n:032x}", f"other-{n}", START + 2 * DAY) for n in range(5)]
    assert told == [Recognition.WAITING] * 3 + [Recognition.STRANGER] * 2


@pytest.mark.parametrize("identity", ["hint:node-1", "chip:aa", "chip:" + "AA" * 64, "", 7, None])
def test_only_what_evidence_can_prove_is_enrolled(fleet: Fleet, identity: object) -> None:
    assert fleet.says("enrolled", identity, START) is None
    assert list(fleet.state.scan("")) == []
