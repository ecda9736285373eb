"""When what evidence is judged by changes, the last evidence of every machine that it concerns is judged again.

The vendors are the tests' own; what machines send, and what vendors say, goes through the stages as it would from
outside.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import intel_world
import pytest
import snp_world

from ratchet.event import Event, Json, delivery_id, derived_id, parse_time, stamp
from ratchet.policy.appraise import Policy
from ratchet.policy.reference import ReferenceSet
from ratchet.ports import Record
from ratchet.rollout.approval import DecisionKeys, decision, public_key
from ratchet.x509.anchor import Root
from streams import last_evidence
from streams import verify as verify_module
from streams.clock import tick
from streams.digest import Digest
from streams.embedded import Embedded
from streams.sqlite import Database
from streams.stage import Output, State
from streams.state_digest import state_digest
from streams.verify import Verify

NOW = intel_world.NOW
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
OPERATOR = bytes(range(32))
EASY = Policy(may_be_impossible=("executables", "floor"), require={})


class Changes:
    """Stands where `roll-out` stands: sends what the test wants to be in force."""

    name = "roll-out"

    def __init__(self) -> None:
        self.due: list[Policy] = []
        self.sent = 0

    def step(self, batch: Sequence[Record], state: State, watermark: datetime) -> list[Output]:
        out: list[Output] = []
        for policy in self.due:
            self.sent += 1
            intent = {**policy.with_floors({}).to_data()}, policy.to_data()["floors"]
            data = {"change": f"c{self.sent}", "store": "git", "intent": {"policy": intent[0], "floors": intent[1]}}
            id = derived_id("change", str(self.sent))
            out.append(("changes", Event(id, "/t", "change.due.v1", "git", watermark, "acme", data)))
        self.due.clear()
        return out


class Fleet:
    """A data directory with the stages that judge, fed by hand, minute by minute."""

    def __init__(self, path: Path, policy: Policy = EASY) -> None:
        self.database = Database(path)
        self.intel, self.amd = intel_world.World(), snp_world.World()
        self.policy, self.changes = policy, Changes()
        self.now, self.sent = NOW, 0
        self.restart()

    def restart(self, roots: Sequence[Root] = ()) -> None:
        roots, blobs = tuple(roots) or (self.intel.root(), self.amd.root()), self.database.blobs
        keys = DecisionKeys(operators=(public_key(OPERATOR),))
        self.verify = Verify(roots, self.policy, blobs, keys)
        self.executor = Embedded(self.database, [Digest(roots, blobs), self.verify, self.changes])

    def _append(
        self,
        topic: str,
        type_: str,
        subject: str,
        data: Mapping[str, Json],
        at: datetime | None,
        source: str = "/tests",
    ) -> str:
        self.sent += 1
        id = delivery_id("acme", source, str(self.sent))
        event = Event(id, source, type_, subject, at or self.now, "acme", {**data})
        self.database.log.append([(topic, event)])
        return id

    def sends(
        self, raw: bytes, name: str = "node-1", at: datetime | None = None, source: str = "/tests", **more: Json
    ) -> str:
        data = {
            "blob": self.database.blobs.put(raw),
            "hint": {"name": name, "region": "eu-1"},
            "endorsements": [],
            "challenge": intel_world.CHALLENGE.hex(),
            **more,
        }
        return self._append("evidence", "evidence.received.v1", name, data, at, source)

    def vendor_says(self, document: bytes | Mapping[str, Json], at: datetime | None = None) -> str:
        raw = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self._append("documents", "document.fetched.v1", "feed/doc", {"blob": self.database.blobs.put(raw)}, at)

    def somebody_says(self, verb: str, identity: str) -> str:
        said = {"identity": identity, "by": "ann", "comment": ""}
        event = decision(OPERATOR, verb, identity, said, tenant="acme", at=self.now, source="/tests")
        self.database.log.append([("decisions", event)])
        return event.id

    def passes(self, time: timedelta = MINUTE, rounds: int = 1) -> None:
        """Time passes, and closes a round; a minute closes each further one."""
        for step in (time, *[MINUTE] * (rounds - 1)):
            self.now += step
            self.database.log.append([("ticks", tick(self.now))])
            self.executor.drain()

    def verdicts(self, evidence: str) -> list[Event]:
        """Those on one piece of evidence, the first one first."""
        records = self.database.log.read(["verdicts"], 0, 10_000)
        return [r.event for r in records if r.event.data["evidence"] == evidence]

    def state(self, prefix: str) -> dict[str, Json]:
        found = self.database.state("verify")
        return {key: value for key, value in found.items() if key.startswith(prefix)}

    def report(self, **more: Json) -> bytes:
        return self.amd.report(report_data=intel_world.CHALLENGE.ljust(64, b"\0"), **more)

    def amd_says_what_it_has(self) -> None:
        """AMD's chain and revocation list, without the VCEK of any chip."""
        pem = snp_world.x509.load_der_x509_certificate
        chain = b"".join(pem(c).public_bytes(snp_world.Encoding.PEM) for c in (self.amd.signer(), self.amd.ark))
        self.vendor_says(chain)
        self.vendor_says(self.amd.crl())


def worse(intel: intel_world.World) -> intel_world.World:
    """What Intel says later: the level that was up to date is out of date."""
    tdx = [3, 0, 3] if intel.tee == "tdx" else None
    levels = [intel_world.level(sgx=9, tdx=tdx), intel_world.level(status="OutOfDate", tdx=tdx)]
    return replace(intel, levels=levels, evaluation=21, issued=NOW + HOUR)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path / "ratchet.db")


def reasons(verdict: Event) -> set[str]:
    return {reason["code"] for reason in verdict.data["reasons"]}


@pytest.mark.parametrize("tee", ["tdx", "sgx"])
def test_a_pck_certificate_that_is_revoked_ends_trust_within_the_round(fleet: Fleet, tee: str) -> None:
    fleet.intel.tee = tee
    fleet.vendor_says(fleet.intel.bundle())
    sent = fleet.sends(fleet.intel.quote())
    fleet.passes()
    (first,) = fleet.verdicts(sent)
    assert first.data["tier"] == "affirming"
    # when Intel revokes its certificate, and nobody sends anything
    fleet.intel.revoked, fleet.intel.issued = [1001], NOW + HOUR
    fleet.passes(2 * HOUR)
    fleet.vendor_says({"pck_crl": fleet.intel.crl(fleet.intel.ca_name, [1001]).hex(), **fleet.intel.bundle()})
    fleet.passes()
    _, again = fleet.verdicts(sent)
    assert (again.data["tier"], again.subject) == ("contraindicated", first.subject)
    assert "certificate_revoked" in reasons(again)
    assert again.data["received"] == first.data["received"]
    collateral = {r.event.id for r in fleet.database.log.read(["collateral"], 0, 99)}
    assert again.data["rejudged"] in collateral
    assert again.id == derived_id("verdict", sent, again.data["rejudged"])
    assert stamp(again.time) == stamp(fleet.now - MINUTE), "the time of the news"


@pytest.mark.parametrize("tee", ["tdx", "sgx"])
def test_new_tcb_info_under_which_a_level_is_revoked_is_applied_to_who_is_trusted(fleet: Fleet, tee: str) -> None:
    fleet.intel.tee = tee
    fleet.vendor_says(fleet.intel.bundle())
    sent = fleet.sends(fleet.intel.quote())
    fleet.passes()
    tdx = [3, 0, 3] if tee == "tdx" else None
    fleet.intel.levels = [intel_world.level(sgx=9, tdx=tdx), intel_world.level(status="Revoked", tdx=tdx)]
    fleet.intel.evaluation, fleet.intel.issued = 21, NOW + HOUR
    fleet.passes(2 * HOUR)
    fleet.vendor_says(fleet.intel.bundle())
    fleet.passes()
    first, again = fleet.verdicts(sent)
    assert (first.data["tier"], again.data["tier"]) == ("affirming", "contraindicated")
    assert again.data["tcb"]["merged"] == "Revoked"


def test_a_module_that_is_updated_under_a_guest_leaves_one_piece_of_it(fleet: Fleet) -> None:
    fleet.intel.tee = "tdx"
    fleet.vendor_says(fleet.intel.bundle())
    fleet.sends(fleet.intel.quote())
    fleet.passes()
    fleet.sends(fleet.intel.quote(mrseam=b"\x5f" * 48))
    fleet.passes()
    (kept,) = fleet.state("last/").values()
    assert kept["event"]["time"] == stamp(fleet.now - MINUTE), "the one before the update is not judged any more"


def test_what_answered_another_challenge_is_not_judged_again(fleet: Fleet) -> None:
    fleet.vendor_says(fleet.intel.bundle())
    sent = fleet.sends(fleet.intel.quote(), challenge="ee" * 32)
    fleet.passes()
    fleet.intel.revoked, fleet.intel.issued = [1001], NOW + HOUR
    fleet.passes(2 * HOUR)
    fleet.vendor_says({"pck_crl": fleet.intel.crl(fleet.intel.ca_name, [1001]).hex(), **fleet.intel.bundle()})
    fleet.passes()
    (only,) = fleet.verdicts(sent)
    assert "challenge_mismatch" in reasons(only)


def test_what_is_concluded_as_before_is_not_told_again(fleet: Fleet) -> None:
    fleet.vendor_says(fleet.intel.bundle())
    sent = fleet.sends(fleet.intel.quote())
    fleet.passes(2 * HOUR)
    fleet.vendor_says(replace(fleet.intel, evaluation=21, issued=NOW + HOUR).bundle())
    fleet.passes()
    assert len(fleet.verdicts(sent)) == 1
    (entry,) = fleet.state("last/").values()
    assert entry["judged"] > stamp(NOW)


def test_a_machine_that_lapsed_gains_nothing_when_it_is_judged_again(fleet: Fleet) -> None:
    fleet.vendor_says(fleet.intel.bundle())
    sent = fleet.sends(fleet.intel.quote())
    fleet.passes()
    fleet.passes(2 * DAY)
    fleet.vendor_says(worse(fleet.intel).bundle())
    fleet.passes()
    assert len(fleet.verdicts(sent)) == 1
    # but what disqualifies it is told
    fleet.vendor_says(replace(fleet.intel, revoked=[1001], issued=NOW + 2 * HOUR).bundle())
    fleet.passes()
    assert [v.data["tier"] for v in fleet.verdicts(sent)] == ["affirming", "contraindicated"]


def test_trust_is_not_prolonged_by_judging_again(fleet: Fleet) -> None:
    fleet.vendor_says(fleet.intel.bundle())
    sent = fleet.sends(fleet.intel.quote())
    fleet.passes()
    fleet.passes(2 * HOUR)
    fleet.vendor_says(worse(fleet.intel).bundle())
    fleet.passes()
    first, again = fleet.verdicts(sent)
    assert again.data["tier"] == "warning"
    assert again.data["trusted_until"] == first.data["trusted_until"] == stamp(NOW + DAY)


def test_only_whom_a_statement_concerns_is_judged_again(fleet: Fleet) -> None:
    fleet.vendor_says(fleet.intel.bundle())
    other = replace(fleet.intel, fmspc=bytes.fromhex("00806f050000"), ppid=b"\x33" * 16)
    fleet.vendor_says({**other.bundle()})
    one, two = fleet.sends(fleet.intel.quote()), fleet.sends(other.quote(), "node-2")
    fleet.passes()
    bundle = worse(fleet.intel).bundle()
    fleet.passes(2 * HOUR)
    parts = ("tcb_info", "tcb_info_signature", "tcb_info_issuer_chain")
    fleet.vendor_says({part: bundle[part] for part in parts})
    fleet.passes()
    counts = (len(fleet.verdicts(one)), len(fleet.verdicts(two)))
    assert counts == (2, 1)


def test_a_vcek_that_arrives_late_proves_whom_the_sender_waited_for(fleet: Fleet) -> None:
    fleet.amd_says_what_it_has()
    sent = fleet.sends(fleet.report())
    fleet.passes()
    # the sender is listed, with what is missing and where it is to be had
    (row,) = [entry["row"] for entry in fleet.state("sender/").values()]
    assert (row["hint"], row["tier"]) == ("node-1", "none")
    wanted = next(reason for reason in row["missing"] if reason["code"] == "no_endorsement_key")
    assert "https://kdsintf.amd.com/vcek/v1/Milan/" in wanted["remedy"]
    # when somebody brings it
    fleet.passes(HOUR)
    fleet.vendor_says(fleet.amd.vek())
    fleet.passes()
    first, again = fleet.verdicts(sent)
    assert (first.subject, first.data["genuine"]) == ("hint:node-1", False)
    assert again.subject == f"chip:{fleet.amd.hwid.hex()}"
    assert (again.data["genuine"], again.data["tier"]) == (True, "affirming")
    assert fleet.state("sender/") == {}, "its machine has a standing now"
    # and the VCEK of another chip concerns nobody
    fleet.vendor_says(fleet.amd.vek(hwid=b"\x77" * 64))
    fleet.passes()
    assert len(fleet.verdicts(sent)) == 2


def test_what_another_sender_says_under_a_name_takes_nobodys_place(fleet: Fleet) -> None:
    """Senders are told apart by their tokens: junk under another's name, or under many, displaces only one's own."""
    fleet.amd_says_what_it_has()
    sent = fleet.sends(fleet.report())
    fleet.passes()
    fleet.sends(b"junk", source="/tests/other")
    fleet.passes()
    assert sorted(entry["row"]["source"] for entry in fleet.state("sender/").values()) == ["/tests", "/tests/other"]
    fleet.vendor_says(fleet.amd.vek())
    fleet.passes()
    assert [v.data["tier"] for v in fleet.verdicts(sent)] == ["none", "affirming"]


def test_documents_that_come_one_after_the_other_are_all_known_when_evidence_is_judged_again(fleet: Fleet) -> None:
    sent = fleet.sends(fleet.report())
    fleet.passes()
    fleet.amd_says_what_it_has()
    fleet.vendor_says(fleet.amd.vek(), at=fleet.now + timedelta(seconds=1))
    fleet.passes()
    assert [v.data["tier"] for v in fleet.verdicts(sent)] == ["none", "affirming"]
    assert fleet.verdicts(sent)[1].time == fleet.now - MINUTE + timedelta(seconds=1)


def test_a_new_floor_is_applied_to_who_is_trusted(fleet: Fleet) -> None:
    fleet.amd_says_what_it_has()
    fleet.vendor_says(fleet.amd.vek())
    fleet.vendor_says(fleet.intel.bundle())
    snp, tdx = fleet.sends(fleet.report()), fleet.sends(fleet.intel.quote(), "node-2")
    fleet.passes()
    from test_appraise import MILAN

    minima = tuple(replace(one, tcb={"reported.snp": 25}) for one in MILAN.minima)
    fleet.changes.due = [EASY.with_floors({"snp/Milan": replace(MILAN, minima=minima)})]
    fleet.passes()
    fleet.passes()
    first, again = fleet.verdicts(snp)
    assert (first.data["tier"], again.data["tier"]) == ("affirming", "warning")
    assert "below_floor" in reasons(again)
    assert len(fleet.verdicts(tdx)) == 1, "the floor is another family's"


def test_a_reference_value_that_is_withdrawn_is_applied_to_who_is_trusted(fleet: Fleet) -> None:
    fleet.vendor_says(fleet.intel.bundle())
    sent = fleet.sends(fleet.intel.quote())
    fleet.passes()
    known = fleet.verdicts(sent)[0].data["claims"]["measurement"]
    said = {"tee": "tdx", "state": "contraindicated", "conditions": {"mrtd": known}, "by": "ann", "source": "a report"}
    fleet.changes.due = [replace(EASY, reference_values=(ReferenceSet.from_data("bad", said),))]
    fleet.passes()
    fleet.passes()
    assert [v.data["tier"] for v in fleet.verdicts(sent)] == ["affirming", "contraindicated"]


def test_a_machine_that_waits_is_ours_once_somebody_says_so_and_no_longer_when_retired(fleet: Fleet) -> None:
    fleet.passes()
    fleet.passes(2 * DAY)
    fleet.vendor_says(fleet.intel.bundle())
    sent = fleet.sends(fleet.intel.quote())
    fleet.passes()
    (waiting,) = fleet.state("waiting/").values()
    fleet.somebody_says("enrolled", waiting["identity"])
    fleet.passes()
    fleet.somebody_says("retired", waiting["identity"])
    fleet.passes()
    told = [(v.data["recognition"], v.data["tier"]) for v in fleet.verdicts(sent)]
    assert told == [("waiting", "contraindicated"), ("ours", "affirming")]
    # nothing is known of a machine that was retired, until it speaks again
    assert fleet.state("last/") == {}
    anew = fleet.sends(fleet.intel.quote())
    fleet.passes()
    (verdict,) = fleet.verdicts(anew)
    assert (verdict.data["recognition"], verdict.data["tier"]) == ("stranger", "contraindicated")


def test_a_decision_that_nobody_signed_enrols_nobody(fleet: Fleet) -> None:
    fleet.passes(MINUTE)
    fleet.passes(2 * DAY)
    fleet._append("decisions", "decision.enrolled.v1", "chip:aa", {"identity": "ppid:" + "11" * 16, "by": "eve"}, None)
    fleet.passes()
    assert fleet.state("enrolled/") == {}
    assert [r.event.data["code"] for r in fleet.database.log.read(["dead-letters"], 0, 9)] == ["decision_unsigned"]


def test_what_ends_by_itself_says_what_it_was(fleet: Fleet) -> None:
    """Trust ends with the revocation list that it rests on; the machine's last verdict names that list."""
    fleet.intel.crl_until = NOW + 2 * HOUR
    fleet.vendor_says(fleet.intel.bundle())
    sent = fleet.sends(fleet.intel.quote())
    fleet.passes()
    fleet.passes(3 * HOUR)
    first, again = fleet.verdicts(sent)
    assert first.data["trusted_until"] == stamp(fleet.intel.crl_until)
    assert (again.data["tier"], again.subject) == ("none", first.subject)
    assert "crl_expired" in reasons(again)
    fleet.passes(HOUR)
    assert len(fleet.verdicts(sent)) == 2, "it is told once"


def test_a_window_of_reference_values_opens_and_ends_for_who_is_there(fleet: Fleet) -> None:
    fleet.vendor_says(fleet.intel.bundle())
    sent = fleet.sends(fleet.intel.quote())
    fleet.passes()
    known = fleet.verdicts(sent)[0].data["claims"]["measurement"]
    window = {"since": stamp(NOW + HOUR), "until": stamp(NOW + 2 * HOUR), "by": "ann", "source": "a report"}
    bad = {"tee": "tdx", "state": "contraindicated", "conditions": {"mrtd": known}, **window}
    fleet.changes.due = [replace(EASY, reference_values=(ReferenceSet.from_data("bad", bad),))]
    for _ in range(7):
        fleet.passes(20 * MINUTE)
    told = [(v.data["tier"], v.time) for v in fleet.verdicts(sent)]
    assert [tier for tier, _ in told] == ["affirming", "affirming", "contraindicated", "affirming"]
    assert told[1][1] < NOW + HOUR < told[2][1] < NOW + 2 * HOUR < told[3][1]
    assert fleet.verdicts(sent)[1].data["trusted_until"] == stamp(NOW + HOUR)


def test_a_trust_anchor_that_is_taken_away_ends_what_rested_on_it(fleet: Fleet) -> None:
    """[trust] is configuration: what it no longer names counts no more from the first tick after the restart."""
    fleet.vendor_says(fleet.intel.bundle())
    sent = fleet.sends(fleet.intel.quote())
    fleet.passes()
    fleet.restart(roots=(fleet.amd.root(),))
    fleet.passes()
    fleet.passes()
    fleet.restart()
    fleet.passes()
    fleet.passes()
    assert [v.data["tier"] for v in fleet.verdicts(sent)] == ["affirming", "contraindicated", "affirming"]
    assert "chain_untrusted_root" in reasons(fleet.verdicts(sent)[1])


def test_evidence_that_comes_late_is_judged_by_what_became_known_since(fleet: Fleet) -> None:
    fleet.vendor_says(fleet.intel.bundle())
    fleet.passes(2 * HOUR)
    revoking = replace(fleet.intel, revoked=[1001], issued=NOW + HOUR)
    fleet.vendor_says(revoking.bundle())
    fleet.passes()
    sent = fleet.sends(fleet.intel.quote(), at=NOW + HOUR)
    fleet.passes()
    assert [v.data["tier"] for v in fleet.verdicts(sent)] == ["affirming", "contraindicated"]


def test_no_round_judges_more_than_its_part_and_the_rest_follows(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_module, "AGAIN", 3)
    fleet.vendor_says(fleet.intel.bundle())
    sent = [
        fleet.sends(replace(fleet.intel, ppid=bytes([n]) * 16, pck_serial=2000 + n).quote(), f"node-{n}")
        for n in range(1, 8)
    ]
    fleet.passes()
    fleet.passes(2 * HOUR)
    fleet.vendor_says(worse(fleet.intel).bundle())
    done = []
    for _ in range(4):
        fleet.passes(timedelta(seconds=1))
        done.append(sum(len(fleet.verdicts(id)) - 1 for id in sent))
    assert done == [3, 6, 7, 7]
    assert not fleet.database.pending()


def test_fresh_evidence_in_between_is_not_judged_again(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.vendor_says(fleet.intel.bundle())
    old = fleet.sends(fleet.intel.quote())
    fleet.passes()
    fleet.passes(2 * HOUR)
    fleet.vendor_says(worse(fleet.intel).bundle())
    new = fleet.sends(fleet.intel.quote(), at=fleet.now + timedelta(seconds=1))
    fleet.passes()
    assert (len(fleet.verdicts(old)), len(fleet.verdicts(new))) == (1, 1)


def test_evidence_of_unknown_age_is_shown_and_changes_nothing(fleet: Fleet) -> None:
    fleet.vendor_says(fleet.intel.bundle())
    sent = fleet.sends(fleet.intel.quote(), challenge=None)
    fleet.passes()
    (verdict,) = fleet.verdicts(sent)
    assert (verdict.subject, verdict.data["genuine"], verdict.data["fresh"]) == ("hint:node-1", True, False)
    assert fleet.state("enrolled/") == fleet.state("last/") == {}
    (row,) = [entry["row"] for entry in fleet.state("sender/").values()]
    assert "no_challenge" in {reason["code"] for reason in row["missing"]}
    # the same again, from the same sender, is nothing new
    fleet.sends(fleet.intel.quote(), challenge=None)
    fleet.passes()
    assert len(fleet.state("sender/")) == 1


def test_what_is_kept_of_senders_and_guests_is_bounded(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_evidence, "MAX_SENDERS", 5)
    monkeypatch.setattr(last_evidence, "MAX_GUESTS", 4)
    fleet.amd_says_what_it_has()
    fleet.vendor_says(fleet.amd.vek())
    for n in range(9):
        at = fleet.now + timedelta(seconds=n)
        fleet.sends(b"junk", f"junk-{n}", at=at)
        fleet.sends(b"junk", f"junk-{n}", at=at, source="/tests/other")
        fleet.sends(fleet.report(patches=[(0x140, bytes([n]) * 32)]), f"guest-{n}", at=at)
    fleet.passes()
    assert [e["row"]["hint"] for e in fleet.state("sender/").values()] == [f"junk-{n}" for n in range(4, 9)] * 2
    assert sorted(e["event"]["subject"] for e in fleet.state("last/").values()) == [f"guest-{n}" for n in range(5, 9)]
    assert len(json.dumps(next(iter(fleet.state("last/").values())))) < 1200
    assert len(fleet.state("ends/")) == 4
    # guests that were silent for days make room for the next one that speaks
    fleet.passes(3 * DAY)
    fleet.sends(fleet.report(), "guest-0")
    fleet.passes()
    assert [e["event"]["subject"] for e in fleet.state("last/").values()] == ["guest-0"]


def test_what_is_rebuilt_from_state_judges_again_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs over the same events, one made anew after every round, leave the same behind."""
    monkeypatch.setattr(verify_module, "AGAIN", 2)
    quotes = [replace(intel_world.World(), ppid=bytes([n]) * 16, pck_serial=2000 + n).quote() for n in range(1, 6)]
    first = intel_world.World().bundle()
    second = replace(intel_world.World(), revoked=[2001], evaluation=21, issued=NOW + HOUR).bundle()

    def run(name: str, anew: bool) -> dict[str, str]:
        fleet = Fleet(tmp_path / name)
        fleet.vendor_says(first)
        for n, quote in enumerate(quotes):
            fleet.sends(quote, f"node-{n}")
        fleet.passes(2 * HOUR)
        fleet.vendor_says(second)
        for _ in range(4):
            fleet.passes()
            if anew:
                fleet.restart()
        return state_digest(fleet.database)

    assert run("one.db", False) == run("two.db", True)


def test_times_of_verdicts_follow_the_news_not_the_round(fleet: Fleet) -> None:
    fleet.vendor_says(fleet.intel.bundle())
    sent = fleet.sends(fleet.intel.quote())
    fleet.passes(2 * HOUR)
    told_at = fleet.now + timedelta(seconds=7)
    fleet.vendor_says(worse(fleet.intel).bundle(), at=told_at)
    fleet.passes()
    assert fleet.verdicts(sent)[1].time == told_at == parse_time(stamp(told_at))
