"""What one sender can make of correlation, and what is forgotten: a token is not enough to fill list or disk."""

from __future__ import annotations

from datetime import timedelta

from test_correlate import NOON, World, forged, signal

from ratchet.detect import forgetting, sender_limit

DAY = timedelta(days=1)
AGENT, OTHER = "/collectors/http/agent-7", "/collectors/http/agent-8"


def test_one_sender_opens_so_many_alerts_a_day_whatever_names_it_gives() -> None:
    world = World()
    for n in range(sender_limit.MOST + 50):
        world.hears(forged(f"name-{n}", NOON + timedelta(seconds=n), sender=AGENT))
    raised = [e for e in world.said if e.type == "alert.raised.v1" and e.data["rule"] == "evidence-failed"]
    assert len(raised) == sender_limit.MOST + 1
    assert raised[-1].subject == f"sender:{AGENT}"
    (folded,) = [v for k, v in world.alerts().items() if k == f"evidence-failed sender:{AGENT}"]
    assert folded["count"] == 50, "the one alert counts on"
    assert f"name-{sender_limit.MOST}" in folded["machines"]


def test_another_sender_is_still_heard_by_its_names_and_so_is_the_next_day() -> None:
    world = World()
    for n in range(sender_limit.MOST + 1):
        world.hears(forged(f"name-{n}", NOON, sender=AGENT))
    assert [e.subject for e in world.hears(forged("mine", NOON, sender=OTHER))] == ["hint:mine"]
    (again,) = world.hears(forged("name-0", NOON + timedelta(hours=1), sender=AGENT))
    assert (again.type, again.subject) == ("alert.revised.v1", "hint:name-0"), "it has its alert: one more cause"
    world.ticks(NOON + DAY)
    subjects = {e.subject for e in world.hears(forged("new", NOON + DAY, sender=AGENT))}
    assert subjects == {"hint:new"}


def test_a_machine_that_proves_itself_is_not_touched_by_what_its_sender_also_brings() -> None:
    world = World()
    for n in range(sender_limit.MOST + 1):
        world.hears(forged(f"name-{n}", NOON, sender=AGENT))
    world.hears(signal("n01", NOON, sender=AGENT))
    went_back = world.hears(signal("n01", NOON + DAY / 24, sender=AGENT, debug=True, tier="contraindicated"))
    assert {e.subject for e in went_back} <= {"chip:n01"}


def test_replay_keys_are_forgotten_when_nothing_could_be_replayed_any_more() -> None:
    world = World()
    world.hears(signal("n01", NOON, sender=AGENT))
    world.ticks(NOON + forgetting.REPLAYS - DAY)
    assert list(world.state.scan("replay/"))
    assert list(world.state.scan("blob/"))
    world.ticks(NOON + forgetting.REPLAYS + DAY)
    assert not list(world.state.scan("replay/"))
    assert not list(world.state.scan("blob/"))


def test_resolved_alerts_are_forgotten_and_open_ones_are_not() -> None:
    world = World()
    world.hears(forged("n01", NOON, sender=AGENT))
    world.hears(signal("n02", NOON, reasons=["x"], sender=AGENT))
    (key, alert) = next(iter(world.state.scan("alert/")))
    world.state.put("alert/" + "ab" * 32, {**alert, "status": "resolved"})
    world.ticks(NOON + forgetting.RESOLVED + DAY)
    assert world.state.get("alert/" + "ab" * 32) is None
    assert world.state.get(key) is not None
