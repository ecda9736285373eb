"""Intel's collateral: TCB info, enclave identities and revocation lists, from every form in which they are kept.

Sources: Intel SGX and TDX PCS API v4, "Get TCB Info", "Get QE Identity" and "Get PCK CRL"; Intel SGX DCAP Quote
Verification Library (QVL).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.hashes import SHA256

from ratchet.collateral import Kind, Known, pcs
from ratchet.collateral.intel_json import (
    Malformed,
    ModuleIdentity,
    QeIdentity,
    TcbInfo,
    issue_date,
    read_identity,
    read_tcb_info,
)
from ratchet.collateral.roots import INTEL, known_issuers, remember
from ratchet.event import BlobId, digest
from ratchet.reason import Reason
from ratchet.x509.anchor import Root
from ratchet.x509.chain import (
    Algorithm,
    BadCertificate,
    Certificate,
    Memo,
    NoPath,
    Path,
    RevocationList,
    as_der,
    lowest,
    path,
    read_chain,
    read_crl,
    root_certificate,
    signed_by,
)

__all__ = [
    "Crl",
    "ModuleIdentity",
    "QeIdentity",
    "TcbInfo",
    "parse",
    "read_identity",
    "read_tcb_info",
]


@dataclass(frozen=True, slots=True)
class Crl:
    """One revocation list of Intel's.

    Attributes:
        list: as it stands in its bytes.
        signer: path of its issuer: the root itself, or a PCK CA; None where it leads to no trusted root.
    """

    list: RevocationList
    signer: Path | None


UNTRUSTED = "untrusted"
"""In place of the root's name in the key of a statement that leads to none."""

_TCB_SIGNING = "SGX TCB Signing"
"""In the common name of whoever may sign TCB info and identities (QVL, X509Constants.h). Other keys below Intel's root,
those of PCK certificates among them, may not."""

_PCS = "Intel PCS API v4"


def parse(document: bytes, known_from: datetime, roots: Iterable[Root], memo: Memo | None = None) -> tuple[Known, ...]:
    """Every statement of Intel's in a document; none where it is not a document of Intel's.

    Signatures, chains and forms that do not hold are in each statement's `reasons`; such a statement is never chosen.
    Whether a statement is current is not judged here: that depends on the moment of asking. `memo` as in
    `ratchet.collateral.parse`.
    """
    try:
        found = pcs.statements(document)
    except pcs.NotIntel:
        return ()
    reader = _Reader(digest(document), known_from, tuple(r for r in roots if r.vendor == INTEL), memo)
    return tuple(known for known in map(reader.known, found) if known is not None)


class _Reader:
    """Reads the statements of one document, whose chains mostly share their certificates."""

    def __init__(
        self, document: BlobId, known_from: datetime, roots: tuple[Root, ...], memo: Memo | None = None
    ) -> None:
        self.document, self.known_from, self.roots = document, known_from, roots
        self.memo: Memo = {} if memo is None else memo
        remember(self.memo, roots)
        self.paths: dict[bytes, Path | NoPath] = {}
        self.chains: dict[bytes, tuple[Certificate, ...]] = {}

    def known(self, statement: pcs.Statement) -> Known | None:
        """One statement, with all that is wrong with it; None for a revocation list of another vendor's."""
        match statement.what:
            case pcs.TCB_INFO:
                return self._tcb_info(statement)
            case pcs.QE_IDENTITY:
                return self._identity(statement)
            case _:
                return self._crl(statement)

    def _tcb_info(self, statement: pcs.Statement) -> Known:
        try:
            signer, reasons = self._signer(statement, "tcb_info", issue_date(statement.value))
            info = read_tcb_info(statement.value, statement.signed, signer)
        except Malformed as error:
            return self._unreadable(Kind.INTEL_TCB_INFO, "tcb_info", error)
        root = signer.root.name if signer else None
        return self._known(
            Kind.INTEL_TCB_INFO, f"{root or UNTRUSTED}/{info.tee}/{info.fmspc}", info.evaluation, info, signer, reasons
        )

    def _identity(self, statement: pcs.Statement) -> Known:
        try:
            signer, reasons = self._signer(statement, "qe_identity", issue_date(statement.value))
            identity = read_identity(statement.value, statement.signed, signer)
        except Malformed as error:
            return self._unreadable(Kind.INTEL_QE_IDENTITY, "qe_identity", error)
        root = signer.root.name if signer else None
        return self._known(
            Kind.INTEL_QE_IDENTITY,
            f"{root or UNTRUSTED}/{identity.id}",
            identity.evaluation,
            identity,
            signer,
            reasons,
        )

    def _known(
        self,
        kind: Kind,
        key: str,
        evaluation: int,
        parsed: TcbInfo | QeIdentity,
        signer: Path | None,
        reasons: tuple[Reason, ...],
    ) -> Known:
        return Known(
            known_from=self.known_from,
            rank=(evaluation, parsed.issued),
            id=self.document,
            kind=kind,
            key=key,
            valid_from=max(parsed.issued, signer.valid_from) if signer else parsed.issued,
            valid_until=min(parsed.next_update, signer.valid_until) if signer else parsed.next_update,
            root=signer.root.name if signer else None,
            reasons=reasons,
            parsed=parsed,
        )

    def _signer(
        self, statement: pcs.Statement, component: str, issued: datetime
    ) -> tuple[Path | None, tuple[Reason, ...]]:
        """Who signed it, up to a root, and why that does not hold."""
        found = self._path(statement.chain, issued)
        if isinstance(found, NoPath):
            return None, (_no_path(found, component),)
        leaf = found.leaf
        if _TCB_SIGNING not in leaf.subject_name or not leaf.may_sign_data or len(found.certificates) != 1:
            remedy = "fetch the document from PCS again, with its issuer chain"
            want = f"a certificate of {_TCB_SIGNING}, issued by the root"
            return found, (Reason("signer_not_entitled", component, leaf.subject_name, want, _PCS, remedy),)
        if not statement.signature:
            return found, (_bad_signature(component, "no signature of 64 bytes"),)
        if not signed_by(leaf.key, _P256, as_der(statement.signature), statement.signed):
            return found, (_bad_signature(component, "a signature that does not hold"),)
        return found, ()

    def _path(self, chain: bytes, issued: datetime) -> Path | NoPath:
        kept = self.paths.get(chain)
        if chain and kept is not None:
            return kept
        if not chain:
            # Stored without the header that holds its chain: Intel's own signing certificates are known. Two have had
            # the same key; take the one that was valid when the document was made.
            names = [c for c in known_issuers() if _TCB_SIGNING in c.subject_name]
            fitting = [c for c in names if c.not_before <= issued <= c.not_after] or names
            return path(fitting[-1], (), self.roots, self.memo)
        try:
            certificates = self._read_chain(chain)
            found = path(lowest(certificates), certificates, self.roots, self.memo)
        except BadCertificate as error:
            found = NoPath("certificate_unreadable", str(error), "an issuer chain in PEM")
        self.paths[chain] = found
        return found

    def _read_chain(self, chain: bytes) -> tuple[Certificate, ...]:
        """As `read_chain`, once for the statements that share a chain; the roots themselves need no reading."""
        if chain not in self.chains:
            self.chains[chain] = read_chain(chain, self.memo)
        return self.chains[chain]

    def _crl(self, statement: pcs.Statement) -> Known | None:
        try:
            crl = read_crl(statement.signed)
        except BadCertificate as error:
            return self._unreadable(Kind.INTEL_CRL, "crl", error) if statement.named else None
        roots = [root_certificate(root).subject for root in self.roots]
        if not statement.named and "SGX" not in crl.issuer_name and crl.issuer not in roots:
            return None  # another vendor's
        signer, reasons = self._crl_signer(crl, statement.chain)
        until = crl.next_update
        if until is None:
            reasons += (Reason("crl_without_end", "crl", None, "nextUpdate", "RFC 5280, 5.1.2.5"),)
            until = crl.this_update
        root = signer.root.name if signer else None
        return Known(
            known_from=self.known_from,
            rank=(0, crl.this_update),
            id=self.document,
            kind=Kind.INTEL_CRL,
            key=f"{root or UNTRUSTED}/{crl.issuer_name}",
            valid_from=max(crl.this_update, signer.valid_from) if signer else crl.this_update,
            valid_until=min(until, signer.valid_until) if signer else until,
            root=root,
            reasons=reasons,
            parsed=Crl(crl, signer),
        )

    def _crl_signer(self, crl: RevocationList, chain: bytes) -> tuple[Path | None, tuple[Reason, ...]]:
        """Who signed a list: a root, or a CA below one that came with it or is known."""
        candidates = [root_certificate(root) for root in self.roots]
        try:
            sent = self._read_chain(chain) if chain else ()
        except BadCertificate:
            sent = ()  # the issuer may still be known
        candidates += [*sent, *known_issuers()]
        fault: NoPath | None = None
        for issuer in candidates:
            if issuer.subject != crl.issuer or not issuer.may_sign_certificates or not issuer.may_sign_crls:
                continue
            found = path(issuer, sent, self.roots, self.memo)
            if isinstance(found, NoPath):
                fault = found
            elif not signed_by(issuer.key, crl.algorithm, crl.signature, crl.tbs):
                fault = NoPath("signature_invalid", crl.issuer_name, "a signature that holds")
            elif crl.critical:
                fault = NoPath("crl_critical_extension", ", ".join(sorted(crl.critical)), "a complete, direct list")
            else:
                return found, ()
        fault = fault or NoPath("chain_incomplete", crl.issuer_name, "the certificate of its issuer")
        return None, (_no_path(fault, "crl"),)

    def _unreadable(self, kind: Kind, component: str, error: ValueError) -> Known:
        return Known(
            known_from=self.known_from,
            rank=(0, self.known_from),
            id=self.document,
            kind=kind,
            key=f"{UNTRUSTED}/unreadable",
            valid_from=self.known_from,
            valid_until=self.known_from,
            root=None,
            reasons=(Reason("document_unreadable", component, str(error), "a document as PCS sends it", _PCS),),
            parsed=None,
        )


_P256 = Algorithm("ecdsa", SHA256())


def _no_path(fault: NoPath, component: str) -> Reason:
    remedy = "fetch it again, with its issuer chain"
    return Reason(fault.code, component, fault.got, fault.want, "RFC 5280, 6.1", remedy)


def _bad_signature(component: str, got: str) -> Reason:
    source = f"{_PCS}: signature over the exact bytes of the inner object"
    return Reason("signature_invalid", component, got, "a signature that holds", source, "fetch it from PCS again")
