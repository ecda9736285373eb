"""What a machine's standing says, what its alerts say and what a store would admit never contradict each other."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_correlate import (
    HOUR,
    MILAN,
    MINUTE,
    NOON,
    World,
    batch,
    decision,
    forged,
    reason,
    shipped,
    signal,
    tick,
)

from ratchet.detect import firmware, observation
from ratchet.event import Event, stamp
from ratchet.evidence import Outcome, StepName
from ratchet.guest import guest_of
from ratchet.policy.policy import Policy
from ratchet.ports import Record
from ratchet.rollout.approval import DecisionKeys, public_key
from ratchet.rollout.approval import decision as signed_decision
from ratchet.standing import GUEST_COUNTS
from streams.correlate import Correlate

APPROVER = bytes(range(32))
TD = {
    "mrtd": "aa" * 48,
    "rtmr0": "01" * 48,
    "rtmr3": "00" * 48,
    "mrconfigid": "00" * 48,
    "mrowner": "00" * 48,
    "mrseam": "0e" * 48,
    "tdattributes": "00" * 8,
}
DEBUG: dict[str, Any] = {
    "debug": True,
    "tier": "contraindicated",
    "trusted_until": None,
    "reasons": ["debug_enabled"],
    "measurements": {**TD, "tdattributes": "01" + "00" * 7},
}


@pytest.fixture
def world() -> World:
    return World()


def td(at: Any = NOON, **other: Any) -> dict[str, Any]:
    """A verdict on a TD of one image; `instance` is its MRTD, as the evidence gives no other."""
    said: dict[str, Any] = {"tee": "tdx", "instance": "aa" * 48, "measurement": "aa" * 48, "measurements": TD}
    return signal(at=at, **(said | {"family": "tdx/90c06f000000", "tcb": {"sgx.0": 11}} | other))


def standing(world: World, name: str = "chip:n01") -> dict[str, Any]:
    found = world.state.get(f"standing/acme/{name}")
    assert found is not None
    return dict(found)


def holds(world: World, name: str = "chip:n01") -> set[str]:
    return {hold["code"] for hold in standing(world, name)["holds"]}


def accepted(alert: str, at: Any, key: bytes = APPROVER, **other: str) -> Record:
    data = {"identity": "chip:n01", "rule": "firmware-rolled-back", "alert": alert, "by": "ada", "comment": "SB-1"}
    event = signed_decision(key, "accepted", alert, data | other, tenant="acme", at=at, source="/cli")
    return Record(-1, "decisions", event)


def approving() -> World:
    world = World()
    world.stage = Correlate(shipped(), DecisionKeys(approvers={"ada": public_key(APPROVER)}))
    return world


# Two guests are two


def test_a_clean_td_clears_nothing_of_a_debug_td_of_the_same_image(world: World) -> None:
    # given a debug TD and a clean TD of one image on one host, under one sender's name
    world.hears(td(**DEBUG))
    # when the clean one attests, as often as it likes
    for hour in range(1, 23):
        world.hears(td(NOON + hour * HOUR))
    # then the machine is not trusted, and the alert is open
    assert standing(world)["tier"] == "contraindicated"
    assert world.alerts()["debug-enabled chip:n01"]["status"] == "open"


def test_a_relaunch_without_debug_clears_once_the_debug_guest_has_been_gone_for_a_day(world: World) -> None:
    world.hears(td(**DEBUG))
    for hour in (6, 12, 18):
        world.hears(td(NOON + hour * HOUR))
    [resolved] = world.hears(td(NOON + GUEST_COUNTS))
    assert (resolved.type, resolved.data["rule"]) == ("alert.resolved.v1", "debug-enabled")
    assert standing(world)["tier"] == "affirming"


def test_a_debug_guest_that_is_judged_again_to_the_same_end_is_not_there_for_longer(world: World) -> None:
    first = td(**DEBUG)
    world.hears(first)
    world.hears(again(first, NOON + 20 * HOUR, tier="contraindicated", trusted_until=None))
    world.hears(td(NOON + 23 * HOUR))
    assert standing(world)["tier"] == "contraindicated"
    world.hears(td(NOON + GUEST_COUNTS))
    assert standing(world)["tier"] == "affirming"


def test_a_guest_that_turns_out_bad_counts_for_a_day_from_then(world: World) -> None:
    first = td(tier="affirming", trusted_until=stamp(NOON + 100 * HOUR), **{"hint": "other"})
    world.hears(first)
    world.hears(again(first, NOON + 50 * HOUR, tier="contraindicated", trusted_until=None))
    world.hears(td(NOON + 60 * HOUR))
    assert standing(world)["tier"] == "contraindicated", "its evidence is older than a day, the finding is not"
    world.hears(td(NOON + 74 * HOUR))
    assert standing(world)["tier"] == "affirming"


def test_what_tells_guests_apart_is_what_their_launch_decided_and_who_sends() -> None:
    one = guest_of(td())
    for differs in (
        {"debug": True},
        {"measurements": {**TD, "rtmr0": "02" * 48}},
        {"measurements": {**TD, "mrowner": "02" * 48}},
        {"bits": {"attributes.sept_ve_disable": False}},
        {"hint": "n02"},
        {"tee": "sgx"},
    ):
        assert guest_of(td(**differs)) != one
    assert guest_of(td(measurements={**TD, "mrseam": "0f" * 48})) == one, "the module is the platform's"
    assert guest_of(td(tcb={"sgx.0": 12}, tier="warning")) == one
    snp = signal(instance="5a" * 32)
    assert guest_of(snp) == guest_of({**snp, "hint": "another name", "debug": True}), "SNP: the report id says it"


# Firmware


def test_the_quoting_enclaves_of_sgx_and_tdx_have_marks_of_their_own(world: World) -> None:
    """Their versions count apart: TD QE 4 beside SGX QE 8 is no rollback."""
    for hour, tee, qe in [(0, "sgx", 8), (1, "tdx", 4), (2, "sgx", 8), (3, "tdx", 4)]:
        world.hears(td(NOON + hour * HOUR, tee=tee, tcb={"sgx.0": 11, "qe.isvsvn": qe}))
    assert world.said == []
    [alert] = world.hears(td(NOON + 4 * HOUR, tee="tdx", tcb={"sgx.0": 11, "qe.isvsvn": 3}))
    assert alert.data["facts"]["attestation.was"] == 4


def test_a_td_preserving_update_and_two_tds_of_one_image_are_no_rollback(world: World) -> None:
    # given a TD of report 1.0 that was launched under module version 5, and lives on through an update to 6
    old, new = ({"sgx.0": 11, "tdx.0": module, "tdx.1": 1} for module in (5, 6))
    world.hears(td(tcb=old))
    # when a second TD of the same image is launched under 6, by the same sender, and both go on attesting
    for hour, tcb in enumerate([new, old, new, old], start=1):
        world.hears(td(NOON + hour * HOUR, tcb=tcb))
    assert world.said == []
    # and where the quote says what the module is now, the version at launch is not compared at all
    now = {"tdx2.0": 6, "tdx2.1": 1}
    for hour, tcb in enumerate([new, old], start=5):
        world.hears(td(NOON + hour * HOUR, tcb=tcb | now))
    assert world.said == []
    # but the module itself going back is a rollback
    [alert] = world.hears(td(NOON + 7 * HOUR, tcb=old | {"tdx2.0": 5, "tdx2.1": 1}))
    assert alert.data["facts"]["attestation.component"] == "tdx2.0"


def test_a_rollback_degrades_a_machine_until_the_version_is_back(world: World) -> None:
    # given a machine that proved SNP firmware 24 and goes back to 22, with evidence that is good enough by itself
    world.hears(signal())
    [alert] = world.hears(signal(at=NOON + HOUR, tcb={**MILAN, "reported.snp": 22}))
    assert standing(world)["tier"] == "warning"
    assert "firmware_rolled_back" in holds(world)
    # when it only comes half way back
    world.hears(signal(at=NOON + 2 * HOUR, tcb={**MILAN, "reported.snp": 23}))
    assert standing(world)["tier"] == "warning"
    # then nothing is over; and when the version is back, everything is
    [resolved] = world.hears(signal(at=NOON + 3 * HOUR))
    assert (resolved.type, resolved.data["alert"]) == ("alert.resolved.v1", alert.data["alert"])
    assert (standing(world)["tier"], standing(world)["holds"]) == ("affirming", [])


def test_resolving_a_rollback_by_hand_does_not_make_the_machine_trusted(world: World) -> None:
    [_, alert] = [world.hears(signal()), world.hears(signal(at=NOON + HOUR, tcb={**MILAN, "reported.snp": 22}))[0]]
    world.takes(decision("resolved", alert.data["alert"], NOON + 2 * HOUR))
    assert (standing(world)["tier"], holds(world)) == ("warning", {"firmware_rolled_back"})


def test_evidence_that_does_not_show_the_component_does_not_bring_it_back(world: World) -> None:
    """A TD shows its module back; an SGX enclave of the same platform shows nothing of it."""
    module = {"sgx.0": 11, "tdx2.0": 6, "tdx2.1": 1}
    world.hears(td(tcb=module), td(NOON + HOUR, tcb=module | {"tdx2.0": 5}))
    for hour in range(2, 40, 3):
        world.hears(td(NOON + hour * HOUR, tee="sgx", tcb={"sgx.0": 11}))
    assert standing(world)["tier"] == "warning"
    assert world.alerts()["firmware-rolled-back chip:n01"]["status"] == "open"


def test_an_approver_accepts_a_rollback_and_the_marks_follow() -> None:
    world = approving()
    world.hears(signal())
    lower = {**MILAN, "reported.snp": 22}
    [alert] = world.hears(signal(at=NOON + HOUR, tcb=lower))
    for wrong in (
        accepted(alert.data["alert"], NOON + 2 * HOUR, key=bytes(32)),
        accepted(alert.data["alert"], NOON + 2 * HOUR, by="mallory"),
    ):
        [letter] = world.takes(wrong)
        assert letter.type == "letter.dead.v1"
    assert world.takes(accepted(alert.data["alert"], NOON + 2 * HOUR, identity="chip:n02")) == []
    assert world.takes(accepted(alert.data["alert"], NOON + 2 * HOUR, rule="debug-enabled")) == []
    [over] = world.takes(accepted(alert.data["alert"], NOON + 3 * HOUR))
    assert (over.type, over.data["by"], over.data["comment"]) == ("alert.resolved.v1", "ada", "SB-1")
    assert (standing(world)["tier"], standing(world)["holds"]) == ("affirming", [])
    assert world.hears(signal(at=NOON + 4 * HOUR, tcb=lower)) == [], "it is what the machine proves now"
    [again] = world.hears(signal(at=NOON + 5 * HOUR, tcb={**MILAN, "reported.snp": 21}))
    assert again.data["facts"]["attestation.was"] == 22


def test_the_policy_in_force_says_what_a_hold_lowers_to(world: World) -> None:
    # given a policy that holds a rollback to be worse than the default does
    policy = Policy(holds={"firmware_rolled_back": "contraindicated"})
    data = {"change": "c", "store": "git", "family": "policy", "intent": {"policy": policy.to_data(), "floors": {}}}
    changed = Event("c" * 64, "/streams/roll-out", "change.due.v1", "git", NOON, "acme", data)
    world.takes(Record(-1, "changes", changed))
    # when a machine goes back
    world.hears(signal(at=NOON + MINUTE), signal(at=NOON + HOUR, tcb={**MILAN, "reported.snp": 22}))
    # then it is not trusted at all
    assert standing(world)["tier"] == "contraindicated"
    assert Policy.from_data(policy.to_data()) == policy
    for wrong in ({"firmware_rolled_back": "affirming"}, {"anything": "warning"}):
        with pytest.raises(ValueError, match="holds"):
            Policy(holds=wrong)


# Revocation, strangers, names


def revoked(at: Any, **other: Any) -> dict[str, Any]:
    said = forged(at=at, failed=["revocation"], reasons=["certificate_revoked"])
    return {**said, "subject": "chip:n01", "weak": False, **other}


def test_a_revoked_machine_is_not_trusted_while_its_alert_is_open(world: World) -> None:
    world.hears(signal(), revoked(NOON + HOUR))
    assert (standing(world)["tier"], holds(world)) == ("contraindicated", {"certificate_revoked", "critical_alert"})
    world.hears(signal(at=NOON + 2 * HOUR))
    assert (standing(world)["tier"], holds(world)) == ("warning", {"critical_alert"}), (
        "provisioned anew, and still open"
    )
    world.takes(decision("resolved", world.alerts()["certificate-revoked chip:n01"]["alert"], NOON + 3 * HOUR))
    assert standing(world)["tier"] == "affirming"


def test_a_replay_of_a_revoked_machines_evidence_is_a_replay_and_nothing_else(world: World) -> None:
    first = revoked(NOON)
    world.hears(first)
    again = forged(at=NOON + HOUR, failed=["revocation", "freshness"], reasons=["certificate_revoked"])
    world.hears({**again, "blob": first["blob"], "replay_key": first["replay_key"]})
    assert world.rules() == {"certificate-revoked", "evidence-replayed"}


@pytest.mark.parametrize(
    ("recognition", "rule", "level"),
    [
        ("waiting", "machine-unknown", "high"),
        ("stranger", "machine-unknown", "high"),
        ("moved", "name-moved", "critical"),
    ],
)
def test_a_machine_that_is_not_ours_is_alerted_and_not_trusted(
    world: World, recognition: str, rule: str, level: str
) -> None:
    codes = {"waiting": "machine_waits_for_enrolment", "stranger": "machine_not_enrolled"}
    reasons = [codes.get(recognition, "machine_name_moved")]
    not_ours: dict[str, Any] = {"tier": "contraindicated", "trusted_until": None, "reasons": reasons}
    first = signal(recognition=recognition, **not_ours)
    [alert] = world.hears(first)
    assert (alert.data["rule"], alert.data["level"], alert.subject) == (rule, level, "chip:n01")
    assert standing(world)["tier"] == "contraindicated"
    # when it is enrolled, its evidence is judged again: at once it is ours
    [resolved] = world.hears(again(first, NOON + MINUTE))
    assert (resolved.type, resolved.data["rule"]) == ("alert.resolved.v1", rule)
    assert (standing(world)["tier"], standing(world)["holds"]) == ("affirming", [])


@pytest.mark.parametrize("recognition", ["waiting", "stranger", "moved"])
def test_a_machine_that_is_not_ours_ends_no_alert_about_the_name_that_it_took(world: World, recognition: str) -> None:
    world.hears(signal("n07", NOON, genuine=False, failed=[], reasons=["no_endorsement_key"], tee="snp"))
    assert world.rules() == {"endorsement-missing"}
    foreign: dict[str, Any] = {"subject": "chip:foreign", "recognition": recognition, "tier": "contraindicated"}
    said = world.hears(signal("n07", NOON + HOUR, **foreign, trusted_until=None, reasons=["machine_not_enrolled"]))
    assert "alert.resolved.v1" not in {event.type for event in said}
    assert world.alerts()["endorsement-missing hint:n07"]["status"] == "open"


def test_a_machine_that_is_not_ours_is_not_missed(world: World) -> None:
    not_ours = {"recognition": "stranger", "tier": "contraindicated", "trusted_until": None}
    world.hears(signal(**not_ours, reasons=["machine_not_enrolled"]))
    for hour in range(1, 30):
        world.ticks(NOON + hour * HOUR)
    assert world.rules() == {"machine-unknown"}


# Judged again


def again(first: dict[str, Any], at: Any, **other: Any) -> dict[str, Any]:
    """The same evidence, judged again at `at`; good enough unless said otherwise."""
    good = {"tier": "affirming", "reasons": [], "recognition": "ours", "trusted_until": stamp(NOON + 6 * HOUR)}
    id = f"{first['id']} again at {stamp(at)}"
    return {**first, **good, "id": id, "time": stamp(at), "rejudged": f"cause at {stamp(at)}", **other}


def test_what_is_judged_again_replaces_the_guests_word_and_is_no_replay(world: World) -> None:
    first = signal()
    world.hears(first)
    marks = world.state.get("known/acme/chip:n01")["marks"]
    low = {"tier": "warning", "reasons": ["below_floor"]}
    [alert] = world.hears(again(first, NOON + HOUR, **low))
    assert (alert.data["rule"], standing(world)["tier"]) == ("tcb-out-of-date", "warning")
    assert standing(world)["seen"] == stamp(NOON), "it proved nothing anew"
    assert world.state.get("known/acme/chip:n01")["marks"] == marks
    [over] = world.hears(again(first, NOON + 2 * HOUR))
    assert (over.type, standing(world)["tier"]) == ("alert.resolved.v1", "affirming")
    assert world.rules() == {"tcb-out-of-date"}


def test_a_later_word_is_not_replaced_by_older_evidence(world: World) -> None:
    first = signal()
    world.hears(first, signal(at=NOON + HOUR))
    before = standing(world)
    assert world.hears(again(first, NOON + 2 * HOUR, tier="warning", reasons=["below_floor"])) == []
    assert standing(world) == before


def test_a_certificate_that_turns_out_to_be_revoked_ends_trust_at_once(world: World) -> None:
    first = signal()
    world.hears(first)
    [alert] = world.hears(again(first, NOON + HOUR, genuine=False, failed=["revocation"],
                                reasons=["certificate_revoked"], tier="contraindicated"))  # fmt: skip
    assert (alert.data["rule"], alert.subject) == ("certificate-revoked", "chip:n01")
    assert standing(world)["tier"] == "contraindicated"


def test_evidence_that_is_proven_no_longer_leaves_nothing(world: World) -> None:
    """The vendor's statement that it rested on has ended: nobody is accused, and nothing is known."""
    first = signal()
    world.hears(first)
    void = {"subject": "hint:n01", "weak": True, "instance": None, "tier": "none", "trusted_until": None}
    world.hears(again(first, NOON + HOUR, genuine=False, failed=["collateral"], **void))
    assert standing(world)["tier"] == "none"
    assert world.rules() == {"collateral-failed"}


def test_evidence_that_came_without_its_vcek_is_proven_when_that_is_ingested(world: World) -> None:
    good = "/collectors/http/good"
    missing = signal(genuine=False, failed=[], reasons=["no_endorsement_key"], tee="snp", sender=good)
    world.hears(missing)
    assert world.rules() == {"endorsement-missing"}
    proven = again(missing, NOON + HOUR, genuine=True, subject="chip:n01", instance="guest of n01", weak=False)
    [over] = world.hears(proven)
    assert (over.type, over.data["rule"]) == ("alert.resolved.v1", "endorsement-missing")
    assert standing(world)["tier"] == "affirming"
    # its sender, who may have tried until it was believed, proves nothing more with it; anybody else replays it
    before = standing(world)
    once_more = {**signal(at=NOON + 2 * HOUR), "blob": missing["blob"]}
    assert world.hears({**once_more, "sender": good}) == []
    [alert] = world.hears({**once_more, "sender": "/collectors/http/other", "evidence": "e-other", "id": "v-other"})
    assert (alert.data["rule"], standing(world)) == ("evidence-replayed", before)


# Freshness


def undated(name: str = "n01", at: Any = NOON, **other: Any) -> dict[str, Any]:
    said = {"fresh": False, "subject": f"hint:{name}", "weak": True, "tier": "none", "trusted_until": None}
    return signal(name, at, **(said | other))


def test_a_captured_quote_changes_nothing_whoever_sends_it(world: World) -> None:
    # given a machine that is trusted
    world.hears(signal())
    before, known = standing(world), world.state.get("known/acme/chip:n01")
    # when somebody sends a quote of it from before its update, without a challenge
    [alert] = world.hears(undated("mallory", NOON + HOUR, tcb={**MILAN, "reported.snp": 10}, debug=True))
    # then it says so of the sender, and nothing of the machine
    assert (alert.data["rule"], alert.subject, alert.data["level"]) == ("evidence-age-unknown", "hint:mallory", "low")
    assert (standing(world), world.state.get("known/acme/chip:n01")) == (before, known)


def test_a_captured_revoked_quote_does_not_end_trust(world: World) -> None:
    world.hears(signal())
    captured = forged("n01", NOON + HOUR, failed=["revocation"], reasons=["certificate_revoked"])
    world.hears({**captured, "fresh": False, "weak": True})
    assert standing(world)["tier"] == "affirming"


def test_the_same_bytes_twice_of_unknown_age_are_no_replay(world: World) -> None:
    one = undated()
    world.hears(one, {**undated(at=NOON + HOUR), "blob": one["blob"], "replay_key": one["replay_key"]})
    assert world.rules() == {"evidence-age-unknown"}
    # and what is fresh for the first time is its first use
    world.hears({**signal(at=NOON + 2 * HOUR), "blob": one["blob"], "replay_key": one["replay_key"]})
    assert world.rules() == {"evidence-age-unknown"}
    assert world.alerts()["evidence-age-unknown hint:n01"]["status"] == "resolved"


# No proof stays unseen


def test_every_action_reaches_a_rule_that_ships() -> None:
    burst = {action for rule in shipped() if rule.options.burst for action in rule.options.burst.of}
    seen = {action for rule in shipped() for action in rule.actions or ()}
    assert set(observation.ACTIONS) <= burst | seen


@pytest.mark.parametrize("step", list(StepName))
@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.NOT_POSSIBLE])
def test_every_step_that_does_not_pass_is_an_alert(world: World, step: StepName, outcome: Outcome) -> None:
    steps = [{"name": s.value, "outcome": (outcome if s is step else Outcome.PASSED).value} for s in StepName]
    authentic = step not in (StepName.PARSE, StepName.CHAIN, StepName.SIGNATURE, StepName.BINDING)
    failed = outcome is Outcome.FAILED
    genuine = authentic and not failed
    said = signal(
        genuine=genuine,
        failed=[step.value] if failed else [],
        reasons=["certificate_revoked"] if step is StepName.REVOCATION else ["anything"],
        barred=[] if failed else [step.value],
        tier="none",
        trusted_until=None,
        fresh=step is not StepName.FRESHNESS,
        proof={"steps": steps, "claims": {"platform": "chip:n01"}},
    )
    assert world.hears(said), "somebody hears of it"


# Nothing with an open critical alert is affirming


@st.composite
def happenings(draw: st.DrawFn) -> list[tuple[str, Any]]:
    """Signals, decisions and ticks, in order of time, about two machines that share names at times."""
    minute, found = 0, []
    for _ in range(draw(st.integers(1, 14))):
        minute += draw(st.integers(1, 500))
        kind = draw(st.sampled_from(["good", "bad", "back", "revoked", "moved", "undated", "again", "old", "forged",
                                     "resolve", "accept", "tick", "replay"]))  # fmt: skip
        machine = draw(st.sampled_from(["n01", "n02"]))
        found.append((kind, (machine, NOON + minute * MINUTE, draw(st.sampled_from(["a", "b"])))))
    return found


@settings(max_examples=150, deadline=None)
@given(happenings())
def test_no_machine_with_an_open_critical_alert_or_a_hold_is_affirming(story: list[tuple[str, Any]]) -> None:
    world = approving()
    world.stage = Correlate(
        shipped(), DecisionKeys(operators=(public_key(bytes(range(7, 39))),), approvers={"ada": public_key(APPROVER)})
    )
    sent: list[dict[str, Any]] = []
    for kind, (name, at, guest) in story:
        said = _happens(world, sent, kind, name, at, guest)
        if said is not None:
            world.takes(said)
        for _, known in world.state.scan("standing/"):
            critical = [
                alert
                for _, alert in world.state.scan("alert/")
                if (alert["subject"], alert["level"]) == (known["identity"], "critical")
                and alert["status"] != "resolved"
            ]
            if known["tier"] == "affirming":
                assert not critical
                assert not known["holds"]
            assert bool(critical) == ("critical_alert" in {hold["code"] for hold in known["holds"]})
            assert (known["lapsed_at"] is not None) <= (known["tier"] in ("none", "contraindicated"))


def _happens(world: World, sent: list[dict[str, Any]], kind: str, name: str, at: Any, guest: str) -> Record | None:
    """The record of one happening; None where there is nothing that it could be about."""
    bad = {"tier": "contraindicated", "trusted_until": None, "reasons": ["debug_enabled"], "debug": True}
    match kind:
        case "tick":
            return tick(at)
        case "resolve" | "accept":
            open_alerts = [alert for _, alert in world.state.scan("alert/") if alert["status"] == "open"]
            if not open_alerts:
                return None
            alert = open_alerts[0]
            if kind == "resolve":
                return decision("resolved", alert["alert"], at)
            return accepted(alert["alert"], at, identity=alert["subject"], rule=alert["rule"])
        case "again" | "old" | "replay":
            mine = [one for one in sent if one["hint"] == name]
            if not mine:
                return None
            if kind == "replay":
                return batch({**mine[0], "id": f"replay {at}", "time": stamp(at), "evidence": f"replay {at}"})
            lower = {"tier": "warning", "reasons": ["below_floor"]} if kind == "old" else {}
            until = {"trusted_until": stamp(at + HOUR)}
            return batch(again(mine[-1], at, **until, **lower))
    said = {
        "good": lambda: signal(name, at, instance=guest),
        "bad": lambda: signal(name, at, instance=guest, **bad),
        "back": lambda: signal(name, at, instance=guest, tcb={**MILAN, "current.snp": 20}),
        "moved": lambda: signal(
            name, at, instance=guest, recognition="moved", tier="contraindicated", trusted_until=None
        ),
        "undated": lambda: undated(name, at, tcb={**MILAN, "current.snp": 2}),
        "forged": lambda: forged(name, at),
        "revoked": lambda: {**revoked(at), "subject": f"chip:{name}", "hint": name},
    }[kind]()
    if said["genuine"] and said["fresh"]:
        sent.append(said)
    return batch(said)


def test_lapsed_machines_say_since_when(world: World) -> None:
    world.hears(signal())
    world.ticks(NOON + 7 * HOUR)
    said = standing(world)
    assert (said["tier"], said["lapsed_at"], said["seen"]) == ("none", stamp(NOON + 6 * HOUR), stamp(NOON))
    world.hears(signal(at=NOON + 8 * HOUR))
    assert standing(world)["lapsed_at"] is None


def test_marks_of_an_older_version_are_read() -> None:
    """State that was written before quoting enclaves had marks of their own: nothing fails, and nothing is a fall."""
    old: firmware.Marks = {"qe.isvsvn": [8, "t0", "e0"], "sgx.0": [11, "t0", "e0"]}
    compared = firmware.compare(old, {"qe.isvsvn": 4, "sgx.0": 11}, tee="tdx", guest="g", at="t1", evidence="e1")
    assert compared.fell == {}


def test_a_decision_of_an_event_without_words_does_nothing(world: World) -> None:
    world.hears(signal())
    event = Event("x", "/cli", "decision.accepted.v1", "x", NOON + timedelta(hours=1), "acme", {"identity": 7})
    [letter] = world.takes(Record(-1, "decisions", event))
    assert letter.data["code"] == "decision_unsigned"


def test_a_machine_below_a_floor_and_rolled_back_says_both(world: World) -> None:
    world.hears(signal())
    why = [reason("below_floor", component="reported.snp", got=20, want=24)]
    low: dict[str, Any] = {"tier": "warning", "reasons": ["below_floor"], "why": why}
    world.hears(signal(at=NOON + HOUR, tcb={**MILAN, "reported.snp": 20}, **low))
    assert world.rules() == {"firmware-rolled-back", "tcb-out-of-date"}
