"""AMD's documents: certificate chains, VCEKs and VLEKs, revocation lists. Bytes in, statements and reasons out.

Sources: AMD 57230, "Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification" (certificates,
extensions, key distribution service); AMD 56860, "SEV Secure Nested Paging Firmware ABI Specification" (TCB_VERSION).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric import ec

from ratchet.collateral import Kind, Known
from ratchet.collateral.roots import AMD, known_signers, remember
from ratchet.event import BlobId, digest
from ratchet.reason import Reason
from ratchet.x509 import der
from ratchet.x509.anchor import Root
from ratchet.x509.chain import (
    BadCertificate,
    Certificate,
    Memo,
    NoPath,
    Path,
    RevocationList,
    known_or_read,
    path,
    pem_blocks,
    read_crl,
    root_certificate,
    signed_by,
)

MAX_DOCUMENT = 4 * 1024 * 1024
"""Bytes of one document. Chains are below 8 KiB; a revocation list may grow."""

TCB_LAYOUT: Mapping[str, tuple[str, ...]] = {
    "Milan": ("bl", "tee", "spl4", "spl5", "spl6", "spl7", "snp", "ucode"),
    "Genoa": ("bl", "tee", "spl4", "spl5", "spl6", "spl7", "snp", "ucode"),
    "Turin": ("fmc", "bl", "tee", "snp", "spl5", "spl6", "spl7", "ucode"),
}
"""Product -> what each byte of a TCB_VERSION is; `spl…` are reserved (AMD 56860, "TCB Version"; Turin has its own)."""

HWID_SIZE: Mapping[str, int] = {"Milan": 64, "Genoa": 64, "Turin": 8}
"""Bytes of the hardware id in a VCEK; a report's CHIP_ID has them first, then zeros (AMD 57230, 3.1)."""

CHAIN_SPEC = "AMD 57230, 3 (ARK, ASK, ASVK, VCEK, VLEK)"
CRL_SPEC = "AMD 57230, 4.3 (certificate revocation list)"

_KDS = "https://kdsintf.amd.com"
_SIGNER_NAME = re.compile(r"(?:^|[ -])SEV-(VLEK-)?([A-Z][A-Za-z]{2,15})$")
_ROOT_NAME = re.compile(r"(?:^|[ -])ARK-([A-Z][A-Za-z]{2,15})$")
_NO_PRODUCT = frozenset({"VCEK", "VLEK"})  # names of leaves: SEV-VCEK, SEV-VLEK

_AMD = "1.3.6.1.4.1.3704.1"
_STRUCT_VERSION, _PRODUCT_NAME, _HWID, _CSP = f"{_AMD}.1", f"{_AMD}.2", f"{_AMD}.4", f"{_AMD}.5"
_SPL: Mapping[str, str] = {
    f"{_AMD}.3.{n}": name
    for n, name in enumerate(("bl", "tee", "snp", "spl4", "spl5", "spl6", "spl7", "ucode", "fmc"), 1)
}
"""AMD 57230, 3.1, table of X.509 extensions."""
_TEXT = frozenset({0x0C, 0x13, 0x16})  # UTF8String, PrintableString, IA5String


@dataclass(frozen=True, slots=True)
class Chain:
    """The certificate between a root and its VCEKs or VLEKs: an ASK or ASVK.

    Attributes:
        certificate: of the ASK or ASVK.
        product: `Milan`, `Genoa`, `Turin`, or one that is not known here.
        signs: `VCEK` or `VLEK`.
    """

    certificate: Certificate
    product: str
    signs: str

    @property
    def name(self) -> str:
        """For people: `ASK Milan`, `ASVK Milan`."""
        return f"{'ASVK' if self.signs == 'VLEK' else 'ASK'} {self.product}"


@dataclass(frozen=True, slots=True)
class Vek:
    """A versioned endorsement key: VCEK (of a chip) or VLEK (loaded by a cloud provider).

    Attributes:
        certificate: as read.
        kind: `VCEK` or `VLEK`, by who issued it.
        product: of the issuer's name, such as `Milan`.
        product_name: as the extension says, such as `Milan-B0`.
        struct_version: of the extensions.
        spl: security patch levels by name: bl, tee, snp, ucode, fmc (Turin), spl4 to spl7 (reserved).
        hwid: the chip's id; None in a VLEK.
        csp: the cloud provider's id; None in a VCEK.
        tcb: the TCB_VERSION it is for, as in a report; None where the product's layout is not known.
        key: P-384.
    """

    certificate: Certificate
    kind: str
    product: str
    product_name: str
    struct_version: int
    spl: Mapping[str, int]
    hwid: bytes | None
    csp: str | None
    tcb: bytes | None
    key: ec.EllipticCurvePublicKey


def chain(certificate: Certificate) -> Chain | None:
    """The certificate as an ASK or ASVK; None where its name or constraints make it none."""
    match = _SIGNER_NAME.search(certificate.subject_name)
    if match is None or match.group(2) in _NO_PRODUCT or not certificate.may_sign_certificates:
        return None
    return Chain(certificate, match.group(2), "VLEK" if match.group(1) else "VCEK")


def vek(certificate: Certificate) -> Vek | None:
    """The certificate as a VCEK or VLEK; None where it has not their extensions, or another issuer's name.

    Raises:
        BadCertificate: it has them, and they are malformed.
    """
    extensions = certificate.extensions
    issuer = _SIGNER_NAME.search(certificate.issuer_name)
    if _PRODUCT_NAME not in extensions or issuer is None or certificate.is_ca:
        return None
    if not isinstance(certificate.key, ec.EllipticCurvePublicKey) or certificate.key.curve.name != "secp384r1":
        raise BadCertificate("an endorsement key that is not P-384")
    try:
        spl = {name: _level(extensions[oid]) for oid, name in _SPL.items() if oid in extensions}
        version = _level(extensions[_STRUCT_VERSION]) if _STRUCT_VERSION in extensions else 0
        product_name = _text(extensions[_PRODUCT_NAME])
        csp = _text(extensions[_CSP]) if _CSP in extensions else None
    except der.BadDer as wrong:
        raise BadCertificate(f"AMD extensions: {wrong}") from None
    product, kind = issuer.group(2), "VLEK" if issuer.group(1) else "VCEK"
    hwid = _hwid(extensions.get(_HWID), product)
    if (hwid is None) != (kind == "VLEK"):
        raise BadCertificate(f"a {kind} {'without' if hwid is None else 'with'} a hardware id")
    layout = TCB_LAYOUT.get(product)
    tcb = bytes(spl.get(name, 0) for name in layout) if layout else None
    return Vek(certificate, kind, product, product_name, version, spl, hwid, csp, tcb, certificate.key)


def _level(value: bytes) -> int:
    start, stop = der.only(value, der.INTEGER)
    level = der.integer(value, (der.INTEGER, start, stop))
    if not 0 <= level <= 255:
        raise der.BadDer(f"a level of {level}")
    return level


def _text(value: bytes) -> str:
    tag, start, stop = der.element(value, 0, len(value))
    if tag not in _TEXT or stop != len(value) or stop - start > 256:
        raise der.BadDer("expected one short text")
    return value[start:stop].decode("utf-8", "replace")


def _hwid(value: bytes | None, product: str) -> bytes | None:
    """The hardware id: raw octets, as AMD issues it, or an OCTET STRING, as its specification may be read."""
    if value is None:
        return None
    size = HWID_SIZE.get(product)
    if len(value) >= 2 and value[0] == der.OCTET_STRING and value[1] == len(value) - 2 == (size or len(value) - 2):
        value = value[2:]
    if size is not None and len(value) != size:
        raise BadCertificate(f"a hardware id of {len(value)} bytes in a VCEK of {product}, {size} expected")
    return value


def product_of(root: Root) -> str | None:
    """Which product line a root vouches for, by its common name; None where that names none."""
    match = _ROOT_NAME.search(root_certificate(root).subject_name)
    return match.group(1) if match else None


def vek_key(root: str, kind: str, product: str, hwid: bytes, tcb: bytes) -> str:
    """The key of a VCEK among collateral; a VLEK is of no chip, and is filed as `<root>/vlek/<product>/<tcb>`."""
    if kind == "VLEK":
        return f"{root}/vlek/{product}/{tcb.hex()}"
    return f"{root}/{hwid[: HWID_SIZE.get(product, 64)].hex()}/{tcb.hex()}"


def vek_url(product: str, hwid: bytes, tcb: bytes) -> str:
    """Where AMD's key distribution service has a VCEK (AMD 57230, 4.1)."""
    levels = dict(zip(TCB_LAYOUT[product], tcb, strict=True))
    query = "&".join(f"{name}SPL={levels[name]:02d}" for name in ("fmc", "bl", "tee", "snp", "ucode") if name in levels)
    return f"{_KDS}/vcek/v1/{product}/{hwid[: HWID_SIZE[product]].hex()}?{query}"


def chain_url(product: str, kind: str) -> str:
    """Where AMD's key distribution service has the ASK or ASVK with its ARK (AMD 57230, 4.2)."""
    return f"{_KDS}/{kind.lower()}/v1/{product}/cert_chain"


def crl_url(product: str, kind: str) -> str:
    """Where AMD's key distribution service has the revocation list (AMD 57230, 4.3)."""
    return f"{_KDS}/{kind.lower()}/v1/{product}/crl"


def certificates(document: bytes, memo: Memo | None = None) -> tuple[Certificate, ...]:
    """Every certificate in a document, PEM or DER, that can be read and is signed as AMD signs.

    What cannot be read is left out: where it was needed, the chain that lacks it says so. `memo` as in `read_chain`.
    """
    found = []
    for one in _ders(document, b"CERTIFICATE"):
        try:
            certificate = known_or_read(one, memo)
        except BadCertificate:
            continue
        if _as_amd_signs(certificate):
            found.append(certificate)
    return tuple(found)


def _ders(document: bytes, label: bytes) -> Sequence[bytes]:
    if document[:1] == b"\x30":
        return [document]
    try:
        return pem_blocks(document, label)
    except BadCertificate:
        return []


def _as_amd_signs(one: Certificate | RevocationList) -> bool:
    """RSASSA-PSS with SHA-384 and 48 bytes of salt (AMD 57230, 3): a weaker one is nobody's but a forger's."""
    algorithm = one.algorithm
    return algorithm.family == "rsa-pss" and algorithm.digest.name == "sha384" and algorithm.salt == 48


def parse(document: bytes, known_from: datetime, roots: Iterable[Root], memo: Memo | None = None) -> tuple[Known, ...]:
    """Read one of AMD's documents: a chain (PEM), ASK, ASVK, VCEK or VLEK (DER or PEM), or a CRL (DER or PEM).

    A VCEK's or VLEK's signature can only be checked beside its ASK or ASVK. Where the document has none, it is filed
    under the root that its issuer's name leads to, and `verify` checks it, as it does everything it uses. `memo` as in
    `ratchet.collateral.parse`.

    Returns:
        One statement for each (a VCEK whose issuer's name may lead to several roots is filed under each); none where
        the document is not AMD's.
    """
    if len(document) > MAX_DOCUMENT:
        return ()
    arks = _Arks(roots, memo)
    blob = digest(document)
    found = certificates(document, arks.memo)
    if not found:
        return tuple(_crl_statements(document, blob, known_from, arks))
    statements: list[Known] = []
    for certificate in found:
        signer = chain(certificate)
        if signer is not None:
            statements.append(_signer_statement(signer, blob, known_from, arks))
            continue
        try:
            key = vek(certificate)
        except BadCertificate:
            continue
        if key is not None:
            statements.extend(_vek_statements(key, blob, known_from, arks, found))
    return tuple(statements or _root_statements(found, blob, known_from, arks))


class _Arks:
    """AMD's trusted roots, with the product of each."""

    def __init__(self, roots: Iterable[Root], memo: Memo | None) -> None:
        self.roots = tuple(root for root in roots if root.vendor == AMD)
        self.memo: Memo = {} if memo is None else memo
        remember(self.memo, self.roots)
        self.products = {root.name: product_of(root) for root in self.roots}

    def named(self, subject: bytes) -> Root | None:
        """The first of that subject."""
        return next((root for root in self.roots if root_certificate(root).subject == subject), None)

    def of(self, product: str) -> tuple[Root, ...]:
        """Those of one product."""
        return tuple(root for root in self.roots if self.products[root.name] == product)


def _untrusted(what: str, got: str) -> Reason:
    return Reason("untrusted_root", what, got, "a trusted ARK", CHAIN_SPEC, "trust its root in the configuration")


def _signer_statement(one: Chain, blob: BlobId, known_from: datetime, arks: _Arks) -> Known:
    certificate = one.certificate
    reasons: tuple[Reason, ...] = ()
    root: Root | None = None
    way = path(certificate, (), arks.roots, arks.memo)
    if isinstance(way, NoPath):
        root = arks.named(certificate.issuer)
        again = "fetch it again from " + chain_url(one.product, one.signs)
        reasons = (Reason(way.code, one.name, way.got, way.want, CHAIN_SPEC, again),)
        if root is None:
            reasons = (_untrusted(one.name, certificate.issuer_name),)
    elif arks.products[way.root.name] != one.product:
        root = way.root
        want = arks.products[way.root.name]
        reasons = (Reason("product_mismatch", one.name, one.product, want, CHAIN_SPEC, "fetch it again from AMD"),)
    else:
        root = way.root
    return _known(blob, known_from, certificate, Kind.AMD_CHAIN, root, f"{one.product}/{one.signs}", reasons, one)


def _known(
    blob: BlobId,
    known_from: datetime,
    certificate: Certificate,
    kind: Kind,
    root: Root | None,
    key: str,
    reasons: tuple[Reason, ...],
    parsed: object,
) -> Known:
    return Known(
        known_from=known_from,
        rank=(0, certificate.not_before),
        id=blob,
        kind=kind,
        key=f"{root.name if root else 'untrusted'}/{key}",
        valid_from=certificate.not_before,
        valid_until=certificate.not_after,
        root=root.name if root and not reasons else None,
        reasons=reasons,
        parsed=parsed,
    )


def _vek_statements(
    one: Vek, blob: BlobId, known_from: datetime, arks: _Arks, beside: Sequence[Certificate]
) -> Iterator[Known]:
    certificate = one.certificate
    tcb = one.tcb
    candidates = arks.of(one.product)
    if tcb is None:
        unknown = Reason("unknown_product", "vek", one.product, sorted(TCB_LAYOUT), CHAIN_SPEC, "update Ratchet")
        yield _known(blob, known_from, certificate, Kind.AMD_VEK, None, f"{one.product}/?", (unknown,), one)
        return
    reasons: tuple[Reason, ...] = ()
    proven = False
    sent = any(other.subject == certificate.issuer for other in beside)
    way = path(certificate, (*known_signers(), *beside), candidates, arks.memo)
    if isinstance(way, Path):
        candidates, proven = (way.root,), True
    elif sent:
        reasons = (Reason(way.code, "vek", way.got, way.want, CHAIN_SPEC, "fetch it again from AMD"),)
    elif len(candidates) > 1:
        kin = [root for root in candidates if _kin(root, certificate.issuer_name)]
        candidates = tuple(kin) or candidates
    if not candidates:
        reasons = (_untrusted("vek", certificate.issuer_name),)
    for root in candidates or (None,):
        key = vek_key("", one.kind, one.product, one.hwid or b"", tcb)[1:]
        known = _known(blob, known_from, certificate, Kind.AMD_VEK, root, key, reasons, one)
        yield replace(known, rank=(1, certificate.not_before)) if proven else known


def _kin(root: Root, issuer_name: str) -> bool:
    """`Simulated ARK-Milan` is of one house with `Simulated SEV-Milan`, and `ARK-Milan` with `SEV-Milan`."""
    own = root_certificate(root).subject_name
    return own.rpartition("ARK-")[0] == issuer_name.rpartition("SEV-")[0]


def _crl_statements(document: bytes, blob: BlobId, known_from: datetime, arks: _Arks) -> Iterator[Known]:
    for data in _ders(document, b"X509 CRL"):
        try:
            crl = read_crl(data)
        except BadCertificate:
            continue
        signer, ark = _SIGNER_NAME.search(crl.issuer_name), _ROOT_NAME.search(crl.issuer_name)
        if ark is not None:
            root = arks.named(crl.issuer)
            yield _crl_statement(crl, blob, known_from, root, ark.group(1), _crl_faults(crl, root))
        elif signer is not None:
            # Of an ASK or ASVK, about its own VCEKs or VLEKs: `verify` checks its signature, for it knows the ASK.
            key = f"{signer.group(2)}/{'VLEK' if signer.group(1) else 'VCEK'}"
            for root in arks.of(signer.group(2)) or (None,):
                reasons = () if root else (_untrusted("crl", crl.issuer_name),)
                yield _crl_statement(crl, blob, known_from, root, key, reasons + crl_shape(crl))


def _crl_faults(crl: RevocationList, root: Root | None) -> tuple[Reason, ...]:
    if root is None:
        return (_untrusted("crl", crl.issuer_name),)
    return crl_shape(crl) + crl_signature(crl, root_certificate(root))


def crl_shape(crl: RevocationList) -> tuple[Reason, ...]:
    """What makes a list unusable whoever signed it: a critical extension (RFC 5280, 5.2), no end, a weak signature."""
    if crl.critical:
        got = sorted(crl.critical)
        return (Reason("crl_critical_extension", "crl", got, "none that is critical", "RFC 5280, 5.2"),)
    if crl.next_update is None:
        return (Reason("crl_without_end", "crl", None, "a next update", "RFC 5280, 5.1.2.5"),)
    if not _as_amd_signs(crl):
        return (Reason("crl_signature_invalid", "crl", None, "RSASSA-PSS with SHA-384", CRL_SPEC),)
    return ()


def crl_signature(crl: RevocationList, issuer: Certificate) -> tuple[Reason, ...]:
    """Why this list is not this issuer's; empty when it is."""
    if crl.issuer == issuer.subject and signed_by(issuer.key, crl.algorithm, crl.signature, crl.tbs):
        return ()
    want = f"signed by {issuer.subject_name}"
    return (Reason("crl_signature_invalid", "crl", crl.issuer_name, want, CRL_SPEC, "fetch it again from AMD"),)


def _crl_statement(
    crl: RevocationList, blob: BlobId, known_from: datetime, root: Root | None, key: str, reasons: tuple[Reason, ...]
) -> Known:
    return Known(
        known_from=known_from,
        rank=(0, crl.this_update),
        id=blob,
        kind=Kind.AMD_CRL,
        key=f"{root.name if root else 'untrusted'}/{key}",
        valid_from=crl.this_update,
        valid_until=crl.next_update or _NEVER_VALID,
        root=root.name if root and not reasons else None,
        reasons=reasons,
        parsed=crl,
    )


_NEVER_VALID = datetime(1970, 1, 1, tzinfo=UTC)


def _root_statements(found: Iterable[Certificate], blob: BlobId, known_from: datetime, arks: _Arks) -> Iterator[Known]:
    """An ARK on its own says nothing that is not known; it is filed so that people see whether it is trusted."""
    for certificate in found:
        match = _ROOT_NAME.search(certificate.subject_name)
        if match is None:
            continue
        trusted = next((root for root in arks.roots if root.der == certificate.der), None)
        reasons = () if trusted else (_untrusted(certificate.subject_name, certificate.fingerprint),)
        key = f"{match.group(1)}/ARK"
        yield _known(blob, known_from, certificate, Kind.AMD_CHAIN, trusted, key, reasons, certificate)
