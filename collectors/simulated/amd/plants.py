"""What happens to AMD machines alone, drawn for scenarios made by chance."""

from __future__ import annotations

from collectors.simulated.amd.groups import SnpFirmware, SnpHardware
from collectors.simulated.dice import Dice, Events, Plant


def _rolls_back(dice: Dice) -> Events:
    machine, at = dice.machine(SnpHardware), dice.at(0.2)
    firmware = SnpFirmware(**dice.groups[machine.rpartition("-")[0]].get("firmware", {})).model_dump()
    component = dice.rng.choice([c for c, svn in firmware.items() if svn > 0])
    to = dice.rng.randrange(0, firmware[component])
    event = {"event": "firmware-rolls-back", "at": at, "machine": machine, "component": component, "to": to}
    return [{**event, **dice.until(at)}]


PLANTS: dict[str, Plant] = {"firmware-rolls-back": _rolls_back}
