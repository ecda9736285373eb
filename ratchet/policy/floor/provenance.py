"""Where a floor was read, and whether its vendor replaced one such source by another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from ratchet.event import BlobId, Json, parse_time, stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One version of something that a vendor states, and states anew from time to time.

    Attributes:
        name: the same for every version: `tcb-info/<family>` for Intel, the bulletin's id for AMD.
        rank: orders versions first: Intel's tcbEvaluationDataNumber; 0 for AMD.
        at: orders them then: Intel's issueDate (PCS API v4, "Get TCB info"); the date of the bulletin's text that a
            reviewer read: as published, or as the vendor revised it.
        document: the blob that it was read from.
    """

    name: str
    rank: int
    at: datetime
    document: BlobId

    def to_data(self) -> dict[str, Json]:
        """As JSON."""
        return {"name": self.name, "rank": self.rank, "at": stamp(self.at), "document": self.document}

    @classmethod
    def from_data(cls, data: Mapping[str, Json]) -> Self:
        """The inverse of `to_data`."""
        return cls(name=data["name"], rank=data["rank"], at=parse_time(data["at"]), document=BlobId(data["document"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a floor was read, and who says so.

    Attributes:
        documents: blob ids of what it was read from.
        pointer: JSON pointer (RFC 6901) into the document.
        rule: the reading rule and its version: `intel.tcb-info/1`, `amd.reviewed/1`.
        reviewed_by: who read the bulletin, for floors that no machine can read; None for exact ones.
        url, bulletin: what the reviewer read.
        statements: which version of each of the vendor's statements it follows.
    """

    documents: tuple[BlobId, ...]
    pointer: str
    rule: str
    reviewed_by: str | None = None
    url: str | None = None
    bulletin: str | None = None
    statements: tuple[Statement, ...] = ()

    @property
    def exact(self) -> bool:
        """Read by a rule from a signed vendor document; else reviewed, and then never automatic (docs/design.md, 7)."""
        return self.reviewed_by is None

    @property
    def place(self) -> str:
        """For `Reason.source`."""
        where = ",".join(self.documents) + "#" + self.pointer
        return f"{self.bulletin} {where}" if self.bulletin else where

    def follows(self, other: Provenance) -> bool:
        """Did the vendor itself replace what `other` was read from by what this was read from?

        Each of the other's statements is followed: in the same document, or in a later version of that statement; at
        least one in a later one. So a floor for which people chose something else than the vendor's successor is none.
        """
        ours = {statement.name: statement for statement in self.statements}
        pairs = [(statement, ours.get(statement.name)) for statement in other.statements]
        if not pairs or any(new is None for _, new in pairs):
            return False
        later = [new is not None and (new.rank, new.at) > (old.rank, old.at) for old, new in pairs]
        same = [new is not None and new.document == old.document for old, new in pairs]
        return any(later) and all(a or b for a, b in zip(later, same, strict=True))

    def to_data(self) -> dict[str, Json]:
        """As JSON."""
        return {
            "documents": list(self.documents),
            "pointer": self.pointer,
            "rule": self.rule,
            "reviewed_by": self.reviewed_by,
            "url": self.url,
            "bulletin": self.bulletin,
            "statements": [statement.to_data() for statement in self.statements],
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Json]) -> Self:
        """The inverse of `to_data`."""
        return cls(
            documents=tuple(BlobId(d) for d in data["documents"]),
            pointer=data["pointer"],
            rule=data["rule"],
            reviewed_by=data["reviewed_by"],
            url=data["url"],
            bulletin=data["bulletin"],
            statements=tuple(Statement.from_data(statement) for statement in data.get("statements", ())),
        )
