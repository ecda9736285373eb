"""HCL reports: a hardware report and, behind it, run-time data whose hash it holds. Header integers are little-endian.

The host compatibility layer (HCL: Azure's paravisor, OpenHCL among its makes) runs in the most privileged part of the
virtual machine, emulates its TPM, and asks the processor for the report. The guest reads both from the TPM's NV index
0x01400001. Only the hardware report and the JSON are protected: the rest is header and padding.

Sources: Microsoft Learn, "Confidential VM guest attestation design detail" (hardware report, run-time data); OpenHCL,
openhcl/openhcl_attestation_protocol/src/igvm_attest/get.rs (IGVM_ATTEST_REQUEST_HEADER, IGVM_ATTEST_REQUEST_DATA).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from ratchet.event import Json
from ratchet.evidence.azure.strict_json import BadJson, read_object
from ratchet.evidence.freshness import thumbprint

SPEC = "Azure confidential VM guest attestation design, hardware report"
RUN_TIME_SPEC = "Azure confidential VM guest attestation design, run-time data"

MAGIC = b"HCLA"
HEADER_VERSIONS = (1, 2)
REQUEST = 2
"""Request type of a report for the attestation key (get.rs, IGVM_ATTEST_REQUEST_TYPE: AK_CERT_REQUEST)."""

REPORT, SLOT = 0x20, 1184
"""Where the hardware report begins, and the bytes that are kept for it."""
DATA = 0x4C0
"""Where the run-time header begins."""
JSON = 0x4D4
"""Where the JSON begins."""

SNP, TDX = 2, 4
"""Report types (get.rs, IGVM_ATTEST_REPORT_TYPE)."""

HASHES: Mapping[int, str] = {1: "sha256", 2: "sha384", 3: "sha512"}
"""Of the JSON, as the report data have it, by number (get.rs, IGVM_ATTEST_HASH_TYPE)."""

MAX_JSON = 8192
"""Bytes; real ones have 583 to 1201."""
MAX_KEYS = 16

MIN_RSA, MAX_RSA = 2048, 4096
"""Bits. Azure's attestation keys have 2048: NIST SP 800-131A allows no less, and more than 4096 only costs time."""

EXPONENT = 65537

ATTESTATION_KEY, ENCRYPTION_KEY = "HCLAkPub", "HCLEkPub"
"""`kid` of the vTPM's keys in the run-time data."""

FLAGS: Mapping[str, str] = {
    "secure-boot": "vm.secure_boot",
    "tpm-enabled": "vm.tpm_enabled",
    "tpm-persisted": "vm.tpm_persisted",
    "console-enabled": "vm.console_enabled",
    "filtered-vpci-devices-allowed": "vm.filtered_vpci_devices_allowed",
}
"""Truth values of `vm-configuration` -> names among the claims."""

_HEX = re.compile(r"([0-9A-Fa-f]{2}){1,64}")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


class BadReport(ValueError):
    """Not an HCL report that can be judged here; says why."""


class UnknownVersion(BadReport):
    """A layout of a version that is not read here."""

    def __init__(self, what: str, version: int) -> None:
        super().__init__(f"{what} of version {version} is not known here")
        self.version = version


class HclReport(NamedTuple):
    """An HCL report.

    Attributes:
        version, report_size, request_type: of the header.
        data_size, data_version, report_type, hash_type: of the run-time header.
        slot: the hardware report and what fills its slot.
        data: the JSON, byte for byte.
        bound: what report data must be: the hash of the JSON, filled up with zeros.
    """

    version: int
    report_size: int
    request_type: int
    data_size: int
    data_version: int
    report_type: int
    hash_type: int
    slot: bytes
    data: bytes
    bound: bytes


def read(raw: bytes) -> HclReport:
    """Read one. Bytes behind the JSON are padding, and passed over.

    Raises:
        BadReport: it is none.
        UnknownVersion: it is of a version that is not read here.
    """
    if len(raw) < JSON:
        raise BadReport(f"an HCL report of {len(raw)} bytes, its headers alone have {JSON}")
    magic, version, report_size, request = struct.unpack_from("<4sIII", raw)
    if magic != MAGIC:
        raise BadReport("the HCL report does not begin with HCLA")
    if version not in HEADER_VERSIONS:
        raise UnknownVersion("an HCL report", version)
    if request != REQUEST:
        raise BadReport(f"an HCL report of request type {request}, expected {REQUEST}")
    data_size, data_version, report_type, hash_type, size = struct.unpack_from("<IIIII", raw, DATA)
    if data_version != 1:
        raise UnknownVersion("run-time data", data_version)
    if hash_type not in HASHES:
        raise BadReport(f"hash type {hash_type}: 1, 2 and 3 are SHA-256, SHA-384 and SHA-512")
    if not 0 < size <= MAX_JSON or JSON + size > len(raw):
        raise BadReport(f"run-time data of {size} bytes: at most {MAX_JSON}, and within the HCL report")
    if data_size != size + JSON - DATA:
        raise BadReport(f"run-time data with their header of {data_size} bytes, and {size} without")
    data = raw[JSON : JSON + size]
    return HclReport(
        version,
        report_size,
        request,
        data_size,
        data_version,
        report_type,
        hash_type,
        raw[REPORT : REPORT + SLOT],
        data,
        hashlib.new(HASHES[hash_type], data).digest().ljust(64, b"\0"),
    )


@dataclass(frozen=True, slots=True)
class RunTimeData:
    """What the JSON says.

    Attributes:
        key: the vTPM's attestation key; None where there is none that can be used.
        fault: why there is none.
        ak, ek: RFC 7638 thumbprints of attestation and endorsement key, hex; None where they are not there.
        configuration: `vm-configuration` as it is, for people.
        flags: its truth values, by their names among the claims.
        vm_unique_id: of the virtual machine, 32 hexadecimal digits in the order in which they are written.
        user_data: what the guest gave to be hashed with the rest, hex.
    """

    key: RSAPublicKey | None
    fault: str
    ak: str | None
    ek: str | None
    configuration: Json
    flags: Mapping[str, int]
    vm_unique_id: str | None
    user_data: str | None


def run_time_data(data: bytes) -> RunTimeData:
    """Read the JSON.

    Raises:
        BadReport: it is not JSON, or could be read in two ways.
    """
    try:
        found = read_object(data)
    except BadJson as wrong:
        raise BadReport(f"run-time data: {wrong}") from None
    keys = found.get("keys")
    if not isinstance(keys, list) or len(keys) > MAX_KEYS or not all(isinstance(one, dict) for one in keys):
        raise BadReport(f"run-time data: keys is not a list of at most {MAX_KEYS} objects")
    ours = _named(keys, ATTESTATION_KEY)
    key, fault = _public_key(ours)
    configuration = found.get("vm-configuration")
    known = configuration if isinstance(configuration, dict) else {}
    vm, user = known.get("vmUniqueId"), found.get("user-data")
    return RunTimeData(
        key=key,
        fault=fault,
        ak=thumbprint(ours),
        ek=thumbprint(_named(keys, ENCRYPTION_KEY)),
        configuration=configuration,
        flags={name: known[word] for word, name in FLAGS.items() if isinstance(known.get(word), bool)},
        vm_unique_id=vm.replace("-", "").lower() if isinstance(vm, str) and _UUID.fullmatch(vm) else None,
        user_data=user.lower() if isinstance(user, str) and _HEX.fullmatch(user) else None,
    )


def _named(keys: list[dict[str, Json]], name: str) -> dict[str, Json] | None:
    found = [one for one in keys if one.get("kid") == name]
    if len(found) > 1:
        raise BadReport(f"run-time data: {len(found)} keys are called {name}")
    return found[0] if found else None


def _public_key(jwk: dict[str, Json] | None) -> tuple[RSAPublicKey | None, str]:
    """The key, or why there is none. RFC 7518, 6.3.1; RFC 7517, 4.3 (key_ops)."""
    if jwk is None:
        return None, f"no key is called {ATTESTATION_KEY}"
    operations = jwk.get("key_ops")
    if jwk.get("kty") != "RSA":
        return None, "it is not of type RSA"
    if not isinstance(operations, list) or "sign" not in operations:
        return None, "its key_ops do not name sign"
    try:
        e, n = (int.from_bytes(_integer(jwk.get(name)), "big") for name in ("e", "n"))
    except ValueError as wrong:
        return None, str(wrong)
    if e != EXPONENT:
        return None, f"its exponent is not {EXPONENT}"
    if not MIN_RSA <= n.bit_length() <= MAX_RSA:
        return None, f"it has {n.bit_length()} bits: {MIN_RSA} to {MAX_RSA}"
    if not n % 2:
        return None, "its modulus is even"
    try:
        return RSAPublicNumbers(e, n).public_key(), ""
    except ValueError as wrong:
        return None, str(wrong)


def _integer(value: Json) -> bytes:
    if not isinstance(value, str) or not value or len(value) > 1024:
        raise ValueError("its numbers are not text in base64url")
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("its numbers are not text in base64url") from None
