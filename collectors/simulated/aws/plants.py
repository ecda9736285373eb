"""What happens to Nitro enclaves alone, drawn for scenarios made by chance."""

from __future__ import annotations

from collectors.simulated.aws.groups import NitroGroup
from collectors.simulated.dice import Dice, Events, Plant


def _expired(dice: Dice) -> Events:
    return [{"event": "document-expired", "at": dice.at(0.2), "machine": dice.machine(NitroGroup)}]


PLANTS: dict[str, Plant] = {"document-expired": _expired}
