"""AMD SEV-SNP reports: is this report genuine? Every proof step is taken, whatever came of those before it.

1. parse: version, reserved fields (AMD 56860, table "ATTESTATION_REPORT").
2. chain: VCEK -> ASK -> ARK, or VLEK -> ASVK -> ARK, to a trusted root, all valid at the time (AMD 57230, 3).
3. revocation: AMD's revocation list names none of them (AMD 57230, 4.3).
4. signature: ECDSA P-384 with SHA-384 over bytes 0 to 0x29F, by the VCEK or VLEK.
5. binding: its extensions say the report's REPORTED_TCB and CHIP_ID; its kind is the one that the report names; its
   product line is that of the report's CPUID (AMD 57230, 3.1).
6. collateral: what was used of AMD's documents was in force at the time.
7. freshness: report data holds the challenge.

Not checked, on purpose: launch TCB against current TCB (a guest may have been launched on older firmware that was
updated since, or imported), committed against current TCB (firmware may be provisional): floors and correlation judge
both. The serial number of the leaf: AMD gives every VCEK number 0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

from ratchet.collateral import Collateral, Kind, Known, Memo, amd
from ratchet.collateral.roots import known_signers
from ratchet.event import BlobId, digest, stamp
from ratchet.evidence import freshness
from ratchet.evidence.amd import snp_report, versions
from ratchet.evidence.amd.snp_report import SIGNED, SIZE, SNP_REPORT, VERSIONS, SnpReport
from ratchet.evidence.amd.snp_report import SPEC as LAYOUT
from ratchet.evidence.proof import Claims, Evidence, Field, Outcome, Proof, Step, StepName
from ratchet.evidence.spec import FormatSpec, Freshness, Judge, Subject, Tee
from ratchet.reason import Reason
from ratchet.x509.anchor import Root, Vendor
from ratchet.x509.chain import (
    MAX_CHECKS,
    BadCertificate,
    Certificate,
    Checks,
    NoPath,
    Path,
    RevocationList,
    path,
    root_certificate,
)

MAX_TABLE_ENTRIES = 16
"""Of a guest certificate table; real ones have three or four."""
MAX_ENTRY = 16 * 1024
"""Bytes of one of its entries."""
MAX_DOCUMENTS = 32
"""Certificates, chains and table entries that are looked at for one report."""
MAX_LEAVES = 8
"""Endorsement keys that are considered for one report."""
MAX_KEPT = 16 * 1024
"""Bytes beside a report that are remembered with what was read in them; real ones are below 8 KiB."""
MAX_VERSION = 255
"""The greatest number that may be a report's version."""

_VEK_SPEC = "AMD 57230, 3.1 (certificate extensions)"
_SIGNATURE_SPEC = 'AMD 56860, table "Signature Format for ECDSA P-384 with SHA-384"'
_REPORT_DATA_SPEC = "AMD 56860, MSG_REPORT_REQ (REPORT_DATA)"
_ECDSA = ECDSA(SHA384())
_NO_CHIP, _NO_DIGEST = bytes(64), bytes(48)


_SIGNED = {
    kind: Step(StepName.SIGNATURE, Outcome.PASSED, f"ECDSA P-384 with SHA-384 by the {kind}", _SIGNATURE_SPEC)
    for kind in ("VCEK", "VLEK")
}
_BOUND = Step(StepName.BINDING, Outcome.PASSED, "REPORTED_TCB and CHIP_ID agree", _VEK_SPEC)
_BOUND_MASKED = Step(StepName.BINDING, Outcome.PASSED, "REPORTED_TCB agrees; the chip id is masked", _VEK_SPEC)


def fields(raw: bytes) -> tuple[Field, ...]:
    """Every claim with its place in the bytes; empty where they cannot be parsed."""
    return snp_report.fields(raw)


def verify(evidence: Evidence, collateral: Collateral, at: datetime) -> Proof:
    """Judge one report; see the module's steps. Never raises for bad bytes."""
    raw = evidence.raw
    blob = digest(raw)
    try:
        report = snp_report.read(raw)
    except ValueError as short:
        return _unparsed(
            blob, evidence, Outcome.FAILED, Reason("truncated", "report", len(raw), SIZE, LAYOUT), str(short)
        )
    if report.version not in VERSIONS:
        # A newer version may be perfectly genuine; an older one is no more in use, and a great number is no version.
        outcome = Outcome.NOT_POSSIBLE if VERSIONS[-1] < report.version <= MAX_VERSION else Outcome.FAILED
        why = Reason("unsupported_version", "report", report.version, list(VERSIONS), LAYOUT, "update Ratchet")
        return _unparsed(blob, evidence, outcome, why, f"report version {report.version} is not known here")

    memo = collateral.memo
    endorsed = _endorsed(evidence, memo)
    checks = Checks(collateral.refused)
    search = _Search(raw, blob, report, endorsed, collateral, at, checks)
    leaf, way = search.best()
    proven = isinstance(way, Path)
    product = report.product if report.version >= 3 else leaf.product if leaf and proven else None
    revocation, crls, stale = _revocation(leaf, way, collateral, at, checks)
    signature = _signature_step(report, leaf, search)
    other = _for_other_firmware(report, leaf) if proven and signature.outcome is Outcome.FAILED else None
    if other is not None:
        signature = _wrong_key(StepName.SIGNATURE, _SIGNATURE_SPEC, other)
    steps = (
        _parse_step(report, product, len(raw), endorsed),
        _chain_step(report, product, leaf, way, at),
        revocation,
        signature,
        _binding_step(report, leaf) if other is None else _wrong_key(StepName.BINDING, _VEK_SPEC, other),
        _collateral_step(leaf, way, crls, at, _where(report, product)),
        freshness.step(report.report_data, evidence.challenge, _REPORT_DATA_SPEC, evidence.key),
    )
    if proven and any(leaf is one for one in endorsed.leaves) and memo.get(endorsed.key) is not endorsed:
        # Only what was signed and leads to a trusted root: refused bytes cannot crowd the memo. And not what is large:
        # nothing of it is signed, so one good report could be sent with as many others behind it as the memo holds.
        size = len(raw) - SIZE + sum(map(len, evidence.endorsements))
        if size <= MAX_KEPT and steps[3].outcome is Outcome.PASSED:
            memo[endorsed.key] = endorsed
    used = {*endorsed.ids, *[known.id for known in (*crls, *stale, *search.used(leaf, way))]}
    claims = _claims(report, product, leaf.csp if leaf is not None and proven else None)
    if evidence.key is not None:
        claims = replace(claims, key=freshness.key(report.report_data, evidence.challenge, evidence.key))
    return Proof(
        evidence=blob,
        format=SNP_REPORT,
        steps=steps,
        claims=claims,
        root=way.root if isinstance(way, Path) else None,
        collateral=tuple(sorted(used)),
        valid_until=min((way.valid_until, *(k.valid_until for k in crls))) if isinstance(way, Path) else None,
    )


def _unparsed(blob: BlobId, evidence: Evidence, outcome: Outcome, why: Reason, detail: str) -> Proof:
    missing = Reason("unparsed", "report", None, "a report that can be read", LAYOUT)
    steps = [Step(StepName.PARSE, outcome, detail, LAYOUT, (why,))]
    steps += [
        Step(name, Outcome.NOT_POSSIBLE, "the report could not be read", LAYOUT, (missing,))
        for name in StepName
        if name not in (StepName.PARSE, StepName.FRESHNESS)
    ]
    steps.append(freshness.step(None, evidence.challenge, _REPORT_DATA_SPEC))
    return Proof(blob, SNP_REPORT, tuple(steps))


@dataclass(frozen=True, slots=True)
class _Endorsed:
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


def _endorsed(evidence: Evidence, memo: Memo) -> _Endorsed:
    raw = evidence.raw
    if not evidence.endorsements and len(raw) == SIZE:
        return _NOTHING
    key = ("snp.endorsed", evidence.endorsements, raw[SIZE:])
    kept = memo.get(key)
    if isinstance(kept, _Endorsed):
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
    return _Endorsed(key, tuple(leaves), tuple(signers), said, tuple(map(digest, evidence.endorsements)))


_NOTHING = _Endorsed(None, (), (), "")


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


class _Search:
    """Which endorsement key belongs to the report, and how it leads to a root."""

    def __init__(
        self,
        raw: bytes,
        blob: BlobId,
        report: SnpReport,
        endorsed: _Endorsed,
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
        self.roots = tuple(root for root in collateral.roots if root.vendor is Vendor.AMD)
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

    def _fit(self, leaf: amd.Vek) -> int:
        report = self.report
        kind = leaf.kind == report.signing_key
        chip = leaf.hwid is None or report.chip_id.startswith(leaf.hwid) or report.chip_id == _NO_CHIP
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


def _parse_step(report: SnpReport, product: str | None, size: int, endorsed: _Endorsed) -> Step:
    detail = f"SNP report version {report.version}{endorsed.table}"
    faults = snp_report.faults(report)
    if faults:
        return Step(StepName.PARSE, Outcome.FAILED, f"{detail}; not as specified", LAYOUT, faults)
    if report.version >= 3 and product is None:
        got = f"CPUID family {report.cpuid_family:#x}, model {report.cpuid_model:#x}"
        why = Reason("unknown_product", "report", got, sorted(amd.TCB_LAYOUT), LAYOUT, "update Ratchet")
        return Step(StepName.PARSE, Outcome.NOT_POSSIBLE, f"{detail}; of a product line not known here", LAYOUT, (why,))
    return Step(StepName.PARSE, Outcome.PASSED, detail, LAYOUT)


def _chain_step(
    report: SnpReport, product: str | None, leaf: amd.Vek | None, way: Path | NoPath | None, at: datetime
) -> Step:
    name, source = StepName.CHAIN, amd.CHAIN_SPEC
    if leaf is None or way is None:
        return Step(name, Outcome.NOT_POSSIBLE, "no VCEK or VLEK is known", source, (_no_key(report, product),))
    if isinstance(way, NoPath):
        remedy = f"fetch {amd.chain_url(leaf.product, leaf.kind)}, then `ratchet ingest` it"
        why = Reason(way.code, leaf.kind.lower(), way.got, way.want, source, remedy)
        # What is only missing, or not known here, proves nothing against the machine.
        possible = way.code not in ("chain_incomplete", "unknown_product")
        outcome = Outcome.FAILED if possible else Outcome.NOT_POSSIBLE
        return Step(name, outcome, f"{leaf.kind} of {leaf.product} leads to no trusted root", source, (why,))
    if at < way.valid_from or at > way.valid_until:
        late = at > way.valid_until
        code = "certificate_expired" if late else "certificate_not_yet_valid"
        limit = stamp(way.valid_until if late else way.valid_from)
        want = f"{'at most' if late else 'at least'} {limit}"
        why = Reason(code, leaf.kind.lower(), stamp(at), want, "RFC 5280, 4.1.2.5", "fetch the certificate again")
        return Step(name, Outcome.FAILED, f"{way.detail}, {'expired' if late else 'not valid yet'}", source, (why,))
    return Step(name, Outcome.PASSED, way.detail, source)


def _no_key(report: SnpReport, product: str | None) -> Reason:
    want = f"{report.signing_key} for REPORTED_TCB {report.reported_tcb.hex()}"
    return Reason("no_endorsement_key", "vek", None, want, amd.CHAIN_SPEC, _where(report, product))


def _where(report: SnpReport, product: str | None) -> str:
    """Where the endorsement key of a report is to be had. Before version 3 a report does not name its product line."""
    if report.signing_key == "VCEK" and report.chip_id != _NO_CHIP:
        products = (product,) if product in amd.TCB_LAYOUT else ("Milan", "Genoa") if report.version < 3 else ()
        urls = [amd.vek_url(one, report.chip_id, report.reported_tcb) for one in products if one is not None]
        if urls:
            return f"fetch {' or '.join(urls)}, then `ratchet ingest` it"
    if report.signing_key == "VLEK":
        return "send the VLEK certificate beside the report: the cloud provider has it, AMD's service does not"
    return "send the certificates beside the report (SNP extended guest request)"


def _for_other_firmware(report: SnpReport, leaf: amd.Vek | None) -> Reason | None:
    """Why a certificate of the very chip that made the report cannot be the one: it is for another TCB.

    After a firmware update, hosts go on handing out the certificate table that they had. A key is derived anew from
    each TCB (AMD 57230, 2), so the signature cannot hold under the old one, and that accuses nobody: it proves as
    little as no certificate at all. Where the signature does hold under a key for another TCB than the report states,
    the report lies, and binding fails as ever; so it does where the certificate is for newer firmware.
    """
    if leaf is None or leaf.tcb is None or leaf.tcb == report.reported_tcb or leaf.kind != report.signing_key:
        return None
    if any(old > now for old, now in zip(leaf.tcb, report.reported_tcb, strict=True)):
        return None
    if leaf.hwid is not None and (report.chip_id == _NO_CHIP or report.chip_id != leaf.hwid.ljust(64, b"\0")):
        return None
    if report.version >= 3 and report.product != leaf.product:
        return None
    got = f"{leaf.kind} for TCB {leaf.tcb.hex()}"
    want = f"{leaf.kind} for REPORTED_TCB {report.reported_tcb.hex()}"
    return Reason("wrong_vcek_sent", "vek", got, want, _VEK_SPEC, _where(report, leaf.product))


def _wrong_key(name: StepName, source: str, why: Reason) -> Step:
    detail = "the certificate is of this chip, for other firmware than the report states"
    return Step(name, Outcome.NOT_POSSIBLE, detail, source, (why,))


def _revocation(
    leaf: amd.Vek | None, way: Path | NoPath | None, collateral: Collateral, at: datetime, checks: Checks
) -> tuple[Step, tuple[Known, ...], tuple[Known, ...]]:
    """AMD's list is the ARK's, about ASKs and ASVKs. One by an ASK or ASVK about its leaves is honoured where known.

    Revocations accumulate: what any list that was known revokes stays revoked, whatever later ones leave out. That
    nothing is revoked, only the newest says.

    Returns:
        The step; the newest lists, which it rests on; older ones that revoke.
    """
    name, source = StepName.REVOCATION, amd.CRL_SPEC
    if leaf is None or not isinstance(way, Path):
        why = Reason("chain_unproven", "crl", None, "a chain to a trusted root", source)
        return Step(name, Outcome.NOT_POSSIBLE, "without a chain there is no list to ask", source, (why,)), (), ()
    signer, ark = way.certificates[1], root_certificate(way.root)
    key = f"{way.root.name}/{leaf.product}"
    by_ark, by_signer = (collateral.every(Kind.AMD_CRL, place, at) for place in (key, f"{key}/{leaf.kind}"))
    by_signer = tuple([known for known in by_signer if _is_of(known, signer, collateral.memo, checks)])
    used = tuple([one for one in (_begun(by_ark, at), _begun(by_signer, at)) if one is not None])
    for lists, about in ((by_ark, (ark, signer, leaf.certificate)), (by_signer, (leaf.certificate,))):
        for known in lists:
            if not isinstance(known.parsed, RevocationList):
                continue
            for certificate in about:
                # In the ARK's list number 0 cannot mean a leaf: all of AMD's have it, and none was issued by the ARK.
                if known.parsed.revokes(certificate.serial) and (certificate.serial != 0 or lists is by_signer):
                    got = f"{certificate.subject_name}, serial number {certificate.serial}"
                    why = Reason("certificate_revoked", leaf.kind.lower(), got, "not revoked", f"{source}; {known.id}")
                    detail = f"{certificate.subject_name} is revoked"
                    return Step(name, Outcome.FAILED, detail, source, (why,)), used, (known,)
    return _unrevoked(leaf, used, collateral, key, at), used, ()


def _begun(lists: tuple[Known, ...], at: datetime) -> Known | None:
    """The newest that has begun; where none has, the newest."""
    return next((known for known in lists if known.valid_from <= at), lists[0] if lists else None)


def _is_of(known: Known, signer: Certificate, memo: Memo, checks: Checks) -> bool:
    """Did this signer make the list? Such lists come unproven; what was found is remembered."""
    check = ("crl", known.id, signer.fingerprint)
    if check in memo:
        return True
    if not isinstance(known.parsed, RevocationList) or not checks.may(check):
        return False
    if amd.crl_signature(known.parsed, signer):
        checks.refuse(check)
        return False
    memo[check] = True
    return True


def _unrevoked(leaf: amd.Vek, used: tuple[Known, ...], collateral: Collateral, key: str, at: datetime) -> Step:
    name, source = StepName.REVOCATION, amd.CRL_SPEC
    remedy = f"fetch {amd.crl_url(leaf.product, leaf.kind)}, then `ratchet ingest` it"
    if not used or used[0].key != key:
        unsound = collateral.rejected(Kind.AMD_CRL, key, at)
        reasons = unsound.reasons if unsound else ()
        why = Reason("no_crl", "crl", None, f"the revocation list of {key}", source, remedy)
        return Step(name, Outcome.NOT_POSSIBLE, "no revocation list is known", source, (why, *reasons))
    stale = [_out_of_force(known, at, remedy) for known in used if not known.valid_from <= at <= known.valid_until]
    if stale:
        detail = "the revocation list known is not in force"
        return Step(name, Outcome.NOT_POSSIBLE, detail, source, tuple(stale))
    return Step(name, Outcome.PASSED, f"not in the list of {used[0].valid_from.date()}", source)


def _out_of_force(known: Known, at: datetime, remedy: str) -> Reason:
    if at > known.valid_until:
        want = f"in force until {stamp(known.valid_until)}"
        return Reason("crl_expired", "crl", stamp(at), want, f"{amd.CRL_SPEC}; {known.id}", remedy)
    want = f"in force from {stamp(known.valid_from)}"
    return Reason("crl_not_yet_valid", "crl", stamp(at), want, f"{amd.CRL_SPEC}; {known.id}", remedy)


def _unsigned(report: SnpReport) -> bool:
    """Whether the firmware was told not to sign, and did not: then nothing in it is proven, and nobody has lied."""
    told = report.signing_key == "none" or report.mask_chip_key
    return told and not (any(report.signature_r) or any(report.signature_s))


def _signature_step(report: SnpReport, leaf: amd.Vek | None, search: _Search) -> Step:
    name, source = StepName.SIGNATURE, _SIGNATURE_SPEC
    if _unsigned(report):
        why = Reason("not_signed", "report", report.signing_key, "VCEK or VLEK", source, "let the host sign reports")
        return Step(name, Outcome.NOT_POSSIBLE, "the firmware was told not to sign", source, (why,))
    if leaf is None:
        why = Reason("no_endorsement_key", "vek", None, "the key that signed it", source)
        return Step(name, Outcome.NOT_POSSIBLE, "no key to check it with", source, (why,))
    held = search.signed(leaf)
    if held is None:
        why = Reason("too_many_signatures", "report", None, f"at most {MAX_CHECKS} signatures to check", source)
        return Step(name, Outcome.FAILED, "too many certificates came with it", source, (why,))
    if not held:
        want = f"a signature by {leaf.kind} {leaf.certificate.fingerprint[:16]}"
        remedy = "take new evidence; if it fails again, the machine or the way from it is not to be trusted"
        why = Reason("signature_invalid", "report", None, want, source, remedy)
        return Step(name, Outcome.FAILED, f"not signed by this {leaf.kind}", source, (why,))
    return _SIGNED[leaf.kind]


def _binding_step(report: SnpReport, leaf: amd.Vek | None) -> Step:
    name, source = StepName.BINDING, _VEK_SPEC
    if leaf is None:
        why = Reason("no_endorsement_key", "vek", None, "the key that signed it", source)
        return Step(name, Outcome.NOT_POSSIBLE, "no certificate to compare with", source, (why,))
    if _unsigned(report):
        why = Reason("not_signed", "report", report.signing_key, "VCEK or VLEK", source, "let the host sign reports")
        return Step(name, Outcome.NOT_POSSIBLE, "no key is bound to a report that is not signed", source, (why,))
    reasons = [*_signer_faults(report, leaf), *_tcb_faults(report, leaf), *_chip_faults(report, leaf)]
    if reasons:
        return Step(name, Outcome.FAILED, f"the {leaf.kind} is not of this report", source, tuple(reasons))
    if leaf.hwid is None:
        return Step(name, Outcome.PASSED, f"VLEK of {leaf.csp}: REPORTED_TCB agrees", source)
    return _BOUND_MASKED if report.chip_id == _NO_CHIP else _BOUND


def _signer_faults(report: SnpReport, leaf: amd.Vek) -> Iterator[Reason]:
    if report.signing_key != leaf.kind:
        yield Reason(
            "signer_mismatch", "vek", leaf.kind, report.signing_key, LAYOUT, "send the certificate of that key"
        )
    if report.version >= 3 and report.product != leaf.product:
        cpuid = f"CPUID family {report.cpuid_family:#x}, model {report.cpuid_model:#x}"
        want = f"{report.product or 'the product line'} of {cpuid}"
        yield Reason("product_mismatch", "vek", leaf.product, want, _VEK_SPEC)
    named = leaf.product_name.partition("-")[0]
    if named in amd.TCB_LAYOUT and named != leaf.product:
        yield Reason("product_mismatch", "vek", leaf.product_name, leaf.product, _VEK_SPEC)


def _tcb_faults(report: SnpReport, leaf: amd.Vek) -> Iterator[Reason]:
    tcb = leaf.tcb
    if tcb is None:
        yield Reason("unknown_product", "vek", leaf.product, sorted(amd.TCB_LAYOUT), _VEK_SPEC, "update Ratchet")
    elif tcb != report.reported_tcb:
        for component, got, want in zip(amd.TCB_LAYOUT[leaf.product], tcb, report.reported_tcb, strict=True):
            if got != want:
                remedy = "send the certificate for the TCB that the report states"
                yield Reason("tcb_mismatch", component, got, want, _VEK_SPEC, remedy)


def _chip_faults(report: SnpReport, leaf: amd.Vek) -> Iterator[Reason]:
    if leaf.hwid is None or report.chip_id == _NO_CHIP:  # a VLEK is of no chip; the host may mask the id
        return
    if report.chip_id != leaf.hwid.ljust(64, b"\0"):
        remedy = "send the certificate of the chip that made the report"
        yield Reason("chip_mismatch", "chip_id", leaf.hwid.hex(), report.chip_id.hex(), _VEK_SPEC, remedy)


def _collateral_step(
    leaf: amd.Vek | None, way: Path | NoPath | None, crls: tuple[Known, ...], at: datetime, where: str
) -> Step:
    """Are certificates and lists at hand, and in force? `where`: how to get the endorsement key."""
    name, source = StepName.COLLATERAL, amd.CHAIN_SPEC
    if not isinstance(way, Path):
        want = "the ASK or ASVK, and the VCEK or VLEK"
        remedy = f"fetch {amd.chain_url(leaf.product, leaf.kind)}, then `ratchet ingest` it" if leaf else where
        why = Reason("chain_unproven", "amd", None, want, source, remedy)
        return Step(name, Outcome.NOT_POSSIBLE, "AMD's certificates are not at hand", source, (why,))
    stale = tuple(
        _out_of_force(known, at, "fetch it again") for known in crls if not known.valid_from <= at <= known.valid_until
    )
    if stale:
        return Step(name, Outcome.FAILED, "a revocation list that is not in force", source, stale)
    if not way.valid_from <= at <= way.valid_until:
        limits = f"{stamp(way.valid_from)} to {stamp(way.valid_until)}"
        why = Reason("certificate_expired", "chain", stamp(at), limits, "RFC 5280, 4.1.2.5", "fetch it again")
        return Step(name, Outcome.FAILED, "certificates that are not in force", source, (why,))
    return Step(name, Outcome.PASSED, f"in force until {way.valid_until.date()}", source)


def _claims(report: SnpReport, product: str | None, csp: str | None) -> Claims:
    """What the report says; with it, whose VLEK signed it, which that certificate alone says."""
    layout = product or ("Milan" if report.version < 3 else "")  # before version 3 there was one layout
    chip = report.chip_id
    size = amd.HWID_SIZE.get(layout, 64)
    if any(chip[size:]):
        size = 64
    measurements = snp_report.measurements(report)
    if csp is not None:
        measurements["csp_id"] = csp
    return Claims(
        format=SNP_REPORT,
        tee="snp",
        family=f"snp/{product or 'unknown'}",
        platform=None if chip == _NO_CHIP else f"chip:{chip[:size].hex()}",
        instance=report.report_id.hex() if any(report.report_id) else measurements["measurement"],
        measurement=measurements["measurement"],
        signer=None if report.id_key_digest == _NO_DIGEST else measurements["id_key_digest"],
        debug=bool(report.policy >> snp_report.POLICY_BITS["debug"] & 1),
        report_data=report.report_data,
        tcb=snp_report.tcb(report, layout),
        bits=snp_report.bits(report),
        native=report,
        measurements=measurements,
    )


def _concerns(subject: Subject, kind: str, about: str) -> bool:
    """Is what was concluded from a report of this subject judged by that statement of AMD's?"""
    first = about.partition("/")[0]
    match kind:
        case Kind.AMD_VEK:
            return subject.platform in (None, f"chip:{first}")
        case Kind.AMD_CHAIN | Kind.AMD_CRL:
            return (subject.family or "").partition("/")[2] == first
    return False


def _replay_key(raw: bytes, proof: Proof) -> BlobId:
    """Over the signed part and the signature's r."""
    report = proof.claims.native if proof.claims is not None else None
    return digest(raw[:SIGNED] + report.signature_r) if isinstance(report, SnpReport) else proof.evidence


SNP = Tee(
    name="snp",
    title="SNP",
    judge=Judge.FLOOR,
    versions=snp_report.TCB_NAMES,
    components=versions.COMPONENTS,
    numbers=snp_report.NUMBERS,
    measurements=frozenset(snp_report.MEASUREMENTS),
    signers=("id_key_digest", "author_key_digest"),
    boot=("measurement",),
    platform_measurements=frozenset({"csp_id"}),
    launched_as=("vmpl", "guest_svn", *sorted(name for name in snp_report.NUMBERS if name.startswith("policy."))),
    draws_instance=True,  # AMD 56860, ATTESTATION_REPORT, REPORT_ID: no guest or host can choose it
    # A migration agent can read the guest's memory (AMD 56860, "Guest Policy", MIGRATE_MA).
    required={"policy.migrate_ma": False},
    views=versions.VIEWS,
    behind=versions.BEHIND,
    versions_source=versions.SOURCE,
    debug_source="AMD 56860, Guest Policy, DEBUG",
    brings_key=False,  # the VCEK may have been another's, and the right one come later
    concerns=_concerns,
    shown_by={
        "debug": ("policy",),
        "freshness": ("reportdata",),
        "measurement": ("measurement",),
        "mitigation": ("currentmitvector",),
        "platform": ("platforminfo",),
        "policy": ("policy",),
        **dict.fromkeys(("bl", "fmc", "snp", "tee", "ucode"), ("reportedtcb",)),
    },
    words=frozenset({"snp", "vcek", "vek", "vlek", "vmpl"}),
)
"""What SNP reports can say, and how it is judged."""


def detect(raw: bytes) -> bool:
    """A u32 version of 2 to 5, and at least as many bytes as a report has (AMD 56860, table "ATTESTATION_REPORT")."""
    return len(raw) >= SIZE and int.from_bytes(raw[:4], "little") in VERSIONS


SPEC = FormatSpec(
    format=SNP_REPORT,
    title="AMD SEV-SNP attestation report",
    tee=SNP,
    detect=detect,
    verify=verify,
    fields=fields,
    replay_key=_replay_key,
    freshness=Freshness(place="report data", size=64, hashed=True, source=_REPORT_DATA_SPEC),
    family="snp/<product line>",
    simulated="amd",
    source=LAYOUT,
)
"""SNP reports among the formats."""
