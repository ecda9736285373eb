"""No older statement wins, revocations accumulate, and nobody who sends evidence decides how long it takes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import snp_world
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from intel_world import DAY, NOW, World, certificate, codes, compact, isv_level, key, level, name_of, pem, step

import ratchet.x509.chain
from ratchet.collateral import Collateral, Kind, Known, UnknownDocument, parse
from ratchet.evidence import Evidence, Outcome, Proof, StepName, verify
from ratchet.policy.policy import Policy
from ratchet.x509.chain import MAX_CHECKS, BadCertificate, NoPath, path, read_certificate

TDX = World(tee="tdx")
SGX = World(tee="sgx", version=3)
MILAN, TURIN = snp_world.World("Milan"), snp_world.World("Turin")


def amd_document(document: bytes, at: datetime, world: snp_world.World = MILAN) -> tuple[Known, ...]:
    return parse(document, at, (world.root(),))


# Revocations accumulate.


def test_what_was_revoked_once_stays_revoked_whatever_list_comes_later() -> None:
    """Day 0: a list revokes the platform. Day 4: a newer one leaves it out. It stays out of service."""
    first = replace(SGX, revoked=[SGX.pck_serial], issued=NOW - 5 * DAY)
    later = replace(SGX, issued=NOW - DAY)
    known = [*SGX.known(at=NOW - 9 * DAY), *first.known(at=NOW - 5 * DAY), *later.known(at=NOW - DAY)]
    collateral = Collateral((SGX.root(),), known)
    for moment in (NOW - 4 * DAY, NOW, NOW + 15 * DAY):
        proof = verify(Evidence(SGX.quote()), collateral, moment)
        assert proof.outcome(StepName.REVOCATION) is Outcome.FAILED
        (reason,) = step(proof, StepName.REVOCATION).reasons
        assert reason.source.partition(":")[0] in proof.collateral
    assert verify(Evidence(SGX.quote()), collateral, NOW - 6 * DAY).outcome(StepName.REVOCATION) is Outcome.PASSED


def test_an_expired_list_is_expired_though_an_older_one_is_still_valid() -> None:
    older = replace(SGX, issued=NOW - 9 * DAY, crl_until=NOW + 20 * DAY)
    newer = replace(SGX, issued=NOW - 5 * DAY, crl_until=NOW - DAY)
    collateral = Collateral((SGX.root(),), [*older.known(at=NOW - 9 * DAY), *newer.known(at=NOW - 5 * DAY)])
    proof = verify(Evidence(SGX.quote()), collateral, NOW)
    assert codes(proof, StepName.REVOCATION) == {"crl_expired"}


def test_amds_revocations_accumulate_too() -> None:
    revoked, cleared = MILAN.crl(65537, start=NOW - 5 * DAY), MILAN.crl(start=NOW - DAY)
    collateral = MILAN.collateral()
    for document in (revoked, cleared):
        for known in amd_document(document, NOW - DAY):
            collateral.add(known)
    proof = verify(Evidence(MILAN.report(), endorsements=(MILAN.vek(), MILAN.signer())), collateral, NOW)
    assert proof.outcome(StepName.REVOCATION) is Outcome.FAILED


def test_a_root_in_its_own_list_is_revoked() -> None:
    proof = replace(SGX, root_revoked=[1]).prove()
    assert proof.outcome(StepName.REVOCATION) is Outcome.FAILED
    assert step(proof, StepName.REVOCATION).reasons[0].component == SGX.root_name
    amd = MILAN.judge(MILAN.report(), MILAN.vek(), MILAN.signer(), documents=[MILAN.crl(65536)])
    assert amd.outcome(StepName.REVOCATION) is Outcome.FAILED


def test_a_tcb_info_and_an_identity_of_two_evaluations_are_named_and_bar_nothing() -> None:
    old = replace(TDX, evaluation=19)
    text = compact(old.identity())
    bundle = {**TDX.bundle(), "qe_identity": text, "qe_identity_signature": TDX.sign(text)}
    proof = verify(Evidence(TDX.quote()), TDX.collateral(bundle), NOW)
    assert proof.outcome(StepName.COLLATERAL) is Outcome.PASSED
    (reason,) = step(proof, StepName.COLLATERAL).reasons
    assert (reason.code, reason.got, reason.want) == ("evaluation_mismatch", 19, 20)


# Modules.


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("version", [0, 3, 9])
def test_a_module_of_another_signer_is_a_forgery_listed_or_not(version: int, known: bool) -> None:
    quote = TDX.quote(tee_tcb_svn=bytes([3, version, 3]), mrsignerseam=b"\x01")
    collateral = TDX.collateral() if known else Collateral((TDX.root(),))
    proof = verify(Evidence(quote), collateral, NOW)
    assert proof.outcome(StepName.BINDING) is Outcome.FAILED
    assert codes(proof, StepName.BINDING) == {"tdx_module_mismatch"}


def test_a_module_of_intels_that_is_not_listed_is_genuine_and_matches_no_level() -> None:
    proof = TDX.prove(TDX.quote(tee_tcb_svn=bytes([3, 9, 3])))
    assert proof.genuine
    assert proof.tcb is not None
    assert proof.tcb.merged == "NoMatchingTcbLevel"


def test_what_the_module_was_at_launch_and_what_it_is_now_are_told_apart() -> None:
    levels = [level(tdx=[5, 0, 3]), level(tdx=[3, 0, 3], status="Revoked", advisories=["INTEL-SA-1"])]
    world = replace(World(tee="tdx", version=5), levels=levels)
    tcb = world.prove(world.quote(tee_tcb_svn=bytes([5, 0, 3]), tee_tcb_svn2=bytes([3, 0, 3]))).tcb
    assert tcb is not None
    assert (tcb.launch, tcb.current, tcb.merged, tcb.advisories) == ("UpToDate", "Revoked", "Revoked", ("INTEL-SA-1",))
    plain = World(tee="tdx").prove().tcb
    assert plain is not None
    assert (plain.launch, plain.current) == (None, None)


# The wrong VCEK.


def test_a_certificate_table_from_before_an_update_is_the_wrong_vcek_not_a_forgery() -> None:
    proof = MILAN.judge(MILAN.report(), MILAN.vek(levels={"snp": 22}), MILAN.signer())
    stale = replace(MILAN, house="before the update")
    raw = stale.report()  # signed by a key that is not the certificate's, as after an update
    proof = MILAN.judge(raw, MILAN.vek(levels={"snp": 22}), MILAN.signer())
    assert Outcome.FAILED not in {one.outcome for one in proof.steps}
    assert set(proof.unproven) == {StepName.SIGNATURE, StepName.BINDING}
    (reason,) = step(proof, StepName.BINDING).reasons
    assert reason.code == "wrong_vcek_sent"
    assert "kdsintf.amd.com/vcek/v1/Milan" in reason.remedy
    assert "snpSPL=24" in reason.remedy


def test_the_right_key_among_collateral_makes_up_for_a_stale_table() -> None:
    documents = [MILAN.vek(), MILAN.signer()]
    proof = MILAN.judge(MILAN.report(), MILAN.vek(levels={"snp": 22}), documents=documents)
    assert proof.genuine


def test_a_report_that_an_old_key_did_sign_lies_about_its_firmware() -> None:
    """A key of old firmware that leaked signs a report of newer firmware: the signature holds, and binding fails."""
    proof = MILAN.judge(MILAN.report(), MILAN.vek(levels={"snp": 22}), MILAN.signer())
    assert proof.outcome(StepName.SIGNATURE) is Outcome.PASSED
    assert proof.outcome(StepName.BINDING) is Outcome.FAILED
    assert codes(proof, StepName.BINDING) == {"tcb_mismatch"}


def test_a_forged_report_under_the_right_key_or_a_newer_one_stays_a_forgery() -> None:
    forged = replace(MILAN, house="forger").report()
    for leaf in (MILAN.vek(), MILAN.vek(levels={"snp": 25}), MILAN.vek(hwid=b"\x09" * 64)):
        proof = MILAN.judge(forged, leaf, MILAN.signer())
        assert proof.outcome(StepName.SIGNATURE) is Outcome.FAILED


# What nobody proved displaces nothing.


def test_a_vcek_whose_issuer_is_not_proven_displaces_nothing() -> None:
    twin = snp_world.World("Milan", "stranger").vek(start=NOW - DAY)  # made later, so it would be the newest
    assert MILAN.judge(MILAN.report(), documents=[MILAN.vek(), MILAN.signer(), twin]).genuine
    assert MILAN.judge(MILAN.report(), twin, documents=[MILAN.vek(), MILAN.signer()]).genuine


# How much work evidence may make.


def test_an_rsa_key_with_another_exponent_is_refused_before_it_is_used() -> None:
    numbers = rsa.generate_private_key(65537, 2048).public_key().public_numbers()
    for exponent in (3, (1 << 1000) + 1):
        builder = x509.CertificateBuilder().subject_name(name_of("x")).issuer_name(name_of("root"))
        builder = builder.public_key(rsa.RSAPublicNumbers(exponent, numbers.n).public_key()).serial_number(1)
        builder = builder.not_valid_before(datetime(2026, 1, 1, tzinfo=UTC)).not_valid_after(NOW)
        raw = builder.sign(key("root"), SHA256()).public_bytes(Encoding.DER)
        with pytest.raises(BadCertificate, match="exponent"):
            read_certificate(raw)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many signatures of certificates are checked."""
    seen: list[int] = []
    checked = ratchet.x509.chain.signed_by

    def count(*args: Any) -> bool:
        seen.append(1)
        return checked(*args)

    monkeypatch.setattr(ratchet.x509.chain, "signed_by", count)
    return seen


def test_at_most_16_signatures_are_checked_for_one_piece_of_evidence(counted: list[int]) -> None:
    root = read_certificate(certificate("ca", "root", ca=True))
    leaf = read_certificate(certificate("leaf", "ca", signed_by="somebody"))
    rivals = [read_certificate(certificate("ca", "root", ca=True, serial=i + 2)) for i in range(15)]
    found = path(leaf, [root, *rivals], ())
    assert isinstance(found, NoPath)
    assert len(counted) <= MAX_CHECKS


def test_many_rivals_of_an_snp_signer_end_in_a_reason_not_in_a_stall(counted: list[int]) -> None:
    strangers = [snp_world.World("Milan", f"stranger {i}") for i in range(3)]
    sent = [one.vek(serial=n) for one in strangers for n in (7, 8)] + [one.signer() for one in strangers]
    collateral = MILAN.collateral()
    evidence = Evidence(MILAN.report(), endorsements=tuple(sent))
    proof = verify(evidence, collateral, NOW)
    first = len(counted)
    assert not proof.genuine
    assert first <= MAX_CHECKS
    verify(evidence, collateral, NOW)
    assert len(counted) - first < first  # what failed is not tried again


def test_the_same_failed_check_is_not_made_twice(counted: list[int]) -> None:
    forged = Evidence(
        SGX.quote(certification=(5, pem(certificate("Test SGX PCK Certificate", SGX.ca_name), SGX.ca_der())))
    )
    collateral = SGX.collateral()
    proofs: list[Proof] = []
    made = []
    for _ in range(3):
        before = len(counted)
        proofs.append(verify(forged, collateral, NOW))
        made.append(len(counted) - before)
    assert proofs[0] == proofs[1] == proofs[2]
    assert made[1] == made[2] <= made[0]


# Vendors' documents that can be read two ways, or are of other types.


@pytest.mark.parametrize("name", ["fmspc", "tcbEvaluationDataNumber", "tcbLevels"])
def test_a_document_with_a_name_twice_is_refused(name: str) -> None:
    info = TDX.tcb_info()
    text = compact(info)
    twice = text[:-1] + f',"{name}":{compact(info[name])}}}'
    bundle = {**TDX.bundle(), "tcb_info": twice, "tcb_info_signature": TDX.sign(twice)}
    known = [one for one in TDX.known(bundle) if one.kind is Kind.INTEL_TCB_INFO]
    assert all(one.reasons for one in known)
    inner = text.replace('"pcesvn":13', '"pcesvn":13,"pcesvn":0', 1)
    answer = f'{{"tcbInfo":{inner},"signature":"{TDX.sign(inner)}"}}'.encode()
    with pytest.raises(UnknownDocument):
        parse(answer, NOW, (TDX.root(),))


@pytest.mark.parametrize("wrong", [[], {}, ["TDX"], 7, True, None])
def test_an_id_of_a_wrong_type_is_a_reason_not_an_exception(wrong: Any) -> None:
    for change in ({"id": wrong}, {"tdxModuleIdentities": [{"id": wrong, **isv_level(1)}]}):
        text = compact({**TDX.tcb_info(), **change})
        bundle = {**TDX.bundle(), "tcb_info": text, "tcb_info_signature": TDX.sign(text)}
        (known,) = [one for one in TDX.known(bundle) if one.kind is Kind.INTEL_TCB_INFO]
        assert [reason.code for reason in known.reasons] == ["document_unreadable"]


def test_advisories_that_nobody_names_are_unknown_and_no_list_of_them_admits() -> None:
    """Under TCB info of version 2, sgx-signal-dcap passed a policy that version 3 fails."""
    flat: dict[str, Any] = {f"sgxtcbcomp{i:02}svn": 3 for i in range(1, 17)}
    info = {**SGX.tcb_info(), "version": 2}
    del info["id"]
    hardening = {"tcbDate": "2021-11-10T00:00:00Z", "tcbStatus": "SWHardeningNeeded"}
    info["tcbLevels"] = [{"tcb": {**flat, "pcesvn": 13}, **hardening}]
    text = compact(info)
    second = SGX.collateral({**SGX.bundle(), "tcb_info": text, "tcb_info_signature": SGX.sign(text)})
    third = replace(SGX, levels=[level(status="SWHardeningNeeded", advisories=["INTEL-SA-2"])]).collateral()
    for collateral in (second, third):
        tcb = verify(Evidence(SGX.quote()), collateral, NOW).tcb
        assert tcb is not None
        assert not Policy(accept={"SWHardeningNeeded": ("INTEL-SA-1",)}).admits(tcb.merged, tcb.advisories)
        assert not Policy(accept={"SWHardeningNeeded": ()}).admits(tcb.merged, tcb.advisories)
        assert Policy(accept={"SWHardeningNeeded": ("*",)}).admits(tcb.merged, tcb.advisories)
