"""The picture of the pipeline, in code, once: topics, stages and the arrows between them. Nothing else wires anything.

`python -m streams.topology` prints it as Mermaid; the README holds that text and a test fails when they differ.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of the log (design, Frozen).

    Attributes:
        name: behind `ratchet.`.
        kept: `retention`, `compacted`, `forever` or `short`.
        key: what its subject is, for people; a record's key is always (tenant, subject).
    """

    name: str
    kept: str
    key: str


@dataclass(frozen=True, slots=True)
class Stage:
    """A box of the picture.

    Attributes:
        name: also the prefix of its state.
        reads: topics, in the order in which events of equal time are taken.
        writes: topics.
    """

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]


TOPICS: tuple[Topic, ...] = (
    Topic("evidence", "retention", "hint"),
    Topic("documents", "forever", "source and document"),
    Topic("collateral", "compacted", "kind and document"),
    Topic("advisories", "compacted", "advisory"),
    Topic("verdicts", "retention", "identity"),
    Topic("signals", "short", "partition of its verdicts"),
    Topic("alerts", "retention", "identity or cohort"),
    Topic("proposals", "forever", "family"),
    Topic("decisions", "forever", "proposal or alert"),
    Topic("changes", "forever", "store"),
    Topic("receipts", "forever", "store"),
    Topic("ticks", "short", "partition"),
    Topic("dead-letters", "retention", "source"),
)

STAGES: tuple[Stage, ...] = (
    Stage("digest", ("documents",), ("collateral", "advisories", "dead-letters")),
    Stage("verify", ("collateral", "changes", "evidence"), ("verdicts", "signals", "dead-letters")),
    Stage("correlate", ("signals", "receipts", "decisions", "ticks"), ("alerts",)),
    Stage("decide", ("collateral", "advisories", "signals"), ("proposals",)),
    Stage("roll-out", ("proposals", "decisions", "receipts"), ("changes",)),
    Stage("push", ("changes", "ticks"), ("receipts",)),
    Stage("notify", ("alerts", "changes", "receipts"), ()),
)
"""In the order in which one round runs them. Edges that point upwards (changes to verify, receipts to roll-out and
correlate) are taken in the round after: see docs/adr/0002-rounds.md."""

SOURCES: dict[str, tuple[str, ...]] = {
    "collectors: evidence": ("evidence",),
    "collectors: vendor feeds": ("documents",),
    "people: console, CLI": ("decisions",),
    "clock": ("ticks",),
}
"""Who writes what no stage writes."""
