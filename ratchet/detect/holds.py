"""What is held against a machine, whatever its guests prove: from what is known of it and the alerts open on it.

Their codes are `ratchet.standing.HOLDS`, and docs/rules.md says when each of them is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ratchet import standing as standings
from ratchet.detect.observation import Signal
from ratchet.event import Json, parse_time
from ratchet.standing import Hold, Tier

_UNRECOGNISED = {"stranger": standings.STRANGER, "waiting": standings.WAITING, "moved": standings.MOVED}
"""What `recognition` says of a machine that is none of ours -> the hold that follows."""


def holds_of(
    known: Mapping[str, Any], opened: Iterable[Mapping[str, Json]], tiers: Mapping[str, Tier]
) -> tuple[Hold, ...]:
    """The holds of a machine.

    Args:
        known: what `machines` keeps of it.
        opened: the alerts that are open on it.
        tiers: code of a hold -> the tier that it lowers a machine to.
    """
    holds: list[Hold] = []

    def add(code: str, cause: Json, since: Json) -> None:
        holds.append(Hold(code=code, cause=str(cause), since=parse_time(str(since)), tier=tiers[code]))

    if known["fallen"]:
        first = min(known["fallen"].values(), key=lambda fall: (fall["since"], fall["cause"]))
        add(standings.ROLLED_BACK, first["cause"], first["since"])
    if known["revoked"]:
        add(standings.REVOKED, known["revoked"]["cause"], known["revoked"]["since"])
    if known["unrecognised"]:
        add(known["unrecognised"]["code"], known["unrecognised"]["cause"], known["unrecognised"]["since"])
    for alert in opened:
        if alert["level"] == "critical":
            add(standings.OPEN_ALERT, alert["alert"], alert["opened"])
    return tuple(holds)


def unrecognised(signal: Signal, known: Mapping[str, Any]) -> dict[str, Json] | None:
    """What to keep of evidence that shows a machine to be none of ours; `since` stays that of the first."""
    code = _UNRECOGNISED.get(signal.get("recognition") or "")
    if code is None:
        return None
    before = known["unrecognised"]
    if before and before["code"] == code:
        return dict(before)
    return {"code": code, "cause": signal["id"], "since": signal["time"]}
