"""Where a vendor publishes each statement, so that a reason can say which address to fetch. Nothing here fetches."""

from __future__ import annotations

from ratchet.collateral import Kind
from ratchet.collateral.amd import chain_url, crl_url, vek_url

PCS = "https://api.trustedservices.intel.com"
"""Intel Provisioning Certification Service, API v4."""

ROOT_CRL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
"""Intel's root CRL: the distribution point named in its certificates (Intel SGX PCK certificate specification, 1.2)."""

_PRODUCTS = ("Milan", "Genoa", "Turin")


def url(kind: Kind, key: str) -> str | None:
    """Where the vendor has the statement of this kind and key (`Kind` has the keys' forms); None where nobody can say.

    Sources: Intel PCS API v4 ("Get TCB Info", "Get QE Identity", "Retrieve PCK CRL"); AMD 57230, chapter 4.
    """
    parts = key.split("/")
    last = parts[-1]
    match kind:
        case Kind.INTEL_TCB_INFO:
            return f"{PCS}/{parts[-2]}/certification/v4/tcb?fmspc={last.upper()}" if len(parts) > 1 else None
        case Kind.INTEL_QE_IDENTITY:
            tee, what = {"TD_QE": ("tdx", "qe"), "QVE": ("sgx", "qve")}.get(last, ("sgx", "qe"))
            return f"{PCS}/{tee}/certification/v4/{what}/identity"
        case Kind.INTEL_CRL:
            for name, ca in (("Platform CA", "platform"), ("Processor CA", "processor")):
                if name in last:
                    return f"{PCS}/sgx/certification/v4/pckcrl?ca={ca}&encoding=der"
            return ROOT_CRL
        case Kind.AMD_CHAIN:
            return chain_url(parts[-2], last) if len(parts) > 1 and parts[-2] in _PRODUCTS else None
        case Kind.AMD_CRL:
            return crl_url(last, "VCEK") if last in _PRODUCTS else None
        case Kind.AMD_VEK:
            product = next((name for name in _PRODUCTS if len(parts) > 2 and parts[-3].endswith(name)), None)
            try:
                return vek_url(product, bytes.fromhex(parts[-2]), bytes.fromhex(last)) if product else None
            except ValueError:
                return None


def fetch(kind: Kind, key: str) -> str:
    """The remedy for a statement that is missing or out of date."""
    where = url(kind, key)
    return f"fetch {where}, then `ratchet ingest` it" if where else "fetch it from its vendor, then `ratchet ingest` it"
