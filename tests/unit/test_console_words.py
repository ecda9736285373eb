"""What the console says and draws: charts as numbers, words for people, bytes beside claims, floors side by side."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.console import charts, explain, floors, phrases, views
from ratchet.event import Json
from ratchet.evidence import Field
from ratchet.words import standing, standing_in_full


@given(st.lists(st.integers(0, 10**6), max_size=5))
def test_a_share_bar_is_full_ordered_and_leaves_nothing_out(counts: list[int]) -> None:
    parts = charts.share([(str(i), n) for i, n in enumerate(counts)])
    assert [p.name for p in parts] == [str(i) for i, n in enumerate(counts) if n]
    assert all(p.width >= charts.LEAST - 0.01 for p in parts)
    if parts:
        assert parts[-1].x + parts[-1].width == pytest.approx(charts.WIDTH, abs=0.1)
        for left, right in pairwise(parts):
            assert right.x == pytest.approx(left.x + left.width + charts.GAP, abs=0.1)


def test_thirty_eight_in_a_hundred_thousand_can_be_seen() -> None:
    few = charts.share([("affirming", 99_962), ("warning", 0), ("contraindicated", 38)])[1]
    assert (few.name, few.width) == ("contraindicated", charts.LEAST)


def test_steps_mark_where_firmware_went_back() -> None:
    drawn = charts.steps([21, 22, 22, 24, 23], 22)
    assert drawn is not None
    assert [bad for _, _, bad in drawn.dots] == [False, False, False, True]
    assert charts.steps([], 22) is None
    assert charts.steps([7], None) is not None


def test_equal_neighbours_are_one_band() -> None:
    assert [(b.tier, b.count) for b in charts.bands([("1", "none"), ("2", "none"), ("3", "warning")])] == [
        ("none", 2),
        ("warning", 1),
    ]


@pytest.mark.parametrize(
    ("seconds", "said"), [(6, "6 s"), (60, "1 min"), (1860, "31 min"), (3600, "1 h"), (90000, "25 h"), (400000, "4 d")]
)
def test_ages_have_one_unit(seconds: int, said: str) -> None:
    assert phrases.age(seconds) == said


@given(st.text(max_size=200))
def test_text_that_a_sender_chose_cannot_hide_anything(text: str) -> None:
    seen = phrases.clip(text, 60)
    assert len(seen) <= 60
    assert not set("\u202e\u2066\u200b\n\r\x00\x1b\ufeff") & set(seen)


def test_ids_keep_their_ends() -> None:
    assert phrases.short("chip:" + "38d1" * 32) == "chip:38d138d1…38d1"
    assert phrases.short("hint:cvm-1") == "hint:cvm-1"


FIELDS = st.lists(
    st.builds(
        Field,
        name=st.just("f"),
        label=st.just("F"),
        offset=st.integers(0, 300),
        length=st.integers(0, 300),
        value=st.none(),
    ),
    max_size=8,
)


@given(st.binary(max_size=400), FIELDS)
def test_every_byte_is_shown_once_or_counted_in_a_fold(raw: bytes, found: list[Field]) -> None:
    shown = explain.lines(raw, found)
    at = 0
    for line in shown:
        assert int(line.at, 16) == at
        if line.folded:
            at += line.folded
            continue
        body = b"".join(bytes.fromhex(r.text) for r in line.runs)
        assert body == raw[at : at + 16]
        at += len(body)
    assert at == len(raw)


def test_a_reason_leads_to_the_bytes_it_rests_on() -> None:
    found = [Field("policy", "Guest policy", 8, 8, None), Field("reported_tcb", "Reported TCB", 0x180, 8, None)]
    assert explain.place(found, {"component": "reported.snp"}) == found[1]
    assert explain.place(found, {"component": "policy.smt"}) == found[0]
    assert explain.place(found, {"component": "debug"}) == found[0]
    assert explain.place(found, {"component": "tcb_info"}) is None
    assert [c.index for c in explain.claims(found, [{"component": "reported.snp"}])] == [1, 0], "causes come first"


@given(st.binary(max_size=64))
def test_bytes_of_no_format_have_no_claims_and_raise_nothing(raw: bytes) -> None:
    assert explain.read(raw, None) == ()
    assert explain.read(raw, "no-such-format") == ()


# --- floors ---


def intel(evaluation: int, svn: int) -> dict[str, Json]:
    level = {
        "sgx": [svn] + [0] * 15,
        "pcesvn": 13,
        "tdx": None,
        "status": "UpToDate",
        "date": "2026-08-12T00:00:00Z",
        "advisories": [],
    }
    return {
        "kind": "intel",
        "family": "sgx/51606a000000",
        "tee": "sgx",
        "evaluation": evaluation,
        "accepted": ["UpToDate"],
        "conditional": {"SWHardeningNeeded": ["INTEL-SA-00615"]},
        "levels": [level],
        "modules": {},
        "provenance": {
            "documents": ["ab" * 32],
            "pointer": "/tcbInfo/tcbLevels",
            "rule": "intel.tcb-info/1",
            "reviewed_by": None,
            "url": None,
            "bulletin": None,
        },
    }


def test_a_proposal_says_in_one_line_what_moves() -> None:
    assert floors.title("sgx/51606a000000", intel(19, 7), intel(20, 8)) == (
        "SGX 51606a000000: TCB evaluation from 19 to 20, SGX component 1 from 7 to 8"
    )
    assert floors.title("sgx/51606a000000", None, intel(20, 8)) == "SGX 51606a000000: first floor, evaluation 20"


def test_changes_say_which_way_each_component_goes() -> None:
    ways = {c.component: c.way for c in floors.changes(intel(20, 8), intel(19, 7))}
    assert ways["TCB evaluation"] == "looser"
    assert ways["PCE"] == "same"
    assert {c.way for c in floors.changes(None, intel(20, 8))} == {"new"}
    open_floor = {**intel(19, 7), "kind": "amd", "family": "snp/Milan", "minima": []}
    assert floors.brief(open_floor) == "nothing yet"


def test_reasons_that_differ_in_their_component_alone_are_said_once() -> None:
    def unparsed(step: str) -> dict[str, Json]:
        return {"code": "unparsed", "component": step, "got": None, "want": "a report", "source": "s", "remedy": ""}

    [first, other, bare] = views.alike(
        [unparsed("chain"), unparsed("signature"), {**unparsed("x"), "got": 1}, "revoked"]
    )
    assert first["components"] == ["chain", "signature"]
    assert other["components"] == ["x"]
    assert bare == "revoked", "an alert may know a reason by its code alone"


def test_a_title_is_kept_short_without_losing_what_it_says() -> None:
    assert phrases.tidy(f"vm-1 runs {'ab' * 48}, since 2026-11-02T14:17:52.000000Z") == (
        "vm-1 runs abababab…abab, since 2026-11-02 14:17:52Z"
    )


def test_codes_are_read_as_words() -> None:
    assert phrases.words("tcb_out_of_date") == "TCB out of date"
    assert phrases.component("current.snp") == "SNP current"
    assert phrases.component("sgx.0") == "SGX component 1"
    assert phrases.component("TDX_01") == "Module TDX_01"


NOT_PLAIN = (
    "Needs you now",
    "No alert is like that",
    "No machine is like that",
    "judged by roots that are no vendor",
    "of no weight",
    "mend that line",
    "it does not wait for anybody",
)
"""Phrases that people had to read twice; docs and pages say it in the field's own words instead."""


def test_pages_and_commands_speak_plainly() -> None:
    root = Path(__file__).resolve().parents[2]
    for folder in ("dashboards/console", "ratchet/cli"):
        for page in (p for p in (root / folder).rglob("*") if p.suffix in (".html", ".py", ".js")):
            for phrase in NOT_PLAIN:
                assert phrase not in page.read_text(), f"{page.name}: {phrase}"


@pytest.mark.parametrize("tier", phrases.TIERS)
def test_standing_has_a_plain_word_and_the_drafts(tier: str) -> None:
    assert standing(tier) in ("Trusted", "Degraded", "Not trusted", "Unverified")
    assert standing_in_full(tier) == f"{standing(tier)} (AR4SI: {tier})"
    assert standing("else") == standing_in_full("else") == "else"
