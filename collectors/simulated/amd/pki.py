"""A simulated AMD: ARK, ASK and VCEK certificates and CRLs, all in the bytes of the real ones.

Sources: AMD 57230, VCEK certificate and KDS interface specification (certificates, extensions, CRL); AMD 56860, SEV-SNP
firmware ABI (structure TCB_VERSION); certificates that AMD published for the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from collectors.simulated import certificates as x509
from collectors.simulated import der
from collectors.simulated.amd.groups import Product, SnpFirmware
from collectors.simulated.certificates import CERTIFICATES_FROM, CERTIFICATES_UNTIL
from collectors.simulated.keys import EcKey, Keyring
from ratchet.event import stamp

_ARC = "1.3.6.1.4.1.3704.1"
_URL = "https://kdsintf.simulated.invalid/vcek/v1"


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


@lru_cache(maxsize=8)
def amd_of(keys: Keyring, label: str = "amd") -> Amd:
    """The vendor of a keyring."""
    return Amd(keys, label)


STRANGER = "strange-amd"
"""Label of a vendor of the same names, under roots that nobody trusts."""
