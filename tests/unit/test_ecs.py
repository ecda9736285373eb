"""What SIEMs are told: ECS documents of one shape, in a file that holds each id once."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.detect.ruleset import load
from ratchet.event import Event, derived_id
from ratchet.ports import Refused, Unreachable
from streams.siem.ecs import ECS_VERSION, Mapper
from streams.siem.ndjson import NdjsonFile

AT = datetime(2026, 3, 1, 2, 11, tzinfo=UTC)
RULES = Path(__file__).parents[2] / "rules"

FIELDS: Mapping[str, str] = {
    "@timestamp": "date",
    "message": "text",
    "ecs.version": "keyword",
    "data_stream.type": "keyword",
    "data_stream.dataset": "keyword",
    "data_stream.namespace": "keyword",
    "organization.id": "keyword",
    "observer.vendor": "keyword",
    "observer.product": "keyword",
    "observer.type": "keyword",
    "event.id": "keyword",
    "event.module": "keyword",
    "event.dataset": "keyword",
    "event.provider": "keyword",
    "event.code": "keyword",
    "event.kind": "keyword",
    "event.category": "keywords",
    "event.type": "keywords",
    "event.action": "keyword",
    "event.outcome": "keyword",
    "event.severity": "long",
    "event.start": "date",
    "event.reason": "keyword",
    "log.level": "keyword",
    "rule.name": "keyword",
    "rule.ruleset": "keyword",
    "rule.id": "keyword",
    "rule.description": "keyword",
    "rule.reference": "keyword",
    "threat.framework": "keyword",
    "threat.technique.id": "keywords",
    "threat.technique.subtechnique.id": "keywords",
    "host.id": "keyword",
    "host.name": "keyword",
    "cloud.region": "keyword",
    "service.name": "keyword",
    "service.type": "keyword",
    "related.hosts": "keywords",
    "related.user": "keywords",
}
"""Fields of ECS 9.0.0 that are used, with their types; `keywords` where ECS wants an array (its field reference)."""


@pytest.fixture(scope="module")
def mapper() -> Mapper:
    return Mapper(load({str(p.relative_to(RULES)): p.read_text() for p in sorted(RULES.rglob("*.yml"))}))


def alert(kind: str = "raised", number: int = 1, **changed: Any) -> Event:
    """A machine whose firmware went back."""
    data: dict[str, Any] = {
        "alert": "a" * 64,
        "rule": "firmware-rolled-back",
        "title": "firmware rolled back on n03: snp from 24 to 22",
        "level": "critical",
        "status": {"raised": "open", "revised": "acknowledged", "resolved": "resolved"}[kind],
        "subject": "chip:" + "0c" * 64,
        "tenant": "acme",
        "first_cause": "b" * 64,
        "causes": ["b" * 64],
        "count": 1,
        "opened": "2026-03-01T02:11:00.000000Z",
        "updated": "2026-03-01T02:11:00.000000Z",
        "revision": 1,
        "facts": {
            "host.name": "n03",
            "cloud.region": "eu-1",
            "attestation.component": "reported.snp",
            "attestation.was": 24,
            "attestation.now": 22,
            "store.name": None,
        },
        "reasons": [
            {
                "code": "firmware_rolled_back",
                "component": "snp",
                "got": 22,
                "want": 24,
                "source": "s",
                "remedy": "update",
            }
        ],
        "by": None if kind == "raised" else "ann",
        "comment": None,
        "machines": ["n03"],
    }
    id = derived_id("alert-event", "a" * 64, str(number))
    return Event(id, "/streams/correlate", f"alert.{kind}.v1", data["subject"], AT, "acme", data | changed)


def policy(kind: str, **changed: Any) -> Event:
    data: dict[str, Any] = {
        "change": "c" * 64,
        "proposal": "p" * 64,
        "store": "opa",
        "intent": {"policy": {}, "floors": {"snp/Milan": {}, "tdx/90c06f000000": {}}},
        "approvals": [{"by": "bob"}, {"by": "ann"}],
        "samples": {"refuse": [], "pass": []},
    }
    if kind != "change.due":
        data = {
            "change": "c" * 64,
            "store": "opa",
            "intent": "e" * 64,
            "base": "1" * 40,
            "revision": "2" * 40,
            "outcome": "confirmed",
            "refused": 5,
            "passed": 2,
            "detail": "5 refused and 2 passed, as they must be",
        }
    return Event(derived_id("p", kind), "/streams/push", f"{kind}.v1", "opa", AT, "acme", data | changed)


EVERY = [
    alert(),
    alert("revised", 2),
    alert("resolved", 3),
    alert(subject="region:eu-1", machines=["n01", "n02"]),
    alert(subject="store:git", machines=[], facts={"store.name": "git", "store.outcome": "drifted"}),
    alert(rule="our-own", reasons=[]),
    policy("change.due"),
    policy("receipt.confirmed"),
    policy("receipt.confirmed", change=None, outcome="restored"),
    policy("receipt.failed", outcome="not_enforced"),
    policy("store.drifted", outcome="drifted", revision=None),
]


def flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping) and not (prefix + key).startswith("attestation"):
            yield from flat(inner, f"{prefix}{key}.")
        else:
            yield prefix + key, inner


@pytest.mark.parametrize(
    "event", EVERY, ids=lambda e: f"{e.type} {e.data['store'] if 'store' in e.data else e.subject[:9]}"
)
def test_every_field_is_ecs_and_of_its_type_or_ours(mapper: Mapper, event: Event) -> None:
    kinds = {"keyword": str, "text": str, "date": str, "long": int, "keywords": list}
    for name, value in flat(mapper.document(event)):
        if name == "attestation":
            continue
        assert name in FIELDS, name
        assert isinstance(value, kinds[FIELDS[name]]), (name, value)
        if FIELDS[name] == "date":
            datetime.fromisoformat(value)
        if FIELDS[name] == "keywords":
            assert all(isinstance(one, str) for one in value)


def test_an_alert_says_who_what_and_how_bad(mapper: Mapper) -> None:
    document = mapper.document(alert())
    assert document["ecs"] == {"version": ECS_VERSION}
    assert document["host"] == {"name": "n03", "id": "chip:" + "0c" * 64}
    assert document["cloud"] == {"region": "eu-1"}
    event = document["event"]
    assert (event["kind"], event["category"], event["severity"]) == ("alert", ["intrusion_detection"], 99)
    assert event["action"] == "firmware-rolled-back"
    assert document["rule"]["id"] == "abfb3bf9-d2ad-53d8-88d1-a35b8952bdd5"
    assert document["threat"]["technique"]["id"] == ["T1542", "T1542.001", "T1562", "T1562.010"]
    assert document["threat"]["technique"]["subtechnique"]["id"] == ["T1542.001", "T1562.010"]
    attestation = document["attestation"]
    assert (attestation["component"], attestation["was"], attestation["now"]) == ("reported.snp", 24, 22)
    assert attestation["alert"]["id"] == "a" * 64
    assert attestation["reasons"][0]["got"] == "22"


def test_who_closed_it_is_said(mapper: Mapper) -> None:
    assert mapper.document(alert("resolved"))["message"].endswith("(resolved by ann)")


def test_a_burst_is_about_a_region_and_names_its_machines(mapper: Mapper) -> None:
    document = mapper.document(alert(subject="region:eu-1", machines=["n02", "n01"], facts={}))
    assert document["cloud"] == {"region": "eu-1"}
    assert "host" not in document
    assert document["related"] == {"hosts": ["n01", "n02"]}


def test_an_alert_of_an_unknown_rule_goes_out_all_the_same(mapper: Mapper) -> None:
    document = mapper.document(alert(rule="our-own"))
    assert document["rule"] == {"name": "our-own", "ruleset": "ratchet"}
    assert "threat" not in document


def test_a_change_names_its_families_and_approvers_but_not_the_whole_policy(mapper: Mapper) -> None:
    document = mapper.document(policy("change.due"))
    assert document["attestation"]["change"]["families"] == ["snp/Milan", "tdx/90c06f000000"]
    assert document["related"] == {"user": ["ann", "bob"]}
    assert "intent" not in json.dumps(document)
    assert (document["event"]["category"], document["event"]["type"]) == (["configuration"], ["change"])


@pytest.mark.parametrize(
    ("event", "action", "outcome"),
    [
        (policy("receipt.confirmed"), "policy-change-confirmed", "success"),
        (policy("receipt.confirmed", outcome="restored"), "policy-store-restored", "success"),
        (policy("receipt.failed", outcome="drifted"), "policy-change-failed", "failure"),
        (policy("store.drifted", outcome="drifted"), "policy-store-drifted", "failure"),
    ],
)
def test_a_receipt_says_what_became_of_a_change(mapper: Mapper, event: Event, action: str, outcome: str) -> None:
    said = mapper.document(event)["event"]
    assert (said["action"], said["outcome"]) == (action, outcome)


def test_facts_never_take_the_place_of_other_fields(mapper: Mapper) -> None:
    facts = {
        "event.id": "forged",
        "attestation.alert": "x",
        "attestation.alert.id": "y",
        "host.name": "n03",
        "x": {"y": 1},
    }
    document = mapper.document(alert(facts=facts))
    assert document["event"]["id"] == alert().id
    assert document["attestation"]["alert"]["id"] == "a" * 64
    assert document["attestation"]["event"]["id"] == "forged"


@pytest.mark.parametrize("type_", ["evidence.received.v1", "decision.approved.v1"])
def test_other_events_are_not_for_siems(mapper: Mapper, type_: str) -> None:
    with pytest.raises(Refused):
        mapper.document(Event("0" * 64, "/s", type_, "x", AT, "acme", {}))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_mangled_event_is_refused_and_nothing_else(data: st.DataObject) -> None:
    event = data.draw(st.sampled_from(EVERY))
    mangled = dict(event.data)
    for key in data.draw(st.lists(st.sampled_from(sorted(mangled)), min_size=1, max_size=3)):
        mangled[key] = data.draw(st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=3) | st.just([1]))
    try:
        json.dumps(Mapper().document(Event(event.id, event.source, event.type, event.subject, AT, "acme", mangled)))
    except Refused:
        return


# The file


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_event_is_a_line_and_a_repeat_is_none(tmp_path: Path) -> None:
    path = tmp_path / "out" / "alerts.ndjson"
    for _ in range(2):
        file = NdjsonFile(path)  # as after a restart
        for event in (alert(), alert("revised", 2), policy("change.due"), alert()):
            file.send(event)
    assert [line["event"]["id"] for line in lines(path)] == [alert().id, alert(number=2).id, policy("change.due").id]
    assert path.stat().st_mode & 0o007 == 0


@pytest.mark.parametrize("left", [1, 20, 100, -1])
def test_what_a_crash_cut_off_is_written_whole(tmp_path: Path, left: int) -> None:
    path = tmp_path / "alerts.ndjson"
    NdjsonFile(path).send(alert())
    first = path.read_bytes()
    NdjsonFile(path).send(alert("revised", 2))
    second = path.read_bytes()[len(first) :]
    # given that power went away with the second line half on disk
    path.write_bytes(first + second[:left])
    # when the notify stage sends both again
    file = NdjsonFile(path)
    file.send(alert())
    file.send(alert("revised", 2))
    assert path.read_bytes() == first + second


def test_a_rotated_file_is_begun_anew(tmp_path: Path) -> None:
    path, file = tmp_path / "alerts.ndjson", None
    file = NdjsonFile(path)
    file.send(alert())
    path.rename(tmp_path / "alerts.ndjson.1")
    file.send(alert("revised", 2))
    path.write_bytes(b"")
    file.send(alert("resolved", 3))
    assert [line["event"]["code"] for line in lines(path)] == ["alert.resolved.v1"]
    assert len(lines(tmp_path / "alerts.ndjson.1")) == 1


def test_lines_of_others_are_let_be(tmp_path: Path) -> None:
    path = tmp_path / "alerts.ndjson"
    path.write_bytes(b'{"note": "by hand"}\n\xff\xfe\n')
    NdjsonFile(path).send(alert())
    assert path.read_bytes().startswith(b'{"note": "by hand"}\n\xff\xfe\n{"event":')


def test_a_file_that_cannot_be_written_is_unreachable_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "alerts.ndjson"
    path.mkdir()
    with pytest.raises(Unreachable):
        NdjsonFile(path).send(alert())


def _writes(path: str) -> None:
    file = NdjsonFile(Path(path))
    for number in range(20):
        file.send(alert(number=number))


def test_processes_that_write_at_once_write_each_id_once(tmp_path: Path) -> None:
    path = tmp_path / "alerts.ndjson"
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_writes, args=(str(path),)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    ids = [line["event"]["id"] for line in lines(path)]
    assert sorted(ids) == sorted({alert(number=n).id for n in range(20)})
