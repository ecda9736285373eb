"""A small Intel of our own for the tests: a root, its CAs and signers, platforms, collateral and quotes.

Made with `cryptography`'s builders and plain `struct`, so that what reads it is held against another writer of it.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from ratchet.collateral import Collateral, Known, parse
from ratchet.collateral.roots import INTEL, root_from
from ratchet.evidence import Evidence, Outcome, Proof, Step, StepName, verify
from ratchet.x509.anchor import Root

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MADE = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
FMSPC, PCEID = bytes.fromhex("90c06f000000"), b"\0\0"
QE_SIGNER, TD_QE_SIGNER = b"\x8c" * 32, b"\xdc" * 32
CHALLENGE = b"nonce of the collector"

_SGX = "1.2.840.113741.1.13.1"


@cache
def key(name: str) -> ec.EllipticCurvePrivateKey:
    """The same key for the same name, in every run."""
    return ec.derive_private_key(int.from_bytes(hashlib.sha256(name.encode()).digest(), "big") >> 1, ec.SECP256R1())


def raw_signature(signer: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    r, s = decode_dss_signature(signer.sign(message, ec.ECDSA(SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def point(name: str) -> bytes:
    return key(name).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]


def name_of(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def certificate(
    subject: str,
    issuer: str,
    *,
    ca: bool = False,
    path_length: int | None = None,
    serial: int = 7,
    until: datetime = NOW + 3650 * DAY,
    usage: str | None = None,
    extensions: Iterable[tuple[str, bytes, bool]] = (),
    signed_by: str | None = None,
    key_name: str | None = None,
) -> bytes:
    """DER of a certificate; keys are called as their owners unless said otherwise."""
    sign = usage or ("certificates" if ca else "data")
    builder = (
        x509.CertificateBuilder()
        .subject_name(name_of(subject))
        .issuer_name(name_of(issuer))
        .public_key(key(key_name or subject).public_key())
        .serial_number(serial)
        .not_valid_before(MADE)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca, path_length), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=sign == "data",
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=sign == "certificates",
                crl_sign=sign == "certificates",
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    ours = key(key_name or subject).public_key()
    theirs = key(issuer).public_key()  # a forger claims the same
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(ours), critical=False)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(theirs), critical=False)
    for oid, value, critical in extensions:
        builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), critical)
    return builder.sign(key(signed_by or issuer), SHA256()).public_bytes(Encoding.DER)


def pem(*ders: bytes) -> bytes:
    return b"".join(x509.load_der_x509_certificate(one).public_bytes(Encoding.PEM) for one in ders)


def tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([0x82]) + size.to_bytes(2, "big")
    return bytes([tag]) + length + content


def oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    out = [40 * first + second]
    for arc in rest:
        part = [arc & 0x7F]
        while arc := arc >> 7:
            part.append(arc & 0x7F | 0x80)
        out += reversed(part)
    return tlv(6, bytes(out))


def integer(value: int) -> bytes:
    return tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


@dataclass
class World:
    """Everything below one root, as of `NOW`; change an attribute and ask again."""

    prefix: str = "Test"
    tee: str = "tdx"
    sgx: Sequence[int] = (3,) * 16
    pcesvn: int = 13
    fmspc: bytes = FMSPC
    ppid: bytes = b"\x11" * 16
    instance: bytes | None = b"\x22" * 16
    pck_serial: int = 1001
    pck_until: datetime = NOW + 3650 * DAY
    ca_serial: int = 501
    ca_path_length: int | None = 0
    signer_name: str = "SGX TCB Signing"
    signer_serial: int = 601
    revoked: Sequence[int] = ()
    root_revoked: Sequence[int] = ()
    issued: datetime = NOW - 10 * DAY
    next_update: datetime = NOW + 20 * DAY
    crl_until: datetime = NOW + 20 * DAY
    levels: list[dict[str, Any]] = field(default_factory=list)
    modules: list[dict[str, Any]] = field(default_factory=list)
    qe_levels: list[dict[str, Any]] = field(default_factory=list)
    evaluation: int = 20
    qe_isvsvn: int = 8
    version: int = 5
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def root_name(self) -> str:
        return f"{self.prefix} SGX Root CA"

    @property
    def ca_name(self) -> str:
        return f"{self.prefix} SGX PCK Platform CA"

    def root_der(self) -> bytes:
        return _certificate_once(self.root_name, self.root_name, ca=True, path_length=1, serial=1)

    def root(self) -> Root:
        return root_from(self.root_name, INTEL, self.root_der(), "test", simulated=True)

    def ca_der(self) -> bytes:
        return _certificate_once(
            self.ca_name, self.root_name, ca=True, path_length=self.ca_path_length, serial=self.ca_serial
        )

    def signer_der(self) -> bytes:
        return _certificate_once(f"{self.prefix} {self.signer_name}", self.root_name, serial=self.signer_serial)

    def pck_der(self, *more: tuple[str, bytes, bool]) -> bytes:
        extension = (_SGX, self.sgx_extension(), False)
        return _certificate_once(
            f"{self.prefix} SGX PCK Certificate",
            self.ca_name,
            serial=self.pck_serial,
            until=self.pck_until,
            extensions=(extension, *more),
        )

    def sgx_extension(self) -> bytes:
        def pair(arc: str, value: bytes) -> bytes:
            return tlv(0x30, oid(f"{_SGX}.{arc}") + value)

        tcb = b"".join(pair(f"2.{i + 1}", integer(svn)) for i, svn in enumerate(self.sgx))
        tcb += pair("2.17", integer(self.pcesvn)) + pair("2.18", tlv(4, bytes(self.sgx)))
        body = pair("1", tlv(4, self.ppid)) + pair("2", tlv(0x30, tcb)) + pair("3", tlv(4, PCEID))
        body += pair("4", tlv(4, self.fmspc)) + pair("5", tlv(0x0A, b"\0"))
        if self.instance is not None:
            body += pair("6", tlv(4, self.instance))
            body += pair("7", tlv(0x30, pair("7.1", tlv(1, b"\xff")) + pair("7.3", tlv(1, b"\0"))))
        return tlv(0x30, body)

    def chain(self) -> bytes:
        return pem(self.pck_der(), self.ca_der(), self.root_der())

    def crl(self, issuer: str, revoked: Sequence[int]) -> bytes:
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(name_of(issuer))
            .last_update(self.issued)
            .next_update(self.crl_until)
            .add_extension(x509.CRLNumber(1), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key(issuer).public_key()), critical=False)
        )
        for serial in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(self.issued).build()
            )
        return builder.sign(key(issuer), SHA256()).public_bytes(Encoding.DER)

    def tcb_info(self) -> dict[str, Any]:
        tdx = self.tee == "tdx"
        found: dict[str, Any] = {
            "id": "TDX" if tdx else "SGX",
            "version": 3,
            "issueDate": date(self.issued),
            "nextUpdate": date(self.next_update),
            "fmspc": self.fmspc.hex().upper(),
            "pceId": PCEID.hex(),
            "tcbType": 0,
            "tcbEvaluationDataNumber": self.evaluation,
            "tcbLevels": self.levels or [level(tdx=[3, 0, 3] if tdx else None)],
        }
        if tdx:
            found["tdxModule"] = module_identity()
            found["tdxModuleIdentities"] = self.modules
        return found

    def identity(self) -> dict[str, Any]:
        return {
            "id": "TD_QE" if self.tee == "tdx" else "QE",
            "version": 2,
            "issueDate": date(self.issued),
            "nextUpdate": date(self.next_update),
            "tcbEvaluationDataNumber": self.evaluation,
            "miscselect": "00000000",
            "miscselectMask": "FFFFFFFF",
            "attributes": "11000000000000000000000000000000",
            "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
            "mrsigner": (TD_QE_SIGNER if self.tee == "tdx" else QE_SIGNER).hex().upper(),
            "isvprodid": 2 if self.tee == "tdx" else 1,
            "tcbLevels": self.qe_levels or [isv_level(8)],
        }

    def sign(self, text: str) -> str:
        return raw_signature(key(f"{self.prefix} {self.signer_name}"), text.encode()).hex()

    def bundle(self) -> dict[str, Any]:
        tcb_info, identity = compact(self.tcb_info()), compact(self.identity())
        signers = pem(self.signer_der(), self.root_der()).decode()
        return {
            "tcb_info": tcb_info,
            "tcb_info_signature": self.sign(tcb_info),
            "tcb_info_issuer_chain": signers,
            "qe_identity": identity,
            "qe_identity_signature": self.sign(identity),
            "qe_identity_issuer_chain": signers,
            "root_ca_crl": self.crl(self.root_name, self.root_revoked).hex(),
            "pck_crl": self.crl(self.ca_name, self.revoked).hex(),
            "pck_crl_issuer_chain": pem(self.ca_der(), self.root_der()).decode(),
        }

    def known(self, document: Mapping[str, Any] | None = None, at: datetime = NOW - DAY) -> tuple[Known, ...]:
        return parse(json.dumps(document or self.bundle()).encode(), at, (self.root(),))

    def collateral(self, *documents: Mapping[str, Any]) -> Collateral:
        known = [k for document in documents or (self.bundle(),) for k in self.known(document)]
        return Collateral((self.root(),), known)

    def quote(
        self,
        *,
        report_data: bytes | None = None,
        tee_tcb_svn: bytes = bytes([3, 0, 3]),
        tee_tcb_svn2: bytes | None = None,
        attributes: bytes = b"",
        certification: tuple[int, bytes] | None = None,
        qe_signer: bytes | None = None,
        qe_report_data: bytes | None = None,
        qe_key: str | None = None,
        mrseam: bytes = b"\x5e" * 48,
        mrsignerseam: bytes = b"",
        trailing: bytes = b"",
        mrtd: bytes = b"\xaa" * 48,
    ) -> bytes:
        """A quote of this world; what is given makes it differ from a genuine one."""
        data = (report_data if report_data is not None else CHALLENGE).ljust(64, b"\0")
        tdx = self.tee == "tdx"
        version = 4 if tdx and self.version == 3 else self.version
        header = struct.pack("<HHIHH", version, 2, 0x81 if tdx else 0, 0, 0)
        header += bytes.fromhex("939a7233f79c4ca9940a0db3957f0607") + bytes(20)
        if tdx:
            body = tee_tcb_svn.ljust(16, b"\0") + mrseam + mrsignerseam.ljust(48, b"\0") + bytes(8)
            body += attributes.ljust(8, b"\0") + bytes(8) + mrtd + bytes(48 * 7) + data
            if version == 5 and tee_tcb_svn2 is not None:
                body += tee_tcb_svn2.ljust(16, b"\0") + bytes(48)
        else:
            body = report(attributes or b"\x05", b"\xaa" * 32, b"\xbb" * 32, 5, 6, data)
        if version == 5:
            kind = 1 if not tdx else 3 if tee_tcb_svn2 is not None else 2
            header += struct.pack("<HI", kind, len(body))
        attestation = f"{self.prefix} AK"
        auth = bytes(range(32))
        held = hashlib.sha256(point(attestation) + auth).digest() + bytes(32)
        signer = qe_signer if qe_signer is not None else TD_QE_SIGNER if tdx else QE_SIGNER
        qe = report(b"\x11", b"\xcc" * 32, signer, 2 if tdx else 1, self.qe_isvsvn, qe_report_data or held)
        kind, chain = certification or (5, self.chain())
        inner = qe + raw_signature(key(qe_key or f"{self.prefix} SGX PCK Certificate"), qe)
        inner += struct.pack("<H", len(auth)) + auth + struct.pack("<HI", kind, len(chain)) + chain
        if version > 3:
            inner = struct.pack("<HI", 6, len(inner)) + inner
        signed = header + body
        signature = raw_signature(key(attestation), signed) + point(attestation) + inner
        return signed + struct.pack("<I", len(signature)) + signature + trailing

    def prove(self, raw: bytes | None = None, at: datetime = NOW, challenge: bytes | None = CHALLENGE) -> Proof:
        return verify(Evidence(raw or self.quote(), challenge=challenge), self.collateral(), at)


_CERTIFICATES: dict[str, bytes] = {}


def _certificate_once(*args: Any, **options: Any) -> bytes:
    """The same bytes for the same certificate: ECDSA signatures are random, and the bytes identify it."""
    wanted = repr((args, sorted(options.items())))
    if wanted not in _CERTIFICATES:
        _CERTIFICATES[wanted] = certificate(*args, **options)
    return _CERTIFICATES[wanted]


def report(attributes: bytes, enclave: bytes, signer: bytes, product: int, svn: int, data: bytes) -> bytes:
    """An SGX report."""
    found = bytes(16) + bytes(4) + bytes(28) + attributes.ljust(16, b"\0") + enclave + bytes(32) + signer + bytes(96)
    return found + struct.pack("<HH", product, svn) + bytes(60) + data


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def date(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def level(
    sgx: int = 3,
    pcesvn: int = 13,
    status: str = "UpToDate",
    advisories: Sequence[str] = (),
    tdx: Sequence[int] | None = None,
) -> dict[str, Any]:
    tcb: dict[str, Any] = {"sgxtcbcomponents": [{"svn": sgx}] * 16, "pcesvn": pcesvn}
    if tdx is not None:
        tcb["tdxtcbcomponents"] = [{"svn": svn} for svn in [*tdx, *[0] * (16 - len(tdx))]]
    return {"tcb": tcb, "tcbDate": "2025-08-13T00:00:00Z", "tcbStatus": status, "advisoryIDs": list(advisories)}


def isv_level(isvsvn: int, status: str = "UpToDate", advisories: Sequence[str] = ()) -> dict[str, Any]:
    found: dict[str, Any] = {"tcb": {"isvsvn": isvsvn}, "tcbDate": "2025-08-13T00:00:00Z", "tcbStatus": status}
    return {**found, "advisoryIDs": list(advisories)} if advisories else found


def module_identity(id: str = "", *levels: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
    return {"id": id, **found, "tcbLevels": list(levels)} if id else found


def outcomes(proof: Proof) -> dict[StepName, Outcome]:
    return {step.name: step.outcome for step in proof.steps}


def step(proof: Proof, name: StepName) -> Step:
    return next(s for s in proof.steps if s.name is name)


def codes(proof: Proof, name: StepName | None = None) -> set[str]:
    return {r.code for s in proof.steps if name in (None, s.name) for r in s.reasons}


def not_passed(proof: Proof) -> set[StepName]:
    return {s.name for s in proof.steps if s.outcome is not Outcome.PASSED}
