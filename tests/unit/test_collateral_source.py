"""What is missing comes with the address at which its vendor publishes it."""

from __future__ import annotations

import pytest

from ratchet.collateral import Kind
from ratchet.collateral.source import fetch, url
from ratchet.evidence import StepName
from tests.unit.intel_world import NOW, World

PCS = "https://api.trustedservices.intel.com"


@pytest.mark.parametrize(
    ("kind", "key", "address"),
    [
        (
            Kind.INTEL_TCB_INFO,
            "Intel SGX Root CA/tdx/90c06f000000",
            f"{PCS}/tdx/certification/v4/tcb?fmspc=90C06F000000",
        ),
        (
            Kind.INTEL_TCB_INFO,
            "Intel SGX Root CA/sgx/00606a000000",
            f"{PCS}/sgx/certification/v4/tcb?fmspc=00606A000000",
        ),
        (Kind.INTEL_QE_IDENTITY, "Intel SGX Root CA/QE", f"{PCS}/sgx/certification/v4/qe/identity"),
        (Kind.INTEL_QE_IDENTITY, "Intel SGX Root CA/TD_QE", f"{PCS}/tdx/certification/v4/qe/identity"),
        (
            Kind.INTEL_CRL,
            "Intel SGX Root CA/Intel SGX PCK Platform CA",
            f"{PCS}/sgx/certification/v4/pckcrl?ca=platform&encoding=der",
        ),
        (
            Kind.INTEL_CRL,
            "Intel SGX Root CA/Intel SGX Root CA",
            "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der",
        ),
        (Kind.AMD_CHAIN, "ARK-Milan/Milan/VCEK", "https://kdsintf.amd.com/vcek/v1/Milan/cert_chain"),
        (Kind.AMD_CRL, "ARK-Genoa/Genoa", "https://kdsintf.amd.com/vcek/v1/Genoa/crl"),
        (
            Kind.AMD_VEK,
            f"ARK-Milan/{'ab' * 64}/03000000000018db",
            f"https://kdsintf.amd.com/vcek/v1/Milan/{'ab' * 64}?blSPL=03&teeSPL=00&snpSPL=24&ucodeSPL=219",
        ),
    ],
)
def test_every_kind_of_statement_has_its_vendors_address(kind: Kind, key: str, address: str) -> None:
    assert url(kind, key) == address
    assert fetch(kind, key) == f"fetch {address}, then `ratchet ingest` it"


@pytest.mark.parametrize(
    ("kind", "key"),
    [(kind, key) for kind in Kind for key in ("", "x", "untrusted/?", "a/vlek/Milan/00", "a/zz/zz")],
)
def test_a_key_that_says_nothing_raises_nothing(kind: Kind, key: str) -> None:
    assert fetch(kind, key).endswith("then `ratchet ingest` it")


def test_a_quote_without_collateral_says_what_to_fetch_and_where() -> None:
    world = World()
    from ratchet.collateral import Collateral
    from ratchet.evidence import Evidence, verify

    proof = verify(Evidence(world.quote()), Collateral([world.root()]), NOW)
    said = {reason.remedy for step in proof.steps for reason in step.reasons if step.name is not StepName.FRESHNESS}
    assert any("/certification/v4/tcb?fmspc=" in remedy for remedy in said), said
    assert any("/certification/v4/qe/identity" in remedy for remedy in said)
    assert any("pckcrl?ca=" in remedy for remedy in said)
