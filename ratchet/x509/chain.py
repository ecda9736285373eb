"""X.509 chains, for every vendor: from a certificate to a trusted root (RFC 5280, 6).

A chain is a matter of bytes: `path` says whether one leads to a root, and between which times it may be believed.
Whether it is believed now is asked of a `Path` afterwards, so nothing kept in a memo depends on the time. Signatures
are checked by `cryptography` (OpenSSL) alone; why it does not find the paths, too, is in docs/adr/0012-x509.md, case 7.
`certificate` reads the bytes; its names are here too.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from ratchet.x509.anchor import Root
from ratchet.x509.certificate import (
    MAX_CERTIFICATES,
    Algorithm,
    BadCertificate,
    Certificate,
    PublicKey,
    RevocationList,
    name_key,
    pem_blocks,
    read_certificate,
    read_crl,
    usable,
)

__all__ = [
    "MAX_CHECKS",
    "Algorithm",
    "BadCertificate",
    "Certificate",
    "Checks",
    "Memo",
    "NoPath",
    "Path",
    "PublicKey",
    "RevocationList",
    "as_der",
    "known_or_read",
    "lowest",
    "path",
    "pem_blocks",
    "read_certificate",
    "read_chain",
    "read_crl",
    "root_certificate",
    "signed_by",
]

Memo = MutableMapping[object, object]
"""What was computed from immutable bytes; see `ratchet.collateral.Collateral.memo`."""

MAX_CHECKS = 16
"""Signature checks for one piece of evidence. A genuine one needs four; certificates of one name need as many more as
there are, so that whoever sends them would otherwise decide how long a verifier works."""


class Checks:
    """How many signatures may still be checked for one piece of evidence, and which were found not to hold.

    Args:
        refused: what did not hold before, for other evidence too; bounded by whoever keeps it. None: this one alone.
    """

    __slots__ = ("_refused", "left")

    def __init__(self, refused: Memo | None = None) -> None:
        self.left = MAX_CHECKS
        self._refused: Memo = {} if refused is None else refused

    def may(self, check: object) -> bool:
        """Take one, unless this very check failed before or none is left."""
        if self.left <= 0 or (self._refused and check in self._refused):
            return False
        self.left -= 1
        return True

    def refuse(self, check: object) -> None:
        """It did not hold: it is never made again."""
        self._refused[check] = True

    def refuses(self, check: object) -> bool:
        """Did it not hold?"""
        return check in self._refused


MAX_DEPTH = 5
"""Certificates in a path, the root not counted. Intel's and AMD's have two."""
MAX_CLIMBS = 32
"""Certificates looked at for one path, so that many of one name cannot be tried in every order."""


@dataclass(frozen=True, slots=True)
class Path:
    """A chain of certificates whose signatures and constraints hold, up to a trusted root.

    Attributes:
        certificates: leaf first, without the root.
        root: where it ends.
        valid_from, valid_until: when every certificate of it is valid, the root's own among them.
    """

    certificates: tuple[Certificate, ...]
    root: Root
    valid_from: datetime
    valid_until: datetime

    @property
    def leaf(self) -> Certificate:
        """The first."""
        return self.certificates[0]

    @property
    def detail(self) -> str:
        """`leaf <- issuer <- root`, in common names."""
        return " <- ".join([*(c.subject_name or c.fingerprint[:16] for c in self.certificates), self.root.name])


@dataclass(frozen=True, slots=True)
class NoPath:
    """Why there is no `Path`.

    Attributes:
        code: a reason code: `chain_incomplete`, `chain_untrusted_root`, `chain_signature_invalid`, `chain_not_a_ca`,
            `chain_critical_extension`.
        got: what was found, for people.
        want: what was needed.
    """

    code: str
    got: str
    want: str


def read_chain(text: bytes, memo: Memo | None = None) -> tuple[Certificate, ...]:
    """Every certificate in PEM text, or the one in DER.

    Args:
        text: the certificates.
        memo: gives those that it has by their bytes; takes none, for nothing is proven of these yet.

    Raises:
        BadCertificate: one of them cannot be read, or there is none.
    """
    blocks = pem_blocks(text) or ([text] if text[:1] == b"\x30" else [])
    if not blocks:
        raise BadCertificate("no certificate")
    return tuple([known_or_read(block, memo) for block in blocks])


def known_or_read(data: bytes, memo: Memo | None) -> Certificate:
    """One certificate from DER, read only where the memo has not the very bytes.

    Raises:
        BadCertificate: as `read_certificate`.
    """
    found = memo.get(("certificate", data)) if memo else None
    return found if isinstance(found, Certificate) else read_certificate(data, memo)


def lowest(certificates: Sequence[Certificate]) -> Certificate:
    """The certificate that issued none of the others: the leaf of a chain, whose order nobody promises."""
    issuers = {c.issuer for c in certificates if c.issuer != c.subject}
    return next((c for c in certificates if c.subject not in issuers and not c.is_ca), certificates[0])


def as_der(signature: bytes) -> bytes:
    """An ECDSA signature of 64 bytes, r and s, as DER (RFC 3279, 2.2.3)."""
    return encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))


def signed_by(key: PublicKey, algorithm: Algorithm, signature: bytes, message: bytes) -> bool:
    """Does the signature hold? A key of another family than the algorithm's gives no, as does an RSA key out of bounds.

    ECDSA: FIPS 186-5, 6.4. RSA: RFC 8017, 8.1 (PSS) and 8.2 (PKCS #1 v1.5).
    """
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            if algorithm.family != "ecdsa":
                return False
            key.verify(signature, message, ec.ECDSA(algorithm.digest))
        elif usable(key) is None:
            return False
        elif algorithm.family == "rsa-pss":
            pss = padding.PSS(mgf=padding.MGF1(algorithm.digest), salt_length=algorithm.salt)
            key.verify(signature, message, pss, algorithm.digest)
        elif algorithm.family == "rsa-pkcs1":
            key.verify(signature, message, padding.PKCS1v15(), algorithm.digest)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def path(
    leaf: Certificate,
    others: Iterable[Certificate],
    roots: Iterable[Root],
    memo: Memo | None = None,
    checks: Checks | None = None,
) -> Path | NoPath:
    """A path from `leaf` to one of `roots` through `others`, in whatever order those come (RFC 5280, 6.1).

    Checked: names and key identifiers chain, signatures hold, issuers are CAs that may sign certificates and whose path
    length suffices, no critical extension is unknown. Not checked here: times (see `Path`) and revocation. Name
    constraints and policies occur in no vendor's chain: where critical, they are refused as unknown.

    Args:
        leaf: what is to be linked; a root itself gives a path of its own.
        others: what came with it; not trusted.
        roots: the trust anchors to consider, those of one vendor.
        memo: keeps which signatures held.
        checks: how many may be checked, and which did not hold; None: `MAX_CHECKS` for this path.
    """
    checks = Checks() if checks is None else checks
    roots = tuple(roots)
    pool = tuple(others)[:MAX_CERTIFICATES]
    trail: list[Certificate] = []
    worst: NoPath | None = None
    climbs = 0

    def climb(one: Certificate) -> Path | None:
        nonlocal worst, climbs
        climbs += 1
        if climbs > MAX_CLIMBS:
            worst = NoPath("chain_untrusted_root", f"no end after {MAX_CLIMBS} certificates", "a trusted root")
            return None
        if one.critical:
            worst = NoPath(
                "chain_critical_extension",
                f"{one.subject_name}: {', '.join(sorted(one.critical))}",
                "only critical extensions that are understood",
            )
            return None
        trail.append(one)
        found = _anchored(trail, roots, memo, checks)
        if isinstance(found, NoPath):
            worst = found
        elif found is not None:
            return found
        if len(trail) < MAX_DEPTH:
            for issuer in pool:
                if issuer.subject != one.issuer or any(issuer is c for c in trail) or _key_ids_differ(one, issuer):
                    continue
                fault = _may_issue(issuer, len(trail) - 1) or _issued(one, issuer.key, issuer.fingerprint, memo, checks)
                if fault is not None:
                    worst = fault
                    continue
                up = climb(issuer)
                if up is not None:
                    return up
        top = trail.pop()
        if worst is None:
            worst = (
                NoPath("chain_untrusted_root", f"{top.subject_name} ({top.fingerprint})", "a trusted root")
                if top.subject == top.issuer
                else NoPath("chain_incomplete", top.subject_name, f"a certificate of its issuer {top.issuer_name}")
            )
        return None

    found = climb(leaf)
    if found is not None:
        return found
    return worst or NoPath("chain_incomplete", leaf.subject_name, "a trusted root")


def _anchored(
    trail: Sequence[Certificate], roots: Sequence[Root], memo: Memo | None, checks: Checks
) -> Path | NoPath | None:
    """The path that ends here, or why the root of that name did not sign; None where no root has that name."""
    top = trail[-1]
    fault: NoPath | None = None
    for root in roots:
        anchor = root_certificate(root)
        if anchor.subject != top.issuer:
            continue
        if top.der == anchor.der:
            below = tuple(trail[:-1]) or (top,)
            return _bounded(below, anchor, root)
        problem = _may_issue(anchor, len(trail) - 1) or _issued(top, anchor.key, anchor.fingerprint, memo, checks)
        if problem is None:
            return _bounded(tuple(trail), anchor, root)
        if top.subject == top.issuer:
            # Another root under the same name: say what it is, rather than that its signature fails.
            problem = NoPath("chain_untrusted_root", f"{top.subject_name} ({top.fingerprint})", "a trusted root")
        fault = problem
    return fault


def _bounded(certificates: tuple[Certificate, ...], anchor: Certificate, root: Root) -> Path:
    whole = (*certificates, anchor)
    return Path(certificates, root, max(c.not_before for c in whole), min(c.not_after for c in whole))


def _may_issue(issuer: Certificate, below: int) -> NoPath | None:
    """`below`: how many CAs lie between this one and the leaf."""
    if not issuer.may_sign_certificates:
        return NoPath("chain_not_a_ca", issuer.subject_name, "a CA that may sign certificates")
    if issuer.path_length is not None and issuer.path_length < below:
        return NoPath("chain_not_a_ca", f"{issuer.subject_name}: path length {issuer.path_length}", f"at least {below}")
    return None


def _issued(one: Certificate, key: PublicKey, issuer: str, memo: Memo | None, checks: Checks) -> NoPath | None:
    """Does the signature on `one` hold under this key?

    Only a yes is kept in the memo: refused bytes cannot crowd it. A no is kept in `checks`.
    """
    pair = ("issued", one.fingerprint, issuer)
    if memo is not None and pair in memo:
        return None
    if not checks.may(pair):
        if not checks.refuses(pair):
            return NoPath("too_many_signatures", one.subject_name, f"at most {MAX_CHECKS} signatures to check")
        return NoPath("chain_signature_invalid", one.subject_name, f"a signature by {one.issuer_name}")
    if not signed_by(key, one.algorithm, one.signature, one.tbs):
        checks.refuse(pair)
        return NoPath("chain_signature_invalid", one.subject_name, f"a signature by {one.issuer_name}")
    if memo is not None:
        memo[pair] = True
        memo[("certificate", one.der)] = one
        memo[name_key(one.subject)] = one.subject_name
    return None


def _key_ids_differ(one: Certificate, issuer: Certificate) -> bool:
    return one.authority_key_id is not None and issuer.key_id is not None and one.authority_key_id != issuer.key_id


def root_certificate(root: Root) -> Certificate:
    """The certificate of a trusted root."""
    return root.certificate
