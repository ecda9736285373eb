"""What people decide, as events: acknowledgements, resolutions, approvals, rejections, halts."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ratchet.app.errors import Exit, Fault
from ratchet.app.home import Home
from ratchet.app.key_file import read_key
from ratchet.app.output import begins
from ratchet.event import Event, Json, derived_id, stamp
from ratchet.ports import Reader

SOURCE = "/cli"

_AWAKE = timedelta(seconds=30)
"""A pipeline that runs makes a tick every 5 s when nothing happens (docs/adr/0002-rounds.md)."""


def append(place: Home, event: Event) -> None:
    """Put one decision on the log."""
    from streams.sqlite import SqliteLog

    with closing(place.database()) as database:
        SqliteLog(database).append([("decisions", event)])


def say_of_alert(place: Home, reader: Reader, wanted: str, kind: str, comment: str) -> Mapping[str, Json]:
    """Acknowledge or resolve the alert that `wanted` (an id or its beginning) names, as the user who is logged in.

    Raises:
        Fault: there is no such alert, or more than one; it is so already; or only its cause's end may resolve it.
    """
    from ratchet.detect.alerts import by_hand

    alert = _alert(reader, wanted)
    if alert["status"] in (kind, "resolved"):
        who = f" by {alert['by']}" if alert["by"] else ""
        raise Fault("already", f"it is {alert['status']}{who} already", "", Exit.REFUSED)
    if kind == "resolved" and not by_hand(alert):
        proposal = alert["facts"].get("attestation.proposal") or "PROPOSAL"
        raise Fault(
            "still-loosened",
            "the policy admits what it refused: the alert ends when every store has proved that it no longer does",
            f"`ratchet approve {proposal[:8]} --roll-back` ends it sooner",
            Exit.REFUSED,
        )
    return operate(place, kind, alert["alert"], {"alert": alert["alert"], "comment": comment}, alert["tenant"]).data


def accept_rollback(
    place: Home, reader: Reader, wanted: str, name: str, key: bytes, comment: str
) -> Mapping[str, Json]:
    """Accept that a machine's firmware went back (decision.accepted.v1), signed by an approver's own key.

    Raises:
        Fault: there is no such alert, it is over, or it is about something else.
    """
    from ratchet.rollout.approval import decision

    alert = _alert(reader, wanted)
    if alert["status"] == "resolved":
        raise Fault("already", "it is resolved already", "", Exit.REFUSED)
    if "attestation.component" not in alert["facts"]:
        raise Fault("no-rollback", f"{alert['rule']} is about no rollback", "`--resolve` ends it", Exit.REFUSED)
    data = {
        "identity": alert["subject"],
        "rule": alert["rule"],
        "alert": alert["alert"],
        "by": name,
        "comment": comment,
    }
    at = datetime.now(UTC)
    event = decision(key, "accepted", alert["alert"], data, tenant=alert["tenant"], at=at, source=SOURCE)
    append(place, event)
    return event.data


def _alert(reader: Reader, wanted: str) -> Mapping[str, Json]:
    """The alert that an id or its beginning names."""
    rows = [row for row in reader.alerts(None, None, 10_000).rows if begins(row["alert"], wanted)]
    if len(rows) != 1 or len(wanted) < 6:
        why = "is no alert" if not rows else f"begins {len(rows)} alerts" if len(rows) > 1 else "is too short"
        raise Fault("no-alert", f"{wanted!r} {why}", "`ratchet alerts --json` has whole ids", Exit.USAGE)
    return rows[0]


def operate(place: Home, verb: str, subject: str, data: Mapping[str, Json], tenant: str) -> Event:
    """Sign a decision with the operator key, as the user of the operating system who runs this; put it on the log."""
    from ratchet.rollout.approval import decision

    said = {**data, "by": whoami()}
    event = decision(place.operator_key(), verb, subject, said, tenant=tenant, at=datetime.now(UTC), source=SOURCE)
    append(place, event)
    return event


def say_of_proposal(
    place: Home,
    proposal: Mapping[str, Json],
    tenant: str,
    kind: str,
    by: str,
    attempt: int,
    policy: str | None,
    signature: str,
    comment: str,
) -> Event:
    """Put a signed decision about a proposal on the log."""
    now = datetime.now(UTC)
    data = {
        "proposal": proposal["proposal"],
        "hash": proposal["hash"],
        "attempt": attempt,
        "policy": policy,
        "by": by,
        "signature": signature,
        "comment": comment,
    }
    id = derived_id("decision", proposal["proposal"], kind, by, stamp(now))
    event = Event(id, SOURCE, f"decision.{kind}.v1", proposal["proposal"], now, tenant, data)
    append(place, event)
    return event


def follows(reader: Reader) -> str:
    """What becomes of a decision that was put on the log just now."""
    return "the next tick takes it up" if awake(reader) else "it takes effect when `ratchet up` runs"


def awake(reader: Reader) -> bool:
    """Whether a pipeline runs on this data directory, as far as its ticks tell."""
    ticks = reader.history("ticks", "0", 1)
    return bool(ticks) and datetime.now(UTC) - ticks[0].event.time < _AWAKE


def whoami() -> str:
    """The user of the operating system that runs this: by its id, which no variable can alter."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid-{os.getuid()}"


def approver_key(place: Home, name: str, path: str | None) -> bytes:
    """The private key's 32 bytes, checked to be the one that the configuration knows under this name."""
    from ratchet.rollout.approval import public_key

    known = place.config.approvers.keys.get(name)
    if known is None:
        names = ", ".join(sorted(place.config.approvers.keys)) or "nobody yet"
        raise Fault(
            "not-an-approver",
            f"{name!r} is no approver of {place.path}",
            f"approvers are {names}: say --as NAME, or add the key under [approvers.keys] in ratchet.toml",
            Exit.REFUSED,
        )
    file = Path(path) if path else place.below(f"keys/{name}.key")
    key = read_key(file)
    if public_key(key) != known:
        raise Fault(
            "wrong-key", f"{file} is not the key that ratchet.toml has for {name!r}", "name the right one", Exit.REFUSED
        )
    return key
