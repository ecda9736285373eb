"""The chain of an attestation document: the leaf that signed it, the CA bundle, a trusted root.

AWS's chains have a leaf for each enclave, which lives for three hours, under a certificate of its parent instance (a
day), a zonal one (days), a regional one (weeks) and the root (30 years). Source: AWS Nitro Enclaves attestation
process, 3.2.3 and 3.2.4.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric import ec

from ratchet.collateral import Collateral
from ratchet.collateral.roots import AWS
from ratchet.evidence.aws.document import Document, extended
from ratchet.x509.chain import (
    BadCertificate,
    Certificate,
    Checks,
    NoPath,
    Path,
    known_or_read,
    path,
)

_ROOT = re.compile(r"([a-z0-9-]{1,32})\.nitro-enclaves")
"""Common name of a root (2.1): `aws.nitro-enclaves`."""
_LEAF = re.compile(r".*\.([a-z0-9-]{1,32})\.aws[a-z-]*")
"""Common name of a leaf, as AWS issues them: `<module id>.us-east-1.aws`."""
_HOST = re.compile(r"(i-[0-9a-f]{8,32})\..*")
"""Common name of an instance's certificate, as AWS issues them: `i-0de38b2b6853cc9e8.us-east-1.aws.nitro-enclaves`."""


@dataclass(frozen=True, slots=True)
class Chain:
    """The certificates of a document.

    Attributes:
        leaf: of the key that signed it; None where it cannot be read.
        way: how it leads to a trusted root, or why it does not.
        partition: of AWS, as the root names it: `aws`; this and what follows None where no chain proves it, or where a
            name is of another form.
        region: as the leaf names it: `us-east-1`.
        instance: as the leaf's issuer names it: `i-0de38b2b6853cc9e8`.
        pcr4: what is measured of that instance.
        detail: the way in words, for people.
        kept: the CA bundle beside the leaf, in a memo; else None.
    """

    leaf: Certificate | None
    way: Path | NoPath
    partition: str | None = None
    region: str | None = None
    instance: str | None = None
    pcr4: bytes | None = None
    detail: str = ""
    kept: tuple[bytes, ...] | None = None


def chain(document: Document, collateral: Collateral, checks: Checks) -> Chain:
    """The chain of a document, from the memo where these very certificates were seen before (`remember`)."""
    kept = collateral.memo.get(_key(document))
    if isinstance(kept, Chain) and kept.kept == document.cabundle:
        return kept
    return _read(document, collateral, checks)


def remember(document: Document, found: Chain, collateral: Collateral) -> None:
    """Keep what led to a root and signed this document: time is judged apart, so it holds for ever."""
    if found.kept is None:
        collateral.memo[_key(document)] = replace(found, kept=document.cabundle)


def _key(document: Document) -> object:
    return "nitro.chain", document.certificate


def _read(document: Document, collateral: Collateral, checks: Checks) -> Chain:
    memo = collateral.memo
    try:
        leaf = known_or_read(document.certificate, memo)
    except BadCertificate as wrong:
        return Chain(None, NoPath("certificate_unreadable", f"certificate: {wrong}", "a certificate"))
    bundle = []
    for i, der in enumerate(document.cabundle):
        try:
            bundle.append(known_or_read(der, memo))
        except BadCertificate as wrong:
            return Chain(leaf, NoPath("certificate_unreadable", f"cabundle_{i}: {wrong}", "a certificate"))
    roots = [root for root in collateral.roots if root.vendor == AWS]
    way = path(leaf, reversed(bundle), roots, memo, checks)
    if isinstance(way, Path):
        way = _as_specified(way, bundle)
    if not isinstance(way, Path):
        return Chain(leaf, way)
    host = way.certificates[1].subject_name if len(way.certificates) > 1 else ""
    partition, region = _named(_ROOT, way.root.certificate.subject_name), _named(_LEAF, leaf.subject_name)
    instance = _named(_HOST, host)
    pcr4 = extended(instance) if instance is not None else None
    return Chain(leaf, way, partition, region, instance, pcr4, way.detail)


def _named(form: re.Pattern[str], name: str) -> str | None:
    found = form.fullmatch(name)
    return found[1] if found is not None else None


def _as_specified(way: Path, bundle: list[Certificate]) -> Path | NoPath:
    """The rules of 3.2.3 that are AWS's own: the order of the bundle, and what each certificate is for.

    3.2.3.3 asks for key usage where RFC 5280 leaves it out.
    """
    leaf, *issuers = way.certificates
    if [way.root.der, *[one.der for one in reversed(issuers)]] != [one.der for one in bundle]:
        return NoPath("chain_wrong_shape", way.detail, "the CA bundle from the root on, each the issuer of the next")
    for one in (*issuers, bundle[0]):
        if one.usage is None or not one.usage.key_cert_sign:
            return NoPath("chain_not_a_ca", one.subject_name, "key usage keyCertSign")
    if leaf.usage is None or not leaf.may_sign_data:
        return NoPath("chain_wrong_shape", leaf.subject_name, "a certificate with key usage digitalSignature")
    if leaf.is_ca or leaf.path_length is not None:
        return NoPath("chain_wrong_shape", f"{leaf.subject_name}, a CA", "a certificate that is no CA")
    if not isinstance(leaf.key, ec.EllipticCurvePublicKey) or leaf.key.curve.name != "secp384r1":
        return NoPath("chain_wrong_shape", leaf.subject_name, "a P-384 key (RFC 9053, 2.1, ES384)")
    return way
