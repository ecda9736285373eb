"""Sigma: the one language for detection. Rules as people write them, read with every fault named, and made to run.

    rules = load({"rules/evidence/debug-enabled.yml": text, ...}, vocabulary)
    rules["debug-enabled"].matches({"event.action": "evidence-appraised", "attestation.debug": True})

Rules go in as text and come out as trees, the same as those of the search language (`ratchet.query.tree`); here they
become predicates over flat events. What Sigma leaves to whoever evaluates a rule is settled so (docs/rules.md says it
to people):

- a field that is absent or null meets nothing but `null` and `exists: false`; so does an empty list;
- a list meets a test when one of its elements does;
- text meets text, numbers meet numbers, truth meets truth: 22 is not "22", and true is not 1;
- text is compared without regard to case (`str.lower` on both sides) unless the rule says `cased`;
- a regular expression is searched in the first 256 characters, and refused where its worst case is dear
  (`ratchet.query.regex`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ratchet.detect.sigma import cases as _cases
from ratchet.detect.sigma import rule as _rule
from ratchet.detect.sigma import source as _source
from ratchet.detect.sigma.rule import Rule, Vocabulary
from ratchet.detect.sigma.source import BadRules, Fault

__all__ = ["BadRules", "Fault", "Rule", "RuleSet", "Vocabulary", "load"]

MAX_RULES = 2000


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules by name. In order of name, so that what comes of them never depends on how a folder was listed."""

    rules: tuple[Rule, ...]

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.rules)

    def __len__(self) -> int:
        return len(self.rules)

    def __getitem__(self, name: str) -> Rule:
        for rule in self.rules:
            if rule.name == name:
                return rule
        raise KeyError(name)


def load(files: Mapping[str, str | bytes], vocabulary: Vocabulary) -> RuleSet:
    """Read rules.

    Args:
        files: path -> text. Files of cases (`*.cases.yml`) are passed over.
        vocabulary: fields and actions that events can have.

    Raises:
        BadRules: one of them cannot be used; carries every fault of every file, with its line. No rule is left out
            quietly: one that cannot run is a blind spot.
    """
    faults: list[Fault] = []
    rules: list[Rule] = []
    if len(files) > 2 * MAX_RULES:
        raise BadRules([Fault(min(files), 1, 1, f"more than {MAX_RULES} rules")])
    for path, text in sorted(files.items()):
        if path.endswith(_cases.SUFFIX):
            continue
        try:
            document = _source.read(path, text)
            rules.append(_rule.read(document, vocabulary))
        except BadRules as e:
            faults += e.faults
    rules.sort(key=lambda rule: rule.name)
    seen: dict[str, Rule] = {}
    for rule in rules:
        for what, key in (("name", rule.name), ("id", rule.id)):
            if key in seen:
                faults.append(Fault(rule.path, 1, 1, f"{what} {key} is taken by {seen[key].path}"))
            seen.setdefault(key, rule)
    if faults:
        raise BadRules(faults)
    return RuleSet(tuple(rules))
