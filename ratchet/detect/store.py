"""What correlation remembers: keyed JSON values. A stage's state (streams/stage.py, State) is one.

| key | value |
|---|---|
| `standing/<tenant>/<identity>` | `Standing.to_data()` |
| `alert/<alert>` | data of the alert's latest event |
| `open/<tenant>/<subject>` | rule -> its open alert: causes and guests that show it, said or not |
| `known/<tenant>/<identity>` | firmware marks, and when the machine's due entries lie |
| `blob/<tenant>/<blob>` | the first event that brought these bytes: [evidence event, time, name, who waited for it] |
| `replay/<tenant>/<replay key>` | the same, of evidence that was signed once, whatever unsigned bytes are around it |
| `holds/<tenant>` | what the policy in force says of holds: code -> tier |
| `burst/<rule>/<tenant>/<place>` | senders in trouble there: name -> [time, verdict event] |
| `loosened/<tenant>/<family>` | latest change of a family whose floor was loosened: {change, waiting: [store]} |
| `tightened/<tenant>/<change>` | the family whose loosening is over when every store confirms this change |
| `due/<time>/<kind>/<tenant>/<subject>` | what a Tick past that time must look at: [kind, tenant, subject] |
| `sender/<tenant>/<source>` | how many alerts names of a sender opened on a day: [day, number] |
| `clock` | time of the latest Tick |

Due entries move lazily: a machine that speaks does not move its entry; when the entry's time comes, it is put where it
belongs by then. So a signal costs no entry, and a Tick looks only at what may have happened.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

from ratchet.event import Json, stamp


class StateStore(Protocol):
    """As `streams.stage.State`, which the core cannot import."""

    def get(self, key: str) -> Json | None:
        """The value, or None."""

    def put(self, key: str, value: Json) -> None:
        """Set it."""

    def delete(self, key: str) -> None:
        """Forget it; absent is no error."""

    def scan(self, prefix: str) -> Iterator[tuple[str, Json]]:
        """Keys that begin so, in order of key, with their values."""


def due_key(when: datetime | str, kind: str, tenant: str, subject: str) -> str:
    """Of a due entry; text order is time order."""
    return f"due/{when if isinstance(when, str) else stamp(when)}/{kind}/{tenant}/{subject}"


def due_until(state: StateStore, at: datetime) -> list[tuple[str, str, str, str]]:
    """Due entries up to a moment, taken out: (when, kind, tenant, subject), in order."""
    limit = stamp(at)
    found = []
    for key, (kind, tenant, subject) in state.scan("due/"):
        when = key[4 : 4 + len(limit)]
        if when > limit:
            break
        found.append((key, (when, kind, tenant, subject)))
    for key, _ in found:
        state.delete(key)
    return [entry for _, entry in found]
