"""What correlation makes of signals, receipts, decisions and time: the alerts that people get, and no others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest

from ratchet.app import assets
from ratchet.detect import firmware, ruleset
from ratchet.detect.sigma import RuleSet
from ratchet.event import Event, Json, digest, stamp
from ratchet.ports import Record
from ratchet.rollout.approval import DecisionKeys, public_key
from ratchet.rollout.approval import decision as signed_decision
from streams.correlate import Correlate

NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
MILAN = {"reported.bl": 4, "reported.snp": 24, "current.snp": 24, "committed.snp": 24, "launch.snp": 20}


@cache
def shipped() -> RuleSet:
    return ruleset.load(assets.rules())


class Kept:
    """A stage's state in memory; what does not survive JSON does not survive here."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def get(self, key: str) -> Json | None:
        text = self.values.get(key)
        return None if text is None else json.loads(text)

    def put(self, key: str, value: Json) -> None:
        self.values[key] = json.dumps(value, sort_keys=True)

    def delete(self, key: str) -> None:
        self.values.pop(key, None)

    def scan(self, prefix: str) -> Iterator[tuple[str, Json]]:
        return iter([(k, json.loads(v)) for k, v in sorted(self.values.items()) if k.startswith(prefix)])


def signal(name: str = "n01", at: datetime = NOON, **other: Any) -> dict[str, Any]:
    """A verdict on honest evidence of machine `name`; keyword arguments say what is otherwise."""
    evidence = digest(f"{name} {stamp(at)} {sorted(other.items(), key=str)}".encode())
    whole: dict[str, Any] = {
        "id": digest(b"verdict" + evidence.encode()),
        "time": stamp(at),
        "tenant": "acme",
        "subject": f"chip:{name}",
        "hint": name,
        "region": "eu-1",
        "workload": "payments",
        "labels": {},
        "evidence": evidence,
        "blob": digest(evidence.encode()),
        "tier": "affirming",
        "genuine": True,
        "failed": [],
        "reasons": [],
        "why": [],
        "tee": "snp",
        "family": "snp/Milan",
        "tcb": MILAN,
        "bits": {},
        "tcb_status": None,
        "advisories": [],
        "evaluation": None,
        "measurement": "aa" * 48,
        "debug": False,
        "instance": f"guest of {name}",
        "weak": False,
        "root": "ARK-Milan",
        "simulated": False,
        "trusted_until": stamp(at + 6 * HOUR),
        "late": False,
        "fresh": True,
        "vouched": False,
        "rejudged": None,
        "received": stamp(at),
        "recognition": "ours",
        "barred": [],
        "measurements": {},
        **other,
    }
    if not whole["genuine"]:
        whole |= {"subject": f"hint:{name}", "tier": "contraindicated", "trusted_until": None, "instance": None}
    whole.setdefault("replay_key", whole["blob"])
    whole.setdefault("proof", {"steps": [], "claims": {"platform": f"chip:{name}"}})
    return whole


def forged(name: str = "n01", at: datetime = NOON, **other: Any) -> dict[str, Any]:
    said = {"failed": ["signature"], "reasons": ["signature_invalid"], **other}
    return signal(name, at, genuine=False, **said)


def reason(code: str, **other: Any) -> dict[str, Any]:
    return {"code": code, "component": "tcb", "got": 1, "want": 2, "source": "doc", "remedy": "update", **other}


class World:
    """The stage, its state, and what it has said."""

    def __init__(self, rules: RuleSet | None = None) -> None:
        self.stage = Correlate(rules or shipped(), KEYS)
        self.state = Kept()
        self.said: list[Event] = []

    def takes(self, *records: Record) -> list[Event]:
        out = self.stage.step(records, self.state, max(r.event.time for r in records))
        assert {topic for topic, _ in out} <= {"alerts", "dead-letters"}
        self.said += (events := [event for _, event in out])
        return events

    def hears(self, *signals: Mapping[str, Any]) -> list[Event]:
        return self.takes(batch(*signals))

    def ticks(self, at: datetime) -> list[Event]:
        return self.takes(tick(at))

    def alerts(self) -> dict[str, dict[str, Any]]:
        """Latest data of each alert that was ever raised, by rule and subject."""
        return {f"{v['rule']} {v['subject']}": v for _, v in self.state.scan("alert/")}

    def rules(self) -> set[str]:
        return {e.data["rule"] for e in self.said}


OPERATOR = bytes(range(7, 39))
KEYS = DecisionKeys(operators=(public_key(OPERATOR),))


def batch(*signals: Mapping[str, Any]) -> Record:
    at = max(datetime.fromisoformat(s["time"]) for s in signals)
    data = {"from": 0, "to": len(signals), "signals": list(signals)}
    id = digest(json.dumps([s["id"] for s in signals]).encode())
    return Record(-1, "signals", Event(id, "/streams/verify", "signals.batched.v1", "0", at, "ratchet", data))


def tick(at: datetime) -> Record:
    event = Event(digest(stamp(at).encode()), "/clock", "clock.ticked.v1", "0", at, "ratchet", {"partition": "0"})
    return Record(-1, "ticks", event)


def decision(verb: str, alert: str, at: datetime, tenant: str = "acme") -> Record:
    data = {"alert": alert, "by": "mara", "comment": "on it"}
    event = signed_decision(OPERATOR, verb, alert, data, tenant=tenant, at=at, source="/console")
    return Record(-1, "decisions", event)


def receipt(type: str, store: str, at: datetime, **data: Any) -> Record:
    id = digest(f"{type}{store}{at}".encode())
    event = Event(id, "/streams/push", type, store, at, "acme", {"store": store, "change": "c1", **data})
    return Record(-1, "receipts", event)


def change(name: str, store: str, at: datetime, until: datetime | None = None, family: str = "snp/Milan") -> Record:
    loosens = {"proposal": f"proposal of {name}", "until": stamp(until), "by": ["ada", "bob"]} if until else None
    data = {"change": name, "store": store, "family": family, "loosens": loosens}
    event = Event(digest(f"{name}{store}".encode()), "/streams/roll-out", "change.due.v1", store, at, "acme", data)
    return Record(-1, "changes", event)


@pytest.fixture
def world() -> World:
    return World()


def test_honest_machines_raise_nothing_and_are_known(world: World) -> None:
    for hour in range(0, 48, 4):
        world.hears(*(signal(f"n{i:02}", NOON + hour * HOUR) for i in range(5)))
        world.ticks(NOON + hour * HOUR + MINUTE)
    assert world.said == []
    standing = world.state.get("standing/acme/chip:n03")
    assert standing is not None
    assert (standing["tier"], standing["hint"], standing["seen"]) == ("affirming", "n03", stamp(NOON + 44 * HOUR))


def test_standing_lapses_at_a_tick_and_only_then(world: World) -> None:
    world.hears(signal())
    world.ticks(NOON + 5 * HOUR)
    assert world.state.get("standing/acme/chip:n01")["tier"] == "affirming"
    world.ticks(NOON + 7 * HOUR)
    standing = world.state.get("standing/acme/chip:n01")
    assert standing is not None
    assert (standing["tier"], standing["since"]) == ("none", stamp(NOON + 6 * HOUR))


def test_a_proof_may_be_good_for_less_time_than_the_one_before(world: World) -> None:
    """Its collateral expires soon: the Tick after that must look, though an earlier proof reached further."""
    world.hears(signal())
    world.hears(signal(at=NOON + HOUR, trusted_until=stamp(NOON + 2 * HOUR)))
    world.ticks(NOON + 3 * HOUR)
    assert world.state.get("standing/acme/chip:n01")["tier"] == "none"


def test_a_forgery_is_alerted_under_the_senders_name_and_leaves_the_machine_alone(world: World) -> None:
    world.hears(signal())
    before = world.state.get("standing/acme/chip:n01")
    [alert] = world.hears(forged(at=NOON + HOUR, why=[reason("signature_invalid", component="signature")]))
    assert (alert.type, alert.subject, alert.tenant) == ("alert.raised.v1", "hint:n01", "acme")
    data = alert.data
    assert (data["rule"], data["status"], data["level"], data["machines"]) == (
        "evidence-failed",
        "open",
        "high",
        ["n01"],
    )
    assert data["title"] == "n01 sent evidence that is not genuine: signature failed"
    assert data["reasons"][0]["remedy"] == "update"
    assert data["facts"]["attestation.failed"] == ["signature"]
    assert world.state.get("standing/acme/chip:n01") == before
    assert world.state.get("standing/acme/hint:n01") is None, "a forger is not a machine"


def test_good_evidence_does_not_cover_up_a_forgery(world: World) -> None:
    world.hears(forged())
    world.hears(signal(at=NOON + HOUR))
    assert world.alerts()["evidence-failed hint:n01"]["status"] == "open"


def test_what_could_not_be_proven_accuses_nobody(world: World) -> None:
    """No key known to check an SNP report with: unproven, not forged; no standing comes of it."""
    why = reason("no_endorsement_key", remedy="fetch https://kdsintf.amd.com/vcek/v1/Milan/aa?snpSPL=24")
    [alert] = world.hears(signal(genuine=False, failed=[], reasons=["no_endorsement_key"], why=[why]))
    assert (alert.data["rule"], alert.subject, alert.data["level"]) == ("endorsement-missing", "hint:n01", "medium")
    assert alert.data["facts"]["attestation.url"] == "https://kdsintf.amd.com/vcek/v1/Milan/aa?snpSPL=24"
    assert alert.data["reasons"][0]["remedy"].startswith("fetch https://kdsintf.amd.com/")
    assert list(world.state.scan("standing/")) == []


@pytest.mark.parametrize("component", ["reported.snp", "committed.snp", "current.snp", "reported.bl"])
def test_firmware_that_goes_back_is_named_component_by_component(world: World, component: str) -> None:
    world.hears(signal())
    lower = {**MILAN, component: MILAN[component] - 2}
    [alert] = world.hears(signal(at=NOON + HOUR, tcb=lower))
    assert (alert.data["rule"], alert.data["subject"]) == ("firmware-rolled-back", "chip:n01")
    assert (
        alert.data["title"] == f"firmware rolled back on n01: {component} from {MILAN[component]} to {lower[component]}"
    )
    facts = alert.data["facts"]
    assert (facts["attestation.component"], facts["attestation.was"], facts["attestation.now"]) == (
        component,
        MILAN[component],
        lower[component],
    )
    [why] = alert.data["reasons"]
    assert (why["code"], why["component"], why["got"]) == ("firmware_rolled_back", component, lower[component])
    assert why["source"] == signal()["evidence"], "the evidence that proved the higher version"


def test_one_component_up_and_another_down_is_a_rollback(world: World) -> None:
    world.hears(signal())
    [alert] = world.hears(signal(at=NOON + HOUR, tcb={**MILAN, "reported.snp": 30, "reported.bl": 3}))
    assert alert.data["facts"]["attestation.component"] == "reported.bl"


def test_several_components_are_one_alert_that_names_them_all(world: World) -> None:
    world.hears(signal())
    [alert] = world.hears(signal(at=NOON + HOUR, tcb={**MILAN, "reported.snp": 22, "current.snp": 21}))
    assert alert.data["facts"]["attestation.component"] == ["current.snp", "reported.snp"]
    assert alert.data["facts"]["attestation.now"] == [21, 22]
    assert alert.data["title"].endswith("(and 1 more)")


def test_the_mark_stays_at_its_highest(world: World) -> None:
    world.hears(signal(), signal(at=NOON + HOUR, tcb={**MILAN, "reported.snp": 22}))
    world.takes(decision("resolved", world.said[0].data["alert"], NOON + 2 * HOUR))
    [again] = world.hears(signal(at=NOON + 3 * HOUR, tcb={**MILAN, "reported.snp": 23}))
    assert again.type == "alert.raised.v1", "23 is above 22 and still below 24"
    assert again.data["facts"]["attestation.was"] == 24


def test_a_guests_launch_tcb_may_be_old(world: World) -> None:
    world.hears(signal(), signal(at=NOON + HOUR, tcb={**MILAN, "launch.snp": 10}))
    assert world.said == []


def test_two_guests_on_one_chip_are_one_machine_and_not_a_rollback(world: World) -> None:
    """The chip's firmware is the chip's, whichever guest asks; a TD's own start-up versions are its own."""
    old = {"sgx.0": 11, "pcesvn": 13, "tdx.0": 5, "tdx.1": 1}
    new = {**old, "tdx.0": 7}
    for hour, tcb, guest in [(0, old, "a"), (1, new, "b"), (2, old, "a"), (3, new, "b")]:
        world.hears(signal(at=NOON + hour * HOUR, tcb=tcb, instance=guest, tee="tdx"))
    assert world.said == []
    [alert] = world.hears(signal(at=NOON + 4 * HOUR, tcb={**new, "sgx.0": 10}, instance="a", tee="tdx"))
    assert alert.data["facts"]["attestation.component"] == "sgx.0"


def test_a_new_tdx_module_counts_from_the_start_again() -> None:
    def compare(marks: firmware.Marks, tcb: dict[str, int], at: str) -> firmware.Comparison:
        return firmware.compare(marks, tcb, tee="tdx", guest="g", at=at, evidence=f"evidence at {at}")

    marks = compare({}, {"tdx2.0": 7, "tdx2.1": 1}, "t1").marks
    compared = compare(marks, {"tdx2.0": 2, "tdx2.1": 3}, "t2")
    assert compared.fell == {}
    fell = compare(compared.marks, {"tdx2.0": 9, "tdx2.1": 1}, "t3").fell
    assert [(f.component, f.was, f.now) for f in fell.values()] == [("tdx2.1", 3, 1)]
    fell = compare(compared.marks, {"tdx2.0": 1, "tdx2.1": 3}, "t3").fell
    assert [(f.component, f.was, f.now) for f in fell.values()] == [("tdx2.0", 2, 1)]


def test_a_forged_rollback_and_a_forged_upgrade_move_no_mark(world: World) -> None:
    world.hears(signal(), forged(at=NOON + HOUR, tcb={**MILAN, "reported.snp": 255}))
    world.hears(signal(at=NOON + 2 * HOUR))
    assert world.rules() == {"evidence-failed"}


def test_late_evidence_shows_the_past_and_not_a_rollback(world: World) -> None:
    world.hears(signal(at=NOON + HOUR, tcb={**MILAN, "reported.snp": 25}))
    world.hears(signal(at=NOON, late=True))
    assert world.said == []


@pytest.mark.parametrize("sender", ["n01", "n02"])
def test_a_replay_names_who_sent_it_now_and_who_did_first(world: World, sender: str) -> None:
    first = signal()
    world.hears(first)
    again = {**signal(sender, NOON + HOUR), "blob": first["blob"], "subject": "chip:n01"}
    [alert] = world.hears(again)
    assert (alert.data["rule"], alert.data["subject"], alert.data["machines"]) == (
        "evidence-replayed",
        f"hint:{sender}",
        [sender],
    )
    assert alert.data["title"] == f"{sender} sent evidence that n01 had sent at {stamp(NOON)}"
    assert world.state.get("standing/acme/chip:n01")["seen"] == stamp(NOON)


def test_evidence_dressed_otherwise_is_a_replay_all_the_same_and_keeps_nobody_alive(world: World) -> None:
    first = signal(replay_key="0c" * 32)
    world.hears(first)
    again = signal(at=NOON + HOUR, replay_key="0c" * 32)
    assert again["blob"] != first["blob"]
    [alert] = world.hears(again)
    assert alert.data["rule"] == "evidence-replayed"
    assert world.state.get("standing/acme/chip:n01")["seen"] == stamp(NOON)


def test_a_replay_under_a_challenge_is_a_replay_and_not_also_a_failure(world: World) -> None:
    first = signal()
    world.hears(first)
    again = forged(at=NOON + HOUR, failed=["freshness"], reasons=["challenge_mismatch"], blob=first["blob"])
    world.hears(again)
    assert world.rules() == {"evidence-replayed"}


def test_a_forgery_sent_twice_is_a_forgery_twice(world: World) -> None:
    one = forged()
    world.hears(one)
    world.hears(forged(at=NOON + HOUR, blob=one["blob"]))
    alert = world.alerts()["evidence-failed hint:n01"]
    assert (alert["count"], world.rules()) == (2, {"evidence-failed"})


def test_replays_do_not_keep_a_machine_alive(world: World) -> None:
    first = signal()
    world.hears(first)
    for hour in range(1, 14):
        world.hears({**signal(at=NOON + hour * HOUR), "blob": first["blob"]})
        world.ticks(NOON + hour * HOUR)
    assert {"evidence-replayed", "machine-silent"} == world.rules()
    assert world.state.get("standing/acme/chip:n01")["tier"] == "none"


def test_tenants_do_not_see_each_other(world: World) -> None:
    mine, theirs = signal(), signal(at=NOON + HOUR, tcb={**MILAN, "reported.snp": 2})
    world.hears(mine, {**theirs, "tenant": "other", "blob": mine["blob"]})
    assert world.said == []


def test_weak_identities_are_kept_apart_by_sender(world: World) -> None:
    """Masked chip ids: two senders are two machines, whatever chip they share."""
    for minute, (name, snp) in enumerate([("n01", 24), ("n02", 22), ("n01", 24), ("n02", 22)]):
        world.hears(
            signal(name, NOON + minute * MINUTE, subject=f"hint:{name}", weak=True, tcb={**MILAN, "reported.snp": snp})
        )
    assert world.said == []
    assert [k for k, _ in world.state.scan("standing/")] == ["standing/acme/hint:n01", "standing/acme/hint:n02"]


def test_a_debug_guest_is_alerted_until_it_is_gone_not_until_its_neighbour_speaks(world: World) -> None:
    debug: dict[str, Any] = {"debug": True, "tier": "contraindicated", "trusted_until": None, "instance": "bad"}
    debug["reasons"] = ["debug_enabled"]
    [raised] = world.hears(signal(**debug, why=[reason("debug_enabled"), reason("no_challenge")]))
    assert raised.data["rule"] == "debug-enabled"
    world.hears(signal(at=NOON + HOUR, instance="good"))
    assert world.alerts()["debug-enabled chip:n01"]["status"] == "open"
    [resolved] = world.hears(signal(at=NOON + 2 * HOUR, instance="bad"))
    assert (resolved.type, resolved.data["status"], resolved.data["by"]) == ("alert.resolved.v1", "resolved", None)
    assert resolved.data["alert"] == raised.data["alert"]


def test_a_debug_guest_that_left_is_forgotten_after_a_day(world: World) -> None:
    bad: dict[str, Any] = {"debug": True, "tier": "contraindicated", "trusted_until": None, "instance": "bad"}
    world.hears(signal(**bad, reasons=["debug_enabled"]))
    for hour in (6, 12, 18):
        world.hears(signal(at=NOON + hour * HOUR, instance="good"))
    assert world.alerts()["debug-enabled chip:n01"]["status"] == "open"
    [resolved] = world.hears(signal(at=NOON + 24 * HOUR, instance="good"))
    assert resolved.data["rule"] == "debug-enabled"


def test_out_of_date_is_one_alert_that_ends_with_the_update(world: World) -> None:
    old: dict[str, Any] = {"tier": "warning", "tcb_status": "OutOfDate", "tee": "tdx", "family": "tdx/90c06f000000"}
    why: dict[str, Any] = {
        "reasons": ["tcb_out_of_date"],
        "why": [reason("no_challenge"), reason("tcb_out_of_date", got="OutOfDate")],
    }
    for hour in range(100):
        world.hears(signal(at=NOON + hour * HOUR, **old, **why))
    assert [e.data["count"] for e in world.said] == [1, 2, 4, 8, 16, 32, 64], "not a hundred times the same"
    alert = world.said[-1].data
    assert (len(alert["causes"]), alert["machines"], alert["level"]) == (50, ["n01"], "medium")
    assert [r["code"] for r in alert["reasons"]] == ["tcb_out_of_date"], "reasons of other matters are left out"
    [resolved] = world.hears(signal(at=NOON + 100 * HOUR, tcb_status="UpToDate", tee="tdx"))
    assert (resolved.type, resolved.data["count"], resolved.data["revision"]) == ("alert.resolved.v1", 100, 8)
    world.hears(signal(at=NOON + 101 * HOUR, **old, **why))
    assert world.said[-1].type == "alert.raised.v1"
    assert world.said[-1].data["alert"] != alert["alert"], "another first cause, another alert"


def test_a_changed_fact_is_worth_a_revision(world: World) -> None:
    old: dict[str, Any] = {"tier": "warning", "tcb_status": "OutOfDate", "reasons": ["tcb_out_of_date"]}
    for hour, advisories in enumerate([["INTEL-SA-1"], ["INTEL-SA-1"], ["INTEL-SA-1"], ["INTEL-SA-1", "INTEL-SA-2"]]):
        world.hears(signal(at=NOON + hour * HOUR, **old, advisories=advisories))
    world.hears(signal(at=NOON + 4 * HOUR, **old, advisories=["INTEL-SA-2"]))
    assert [(e.data["count"], e.data["facts"]["attestation.advisories"]) for e in world.said] == [
        (1, ["INTEL-SA-1"]),
        (2, ["INTEL-SA-1"]),
        (4, ["INTEL-SA-1", "INTEL-SA-2"]),
        (5, ["INTEL-SA-2"]),
    ]


def test_evidence_that_could_not_be_judged_ends_nothing(world: World) -> None:
    world.hears(signal(tier="warning", tcb_status="OutOfDate", reasons=["tcb_out_of_date"]))
    world.hears(signal(at=NOON + HOUR, tier="none", trusted_until=None, reasons=["tcb_unknown"]))
    assert world.alerts()["tcb-out-of-date chip:n01"]["status"] == "open"


def test_an_amd_machine_below_a_floor_is_out_of_date(world: World) -> None:
    why = [reason("below_floor", component="reported.snp", got=20, want=24, remedy="update SEV firmware")]
    [alert] = world.hears(signal(tier="warning", reasons=["below_floor"], why=why))
    assert (alert.data["rule"], alert.data["reasons"][0]["remedy"]) == ("tcb-out-of-date", "update SEV firmware")


def test_a_revoked_certificate_is_not_called_a_forgery(world: World) -> None:
    [alert] = world.hears(forged(failed=["revocation"], reasons=["certificate_revoked"]))
    assert (alert.data["rule"], alert.data["subject"]) == ("certificate-revoked", "hint:n01")


def test_a_machine_whose_certificate_is_revoked_is_distrusted_now_and_not_when_its_trust_would_have_ended(
    world: World,
) -> None:
    world.hears(signal("n01", NOON), signal("n02", NOON))
    revoked = forged("n01", NOON + HOUR, failed=["revocation"], reasons=["certificate_revoked"])
    [alert] = world.hears({**revoked, "subject": "chip:n01", "weak": False})
    assert (alert.data["rule"], alert.data["subject"]) == ("certificate-revoked", "chip:n01")
    tiers = {key.rpartition(":")[2]: standing["tier"] for key, standing in world.state.scan("standing/")}
    assert tiers == {"n01": "contraindicated", "n02": "affirming"}


def test_a_stranger_cannot_have_a_machine_distrusted(world: World) -> None:
    world.hears(signal("n01", NOON))
    for failed in (["revocation", "signature"], ["revocation", "freshness"], ["signature"]):
        said = forged("n01", NOON + HOUR, failed=failed, reasons=["certificate_revoked"])
        world.hears({**said, "subject": "chip:n01"})
    [(_, standing)] = world.state.scan("standing/")
    assert standing["tier"] == "affirming"


def test_an_expired_vendor_document_accuses_no_machine(world: World) -> None:
    for i in range(6):
        expired: dict[str, Any] = {
            "failed": ["collateral"],
            "reasons": ["tcb_info_expired"],
            "tee": "tdx",
            "family": "tdx/90c0",
        }
        world.hears(forged(f"n{i:02}", NOON + i * MINUTE, **expired))
    assert world.rules() == {"collateral-failed"}
    [alert] = world.alerts().values()
    assert (alert["subject"], len(alert["machines"])) == ("family:tdx/90c0", 6)


def test_an_unknown_measurement_is_alerted(world: World) -> None:
    [alert] = world.hears(signal(tier="warning", reasons=["measurement_unknown"], measurement="ee" * 48))
    assert alert.data["rule"] == "measurement-unknown"
    assert alert.data["title"] == "n01 runs eeeeeeeeeeeeeeee…, which nobody vouches for"


def test_a_machine_that_stays_away_is_missed_once_and_welcomed_back(world: World) -> None:
    world.hears(signal())
    for hour in range(1, 30):
        world.ticks(NOON + hour * HOUR)
    [alert] = world.said
    assert (alert.data["rule"], alert.data["subject"], alert.data["opened"]) == (
        "machine-silent",
        "chip:n01",
        stamp(NOON + 13 * HOUR),
    )
    assert alert.data["title"] == f"n01 has proved nothing since {stamp(NOON)}"
    assert alert.data["causes"] == [signal()["id"]]
    assert (alert.data["reasons"][0]["code"], alert.data["reasons"][0]["want"]) == ("machine_silent", "proof every 12h")
    [back] = world.hears(signal(at=NOON + 30 * HOUR))
    assert (back.type, back.data["alert"]) == ("alert.resolved.v1", alert.data["alert"])
    for hour in range(31, 60):
        world.ticks(NOON + hour * HOUR)
    assert world.said[-1].type == "alert.raised.v1"
    assert world.said[-1].data["alert"] != alert.data["alert"]


def test_exactly_the_limit_is_not_yet_silence(world: World) -> None:
    world.hears(signal())
    assert world.ticks(NOON + 12 * HOUR) == []
    assert len(world.ticks(NOON + 12 * HOUR + timedelta(microseconds=1))) == 1


def test_forgeries_are_not_a_sign_of_life(world: World) -> None:
    world.hears(signal())
    world.hears(forged(at=NOON + 11 * HOUR))
    world.ticks(NOON + 13 * HOUR)
    assert world.rules() == {"evidence-failed", "machine-silent"}


def test_a_sender_that_never_proved_anything_cannot_be_missed(world: World) -> None:
    world.hears(forged())
    world.ticks(NOON + 48 * HOUR)
    assert world.rules() == {"evidence-failed"}


def test_a_burst_is_one_alert_of_the_region_that_grows_and_ends(world: World) -> None:
    for i in range(4):
        world.hears(forged(f"n{i:02}", NOON + i * MINUTE))
        world.hears(forged(f"n{i:02}", NOON + i * MINUTE + timedelta(seconds=1)))
    assert world.rules() == {"evidence-failed"}, "four machines, however often they fail, are no burst of five"
    world.hears(forged("elsewhere", NOON + 4 * MINUTE, region="us-1"))
    assert world.rules() == {"evidence-failed"}
    world.hears(forged("n04", NOON + 5 * MINUTE))
    burst = world.alerts()["failure-burst region:eu-1"]
    assert burst["machines"] == ["n00", "n01", "n02", "n03", "n04"]
    assert burst["title"] == "5 machines of region eu-1 sent evidence that is not genuine"
    assert burst["first_cause"] in burst["causes"]
    world.hears(forged("n05", NOON + 6 * MINUTE))
    burst = world.alerts()["failure-burst region:eu-1"]
    assert (burst["revision"], burst["machines"][-1], burst["count"]) == (2, "n05", 6)
    assert world.ticks(NOON + 30 * MINUTE) == []
    [over] = world.ticks(NOON + 36 * MINUTE)
    assert (over.type, over.data["rule"]) == ("alert.resolved.v1", "failure-burst")


def test_failures_spread_over_a_day_are_no_burst(world: World) -> None:
    for i in range(20):
        world.hears(forged(f"n{i:02}", NOON + i * 8 * MINUTE))
        world.ticks(NOON + i * 8 * MINUTE + MINUTE)
    assert world.rules() == {"evidence-failed"}


def test_a_drifted_store_is_alerted_until_it_confirms(world: World) -> None:
    [drift] = world.takes(receipt("store.drifted.v1", "git", NOON, outcome="drifted", base="3f9c", revision="77ab"))
    assert (drift.data["rule"], drift.data["subject"], drift.data["machines"]) == ("store-drifted", "store:git", [])
    assert drift.data["facts"]["store.found"] == "77ab"
    assert drift.data["title"] == "policy store git is not as it was left: drifted"
    assert world.takes(receipt("receipt.confirmed.v1", "opa", NOON + HOUR)) == [], "another store's word"
    [over] = world.takes(receipt("receipt.confirmed.v1", "git", NOON + HOUR))
    assert over.type == "alert.resolved.v1"


def test_a_push_that_meets_drift_is_one_alert(world: World) -> None:
    world.takes(receipt("receipt.failed.v1", "git", NOON, outcome="drifted"))
    world.takes(receipt("store.drifted.v1", "git", NOON, outcome="drifted"))
    assert [e.data["rule"] for e in world.said] == ["store-drifted"]


def test_a_store_that_does_not_enforce_is_alerted(world: World) -> None:
    [alert] = world.takes(receipt("receipt.failed.v1", "opa", NOON, outcome="not_enforced"))
    assert alert.data["rule"] == "store-not-enforcing"


def test_a_loosening_shouts_until_every_store_has_proved_its_end(world: World) -> None:
    week = 7 * 24 * HOUR
    [alert] = world.takes(*(change("down", store, NOON, NOON + week) for store in ("git", "opa")))
    assert (alert.type, alert.data["rule"], alert.subject) == ("alert.raised.v1", "floor-loosened", "policy:snp/Milan")
    assert (alert.data["level"], alert.data["count"]) == ("high", 1), "one loosening, however many stores"
    assert alert.data["title"] == f"snp/Milan admits what it refused, until {stamp(NOON + week)}"
    assert alert.data["facts"]["attestation.approvers"] == ["ada", "bob"]
    assert alert.data["facts"]["attestation.proposal"] == "proposal of down"
    for store in ("git", "opa"):
        assert world.takes(receipt("receipt.confirmed.v1", store, NOON + MINUTE, change="down")) == []
    world.ticks(NOON + 2 * week)
    assert world.alerts()["floor-loosened policy:snp/Milan"]["status"] == "open"
    assert world.takes(*(change("back", store, NOON + week) for store in ("git", "opa"))) == []
    assert world.takes(receipt("receipt.confirmed.v1", "git", NOON + week + MINUTE, change="back")) == []
    assert world.takes(receipt("receipt.failed.v1", "opa", NOON + week + MINUTE, change="back")) != [], "not proved"
    assert world.alerts()["floor-loosened policy:snp/Milan"]["status"] == "open"
    over = world.takes(receipt("receipt.confirmed.v1", "opa", NOON + week + HOUR, change="back"))
    assert {e.data["rule"]: e.type for e in over}["floor-loosened"] == "alert.resolved.v1"
    assert [key for prefix in ("loosened/", "tightened/", "open/") for key, _ in world.state.scan(prefix)] == []


def test_a_floor_that_never_came_to_be_ends_no_loosening(world: World) -> None:
    """A tightening was sent and gave way to the next change before the stores had proved it."""
    world.takes(change("down", "git", NOON, NOON + 9 * HOUR), change("up", "git", NOON + HOUR))
    [alert] = world.takes(change("still down", "git", NOON + 2 * HOUR, NOON + 9 * HOUR))
    assert (alert.type, alert.data["count"]) == ("alert.revised.v1", 2)
    assert world.takes(receipt("receipt.confirmed.v1", "git", NOON + 3 * HOUR, change="up")) == []
    assert world.takes(receipt("receipt.confirmed.v1", "git", NOON + 3 * HOUR, change="still down")) == []


def test_what_is_sent_for_another_family_ends_no_loosening(world: World) -> None:
    world.takes(change("down", "git", NOON, NOON + 9 * HOUR))
    world.takes(change("up", "git", NOON + HOUR, family="snp/Genoa"))
    assert world.takes(receipt("receipt.confirmed.v1", "git", NOON + 2 * HOUR, change="up")) == []
    assert world.rules() == {"floor-loosened"}


def test_a_tightening_is_no_alert(world: World) -> None:
    assert world.takes(change("up", "git", NOON), receipt("receipt.confirmed.v1", "git", NOON + MINUTE)) == []


def test_people_acknowledge_and_resolve(world: World) -> None:
    [raised] = world.hears(forged())
    alert = raised.data["alert"]
    [seen] = world.takes(decision("acknowledged", alert, NOON + MINUTE))
    assert (seen.type, seen.data["status"], seen.data["by"], seen.data["comment"]) == (
        "alert.revised.v1",
        "acknowledged",
        "mara",
        "on it",
    )
    world.hears(forged(at=NOON + HOUR))
    assert world.said[-1].data["status"] == "acknowledged", "a further cause does not open it again"
    [done] = world.takes(decision("resolved", alert, NOON + 2 * HOUR))
    assert (done.type, done.data["status"], done.data["count"]) == ("alert.resolved.v1", "resolved", 2)
    [anew] = world.hears(forged(at=NOON + 3 * HOUR))
    assert (anew.type, anew.data["alert"] == alert) == ("alert.raised.v1", False)


def test_what_the_operators_key_did_not_sign_decides_nothing(world: World) -> None:
    [raised] = world.hears(forged())
    alert = raised.data["alert"]
    good = decision("resolved", alert, NOON + MINUTE).event
    unsigned = {"alert": alert, "by": "mara", "comment": ""}
    stranger = signed_decision(bytes(32), "resolved", alert, unsigned, tenant="acme", at=NOON, source="/console")
    for event in (
        replace(good, data=unsigned),
        replace(good, data={**good.data, "by": "somebody else"}),
        replace(good, type="decision.acknowledged.v1"),
        replace(good, tenant="other"),
        replace(good, time=NOON + HOUR),
        replace(good, id="e" * 64),
        stranger,
    ):
        [letter] = world.takes(Record(-1, "decisions", event))
        assert letter.type == "letter.dead.v1"
    [done] = world.takes(Record(-1, "decisions", good))
    assert (done.data["status"], done.data["by"]) == ("resolved", "mara")


def test_an_open_loosening_is_not_resolved_by_hand(world: World) -> None:
    [raised] = world.takes(change("down", "git", NOON, until=NOON + 168 * HOUR))
    assert raised.data["rule"] == "floor-loosened"
    assert world.takes(decision("resolved", raised.data["alert"], NOON + MINUTE)) == []
    [seen] = world.takes(decision("acknowledged", raised.data["alert"], NOON + 2 * MINUTE))
    assert seen.data["status"] == "acknowledged"


def test_a_retired_machine_has_no_standing_no_alerts_and_is_not_missed(world: World) -> None:
    world.hears(signal("n1", NOON, tier="contraindicated", trusted_until=None, debug=True, reasons=["debug_enabled"]))
    assert world.rules() == {"debug-enabled"}
    subject = world.said[0].data["subject"]
    data = {"identity": subject, "comment": "sold", "by": "mara"}
    event = signed_decision(OPERATOR, "retired", subject, data, tenant="acme", at=NOON + HOUR, source="/cli")
    [ended] = world.takes(Record(-1, "decisions", event))
    assert (ended.type, ended.data["by"]) == ("alert.resolved.v1", "mara")
    assert world.state.get(f"standing/acme/{subject}") is None
    assert world.ticks(NOON + 1000 * HOUR) == [], "nobody waits for it"
    world.hears(signal("n1", NOON + 1001 * HOUR))
    assert world.state.get(f"standing/acme/{subject}") is not None, "what it sends later is heard"


def test_decisions_that_mean_nothing_do_nothing(world: World) -> None:
    [raised] = world.hears(forged())
    alert = raised.data["alert"]
    nothing = [
        decision("acknowledged", "0" * 64, NOON + MINUTE),
        decision("resolved", alert, NOON + MINUTE, tenant="other"),
        decision("approved", alert, NOON + MINUTE),
    ]
    assert world.takes(*nothing) == []
    world.takes(decision("resolved", alert, NOON + 2 * MINUTE))
    assert world.takes(decision("resolved", alert, NOON + 3 * MINUTE)) == []
    assert world.takes(decision("acknowledged", alert, NOON + 3 * MINUTE)) == []


def test_a_signal_twice_is_a_signal_once(world: World) -> None:
    for one in (signal(), forged("n02")):
        world.hears(one, one)
        said, values = len(world.said), dict(world.state.values)
        assert world.hears(one) == []
        assert len(world.said) == said
        assert world.state.values == values


def test_alert_events_are_numbered_and_the_state_holds_the_latest(world: World) -> None:
    for hour in range(9):
        world.hears(forged(at=NOON + hour * HOUR))
    assert [e.data["revision"] for e in world.said] == [1, 2, 3, 4]
    assert len({e.id for e in world.said}) == 4
    assert world.state.get(f"alert/{world.said[0].data['alert']}") == world.said[-1].data


def test_a_strangers_name_cannot_break_the_wording(world: World) -> None:
    [alert] = world.hears(forged("n\x1b[2J{attestation.root}" + "x" * 110))
    assert "\x1b" not in alert.data["title"]
    assert "{attestation.root}" in alert.data["title"], "what a value says is not filled in again"
    assert len(alert.data["title"]) < 250


def test_people_tune_the_limits_in_the_rule_files() -> None:
    files = dict(assets.rules())
    silent, burst = "rules/evidence/machine-silent.yml", "rules/evidence/failure-burst.yml"
    files[silent] = files[silent].replace("after: 12h", "after: 2h")
    files[burst] = files[burst].replace("machines: 5", "machines: 2").replace("by: cloud.region", "by: service.name")
    world = World(ruleset.load(files))
    world.hears(signal(), forged("n02"), forged("n03"))
    world.ticks(NOON + 3 * HOUR)
    assert {"machine-silent chip:n01", "failure-burst name:payments"} <= set(world.alerts())


def test_a_rule_of_ones_own_sees_every_observation() -> None:
    own = """
title: Canary guests fail their proof
id: 0f4a8f0e-1111-4222-8333-444455556666
description: A label decides who is told.
level: low
logsource: {product: ratchet, service: evidence}
detection:
  unproven: {event.action: evidence-unproven, labels.stage|startswith: can}
  condition: unproven
"""
    world = World(ruleset.load({"rules/evidence/canary-unproven.yml": own}))
    world.hears(signal(genuine=False, labels={"stage": "canary"}, reasons=["no_endorsement_key"]))
    [alert] = world.alerts().values()
    assert (alert["rule"], alert["title"]) == ("canary-unproven", "Canary guests fail their proof")
    assert alert["reasons"][0]["code"] == "no_endorsement_key"
