"""Proposals on their way into force: signed decisions, changes, receipts; and never down without a quorum."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.app import assets
from ratchet.detect import ruleset
from ratchet.event import BlobId, Event, canonical, derived_id, parse_time, stamp
from ratchet.policy import amendment
from ratchet.policy.appraise import Policy
from ratchet.policy.floor import AmdFloor, Minimum, floor_hash, from_data, is_open, shortfalls
from ratchet.policy.floor.provenance import Provenance, Statement
from ratchet.policy.reference import ReferenceSet
from ratchet.policy.simulate import Bounds, samples, simulate
from ratchet.policy.tighten import tightens
from ratchet.ports import Record
from ratchet.rollout.approval import Approvers, DecisionKeys, decision, proposal_hash, public_key, sign
from streams.correlate import Correlate
from streams.embedded import Kept
from streams.roll_out import RollOut

AT = datetime(2026, 3, 1, tzinfo=UTC)
FAMILY = "snp/Genoa"
KEYS = {name: bytes([n]) * 32 for n, name in enumerate(("ada", "bob", "cyd"), start=1)}
APPROVERS = Approvers(
    keys={
        name: Ed25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw().hex()
        for name, key in KEYS.items()
    },
    quorum=2,
    loosening_lasts=7 * 24 * 3600,
)
BOUNDS = Bounds(max_refused=5, max_fraction=1.0)
OPERATOR = bytes(range(9, 41))
KEYS_OF_THE_HOUSE = DecisionKeys(operators=(public_key(OPERATOR),))
POLICY = Policy()
STORES = ("git", "opa")


def floor(snp: int, ucode: int = 0, *, exact: bool = True) -> AmdFloor:
    provenance = Provenance(
        documents=(BlobId("d" * 64),), pointer="", rule="test/1", reviewed_by=None if exact else "Ada"
    )
    return AmdFloor(
        family=FAMILY, minima=(Minimum(tcb={"reported.snp": snp, "reported.ucode": ucode}),), provenance=provenance
    )


def machine(name: str, snp: int) -> dict[str, Any]:
    return {
        "subject": f"chip:{name}",
        "hint": name,
        "region": None,
        "family": FAMILY,
        "tee": "snp",
        "genuine": True,
        "measurement": "ab" * 48,
        "debug": False,
        "tcb": {"reported.snp": snp, "reported.ucode": 9},
        "bits": {},
    }


FLEET = [machine("a", 25), machine("b", 21)]


class World:
    """A roll-out stage with its state, and whoever talks to it."""

    def __init__(self, policy: Policy = POLICY, stores: tuple[str, ...] = STORES) -> None:
        self.state = Kept({})
        self.stage = RollOut(policy, BOUNDS, APPROVERS, stores, KEYS_OF_THE_HOUSE)
        self.at = AT
        self.letters: list[Event] = []
        self.sent: list[Event] = []
        self.heard: list[Record] = []
        """What correlation reads of it."""
        self.count = 0
        self.said: dict[str, Any] = {}

    def tell(self, topic: str, type: str, subject: str, data: dict[str, Any], tenant: str = "default") -> list[Event]:
        """One event, a minute after the last; the changes that come of it."""
        self.at += timedelta(minutes=1)
        self.count += 1
        event = Event(derived_id("test", type, str(self.count)), "/test", type, subject, self.at, tenant, data)
        out = self.stage.step([Record(self.count, topic, event)], self.state, self.at)
        for _, one in out:
            canonical(one.envelope())
            assert one.time == self.at, "what follows has the time of its cause"
        self.letters += [one for topic, one in out if topic == "dead-letters"]
        changes = [one for topic, one in out if topic == "changes"]
        self.sent += changes
        self.heard += [Record(-1, "changes", one) for one in changes]
        self.heard += [Record(-1, "receipts", event)] if topic == "receipts" else []
        return changes

    def propose(
        self, wanted: AmdFloor, before: AmdFloor | None = None, *, automatic: bool = False, **changes: Any
    ) -> str:
        impact = simulate(FLEET, before, wanted, POLICY)
        proved = samples(FLEET, wanted, POLICY)
        data = {
            "proposal": derived_id("proposal", floor_hash(wanted), str(self.count)),
            "family": FAMILY,
            "floor": wanted.to_data(),
            "before": before.to_data() if before else None,
            "exact": wanted.provenance.exact,
            "tightening": tightens(wanted, before),
            "impact": impact.to_data(),
            "bound": BOUNDS.to_data(),
            "automatic": automatic,
            "why": "a test",
            "cause": "c",
            "families": [FAMILY, "snp/Milan"],
            "samples": {"refuse": [dict(s) for s in proved.refuse], "pass": [dict(s) for s in proved.admit]},
        }
        data["hash"] = proposal_hash(data)
        data |= changes
        self.tell("proposals", "proposal.made.v1", FAMILY, data)
        return str(data["proposal"])

    def decide(self, proposal: str, by: str, verb: str = "approved", /, **changes: Any) -> list[Event]:
        kept = self.state.get(f"rollout/{proposal}")
        hash = kept["proposal"]["hash"] if kept else "00" * 32
        attempt = kept["rollout"]["attempt"] if kept else 0
        shown = {"approved": "pushes", "rolled_back": "returns"}.get(verb)
        policy = (kept[shown] if kept else "00" * 32) if shown else None
        if shown and policy is None:
            policy = "00" * 32  # nothing asks for it: whatever is signed then does not count
        signature = sign(KEYS[by], verb, hash, attempt, policy)
        signed = {"proposal": proposal, "hash": hash, "attempt": attempt, "policy": policy, "by": by}
        signed |= {"signature": signature}
        self.said = {**signed, "comment": ""}
        return self.tell("decisions", f"decision.{verb}.v1", proposal, {**self.said, **changes})

    def receipt(self, change: str, store: str, outcome: str = "confirmed") -> list[Event]:
        kind = "confirmed" if outcome == "confirmed" else "failed"
        data = {"change": change, "store": store, "revision": f"r-{store}", "outcome": outcome, "detail": ""}
        return self.tell("receipts", f"receipt.{kind}.v1", store, data)

    def enforce(self, changes: list[Event]) -> None:
        """All stores confirm."""
        assert {one.subject for one in changes} == set(STORES)
        for one in changes:
            self.receipt(one.data["change"], one.subject)

    def tick(self, at: datetime) -> list[Event]:
        self.at = max(self.at, at - timedelta(minutes=1))
        return self.tell("ticks", "clock.ticked.v1", "0", {"partition": "0"}, tenant="ratchet")

    def rollout(self, proposal: str) -> dict[str, Any]:
        kept = self.state.get(f"rollout/{proposal}")
        assert isinstance(kept, dict)
        return kept

    def in_force(self) -> AmdFloor | None:
        kept = self.state.get(f"floor/default/{FAMILY}")
        if kept is None:
            return None
        found = from_data(kept["floor"])
        assert isinstance(found, AmdFloor)
        return found

    def policy(self) -> Policy:
        kept = self.state.get("policy/default")
        return Policy.from_data(kept["policy"]) if kept else POLICY

    def enforced(self, wanted: AmdFloor) -> str:
        """A floor in force, by one approval or as many as it takes."""
        proposal = self.propose(wanted, self.in_force())
        changes = self.decide(proposal, "ada") or self.decide(proposal, "bob")
        self.enforce(changes)
        assert self.in_force() == wanted
        return proposal


def test_an_exact_tightening_goes_by_itself_and_is_in_force_when_every_store_says_so() -> None:
    world = World()
    proposal = world.propose(floor(20), automatic=True)
    git, opa = world.sent
    assert (git.subject, opa.subject) == STORES
    assert git.data["change"] == opa.data["change"]
    assert git.id != opa.id
    assert git.data["approvals"] == []
    world.receipt(git.data["change"], "git")
    assert world.rollout(proposal)["state"] == "approved"
    assert world.in_force() is None
    world.receipt(git.data["change"], "opa")
    assert world.rollout(proposal)["state"] == "enforced"
    kept = world.state.get(f"floor/default/{FAMILY}")
    assert kept is not None
    assert (kept["proposal"], kept["change"]) == (proposal, git.data["change"])
    assert kept["stores"] == {"git": "r-git", "opa": "r-opa"}
    assert kept["since"] == stamp(world.at)


def test_an_intent_is_whole_and_says_of_every_family_what_is_known() -> None:
    world = World()
    world.propose(floor(20), automatic=True)
    intent = world.sent[0].data["intent"]
    assert set(intent["floors"]) == {FAMILY, "snp/Milan"}
    assert is_open(from_data(intent["floors"]["snp/Milan"])), "seen, and not judged yet"
    assert intent["policy"]["floors"] == {}
    held = {family: from_data(one) for family, one in intent["floors"].items()}
    proved = world.sent[0].data["samples"]
    assert all(not s["genuine"] or shortfalls(held[s["family"]], s["tcb"], s["bits"]) for s in proved["refuse"])
    assert all(not shortfalls(held[s["family"]], s["tcb"], s["bits"]) for s in proved["pass"])
    assert proved["refuse"]
    assert proved["pass"]


def test_a_reviewed_floor_waits_for_a_named_approver() -> None:
    world = World()
    proposal = world.propose(floor(20, exact=False), automatic=True)
    assert world.sent == [], "whatever the proposal says of itself"
    changes = world.decide(proposal, "ada", comment="SB-3019, see INC-412")
    assert [one["by"] for one in changes[0].data["approvals"]] == ["ada"]
    assert "SB-3019, see INC-412" in world.rollout(proposal)["history"][-1]["comment"]
    world.enforce(changes)
    assert world.rollout(proposal)["state"] == "enforced"


def test_beyond_the_bounds_nothing_goes_by_itself() -> None:
    world = World()
    world.stage = RollOut(POLICY, Bounds(), APPROVERS, STORES, KEYS_OF_THE_HOUSE)
    world.propose(floor(23), automatic=True)
    assert world.sent == []


def test_decisions_that_do_not_count_are_dead_letters_and_change_nothing() -> None:
    world = World()
    proposal = world.propose(floor(20, exact=False))
    shown, pushes = world.rollout(proposal)["proposal"]["hash"], world.rollout(proposal)["pushes"]
    good = sign(KEYS["ada"], "approved", shown, 0, pushes)
    for changes in (
        {"signature": "00" * 64},
        {"by": "eve"},
        {"by": "bob"},
        {"hash": "00" * 32},
        {"proposal": "nothing"},
        {"signature": 7},
        {"comment": ["no", "text"]},
        {"signature": sign(KEYS["ada"], "rejected", shown, 0, None)},
        {
            "attempt": 1,
            "signature": sign(KEYS["ada"], "approved", shown, 1, pushes),
        },
        {"attempt": False},
    ):
        assert world.decide(proposal, "ada", **changes) == []
    assert [one.data["code"] for one in world.letters] == [
        "approval_signature_invalid",
        "not_an_approver",
        "approval_signature_invalid",
        "decision_hash_mismatch",
        "decision_unknown_proposal",
        "decision_malformed",
        "decision_malformed",
        "approval_signature_invalid",
        "decision_out_of_turn",
        "decision_out_of_turn",
    ]
    assert world.rollout(proposal)["state"] == "proposed"
    assert world.rollout(proposal)["approvals"] == []
    assert "ignored" in world.rollout(proposal)["history"][-1]["comment"]
    assert world.decide(proposal, "ada", signature=good) != []


def test_another_tenants_approver_says_nothing_here() -> None:
    world = World()
    proposal = world.propose(floor(20, exact=False))
    hash = world.rollout(proposal)["proposal"]["hash"]
    signature = sign(KEYS["ada"], "approved", hash, 0, world.rollout(proposal)["pushes"])
    data = {"proposal": proposal, "hash": hash, "attempt": 0, "by": "ada", "signature": signature}
    assert world.tell("decisions", "decision.approved.v1", proposal, data, tenant="other") == []
    assert world.letters[-1].data["code"] == "decision_unknown_proposal"


def test_a_proposal_whose_hash_is_not_its_contents_is_a_dead_letter() -> None:
    world = World()
    proposal = world.propose(floor(20), automatic=True, hash="00" * 32)
    assert world.state.get(f"rollout/{proposal}") is None
    assert world.letters[-1].data["code"] == "proposal_hash_mismatch"


def test_a_loosening_takes_its_quorum_and_ends_by_itself() -> None:
    world = World()
    world.enforced(floor(24))
    # it calls itself a tightening, and automatic: what is in force says otherwise
    proposal = world.propose(floor(20), automatic=True, tightening=True)
    assert world.rollout(proposal)["quorum"] == 2
    assert world.decide(proposal, "ada") == []
    assert world.decide(proposal, "ada") == [], "one person twice is one person"
    changes = world.decide(proposal, "bob")
    assert [one["by"] for one in changes[0].data["approvals"]] == ["ada", "bob"]
    world.enforce(changes)
    assert world.in_force() == floor(20)
    ends = world.rollout(proposal)["expires"]
    assert ends == stamp(world.at + timedelta(days=7))
    assert world.tick(world.at + timedelta(days=6)) == []
    back = world.tick(world.at + timedelta(days=8))
    assert back[0].data["intent"]["floors"][FAMILY] == floor(24).to_data()
    world.enforce(back)
    assert world.in_force() == floor(24)
    assert world.rollout(proposal)["state"] == "rolled_back"
    assert world.tick(world.at + timedelta(days=30)) == []


def test_a_change_says_of_a_loosening_whose_it_is_how_long_it_lasts_and_who_signed_it() -> None:
    """Correlation makes an alert of it, from the sending until its end is proved."""
    world = World()
    stack = world.enforced(floor(24))
    assert [one.data["loosens"] for one in world.sent] == [None, None]
    loose = world.enforced(floor(20))
    week = timedelta(days=7)
    said = [one.data["loosens"] for one in world.sent[-2:]]
    assert said == [{"proposal": loose, "until": stamp(world.sent[-1].time + week), "by": ["ada", "bob"]}] * 2
    ends = world.rollout(loose)["expires"]
    stuck = world.propose(floor(25), floor(20), automatic=True)
    assert world.sent[-1].data["loosens"] is None, "if the stores take it, the loosening is over"
    [back, _] = world.decide(stuck, "ada", "rolled_back") or world.decide(stuck, "bob", "rolled_back")
    assert back.data["loosens"] == {"proposal": loose, "until": ends, "by": ["ada", "bob"]}, "it has not ended"
    world.enforce(world.sent[-2:])
    world.enforce(world.tick(parse_time(ends)))
    assert world.sent[-1].data["loosens"] is None
    assert world.in_force() == floor(24)
    assert world.rollout(stack)["state"] == "superseded"


def test_a_loosening_is_an_open_alert_from_its_sending_until_the_floor_before_is_proved() -> None:
    world = World()
    correlate, memory = Correlate(ruleset.load(assets.rules()), DecisionKeys()), Kept({})

    def alerts() -> list[tuple[str, str]]:
        heard, world.heard = world.heard, []
        return [(one.type, one.subject) for _, one in correlate.step(heard, memory, world.at)]

    world.enforced(floor(24))
    assert alerts() == []
    loose = world.propose(floor(20), floor(24))
    world.decide(loose, "ada")
    sent = world.decide(loose, "bob")
    assert alerts() == [("alert.raised.v1", f"policy:{FAMILY}")]
    world.enforce(sent)
    assert alerts() == []
    back = world.tick(world.at + timedelta(days=8))
    world.receipt(back[0].data["change"], "git")
    assert alerts() == [], "the other store may hold it still"
    world.receipt(back[0].data["change"], "opa")
    assert alerts() == [("alert.resolved.v1", f"policy:{FAMILY}")]


def test_a_change_that_goes_back_to_a_looser_floor_says_so_and_so_does_its_end() -> None:
    world = World()
    world.enforced(floor(20))
    proposal = world.enforced(floor(24))
    world.decide(proposal, "cyd", "rolled_back")
    [back, _] = world.decide(proposal, "bob", "rolled_back")
    until = stamp(back.time + timedelta(days=7))
    assert back.data["loosens"] == {"proposal": proposal, "until": until, "by": ["cyd", "bob"]}
    world.enforce(world.sent[-2:])
    again = world.tick(parse_time(until))
    assert [one.data["loosens"] for one in again] == [None, None]


def test_what_follows_a_loosening_ends_with_it_or_is_as_strict_as_what_it_loosened() -> None:
    """Else a loosening that was signed for a week, and one approval more, would be for ever."""
    world = World()
    world.enforced(floor(24))
    world.enforced(floor(20))
    between = world.propose(floor(22), floor(20), automatic=True)
    assert world.rollout(between)["quorum"] == 2, "tighter than what is in force, and looser than what will return"
    assert world.decide(between, "ada") == []
    world.enforce(world.decide(between, "bob"))
    assert world.in_force() == floor(22)
    back = world.tick(world.at + timedelta(days=8))
    assert back[0].data["intent"]["floors"][FAMILY] == floor(24).to_data()
    world.enforce(back)
    assert world.in_force() == floor(24)
    assert world.tick(world.at + timedelta(days=30)) == []


def test_what_is_as_strict_as_what_a_loosening_loosened_goes_by_itself_and_going_back_does_not_loosen_again() -> None:
    world = World()
    world.enforced(floor(24))
    world.enforced(floor(20))
    proposal = world.propose(floor(25), floor(20), automatic=True)
    world.enforce(world.sent[-2:])
    assert world.in_force() == floor(25)
    assert world.rollout(proposal)["expires"] is None
    assert world.decide(proposal, "ada", "rolled_back") == []
    back = world.decide(proposal, "bob", "rolled_back")
    assert back[0].data["intent"]["floors"][FAMILY] == floor(24).to_data()


def test_what_follows_a_going_back_is_held_against_what_will_return() -> None:
    world = World()
    world.enforced(floor(20))
    proposal = world.enforced(floor(24))
    world.decide(proposal, "ada", "rolled_back")
    world.enforce(world.decide(proposal, "bob", "rolled_back"))
    between = world.propose(floor(22), floor(20), automatic=True)
    assert world.decide(between, "ada") == [], "one is not enough, and it did not go by itself"
    world.enforce(world.decide(between, "bob"))
    assert world.in_force() == floor(22)
    world.enforce(world.tick(world.at + timedelta(days=8)))
    assert world.in_force() == floor(24)


def test_a_floor_that_was_loosened_before_it_came_into_force_does_not_give_way_to_a_looser_one() -> None:
    """It took a quorum against what was being sent; nobody signed that the floor before both shall return."""
    world = World()
    world.enforced(floor(20))
    world.propose(floor(24), floor(20), automatic=True)
    proposal = world.propose(floor(22), floor(20))
    assert world.decide(proposal, "ada") == []
    world.enforce(world.decide(proposal, "bob"))
    assert world.in_force() == floor(22)
    assert world.rollout(proposal)["expires"] is None
    assert world.tick(world.at + timedelta(days=30)) == []


def test_a_loosening_does_not_outlive_its_end_because_something_else_never_arrives() -> None:
    world = World()
    world.enforced(floor(24))
    loose = world.enforced(floor(20))
    stuck = world.propose(floor(25), floor(20), automatic=True)
    ends = parse_time(world.rollout(loose)["expires"])
    assert world.rollout(stuck)["state"] == "approved", "a store does not answer"
    assert world.tick(ends + timedelta(minutes=30)) == []
    back = world.tick(ends + timedelta(hours=2))
    assert back[0].data["intent"]["floors"][FAMILY] == floor(24).to_data()
    assert world.rollout(stuck)["state"] == "halted"


def test_what_an_approver_said_once_cannot_be_said_again_by_others() -> None:
    """Whoever can write to the log has every signature that was ever given."""
    world = World()
    proposal = world.propose(floor(22))
    changes = world.decide(proposal, "ada")
    approval = dict(world.said)
    world.receipt(changes[0].data["change"], "git", "not_enforced")
    assert world.rollout(proposal)["state"] == "halted"
    assert world.tell("decisions", "decision.approved.v1", proposal, approval) == []
    assert world.letters[-1].data["code"] == "decision_out_of_turn"
    forged = {**approval, "attempt": 1}
    assert world.tell("decisions", "decision.approved.v1", proposal, forged) == []
    assert world.letters[-1].data["code"] == "approval_signature_invalid"
    assert world.rollout(proposal)["state"] == "halted"
    assert world.decide(proposal, "ada") != []


def test_going_back_once_is_no_leave_to_go_back_again() -> None:
    world = World()
    world.enforced(floor(20))
    proposal = world.enforced(floor(24))
    world.decide(proposal, "ada", "rolled_back")
    first = dict(world.said)
    world.enforce(world.decide(proposal, "bob", "rolled_back"))
    second = dict(world.said)
    world.enforce(world.tick(world.at + timedelta(days=8)))
    assert world.in_force() == floor(24)
    for said in (first, second):
        assert world.tell("decisions", "decision.rolled_back.v1", proposal, said) == []
    assert world.in_force() == floor(24)
    assert world.rollout(proposal)["state"] == "enforced"


def test_a_newer_proposal_supersedes_one_that_waits() -> None:
    world = World()
    first = world.propose(floor(20, exact=False))
    second = world.propose(floor(22, exact=False))
    assert world.rollout(first)["state"] == "superseded"
    assert world.decide(first, "ada") == []
    assert world.decide(second, "ada") != []


def test_a_newer_floor_that_is_sent_takes_over_from_one_that_is_underway() -> None:
    world = World()
    first = world.propose(floor(20), automatic=True)
    old = list(world.sent)
    second = world.propose(floor(22), automatic=True)
    assert world.rollout(first)["state"] == "superseded"
    world.enforce(old)
    assert world.in_force() is None, "receipts for a change that is no longer the last prove nothing"
    world.enforce(world.sent[2:])
    assert world.in_force() == floor(22)
    assert world.rollout(second)["state"] == "enforced"


def test_a_failed_receipt_halts_and_the_floor_is_not_in_force() -> None:
    world = World()
    world.enforced(floor(20))
    proposal = world.propose(floor(22), floor(20), automatic=True)
    git, opa = world.sent[-2:]
    world.receipt(git.data["change"], "git")
    world.receipt(opa.data["change"], "opa", "not_enforced")
    assert world.rollout(proposal)["state"] == "halted"
    assert world.rollout(proposal)["receipts"]["opa"]["outcome"] == "not_enforced"
    assert world.in_force() == floor(20)
    changes = world.decide(proposal, "bob")
    assert changes[0].data["change"] != git.data["change"], "a new attempt is a new change"
    world.enforce(changes)
    assert world.in_force() == floor(22)


def test_a_person_can_halt_it() -> None:
    world = World()
    proposal = world.propose(floor(22), automatic=True)
    world.decide(proposal, "cyd", "halted")
    world.enforce(world.sent)
    assert world.rollout(proposal)["state"] == "halted"
    assert world.in_force() is None
    assert world.rollout(proposal)["history"][-3]["by"] == "cyd"


def test_going_back_takes_the_quorum_and_what_was_before_returns() -> None:
    world = World()
    world.enforced(floor(20))
    proposal = world.enforced(floor(24))
    assert world.decide(proposal, "ada", "rolled_back") == []
    back = world.decide(proposal, "bob", "rolled_back")
    assert back[0].data["intent"]["floors"][FAMILY] == floor(20).to_data()
    assert back[0].data["samples"]["pass"]
    world.enforce(back)
    assert world.in_force() == floor(20)
    forward = world.tick(world.at + timedelta(days=8))
    assert forward[0].data["intent"]["floors"][FAMILY] == floor(24).to_data(), "and that ends by itself"
    world.enforce(forward)
    assert world.in_force() == floor(24)
    assert world.rollout(proposal)["state"] == "enforced"


def test_going_back_on_the_first_floor_leaves_the_family_open_not_refused() -> None:
    world = World()
    proposal = world.enforced(floor(24))
    world.decide(proposal, "ada", "rolled_back")
    back = world.decide(proposal, "bob", "rolled_back") or world.sent[-2:]
    assert is_open(from_data(back[0].data["intent"]["floors"][FAMILY]))
    world.enforce(back)
    assert world.in_force() is None


def test_going_back_halts_what_is_underway() -> None:
    world = World()
    world.enforced(floor(20))
    first = world.enforced(floor(22))
    second = world.propose(floor(24), floor(22), automatic=True)
    assert world.rollout(second)["state"] == "approved"
    world.decide(first, "ada", "rolled_back")
    back = world.decide(first, "bob", "rolled_back")
    assert world.rollout(second)["state"] == "halted"
    world.enforce(back)
    assert world.in_force() == floor(20)


def test_floors_of_the_configuration_are_in_force_from_the_start() -> None:
    world = World(policy=Policy(floors={FAMILY: floor(24)}))
    proposal = world.propose(floor(20), automatic=True)
    assert world.sent == []
    assert world.rollout(proposal)["quorum"] == 2


def test_a_repeated_proposal_and_decisions_about_alerts_change_nothing() -> None:
    world = World()
    proposal = world.propose(floor(20), automatic=True)
    kept = dict(world.rollout(proposal))
    world.tell("proposals", "proposal.made.v1", FAMILY, kept["proposal"])
    world.tell("decisions", "decision.acknowledged.v1", "alert", {"alert": "x", "by": "ada", "comment": ""})
    world.tell("receipts", "store.drifted.v1", "git", {"change": None, "store": "git"})
    world.receipt("no such change", "git")
    assert world.rollout(proposal) == kept
    assert world.letters == []


def test_without_a_store_nothing_comes_into_force() -> None:
    world = World(stores=())
    proposal = world.propose(floor(20), automatic=True)
    assert (world.sent, world.rollout(proposal)["state"], world.in_force()) == ([], "approved", None)


def of_the_vendor(wanted: AmdFloor, day: int) -> AmdFloor:
    """The same floor, read from the vendor's statement as of this day."""
    document = BlobId(f"{day:064x}")
    stated = Statement(name="AMD-SB-3034", rank=0, at=AT + timedelta(days=day), document=document)
    return replace(wanted, provenance=replace(wanted.provenance, documents=(document,), statements=(stated,)))


def test_what_the_vendor_replaced_by_less_does_not_return() -> None:
    """As Ice Lake's evaluation 20, which asks less of two components than 19; or a bulletin that AMD revised."""
    world = World()
    world.enforced(of_the_vendor(floor(28, exact=False), 1))
    world.at += timedelta(hours=1)
    successor = of_the_vendor(floor(27, exact=False), 2)
    proposal = world.propose(successor, world.in_force())
    assert world.rollout(proposal)["quorum"] == 2, "it lets in what was refused: people say so first"
    assert world.decide(proposal, "ada") == []
    changes = world.decide(proposal, "bob")
    assert all(change.data["loosens"] is None for change in changes)
    world.enforce(changes)
    assert world.rollout(proposal)["expires"] is None
    assert world.tick(world.at + timedelta(days=30)) == []
    assert world.in_force() == successor


def test_what_people_lower_against_the_vendor_ends_by_itself() -> None:
    world = World()
    before = of_the_vendor(floor(28, exact=False), 2)
    world.enforced(before)
    for lowered in (of_the_vendor(floor(27, exact=False), 2), of_the_vendor(floor(26, exact=False), 1), floor(25)):
        proposal = world.propose(lowered, world.in_force())
        world.decide(proposal, "ada")
        world.enforce(world.decide(proposal, "bob"))
        back = world.tick(world.at + timedelta(days=8))
        assert back[0].data["intent"]["floors"][FAMILY] == before.to_data()
        world.enforce(back)


def configured(world: World, policy: Policy) -> list[Event]:
    """Somebody altered the configuration, and `ratchet up` put that on the log; the changes that come of it."""
    world.at += timedelta(minutes=1)
    data = {"policy": policy.to_data(), "by": "root"}
    event = decision(OPERATOR, "configured", "policy", data, tenant="default", at=world.at, source="/cli")
    out = world.stage.step([Record(0, "decisions", event)], world.state, world.at)
    assert not [one for topic, one in out if topic == "dead-letters"]
    return [one for _, one in out]


def propose_policy(world: World, wanted: Policy, before: Policy) -> str:
    impact = simulate(FLEET, None, floor(0), POLICY).to_data()
    data = {
        "proposal": derived_id("proposal", wanted.hash, str(world.count)),
        "family": "policy",
        "floor": None,
        "before": None,
        "policy": wanted.to_data(),
        "policy_before": before.to_data(),
        "exact": False,
        "tightening": amendment.tightens(wanted, before),
        "impact": impact,
        "bound": BOUNDS.to_data(),
        "automatic": False,
        "why": "a test",
        "cause": "c",
        "families": [FAMILY],
        "samples": {"refuse": [], "pass": []},
    }
    data["hash"] = proposal_hash(data)
    world.tell("proposals", "proposal.made.v1", "policy", data)
    return str(data["proposal"])


BAD = "ba" * 48


def images(name: str, image: str) -> ReferenceSet:
    """Reference values of one image."""
    data = {"tee": "snp", "conditions": {"measurement": image}, "by": "ann", "source": "a build"}
    return ReferenceSet.from_data(name, data)


KNOWING = Policy(reference_values=(images("good", "ab" * 48),))
WIDER = Policy(reference_values=(images("good", "ab" * 48), images("bad", BAD)))


def test_a_tightenings_approval_carries_no_new_measurement() -> None:
    """The configuration names a measurement more when a tightening is approved: it is not in what goes out."""
    world = World(policy=KNOWING)
    configured(world, KNOWING)
    proposal = world.propose(floor(20, exact=False))
    world.stage = RollOut(WIDER, BOUNDS, APPROVERS, STORES, KEYS_OF_THE_HOUSE)
    configured(world, WIDER)
    changes = world.decide(proposal, "ada")
    assert changes
    for change in changes:
        assert "bad" not in change.data["intent"]["policy"]["reference_values"]
        assert change.data["policy"] == world.said["policy"], "what is signed is what is pushed"
        pushed = Policy.from_data({**change.data["intent"]["policy"], "floors": change.data["intent"]["floors"]})
        assert pushed.hash == change.data["policy"], "which is also what verdicts name"


def test_an_approval_counts_for_the_whole_policy_that_was_looked_at() -> None:
    world = World(policy=KNOWING)
    configured(world, KNOWING)
    wider = propose_policy(world, WIDER, KNOWING)
    assert world.decide(wider, "ada") == []
    stale = world.rollout(wider)["pushes"]
    # then something else comes into force
    world.enforced(floor(20))
    assert world.rollout(wider)["pushes"] != stale
    assert world.decide(wider, "bob", policy=stale) == []
    assert world.letters[-1].data["code"] == "decision_policy_mismatch"
    assert world.decide(wider, "bob") == [], "what ada signed was another policy"
    changes = world.decide(wider, "ada")
    assert changes[0].data["intent"]["floors"][FAMILY] == floor(20).to_data()
    assert "bad" in changes[0].data["intent"]["policy"]["reference_values"]


def test_a_policy_that_knows_more_images_takes_the_quorum_and_stays() -> None:
    world = World(policy=KNOWING)
    configured(world, KNOWING)
    wider = propose_policy(world, WIDER, KNOWING)
    assert world.rollout(wider)["quorum"] == 2
    world.decide(wider, "ada")
    changes = world.decide(wider, "bob")
    assert changes[0].data["loosens"] is None
    world.enforce(changes)
    assert world.rollout(wider)["state"] == "enforced"
    assert world.tick(world.at + timedelta(days=30)) == []


def test_a_policy_that_excuses_more_ends_by_itself_and_floors_go_on() -> None:
    world = World(policy=KNOWING)
    configured(world, KNOWING)
    world.enforced(floor(20))
    laxer = replace(KNOWING, may_be_impossible=("freshness",))
    proposal = propose_policy(world, laxer, KNOWING)
    world.decide(proposal, "ada")
    changes = world.decide(proposal, "bob")
    assert changes[0].data["loosens"]["by"] == ["ada", "bob"]
    world.enforce(changes)
    later = world.enforced(floor(22))
    assert world.rollout(later)["change"]
    assert world.sent[-1].data["intent"]["policy"]["may_be_impossible"] == ["freshness"]
    back = world.tick(world.at + timedelta(days=8))
    assert back[0].data["intent"]["policy"]["may_be_impossible"] == []
    assert back[0].data["intent"]["floors"][FAMILY] == floor(22).to_data()


def test_a_policy_that_asks_more_takes_one_approval_and_a_withdrawn_one_waits_no_longer() -> None:
    world = World(policy=KNOWING)
    configured(world, KNOWING)
    stricter = replace(KNOWING, trusted_for=3600)
    proposal = propose_policy(world, stricter, KNOWING)
    assert world.rollout(proposal)["quorum"] == 1
    configured(world, KNOWING)
    assert world.rollout(proposal)["state"] == "superseded", "the configuration was put back"
    again = propose_policy(world, stricter, KNOWING)
    world.enforce(world.decide(again, "ada"))
    assert world.state.get("policy/default")["policy"]["trusted_for"] == 3600


# Whatever happens

_FLOORS = st.builds(lambda a, b, exact: floor(a, b, exact=exact), st.integers(0, 3), st.integers(0, 3), st.booleans())
# Weighted towards what gets far: floors in force, going back on them, receipts of the attempt before.
_STEPS = st.one_of(
    st.tuples(st.just("propose"), _FLOORS, st.just(True)),
    st.tuples(st.just("propose"), _FLOORS, st.booleans()),
    st.tuples(st.just("policy"), st.sampled_from([3600, 7200, 86400, 10**6])),
    st.tuples(
        st.just("decide"),
        st.integers(0, 2),
        st.sampled_from(sorted(KEYS)),
        st.sampled_from(["approved", "rolled_back", "approved", "rolled_back", "halted", "rejected"]),
        st.sampled_from([True, True, True, False]),
    ),
    st.tuples(st.just("receipt"), st.integers(0, 5), st.sampled_from(["confirmed", "confirmed", "drifted"])),
    st.tuples(st.just("enforce")),
    st.tuples(st.just("enforce")),
    st.tuples(st.just("tick"), st.integers(0, 9)),
)


@settings(max_examples=250, deadline=None)
@given(st.lists(_STEPS, min_size=5, max_size=30))
def test_no_sequence_of_events_lowers_a_floor_without_a_quorum(steps: list[tuple[Any, ...]]) -> None:
    """Every change is as strict as what is in force, unless two people signed it or a signed loosening ended."""
    world = World()
    proposals: list[str] = []
    signed: dict[tuple[str, str], set[str]] = {}
    confirmed: dict[str, set[str]] = {}
    approved_before: list[AmdFloor] = []
    trusted_before = {POLICY.trusted_for}
    for step in steps:
        in_force, already = world.in_force(), len(world.sent)
        by_quorum = False
        policy = world.policy()
        trusted_before.add(policy.trusted_for)
        match step:
            case "policy", trusted_for:
                proposals.append(propose_policy(world, replace(policy, trusted_for=trusted_for), policy))
            case "propose", wanted, automatic:
                proposals.append(world.propose(wanted, in_force, automatic=automatic))
            case "decide", n, by, verb, honest if proposals:
                proposal = proposals[-1 - n % len(proposals)]
                world.decide(proposal, by, verb, **({} if honest else {"signature": "00" * 64}))
                names = signed.setdefault((proposal, verb), set())
                names |= {by} if honest else set()
                by_quorum = len(names) >= 2
            case "receipt", n, outcome if world.sent:
                change = world.sent[-1 - n % len(world.sent)]
                if outcome == "confirmed":
                    confirmed.setdefault(change.data["change"], set()).add(change.subject)
                world.receipt(change.data["change"], change.subject, outcome)
            case ("enforce",) if world.sent:
                for change in world.sent[-2:]:
                    confirmed.setdefault(change.data["change"], set()).add(change.subject)
                    world.receipt(change.data["change"], change.subject)
            case "tick", days:
                world.tick(world.at + timedelta(days=days))
        for change in world.sent[already:]:
            asked = from_data(change.data["intent"]["floors"][FAMILY])
            ended = step[0] == "tick" and (is_open(asked) or asked in approved_before)
            assert tightens(asked, in_force) or by_quorum or ended
            trusted = change.data["intent"]["policy"]["trusted_for"]
            returned = step[0] == "tick" and trusted in trusted_before
            assert trusted <= policy.trusted_for or by_quorum or returned
            if step[0] == "decide":
                assert change.data["policy"] == world.said["policy"], "what is signed is what is pushed"
        if world.in_force() != in_force:
            kept = world.state.get(f"floor/default/{FAMILY}")
            last = world.sent[-1].data["change"]
            assert confirmed.get(kept["change"] if kept else last, set()) == set(STORES)
        after = world.in_force()
        if after is not None and after not in approved_before:
            approved_before.append(after)


def test_how_records_are_batched_does_not_show() -> None:
    world = World()
    proposal = world.propose(floor(20, exact=False))
    kept = world.rollout(proposal)
    data = kept["proposal"]
    signature = sign(KEYS["ada"], "approved", data["hash"], 0, kept["pushes"])
    decision = {"proposal": proposal, "hash": data["hash"], "attempt": 0, "by": "ada", "signature": signature}
    decision |= {"policy": kept["pushes"]}
    records = [
        Record(1, "proposals", Event("1" * 64, "/t", "proposal.made.v1", FAMILY, AT, "default", data)),
        Record(2, "decisions", Event("2" * 64, "/t", "decision.approved.v1", proposal, AT, "default", decision)),
        Record(3, "ticks", Event("3" * 64, "/t", "clock.ticked.v1", "0", AT, "ratchet", {"partition": "0"})),
    ]
    whole, single = World(), World()
    at_once = whole.stage.step(records, whole.state, AT)
    apart = [one for record in records for one in single.stage.step([record], single.state, AT)]
    assert [canonical(e.envelope()) for _, e in at_once] == [canonical(e.envelope()) for _, e in apart]
    assert dict(whole.state.scan("")) == dict(single.state.scan(""))
