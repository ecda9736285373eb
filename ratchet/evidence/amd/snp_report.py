"""The ATTESTATION_REPORT of AMD SEV-SNP: its layout, versions 2 to 5, and what its bits mean. Bytes in, a record out.

Source: AMD 56860, "SEV Secure Nested Paging Firmware ABI Specification": tables "ATTESTATION_REPORT", "Guest Policy",
"PLATFORM_INFO", "TCB Version", and "Signature for ECDSA P-384 with SHA-384". All integers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from ratchet.collateral.amd import TCB_LAYOUT
from ratchet.event import Json
from ratchet.evidence.proof import Field, Format
from ratchet.reason import Reason

SNP_REPORT = Format("snp-report")

SIZE = 0x4A0
"""Bytes of a report, signature included."""
SIGNED = 0x2A0
"""Bytes that the signature covers, from the start."""
VERSIONS = (2, 3, 4, 5)
"""Of the report. 3 added CPUID, 5 the mitigation vectors; 4 is laid out as 3."""

SPEC = 'AMD 56860, table "ATTESTATION_REPORT"'
ECDSA_P384_SHA384 = 1
NO_KEY = 7
"""SIGNING_KEY of a report that is not signed."""

_SIGNING_KEYS = ("VCEK", "VLEK", *["reserved"] * 5, "none")

_LAYOUT = struct.Struct("<IIQ16s16sII8sQI4s64s48s32s48s48s32s32s8sBBB21s64s8sBBBcBBBc8sQQ152s72s72s368s")


class SnpReport(NamedTuple):
    """A report, field by field in order of offset. TCB versions are 8 bytes as they lie."""

    version: int
    guest_svn: int
    policy: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    signature_algo: int
    current_tcb: bytes
    platform_info: int
    key_info: int
    reserved_4c: bytes
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_ma: bytes
    reported_tcb: bytes
    cpuid_family: int
    cpuid_model: int
    cpuid_stepping: int
    reserved_18b: bytes
    chip_id: bytes
    committed_tcb: bytes
    current_build: int
    current_minor: int
    current_major: int
    reserved_1eb: bytes
    committed_build: int
    committed_minor: int
    committed_major: int
    reserved_1ef: bytes
    launch_tcb: bytes
    launch_mitigation: int
    current_mitigation: int
    reserved_208: bytes
    signature_r: bytes
    signature_s: bytes
    reserved_signature: bytes

    @property
    def author_key_en(self) -> bool:
        """AUTHOR_KEY_EN: the digest of the author key is in the report."""
        return bool(self.key_info & 1)

    @property
    def mask_chip_key(self) -> bool:
        """MASK_CHIP_KEY: the firmware does not sign with the VCEK."""
        return bool(self.key_info & 2)

    @property
    def signing_key(self) -> str:
        """`VCEK`, `VLEK`, `none`, or `reserved`."""
        return _SIGNING_KEYS[self.key_info >> 2 & 7]

    @property
    def product(self) -> str | None:
        """Product line by CPUID, from version 3 on; None where the report does not say, or of a line unknown here."""
        if self.version < 3:
            return None
        return product_line(self.cpuid_family, self.cpuid_model)

    @property
    def current_firmware(self) -> str:
        """Version of the SNP firmware that runs: `1.55.29`."""
        return f"{self.current_major}.{self.current_minor}.{self.current_build}"

    @property
    def committed_firmware(self) -> str:
        """Version below which the firmware cannot go back any more."""
        return f"{self.committed_major}.{self.committed_minor}.{self.committed_build}"


POLICY_BITS: Mapping[str, int] = {
    "smt": 16,
    "migrate_ma": 18,
    "debug": 19,
    "single_socket": 20,
    "cxl": 21,
    "mem_aes_256_xts": 22,
    "rapl_dis": 23,
    "ciphertext_hiding": 24,
    "page_swap_disable": 25,
}
"""Bits of the guest policy (AMD 56860, table "Guest Policy"); below them, the minimum ABI version."""

PLATFORM_BITS: Mapping[str, int] = {
    "smt": 0,
    "tsme": 1,
    "ecc": 2,
    "rapl_dis": 3,
    "ciphertext_hiding": 4,
    "alias_check": 5,
    "iommu_write_safe": 6,
    "tio": 7,
}
"""Bits of PLATFORM_INFO (AMD 56860, table "PLATFORM_INFO")."""

_POLICY_ONE, _POLICY_ZERO = 1 << 17, ~((1 << 26) - 1) & 0xFFFF_FFFF_FFFF_FFFF
_KEY_INFOS = frozenset(flags | key << 2 for flags in range(4) for key in (0, 1, NO_KEY))
_ZERO_4C, _ZERO_18B, _ZERO_208, _ZERO_SIGNATURE = bytes(4), bytes(21), bytes(152), bytes(368)
_NAMED_BITS = tuple(
    [(f"policy.{name}", True, bit) for name, bit in POLICY_BITS.items()]
    + [(f"platform.{name}", False, bit) for name, bit in PLATFORM_BITS.items()]
)
_SAFE_INTEGER = (1 << 53) - 1
"""The greatest whole number that RFC 8785 can write."""

_TCB_NAMES: Mapping[str, tuple[tuple[int, str, str, str, str], ...]] = {
    product: tuple(
        (i, f"reported.{name}", f"committed.{name}", f"current.{name}", f"launch.{name}")
        for i, name in enumerate(layout)
        if not name.startswith("spl")
    )
    for product, layout in TCB_LAYOUT.items()
}

TCB_NAMES = frozenset(name for names in _TCB_NAMES.values() for _, *four in names for name in four)
"""Names of `Claims.tcb`, whatever the product."""


def product_line(family: int, model: int) -> str | None:
    """Product line by CPUID family and model (AMD 57230, 4: Bergamo and Siena go by Genoa's name); None if unknown."""
    if family == 0x19:
        if model <= 0x0F:
            return "Milan"
        if 0x10 <= model <= 0x1F or 0xA0 <= model <= 0xAF:
            return "Genoa"
    elif family == 0x1A and model <= 0x1F:
        return "Turin"
    return None


def read(raw: bytes) -> SnpReport:
    """The record in the first 1184 bytes, unchecked.

    Raises:
        ValueError: there are fewer.
    """
    if len(raw) < SIZE:
        raise ValueError(f"{len(raw)} bytes, a report has {SIZE}")
    return SnpReport._make(_LAYOUT.unpack_from(raw))


def faults(report: SnpReport) -> tuple[Reason, ...]:
    """Where the report is not what the specification prescribes: reserved fields, reserved values, the algorithm.

    Not checked, on purpose: reserved bits of PLATFORM_INFO and reserved bytes of TCB versions, which newer firmware
    fills without a new version of the report; VMPL, which the host sets to all ones; the ABI version in the policy,
    which the firmware itself enforces at launch.
    """
    version = report.version
    if (
        report.policy & (_POLICY_ONE | _POLICY_ZERO) == _POLICY_ONE
        and report.key_info in _KEY_INFOS
        and report.signature_algo == ECDSA_P384_SHA384
        and report.reserved_18b == _ZERO_18B
        and report.reserved_208 == _ZERO_208
        and report.reserved_signature == _ZERO_SIGNATURE
        and report.reserved_4c == _ZERO_4C
        and report.reserved_1eb == report.reserved_1ef == b"\0"
        and version >= 5
    ):
        return ()  # as nearly every report is
    found = []
    if not report.policy & _POLICY_ONE:
        found.append(_reserved("policy", f"{report.policy:#x}", "bit 17 set"))
    if report.policy & _POLICY_ZERO:
        found.append(_reserved("policy", f"{report.policy:#x}", "bits 63 to 26 zero"))
    if report.key_info >> 5:
        found.append(_reserved("key_info", f"{report.key_info:#x}", "bits 31 to 5 zero"))
    if report.signing_key == "reserved":
        found.append(_reserved("signing_key", report.key_info >> 2 & 7, "0 (VCEK), 1 (VLEK) or 7 (none)"))
    if report.signature_algo != ECDSA_P384_SHA384:
        want = "1 (ECDSA P-384 with SHA-384)"
        found.append(Reason("unsupported_algorithm", "signature_algo", report.signature_algo, want, SPEC))
    cpuid = (report.cpuid_family, report.cpuid_model, report.cpuid_stepping)
    for name, value in (
        ("offset 0x4c", report.reserved_4c),
        ("offset 0x188", bytes(cpuid) if version < 3 else b""),
        ("offset 0x18b", report.reserved_18b),
        ("offset 0x1eb", report.reserved_1eb),
        ("offset 0x1ef", report.reserved_1ef),
        ("offset 0x208", report.reserved_208),
        ("offset 0x330", report.reserved_signature),
    ):
        if value.count(0) != len(value):
            found.append(_reserved(name, value.rstrip(b"\0")[:32].hex(), "zeros"))
    if version < 5 and (report.launch_mitigation or report.current_mitigation):
        got = f"{report.launch_mitigation:#x}, {report.current_mitigation:#x}"
        found.append(_reserved("offset 0x1f8", got, "zeros before version 5"))
    return tuple(found)


def _reserved(component: str, got: Json, want: str) -> Reason:
    return Reason("reserved_not_as_specified", component, got, want, SPEC, "take evidence from firmware that AMD made")


def tcb(report: SnpReport, product: str) -> dict[str, int]:
    """Security versions by name, as in `Claims.tcb`, read by that product's layout; none where it has none here."""
    return dict(_tcb(product, report.reported_tcb, report.committed_tcb, report.current_tcb, report.launch_tcb))


@lru_cache(maxsize=4096)
def _tcb(product: str, reported: bytes, committed: bytes, current: bytes, launch: bytes) -> Mapping[str, int]:
    """Fleets have few combinations of versions, and each comes in every report of a machine."""
    found = {}
    for i, a, b, c, d in _TCB_NAMES.get(product, ()):
        found[a], found[b], found[c], found[d] = reported[i], committed[i], current[i], launch[i]
    return found


def bits(report: SnpReport) -> dict[str, int]:
    """What policy may loosen or require, by name, as in `Claims.bits`. Mitigation vectors: their low 53 bits."""
    found = dict(_flags(report.policy, report.platform_info, report.key_info))
    found["vmpl"] = report.vmpl
    found["guest_svn"] = report.guest_svn
    found["current_build"], found["committed_build"] = report.current_build, report.committed_build
    found["current_minor"], found["committed_minor"] = report.current_minor, report.committed_minor
    found["current_major"], found["committed_major"] = report.current_major, report.committed_major
    if report.version >= 3:
        found["cpuid.family"] = report.cpuid_family
        found["cpuid.model"] = report.cpuid_model
        found["cpuid.stepping"] = report.cpuid_stepping
    if report.version >= 5:
        found["mitigation.launch"] = report.launch_mitigation & _SAFE_INTEGER
        found["mitigation.current"] = report.current_mitigation & _SAFE_INTEGER
    return found


MEASUREMENTS = ("measurement", "host_data", "family_id", "image_id", "id_key_digest", "author_key_digest", "csp_id")
"""Names of `Claims.measurements`; `csp_id` is text, and of reports that a VLEK signed alone."""

NUMBERS = frozenset(
    {name for name, _, _ in _NAMED_BITS}
    | {"policy.abi_minor", "policy.abi_major", "signer.vlek", "signer.author_key", "signer.mask_chip_key"}
    | {"vmpl", "guest_svn", "cpuid.family", "cpuid.model", "cpuid.stepping", "mitigation.launch", "mitigation.current"}
    | {f"{of}_{part}" for of in ("current", "committed") for part in ("build", "minor", "major")}
)
"""Names of `Claims.bits`."""


def measurements(report: SnpReport) -> dict[str, str]:
    """Every claim that is a string of bytes, as in `Claims.measurements`."""
    return {
        "measurement": report.measurement.hex(),
        "host_data": report.host_data.hex(),
        "family_id": report.family_id.hex(),
        "image_id": report.image_id.hex(),
        "id_key_digest": report.id_key_digest.hex(),
        "author_key_digest": report.author_key_digest.hex(),
    }


@lru_cache(maxsize=1024)
def _flags(policy: int, platform: int, key_info: int) -> Mapping[str, int]:
    """The bits of three fields, which differ between fleets more than between reports."""
    found: dict[str, int] = {name: bool((policy if mine else platform) >> bit & 1) for name, mine, bit in _NAMED_BITS}
    found["policy.abi_minor"] = policy & 0xFF
    found["policy.abi_major"] = policy >> 8 & 0xFF
    found["signer.vlek"] = key_info >> 2 & 7 == 1
    found["signer.author_key"] = bool(key_info & 1)
    found["signer.mask_chip_key"] = bool(key_info & 2)
    return found


def fields(raw: bytes) -> tuple[Field, ...]:
    """Every claim with its place in the bytes; empty where they are no report that can be read."""
    if len(raw) < SIZE:
        return ()
    report = read(raw)
    if report.version not in VERSIONS:
        return ()
    product = report.product or "Milan"  # before version 3 there was one layout

    def levels(value: bytes) -> Json:
        names = TCB_LAYOUT.get(product, ())
        return {name: value[i] for i, name in enumerate(names) if not name.startswith("spl")}

    def named(value: int, names: Mapping[str, int]) -> Json:
        return {"value": f"0x{value:016x}", **{name: bool(value >> bit & 1) for name, bit in names.items()}}

    key_info: Json = {
        "author_key_en": report.author_key_en,
        "mask_chip_key": report.mask_chip_key,
        "signing_key": report.signing_key,
    }
    policy = {"abi": f"{report.policy >> 8 & 0xFF}.{report.policy & 0xFF}", **named(report.policy, POLICY_BITS)}
    found = [
        Field("version", "Report version", 0x00, 4, report.version),
        Field("guest_svn", "Guest SVN", 0x04, 4, report.guest_svn),
        Field("policy", "Guest policy", 0x08, 8, policy),
        Field("family_id", "Family ID", 0x10, 16, report.family_id.hex()),
        Field("image_id", "Image ID", 0x20, 16, report.image_id.hex()),
        Field("vmpl", "VMPL", 0x30, 4, report.vmpl),
        Field("signature_algo", "Signature algorithm", 0x34, 4, report.signature_algo),
        Field("current_tcb", "Current TCB", 0x38, 8, levels(report.current_tcb)),
        Field("platform_info", "Platform", 0x40, 8, named(report.platform_info, PLATFORM_BITS)),
        Field("key_info", "Keys", 0x48, 4, key_info),
        Field("report_data", "Report data", 0x50, 64, report.report_data.hex()),
        Field("measurement", "Launch measurement", 0x90, 48, report.measurement.hex()),
        Field("host_data", "Host data", 0xC0, 32, report.host_data.hex()),
        Field("id_key_digest", "ID key digest", 0xE0, 48, report.id_key_digest.hex()),
        Field("author_key_digest", "Author key digest", 0x110, 48, report.author_key_digest.hex()),
        Field("report_id", "Report ID", 0x140, 32, report.report_id.hex()),
        Field("report_id_ma", "Report ID of the migration agent", 0x160, 32, report.report_id_ma.hex()),
        Field("reported_tcb", "Reported TCB", 0x180, 8, levels(report.reported_tcb)),
    ]
    if report.version >= 3:
        found += [
            Field("cpuid_family", "CPUID family", 0x188, 1, report.cpuid_family),
            Field("cpuid_model", "CPUID model", 0x189, 1, report.cpuid_model),
            Field("cpuid_stepping", "CPUID stepping", 0x18A, 1, report.cpuid_stepping),
        ]
    found += [
        Field("chip_id", "Chip ID", 0x1A0, 64, report.chip_id.hex()),
        Field("committed_tcb", "Committed TCB", 0x1E0, 8, levels(report.committed_tcb)),
        Field("current_firmware", "Current firmware (build, minor, major)", 0x1E8, 3, report.current_firmware),
        Field("committed_firmware", "Committed firmware (build, minor, major)", 0x1EC, 3, report.committed_firmware),
        Field("launch_tcb", "Launch TCB", 0x1F0, 8, levels(report.launch_tcb)),
    ]
    if report.version >= 5:
        launch, current = f"0x{report.launch_mitigation:016x}", f"0x{report.current_mitigation:016x}"
        found += [
            Field("launch_mit_vector", "Mitigations at launch", 0x1F8, 8, launch),
            Field("current_mit_vector", "Mitigations now", 0x200, 8, current),
        ]
    found += [
        Field("signature_r", "Signature, r (little-endian)", 0x2A0, 72, report.signature_r.hex()),
        Field("signature_s", "Signature, s (little-endian)", 0x2E8, 72, report.signature_s.hex()),
    ]
    if len(raw) > SIZE:
        size = len(raw) - SIZE
        found.append(Field("certificates", "Certificate table", SIZE, size, f"{size} bytes, not signed"))
    return tuple(found)
