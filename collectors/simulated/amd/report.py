"""SEV-SNP attestation reports, written (AMD 56860, SEV-SNP firmware ABI, table ATTESTATION_REPORT)."""

from __future__ import annotations

from dataclasses import dataclass

from collectors.simulated.amd.groups import Product, SnpFirmware
from collectors.simulated.amd.pki import Chip, tcb_version
from collectors.simulated.keys import EcKey

_CPUID: dict[Product, tuple[int, int, int]] = {
    "Milan": (0x19, 0x01, 0x01),
    "Genoa": (0x19, 0x11, 0x01),
    "Turin": (0x1A, 0x02, 0x01),
}
"""Family, model and stepping (AMD 57230, 1.2 and the processors' revision guides)."""

_FIRMWARE: dict[Product, bytes] = {"Milan": b"\x1d\x37\x01", "Genoa": b"\x2b\x37\x01", "Turin": b"\x41\x37\x01"}
"""Build, minor and major number of the SEV firmware."""

SIGNED = 0x2A0
"""Bytes of a report that its signature covers."""


@dataclass(frozen=True, slots=True)
class Guest:
    """What runs on an AMD machine.

    Attributes:
        measurement: launch measurement, 48 bytes.
        report_id: 32 bytes, anew at each start of the guest.
        debug: whether the host may look inside.
        vmpl: privilege level of whoever in the guest asks for the report.
    """

    measurement: bytes
    report_id: bytes
    debug: bool = False
    vmpl: int = 0


def report(
    version: int,
    chip: Chip,
    guest: Guest,
    report_data: bytes,
    key: EcKey,
    *,
    reported: SnpFirmware,
    committed: SnpFirmware,
    launch: SnpFirmware,
) -> bytes:
    """An attestation report, 1184 bytes (AMD 56860, table ATTESTATION_REPORT), signed.

    Current TCB equals reported TCB: the simulated hosts do not hold a newer firmware back.
    """
    out = bytearray(1184)

    def put(offset: int, content: bytes) -> None:
        out[offset : offset + len(content)] = content

    policy = 1 << 17 | 1 << 16 | int(guest.debug) << 19  # bit 17 is always one; SMT; DEBUG
    build = _FIRMWARE[chip.product]
    put(0x000, version.to_bytes(4, "little"))
    put(0x004, (2).to_bytes(4, "little"))  # GUEST_SVN
    put(0x008, policy.to_bytes(8, "little"))
    put(0x030, guest.vmpl.to_bytes(4, "little"))
    put(0x034, (1).to_bytes(4, "little"))  # ECDSA P-384 with SHA-384
    put(0x038, tcb_version(chip.product, reported))  # CURRENT_TCB
    put(0x040, (0x25).to_bytes(8, "little"))  # SMT_EN, ECC_EN, ALIAS_CHECK_COMPLETE
    put(0x050, report_data)
    put(0x090, guest.measurement)
    put(0x140, guest.report_id)
    put(0x160, b"\xff" * 32)  # REPORT_ID_MA: no migration agent
    put(0x180, tcb_version(chip.product, reported))
    if version >= 3:
        put(0x188, bytes(_CPUID[chip.product]))
    put(0x1A0, chip.chip_id)
    put(0x1E0, tcb_version(chip.product, committed))
    put(0x1E8, build + b"\0" + build)
    put(0x1F0, tcb_version(chip.product, launch))
    if version >= 5:
        put(0x1F8, (0x3F).to_bytes(8, "little"))  # LAUNCH_MIT_VECTOR
        put(0x200, (0x3F).to_bytes(8, "little"))  # CURRENT_MIT_VECTOR
    r, s = key.sign_raw(bytes(out[:SIGNED]))
    put(0x2A0, r.to_bytes(72, "little"))
    put(0x2E8, s.to_bytes(72, "little"))
    return bytes(out)
