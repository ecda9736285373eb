"""Which of Intel's evaluations evidence is judged by: the one in force, not whichever document came last."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ratchet.collateral import Collateral, parse
from ratchet.collateral.roots import vendor_roots
from ratchet.event import BlobId, Event, derived_id, digest, stamp
from ratchet.evidence import Evidence, verify
from ratchet.policy.appraise import Policy, appraise
from ratchet.policy.evaluation import STANDARD_AFTER, choose, recovered
from ratchet.policy.floor import IntelFloor
from ratchet.policy.grace import Grace, ends
from ratchet.policy.vendor_floors import floors_from
from ratchet.ports import Record
from streams.embedded import Kept
from streams.verify import Verify

FAMILY = "sgx/00606a000000"
AT = datetime(2025, 6, 20, 10, 0, 35, tzinfo=UTC)
ACCEPT = Policy(accept={"SWHardeningNeeded": ("*",)})


@pytest.fixture
def documents(corpus: Path) -> dict[int, bytes]:
    """Intel's own for Ice Lake; all of them current in June 2025."""
    folder = corpus / "collateral" / "intel"
    return {n: (folder / f"fortanix-sgx-00606a000000-2025-06-eval{n}.json").read_bytes() for n in (17, 18, 19)}


@pytest.fixture
def quote(corpus: Path) -> bytes:
    """sgx-automata-quotev3: hardened by 17, out of date by 18 and 19."""
    return next((corpus / "sgx-quote").glob("sgx-automata-quotev3*")).read_bytes()


def floor(raw: bytes, policy: Policy = ACCEPT) -> IntelFloor:
    (found,) = floors_from(parse(raw, AT, vendor_roots()), policy, AT)
    return found


def test_a_document_that_arrives_does_not_flip_what_is_in_force(documents: dict[int, bytes], quote: bytes) -> None:
    known = [one for raw in documents.values() for one in parse(raw, AT - timedelta(days=1), vendor_roots())]
    collateral, evidence = Collateral(vendor_roots(), known), Evidence(raw=quote)
    for evaluation, wanted in ((17, "SWHardeningNeeded"), (18, "OutOfDate"), (19, "OutOfDate")):
        proof = verify(evidence, collateral.judging_by({FAMILY: evaluation}), AT)
        assert proof.tcb is not None
        assert (proof.tcb.evaluation, proof.tcb.merged) == (evaluation, wanted)
    newest = verify(evidence, collateral, AT)
    assert newest.tcb is not None
    assert newest.tcb.evaluation == 19
    other = verify(evidence, collateral.judging_by({"sgx/000000000000": 17}), AT)
    assert other == newest, "another family's evaluation is no matter here"
    assert verify(evidence, collateral.judging_by({FAMILY: 16}), AT).tcb is None, "one that nobody has judges nothing"


class Blobs(dict[BlobId, bytes]):
    def put(self, data: bytes) -> BlobId:
        self[digest(data)] = data
        return digest(data)


class World:
    """A verify stage, fed by hand."""

    def __init__(self, policy: Policy = ACCEPT) -> None:
        self.blobs, self.state, self.count = Blobs(), Kept({}), 0
        self.stage = Verify(vendor_roots(), policy, self.blobs)

    def tell(self, topic: str, type: str, data: dict[str, Any]) -> list[Event]:
        self.count += 1
        at = AT + timedelta(seconds=self.count)
        event = Event(derived_id("t", str(self.count)), "/t", type, "s", at, "default", data)
        return [e for t, e in self.stage.step([Record(self.count, topic, event)], self.state, at) if t == "verdicts"]

    def document(self, raw: bytes) -> None:
        self.tell("collateral", "collateral.known.v1", {"blob": self.blobs.put(raw)})

    def enforce(self, policy: Policy, *floors: IntelFloor) -> None:
        whole = policy.with_floors({one.family: one for one in floors}).to_data()
        intent = {"policy": {**whole, "floors": {}}, "floors": whole["floors"]}
        self.tell("changes", "change.due.v1", {"change": str(self.count), "intent": intent})

    def verdict(self, raw: bytes) -> Event:
        data = {"blob": self.blobs.put(raw), "hint": {"name": "n"}, "endorsements": [], "challenge": None}
        (made,) = self.tell("evidence", "evidence.received.v1", data)
        return made


def test_verify_judges_by_the_evaluation_of_the_floor_in_force(documents: dict[int, bytes], quote: bytes) -> None:
    world = World()
    world.document(documents[17])
    world.enforce(ACCEPT, floor(documents[17]))
    world.document(documents[19])
    before = world.verdict(quote)
    assert (before.data["tcb"]["evaluation"], before.data["tcb"]["merged"]) == (17, "SWHardeningNeeded")
    world.enforce(ACCEPT, floor(documents[19]))
    after = world.verdict(quote)
    assert (after.data["tcb"]["evaluation"], after.data["tcb"]["merged"]) == (19, "OutOfDate")
    newest = replace(ACCEPT, evaluation="newest")
    world.enforce(newest, floor(documents[17], newest))
    assert world.verdict(quote).data["tcb"]["evaluation"] == 19, "a policy may say otherwise, in so many words"


def test_verify_takes_the_policy_in_force_from_changes_not_from_the_configuration(
    documents: dict[int, bytes], quote: bytes
) -> None:
    world = World()
    world.document(documents[17])
    other = replace(ACCEPT, trusted_for=60)
    world.enforce(other, floor(documents[17]))
    assert world.verdict(quote).data["policy"] == other.with_floors({FAMILY: floor(documents[17])}).hash


def test_standard_is_the_highest_that_is_old_enough_by_its_own_signed_dates(documents: dict[int, bytes]) -> None:
    floors = [floor(raw) for raw in documents.values()]
    eighteen = next(one for one in floors if one.evaluation == 18)
    then = recovered(eighteen) + STANDARD_AFTER
    for at, wanted in ((then - timedelta(seconds=1), 17), (then, 18), (then + timedelta(days=999), 19)):
        chosen = choose(floors, "standard", at)
        assert chosen is not None
        assert chosen.evaluation == wanted, stamp(at)
    young = choose(floors, "standard", datetime(2020, 1, 1, tzinfo=UTC))
    assert young is not None
    assert young.evaluation == 17, "where none is old enough, the lowest"
    assert choose([], "standard", AT) is None


def test_grace_counts_from_the_tcb_recovery_that_put_the_level_out_of_date(
    documents: dict[int, bytes], quote: bytes
) -> None:
    known = parse(documents[18], AT - timedelta(days=1), vendor_roots())
    proof = verify(Evidence(raw=quote), Collateral(vendor_roots(), known), AT)
    assert proof.tcb is not None
    assert proof.tcb.merged == "OutOfDate"
    since = proof.tcb.superseded
    assert since is not None
    dates = [level.date for level in floor(documents[18]).levels]
    assert since in dates, "a tcbDate of the signed list"
    days = (AT - since).days
    for policy, good in (
        (replace(ACCEPT, grace=(Grace(status="OutOfDate", days=days + 1, family="sgx/*"),)), True),
        (replace(ACCEPT, grace=(Grace(status="OutOfDate", days=days),)), False),
        (replace(ACCEPT, grace=(Grace(status="OutOfDate", days=days + 1, family="tdx/*"),)), False),
        (replace(ACCEPT, grace=(Grace(status="OutOfDate", days=days + 1, unless=("INTEL-SA-01079",)),)), False),
        (replace(ACCEPT, grace=(Grace(status="OutOfDateConfigurationNeeded", days=9 * days),)), False),
    ):
        for given in (policy, policy.with_floors({FAMILY: floor(documents[18], policy)})):
            verdict = appraise(proof, given, AT)
            assert (verdict.vector["hardware"] == 2) is good, "with a floor and without"
            assert ("tcb_in_grace" in {reason.code for reason in verdict.reasons}) is good
            if good and verdict.trusted_until is not None:
                assert verdict.trusted_until <= since + timedelta(days=days + 1)
    assert Policy.from_data(policy.to_data()) == policy


def test_where_nobody_knows_since_when_there_is_no_grace() -> None:
    rules = (Grace(status="OutOfDate", days=3650),)
    assert ends(rules, FAMILY, "OutOfDate", (), None) is None
    assert ends(rules, FAMILY, "Revoked", (), AT) is None
    assert ends((Grace(status="OutOfDate", days=1, unless=("SA",)),), FAMILY, "OutOfDate", None, AT) is None
    longest = (*rules, Grace(status="OutOfDate", days=1))
    assert ends(longest, FAMILY, "OutOfDate", (), AT) == AT + timedelta(days=3650)
