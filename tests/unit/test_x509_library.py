"""What `cryptography` cannot do for certificates, so that we do it: see docs/adr/0012-x509.md.

Each test shows the library failing at one thing. When one fails, a newer library can: then ours goes.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509 import verification
from intel_world import World, integer, oid
from x509_world import BEGIN, GOOD, SALT_48, crl, entry, pss, sequence, sign, tlv

from ratchet.collateral.roots import known_issuers, known_signers, vendor_roots
from ratchet.evidence.intel.pck import SGX_EXTENSION
from ratchet.x509.certificate import BadCertificate, read_certificate, read_crl
from ratchet.x509.chain import Path, path


def test_case_1_a_serial_number_of_0_is_warned_of_and_will_be_refused() -> None:
    amds = replace(GOOD, serial=integer(0)).sign()
    with pytest.warns(CryptographyDeprecationWarning, match="will cause an exception in a future release"):
        x509.load_der_x509_certificate(amds)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CryptographyDeprecationWarning):
            x509.load_der_x509_certificate(amds)
        ours = read_certificate(amds)
    assert (ours.serial, ours.der, ours.tbs) == (0, amds, replace(GOOD, serial=integer(0)).tbs)


def test_case_2_two_algorithms_that_differ_are_read() -> None:
    other = replace(GOOD, outer=sequence(oid("1.2.840.10045.4.3.3"))).sign()
    assert x509.load_der_x509_certificate(other).signature_algorithm_oid.dotted_string == "1.2.840.10045.4.3.3"
    with pytest.raises(BadCertificate, match="two signature algorithms differ"):
        read_certificate(other)


def test_case_3_parameters_of_pss_are_not_told() -> None:
    trailer_2 = pss(SALT_48, trailer=tlv(0xA3, integer(2))).sign()
    parameters = x509.load_der_x509_certificate(trailer_2).signature_algorithm_parameters
    assert isinstance(parameters, padding.PSS)
    assert not {"salt_length", "trailer_field"} & set(dir(parameters))
    assert not {"algorithm", "hash_algorithm"} & set(dir(parameters.mgf))
    with pytest.raises(BadCertificate, match="signature algorithm"):
        read_certificate(trailer_2)


def test_case_4_unused_bits_of_a_signature_are_dropped() -> None:
    bits = sign(GOOD.tbs)[:-1] + b"\0"
    unused = replace(GOOD, signature=tlv(3, b"\1" + bits)).sign()
    assert x509.load_der_x509_certificate(unused).signature == bits
    assert x509.load_der_x509_crl(crl(entry(), unused=1)).signature
    for read, data in ((read_certificate, unused), (read_crl, crl(entry(), unused=1))):
        with pytest.raises(BadCertificate, match="not whole bytes"):
            read(data)


def test_case_5_the_version_of_a_revocation_list_is_not_told() -> None:
    """Version 1 has no extensions, so nothing can say that it is a delta or an indirect list."""
    tbs = sequence(GOOD.inner, GOOD.issuer, BEGIN, BEGIN, sequence(entry()))
    first = sequence(tbs, GOOD.outer, tlv(3, b"\0" + sign(tbs)))
    assert not hasattr(x509.load_der_x509_crl(first), "version")
    with pytest.raises(BadCertificate, match="version 2"):
        read_crl(first)


@asn1.sequence
class _Pair:
    name: x509.ObjectIdentifier
    value: asn1.TLV


def test_case_6_a_list_of_pairs_as_in_intels_extension_cannot_be_described() -> None:
    data = read_certificate(World().pck_der()).extensions[SGX_EXTENSION]
    with pytest.raises(TypeError):
        asn1.decode_der(list[_Pair], data)


def test_case_7_amds_signatures_are_forbidden_in_its_paths() -> None:
    roots = vendor_roots()
    store = verification.Store([x509.load_der_x509_certificate(root.der) for root in roots])
    anything = verification.ExtensionPolicy.permit_all()
    constrained = anything.require_present(x509.BasicConstraints, verification.Criticality.AGNOSTIC, None)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    builder = verification.PolicyBuilder().store(store).time(now)
    theirs = builder.extension_policies(ca_policy=constrained, ee_policy=anything).build_client_verifier()
    for one in (issuer for issuer in known_issuers() if issuer.not_after > now):
        # Intel's: with its rules for the Web relaxed, the library finds a path.
        assert theirs.verify(x509.load_der_x509_certificate(one.der), [])
    assert known_signers()
    for one in known_signers():
        with pytest.raises(verification.VerificationError, match="Forbidden signature algorithm"):
            theirs.verify(x509.load_der_x509_certificate(one.der), [])
        assert isinstance(path(one, (), roots), Path)
