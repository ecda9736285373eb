"""A platform held against Intel's collateral: is it revoked, is its quoting enclave Intel's, what is its TCB status?

What is chosen depends on the time; once it is chosen, what follows does not, between the moments at which something
of it begins or ceases to be valid. A judgement that finds no fault is kept with that interval, under the ids of all
that it rests on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from ratchet.collateral import EVER, Collateral, Kind, Known
from ratchet.collateral.intel import Crl, QeIdentity, TcbInfo
from ratchet.collateral.source import fetch
from ratchet.collateral.tcb import evaluate
from ratchet.event import BlobId, Json, stamp
from ratchet.evidence.intel.platform import BINDING_SOURCE, Platform
from ratchet.evidence.intel.quote import Quote
from ratchet.evidence.proof import Outcome, Step, StepName, TcbStatus
from ratchet.reason import Reason
from ratchet.x509.chain import Certificate, NoPath, Path, root_certificate

REVOCATION_SOURCE = "RFC 5280, 6.3; Intel SGX DCAP QVL, steps 4.1.2.4.6 and .7"
COLLATERAL_SOURCE = "Intel PCS API v4; Intel SGX DCAP QVL, steps 4.1.2.4.8 to .11"


class Module(NamedTuple):
    """What a TDX quote says of its TDX module.

    Attributes:
        tee_tcb_svn: 16 bytes: at the TD's launch.
        tee_tcb_svn2: 16 bytes: now; None where the body is TD 1.0.
        mrsigner: MRSIGNERSEAM, 48 bytes.
        attributes: SEAMATTRIBUTES, 8 bytes.
    """

    tee_tcb_svn: bytes
    tee_tcb_svn2: bytes | None
    mrsigner: bytes
    attributes: bytes


@dataclass(frozen=True, slots=True)
class Judgement:
    """What follows from the collateral that was chosen.

    Attributes:
        revocation, binding, collateral: the steps.
        tcb: Intel's status; None where it could not be had.
        documents: blob ids of what was used, sorted.
        valid_until: until when all of it is valid; None where nothing was used.
        since, until: from which moment on, and before which, the same would be chosen and be as valid as it is.
    """

    revocation: Step
    binding: Step
    collateral: Step
    tcb: TcbStatus | None
    documents: tuple[BlobId, ...]
    valid_until: datetime | None
    since: datetime
    until: datetime

    @property
    def sound(self) -> bool:
        """Every step passed, so that nothing in it names the moment of asking."""
        return all(s.outcome is Outcome.PASSED for s in (self.revocation, self.binding, self.collateral))


def judge(
    quote: Quote,
    tee: str,
    one: Platform,
    module: Module | None,
    collateral: Collateral,
    at: datetime,
    *,
    keep: bool,
) -> Judgement:
    """Hold a platform against what was known and valid at `at`.

    Args:
        quote: for its QE report.
        tee: `sgx` or `tdx`.
        one: the platform behind it.
        module: of a TDX quote.
        collateral: what is known.
        at: when.
        keep: whether it may be kept in the memo.
    """
    evaluation = collateral.evaluations.get(f"{tee}/{one.family}")
    key = ("judged", collateral.revision, module, one.fingerprint, evaluation)
    kept = collateral.memo.get(key)
    if isinstance(kept, Judgement) and kept.since <= at < kept.until:
        return kept
    found = one.path
    if isinstance(found, NoPath) or one.pck is None:
        return _unjudged(one, module)
    root = found.root.name
    tcb_key, qe_key = f"{root}/{tee}/{one.family}", f"{root}/{'TD_QE' if tee == 'tdx' else 'QE'}"
    issuers = (*found.certificates[1:], root_certificate(found.root))
    chosen = [
        collateral.choose_while(Kind.INTEL_TCB_INFO, tcb_key, at, evaluation),
        _identity_of(collateral, qe_key, at, evaluation),
        *[collateral.choose_while(Kind.INTEL_CRL, f"{root}/{issuer.subject_name}", at) for issuer in issuers],
    ]
    info, identity, *crls = [known for _, _, known in chosen]
    revoking = _revoking(found, issuers, collateral, root, at)
    used = [k for k in (info, identity, *crls) if k is not None]
    tcb_info = info.parsed if info is not None and isinstance(info.parsed, TcbInfo) else None
    qe = identity.parsed if identity is not None and isinstance(identity.parsed, QeIdentity) else None
    judgement = Judgement(
        revocation=_revocation(found, issuers, crls, revoking, collateral, root, at),
        binding=_binding(quote, one, module, tcb_info, qe),
        collateral=_collateral(one, (info, tcb_key), (identity, qe_key), crls, collateral, at),
        tcb=_status(quote, one, module, tcb_info, qe, info),
        documents=tuple(sorted({k.id for k in (*used, *[known for _, known in revoking])})),
        valid_until=min([k.valid_until for k in used], default=None),
        since=max([since for since, _, _ in chosen]),
        until=min([until for _, until, _ in chosen]),
    )
    if keep and judgement.sound:
        collateral.memo[key] = judgement
    return judgement


def _identity_of(
    collateral: Collateral, key: str, at: datetime, evaluation: int | None
) -> tuple[datetime, datetime, Known | None]:
    """The QE identity of the evaluation in force; where there is none of it, the newest: then the two do not match."""
    since, until, known = collateral.choose_while(Kind.INTEL_QE_IDENTITY, key, at, evaluation)
    if known is not None or evaluation is None:
        return since, until, known
    return collateral.choose_while(Kind.INTEL_QE_IDENTITY, key, at)


def _unjudged(one: Platform, module: Module | None) -> Judgement:
    """Without a chain to a trusted root nobody's collateral speaks of this platform."""
    want = "a PCK certificate chain to a trusted root"
    remedy = "see the chain step"

    def step(name: StepName, source: str) -> Step:
        reason = Reason("chain_missing", name.value, None, want, source, remedy)
        return Step(name, Outcome.NOT_POSSIBLE, "there is no chain to a trusted root", source, (reason,))

    binding = step(StepName.BINDING, BINDING_SOURCE)
    foreign = _not_the_module(module, None) if module is not None else []
    if one.unbound or foreign:
        binding = _unbound(one, *foreign)
    elif one.pck is not None:
        detail = "the QE report holds the attestation key's hash and is signed by the PCK"
        binding = Step(StepName.BINDING, Outcome.PASSED, detail, BINDING_SOURCE)
    return Judgement(
        revocation=step(StepName.REVOCATION, REVOCATION_SOURCE),
        binding=binding,
        collateral=step(StepName.COLLATERAL, COLLATERAL_SOURCE),
        tcb=None,
        documents=(),
        valid_until=None,
        since=EVER[0],
        until=EVER[1],
    )


def _unbound(one: Platform, *more: Reason) -> Step:
    reasons = (*one.unbound, *more)
    if all(r.code == "pck_missing" for r in reasons):
        detail = "the QE report holds the attestation key's hash; there is no PCK to check its signature with"
        return Step(StepName.BINDING, Outcome.NOT_POSSIBLE, detail, BINDING_SOURCE, reasons)
    texts = {
        "ak_not_bound": "the QE report does not hold the attestation key's hash",
        "qe_report_signature_invalid": "the QE report is not signed by the PCK",
        "qe_identity_mismatch": "the quoting enclave is not Intel's",
        "tdx_module_mismatch": "the TDX module is not Intel's",
    }
    detail = "; ".join(dict.fromkeys(texts[r.code] for r in reasons if r.code in texts))
    return Step(StepName.BINDING, Outcome.FAILED, detail, BINDING_SOURCE, reasons)


def _binding(quote: Quote, one: Platform, module: Module | None, info: TcbInfo | None, qe: QeIdentity | None) -> Step:
    more: list[Reason] = []
    if qe is not None:
        more += _not_the_enclave(quote.qe_report, qe)
    if module is not None:
        more += _not_the_module(module, info)
    if one.unbound or more:
        return _unbound(one, *more)
    judged = "whose identity is Intel's" if qe is not None else "whose identity could not be judged"
    detail = f"attestation key <- QE report, signed by the PCK, of a quoting enclave {judged}"
    return Step(StepName.BINDING, Outcome.PASSED, detail, BINDING_SOURCE)


def _masked(value: bytes, mask: bytes) -> bytes:
    return (int.from_bytes(value, "big") & int.from_bytes(mask, "big")).to_bytes(len(mask), "big")


_NO_SIGNER, _NO_ATTRIBUTES = bytes(48), bytes(8)
_MODULE_SOURCE = "Intel TDX DCAP Quoting Library API, A.3.2 (zero for Intel's TDX modules)"


def _not_the_enclave(report: bytes, qe: QeIdentity) -> list[Reason]:
    """How the QE report differs from the identity that Intel published (QVL, EnclaveReportVerifier.cpp, 4.1.2.9)."""
    pairs = (
        ("miscselect", _masked(report[16:20], qe.miscselect_mask), qe.miscselect),
        ("attributes", _masked(report[48:64], qe.attributes_mask), qe.attributes),
        ("mrsigner", report[128:160], qe.mrsigner),
    )
    differing: list[tuple[str, Json, Json]] = [
        (name, got.hex(), want.hex()) for name, got, want in pairs if got != want
    ]
    product = int.from_bytes(report[256:258], "little")
    if product != qe.isvprodid:
        differing.append(("isvprodid", product, qe.isvprodid))
    remedy = "refuse it: another enclave pretends to be the quoting enclave"
    return [
        Reason("qe_identity_mismatch", f"qe.{name}", got, want, f"enclave identity {qe.id} {qe.evaluation}", remedy)
        for name, got, want in differing
    ]


def _not_the_module(module: Module, info: TcbInfo | None) -> list[Reason]:
    """How the TDX module differs from its identity (QVL, QuoteVerifier.cpp, 4.1.2.4.11).

    MRSIGNERSEAM and SEAMATTRIBUTES of Intel's modules are zero (TDX DCAP Quoting Library API, A.3.2, "MRSIGNERSEAM",
    "SEAMATTRIBUTES"), so a module of another signer is refused even where the TCB info does not list its version, or is
    not at hand. A version that is not listed, of Intel's signer, is no forgery: it matches no TCB level.
    """
    name = f"TDX_{module.tee_tcb_svn[1]:02X}"
    identity = info.identities.get(name) if info is not None else None
    mrsigner, attributes, source = _NO_SIGNER, _NO_ATTRIBUTES, _MODULE_SOURCE
    if info is not None and identity is not None:
        mrsigner, attributes = identity.mrsigner, identity.attributes
        source = f"TCB info {info.fmspc} {info.evaluation}, {name}"
    if module.mrsigner == mrsigner and module.attributes == attributes:
        return []
    pairs = (
        ("mrsignerseam", module.mrsigner.hex(), mrsigner.hex()),
        ("seamattributes", module.attributes.hex(), attributes.hex()),
    )
    remedy = "refuse it: the TDX module is not one that Intel signed for production"
    return [
        Reason("tdx_module_mismatch", label, got, want, source, remedy) for label, got, want in pairs if got != want
    ]


def _revocation(
    chain: Path,
    issuers: tuple[Certificate, ...],
    crls: Sequence[Known | None],
    revoking: Sequence[tuple[Certificate, Known]],
    collateral: Collateral,
    root: str,
    at: datetime,
) -> Step:
    """Each certificate against the lists of its issuer's.

    Revocations accumulate: what a list once revoked stays revoked, though a later one leaves it out or the list itself
    has expired. That nothing is revoked, only the newest list says, while it is valid.
    """
    blind: list[Reason] = []
    revoked = [
        Reason(
            "certificate_revoked",
            certificate.subject_name,
            f"serial {certificate.serial:x}",
            "a certificate that is not revoked",
            f"{known.id}: revocation list of {certificate.issuer_name}, {stamp(known.valid_from)}",
            "take the platform out of service: Intel no longer vouches for it",
        )
        for certificate, known in revoking
    ]
    for certificate, issuer, known in zip(chain.certificates, issuers, crls, strict=True):
        crl = known.parsed if known is not None else None
        if known is None or not isinstance(crl, Crl) or not _issued_by(crl, issuer):
            key = f"{root}/{issuer.subject_name}"
            why = collateral.rejected(Kind.INTEL_CRL, key, at)
            blind.append(
                Reason(
                    "crl_missing",
                    "crl",
                    why.reasons[0].code if why is not None and why.reasons else None,
                    f"a revocation list of {issuer.subject_name}",
                    REVOCATION_SOURCE,
                    fetch(Kind.INTEL_CRL, key),
                )
            )
            continue
        if not any(certificate is one for one, _ in revoking) and not known.valid_from <= at <= known.valid_until:
            blind.append(_out_of_time("crl_expired", "crl_not_yet_valid", issuer.subject_name, known, at))
    if revoked:
        detail = f"{revoked[0].component} is revoked"
        return Step(StepName.REVOCATION, Outcome.FAILED, detail, REVOCATION_SOURCE, (*revoked, *blind))
    if blind:
        detail = f"{len(blind)} of {len(issuers)} revocation lists are missing or out of date"
        return Step(StepName.REVOCATION, Outcome.NOT_POSSIBLE, detail, REVOCATION_SOURCE, tuple(blind))
    detail = "none of the chain is in its issuer's revocation list"
    return Step(StepName.REVOCATION, Outcome.PASSED, detail, REVOCATION_SOURCE)


def _revoking(
    chain: Path, issuers: tuple[Certificate, ...], collateral: Collateral, root: str, at: datetime
) -> list[tuple[Certificate, Known]]:
    """Which of the chain is revoked, the root's own certificate among them, and by the newest list that says so."""
    found: list[tuple[Certificate, Known]] = []
    anchor = root_certificate(chain.root)
    for certificate, issuer in zip((*chain.certificates, anchor), (*issuers, anchor), strict=True):
        for known in collateral.every(Kind.INTEL_CRL, f"{root}/{issuer.subject_name}", at):
            crl = known.parsed
            if isinstance(crl, Crl) and _issued_by(crl, issuer) and crl.list.revokes(certificate.serial):
                found.append((certificate, known))
                break
    return found


def _issued_by(crl: Crl, issuer: Certificate) -> bool:
    return crl.signer is not None and crl.list.issuer == issuer.subject and crl.signer.leaf.key == issuer.key


def _out_of_time(expired: str, early: str, component: str, known: Known, at: datetime) -> Reason:
    return Reason(
        expired if at > known.valid_until else early,
        component,
        stamp(at),
        f"{stamp(known.valid_from)} to {stamp(known.valid_until)}",
        known.id,
        fetch(known.kind, known.key),
    )


def _collateral(
    one: Platform,
    info: tuple[Known | None, str],
    identity: tuple[Known | None, str],
    crls: Sequence[Known | None],
    collateral: Collateral,
    at: datetime,
) -> Step:
    """Are the documents there, signed, about this platform, and current?"""
    failed: list[Reason] = []
    missing: list[Reason] = []
    lists = [one for crl in crls if crl is not None for one in collateral.every(crl.kind, crl.key, at)]
    for (known, key), kind, label in (
        (info, Kind.INTEL_TCB_INFO, "tcb_info"),
        (identity, Kind.INTEL_QE_IDENTITY, "qe_identity"),
    ):
        if known is None:
            unsound = collateral.rejected(kind, key, at)
            if unsound is not None:
                failed += unsound.reasons
            else:
                remedy = fetch(kind, key)
                missing.append(Reason("collateral_missing", label, None, key, COLLATERAL_SOURCE, remedy))
            continue
        if not known.valid_from <= at <= known.valid_until:
            failed.append(_out_of_time("collateral_expired", "collateral_not_yet_valid", label, known, at))
        failed += _signer_revoked(known, lists, label)
    tcb_info = info[0].parsed if info[0] is not None else None
    if isinstance(tcb_info, TcbInfo) and one.pck is not None and tcb_info.pceid != one.pck.pceid.hex():
        want = f"PCE id {one.pck.pceid.hex()}"
        failed.append(Reason("tcb_info_mismatch", "tcb_info", tcb_info.pceid, want, COLLATERAL_SOURCE))
    for known in crls:
        if known is not None and not known.valid_from <= at <= known.valid_until:
            failed.append(_out_of_time("crl_expired", "crl_not_yet_valid", known.key, known, at))
    if failed:
        detail = ", ".join(dict.fromkeys(f"{r.component}: {r.code}" for r in failed))
        return Step(StepName.COLLATERAL, Outcome.FAILED, detail, COLLATERAL_SOURCE, (*failed, *missing))
    if missing:
        detail = "no " + " and no ".join(f"{r.component} for {r.want}" for r in missing)
        return Step(StepName.COLLATERAL, Outcome.NOT_POSSIBLE, detail, COLLATERAL_SOURCE, tuple(missing))
    evaluation = tcb_info.evaluation if isinstance(tcb_info, TcbInfo) else None
    detail = f"TCB info {info[1]} of evaluation {evaluation} and QE identity, signed and current"
    return Step(StepName.COLLATERAL, Outcome.PASSED, detail, COLLATERAL_SOURCE, _mismatch(tcb_info, identity[0]))


def _mismatch(info: object, identity: Known | None) -> tuple[Reason, ...]:
    """TCB info of one evaluation beside a QE identity of another: named, and no fault by itself.

    Intel serves each at its newest, and the two numbers differ for weeks (TCB info 20 beside QE identity 19 in August
    2026); its verifier takes the lower one for the whole (QVL, tcb_eval_ref_num of the supplemental data).
    """
    qe = identity.parsed if identity is not None else None
    if not isinstance(info, TcbInfo) or not isinstance(qe, QeIdentity) or info.evaluation == qe.evaluation:
        return ()
    remedy = "fetch both of the same evaluation, if the policy asks for one"
    return (Reason("evaluation_mismatch", "qe_identity", qe.evaluation, info.evaluation, COLLATERAL_SOURCE, remedy),)


def _signer_revoked(known: Known, crls: Sequence[Known], component: str) -> list[Reason]:
    """Has whoever signed the document been revoked by a list of its own issuer? Judged by the root's lists."""
    signer = known.parsed.signer if isinstance(known.parsed, TcbInfo | QeIdentity) else None
    if signer is None:
        return []
    leaf = signer.leaf
    found = [
        Reason(
            "signer_revoked",
            component,
            f"{leaf.subject_name}, serial {leaf.serial:x}",
            "a signer that is not revoked",
            crl.id,
            fetch(known.kind, known.key),
        )
        for crl in crls
        if isinstance(crl.parsed, Crl)
        and crl.parsed.list.issuer == leaf.issuer
        and crl.parsed.list.revokes(leaf.serial)
    ]
    return found[:1]


def _status(
    quote: Quote,
    one: Platform,
    module: Module | None,
    info: TcbInfo | None,
    qe: QeIdentity | None,
    known: Known | None,
) -> TcbStatus | None:
    if info is None or qe is None or known is None or one.pck is None or info.pceid != one.pck.pceid.hex():
        return None
    merged = evaluate(
        info.levels,
        info.modules,
        qe.levels,
        one.pck.sgx,
        one.pck.pcesvn,
        quote.qe_isvsvn,
        module.tee_tcb_svn if module is not None else None,
        module.tee_tcb_svn2 if module is not None else None,
    )
    return TcbStatus(
        merged=merged.merged,
        platform=merged.platform,
        qe=merged.qe,
        module=merged.module,
        advisories=merged.advisories,
        evaluation=info.evaluation,
        tcb_date=merged.date,
        superseded=merged.superseded,
        document=known.id,
        launch=merged.launch,
        current=merged.current,
        current_module=merged.current_module,
    )
