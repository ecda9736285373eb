"""What a floor asks, whom it refuses, and when one floor is stricter than another."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.collateral import Kind, Known, parse
from ratchet.collateral.intel import TcbInfo
from ratchet.collateral.tcb import ModuleLevel, TcbLevel
from ratchet.event import BlobId, canonical
from ratchet.policy.appraise import Policy
from ratchet.policy.floor import (
    ABSTAINS,
    BELOW,
    AmdFloor,
    Floor,
    IntelFloor,
    Minimum,
    floor_hash,
    from_data,
    is_open,
    open_floor,
    shortfalls,
)
from ratchet.policy.floor.provenance import Provenance
from ratchet.policy.tighten import attainable, below, edge, same_effect, succeeds, tightens
from ratchet.policy.vendor_floors import floors_from

AT = datetime(2025, 6, 1, tzinfo=UTC)
EXACT = Provenance(documents=(BlobId("d" * 64),), pointer="/tcbInfo/tcbLevels", rule="intel.tcb-info/1")
REVIEWED = Provenance(
    documents=(BlobId("e" * 64),), pointer="/floors/0", rule="amd.reviewed/1", reviewed_by="Ada", bulletin="AMD-SB-3019"
)


def level(
    *sgx: int, pcesvn: int = 0, tdx: tuple[int, ...] | None = None, status: str = "UpToDate", sa: tuple[str, ...] = ()
) -> TcbLevel:
    padded = None if tdx is None else (*tdx, *(0,) * (16 - len(tdx)))
    return TcbLevel((*sgx, *(0,) * (16 - len(sgx))), pcesvn, padded, status, AT, sa)


def intel(*levels: TcbLevel, tee: str = "sgx", **more: object) -> IntelFloor:
    given: dict[str, object] = {
        "family": f"{tee}/00606a000000",
        "tee": tee,
        "evaluation": 17,
        "accepted": ("UpToDate",),
        "conditional": {},
        "levels": levels,
        "modules": {},
        "provenance": EXACT,
    }
    return IntelFloor(**{**given, **more})


def machine(*sgx: int, pcesvn: int = 0, tdx: tuple[int, ...] | None = None) -> dict[str, int]:
    tcb = {f"sgx.{n}": sgx[n] if n < len(sgx) else 0 for n in range(16)} | {"pcesvn": pcesvn}
    if tdx is not None:
        tcb |= {f"tdx.{n}": tdx[n] if n < len(tdx) else 0 for n in range(16)}
    return tcb


def amd(*minima: Minimum, family: str = "snp/Milan") -> AmdFloor:
    return AmdFloor(family=family, minima=minima, provenance=REVIEWED)


# Intel


def test_a_machine_that_reaches_an_accepted_level_falls_short_of_nothing() -> None:
    floor = intel(level(7, 7, pcesvn=13), level(4, 4, pcesvn=11, status="OutOfDate"))
    assert shortfalls(floor, machine(7, 8, pcesvn=13), {}) == ()


def test_a_machine_below_is_told_each_component_and_the_nearest_way_up() -> None:
    floor = intel(
        level(9, 9, pcesvn=14),
        level(7, 7, pcesvn=13),
        level(4, 4, pcesvn=11, status="OutOfDate"),
    )
    found = shortfalls(floor, machine(7, 5, pcesvn=11), {})
    assert [(r.code, r.component, r.got, r.want) for r in found] == [(BELOW, "sgx.1", 5, 7), (BELOW, "pcesvn", 11, 13)]
    assert found[0].source == "d" * 64 + "#/tcbInfo/tcbLevels/1"
    assert found[0].remedy == "update firmware: sgx.1 5 -> 7"


def test_what_no_firmware_mends_is_said_as_the_status() -> None:
    # Ice Lake: every level carries SA-00615, so hardening never ends
    floor = intel(level(7, status="SWHardeningNeeded", sa=("INTEL-SA-00615",)))
    (reason,) = shortfalls(floor, machine(9), {})
    assert (reason.component, reason.got, reason.want) == ("tcb_status", "SWHardeningNeeded", "UpToDate")


def test_a_status_is_admitted_with_its_advisories_and_no_others() -> None:
    hardening = {"SWHardeningNeeded": ("INTEL-SA-00615",)}
    one = level(7, status="SWHardeningNeeded", sa=("INTEL-SA-00615",))
    more = level(7, status="SWHardeningNeeded", sa=("INTEL-SA-00615", "INTEL-SA-00828"))
    assert shortfalls(intel(one, conditional=hardening), machine(7), {}) == ()
    assert shortfalls(intel(more, conditional=hardening), machine(7), {})


def test_the_first_level_that_fits_decides_even_when_a_later_one_is_accepted() -> None:
    floor = intel(level(7, 0, status="ConfigurationNeeded"), level(5, 5))
    assert shortfalls(floor, machine(5, 5), {}) == ()
    assert shortfalls(floor, machine(7, 5), {}), "it reaches the first level, which is not accepted"


def test_a_tdx_module_is_judged_by_its_own_identity() -> None:
    floor = intel(
        level(7, tdx=(5, 0, 6)),
        tee="tdx",
        modules={"TDX_03": (ModuleLevel(3, "UpToDate", AT, ()), ModuleLevel(1, "OutOfDate", AT, ()))},
    )
    assert shortfalls(floor, machine(7, tdx=(3, 3, 6)), {}) == (), "tdx.0 is the module's ISVSVN, not a component"
    (low,) = shortfalls(floor, machine(7, tdx=(2, 3, 6)), {})
    assert (low.component, low.got, low.want) == ("tdx_03", 2, 3)
    (strange,) = shortfalls(floor, machine(7, tdx=(9, 4, 6)), {})
    assert strange.component == "tdx_04"
    assert shortfalls(floor, machine(7, tdx=(4, 0, 6)), {})[0].component == "tdx.0", "no module version: all count"


def test_what_is_not_attested_is_never_met_and_said_apart() -> None:
    found = shortfalls(intel(level(1)), {"sgx.0": 5}, {})
    assert {r.code for r in found} == {ABSTAINS}
    assert len(found) == 16


# AMD


MILAN = amd(
    Minimum(tcb={"reported.snp": 24}),
    Minimum(model=1, stepping=1, tcb={"reported.ucode": 0xDB}),
    Minimum(model=1, stepping=2, tcb={"reported.ucode": 0x44}),
)
B1 = {"cpuid.model": 1, "cpuid.stepping": 1}
B2 = {"cpuid.model": 1, "cpuid.stepping": 2}


def test_microcode_is_compared_within_a_stepping_only() -> None:
    assert shortfalls(MILAN, {"reported.snp": 24, "reported.ucode": 0x44}, B2) == ()
    (low,) = shortfalls(MILAN, {"reported.snp": 24, "reported.ucode": 0x44}, B1)
    assert (low.code, low.component, low.got, low.want) == (BELOW, "reported.ucode", 0x44, 0xDB)
    assert low.source.startswith("AMD-SB-3019 ")


def test_a_report_without_stepping_makes_the_floor_abstain_and_still_tells_what_is_low() -> None:
    found = shortfalls(MILAN, {"reported.snp": 22, "reported.ucode": 0xFF}, {})
    assert {(r.code, r.component) for r in found} == {
        (BELOW, "reported.snp"),
        (ABSTAINS, "cpuid.model"),
        (ABSTAINS, "cpuid.stepping"),
    }


def test_another_model_is_not_concerned() -> None:
    assert shortfalls(MILAN, {"reported.snp": 24}, {"cpuid.model": 0x30, "cpuid.stepping": 1}) == ()


def test_bits_and_mitigations_must_be_there() -> None:
    floor = amd(Minimum(bits={"platform.alias_check": True}, mitigation=0b110))
    good = {"platform.alias_check": True, "mitigation.current": 0b111}
    assert shortfalls(floor, {}, good) == ()
    assert [r.component for r in shortfalls(floor, {}, {**good, "platform.alias_check": False})] == [
        "platform.alias_check"
    ]
    (missing,) = shortfalls(floor, {}, {**good, "mitigation.current": 0b011})
    assert (missing.code, missing.want) == (BELOW, "0x6")
    (unsaid,) = shortfalls(floor, {}, {"platform.alias_check": True})
    assert (unsaid.code, unsaid.component) == (ABSTAINS, "mitigation.current")


# As data


@pytest.mark.parametrize(
    "floor",
    [
        MILAN,
        intel(
            level(7, tdx=(1, 2), sa=("INTEL-SA-1",)),
            tee="tdx",
            modules={"TDX_01": (ModuleLevel(2, "UpToDate", AT, ()),)},
        ),
    ],
)
def test_a_floor_survives_being_data(floor: Floor) -> None:
    data = floor.to_data()
    canonical(data)
    assert from_data(data) == floor
    assert floor_hash(from_data(data)) == floor_hash(floor)


def test_who_says_it_does_not_make_it_another_floor() -> None:
    other = AmdFloor(family=MILAN.family, minima=MILAN.minima, provenance=EXACT)
    assert floor_hash(other) == floor_hash(MILAN)
    assert floor_hash(None) != floor_hash(MILAN)


# Up and down


def test_the_first_floor_of_a_family_is_a_tightening() -> None:
    assert tightens(MILAN, None)
    assert tightens(MILAN, open_floor("snp/Milan", "no-floor-yet/1"))
    assert not tightens(open_floor("snp/Milan", "x"), MILAN)


def test_a_component_that_goes_down_is_no_tightening() -> None:
    # Ice Lake, from evaluation 19 to 20: components 1 and 2 from 16 and 16 to 15 and 16, pcesvn up
    nineteen = intel(level(7, 16, 16, pcesvn=13))
    twenty = intel(level(7, 15, 16, pcesvn=14))
    assert not tightens(twenty, nineteen)
    assert not tightens(nineteen, twenty)
    assert tightens(intel(level(7, 16, 16, pcesvn=14)), nineteen)


def test_what_intel_signed_as_the_successor_is_one_also_where_a_component_goes_down(feeds: Path) -> None:
    """Ice Lake: evaluation 20 asks 15 of component 1, where 19 asked 16."""
    folder = feeds / "intel" / "tcb"

    def read(name: str, at: datetime, *more: str) -> IntelFloor:
        whole = json.loads((folder / name).read_text())
        policy = Policy(accept=dict.fromkeys(("SWHardeningNeeded", *more), ("*",)))
        rank, roots = whole["tcbInfo"]["tcbEvaluationDataNumber"], ()
        (known,) = (k for k in parse((folder / name).read_bytes(), at, roots) if k.kind is Kind.INTEL_TCB_INFO)
        (floor,) = floors_from([replace(known, root="Intel SGX Root CA", reasons=())], policy, at)
        assert floor.evaluation == rank
        return floor

    nineteen = read("sgx-00606a000000-eval19-2025-06-06.json", datetime(2025, 6, 20, tzinfo=UTC))
    twenty = read("sgx-00606a000000-eval20-2026-01-15.json", datetime(2026, 1, 20, tzinfo=UTC))
    assert not tightens(twenty, nineteen)
    assert succeeds(twenty, nineteen)
    assert not succeeds(nineteen, twenty), "an older list in the place of a newer is people's doing"
    wider = read("sgx-00606a000000-eval20-2026-01-15.json", datetime(2026, 1, 20, tzinfo=UTC), "OutOfDate")
    assert not succeeds(wider, nineteen), "and so is a status more that is accepted"


def test_admitting_a_status_or_an_advisory_more_is_no_tightening() -> None:
    old = intel(
        level(7), level(5, status="SWHardeningNeeded", sa=("A", "B")), conditional={"SWHardeningNeeded": ("A",)}
    )
    new = intel(*old.levels, conditional={"SWHardeningNeeded": ("A", "B")})
    assert tightens(old, new)
    assert not tightens(new, old)


def test_dates_and_numbers_alone_change_nothing() -> None:
    old = intel(level(7))
    new = intel(level(7), evaluation=18)
    assert same_effect(old, new)
    assert floor_hash(old) != floor_hash(new)


def test_a_module_that_is_accepted_anew_is_no_tightening() -> None:
    base = level(7, tdx=(0, 0, 5))
    old = intel(base, tee="tdx", modules={"TDX_01": (ModuleLevel(3, "UpToDate", AT, ()),)})
    more = intel(base, tee="tdx", modules={**old.modules, "TDX_03": (ModuleLevel(3, "UpToDate", AT, ()),)})
    lower = intel(base, tee="tdx", modules={"TDX_01": (ModuleLevel(2, "UpToDate", AT, ()),)})
    assert tightens(old, more)
    assert not tightens(more, old)
    assert tightens(old, lower)
    assert not tightens(lower, old)


def test_no_number_in_a_floor_can_stand_for_the_machines_that_it_does_not_name() -> None:
    """A minimum for a model that is none asks nothing of anybody: it is no tightening of one for all."""
    everybody = amd(Minimum(tcb={"reported.snp": 24}))
    for nobody in range(-2, 300):
        for selector in ("model", "stepping"):
            assert not tightens(amd(Minimum(**{selector: nobody}, tcb={"reported.snp": 255})), everybody)


def test_floors_of_other_families_never_stand_in_for_one_another() -> None:
    assert not tightens(amd(*MILAN.minima, family="snp/Genoa"), MILAN)
    assert not tightens(intel(level(9)), MILAN)


_STATUS = st.sampled_from(["UpToDate", "OutOfDate", "SWHardeningNeeded"])
_SMALL = st.integers(0, 2)
_LEVELS = st.lists(
    st.builds(
        lambda a, b, p, t0, t1, t2, s: level(a, b, pcesvn=p, tdx=(t0, t1, t2), status=s),
        _SMALL,
        _SMALL,
        st.integers(0, 1),
        _SMALL,
        st.integers(0, 1),
        st.integers(0, 1),
        _STATUS,
    ),
    max_size=4,
)
_MODULES = st.dictionaries(
    st.sampled_from(["TDX_01", "TDX_02"]),
    st.lists(st.builds(lambda n, s: ModuleLevel(n, s, AT, ()), _SMALL, _STATUS), min_size=1, max_size=2).map(tuple),
    max_size=2,
)
_EVERY_TDX = [
    machine(a, b, pcesvn=p, tdx=(t0, t1, t2))
    for a, b, p, t0, t1, t2 in product(range(3), range(3), range(2), range(3), range(3), range(2))
]


@settings(max_examples=300, deadline=None)
@given(new=_LEVELS, old=_LEVELS, new_modules=_MODULES, old_modules=_MODULES)
def test_tightening_says_exactly_what_trying_every_tdx_machine_says(
    new: list[TcbLevel],
    old: list[TcbLevel],
    new_modules: dict[str, tuple[ModuleLevel, ...]],
    old_modules: dict[str, tuple[ModuleLevel, ...]],
) -> None:
    upper = intel(*new, tee="tdx", modules=new_modules)
    lower = intel(*old, tee="tdx", modules=old_modules)
    tried = all(not shortfalls(lower, m, {}) for m in _EVERY_TDX if not shortfalls(upper, m, {}))
    assert tightens(upper, lower) == tried


_SELECT = st.one_of(st.none(), st.integers(0, 1))
_MINIMA = st.lists(
    st.builds(
        lambda m, s, tcb, bits, mask: Minimum(model=m, stepping=s, tcb=tcb, bits=bits, mitigation=mask),
        _SELECT,
        _SELECT,
        st.dictionaries(st.sampled_from(["reported.snp", "reported.ucode"]), _SMALL, max_size=2),
        st.dictionaries(st.just("platform.smt"), st.booleans(), max_size=1),
        st.integers(0, 3),
    ),
    max_size=3,
)


def _every_snp() -> list[tuple[dict[str, int], dict[str, int]]]:
    absent = (None,)
    found = []
    for snp, ucode, model, stepping, smt, mask in product(
        (*absent, 0, 1, 2),
        (*absent, 0, 1, 2),
        (*absent, 0, 1, 2),
        (*absent, 0, 1, 2),
        (*absent, 0, 1),
        (*absent, 0, 1, 2, 3),
    ):
        tcb = {"reported.snp": snp, "reported.ucode": ucode}
        bits = {"cpuid.model": model, "cpuid.stepping": stepping, "platform.smt": smt, "mitigation.current": mask}
        found.append(
            ({k: v for k, v in tcb.items() if v is not None}, {k: v for k, v in bits.items() if v is not None})
        )
    return found


_EVERY_SNP = _every_snp()


@settings(max_examples=60, deadline=None)
@given(new=_MINIMA, old=_MINIMA)
def test_tightening_says_exactly_what_trying_every_snp_machine_says(new: list[Minimum], old: list[Minimum]) -> None:
    upper, lower = amd(*new), amd(*old)
    tried = all(not shortfalls(lower, *m) for m in _EVERY_SNP if not shortfalls(upper, *m))
    assert tightens(upper, lower) == tried


# The edge


@settings(max_examples=200, deadline=None)
@given(levels=_LEVELS, modules=_MODULES)
def test_machines_on_the_edge_pass_and_those_just_below_do_not(
    levels: list[TcbLevel], modules: dict[str, tuple[ModuleLevel, ...]]
) -> None:
    floor = intel(*levels, tee="tdx", modules=modules)
    assert all(not shortfalls(floor, *m) for m in edge(floor))
    assert all(shortfalls(floor, *m) for m in below(floor))
    assert attainable(floor) == any(not shortfalls(floor, m, {}) for m in _EVERY_TDX)


def test_a_floor_that_wants_both_values_of_a_bit_is_met_by_nobody() -> None:
    assert not attainable(amd(Minimum(bits={"platform.smt": True}), Minimum(bits={"platform.smt": False})))
    assert attainable(MILAN)
    assert is_open(amd())
    assert attainable(amd())


# From TCB info


def known(evaluation: int, *levels: TcbLevel, days: int = 0, **more: object) -> Known:
    issued = AT + timedelta(days=days)
    info = TcbInfo(
        tee="tdx",
        fmspc="90c06f000000",
        pceid="0000",
        version=3,
        evaluation=evaluation,
        issued=issued,
        next_update=issued + timedelta(days=30),
        levels=levels,
        modules={},
        identities={},
        signer=None,
        signed=b"",
    )
    given: dict[str, object] = {
        "known_from": issued,
        "rank": (evaluation, issued),
        "id": f"{evaluation:064x}",
        "kind": Kind.INTEL_TCB_INFO,
        "key": "Intel SGX Root CA/tdx/90c06f000000",
        "valid_from": issued,
        "valid_until": issued + timedelta(days=30),
        "root": "Intel SGX Root CA",
        "reasons": (),
        "parsed": info,
    }
    return Known(**{**given, **more})


def test_the_newest_evaluation_sets_the_floor_whichever_was_fetched_last() -> None:
    documents = [known(20, level(9, tdx=(1,))), known(19, level(8, tdx=(1,)), days=3)]
    policy = Policy(accept={"SWHardeningNeeded": ("INTEL-SA-00615",)})
    (floor,) = floors_from(documents, policy, AT + timedelta(days=5))
    assert (floor.family, floor.evaluation) == ("tdx/90c06f000000", 20)
    assert floor.accepted == ("UpToDate",)
    assert floor.conditional == {"SWHardeningNeeded": ("INTEL-SA-00615",)}
    assert floor.provenance.exact
    assert floor.provenance.documents == (f"{20:064x}",)


@pytest.mark.parametrize(
    ("why", "more", "at"),
    [
        ("its signature leads to no trusted root", {"root": None}, AT),
        ("it expired", {}, AT + timedelta(days=31)),
        ("it is not valid yet", {"valid_from": AT + timedelta(days=1)}, AT),
        ("it was not known yet", {"known_from": AT + timedelta(hours=1)}, AT),
    ],
)
def test_a_document_that_cannot_be_relied_on_sets_nothing(why: str, more: dict[str, object], at: datetime) -> None:
    assert floors_from([known(20, level(9), **more)], Policy(), at) == (), why
