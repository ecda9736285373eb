"""What an evidence event says (docs/events.md, evidence.received.v1): the evidence, its sender, who vouches for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ratchet.event import BlobId, Json
from ratchet.evidence import FORMATS, Evidence, Format
from ratchet.ports import Blobs

MAX_LABELS = 64
"""Of one hint."""

_REMEDY = "fix whatever appended it: docs/events.md has the form"


class Malformed(ValueError):
    """An event that names no evidence: code, and what is wrong."""

    def __init__(self, code: str, detail: str, remedy: str = _REMEDY) -> None:
        super().__init__(detail)
        self.code, self.detail, self.remedy = code, detail, remedy


@dataclass(frozen=True, slots=True)
class Received:
    """An evidence event, read.

    Attributes:
        evidence: the bytes, and what came with them.
        hint: name, region, workload and labels, as the sender says.
        vouched: the configuration trusts this sender to deliver nothing but fresh evidence.
    """

    evidence: Evidence
    hint: Mapping[str, Json]
    vouched: bool


def read(data: Mapping[str, Json], blobs: Blobs) -> Received:
    """The evidence that an event names.

    Raises:
        Malformed: it names none, or its bytes are gone.
    """
    endorsements, challenge, key = data.get("endorsements", []), data.get("challenge"), data.get("key")
    vouched, name = data.get("vouched", False), data.get("format")
    if not isinstance(endorsements, list):
        raise Malformed("event_malformed", "endorsements is a list of blobs")
    if not isinstance(vouched, bool):
        raise Malformed("event_malformed", "vouched is true or false")
    evidence = Evidence(
        raw=_bytes(data.get("blob"), blobs),
        format=Format(name) if isinstance(name, str) and name in FORMATS else None,
        endorsements=tuple(_bytes(blob, blobs) for blob in endorsements),
        challenge=_hex("challenge", challenge),
        key=_hex("key", key),
    )
    return Received(evidence, _hint(data), vouched)


def _bytes(blob: Json, blobs: Blobs) -> bytes:
    if not isinstance(blob, str):
        raise Malformed("event_malformed", "a blob is named by its hash")
    raw = blobs.get(BlobId(blob))
    if raw is None:
        raise Malformed("blob_missing", f"no bytes of {blob}", "send the evidence again")
    return raw


def _hex(name: str, text: Json) -> bytes | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise Malformed("event_malformed", f"{name} is hex")
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise Malformed("event_malformed", f"{name}: {error}") from error


def _hint(data: Mapping[str, Json]) -> dict[str, Json]:
    hint = data.get("hint")
    if not isinstance(hint, dict) or not isinstance(name := hint.get("name"), str) or not 1 <= len(name) <= 128:
        raise Malformed("event_malformed", "hint.name has 1 to 128 characters")
    labels = hint.get("labels") or {}
    if not isinstance(labels, dict) or len(labels) > MAX_LABELS:
        raise Malformed("event_malformed", f"hint.labels is an object of at most {MAX_LABELS} texts")
    texts = [hint.get("region"), hint.get("workload"), *labels, *labels.values()]
    if not all(text is None or (isinstance(text, str) and len(text) <= 256) for text in texts):
        raise Malformed("event_malformed", "hint.region, .workload and each of .labels are short text")
    return {key: hint[key] for key in ("name", "region", "workload", "labels") if key in hint}
