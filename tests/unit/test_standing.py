"""What is known of a machine: renewed by proof alone, worst of its live guests, and gone when its time is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ratchet.event import stamp
from ratchet.standing import GUEST_COUNTS, MAX_GUESTS, Standing, Tier, due, lapse, renew, revoke

NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def word(at: datetime = NOON, tier: str = "affirming", until: datetime | None = None, **other: Any) -> dict[str, Any]:
    """A signal about chip:aa; affirming and warning ones are good for six hours."""
    if until is None and tier in ("affirming", "warning"):
        until = at + 6 * HOUR
    return {
        "id": f"verdict at {stamp(at)} {other.get('instance')}",
        "time": stamp(at),
        "tenant": "acme",
        "subject": "chip:aa",
        "hint": "n01",
        "evidence": f"evidence at {stamp(at)}",
        "genuine": True,
        "fresh": True,
        "rejudged": None,
        "received": stamp(at),
        "tee": "snp",
        "measurement": "aa" * 48,
        "tier": tier,
        "instance": "guest-1",
        "trusted_until": stamp(until) if until else None,
        **other,
    }


def heard(*signals: dict[str, Any]) -> Standing:
    standing: Standing | None = None
    for signal in signals:
        standing = renew(standing, signal)
    assert standing is not None
    return standing


def test_a_proof_makes_a_machine_affirming_until_its_time_is_over() -> None:
    standing = heard(word(NOON))
    assert (standing.tier, standing.since, standing.trusted_until) == (Tier.AFFIRMING, NOON, NOON + 6 * HOUR)
    assert lapse(standing, NOON + 6 * HOUR - timedelta(microseconds=1)) == standing
    gone = lapse(standing, NOON + 30 * HOUR)
    assert gone.tier is Tier.NONE
    assert gone.since == NOON + 6 * HOUR, "when it ended, not when that was noticed"
    assert gone.trusted_until is None
    assert due(gone) is None


def test_a_renewal_moves_the_end_and_keeps_the_beginning() -> None:
    standing = heard(word(NOON), word(NOON + 5 * HOUR))
    assert (standing.since, standing.seen, standing.trusted_until) == (NOON, NOON + 5 * HOUR, NOON + 11 * HOUR)


def test_a_forgery_neither_improves_nor_worsens_nor_renews() -> None:
    known = heard(word(NOON, "contraindicated"))
    for tier in Tier:
        forged = word(NOON + HOUR, tier.value, genuine=False)
        assert renew(known, forged) is known
        assert renew(None, forged) is None, "and nothing is known of a machine that only forgeries name"


def test_a_revoked_machine_loses_its_standing_at_once_whatever_guests_it_has() -> None:
    before = heard(word(NOON), word(NOON + HOUR, instance="guest-2"))
    told = word(
        NOON + 2 * HOUR, "contraindicated", genuine=False, failed=["revocation"], reasons=["certificate_revoked"]
    )
    after = revoke(before, told)
    assert (after.tier, after.since, after.trusted_until) == (Tier.CONTRAINDICATED, NOON + 2 * HOUR, None)
    assert (after.seen, after.verdict, after.reasons) == (before.seen, told["id"], ("certificate_revoked",))
    assert lapse(after, NOON + 90 * HOUR).tier is Tier.CONTRAINDICATED, "and gains nothing by waiting"


def test_an_old_word_of_revocation_does_not_undo_a_newer_proof() -> None:
    standing = heard(word(NOON))
    assert revoke(standing, word(NOON - HOUR, "contraindicated", genuine=False, failed=["revocation"])) == standing


def test_affirming_without_an_end_is_not_believed() -> None:
    assert heard({**word(NOON), "trusted_until": None}).tier is Tier.NONE


def test_the_worst_guest_speaks_for_the_machine() -> None:
    both = heard(word(NOON, "warning", instance="old"), word(NOON + HOUR, instance="new"))
    assert both.tier is Tier.WARNING
    assert both.verdict == word(NOON + HOUR, instance="new")["id"], "though the latest proof is the other's"
    assert both.trusted_until == NOON + 6 * HOUR
    left = lapse(both, NOON + 6 * HOUR)
    assert left.tier is Tier.AFFIRMING, "the guest that warned has not been heard of since"
    assert (left.since, set(left.guests)) == (NOON + 6 * HOUR, {"new"})
    assert lapse(both, NOON + 7 * HOUR).tier is Tier.NONE


def test_a_guest_that_left_quietly_does_not_hold_its_machine_down_for_ever() -> None:
    debug = word(NOON, "contraindicated", instance="debug")
    day = [word(NOON + h * HOUR, instance="sound") for h in range(1, 25, 4)]
    assert heard(debug, *day).tier is Tier.CONTRAINDICATED
    later = heard(debug, *day, word(NOON + GUEST_COUNTS, instance="sound"))
    assert later.tier is Tier.AFFIRMING


def test_what_was_bad_stays_bad_when_nobody_speaks() -> None:
    bad = heard(word(NOON, "contraindicated"))
    assert lapse(bad, NOON + timedelta(days=365)) == bad
    assert due(bad) is None


def test_evidence_that_comes_late_does_not_take_back_what_is_known() -> None:
    now = heard(word(NOON + 2 * HOUR, "warning"))
    assert renew(now, word(NOON)) is now, "of the same guest, older"
    other = renew(now, word(NOON, "contraindicated", instance="guest-2"))
    assert other is not None
    assert (other.tier, other.seen, other.verdict) == (Tier.CONTRAINDICATED, now.seen, now.verdict)


def test_guests_are_counted_and_bad_ones_keep_their_place() -> None:
    crowd = [word(NOON + timedelta(seconds=i), instance=f"g{i:03}") for i in range(1, 2 * MAX_GUESTS)]
    standing = heard(word(NOON, "contraindicated", instance="bad"), *crowd)
    assert len(standing.guests) == MAX_GUESTS
    assert "bad" in standing.guests
    assert standing.tier is Tier.CONTRAINDICATED


@st.composite
def words(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Signals in order of time, from up to three guests."""
    minutes = sorted(draw(st.lists(st.integers(0, 4000), min_size=1, max_size=12)))
    return [
        word(
            NOON + timedelta(minutes=m),
            draw(st.sampled_from([t.value for t in Tier])),
            instance=draw(st.sampled_from(["a", "b", "c"])),
            genuine=draw(st.integers(0, 4)) > 0,
            until=NOON + timedelta(minutes=m + draw(st.integers(1, 900))) if draw(st.booleans()) else None,
        )
        for m in minutes
    ]


@given(words(), st.lists(st.integers(0, 8000), max_size=6))
def test_it_does_not_matter_how_often_anybody_looks(signals: list[dict[str, Any]], looks: list[int]) -> None:
    """Lapsing at every look on the way, or once at the end, gives the same; and data round-trips."""
    end = NOON + timedelta(minutes=9000)
    often: Standing | None = None
    seldom: Standing | None = None
    waiting = sorted(NOON + timedelta(minutes=m) for m in looks)
    for signal in signals:
        at = datetime.fromisoformat(signal["time"])
        while waiting and waiting[0] <= at:
            look = waiting.pop(0)
            often = lapse(often, look) if often else None
        often, seldom = renew(lapse(often, at) if often else None, signal), renew(seldom, signal)
    if often is None or seldom is None:
        assert often is seldom
        return
    assert lapse(often, end) == lapse(seldom, end)
    assert Standing.from_data(often.to_data()) == often


@given(words())
def test_nothing_is_affirming_without_a_live_proof(signals: list[dict[str, Any]]) -> None:
    standing: Standing | None = None
    for signal in signals:
        standing = renew(standing, signal)
    if standing is None:
        return
    moment = standing.seen
    while True:
        live = [
            s
            for s in signals
            if s["genuine"] and s["tier"] == "affirming" and s["trusted_until"] and s["trusted_until"] > stamp(moment)
        ]
        assert standing.tier is not Tier.AFFIRMING or live
        following = due(standing)
        if following is None:
            break
        assert following > moment, "every look moves on"
        moment, standing = following, lapse(standing, following)
