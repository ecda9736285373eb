"""Azure's virtual machines on the tests' own AMD and Intel: a paravisor's report, its vTPM and what that quotes.

Written with plain `struct` and `json`, so that what reads it is held against another writer of it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from intel_world import NOW as INTEL_NOW
from intel_world import World as Intel
from snp_world import NOW
from snp_world import World as Amd

from ratchet.collateral import Collateral
from ratchet.evidence import Evidence, Format, Proof, verify

assert NOW == INTEL_NOW
CHALLENGE = b"nonce of the collector, 32 bytes"
BANK = tuple(hashlib.sha256(b"PCR %d" % n).digest() for n in range(24))


@cache
def key_of(name: str, bits: int = 2048, exponent: int = 65537) -> rsa.RSAPrivateKey:
    """One for each name."""
    return rsa.generate_private_key(exponent, bits)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def jwk(kid: str, key: rsa.RSAPrivateKey, operation: str, **changed: Any) -> dict[str, Any]:
    numbers = key.public_key().public_numbers()
    found = {"kid": kid, "key_ops": [operation], "kty": "RSA", "e": number(numbers.e), "n": number(numbers.n)}
    return {**found, **changed}


def quote(
    *,
    extra: bytes = CHALLENGE,
    bank: Sequence[bytes] = BANK,
    selected: Sequence[int] = tuple(range(24)),
    algorithm: int = 0x000B,
    magic: bytes = b"\xffTCG",
    type: bytes = b"\x80\x18",
    clock: int = 4711,
    trailing: bytes = b"",
) -> bytes:
    """A TPMS_ATTEST of type quote."""
    digest = hashlib.sha256(b"".join(bank[n] for n in selected)).digest()
    bitmap = sum(1 << n for n in selected).to_bytes(3, "little")
    signer = b"\x00\x0b" + bytes(range(32))
    out = magic + type + struct.pack(">H", len(signer)) + signer + struct.pack(">H", len(extra)) + extra
    out += struct.pack(">QIIBQ", clock, 2, 0, 1, 0x2020031200120003)
    out += struct.pack(">IHB", 1, algorithm, 3) + bitmap + struct.pack(">H", 32) + digest
    return out + trailing


@dataclass(frozen=True)
class World:
    """One virtual machine; change something with `replace` and ask again. What is given makes it differ from a genuine
    one: `report_data` puts other bytes into the hardware report, `keys` takes the place of the keys of the JSON.
    """

    tee: str = "snp"
    name: str = "vm-1"
    hash: int = 1
    user_data: str | None = "00" * 64
    configuration: Mapping[str, Any] = field(
        default_factory=lambda: {
            "console-enabled": True,
            "secure-boot": True,
            "tpm-enabled": True,
            "tpm-persisted": False,
            "vmUniqueId": "7DF7B373-B947-4AAA-96E5-C358F2A03D20",
        }
    )
    keys: Sequence[Mapping[str, Any]] | None = None
    json: bytes | None = None
    report_data: bytes | None = None
    vmpl: int = 0
    amd: Amd = field(default_factory=Amd)
    intel: Intel = field(default_factory=Intel)
    patches: Sequence[tuple[int, bytes]] = ()

    @property
    def format(self) -> Format:
        return Format(f"az-{self.tee}-vtpm")

    @property
    def ak(self) -> rsa.RSAPrivateKey:
        return key_of(f"AK of {self.name}")

    # -- the HCL report

    def run_time(self) -> bytes:
        """The JSON, as compact as Azure writes it."""
        if self.json is not None:
            return self.json
        ek = key_of(f"EK of {self.name}")
        keys = [jwk("HCLAkPub", self.ak, "sign"), jwk("HCLEkPub", ek, "encrypt")] if self.keys is None else self.keys
        data: dict[str, Any] = {"keys": keys, "vm-configuration": self.configuration}
        if self.user_data is not None:
            data["user-data"] = self.user_data
        return json.dumps(data, separators=(",", ":")).encode()

    @property
    def bound(self) -> bytes:
        if self.report_data is not None:
            return self.report_data
        name = {1: "sha256", 2: "sha384", 3: "sha512"}[self.hash]
        return hashlib.new(name, self.run_time()).digest().ljust(64, b"\0")

    def report(self) -> bytes:
        """The hardware report in its slot: an SNP report, or a TDREPORT, whose MAC nobody here can check."""
        if self.tee == "snp":
            patches = [(0x04, (10).to_bytes(4, "little")), (0x30, self.vmpl.to_bytes(4, "little")),
                       (0x10, b"\x02" * 16), (0x20, b"\x03" * 16), (0xE0, b"\x94" * 48)]  # fmt: skip
            return _once(repr((self.amd, self.bound, patches, self.patches)), lambda: self.amd.report(
                3, report_data=self.bound, patches=[*patches, *self.patches]))  # fmt: skip
        return (b"\x81" + bytes(127) + self.bound + bytes(832)).ljust(1184, b"\0")

    def hcl(self, report: bytes | None = None, data: bytes | None = None) -> bytes:
        data = self.run_time() if data is None else data
        kind = 2 if self.tee == "snp" else 4
        out = struct.pack("<4sIII", b"HCLA", 1 if kind == 2 else 2, 1216 + 20 + len(data), 2).ljust(32, b"\0")
        out += self.report() if report is None else report
        out += struct.pack("<IIIII", 20 + len(data), 1, kind, self.hash, len(data)) + data
        return out.ljust(2600, b"\0")

    def td_quote(self) -> bytes:
        attributes = (1 << 28).to_bytes(8, "little")
        return _once(repr((self.intel, self.bound)), lambda: self.intel.quote(
            report_data=self.bound, attributes=attributes))  # fmt: skip

    # -- the whole

    def sign(self, message: bytes, key: rsa.RSAPrivateKey | None = None, *, sha1: bool = False) -> bytes:
        return (key or self.ak).sign(message, padding.PKCS1v15(), SHA1() if sha1 else SHA256())

    def members(self, message: bytes | None = None, bank: Sequence[bytes] = BANK) -> dict[str, Any]:
        """The evidence in Ratchet's own form, before it is text."""
        message = quote() if message is None else message
        found: dict[str, Any] = {
            "hcl_report": b64(self.hcl()),
            "tpm_quote": {
                "message": b64(message),
                "signature": b64(self.sign(message)),
                "pcrs": [b64(value) for value in bank],
            },
        }
        return {**found, **self.beside()}

    def beside(self) -> dict[str, Any]:
        return {"vcek": b64(self.amd.vek())} if self.tee == "snp" else {"td_quote": b64(self.td_quote())}

    def evidence(self, **changed: Any) -> bytes:
        """As JSON; `changed` members take the place of its own, None leaves one out."""
        found = {name: value for name, value in {**self.members(), **changed}.items() if value is not None}
        return json.dumps(found).encode()

    def quoted(self, message: bytes, **changed: Any) -> dict[str, Any]:
        """`tpm_quote` of another message, signed by the attestation key."""
        return {**self.members(message)["tpm_quote"], **changed}

    def trustee(self, version: int) -> bytes:
        """As Trustee's agents send it."""
        message = quote()
        signature, hcl = self.sign(message), self.hcl()
        if version == 0:
            said = {"message": list(message), "signature": list(signature), "pcrs": [list(value) for value in BANK]}
            if self.tee == "snp":
                pem = self.amd_pem()
                return json.dumps({"quote": said, "report": list(hcl), "vcek": pem}).encode()
            return json.dumps({"tpm_quote": said, "hcl_report": list(hcl), "td_quote": list(self.td_quote())}).encode()
        text = {"message": message.hex(), "signature": signature.hex(), "pcrs": [value.hex() for value in BANK]}
        padded = {name: value + "=" * (-len(value) % 4) for name, value in self.beside().items()}
        whole = {"version": version, "tpm_quote": text, "hcl_report": base64.urlsafe_b64encode(hcl).decode(), **padded}
        return json.dumps(whole).encode()

    def amd_pem(self) -> str:
        text = base64.encodebytes(self.amd.vek()).decode()
        return f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n"

    # -- judging

    def collateral(self) -> Collateral:
        if self.tee == "snp":
            return self.amd.collateral(self.amd.signer(), self.amd.crl())
        return self.intel.collateral()

    def judge(
        self,
        raw: bytes | None = None,
        challenge: bytes | None = CHALLENGE,
        key: bytes | None = None,
        collateral: Collateral | None = None,
        form: Format | None = None,
    ) -> Proof:
        evidence = Evidence(self.evidence() if raw is None else raw, form, (), challenge, key)
        return verify(evidence, self.collateral() if collateral is None else collateral, NOW)


_MADE: dict[str, bytes] = {}


def _once(what: str, make: Any) -> bytes:
    """The same bytes for the same question: ECDSA signatures are random."""
    if what not in _MADE:
        _MADE[what] = make()
    return _MADE[what]


def der(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


SNP, TDX = World("snp"), World("tdx")
WORLDS = (SNP, TDX)

__all__ = [
    "BANK",
    "CHALLENGE",
    "NOW",
    "SNP",
    "TDX",
    "WORLDS",
    "World",
    "b64",
    "der",
    "jwk",
    "key_of",
    "quote",
    "replace",
]
