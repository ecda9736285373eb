"""A simulated AMD: ARK, ASK and VCEK certificates, CRLs and SEV-SNP reports, all in the bytes of the real ones.

Sources: AMD 57230, VCEK certificate and KDS interface specification (certificates, extensions, CRL); AMD 56860, SEV-SNP
firmware ABI (table ATTESTATION_REPORT, structure TCB_VERSION); certificates that AMD published for the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from collectors.simulated import certificates as x509
from collectors.simulated import der
from collectors.simulated.keys import EcKey, Keyring
from collectors.simulated.scenario import Product, SnpFirmware
from collectors.simulated.span import CERTIFICATES_FROM, CERTIFICATES_UNTIL
from ratchet.event import stamp

_ARC = "1.3.6.1.4.1.3704.1"
_URL = "https://kdsintf.simulated.invalid/vcek/v1"

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
class Chip:
    """One processor: its product and its id, 64 bytes (on Turin 8, zero-padded in reports)."""

    product: Product
    hwid: bytes

    @property
    def chip_id(self) -> bytes:
        """CHIP_ID as reports have it."""
        return self.hwid.ljust(64, b"\0")


def tcb_version(product: Product, firmware: SnpFirmware) -> bytes:
    """TCB_VERSION, 8 bytes (AMD 56860, table 3; Turin's has another order and the FMC)."""
    if product == "Turin":
        return bytes((firmware.fmc, firmware.bl, firmware.tee, firmware.snp, 0, 0, 0, firmware.ucode))
    return bytes((firmware.bl, firmware.tee, 0, 0, 0, 0, firmware.snp, firmware.ucode))


def _name(common: str) -> x509.Name:
    return x509.Name(
        (
            ("OU", "Engineering"),
            ("C", "US"),
            ("L", "Santa Clara"),
            ("ST", "CA"),
            ("O", "Ratchet Simulated AMD"),
            ("CN", common),
        )
    )


class Amd:
    """The vendor. RSA keys of a product are made when it is first asked for.

    Args:
        keys: whose keys.
        label: of this vendor's keys in the ring, so that a stranger of the same names has others.
    """

    def __init__(self, keys: Keyring, label: str = "amd") -> None:
        self._keys, self._label = keys, label

    def chip(self, product: Product, machine: str) -> Chip:
        """The processor in a machine."""
        size = 8 if product == "Turin" else 64
        return Chip(product, self._keys.derive(f"{self._label}/chip/{product}/{machine}", size))

    def _ark_issuer(self, product: Product) -> x509.Issuer:
        return x509.Issuer(_name(f"Simulated ARK-{product}"), self._keys.rsa(f"{self._label}-ark-{product.lower()}"))

    def _ask_issuer(self, product: Product) -> x509.Issuer:
        return x509.Issuer(_name(f"Simulated SEV-{product}"), self._keys.rsa(f"{self._label}-ask-{product.lower()}"))

    def ark(self, product: Product) -> bytes:
        """The root certificate of a product, DER."""
        return self._keys.issued(f"{self._label}/ark/{product}", lambda: self._ark(product))

    def ask(self, product: Product) -> bytes:
        """The signing certificate of a product, DER."""
        return self._keys.issued(f"{self._label}/ask/{product}", lambda: self._ask(product))

    def _ark(self, product: Product) -> bytes:
        issuer = self._ark_issuer(product)
        return x509.certificate(
            serial=0x10000,
            issuer=issuer,
            subject=issuer.name,
            key=issuer.key,
            valid_from=CERTIFICATES_FROM,
            valid_until=CERTIFICATES_FROM + timedelta(days=9131),
            extensions=(
                x509.key_usage("keyCertSign", "cRLSign"),
                x509.subject_key_id(issuer.key),
                x509.basic_constraints(True),
                x509.distribution_point(f"{_URL}/{product}/crl"),
            ),
        )

    def _ask(self, product: Product) -> bytes:
        issuer, subject = self._ark_issuer(product), self._ask_issuer(product)
        return x509.certificate(
            serial=0x10001,
            issuer=issuer,
            subject=subject.name,
            key=subject.key,
            valid_from=CERTIFICATES_FROM,
            valid_until=CERTIFICATES_FROM + timedelta(days=9131),
            extensions=(
                x509.subject_key_id(subject.key),
                x509.authority_key_id(issuer.key),
                x509.basic_constraints(True, 0),
                x509.key_usage("keyCertSign"),
                x509.distribution_point(f"{_URL}/{product}/crl"),
            ),
        )

    def chain(self, product: Product) -> bytes:
        """ASK and ARK, PEM, as the KDS answers `cert_chain`."""
        return (x509.pem(self.ask(product)) + x509.pem(self.ark(product))).encode()

    def crl(self, product: Product, issued: datetime) -> bytes:
        """The ARK's CRL, DER: empty, valid for a year."""
        return x509.crl(
            issuer=self._ark_issuer(product), number=1, issued=issued, next_update=issued + timedelta(days=365)
        )

    def vcek_key(self, chip: Chip, firmware: SnpFirmware) -> EcKey:
        """The chip's endorsement key at a TCB: other firmware, another key."""
        tcb = tcb_version(chip.product, firmware)
        return self._keys.ec(f"{self._label}/vcek/{chip.product}/{chip.hwid.hex()}/{tcb.hex()}", 384)

    def vcek(self, chip: Chip, firmware: SnpFirmware, valid_from: datetime = CERTIFICATES_FROM) -> bytes:
        """Its certificate, DER; signed once and then kept in the folder, for RSA in Python is slow."""
        tcb = tcb_version(chip.product, firmware)
        name = f"{self._label}/vcek/{chip.product}/{chip.hwid.hex()}/{tcb.hex()}/{stamp(valid_from)}"
        return self._keys.issued(name, lambda: self._issue(chip, firmware, valid_from))

    def _issue(self, chip: Chip, firmware: SnpFirmware, valid_from: datetime) -> bytes:
        turin = chip.product == "Turin"

        def svn(number: int, value: int) -> bytes:
            return x509.extension(f"{_ARC}.3.{number}", der.integer(value))

        spare = tuple(svn(n, 0) for n in ((5, 6, 7) if turin else (4, 5, 6, 7)))
        first = (svn(9, firmware.fmc),) if turin else ()
        base = (svn(1, firmware.bl), svn(2, firmware.tee))
        own = (svn(3, firmware.snp), *spare) if turin else (*spare, svn(3, firmware.snp))
        return x509.certificate(
            serial=0,
            issuer=self._ask_issuer(chip.product),
            subject=_name("Simulated SEV-VCEK"),
            key=self.vcek_key(chip, firmware),
            valid_from=valid_from,
            valid_until=max(CERTIFICATES_UNTIL, valid_from + timedelta(days=365)),
            extensions=(
                x509.extension(f"{_ARC}.1", der.integer(1 if turin else 0)),
                x509.extension(f"{_ARC}.2", der.ia5("Milan-B0" if chip.product == "Milan" else chip.product)),
                *first,
                *base,
                *own,
                svn(8, firmware.ucode),
                x509.extension(f"{_ARC}.4", chip.hwid),
            ),
        )


@dataclass(frozen=True, slots=True)
class Guest:
    """What runs on an AMD machine.

    Attributes:
        measurement: launch measurement, 48 bytes.
        report_id: 32 bytes, anew at each start of the guest.
        debug: whether the host may look inside.
    """

    measurement: bytes
    report_id: bytes
    debug: bool = False


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
