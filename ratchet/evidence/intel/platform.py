"""The platform behind a quote: its attestation key, quoting enclave and PCK chain, as far as bytes alone decide.

All of this repeats in every quote of one machine until it is provisioned anew, and none of it depends on the time or on
collateral, so it is worked out once and kept in the memo with the bytes. Only what holds is kept: bytes that
are refused cannot push out others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from ratchet.collateral import Collateral, Kind
from ratchet.collateral.roots import INTEL, known_issuers, remember
from ratchet.event import BlobId, digest, stamp
from ratchet.evidence.intel.pck import SGX_EXTENSION, Pck
from ratchet.evidence.intel.pck import read as read_pck
from ratchet.evidence.intel.quote import PCK_CHAIN, PCK_LEAF, Quote
from ratchet.evidence.proof import Outcome, Proof, Step, StepName
from ratchet.evidence.spec import Component, Scope, Subject
from ratchet.reason import Reason
from ratchet.x509.chain import (
    Algorithm,
    BadCertificate,
    Certificate,
    Checks,
    NoPath,
    Path,
    as_der,
    lowest,
    path,
    read_chain,
    signed_by,
)
from ratchet.x509.der import BadDer

CHAIN_SOURCE = "Intel SGX PCK Certificate and CRL Profile Specification; RFC 5280, 6.1"
BINDING_SOURCE = "Intel SGX DCAP QVL, steps 4.1.2.4.11 to .15"

P256_SHA256 = Algorithm("ecdsa", SHA256())


@dataclass(frozen=True, slots=True)
class Platform:
    """What the certification part of a quote says and proves.

    Attributes:
        read_from: the bytes it was read from: attestation key to certification data, and any endorsements.
        fingerprint: a hash of these, and of the layout they were read by.
        key: the attestation key; None where it is no point of the curve.
        path: of the PCK certificate to a root; `NoPath` where there is none.
        sent: whether a chain was there to look at.
        endorsed: whether it rests on certificates that came beside the quote.
        pck: what the PCK certificate says; None where it cannot be read.
        unbound: why the attestation key is not bound to the PCK; empty where it is.
        step: the chain step for a time at which every certificate is valid.
        tcb: the part of `Claims.tcb` that the platform contributes.
        bits: the part of `Claims.bits` that it contributes.
    """

    read_from: tuple[bytes, ...]
    fingerprint: bytes
    key: ec.EllipticCurvePublicKey | None
    path: Path | NoPath
    sent: bool
    endorsed: bool
    pck: Pck | None
    unbound: tuple[Reason, ...]
    step: Step
    tcb: Mapping[str, int]
    bits: Mapping[str, int]

    @property
    def family(self) -> str:
        """FMSPC in hex, or `unknown`."""
        return self.pck.fmspc.hex() if self.pck is not None else "unknown"


def platform(quote: Quote, endorsements: tuple[bytes, ...], collateral: Collateral, checks: Checks) -> Platform:
    """The platform behind this quote, from the memo where its very bytes were seen before."""
    if quote.certification == PCK_CHAIN:
        endorsements = ()  # a chain inside the quote is its own: what came beside may not replace it
    read_from = (quote.raw[quote.signature + 64 : quote.end], *endorsements)
    # Found by the attestation key, then compared whole: cheaper than hashing everything. 3 lays bytes out otherwise.
    key = ("platform", quote.version > 3, quote.attestation_key)
    kept = collateral.memo.get(key)
    if isinstance(kept, Platform) and kept.read_from == read_from:
        return kept
    found = _read(quote, endorsements, collateral, read_from, checks)
    if isinstance(found.path, Path) and found.key is not None and found.pck is not None and not found.unbound:
        collateral.memo[key] = found
    return found


def _read(
    quote: Quote, endorsements: tuple[bytes, ...], collateral: Collateral, read_from: tuple[bytes, ...], checks: Checks
) -> Platform:
    roots = tuple(root for root in collateral.roots if root.vendor == INTEL)
    remember(collateral.memo, roots)
    pck: Pck | None = None
    leaf: Certificate | None = None
    found: Path | NoPath
    sent = quote.certification in (PCK_CHAIN, PCK_LEAF) or bool(endorsements)
    try:
        certificates = _certificates(quote, endorsements, collateral)
        if certificates:
            leaf = lowest([c for c in certificates if SGX_EXTENSION in c.extensions] or certificates)
            pck = read_pck(leaf)
            found = path(leaf, (*known_issuers(), *certificates), roots, collateral.memo, checks)
        else:
            what = f"certification data of type {quote.certification}"
            found = NoPath("pck_chain_missing", what, "a PCK certificate chain (type 5), or one sent beside the quote")
    except BadCertificate as error:
        found = NoPath("certificate_unreadable", str(error), "a PCK certificate chain in PEM")
    except BadDer as error:
        found = NoPath("not_a_pck", str(error), "a PCK certificate")
    return Platform(
        read_from=read_from,
        fingerprint=sha256(bytes([quote.version > 3]) + b"".join(sha256(one).digest() for one in read_from)).digest(),
        key=_point(quote.attestation_key),
        path=found,
        sent=sent,
        endorsed=bool(endorsements),
        pck=pck,
        unbound=_unbound(quote, leaf if pck is not None else None, checks),
        step=_chain_step(found, sent),
        tcb=_tcb(quote, pck),
        bits=_bits(pck),
    )


def _certificates(quote: Quote, endorsements: tuple[bytes, ...], collateral: Collateral) -> tuple[Certificate, ...]:
    """Those in the quote and those beside it.

    Raises:
        BadCertificate: those in the quote cannot be read.
    """
    inside: tuple[Certificate, ...] = ()
    if quote.certification in (PCK_CHAIN, PCK_LEAF):
        inside = read_chain(quote.certification_data.rstrip(b"\0"), collateral.memo)
    beside: list[Certificate] = []
    for one in endorsements:
        try:
            beside += read_chain(one, collateral.memo)
        except BadCertificate:
            continue  # the sender may put anything beside it; what cannot be read helps nobody
    if inside:
        beside = [c for c in beside if c.is_ca]  # the leaf in the quote is the platform's
    return (*inside, *beside)


def _point(key: bytes) -> ec.EllipticCurvePublicKey | None:
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + key)
    except ValueError:
        return None


def _unbound(quote: Quote, pck: Certificate | None, checks: Checks) -> tuple[Reason, ...]:
    """Why the attestation key is not this platform's: the QE report must hold its hash and be signed by the PCK."""
    reasons: list[Reason] = []
    report = quote.qe_report
    held = sha256(quote.attestation_key + quote.raw[quote.auth : quote.auth_end]).digest()
    if report[320:] != held + bytes(32):
        reasons.append(
            Reason(
                "ak_not_bound",
                "qe_report",
                report[320:].hex(),
                f"{held.hex()}, zero-filled: SHA-256 of attestation key and authentication data",
                BINDING_SOURCE,
                "refuse it: the attestation key is not the quoting enclave's",
            )
        )
    if pck is None:
        reasons.append(
            Reason(
                "pck_missing",
                "qe_report",
                None,
                "a PCK certificate to check the QE report's signature with",
                BINDING_SOURCE,
                "send the PCK certificate chain with the quote",
            )
        )
    elif not _signed_by_pck(quote, pck, checks):
        reasons.append(
            Reason(
                "qe_report_signature_invalid",
                "qe_report",
                "a signature that does not hold",
                f"a signature by the PCK {pck.fingerprint}",
                BINDING_SOURCE,
                "refuse it: no quoting enclave on this platform made it",
            )
        )
    return tuple(reasons)


def _signed_by_pck(quote: Quote, pck: Certificate, checks: Checks) -> bool:
    check = ("qe", pck.fingerprint, sha256(quote.qe_report + quote.qe_report_signature).digest())
    if not checks.may(check):
        return False
    if signed_by(pck.key, P256_SHA256, as_der(quote.qe_report_signature), quote.qe_report):
        return True
    checks.refuse(check)
    return False


def _chain_step(found: Path | NoPath, sent: bool) -> Step:
    if isinstance(found, Path):
        return Step(StepName.CHAIN, Outcome.PASSED, found.detail, CHAIN_SOURCE)
    remedy = "send the PCK certificate chain with the quote" if not sent else "trust its root, or refuse the sender"
    reason = Reason(found.code, "pck", found.got, found.want, CHAIN_SOURCE, remedy)
    if not sent:
        return Step(StepName.CHAIN, Outcome.NOT_POSSIBLE, "no PCK certificate chain", CHAIN_SOURCE, (reason,))
    return Step(StepName.CHAIN, Outcome.FAILED, f"{found.got}: wanted {found.want}", CHAIN_SOURCE, (reason,))


def chain_step(one: Platform, at: datetime) -> Step:
    """The chain step at a moment."""
    found = one.path
    if isinstance(found, NoPath) or found.valid_from <= at <= found.valid_until:
        return one.step
    reasons = []
    for certificate in found.certificates:
        code = "certificate_expired" if at > certificate.not_after else "certificate_not_yet_valid"
        if not certificate.not_before <= at <= certificate.not_after:
            want = f"{stamp(certificate.not_before)} to {stamp(certificate.not_after)}"
            reasons.append(Reason(code, certificate.subject_name, stamp(at), want, CHAIN_SOURCE, "provision it anew"))
    if not reasons:
        code = "certificate_expired" if at > found.valid_until else "certificate_not_yet_valid"
        want = f"{stamp(found.valid_from)} to {stamp(found.valid_until)}"
        reasons.append(Reason(code, found.root.name, stamp(at), want, CHAIN_SOURCE))
    detail = f"{found.detail}: {reasons[0].component} is not valid at that time"
    return Step(StepName.CHAIN, Outcome.FAILED, detail, CHAIN_SOURCE, tuple(reasons))


def _tcb(quote: Quote, pck: Pck | None) -> Mapping[str, int]:
    found = dict(zip(_SGX, pck.sgx, strict=True)) if pck is not None else {}
    if pck is not None:
        found["pcesvn"] = pck.pcesvn
    found["qe.isvsvn"] = quote.qe_isvsvn
    return found


_SGX = tuple(f"sgx.{i}" for i in range(16))

TCB_NAMES = frozenset({*_SGX, "pcesvn", "qe.isvsvn"})
"""Names in the platform's part of `Claims.tcb`."""


def _bits(pck: Pck | None) -> Mapping[str, int]:
    if pck is None:
        return {}
    flags = {"platform.dynamic": pck.dynamic, "platform.cached_keys": pck.cached_keys, "platform.smt": pck.smt}
    return {name: flag for name, flag in flags.items() if flag is not None}


COMPONENTS = (
    *(
        Component(name=f"sgx.{n}", scope=Scope.PLATFORM, label=f"SGX component {n + 1}", field="cpusvn")
        for n in range(16)
    ),
    Component(name="pcesvn", scope=Scope.PLATFORM, label="PCE", field="pcesvn"),
    # SGX and TDX have quoting enclaves of their own, whose numbers say nothing of each other (Intel PCS API v4, QE
    # identity and TD QE identity).
    Component(name="qe.isvsvn", scope=Scope.TEE, label="QE isvsvn", field="qe.isvsvn"),
)
"""The platform's part of `Claims.tcb`: the SGX components and PCESVN of the PCK certificate (Intel PCK Certificate
Profile 1.5, 1.3.5), and the quoting enclave."""

NUMBERS = frozenset({"platform.dynamic", "platform.cached_keys", "platform.smt"})
"""The platform's part of `Claims.bits` (ibid., configuration)."""

WORDS = frozenset({"ak", "pce", "pck", "qe", "sgx", "svn", "sw"})
"""Of Intel's vocabulary, what is written in capitals."""


def concerns(subject: Subject, kind: str, about: str, *, qe: str) -> bool:
    """Is what was concluded from a quote of this subject judged by that statement of Intel's?

    Args:
        subject: whom the quote speaks of.
        kind, about: of the statement (`ratchet.collateral.Kind`).
        qe: name of the identity of its quoting enclave.
    """
    match kind:
        case Kind.INTEL_TCB_INFO:
            return subject.family == about
        case Kind.INTEL_QE_IDENTITY:
            return about == qe
        case Kind.INTEL_CRL:
            return subject.crls is None or about in subject.crls
    return False


def replay_key(raw: bytes, proof: Proof) -> BlobId:
    """Over header and body, which are signed, and the signature's r."""
    quote = proof.claims.native if proof.claims is not None else None
    if not isinstance(quote, Quote):
        return proof.evidence
    return digest(raw[: quote.signed] + raw[quote.signature : quote.signature + 32])
