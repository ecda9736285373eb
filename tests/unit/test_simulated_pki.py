"""The simulated vendors' keys and certificates: the same each time, and laid out like the real ones."""

from __future__ import annotations

import json
import re
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from collectors.simulated import der
from collectors.simulated.amd.groups import Product, SnpFirmware
from collectors.simulated.amd.pki import amd_of
from collectors.simulated.intel.pki import STRANGER, Level, Tcb, Tee, intel_of
from collectors.simulated.keys import Keyring
from collectors.simulated.vendor import Vendor
from ratchet.collateral import parse

NOW = datetime(2026, 3, 2, tzinfo=UTC)
TCB = Tcb(7, 13, 8, 1, 5)
PSS = padding.PSS(padding.MGF1(hashes.SHA384()), 48)


@pytest.fixture(scope="session")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Vendor:
    return Vendor(tmp_path_factory.getbasetemp() / "simulated-vendor")


def test_keys_are_kept_for_their_owner_alone_and_are_the_same_when_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "vendor"
    first, again = Keyring(folder), Keyring(folder)
    assert first.ec("a", 256).spki == again.ec("a", 256).spki
    assert first.rsa("ark").spki == again.rsa("ark").spki
    assert first.ec("a", 256).spki != first.ec("b", 256).spki
    assert first.ec("a", 256).spki != Keyring(tmp_path / "another").ec("a", 256).spki
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    kept = sorted(file.name for file in folder.iterdir())
    assert kept == ["ark.pem", "secret"]
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in kept} == {0o600}


def test_two_that_make_keys_at_once_end_up_with_the_same_ones(tmp_path: Path) -> None:
    found: list[bytes] = []
    start = threading.Barrier(8)

    def make() -> None:
        start.wait()
        found.append(Keyring(tmp_path).derive("x", 32))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]


def test_signatures_verify_and_are_the_same_each_time(vendor: Vendor) -> None:
    key = vendor.keys.ec("test", 384)
    assert key.sign(b"message") == key.sign(b"message")
    public = key.private.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(key.sign(b"message"), b"message", ec.ECDSA(hashes.SHA384()))
    big = vendor.keys.rsa("amd-ark-milan")
    assert big.sign(b"message") == big.sign(b"message")
    assert big.sign(b"message") != big.sign(b"another")
    big.public.verify(big.sign(b"message"), b"message", PSS, hashes.SHA384())


@pytest.mark.parametrize(
    ("number", "encoded"), [(0, "020100"), (127, "02017f"), (128, "02020080"), (255, "020200ff"), (256, "02020100")]
)
def test_whole_numbers_take_the_fewest_octets(number: int, encoded: str) -> None:
    assert der.integer(number).hex() == encoded


def test_a_pck_certificate_is_laid_out_like_intels(vendor: Vendor, corpus: Path) -> None:
    quote = (corpus / "sgx-quote" / "sgx-signal-cdsi-2026.bin").read_bytes()
    pems = re.findall(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", quote, re.S)
    real = [x509.load_pem_x509_certificate(pem) for pem in pems]
    chain = intel_of(vendor.keys).pck("icelake-001", "51606a000000", "platform", TCB).chain
    ours = x509.load_pem_x509_certificates(chain.rstrip(b"\0"))
    assert [_layout(c) for c in ours] == [_layout(c) for c in real]
    assert all("Simulated" in c.subject.rfc4514_string() for c in ours)
    # The SGX extension has the same elements, in the same order.
    assert _elements(_sgx(ours[0])) == _elements(_sgx(real[0]))
    for below, above in zip(ours, [*ours[1:], ours[-1]], strict=True):
        below.verify_directly_issued_by(above)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")  # AMD's leaf certificates have serial 0
@pytest.mark.parametrize(
    ("product", "file"), [("Milan", "snp3-dstack-milan"), ("Genoa", "snp-oak-genoa-oc"), ("Turin", "snp-ms-turin")]
)
def test_a_vcek_and_its_chain_are_laid_out_like_amds(vendor: Vendor, corpus: Path, product: Product, file: str) -> None:
    real = x509.load_der_x509_certificate((corpus / "snp-report" / f"{file}.vcek.der").read_bytes())
    firmware = SnpFirmware(fmc=1, bl=1, tee=1, snp=4, ucode=81) if product == "Turin" else SnpFirmware()
    chip = amd_of(vendor.keys).chip(product, "milan-001")
    vcek = x509.load_der_x509_certificate(amd_of(vendor.keys).vcek(chip, firmware))
    assert _layout(vcek) == _layout(real)
    assert vcek.serial_number == 0
    found = {
        e.oid.dotted_string: e.value.value for e in vcek.extensions if isinstance(e.value, x509.UnrecognizedExtension)
    }
    assert found["1.3.6.1.4.1.3704.1.4"] == chip.hwid
    assert found["1.3.6.1.4.1.3704.1.3.8"] == der.integer(firmware.ucode)
    ask, ark = x509.load_pem_x509_certificates(amd_of(vendor.keys).chain(product))
    name = {"Milan": "ask_ark_milan", "Genoa": "ask_ark_genoa", "Turin": "ask_ark_turin_vcek"}[product]
    theirs = x509.load_pem_x509_certificates((corpus / "collateral" / "amd" / f"{name}.pem").read_bytes())
    assert [sorted(_layout(c)[0]) for c in (ask, ark)] == [sorted(_layout(c)[0]) for c in theirs]
    for below, above in ((vcek, ask), (ask, ark), (ark, ark)):
        key = above.public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        key.verify(below.signature, below.tbs_certificate_bytes, PSS, hashes.SHA384())


def test_a_bundle_has_the_keys_and_forms_of_a_real_one(vendor: Vendor, corpus: Path) -> None:
    real = json.loads((corpus / "collateral" / "intel" / "near-tdx-b0c06f000000-2026-08.json").read_bytes())
    ours = json.loads(_bundle(vendor, "tdx"))
    assert ours.keys() == real.keys()
    assert _shape(json.loads(ours["tcb_info"])) == _shape(json.loads(real["tcb_info"]))
    assert _shape(json.loads(ours["qe_identity"])).keys() == _shape(json.loads(real["qe_identity"])).keys()
    assert list(json.loads(ours["tcb_info"])) == list(json.loads(real["tcb_info"]))
    for key in ("root_ca_crl", "pck_crl"):
        mine, theirs = (x509.load_der_x509_crl(bytes.fromhex(b[key])) for b in (ours, real))
        assert [e.oid for e in mine.extensions] == [e.oid for e in theirs.extensions]
        assert mine.signature_algorithm_oid == theirs.signature_algorithm_oid


@pytest.mark.parametrize("tee", ["sgx", "tdx"])
def test_ratchet_reads_a_bundle_under_the_simulated_root_and_under_no_other(vendor: Vendor, tee: Tee) -> None:
    bundle = _bundle(vendor, tee)
    trusted = parse(bundle, NOW, vendor.roots())
    assert {k.root for k in trusted} == {"Simulated Intel SGX Root CA"}
    assert not any(k.reasons for k in trusted)
    assert len(trusted) == 4
    untrusted = parse(bundle, NOW, vendor.roots()[1:])
    assert all(k.root is None and k.reasons for k in untrusted)


def test_roots_are_marked_as_simulated(vendor: Vendor) -> None:
    roots = vendor.roots()
    assert len(roots) == 5
    assert all(root.simulated and root.name.startswith("Simulated ") for root in roots)
    assert vendor.roots() == Vendor(vendor.keys.folder).roots()


def test_strangers_have_the_same_names_and_other_keys(vendor: Vendor) -> None:
    stranger = intel_of(vendor.keys, STRANGER)
    ours, theirs = (x509.load_der_x509_certificate(v.root) for v in (intel_of(vendor.keys), stranger))
    assert ours.subject == theirs.subject
    assert ours.public_key() != theirs.public_key()


def _bundle(vendor: Vendor, tee: Tee) -> bytes:
    levels = (Level(7, 13, 5, NOW, "INTEL-SA-01153"), Level(6, 13, 4, NOW, None))
    return intel_of(vendor.keys).bundle(
        tee=tee,
        fmspc="51606a000000",
        ca="platform",
        history=levels,
        qe=8,
        evaluation=17,
        issued=NOW,
        crl_issued=NOW,
        revoked=[(77, NOW)],
    )


def _layout(certificate: x509.Certificate) -> tuple[list[tuple[str, bool]], str, list[str], int]:
    """Extensions in order, signature algorithm, name attributes in order, size of key."""
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
    return (
        [(e.oid.dotted_string, e.critical) for e in certificate.extensions],
        certificate.signature_algorithm_oid.dotted_string,
        [attribute.oid.dotted_string for attribute in certificate.subject],
        key.key_size,
    )


def _sgx(certificate: x509.Certificate) -> bytes:
    value = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.2.840.113741.1.13.1")).value
    assert isinstance(value, x509.UnrecognizedExtension)
    return value.value


def _elements(encoded: bytes) -> list[tuple[int, bytes]]:
    """Tags in order, and the OIDs; of other elements only the tag, for their values differ."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(encoded):
        tag, size, start = encoded[at], encoded[at + 1], at + 2
        if size & 0x80:
            start += size & 0x7F
            size = int.from_bytes(encoded[at + 2 : start], "big")
        content = encoded[start : start + size]
        found.append((tag, content if tag == 6 else b""))
        if tag == 0x30:
            found += _elements(content)
        at = start + size
    return found


def _shape(value: Any) -> Any:
    """Names and types, of lists the first element alone."""
    if isinstance(value, dict):
        return {key: _shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shape(value[0])] if value else []
    return type(value).__name__
