"""Trust anchors (RFC 5280, 6.1.1 d): the roots at which a chain may end, and whose formats each may vouch for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes


class Vendor(StrEnum):
    """Whose root it is."""

    INTEL = "intel"
    AMD = "amd"


@dataclass(frozen=True, slots=True)
class Anchor:
    """What a verdict names of the trust anchor that it rests on.

    Attributes:
        name: unique among the trusted: `Intel SGX Root CA`, `ARK-Milan`, `Simulated ARK-Milan`.
        vendor: whose formats it may vouch for.
        fingerprint: SHA-256 of the root certificate, hex.
        simulated: not a vendor's own: shown wherever a verdict rests on it.
    """

    name: str
    vendor: Vendor
    fingerprint: str
    simulated: bool


@dataclass(frozen=True, slots=True)
class Root(Anchor):
    """A trust anchor.

    Attributes:
        der: the root certificate.
        key: its public key.
        source: where the certificate was published, or the configuration key that added it.
    """

    der: bytes
    key: CertificatePublicKeyTypes
    source: str
