"""What happens to Azure's virtual machines alone, drawn for scenarios made by chance."""

from __future__ import annotations

from typing import get_args

from collectors.simulated.azure.groups import AzureGroup, Bad
from collectors.simulated.dice import Dice, Events, Plant


def _bad_evidence(dice: Dice) -> Events:
    machine, at = dice.machine(AzureGroup), dice.at()
    hows = [how for how in get_args(Bad) if how in dice.ways(machine)]
    return [{"event": "bad-vtpm-evidence", "at": at, "machine": machine, "how": dice.rng.choice(hows)}]


PLANTS: dict[str, Plant] = {"bad-vtpm-evidence": _bad_evidence}
