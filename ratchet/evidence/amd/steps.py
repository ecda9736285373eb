"""The proof steps of an SNP report, one function each: `snp` says what they are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from ratchet.collateral import Collateral, Kind, Known, Memo, amd
from ratchet.event import stamp
from ratchet.evidence.amd import snp_report
from ratchet.evidence.amd.endorsement import NO_CHIP, Endorsed, Search
from ratchet.evidence.amd.snp_report import SPEC as LAYOUT
from ratchet.evidence.amd.snp_report import SnpReport
from ratchet.evidence.proof import Outcome, Step, StepName
from ratchet.reason import Reason
from ratchet.x509.chain import (
    MAX_CHECKS,
    Certificate,
    Checks,
    NoPath,
    Path,
    RevocationList,
    root_certificate,
)

VEK_SPEC = "AMD 57230, 3.1 (certificate extensions)"

SIGNATURE_SPEC = 'AMD 56860, table "Signature Format for ECDSA P-384 with SHA-384"'

_SIGNED = {
    kind: Step(StepName.SIGNATURE, Outcome.PASSED, f"ECDSA P-384 with SHA-384 by the {kind}", SIGNATURE_SPEC)
    for kind in ("VCEK", "VLEK")
}

_BOUND = Step(StepName.BINDING, Outcome.PASSED, "REPORTED_TCB and CHIP_ID agree", VEK_SPEC)

_BOUND_MASKED = Step(StepName.BINDING, Outcome.PASSED, "REPORTED_TCB agrees; the chip id is masked", VEK_SPEC)


def parse(report: SnpReport, product: str | None, size: int, endorsed: Endorsed) -> Step:
    """Version known, reserved fields as specified, product line known."""
    detail = f"SNP report version {report.version}{endorsed.table}"
    faults = snp_report.faults(report)
    if faults:
        return Step(StepName.PARSE, Outcome.FAILED, f"{detail}; not as specified", LAYOUT, faults)
    if report.version >= 3 and product is None:
        got = f"CPUID family {report.cpuid_family:#x}, model {report.cpuid_model:#x}"
        why = Reason("unknown_product", "report", got, sorted(amd.TCB_LAYOUT), LAYOUT, "update Ratchet")
        return Step(StepName.PARSE, Outcome.NOT_POSSIBLE, f"{detail}; of a product line not known here", LAYOUT, (why,))
    return Step(StepName.PARSE, Outcome.PASSED, detail, LAYOUT)


def chain(
    report: SnpReport, product: str | None, leaf: amd.Vek | None, way: Path | NoPath | None, at: datetime
) -> Step:
    """Does the endorsement key lead to a trusted root, by certificates that are valid at the time?"""
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
    return Reason("no_endorsement_key", "vek", None, want, amd.CHAIN_SPEC, where(report, product))


def where(report: SnpReport, product: str | None) -> str:
    """Where the endorsement key of a report is to be had. Before version 3 a report does not name its product line."""
    if report.signing_key == "VCEK" and report.chip_id != NO_CHIP:
        products = (product,) if product in amd.TCB_LAYOUT else ("Milan", "Genoa") if report.version < 3 else ()
        urls = [amd.vek_url(one, report.chip_id, report.reported_tcb) for one in products if one is not None]
        if urls:
            return f"fetch {' or '.join(urls)}, then `ratchet ingest` it"
    if report.signing_key == "VLEK":
        return "send the VLEK certificate beside the report: the cloud provider has it, AMD's service does not"
    return "send the certificates beside the report (SNP extended guest request)"


def for_other_firmware(report: SnpReport, leaf: amd.Vek | None) -> Reason | None:
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
    if leaf.hwid is not None and (report.chip_id == NO_CHIP or report.chip_id != leaf.hwid.ljust(64, b"\0")):
        return None
    if report.version >= 3 and report.product != leaf.product:
        return None
    got = f"{leaf.kind} for TCB {leaf.tcb.hex()}"
    want = f"{leaf.kind} for REPORTED_TCB {report.reported_tcb.hex()}"
    return Reason("wrong_vcek_sent", "vek", got, want, VEK_SPEC, where(report, leaf.product))


def wrong_key(name: StepName, source: str, why: Reason) -> Step:
    """A step that the certificate at hand cannot answer, because it is for other firmware."""
    detail = "the certificate is of this chip, for other firmware than the report states"
    return Step(name, Outcome.NOT_POSSIBLE, detail, source, (why,))


def revocation(
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


def signature(report: SnpReport, leaf: amd.Vek | None, search: Search) -> Step:
    """Did this key sign the report?"""
    name, source = StepName.SIGNATURE, SIGNATURE_SPEC
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


def binding(report: SnpReport, leaf: amd.Vek | None) -> Step:
    """Is the key of this chip, at this TCB, of the kind and product line that the report names?"""
    name, source = StepName.BINDING, VEK_SPEC
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
    return _BOUND_MASKED if report.chip_id == NO_CHIP else _BOUND


def _signer_faults(report: SnpReport, leaf: amd.Vek) -> Iterator[Reason]:
    if report.signing_key != leaf.kind:
        yield Reason(
            "signer_mismatch", "vek", leaf.kind, report.signing_key, LAYOUT, "send the certificate of that key"
        )
    if report.version >= 3 and report.product != leaf.product:
        cpuid = f"CPUID family {report.cpuid_family:#x}, model {report.cpuid_model:#x}"
        want = f"{report.product or 'the product line'} of {cpuid}"
        yield Reason("product_mismatch", "vek", leaf.product, want, VEK_SPEC)
    named = leaf.product_name.partition("-")[0]
    if named in amd.TCB_LAYOUT and named != leaf.product:
        yield Reason("product_mismatch", "vek", leaf.product_name, leaf.product, VEK_SPEC)


def _tcb_faults(report: SnpReport, leaf: amd.Vek) -> Iterator[Reason]:
    tcb = leaf.tcb
    if tcb is None:
        yield Reason("unknown_product", "vek", leaf.product, sorted(amd.TCB_LAYOUT), VEK_SPEC, "update Ratchet")
    elif tcb != report.reported_tcb:
        for component, got, want in zip(amd.TCB_LAYOUT[leaf.product], tcb, report.reported_tcb, strict=True):
            if got != want:
                remedy = "send the certificate for the TCB that the report states"
                yield Reason("tcb_mismatch", component, got, want, VEK_SPEC, remedy)


def _chip_faults(report: SnpReport, leaf: amd.Vek) -> Iterator[Reason]:
    if leaf.hwid is None or report.chip_id == NO_CHIP:  # a VLEK is of no chip; the host may mask the id
        return
    if report.chip_id != leaf.hwid.ljust(64, b"\0"):
        remedy = "send the certificate of the chip that made the report"
        yield Reason("chip_mismatch", "chip_id", leaf.hwid.hex(), report.chip_id.hex(), VEK_SPEC, remedy)


def collateral(
    report: SnpReport,
    product: str | None,
    leaf: amd.Vek | None,
    way: Path | NoPath | None,
    crls: tuple[Known, ...],
    at: datetime,
) -> Step:
    """Are certificates and lists at hand, and in force?"""
    name, source = StepName.COLLATERAL, amd.CHAIN_SPEC
    if not isinstance(way, Path):
        want = "the ASK or ASVK, and the VCEK or VLEK"
        remedy = (
            f"fetch {amd.chain_url(leaf.product, leaf.kind)}, then `ratchet ingest` it"
            if leaf
            else where(report, product)
        )
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
