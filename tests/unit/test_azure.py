"""Azure's evidence: a paravisor's hardware report, the key that it names, and what that key signed of the guest."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from azure_world import BANK, CHALLENGE, NOW, SNP, TDX, WORLDS, World, b64, der, jwk, key_of, quote, replace
from hypothesis import given, settings
from hypothesis import strategies as st
from intel_world import level
from snp_world import codes, outcomes

from dashboards.console import explain
from ratchet.app import vouching
from ratchet.app.errors import Fault
from ratchet.evidence import FORMATS, TEES, Evidence, Outcome, Proof, StepName, detect, fields, replay_key, verify
from ratchet.evidence.azure import envelope, hcl, strict_json, tpm
from ratchet.evidence.azure.vtpm import BOOT_PCRS
from ratchet.guest import guest_of
from ratchet.policy.appraise import EXECUTABLES, HARDWARE, Circumstances, Policy, Recognition, Verdict, appraise
from ratchet.policy.floor import AmdFloor, Minimum
from ratchet.policy.floor.provenance import Provenance
from ratchet.standing import Tier

BOTH = pytest.mark.parametrize("world", WORLDS, ids=["snp", "tdx"])
REVIEWED = Provenance(documents=(), pointer="/floors/0", rule="amd.reviewed/1", reviewed_by="Ada")
OURS = Circumstances(received=NOW, recognition=Recognition.OURS)


def part(proof: Proof) -> Proof:
    return proof.parts[0].proof


def refused_as(proof: Proof, name: StepName, code: str) -> None:
    """That step failed, for that reason."""
    assert not proof.genuine
    assert proof.outcome(name) is Outcome.FAILED
    assert code in codes(proof, name)


# -- what is sent


@BOTH
def test_genuine_evidence_is_genuine_in_every_form_that_is_sent(world: World) -> None:
    for raw in (world.evidence(), *map(world.trustee, (0, 1, 2))):
        proof = world.judge(raw)
        assert set(outcomes(proof).values()) == {"passed"}
        assert proof.format == world.format == detect(raw)
        assert proof.claims is not None
        assert proof.claims.report_data == CHALLENGE
        assert proof.root is not None
        assert proof.valid_until is not None


@BOTH
def test_the_hardware_report_is_a_part_with_a_chain_and_claims_of_its_own(world: World) -> None:
    proof = world.judge()
    inner = part(proof)
    assert proof.parts[0].name == {"snp": "report", "tdx": "quote"}[world.tee]
    assert proof.parts[0].binding.outcome is Outcome.PASSED
    assert inner.genuine
    assert inner.claims is not None
    assert proof.claims is not None
    assert inner.claims.tee == world.tee
    assert (proof.root, proof.tcb) == (inner.root, inner.tcb)
    assert (inner.claims.family, inner.claims.platform) == (proof.claims.family, proof.claims.platform)
    assert dict(inner.claims.tcb) == dict(proof.claims.tcb)
    assert inner.outcome(StepName.FRESHNESS) is Outcome.NOT_POSSIBLE, "it answers nobody's challenge"


@BOTH
def test_the_claims_are_the_reports_and_what_the_vtpm_adds(world: World) -> None:
    claims = world.judge().claims
    assert claims is not None
    assert claims.tee == f"az-{world.tee}"
    assert [claims.measurements[f"pcr{n}"] for n in range(24)] == [value.hex() for value in BANK]
    assert claims.measurements["vm_unique_id"] == "7df7b373b9474aaa96e5c358f2a03d20"
    assert claims.bits["vm.secure_boot"] is True
    assert claims.bits["vm.tpm_persisted"] is False
    assert "vm.filtered_vpci_devices_allowed" not in claims.bits, "it does not say"
    assert claims.instance == claims.measurements["ak"]
    assert set(claims.measurements) <= TEES[claims.tee].measurements
    assert set(claims.bits) <= TEES[claims.tee].numbers
    assert set(claims.tcb) <= TEES[claims.tee].versions


@pytest.mark.parametrize("number", [1, 2, 3])
@BOTH
def test_each_hash_that_the_header_may_name_binds_the_run_time_data(world: World, number: int) -> None:
    assert replace(world, hash=number).judge().genuine


def test_a_signature_may_come_as_the_tpm_has_it() -> None:
    whole = b"\x00\x14\x00\x0b\x01\x00" + SNP.sign(quote())
    assert SNP.judge(SNP.evidence(tpm_quote=SNP.quoted(quote(), signature=b64(whole)))).genuine
    other = b"\x00\x16\x00\x0b\x01\x00" + SNP.sign(quote())
    proof = SNP.judge(SNP.evidence(tpm_quote=SNP.quoted(quote(), signature=b64(other))))
    refused_as(proof, StepName.SIGNATURE, "unsupported_algorithm")


def test_pcrs_that_were_not_quoted_are_no_claims() -> None:
    selected = (0, 4, 7)
    message = quote(selected=selected)
    for values in (BANK, [BANK[n] for n in selected]):
        proof = SNP.judge(SNP.evidence(tpm_quote=SNP.quoted(message, pcrs=[b64(value) for value in values])))
        assert proof.genuine
        assert proof.claims is not None
        assert {n for n in range(24) if f"pcr{n}" in proof.claims.measurements} == set(selected)


# -- what joins the pieces, each broken


@BOTH
def test_another_key_did_not_sign_it(world: World) -> None:
    forged = world.quoted(quote(), signature=b64(world.sign(quote(), key_of("mallory"))))
    refused_as(world.judge(world.evidence(tpm_quote=forged)), StepName.SIGNATURE, "signature_invalid")
    weak = world.quoted(quote(), signature=b64(world.sign(quote(), sha1=True)))
    refused_as(world.judge(world.evidence(tpm_quote=weak)), StepName.SIGNATURE, "signature_invalid")


@BOTH
def test_run_time_data_that_the_report_does_not_hold_are_refused(world: World) -> None:
    """Mallory brings a genuine report, and run-time data with a key of his own."""
    mallory = replace(world, name="mallory")
    report = world.report()
    whole = mallory.evidence(hcl_report=b64(mallory.hcl(report)), **world.beside())
    proof = mallory.judge(whole)
    refused_as(proof, StepName.BINDING, "run_time_data_not_bound")
    assert part(proof).genuine, "nothing is wrong with the report itself"
    assert proof.outcome(StepName.SIGNATURE) is Outcome.PASSED, "nor with the quote"


@BOTH
def test_report_data_are_the_hash_and_nothing_behind_it(world: World) -> None:
    proof = replace(world, report_data=world.bound[:32] + b"\x01" * 32).judge()
    refused_as(proof, StepName.BINDING, "run_time_data_not_bound")


@BOTH
def test_pcrs_that_were_not_quoted_are_refused(world: World) -> None:
    swapped = [BANK[1], BANK[0], *BANK[2:]]
    for values in (swapped, BANK[:23], [bytes(32)] * 24):
        raw = world.evidence(tpm_quote=world.quoted(quote(), pcrs=[b64(value) for value in values]))
        proof = world.judge(raw)
        refused_as(proof, StepName.BINDING, "pcr_digest_mismatch")
        assert proof.claims is not None
        assert "pcr0" not in proof.claims.measurements


@pytest.mark.parametrize("vmpl", [1, 2, 3, 0xFFFFFFFF])
def test_a_report_that_the_guest_asked_for_is_refused(vmpl: int) -> None:
    """At another VMPL than the paravisor's the guest chooses report data, and so the key: everything else holds."""
    proof = replace(SNP, vmpl=vmpl).judge()
    refused_as(proof, StepName.BINDING, "vmpl_not_paravisor")
    assert part(proof).genuine
    assert proof.outcome(StepName.SIGNATURE) is Outcome.PASSED
    assert appraise(proof, Policy(), NOW, OURS).vector[HARDWARE] == 99


def test_a_td_quote_of_another_td_is_refused() -> None:
    other = replace(TDX, name="another")
    proof = TDX.judge(TDX.evidence(td_quote=b64(other.td_quote())))
    refused_as(proof, StepName.BINDING, "run_time_data_not_bound")
    assert "td_report_mismatch" in codes(proof, StepName.BINDING)


def test_a_tdreport_of_another_td_is_refused_though_the_quote_is_right() -> None:
    other = replace(TDX, name="another")
    proof = TDX.judge(TDX.evidence(hcl_report=b64(TDX.hcl(other.report()))))
    assert "run_time_data_not_bound" not in codes(proof, StepName.BINDING)
    refused_as(proof, StepName.BINDING, "td_report_mismatch")


@BOTH
def test_the_report_is_as_good_as_its_own_chain(world: World) -> None:
    if world.tee == "snp":
        other = replace(world.amd, house="mallory")
        raw = world.evidence(vcek=b64(other.vek()))
    else:
        other_intel = replace(world.intel, prefix="Mallory")
        raw = replace(world, intel=other_intel).evidence()
    proof = world.judge(raw)
    assert not proof.genuine
    assert proof.outcome(StepName.CHAIN) is not Outcome.PASSED
    assert proof.outcome(StepName.FRESHNESS) is Outcome.PASSED, "each step is taken, whatever came of the others"


def test_a_vcek_of_another_chip_is_refused() -> None:
    other = replace(SNP.amd, chip=bytes(range(65, 129)))
    refused_as(SNP.judge(SNP.evidence(vcek=b64(other.vek()))), StepName.BINDING, "chip_mismatch")


# -- the attestation key


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        (lambda ak: [jwk("HCLAkPub", ak, "encrypt")], "key_ops"),
        (lambda ak: [jwk("HCLAkPub", ak, "sign", key_ops="sign")], "key_ops"),
        (lambda ak: [jwk("another", ak, "sign")], "no key is called HCLAkPub"),
        (lambda ak: [jwk("HCLAkPub", ak, "sign", kty="EC")], "type RSA"),
        (lambda ak: [jwk("HCLAkPub", ak, "sign", e="Aw")], "exponent"),
        (lambda ak: [jwk("HCLAkPub", ak, "sign", e=65537)], "not text"),
        (lambda ak: [jwk("HCLAkPub", ak, "sign", n="!!")], "not text"),
        (lambda ak: [jwk("HCLAkPub", ak, "sign", n="")], "not text"),
        (lambda ak: [jwk("HCLAkPub", ak, "sign", n=b64(b"\xff" * 255 + b"\xfe"))], "even"),
        (lambda ak: [jwk("HCLAkPub", key_of("short", 1024), "sign")], "1024 bits"),
        (lambda ak: [jwk("HCLAkPub", ak, "sign", n=b64(b"\xff" * 513))], "4104 bits"),
        (lambda ak: [], "no key is called HCLAkPub"),
    ],
)
def test_a_key_that_must_not_sign_is_refused(keys: Callable[[Any], list[Mapping[str, Any]]], why: str) -> None:
    proof = replace(SNP, keys=keys(SNP.ak)).judge()
    refused_as(proof, StepName.SIGNATURE, "attestation_key_invalid")
    assert why in next(s for s in proof.steps if s.name is StepName.SIGNATURE).detail
    assert proof.outcome(StepName.BINDING) is Outcome.PASSED


def test_two_keys_of_one_name_are_refused() -> None:
    """A reader that takes the first and one that takes the last would see two keys in one signed text."""
    both = [jwk("HCLAkPub", SNP.ak, "sign"), jwk("HCLAkPub", key_of("mallory"), "sign")]
    refused_as(replace(SNP, keys=both).judge(), StepName.PARSE, "evidence_unreadable")


@pytest.mark.parametrize(
    "text",
    [
        b'{"keys":[],"keys":[]}',
        b'{"keys":[{"kid":"HCLAkPub","kid":"HCLAkPub"}]}',
        b'{"keys":[],"a":NaN}',
        b'{"keys":[],"a":Infinity}',
        b'\xef\xbb\xbf{"keys":[]}',
        b'{"keys":["\xff"]}',
        b'{"keys":{}}',
        b'{"keys":[1]}',
        b'{"keys":' + b"[" * 5000,
        b"[" * 129 + b"]" * 129,
        b'{"keys":' + b"9" * 5000 + b"}",
        b"[]",
        b"null",
        b"",
    ],
)
def test_run_time_data_that_can_be_read_in_two_ways_or_none_are_refused(text: bytes) -> None:
    proof = replace(SNP, json=text).judge()
    refused_as(proof, StepName.PARSE, "evidence_unreadable")


# -- the quote


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (quote(magic=b"\xffTCH"), "evidence_unreadable"),
        (quote(type=b"\x80\x17"), "evidence_unreadable"),
        (quote(trailing=b"\0"), "evidence_unreadable"),
        (quote()[:-1], "evidence_unreadable"),
        (quote(extra=bytes(65)), "evidence_unreadable"),
        (quote(algorithm=0x0004), "unsupported_algorithm"),
        (quote(algorithm=0x000C), "unsupported_algorithm"),
        (b"", "evidence_unreadable"),
    ],
)
def test_what_is_no_quote_of_the_sha256_bank_is_refused_though_it_is_signed(message: bytes, code: str) -> None:
    refused_as(SNP.judge(SNP.evidence(tpm_quote=SNP.quoted(message))), StepName.PARSE, code)


@BOTH
def test_without_a_quote_nothing_says_what_runs(world: World) -> None:
    proof = world.judge(world.evidence(tpm_quote=None))
    for name in (StepName.SIGNATURE, StepName.BINDING, StepName.FRESHNESS):
        assert proof.outcome(name) is Outcome.NOT_POSSIBLE
        assert codes(proof, name) == {"tpm_quote_missing"}
    assert proof.outcome(StepName.CHAIN) is Outcome.PASSED
    assert proof.claims is not None
    assert "pcr0" not in proof.claims.measurements
    assert appraise(proof, Policy(), NOW, OURS).tier is Tier.NONE


def test_without_values_nothing_is_known_of_the_pcrs() -> None:
    said = {name: value for name, value in SNP.quoted(quote()).items() if name != "pcrs"}
    proof = SNP.judge(SNP.evidence(tpm_quote=said))
    assert (proof.outcome(StepName.BINDING), codes(proof, StepName.BINDING)) == (Outcome.NOT_POSSIBLE, {"pcrs_missing"})


def test_without_a_td_quote_nothing_vouches_for_the_tdreport() -> None:
    proof = TDX.judge(TDX.evidence(td_quote=None))
    assert proof.claims is None
    assert not proof.genuine
    assert proof.parts == ()
    for name in (StepName.CHAIN, StepName.REVOCATION, StepName.COLLATERAL, StepName.BINDING):
        assert (proof.outcome(name), codes(proof, name)) == (Outcome.NOT_POSSIBLE, {"td_quote_missing"})


# -- freshness, keys and replays


@BOTH
def test_it_is_as_fresh_as_the_quote(world: World) -> None:
    stale = world.judge(challenge=b"another nonce of the collector..")
    refused = codes(stale, StepName.FRESHNESS)
    assert (stale.outcome(StepName.FRESHNESS), refused) == (Outcome.FAILED, {"challenge_mismatch"})
    asked = world.judge(challenge=world.bound)
    assert asked.outcome(StepName.FRESHNESS) is Outcome.FAILED, "the report's own data are no answer"
    none = world.judge(challenge=None)
    assert none.outcome(StepName.FRESHNESS) is Outcome.NOT_POSSIBLE


def test_the_key_that_a_guest_binds_beside_the_challenge_is_a_claim() -> None:
    tls = der(key_of("TLS"))
    message = quote(extra=hashlib.sha256(CHALLENGE + tls).digest())
    proof = SNP.judge(SNP.evidence(tpm_quote=SNP.quoted(message)), key=tls)
    assert proof.outcome(StepName.FRESHNESS) is Outcome.PASSED
    assert proof.claims is not None
    assert proof.claims.key == hashlib.sha256(tls).hexdigest()
    plain = SNP.judge(key=tls)
    assert plain.claims is not None
    assert plain.claims.key is None, "the challenge alone binds no key"


@BOTH
def test_the_same_quote_is_the_same_evidence_however_it_is_wrapped(world: World) -> None:
    again = json.dumps({**json.loads(world.evidence()), "remark": "another text"}, indent=2).encode()
    keys = {replay_key(raw, world.judge(raw)) for raw in (world.evidence(), again, *map(world.trustee, (0, 1, 2)))}
    assert len(keys) == 1
    later = world.evidence(tpm_quote=world.quoted(quote(clock=4712)))
    assert replay_key(later, world.judge(later)) not in keys


@BOTH
def test_a_guest_is_its_vtpm(world: World) -> None:
    """PCRs change while it runs, its attestation key does not; and a guest cannot take another's name."""

    def guest(raw: bytes) -> str:
        claims = world.judge(raw).claims
        assert claims is not None
        return guest_of({"tee": claims.tee, "instance": claims.instance, "measurement": claims.measurement,
                         "measurements": claims.measurements, "bits": claims.bits, "hint": "vm"})  # fmt: skip

    bank = (*BANK[:10], b"\x10" * 32, *BANK[11:])
    later = world.evidence(tpm_quote=world.members(quote(bank=bank), bank)["tpm_quote"])
    assert guest(world.evidence()) == guest(later) != guest(replace(world, name="vm-2").evidence())


# -- bytes of an attacker


def _mutations(raw: bytes, *ranges: range) -> Iterator[bytes]:
    for places in ranges:
        for at in places:
            yield raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :]


def test_any_change_of_what_is_signed_or_hashed_is_refused() -> None:
    """In the SNP report and its signature, in the run-time data, in the quote, in its signature, in every PCR."""
    collateral, members = SNP.collateral(), SNP.members()
    assert SNP.judge(collateral=collateral).genuine
    report, length = SNP.hcl(), len(SNP.run_time())
    signed = (range(0x20, 0x20 + 0x2A0), range(0x20 + 0x2A0, 0x20 + 0x330), range(0x4D4, 0x4D4 + length))
    message, signature = quote(), SNP.sign(quote())
    said = members["tpm_quote"]
    changed = [{"hcl_report": b64(one)} for one in _mutations(report, *signed)]
    changed += [{"tpm_quote": {**said, "message": b64(one)}} for one in _mutations(message, range(len(message)))]
    changed += [{"tpm_quote": {**said, "signature": b64(one)}} for one in _mutations(signature, range(256))]
    bank = b"".join(BANK)
    for one in _mutations(bank, range(len(bank))):
        changed.append({"tpm_quote": {**said, "pcrs": [b64(one[n : n + 32]) for n in range(0, 768, 32)]}})
    for one in changed:
        proof = SNP.judge(json.dumps({**members, **one}).encode(), collateral=collateral)
        assert not proof.genuine, one


def test_any_change_of_a_td_quote_or_its_tdreports_report_data_is_refused() -> None:
    collateral, members, whole = TDX.collateral(), TDX.members(), TDX.td_quote()
    signed = range(54 + 584)
    changed = [{"td_quote": b64(one)} for one in _mutations(whole, signed)]
    changed += [{"hcl_report": b64(one)} for one in _mutations(TDX.hcl(), range(0x20 + 128, 0x20 + 192))]
    for one in changed:
        assert not TDX.judge(json.dumps({**members, **one}).encode(), collateral=collateral).genuine, one


def test_what_nobody_signs_changes_nothing_or_is_refused() -> None:
    """The headers of the HCL report, and its padding."""
    collateral, members, report = SNP.collateral(), SNP.members(), SNP.hcl()
    claims = SNP.judge(collateral=collateral).claims
    assert claims is not None
    padding = range(0x4D4 + len(SNP.run_time()), len(report))
    for one in _mutations(report, range(0x20), range(0x4C0, 0x4D4), padding):
        raw = json.dumps({**members, "hcl_report": b64(one)}).encode()
        proof = SNP.judge(raw, collateral=collateral, form=SNP.format)
        if proof.genuine:
            assert proof.claims is not None
            assert dict(proof.claims.measurements) == dict(claims.measurements)
            assert proof.claims.instance == claims.instance


@BOTH
def test_every_truncation_gives_a_verdict(world: World) -> None:
    raw, collateral = world.evidence(), world.collateral()
    for end in range(0, len(raw) - 1, 37):
        assert not world.judge(raw[:end], collateral=collateral, form=world.format).genuine
    whole = world.hcl()
    for end in [*range(0, 0x4D4 + 8, 23), 0x4D4 + len(world.run_time()) - 1]:
        assert not world.judge(world.evidence(hcl_report=b64(whole[:end])), collateral=collateral).genuine
    cut = whole[: 0x4D4 + len(world.run_time())]
    assert world.judge(world.evidence(hcl_report=b64(cut)), collateral=collateral).genuine, "padding need not come"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"version": 3}, "unsupported_version"),
        ({"version": "1"}, "unsupported_version"),
        ({"version": True}, "unsupported_version"),
        ({"hcl_report": "!"}, "evidence_unreadable"),
        ({"hcl_report": "A"}, "evidence_unreadable"),
        ({"hcl_report": "AA+/"}, "evidence_unreadable"),
        ({"hcl_report": 5}, "evidence_unreadable"),
        ({"hcl_report": None}, "evidence_unreadable"),
        ({"hcl_report": [256]}, "evidence_unreadable"),
        ({"hcl_report": [True]}, "evidence_unreadable"),
        ({"hcl_report": [1.5]}, "evidence_unreadable"),
        ({"hcl_report": b64(bytes(16 * 1024 + 1))}, "evidence_unreadable"),
        ({"tpm_quote": []}, "evidence_unreadable"),
        ({"tpm_quote": {}}, "evidence_unreadable"),
        ({"tpm_quote": {"message": ""}}, "evidence_unreadable"),
        ({"tpm_quote": {**SNP.quoted(quote()), "pcrs": {}}}, "evidence_unreadable"),
        ({"tpm_quote": {**SNP.quoted(quote()), "pcrs": [""]}}, "evidence_unreadable"),
        ({"tpm_quote": {**SNP.quoted(quote()), "pcrs": [b64(bytes(31))] * 24}}, "evidence_unreadable"),
        ({"tpm_quote": {**SNP.quoted(quote()), "pcrs": [b64(bytes(32))] * 25}}, "evidence_unreadable"),
        ({"tpm_quote": {**SNP.quoted(quote()), "pcrs": [7] * 24}}, "evidence_unreadable"),
        ({"vcek": 5}, "evidence_unreadable"),
    ],
)
def test_json_that_is_not_in_the_form_gives_a_verdict(changed: dict[str, Any], code: str) -> None:
    raw = json.dumps({**SNP.members(), **changed}).encode()
    proof = SNP.judge(raw, form=SNP.format)
    assert not proof.genuine
    assert code in codes(proof, StepName.PARSE)


@BOTH
def test_a_form_of_a_later_version_is_told_from_bytes_of_no_format(world: World) -> None:
    proof = world.judge(json.dumps({**world.members(), "version": 3}).encode())
    assert proof.format == world.format
    assert (proof.outcome(StepName.PARSE), codes(proof, StepName.PARSE)) == (
        Outcome.NOT_POSSIBLE,
        {"unsupported_version"},
    )


def test_a_member_that_is_there_twice_is_refused() -> None:
    raw = SNP.evidence()
    twice = raw[:-1] + b', "vcek": ""}'
    refused_as(SNP.judge(twice, form=SNP.format), StepName.PARSE, "evidence_unreadable")
    assert detect(twice) is None


def test_an_hcl_report_of_the_other_kind_or_version_is_refused() -> None:
    refused_as(SNP.judge(TDX.evidence(), form=SNP.format), StepName.PARSE, "evidence_unreadable")
    for offset in (4, 0x4C4):
        newer = bytearray(SNP.hcl())
        newer[offset] = 9
        proof = SNP.judge(SNP.evidence(hcl_report=b64(bytes(newer))))
        assert (proof.outcome(StepName.PARSE), codes(proof, StepName.PARSE)) == (
            Outcome.NOT_POSSIBLE,
            {"unsupported_version"},
        )


@given(st.binary(max_size=400))
def test_any_bytes_give_a_verdict(raw: bytes) -> None:
    for world in WORLDS:
        evidence = Evidence(raw, world.format)
        assert not verify(evidence, world.collateral(), NOW).genuine
        assert fields(evidence) == ()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 300) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["hcl_report", "tpm_quote", "message", "signature", "pcrs", "version", "report",
                                       "quote", "td_quote", "vcek"]), inner, max_size=6),
    max_leaves=12,
)  # fmt: skip


@given(_JSON)
def test_any_json_gives_a_verdict(value: Any) -> None:
    raw = json.dumps(value).encode()
    detect(raw)
    for world in WORLDS:
        assert not verify(Evidence(raw, world.format), world.collateral(), NOW).genuine


@given(st.binary(max_size=200) | st.binary(max_size=150).map(lambda tail: b"\xffTCG\x80\x18" + tail))
def test_any_bytes_are_a_quote_or_say_why_not(message: bytes) -> None:
    try:
        found = tpm.read(message)
    except tpm.BadQuote:
        return
    assert len(found.digest) == 32
    assert all(n < 24 for n in found.pcrs)


@given(st.binary(max_size=60), st.integers(0, 2599))
def test_any_hcl_report_is_read_or_says_why_not(patch: bytes, at: int) -> None:
    whole = SNP.hcl()
    try:
        hcl.run_time_data(hcl.read(whole[:at] + patch + whole[at + len(patch) :]).data)
    except hcl.BadReport:
        return


@settings(max_examples=200)
@given(st.binary(max_size=80))
def test_any_text_is_an_object_that_is_read_one_way_or_refused(text: bytes) -> None:
    try:
        found = strict_json.read_object(text)
    except strict_json.BadJson:
        return
    assert found == json.loads(text)


# -- places


@BOTH
def test_every_claim_has_its_place_in_the_text_that_was_sent(world: World) -> None:
    for raw in (world.evidence(), *map(world.trustee, (0, 1, 2))):
        found = {one.name: one for one in fields(Evidence(raw, world.format))}
        assert all(one.offset >= 0 and one.offset + one.length <= len(raw) and one.length for one in found.values())
        first = found["pcr0"]
        text = raw[first.offset : first.offset + first.length].decode()
        shown = (
            bytes(json.loads(f"[{text}]"))
            if "," in text
            else bytes.fromhex(text)
            if len(text) == 64
            else base64.urlsafe_b64decode(text + "=")
        )
        assert shown == BANK[0]
        assert {"extra_data", "pcr_digest", "vm_unique_id", "ak", "user_data", "tpm_signature"} <= found.keys()
        assert found["extra_data"].value == CHALLENGE.hex()
    inner = found[{"snp": "report.reported_tcb", "tdx": "quote.mrtd"}[world.tee]]
    assert inner.length < 300


def test_a_place_in_base64_is_that_of_the_characters_without_which_it_cannot_be_read() -> None:
    place = envelope.Place(100, 3468, (4, 3))
    assert place.of(0, 3) == (100, 4)
    assert place.of(1, 1) == (101, 2)
    assert place.of(4, 4) == (105, 6)
    assert envelope.Place(10, 64, (2, 1)).of(3, 2) == (16, 4)


@BOTH
def test_a_reason_leads_to_the_characters_it_rests_on(world: World) -> None:
    found = fields(Evidence(world.evidence(), world.format))
    inner = {"snp": "report", "tdx": "quote"}[world.tee]
    for component, name in (
        ("freshness", "extra_data"),
        ("pcr_digest", "pcr_digest"),
        ("tpm_quote", "tpm_signature"),
        ("ak", "ak"),
        ("report_data", f"{inner}.report_data"),
        ("pcr4", "pcr4"),
        ("vm.secure_boot", "vm_configuration"),
        *({"snp": [("vmpl", "report.vmpl"), ("reported.snp", "report.reported_tcb"), ("policy.smt", "report.policy")],
           "tdx": [("measurement", "quote.mrtd"), ("attributes.debug", "quote.tdattributes")]}[world.tee]),
    ):  # fmt: skip
        place = explain.place(found, {"component": component}, world.format)
        assert place is not None, component
        assert place.name == name


# -- good enough?


def references(world: World, *, leave_out: tuple[str, ...] = (), **changed: Any) -> dict[str, Any]:
    claims = world.judge().claims
    assert claims is not None
    names = [name for name in TEES[claims.tee].boot if name not in leave_out]
    conditions = {**{name: claims.measurements[name] for name in names}, **changed}
    return {"release": {"tee": claims.tee, "conditions": conditions, "by": "ann", "source": "a build"}}


def judged(world: World, values: dict[str, Any] | None = None, raw: bytes | None = None, snp: int = 24) -> Verdict:
    policy = Policy.from_data({"reference_values": references(world) if values is None else values})
    floor = AmdFloor(family="snp/Milan", minima=(Minimum(tcb={"reported.snp": snp}),), provenance=REVIEWED)
    return appraise(world.judge(raw), policy.with_floors({"snp/Milan": floor}), NOW, OURS)


@BOTH
def test_a_current_known_machine_is_affirmed(world: World) -> None:
    verdict = judged(world)
    assert (verdict.tier, verdict.vector[EXECUTABLES]) == (Tier.AFFIRMING, 3)
    assert verdict.tee == f"az-{world.tee}"


def test_floors_of_the_hardware_apply() -> None:
    verdict = judged(SNP, snp=25)
    assert verdict.tier is Tier.WARNING
    assert verdict.vector[HARDWARE] == 32
    assert "below_floor" in {reason.code for reason in verdict.reasons}


def test_intels_status_applies() -> None:
    old = replace(
        TDX, intel=replace(TDX.intel, levels=[level(4, tdx=[3, 0, 3]), level(3, status="OutOfDate", tdx=[3, 0, 3])])
    )
    verdict = judged(old)
    assert (verdict.tier, verdict.vector[HARDWARE]) == (Tier.WARNING, 32)


@BOTH
def test_another_system_above_a_known_paravisor_is_unknown(world: World) -> None:
    for name in BOOT_PCRS:
        number = int(name[3:])
        bank = (*BANK[:number], b"\xee" * 32, *BANK[number + 1 :])
        raw = world.evidence(tpm_quote=world.members(quote(bank=bank), bank)["tpm_quote"])
        assert judged(world, raw=raw).vector[EXECUTABLES] == 33, name


@BOTH
def test_to_vouch_for_the_paravisor_alone_vouches_for_no_system(world: World) -> None:
    verdict = judged(world, references(world, leave_out=BOOT_PCRS))
    assert verdict.vector[EXECUTABLES] == 0
    assert verdict.tier is not Tier.AFFIRMING
    assert "measurement_left_open" in {reason.code for reason in verdict.reasons}


@BOTH
def test_to_vouch_for_the_system_alone_vouches_for_nobodys_paravisor(world: World) -> None:
    """Whoever runs a paravisor of his own has it say any PCRs."""
    verdict = judged(world, references(world, leave_out=("measurement", "mrtd")))
    assert verdict.vector[EXECUTABLES] == 0
    assert verdict.tier is not Tier.AFFIRMING


def test_who_signed_the_paravisor_may_stand_for_its_measurement() -> None:
    """Microsoft replaces it without notice: the ID block names its product and its least security version."""
    signed = {"id_key_digest": "94" * 48, "family_id": "02" * 16, "image_id": "03" * 16, "guest_svn": {"at_least": 10}}
    assert judged(SNP, references(SNP, leave_out=("measurement",), **signed)).vector[EXECUTABLES] == 3
    newer = {**signed, "guest_svn": {"at_least": 11}}
    assert judged(SNP, references(SNP, leave_out=("measurement",), **newer)).vector[EXECUTABLES] == 33
    without = {**signed}
    del without["family_id"]
    assert judged(SNP, references(SNP, leave_out=("measurement",), **without)).vector[EXECUTABLES] == 0


@BOTH
def test_a_policy_may_require_what_the_configuration_says(world: World) -> None:
    insecure = replace(world, configuration={**world.configuration, "secure-boot": False})
    policy = Policy.from_data({"require": {f"az-{world.tee}": {"vm.secure_boot": True}}})
    codes_of = {reason.code for reason in appraise(insecure.judge(), policy, NOW, OURS).reasons}
    assert "requirement_not_met" in codes_of


def test_the_entries_say_what_the_hardwares_say() -> None:
    """Made from SNP's and TDX's, so that floors, marks and vendors' documents are the same."""
    for world in WORLDS:
        whole, inner = TEES[f"az-{world.tee}"], TEES[world.tee]
        assert (whole.components, whole.versions, whole.views, whole.judge) == (
            inner.components, inner.versions, inner.views, inner.judge)  # fmt: skip
        assert whole.concerns is inner.concerns
        assert whole.required == inner.required
        assert FORMATS[world.format].family == FORMATS[part_format(world)].family


def part_format(world: World) -> str:
    return {"snp": "snp-report", "tdx": "tdx-quote"}[world.tee]


@BOTH
def test_the_characters_at_a_place_stand_for_the_bytes_of_the_claim(world: World) -> None:
    raw = world.evidence()
    for one in fields(Evidence(raw, world.format)):
        if not isinstance(one.value, str) or not set(one.value) <= set("0123456789abcdef") or len(one.value) < 32:
            continue
        if one.name in ("ak", "ek", "vm_unique_id", "user_data"):  # said in other words than the bytes
            continue
        begin = raw.rfind(b'"', 0, one.offset) + 1  # base64 counts from where its text begins
        start = one.offset - (one.offset - begin) % 4
        text = raw[start : one.offset + one.length].split(b'"')[0].decode()
        decoded = base64.urlsafe_b64decode(text + "A" * (-len(text) % 4))
        assert one.value in decoded.hex(), one.name


@BOTH
def test_nobody_vouches_for_a_machine_that_leaves_out_a_pcr_of_boot(world: World) -> None:
    said = vouching.reference_values(world.judge(), "evidence.json")
    assert set(said["conditions"]) == set(TEES[f"az-{world.tee}"].boot)
    some = world.judge(world.evidence(tpm_quote=world.quoted(quote(selected=(0, 4, 7)))))
    with pytest.raises(Fault, match="does not attest pcr2, pcr8, pcr9, pcr11"):
        vouching.reference_values(some, "evidence.json")
