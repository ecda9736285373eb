"""Which endorsement key belongs to an SNP report, and how it leads to a root.

Certificates come beside the report, in a guest certificate table behind it, or from what is known of AMD's documents.
Counts and sizes are capped: a sender chooses what comes beside a report.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

from ratchet.collateral import Collateral, Kind, Known, Memo, amd
from ratchet.collateral.roots import AMD, known_signers
from ratchet.event import BlobId, digest
from ratchet.evidence.amd.snp_report import SIGNED, SIZE, SnpReport
from ratchet.evidence.proof import Evidence
from ratchet.x509.anchor import Root
from ratchet.x509.chain import (
    BadCertificate,
    Certificate,
    Checks,
    NoPath,
    Path,
    path,
)

NO_CHIP = bytes(64)
"""A chip id that the host masks (AMD 56860, MASK_CHIP_ID)."""


MAX_TABLE_ENTRIES = 16
"""Of a guest certificate table; real ones have three or four."""

MAX_ENTRY = 16 * 1024
"""Bytes of one of its entries."""

MAX_DOCUMENTS = 32
"""Certificates, chains and table entries that are looked at for one report."""

MAX_LEAVES = 8
"""Endorsement keys that are considered for one report."""

_ECDSA = ECDSA(SHA384())


@dataclass(frozen=True, slots=True)
class Endorsed:
    """The certificates that came with a report, read.

    Attributes:
        key: what they are remembered by; None where none came.
        leaves: endorsement keys.
        signers: ASKs and ASVKs.
        table: what became of the bytes behind the report, for people.
        ids: of the documents that came beside it.
    """

    key: object
    leaves: tuple[amd.Vek, ...]
    signers: tuple[Certificate, ...]
    table: str
    ids: tuple[BlobId, ...] = ()


def endorsed_by(evidence: Evidence, memo: Memo) -> Endorsed:
    """Read what came with a report; what was read before and led to a root is remembered."""
    raw = evidence.raw
    if not evidence.endorsements and len(raw) == SIZE:
        return _NOTHING
    key = ("snp.endorsed", evidence.endorsements, raw[SIZE:])
    kept = memo.get(key)
    if isinstance(kept, Endorsed):
        return kept
    table = certificate_table(raw[SIZE:])
    documents = [*table, *evidence.endorsements]
    for one in evidence.endorsements:
        documents += certificate_table(one)
    said = ""
    if len(raw) > SIZE:
        what = f"a table of {len(table)} certificates" if table else "no certificates, passed over"
        said = f"; {len(raw) - SIZE} bytes behind it: {what}"
    leaves: list[amd.Vek] = []
    signers: list[Certificate] = []
    for document in documents[:MAX_DOCUMENTS]:
        for certificate in amd.certificates(document, memo):
            try:
                leaf = amd.vek(certificate)
            except BadCertificate:
                continue
            if leaf is not None and len(leaves) < MAX_LEAVES:
                leaves.append(leaf)
            elif leaf is None and amd.chain(certificate) is not None and len(signers) < MAX_LEAVES:
                signers.append(certificate)
    return Endorsed(key, tuple(leaves), tuple(signers), said, tuple(map(digest, evidence.endorsements)))


_NOTHING = Endorsed(None, (), (), "")


def certificate_table(data: bytes) -> tuple[bytes, ...]:
    """The certificates in a guest certificate table: entries of GUID, u32 offset and u32 length, ended by a zero GUID.

    Source: AMD 56421 (guest-hypervisor communication block), SNP Extended Guest Request.
    GUIDs are not read: hypervisors disagree about their byte order, and a certificate says itself what it is. Bytes
    that are no such table give none.
    """
    found: list[tuple[int, int]] = []
    for i in range(MAX_TABLE_ENTRIES + 1):
        start = 24 * i
        if start + 24 > len(data):
            return ()
        offset, length = struct.unpack_from("<II", data, start + 16)
        if data.count(0, start, start + 16) == 16:
            return tuple(data[o : o + n] for o, n in found if o >= start + 24)
        if offset + length > len(data) or length > MAX_ENTRY:
            return ()
        found.append((offset, length))
    return ()


class Search:
    """Which endorsement key belongs to the report, and how it leads to a root."""

    def __init__(
        self,
        raw: bytes,
        blob: BlobId,
        report: SnpReport,
        endorsed: Endorsed,
        collateral: Collateral,
        at: datetime,
        checks: Checks,
    ) -> None:
        self.raw, self.blob = raw, blob
        self._held: dict[object, bool | None] = {}
        self.report = report
        self.checks = checks
        self.endorsed = endorsed
        self.collateral = collateral
        self.at = at
        self.roots = tuple(root for root in collateral.roots if root.vendor == AMD)
        self._known: list[Known] = []

    def best(self) -> tuple[amd.Vek | None, Path | NoPath | None]:
        """The key that fits best, one that leads to a trusted root before others that fit as well.

        A key whose issuer is not proven displaces none: what came beside the report is tried first, then what is known
        among collateral. One that is known counts in the place of a sent one only where it did sign the report; else
        what was sent is shown, and what is wrong with it. Only where no key that fits in everything leads to a root,
        one that fits less may be shown.
        """
        leaves = [leaf for leaf in self.endorsed.leaves if self._fit(leaf) == _PERFECT]
        ways: list[tuple[amd.Vek, Path | NoPath]] = []
        for source in (leaves, self._from_collateral()):
            for leaf in source:
                way = self._way(leaf)
                if isinstance(way, Path) and (not ways or self.signed(leaf)):
                    return leaf, way
                ways.append((leaf, way))
        if ways:
            return ways[0]
        rest = sorted(self.endorsed.leaves, key=self._fit, reverse=True)
        fallback: tuple[amd.Vek | None, Path | NoPath | None] = (None, None)
        for leaf in rest:
            if self._fit(leaf) < self._fit(rest[0]):
                break
            way = self._way(leaf)
            if isinstance(way, Path):
                return leaf, way
            if fallback[0] is None:
                fallback = leaf, way
        return fallback

    def signed(self, leaf: amd.Vek) -> bool | None:
        """Did this key sign the report? None: too many signatures to check. Checked once."""
        check = ("report", self.blob, leaf.certificate.fingerprint)
        if check in self._held:
            return self._held[check]
        if check in self.collateral.memo:
            return True
        held: bool | None = False
        if self.checks.may(check):
            report = self.report
            # Little-endian and 72 bytes each; a value above the curve's order is refused by the check itself.
            r, s = int.from_bytes(report.signature_r, "little"), int.from_bytes(report.signature_s, "little")
            try:
                leaf.key.verify(encode_dss_signature(r, s), self.raw[:SIGNED], _ECDSA)
                held = True
            except InvalidSignature:
                self.checks.refuse(check)
        elif not self.checks.refuses(check):
            held = None
        self._held[check] = held
        return held

    def remember(self, leaf: amd.Vek) -> None:
        """The report will come again, byte for byte: its signature, which held, need not be checked again."""
        check = ("report", self.blob, leaf.certificate.fingerprint)
        if self._held.get(check):
            self.collateral.memo[check] = True

    def _fit(self, leaf: amd.Vek) -> int:
        report = self.report
        kind = leaf.kind == report.signing_key
        chip = leaf.hwid is None or report.chip_id.startswith(leaf.hwid) or report.chip_id == NO_CHIP
        return 4 * kind + 2 * chip + (leaf.tcb == report.reported_tcb)

    def _from_collateral(self) -> Iterator[amd.Vek]:
        kind, chip, tcb = self.report.signing_key, self.report.chip_id, self.report.reported_tcb
        for root in self.roots:
            product = self._product(root)
            if product not in amd.TCB_LAYOUT or self.report.product not in (None, product):
                continue
            key = amd.vek_key(root.name, kind, product, chip, tcb)
            for known in self.collateral.every(Kind.AMD_VEK, key, self.at)[:MAX_LEAVES]:
                if isinstance(known.parsed, amd.Vek):
                    self._known.append(known)
                    yield known.parsed

    def _product(self, root: Root) -> str:
        key = ("amd.product", root.fingerprint)
        product = self.collateral.memo.get(key)
        if not isinstance(product, str):
            product = amd.product_of(root) or ""
            self.collateral.memo[key] = product
        return product

    def _way(self, leaf: amd.Vek) -> Path | NoPath:
        roots = tuple(root for root in self.roots if self._product(root) == leaf.product)
        if not roots:
            return NoPath("unknown_product", leaf.product, "a product line whose root is trusted")
        signers: list[Certificate] = []
        for root in roots:
            known = self.collateral.choose(Kind.AMD_CHAIN, f"{root.name}/{leaf.product}/{leaf.kind}", self.at)
            if known is not None and isinstance(known.parsed, amd.Chain):
                self._known.append(known)
                signers.append(known.parsed.certificate)
        signers += [one for one in known_signers() if one.subject == leaf.certificate.issuer]
        signers += self.endorsed.signers  # behind those that are known to lead to a root: these are the sender's
        # What led to a root once does so for ever: time and revocation are judged apart.
        key = ("snp.way", leaf.certificate.fingerprint, *[one.fingerprint for one in signers])
        kept = self.collateral.memo.get(key)
        if isinstance(kept, Path):
            return kept
        way = path(leaf.certificate, signers, roots, self.collateral.memo, self.checks)
        if isinstance(way, Path):
            way = self._as_amd_chains(leaf, way)
        if isinstance(way, Path):
            self.collateral.memo[key] = way
        return way

    def _as_amd_chains(self, leaf: amd.Vek, way: Path) -> Path | NoPath:
        """AMD's chains have one shape: a root, one signer of the leaf's kind and product, the leaf."""
        signer = amd.chain(way.certificates[1]) if len(way.certificates) == 2 else None
        if signer is not None and (signer.product, signer.signs) == (leaf.product, leaf.kind):
            return way
        return NoPath("chain_wrong_shape", way.detail, f"{leaf.kind} <- ASK or ASVK <- ARK")

    def used(self, leaf: amd.Vek | None, way: Path | NoPath | None) -> Iterator[Known]:
        """Which statements the outcome rests on."""
        certificates = way.certificates if isinstance(way, Path) else ()
        for known in self._known:
            parsed = known.parsed
            if parsed is leaf or (isinstance(parsed, amd.Chain) and parsed.certificate in certificates):
                yield known


_PERFECT = 7
