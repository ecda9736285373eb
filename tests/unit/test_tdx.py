"""Intel TDX quotes: what is proven of them, the TDX module, and TDs that a relaunch would help."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intel_world import (
    CHALLENGE,
    NOW,
    World,
    codes,
    isv_level,
    level,
    module_identity,
    not_passed,
    outcomes,
    step,
)

from ratchet.evidence import Evidence, Format, Outcome, Proof, StepName, fields, verify
from ratchet.evidence.intel.quote import TEE_TDX, read

V4 = World(version=4)
V5 = World(version=5)
MODULES = [
    module_identity("TDX_03", isv_level(5), isv_level(3, "OutOfDate", ["INTEL-SA-01036"]), isv_level(1, "Revoked"))
]
LEVELS = [level(tdx=[9, 0, 3]), level(tdx=[1, 0, 1], status="OutOfDate", advisories=["INTEL-SA-00837"])]


def prove(world: World, raw: bytes) -> Proof:
    return verify(Evidence(raw, challenge=CHALLENGE), world.collateral(), NOW)


@pytest.mark.parametrize(
    ("world", "now"), [(V4, None), (V5, None), (V5, bytes([3, 0, 3]))], ids=["v4", "v5 TD 1.0", "v5 TD 1.5"]
)
def test_a_genuine_quote_passes_every_step(world: World, now: bytes | None) -> None:
    proof = world.prove(world.quote(tee_tcb_svn2=now))
    assert not_passed(proof) == set()
    assert proof.genuine
    assert proof.tcb is not None
    assert (proof.tcb.merged, proof.tcb.module) == ("UpToDate", None)


def test_claims_are_in_the_words_common_to_all_formats() -> None:
    claims = V5.prove(V5.quote(tee_tcb_svn2=bytes([4, 0, 3]))).claims
    assert claims is not None
    assert (claims.tee, claims.family, claims.measurement) == ("tdx", "tdx/90c06f000000", "aa" * 48)
    assert [claims.tcb[f"tdx.{i}"] for i in range(3)] == [3, 0, 3]
    assert [claims.tcb[f"tdx2.{i}"] for i in range(3)] == [4, 0, 3]
    assert len(claims.tcb) == 16 + 1 + 1 + 16 + 16
    assert claims.bits["service_td"] is False
    first = V4.prove().claims
    assert first is not None
    assert "tdx2.0" not in first.tcb


@pytest.mark.parametrize(
    ("attributes", "bit", "debug"),
    [
        (b"\x01", "attributes.debug", True),
        (b"\x02", None, True),
        (b"\0\0\0\x10", "attributes.sept_ve_disable", False),
        (b"\0\0\0\x20", "attributes.migratable", False),
        (b"\0\0\0\0\0\0\0\x80", "attributes.perfmon", False),
    ],
)
def test_attributes_are_read_bit_by_bit(attributes: bytes, bit: str | None, debug: bool) -> None:
    proof = V4.prove(V4.quote(attributes=attributes))
    assert proof.genuine
    assert proof.claims is not None
    assert {name for name, value in proof.claims.bits.items() if value and name.startswith("attributes")} == (
        {bit} if bit else set()
    )
    assert proof.claims.debug is debug


def test_everything_in_a_version_5_body_is_signed() -> None:
    raw = V5.quote(tee_tcb_svn2=bytes([3, 0, 3]))
    for at in (48, 50, 54, 54 + 584, 54 + 647):
        changed = bytearray(raw)
        changed[at] ^= 1
        assert not V5.prove(bytes(changed)).genuine


def test_what_is_sent_as_the_other_kind_is_refused_not_misread() -> None:
    for raw, form in ((V4.quote(), Format("sgx-quote")), (World(tee="sgx", version=4).quote(), Format("tdx-quote"))):
        proof = verify(Evidence(raw, form), V4.collateral(), NOW)
        assert outcomes(proof)[StepName.PARSE] is Outcome.FAILED


# The TDX module.


@pytest.mark.parametrize(
    ("launched", "module", "merged", "advisories"),
    [
        ([5, 3, 3], "UpToDate", "UpToDate", ()),
        ([4, 3, 3], "OutOfDate", "OutOfDate", ("INTEL-SA-01036",)),
        ([1, 3, 3], "Revoked", "Revoked", ()),
        ([0, 3, 3], "NoMatchingTcbLevel", "NoMatchingTcbLevel", ()),
        ([5, 4, 3], "NoMatchingTcbLevel", "NoMatchingTcbLevel", ()),
    ],
)
def test_a_module_with_an_identity_is_judged_by_it(
    launched: list[int], module: str, merged: str, advisories: tuple[str, ...]
) -> None:
    """Components 0 and 1 of the TCB level, out of reach here, do not count then."""
    world = replace(V4, levels=LEVELS, modules=MODULES)
    tcb = world.prove(world.quote(tee_tcb_svn=bytes(launched))).tcb
    assert tcb is not None
    assert (tcb.platform, tcb.module, tcb.merged, tcb.advisories) == ("UpToDate", module, merged, advisories)


def test_a_module_that_intel_did_not_sign_is_no_tdx_module() -> None:
    proof = V4.prove(V4.quote(mrsignerseam=b"\x01"))
    assert codes(proof) == {"tdx_module_mismatch"}
    assert step(proof, StepName.BINDING).outcome is Outcome.FAILED
    assert not proof.genuine


@pytest.mark.parametrize(
    ("launched", "now", "expected"),
    [
        ([4, 3, 3], [5, 3, 3], "TDRelaunchAdvised"),
        ([4, 3, 3], [4, 3, 3], "OutOfDate"),
        ([4, 3, 3], [5, 3, 2], "OutOfDate"),
        ([4, 3, 3], [9, 0, 3], "TDRelaunchAdvised"),
        ([4, 3, 3], [8, 0, 3], "OutOfDate"),
        ([4, 3, 3], [5, 7, 3], "NoMatchingTcbLevel"),
        ([5, 3, 3], [4, 3, 3], "OutOfDate"),
        ([5, 3, 3], [1, 3, 3], "Revoked"),
        ([4, 3, 3], [1, 3, 3], "Revoked"),
        ([1, 3, 3], [5, 3, 3], "Revoked"),
    ],
)
def test_a_td_older_than_its_module_is_advised_to_relaunch(launched: list[int], now: list[int], expected: str) -> None:
    world = replace(V5, levels=LEVELS, modules=MODULES)
    tcb = world.prove(world.quote(tee_tcb_svn=bytes(launched), tee_tcb_svn2=bytes(now))).tcb
    assert tcb is not None
    assert tcb.merged == expected


def test_relaunch_is_advised_with_configuration_where_the_platform_needs_it() -> None:
    levels = [level(tdx=[9, 9, 3], status="ConfigurationNeeded", advisories=["INTEL-SA-00657"])]
    world = replace(V5, levels=levels, modules=MODULES)
    tcb = world.prove(world.quote(tee_tcb_svn=bytes([4, 3, 3]), tee_tcb_svn2=bytes([5, 3, 3]))).tcb
    assert tcb is not None
    assert tcb.merged == "TDRelaunchAdvisedConfigurationNeeded"
    assert tcb.advisories == ("INTEL-SA-00657", "INTEL-SA-01036")


def test_an_old_quoting_enclave_is_not_helped_by_a_relaunch() -> None:
    world = replace(V5, levels=LEVELS, modules=MODULES, qe_levels=[isv_level(9), isv_level(1, "OutOfDate")])
    tcb = world.prove(world.quote(tee_tcb_svn=bytes([4, 3, 3]), tee_tcb_svn2=bytes([5, 3, 3]))).tcb
    assert tcb is not None
    assert tcb.merged == "OutOfDate"


def test_tdx_is_not_judged_by_documents_for_sgx() -> None:
    sgx = World(tee="sgx")
    proof = verify(Evidence(V4.quote(), challenge=CHALLENGE), sgx.collateral(), NOW)
    assert codes(proof) == {"collateral_missing"}
    assert proof.tcb is None


# Bad input.


@settings(deadline=None)
@given(st.binary(max_size=1500))
def test_random_bytes_never_raise(raw: bytes) -> None:
    proof = verify(Evidence(raw, Format("tdx-quote"), challenge=raw), V4.collateral(), NOW)
    assert not proof.genuine
    assert fields(Evidence(raw, Format("tdx-quote"))) == () or len(raw) > 600


QUOTES = [V4.quote(), V5.quote(tee_tcb_svn2=bytes([3, 0, 3]), trailing=bytes(70))]
COLLATERAL = V5.collateral()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_mutation_is_refused_where_it_is_signed_and_harmless_elsewhere(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from(QUOTES))
    raw = bytearray(whole)
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    proof = verify(Evidence(bytes(raw), challenge=CHALLENGE), COLLATERAL, NOW)
    genuine = verify(Evidence(whole, challenge=CHALLENGE), COLLATERAL, NOW)
    assert genuine.genuine
    layout = read(whole, TEE_TDX)
    if at < layout.signed:
        assert not proof.genuine
    elif proof.genuine:
        assert replace(proof.claims, native=None) == replace(genuine.claims, native=None)
        assert proof.tcb == genuine.tcb
    if at >= layout.end:
        assert proof.genuine


@settings(deadline=None)
@given(cut=st.integers(0, len(QUOTES[0]) - 1))
def test_every_truncation_is_a_reason(cut: int) -> None:
    proof = verify(Evidence(QUOTES[0][:cut], Format("tdx-quote")), COLLATERAL, NOW)
    assert codes(proof, StepName.PARSE) == {"evidence_unreadable"}


@settings(deadline=None)
@given(at=st.integers(0, 1400), value=st.binary(min_size=1, max_size=8))
def test_lengths_that_lie_are_seen_before_anything_is_read(at: int, value: bytes) -> None:
    raw = QUOTES[0][:at] + value + QUOTES[0][at + len(value) :]
    proof = verify(Evidence(raw, Format("tdx-quote"), challenge=CHALLENGE), COLLATERAL, NOW)
    assert proof.genuine == (raw == QUOTES[0])


def test_fields_point_at_the_bytes_they_name() -> None:
    for raw in QUOTES:
        found = {f.name: f for f in fields(Evidence(raw))}
        for one in found.values():
            content = raw[one.offset : one.offset + one.length]
            assert one.value in (content.hex(), int.from_bytes(content, "little"))
        assert found["mrtd"].value == "aa" * 48
        assert found["report_data"].value == CHALLENGE.ljust(64, b"\0").hex()
    assert "tee_tcb_svn2" in {f.name for f in fields(Evidence(QUOTES[1]))}
