"""Reviewed advisories: what a person read in a vendor's bulletin, written down so that it can become a floor.

AMD publishes no signed list of minimum versions: bulletins are prose. So somebody reads them and writes a document of
the type `application/vnd.ratchet.advisory+json` (docs/floors.md), which names the bulletin, its address and the reader.
A floor that comes of it is `reviewed`, hence never automatic. What cannot be written as a floor is left out: abstaining
is allowed, guessing is not.

Those in the folder `amd` ship with Ratchet (`shipped`). They take effect only when somebody enters and approves them.
"""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from ratchet.collateral import UnknownDocument
from ratchet.event import BlobId, Json, digest, parse_time, stamp
from ratchet.policy.floor import AmdFloor, Minimum
from ratchet.policy.floor.provenance import Provenance, Statement

MEDIA_TYPE = "application/vnd.ratchet.advisory+json"
"""Of a reviewed floors file; its `format` says so."""

MAX_DOCUMENT = 1024 * 1024
"""Bytes read of one."""

RULE = "amd.reviewed/1"
"""How one becomes a floor: minima as they stand; those of several bulletins together, the highest of each."""


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("a line of printable characters: an approver reads it")
    return text


_Time = Annotated[AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), lt=datetime(2200, 1, 1, tzinfo=UTC))]
_Line = Annotated[str, StringConstraints(min_length=1, max_length=300), AfterValidator(_one_line)]
_Selector = Annotated[int, Field(ge=0, le=255)]
_Version = Annotated[int, Field(ge=0, le=255)]
_TcbName = Annotated[
    str, StringConstraints(pattern=r"^(reported|committed|current|launch)\.(bl|tee|snp|ucode|fmc)$", max_length=20)
]
_Bit = Annotated[int, Field(ge=0, lt=2**53)]
_BitName = Annotated[str, StringConstraints(pattern=r"^(policy|platform)\.[a-z][a-z0-9_]{0,40}$|^vmpl$", max_length=50)]


class BadAdvisory(ValueError):
    """A reviewed floors file with a fault; the text says where."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class _Minimum(_Strict):
    model: _Selector | None = None
    stepping: _Selector | None = None
    tcb: dict[_TcbName, _Version] = Field(default_factory=dict, max_length=20)
    bits: dict[_BitName, bool | _Bit] = Field(default_factory=dict, max_length=20)
    mitigation: int = Field(0, ge=0, lt=2**53)

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if not (self.tcb or self.bits or self.mitigation):
            raise ValueError("asks for nothing: give tcb, bits or mitigation")
        return self


class _Floor(_Strict):
    family: Literal["snp/Milan", "snp/Genoa", "snp/Turin"]
    minima: list[_Minimum] = Field(max_length=64)


class _Document(_Strict):
    format: Literal["application/vnd.ratchet.advisory+json"]
    version: Literal[1]
    vendor: Literal["AMD"]
    bulletin: Annotated[str, StringConstraints(pattern=r"^AMD-SB-[0-9]{4,5}$")]
    title: _Line
    url: Annotated[str, StringConstraints(pattern=r"^https://[!-~]+$", max_length=300)]
    published: _Time
    reviewer: _Line
    reviewed_at: _Time
    revised: _Time | None = None
    sources: list[_Line] = Field(default_factory=list, max_length=16)
    note: str = Field("", max_length=2000)
    floors: list[_Floor] = Field(max_length=16)

    @model_validator(mode="after")
    def _once(self) -> Self:
        families = [floor.family for floor in self.floors]
        if len(set(families)) != len(families):
            raise ValueError("floors: a family is there twice; put its minima together")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """A reviewed bulletin.

    Attributes:
        advisory: its id: `AMD-SB-3019`.
        vendor, title, url, published: the bulletin's.
        reviewed_by, reviewed_at: who read it, and when. A later review of the same bulletin takes its place.
        floors: what it asks, by family; a family whose floor asks nothing was withdrawn.
        pointer: where in the document: its whole.
    """

    advisory: str
    vendor: str
    title: str
    url: str
    published: datetime
    reviewed_by: str
    reviewed_at: datetime
    floors: tuple[AmdFloor, ...]
    pointer: str = ""

    def to_data(self) -> dict[str, Json]:
        """As JSON: advisory.known.v1 but for its blob."""
        return {
            "advisory": self.advisory,
            "vendor": self.vendor,
            "title": self.title,
            "url": self.url,
            "published": stamp(self.published),
            "reviewed_by": self.reviewed_by,
            "reviewed_at": stamp(self.reviewed_at),
            "floors": [floor.to_data() for floor in self.floors],
            "pointer": self.pointer,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Json]) -> Self:
        """The inverse of `to_data`; reads advisory.known.v1 too."""
        return cls(
            advisory=data["advisory"],
            vendor=data["vendor"],
            title=data["title"],
            url=data["url"],
            published=parse_time(data["published"]),
            reviewed_by=data["reviewed_by"],
            reviewed_at=parse_time(data["reviewed_at"]),
            floors=tuple(AmdFloor.from_data(floor) for floor in data["floors"]),
            pointer=data["pointer"],
        )


def parse(document: bytes) -> tuple[Advisory, ...]:
    """Read a reviewed floors file.

    Raises:
        UnknownDocument: it is no such file at all.
        BadAdvisory: it is one, and says something that it may not.
    """
    if MEDIA_TYPE.encode() not in document[:MAX_DOCUMENT]:
        raise UnknownDocument(f"not of the type {MEDIA_TYPE}")
    if len(document) > MAX_DOCUMENT:
        raise BadAdvisory(f"{len(document)} bytes, at most {MAX_DOCUMENT} are read")
    try:
        value = json.loads(document, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise BadAdvisory(f"not JSON: {error}") from error
    if not isinstance(value, dict) or value.get("format") != MEDIA_TYPE:
        raise UnknownDocument(f"its `format` is not {MEDIA_TYPE}")
    try:
        # Times are text in JSON; strict mode takes them only from JSON, so the bytes are given, not the value.
        read = _Document.model_validate_json(document)
    except ValidationError as error:
        raise BadAdvisory("; ".join(_fault(e["loc"], e["msg"]) for e in error.errors()[:5])) from error
    blob = digest(document)
    return (
        Advisory(
            advisory=read.bulletin,
            vendor=read.vendor,
            title=read.title,
            url=read.url,
            published=read.published,
            reviewed_by=read.reviewer,
            reviewed_at=read.reviewed_at,
            floors=tuple(_floor(read, place, floor, blob) for place, floor in enumerate(read.floors)),
        ),
    )


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """A key given twice means one thing to one reader and another to the next."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice in one object")
    return found


def _fault(place: tuple[int | str, ...], text: str) -> str:
    return f"/{'/'.join(map(str, place))}: {text}" if place else text


def _floor(read: _Document, place: int, floor: _Floor, blob: BlobId) -> AmdFloor:
    return AmdFloor(
        family=floor.family,
        minima=tuple(
            Minimum(model=m.model, stepping=m.stepping, tcb=m.tcb, bits=m.bits, mitigation=m.mitigation)
            for m in floor.minima
        ),
        provenance=Provenance(
            documents=(blob,),
            pointer=f"/floors/{place}",
            rule=RULE,
            reviewed_by=read.reviewer,
            url=read.url,
            bulletin=read.bulletin,
            statements=(Statement(name=read.bulletin, rank=0, at=read.revised or read.published, document=blob),),
        ),
    )


def combined(advisories: Iterable[Advisory], family: str) -> AmdFloor | None:
    """One floor for a family from all that was reviewed: a machine has to meet every bulletin.

    For each model and stepping the highest version of each component, every bit, every mitigation. Two bulletins that
    want opposite values of one bit stay apart: then nothing meets the floor, and nothing is proposed.

    Returns:
        None where no bulletin speaks of the family; a floor that asks nothing where all that one asked was withdrawn.
    """
    minima: dict[tuple[int | None, int | None], list[Minimum]] = {}
    read: list[Provenance] = []
    asking: list[Provenance] = []
    for advisory in sorted(advisories, key=lambda a: (a.published, a.advisory)):
        for floor in advisory.floors:
            if floor.family != family:
                continue
            read.append(floor.provenance)
            asking += [floor.provenance] if floor.minima else []
            for minimum in floor.minima:
                _merge(minima.setdefault((minimum.model, minimum.stepping), []), minimum)
    if not read:
        return None
    shown = asking or read
    newest = shown[-1]
    return AmdFloor(
        family=family,
        minima=tuple(m for kept in minima.values() for m in kept),
        provenance=Provenance(
            documents=tuple(dict.fromkeys(d for p in shown for d in p.documents)),
            pointer=newest.pointer,
            rule=RULE,
            reviewed_by=", ".join(dict.fromkeys(p.reviewed_by or "" for p in shown)),
            url=newest.url,
            bulletin=", ".join(dict.fromkeys(p.bulletin or "" for p in shown)),
            statements=tuple(statement for p in read for statement in p.statements),
        ),
    )


def _merge(kept: list[Minimum], minimum: Minimum) -> None:
    for place, other in enumerate(kept):
        if all(minimum.bits.get(name, value) == value for name, value in other.bits.items()):
            names = sorted({*other.tcb, *minimum.tcb})
            kept[place] = Minimum(
                model=other.model,
                stepping=other.stepping,
                tcb={name: max(other.tcb.get(name, 0), minimum.tcb.get(name, 0)) for name in names},
                bits={**other.bits, **minimum.bits},
                mitigation=other.mitigation | minimum.mitigation,
            )
            return
    kept.append(minimum)


def shipped() -> dict[str, bytes]:
    """The reviewed files inside this package, by name: data, which nobody trusts until it is entered and approved."""
    folder = importlib.resources.files(__name__) / "amd"
    return {f.name: f.read_bytes() for f in sorted(folder.iterdir(), key=lambda f: f.name) if f.name.endswith(".json")}
