"""Which vendor documents are missing or out of date, for which machines, and where to fetch them.

Found by verifying the last evidence of every machine and sender again, as of now, with what the data directory knows:
so it says what the pipeline would meet, whatever it has judged so far.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from ratchet.event import BlobId, Json

if TYPE_CHECKING:
    from ratchet.collateral import Collateral
    from ratchet.evidence import Proof
    from ratchet.ports import Reader

MISSING = frozenset(
    {"collateral_missing", "crl_missing", "no_crl", "no_endorsement_key", "pck_chain_missing", "chain_incomplete"}
)
"""Codes of reasons (docs/reasons.md) that say that a vendor's statement is not there."""

OUT_OF_DATE = frozenset({"collateral_expired", "crl_expired", "certificate_expired"})
"""Codes of those that say that it has ended."""

_NAMES = {"tcb_info": "TCB info", "qe_identity": "QE identity", "crl": "revocation list"}

_END = re.compile(r"(?:to|until) (\S+Z)$")
"""How these reasons say until when a statement was in force."""

NAMED = 3
"""Machines that a line names; the others are counted."""


@dataclass
class Trouble:
    """One document that is missing or out of date.

    Attributes:
        missing: else it has ended.
        what: which, in words.
        until: when it ended; None where it is missing.
        remedy: what to fetch, and where.
        machines: who needs it.
    """

    missing: bool
    what: str
    until: str | None
    remedy: str
    machines: list[str] = field(default_factory=list)

    def line(self) -> str:
        """For people."""
        named = ", ".join(self.machines[:NAMED])
        others = len(self.machines) - NAMED
        who = f"{named} and {others} more" if others > 0 else named
        state = "missing" if self.missing else f"ended {self.until}" if self.until else "out of date"
        return f"{state}: {self.what}, for {who}; {self.remedy or 'fetch it from its vendor'}"


@dataclass(frozen=True)
class Health:
    """How the collateral of a fleet is.

    Attributes:
        senders: whose evidence was looked at.
        troubles: what is missing or out of date, the most machines first.
        ends: the first end of anything that is relied on, and whose; None where nothing is.
    """

    senders: int
    troubles: tuple[Trouble, ...]
    ends: tuple[datetime, str] | None


def health(reader: Reader, collateral: Collateral, at: datetime) -> Health:
    """Verify the last evidence of each machine and sender as of `at`, and gather what it lacks."""
    found: dict[tuple[bool, str, str | None], Trouble] = {}
    ends: tuple[datetime, str] | None = None
    senders = 0
    for name, proof in _proofs(reader, collateral, at):
        senders += 1
        if _ends_by_itself(proof):
            continue
        for trouble in _troubles(proof):
            kept = found.setdefault((trouble.missing, trouble.what, trouble.until), trouble)
            if "https://" not in kept.remedy:  # two steps may miss the same, and one of them knows the address
                kept.remedy = trouble.remedy
            if name not in kept.machines:
                kept.machines.append(name)
        if proof.genuine and proof.valid_until is not None and (ends is None or proof.valid_until < ends[0]):
            ends = proof.valid_until, name
    ranked = sorted(found.values(), key=lambda one: (-len(one.machines), one.what))
    return Health(senders, tuple(ranked), ends)


def _ends_by_itself(proof: Proof) -> bool:
    """Does it bring a certificate of its own that lives for hours? There is nothing that anybody could fetch for it."""
    from ratchet.evidence.registry import TEES
    from ratchet.evidence.spec import Judge

    return proof.claims is not None and TEES[proof.claims.tee].judge is Judge.ISSUER


def _troubles(proof: Proof) -> Iterator[Trouble]:
    from ratchet.evidence import StepName

    about = (StepName.CHAIN, StepName.REVOCATION, StepName.COLLATERAL)  # the others fail for want of the same
    for step in (step for step in proof.steps if step.name in about):
        for reason in step.reasons:
            if reason.code in MISSING:
                keyed = reason.code == "collateral_missing"  # wants a key; the others want something in words
                what = f"{_NAMES.get(reason.component, reason.component)} {reason.want}" if keyed else str(reason.want)
                yield Trouble(True, what, None, reason.remedy)
            elif reason.code in OUT_OF_DATE:
                ends = _END.search(str(reason.want))
                what = _NAMES.get(reason.component, reason.component)
                yield Trouble(False, what, ends[1] if ends else None, reason.remedy)


def _proofs(reader: Reader, collateral: Collateral, at: datetime) -> Iterator[tuple[str, Proof]]:
    from ratchet.evidence import FORMATS, Evidence, Format, verify

    for name, id in _latest(reader):
        record = reader.event(id)
        data: Mapping[str, Json] = record.event.data if record is not None else {}
        raw = reader.blob(BlobId(data["blob"])) if isinstance(data.get("blob"), str) else None
        if raw is None:
            continue  # retention has passed: nothing can be said of it
        beside = [reader.blob(BlobId(blob)) for blob in data.get("endorsements") or ()]
        form = Format(data["format"]) if data.get("format") in FORMATS else None
        evidence = Evidence(raw, form, tuple(blob for blob in beside if blob is not None))
        yield name, verify(evidence, collateral, at)


def _latest(reader: Reader) -> Iterator[tuple[str, str]]:
    """Name and last evidence of every machine, then of every sender that has proved none."""
    after: str | None = None
    while True:
        page = reader.fleet(None, None, after, 1000)
        for row in page.rows:
            yield str(row["hint"]), str(row["evidence"])
        after = page.after
        if after is None:
            break
    seen: set[str] = set()
    for record in reader.search("topic:verdicts AND subject:hint\\:*", 1000):
        if record.event.subject not in seen:
            seen.add(record.event.subject)
            yield str(record.event.data["hint"]["name"]), str(record.event.data["evidence"])


def judged_at(reader: Reader, now: datetime, simulated: bool) -> datetime:
    """The moment to look at: now; in a demo, whose time is its scenario's, that of the last tick."""
    ticks = reader.history("ticks", "0", 1) if simulated else ()
    return ticks[0].event.time if ticks else now
