"""A small AWS of our own for the tests: a root, a region, a zone, an instance, and enclaves whose documents it signs.

CBOR is written here by a few lines of their own, so that what reads it is held against another writer than its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ratchet.collateral import Collateral
from ratchet.collateral.roots import AWS, root_from
from ratchet.evidence import Evidence, Format, Proof, verify
from ratchet.x509.anchor import Root

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
INSTANCE = "i-0123456789abcdef0"
ENCLAVE = "enc0196f1d2c3b4a596"
IMAGE = {0: b"\xa0" * 48, 1: b"\xa1" * 48, 2: b"\xa2" * 48}
"""PCR0 to 2 of the image that the tests run."""

_CERTIFICATES: dict[str, bytes] = {}
"""Made once: ECDSA signatures are random, and the same call should give the same bytes."""


@cache
def key(name: str) -> ec.EllipticCurvePrivateKey:
    """One for each name."""
    return ec.generate_private_key(ec.SECP384R1())


@cache
def other_curve(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def cbor(value: Any) -> bytes:
    """A data item in its shortest form."""
    if value is None or isinstance(value, bool):
        return bytes([{False: 0xF4, True: 0xF5, None: 0xF6}[value]])
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, Mapping):
        return head(5, len(value)) + b"".join(cbor(k) + cbor(v) for k, v in value.items())
    return head(4, len(value)) + b"".join(map(cbor, value))


def head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    size = next(size for size in (1, 2, 4, 8) if number < 1 << 8 * size)
    return bytes([major << 5 | {1: 24, 2: 25, 4: 26, 8: 27}[size]]) + number.to_bytes(size, "big")


@dataclass(frozen=True)
class World:
    """One AWS; `house` tells its keys from those of another of the same names."""

    house: str = "tests"
    instance: str = INSTANCE
    region: str = "eu-test-1"
    image: Mapping[int, bytes] = field(default_factory=lambda: dict(IMAGE))

    # -- certificates

    def certify(
        self,
        subject: str,
        issuer: str,
        *,
        start: datetime = NOW - 300 * DAY,
        end: datetime = NOW + 300 * DAY,
        ca: bool = True,
        length: int | None = None,
        usage: str | None = "",
        critical: bool = False,
        public: ec.EllipticCurvePublicKey | None = None,
    ) -> bytes:
        """`usage`: `sign` for signatures, empty for what a CA or a leaf has, None for no such extension."""
        what = repr((self.house, subject, issuer, start, end, ca, length, usage, critical, public))
        if what in _CERTIFICATES:
            return _CERTIFICATES[what]
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(_name(issuer))
            .public_key(public or key(f"{self.house} {subject}").public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca, length), critical=True)
        )
        if usage is not None:
            signs = usage == "sign" or not ca
            builder = builder.add_extension(
                x509.KeyUsage(signs, signs, False, False, False, not signs, not signs, False, False), critical=ca
            )
        if critical:
            odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
            builder = builder.add_extension(odd, critical=True)
        made = builder.sign(key(f"{self.house} {issuer}"), SHA384())
        return _CERTIFICATES.setdefault(what, made.public_bytes(Encoding.DER))

    @property
    def root_name(self) -> str:
        return "tests.nitro-enclaves"

    @property
    def regional(self) -> str:
        return f"0a.{self.region}.{self.root_name}"

    @property
    def zonal(self) -> str:
        return f"0b.zonal.{self.region}.{self.root_name}"

    @property
    def host(self) -> str:
        return f"{self.instance}.{self.region}.{self.root_name}"

    @property
    def module(self) -> str:
        return f"{self.instance}-{ENCLAVE}"

    def bundle(self) -> list[bytes]:
        """The root first, as AWS has it."""
        return [
            self.certify(self.root_name, self.root_name),
            self.certify(self.regional, self.root_name, length=2, end=NOW + 20 * DAY),
            self.certify(self.zonal, self.regional, length=1, end=NOW + 5 * DAY),
            self.certify(self.host, self.zonal, length=0, start=NOW - 3 * HOUR, end=NOW + 21 * HOUR),
        ]

    def leaf(self, *, module: str | None = None, start: datetime = NOW - HOUR, **changed: Any) -> bytes:
        """It lives for three hours."""
        asked = {"ca": False, "end": start + 3 * HOUR, "issuer": self.host, **changed}
        return self.certify(f"{module or self.module}.{self.region}.aws", start=start, **asked)

    # -- documents

    def fields(self, **changed: Any) -> dict[str, Any]:
        """A document's payload; what is changed to `...` is left out."""
        pcr4 = hashlib.sha384(bytes(48) + self.instance.encode()).digest()
        whole = {
            "module_id": self.module,
            "digest": "SHA384",
            "timestamp": int(NOW.timestamp() * 1000),
            "pcrs": {**dict.fromkeys(range(16), bytes(48)), **self.image, 4: pcr4},
            "certificate": self.leaf(),
            "cabundle": self.bundle(),
            "public_key": None,
            "user_data": None,
            "nonce": None,
            **changed,
        }
        return {name: value for name, value in whole.items() if value is not ...}

    def document(self, **changed: Any) -> bytes:
        """A document of this world's enclave, signed."""
        return self.sign(cbor(self.fields(**changed)))

    def sign(
        self,
        payload: bytes,
        *,
        protected: bytes = b"\xa1\x01\x38\x22",
        unprotected: Mapping[Any, Any] | None = None,
        by: str | None = None,
        external: bytes = b"",
    ) -> bytes:
        """COSE_Sign1 over these bytes, untagged."""
        signed = cbor(["Signature1", protected, external, payload])
        signer = key(f"{self.house} {by or f'{self.module}.{self.region}.aws'}")
        r, s = decode_dss_signature(signer.sign(signed, ec.ECDSA(SHA384())))
        return cbor([protected, unprotected or {}, payload, r.to_bytes(48, "big") + s.to_bytes(48, "big")])

    # -- judging

    def root(self) -> Root:
        return root_from("Tests Nitro root", AWS, self.bundle()[0], "tests", simulated=True)

    def collateral(self, roots: Iterable[Root] | None = None) -> Collateral:
        return Collateral(tuple(roots) if roots is not None else (self.root(),))

    def judge(
        self,
        raw: bytes,
        *,
        at: datetime = NOW,
        challenge: bytes | None = None,
        key: bytes | None = None,
        roots: Iterable[Root] | None = None,
    ) -> Proof:
        """Verify this document."""
        return verify(Evidence(raw, Format("nitro"), (), challenge, key), self.collateral(roots), at)


def _name(common: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests"), x509.NameAttribute(NameOID.COMMON_NAME, common)]
    )


def codes(proof: Proof) -> set[str]:
    """Of every reason."""
    return {reason.code for step in proof.steps for reason in step.reasons}


def outcomes(proof: Proof) -> dict[str, str]:
    return {step.name.value: step.outcome.value for step in proof.steps}
