"""What a scenario by chance is drawn with: groups, machines, moments. `generate` throws, vendors' own events too."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from collectors.simulated.model import Group, Ways

Events = list[dict[str, Any]]
"""Things that happen, as a scenario file has them."""


class Dice:
    """Draws for one scenario; the same seed draws the same.

    Args:
        seed: of the scenario.
        kinds: every kind of machine by its `tee`.

    Attributes:
        rng: for draws of any other sort.
        duration: of the scenario.
        groups: group -> its keys, as a scenario file has them.
        members: group -> names of its machines.
        noted: what plants want to know when they are drawn again: platforms that had a recovery, and the like.
        favourites: machines on which most of what happens falls; none in half of the scenarios.
    """

    def __init__(self, seed: int, kinds: Mapping[str, type[Group]]) -> None:
        self.rng = random.Random(f"scenario/{seed}")  # noqa: S311 (a simulation, no secret)
        self.duration = timedelta(hours=self.rng.choice((24, 28, 34, 44)))
        self.groups: dict[str, dict[str, Any]] = {}
        self.members: dict[str, list[str]] = {}
        self.noted: set[str] = set()
        self.favourites: list[str] = []
        self._kinds = kinds
        self._unused: list[str] = []

    def populate(self, groups: dict[str, dict[str, Any]]) -> None:
        """Take these groups, and choose the favourites among their machines."""
        self.groups = groups
        self.members = {g: [f"{g}-{n:03d}" for n in range(1, spec["count"] + 1)] for g, spec in groups.items()}
        self._unused = [name for names in self.members.values() for name in names]
        self.rng.shuffle(self._unused)
        if self.rng.random() < 0.5:
            self.favourites = self.rng.sample(self._unused, self.rng.choice((2, 3)))

    def kind(self, group: str) -> type[Group]:
        """What kind of machines a group has."""
        return self._kinds[self.groups[group]["tee"]]

    def ways(self, machine: str) -> Ways:
        """What a machine can be made to send."""
        group = machine.rpartition("-")[0]
        return self.kind(group).model_validate(self.groups[group]).ways()

    def at(self, earliest: float = 0.1, latest: float = 0.95) -> timedelta:
        """A moment between two shares of the duration."""
        return timedelta(seconds=int(self.duration.total_seconds() * self.rng.uniform(earliest, latest)))

    def until(self, at: timedelta) -> dict[str, timedelta]:
        """Now and then the key `until`, with a moment after that one."""
        later = self.at(0.2, 0.99)
        return {"until": later} if later > at + timedelta(minutes=1) and self.rng.random() < 0.4 else {}

    def machine(self, kind: type = Group) -> str:
        """A machine of a kind: one of the favourites, most often; else one that nothing happens to yet, if there is
        one; else any.

        Raises:
            IndexError: there is none.
        """
        mine = [name for name in self.favourites if self._is(name, kind)]
        if mine and self.rng.random() < 0.8:
            return self.rng.choice(mine)
        fits = [name for name in self._unused if self._is(name, kind)]
        if fits and self.rng.random() < 0.9:
            self._unused.remove(fits[0])
            return fits[0]
        return self.rng.choice([n for names in self.members.values() for n in names if self._is(n, kind)])

    def _is(self, machine: str, kind: type) -> bool:
        return issubclass(self.kind(machine.rpartition("-")[0]), kind)


Plant = Callable[[Dice], Events]
"""Draws one thing that happens, or several that belong together; nothing where the scenario has no machine for it."""
