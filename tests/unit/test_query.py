"""The search language: people are understood, faults are shown where they are, and SQL says what the predicate says."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ratchet.event import Event, derived_id
from ratchet.ports import Record
from ratchet.query.language import IDENTITIES, MAX_DEPTH, MAX_LENGTH, MAX_TERMS, BadQuery, TooCostly, parse
from streams.archive.sqlite import SqliteReader
from streams.sqlite import Database

START = datetime(2026, 11, 23, 23, 31, 4, tzinfo=UTC)


def record(subject: str = "chip:ab12", type_: str = "verdict.reached.v1", at: datetime = START, **data: Any) -> Record:
    topic = {"verdict": "verdicts", "alert": "alerts"}[type_.split(".", 1)[0]]
    id = derived_id("test", subject, type_, str(at), repr(data))
    return Record(1, topic, Event(id, "/streams/verify", type_, subject, at, "acme", data))


VERDICT = record(
    tier="warning",
    late=False,
    hint={"name": "Node-17", "region": "eu-1", "labels": {"rack": "b 4"}},
    claims={"measurement": "00ff", "tcb": {"reported.snp": 23, "reported.bl": 4}},
    reasons=[{"code": "below_floor", "got": 22}, {"code": "bit_loosened", "got": None}],
    trusted_until="2026-11-24T12:00:00.000000Z",
    vector={"instance-identity": 2},
    score=1.5,
)
ALERT = record("region:eu-1", "alert.raised.v1", rule="failure-burst", level="high", machines=["node-17", "node-18"])


@pytest.mark.parametrize(
    "query",
    [
        "",
        "tier:warning",
        "TIER:x OR tier:WARNING",
        "tier:warning late:false",
        "tier:warning AND NOT tier:affirming",
        "NOT (tier:affirming OR tier:none)",
        "tier:(none OR warning)",
        "hint.labels.rack:\"b 4\"",
        "hint:node-17",
        "machine:node-17",
        "machine:chip:ab12",
        "chip:ab12",
        "chip:ab*",
        "region:eu-?",
        "reason:below_floor",
        "reasons.code:bit_*",
        "claims.tcb.reported.snp:23",
        "claims.tcb.reported.snp:<24",
        "claims.tcb.reported.snp:>=23 claims.tcb.reported.snp:[20 TO 23]",
        "NOT claims.tcb.reported.snp:{23 TO 99]",
        "NOT claims.tcb.reported.snp:[20 TO 23}",
        "score:>1 score:<1.6 score:1.5",
        "claims.tcb.reported.snp:*",
        "NOT claims.tcb.reported.fmc:*",
        "reasons.got:null",
        "time:2026-11-23",
        "time:2026-11-23T23:31",
        "time:2026-11-23T23:31:04Z",
        "time:[2026-11-23 TO 2026-11-24}",
        "time:>=2026-11-24T00:31:04+01:00 time:<2026-11-24",
        "trusted_until:>2026-11-24",
        "topic:verdicts type:verdict*",
        "ode-1",
        "\"below_FLOOR\"",
        "b?low",
        "below*floor",
        "vector.instance-identity:2",
    ],
)  # fmt: skip
def test_a_verdict_is_found_by(query: str) -> None:
    assert parse(query).matches(VERDICT)


@pytest.mark.parametrize(
    "query",
    [
        "tier:warn",
        "tier:affirming late:false",
        "tier:affirming OR late:true",
        "claims.tcb.reported.snp:>23",
        "claims.tcb.reported.snp:\">1\"",
        "tier:>1",
        "late:[0 TO 1]",
        "hint:node-1",
        "time:2026-11-24",
        "\"hint.name\"",
        "reasons:below_floor",
        "tier:\"warn*\"",
        "nothing:at-all",
    ],
)  # fmt: skip
def test_a_verdict_is_not_found_by(query: str) -> None:
    assert not parse(query).matches(VERDICT)


def test_a_machine_is_found_in_the_alerts_that_name_it() -> None:
    assert parse("machine:node-18 level:(high OR critical)").matches(ALERT)


@pytest.mark.parametrize(
    ("query", "position", "why"),
    [
        ("tier:", 0, "needs a value"),
        ("tier: warning", 0, "needs a value"),
        ("a AND", 5, "missing"),
        ("AND a", 0, "needs something before it"),
        ("a OR OR b", 5, "needs something before it"),
        ("NOT", 3, "missing"),
        ("(a OR b", 0, "never closed"),
        ("a)", 1, "closes nothing"),
        ("()", 1, "missing"),
        ('tier:"warn', 5, "never closed"),
        ("snp:[1 TO 5", 4, "never closed"),
        ("snp:[1 5]", 7, "TO is missing"),
        ("snp:[* TO *]", 4, "needs a bound"),
        ("snp:[1 TO 2026-01-01]", 4, "two numbers or between two times"),
        ("snp:>", 5, "neither a number nor a time"),
        ("snp:>many", 5, "neither a number nor a time"),
        ("time:>2026-13-01", 6, "neither a number nor a time"),
        ("[1 TO 2]", 0, "belongs to a range"),
        ("back\\", 4, "needs a character"),
        ("(" * 40 + "a" + ")" * 40, MAX_DEPTH + 1, "levels"),
        ("NOT " * 40 + "a", 4 * (MAX_DEPTH + 1) - 1, "levels"),
        ("a " * (MAX_TERMS + 1), 2 * MAX_TERMS, "terms"),
        ("a" * (MAX_LENGTH + 1), MAX_LENGTH, "characters"),
    ],
)
def test_what_is_wrong_is_shown_where_it_is(query: str, position: int, why: str) -> None:
    with pytest.raises(BadQuery, match=why) as bad:
        parse(query)
    assert bad.value.position == position
    assert bad.value.pointer.splitlines()[1] == " " * position + "^"
    assert f"character {position + 1}" in str(bad.value)


def test_wildcards_cost_no_more_than_their_length() -> None:
    """A pattern that makes backtracking matchers try every split takes no time here."""
    long = record(text="a" * 5000)
    began = time.perf_counter()
    assert not parse(f"text:{'a*' * 400}b").matches(long)
    assert not parse(f"{'a*?' * 400}b").matches(long)
    assert time.perf_counter() - began < 2


def test_question_marks_cost_no_more_than_their_length() -> None:
    """One query of many `?` over one large value took 470 seconds."""
    long = record(text="a" * 200_000)
    began = time.perf_counter()
    assert not parse(f"text:*{'a?' * 800}b*").matches(long)
    assert not parse(f"*{'?' * 1900}b*").matches(long)
    assert time.perf_counter() - began < 5


@given(text=st.text("ab", max_size=30), pattern=st.text("ab?*", min_size=1, max_size=12))
def test_wildcards_mean_what_a_regular_expression_would(text: str, pattern: str) -> None:
    expression = "".join({"*": ".*", "?": "."}.get(char, char) for char in pattern)
    wanted = re.fullmatch(expression, text, re.DOTALL) is not None
    assert parse(f"text:{pattern}").matches(record(text=text)) is wanted


@pytest.mark.parametrize(
    ("query", "position"),
    [
        (" OR ".join(["a:?b*"] * 60), 2),
        (f"tier:warning machine:*{'?' * 1900}", 21),
    ],
)
def test_a_query_that_would_cost_too_much_is_refused_and_says_what_costs(query: str, position: int) -> None:
    with pytest.raises(TooCostly) as caught:
        parse(query)
    assert caught.value.position == position
    assert "this part costs" in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_a_query_or_says_what_is_wrong(text: str) -> None:
    try:
        parse(text).matches(VERDICT)
    except BadQuery as bad:
        assert 0 <= bad.position <= len(text)  # noqa: PT017  any text may also be a query


# SQL says what the predicate says

_TEXTS = [
    "warning",
    "Warning",
    "b 4",
    "5",
    "true",
    'say "no"',
    "back\\slash",
    "straße",
    "Å",
    "2026-11-24T12:00:00Z",
    "a\nb",
]
_SCALARS = st.none() | st.booleans() | st.integers(-3, 30) | st.sampled_from([1.5, 23.0]) | st.sampled_from(_TEXTS)
_INNER_NAMES = st.sampled_from(["name", "code", "tcb", "reported.snp"])
_DATA = st.dictionaries(
    st.sampled_from(["tier", "hint", "reasons", "reported.snp", "claims"]),
    st.recursive(
        _SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_INNER_NAMES, inner, max_size=3),
        max_leaves=5,
    ),
    max_size=4,
)
_RECORDS = st.builds(
    lambda subject, type_, minute, data: record(subject, type_, START + timedelta(minutes=minute), **data),
    st.sampled_from(["chip:ab12", "hint:Node-17", "region:eu-1"]),
    st.sampled_from(["verdict.reached.v1", "alert.raised.v1"]),
    st.integers(0, 90),
    _DATA,
)
_WORDS = [
    "warning",
    "warn*",
    "*",
    "?",
    "5",
    "23",
    "1.5",
    "true",
    "null",
    "stra*e",
    "å",
    "Å",
    "NODE-17",
    "verdicts",
    "a?b",
]
_QUOTED = ['"b 4"', '"say \\"no\\""', "back\\\\slash", "chip:ab12", '"a\nb"', '""']
_RANGES = [">4", "<=23", ">2026-11-24", "2026-11-2?", "[2 TO 23}"]
_FIELDS = [
    "tier",
    "hint",
    "hint.name",
    "machine",
    "reason",
    "reasons",
    "reported.snp",
    "claims.tcb.reported.snp",
    "chip",
]
_NAMES = st.sampled_from([*_FIELDS, "time", "topic", "type", "subject", "id"])
_VALUES = st.sampled_from(_WORDS + _QUOTED)
_RANGED = _NAMES.filter(lambda name: name not in IDENTITIES)  # an identity has no order
_TERMS = (
    st.builds(lambda f, v: f"{f}:{v}", _NAMES, _VALUES)
    | st.builds(lambda f, v: f"{f}:{v}", _RANGED, st.sampled_from(_RANGES))
    | _VALUES
)
_QUERIES = st.recursive(
    _TERMS,
    lambda q: (
        st.builds(lambda a, b: f"{a} OR {b}", q, q)
        | st.builds(lambda a, b: f"({a}) {b}", q, q)
        | st.builds(lambda a: f"NOT ({a})", q)
    ),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(records=st.lists(_RECORDS, min_size=1, max_size=8), queries=st.lists(_QUERIES, min_size=1, max_size=8))
@example(records=[VERDICT, ALERT], queries=["time:2026-11-23T23:31:04Z", "Straße OR below_floor"])
def test_sql_finds_what_the_predicate_finds(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record], queries: list[str]
) -> None:
    path = tmp_path_factory.mktemp("query") / "ratchet.db"
    database = Database(path)
    database.log.append([(r.topic, r.event) for r in records])
    stored = database.log.read(["verdicts", "alerts"], 0, 100)
    reader = SqliteReader(path)
    for query in queries:
        understood = parse(query)
        assert {r.event.id for r in reader.search(query)} == {r.event.id for r in stored if understood.matches(r)}, (
            query
        )
    reader.close()
    database.close()


def test_a_value_is_never_part_of_the_sql(tmp_path: Path) -> None:
    path = tmp_path / "ratchet.db"
    database = Database(path)
    database.log.append([(VERDICT.topic, VERDICT.event)])
    reader = SqliteReader(path)
    for attack in ("'; DROP TABLE log; --", "x' OR '1'='1", "%"):
        quoted = attack.replace('"', '\\"')
        for field in ("", "subject:", "tier:", "topic:", "time:", "a'b:"):
            assert list(reader.search(f'{field}"{quoted}"')) == []
    assert len(list(reader.search(""))) == 1


def test_a_search_is_stopped_at_its_deadline_and_says_what_costs_most(tmp_path: Path) -> None:
    database = Database(tmp_path / "ratchet.db")
    database.log.append([(VERDICT.topic, replace(VERDICT.event, id=derived_id("many", str(n)))) for n in range(300)])
    seconds = iter(range(10_000))
    reader = SqliteReader(tmp_path / "ratchet.db", monotonic=lambda: float(next(seconds)))
    with pytest.raises(TooCostly, match=r"stopped after 5 seconds: this part costs most; .*time:\[") as caught:
        list(reader.search("tier:warning missing:?x*", 100, 5.0))
    assert caught.value.position == 21
    assert len(list(reader.search("tier:warning", 1000, 10_000.0))) == 300
    assert len(list(reader.search("tier:warning", 1000))) == 300
    reader.close()
    database.close()
