"""Azure's evidence, written: HCL report, run-time data, TPM quote, and the JSON around them.

Sources: Microsoft Learn, "Confidential VM guest attestation design detail"; OpenHCL, igvm_attest/get.rs
(IGVM_ATTEST_REQUEST_HEADER, IGVM_ATTEST_REQUEST_DATA: little-endian); Intel TDX Module ABI, TDREPORT_STRUCT;
TPM 2.0 Library part 2, 10.12.8 TPMS_ATTEST (big-endian); docs/formats.md, Azure vTPM, for the JSON.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Sequence

PCRS = 24
"""Registers of a PC Client TPM."""

REPORT, SLOT = 0x20, 1184
"""Where the hardware report begins in an HCL report, and the bytes that are kept for it."""

REPORT_DATA = slice(128, 192)
"""Of a TDREPORT."""

SNP, TDX = 2, 4
"""Report types."""

_JSON = 0x4D4
"""Where the run-time data begin in an HCL report."""

_NV_INDEX = 2600
"""Bytes of the vTPM's NV index that holds an HCL report."""


def run_time_data(ak: int, ek: int, unique_id: str) -> bytes:
    """The JSON whose hash the hardware report holds, as compact as Azure writes it.

    Args:
        ak: modulus of the attestation key.
        ek: modulus of the endorsement key.
        unique_id: of the virtual machine, a UUID.
    """
    data = {
        "keys": [_jwk("HCLAkPub", "sign", ak), _jwk("HCLEkPub", "encrypt", ek)],
        "vm-configuration": {
            "console-enabled": True,
            "secure-boot": True,
            "tpm-enabled": True,
            "tpm-persisted": True,
            "vmUniqueId": unique_id,
        },
        "user-data": bytes(64).hex(),
    }
    return json.dumps(data, separators=(",", ":")).encode()


def _jwk(name: str, operation: str, modulus: int) -> dict[str, object]:
    size = (modulus.bit_length() + 7) // 8
    return {"kid": name, "key_ops": [operation], "kty": "RSA", "e": "AQAB", "n": _text(modulus.to_bytes(size, "big"))}


def bound(data: bytes) -> bytes:
    """Report data of the hardware report that belongs to run-time data: their SHA-256, filled up with zeros."""
    return hashlib.sha256(data).digest().ljust(64, b"\0")


def td_report(report_data: bytes) -> bytes:
    """A TDREPORT of 1024 bytes, of which only the machine that made it could check more than the report data."""
    return (b"\x81" + bytes(REPORT_DATA.start - 1) + report_data).ljust(1024, b"\0")


def hcl_report(report_type: int, report: bytes, data: bytes) -> bytes:
    """An HCL report as the NV index holds it: header, hardware report, header of the run-time data, these, padding."""
    size = len(data) + 20
    head = struct.pack("<4sIII", b"HCLA", 1 if report_type == SNP else 2, REPORT + SLOT + size, 2).ljust(REPORT, b"\0")
    said = struct.pack("<IIIII", size, 1, report_type, 1, len(data))  # hash type 1: SHA-256
    return (head + report.ljust(SLOT, b"\0") + said + data).ljust(_NV_INDEX, b"\0")


def quote(bank: Sequence[bytes], extra_data: bytes, signer: bytes, clock: int) -> bytes:
    """A TPMS_ATTEST of type quote over all PCRs of the SHA-256 bank.

    Args:
        bank: their values.
        extra_data: the challenge.
        signer: 32 bytes that name the attestation key and its parents.
        clock: milliseconds for which the TPM has run.
    """
    return b"".join(
        (
            b"\xffTCG\x80\x18",
            _sized(b"\x00\x0b" + signer),  # SHA-256
            _sized(extra_data),
            struct.pack(">QIIBQ", clock, 1, 0, 1, 0x2020031200120003),  # clockInfo, firmwareVersion
            struct.pack(">IHB", 1, 0x000B, PCRS // 8) + b"\xff" * (PCRS // 8),
            _sized(hashlib.sha256(b"".join(bank)).digest()),
        )
    )


def _sized(content: bytes) -> bytes:
    return len(content).to_bytes(2, "big") + content


def evidence(report: bytes, quoted: tuple[bytes, bytes, Sequence[bytes]] | None, beside: dict[str, bytes]) -> bytes:
    """The whole, in Ratchet's form.

    Args:
        report: the HCL report.
        quoted: the TPM quote, its signature and the PCR values; None: it is left out.
        beside: `vcek` or `td_quote`, where there is one.
    """
    whole: dict[str, object] = {"hcl_report": _text(report)}
    if quoted is not None:
        message, signature, pcrs = quoted
        values = [_text(value) for value in pcrs]
        whole["tpm_quote"] = {"message": _text(message), "signature": _text(signature), "pcrs": values}
    whole.update({name: _text(content) for name, content in beside.items()})
    return json.dumps(whole, separators=(",", ":")).encode()


def _text(content: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def inside(raw: bytes, member: str, start: int, stop: int) -> range:
    """Where the characters lie that hold nothing but these bytes of a member."""
    begin = raw.index(f'"{member}":'.encode()) + len(member) + 4
    return range(begin + -(-start * 4 // 3), begin + stop * 4 // 3)


def joined(raw: bytes) -> tuple[range, ...]:
    """Where the parts lie that are signed, or whose hash is, beside the hardware report: the run-time data, and where
    there is a TPM quote that and the value of the first PCR.
    """
    report = base64.urlsafe_b64decode(raw[(at := raw.index(b'"hcl_report":"') + 14) : raw.index(b'"', at)] + b"==")
    size = int.from_bytes(report[_JSON - 4 : _JSON], "little")
    data = inside(raw, "hcl_report", _JSON, _JSON + size)
    if b'"tpm_quote"' not in raw:
        return (data,)
    message = raw.index(b'"message":"') + 11
    pcrs = raw.index(b'"pcrs":["') + 9
    # The last character of a member may hold bits that stand for nothing.
    return data, range(message, raw.index(b'"', message) - 1), range(pcrs, pcrs + 42)
