"""Collateral: vendor statements needed to verify, chosen as of a moment.

Kept by content hash, with two intervals: valid (what the vendor says) and known (when we had it). `Collateral` is what
`verify` is given: an index over parsed documents, and the trusted roots. Vendor modules beside this one (`intel`,
`amd`) parse and check documents; `parse` is their one entrance.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from ratchet.event import BlobId
from ratchet.reason import Reason
from ratchet.x509.anchor import Root


class Kind(StrEnum):
    """Kinds of collateral; the key of each, behind `<root name>/`, or `untrusted/` where it leads to no root."""

    INTEL_TCB_INFO = "intel.tcb-info"  # <tee>/<fmspc lower-case hex>
    INTEL_QE_IDENTITY = "intel.qe-identity"  # QE | TD_QE | QVE
    INTEL_CRL = "intel.crl"  # issuer's common name
    AMD_CHAIN = "amd.chain"  # Milan/VCEK | Milan/VLEK | Genoa/VCEK ...: the ASK or ASVK
    AMD_VEK = "amd.vek"  # a VCEK: <hwid hex, 16 digits for Turin, else 128>/<TCB u64 as in the report, 16 hex digits>
    AMD_CRL = "amd.crl"  # product: Milan | Genoa | Turin


@dataclass(frozen=True, slots=True, order=True)
class Known:
    """One parsed statement of a vendor, and when it was known.

    Attributes:
        known_from: when we first had it.
        rank: orders statements known at once: Intel's (evaluation number, issue date); of AMD's keys (1 where their
            issuer is proven, else 0, issue date); else the issue date. The greatest that has begun is chosen: no stale
            document fetched late, and none that outlives a newer one, loosens anything.
        id: blob id of the document it came in.
        kind, key: what it is; see `Kind`.
        valid_from, valid_until: what the vendor says.
        root: the name of the trusted root that its signature leads to; None where it leads to none: never chosen.
        reasons: what is wrong with it (signature, chain); with any it is never chosen.
        parsed: the vendor module's own record: `intel.TcbInfo`, `intel.QeIdentity`, `intel.Crl`, `amd.Chain`, ...
    """

    known_from: datetime
    rank: tuple[int, datetime]
    id: BlobId
    kind: Kind = field(compare=False)
    key: str = field(compare=False)
    valid_from: datetime = field(compare=False)
    valid_until: datetime = field(compare=False)
    root: str | None = field(compare=False)
    reasons: tuple[Reason, ...] = field(compare=False)
    parsed: object = field(compare=False)


class Memo(dict[object, object]):
    """What was computed from immutable bytes, at most `LIMIT` of it: when full, the oldest quarter is forgotten.

    Keys are made of the bytes (or their hashes) that the value follows from, and no value depends on the time, so it
    can change how long an answer takes, never the answer.
    """

    LIMIT = 4096

    def __setitem__(self, key: object, value: object) -> None:
        if len(self) >= self.LIMIT and key not in self:
            for old in list(self)[: self.LIMIT // 4]:
                self.pop(old, None)  # another thread may have been here
        super().__setitem__(key, value)


class Collateral:
    """What is known of vendors' statements: grows, never forgets, and answers as of a moment.

    Also holds `memo`, a bounded cache (`Memo`), of parsed certificate chains and the like. It goes with `roots`, which
    never change: other roots are another `Collateral`. `refused`, as bounded, holds which signatures were found not to
    hold, apart from `memo`, so that refused bytes cannot crowd out what holds. `revision` grows with every statement
    that is taken.
    """

    __slots__ = ("_chosen", "_known", "evaluations", "memo", "refused", "revision", "roots")

    def __init__(self, roots: Iterable[Root], known: Iterable[Known] = ()) -> None:
        self.roots: tuple[Root, ...] = tuple(roots)
        self.memo = Memo()
        self.refused = Memo()
        self.revision = 0
        self.evaluations: Mapping[str, int] = {}
        self._known: dict[tuple[Kind, str], list[Known]] = {}
        self._chosen: dict[tuple[Kind, str], dict[int | None, tuple[datetime, datetime, Known | None]]] = {}
        for one in known:
            self.add(one)

    def judging_by(self, evaluations: Mapping[str, int]) -> Collateral:
        """The same statements, of which these evaluations count for these families: a view for one judgement.

        Args:
            evaluations: `sgx/<fmspc>` or `tdx/<fmspc>` -> the tcbEvaluationDataNumber in force, and no other, whatever
                newer document came since; for families that it does not name, the newest.
        """
        if not evaluations:
            return self
        view = copy(self)
        view.evaluations = evaluations
        return view

    def add(self, known: Known) -> None:
        """Take one more statement. The same one of the same document again, known later, changes nothing."""
        kept = self._known.setdefault((known.kind, known.key), [])
        said = (known.id, known.rank, known.root, known.reasons)
        if all(said != (k.id, k.rank, k.root, k.reasons) or known.known_from < k.known_from for k in kept):
            insort(kept, known)
            self._chosen.pop((known.kind, known.key), None)
            self.revision += 1

    def choose(self, kind: Kind, key: str, at: datetime) -> Known | None:
        """The statement to judge by at `at`: known by then, sound, begun, and of greatest rank: the newest.

        Whether it has expired since makes no difference to the choice: an older statement never comes back because a
        newer one was not fetched again. The caller says what expired and when. One that has not begun is returned only
        where none has.
        """
        return self.choose_while(kind, key, at)[2]

    def every(self, kind: Kind, key: str, at: datetime) -> tuple[Known, ...]:
        """All sound statements known at `at`, the newest first: revocations accumulate, and a key may have rivals."""
        sound = [k for k in self._known.get((kind, key), ()) if k.known_from <= at and k.root is not None]
        return tuple(sorted([k for k in sound if not k.reasons], key=lambda k: (k.rank, k.id), reverse=True))

    def choose_while(
        self, kind: Kind, key: str, at: datetime, evaluation: int | None = None
    ) -> tuple[datetime, datetime, Known | None]:
        """As `choose`, between which moments it is so: from the first on, until before the second.

        True of this revision: another statement may change it. With an `evaluation`, of its statements alone.
        """
        chosen = self._chosen.get((kind, key), {}).get(evaluation)
        if chosen is not None and chosen[0] <= at < chosen[1]:
            return chosen
        best: Known | None = None
        since, until = EVER
        for one in self._known.get((kind, key), ()):
            # Between two moments at which a statement becomes known, valid or expired, the answer is the same.
            for edge in (one.known_from, one.valid_from, _after(one.valid_until)):
                if edge <= at:
                    since = max(since, edge)
                else:
                    until = min(until, edge)
            if one.known_from > at or one.root is None or one.reasons:
                continue
            if evaluation is not None and one.rank[0] != evaluation:
                continue
            if best is None or _preference(one, at) > _preference(best, at):
                best = one
        chosen = (since, until, best)
        if (kind, key) in self._known:
            self._chosen.setdefault((kind, key), {})[evaluation] = chosen
        return chosen

    def rejected(self, kind: Kind, key: str, at: datetime) -> Known | None:
        """The latest unsound statement under that key, for saying why there is no better one."""
        unsound = [k for k in self._known.get((kind, key), ()) if k.known_from <= at and (k.reasons or k.root is None)]
        return unsound[-1] if unsound else None

    def all(self) -> Iterable[Known]:
        """Every statement, in no promised order."""
        return (k for kept in self._known.values() for k in kept)


EVER = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
"""The first and the last moment there is."""


def _after(moment: datetime) -> datetime:
    """The first moment that is later."""
    return moment + timedelta(microseconds=1) if moment < EVER[1] else moment


def _preference(one: Known, at: datetime) -> tuple[bool, tuple[int, datetime], datetime]:
    """Begun before what has not; then the newest, and of the same what lasts longest."""
    return (one.valid_from <= at, one.rank, one.valid_until)


def parse(document: bytes, known_from: datetime, roots: Iterable[Root], memo: Memo | None = None) -> tuple[Known, ...]:
    """Read a vendor's document, whichever it is: a bundle gives several statements.

    Knows: Intel PCS bundles as verifiers keep them (JSON with `tcb_info`, `qe_identity`, signatures, issuer chains and
    CRLs), Intel TCB info and QE identity documents with their issuer chain beside them or without (`pcs` has all the
    forms), CRLs (DER or PEM), AMD certificate chains (PEM) and VCEKs (DER or PEM).

    Args:
        document: its bytes.
        known_from: when it was first there.
        roots: the trust anchors.
        memo: that of the `Collateral` which the statements are for, so that `verify` need not read and prove again the
            issuers that are proven here.

    Raises:
        UnknownDocument: it is none of these. Signatures that fail are not an error: they are the statement's `reasons`.
    """
    from ratchet.collateral import amd, intel

    roots = tuple(roots)
    found = intel.parse(document, known_from, roots, memo) or amd.parse(document, known_from, roots, memo)
    if not found:
        raise UnknownDocument("not a vendor document of a kind that Ratchet reads; see docs/formats.md")
    return found


class UnknownDocument(ValueError):
    """The bytes are no vendor document that Ratchet reads; goes to dead letters."""
