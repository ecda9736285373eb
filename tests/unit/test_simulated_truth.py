"""What must be reported of a scenario, on both sides of every limit; and how it is fed and compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from collectors.simulated import drive
from collectors.simulated.delivery import Fact
from collectors.simulated.fleet import reference_values
from collectors.simulated.generate import PLANTS, generate
from collectors.simulated.plan import plan
from collectors.simulated.registry import KINDS
from collectors.simulated.scenario import Scenario, parse
from collectors.simulated.spec import Piece
from collectors.simulated.truth import SHIPPED, ticks, tiers, truth
from collectors.simulated.vendor import Vendor
from ratchet.app.assets import rules
from ratchet.detect.ruleset import load
from ratchet.event import BlobId, Event, digest
from ratchet.policy.policy import Policy
from ratchet.ports import Record

FLEET = """
name: A few
seed: 9
start: 2026-03-02T00:00:00Z
duration: 1d
attest: {every: 1h}
workloads: {vault: ["1.0"]}
machines:
  icelake: {tee: sgx, fmspc: "51606a000000", count: 6, runs: vault, regions: {eu-west: 1}}
  milan: {tee: snp, product: Milan, count: 6, runs: vault, regions: {eu-west: 1, us-east: 1}}
timeline: [%s]
"""


@pytest.fixture(scope="session")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Vendor:
    return Vendor(tmp_path_factory.getbasetemp() / "simulated-vendor")


def fleet(*events: str) -> Scenario:
    return parse(FLEET % ", ".join(f"{{{event}}}" for event in events))


def facts(*events: str) -> set[str]:
    """What is true when these things happen, as `rule subject`."""
    return {f"{fact.rule} {fact.subject}" for fact in truth(fleet(*events))}


def test_nothing_is_true_of_an_honest_fleet() -> None:
    assert facts() == set()


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (
            "at: 6h, event: firmware-rolls-back, machine: milan-001, component: snp, to: 22",
            {"firmware-rolled-back milan-001"},
        ),
        ("at: 6h, event: forged-evidence, machine: milan-002", {"evidence-failed milan-002"}),
        ("at: 6h, event: replayed-evidence, machine: icelake-002", {"evidence-replayed icelake-002"}),
        ("at: 6h, event: debug-guest, machine: icelake-003", {"debug-enabled icelake-003"}),
        ("at: 6h, event: unknown-measurement, machine: milan-003, release: '6'", {"measurement-unknown milan-003"}),
        ("at: 16h, event: certificate-revoked, machine: icelake-004", {"certificate-revoked icelake-004"}),
        ("at: 16h, event: goes-silent, machine: icelake-004", set()),
        ("at: 2h, event: goes-silent, machine: icelake-004, until: 13h", set()),
        ("at: 2h, event: goes-silent, machine: icelake-004, until: 15h", {"machine-silent icelake-004"}),
        ("at: 9h, event: goes-silent, machine: icelake-004", {"machine-silent icelake-004"}),
        ("at: 0h, event: goes-silent, machine: icelake-004", set()),
        ("at: 9h, event: bad-document, how: forged, fmspc: '51606a000000'", set()),
        ("at: 9h, event: bulletin-reviewed, product: Milan, bulletin: AMD-SB-9001, minimum: {snp: 25}", set()),
    ],
)
def test_one_thing_that_happens_is_one_fact(event: str, said: set[str]) -> None:
    assert facts(event) == said


def test_a_revoked_machine_proves_nothing_more_and_is_silent_in_the_end() -> None:
    revoked = "at: 6h, event: certificate-revoked, machine: icelake-004"
    assert facts(revoked) == {"certificate-revoked icelake-004", "machine-silent icelake-004"}


def test_a_recovery_concerns_those_that_attest_unpatched() -> None:
    recovery = "at: 12h, event: tcb-recovery, fmspc: '51606a000000', microcode: 8, advisory: INTEL-SA-09001"
    assert facts(f"{recovery}, patched: {{before: 5h}}") == set()
    assert facts(f"{recovery}, unpatched: [icelake-001]") == {"tcb-out-of-date icelake-001"}
    # what a machine sent before the publication is judged again, though it is away until it is patched
    late = f"{recovery}, patched: {{before: 0s, after: 3h}}"
    away = ", ".join(f"icelake-{n:03d}" for n in range(1, 7))
    assert facts(late) <= {f"tcb-out-of-date {name}" for name in away.split(", ")}
    silent = [f"at: 12h, event: goes-silent, machine: {n}, until: 15h" for n in away.split(", ")]
    assert facts(late, *silent) == {f"tcb-out-of-date {name}" for name in away.split(", ")}


def test_a_burst_is_as_many_senders_as_the_rule_says_and_no_fewer() -> None:
    four = facts("at: 6h, event: failure-burst, region: eu-west, machines: 4, within: 5m")
    five = facts("at: 6h, event: failure-burst, region: eu-west, machines: 5, within: 5m")
    assert {f.split()[0] for f in four} == {"evidence-failed"}
    assert len(four) == 4
    assert "failure-burst region:eu-west" in five
    assert len(five) == 6


def test_failures_that_are_far_apart_are_no_burst() -> None:
    apart = [f"at: {6 + n}h, event: forged-evidence, machine: icelake-{n:03d}" for n in range(1, 7)]
    close = [f"at: 6h{n}m, event: forged-evidence, machine: icelake-{n:03d}" for n in range(1, 7)]
    same = [f"at: 6h{n}m, event: forged-evidence, machine: icelake-001" for n in range(1, 7)]
    assert "failure-burst region:eu-west" not in facts(*apart)
    assert "failure-burst region:eu-west" in facts(*close)
    assert facts(*same) == {"evidence-failed icelake-001"}


def test_the_limits_are_those_of_the_rules_that_ship() -> None:
    shipped = {rule.name: rule.options for rule in load(rules())}
    silence, burst = shipped["machine-silent"].silence, shipped["failure-burst"].burst
    assert silence is not None
    assert burst is not None
    assert (silence.after, burst.machines, burst.window) == (
        SHIPPED.silent_after,
        SHIPPED.burst_senders,
        SHIPPED.burst_window,
    )
    assert burst.of == ("evidence-refused",)


def test_tiers_are_the_worst_of_the_guests_that_still_count() -> None:
    scenario = fleet(
        "at: 20h, event: unknown-measurement, machine: milan-001, release: '6', until: 22h",
        "at: 6h, event: unknown-measurement, machine: milan-002, release: '6', until: 8h",
        "at: 23h30m, event: debug-guest, machine: icelake-001",
        "at: 2h, event: goes-silent, machine: icelake-002",
        "at: 1h, event: tcb-recovery, fmspc: '51606a000000', microcode: 8, advisory: INTEL-SA-09001,"
        " unpatched: [icelake-003]",
    )
    found = tiers(scenario, timedelta(hours=12))
    assert found["milan-001"] == "warning"
    assert found["milan-002"] == "affirming"
    assert found["icelake-002"] == "none"
    assert found["icelake-003"] == "warning"
    assert found["icelake-005"] == "affirming"


def test_reference_values_know_every_release_that_may_run_and_no_other() -> None:
    values = reference_values(parse((FLEET % "").replace('["1.0"]', '["1.0", "1.1"]')))
    assert sorted(values) == ["vault-1.0-sgx", "vault-1.0-snp", "vault-1.1-sgx", "vault-1.1-snp"]
    assert {len(known["conditions"]["mrenclave"]) for known in values.values() if known["tee"] == "sgx"} == {64}
    assert {len(known["conditions"]["measurement"]) for known in values.values() if known["tee"] == "snp"} == {96}
    assert Policy.from_data({"reference_values": values})


def test_generated_scenarios_are_small_follow_from_their_seed_and_plant_everything_somewhere() -> None:
    planted = set()
    for seed in range(50):
        scenario = generate(seed)
        assert scenario == generate(seed)
        assert 8 <= len(scenario.names) <= 24
        assert timedelta(days=1) <= scenario.duration <= timedelta(days=2)
        planted |= {event.event for event in scenario.timeline}
        assert {g.tee for g in scenario.machines.values()} == {tee for tee, kind in KINDS.items() if kind.group.SAMPLES}
    assert planted == set(PLANTS)


def test_honest_pieces_come_as_often_as_the_scenario_says() -> None:
    scenario = fleet()
    times: dict[str, list[datetime]] = {}
    for piece in plan(scenario):
        if isinstance(piece, Piece):
            times.setdefault(piece.machine.name, []).append(piece.time)
    assert set(times) == set(scenario.names)
    for mine in times.values():
        gaps = {round((b - a).total_seconds()) for a, b in pairwise(mine)}
        assert all(3599 <= gap <= 3601 for gap in gaps)
        assert 23 <= len(mine) <= 24


# Feeding


class Shelf:
    """A log and blobs in memory."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Event]] = []
        self.blobs: dict[str, bytes] = {}
        self._seen: set[str] = set()

    def put(self, data: bytes) -> BlobId:
        self.blobs[digest(data)] = data
        return digest(data)

    def get(self, blob: BlobId) -> bytes | None:
        return self.blobs.get(blob)

    def append(self, events: Iterable[tuple[str, Event]]) -> int:
        fresh = [(topic, event) for topic, event in events if event.id not in self._seen]
        self._seen |= {event.id for _, event in fresh}
        self.events += fresh
        return len(fresh)

    def read(self, topics: Sequence[str], after: int, limit: int) -> Sequence[Record]:
        raise AssertionError("the fleet only writes")

    def tick(self, at: datetime) -> None:
        event = Event(f"tick {at}", "/clock", "clock.ticked.v1", "0", at, "default", {})
        self.append([("ticks", event)])


def test_each_tick_comes_after_everything_that_was_there_before_it(vendor: Vendor) -> None:
    scenario, shelf = fleet("at: 6h, event: forged-evidence, machine: milan-002"), Shelf()
    driven = drive.drive(scenario, vendor, shelf, shelf, shelf.tick, shuffle=4)
    latest = scenario.start - scenario.tick
    for topic, event in shelf.events:
        if topic == "ticks":
            latest = event.time
        else:
            assert latest < event.time <= latest + scenario.tick
            assert event.data["blob"] in shelf.blobs
            assert all(blob in shelf.blobs for blob in event.data.get("endorsements", ()))
    assert driven.ticks == len(list(ticks(scenario))) == drive.expected_ticks(scenario)
    assert driven.evidence == sum(topic == "evidence" for topic, _ in shelf.events)
    assert driven.documents == sum(topic == "documents" for topic, _ in shelf.events)


@pytest.mark.parametrize("shuffle", [None, 4])
def test_after_a_kill_the_same_call_leaves_the_same_log(vendor: Vendor, shuffle: int | None) -> None:
    class Killed(Exception):
        pass

    scenario, whole, broken = fleet(), Shelf(), Shelf()
    drive.drive(scenario, vendor, whole, whole, whole.tick, shuffle=shuffle)
    last = scenario.start

    def dies(at: datetime) -> None:
        nonlocal last
        if at > scenario.start + timedelta(hours=9):
            raise Killed
        broken.tick(at)
        last = at

    with pytest.raises(Killed):
        drive.drive(scenario, vendor, broken, broken, dies, shuffle=shuffle)
    for after in (last, None):  # taken up where it was left, or gone over again from the beginning
        driven = drive.drive(scenario, vendor, broken, broken, broken.tick, after=after, shuffle=shuffle)
        assert driven.ticks == sum(after is None or at > after for at in ticks(scenario))
        assert broken.events == whole.events
        assert broken.blobs == whole.blobs


def test_comparing_names_what_was_missed_and_what_nobody_planted() -> None:
    planted = {
        Fact("evidence-failed", "milan-001"),
        Fact("failure-burst", "region:eu-west"),
        Fact("debug-enabled", "a-001"),
    }
    alerts = [
        {"rule": "evidence-failed", "subject": "hint:milan-001", "machines": ["milan-001"]},
        {"rule": "failure-burst", "subject": "region:eu-west", "machines": ["milan-001", "milan-002"]},
        {"rule": "machine-silent", "subject": "chip:00", "machines": ["milan-003"]},
        {"rule": "store-drifted", "subject": "store:git", "machines": []},
        {"rule": "evidence-failed", "subject": "hint:milan-004", "machines": []},
    ]
    compared = drive.compare(planted, alerts)
    assert compared.found == {Fact("evidence-failed", "milan-001"), Fact("failure-burst", "region:eu-west")}
    assert compared.missed == {Fact("debug-enabled", "a-001")}
    assert compared.unexpected == {
        Fact("machine-silent", "milan-003"),
        Fact("store-drifted", "store:git"),
        Fact("evidence-failed", "milan-004"),
    }
    assert not compared.agrees
    assert drive.compare(planted, []).missed == planted
    assert drive.compare([], []).agrees
