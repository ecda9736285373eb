"""What others wrote does not steer the terminal on which somebody decides, nor look like what we say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ratchet.app.output import print_json
from ratchet.app.proposal_text import describe
from ratchet.cli.floors import summary
from ratchet.policy.floor import AmdFloor, Minimum
from ratchet.policy.floor.provenance import Provenance

EVIL = "Ada\nrefuses   0 of 1 machines\x1b[8m\x9b2J\u202e"


def floor(**asked: Any) -> dict[str, Any]:
    said = Provenance(documents=(), pointer="", rule="amd.reviewed/1", reviewed_by=EVIL, url="https://x", bulletin="SB")
    return AmdFloor(family="snp/Milan", minima=(Minimum(**asked),), provenance=said).to_data()


def row() -> dict[str, Any]:
    why = {"component": EVIL, "got": EVIL, "want": 24}
    hit = {"identity": "chip:1", "hint": EVIL, "region": EVIL, "why": [why]}
    return {
        "proposal": {
            "proposal": "7c" * 32,
            "hash": "8d" * 32,
            "diff": [],
            "family": "snp/Milan",
            "before": None,
            "floor": floor(tcb={"reported.snp": 24}),
            "tightening": True,
            "exact": False,
            "why": f"waits for approval: reviewed by {EVIL}",
            "impact": {"refused": [hit], "considered": 1, "already_refused": 0, "unknown": 0},
        },
        "state": "proposed",
        "expires": None,
        "pushes": "5e" * 32,
        "approvals": [],
        "history": [],
        "receipts": {},
    }


def test_what_an_approver_is_shown_has_our_lines_alone() -> None:
    shown = describe(row())
    assert all(c.isprintable() for c in shown.replace("\n", ""))
    assert [line.split()[0] for line in shown.splitlines()] == [
        "proposal", "state", "family", "from", "to", "source", "refuses", "admits", "signs", "Ada\\x0arefuses",
    ]  # fmt: skip
    assert "8d" * 32 in shown
    assert "5e" * 32 in shown, "the whole policy that it pushes"


def test_nor_does_a_policy_that_somebody_configured_write_lines_of_ours() -> None:
    said = row()
    said["proposal"] |= {"family": "policy", "floor": None, "diff": [f"name: a becomes {EVIL}   (LOOSER)"]}
    shown = describe(said)
    assert [line.split()[0] for line in shown.splitlines()] == [
        "proposal", "state", "family", "policy", "name:", "refuses", "admits", "signs", "Ada\\x0arefuses",
    ]  # fmt: skip


def test_json_is_the_same_value_and_cannot_steer_a_terminal_either(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"text": EVIL, "plain": "Zoë"})
    out = capsys.readouterr().out
    assert json.loads(out) == {"text": EVIL, "plain": "Zoë"}
    assert out.rstrip("\n").isprintable()
    assert "Zoë" in out


def test_a_floor_in_a_few_words_leaves_out_nothing_that_it_asks() -> None:
    """Else a floor that asks for less looks like the one before it."""
    asked = {"tcb": {"reported.snp": 24}, "bits": {"platform.alias_check": True}, "mitigation": 3, "model": 1}
    said = summary(floor(**asked))
    for name in asked:
        less = {**asked, name: None if name == "model" else 0 if name == "mitigation" else {}}
        assert summary(floor(**less)) != said
