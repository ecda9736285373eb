"""Evidence sent twice: the second changes nothing, and keeps no news from the machine that the first came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from test_correlate import shipped
from test_judged_again import DAY, EASY, HOUR, MINUTE, NOW, OPERATOR, worse
from test_trust_over_time import BOOT, EVIL, GOOD, image, known
from whole_fleet import WholeFleet

from ratchet.policy.enrolment import Rules
from ratchet.policy.simulate import Bounds
from ratchet.rollout.approval import DecisionKeys, public_key
from streams.correlate import Correlate
from streams.decide import Decide
from streams.digest import Digest
from streams.embedded import Embedded

News = Callable[[WholeFleet], None]


def a_level_is_out_of_date(fleet: WholeFleet) -> None:
    fleet.vendor_says(worse(fleet.intel).bundle())


def its_certificate_is_revoked(fleet: WholeFleet) -> None:
    fleet.intel.revoked, fleet.intel.issued = [1001], NOW + HOUR
    fleet.vendor_says(fleet.intel.bundle())


def its_anchor_is_taken_away(fleet: WholeFleet) -> None:
    fleet.restart(roots=(fleet.amd.root(),))


def its_image_is_not_known(fleet: WholeFleet) -> None:
    fleet.puts_in_force(replace(EASY, reference_values=(known("other", dict.fromkeys(BOOT, "77" * 48)),)))


def trust_is_shorter(fleet: WholeFleet) -> None:
    fleet.puts_in_force(replace(EASY, trusted_for=1800))


NEWS = [
    a_level_is_out_of_date,
    its_certificate_is_revoked,
    its_anchor_is_taken_away,
    its_image_is_not_known,
    trust_is_shorter,
]


@pytest.fixture
def fleet(tmp_path: Path) -> WholeFleet:
    made = WholeFleet(tmp_path / "ratchet.db")
    made.intel.tee = "tdx"
    made.vendor_says(made.intel.bundle())
    return made


@pytest.mark.parametrize("news", NEWS)
def test_news_reaches_a_machine_whose_sender_sent_its_evidence_twice(fleet: WholeFleet, news: News) -> None:
    raw = fleet.intel.quote()
    fleet.sends(raw, source=GOOD)
    fleet.passes(HOUR)
    fleet.sends(raw, source=GOOD)
    fleet.passes()
    assert fleet.one["tier"] == "affirming"
    news(fleet)
    fleet.passes(rounds=3)
    assert fleet.one["tier"] != "affirming"


@pytest.mark.parametrize("news", NEWS)
def test_news_reaches_a_machine_whose_evidence_another_sent_under_many_names(fleet: WholeFleet, news: News) -> None:
    raw = fleet.intel.quote()
    fleet.sends(raw, source=GOOD)
    fleet.passes(HOUR)
    for n in range(64):
        fleet.sends(raw, name=f"x-{n}", source=EVIL)
    fleet.passes()
    assert fleet.one["tier"] == "affirming"
    news(fleet)
    fleet.passes(rounds=3)
    assert fleet.one["tier"] != "affirming"


def test_news_reaches_a_machine_that_sent_twice_in_one_round(fleet: WholeFleet) -> None:
    raw = fleet.intel.quote()
    fleet.sends(raw, source=GOOD)
    fleet.sends(raw, source=GOOD)
    fleet.passes(HOUR, rounds=2)
    fleet.vendor_says(worse(fleet.intel).bundle())
    fleet.passes(rounds=2)
    assert fleet.one["tier"] == "warning"


def test_news_reaches_a_machine_whose_evidence_waited_and_was_sent_once_more(fleet: WholeFleet) -> None:
    fleet.amd_says_what_it_has()
    raw = fleet.report()
    fleet.sends(raw, source=GOOD)
    fleet.passes(HOUR)
    fleet.vendor_says(fleet.amd.vek())
    fleet.passes(rounds=2)
    assert fleet.one["tier"] == "affirming"
    fleet.sends(raw, source=GOOD)
    fleet.passes(HOUR)
    known_as = {"measurement": fleet.one["measurement"]}
    fleet.puts_in_force(replace(EASY, reference_values=(known("bad", known_as, "snp", state="contraindicated"),)))
    assert fleet.one["tier"] == "contraindicated"


def test_a_revocation_is_told_of_a_machine_that_has_two_guests_and_sent_one_twice(fleet: WholeFleet) -> None:
    fleet.quotes(mrtd=b"\x66" * 48)
    fleet.passes(MINUTE)
    raw = fleet.intel.quote(report_data=b"\x70" * 32)
    for _ in range(2):
        fleet.sends(raw, challenge="70" * 32, source=GOOD)
        fleet.passes(HOUR)
    its_certificate_is_revoked(fleet)
    fleet.passes(rounds=2)
    assert fleet.one["tier"] == "contraindicated"
    assert "certificate-revoked" in {rule for rule, _, _ in fleet.alerts}


def test_a_replay_enrols_nobody(tmp_path: Path) -> None:
    fleet = WholeFleet(tmp_path / "r.db", replace(EASY, enrolment=Rules(window=0, required=False)))
    fleet.intel.tee = "tdx"
    fleet.passes(2 * DAY)
    fleet.vendor_says(fleet.intel.bundle())
    raw = fleet.intel.quote()
    for _ in range(2):
        fleet.sends(raw, source=EVIL)
        fleet.passes(MINUTE)
    fleet.puts_in_force(replace(EASY, enrolment=Rules(window=0, required=True)))
    assert fleet.one["recognition"] != "ours"


def test_being_judged_again_is_no_first_use(tmp_path: Path) -> None:
    """The window is for machines that come within it, not for those that are judged again by a rule made since."""
    fleet = WholeFleet(tmp_path / "r.db", replace(EASY, enrolment=Rules(window=86400, required=False)))
    fleet.intel.tee = "tdx"
    fleet.passes()
    fleet.vendor_says(fleet.intel.bundle())
    fleet.quotes()
    fleet.passes(5 * DAY, rounds=2)
    fleet.puts_in_force(replace(EASY, enrolment=Rules(window=86400, required=True)))
    assert fleet.state("enrolled/") == {}


def test_a_replay_of_an_old_state_does_not_come_back_when_its_key_is_forgotten(tmp_path: Path) -> None:
    """Caught within thirty days of the first use, and judged again after them."""
    fleet = WholeFleet(tmp_path / "r.db", replace(EASY, trusted_for=7 * 86400))
    fleet.intel.tee = "tdx"
    fleet.vendor_says(fleet.intel.bundle())
    old = fleet.intel.quote(report_data=b"\x77" * 32)
    first = fleet.sends(old, challenge="77" * 32, source=GOOD)
    fleet.passes(HOUR)
    its_image = fleet.verdicts(first)[0].data["claims"]["measurement"]
    fleet.passes(29 * DAY)
    fleet.intel.next_update, fleet.intel.crl_until = fleet.now + 40 * DAY, fleet.now + 40 * DAY
    fleet.intel.issued = fleet.now
    fleet.vendor_says(fleet.intel.bundle())
    fleet.sends(old, name="other", challenge="77" * 32, source=EVIL)
    fleet.passes()
    assert "evidence-replayed" in {rule for rule, _, _ in fleet.alerts}
    assert fleet.one["tier"] == "none"
    fleet.passes(2 * DAY)
    vouched = known("good", {"mrtd": its_image, **dict.fromkeys(BOOT[1:], "00" * 48)})
    fleet.puts_in_force(replace(EASY, trusted_for=7 * 86400, reference_values=(vouched,)))
    assert fleet.one["tier"] == "none"


def test_an_old_state_that_was_replayed_is_not_held_against_the_guest_that_runs_now(fleet: WholeFleet) -> None:
    old = fleet.intel.quote(report_data=b"\x77" * 32)
    first = fleet.sends(old, challenge="77" * 32, source=GOOD)
    fleet.passes(HOUR)
    its_image = fleet.verdicts(first)[0].data["claims"]["measurement"]
    fleet.passes(2 * DAY)
    fleet.sends(old, name="other", challenge="77" * 32, source=EVIL)
    fleet.quotes(mrtd=b"\x66" * 48)
    fleet.passes()
    assert fleet.one["tier"] == "affirming"
    bad = known("bad", {"mrtd": its_image}, state="contraindicated")
    fleet.puts_in_force(replace(EASY, reference_values=(known("good", image("66")), bad)))
    assert fleet.one["tier"] == "affirming"


def test_replays_under_many_names_are_one_machine_when_a_proposal_counts_them(fleet: WholeFleet) -> None:
    roots, blobs = (fleet.intel.root(), fleet.amd.root()), fleet.database.blobs
    keys = DecisionKeys(operators=(public_key(OPERATOR),))
    decide = Decide(roots[:1], fleet.policy, Bounds(max_refused=2, max_fraction=0.5), blobs, keys)
    stages = [Digest(roots, blobs), fleet.verify, fleet.changes, Correlate(shipped(), keys), decide]
    fleet.executor = Embedded(fleet.database, stages)
    raw = fleet.intel.quote(report_data=b"\x77" * 32)
    fleet.sends(raw, challenge="77" * 32, source=GOOD)
    fleet.passes(rounds=2)
    for n in range(50):
        fleet.sends(raw, name=f"x-{n}", challenge="77" * 32, source=EVIL)
    fleet.passes(rounds=2)
    assert len([key for key in fleet.database.state("decide") if key.startswith("machine/")]) == 1
