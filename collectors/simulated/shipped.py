"""The scenario that ships with Ratchet: what `ratchet demo` shows."""

from importlib.resources import files

from collectors.simulated.scenario import Scenario, parse


def week() -> Scenario:
    """A week of a fleet in three regions (week.yml)."""
    return parse(files(__package__).joinpath("week.yml").read_text(encoding="utf-8"), "week.yml")
