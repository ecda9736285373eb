"""The picture of the pipeline, in code, once: topics, stages and the arrows between them. Nothing else wires anything.

`python -m streams.topology` prints it as Mermaid; the README holds that text and a test fails when they differ.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of the log (docs/design.md, Frozen).

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
    Stage(
        "verify", ("collateral", "changes", "decisions", "evidence", "ticks"), ("verdicts", "signals", "dead-letters")
    ),
    Stage("correlate", ("signals", "changes", "receipts", "decisions", "ticks"), ("alerts", "dead-letters")),
    Stage("decide", ("changes", "collateral", "advisories", "decisions", "signals"), ("proposals", "dead-letters")),
    Stage("roll-out", ("receipts", "proposals", "decisions", "ticks"), ("changes", "dead-letters")),
    Stage("push", ("changes", "ticks"), ("receipts",)),
    Stage("notify", ("alerts", "changes", "receipts"), ()),
)
"""In the order in which one round runs them. Edges that point upwards (changes to verify, correlate and decide,
receipts to correlate and roll-out) are taken in the round after: see docs/adr/0002-rounds.md."""

SOURCES: dict[str, tuple[str, ...]] = {
    "collectors: evidence": ("evidence",),
    "collectors: vendor feeds": ("documents",),
    "people: console, CLI": ("decisions",),
    "clock": ("ticks",),
}
"""Who writes what no stage writes."""

SINKS: frozenset[str] = frozenset(s.name for s in STAGES if not s.writes)
"""Stages that write nothing: they run after the commit, from positions of their own, and never hold a round up."""

EXTERNAL: tuple[str, ...] = tuple(topic for topics in SOURCES.values() for topic in topics)
"""Topics whose records come from outside; a tick closes them into rounds."""


def feedback() -> dict[str, tuple[str, ...]]:
    """Stage -> topics that it reads and that no stage above it has finished writing: taken in the round after."""
    below: dict[str, tuple[str, ...]] = {}
    for place, stage in enumerate(STAGES):
        later = {topic for other in STAGES[place:] for topic in other.writes}
        if back := tuple(topic for topic in stage.reads if topic in later):
            below[stage.name] = back
    return below


def mermaid() -> str:
    """The picture as a Mermaid flowchart: topics as arrows between those who write and those who read them."""
    lines = ["flowchart LR"]
    ids: dict[str, str] = {}
    for source in SOURCES:
        ids[source] = f"source{len(ids)}"
        lines.append(f'    {ids[source]}(["{source}"])')
    for stage in STAGES:
        ids[stage.name] = stage.name.replace("-", "_")
        lines.append(f'    {ids[stage.name]}["{stage.name}"]')
    later = feedback()
    writers = [*SOURCES.items(), *((stage.name, stage.writes) for stage in STAGES)]
    for writer, topics in writers:
        for reader in STAGES:
            both = [topic for topic in topics if topic in reader.reads]
            for topics_of_arrow, arrow in (
                ([t for t in both if t not in later.get(reader.name, ())], "-->"),
                ([t for t in both if t in later.get(reader.name, ())], "-.->"),
            ):
                if topics_of_arrow:
                    lines.append(f'    {ids[writer]} {arrow}|"{", ".join(topics_of_arrow)}"| {ids[reader.name]}')
    for topic in TOPICS:
        writing = [name for name, topics in writers if topic.name in topics]
        if not any(topic.name in stage.reads for stage in STAGES):
            node = topic.name.replace("-", "_")
            lines.append(f'    {node}[("{topic.name}")]')
            lines.extend(f"    {ids[name]} --> {node}" for name in writing)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(mermaid(), end="")
