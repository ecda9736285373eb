"""The scenario file: what it says, and how it says what is wrong."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.simulated.generate import generate
from collectors.simulated.model import span, write_span
from collectors.simulated.scenario import ScenarioError, dump, load, parse, week
from collectors.simulated.truth import truth

SMALL = """
name: Small
seed: 1
start: 2026-03-02T00:00:00Z
duration: 1d
attest: {every: 1h, jitter: 5m}
workloads: {vault: ["1.0", "1.1"]}
machines:
  milan: {tee: snp, product: Milan, count: 3, runs: vault, regions: {eu-west: 2, us-east: 1}}
  icelake: {tee: sgx, fmspc: "51606a000000", count: 2, runs: vault, regions: {eu-west: 1}}
timeline:
  - {at: 2h, event: firmware-rolls-back, machine: milan-001, component: snp, to: 22}
  - {at: 3h, event: tcb-recovery, fmspc: "51606a000000", microcode: 8, advisory: INTEL-SA-09001}
"""


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ("seed: 1", "sed: 1", ["mine.yml: sed: no such key", "mine.yml: seed: missing"]),
        (
            "machine: milan-001",
            "machine: milan-009",
            ["mine.yml: timeline.0: no machine 'milan-009'", "milan-001 to milan-003"],
        ),
        ("product: Milan", "product: Rome", ["mine.yml: machines.milan.product: ", "'Milan', 'Genoa' or 'Turin'"]),
        ("every: 1h", "every: soon", ["mine.yml: attest.every: a span of time is written like 7d, 1d4h30m or 90s"]),
        ("jitter: 5m", "jitter: 45m", ["mine.yml: attest: jitter: less than half of every"]),
        ("at: 2h", "at: 2d", ["mine.yml: timeline.0.at: 2d is not before the end, 1d"]),
        ("component: snp, to: 22", "component: snp, to: 30", ["timeline.0.to: below the 24 that milan-001 has"]),
        ("microcode: 8", "microcode: 7", ["timeline.1: microcode and module_svn, one at least above the 7 and 5"]),
        (
            "runs: vault, regions: {eu-west: 1}",
            "runs: shop, regions: {eu-west: 1}",
            ["machines.icelake.runs: no workload 'shop'; there are vault"],
        ),
        ("event: firmware-rolls-back", "event: firmware-rots", ["timeline.0", "firmware-rolls-back"]),
        ('fmspc: "51606a000000", count', "fmspc: 51606a, count", ["machines.icelake", "fmspc"]),
        ("start: 2026-03-02T00:00:00Z", "start: 2026-03-02T00:00:00", ["mine.yml: start", "zone"]),
        ("name: Small", "name: Small\nname: Large", ["mine.yml: not YAML: 'name' is given twice", "line 3"]),
        ("name: Small", "name: [", ["mine.yml: not YAML"]),
    ],
)
def test_a_fault_is_told_with_file_key_and_what_is_allowed(was: str, now: str, said: list[str]) -> None:
    assert SMALL.count(was) == 1
    with pytest.raises(ScenarioError) as caught:
        parse(SMALL.replace(was, now), "mine.yml")
    for words in said:
        assert words in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    broken = SMALL.replace("milan-001", "milan-009").replace(
        "runs: vault, regions: {eu-west: 1}", "runs: shop, regions: {eu-west: 1}"
    )
    with pytest.raises(ScenarioError) as caught:
        parse(broken)
    assert len(str(caught.value).splitlines()) == 2


def test_a_release_of_a_workload_that_is_not_there_is_one_fault_and_no_crash() -> None:
    event = "  - {at: 4h, event: unknown-measurement, machine: icelake-001, release: '6'}\n"
    with pytest.raises(ScenarioError, match=r"machines.icelake.runs: no workload 'shop'; there are vault$"):
        parse(SMALL.replace("runs: vault, regions: {eu-west: 1}", "runs: shop, regions: {eu-west: 1}") + event)


@pytest.mark.parametrize("text", ["", "- a list", "42", "a: &x [*x]", "\0", "!!python/object/apply:os.system ['true']"])
def test_what_is_no_scenario_is_an_error_of_its_own_kind(text: str) -> None:
    with pytest.raises(ScenarioError):
        parse(text)


def test_a_file_that_is_not_there_or_no_text_is_the_same_kind_of_error(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="cannot be read"):
        load(tmp_path / "absent.yml")
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScenarioError, match="cannot be read"):
        load(tmp_path / "binary.yml")


@given(st.integers(min_value=0, max_value=10**8))
def test_a_span_is_read_as_it_is_written(seconds: int) -> None:
    written = write_span(timedelta(seconds=seconds))
    assert span(written) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "7", "d7", "4h2d", "-1h", "1.5h", "1h ", None, 7])
def test_other_spellings_of_a_span_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="written like"):
        span(text)


@pytest.mark.parametrize("seed", range(20))
def test_a_scenario_survives_being_written_and_read(seed: int) -> None:
    scenario = generate(seed)
    assert parse(dump(scenario)) == scenario


def test_the_shipped_week_has_all_that_it_promises() -> None:
    scenario = week()
    assert len(scenario.names) >= 200
    assert scenario.duration == timedelta(days=7)
    assert {(g.tee, getattr(g, "quote", None), getattr(g, "product", None)) for g in scenario.machines.values()} == {
        ("sgx", None, None),
        ("tdx", 4, None),
        ("tdx", 5, None),
        ("snp", None, "Milan"),
        ("snp", None, "Genoa"),
        ("snp", None, "Turin"),
        ("nitro", None, None),
        ("az-snp", None, "Milan"),
        ("az-tdx", None, None),
    }
    assert {getattr(g, "report", None) for g in scenario.machines.values()} >= {2, 3, 4, 5}
    assert {fact.rule for fact in truth(scenario)} == {
        "certificate-revoked",
        "debug-enabled",
        "endorsement-missing",
        "evidence-age-unknown",
        "evidence-failed",
        "evidence-replayed",
        "evidence-unproven",
        "failure-burst",
        "firmware-rolled-back",
        "machine-silent",
        "machine-unknown",
        "measurement-unknown",
        "name-moved",
        "tcb-out-of-date",
    }
    assert {e.event for e in scenario.timeline} >= {"tcb-recovery", "bad-evidence", "bad-document", "bulletin-reviewed"}
