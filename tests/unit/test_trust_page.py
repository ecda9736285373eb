"""docs/trust.md is true of the code: what it names exists, and what decides trust is in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ratchet.evidence import StepName
from ratchet.policy.policy import NAMEABLE, Policy

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
REASONS = (ROOT / "docs" / "reasons.md").read_text(encoding="utf-8")

LOWER_NO_CLAIM = (
    "## What a store says",
    "## Decisions and dead letters",
    "## What rules say of themselves",
    "## Tokens for relying parties",
)
"""Sections of docs/reasons.md whose codes are of no verdict: they speak of stores, decisions, alerts and tokens."""

MODULES = sorted(set(re.findall(r"\b(?:ratchet|streams|collectors|dashboards|tests)/[\w/]+\.py", PAGE)))
TESTS = sorted(set(re.findall(r"(tests/[\w/]+\.py)::(\w+)", PAGE)))


def rows(page: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in page.splitlines() if line[:2] == "| "]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_that_it_names_is_there(module: str) -> None:
    assert (ROOT / module).is_file()


@pytest.mark.parametrize(("file", "name"), TESTS)
def test_every_test_that_it_names_is_there(file: str, name: str) -> None:
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.M), f"{file} has no {name}"


@pytest.mark.parametrize("step", StepName)
def test_every_proof_step_has_its_row(step: StepName) -> None:
    assert len([row for row in rows(PAGE) if f"(`{step.value}`)" in row[0]]) == 1


def test_every_policy_key_has_its_row_and_no_other() -> None:
    section = PAGE.partition("## What the policy decides")[2].partition("\n## ")[0]
    assert {row[0].strip("`") for row in rows(section)[1:]} == set(Policy.from_data({}).to_data())
    assert NAMEABLE, "what may be impossible is explained in docs/policy.md"


def test_every_code_that_can_lower_a_claim_is_in_a_table_and_no_unknown_one() -> None:
    sections = re.split(r"^(?=## )", REASONS, flags=re.M)
    lowering = "".join(section for section in sections if not section.startswith(LOWER_NO_CLAIM))
    wanted = set(re.findall(r"^\| `([a-z_0-9]+)` \|", lowering, re.M))
    known = set(re.findall(r"^\| `([a-z_0-9]+)` \|", REASONS, re.M))
    judged = PAGE.partition("## What the policy decides")[0]
    named = {code for row in rows(judged) if len(row) == 5 for code in re.findall(r"`([a-z_0-9]+)`", row[3])}
    assert wanted - named == set(), "a reason that docs/trust.md does not know: say which input it is about"
    assert named - known == set()


def test_every_judgement_names_a_module_and_a_test() -> None:
    judged = PAGE.partition("## What others expect")[0]
    for row in rows(judged):
        if row[0] in ("input", "key") or set(row[0]) == {"-"}:
            continue
        assert "tests/" in row[-1], row[0]
        assert re.search(r"\w/\w+", row[2]), row[0]


def test_every_expectation_is_answered() -> None:
    expected = PAGE.partition("## What others expect")[2]
    answers = {"met", "in part", "not yet", "followed"}
    for row in rows(expected):
        if row[0] in ("#", "failure mode or test", "what happened", "draft"):
            continue
        answer = row[2] if len(row) == 4 else row[1]
        assert any(answer.startswith(word) for word in answers), row
        assert answer.startswith("not yet") or "tests/" in row[-1] or "above" in row[-1], row[0]
