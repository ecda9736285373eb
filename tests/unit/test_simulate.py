"""What a floor would do to a fleet, machine by machine, and how a store is shown to enforce it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from test_appraise import AT, TDX, proof, status
from test_appraise import POLICY as JUDGING

from ratchet.event import BlobId, canonical, stamp
from ratchet.policy.appraise import Policy
from ratchet.policy.floor import AmdFloor, Minimum, open_floor, shortfalls
from ratchet.policy.floor.provenance import Provenance
from ratchet.policy.policy import required
from ratchet.policy.simulate import Bounds, Hit, Impact, effect, samples, simulate

IMAGE = "ab" * 48
REVIEWED = Provenance(documents=(BlobId("e" * 64),), pointer="/floors/0", rule="amd.reviewed/1", reviewed_by="Ada")
POLICY = Policy()


def floor(snp: int, **more: Any) -> AmdFloor:
    return AmdFloor(family="snp/Genoa", minima=(Minimum(tcb={"reported.snp": snp}, **more),), provenance=REVIEWED)


def machine(name: str, snp: int, **changes: Any) -> dict[str, Any]:
    return {
        "subject": f"chip:{name}",
        "hint": name,
        "region": "eu-west",
        "family": "snp/Genoa",
        "tee": "snp",
        "genuine": True,
        "tier": "affirming",
        "measurement": IMAGE,
        "debug": False,
        "tcb": {"reported.snp": snp},
        "bits": {},
        **changes,
    }


FLEET = [machine(f"n{n:02}", 23) for n in range(20)] + [machine("n20", 22), machine("n21", 22), machine("n22", 20)]


def test_a_floor_names_the_machines_that_it_would_refuse_and_says_why() -> None:
    impact = simulate(FLEET, floor(21), floor(23), POLICY)
    assert impact.considered == 23
    assert [hit.hint for hit in impact.refused] == ["n20", "n21"]
    assert [(r.component, r.got, r.want) for r in impact.refused[0].why] == [("reported.snp", 22, 23)]
    assert impact.already_refused == 1, "n22 is below the floor in force"
    assert impact.unknown == ()


def test_before_the_first_floor_nobody_is_refused_by_one() -> None:
    for nothing in (None, open_floor("snp/Genoa", "no-floor-yet/1")):
        assert [hit.hint for hit in simulate(FLEET, nothing, floor(23), POLICY).refused] == ["n20", "n21", "n22"]


def test_who_is_refused_for_another_reason_is_not_counted_twice() -> None:
    others = [
        machine("debug", 20, debug=True),
        machine("bad", 20, tier="contraindicated"),
        machine("elsewhere", 1, family="snp/Milan"),
    ]
    impact = simulate(others, None, floor(23), POLICY)
    assert (impact.considered, impact.already_refused, impact.refused) == (2, 2, ())


def test_a_machine_that_does_not_attest_what_is_asked_is_unknown_and_named() -> None:
    stepping = floor(20, model=0x11, stepping=1)
    impact = simulate([machine("old-report", 23)], None, stepping, POLICY)
    assert [hit.hint for hit in impact.unknown] == ["old-report"]
    data = impact.to_data()
    assert (data["unknown"], data["refused"]) == (1, [])
    assert data["abstains"][0]["why"][0]["code"] == "floor_abstains"
    canonical(data)


def test_where_nobody_was_seen_lately_nothing_goes_by_itself() -> None:
    gone = Hit(identity="chip:a", hint="a", region=None, why=())
    impact = Impact(considered=0, refused=(), already_refused=0, unknown=(), unseen=(gone,))
    assert not Bounds(max_refused=9, max_fraction=1.0).hold(impact)


def test_the_order_of_the_fleet_does_not_show() -> None:
    assert simulate(FLEET, None, floor(23), POLICY) == simulate(reversed(FLEET), None, floor(23), POLICY)


def impact(refused: int, considered: int, unknown: int = 0) -> Impact:
    hit = Hit(identity="chip:1", hint="n", region=None, why=())
    return Impact(considered=considered, refused=(hit,) * refused, already_refused=0, unknown=(hit,) * unknown)


def test_both_bounds_must_hold_and_what_cannot_be_told_counts() -> None:
    bounds = Bounds(max_refused=3, max_fraction=0.1)
    assert bounds.hold(impact(2, 20))
    assert not bounds.hold(impact(3, 20)), "more than a tenth"
    assert not bounds.hold(impact(4, 400)), "more than three"
    assert not bounds.hold(impact(2, 20, unknown=1))
    assert Bounds().hold(impact(0, 0))
    assert not Bounds().hold(impact(1, 10_000))
    assert Bounds.from_data(bounds.to_data()) == bounds


def test_samples_come_from_the_fleet_and_from_the_floors_edge() -> None:
    proved = samples(FLEET, floor(23), POLICY)
    assert {"reported.snp": 22} in [dict(s["tcb"]) for s in proved.refuse]
    assert {"reported.snp": 23} in [dict(s["tcb"]) for s in proved.admit]
    assert {s["status"] for s in (*proved.admit, *proved.refuse)} == {"affirming"}, "so that the floor decides"


@given(
    wanted=st.integers(0, 30),
    have=st.lists(st.integers(0, 30), max_size=6),
    mitigation=st.integers(0, 7),
)
def test_samples_are_decided_as_they_must_be_and_there_is_always_one_of_each(
    wanted: int, have: list[int], mitigation: int
) -> None:
    fleet = [machine(f"n{n}", snp, bits={"mitigation.current": 2**63 + 7}) for n, snp in enumerate(have)]
    asked = floor(wanted, mitigation=mitigation)
    proved = samples(fleet, asked, POLICY)
    assert proved.admit
    assert proved.refuse
    assert all(not shortfalls(asked, s["tcb"], s["bits"]) for s in proved.admit)
    assert all(not s["genuine"] or shortfalls(asked, s["tcb"], s["bits"]) for s in proved.refuse)
    for sample in (*proved.admit, *proved.refuse):
        canonical(sample)


def attested(name: str, merged: str, **bits: bool) -> dict[str, Any]:
    """A guest of a TDX machine, with its whole proof."""
    claims = replace(TDX, bits={**TDX.bits, **bits})
    shown = proof(claims, status(merged)).to_data()
    seen = {"id": name, "time": stamp(AT), "fresh": True, "recognition": "ours"}
    seen |= {"tcb": dict(claims.tcb), "bits": dict(claims.bits)}
    return machine(name, 0, tee="tdx", family=TDX.family, measurement=TDX.measurement, proof=shown, **seen)


def test_a_change_of_the_policy_is_counted_on_what_each_guest_proved() -> None:
    """A store is not asked about statuses and accepted ones: the proof is appraised again under both policies."""
    guests = [attested("current", "UpToDate"), attested("old", "OutOfDate"), attested("older", "OutOfDate")]
    lax = replace(JUDGING, accept={"OutOfDate": ("*",)})
    impact = effect(guests, lax, JUDGING, AT)
    assert [hit.hint for hit in impact.refused] == ["old", "older"]
    assert {reason.code for reason in impact.refused[0].why} == {"tcb_out_of_date"}
    back = effect(guests, JUDGING, lax, AT)
    assert ([hit.hint for hit in back.admitted], back.refused, back.already_refused) == (["old", "older"], (), 0)
    stricter = replace(JUDGING, require=required({"tdx": {"attributes.pks": True}}))
    assert len(effect(guests, JUDGING, stricter, AT).refused) == 1, "the others are refused already"


def test_who_was_not_seen_for_a_while_counts_apart() -> None:
    guests = [attested("here", "OutOfDate"), {**attested("gone", "OutOfDate"), "time": stamp(AT - timedelta(days=9))}]
    lax = replace(JUDGING, accept={"OutOfDate": ("*",)})
    impact = effect(guests, lax, JUDGING, AT, unseen_after=timedelta(days=7))
    assert ([hit.hint for hit in impact.refused], impact.considered) == (["here"], 1)
    assert [hit.hint for hit in impact.unseen] == ["gone"]
