"""The vendors' trust anchors that ship with Ratchet, each with its fingerprint and source, and the issuers below them.

Any other root is trusted only where a data directory's configuration names it (`root_from`). Issuers are not trusted by
themselves: they only spare a document that lacks its issuer chain (a bare CRL, a TCB info stored without its header)
from being unverifiable; each must lead to a root like a certificate that came with the document.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files

from ratchet.x509.anchor import Root, Vendor
from ratchet.x509.chain import BadCertificate, Certificate, Memo, path, read_certificate, root_certificate

INTEL, AMD, AWS = Vendor("intel"), Vendor("amd"), Vendor("aws")

_SHIPPED: tuple[tuple[str, Vendor, str, str, str], ...] = (
    (
        "Intel SGX Root CA",
        INTEL,
        "intel-sgx-root-ca.der",
        "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3",
        "https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.cer",
    ),
    (
        "ARK-Milan",
        AMD,
        "amd-ark-milan.der",
        "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
        "https://kdsintf.amd.com/vcek/v1/Milan/cert_chain",
    ),
    (
        "ARK-Genoa",
        AMD,
        "amd-ark-genoa.der",
        "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
        "https://kdsintf.amd.com/vcek/v1/Genoa/cert_chain",
    ),
    (
        "ARK-Turin",
        AMD,
        "amd-ark-turin.der",
        "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
        "https://kdsintf.amd.com/vcek/v1/Turin/cert_chain",
    ),
    (
        "AWS Nitro Enclaves Root G1",
        AWS,
        "aws-nitro-enclaves-root-g1.der",
        "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b",
        "https://aws-nitro-enclaves.amazonaws.com/AWS_NitroEnclaves_Root-G1.zip",
    ),
)
"""Name, vendor, file, SHA-256 of the DER, where the vendor publishes it."""

VENDORS = frozenset(vendor for _, vendor, *_ in _SHIPPED)
"""Those whose roots ship; a root that the configuration names is of one of them."""

_ISSUERS: tuple[tuple[str, str, str], ...] = (
    (
        "intel-tcb-signing-2018.der",
        "ec37d98107bfb7dab6ff8de4d4dda6fde30a6f50b0d7b03eefb5652f1e652969",
        "https://api.trustedservices.intel.com/sgx/certification/v4/tcb (issuer chain, until 2025-05)",
    ),
    (
        "intel-tcb-signing-2025.der",
        "c0575e76d0303b61d09cde8cbdb70db34a74f38318300d7c0e6ba8cf4bf45aea",
        "https://api.trustedservices.intel.com/sgx/certification/v4/tcb (issuer chain, from 2025-05)",
    ),
    (
        "intel-pck-platform-ca.der",
        "22eb770dca215b607b5ccfc21a672b1da5cc660b1ad0365020567979edcaa0e1",
        "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=platform (issuer chain)",
    ),
    (
        "intel-pck-processor-ca.der",
        "13b2dccef8fc4ec977ee5249743b0f758ebd1e28d768b2e1e12bc348adaa09fb",
        "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=processor (issuer chain)",
    ),
)
"""File, SHA-256 of the DER, where the vendor publishes it."""

_SIGNERS: tuple[tuple[str, str, str], ...] = (
    (
        "amd-ask-milan.der",
        "67d303bd3905fd38db8b20e0793699870e7fa612eaad5dec358293fd8c0bac1b",
        "https://kdsintf.amd.com/vcek/v1/Milan/cert_chain",
    ),
    (
        "amd-asvk-milan.der",
        "c5e081f59b7efab1fe2f8b505e159704e72f29cab7ef7cf628a05a42439082f5",
        "https://kdsintf.amd.com/vlek/v1/Milan/cert_chain",
    ),
    (
        "amd-ask-genoa.der",
        "5464738c1546aed5f2cecf1dc98c5c960a92e8913238a61711bc90ec6e828521",
        "https://kdsintf.amd.com/vcek/v1/Genoa/cert_chain",
    ),
    (
        "amd-ask-turin.der",
        "5b77ef5fe7a7a004fd9032668fba9d0fda22f88c4442069a479636a6ae3b3185",
        "https://kdsintf.amd.com/vcek/v1/Turin/cert_chain",
    ),
)
"""The same for AMD: the ASKs, and the ASVK that was at hand."""


class BadRoot(ValueError):
    """A trust anchor that cannot be trusted: unreadable, no CA, or not the bytes it should be."""


def root_from(name: str, vendor: Vendor, der: bytes, source: str, *, simulated: bool) -> Root:
    """A trust anchor from its certificate.

    Args:
        name: what verdicts call it; unique among the trusted.
        vendor: whose formats it may vouch for.
        der: the certificate, DER.
        source: where it was published, or the configuration key that added it.
        simulated: not a vendor's own.

    Raises:
        BadRoot: not a certificate of a CA.
    """
    try:
        certificate = read_certificate(der)
    except BadCertificate as error:
        raise BadRoot(f"{name}: {error}") from None
    if not certificate.may_sign_certificates:
        raise BadRoot(f"{name}: not a CA that may sign certificates")
    return Root(
        name=name,
        vendor=vendor,
        fingerprint=certificate.fingerprint,
        simulated=simulated,
        certificate=certificate,
        source=source,
    )


@cache
def vendor_roots() -> tuple[Root, ...]:
    """The vendors' own roots, as shipped. Nothing here is simulated.

    Raises:
        BadRoot: a shipped file is not the certificate that its fingerprint names.
    """
    return tuple(
        root_from(name, vendor, _shipped(file, fingerprint), source, simulated=False)
        for name, vendor, file, fingerprint, source in _SHIPPED
    )


@cache
def known_issuers() -> tuple[Certificate, ...]:
    """Intel's issuers below its root, as shipped.

    Raises:
        BadRoot: as in `vendor_roots`.
    """
    return tuple(read_certificate(_shipped(file, fingerprint)) for file, fingerprint, _ in _ISSUERS)


@cache
def known_signers() -> tuple[Certificate, ...]:
    """AMD's signing keys (ASK, ASVK) below its roots, as shipped.

    Raises:
        BadRoot: as in `vendor_roots`.
    """
    return tuple(read_certificate(_shipped(file, fingerprint)) for file, fingerprint, _ in _SIGNERS)


@cache
def known_links() -> Mapping[object, object]:
    """What `ratchet.x509.chain.path` keeps in its memo, for the shipped issuers: read, and linked to their root.

    They are pinned by their fingerprints, so checking their signatures once in a process is checking them always.
    """
    memo: dict[object, object] = {("certificate", root.der): root_certificate(root) for root in vendor_roots()}
    for issuer in known_issuers():
        path(issuer, (), vendor_roots(), memo)
    return memo


_SHIPPED_LINKS = ("shipped issuers",)
"""Marks a memo that has them; put there again when they have been forgotten."""


def remember(memo: Memo, roots: Iterable[Root]) -> None:
    """Put into a memo what is known before anything is read: these roots' own certificates, and the shipped issuers."""
    for root in roots:
        if ("certificate", root.der) not in memo:
            memo["certificate", root.der] = root_certificate(root)
    if _SHIPPED_LINKS not in memo:
        memo.update(known_links())
        memo[_SHIPPED_LINKS] = True


def _shipped(file: str, fingerprint: str) -> bytes:
    der = files("ratchet.collateral").joinpath("roots", file).read_bytes()
    if sha256(der).hexdigest() != fingerprint:
        raise BadRoot(f"{file} is not the certificate with fingerprint {fingerprint}")
    return der
