"""Trust anchors (RFC 5280, 6.1.1 d): the roots at which a chain may end, and whose formats each may vouch for."""

from __future__ import annotations

from dataclasses import dataclass, field

from ratchet.x509.certificate import Certificate


class Vendor(str):
    """Whose root it is: `intel`. Which vendors there are, the roots that ship say (`ratchet.collateral.roots`)."""

    __slots__ = ()


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
        certificate: the root's own; `fingerprint` tells it from others.
        source: where the certificate was published, or the configuration key that added it.
    """

    certificate: Certificate = field(compare=False, repr=False)
    source: str

    @property
    def der(self) -> bytes:
        """The root certificate."""
        return self.certificate.der
