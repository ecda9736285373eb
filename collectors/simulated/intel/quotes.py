"""Intel quotes, written: SGX version 3, TDX versions 4 and 5.

Sources: Intel SGX ECDSA QuoteLibReference, appendix A (quote v3, enclave report); Intel TDX DCAP Quoting Library API,
appendix 3 (quotes v4 and v5, TD reports 1.0 and 1.5). All integers are little-endian, ECDSA values big-endian.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from collectors.simulated.intel.pki import QE_PRODUCT, QE_SIGNER, Pck, Tcb, Tee
from collectors.simulated.keys import EcKey

INTEL_QE_VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
"""Vendor id of Intel's quoting enclave, in every quote header."""

_ECDSA_P256 = 2
_PCK_CHAIN, _QE_REPORT = 5, 6
_AUTH = bytes(range(32))
"""QE authentication data: what Intel's quoting enclaves put there."""


@dataclass(frozen=True, slots=True)
class Guest:
    """What runs on an Intel machine: an enclave or a trust domain.

    Attributes:
        measurement: MRENCLAVE (32 bytes) or MRTD (48).
        signer: MRSIGNER (32 bytes); unused in TDX.
        seam: MRSEAM (48 bytes): measurement of the TDX module; unused in SGX.
        registers: what RTMR0 to RTMR3 hold; unused in SGX.
        debug: whether the host may look inside.
    """

    measurement: bytes
    signer: bytes = bytes(32)
    seam: bytes = bytes(48)
    registers: tuple[bytes, ...] = ()
    debug: bool = False


def enclave_report(
    *, cpusvn: bytes, attributes: int, measurement: bytes, signer: bytes, product: int, svn: int, report_data: bytes
) -> bytes:
    """An enclave report body of 384 bytes (QuoteLibReference, A.4 table 5)."""
    return b"".join(
        (
            cpusvn,
            bytes(4),  # MISCSELECT
            bytes(28),
            attributes.to_bytes(8, "little"),
            (0xE7).to_bytes(8, "little"),  # XFRM: x87, SSE, AVX, AVX-512
            measurement,
            bytes(32),
            signer,
            bytes(96),
            product.to_bytes(2, "little"),
            svn.to_bytes(2, "little"),
            bytes(60),
            report_data,
        )
    )


def td_report(tcb: Tcb, guest: Guest, report_data: bytes, *, newer: bool) -> bytes:
    """A TD report body: 584 bytes (TD 1.0), with `newer` 648 (TD 1.5)."""
    attributes = 1 << 28 | int(guest.debug)  # SEPT_VE_DISABLE, DEBUG
    body = b"".join(
        (
            tcb.tdx,
            guest.seam,
            bytes(48),  # MRSIGNERSEAM: zero for Intel's own module
            bytes(8),  # SEAMATTRIBUTES
            attributes.to_bytes(8, "little"),
            (0x61AE7).to_bytes(8, "little"),  # XFAM
            guest.measurement,
            bytes(48 * 3),  # MRCONFIGID, MROWNER, MROWNERCONFIG
            *guest.registers,
            report_data,
        )
    )
    return body + tcb.tdx + bytes(48) if newer else body


class Quoter:
    """The quoting enclave of one machine at one TCB: its attestation key, certified once by the PCK.

    Args:
        tee: which kind of quotes.
        attestation: the attestation key.
        pck: the machine's certificate.
        tcb: its security versions.
        qe_id: 16 bytes that say which quoting enclave it is (header, user data).
    """

    def __init__(self, tee: Tee, attestation: EcKey, pck: Pck, tcb: Tcb, qe_id: bytes) -> None:
        self._tee, self._attestation, self._tcb, self._qe_id = tee, attestation, tcb, qe_id
        bound = hashlib.sha256(attestation.point + _AUTH).digest()
        report = enclave_report(
            cpusvn=tcb.sgx,
            attributes=0x15,  # INIT, MODE64BIT, PROVISION_KEY
            measurement=hashlib.sha256(f"simulated quoting enclave {tee} {tcb.qe}".encode()).digest(),
            signer=bytes.fromhex(QE_SIGNER[tee]),
            product=QE_PRODUCT[tee],
            svn=tcb.qe,
            report_data=bound + bytes(32),
        )
        certified = report + pck.key.sign_quote(report) + _sized(2, _AUTH) + _tagged(_PCK_CHAIN, pck.chain)
        self._certification = certified if tee == "sgx" else _tagged(_QE_REPORT, certified)

    def by(self, attestation: EcKey) -> Quoter:
        """The same, but signing with a key that nobody certified: for forgeries."""
        other = object.__new__(Quoter)
        other._tee, other._tcb, other._qe_id = self._tee, self._tcb, self._qe_id
        other._attestation, other._certification = attestation, self._certification
        return other

    def quote(self, version: int, guest: Guest, report_data: bytes) -> bytes:
        """One quote of version 3 (SGX), 4 or 5 (TDX)."""
        if self._tee == "sgx":
            header = self._header(version, 0, bytes(4))
            # SGX v3 has the QE's and PCE's SVN in the header.
            header = (
                header[:8] + self._tcb.qe.to_bytes(2, "little") + self._tcb.pcesvn.to_bytes(2, "little") + header[12:]
            )
            body = enclave_report(
                cpusvn=self._tcb.sgx,
                attributes=0x7 if guest.debug else 0x5,  # INIT, MODE64BIT and perhaps DEBUG
                measurement=guest.measurement,
                signer=guest.signer,
                product=1,
                svn=1,
                report_data=report_data,
            )
        else:
            header = self._header(version, 0x81, bytes(4))
            body = td_report(self._tcb, guest, report_data, newer=version == 5)
            if version == 5:
                body = (3).to_bytes(2, "little") + len(body).to_bytes(4, "little") + body
        signed = header + body
        signature = self._attestation.sign_quote(signed) + self._attestation.point + self._certification
        return signed + _sized(4, signature)

    def _header(self, version: int, tee_type: int, reserved: bytes) -> bytes:
        return b"".join(
            (
                version.to_bytes(2, "little"),
                _ECDSA_P256.to_bytes(2, "little"),
                tee_type.to_bytes(4, "little"),
                reserved,
                INTEL_QE_VENDOR,
                self._qe_id.ljust(20, b"\0"),
            )
        )


def _sized(width: int, content: bytes) -> bytes:
    return len(content).to_bytes(width, "little") + content


def _tagged(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "little") + _sized(4, content)
