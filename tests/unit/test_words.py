"""What is said to people of a machine that is trusted no longer: since when, and why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from test_correlate import NOON, World, signal

from ratchet.standing import HOLDS as CODES
from ratchet.words import HOLDS, because

HOUR = timedelta(hours=1)


def test_every_hold_has_words() -> None:
    assert set(HOLDS) == set(CODES)


def test_a_machine_that_lapsed_says_since_when_and_why() -> None:
    world = World()
    world.hears(signal())
    world.ticks(NOON + 7 * HOUR)
    machine = world.state.get("standing/acme/chip:n01")
    assert machine is not None
    assert because(machine) == ("lapsed at 2026-10-01 18:00 UTC: no fresh proof since 2026-10-01 12:00",)
    world.hears(signal(at=NOON + 8 * HOUR))
    assert because(world.state.get("standing/acme/chip:n01") or {}) == ()


def test_a_machine_whose_firmware_went_back_says_so() -> None:
    world = World()
    world.hears(signal(), signal(at=datetime(2026, 10, 1, 13, tzinfo=UTC), tcb={"reported.snp": 22}))
    machine = world.state.get("standing/acme/chip:n01")
    assert machine is not None
    assert because(machine) == (
        "firmware rolled back, not restored yet, since 2026-10-01 13:00 UTC",
        "a critical alert is open, since 2026-10-01 13:00 UTC",
    )
