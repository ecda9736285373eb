"""Every rule that ships keeps its promises: to whoever is woken by it, and to whoever changes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from ratchet.app import assets
from ratchet.detect import observation, ruleset, sigma
from ratchet.detect.sigma import Rule, Vocabulary, cases, detection, options
from ratchet.detect.sigma import rule as rules
from ratchet.detect.sigma.reach import ANYTHING, Type
from ratchet.standing import HOLDS

ROOT = Path(__file__).resolve().parents[2]
FILES: Mapping[str, str] = assets.rules()
RULES = ruleset.load(FILES)
CONTRACT = {
    "evidence-failed",
    "firmware-rolled-back",
    "evidence-replayed",
    "debug-enabled",
    "certificate-revoked",
    "tcb-out-of-date",
    "measurement-unknown",
    "machine-silent",
    "failure-burst",
    "store-drifted",
}
"""Names that alerts, scenarios and dashboards rely on."""

each_rule = pytest.mark.parametrize("rule", tuple(RULES), ids=lambda r: r.name)


def cases_of(rule: Rule) -> tuple[cases.Case, ...]:
    path = rule.path.removesuffix(".yml") + cases.SUFFIX
    return cases.load(path, FILES[path])


def test_the_first_set_is_there() -> None:
    assert {r.name for r in RULES} >= CONTRACT


def test_nothing_lies_in_the_folder_but_rules_and_their_cases() -> None:
    on_disk = {str(p.relative_to(ROOT)) for p in (ROOT / "rules").rglob("*") if p.is_file()}
    assert on_disk == set(FILES)
    expected = {r.path for r in RULES} | {r.path.removesuffix(".yml") + cases.SUFFIX for r in RULES}
    assert set(FILES) == expected


@each_rule
class TestEveryRule:
    def test_is_known_by_a_name_and_lies_where_it_belongs(self, rule: Rule) -> None:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)+", rule.name)
        assert rule.path == f"rules/{rule.service}/{rule.name}.yml"

    def test_has_a_title_that_is_a_phrase_for_people(self, rule: Rule) -> None:
        assert 10 <= len(rule.title) <= 80
        assert rule.title[0].isupper()
        assert not rule.title.endswith(".")

    def test_explains_itself_and_says_where_it_is_blind(self, rule: Rule) -> None:
        assert 80 <= len(rule.description) <= 1000
        assert "Misses" in rule.description

    def test_names_a_technique_and_its_tactic(self, rule: Rule) -> None:
        assert rule.techniques, "at least one ATT&CK technique"
        assert any(re.fullmatch(r"attack\.[a-z-]+", tag) and not tag.startswith("attack.t1") for tag in rule.tags)

    def test_has_a_level_and_a_status(self, rule: Rule) -> None:
        assert rule.level in rules.LEVELS
        assert rule.status in ("stable", "test")

    def test_says_what_else_could_have_set_it_off(self, rule: Rule) -> None:
        assert rule.falsepositives
        assert all(len(f) > 20 for f in rule.falsepositives), "'unknown' helps nobody at three in the morning"

    def test_has_a_source(self, rule: Rule) -> None:
        assert all(r.startswith("https://") for r in rule.references)
        assert rule.references

    def test_tells_people_the_fact_and_what_to_do(self, rule: Rule) -> None:
        about = {"host.name", "cloud.region", "attestation.family", "store.name"}
        assert set(options.BLANK.findall(rule.options.says)) & about, "an alert names whom it is about"
        assert len(rule.options.remedy) > 20
        assert rule.fields

    def test_fires_where_it_must_and_nowhere_else(self, rule: Rule) -> None:
        told = cases_of(rule)
        assert {c.fires for c in told} == {True, False}
        assert [f"line {c.line}: {c.why}" for c in cases.wrong(rule, told)] == []

    def test_its_cases_are_events_that_can_happen(self, rule: Rule) -> None:
        for case in cases_of(rule):
            assert set(case.event) <= set(observation.FIELDS) | {
                f for f in case.event if f.startswith(tuple(observation.FAMILIES))
            }
            assert case.event["event.action"] in observation.ACTIONS

    def test_every_part_of_its_searches_is_held_by_a_case(self, rule: Rule) -> None:
        """Take any one field out of any one search: some case must go wrong."""
        told = cases_of(rule)
        data = yaml.safe_load(FILES[rule.path])
        for name, search in data["detection"].items():
            if name == "condition" or len(search) < 2:
                continue
            for field in search:
                weaker = {key: value for key, value in search.items() if key != field}
                changed = {**data, "detection": {**data["detection"], name: weaker}}
                text = yaml.safe_dump(changed, default_flow_style=False)
                [looser] = ruleset.load({rule.path: text})
                assert cases.wrong(looser, told), f"{name}: {field}"

    def test_is_still_sigma(self, rule: Rule) -> None:
        from sigma.rule import SigmaRule

        parsed = SigmaRule.from_yaml(FILES[rule.path])
        assert parsed.errors == []
        assert str(parsed.id) == rule.id


def test_ids_are_never_used_again() -> None:
    assert len({r.id for r in RULES}) == len(RULES)


def test_cases_that_are_wrong_are_found() -> None:
    """The test above would notice: a case turned round is reported with its line."""
    rule = RULES["debug-enabled"]
    text = FILES["rules/evidence/debug-enabled.cases.yml"]
    turned = text.replace("fires:", "SILENT:").replace("silent:", "fires:").replace("SILENT:", "silent:")
    assert len(cases.wrong(rule, cases.load("x", turned))) == len(cases_of(rule))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("fires: []\nsilent: []", "needs at least one case"),
        ("fires: [{why: x, event: {}}]", "two lists"),
        ("fires: [{event: {}}]\nsilent: [{why: y, event: {}}]", "a case is"),
        ("fires: [{why: '', event: {}}]\nsilent: [{why: y, event: {}}]", "says `why`"),
        ("- 1", "two lists"),
    ],
)
def test_cases_that_are_no_cases_are_refused(text: str, what: str) -> None:
    with pytest.raises(sigma.BadRules, match=what):
        cases.load("x.cases.yml", text)


# What docs/rules.md promises

PAGE = (ROOT / "docs/rules.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of the tables under a heading."""
    part = re.split(r"^## ", PAGE, flags=re.M)
    section = next(p for p in part if p.startswith(heading))
    return [[c.strip() for c in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| `")]


def test_the_page_lists_every_rule_as_it_is() -> None:
    listed = rows("The rules that ship")
    assert listed == [[f"`{r.name}`", r.service, r.level, r.options.resolve.value, r.title] for r in RULES]


def test_the_page_lists_every_action_and_field() -> None:
    listed = {cells[0].strip("`").removesuffix("…"): cells[1] for cells in rows("What a rule sees")}
    assert listed == {**observation.ACTIONS, **observation.FIELDS, **observation.FAMILIES}


def test_the_page_lists_every_hold_and_what_it_lowers_to() -> None:
    listed = {
        code: cells[1].strip("`")
        for cells in rows("What keeps a machine from being trusted")
        for code in re.findall(r"`(\w+)`", cells[0])
    }
    assert listed == {code: tier.value for code, tier in HOLDS.items()}


def test_the_page_lists_every_option() -> None:
    listed = {cells[0].strip("`") for cells in rows("The `ratchet:` key")}
    expected = {f"{under}.{key}".strip(".") for under, keys in options.KEYS.items() for key in keys} - {
        "silence",
        "burst",
    }
    assert listed == expected


def test_the_page_lists_every_modifier() -> None:
    section = PAGE.split("## What a search means")[1].split("## ")[0]
    long = {"ignorecase": "i", "multiline": "m", "dotall": "s"}
    for modifier in detection.MODIFIERS:
        assert f"`{long.get(modifier, modifier)}`" in section


def test_the_rule_on_the_page_works() -> None:
    text = PAGE.split("```yaml\n")[1].split("```")[0]
    rule = ruleset.load({"rules/evidence/identity-masked.yml": text})["identity-masked"]
    assert rule.matches({"event.action": "evidence-appraised", "attestation.weak": True, "cloud.region": "eu-1"})
    assert yaml.safe_load(text)["title"]


def test_observations_say_nothing_that_is_not_listed() -> None:
    from test_correlate import signal

    vocabulary = Vocabulary(tuple(observation.FIELDS), tuple(observation.FAMILIES), ())
    whole = signal(labels={"stage": "canary"}, bits={"policy.smt": True}, reasons=["below_floor"], evaluation=20)
    for action in observation.ACTIONS:
        assert all(vocabulary.has(field) for field in observation.of_signal(whole, action))


def test_observations_are_shaped_as_the_loader_believes() -> None:
    """Else a rule that could fire would be refused."""
    from test_correlate import signal

    whole = signal(
        labels={"stage": "canary"}, bits={"policy.smt": True}, reasons=["below_floor"], evaluation=20, tcb_status="x",
        advisories=["INTEL-SA-1"], failed=["chain"], root="ARK-Milan",
    )  # fmt: skip
    assert set(observation.SHAPES) <= set(observation.FIELDS)
    of = {Type.TEXT: str, Type.TEXTS: list, Type.NUMBER: int, Type.TRUTH: bool, None: object}
    seen = [observation.of_signal(whole, action) for action in observation.ACTIONS]
    seen += [case.event for rule in RULES for case in cases_of(rule)]
    for event in seen:
        for name, value in event.items():
            shape = observation.SHAPES.get(name, ANYTHING)
            assert isinstance(value, of[shape.type]), (name, value)
            assert shape.values is None or value in shape.values, (name, value)


# Where the files are


def test_assets_are_found_in_the_checkout() -> None:
    assert str(assets.folder("rules")) == str(ROOT / "rules")
    with pytest.raises(FileNotFoundError, match="install ratchet-attest again"):
        assets.folder("nothing-of-the-kind")


def test_the_wheel_is_looked_in_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = tmp_path / "_rules" / "evidence"
    packed.mkdir(parents=True)
    (packed / "x-y.yml").write_text("from: the wheel")
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path)
    assert assets.rules() == {"rules/evidence/x-y.yml": "from: the wheel"}
