"""Fleets made by chance go through the whole pipeline: what was planted is reported, and nothing else.

They are drawn anew in every run: the report's header says from which seed on, and RATCHET_SEED repeats a run. The time
line of a scenario that fails is printed and written to .cache/scenarios/; it becomes a case that always runs when it is
moved to tests/scenario/kept/.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from collectors.simulated import drive
from collectors.simulated.fleet import reference_values
from collectors.simulated.generate import generate
from collectors.simulated.plan import plan
from collectors.simulated.scenario import Scenario, dump, load, parse, week
from collectors.simulated.spec import Document
from collectors.simulated.truth import tiers, truth
from collectors.simulated.vendor import Vendor
from ratchet.app.assets import rules
from ratchet.detect.ruleset import load as load_rules
from ratchet.event import Json
from ratchet.policy.appraise import Policy
from ratchet.policy.simulate import Bounds
from ratchet.ports import Record
from ratchet.rollout.approval import Approvers
from streams.clock import tick
from streams.embedded import Embedded
from streams.pipeline import Settings, stages
from streams.sqlite import Database
from streams.stores.git import GitStore
from streams.stores.rego import RegoInProcess

RULES = load_rules(rules())
SCENARIOS = 100
KEPT = Path(__file__).parent / "kept"
FAILED = Path(__file__).parents[2] / ".cache/scenarios"
TRUSTED_FOR = timedelta(hours=12)
BOUNDS = Bounds(max_refused=2, max_fraction=0.3)


@pytest.fixture(scope="session")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Vendor:
    """One vendor for all scenarios: making RSA keys and endorsing chips takes longer than the rest."""
    return Vendor(tmp_path_factory.getbasetemp() / "simulated-vendor")


class World:
    """A pipeline with a Git store, that a scenario has gone through."""

    def __init__(
        self, scenario: Scenario, vendor: Vendor, folder: Path, shuffle: int | None = None, bounds: Bounds = BOUNDS
    ) -> None:
        with closing(Database(folder / "ratchet.db")) as database:
            settings = Settings(
                roots=vendor.roots(),
                policy=Policy.from_data(
                    {
                        "name": "generated",
                        "trusted_for": int(TRUSTED_FOR.total_seconds()),
                        "may_be_impossible": ["floor"],
                        "evaluation": "newest",
                        "reference_values": reference_values(scenario),
                    }
                ),
                rules=RULES,
                bounds=bounds,
                approvers=Approvers(),
                stores=(GitStore(folder / "policy.git", RegoInProcess()),),
            )
            executor = Embedded(database, stages(settings, database.blobs))

            def close(at: datetime) -> None:
                database.log.append([("ticks", tick(at))])
                executor.drain()

            self.driven = drive.drive(
                scenario, vendor, database.log, database.blobs, close, shuffle=shuffle, together=database.transaction
            )
            self._records: list[Record] = []
            while page := database.log.read(
                ("alerts", "dead-letters", "proposals", "receipts", "verdicts"),
                self._records[-1].offset if self._records else 0,
                5000,
            ):
                self._records += page
            self.standing = {
                value["hint"] + " (foreign)" * (value["recognition"] != "ours"): value["tier"]
                for _, value in database.state("correlate").items()
                if "trusted_until" in value
            }

    def data(self, topic: str) -> list[Json]:
        """What events of a topic say, in order."""
        return [r.event.data for r in self._records if r.topic == topic]


@pytest.mark.parametrize("number", range(SCENARIOS))
def test_every_planted_fact_is_found_and_nothing_else_is_reported(number: int, vendor: Vendor, tmp_path: Path) -> None:
    # given a small fleet to which all sorts of things happen, drawn anew in each run
    seed = int(os.environ["RATCHET_SEED"]) + number
    scenario = generate(seed)
    with kept_if_it_fails(seed, scenario):
        goes_as_planted(scenario, vendor, tmp_path, shuffle=seed)


@pytest.mark.parametrize("path", sorted(KEPT.glob("*.yml")), ids=lambda path: path.stem)
def test_what_failed_once_is_tried_in_every_run(path: Path, vendor: Vendor, tmp_path: Path) -> None:
    goes_as_planted(load(path), vendor, tmp_path, shuffle=7)


def goes_as_planted(scenario: Scenario, vendor: Vendor, folder: Path, shuffle: int) -> None:
    # when everything that it sends goes through the pipeline, shuffled between any two ticks of the clock
    world = World(scenario, vendor, folder, shuffle=shuffle)
    # then the alerts say what was planted, no more and no less
    compared = drive.compare(truth(scenario), world.data("alerts"))
    assert compared.agrees, f"missed {sorted(compared.missed)}, unexpected {sorted(compared.unexpected)}"
    # and every machine that ever proved itself stands as it should
    assert world.standing == tiers(scenario, TRUSTED_FOR)
    # and each piece of evidence has a verdict; only documents that are none are dead letters, with their bytes
    first = [verdict for verdict in world.data("verdicts") if verdict["rejudged"] is None]
    assert len(first) == world.driven.evidence
    unreadable = [d for d in plan(scenario) if isinstance(d, Document) and not d.readable]
    assert len(world.data("dead-letters")) == len(unreadable)
    assert all(letter["blob"] for letter in world.data("dead-letters"))


@contextmanager
def kept_if_it_fails(seed: int, scenario: Scenario) -> Iterator[None]:
    """Write a scenario down, where people and CI find it, if what it was tried for does not hold."""
    try:
        yield
    except Exception:
        text = dump(scenario)
        path = FAILED / f"{seed}.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(f"the scenario of seed {seed}, which is also in {path}; to keep it as a case: mv {path} {KEPT}\n{text}")
        raise


def test_the_shipped_week_is_reported_as_it_was_planted_and_tightens_the_policy(vendor: Vendor, tmp_path: Path) -> None:
    # given the week that ships, and bounds within which a tightening needs nobody's approval
    scenario = week()
    world = World(scenario, vendor, tmp_path, bounds=Bounds(max_refused=3, max_fraction=0.05))
    assert world.driven.evidence >= 8000
    # then every planted fact is found, nothing else is reported, and the fleet stands as it should
    compared = drive.compare(truth(scenario), world.data("alerts"))
    assert compared.agrees, f"missed {sorted(compared.missed)}, unexpected {sorted(compared.unexpected)}"
    assert world.standing == tiers(scenario, TRUSTED_FOR)
    # and of the two recoveries the small one goes on by itself, and the large one waits, as the reviewed bulletin does
    proposed = [(p["family"], p["automatic"], len(p["impact"]["refused"])) for p in world.data("proposals")]
    assert ("sgx/51606a000000", True, 2) in proposed
    assert ("tdx/51806f050000", False, 14) in proposed
    assert [automatic for family, automatic, _ in proposed if family == "snp/Milan"] == [False]
    assert {r["outcome"] for r in world.data("receipts")} == {"confirmed"}


def test_the_order_of_arrival_between_two_ticks_cannot_be_seen(vendor: Vendor, tmp_path: Path) -> None:
    scenario = generate(3)
    in_order = World(scenario, vendor, _made(tmp_path / "in order"))
    shuffled = World(scenario, vendor, _made(tmp_path / "shuffled"), shuffle=99)
    assert in_order.data("alerts") == shuffled.data("alerts")
    assert in_order.data("verdicts") == shuffled.data("verdicts")


def test_a_comparison_sees_what_was_not_planted_and_what_was_not_reported(vendor: Vendor, tmp_path: Path) -> None:
    # given a machine whose firmware goes back, and a truth that says another one
    text = """
        name: Two machines
        seed: 1
        start: 2026-03-02T00:00:00Z
        duration: 12h
        attest: {every: 1h}
        workloads: {vault: ["1.0"]}
        machines: {milan: {count: 2, tee: snp, product: Milan, runs: vault, regions: {eu-west: 1}}}
        timeline: [{at: 6h, event: firmware-rolls-back, machine: %s, component: snp, to: 22}]
    """
    happened, believed = parse(text % "milan-001"), parse(text % "milan-002")
    world = World(happened, vendor, tmp_path)
    compared = drive.compare(truth(believed), world.data("alerts"))
    assert {f.subject for f in compared.missed} == {"milan-002"}
    assert {f.subject for f in compared.unexpected} == {"milan-001"}
    assert not compared.agrees


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
