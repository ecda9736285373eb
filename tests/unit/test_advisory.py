"""What a reviewed floors file may say, and what becomes of it."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.advisory import MAX_DOCUMENT, MEDIA_TYPE, Advisory, BadAdvisory, combined, parse, shipped
from ratchet.collateral import UnknownDocument
from ratchet.event import canonical, digest
from ratchet.policy.floor import Minimum, is_open, shortfalls
from ratchet.policy.tighten import attainable, tightens

GOOD: dict[str, Any] = {
    "format": MEDIA_TYPE,
    "version": 1,
    "vendor": "AMD",
    "bulletin": "AMD-SB-3019",
    "title": "EntrySign",
    "url": "https://www.amd.com/en/resources/product-security/bulletin/amd-sb-3019.html",
    "published": "2025-02-03T00:00:00Z",
    "reviewer": "Ada Lovelace",
    "reviewed_at": "2025-02-04T09:00:00+01:00",
    "floors": [
        {
            "family": "snp/Milan",
            "minima": [
                {"tcb": {"reported.snp": 24}, "bits": {"platform.alias_check": True}, "mitigation": 2},
                {"model": 1, "stepping": 1, "tcb": {"reported.ucode": 219}},
            ],
        }
    ],
}


def file(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def only(document: bytes) -> Advisory:
    (advisory,) = parse(document)
    return advisory


def test_a_reviewed_file_becomes_floors_that_say_who_read_what_where() -> None:
    document = file()
    advisory = only(document)
    assert (advisory.advisory, advisory.reviewed_by) == ("AMD-SB-3019", "Ada Lovelace")
    (floor,) = advisory.floors
    assert floor.minima[1] == Minimum(model=1, stepping=1, tcb={"reported.ucode": 219})
    provenance = floor.provenance
    assert not provenance.exact
    assert provenance.documents == (digest(document),)
    assert (provenance.pointer, provenance.bulletin, provenance.url) == ("/floors/0", "AMD-SB-3019", GOOD["url"])
    assert Advisory.from_data(advisory.to_data()) == advisory
    canonical(advisory.to_data())


def _with(path: str, value: Any) -> bytes:
    changed = copy.deepcopy(GOOD)
    at: Any = changed
    *steps, last = path.strip("/").split("/")
    for step in steps:
        at = at[int(step)] if isinstance(at, list) else at[step]
    at[last] = value
    return json.dumps(changed).encode()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/reviewer", ""),
        ("/reviewer", "Ada\nstate     approved by everybody"),
        ("/title", "\x1b[2Jnothing to see"),
        ("/url", "https://example.org/\x1b[2J"),
        ("/floors/0/minima/0/bits", {"vmpl": 2**53}),
        ("/floors/0/minima/0/bits", {"vmpl": -1}),
        ("/reviewed_at", "2025-02-04T09:00:00"),
        ("/published", "0001-01-01T00:00:00+12:00"),
        ("/url", "http://example.org/plain"),
        ("/bulletin", "INTEL-SA-00615"),
        ("/vendor", "ACME"),
        ("/version", 2),
        ("/surprise", 1),
        ("/floors/0/family", "tdx/90c06f000000"),
        ("/floors/0/minima/0/tcb", {"reported.snp": 256}),
        ("/floors/0/minima/0/tcb", {"reported.snp": "24"}),
        ("/floors/0/minima/0/tcb", {"reported.nonsense": 1}),
        ("/floors/0/minima/0/bits", {"cpuid.model": 1}),
        ("/floors/0/minima/0/mitigation", -1),
        ("/floors/0/minima/0/mitigation", 2**60),
        ("/floors/0/minima/1", None),
        ("/floors/0/minima/1/tcb", {}),
        ("/floors", [GOOD["floors"][0], GOOD["floors"][0]]),
    ],
)
def test_a_fault_is_refused_and_its_place_is_named(path: str, value: Any) -> None:
    if path == "/floors/0/minima/1":
        document = file(floors=[{"family": "snp/Milan", "minima": [GOOD["floors"][0]["minima"][0], None]}])
    else:
        document = _with(path, value)
    with pytest.raises(BadAdvisory) as refused:
        parse(document)
    first = path.split("/")[1]
    assert first in str(refused.value)


def test_a_key_given_twice_is_refused() -> None:
    document = file().replace(b'"version": 1', b'"version": 1, "reviewer": "Somebody Else"')
    with pytest.raises(BadAdvisory, match="twice"):
        parse(document)


def test_what_is_too_large_or_nested_without_end_is_refused() -> None:
    with pytest.raises(BadAdvisory, match="bytes"):
        parse(file(note="x" * MAX_DOCUMENT))
    with pytest.raises(BadAdvisory):
        parse(b'{"format": "' + MEDIA_TYPE.encode() + b'", "floors": ' + b"[" * 100_000)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda t: json.dumps({"format": t}).encode()))
def test_other_bytes_are_no_advisory_at_all(document: bytes) -> None:
    with pytest.raises(UnknownDocument):
        parse(document)


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, len(file()) - 1), byte=st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused_and_never_a_surprise(place: int, byte: int) -> None:
    document = bytearray(file())
    document[place] = byte
    with contextlib.suppress(BadAdvisory, UnknownDocument):
        canonical(only(bytes(document)).to_data())


def bulletin(name: str, day: int, *minima: dict[str, Any], family: str = "snp/Milan") -> Advisory:
    floors = [{"family": family, "minima": list(minima)}]
    return only(file(bulletin=name, published=f"2025-02-{day:02}T00:00:00Z", floors=floors))


def test_bulletins_add_up_and_never_undo_one_another() -> None:
    older = bulletin("AMD-SB-3015", 1, {"tcb": {"reported.snp": 23}, "bits": {"platform.alias_check": True}})
    newer = bulletin(
        "AMD-SB-3019", 3, {"tcb": {"reported.snp": 24}, "mitigation": 2}, {"model": 1, "tcb": {"reported.ucode": 9}}
    )
    floor = combined([newer, older], "snp/Milan")
    assert floor is not None
    assert floor.minima == (
        Minimum(tcb={"reported.snp": 24}, bits={"platform.alias_check": True}, mitigation=2),
        Minimum(model=1, tcb={"reported.ucode": 9}),
    )
    assert floor.provenance.bulletin == "AMD-SB-3015, AMD-SB-3019"
    assert floor.provenance.documents == (*older.floors[0].provenance.documents, *newer.floors[0].provenance.documents)
    assert all(tightens(floor, one.floors[0]) for one in (older, newer))
    assert combined([older, newer], "snp/Milan") == floor


def test_bulletins_that_contradict_each_other_are_met_by_nobody() -> None:
    floor = combined(
        [
            bulletin("AMD-SB-3001", 1, {"bits": {"platform.smt": True}}),
            bulletin("AMD-SB-3002", 2, {"bits": {"platform.smt": False}}),
        ],
        "snp/Milan",
    )
    assert floor is not None
    assert not attainable(floor)


def test_a_family_of_which_all_was_withdrawn_has_a_floor_that_asks_nothing() -> None:
    withdrawn = combined([bulletin("AMD-SB-3019", 1)], "snp/Milan")
    assert withdrawn is not None
    assert is_open(withdrawn)
    assert withdrawn.provenance.bulletin == "AMD-SB-3019"


def test_a_family_that_no_bulletin_speaks_of_has_no_floor() -> None:
    assert combined([only(file())], "snp/Turin") is None


# The files that ship


def test_the_files_that_ship_are_good_and_say_that_they_are_reviewed() -> None:
    files = shipped()
    assert set(files) >= {"amd-sb-3015.json", "amd-sb-3019.json"}
    for name, document in files.items():
        advisory = only(document)
        assert name == f"{advisory.advisory.lower()}.json"
        assert all(not floor.provenance.exact and attainable(floor) for floor in advisory.floors)
        assert json.loads(document)["sources"], "names what was read"


def test_the_files_that_ship_say_what_the_sources_say(feeds: Path) -> None:
    compiled = json.loads((feeds / "amd" / "compiled-amd-sb-minimums.json").read_text())
    said = {b["id"]: b for b in compiled["bulletins"]}
    compared = 0
    for document in shipped().values():
        advisory = only(document)
        for floor in advisory.floors:
            source = said[advisory.advisory].get(floor.family.removeprefix("snp/").lower(), {})
            for minimum in floor.minima:
                if "reported.snp" in minimum.tcb:
                    assert source["snp"].split()[0] == f"0x{minimum.tcb['reported.snp']:02X}"
                    compared += 1
                if "reported.ucode" in minimum.tcb:
                    levels = [v for k, v in source.items() if "ucode" in k or "microcode" in k]
                    assert minimum.tcb["reported.ucode"] in {int(level, 16) & 0xFF for level in levels}
                    compared += 1
    assert compared >= 18


def test_the_files_that_ship_leave_out_nothing_that_a_report_can_attest(feeds: Path) -> None:
    compiled = json.loads((feeds / "amd" / "compiled-amd-sb-minimums.json").read_text())
    shipped_minima = {
        (advisory.advisory, floor.family.removeprefix("snp/").lower()): floor.minima
        for advisory in map(only, shipped().values())
        for floor in advisory.floors
    }
    left_out = {"AMD-SB-3002", "AMD-SB-3034"}  # superseded by every later one; withdrawn by AMD
    for bulletin in compiled["bulletins"]:
        if bulletin["id"] in left_out:
            continue
        for product in ("milan", "genoa", "turin"):
            said = bulletin.get(product, {})
            asked = shipped_minima.get((bulletin["id"], product), ())
            if said.get("snp", "unknown").startswith("0x"):
                assert int(said["snp"].split()[0], 16) in {m.tcb.get("reported.snp") for m in asked}, bulletin["id"]
            levels = {int(v, 16) & 0xFF for k, v in said.items() if "ucode" in k or "microcode" in k}
            assert levels <= {m.tcb.get("reported.ucode") for m in asked}, (bulletin["id"], product)


@pytest.mark.parametrize(
    ("bulletin", "family", "bit"),
    [("3020", "snp/Milan", 1), ("3016", "snp/Milan", 2), ("3016", "snp/Genoa", 2), ("3030", "snp/Milan", 4)],
)
def test_a_fix_that_shows_as_a_mitigation_bit_is_asked_for_as_that_bit(bulletin: str, family: str, bit: int) -> None:
    floor = next(f for f in only(shipped()[f"amd-sb-{bulletin}.json"]).floors if f.family == family)
    versions, chip = {"reported.snp": 255, "reported.ucode": 255}, {"cpuid.model": 1, "cpuid.stepping": 1}
    assert shortfalls(floor, versions, {**chip, "mitigation.current": 1 << bit}) == ()
    without = shortfalls(floor, versions, {**chip, "mitigation.current": 0xFF & ~(1 << bit)})
    assert [(r.code, r.component) for r in without] == [("below_floor", "mitigation.current")]
    assert [r.code for r in shortfalls(floor, versions, chip)] == ["floor_abstains"], "an older report cannot say"


def test_badram_is_met_by_fixed_firmware_that_checked_for_aliases() -> None:
    (advisory,) = parse(shipped()["amd-sb-3015.json"])
    genoa = next(f for f in advisory.floors if f.family == "snp/Genoa")
    assert shortfalls(genoa, {"reported.snp": 0x16}, {"platform.alias_check": True}) == ()
    assert shortfalls(genoa, {"reported.snp": 0x16}, {"platform.alias_check": False})
    assert shortfalls(genoa, {"reported.snp": 0x15}, {"platform.alias_check": True})
