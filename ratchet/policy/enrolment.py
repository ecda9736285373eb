"""Enrolment: which machines are ours, and what to say of one that is not.

A genuine machine is not thereby one of ours: anybody can rent one, and its evidence proves as much as ours does. So the
machines that are ours are enrolled, each by what its evidence proves of it (a chip id, PPID, platform instance or EC2
instance; `ratchet.evidence.spec.Identity`):

- by a decision: `ratchet enrol`, from a file, or with a click in the console;
- by first use: for a while after the first start (`Rules.window`) a machine is ours once it sends fresh genuine
  evidence. After that, a new one waits until somebody decides.

A machine that was retired is ours no longer, whatever it sends, until somebody enrols it again. A name belongs to one
machine at a time: another machine under it is not enrolled by first use as long as the first one is ours and was seen
within the time for which a verdict is believed. Machines that are ours may take each other's names: a guest moves.

Only fresh genuine evidence is asked about: what somebody kept says nothing of who runs it now. A machine whose evidence
hides its identity cannot be enrolled.

State, of which a machine takes about 600 bytes at most, and a decision about one another 200:

- `enrolled/<tenant>/<identity>` -> {identity, since, by|null, how: `decision` or `first use`, name|null}
- `retired/<tenant>/<identity>` -> {since, by}
- `name/<tenant>/<name>` -> {identity, seen}: the machine of ours that went by it last; at most `MAX_NAMES` of a machine
- `names/<tenant>/<identity>` -> [name], the one used last at the end
- `waiting/<tenant>/<identity>` -> {tenant, identity, name, family, tee, region, workload, since, seen, evidence,
  recognition, moved_from|null}: at most `MAX_WAITING` of a tenant
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, Self

from ratchet.event import Event, Json, parse_time, stamp
from ratchet.evidence.registry import is_identity
from ratchet.policy.circumstances import Recognition

MAX_NAMES = 16
"""Of one machine; the one used longest ago makes room."""

MAX_WAITING = 4096
"""Machines of one tenant that wait; beyond, further ones are strangers that nothing is kept of."""


class Register(Protocol):
    """Where the state above is kept: a stage's state (streams/stage.py)."""

    def get(self, key: str) -> Json | None:
        """The value, or None."""

    def put(self, key: str, value: Json) -> None:
        """Set it."""

    def delete(self, key: str) -> None:
        """Forget it; absent is no error."""

    def scan(self, prefix: str) -> Iterator[tuple[str, Json]]:
        """Keys that begin so, in order of key, with their values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The policy's `enrolment`.

    Attributes:
        window: seconds after the first start in which first use enrols.
        required: whether a machine must be enrolled; where not, every genuine machine counts as ours unless retired.
    """

    window: int = 24 * 3600
    required: bool = True

    def __post_init__(self) -> None:
        if self.window < 0:
            raise ValueError("enrolment.window: at least 0 seconds")

    def to_data(self) -> dict[str, Json]:
        """As JSON."""
        return {"window": self.window, "required": self.required}

    @classmethod
    def from_data(cls, data: Mapping[str, Json]) -> Self:
        """The inverse of `to_data`; what is left out has its default."""
        return cls(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A machine that fresh genuine evidence proves, and what was sent with it.

    Attributes:
        tenant, identity: which.
        hint: as its sender says: name, region, workload.
        family, tee: of the evidence.
        evidence: id of its event.
        received: when it came.
        first: whether it may be the machine's first use; not where it is judged again.
    """

    tenant: str
    identity: str
    hint: Mapping[str, Json]
    family: str
    tee: str
    evidence: str
    received: datetime
    first: bool = True


def recognise(register: Register, asked: Asked, rules: Rules, *, opened: datetime, recently: timedelta) -> Recognition:
    """Is it ours? Enrols by first use, and keeps names and the list of those that wait.

    Args:
        register: the state.
        asked: about whom.
        rules: of the policy in force.
        opened: when the first start was.
        recently: how long after it was last seen a machine keeps its name.
    """
    tenant, identity, name = asked.tenant, asked.identity, str(asked.hint["name"])
    if register.get(f"retired/{tenant}/{identity}") is not None:
        return Recognition.STRANGER
    key = f"enrolled/{tenant}/{identity}"
    if not rules.required:
        return Recognition.OURS  # nobody is put on the list by it: once it is asked for, strangers are not on it
    if register.get(key) is None:
        holder = _holder(register, asked, recently)
        if holder is not None:
            return _waits(register, asked, Recognition.MOVED, holder)
        if not asked.first or asked.received > opened + timedelta(seconds=rules.window):
            return _waits(register, asked, Recognition.WAITING, None)
    if register.get(key) is None:
        entry = {
            "identity": identity, "since": stamp(asked.received), "by": None, "how": "first use", "name": name,
        }  # fmt: skip
        register.put(key, entry)
        register.delete(f"waiting/{tenant}/{identity}")
    _named(register, tenant, identity, name, asked.received)
    return Recognition.OURS


def known(register: Register, tenant: str, identity: str, rules: Rules) -> Recognition:
    """As `recognise`, of evidence that may change nothing: only whether the machine is on the list already."""
    if register.get(f"retired/{tenant}/{identity}") is not None:
        return Recognition.STRANGER
    if register.get(f"enrolled/{tenant}/{identity}") is not None or not rules.required:
        return Recognition.OURS
    return Recognition.NOT_ASKED


def decide(register: Register, event: Event) -> str | None:
    """Take decision.enrolled.v1 or decision.retired.v1, whose signature holds: whose place changed, if anybody's.

    What is said again changes nothing; nor does a decision about what no evidence can prove, nor an enrolment from
    before the machine was retired.
    """
    identity, tenant = event.data.get("identity"), event.tenant
    if not isinstance(identity, str) or not is_identity(identity):
        return None
    enrolled, retired = f"enrolled/{tenant}/{identity}", f"retired/{tenant}/{identity}"
    by, since = str(event.data["by"]), stamp(event.time)
    if event.type == "decision.retired.v1":
        if register.get(retired) is not None:
            return None
        register.put(retired, {"since": since, "by": by})
        register.delete(enrolled)
        register.delete(f"waiting/{tenant}/{identity}")
        for name in register.get(f"names/{tenant}/{identity}") or ():
            _forget_name(register, tenant, identity, name)
        register.delete(f"names/{tenant}/{identity}")
        return identity
    ended = register.get(retired)
    if register.get(enrolled) is not None or (ended is not None and since < ended["since"]):
        return None  # what was said before the machine was retired does not bring it back, whenever it is heard
    name = event.data.get("name")
    entry = {
        "identity": identity, "since": since, "by": by, "how": "decision",
        "name": name if isinstance(name, str) else None,
    }  # fmt: skip
    register.put(enrolled, entry)
    register.delete(retired)
    register.delete(f"waiting/{tenant}/{identity}")
    return identity


def _holder(register: Register, asked: Asked, recently: timedelta) -> str | None:
    """The other machine of ours that goes by this name, if it was seen recently."""
    held = register.get(f"name/{asked.tenant}/{asked.hint['name']}")
    if held is None or held["identity"] == asked.identity:
        return None
    if asked.received - parse_time(held["seen"]) > recently:
        return None
    return str(held["identity"])


def _named(register: Register, tenant: str, identity: str, name: str, at: datetime) -> None:
    """This machine goes by this name now."""
    key, entry = f"name/{tenant}/{name}", {"identity": identity, "seen": stamp(at)}
    held = register.get(key)
    if held is not None and held["seen"] > entry["seen"]:
        return  # evidence that came late
    register.put(key, entry)
    names = register.get(f"names/{tenant}/{identity}") or []
    if not names or names[-1] != name:
        kept = [*(other for other in names if other != name), name]
        for old in kept[:-MAX_NAMES]:
            _forget_name(register, tenant, identity, old)
        register.put(f"names/{tenant}/{identity}", kept[-MAX_NAMES:])


def _forget_name(register: Register, tenant: str, identity: str, name: str) -> None:
    held = register.get(f"name/{tenant}/{name}")
    if held is not None and held["identity"] == identity:
        register.delete(f"name/{tenant}/{name}")


def _waits(register: Register, asked: Asked, what: Recognition, moved_from: str | None) -> Recognition:
    key = f"waiting/{asked.tenant}/{asked.identity}"
    before = register.get(key)
    if before is None and sum(1 for _ in register.scan(f"waiting/{asked.tenant}/")) >= MAX_WAITING:
        return Recognition.STRANGER
    if before is not None and before["seen"] > stamp(asked.received):
        return what
    row = {
        "tenant": asked.tenant,
        "identity": asked.identity,
        "name": asked.hint["name"],
        "region": asked.hint.get("region"),
        "workload": asked.hint.get("workload"),
        "family": asked.family,
        "tee": asked.tee,
        "since": before["since"] if before else stamp(asked.received),
        "seen": stamp(asked.received),
        "evidence": asked.evidence,
        "recognition": what.value,
        "moved_from": moved_from,
    }
    register.put(key, row)
    return what
