"""What is known of a machine over days: replays, news, windows and guests that are gone, through every stage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_judged_again import DAY, EASY, HOUR, MINUTE, NOW, worse
from whole_fleet import WholeFleet

from ratchet.event import Json, stamp
from ratchet.policy.appraise import appraise
from ratchet.policy.circumstances import Circumstances, Recognition
from ratchet.policy.enrolment import Rules
from ratchet.policy.reference import ReferenceSet

GOOD, EVIL = "/collectors/http/good", "/collectors/http/evil"
BOOT = ("mrtd", "rtmr0", "rtmr1", "rtmr2")
MASKED = [(0x1A0, b"\0" * 64)]


def known(name: str, conditions: dict[str, Json], tee: str = "tdx", **more: Json) -> ReferenceSet:
    return ReferenceSet.from_data(name, {"tee": tee, "conditions": conditions, "by": "ann", "source": "b", **more})


def image(mrtd: str) -> dict[str, Json]:
    return {"mrtd": mrtd * 48, **dict.fromkeys(BOOT[1:], "00" * 48)}


@pytest.fixture
def fleet(tmp_path: Path) -> WholeFleet:
    made = WholeFleet(tmp_path / "ratchet.db")
    made.intel.tee = "tdx"
    return made


# A replay stays one


@pytest.mark.parametrize("lapsed", [False, True])
def test_a_replay_that_was_caught_proves_nothing_when_it_is_judged_again(fleet: WholeFleet, lapsed: bool) -> None:
    fleet.amd_says_what_it_has()
    fleet.vendor_says(fleet.amd.vek())
    raw = fleet.report()
    fleet.sends(raw, source=GOOD)
    fleet.passes(HOUR)
    first = fleet.one["trusted_until"]
    fleet.passes(20 * HOUR)
    fleet.sends(raw, name="other", source=EVIL)
    fleet.passes()
    assert "evidence-replayed" in {rule for rule, _, _ in fleet.alerts}
    if lapsed:
        fleet.passes(10 * HOUR)
    fleet.puts_in_force(replace(EASY, reference_values=(known("good", {"measurement": "5f" * 48}, "snp"),)))
    assert fleet.one["trusted_until"] in (first, None)
    assert fleet.one["tier"] == ("none" if lapsed else "affirming")


def test_a_replay_without_its_vcek_proves_nothing_when_that_comes(fleet: WholeFleet) -> None:
    fleet.amd_says_what_it_has()
    raw = fleet.report()
    fleet.sends_with_its_vcek(raw, source=GOOD)
    fleet.passes(HOUR)
    fleet.passes(20 * HOUR)
    fleet.sends(raw, name="other", source=EVIL)
    fleet.passes(10 * HOUR)
    fleet.vendor_says(fleet.amd.vek())
    fleet.passes()
    fleet.passes()
    assert (fleet.one["tier"], fleet.one["trusted_until"]) == ("none", None)


def test_news_reaches_a_machine_whose_evidence_was_replayed(fleet: WholeFleet) -> None:
    """The replay takes nothing's place: what the machine itself sent is what is judged again."""
    fleet.vendor_says(fleet.intel.bundle())
    raw = fleet.intel.quote()
    fleet.sends(raw, source=GOOD)
    fleet.passes(HOUR)
    fleet.sends(raw, name="other", source=EVIL)
    fleet.passes()
    fleet.vendor_says(worse(fleet.intel).bundle())
    fleet.passes()
    fleet.passes()
    assert fleet.one["tier"] == "warning"


def test_a_replay_of_an_older_state_ends_nobodys_trust(fleet: WholeFleet) -> None:
    fleet.vendor_says(fleet.intel.bundle())
    challenge = b"\x77" * 32
    old = fleet.intel.quote(report_data=challenge)
    fleet.sends(old, challenge=challenge.hex(), source=GOOD)
    fleet.passes(HOUR)
    for _ in range(5):
        fleet.passes(12 * HOUR)
        fleet.quotes(mrtd=b"\x66" * 48)
        fleet.passes()
    fleet.sends(old, name="other", challenge=challenge.hex(), source=EVIL)
    fleet.passes()
    fleet.puts_in_force(replace(EASY, reference_values=(known("good", image("66")),)))
    assert fleet.one["tier"] == "affirming"


def test_evidence_that_was_proved_late_is_a_replay_when_it_comes_again(fleet: WholeFleet) -> None:
    fleet.amd_says_what_it_has()
    raw = fleet.report()
    fleet.sends(raw, source=GOOD)
    fleet.passes(HOUR)
    fleet.vendor_says(fleet.amd.vek())
    fleet.passes()
    fleet.passes()
    first = fleet.one["trusted_until"]
    fleet.passes(20 * HOUR)
    fleet.sends(raw, name="other", source=EVIL)
    fleet.passes()
    assert fleet.one["trusted_until"] == first
    assert "evidence-replayed" in {rule for rule, _, _ in fleet.alerts}


# A policy that believes for a shorter time


def test_a_shorter_trust_is_applied_to_who_is_trusted(fleet: WholeFleet) -> None:
    fleet.vendor_says(fleet.intel.bundle())
    fleet.quotes()
    fleet.passes(2 * HOUR)
    assert fleet.one["tier"] == "affirming"
    fleet.puts_in_force(replace(EASY, trusted_for=3600))
    assert fleet.one["tier"] == "none"


@pytest.mark.parametrize("news", ["a status", "an image", "an anchor"])
def test_it_hides_no_later_news(fleet: WholeFleet, news: str) -> None:
    fleet.vendor_says(fleet.intel.bundle())
    fleet.quotes()
    fleet.passes(2 * HOUR)
    policy = replace(EASY, trusted_for=3600)
    if news == "an image":
        policy = replace(policy, reference_values=(known("other", dict.fromkeys(BOOT, "77" * 48)),))
    fleet.puts_in_force(policy)
    if news == "a status":
        fleet.vendor_says(worse(fleet.intel).bundle())
    elif news == "an anchor":
        fleet.restart(roots=(fleet.amd.root(),))
    fleet.passes()
    fleet.passes()
    assert fleet.one["tier"] != "affirming"


# Windows of reference values


def test_the_second_window_that_closes_ends_trust_too(fleet: WholeFleet) -> None:
    proof = fleet.intel.prove()
    assert proof.claims is not None
    measured = proof.claims.measurements
    boot = {name: measured[name] for name in BOOT}
    sets = (
        known("run time", {**boot, "rtmr3": measured["rtmr3"]}, until=stamp(NOW + MINUTE)),
        known("boot", boot, until=stamp(NOW + 2 * MINUTE)),
        known("other", dict.fromkeys(BOOT, "77" * 48)),
    )
    about = Circumstances(received=NOW, recognition=Recognition.OURS)
    for bad in ((), (known("bad", boot, state="contraindicated", since=stamp(NOW + 2 * MINUTE)),)):
        verdict = appraise(proof, replace(EASY, reference_values=(*sets, *bad)), NOW, about)
        assert (verdict.turns, verdict.trusted_until) == (NOW + MINUTE, NOW + 2 * MINUTE)


def test_a_set_that_evidence_does_not_meet_counts_from_when_it_opens(fleet: WholeFleet) -> None:
    """Until then nobody says what may run, and the policy excuses that; from then on this is unknown."""
    fleet.vendor_says(fleet.intel.bundle())
    fleet.quotes()
    fleet.passes()
    other = known("other", dict.fromkeys(BOOT, "77" * 48), since=stamp(NOW + HOUR))
    fleet.puts_in_force(replace(EASY, reference_values=(other,)))
    assert (fleet.one["tier"], fleet.one["trusted_until"]) == ("affirming", stamp(NOW + HOUR))
    fleet.passes(2 * HOUR)
    fleet.passes()
    assert fleet.one["tier"] == "warning"


def test_a_window_opens_though_a_vendors_date_has_passed(fleet: WholeFleet) -> None:
    fleet.intel.crl_until = NOW + HOUR
    fleet.vendor_says(fleet.intel.bundle())
    sent = fleet.quotes()
    fleet.passes(2 * HOUR)
    fleet.passes()
    mrtd = fleet.verdicts(sent)[0].data["claims"]["measurement"]
    bad = known("bad", {"mrtd": mrtd}, state="contraindicated", since=stamp(NOW + 4 * HOUR))
    fleet.puts_in_force(replace(EASY, reference_values=(bad,)))
    for _ in range(4):
        fleet.passes(HOUR)
    assert [v.data["tier"] for v in fleet.verdicts(sent)] == ["affirming", "none", "contraindicated"]
    assert fleet.one["tier"] == "none"  # what expired collateral proves is nobody's word


# Guests that are gone


def test_an_image_that_was_replaced_long_ago_and_is_named_bad_leaves_the_machine_alone(fleet: WholeFleet) -> None:
    fleet.vendor_says(fleet.intel.bundle())
    old = fleet.quotes()
    fleet.passes()
    for _ in range(7):
        fleet.passes(12 * HOUR)
        fleet.quotes(mrtd=b"\x66" * 48)
        fleet.passes()
    mrtd = fleet.verdicts(old)[0].data["claims"]["measurement"]
    sets = (known("bad", {"mrtd": mrtd}, state="contraindicated"), known("good", image("66")))
    fleet.puts_in_force(replace(EASY, reference_values=sets))
    assert fleet.one["tier"] == "affirming"


def test_a_guest_that_is_still_believed_is_judged_again_however_long_it_is_silent(tmp_path: Path) -> None:
    policy = replace(EASY, trusted_for=7 * 86400)
    fleet = WholeFleet(tmp_path / "ratchet.db", policy)
    fleet.intel.tee = "tdx"
    fleet.vendor_says(fleet.intel.bundle())
    old = fleet.quotes()
    fleet.passes(3 * DAY)
    fleet.quotes(mrtd=b"\x66" * 48)
    fleet.passes()
    mrtd = fleet.verdicts(old)[0].data["claims"]["measurement"]
    sets = (known("bad", {"mrtd": mrtd}, state="contraindicated"), known("good", image("66")))
    fleet.puts_in_force(replace(policy, reference_values=sets))
    assert fleet.one["tier"] == "contraindicated"


def test_a_certificate_that_was_replaced_and_is_revoked_later_leaves_the_machine_alone(fleet: WholeFleet) -> None:
    """Provisioned anew: a machine has proved itself under another certificate since."""
    fleet.vendor_says(fleet.intel.bundle())
    fleet.quotes(mrtd=b"\x66" * 48)
    fleet.passes(HOUR)
    fleet.intel.pck_serial = 5005
    fleet.quotes()
    fleet.passes(HOUR)
    fleet.intel.revoked, fleet.intel.issued = [1001], NOW + HOUR
    fleet.vendor_says(fleet.intel.bundle())
    fleet.passes()
    fleet.passes()
    assert (fleet.one["tier"], fleet.one["holds"]) == ("affirming", [])
    assert "certificate-revoked" not in {rule for rule, _, _ in fleet.alerts}


# Whose word counts


def test_a_strangers_revoked_quote_under_the_name_of_a_masked_machine_changes_nothing(tmp_path: Path) -> None:
    fleet = WholeFleet(tmp_path / "r.db", replace(EASY, may_be_impossible=("executables", "floor", "identity")))
    fleet.amd_says_what_it_has()
    stranger = replace(fleet.intel, revoked=[1001])
    fleet.vendor_says(stranger.bundle())
    fleet.sends_with_its_vcek(fleet.report(patches=MASKED), source=GOOD)
    fleet.passes()
    assert set(fleet.standings) == {"masked:good/node-1"}
    fleet.sends(stranger.quote(), source=EVIL, challenge=None)
    fleet.passes()
    fleet.passes()
    assert (fleet.one["tier"], fleet.one["holds"]) == ("affirming", [])
    assert ("certificate-revoked", "hint:node-1", "open") in fleet.alerts


def test_a_masked_machine_of_another_sender_is_another_machine(tmp_path: Path) -> None:
    """Under the same name, and in debug mode: it ends nobody's trust but its own."""
    fleet = WholeFleet(tmp_path / "r.db", replace(EASY, may_be_impossible=("executables", "floor", "identity")))
    fleet.amd_says_what_it_has()
    fleet.sends_with_its_vcek(fleet.report(patches=MASKED), source=GOOD)
    fleet.passes()
    debug = (8, (0x30000 | 1 << 19).to_bytes(8, "little"))
    raw = fleet.amd.report(report_data=(b"\x31" * 32).ljust(64, b"\0"), patches=[*MASKED, debug])
    fleet.sends_with_its_vcek(raw, source=EVIL, challenge="31" * 32)
    fleet.passes(rounds=2)
    assert {name: one["tier"] for name, one in fleet.standings.items()} == {
        "masked:good/node-1": "affirming",
        "masked:evil/node-1": "contraindicated",
    }


def test_who_came_while_nobody_was_asked_for_is_asked_for_later(tmp_path: Path) -> None:
    """Without enrolment nobody is put on the list; so when it is asked for again, strangers are not on it."""
    fleet = WholeFleet(tmp_path / "r.db", replace(EASY, enrolment=Rules(window=0, required=False)))
    fleet.passes()
    fleet.passes(2 * DAY)
    fleet.vendor_says(fleet.intel.bundle())
    fleet.quotes()
    fleet.passes()
    assert (fleet.one["tier"], fleet.state("enrolled/")) == ("affirming", {})
    fleet.puts_in_force(replace(EASY, enrolment=Rules(window=0, required=True)))
    fleet.quotes()
    fleet.passes()
    assert fleet.one["recognition"] == "waiting"
    assert fleet.one["tier"] != "affirming"


# Trust anchors


def test_an_anchor_that_is_taken_away_accuses_nobody(fleet: WholeFleet) -> None:
    fleet.vendor_says(fleet.intel.bundle())
    for n in range(1, 6):
        machine = replace(fleet.intel, ppid=bytes([n]) * 16, pck_serial=2000 + n)
        challenge = bytes([n]) * 32
        fleet.sends(machine.quote(report_data=challenge), f"node-{n}", challenge=challenge.hex())
    fleet.passes()
    fleet.restart(roots=(fleet.amd.root(),))
    fleet.passes()
    fleet.passes()
    assert {one["tier"] for one in fleet.standings.values()} == {"none"}
    assert fleet.alerts == set()
    fleet.restart()
    fleet.passes()
    fleet.passes()
    assert {one["tier"] for one in fleet.standings.values()} == {"affirming"}


def test_an_anchor_that_is_taken_away_with_an_upgrade_ends_trust_too(fleet: WholeFleet) -> None:
    fleet.vendor_says(fleet.intel.bundle())
    fleet.quotes()
    fleet.passes()
    fleet.database.change_state({("verify", "anchors"): None})  # a directory that an earlier version wrote
    fleet.restart(roots=(fleet.amd.root(),))
    fleet.passes()
    fleet.passes()
    assert fleet.one["tier"] == "none"
