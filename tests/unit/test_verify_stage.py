"""Digest and verify, as stages, on real evidence: who it is, by what it was judged, and what becomes of bad input."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ratchet.advisory import shipped
from ratchet.collateral.roots import vendor_roots
from ratchet.event import BlobId, Event, Json, canonical, delivery_id, derived_id, digest
from ratchet.evidence import MAX_EVIDENCE, Proof
from ratchet.policy.appraise import Policy, appraise
from ratchet.ports import Record
from ratchet.verdict import signal
from streams import verify as verify_module
from streams.clock import tick
from streams.digest import Digest
from streams.embedded import Embedded
from streams.sqlite import Database
from streams.stage import Output, State
from streams.state_digest import state_digest
from streams.verdict_event import SIGNALS
from streams.verify import Verify

MINUTE = timedelta(minutes=1)
START = datetime(2026, 8, 14, 10, 45, 38, tzinfo=UTC)

UP_TO_DATE = "tdx-quote/tdx4-near-mpc.bin"
OUT_OF_DATE = "tdx-quote/tdx4-attrs-live.bin"
TCB_INFO = "collateral/intel/near-tdx-b0c06f000000-2026-08.json"
"""The collateral of both, as it was at START."""
VLEK = "snp-report/snp3-trustee-vlek.bin"
"""Its chip id is zero: a VLEK does not say which machine it is."""


class Changes:
    """Stands where `roll-out` stands: puts these floors in force in its first round."""

    name = "roll-out"

    def __init__(self, floors: Mapping[str, Json]) -> None:
        self.floors = floors

    def step(self, batch: Sequence[Record], state: State, watermark: datetime) -> list[Output]:
        if state.get("done"):
            return []
        state.put("done", True)
        data = {"change": "c1", "proposal": "p1", "store": "git", "intent": {"policy": {}, "floors": self.floors}}
        return [("changes", Event(derived_id("c1"), "/t", "change.due.v1", "git", watermark, "acme", data))]


class World:
    """A data directory with the two stages, fed by hand, minute by minute."""

    def __init__(self, folder: Path, corpus: Path, floors: Mapping[str, Json] | None = None) -> None:
        self.database = Database(folder / "ratchet.db")
        self.corpus, self.floors = corpus, floors
        self.now = START
        self.sent = 0
        self.restart()

    def restart(self) -> None:
        policy = Policy(may_be_impossible=("freshness", "executables", "floor", "identity", "enrolment"))
        roots, blobs = vendor_roots(), self.database.blobs
        stages = [Digest(roots, blobs), Verify(roots, policy, blobs)]
        if self.floors:
            stages.append(Changes(self.floors))
        self.executor = Embedded(self.database, stages)

    def document(self, raw: bytes | str, at: datetime | None = None) -> str:
        data = (self.corpus / raw).read_bytes() if isinstance(raw, str) else raw
        return self._append("documents", "document.fetched.v1", "feed/doc", at, blob=self.database.blobs.put(data))

    def evidence(self, raw: bytes | str, name: str = "node-1", at: datetime | None = None, **more: Json) -> str:
        data = (self.corpus / raw).read_bytes() if isinstance(raw, str) else raw
        data_ = {"blob": self.database.blobs.put(data), "hint": {"name": name, "region": "eu-1"}, "endorsements": []}
        return self._append("evidence", "evidence.received.v1", name, at, **{**data_, **more})

    def _append(self, topic: str, type_: str, subject: str, at: datetime | None, **data: Json) -> str:
        self.sent += 1
        id = delivery_id("acme", "/tests", str(self.sent))
        self.database.log.append([(topic, Event(id, "/tests", type_, subject, at or self.now, "acme", data))])
        return id

    def minute(self) -> None:
        """A minute passes, and closes a round."""
        self.now += MINUTE
        self.database.log.append([("ticks", tick(self.now))])
        self.executor.drain()

    def all(self, topic: str) -> list[Event]:
        return [record.event for record in self.database.log.read([topic], 0, 10_000)]

    def verdict(self, evidence: str) -> Event:
        (found,) = [e for e in self.all("verdicts") if e.data["evidence"] == evidence]
        return found

    def letters(self) -> list[tuple[Json, Json]]:
        return [(e.data["code"], e.data["event"]) for e in self.all("dead-letters")]


@pytest.fixture
def world(tmp_path: Path, corpus: Path) -> World:
    return World(tmp_path, corpus)


def test_a_real_quote_becomes_a_verdict_and_a_signal_under_the_machine_that_it_proves(world: World) -> None:
    # given Intel's collateral of that day, and a quote beside it
    world.document(TCB_INFO)
    sent = world.evidence(UP_TO_DATE, vouched=True)
    world.minute()
    # then the verdict names the platform of the PCK certificate, and the documents it rests on
    verdict = world.verdict(sent)
    assert verdict.data["genuine"]
    assert verdict.data["tcb"]["merged"] == "UpToDate"
    assert verdict.data["tier"] == "affirming"
    assert verdict.subject == verdict.data["identity"]
    assert verdict.subject.startswith(("ppid:", "platform:"))
    assert not verdict.data["weak"]
    assert digest((world.corpus / TCB_INFO).read_bytes()) in verdict.data["collateral"]
    assert verdict.id == derived_id("verdict", sent)
    assert [step["name"] for step in verdict.data["steps"]] == [
        "parse", "chain", "revocation", "signature", "binding", "collateral", "freshness",
    ]  # fmt: skip
    # and correlation is told of it in one record
    (batch,) = world.all("signals")
    (told,) = batch.data["signals"]
    assert told == signal(verdict)
    assert (told["hint"], told["region"], told["tcb_status"]) == ("node-1", "eu-1", "UpToDate")
    canonical(verdict.data)  # every number in it is one that RFC 8785 can write


def test_evidence_is_judged_by_what_was_known_when_it_came_in_whatever_is_read_first(world: World) -> None:
    # given a quote from before the collateral was fetched, that lies behind it on the log
    world.document(TCB_INFO, at=START + MINUTE / 2)
    before = world.evidence(UP_TO_DATE, at=START + MINUTE / 4)
    after = world.evidence(UP_TO_DATE, at=START + MINUTE / 2)
    world.minute()
    assert world.verdict(before).data["tcb"] is None
    assert world.verdict(before).data["tier"] == "none"
    assert world.verdict(after).data["tcb"]["merged"] == "UpToDate"


def test_evidence_is_fresh_by_its_challenge_or_by_the_word_of_a_sender_that_is_trusted_to_say_so(world: World) -> None:
    world.document(TCB_INFO)
    unknown = world.evidence(UP_TO_DATE)
    vouched = world.evidence(UP_TO_DATE, vouched=True)
    contradicted = world.evidence(UP_TO_DATE, vouched=True, challenge="00" * 16)
    world.minute()
    told = {s["evidence"]: s for batch in world.all("signals") for s in batch.data["signals"]}
    assert [told[id]["fresh"] for id in (unknown, vouched, contradicted)] == [False, True, False]
    assert [told[id]["vouched"] for id in (unknown, vouched)] == [False, True]
    assert told[unknown]["received"] == told[unknown]["time"]
    assert told[unknown]["rejudged"] is None
    # only of fresh evidence is it said which machine it speaks of: anybody may hold a quote that is of unknown age
    assert told[unknown]["subject"] == told[contradicted]["subject"] == "hint:node-1"
    assert told[vouched]["subject"].startswith(("ppid:", "platform:"))


def test_a_signal_carries_the_proof_so_that_it_can_be_appraised_again(world: World) -> None:
    world.document(TCB_INFO)
    sent = world.evidence(UP_TO_DATE, vouched=True)
    world.minute()
    (told,) = world.all("signals")[0].data["signals"]
    proof = Proof.from_data(told["proof"])
    policy = Policy(may_be_impossible=("freshness", "executables", "floor", "identity", "enrolment"))
    assert appraise(proof, policy, START).tier == world.verdict(sent).data["tier"] == "affirming"
    assert told["measurements"]["rtmr0"] == proof.claims.measurements["rtmr0"]


def test_out_of_date_is_not_forged(world: World) -> None:
    world.document(TCB_INFO)
    sent = world.evidence(OUT_OF_DATE)
    world.minute()
    verdict = world.verdict(sent).data
    assert (verdict["genuine"], verdict["tcb"]["merged"], verdict["tier"]) == (True, "OutOfDate", "warning")


def test_what_proves_nothing_stays_under_its_hint(world: World) -> None:
    world.document(TCB_INFO)
    quote = bytearray((world.corpus / UP_TO_DATE).read_bytes())
    quote[600] ^= 1  # in report data: signed
    forged = world.evidence(bytes(quote), name="node-7")
    world.minute()
    verdict = world.verdict(forged)
    assert verdict.subject == "hint:node-7"
    assert (verdict.data["weak"], verdict.data["instance"], verdict.data["genuine"]) == (True, None, False)
    (batch,) = world.all("signals")
    assert "signature" in batch.data["signals"][0]["failed"]
    assert any(why["code"] for why in batch.data["signals"][0]["why"])


def test_a_report_that_hides_its_machine_is_a_weak_identity(tmp_path: Path, corpus: Path) -> None:
    world = World(tmp_path, corpus)
    world.now = datetime(2024, 12, 11, 22, 14, 21, tzinfo=UTC)
    chain = (corpus / "collateral/amd/ask_ark_milan_vlek.pem").read_bytes()
    leaf = next((corpus / "snp-report").glob("snp3-trustee-vlek.*.der")).read_bytes()
    world.document(chain)
    sent = world.evidence(VLEK, endorsements=[world.database.blobs.put(leaf)])
    world.minute()
    verdict = world.verdict(sent).data
    assert verdict["identity"] == "hint:node-1"
    assert verdict["weak"]
    assert "identity_masked" in {reason["code"] for reason in verdict["reasons"]}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0" * 48,
        random.Random(7).randbytes(1184),
        b"\x04\x00\x02\x00\x81" + b"\xff" * 700,
        b"x" * (MAX_EVIDENCE + 1),
    ],
)
def test_bytes_of_any_kind_get_a_verdict(world: World, raw: bytes) -> None:
    sent = world.evidence(raw)
    world.minute()
    assert world.verdict(sent).data["tier"] in ("none", "contraindicated")
    assert world.verdict(sent).subject == "hint:node-1"
    assert world.letters() == []


def test_what_is_no_evidence_is_a_dead_letter_and_the_stream_goes_on(world: World) -> None:
    gone = BlobId(digest(b"never kept"))
    bad = [
        (world.evidence(b"", blob=gone), "blob_missing"),
        (world.evidence(b"", endorsements=[gone]), "blob_missing"),
        (world.evidence(b"", blob=7), "event_malformed"),
        (world.evidence(b"", hint="node-1"), "event_malformed"),
        (world.evidence(b"", hint={"name": "x" * 129}), "event_malformed"),
        (world.evidence(b"", challenge="zz"), "event_malformed"),
        (world.evidence(b"", vouched="yes"), "event_malformed"),
        (world.evidence(b"", endorsements="all"), "event_malformed"),
        (world.evidence(b"", at=START + timedelta(hours=1)), "time_in_future"),
    ]
    good = world.evidence(UP_TO_DATE)
    world.minute()
    assert sorted(world.letters()) == sorted((code, id) for id, code in bad)
    assert len(world.all("verdicts")) == 1
    assert world.verdict(good)
    for letter in world.all("dead-letters"):
        assert letter.data["remedy"]
        assert letter.subject == letter.data["origin"] == "/tests"


def test_a_fault_of_the_verifier_costs_one_letter_not_the_stream(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = verify_module.verify

    def faulty(evidence: object, *rest: object) -> object:
        if getattr(evidence, "raw", b"").startswith(b"attack"):
            raise RecursionError("deep")
        return real(evidence, *rest)

    monkeypatch.setattr(verify_module, "verify", faulty)
    attack, good = world.evidence(b"attack"), world.evidence(UP_TO_DATE)
    world.minute()
    assert world.letters() == [("verifier_fault", attack)]
    assert world.verdict(good)


def test_evidence_from_before_the_last_tick_is_late_and_judged_all_the_same(world: World) -> None:
    world.document(TCB_INFO)
    on_time = world.evidence(UP_TO_DATE)
    world.minute()
    on_the_tick = world.evidence(UP_TO_DATE, at=world.now)
    late = world.evidence(UP_TO_DATE, at=world.now - timedelta(seconds=1))
    world.minute()
    assert [world.verdict(id).data["late"] for id in (on_time, on_the_tick, late)] == [False, False, True]
    assert world.verdict(late).data["tier"] == "affirming"


@pytest.mark.parametrize("anew", [False, True])
def test_a_floor_counts_from_the_round_after_its_change(tmp_path: Path, corpus: Path, anew: bool) -> None:
    # given a floor that asks more than this machine has, which roll-out puts in force in the first round
    floor = {
        "kind": "amd",
        "family": "snp/Genoa",
        "minima": [{"model": None, "stepping": None, "tcb": {"reported.snp": 255}, "bits": {}, "mitigation": 0}],
        "provenance": {
            "documents": [],
            "pointer": "",
            "rule": "amd.reviewed/1",
            "reviewed_by": "ann",
            "url": "https://amd.example",
            "bulletin": "AMD-SB-1",
        },
    }
    world = World(tmp_path, corpus, floors={"snp/Genoa": floor})
    world.now = datetime(2026, 2, 20, 23, 50, 30, tzinfo=UTC)
    world.document("collateral/amd/ask_ark_genoa.pem")
    leaf = world.database.blobs.put(next((corpus / "snp-report").glob("snp5-attrs-genoa-evidence*.der")).read_bytes())
    codes = []
    for _ in range(3):
        sent = world.evidence("snp-report/snp5-attrs-genoa-evidence.bin", endorsements=[leaf])
        world.minute()
        verdict = world.verdict(sent)
        assert verdict.data["genuine"], verdict.data["reasons"]
        codes.append("below_floor" in {reason["code"] for reason in verdict.data["reasons"]})
        if anew:
            world.restart()  # what is in force is remembered
    assert codes == [False, True, True]


def test_signals_come_in_bounded_batches_whose_ranges_chain(world: World) -> None:
    for n in range(2 * SIGNALS + 10):
        world.evidence(b"junk", name=f"node-{n}")
    world.evidence(b"", blob=7)  # a dead letter is covered too
    world.minute()
    world.evidence(b"", blob=7)  # and one in a round of its own by the next batch
    world.minute()
    world.evidence(b"junk")
    world.minute()
    ranges = [(e.data["from"], e.data["to"], len(e.data["signals"])) for e in world.all("signals")]
    assert ranges == [(0, 64, 64), (64, 128, 64), (128, 139, 10), (139, 141, 1)]


def test_what_is_rebuilt_from_state_judges_alike(tmp_path: Path, corpus: Path) -> None:
    """Two runs over one log, one made anew after every round, leave the same behind."""

    def run(folder: Path, anew: bool) -> dict[str, str]:
        folder.mkdir()
        world = World(folder, corpus)
        for name in (
            TCB_INFO,
            "collateral/intel/dcapqvl-tdx-b0c06f000000-2025-06.json",
            "collateral/amd/ask_ark_genoa.pem",
        ):
            world.evidence(UP_TO_DATE)
            world.document(name)
            world.minute()
            world.evidence(OUT_OF_DATE)
            world.minute()
            if anew:
                world.restart()
        return state_digest(world.database)

    assert run(tmp_path / "one", False) == run(tmp_path / "two", True)


# Documents


def test_a_bundle_gives_each_of_its_statements_and_the_same_bytes_nothing_new(world: World) -> None:
    world.document(TCB_INFO)
    world.minute()
    first = world.all("collateral")
    assert {e.data["kind"] for e in first} >= {"intel.tcb-info", "intel.qe-identity", "intel.crl"}
    assert all(e.subject == f"{e.data['kind']}/{e.data['key']}" for e in first)
    info = next(e.data for e in first if e.data["kind"] == "intel.tcb-info")
    assert info["evaluation"] > 0
    assert info["root"]
    assert info["reasons"] == []
    world.document(TCB_INFO)
    world.minute()
    assert world.all("collateral") == first
    assert world.letters() == []


def test_a_document_with_a_broken_signature_is_known_as_such(world: World) -> None:
    raw = (world.corpus / TCB_INFO).read_bytes()
    broken = raw.replace(b"OutOfDate", b"UpToDate_")
    assert broken != raw
    world.document(broken)
    sent = world.evidence(OUT_OF_DATE)
    world.minute()
    info = next(e.data for e in world.all("collateral") if e.data["kind"] == "intel.tcb-info")
    assert info["reasons"]
    assert world.verdict(sent).data["tcb"] is None


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"a newsletter", "document_unknown"),
        (b"", "document_unknown"),
        (b"[" * 100_000, "document_unknown"),
        (b'{"format": "application/vnd.ratchet.advisory+json", "version": 9}', "advisory_bad"),
    ],
)
def test_a_document_of_no_known_kind_is_a_dead_letter_each_time(world: World, raw: bytes, code: str) -> None:
    ids = [world.document(raw) for _ in range(2)]
    world.minute()
    assert sorted(world.letters()) == sorted((code, id) for id in ids)


def test_a_reviewed_advisory_is_known(world: World) -> None:
    raw = next(iter(shipped().values()))
    world.document(raw)
    world.minute()
    (known,) = world.all("advisories")
    assert known.subject == known.data["advisory"]
    assert known.data["blob"] == digest(raw)
    assert known.data["reviewed_by"]
