"""Vendors' documents, held against a fleet, become proposals: the right ones, once, and in any order of arrival."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from test_appraise import SNP, proof

from ratchet import advisory
from ratchet.collateral import parse
from ratchet.collateral.roots import vendor_roots
from ratchet.event import BlobId, Event, canonical, derived_id, digest, stamp
from ratchet.policy.appraise import Policy
from ratchet.policy.floor import from_data, shortfalls
from ratchet.policy.reference import ReferenceSet
from ratchet.policy.simulate import Bounds
from ratchet.ports import Record
from ratchet.rollout.approval import DecisionKeys, decision, proposal_hash, public_key
from streams.decide import Decide
from streams.embedded import Kept

OPERATOR = bytes(range(5, 37))
KEYS = DecisionKeys(operators=(public_key(OPERATOR),))
ICE_LAKE = "sgx/00606a000000"
AT = datetime(2025, 6, 20, tzinfo=UTC)
POLICY = Policy(accept={"SWHardeningNeeded": ("*",)})


class Blobs:
    """Raw bytes in memory."""

    def __init__(self) -> None:
        self.kept: dict[BlobId, bytes] = {}

    def put(self, data: bytes) -> BlobId:
        self.kept[digest(data)] = data
        return digest(data)

    def get(self, blob: BlobId) -> bytes | None:
        return self.kept.get(blob)


class World:
    """A decide stage, its state, and the records that reach it."""

    def __init__(self, policy: Policy = POLICY, bounds: Bounds | None = None) -> None:
        self.blobs = Blobs()
        self.letters: list[Event] = []
        self.state = Kept({})
        self.stage = Decide(vendor_roots(), policy, bounds or Bounds(max_refused=2, max_fraction=0.5), self.blobs, KEYS)

    def step(self, *records: Record) -> list[Event]:
        ordered = sorted(records, key=lambda r: (r.event.time, r.topic, r.event.id))
        out = self.stage.step(ordered, self.state, AT + timedelta(days=1))
        self.letters += [event for topic, event in out if topic == "dead-letters"]
        return [event for topic, event in out if topic == "proposals"]

    def document(self, raw: bytes, at: datetime) -> list[Record]:
        blob = self.blobs.put(raw)
        return [
            Record(
                -1,
                "collateral",
                Event(
                    id=derived_id("collateral", blob, known.key, stamp(at)),
                    source="/streams/digest",
                    type="collateral.known.v1",
                    subject=known.key,
                    time=at,
                    tenant="default",
                    data={
                        "blob": blob,
                        "kind": known.kind.value,
                        "key": known.key,
                        "root": known.root,
                        "reasons": [r.to_data() for r in known.reasons],
                    },
                ),
            )
            for known in parse(raw, at, vendor_roots())
        ]


def signals(*machines: dict[str, Any]) -> Record:
    last = max(m["time"] for m in machines)
    event = Event(
        id=derived_id("signals", *(m["id"] for m in machines)),
        source="/streams/verify",
        type="signals.batched.v1",
        subject="0",
        time=datetime.fromisoformat(last),
        tenant="ratchet",
        data={"from": 0, "to": len(machines), "signals": list(machines)},
    )
    return Record(-1, "signals", event)


def sgx(name: str, *components: int, pcesvn: int = 13, at: datetime = AT, **changes: Any) -> dict[str, Any]:
    return {
        "id": derived_id("verdict", name, stamp(at)),
        "time": stamp(at),
        "tenant": "default",
        "subject": f"ppid:{name}",
        "hint": name,
        "region": "eu-west",
        "family": ICE_LAKE,
        "tee": "sgx",
        "genuine": True,
        "fresh": True,
        "measurement": "ab" * 32,
        "debug": False,
        "tcb": {f"sgx.{n}": components[n] if n < len(components) else 255 for n in range(16)} | {"pcesvn": pcesvn},
        "bits": {},
        **changes,
    }


def snp(name: str, version: int, at: datetime = AT, **changes: Any) -> dict[str, Any]:
    return sgx(
        name, at=at, subject=f"chip:{name}", family="snp/Genoa", tee="snp", tcb={"reported.snp": version}, **changes
    )


def change(floor: Any, at: datetime, family: str = ICE_LAKE) -> Record:
    data = {"change": derived_id("change", stamp(at)), "intent": {"floors": {family: floor}, "policy": {}}}
    return Record(
        1,
        "changes",
        Event(derived_id("due", stamp(at)), "/streams/roll-out", "change.due.v1", "git", at, "default", data),
    )


def decided(verb: str, subject: str, data: dict[str, Any], at: datetime) -> Record:
    event = decision(OPERATOR, verb, subject, {**data, "by": "root"}, tenant="default", at=at, source="/cli")
    return Record(1, "decisions", event)


def reviewed(name: str, version: int, at: datetime, **changes: Any) -> Record:
    floors = [{"family": "snp/Genoa", "minima": [{"tcb": {"reported.snp": version}}]}]
    written = {
        "format": advisory.MEDIA_TYPE,
        "version": 1,
        "vendor": "AMD",
        "bulletin": name,
        "title": name,
        "url": "https://example.org/" + name,
        "published": "2025-02-03T00:00:00Z",
        "reviewer": "Ada",
        "reviewed_at": "2025-02-04T00:00:00Z",
        "floors": floors,
        **changes,
    }
    raw = json.dumps(written).encode()
    (one,) = advisory.parse(raw)
    data = {**one.to_data(), "blob": digest(raw)}
    return Record(
        -1,
        "advisories",
        Event(derived_id("advisory", digest(raw)), "/streams/digest", "advisory.known.v1", name, at, "default", data),
    )


@pytest.fixture
def ice_lake(corpus: Path) -> dict[int, bytes]:
    """Intel's own documents for Ice Lake, by evaluation; all current on 20 June 2025."""
    folder = corpus / "collateral" / "intel"
    return {n: (folder / f"fortanix-sgx-00606a000000-2025-06-eval{n}.json").read_bytes() for n in (17, 18, 19)}


def fleet(world: World, documents: dict[int, bytes]) -> list[dict[str, Any]]:
    """Ten machines at the highest level of evaluation 17, one that is a level behind."""
    (floor,) = [
        known.parsed for known in parse(documents[17], AT, vendor_roots()) if known.kind.value == "intel.tcb-info"
    ]
    top, low = floor.levels[0], floor.levels[2]
    machines = [sgx(f"n{n:02}", *top.sgx, pcesvn=top.pcesvn) for n in range(10)]
    return [*machines, sgx("n10", *low.sgx, pcesvn=low.pcesvn)]


def test_nobody_is_asked_about_a_family_that_the_fleet_does_not_have(ice_lake: dict[int, bytes]) -> None:
    world = World()
    assert world.step(*world.document(ice_lake[17], AT)) == []


def test_the_first_machine_of_a_family_brings_its_proposal(ice_lake: dict[int, bytes]) -> None:
    world = World()
    world.step(*world.document(ice_lake[17], AT - timedelta(days=1)))
    (made,) = world.step(signals(fleet(world, ice_lake)[0]))
    data = made.data
    assert (made.type, made.subject, made.time) == ("proposal.made.v1", ICE_LAKE, AT)
    assert (data["exact"], data["tightening"], data["before"], data["automatic"]) == (True, True, None, True)
    assert data["impact"]["considered"] == 1
    assert data["floor"]["evaluation"] == 17
    assert data["hash"] == proposal_hash(data)
    assert data["samples"]["refuse"]
    assert data["samples"]["pass"]
    canonical(data)
    assert world.step(signals(*fleet(world, ice_lake))) == [], "the next ones bring nothing new"


def test_new_tcb_info_names_the_machines_that_it_would_refuse(ice_lake: dict[int, bytes]) -> None:
    world = World()
    world.step(signals(*fleet(world, ice_lake)))
    (made,) = world.step(*world.document(ice_lake[17], AT + timedelta(hours=1)))
    refused = made.data["impact"]["refused"]
    assert [(hit["identity"], hit["hint"], hit["region"]) for hit in refused] == [("ppid:n10", "n10", "eu-west")]
    assert all(why["code"] == "below_floor" and why["remedy"] for why in refused[0]["why"])
    assert made.data["automatic"], "one of eleven is within bounds"
    assert "1 of 11" in made.data["why"]


def test_beyond_the_bounds_it_waits(ice_lake: dict[int, bytes]) -> None:
    world = World(bounds=Bounds())
    world.step(signals(*fleet(world, ice_lake)))
    (made,) = world.step(*world.document(ice_lake[17], AT))
    assert not made.data["automatic"]
    assert made.data["why"].startswith("waits for approval")


def test_an_older_evaluation_that_arrives_late_proposes_nothing(ice_lake: dict[int, bytes]) -> None:
    world = World()
    world.step(signals(*fleet(world, ice_lake)))
    assert world.step(*world.document(ice_lake[19], AT))
    assert world.step(*world.document(ice_lake[18], AT + timedelta(hours=1))) == []
    assert world.step(*world.document(ice_lake[17], AT + timedelta(hours=2))) == []


def test_the_same_document_again_proposes_nothing(ice_lake: dict[int, bytes]) -> None:
    world = World()
    world.step(signals(*fleet(world, ice_lake)))
    assert len(world.step(*world.document(ice_lake[17], AT))) == 1
    assert world.step(*world.document(ice_lake[17], AT + timedelta(days=1))) == []


def test_the_next_evaluation_is_held_against_the_floor_in_force(ice_lake: dict[int, bytes]) -> None:
    world = World()
    world.step(signals(*fleet(world, ice_lake)))
    (first,) = world.step(*world.document(ice_lake[17], AT))
    (second,) = world.step(
        change(first.data["floor"], AT + timedelta(minutes=1)), *world.document(ice_lake[18], AT + timedelta(hours=1))
    )
    assert second.data["before"] == first.data["floor"]
    assert second.data["impact"]["already_refused"] == 1
    assert len(second.data["impact"]["refused"]) == 10, "evaluation 18 asks for the firmware of November 2024"
    assert not second.data["automatic"]


def test_a_list_in_which_a_component_goes_down_waits_for_a_quorum(feeds: Path) -> None:
    lists = _ice_lake_lists(feeds)
    if not {19, 20} <= set(lists):
        pytest.skip("the feeds have no two evaluations between which a component goes down")
    world = World()
    world.step(signals(sgx("n0")))
    (first,) = world.step(*world.document(lists[19][0], lists[19][1]))
    (second,) = world.step(
        change(first.data["floor"], lists[19][1] + timedelta(hours=1)), *world.document(lists[20][0], lists[20][1])
    )
    assert (second.data["exact"], second.data["tightening"], second.data["automatic"]) == (True, False, False)
    assert second.data["why"].startswith("waits for a quorum")


def _ice_lake_lists(feeds: Path) -> dict[int, tuple[bytes, datetime]]:
    found: dict[int, tuple[bytes, datetime]] = {}
    for path in sorted((feeds / "intel").rglob("*")):
        if not path.is_file():
            continue
        raw = path.read_bytes()
        try:
            known = parse(raw, AT, vendor_roots())
        except ValueError:
            continue
        for one in known:
            if one.key.endswith(ICE_LAKE) and one.root and not one.reasons:
                found.setdefault(one.rank[0], (raw, one.valid_from + timedelta(hours=1)))
    return found


def test_an_unsound_document_proposes_nothing(ice_lake: dict[int, bytes]) -> None:
    world = World()
    world.step(signals(*fleet(world, ice_lake)))
    broken = [
        Record(r.offset, r.topic, Event(**{**_attributes(r.event), "data": {**r.event.data, "root": None}}))
        for r in world.document(ice_lake[17], AT)
    ]
    assert world.step(*broken) == []


def _attributes(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in Event.__slots__}


def test_a_floor_that_nobody_can_meet_is_not_proposed(ice_lake: dict[int, bytes]) -> None:
    # all levels of Ice Lake carry SA-00615: without admitting it, no machine is good enough
    world = World(policy=Policy())
    world.step(signals(*fleet(world, ice_lake)))
    assert world.step(*world.document(ice_lake[17], AT)) == []


# AMD


def test_a_reviewed_floor_is_proposed_and_never_automatic() -> None:
    world = World(bounds=Bounds(max_refused=1000, max_fraction=1.0))
    world.step(signals(snp("a", 23), snp("b", 22)))
    (made,) = world.step(reviewed("AMD-SB-3019", 23, AT))
    assert (made.data["exact"], made.data["tightening"], made.data["automatic"]) == (False, True, False)
    assert [hit["hint"] for hit in made.data["impact"]["refused"]] == ["b"]
    assert "reviewed by Ada" in made.data["why"]
    assert made.data["families"] == ["snp/Genoa"]


def test_an_older_bulletin_entered_later_adds_up_and_loosens_nothing() -> None:
    world = World()
    world.step(signals(snp("a", 25)))
    world.step(reviewed("AMD-SB-3019", 24, AT))
    assert world.step(reviewed("AMD-SB-3015", 22, AT)) == []


def test_a_later_review_takes_the_place_of_an_earlier_one_and_not_the_reverse() -> None:
    world = World()
    world.step(signals(snp("a", 25)))
    (first,) = world.step(reviewed("AMD-SB-3034", 28, AT))
    lower = reviewed("AMD-SB-3034", 23, AT + timedelta(days=1), reviewed_at="2025-09-24T00:00:00Z")
    (second,) = world.step(change(first.data["floor"], AT + timedelta(hours=1), "snp/Genoa"), lower)
    assert not second.data["tightening"]
    assert second.data["impact"]["refused"] == []
    again = reviewed("AMD-SB-3034", 28, AT + timedelta(days=2), reviewed_at="2025-02-05T00:00:00Z")
    assert world.step(again) == []


def test_a_proposal_that_was_withdrawn_while_it_waited_is_superseded() -> None:
    world = World()
    world.step(signals(snp("a", 25)))
    (first,) = world.step(reviewed("AMD-SB-3019", 23, AT))
    in_force = change(first.data["floor"], AT + timedelta(hours=1), "snp/Genoa")
    (second,) = world.step(in_force, reviewed("AMD-SB-3034", 28, AT + timedelta(hours=2)))
    withdrawn = reviewed("AMD-SB-3034", 23, AT + timedelta(hours=3), reviewed_at="2025-09-24T00:00:00Z")
    (third,) = world.step(withdrawn)
    assert from_data(third.data["floor"]).minima == from_data(first.data["floor"]).minima
    assert third.data["proposal"] not in (first.data["proposal"], second.data["proposal"])


# The fleet as it is


def test_only_the_latest_genuine_word_of_a_machine_counts() -> None:
    world = World()
    hour = timedelta(hours=1)
    world.step(signals(snp("a", 23, AT + hour), snp("a", 20, AT), snp("b", 23, AT)))
    world.step(signals(snp("b", 1, AT + 2 * hour, genuine=False), snp("c", 9, AT, genuine=False)))
    (made,) = world.step(reviewed("AMD-SB-3019", 23, AT + 3 * hour))
    assert (made.data["impact"]["considered"], made.data["impact"]["refused"]) == (2, [])
    assert [one["time"] for _, one in world.state.scan("machine/default/chip:a/")] == [stamp(AT + hour)]


def test_tenants_do_not_see_each_other() -> None:
    world = World()
    world.step(signals(snp("a", 20, tenant="other")))
    assert world.step(reviewed("AMD-SB-3019", 23, AT)) == []


def test_how_records_are_batched_does_not_show(ice_lake: dict[int, bytes]) -> None:
    def records(world: World) -> list[Record]:
        return [
            *world.document(ice_lake[17], AT - timedelta(hours=1)),
            signals(*fleet(world, ice_lake), snp("a", 22)),
            reviewed("AMD-SB-3019", 23, AT + timedelta(hours=1)),
            *world.document(ice_lake[19], AT + timedelta(hours=2)),
        ]

    def told(events: Iterable[Event]) -> Sequence[bytes]:
        return [canonical(event.envelope()) for event in events]

    whole, single = World(), World()
    at_once = told(whole.step(*records(whole)))
    assert len(at_once) == 3
    assert at_once == [one for record in records(single) for one in told(single.step(record))]
    assert dict(whole.state.scan("")) == dict(single.state.scan(""))


# Guests, machines that went away, and what operators decide


def test_a_proposal_says_of_every_guest_what_the_store_will_decide() -> None:
    """Fifty guests of one machine, of which only the one that spoke last may run with SMT off."""
    world = World()
    guests = [snp("a", 23, instance=f"{n:02}", hint=f"guest-{n:02}", bits={"policy.smt": n != 50}) for n in range(51)]
    world.step(signals(*guests))
    floors = [{"family": "snp/Genoa", "minima": [{"bits": {"policy.smt": False}}]}]
    (made,) = world.step(reviewed("AMD-SB-3027", 0, AT + timedelta(hours=1), floors=floors))
    impact = made.data["impact"]
    held = {"snp/Genoa": from_data(made.data["floor"])}
    refused_by_the_store = [g for g in guests if shortfalls(held["snp/Genoa"], g["tcb"], g["bits"])]
    assert (impact["considered"], len(impact["refused"])) == (51, len(refused_by_the_store)) == (51, 50)
    assert {one["hint"] for one in impact["refused"]} == {one["hint"] for one in refused_by_the_store}


def test_what_is_not_seen_for_a_week_dilutes_no_bound_and_is_listed_apart() -> None:
    world = World()
    world.step(signals(*(snp(f"gone{n}", 99, AT - timedelta(days=8)) for n in range(98)), snp("here", 20, AT)))
    (made,) = world.step(reviewed("AMD-SB-3019", 23, AT + timedelta(hours=1)))
    impact = made.data["impact"]
    assert (impact["considered"], len(impact["refused"]), len(impact["unseen"])) == (1, 1, 98)
    assert "98 were not seen lately" in made.data["why"]


def test_a_retired_machine_counts_no_more_until_it_attests_again() -> None:
    world = World()
    world.step(signals(snp("a", 20), snp("b", 20)))
    world.step(decided("retired", "chip:a", {"identity": "chip:a", "comment": "sold"}, AT + timedelta(hours=1)))
    assert world.letters == []
    world.step(signals(snp("a", 20, AT + timedelta(minutes=30))))  # sent before, read after
    (made,) = world.step(reviewed("AMD-SB-3019", 23, AT + timedelta(hours=2)))
    assert [one["hint"] for one in made.data["impact"]["refused"]] == ["b"]
    world.step(signals(snp("a", 20, AT + timedelta(hours=3))))
    (again,) = world.step(reviewed("AMD-SB-3030", 24, AT + timedelta(hours=4)))
    assert [one["hint"] for one in again.data["impact"]["refused"]] == ["a", "b"]


def test_nobody_retires_a_machine_without_the_operators_key() -> None:
    world = World()
    world.step(signals(snp("a", 20)))
    good = decided("retired", "chip:a", {"identity": "chip:a", "comment": ""}, AT + timedelta(hours=1))
    bad = replace(good.event, data={**good.event.data, "by": "somebody"})
    assert world.step(Record(1, "decisions", bad)) == []
    assert [one.data["code"] for one in world.letters] == ["decision_signature_invalid"]
    assert list(world.state.scan("machine/")) != []


def test_a_configuration_that_alters_the_policy_is_a_proposal_with_its_effect_and_its_difference_in_words() -> None:
    image, other = "ab" * 48, "cd" * 48
    known = Policy(reference_values=(images("web", image),), may_be_impossible=("floor",))
    world = World(policy=known)
    first = decided("configured", "policy", {"policy": known.to_data()}, AT)
    assert world.step(first) == [], "the first is in force at once"
    ours = {"recognition": "ours"}
    world.step(signals(snp("a", 23, proof=proven(image), **ours), snp("b", 23, proof=proven(other), **ours)))
    wider = replace(known, reference_values=(*known.reference_values, images("more", other)))
    (made,) = world.step(decided("configured", "policy", {"policy": wider.to_data()}, AT + timedelta(hours=1)))
    data = made.data
    assert (made.subject, data["family"], data["floor"], data["tightening"], data["automatic"]) == (
        "policy", "policy", None, False, False,
    )  # fmt: skip
    assert data["policy"] == wider.to_data()
    assert data["policy_before"] == known.to_data()
    assert data["diff"] == ["reference_values: snp.more is known   (LOOSER)"]
    assert [one["hint"] for one in data["impact"]["admitted"]] == ["b"]
    assert "once approved it stays" in data["why"]
    assert data["hash"] == proposal_hash(data)
    stricter = replace(known, reference_values=(images("web", image, "contraindicated"),))
    (made,) = world.step(decided("configured", "policy", {"policy": stricter.to_data()}, AT + timedelta(hours=2)))
    assert [one["hint"] for one in made.data["impact"]["refused"]] == ["a"]
    assert made.data["tightening"] is True
    assert world.step(decided("configured", "policy", {"policy": known.to_data()}, AT + timedelta(hours=3))) == []


def images(name: str, image: str, state: str = "known") -> ReferenceSet:
    """Reference values of one image."""
    data = {"tee": "snp", "state": state, "conditions": {"measurement": image}, "by": "ann", "source": "a build"}
    return ReferenceSet.from_data(name, data)


def proven(image: str) -> dict[str, Any]:
    """A whole proof of a guest that runs an image."""
    claims = replace(SNP, family="snp/Genoa", measurement=image, measurements={"measurement": image})
    return proof(claims).to_data()


def test_which_evaluation_is_wanted_is_policy(ice_lake: dict[int, bytes]) -> None:
    """June 2025: 17 is what Intel calls standard then, 19 what it calls early."""
    for evaluation, wanted in (("early", 19), ("standard", 17), (18, 18), (16, None)):
        world = World(policy=replace(POLICY, evaluation=evaluation))
        for number in (17, 18, 19):
            world.step(*world.document(ice_lake[number], AT - timedelta(days=1)))
        made = world.step(signals(*fleet(world, ice_lake)))
        assert [one.data["floor"]["evaluation"] for one in made] == ([wanted] if wanted else [])


def test_another_policy_in_force_wants_another_floor(ice_lake: dict[int, bytes]) -> None:
    world = World(policy=replace(POLICY, evaluation=17))
    for number in (17, 19):
        world.step(*world.document(ice_lake[number], AT - timedelta(days=1)))
    (first,) = world.step(signals(*fleet(world, ice_lake)))
    assert first.data["floor"]["evaluation"] == 17
    changed = change(first.data["floor"], AT + timedelta(hours=1))
    changed.event.data["intent"]["policy"] = replace(POLICY, evaluation="early").to_data()
    (moved,) = world.step(changed)
    assert (moved.data["before"]["evaluation"], moved.data["floor"]["evaluation"]) == (17, 19)


def test_what_was_judged_again_was_not_seen_again() -> None:
    """A verdict that was judged again has the time of its cause; its guest attested when its evidence came."""
    world = World()
    long_ago = stamp(AT - timedelta(days=30))
    world.step(signals(snp("gone", 20, AT, received=long_ago, rejudged="c1"), snp("here", 20)))
    world.step(decided("retired", "chip:sold", {"identity": "chip:sold", "comment": ""}, AT))
    later = AT + timedelta(minutes=1)
    world.step(signals(snp("sold", 20, later, received=stamp(AT - timedelta(minutes=1)), rejudged="c1")))
    (made,) = world.step(reviewed("AMD-SB-3019", 23, AT + timedelta(hours=1)))
    impact = made.data["impact"]
    assert [one["hint"] for one in impact["refused"]] == ["here"]
    assert [one["hint"] for one in impact["unseen"]] == ["gone"]
