"""The tree of the search language and of Sigma: one meaning, which SQL keeps or refuses to say."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_query import record
from test_sigma import EVENTS, detections, rule

from ratchet.detect.sigma import BadRules
from ratchet.detect.sigma.reach import ANYTHING, Shape, Type, never
from ratchet.event import Json
from ratchet.ports import Record
from ratchet.query import glob, predicate, sql, tree
from ratchet.query.fields import FlatRecord, of_flat_event, of_record
from ratchet.query.language import MAX_DEPTH, TooCostly, parse
from ratchet.query.matchers import Case, Matcher, Present, Range, Regex, Text, Truth
from ratchet.query.sql import NotInSql, translate
from ratchet.query.tree import All, Node, Not, Some, Term
from streams.archive.sqlite import SqliteReader
from streams.sqlite import Database

STORED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def found_by_sql(folder: Path, records: Sequence[Record], trees: Sequence[Node]) -> Iterator[set[str]]:
    """Ids of the records that SQLite finds, for each tree."""
    path = folder / "ratchet.db"
    Database(path).log.append([(r.topic, r.event) for r in records])
    with closing(sqlite3.connect(path)) as connection:
        for node in trees:
            condition = translate(node)
            tests = condition.tests
            connection.create_function("query_test", 2, lambda n, text, tests=tests: tests[n](text))
            rows = connection.execute(f"SELECT id FROM log WHERE {condition.where}", condition.parameters)
            yield {id for (id,) in rows}


def found_by_predicate(records: Sequence[Record], node: Node) -> set[str]:
    holds = predicate.compile(node, of_record)
    return {r.event.id for r in records if holds(FlatRecord.of(r))}


# Trees of every kind of matcher, over records with values of every type

LETTERS = 'ikaK\u212a\u0130Åå1.e"\\\ud800\x00'
"""Among them letters whose lower case is in ASCII, what JSON escapes, and what SQLite compares otherwise."""

TEXTS = st.text(st.sampled_from(LETTERS.replace("\ud800", "").replace("\x00", "")), max_size=4)
SCALARS = st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from([1.0, 1e20, 1e-7, "2026-11-24"]) | TEXTS
FIELDS = st.sampled_from(["f.a", "f.b", "f", "subject", "id", "topic", "time", "type"])


@st.composite
def texts(draw: st.DrawFn) -> Text:
    case = draw(st.sampled_from(Case))
    part = st.lists(st.one_of(st.none(), st.sampled_from(LETTERS)), max_size=3)
    parts = draw(st.lists(part, min_size=1, max_size=3) | st.just(["chip:aK"]))
    pattern = tuple(tuple(f for c in p for f in ([None] if c is None else case.fold(c))) for p in parts)
    number = draw(st.sampled_from([None, None, 1.0]))
    return Text(pattern, case, text_only=draw(st.booleans()), number=number)


MATCHERS: st.SearchStrategy[Matcher] = st.one_of(
    texts(),
    st.builds(Range.of, st.sampled_from(["eq", "gt", "gte", "lt", "lte"]), st.integers(-2, 3)),
    st.builds(Range, st.sampled_from([None, "2026-11-23T23:40:00.000000Z"]), st.just("2026-11-24T00:00:00.000000Z"),
              st.booleans(), st.booleans()),
    st.builds(Truth, st.booleans()),
    st.builds(Regex, st.sampled_from(["^a", "k$", "a.k", "[ai]+", "^$", "chip"]), st.sampled_from(["", "i", "ms"])),
    st.just(Present()),
)  # fmt: skip
TREES: st.SearchStrategy[Node] = st.recursive(
    st.builds(Term, st.lists(FIELDS, max_size=2).map(tuple), MATCHERS),
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(All, st.lists(inner, max_size=3).map(tuple))
        | st.builds(Some, st.lists(inner, max_size=3).map(tuple))
    ),
    max_leaves=6,
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), SCALARS, max_size=2)
RECORDS = st.builds(
    lambda subject, data: record(subject, **data),
    st.sampled_from(["chip:aK", "chip:AK", "chip:a\u212a"]),
    st.dictionaries(st.sampled_from(["f", "f.a", "f.b"]), VALUES, max_size=3),
)


@STORED
@given(records=st.lists(RECORDS, min_size=1, max_size=8), trees=st.lists(TREES, min_size=1, max_size=8))
@example(
    records=[record("chip:a\u212a", f="\u212a"), record(f=1e-7)],
    trees=[
        Term(("f",), Text((("k",),), Case.UNICODE, text_only=True)),
        Term(("f",), Text(((), tuple("e-07")), Case.ASCII)),
        Term(("subject",), Text((tuple("chip:ak"),), Case.UNICODE)),
        Term(("subject",), Text((("\ud800",),), Case.EXACT, text_only=True)),
    ],
)
def test_sql_finds_what_any_tree_means(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record], trees: list[Node]
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    for node, found in zip(trees, found_by_sql(folder, records, trees), strict=True):
        assert found == found_by_predicate(records, node), node


@STORED
@given(detection=detections(), events=st.lists(EVENTS, min_size=1, max_size=8))
def test_sql_finds_the_events_at_which_a_rule_fires(
    tmp_path_factory: pytest.TempPathFactory, detection: dict[str, Any], events: list[dict[str, Json]]
) -> None:
    try:
        compiled = rule(detection)
    except BadRules:
        return
    records = [record(f"hint:{n}", **event) for n, event in enumerate(events)]
    [found] = found_by_sql(tmp_path_factory.mktemp("rule"), records, [compiled.tree])
    assert found == {r.event.id for r, event in zip(records, events, strict=True) if compiled.matches(event)}


# What SQL cannot say is refused


def nested(levels: int) -> Node:
    word = Text(glob.anywhere((("x",),)), Case.ASCII)
    node: Node = Term((), word)
    for level in range(levels):
        node = (All if level % 2 else Some)((Term(("f",), word), node))
    return node


def test_a_tree_that_sqlite_has_no_room_for_is_refused(tmp_path: Path) -> None:
    word = Term(("f",), Truth(True))
    for tall in (Some((word,) * 1000), nested(90), nested(200)):
        with pytest.raises(NotInSql):
            translate(tall)
    deep = nested(50)
    widest = Some((word,) * 800)
    assert [len(found) for found in found_by_sql(tmp_path, [record(f=True)], [widest, deep])] == [1, 0]


def test_a_tree_without_end_is_refused_before_it_is_walked() -> None:
    node: Node = Term(("f",), Present())
    for _ in range(100_000):
        node = Not(node)
    with pytest.raises(tree.TooDeep):
        predicate.compile(node, of_flat_event)
    with pytest.raises(NotInSql, match="levels"):
        translate(node)


def deep_query(levels: int) -> str:
    """Parentheses in parentheses, each with an AND and an OR before the next."""
    query = "chip"
    for _ in range(levels):
        query = f"a (b OR {query})"
    return query


@pytest.mark.parametrize(
    "query", [deep_query(MAX_DEPTH), "NOT " * MAX_DEPTH + "x", "(" * 6 + "a b) OR (c d)" + ")" * 5]
)
def test_a_query_within_its_bounds_is_never_too_deep_for_sqlite(tmp_path: Path, query: str) -> None:
    """16 levels of `a (b OR …)` stopped the search with SQLite's `parser stack overflow`."""
    Database(tmp_path / "ratchet.db").log.append([(r.topic, r.event) for r in [record(f="a b c d")]])
    assert len(list(SqliteReader(tmp_path / "ratchet.db").search(query))) == parse(query).matches(record(f="a b c d"))


def test_a_search_that_sqlite_has_no_room_for_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Database(tmp_path / "ratchet.db")
    monkeypatch.setattr(sql, "MAX_STACK", 40)
    with pytest.raises(TooCostly, match="too many conditions inside each other for SQLite; write fewer"):
        SqliteReader(tmp_path / "ratchet.db").search(deep_query(10))


# What each language leaves to the matcher


@pytest.mark.parametrize(
    ("event", "there"),
    [({}, False), ({"f": None}, False), ({"f": []}, False), ({"f": ""}, True), ({"f": [None]}, True), ({"f": 0}, True)],
)
def test_what_is_there_to_sigma(event: dict[str, Json], there: bool) -> None:
    assert predicate.compile(Term(("f",), Present()), of_flat_event)(event) is there


def test_the_languages_differ_in_types_and_letters_as_their_pages_say() -> None:
    assert parse("f:22").matches(record(f=22))
    assert not rule("s: {f.a: '22'}\ncondition: s").matches({"f.a": 22})
    assert rule("s: {f.a: 'å'}\ncondition: s").matches({"f.a": "Å"})
    assert not parse("f:å").matches(record(f="Å"))
    assert parse("f:null").matches(record(f=None))
    assert rule("s: {f.a: null}\ncondition: s").matches({"f.a": None})


# Whether a tree can be true of anything, for trees of either language

SHAPES = {"tier": Shape(Type.TEXT, frozenset({"none", "warning"})), "late": Shape(Type.TRUTH), "n": Shape(Type.NUMBER)}


@pytest.mark.parametrize("query", ["tier:good", "n:>3 n:<2", "tier:>1", "late:>=0", "tier:none NOT tier:none"])
def test_a_query_that_finds_nothing_is_known(query: str) -> None:
    assert never(parse(query).tree, lambda name: SHAPES.get(name, ANYTHING)) is not None


@pytest.mark.parametrize(
    "query", ["tier:NONE", "late:true", "n:5 n:5.0", "machine:a machine:b", "warning", "n:[2 TO 3]"]
)
def test_a_query_that_may_find_something_is_not_refused(query: str) -> None:
    assert never(parse(query).tree, lambda name: SHAPES.get(name, ANYTHING)) is None


def test_a_rule_that_asks_for_null_and_a_value_is_refused() -> None:
    for text in (
        "s: {f.a: null, f.a|exists: true}\ncondition: s",
        "s: {f.a: x}\nt: {f.a|exists: true}\ncondition: s and not t",
        "s: {f.a: null}\nt: {f.a|exists: true}\ncondition: not (s or t)",
    ):
        with pytest.raises(BadRules, match="can never fire"):
            rule(text)
