"""A simulated vendor is one folder and one entry: every format has one, and nothing outside asks which it is."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
import yaml
from pydantic import ValidationError

from collectors.simulated import amd, intel, truth
from collectors.simulated import deliveries as minted
from collectors.simulated.fleet import machines, reference_values
from collectors.simulated.keys import Keyring
from collectors.simulated.model import Attest, BaseScenario, Group
from collectors.simulated.registry import EVENTS, KINDS, VENDORS, BadVendors, load, name_of, problems, tee_of
from collectors.simulated.scenario import parse
from collectors.simulated.spec import Judge, Kind, Piece, SimulatedVendor
from collectors.simulated.vendor import Vendor
from ratchet.collateral.roots import AMD
from ratchet.evidence import FORMATS, Format

SIMULATED = Path(minted.__file__).parent
START = datetime(2026, 3, 2, tzinfo=UTC)
GROUPS = [(kind, name) for kind in KINDS.values() for name in kind.group.SAMPLES]


@pytest.fixture(scope="session")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Vendor:
    return Vendor(tmp_path_factory.getbasetemp() / "simulated-vendor")


def test_every_format_has_a_simulated_vendor_and_the_reverse() -> None:
    made = {kind.group.FORMAT: vendor.name for vendor in VENDORS.values() for kind in vendor.kinds}
    assert made == {spec.format: spec.simulated for spec in FORMATS.values()}


def test_what_shipped_loads() -> None:
    assert list(problems(VENDORS.values())) == []


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({"name": "another"}, "snp-report says that amd makes it"),
        ({"name": "intel"}, "vendor intel is there twice"),
        ({"kinds": (*amd.VENDOR.kinds, *amd.VENDOR.kinds)}, "tee snp is there twice"),
        ({"kinds": (*amd.VENDOR.kinds, intel.VENDOR.kinds[0])}, "sample icelake is there twice"),
        ({"events": (*amd.VENDOR.events, *intel.VENDOR.events)}, "event tcb-recovery is there twice"),
        ({"plants": {"goes-silent": lambda dice: []}}, "plants goes-silent, no event of its own"),
    ],
)
def test_an_entry_that_contradicts_another_does_not_load(changed: dict[str, Any], wrong: str) -> None:
    entries = intel.VENDOR, replace(amd.VENDOR, **changed)
    assert any(wrong in one for one in problems(entries)), list(problems(entries))
    with pytest.raises(BadVendors, match=wrong):
        load(entries)


def test_only_the_registry_and_other_vendors_know_a_vendors_folder() -> None:
    folders = {path.parent.name for path in SIMULATED.glob("*/__init__.py")}
    assert {"intel", "amd", "aws", "azure"} <= folders
    found = [
        f"{path.name}: {name}"
        for path in sorted(SIMULATED.glob("*.py"))
        for name in _imported(path)
        if name.split(".")[2:3] and name.split(".")[2] in folders and path.name != "registry.py"
    ]
    assert found == []


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("collectors.simulated"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(("kind", "name"), GROUPS, ids=[name for _, name in GROUPS])
def test_a_kind_keeps_what_it_promises(kind: Kind, name: str, vendor: Vendor) -> None:
    # given a scenario of its sample alone, in which every way happens that it says it can be bad in
    group = {"count": 1, "runs": "vault", "regions": {"eu-west": 1}, **kind.group.SAMPLES[name]}
    ways = kind.group.model_validate(group).ways()
    text = {
        "name": "One kind",
        "seed": 1,
        "start": START,
        "duration": "2d",
        "attest": {"every": "4h"},
        "workloads": {"vault": ["1.0"]},
        "machines": {name: group},
        "timeline": [event for way, event in _one_of_each(f"{name}-001").items() if way in ways],
    }
    scenario = parse(yaml.safe_dump(text))
    found = {p.how: p for p in minted.plan(scenario) if isinstance(p, Piece)}
    assert set(ways) == set(found) - {"honest"}
    # every one of them can be minted, genuine bytes are of the format, and the same each time
    mint, again = (kind.mint(scenario, vendor.keys) for _ in range(2))
    for piece in found.values():
        raw, beside = mint.evidence(piece, bytes(32))
        assert again.evidence(piece, bytes(32)) == (raw, beside)
        place = piece.machine.group.signed(raw)
        assert 0 < place.start < place.stop <= len(raw)
        spec = FORMATS[piece.machine.group.FORMAT]
        assert spec.detect(raw)
        assert set(piece.machine.group.measurements("1.0")) <= spec.tee.measurements
    # another challenge gives other bytes
    assert mint.evidence(found["honest"], bytes(32)) != mint.evidence(found["honest"], bytes([1] * 32))
    # and forgeries, of which bursts are made, are always among them
    assert {"bit-flipped", "another-key"} <= set(ways)


def _one_of_each(machine: str) -> dict[str, dict[str, Any]]:
    """An event for each way in which evidence can be bad, a vendor's own ways among them."""
    found = {}
    for event in EVENTS:
        hows = get_args(event.model_fields["how"].annotation) if "how" in event.model_fields else ()
        for how in hows or (None,):
            data = {"event": name_of(event), "at": "30h", "machine": machine, **({"how": how} if how else {})}
            with suppress(ValidationError):
                way = event.model_validate(data).way
                found |= {way: data} if way is not None else {}
    return found


def test_a_way_that_a_machine_cannot_send_is_told_with_what_it_can() -> None:
    with pytest.raises(ValueError, match=r"timeline.0.machine: genoa-001 sends nothing that is unendorsed"):
        parse(
            """
            name: None is sent
            seed: 1
            start: 2026-03-02T00:00:00Z
            duration: 1d
            attest: {every: 1h}
            workloads: {vault: ["1.0"]}
            machines: {genoa: {count: 1, tee: snp, product: Genoa, vcek: fetched, runs: vault, regions: {eu-west: 1}}}
            timeline: [{at: 6h, event: missing-endorsement, machine: genoa-001}]
            """
        )


class _Toy(Group):
    """Machines of a vendor that attests no versions and publishes nothing, whose leaf certificates live an hour."""

    FORMAT = Format("toy")
    MISLABELLED = Format("sgx-quote")
    tee: Literal["toy"] = "toy"

    def measurements(self, release: str) -> dict[str, str]:
        return {"pcr0": hashlib.sha256(release.encode()).hexdigest()}

    def signed(self, raw: bytes) -> range:
        return range(8, len(raw))


class _ToyMint:
    def __init__(self, scenario: BaseScenario, keys: Keyring) -> None:
        self._keys = keys

    def evidence(self, piece: Piece, challenge: bytes) -> tuple[bytes, tuple[bytes, ...]]:
        return f"toy {piece.chip} {piece.release}".encode() + challenge, ()


class _ToyJudge(Judge):
    def trusted_until(self, piece: Piece, trusted_for: timedelta) -> datetime:
        return piece.time + timedelta(hours=1)


def test_a_vendor_without_versions_and_documents_is_one_entry(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    # given such a vendor, which says nothing but what its machines send
    entry = SimulatedVendor(
        name="toys",
        kinds=(Kind(group=_Toy, mint=_ToyMint, judge=_ToyJudge),),
        roots=lambda keys: [("Toy", AMD, b"")],
    )
    assert tee_of(_Toy) == "toy"
    for module in (minted, truth):
        monkeypatch.setattr(module, "KINDS", {**KINDS, "toy": entry.kinds[0]})
    forged = next(e for e in EVENTS if e.__name__ == "ForgedEvidence")
    scenario = BaseScenario(
        name="Toys",
        seed=1,
        start=START,
        duration=timedelta(hours=30),
        attest=Attest(every=timedelta(hours=4)),
        workloads={"vault": ("1.0",)},
        machines={"toy": _Toy(count=2, runs="vault", regions={"eu-west": 1})},
        timeline=(forged(event="forged-evidence", at=timedelta(hours=6), machine="toy-002"),),
    )
    # then its machines attest, what is done to them is found, and they are trusted for as long as their proof holds
    sent = list(minted.deliveries(scenario, vendor))
    assert {one.name for one in sent} == set(machines(scenario)) == {"toy-001", "toy-002"}
    assert {f"{fact.rule} {fact.subject}" for fact in truth.truth(scenario)} == {"evidence-failed toy-002"}
    end = list(truth.ticks(scenario))[-1]
    last = {one.name: one.time for one in sent}
    assert truth.tiers(scenario, timedelta(hours=12)) == {
        name: "affirming" if at + timedelta(hours=1) > end else "none" for name, at in last.items()
    }
    with pytest.raises(KeyError):
        reference_values(scenario)  # no format of that name is read


class _Wrapping(amd.SnpGroup):
    """Machines of a vendor that wraps the reports of AMD's processors."""

    FORMAT = Format("wrapped")
    tee: Literal["wrapped"] = "wrapped"  # type: ignore[assignment]


def test_what_wraps_another_vendors_evidence_has_that_vendors_documents_and_events(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a kind of machine that derives from AMD's, made and judged by AMD's
    for module in (minted, truth):
        monkeypatch.setattr(module, "KINDS", {**KINDS, "wrapped": replace(KINDS["snp"], group=_Wrapping)})
    scenario = BaseScenario(
        name="Wrapped",
        seed=1,
        start=START,
        duration=timedelta(hours=12),
        attest=Attest(every=timedelta(hours=2)),
        workloads={"vault": ("1.0",)},
        machines={"wrap": _Wrapping(count=1, runs="vault", regions={"eu-west": 1}, product="Milan", vcek="fetched")},
        timeline=(
            amd.FirmwareRollsBack(
                event="firmware-rolls-back", at=timedelta(hours=6), machine="wrap-001", component="snp", to=20
            ),
        ),
    )
    # then AMD's documents about them come, and AMD's events are true of them
    documents = [one.name.split()[0] for one in minted.deliveries(scenario, vendor) if one.format is None]
    assert sorted(documents) == ["chain", "crl", "vcek", "vcek"]
    assert {f"{fact.rule} {fact.subject}" for fact in truth.truth(scenario)} == {"firmware-rolled-back wrap-001"}
    assert list(scenario.timeline[0].faults(scenario)) == []
