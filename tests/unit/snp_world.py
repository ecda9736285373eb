"""A small AMD of our own for the tests: an ARK, its ASK and ASVK, chips, and reports signed by them.

Made with `cryptography`'s builders, so that what reads it is held against another writer of DER than its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ratchet.collateral import Collateral, amd
from ratchet.collateral.roots import AMD, root_from
from ratchet.evidence import Evidence, Format, Outcome, Proof, StepName, verify
from ratchet.x509.anchor import Root

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MADE = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
CPUID = {"Milan": (0x19, 0x01, 0x01), "Genoa": (0x19, 0x11, 0x01), "Turin": (0x1A, 0x02, 0x01)}

_MADE: dict[str, bytes] = {}
"""Certificates and lists, made once: their signatures are salted, and the same call should give the same bytes."""

_PSS = padding.PSS(mgf=padding.MGF1(SHA384()), salt_length=48)
_AMD = "1.3.6.1.4.1.3704.1"


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """One for each name; large enough to be read, small enough for tests."""
    return rsa.generate_private_key(65537, 2048)


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


_FOR_USERS_ONLY = x509.IssuingDistributionPoint(
    full_name=None,
    relative_name=None,
    only_contains_user_certs=True,
    only_contains_ca_certs=False,
    only_some_reasons=None,
    indirect_crl=False,
    only_contains_attribute_certs=False,
)


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


@dataclass(frozen=True)
class World:
    """One product line of one vendor; `house` tells its keys from those of another of the same names."""

    product: str = "Milan"
    house: str = "tests"
    chip: bytes = field(default=bytes(range(1, 65)))
    levels: dict[str, int] = field(default_factory=lambda: {"bl": 4, "tee": 0, "snp": 24, "ucode": 219, "fmc": 1})

    # -- certificates

    def certify(
        self,
        subject: str,
        issuer: str,
        key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
        *,
        serial: int = 7,
        ca: bool = False,
        extensions: Sequence[tuple[str, bytes]] = (),
        start: datetime = MADE,
        end: datetime = MADE + 2500 * DAY,
        salt: int = 48,
        critical: bool = False,
    ) -> bytes:
        what = repr(
            (
                "certificate",
                self.house,
                subject,
                issuer,
                key.public_numbers(),
                serial,
                ca,
                extensions,
                start,
                end,
                salt,
                critical,
            )
        )
        if what in _MADE:
            return _MADE[what]
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(_name(issuer))
            .public_key(key)
            .serial_number(serial)
            .not_valid_before(start)
            .not_valid_after(end)
        )
        if ca:
            builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
        for oid, value in extensions:
            builder = builder.add_extension(
                x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), critical=critical
            )
        pss = padding.PSS(mgf=padding.MGF1(SHA384()), salt_length=salt)
        signed = builder.sign(rsa_key(f"{self.house} {issuer}"), SHA384(), rsa_padding=pss)
        return _MADE.setdefault(what, signed.public_bytes(Encoding.DER))

    @property
    def ark(self) -> bytes:
        name = f"Tests ARK-{self.product}"
        return self.certify(name, name, rsa_key(f"{self.house} {name}").public_key(), serial=65536, ca=True)

    def signer(self, kind: str = "VCEK", *, serial: int = 65537, issuer: str | None = None, ca: bool = True) -> bytes:
        """The ASK, or the ASVK."""
        name = self.signer_name(kind)
        key = rsa_key(f"{self.house} {name}").public_key()
        return self.certify(name, issuer or f"Tests ARK-{self.product}", key, serial=serial, ca=ca)

    def signer_name(self, kind: str) -> str:
        return f"Tests SEV-{'VLEK-' if kind == 'VLEK' else ''}{self.product}"

    def vek(
        self,
        kind: str = "VCEK",
        *,
        levels: dict[str, int] | None = None,
        hwid: bytes | None = None,
        product_name: str | None = None,
        serial: int = 7,
        start: datetime = MADE,
        end: datetime = MADE + 2500 * DAY,
        issuer: str | None = None,
        salt: int = 48,
        critical: bool = False,
    ) -> bytes:
        """A VCEK or VLEK for these levels."""
        levels = {**self.levels, **(levels or {})}
        numbers = {"bl": 1, "tee": 2, "snp": 3, "spl5": 5, "spl6": 6, "spl7": 7, "ucode": 8}
        numbers |= {"fmc": 9} if self.product == "Turin" else {"spl4": 4}
        extensions = [(f"{_AMD}.1", b"\x02\x01\x00")]
        text = (product_name or self.product).encode()
        extensions.append((f"{_AMD}.2", b"\x16" + bytes([len(text)]) + text))
        for name, number in numbers.items():
            level = levels.get(name, 0)
            body = level.to_bytes(2 if level > 127 else 1, "big")
            extensions.append((f"{_AMD}.3.{number}", b"\x02" + bytes([len(body)]) + body))
        if kind == "VCEK":
            extensions.append((f"{_AMD}.4", self.hwid if hwid is None else hwid))
        else:
            extensions.append((f"{_AMD}.5", b"\x16\x07CN=test"))
        return self.certify(
            f"Tests SEV-{kind}",
            issuer or self.signer_name(kind),
            self.key(kind).public_key(),
            serial=serial,
            extensions=extensions,
            start=start,
            end=end,
            salt=salt,
            critical=critical,
        )

    @property
    def hwid(self) -> bytes:
        return self.chip[: amd.HWID_SIZE[self.product]]

    def key_of_signer(self, kind: str = "VCEK") -> rsa.RSAPrivateKey:
        return rsa_key(f"{self.house} {self.signer_name(kind)}")

    def key(self, kind: str = "VCEK") -> ec.EllipticCurvePrivateKey:
        return ec_key(f"{self.house} {kind} {self.product}")

    def crl(
        self,
        *revoked: int,
        issuer: str | None = None,
        start: datetime = NOW - DAY,
        end: datetime = NOW + 30 * DAY,
        critical: bool = False,
        remark: bytes = b"",
    ) -> bytes:
        issuer = issuer or f"Tests ARK-{self.product}"
        what = repr(("crl", self.house, issuer, revoked, start, end, critical, remark))
        if what in _MADE:
            return _MADE[what]
        builder = x509.CertificateRevocationListBuilder().issuer_name(_name(issuer))
        builder = builder.last_update(start).next_update(end)
        for serial in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(start)
            if remark:
                odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), remark)
                entry = entry.add_extension(odd, critical=False)
            builder = builder.add_revoked_certificate(entry.build())
        if critical:
            builder = builder.add_extension(_FOR_USERS_ONLY, critical=True)
        crl = builder.sign(rsa_key(f"{self.house} {issuer}"), SHA384(), rsa_padding=_PSS)
        return _MADE.setdefault(what, crl.public_bytes(Encoding.DER))

    # -- reports

    def tcb(self, levels: dict[str, int] | None = None) -> bytes:
        levels = {**self.levels, **(levels or {})}
        return bytes(0 if name.startswith("spl") else levels[name] for name in amd.TCB_LAYOUT[self.product])

    def report(
        self,
        version: int = 5,
        *,
        kind: str = "VCEK",
        reported: dict[str, int] | None = None,
        current: dict[str, int] | None = None,
        chip_id: bytes | None = None,
        report_data: bytes = bytes(64),
        policy: int = 1 << 17 | 1 << 16,
        cpuid: tuple[int, int, int] | None = None,
        patches: Iterable[tuple[int, bytes]] = (),
        signed: bool = True,
    ) -> bytes:
        """An attestation report; `patches` are bytes put at offsets before it is signed."""
        out = bytearray(1184)

        def put(offset: int, content: bytes) -> None:
            out[offset : offset + len(content)] = content

        put(0x00, version.to_bytes(4, "little"))
        put(0x08, policy.to_bytes(8, "little"))
        put(0x34, (1).to_bytes(4, "little"))
        put(0x38, self.tcb(current))
        put(0x40, (0x25).to_bytes(8, "little"))
        put(0x48, (4 if kind == "VLEK" else 0).to_bytes(4, "little"))
        put(0x50, report_data)
        put(0x90, b"\x5f" * 48)
        put(0x140, b"\x1d" * 32)
        put(0x160, b"\xff" * 32)
        put(0x180, self.tcb(reported))
        if version >= 3:
            put(0x188, bytes(cpuid or CPUID[self.product]))
        put(0x1A0, self.hwid if chip_id is None else chip_id)
        put(0x1E0, self.tcb(current))
        put(0x1E8, b"\x1d\x37\x01\x00\x1d\x37\x01")
        put(0x1F0, self.tcb(current))
        if version >= 5:
            put(0x1F8, (0x3F).to_bytes(8, "little"))
            put(0x200, (0x3B).to_bytes(8, "little"))
        for offset, content in patches:
            put(offset, content)
        if signed:
            r, s = decode_dss_signature(self.key(kind).sign(bytes(out[:0x2A0]), ec.ECDSA(SHA384())))
            put(0x2A0, r.to_bytes(72, "little"))
            put(0x2E8, s.to_bytes(72, "little"))
        return bytes(out)

    # -- judging

    def root(self, name: str | None = None) -> Root:
        name = name or f"Tests ARK-{self.product}"
        return root_from(name, AMD, self.ark, "tests", simulated=True)

    def collateral(self, *documents: bytes, roots: Iterable[Root] | None = None) -> Collateral:
        """Knows these documents since yesterday."""
        trusted = tuple(roots) if roots is not None else (self.root(),)
        return Collateral(trusted, [k for d in documents for k in amd.parse(d, NOW - DAY, trusted)])

    def judge(
        self,
        raw: bytes,
        *endorsements: bytes,
        documents: Iterable[bytes] = (),
        at: datetime = NOW,
        challenge: bytes | None = None,
        roots: Iterable[Root] | None = None,
    ) -> Proof:
        """Verify this report with what came beside it and these documents."""
        evidence = Evidence(raw, Format("snp-report"), endorsements, challenge)
        return verify(evidence, self.collateral(*documents, roots=roots), at)


def outcomes(proof: Proof) -> dict[str, str]:
    return {step.name.value: step.outcome.value for step in proof.steps}


def codes(proof: Proof, name: StepName) -> set[str]:
    step = next(step for step in proof.steps if step.name is name)
    assert bool(step.reasons) == (step.outcome is not Outcome.PASSED), "reasons exactly where a step did not pass"
    return {reason.code for reason in step.reasons}


def table(*entries: bytes) -> bytes:
    """A guest certificate table of these certificates."""
    head, body = b"", b""
    start = 24 * (len(entries) + 1)
    for i, entry in enumerate(entries):
        head += bytes([0xA0 + i]) * 16 + (start + len(body)).to_bytes(4, "little") + len(entry).to_bytes(4, "little")
        body += entry
    return head + bytes(24) + body
