"""Sigma: what a rule means, against an interpreter written straight from the specification; and what is no rule."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.detect import ruleset, sigma
from ratchet.detect.sigma import BadRules, Rule, Vocabulary, options, source
from ratchet.detect.sigma.reach import Shape, Type
from ratchet.query.regex import MAX_COST, regex_cost

BAD = Path(__file__).parent / "bad_rules"
ANY_FIELD = Vocabulary(("event.action",), ("f.",), ("a",))


def rule(detection: str | dict[str, Any], ratchet: str = "", vocabulary: Vocabulary = ANY_FIELD) -> Rule:
    """A rule with this detection, over fields `f.…`."""
    text = detection if isinstance(detection, str) else yaml.safe_dump(detection, sort_keys=False, allow_unicode=True)
    inside = "\n".join("  " + line for line in text.splitlines())
    whole = (
        "title: t\nid: 11111111-2222-4333-8444-555555555555\ndescription: d\nlevel: low\n"
        f"logsource: {{product: ratchet, service: evidence}}\ndetection:\n{inside}\n{ratchet}"
    )
    return sigma.load({"rules/t.yml": whole}, vocabulary)["t"]


def meets(search: str, **event: Any) -> bool:
    return rule(f"s: {{{search}}}\ncondition: s").matches({f"f.{k}": v for k, v in event.items()})


@pytest.mark.parametrize(
    ("search", "value", "met"),
    [
        ("f.a: Value", "value", True),
        ("f.a: value", "values", False),
        ("f.a|cased: Value", "value", False),
        ("f.a|contains: or", "FORGED", True),
        ("f.a|contains|cased: or", "FORGED", False),
        ("f.a|startswith: tcb_", "tcb_revoked", True),
        ("f.a|startswith: tcb_", "no tcb_", False),
        ("f.a|endswith: _revoked", "tcb_revoked", True),
        ("f.a|endswith: _revoked", "tcb_revoked ", False),
        ("f.a: 'n?-*x'", "n1-abcx", True),
        ("f.a: 'n?-*x'", "n12-abcx", False),
        (r"f.a: 'a\*b'", "a*b", True),
        (r"f.a: 'a\*b'", "axb", False),
        ("f.a: 'a*b*a'", "aba", True),
        ("f.a: 'a*a'", "a", False),
        ("f.a: ''", "", True),
        ("f.a: [x, y]", "y", True),
        ("f.a|contains|all: [x, y]", "yx", True),
        ("f.a|contains|all: [x, y]", "xx", False),
        ("f.a|all: [x, y]", ["y", "x", "z"], True),
        ("f.a|all: [x, y]", ["x"], False),
        ("f.a: x", ["w", "X"], True),
        ("f.a: x", [], False),
        ("f.a: 22", 22, True),
        ("f.a: 22", 22.0, True),
        ("f.a: 22", "22", False),
        ("f.a: '22'", 22, False),
        ("f.a: 1", True, False),
        ("f.a: true", True, True),
        ("f.a: true", "true", False),
        ("f.a|gt: 21", 22, True),
        ("f.a|gte: 22", 22, True),
        ("f.a|lt: 22", 22, False),
        ("f.a|lte: 22", [30, 22], True),
        ("f.a|gt: 0", True, False),
        ("f.a: null", None, True),
        ("f.a: null", "", False),
        ("f.a: null", [], True),
        ("f.a|exists: true", "", True),
        ("f.a|exists: true", None, False),
        ("f.a|exists: false", [], True),
        ("f.a|neq: x", "y", True),
        ("f.a|neq: [x, y]", "y", False),
        ("f.a|re: '^n[0-9]+$'", "n12", True),
        ("f.a|re: '^n[0-9]+$'", "N12", False),
        ("f.a|re|i: '^n[0-9]+$'", "N12", True),
        ("f.a|re: 'b$'", "a" * 300 + "b", False),
        ("f.a|re: 1.2", "1x2", True),
    ],
)
def test_what_a_search_means(search: str, value: Any, met: bool) -> None:
    if search == "f.a|re: 1.2":
        search = "f.a|re: '1.2'"
    assert meets(search, a=value) is met


def test_null_is_met_by_a_field_that_is_not_there() -> None:
    assert meets("f.a: null")
    assert meets("f.a|exists: false")
    assert not meets("f.a: x")
    assert meets("f.a|neq: x")


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        ("a and b", False),
        ("a or b", True),
        ("a and not b", True),
        ("not (a and b)", True),
        ("not a or not b and a", True),
        ("1 of x*", True),
        ("all of x*", False),
        ("any of them", True),
        ("all of them", False),
        ("a and 1 of x_?", None),
    ],
)
def test_conditions(condition: str, met: bool | None) -> None:
    text = f"a: {{f.a: 1}}\nb: {{f.b: 1}}\nx_1: {{f.a: 1}}\nx_2: {{f.b: 1}}\ncondition: {condition}"
    if met is None:
        with pytest.raises(BadRules):
            rule(text)
    else:
        assert rule(text).matches({"f.a": 1, "f.b": 2}) is met


# Against an interpreter that walks the YAML itself, as slowly and plainly as can be


def naive(detection: dict[str, Any], event: dict[str, Any]) -> bool:
    names = [n for n in detection if n != "condition"]
    words = re.findall(r"[()]|[^\s()]+", detection["condition"])

    def search(name: str) -> bool:
        maps = detection[name] if isinstance(detection[name], list) else [detection[name]]
        return any(all(item(key, value) for key, value in one.items()) for one in maps)

    def item(key: str, wanted: Any) -> bool:
        field, *modifiers = key.split("|")
        values = wanted if isinstance(wanted, list) else [wanted]
        results = [one(event.get(field), v, modifiers) for v in values]
        met = all(results) if "all" in modifiers else any(results)
        return not met if "neq" in modifiers else met

    def one(got: Any, want: Any, modifiers: list[str]) -> bool:
        if "exists" in modifiers:
            return bool((got not in (None, [])) == want)
        if want is None:
            return got in (None, [])
        return any(element(g, want, modifiers) for g in (got if isinstance(got, list) else [got]))

    def element(got: Any, want: Any, modifiers: list[str]) -> bool:
        if isinstance(want, bool):
            return bool(got is want)
        if isinstance(want, int | float):
            if isinstance(got, bool) or not isinstance(got, int | float):
                return False
            orders = {"gt": got > want, "gte": got >= want, "lt": got < want, "lte": got <= want}
            return next((orders[m] for m in modifiers if m in orders), got == want)
        if not isinstance(got, str):
            return False
        if "re" in modifiers:
            return re.search(want, got) is not None
        pattern = glob_tokens(want)
        if "contains" in modifiers or "endswith" in modifiers:
            pattern = [None, *pattern]
        if "contains" in modifiers or "startswith" in modifiers:
            pattern = [*pattern, None]
        return fits(pattern, got if "cased" in modifiers else got.lower(), "cased" in modifiers)

    def primary() -> bool:
        word = words.pop(0)
        if word == "not":
            return not primary()
        if word == "(":
            value = disjunction()
            assert words.pop(0) == ")"
            return value
        if word in ("1", "any", "all"):
            assert words.pop(0) == "of"
            target = words.pop(0)
            chosen = [n for n in names if target == "them" or re.fullmatch(target.replace("*", ".*"), n)]
            return (all if word == "all" else any)([search(n) for n in chosen])
        return search(word)

    def conjunction() -> bool:
        value = primary()
        while words and words[0] == "and":
            words.pop(0)
            value = primary() and value
        return value

    def disjunction() -> bool:
        value = conjunction()
        while words and words[0] == "or":
            words.pop(0)
            value = conjunction() or value
        return value

    return disjunction()


def glob_tokens(text: str) -> list[Any]:
    """Characters, `...` for one of any, None for any number; backslash before a special one makes it plain."""
    tokens: list[Any] = []
    i = 0
    while i < len(text):
        if text[i] == "\\" and text[i + 1 : i + 2] in ("*", "?", "\\"):
            tokens.append(text[i + 1])
            i += 2
            continue
        tokens.append({"*": None, "?": ...}.get(text[i], text[i]))
        i += 1
    return tokens


def fits(tokens: list[Any], text: str, cased: bool) -> bool:
    if not tokens:
        return text == ""
    first, rest = tokens[0], tokens[1:]
    if first is None:
        return any(fits(rest, text[i:], cased) for i in range(len(text) + 1))
    if not text:
        return False
    same = first is ... or (first if cased else first.lower()) == text[0]
    return same and fits(rest, text[1:], cased)


FIELDS = st.sampled_from(["f.a", "f.b", "f.c"])
LETTERS = st.text(st.sampled_from("abA*?\\."), max_size=5)
PLAIN = st.text(st.sampled_from("abAB*?."), max_size=6)
SCALARS = st.one_of(PLAIN, st.integers(-3, 3), st.booleans(), st.none())


@st.composite
def items(draw: st.DrawFn) -> tuple[str, Any]:
    field = draw(FIELDS)
    kind = draw(st.sampled_from(["plain", "text", "number", "exists", "re", "mixed"]))
    many = draw(st.booleans())

    def some(of: st.SearchStrategy[Any]) -> Any:
        return draw(st.lists(of, min_size=1, max_size=3)) if many else draw(of)

    more = draw(st.sampled_from([[], ["all"], ["neq"], ["all", "neq"]]))
    if kind == "plain":
        return "|".join([field, *draw(st.sampled_from([[], ["cased"]])), *more]), some(LETTERS)
    if kind == "text":
        how = draw(st.sampled_from([["contains"], ["startswith"], ["endswith"], ["contains", "cased"]]))
        return "|".join([field, *how, *more]), some(LETTERS)
    if kind == "number":
        return "|".join([field, draw(st.sampled_from(["gt", "gte", "lt", "lte"])), *more]), some(st.integers(-3, 3))
    if kind == "exists":
        return f"{field}|exists", draw(st.booleans())
    if kind == "re":
        return "|".join([field, "re", *more]), some(st.sampled_from(["^a", "b$", "a.b", "[ab]+A", "a|B", "^$"]))
    return "|".join([field, *more]), some(SCALARS.filter(lambda v: not isinstance(v, str)))


@st.composite
def detections(draw: st.DrawFn) -> dict[str, Any]:
    names = ["a", "b", "x_1", "x_2"][: draw(st.integers(1, 4))]
    search = st.lists(items(), min_size=1, max_size=3).map(dict)
    found: dict[str, Any] = {n: draw(st.one_of(search, st.lists(search, min_size=1, max_size=2))) for n in names}
    leaf = st.sampled_from([*names, "1 of them", "all of them", *(["all of x*", "1 of x_*"] if "x_1" in names else [])])
    tree = st.recursive(
        leaf,
        lambda c: st.one_of(
            c.map(lambda one: f"not ({one})"),
            st.tuples(c, c).map(lambda two: f"({two[0]}) and ({two[1]})"),
            st.tuples(c, c).map(lambda two: f"({two[0]}) or {two[1]}"),
        ),
        max_leaves=5,
    )
    found["condition"] = draw(tree)
    return found


EVENTS = st.dictionaries(FIELDS, st.one_of(SCALARS, st.lists(SCALARS.filter(lambda v: v is not None), max_size=3)))


@given(detections(), st.lists(EVENTS, min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
def test_a_predicate_is_what_the_specification_says(detection: dict[str, Any], events: list[dict[str, Any]]) -> None:
    try:
        compiled = rule(detection)
    except BadRules as e:
        if "can never fire" in str(e):
            assert not any(naive(detection, event) for event in events)
            return
        assert "more than 64 words" in str(e)  # noqa: PT017  the one bound that a small rule may meet
        return
    for event in events:
        assert compiled.matches(event) is naive(detection, event), event


KINDS = Vocabulary(
    ("event.action",), ("f.",), ("a",), {"f.a": Shape(Type.TEXT), "f.b": Shape(Type.NUMBER), "f.c": Shape(Type.TRUTH)}
)
TYPED = st.fixed_dictionaries({}, optional={"f.a": PLAIN, "f.b": st.integers(-3, 3), "f.c": st.booleans()})


@given(detections(), st.lists(TYPED, min_size=1, max_size=12))
@settings(max_examples=150, deadline=None)
def test_a_rule_that_is_refused_for_what_fields_are_matches_no_event(
    detection: dict[str, Any], events: list[dict[str, Any]]
) -> None:
    try:
        rule(detection, vocabulary=KINDS)
    except BadRules as e:
        if "can never fire" in str(e):
            assert not any(naive(detection, event) for event in events)


@given(detections(), st.lists(EVENTS, max_size=8))
@settings(max_examples=50, deadline=None)
def test_a_rule_is_never_skipped_where_it_could_fire(detection: dict[str, Any], events: list[dict[str, Any]]) -> None:
    """`values` bounds what a one-valued field must be."""
    from ratchet.query import tree

    try:
        compiled = rule(detection)
    except BadRules:
        return
    bound = tree.values(compiled.tree, "f.a")
    for event in events:
        value = event.get("f.a")
        if compiled.matches(event) and bound is not None and isinstance(value, str):
            assert value.lower() in bound


# What is no rule


@pytest.mark.parametrize("path", sorted(BAD.glob("*.yml")), ids=lambda p: p.stem)
def test_a_bad_rule_says_where_and_what(path: Path) -> None:
    """Each file begins with the line and words that its fault must have: `# 12: no such key`."""
    text = path.read_text()
    line, _, words = text.split("\n", 1)[0].removeprefix("# ").partition(": ")
    with pytest.raises(BadRules) as caught:
        ruleset.load({f"rules/evidence/{path.name}": text})
    said = [(f.line, f.what) for f in caught.value.faults]
    assert any(f.line == int(line) and words in f.what for f in caught.value.faults), said
    assert str(caught.value).startswith(f"rules/evidence/{path.name}:")


def test_every_fault_of_every_file_is_told_at_once() -> None:
    files = {path.name: path.read_text() for path in BAD.glob("*.yml")}
    with pytest.raises(BadRules) as caught:
        ruleset.load(files)
    assert {f.path for f in caught.value.faults} == set(files)


def test_two_rules_cannot_share_a_name_or_an_id() -> None:
    text = (
        "title: t\nid: 11111111-2222-4333-8444-555555555555\ndescription: d\nlevel: low\n"
        "logsource: {product: ratchet, service: evidence}\n"
        "detection: {s: {event.action: evidence-refused}, condition: s}\n"
    )
    with pytest.raises(BadRules) as caught:
        ruleset.load({"rules/a/t.yml": text, "rules/b/t.yml": text})
    assert [f.what for f in caught.value.faults] == [
        "id 11111111-2222-4333-8444-555555555555 is taken by rules/a/t.yml",
        "name t is taken by rules/a/t.yml",
    ]


@given(st.one_of(st.binary(max_size=300), st.text(max_size=300)))
def test_rubbish_is_a_fault_and_nothing_else(text: str | bytes) -> None:
    with pytest.raises(BadRules):
        ruleset.load({"rules/evidence/x.yml": text})


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_damaged_rule_is_a_rule_or_a_fault(data: st.DataObject) -> None:
    text = (BAD.parents[2] / "rules/evidence/failure-burst.yml").read_text()
    lines = text.splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        how = data.draw(st.sampled_from(["drop", "twice", "junk"]))
        if how == "drop" and len(lines) > 1:
            del lines[at]
        elif how == "twice":
            lines.insert(at, lines[at])
        else:
            lines[at] = lines[at] + data.draw(st.sampled_from(["[", "{", ": x", "|", "'", "- ", "null", "1e999", "&a"]))
    try:
        rules = ruleset.load({"rules/evidence/x.yml": "\n".join(lines)})
    except BadRules as e:
        assert all(f.path == "rules/evidence/x.yml" and f.line >= 1 for f in e.faults)  # noqa: PT017  any text may also be a rule
        return
    for one in rules:
        one.matches({"event.action": "failure-burst"})


def test_size_is_bounded_before_anything_is_built() -> None:
    for text in ("a: " + "x" * source.MAX_BYTES, "[" * 100, "a: [" + "1," * 5000 + "]", "é" * source.MAX_BYTES):
        begin = time.process_time()
        with pytest.raises(BadRules):
            source.read("x.yml", text)
        assert time.process_time() - begin < 2


@pytest.mark.parametrize(
    "expression",
    [
        "(a+)+$",
        "(a|aa)*b",
        "a.*a.*a",
        "(x+x+)+y",
        "([a-z]+)*!",
        "(a?){20}b",
        "a*a*a*a*b",
        "(.*)(.*)(.*)x",
        r"(a)\1",
        "((a|b)*)*",
        "(?:a|a)+" * 3,
    ],
)
def test_a_regular_expression_that_could_take_for_ever_is_refused(expression: str) -> None:
    cost = regex_cost(expression)
    assert cost is None or cost > MAX_COST


@pytest.mark.parametrize("expression", ["^pool-[0-9]+-[a-z]+$", "(eu|us)-[0-9]", "^(tcb|qe)_.*revoked", "[0-9a-f]{96}"])
def test_what_people_write_is_cheap_enough(expression: str) -> None:
    cost = regex_cost(expression)
    assert cost is not None
    assert cost <= MAX_COST
    begin = time.process_time()
    for worst in ("a" * 256, "pool-" + "1" * 251, "tcb_" * 64, "eu" * 128):
        assert meets(f"f.a|re: '{expression}'", a=worst) in (True, False)
    assert time.process_time() - begin < 2


@given(st.integers(1, 400 * 86400))
def test_a_duration_is_spelled_as_it_is_read(seconds: int) -> None:
    length = timedelta(seconds=seconds)
    assert options.duration(options.spelled(length)) == length or seconds >= 10**6  # six digits are read, no more


def test_many_stars_are_cheap() -> None:
    begin = time.process_time()
    assert not meets("f.a: '" + "*a" * 100 + "*b'", a="a" * 20000)
    assert time.process_time() - begin < 2


@pytest.mark.parametrize("expression", ["^.*a.*b$", "a.*b", "[a-z]+[0-9]", "(a|b|ab)(c|bcd)d"])
def test_the_dearest_expression_that_is_taken_costs_milliseconds(expression: str) -> None:
    """A rule that is met by text of an attacker's choice must not hold up the stream."""
    cost = regex_cost(expression)
    assert cost is not None
    assert cost <= MAX_COST
    begin = time.process_time()
    for worst in ("a" * 256, "ab" * 128, "b" * 255 + "!", "abcd" * 64):
        assert meets(f"f.a|re: '{expression}'", a=worst) in (True, False)
    assert time.process_time() - begin < 0.5
