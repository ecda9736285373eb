"""Does Ratchet see in each item of a manifest of real evidence what the manifest says is there? Pure: reading is given.

An item is judged at its `verification_time` with its collateral, each of its `cases` with the case's own, and each of
its `time_cases` must be refused. Everything that the manifest states is compared, claim by claim, or reported.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256

from ratchet.collateral import Collateral, Known, UnknownDocument, parse
from ratchet.conformance import claims as table
from ratchet.conformance.claims import Absent, Look, Read, Seen
from ratchet.event import Json, parse_time
from ratchet.evidence import FORMATS, Evidence, Format, Outcome, Proof, StepName, fields, verify
from ratchet.x509.anchor import Root
from ratchet.x509.chain import BadCertificate, pem_blocks

_KNOWN_FROM = datetime(1970, 1, 1, tzinfo=UTC)
"""The corpus does not say when its collateral was had: it counts as known throughout, and validity decides."""

NOT_OURS = frozenset({"how_expected_known", "invalid_reason", "note", "source"})
"""What an item says for people."""
NOT_OURS_IN_CASES = frozenset({"plain_comparison_status", "dcap_qvl_0_7_0", "dcap_qvl_advisories"})
"""What other programs made of a case."""


class BadManifest(ValueError):
    """Not a manifest in the corpus's schema; says where."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One comparison: `what` the manifest states, and what was seen."""

    what: str
    expected: Json
    seen: Json
    agrees: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """One item, compared."""

    id: str
    format: str
    findings: tuple[Finding, ...]

    @property
    def disagreements(self) -> tuple[Finding, ...]:
        """What was seen otherwise than the manifest says."""
        return tuple(one for one in self.findings if not one.agrees)


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a manifest.

    Attributes:
        items: those of formats that are known, in the manifest's order.
        unsupported: how many there are of each format that is not.
        unknown: formats that were asked for and occur nowhere in the manifest.
    """

    items: tuple[Checked, ...]
    unsupported: Mapping[str, int]
    unknown: tuple[str, ...]

    @property
    def disagreeing(self) -> tuple[Checked, ...]:
        """Items with at least one disagreement."""
        return tuple(item for item in self.items if item.disagreements)


def check(
    manifest: bytes,
    read: Read,
    roots: Iterable[Root],
    formats: Sequence[str] | None = None,
    progress: Callable[[list[dict[str, Json]]], Iterable[dict[str, Json]]] = iter,
) -> Report:
    """Compare every item with what Ratchet sees in it.

    Args:
        manifest: JSON, a list of items.
        read: gives the bytes of a file by its path in the manifest; what it raises is passed on.
        roots: the trust anchors.
        formats: only items of these; None for all.
        progress: is given the items to check and passes them on, one by one.

    Raises:
        BadManifest: it is not in the schema.
    """
    items = items_of(manifest)
    wanted = [item for item in items if formats is None or item["format"] in formats]
    checker = _Checker(read, tuple(roots), _latest(items))
    done, unsupported = [], Counter[str]()
    for item in progress(wanted):
        findings = checker.findings(item)
        if findings is None:
            unsupported[item["format"]] += 1
        else:
            done.append(Checked(item["id"], item["format"], tuple(findings)))
    present = {item["format"] for item in items}
    return Report(tuple(done), dict(unsupported), tuple(f for f in formats or () if f not in present))


def items_of(manifest: bytes) -> list[dict[str, Json]]:
    """The items of a manifest.

    Raises:
        BadManifest: it is not in the corpus's schema.
    """
    try:
        items = json.loads(manifest)
    except (ValueError, RecursionError) as wrong:
        raise BadManifest(f"not JSON: {wrong}") from None
    if not isinstance(items, list):
        raise BadManifest("not a list of items")
    for i, item in enumerate(items):
        if not isinstance(item, dict):
            raise BadManifest(f"item {i} is not an object")
        for name, kind in (("id", str), ("format", str), ("file", str), ("expected", dict)):
            if not isinstance(item.get(name), kind):
                raise BadManifest(f"item {i} ({item.get('id', '?')}): {name} is missing or of another type")
    return items


def _latest(items: Iterable[Mapping[str, Json]]) -> datetime:
    """What an item without a time is judged at: the latest time that the manifest names."""
    times = (time_of(item.get("verification_time"), item["id"]) for item in items)
    return max((at for at in times if at is not None), default=_KNOWN_FROM)


class _Checker:
    def __init__(self, read: Read, roots: tuple[Root, ...], latest: datetime) -> None:
        self._read = read
        self._roots = roots
        self._latest = latest
        self._parsed: dict[str, tuple[Known, ...]] = {}

    def findings(self, item: Mapping[str, Json]) -> Iterator[Finding] | None:
        """Everything compared; None where the format is not known."""
        if item["format"] == "intel-collateral":
            return self._document(item)
        if item["format"] not in FORMATS:
            return None
        return self._evidence(item)

    # -- evidence

    def _evidence(self, item: Mapping[str, Json]) -> Iterator[Finding]:
        yield from self._files(item)
        expected = item["expected"]
        evidence = evidence_of(item, self._read)
        at = time_of(item.get("verification_time"), item["id"]) or self._latest
        paths = list(item.get("collateral") or [])
        try:
            proof, note = self._best(evidence, paths, at, expected)
        except Exception as fault:
            yield Finding("verify", "no exception", f"{type(fault).__name__}: {fault}", False)
            return
        seen = Seen(proof, {one.name: one for one in fields(evidence)}, evidence.endorsements)
        yield _signature(expected.get("signature"), proof, note, expected.get("chain_at_verification_time"))
        if proof.tcb is not None or expected.get("tcb_status") is not None:
            yield from _status(expected, proof, "", note)
        for finding in _compare_all(expected, seen, item["format"]):
            yield _of_the_original(finding) if item.get("derived_from") and not finding.agrees else finding
        for case in expected.get("cases") or ():
            yield from self._case(evidence, case, item["id"])
        for case in expected.get("time_cases") or ():
            yield self._time_case(evidence, case, item["id"])

    def _best(
        self, evidence: Evidence, paths: list[str], at: datetime, expected: Mapping[str, Json]
    ) -> tuple[Proof, str]:
        """Judged with all of the item's collateral; where several of it are in force at once (Intel keeps two or three
        evaluations) and the manifest speaks of another one than the newest, with that alone."""
        proof = verify(evidence, self._collateral(paths), at)
        wants = (expected.get("tcb_status"), expected.get("advisory_ids"))
        if wants[0] is None or proof.tcb is None or _status_of(proof) == wants:
            return proof, ""
        for path in paths:
            alone = verify(evidence, self._collateral([path]), at)
            status, advisories = _status_of(alone)
            fits = status == wants[0] and advisories in (None, wants[1])
            if alone.outcome(StepName.COLLATERAL) is Outcome.PASSED and fits:
                return alone, f"of those in force at once, by {path.rpartition('/')[2]}"
        return proof, ""

    def _case(self, evidence: Evidence, case: Mapping[str, Json], id: str) -> Iterator[Finding]:
        paths, at = paths_of(case), time_of(case.get("verification_time"), id) or self._latest
        name = f"{paths[0].rpartition('/')[2] if paths else 'no collateral'} at {case.get('verification_time')}: "
        try:
            proof = verify(evidence, self._collateral(paths), at)
        except Exception as fault:
            yield Finding(f"{name}verify", "no exception", f"{type(fault).__name__}: {fault}", False)
            return
        if "signature" in case:
            yield replace(_signature(case["signature"], proof, ""), what=f"{name}signature")
        yield from _status(case, proof, name, "")
        apart = {"collateral", "verification_time", "signature", "tcb_status", "advisory_ids"} | NOT_OURS_IN_CASES
        for key, want in case.items():
            if key in apart:
                continue
            look = table.CASES.get(key)
            yield _finding(f"{name}{key}", want, look, Seen(proof))

    def _time_case(self, evidence: Evidence, case: Mapping[str, Json], id: str) -> Finding:
        paths, at = paths_of(case), time_of(case.get("verification_time"), id) or self._latest
        name = (
            f"{paths[0].rpartition('/')[2] if paths else 'no collateral'} at {case.get('verification_time')}: refused"
        )
        want = str(case.get("expect", "reject"))
        if not want.startswith("reject"):
            return Finding(name, want, None, False, "not an expectation that is known")
        try:
            proof = verify(evidence, self._collateral(paths), at)
        except Exception as fault:
            return Finding(name, want, f"{type(fault).__name__}: {fault}", False)
        sound = proof.genuine and proof.outcome(StepName.COLLATERAL) is Outcome.PASSED
        return Finding(name, want, "accepted" if sound else f"refused: {_shortfalls(proof)}", not sound)

    def _collateral(self, paths: Iterable[str]) -> Collateral:
        return Collateral(self._roots, (known for path in paths for known in self._statements(path)))

    def _statements(self, path: str) -> tuple[Known, ...]:
        if path not in self._parsed:
            try:
                self._parsed[path] = parse(self._read(path), _KNOWN_FROM, self._roots)
            except UnknownDocument:
                self._parsed[path] = ()
        return self._parsed[path]

    def _files(self, item: Mapping[str, Json]) -> Iterator[Finding]:
        """The bytes are those that the manifest speaks of; documents of collateral can be read."""
        for one in item.get("files") or ():
            if isinstance(one, dict) and isinstance(one.get("sha256"), str):
                digest = sha256(self._read(str(one.get("path")))).hexdigest()
                if digest != one["sha256"]:
                    yield Finding(f"file {one.get('path')}", one["sha256"], digest, False, "not the bytes meant")
        for path in item.get("collateral") or ():
            if not self._statements(path) and not is_root(self._read(path), self._roots):
                yield Finding(f"collateral {path}", "a vendor's document", None, False, "cannot be read")

    # -- documents

    def _document(self, item: Mapping[str, Json]) -> Iterator[Finding]:
        yield from self._files(item)
        expected = item["expected"]
        try:
            known = parse(self._read(item["file"]), _KNOWN_FROM, self._roots)
        except UnknownDocument as wrong:
            yield Finding("parse", "a vendor's document", str(wrong), False)
            return
        at = time_of(item.get("verification_time"), item["id"]) or self._latest
        unsound = sorted({code for one in known for code in _faults(one, at)})
        want = expected.get("signature")
        seen = "invalid" if unsound else "valid"
        yield Finding("signature", want, seen, want == seen, ", ".join(unsound))
        yield from _compare_all(expected, Seen(known=known), "intel-collateral")


def _faults(one: Known, at: datetime) -> Iterator[str]:
    yield from (f"{one.kind.value} {reason.code}" for reason in one.reasons)
    if one.root is None and not one.reasons:
        yield f"{one.kind.value} leads to no trusted root"
    if not one.valid_from <= at <= one.valid_until:
        yield f"{one.kind.value} not in force"


def is_root(document: bytes, roots: Iterable[Root]) -> bool:
    """Is it the certificate of a trusted root? Such are no statements: they are trusted or not."""
    try:
        found = pem_blocks(document) or [document]
    except BadCertificate:
        return False
    return {*found} <= {root.der for root in roots}


def time_of(text: Json, id: str) -> datetime | None:
    """A time that an item names, if it names one.

    Raises:
        BadManifest: it names something else.
    """
    if text is None:
        return None
    try:
        return parse_time(text)
    except (TypeError, ValueError) as wrong:
        raise BadManifest(f"{id}: {text!r} is not a time: {wrong}") from None


def paths_of(case: Mapping[str, Json]) -> list[str]:
    """The collateral of an item or of one of its cases."""
    given = case.get("collateral") or []
    return [given] if isinstance(given, str) else list(given)


def evidence_of(item: Mapping[str, Json], read: Read) -> Evidence:
    """An item's files as evidence of its format.

    Raises:
        KeyError: no such format is known.
    """
    beside = {path.rpartition("/")[2]: read(path) for path in _file_paths(item) if path != item["file"]}
    format = Format(item["format"])
    return table.FORMATS[format].evidence(read(item["file"]), beside, format)


def _file_paths(item: Mapping[str, Json]) -> list[str]:
    return [
        one["path"] for one in item.get("files") or () if isinstance(one, dict) and isinstance(one.get("path"), str)
    ]


def _signature(expected: Json, proof: Proof, note: str, chain_then: Json = None) -> Finding:
    """`expected.signature`: see the corpus's README.

    `chain_then`: what the manifest says of the chain at the time of judging, where that is not what it says of the
    signature: a document whose certificate has ended since is signed, and is refused.
    """
    seen = "valid" if proof.genuine else "invalid" if _failed(proof) else "not proven"
    said = _shortfalls(proof)
    remark = "; ".join(part for part in (note, said) if part)
    want = str(expected)
    if want == "valid" and chain_then == "invalid":
        agrees = seen != "valid" and proof.outcome(StepName.SIGNATURE) is Outcome.PASSED
    elif want == "valid":
        agrees = seen == "valid"
    elif want == "invalid":
        agrees = seen != "valid"
    elif want == "not signed":
        agrees = proof.outcome(StepName.PARSE) is Outcome.PASSED and seen != "valid"
    elif want.startswith("valid-partial"):
        agrees = seen == "not proven"  # nothing is wrong with the parts that can be checked; the whole is not trusted
    elif want.startswith("unchecked"):
        agrees = seen != "valid"
    else:
        return Finding("signature", expected, seen, False, "not an expectation that is known")
    return Finding("signature", expected, seen, agrees, remark)


def _failed(proof: Proof) -> list[StepName]:
    return [step.name for step in proof.steps if step.outcome is Outcome.FAILED]


def _shortfalls(proof: Proof) -> str:
    return ", ".join(
        f"{step.name.value} {step.outcome.value} ({', '.join(r.code for r in step.reasons)})"
        for step in proof.steps
        if step.outcome is Outcome.FAILED
        or (step.outcome is Outcome.NOT_POSSIBLE and step.name not in (StepName.FRESHNESS, StepName.REVOCATION))
    )


def _status_of(proof: Proof) -> tuple[Json, Json]:
    tcb = proof.tcb
    return (tcb.merged, None if tcb.advisories is None else list(tcb.advisories)) if tcb else (None, None)


def _status(expected: Mapping[str, Json], proof: Proof, prefix: str, note: str) -> Iterator[Finding]:
    status, advisories = _status_of(proof)
    for name, want, got in (
        ("tcb_status", expected.get("tcb_status"), status),
        ("advisory_ids", expected.get("advisory_ids"), advisories),
    ):
        if want is not None:
            if name == "advisory_ids" and proof.tcb is not None and got is None:
                # The manifest counts those of the quoting enclave alone; of the platform nobody says which.
                yield Finding(f"{prefix}{name}", want, got, True, "unknown: TCB info of version 2 names none")
                continue
            yield Finding(f"{prefix}{name}", want, got, want == got, note)


def _compare_all(expected: Mapping[str, Json], seen: Seen, format: str) -> Iterator[Finding]:
    """Claims, checks, and every further fact of `expected`."""
    tables = table.FORMATS[str(format)]
    for name, want in (expected.get("claims") or {}).items():
        yield _finding(f"claims.{name}", want, tables.claims.get(name), seen, name)
    for name, want in (expected.get("checks") or {}).items():
        yield _finding(f"checks.{name}", want, tables.checks.get(name), seen)
    apart = {"signature", "tcb_status", "advisory_ids", "claims", "checks", "cases", "time_cases"} | NOT_OURS
    for name, want in expected.items():
        if name not in apart and want is not None:
            yield _finding(name, want, tables.facts.get(name), seen, name)


def _finding(what: str, want: Json, look: Look | None, seen: Seen, name: str | None = None) -> Finding:
    try:
        got = look(seen) if look is not None else _same_name(seen, name)
    except (Absent, KeyError, AttributeError, IndexError) as absent:
        if _nothing(want):
            return Finding(what, want, None, True)
        return Finding(what, want, None, False, str(absent) if isinstance(absent, Absent) else f"no {absent}")
    agree = table.SAME.get(what.rpartition(": ")[2], _equal)
    return Finding(what, want, got, agree(want, got))


def _of_the_original(finding: Finding) -> Finding:
    """A negative made from another item by giving it another certificate still states the one that it had before."""
    if finding.what != "leaf" or finding.seen is None:
        return finding
    note = "states the certificate of the item it is derived from"
    return Finding(finding.what, finding.expected, finding.seen, True, note)


def _nothing(want: Json) -> bool:
    """Whether the manifest says that there is nothing: null, or an object of nulls."""
    return want is None or (isinstance(want, dict) and bool(want) and all(map(_nothing, want.values())))


def _equal(want: Json, got: Json) -> bool:
    """Equal, where an object need only have what is expected of it."""
    if isinstance(want, dict) and isinstance(got, dict):
        return all(name in got and _equal(value, got[name]) for name, value in want.items())
    return type(want) is type(got) and bool(want == got)


def _same_name(seen: Seen, name: str | None) -> Json:
    """A claim that no table has: the field, bit or version of that very name."""
    if name is None or seen.proof is None:
        raise Absent("not known here")
    if name in seen.fields:
        return seen.fields[name].value
    for values in (seen.claims.bits, seen.claims.tcb):
        if name in values:
            return values[name]
    raise Absent("not known here")
