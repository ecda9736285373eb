"""A simulated AWS: the certificates behind an enclave's attestation document, shaped as the real ones.

Sources: AWS Nitro Enclaves attestation process, 2.1 and 3.2.3; documents that AWS's hypervisors signed for the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from collectors.simulated import certificates as x509
from collectors.simulated.certificates import CERTIFICATES_FROM, CERTIFICATES_UNTIL
from collectors.simulated.keys import EcKey, Keyring

STRANGER = "strange-aws"
"""Label of a vendor of the same names, under a root that nobody trusts."""

LEAF_LIFE = timedelta(hours=3)
LEAF_BEFORE = timedelta(seconds=3)
"""A leaf is dated back a little, for clocks that lag."""
INSTANCE_LIFE = timedelta(hours=30)

_ROOT = "simulated.nitro-enclaves"


def _name(common: str) -> x509.Name:
    return x509.Name((("C", "US"), ("O", "Ratchet Simulated AWS"), ("OU", "AWS"), ("CN", common)))


@dataclass(frozen=True, slots=True)
class Enclave:
    """One enclave.

    Attributes:
        instance: id of its parent.
        module: its own, with the parent's.
        region: where.
    """

    instance: str
    module: str
    region: str

    @property
    def subject(self) -> str:
        """Common name of its leaf."""
        return f"{self.module}.{self.region}.aws"


class Aws:
    """The vendor.

    Args:
        keys: whose keys.
        label: of this vendor's keys in the ring, so that a stranger of the same names has others.
    """

    def __init__(self, keys: Keyring, label: str = "aws") -> None:
        self._keys, self._label = keys, label

    def enclave(self, machine: str, guest: str, region: str) -> Enclave:
        """The enclave that runs as a guest of a machine."""
        instance = f"i-{self._keys.derive(f'instance/{machine}', 9).hex()[:17]}"
        return Enclave(instance, f"{instance}-enc{self._keys.derive(f'enclave/{machine}/{guest}', 8).hex()}", region)

    def key(self, common: str) -> EcKey:
        """The key of a certificate's subject."""
        return self._keys.ec(f"{self._label}/{common}", 384)

    def root(self) -> bytes:
        """The root certificate, DER."""
        return self._ca(_ROOT, _ROOT, CERTIFICATES_FROM, CERTIFICATES_UNTIL, None)

    def bundle(self, enclave: Enclave, at: datetime) -> list[bytes]:
        """Root, region, zone and instance, as a document carries them."""
        regional = f"00ff.{enclave.region}.{_ROOT}"
        zonal = f"ff00.zonal.{enclave.region}.{_ROOT}"
        day = at.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(hours=1)
        return [
            self.root(),
            self._ca(regional, _ROOT, CERTIFICATES_FROM, CERTIFICATES_UNTIL, 2),
            self._ca(zonal, regional, CERTIFICATES_FROM, CERTIFICATES_UNTIL, 1),
            self._ca(self._host(enclave), zonal, day, day + INSTANCE_LIFE, 0),
        ]

    def leaf(self, enclave: Enclave, since: datetime) -> bytes:
        """The certificate of an enclave that is issued then, DER."""
        return self._issue(
            enclave.subject,
            self._host(enclave),
            since - LEAF_BEFORE,
            since + LEAF_LIFE,
            (x509.basic_constraints(False), x509.key_usage("digitalSignature", "nonRepudiation")),
        )

    def _host(self, enclave: Enclave) -> str:
        return f"{enclave.instance}.{enclave.region}.{_ROOT}"

    def _ca(self, subject: str, issuer: str, since: datetime, until: datetime, length: int | None) -> bytes:
        name = f"{self._label}/{subject}/{since:%Y%m%d}"
        extensions = (
            x509.basic_constraints(True, length),
            x509.key_usage("keyCertSign"),
            x509.subject_key_id(self.key(subject)),
            x509.authority_key_id(self.key(issuer)),
        )
        return self._keys.issued(name, lambda: self._issue(subject, issuer, since, until, extensions))

    def _issue(
        self, subject: str, issuer: str, since: datetime, until: datetime, extensions: tuple[bytes, ...]
    ) -> bytes:
        serial = int.from_bytes(self._keys.derive(f"serial/{self._label}/{subject}/{since.isoformat()}", 15), "big") | 1
        return x509.certificate(
            serial=serial,
            issuer=x509.Issuer(_name(issuer), self.key(issuer)),
            subject=_name(subject),
            key=self.key(subject),
            valid_from=since,
            valid_until=until,
            extensions=extensions,
        )
