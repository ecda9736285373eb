"""The bare signature checks of one verification: what no implementation can do without, timed by itself.

Found by reading the evidence and documents here once more, plainly, with `cryptography` alone, so that the yardstick
does not lean on what it measures.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from bench.specimens import Specimen
from ratchet import cbor
from ratchet.collateral.roots import vendor_roots
from ratchet.evidence import Evidence
from ratchet.evidence.amd.endorsement import certificate_table

Check = Callable[[], object]


def checks(kind: str, specimen: Specimen) -> dict[str, tuple[Check, ...]]:
    """Row -> its signature checks.

    cold: everything, the vendor's statements too. first: what a machine brings with it. repeat: what is new in every
    piece of evidence, which is its own signature alone.
    """
    read = {"snp": _snp, "az-snp": _azure, "az-tdx": _azure, "nitro": _nitro}.get(kind, _intel)
    own, machine, vendor = read(specimen)
    rows = {"cold": (*own, *machine, *vendor), "first": (*own, *machine), "repeat": tuple(own)}
    for row in rows.values():
        run(row)  # each must hold, or the yardstick measures nothing
    return rows


def run(row: Iterable[Check]) -> None:
    """Do them all; raises where a signature does not hold."""
    for check in row:
        check()


_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.S)


def _certificates(data: bytes) -> list[x509.Certificate]:
    return [x509.load_pem_x509_certificate(block) for block in _PEM.findall(data)]


def _ecdsa(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes, kind: hashes.HashAlgorithm) -> Check:
    half = len(signature) // 2
    der = encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
    how = ec.ECDSA(kind)
    return lambda: key.verify(der, data, how)


def _issued(one: x509.Certificate | x509.CertificateRevocationList, issuer: x509.Certificate) -> Check:
    key = issuer.public_key()
    data = one.tbs_certificate_bytes if isinstance(one, x509.Certificate) else one.tbs_certlist_bytes
    if isinstance(key, rsa.RSAPublicKey):
        pss = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
        return lambda: key.verify(one.signature, data, pss, hashes.SHA384())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert one.signature_hash_algorithm is not None
    how = ec.ECDSA(one.signature_hash_algorithm)
    return lambda: key.verify(one.signature, data, how)


def _intel(specimen: Specimen) -> tuple[list[Check], list[Check], list[Check]]:
    raw = specimen.evidence.raw
    version = int.from_bytes(raw[:2], "little")
    kind = "tdx" if version > 3 and raw[4] == 0x81 else "sgx"
    body = int.from_bytes(raw[50:54], "little") + 6 if version == 5 else 384 if kind == "sgx" else 584
    signed = 48 + body
    at = signed + 4
    signature, attestation_key = raw[at : at + 64], raw[at + 64 : at + 128]
    at += 128
    if version > 3:
        at += 6  # certification data of type 6 wraps the rest
    report, report_signature = raw[at : at + 384], raw[at + 384 : at + 448]
    at += 448
    at += 2 + int.from_bytes(raw[at : at + 2], "little")
    length = int.from_bytes(raw[at + 2 : at + 6], "little")
    chain = _certificates(raw[at + 6 : at + 6 + length])
    root = next(c for c in chain if c.subject == c.issuer)
    leaf = next(c for c in chain if not any(other.issuer == c.subject for other in chain))
    ca = next(c for c in chain if c not in (root, leaf))
    key = ec.EllipticCurvePublicNumbers(
        int.from_bytes(attestation_key[:32]), int.from_bytes(attestation_key[32:]), ec.SECP256R1()
    ).public_key()
    pck = leaf.public_key()
    assert isinstance(pck, ec.EllipticCurvePublicKey)
    own = [_ecdsa(key, signature, raw[:signed], hashes.SHA256())]
    machine = [_ecdsa(pck, report_signature, report, hashes.SHA256()), _issued(leaf, ca)]

    bundle = next(d for d in map(_json, specimen.documents) if d and _is_for(d, kind, leaf))
    signer = next(c for c in _certificates(bundle["tcb_info_issuer_chain"].encode()) if c.subject != c.issuer)
    signer_key = signer.public_key()
    assert isinstance(signer_key, ec.EllipticCurvePublicKey)
    vendor = [
        _issued(ca, root),
        _issued(signer, root),
        _ecdsa(signer_key, _bytes(bundle["tcb_info_signature"]), bundle["tcb_info"].encode(), hashes.SHA256()),
        _ecdsa(signer_key, _bytes(bundle["qe_identity_signature"]), bundle["qe_identity"].encode(), hashes.SHA256()),
        _issued(_crl(bundle["root_ca_crl"]), root),
        _issued(_crl(bundle["pck_crl"]), ca),
    ]
    return own, machine, vendor


def _json(document: bytes) -> dict[str, str] | None:
    if not document.startswith(b"{"):
        return None
    found = json.loads(document)
    return found if isinstance(found, dict) and "tcb_info" in found and "qe_identity" in found else None


def _is_for(bundle: dict[str, str], kind: str, leaf: x509.Certificate) -> bool:
    info = json.loads(bundle["tcb_info"])
    der = leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.2.840.113741.1.13.1")).value
    assert isinstance(der, x509.UnrecognizedExtension)
    return (info.get("id") or "SGX").lower() == kind and bytes.fromhex(info["fmspc"]) in der.value


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return base64.b64decode(text)


def _crl(text: str) -> x509.CertificateRevocationList:
    if text.startswith("-----BEGIN"):
        return x509.load_pem_x509_crl(text.encode())
    return x509.load_der_x509_crl(_bytes(text))


def _snp(specimen: Specimen) -> tuple[list[Check], list[Check], list[Check]]:
    report = specimen.evidence.raw[:1184]
    pool: list[x509.Certificate] = []
    for data in (specimen.evidence.raw[1184:], *specimen.evidence.endorsements, *specimen.documents):
        pool += _any(data)
    pool += [x509.load_der_x509_certificate(root.der) for root in (*vendor_roots(), *specimen.roots)]
    leaf = next(c for c in pool if _is_p384(c) and not any(other.issuer == c.subject for other in pool))
    signer = next(c for c in pool if c.subject == leaf.issuer)
    root = next(c for c in pool if c.subject == signer.issuer and c.subject == c.issuer)
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    r, s = report[0x2A0 : 0x2A0 + 48][::-1], report[0x2E8 : 0x2E8 + 48][::-1]
    own = [_ecdsa(key, r + s, report[:0x2A0], hashes.SHA384())]
    return own, [_issued(leaf, signer)], [_issued(signer, root)]


def _azure(specimen: Specimen) -> tuple[list[Check], list[Check], list[Check]]:
    """The TPM quote's signature, and those of the hardware's evidence inside. An SNP report is the same in all evidence
    of a machine since its start, so that its signature is no part of a repeat.
    """
    members = json.loads(specimen.evidence.raw)
    report = _base64url(members["hcl_report"])
    keys = json.loads(report[0x4D4 : 0x4D4 + int.from_bytes(report[0x4D0:0x4D4], "little")])["keys"]
    n, e = (int.from_bytes(_base64url(keys[0][name])) for name in ("n", "e"))
    message, signature = (_base64url(members["tpm_quote"][name]) for name in ("message", "signature"))
    key = rsa.RSAPublicNumbers(e, n).public_key()
    how, hashed = padding.PKCS1v15(), hashes.SHA256()
    part = _base64url(members["td_quote"]) if "td_quote" in members else report[0x20 : 0x20 + 1184]
    beside = (_base64url(members["vcek"]),) if "vcek" in members else ()
    inner = replace(specimen, evidence=Evidence(part, endorsements=beside))
    quoted: Check = lambda: key.verify(signature, message, how, hashed)  # noqa: E731  # as the others here
    if "td_quote" in members:
        own, machine, vendor = _intel(inner)
        return [quoted, *own], machine, vendor
    report_signed, machine, vendor = _snp(inner)
    return [quoted], [*report_signed, *machine], vendor


def _base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _nitro(specimen: Specimen) -> tuple[list[Check], list[Check], list[Check]]:
    """The document's signature; the leaf's and those of the three issuers that come with it, up to the root."""
    protected, _, payload, signature = cbor.decode(specimen.evidence.raw)
    document = cbor.decode(payload)
    chain = [x509.load_der_x509_certificate(der) for der in (*document["cabundle"], document["certificate"])]
    key = chain[-1].public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    # RFC 9052, 4.4; a payload of 256 to 65535 bytes.
    signed = b"\x84\x6aSignature1\x44" + protected + b"\x40\x59" + len(payload).to_bytes(2, "big") + payload
    issued = [_issued(one, issuer) for issuer, one in pairwise(chain)]
    return [_ecdsa(key, signature, signed, hashes.SHA384())], issued, []


def _any(data: bytes) -> list[x509.Certificate]:
    if b"-----BEGIN" in data:
        return _certificates(data)
    if data[:2] == b"\x30\x82":
        try:
            return [x509.load_der_x509_certificate(data)]
        except ValueError:
            return []
    table = certificate_table(data)
    return [x509.load_der_x509_certificate(one) for one in table or () if one[:2] == b"\x30\x82"]


def _is_p384(one: x509.Certificate) -> bool:
    key = one.public_key()
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1)
