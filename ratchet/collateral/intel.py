"""Intel's collateral: TCB info, enclave identities and revocation lists, from every form in which they are kept.

Sources: Intel SGX and TDX PCS API v4, "Get TCB Info", "Get QE Identity" and "Get PCK CRL"; Intel SGX DCAP Quote
Verification Library (QVL).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography.hazmat.primitives.hashes import SHA256

from ratchet.collateral import Kind, Known, pcs
from ratchet.collateral.roots import known_issuers, remember
from ratchet.collateral.tcb import ModuleLevel, TcbLevel, match, match_module
from ratchet.event import BlobId, Json, digest, parse_time
from ratchet.reason import Reason
from ratchet.x509.anchor import Root, Vendor
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
    "ModuleLevel",
    "QeIdentity",
    "TcbInfo",
    "TcbLevel",
    "match",
    "match_module",
    "parse",
    "read_identity",
    "read_tcb_info",
]


@dataclass(frozen=True, slots=True)
class ModuleIdentity:
    """Who a TDX module must be (PCS API v4, `tdxModule` and `tdxModuleIdentities`).

    Attributes:
        mrsigner: 48 bytes; compared with MRSIGNERSEAM.
        attributes: 8 bytes; compared with SEAMATTRIBUTES.
        attributes_mask: which bits of it count.
    """

    mrsigner: bytes
    attributes: bytes
    attributes_mask: bytes


@dataclass(frozen=True, slots=True)
class TcbInfo:
    """One TCB info, as signed.

    Attributes:
        tee: `sgx` or `tdx`.
        fmspc, pceid: hex, lower case.
        version: 2 (SGX alone, without advisories) or 3.
        evaluation: tcbEvaluationDataNumber.
        issued, next_update: its dates.
        levels: in the document's order, which is the order in which they are tried.
        modules: TDX module identities' levels by id in capitals (`TDX_03`).
        identities: who each of those modules must be, by the same id; `TDX_00` is the document's `tdxModule`.
        signer: path of the TCB signing certificate; None where its chain leads to no trusted root.
        signed: the exact bytes that the signature is over.
    """

    tee: str
    fmspc: str
    pceid: str
    version: int
    evaluation: int
    issued: datetime
    next_update: datetime
    levels: tuple[TcbLevel, ...]
    modules: Mapping[str, tuple[ModuleLevel, ...]]
    identities: Mapping[str, ModuleIdentity]
    signer: Path | None
    signed: bytes


@dataclass(frozen=True, slots=True)
class QeIdentity:
    """One enclave identity, as signed (PCS API v4, "Get QE Identity").

    Attributes:
        id: `QE`, `TD_QE` or `QVE`.
        version: 2.
        evaluation: tcbEvaluationDataNumber.
        issued, next_update: its dates.
        miscselect, miscselect_mask: 4 bytes.
        attributes, attributes_mask: 16 bytes.
        mrsigner: 32 bytes.
        isvprodid: product id.
        levels: in the document's order.
        signer, signed: as in `TcbInfo`.
    """

    id: str
    version: int
    evaluation: int
    issued: datetime
    next_update: datetime
    miscselect: bytes
    miscselect_mask: bytes
    attributes: bytes
    attributes_mask: bytes
    mrsigner: bytes
    isvprodid: int
    levels: tuple[ModuleLevel, ...]
    signer: Path | None
    signed: bytes


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

_MAX_LEVELS = 512
_MAX_MODULES = 64
_TCB_SIGNING = "SGX TCB Signing"
"""In the common name of whoever may sign TCB info and identities (QVL, X509Constants.h). Other keys below Intel's root,
those of PCK certificates among them, may not."""

_PCS = "Intel PCS API v4"


class _Malformed(ValueError):
    """A statement that does not have the form that it must have; the text says what is wrong."""


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
    reader = _Reader(digest(document), known_from, tuple(r for r in roots if r.vendor is Vendor.INTEL), memo)
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
            signer, reasons = self._signer(statement, "tcb_info", _issue_date(statement.value))
            info = read_tcb_info(statement.value, statement.signed, signer)
        except _Malformed as error:
            return self._unreadable(Kind.INTEL_TCB_INFO, "tcb_info", error)
        root = signer.root.name if signer else None
        return self._known(
            Kind.INTEL_TCB_INFO, f"{root or UNTRUSTED}/{info.tee}/{info.fmspc}", info.evaluation, info, signer, reasons
        )

    def _identity(self, statement: pcs.Statement) -> Known:
        try:
            signer, reasons = self._signer(statement, "qe_identity", _issue_date(statement.value))
            identity = read_identity(statement.value, statement.signed, signer)
        except _Malformed as error:
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


def _issue_date(value: Json) -> datetime:
    return _date(_mapping(value), "issueDate")


def read_tcb_info(value: Json, signed: bytes, signer: Path | None) -> TcbInfo:
    """TCB info from its parsed JSON; unknown members are passed over.

    Raises:
        ValueError: a member that counts is missing or of another form, or the version is not 2 or 3.
    """
    value = _mapping(value)
    version = _number(value, "version", 2**16)
    if version not in (2, 3):
        raise _Malformed(f"version {version}, expected 2 or 3")
    of = _text(value, "id") if version == 3 else "SGX"
    if of not in ("SGX", "TDX"):
        raise _Malformed("id is neither SGX nor TDX")
    modular = of == "TDX"
    if _number(value, "tcbType", 2**16) != 0:
        raise _Malformed("tcbType is not 0, the one that is defined")
    modules: dict[str, tuple[ModuleLevel, ...]] = {}
    identities: dict[str, ModuleIdentity] = {}
    if modular:
        identities["TDX_00"] = _module_identity(_mapping(value.get("tdxModule")))
        for one in _list(value, "tdxModuleIdentities", _MAX_MODULES, absent_ok=True):
            one = _mapping(one)
            name = _text(one, "id").upper()
            if name in modules or name == "TDX_00":
                raise _Malformed("a TDX module identity twice")
            identities[name] = _module_identity(one)
            modules[name] = tuple(map(_module_level, _list(one, "tcbLevels", _MAX_LEVELS)))
    return TcbInfo(
        tee=of.lower(),
        fmspc=_bytes(value, "fmspc", 6).hex(),
        pceid=_bytes(value, "pceId", 2).hex(),
        version=version,
        evaluation=_number(value, "tcbEvaluationDataNumber", 2**31),
        issued=_date(value, "issueDate"),
        next_update=_date(value, "nextUpdate"),
        levels=tuple(_tcb_level(_mapping(one), version, modular) for one in _list(value, "tcbLevels", _MAX_LEVELS)),
        modules=modules,
        identities=identities,
        signer=signer,
        signed=signed,
    )


def _tcb_level(value: Mapping[str, Json], version: int, modular: bool) -> TcbLevel:
    tcb = _mapping(value.get("tcb"))
    if version == 2:
        sgx = tuple(_number(tcb, name, 256) for name in _V2_COMPONENTS)
    else:
        sgx = _components(tcb, "sgxtcbcomponents")
    return TcbLevel(
        sgx=sgx,
        pcesvn=_number(tcb, "pcesvn", 2**16),
        tdx=_components(tcb, "tdxtcbcomponents") if modular else None,
        status=_text(value, "tcbStatus"),
        date=_date(value, "tcbDate"),
        advisories=_advisories(value) if version > 2 else None,
    )


_V2_COMPONENTS = tuple(f"sgxtcbcomp{i:02}svn" for i in range(1, 17))


def _components(tcb: Mapping[str, Json], name: str) -> tuple[int, ...]:
    try:
        given = [one["svn"] for one in tcb[name]]
        svns = tuple(bytes(given))  # bytes: whole numbers below 256, or an error
    except (KeyError, TypeError, ValueError):
        raise _Malformed(f"{name} is not a list of components") from None
    if len(svns) != 16 or bool in map(type, given):
        raise _Malformed(f"{name} is not 16 SVNs")
    return svns


def _module_identity(value: Mapping[str, Json]) -> ModuleIdentity:
    return ModuleIdentity(
        _bytes(value, "mrsigner", 48), _bytes(value, "attributes", 8), _bytes(value, "attributesMask", 8)
    )


def _module_level(value: Json) -> ModuleLevel:
    value = _mapping(value)
    return ModuleLevel(
        isvsvn=_number(_mapping(value.get("tcb")), "isvsvn", 2**16),
        status=_text(value, "tcbStatus"),
        date=_date(value, "tcbDate"),
        advisories=_advisories(value),
    )


def read_identity(value: Json, signed: bytes, signer: Path | None) -> QeIdentity:
    """An enclave identity from its parsed JSON; unknown members are passed over.

    Raises:
        ValueError: a member that counts is missing or of another form, or the version is not 2.
    """
    value = _mapping(value)
    version = _number(value, "version", 2**16)
    name = _text(value, "id")
    if version != 2 or name not in ("QE", "TD_QE", "QVE"):
        raise _Malformed(f"identity {name} of version {version}, expected QE, TD_QE or QVE of version 2")
    return QeIdentity(
        id=name,
        version=version,
        evaluation=_number(value, "tcbEvaluationDataNumber", 2**31),
        issued=_date(value, "issueDate"),
        next_update=_date(value, "nextUpdate"),
        miscselect=_bytes(value, "miscselect", 4),
        miscselect_mask=_bytes(value, "miscselectMask", 4),
        attributes=_bytes(value, "attributes", 16),
        attributes_mask=_bytes(value, "attributesMask", 16),
        mrsigner=_bytes(value, "mrsigner", 32),
        isvprodid=_number(value, "isvprodid", 2**16),
        levels=tuple(map(_module_level, _list(value, "tcbLevels", _MAX_LEVELS))),
        signer=signer,
        signed=signed,
    )


def _mapping(value: Json) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise _Malformed("an object is missing")
    return value


def _list(value: Mapping[str, Json], name: str, limit: int, *, absent_ok: bool = False) -> list[Json]:
    found = value.get(name, [] if absent_ok else None)
    if not isinstance(found, list) or len(found) > limit:
        raise _Malformed(f"{name} is not a list of at most {limit}")
    return found


def _number(value: Mapping[str, Json], name: str, below: int) -> int:
    found = value.get(name)
    if type(found) is not int or not 0 <= found < below:
        raise _Malformed(f"{name} is not a whole number below {below}")
    return found


def _text(value: Mapping[str, Json], name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str) or len(found) > 64 or not found.isascii():
        raise _Malformed(f"{name} is not a short text")
    return found


def _bytes(value: Mapping[str, Json], name: str, size: int) -> bytes:
    try:
        found = bytes.fromhex(_text_or_long(value, name))
    except ValueError:
        raise _Malformed(f"{name} is not hex") from None
    if len(found) != size:
        raise _Malformed(f"{name} is not {size} bytes")
    return found


def _text_or_long(value: Mapping[str, Json], name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str) or len(found) > 128:
        raise ValueError
    return found


_moment = lru_cache(maxsize=1024)(parse_time)
"""Intel's dates repeat from level to level and from document to document."""


def _date(value: Mapping[str, Json], name: str) -> datetime:
    try:
        return _moment(_text(value, name))
    except (ValueError, OverflowError):
        raise _Malformed(f"{name} is not a time with a zone") from None


def _advisories(value: Mapping[str, Json]) -> tuple[str, ...]:
    found = value.get("advisoryIDs", [])
    if not isinstance(found, list) or len(found) > _MAX_LEVELS:
        raise _Malformed("advisoryIDs is not a list")
    try:
        text = "".join(found)
    except TypeError:
        raise _Malformed("advisoryIDs are not texts") from None
    if not text.isascii() or (found and max(map(len, found)) > 64):
        raise _Malformed("advisoryIDs are not short texts")
    return tuple(found)
