"""The ports: what the core and the stages need of the world, as protocols. Adapters live in streams/ and collectors/.

Everything a stage does to the world goes through one of these, each call of which is safe to repeat: append is
create-if-absent by id, a blob is its hash, a store is written by compare-and-swap, a notification carries the alert's
id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from ratchet.event import BlobId, Event, Json


@dataclass(frozen=True, slots=True)
class Record:
    """An event at its place on the log: `offset` grows by arrival, within one log."""

    offset: int
    topic: str
    event: Event


class NoSpace(Exception):
    """The disk is full, or a limit of the system's reached: nothing of this write was kept, what was kept before is."""


class Damaged(Exception):
    """What is stored is not what was written. `where` says which file, or which record or blob."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.where, self.why = where, why


class Blobs(Protocol):
    """Raw bytes by hash."""

    def put(self, data: bytes) -> BlobId:
        """Keep these bytes; safe when this returns. Repeating changes nothing."""

    def get(self, blob: BlobId) -> bytes | None:
        """The bytes, or None when there are none of that id."""


class Log(Protocol):
    """Topics of events, appended and read in order of arrival."""

    def append(self, events: Iterable[tuple[str, Event]]) -> int:
        """Add (topic, event) pairs not yet there by (topic, id); safe on disk when this returns. How many were new."""

    def read(self, topics: Sequence[str], after: int, limit: int) -> Sequence[Record]:
        """Records of these topics with an offset above `after`, by offset, at most `limit`."""


class Notifier(Protocol):
    """Where people and SIEMs are told. At least once, with the id."""

    @property
    def name(self) -> str:
        """For receipts and errors."""

    def send(self, event: Event) -> None:
        """Deliver one alert or policy change.

        Raises:
            Unreachable: not delivered; the caller tries again later.
        """


class Unreachable(Exception):
    """A server or file could not be reached. `retry_after` seconds, where known."""

    def __init__(self, what: str, why: str, retry_after: float | None = None) -> None:
        super().__init__(f"{what} could not be reached: {why}")
        self.what, self.why, self.retry_after = what, why, retry_after


class Refused(Exception):
    """A store will not take this change, now or later: a name it cannot hold, a tenant it does not serve."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What a store should hold: the whole policy, not a difference.

    Attributes:
        change: id of the change that wants it; written beside the policy, so that a repeat is recognised.
        tenant: whose.
        floors: family -> floor, as data (ratchet/policy/floor/).
        at: event time of the change; a Git commit carries it.
        reason: one line for people.
        policy: the appraisal policy without its floors (`Policy.to_data`): its hash with the floors is what tokens
            carry that were judged by it.
    """

    change: str
    tenant: str
    floors: Mapping[str, Json]
    at: datetime
    reason: str
    policy: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Samples:
    """Claims (as in verdicts) that the store must refuse and must let pass once the intent is in force."""

    refuse: tuple[Mapping[str, Json], ...]
    admit: tuple[Mapping[str, Json], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be written, and on top of which revision."""

    store: str
    base: str | None
    intent: Intent
    summary: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """What was written."""

    store: str
    intent: Intent
    base: str | None
    revision: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that a store holds the intent and enforces it."""

    store: str
    change: str
    revision: str
    refused: int
    admitted: int
    detail: str


@dataclass(frozen=True, slots=True)
class Drifted:
    """The store does not hold what we pushed, or does not enforce it."""

    store: str
    change: str | None
    expected: str | None
    found: str | None
    detail: str


class PolicyStore(Protocol):
    """A system that enforces: plan, push, prove.

    Every method may raise `Unreachable` (try again later); `plan` and `push` may raise `Refused` (final).
    """

    @property
    def name(self) -> str:
        """Unique among the configured stores."""

    @property
    def built_from(self) -> str | None:
        """The store whose content this one serves: a change waits until it is there, and fails where it failed."""

    def plan(self, want: Intent, expected: str | None) -> Plan | Written | Drifted:
        """Read only; `expected` is the revision that we wrote last, None before the first.

        `Written` when the store holds this very change already, on top of `expected` or as `expected` itself: a crash
        came between the write and the record of it. `Drifted` when somebody else wrote.
        """

    def push(self, plan: Plan) -> Written | Drifted:
        """One compare-and-swap on `plan.base`; `Drifted` when the base moved: nothing was written."""

    def prove(self, done: Written, samples: Samples) -> Receipt | Drifted:
        """Read back, then evaluate the samples: refused what must be refused, passed what must pass."""

    def refresh(self, expected: str | None) -> None:
        """Bring up to date what it holds beside the policy, such as the keys of tokens.

        Only where it holds revision `expected`, which we wrote last: what somebody put in its place stays as it is.
        """

    def check(self, expected: str | None) -> Drifted | None:
        """Has somebody else written since revision `expected`? Read only."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing; `after` is the key to go on from, None at the end."""

    rows: Sequence[Mapping[str, Json]]
    after: str | None


class Reader(Protocol):
    """The read side: what the CLI and the console show. Rows are JSON as in docs/events.md and docs/reading.md."""

    def counts(self) -> Mapping[str, int]:
        """Machines by standing tier, `alerts` open, `proposals` waiting, `dead_letters`, `events`, `evidence`."""

    def fleet(
        self, tier: str | None = None, family: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page:
        """Machines with their standing (`Standing.to_data`), by identity."""

    def machine(self, identity: str) -> Mapping[str, Json] | None:
        """One machine's standing, by identity or hint name, or a unique prefix of either."""

    def waiting(self) -> Sequence[Mapping[str, Json]]:
        """Genuine machines that nobody has enrolled, those that wait longest first (ratchet/policy/enrolment.py)."""

    def senders(self) -> Sequence[Mapping[str, Json]]:
        """Senders that have proved nothing yet, with what is missing, by name (docs/reading.md)."""

    def alerts(self, status: str | None = None, after: str | None = None, limit: int = 100) -> Page:
        """Alerts at their latest revision, worst and newest first."""

    def proposals(self, state: str | None = None) -> Sequence[Mapping[str, Json]]:
        """Proposals with `state` of their rollout (`ratchet.rollout.advance`), approvals and receipts."""

    def floors(self) -> Sequence[Mapping[str, Json]]:
        """Floors in force, with provenance, by family."""

    def policy(self, tenant: str) -> Mapping[str, Json] | None:
        """The policy in force beside the floors: {policy, floors, proposal, change, since, stores}; none before the
        first start.

        `floors` are those that were configured with the first policy: each holds until a proposal changes it.
        """

    def judged_by(self, tenant: str) -> Mapping[str, Json] | None:
        """What evidence is judged by: {change, policy, floors} of the last change; None before the first."""

    def marks(self, tenant: str, identity: str) -> Mapping[str, list[Json]]:
        """The firmware marks of a machine (`ratchet.detect.firmware.Marks`)."""

    def retired(self, tenant: str, identity: str) -> bool:
        """Whether the last decision about a machine retired it: nothing else may be known of it then."""

    def notifiers(self) -> Sequence[Mapping[str, Json]]:
        """Who is told, how far each is, and which of them do not answer."""

    def event(self, id: str) -> Record | None:
        """One record by event id, alert id, proposal id or a unique prefix of 8 or more characters."""

    def history(self, topic: str, subject: str, limit: int = 50) -> Sequence[Record]:
        """Latest records about one subject, newest first."""

    def search(self, query: str, limit: int = 100, seconds: float | None = None) -> Iterator[Record]:
        """Records that match the search language (`ratchet.query.language`), newest first.

        Args:
            query: as people write it.
            limit: at most so many.
            seconds: after which it is stopped; None: when it is done.

        Raises:
            ratchet.query.language.BadQuery: not a query; says where.
            ratchet.query.language.TooCostly: a query that is too costly, or was stopped; says what costs most.
        """

    def dead_letters(self, after: str | None = None, limit: int = 100) -> Page:
        """Dead letters, newest first."""

    def blob(self, blob: BlobId) -> bytes | None:
        """Raw bytes."""

    def since(self, offset: int, limit: int = 1000) -> Sequence[Record]:
        """Records of every topic above an offset: what `watch` and the live page follow."""

    def head(self) -> int:
        """Offset of the newest record, 0 on an empty log: where to begin to follow without reading the past."""
