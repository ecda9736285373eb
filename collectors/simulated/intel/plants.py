"""What happens to Intel machines alone, drawn for scenarios made by chance."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from collectors.simulated.dice import Dice, Events, Plant
from collectors.simulated.intel.groups import IntelFirmware, IntelHardware

_BAD_DOCUMENTS = ("truncated", "random", "future-dated", "another-root", "forged")


def _platforms(dice: Dice) -> dict[str, dict[str, Any]]:
    """The groups of Intel machines."""
    return {group: spec for group, spec in dice.groups.items() if issubclass(dice.kind(group), IntelHardware)}


def _revoked(dice: Dice) -> Events:
    return [{"event": "certificate-revoked", "at": dice.at(), "machine": dice.machine(IntelHardware)}]


def _recovery(dice: Dice) -> Events:
    """Of a platform that has had none yet: what the next one asks would depend on the one before."""
    rng, groups = dice.rng, _platforms(dice)
    candidates = [group for group, spec in groups.items() if spec["fmspc"] not in dice.noted]
    if not candidates:
        return []
    group = rng.choice(candidates)
    spec = groups[group]
    firmware = IntelFirmware(**spec.get("firmware", {}))
    dice.noted.add(spec["fmspc"])
    asks: dict[str, int] = {"microcode": firmware.microcode + rng.choice((1, 2))}
    kind = dice.kind(group)
    if issubclass(kind, IntelHardware) and kind.PLATFORM == "tdx" and rng.random() < 0.5:
        asks["module_svn"] = firmware.module_svn + 1
        if rng.random() < 0.5:
            del asks["microcode"]
    hours = rng.randrange
    return [
        {
            "event": "tcb-recovery",
            "at": dice.at(0.3, 0.8),
            "fmspc": spec["fmspc"],
            **asks,
            "advisory": f"INTEL-SA-{9100 + rng.randrange(900):05d}",
            "patched": {"before": timedelta(hours=hours(0, 20)), "after": timedelta(hours=hours(0, 8))},
            "unpatched": rng.sample(dice.members[group], hours(0, len(dice.members[group]))),
        }
    ]


def _bad_document(dice: Dice) -> Events:
    how = dice.rng.choice(_BAD_DOCUMENTS)
    fmspc = dice.rng.choice([spec["fmspc"] for spec in _platforms(dice).values()])
    return [{"event": "bad-document", "at": dice.at(), "how": how, "fmspc": fmspc}]


PLANTS: dict[str, Plant] = {
    "certificate-revoked": _revoked,
    "tcb-recovery": _recovery,
    "bad-document": _bad_document,
}
