"""AMD's documents: chains, endorsement keys and revocation lists, as AMD publishes them and as an attacker would."""

from __future__ import annotations

import base64
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from snp_world import DAY, MADE, NOW, World

from ratchet.collateral import Kind, Known, UnknownDocument, amd, parse
from ratchet.collateral.roots import AMD, known_signers, root_from, vendor_roots
from ratchet.x509.chain import BadCertificate, Certificate, RevocationList

MILAN, TURIN = World("Milan"), World("Turin")
ARKS = tuple(root for root in vendor_roots() if root.vendor == AMD)


def pem(*ders: bytes, label: str = "CERTIFICATE") -> bytes:
    return b"".join(
        f"-----BEGIN {label}-----\n".encode() + base64.encodebytes(one) + f"-----END {label}-----\n".encode()
        for one in ders
    )


def read(world: World, document: bytes) -> list[Known]:
    return list(amd.parse(document, NOW, (world.root(),)))


# -- AMD's own


def test_the_shipped_roots_are_the_three_that_amd_published():
    assert [root.name for root in ARKS] == ["ARK-Milan", "ARK-Genoa", "ARK-Turin"]
    assert [amd.product_of(root) for root in ARKS] == ["Milan", "Genoa", "Turin"]
    assert not any(root.simulated for root in ARKS)


def test_every_shipped_signer_leads_to_a_shipped_root():
    for certificate in known_signers():
        (statement,) = amd.parse(certificate.der, NOW, ARKS)
        assert statement.root is not None
        assert not statement.reasons


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("ask_ark_milan", "ARK-Milan/Milan/VCEK"),
        ("ask_ark_milan_vlek", "ARK-Milan/Milan/VLEK"),
        ("ask_ark_genoa", "ARK-Genoa/Genoa/VCEK"),
        ("ask_ark_turin_vcek", "ARK-Turin/Turin/VCEK"),
    ],
)
def test_amds_chains_are_sound(corpus: Path, name: str, key: str):
    (statement,) = parse((corpus / f"collateral/amd/{name}.pem").read_bytes(), NOW, vendor_roots())
    assert (statement.kind, statement.key, statement.reasons) == (Kind.AMD_CHAIN, key, ())
    assert statement.root == key.partition("/")[0]


def test_amds_endorsement_keys_are_filed_by_chip_and_tcb(feeds: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # serial number 0 is AMD's way, not a fault
        (milan,) = parse((feeds / "amd/cert/vcek-milan.der").read_bytes(), NOW, vendor_roots())
        (turin,) = parse((feeds / "amd/cert/vcek-turin.der").read_bytes(), NOW, vendor_roots())
    assert isinstance(milan.parsed, amd.Vek)
    assert isinstance(turin.parsed, amd.Vek)
    assert milan.parsed.certificate.serial == 0
    assert milan.key == f"ARK-Milan/{milan.parsed.hwid.hex()}/0300000000000873"
    assert milan.parsed.product_name == "Milan-B0"
    assert turin.key == "ARK-Turin/1e550a8ee5cf9f4d/0000000000000009"
    assert len(turin.parsed.hwid) == 8
    assert turin.parsed.spl["fmc"] == 0


def test_a_recorded_answer_of_the_key_service_is_read(feeds: Path):
    folder = feeds / "amd/http/kds-20260629"
    kinds = {parse(one.read_bytes(), NOW, vendor_roots())[0].kind for one in folder.glob("*.body")}
    assert kinds == {Kind.AMD_CHAIN, Kind.AMD_VEK}


def test_the_address_of_a_key_is_the_one_it_was_fetched_from(feeds: Path):
    hwid = bytes.fromhex(
        "1af1aa6c1f56037a05849a59b8815cf909583f9ba9ef2f053218c437f33ba183"
        "e4e415b039b37f8205250ad15f8b88a0a3add9f4c081c0779a48ed2214378e44"
    )
    url = amd.vek_url("Genoa", hwid, bytes.fromhex("0a00000000001754"))
    assert url.removeprefix("https://kdsintf.amd.com/vcek/v1/Genoa/").startswith(hwid.hex())
    assert url.endswith("?blSPL=10&teeSPL=00&snpSPL=23&ucodeSPL=84")
    turin = amd.vek_url("Turin", hwid, bytes.fromhex("0102030400000051"))
    assert turin.endswith(f"/Turin/{hwid[:8].hex()}?fmcSPL=01&blSPL=02&teeSPL=03&snpSPL=04&ucodeSPL=81")


# -- what is said of an unsound one


def test_a_signer_of_another_house_is_filed_as_unsound():
    stranger = World("Milan", "stranger")
    (statement,) = read(MILAN, pem(stranger.signer(), stranger.ark))
    assert statement.root is None
    assert [reason.code for reason in statement.reasons] == ["chain_signature_invalid"]
    assert statement.key == "Tests ARK-Milan/Milan/VCEK"  # where whoever looks for a sound one finds why there is none


def test_a_signer_of_an_unknown_root_says_so():
    (statement,) = amd.parse(MILAN.signer(), NOW, ARKS)
    assert [reason.code for reason in statement.reasons] == ["untrusted_root"]


def test_a_signer_cannot_stand_for_another_product_than_its_root():
    genoa = World("Genoa")
    ark = root_from("both", AMD, MILAN.ark, "tests", simulated=True)
    crossed = MILAN.certify(
        genoa.signer_name("VCEK"), "Tests ARK-Milan", MILAN.key_of_signer().public_key(), serial=9, ca=True
    )
    (statement,) = amd.parse(crossed, NOW, (ark,))
    assert [reason.code for reason in statement.reasons] == ["product_mismatch"]
    assert statement.root is None


def test_a_key_beside_the_signer_that_did_not_sign_it_is_unsound():
    twin = World("Milan", "stranger").vek()
    statements = read(MILAN, pem(MILAN.signer(), twin))
    (key,) = [one for one in statements if one.kind is Kind.AMD_VEK]
    assert key.root is None
    assert {reason.code for reason in key.reasons} == {"chain_signature_invalid"}


def test_a_key_without_its_signer_is_filed_under_the_root_of_its_house():
    roots = (*ARKS, MILAN.root())
    (statement,) = amd.parse(MILAN.vek(), NOW, roots)
    assert statement.root == "Tests ARK-Milan"
    assert statement.valid_from == MADE


@pytest.mark.parametrize("bad", [b"\x09" * 63, b"\x09" * 8, b""])
def test_a_hardware_id_of_another_size_is_malformed(bad: bytes):
    (certificate,) = amd.certificates(MILAN.vek(hwid=bad))
    with pytest.raises(BadCertificate):
        amd.vek(certificate)


def test_a_ca_is_no_endorsement_key_whatever_its_extensions():
    (leaf,) = amd.certificates(MILAN.vek())
    own = [(oid, value) for oid, value in leaf.extensions.items() if oid.startswith("1.3.6.1.4.1.3704.")]
    made = MILAN.certify("Tests SEV-VCEK", "Tests SEV-Milan", MILAN.key().public_key(), ca=True, extensions=own)
    (certificate,) = amd.certificates(made)
    assert certificate.is_ca
    assert amd.vek(leaf) is not None
    assert amd.vek(certificate) is None


def test_a_hardware_id_may_be_wrapped_as_an_octet_string():
    (certificate,) = amd.certificates(MILAN.vek(hwid=b"\x04\x40" + MILAN.hwid))
    found = amd.vek(certificate)
    assert found is not None
    assert found.hwid == MILAN.hwid


def test_a_root_alone_says_whether_it_is_trusted():
    (trusted,) = read(MILAN, MILAN.ark)
    (other,) = amd.parse(MILAN.ark, NOW, ARKS)
    assert trusted.root == "Tests ARK-Milan"
    assert [reason.code for reason in other.reasons] == ["untrusted_root"]


# -- revocation lists


def test_a_list_of_the_root_is_filed_by_product_whatever_its_form():
    for document in (MILAN.crl(65537), pem(MILAN.crl(65537), label="X509 CRL")):
        (statement,) = read(MILAN, document)
        assert (statement.kind, statement.key, statement.reasons) == (Kind.AMD_CRL, "Tests ARK-Milan/Milan", ())
        assert (statement.valid_from, statement.valid_until) == (NOW - DAY, NOW + 30 * DAY)


def test_the_newer_of_two_lists_counts_whichever_came_first():
    old, new = MILAN.crl(start=NOW - 9 * DAY), MILAN.crl(65537, start=NOW - 2 * DAY)
    for order in ((old, new), (new, old)):
        chosen = MILAN.collateral(*order).choose(Kind.AMD_CRL, "Tests ARK-Milan/Milan", NOW)
        assert chosen is not None
        assert chosen.valid_from == NOW - 2 * DAY


def test_a_forged_list_is_unsound():
    (statement,) = read(MILAN, World("Milan", "stranger").crl())
    assert [reason.code for reason in statement.reasons] == ["crl_signature_invalid"]
    (critical,) = read(MILAN, MILAN.crl(critical=True))
    assert [reason.code for reason in critical.reasons] == ["crl_critical_extension"]


# -- what is none of them


@pytest.mark.parametrize("document", [b"", b"{}", b"\x30\x00", b"-----BEGIN CERTIFICATE-----", b"\xff" * 4096])
def test_other_documents_are_not_amds(document: bytes):
    assert amd.parse(document, NOW, ARKS) == ()
    with pytest.raises(UnknownDocument):
        parse(document, NOW, vendor_roots())


slow = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
DOCUMENTS = [MILAN.signer(), MILAN.vek(), TURIN.vek("VLEK"), MILAN.crl(1, 2, 65537), pem(MILAN.signer(), MILAN.ark)]


def signed(statement: Known) -> bytes:
    """The bytes that its signature is over."""
    parsed = statement.parsed
    if isinstance(parsed, amd.Chain | amd.Vek):
        return parsed.certificate.tbs
    assert isinstance(parsed, Certificate | RevocationList)
    return parsed.tbs


@slow
@given(st.sampled_from(DOCUMENTS), st.data())
def test_mutated_documents_never_raise_and_vouch_for_nothing(document: bytes, data: st.DataObject):
    mutated = bytearray(document)
    for _ in range(data.draw(st.integers(1, 5))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] ^= data.draw(st.integers(1, 255))
    for statement in read(MILAN, bytes(mutated)):
        if statement.root is not None and isinstance(statement.parsed, amd.Chain | RevocationList):
            # A change that left it sound touched nothing signed: white space or text around a PEM block, say.
            assert signed(statement) in {signed(one) for one in read(MILAN, document) if one.root}


@slow
@given(st.binary(max_size=2000))
def test_random_documents_never_raise(document: bytes):
    amd.parse(document, NOW, ARKS)
    amd.parse(b"\x30" + document, NOW, ARKS)


@slow
@given(st.sampled_from(DOCUMENTS), st.data())
def test_truncated_documents_vouch_for_nothing(document: bytes, data: st.DataObject):
    cut = document[: data.draw(st.integers(0, len(document) - 1))]
    whole = {signed(one) for one in read(MILAN, document)}
    assert all(signed(one) in whole for one in read(MILAN, cut) if one.root)
