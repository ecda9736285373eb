"""Intel's collateral: the forms it is kept in, who may sign it, which level a platform is at, what is chosen when."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote as url_quote

import dcap_qvl
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from intel_world import (
    CHALLENGE,
    DAY,
    NOW,
    World,
    certificate,
    codes,
    compact,
    isv_level,
    key,
    level,
    module_identity,
    name_of,
    pem,
    raw_signature,
)

from ratchet.collateral import Collateral, Kind, Known, Memo, UnknownDocument, parse
from ratchet.collateral.intel import Crl, QeIdentity, TcbInfo
from ratchet.collateral.roots import known_issuers, vendor_roots
from ratchet.collateral.tcb import ModuleLevel, TcbLevel, converge, evaluate, match, match_module, worsened
from ratchet.event import BlobId
from ratchet.evidence import Evidence, StepName, verify
from ratchet.x509.chain import NoPath, path

WORLD = World()
BUNDLE = WORLD.bundle()
TCB_KEY = "Test SGX Root CA/tdx/90c06f000000"
SIGNERS = BUNDLE["tcb_info_issuer_chain"]


def read(document: Any, at: datetime = NOW) -> tuple[Known, ...]:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse(raw, at, (WORLD.root(),))


def faults(known: tuple[Known, ...]) -> dict[Kind, set[str]]:
    return {k.kind: {r.code for r in k.reasons} for k in known if k.reasons}


# Forms.


def envelope(**more: Any) -> str:
    """A PCS answer, its inner object byte for byte as signed."""
    rest = "".join(f",{json.dumps(name)}:{json.dumps(value)}" for name, value in more.items())
    return f'{{"tcbInfo":{BUNDLE["tcb_info"]},"signature":"{BUNDLE["tcb_info_signature"]}"{rest}}}'


def test_a_bundle_gives_each_statement_with_its_dates_and_place() -> None:
    found = {(k.kind, k.key): k for k in read(BUNDLE)}
    assert set(found) == {
        (Kind.INTEL_TCB_INFO, TCB_KEY),
        (Kind.INTEL_QE_IDENTITY, "Test SGX Root CA/TD_QE"),
        (Kind.INTEL_CRL, "Test SGX Root CA/Test SGX Root CA"),
        (Kind.INTEL_CRL, "Test SGX Root CA/Test SGX PCK Platform CA"),
    }
    assert not any(k.reasons for k in found.values())
    info = found[Kind.INTEL_TCB_INFO, TCB_KEY]
    assert (info.valid_from, info.valid_until, info.root) == (NOW - 10 * DAY, NOW + 20 * DAY, "Test SGX Root CA")
    assert info.rank == (20, NOW - 10 * DAY)
    assert isinstance(info.parsed, TcbInfo)
    assert info.parsed.signed == BUNDLE["tcb_info"].encode()


FORMS: dict[str, Callable[[], bytes]] = {
    "answer with its chain beside it": lambda: envelope(issuerChain=SIGNERS).encode(),
    "answer with the header's name, URL-encoded": lambda: envelope(
        **{"TCB-Info-Issuer-Chain": url_quote(SIGNERS)}
    ).encode(),
    "answer with spaces around": lambda: (
        envelope(issuer_chain=SIGNERS).replace('"signature":', '\n "signature" : ').encode()
    ),
    "recorded HTTP answer": lambda: json.dumps(
        {"status": 200, "headers": {"SGX-TCB-Info-Issuer-Chain": [url_quote(SIGNERS)]}, "body": envelope()}
    ).encode(),
    "bundle of camel case with answers kept as text": lambda: json.dumps(
        {"tcbInfo": envelope(), "tcbInfoIssuerChain": SIGNERS}
    ).encode(),
    "platforms in a list": lambda: json.dumps(
        {"teeType": 129, "platforms": [{"fmspc": "90C06F000000", "tcbInfo": envelope(), "tcbInfoIssuerChain": SIGNERS}]}
    ).encode(),
    "signature as numbers": lambda: json.dumps(
        {**BUNDLE, "tcb_info_signature": list(bytes.fromhex(BUNDLE["tcb_info_signature"]))}
    ).encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_tcb_info_is_found_in_every_form(form: str) -> None:
    found = [k for k in read(FORMS[form]()) if k.kind is Kind.INTEL_TCB_INFO]
    assert [(k.key, k.reasons) for k in found] == [(TCB_KEY, ())]


def test_an_identity_alone_is_found_too() -> None:
    signature, chain = BUNDLE["qe_identity_signature"], json.dumps(SIGNERS)
    text = f'{{"enclaveIdentity":{BUNDLE["qe_identity"]},"signature":"{signature}","issuerChain":{chain}}}'
    (known,) = read(text.encode())
    assert (known.kind, known.key, known.reasons) == (Kind.INTEL_QE_IDENTITY, "Test SGX Root CA/TD_QE", ())
    assert isinstance(known.parsed, QeIdentity)


def crl_pem(der: bytes) -> bytes:
    return x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)


def test_revocation_lists_are_found_in_every_form() -> None:
    der = WORLD.crl(WORLD.ca_name, [5])
    chain = pem(WORLD.ca_der(), WORLD.root_der())
    forms = [
        crl_pem(der) + chain,
        json.dumps({"pck_crl": der.hex(), "pck_crl_issuer_chain": chain.decode()}).encode(),
        json.dumps({"pckCrl": crl_pem(der).decode(), "pckCrlIssuerChain": chain.decode()}).encode(),
        json.dumps({"pck_crl": base64.b64encode(der).decode(), "pck_crl_issuer_chain": chain.decode()}).encode(),
        json.dumps({"headers": {"SGX-PCK-CRL-Issuer-Chain": url_quote(chain)}, "body": der.hex()}).encode(),
    ]
    for form in forms:
        (known,) = read(form)
        assert (known.key, known.reasons) == ("Test SGX Root CA/Test SGX PCK Platform CA", ())
        assert isinstance(known.parsed, Crl)
        assert known.parsed.list.revoked == {5}
    (bare,) = read(WORLD.crl(WORLD.root_name, []))
    assert (bare.key, bare.reasons) == ("Test SGX Root CA/Test SGX Root CA", ())
    assert faults(read(der)) == {Kind.INTEL_CRL: {"chain_incomplete"}}


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{}",
        b"[]",
        b"{",
        b'{"tcbInfo":1}',
        b'{"a":1,}',
        b'{"a":1} x',
        b'{"tcb_info":"{}","tcbInfo":"{}"}',
        b'{"tcbInfo":' + b"[" * 100_000,
        b"\xff\xfe",
        b"-----BEGIN X509 CRL-----\nAAAA",
        b'{"tcbEvaluationDataNumbers":{"id":"SGX"},"signature":"00"}',
        pem(WORLD.ca_der()),
        b"\x30\x03\x02\x01\x01",
    ],
)
def test_what_is_no_document_of_intels_is_none(document: bytes) -> None:
    with pytest.raises(UnknownDocument):
        read(document)


@pytest.mark.parametrize(
    ("member", "kind", "codes"),
    [
        ("tcb_info", Kind.INTEL_TCB_INFO, {"document_unreadable"}),
        ("qe_identity", Kind.INTEL_QE_IDENTITY, {"document_unreadable"}),
        ("pck_crl", Kind.INTEL_CRL, {"document_unreadable"}),
        ("root_ca_crl", Kind.INTEL_CRL, {"document_unreadable"}),
    ],
)
@pytest.mark.parametrize("junk", ["zz", "00", "{", "[]", "-----BEGIN X509 CRL-----\nAAAA", "[" * 50_000, "\ud800"])
def test_one_member_that_cannot_be_read_does_not_spoil_the_others(
    member: str, kind: Kind, codes: set[str], junk: str
) -> None:
    found = read({**BUNDLE, member: junk})
    assert faults(found) == {kind: codes}
    assert len(found) == 4


# Who may say so.


def test_the_signature_covers_bytes_not_values() -> None:
    again = json.dumps(json.loads(BUNDLE["tcb_info"]), indent=1)
    assert faults(read({**BUNDLE, "tcb_info": again})) == {Kind.INTEL_TCB_INFO: {"signature_invalid"}}


def test_members_that_are_signed_and_unknown_do_not_matter() -> None:
    text = compact({"futureMember": [1], **WORLD.tcb_info()})
    assert faults(read({**BUNDLE, "tcb_info": text, "tcb_info_signature": WORLD.sign(text)})) == {}


@settings(max_examples=100, deadline=None)
@given(at=st.integers(0, len(BUNDLE["tcb_info"]) - 1), to=st.sampled_from('0129aZ"{}[],: '))
def test_any_change_of_the_signed_text_is_refused(at: int, to: str) -> None:
    text = BUNDLE["tcb_info"][:at] + to + BUNDLE["tcb_info"][at + 1 :]
    if text == BUNDLE["tcb_info"]:
        return
    try:
        found = read({**BUNDLE, "tcb_info": text})
    except UnknownDocument:
        return
    sound = [k for k in found if k.kind is Kind.INTEL_TCB_INFO and not k.reasons]
    assert sound == []


def test_a_pck_may_not_sign_tcb_info() -> None:
    """Its key leads to the root as well, so a chain alone says nothing of what it may speak about."""
    text = BUNDLE["tcb_info"]
    forged = raw_signature(key("Test SGX PCK Certificate"), text.encode()).hex()
    document = {**BUNDLE, "tcb_info_signature": forged, "tcb_info_issuer_chain": WORLD.chain().decode()}
    assert faults(read(document)) == {Kind.INTEL_TCB_INFO: {"signer_not_entitled"}}


def test_only_the_tcb_signer_may_sign_tcb_info() -> None:
    other = certificate("Test SGX Something Else", WORLD.root_name)
    text = BUNDLE["tcb_info"]
    signature = raw_signature(key("Test SGX Something Else"), text.encode()).hex()
    document = {**BUNDLE, "tcb_info_signature": signature, "tcb_info_issuer_chain": pem(other).decode()}
    assert faults(read(document)) == {Kind.INTEL_TCB_INFO: {"signer_not_entitled"}}


def test_a_signer_below_another_root_is_not_believed() -> None:
    """So it is with pre-production collateral, which Intel signs under a root of its own."""
    found = parse(json.dumps(World(prefix="Sbx").bundle()).encode(), NOW, (WORLD.root(),))
    assert {k.root for k in found} == {None}
    assert all(k.key.startswith("untrusted/") for k in found)
    assert faults(found)[Kind.INTEL_TCB_INFO] == {"chain_untrusted_root"}
    assert faults(parse(json.dumps(BUNDLE).encode(), NOW, vendor_roots()))[Kind.INTEL_TCB_INFO]


@pytest.mark.parametrize("signature", ["", "00", "zz", None, 7, "00" * 64, "ff" * 64, [1, 2], [999] * 64])
def test_a_signature_that_is_none_is_no_exception(signature: Any) -> None:
    assert faults(read({**BUNDLE, "tcb_info_signature": signature})) == {Kind.INTEL_TCB_INFO: {"signature_invalid"}}


@pytest.mark.parametrize("chain", ["", "junk", SIGNERS[:300], pem(WORLD.root_der()).decode()])
def test_a_chain_that_is_none_is_no_exception(chain: str) -> None:
    (found,) = faults(read({**BUNDLE, "tcb_info_issuer_chain": chain})).values()
    assert found <= {"certificate_unreadable", "chain_incomplete", "signer_not_entitled", "chain_untrusted_root"}


def test_an_expired_signer_ends_the_documents_validity() -> None:
    """The signing certificate was renewed with the same key: its dates count, not the key alone."""
    short = certificate("Test SGX TCB Signing", WORLD.root_name, until=NOW + DAY)
    document = {**BUNDLE, "tcb_info_issuer_chain": pem(short, WORLD.root_der()).decode()}
    info = next(k for k in read(document) if k.kind is Kind.INTEL_TCB_INFO)
    assert info.reasons == ()
    assert info.valid_until == NOW + DAY


def test_a_revoked_signer_speaks_no_more() -> None:
    world = replace(WORLD, root_revoked=[WORLD.signer_serial])
    assert codes(world.prove(), StepName.COLLATERAL) == {"signer_revoked"}
    assert codes(world.prove(), StepName.REVOCATION) == set()


def test_a_list_signed_by_another_key_revokes_nothing_and_clears_nobody() -> None:
    builder = x509.CertificateRevocationListBuilder().issuer_name(name_of(WORLD.ca_name))
    builder = builder.last_update(NOW - DAY).next_update(NOW + DAY)
    der = builder.sign(key("somebody"), SHA256()).public_bytes(Encoding.DER)
    document = {**BUNDLE, "pck_crl": der.hex()}
    assert faults(read(document)) == {Kind.INTEL_CRL: {"signature_invalid"}}
    proof = verify(Evidence(WORLD.quote()), Collateral((WORLD.root(),), read(document, NOW - DAY)), NOW)
    assert codes(proof, StepName.REVOCATION) == {"crl_missing"}


def test_a_list_of_a_ca_of_the_same_name_with_another_key_is_another_cas() -> None:
    """A CA that was renewed with a new key: each key's list speaks of what that key issued."""
    second = certificate(WORLD.ca_name, WORLD.root_name, ca=True, path_length=0, key_name="second")
    builder = x509.CertificateRevocationListBuilder().issuer_name(name_of(WORLD.ca_name))
    builder = builder.last_update(NOW - DAY).next_update(NOW + DAY)
    der = builder.sign(key("second"), SHA256()).public_bytes(Encoding.DER)
    document = {**BUNDLE, "pck_crl": der.hex(), "pck_crl_issuer_chain": pem(second).decode()}
    found = read(document, NOW - DAY)
    assert faults(found) == {}
    proof = verify(Evidence(WORLD.quote()), Collateral((WORLD.root(),), found), NOW)
    assert codes(proof, StepName.REVOCATION) == {"crl_missing"}


def test_tcb_info_for_another_pce_says_nothing_of_this_platform() -> None:
    text = compact({**WORLD.tcb_info(), "pceId": "0001"})
    collateral = WORLD.collateral({**BUNDLE, "tcb_info": text, "tcb_info_signature": WORLD.sign(text)})
    proof = verify(Evidence(WORLD.quote()), collateral, NOW)
    assert codes(proof, StepName.COLLATERAL) == {"tcb_info_mismatch"}
    assert proof.tcb is None


# Content.


BROKEN: dict[str, Any] = {
    "version": 4,
    "id": "XYZ",
    "issueDate": "yesterday",
    "nextUpdate": "2026-05-20T00:00:00",
    "fmspc": "90c06f",
    "pceId": "zz",
    "tcbType": 1,
    "tcbEvaluationDataNumber": -1,
    "tcbLevels": {},
    "tdxModule": None,
    "tdxModuleIdentities": [{}],
}


@pytest.mark.parametrize("member", BROKEN)
def test_a_signed_document_of_another_form_is_unreadable_not_guessed(member: str) -> None:
    text = compact({**WORLD.tcb_info(), member: BROKEN[member]})
    found = read({**BUNDLE, "tcb_info": text, "tcb_info_signature": WORLD.sign(text)})
    assert faults(found) == {Kind.INTEL_TCB_INFO: {"document_unreadable"}}


@pytest.mark.parametrize(
    "tcb",
    [
        {"pcesvn": 1},
        {"sgxtcbcomponents": [{"svn": 1}] * 15, "pcesvn": 1, "tdxtcbcomponents": [{"svn": 1}] * 16},
        {"sgxtcbcomponents": [{"svn": 256}] * 16, "pcesvn": 1, "tdxtcbcomponents": [{"svn": 1}] * 16},
        {"sgxtcbcomponents": [{"svn": 1.0}] * 16, "pcesvn": 1, "tdxtcbcomponents": [{"svn": 1}] * 16},
        {"sgxtcbcomponents": [{"svn": 1}] * 16, "pcesvn": True, "tdxtcbcomponents": [{"svn": 1}] * 16},
        {"sgxtcbcomponents": [{"svn": 1}] * 16, "pcesvn": 1},
    ],
)
def test_a_level_without_all_its_numbers_is_unreadable(tcb: Any) -> None:
    one = {"tcb": tcb, "tcbDate": "2025-08-13T00:00:00Z", "tcbStatus": "UpToDate"}
    text = compact({**WORLD.tcb_info(), "tcbLevels": [one]})
    found = read({**BUNDLE, "tcb_info": text, "tcb_info_signature": WORLD.sign(text)})
    assert faults(found) == {Kind.INTEL_TCB_INFO: {"document_unreadable"}}


def test_version_2_has_flat_components_and_does_not_say_which_advisories() -> None:
    world = World(tee="sgx", version=3)
    flat: dict[str, Any] = {f"sgxtcbcomp{i:02}svn": 3 for i in range(1, 17)}
    info = {**world.tcb_info(), "version": 2}
    del info["id"]
    info["tcbLevels"] = [
        {"tcb": {**flat, "pcesvn": 13}, "tcbDate": "2021-11-10T00:00:00Z", "tcbStatus": "SWHardeningNeeded"}
    ]
    text = compact(info)
    collateral = world.collateral({**world.bundle(), "tcb_info": text, "tcb_info_signature": world.sign(text)})
    tcb = verify(Evidence(world.quote()), collateral, NOW).tcb
    assert tcb is not None
    assert (tcb.merged, tcb.advisories) == ("SWHardeningNeeded", None)


# Levels and status.

WHEN = datetime(2025, 8, 13, tzinfo=UTC)


def at_level(sgx: int, pcesvn: int, tdx: tuple[int, ...] | None = None, status: str = "UpToDate") -> TcbLevel:
    padded = (*tdx, *[0] * (16 - len(tdx))) if tdx is not None else None
    return TcbLevel((sgx,) * 16, pcesvn, padded, status, WHEN, ())


def tcb_of(sgx: int, pcesvn: int, *tdx: int) -> dict[str, int]:
    return {
        **{f"sgx.{i}": sgx for i in range(16)},
        "pcesvn": pcesvn,
        **({f"tdx.{i}": tdx[i] if i < len(tdx) else 0 for i in range(16)} if tdx else {}),
    }


def test_the_first_level_that_is_reached_in_everything_counts() -> None:
    levels = [at_level(5, 13), at_level(4, 13, status="OutOfDate"), at_level(3, 5, status="Revoked")]
    assert match(levels, tcb_of(5, 13)) is levels[0]
    assert match(levels, tcb_of(9, 12)) is levels[2]
    assert match(levels, {**tcb_of(5, 13), "sgx.15": 4}) is levels[1]
    assert match(levels, tcb_of(2, 20)) is None
    assert match(levels, {}) is None


def test_a_module_of_its_own_is_left_out_of_the_level_and_judged_apart() -> None:
    levels = [at_level(1, 1, (5, 3, 2))]
    modules = {"TDX_03": (ModuleLevel(4, "UpToDate", WHEN, ()), ModuleLevel(2, "OutOfDate", WHEN, ()))}
    assert match(levels, tcb_of(1, 1, 0, 3, 2)) is levels[0]
    assert match(levels, tcb_of(1, 1, 5, 0, 2)) is None
    assert match(levels, tcb_of(1, 1, 9, 9, 1)) is None
    assert match_module(modules, tcb_of(1, 1, 3, 3)) is modules["TDX_03"][1]
    assert match_module(modules, tcb_of(1, 1, 1, 3)) is None
    assert match_module(modules, tcb_of(1, 1, 9, 4)) is None
    assert match_module(modules, tcb_of(1, 1, 9, 0)) is None


@pytest.mark.parametrize(
    ("platform", "part", "merged"),
    [
        ("UpToDate", "UpToDate", "UpToDate"),
        ("UpToDate", "OutOfDate", "OutOfDate"),
        ("SWHardeningNeeded", "UpToDate", "SWHardeningNeeded"),
        ("SWHardeningNeeded", "OutOfDate", "OutOfDate"),
        ("ConfigurationNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
        ("ConfigurationAndSWHardeningNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
        ("OutOfDate", "OutOfDate", "OutOfDate"),
        ("OutOfDateConfigurationNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
        ("Revoked", "UpToDate", "Revoked"),
        ("UpToDate", "Revoked", "Revoked"),
        ("OutOfDate", "Revoked", "Revoked"),
        ("UpToDate", "NoMatchingTcbLevel", "NoMatchingTcbLevel"),
    ],
)
def test_a_part_never_makes_a_platform_better(platform: str, part: str, merged: str) -> None:
    assert converge(platform, part) == converge(platform, part, "UpToDate") == merged


STATUSES = [
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
]
small = st.integers(1, 3)
sgx_status = st.sampled_from(STATUSES)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[World, bytes]:
    """Levels go down in every component, as Intel's mostly do: the other verifier sorts them, we do not."""
    tee = draw(st.sampled_from(["sgx", "tdx", "tdx"]))
    levels: list[dict[str, Any]] = []
    reach = [3, 3, 3, 1, 3]
    for number in range(draw(st.integers(1, 4))):
        reach = [draw(st.integers(min(1, top), top)) if number else top - draw(st.integers(0, 1)) for top in reach]
        sgx, pcesvn, *tdx = reach
        advisory = [f"INTEL-SA-{number:05}"]
        levels.append(level(sgx, pcesvn, draw(sgx_status), advisory, tdx if tee == "tdx" else None))

    def isv_levels(prefix: str) -> list[dict[str, Any]]:
        statuses = st.sampled_from(["UpToDate", "OutOfDate", "OutOfDate"])
        svns = sorted(draw(st.sets(small, min_size=1)), reverse=True)
        return [
            isv_level(svn, "UpToDate" if i == 0 else draw(statuses), [f"{prefix}-{svn}"]) for i, svn in enumerate(svns)
        ]

    world = World(
        tee=tee,
        version=draw(st.sampled_from([4, 5, 5] if tee == "tdx" else [3])),
        sgx=(draw(st.integers(2, 3)),) * 16,
        pcesvn=draw(st.integers(2, 3)),
        levels=levels,
        modules=[module_identity("TDX_01", *isv_levels("MODULE"))],
        qe_levels=isv_levels("QE"),
        qe_isvsvn=draw(st.sampled_from([3, 3, 2, 1])),
    )
    svn = bytes([draw(small), draw(st.integers(0, 1)), draw(st.integers(2, 3))])
    now = bytes([draw(st.sampled_from([3, 3, 2])), draw(st.integers(0, 1)), draw(st.integers(2, 3))])
    sept = b"\0\0\0\x10" if tee == "tdx" else b""  # dcap-qvl insists on it
    return world, world.quote(
        tee_tcb_svn=svn, tee_tcb_svn2=now if world.version == 5 and draw(st.booleans()) else None, attributes=sept
    )


@settings(max_examples=150, deadline=None)
@given(worlds())
def test_the_status_is_what_another_verifier_gives(drawn: tuple[World, bytes]) -> None:
    """dcap-qvl as the oracle. Where no level fits, it refuses."""
    world, raw = drawn
    document = world.bundle()
    tcb = verify(Evidence(raw, challenge=CHALLENGE), world.collateral(document), NOW).tcb
    assert tcb is not None
    collateral = dcap_qvl.QuoteCollateralV3.from_json(json.dumps(document))
    try:
        found = dcap_qvl.verify_with_root_ca(raw, collateral, world.root_der(), int(NOW.timestamp()))
        theirs = (found.status, tuple(sorted(set(found.advisory_ids))))
    except ValueError as error:
        theirs = (f"refused: {error}", ())
    if tcb.current is not None and worsened(str(tcb.launch), tcb.current) != tcb.launch:
        # The module that runs now is worse than the one at launch: dcap-qvl judges the launch alone.
        assert tcb.merged == worsened(str(tcb.launch), tcb.current)
    elif theirs[0].startswith("refused"):
        assert tcb.merged == "NoMatchingTcbLevel", theirs
    else:
        assert (tcb.merged, tcb.advisories) == theirs


# What is chosen when.


TEMPLATE = next(k for k in read(BUNDLE) if k.kind is Kind.INTEL_TCB_INFO)


def known(at: datetime, evaluation: int, start: int, end: int, *, id: str = "", sound: bool = True) -> Known:
    issued = NOW + start * DAY
    return replace(
        TEMPLATE,
        known_from=at,
        rank=(evaluation, issued),
        id=BlobId(id or f"{evaluation} {start} {end} {at} {sound}"),
        valid_from=issued,
        valid_until=NOW + end * DAY,
        root="Test SGX Root CA" if sound else None,
    )


def test_a_stale_document_fetched_late_loosens_nothing() -> None:
    fresh, stale = known(NOW, 20, 0, 30), known(NOW + DAY, 19, 0, 30)
    collateral = Collateral((), [fresh, stale])
    assert collateral.choose(Kind.INTEL_TCB_INFO, TCB_KEY, NOW + 2 * DAY) is fresh
    assert collateral.choose(Kind.INTEL_TCB_INFO, TCB_KEY, NOW - DAY) is None
    assert collateral.choose(Kind.INTEL_TCB_INFO, TCB_KEY, NOW + 99 * DAY) is fresh


days = st.integers(-5, 5)
some_known = st.builds(
    lambda at, evaluation, start, length, sound: known(NOW + at * DAY, evaluation, start, start + length, sound=sound),
    days,
    st.integers(1, 3),
    days,
    st.integers(0, 4),
    st.booleans(),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(some_known, max_size=6), st.lists(st.tuples(days, st.integers(-1, 1)), min_size=1, max_size=8))
def test_what_is_remembered_of_a_choice_never_changes_it(several: list[Known], moments: list[tuple[int, int]]) -> None:
    remembering = Collateral((), several)
    for day, tick in moments:
        at = NOW + day * DAY + timedelta(microseconds=tick)
        chosen = remembering.choose(Kind.INTEL_TCB_INFO, TCB_KEY, at)
        assert chosen == Collateral((), several).choose(Kind.INTEL_TCB_INFO, TCB_KEY, at)
        sound = [k for k in several if k.known_from <= at and k.root]
        begun = [k for k in sound if k.valid_from <= at]
        if chosen is None:
            assert not sound
        else:
            assert chosen in (begun or sound)
            assert chosen.rank == max(k.rank for k in begun or sound)


def test_an_older_statement_never_comes_back_when_the_newest_expires() -> None:
    """TCB info 21 says OutOfDate and is not fetched again: 20, still valid, does not make the platform UpToDate."""
    older, newer = known(NOW, 20, 0, 9), known(NOW, 21, 0, 3)
    collateral = Collateral((), [older, newer])
    for moment in (NOW + 3 * DAY, NOW + 3 * DAY + timedelta(microseconds=1), NOW + 8 * DAY):
        assert collateral.choose(Kind.INTEL_TCB_INFO, TCB_KEY, moment) is newer


def test_one_that_has_not_begun_does_not_displace_what_is_in_force() -> None:
    current, announced = known(NOW, 20, 0, 9), known(NOW, 21, 5, 30)
    collateral = Collateral((), [current, announced])
    assert collateral.choose(Kind.INTEL_TCB_INFO, TCB_KEY, NOW + DAY) is current
    assert collateral.choose(Kind.INTEL_TCB_INFO, TCB_KEY, NOW + 5 * DAY) is announced


def test_one_document_may_say_two_things_of_one_platform() -> None:
    """An unsound statement does not hide the sound one beside it."""
    spoilt = {"tcbInfo": BUNDLE["tcb_info"], "tcbInfoSignature": "00" * 64, "tcbInfoIssuerChain": SIGNERS}
    good = {**spoilt, "tcbInfoSignature": BUNDLE["tcb_info_signature"]}
    collateral = Collateral((), read({"platforms": [spoilt, good]}))
    chosen = collateral.choose(Kind.INTEL_TCB_INFO, TCB_KEY, NOW)
    assert chosen is not None
    assert chosen.reasons == ()


def test_the_memo_is_bounded_and_forgets_the_oldest_first() -> None:
    memo = Memo()
    for i in range(3 * Memo.LIMIT):
        memo[i] = i
    assert len(memo) <= Memo.LIMIT
    assert 3 * Memo.LIMIT - 1 in memo
    assert 0 not in memo


# Bad input, and the real thing.


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
def test_random_documents_never_raise_anything_else(raw: bytes) -> None:
    for document in (raw, b"{" + raw, json.dumps({"tcb_info": raw.decode("latin-1"), "pck_crl": raw.hex()}).encode()):
        try:
            found = read(document)
        except UnknownDocument:
            continue
        assert all(k.reasons for k in found)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_mutated_bundle_never_raises_and_never_gains_a_sound_statement(data: st.DataObject) -> None:
    raw = bytearray(json.dumps(BUNDLE).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read(bytes(raw))
    except UnknownDocument:
        return
    genuine = {k.key: k.parsed for k in read(BUNDLE)}
    for one in found:
        if not one.reasons:
            assert isinstance(one.parsed, TcbInfo | QeIdentity | Crl)
            whole = genuine[one.key]
            if isinstance(one.parsed, Crl):
                assert isinstance(whole, Crl)
                assert one.parsed.list.tbs == whole.list.tbs
            else:
                assert isinstance(whole, TcbInfo | QeIdentity)
                assert one.parsed.signed == whole.signed


def test_intels_own_issuers_lead_to_intels_root() -> None:
    for issuer in known_issuers():
        assert not isinstance(path(issuer, (), vendor_roots()), NoPath)


def test_every_real_document_is_sound(feeds: Path) -> None:
    """Five years of TCB info, identities and revocation lists, with and without their chains."""
    seen = 0
    for file in sorted((feeds / "intel").rglob("*")):
        if file.parent.name in ("tcb", "identity", "crl", "bundle", "fleet"):
            found = parse(file.read_bytes(), NOW, vendor_roots())
            assert [k.reasons for k in found if k.reasons] == [], file
            seen += len(found)
    assert seen > 90


def test_a_recorded_answer_is_read_with_its_headers(feeds: Path) -> None:
    for file in sorted((feeds / "intel" / "http").rglob("*.json")):
        answer = json.loads(file.read_text())
        body = file.with_suffix(".body").read_bytes()
        text = body.hex() if body[:1] == b"\x30" else body.decode()
        found = parse(json.dumps({**answer, "body": text}).encode(), NOW, vendor_roots())
        assert [k.reasons for k in found] == [()]


def test_evaluate_reports_parts_even_where_no_level_fits() -> None:
    merged = evaluate([], {}, [ModuleLevel(1, "UpToDate", WHEN, ("INTEL-SA-1",))], (1,) * 16, 1, 5)
    assert (merged.merged, merged.platform, merged.qe, merged.advisories) == (
        "NoMatchingTcbLevel",
        "NoMatchingTcbLevel",
        "UpToDate",
        (),
    )
