"""What a PCK certificate says of its platform: Intel's SGX extension.

Source: Intel SGX PCK Certificate and Certificate Revocation List Profile Specification, 1.3.5, "SGX Extensions" (OID
1.2.840.113741.1.13.1).
"""

from __future__ import annotations

from dataclasses import dataclass

from ratchet.evidence.spec import Identity
from ratchet.x509 import der
from ratchet.x509.certificate import Certificate
from ratchet.x509.der import BadDer

SGX_EXTENSION = "1.2.840.113741.1.13.1"

_ENUMERATED = 0x0A
"""Tag of SGX Type (X.690, 8.4)."""


@dataclass(frozen=True, slots=True)
class Pck:
    """One platform's TCB and identity, as Intel certifies them.

    Attributes:
        ppid: platform provisioning id, 16 bytes.
        sgx: 16 component SVNs.
        pcesvn: of the provisioning certification enclave.
        cpusvn: 16 bytes, raw.
        pceid: 2 bytes.
        fmspc: 6 bytes: the product family.
        instance: platform instance id, 16 bytes; None where the Processor CA issued, which names none.
        sgx_type: 0 standard, 1 scalable, 2 scalable with integrity; None where it does not say.
        dynamic, cached_keys, smt: how a multi-package platform is configured; None where it does not say.
    """

    ppid: bytes
    sgx: tuple[int, ...]
    pcesvn: int
    cpusvn: bytes
    pceid: bytes
    fmspc: bytes
    instance: bytes | None
    sgx_type: int | None
    dynamic: bool | None
    cached_keys: bool | None
    smt: bool | None

    @property
    def identity(self) -> str | None:
        """Who the platform is: `ppid:` and hex, `platform:` where that is zero, None where both are."""
        if any(self.ppid):
            return f"ppid:{self.ppid.hex()}"
        return f"platform:{self.instance.hex()}" if self.instance is not None and any(self.instance) else None


IDENTITIES = (
    Identity(kind="ppid", form="[0-9a-f]{32}", label="PPID"),
    Identity(kind="platform", form="[0-9a-f]{32}", label="platform instance"),
)
"""How a PCK certificate names its platform (Intel SGX PCK certificate and CRL specification, 1.3.5)."""


def read(certificate: Certificate) -> Pck:
    """The SGX extension of a PCK certificate.

    Raises:
        BadDer: it has none, or one of another form.
    """
    data = certificate.extensions.get(SGX_EXTENSION)
    if data is None:
        raise BadDer("no SGX extension: not a PCK certificate")
    found = _pairs(data, *der.only(data, der.SEQUENCE))
    tcb = _pairs(data, *_sequence(found, 2))
    configuration = _pairs(data, *_sequence(found, 7)) if 7 in found else {}
    try:
        components = tuple(bytes([der.integer(data, tcb[i]) for i in range(1, 17)]))
    except (KeyError, ValueError):
        raise BadDer("the TCB is not 16 SVNs of a byte each") from None
    return Pck(
        ppid=_octets(data, found, 1, 16),
        sgx=components,
        pcesvn=der.integer(data, _get(tcb, 17)),
        cpusvn=_octets(data, tcb, 18, 16),
        pceid=_octets(data, found, 3, 2),
        fmspc=_octets(data, found, 4, 6),
        instance=_octets(data, found, 6, 16) if 6 in found else None,
        sgx_type=_enumerated(data, found, 5),
        dynamic=_flag(data, configuration, 1),
        cached_keys=_flag(data, configuration, 2),
        smt=_flag(data, configuration, 3),
    )


def _pairs(data: bytes, start: int, stop: int) -> dict[int, der.Element]:
    """A sequence of pairs of OID and value, by the last arc of the OID: the arcs above are those of the container."""
    found: dict[int, der.Element] = {}
    at = start
    while at < stop:
        tag, inner, at = der.element(data, at, stop)
        if tag != der.SEQUENCE or at - inner < 4 or data[inner] != der.OID:
            raise BadDer("SGX extension is not made of pairs")
        behind = inner + 2 + data[inner + 1]  # an OID of 128 bytes or more would end beyond the pair
        value = der.element(data, behind, at)
        arc = data[behind - 1]
        if value[2] != at or arc >= 0x80 or arc in found:
            raise BadDer("SGX extension is not made of pairs, each of another name")
        found[arc] = value
    return found


def _get(found: dict[int, der.Element], arc: int) -> der.Element:
    if arc not in found:
        raise BadDer(f"SGX extension lacks item {arc}")
    return found[arc]


def _sequence(found: dict[int, der.Element], arc: int) -> tuple[int, int]:
    tag, start, stop = _get(found, arc)
    if tag != der.SEQUENCE:
        raise BadDer(f"SGX extension: item {arc} is not a sequence")
    return start, stop


def _octets(data: bytes, found: dict[int, der.Element], arc: int, size: int) -> bytes:
    value = der.octets(data, _get(found, arc))
    if len(value) != size:
        raise BadDer(f"SGX extension: item {arc} is not {size} bytes")
    return value


def _enumerated(data: bytes, found: dict[int, der.Element], arc: int) -> int | None:
    if arc not in found:
        return None
    tag, start, stop = found[arc]
    return data[start] if tag == _ENUMERATED and stop - start == 1 else None


def _flag(data: bytes, found: dict[int, der.Element], arc: int) -> bool | None:
    if arc not in found:
        return None
    tag, start, stop = found[arc]
    if tag != der.BOOLEAN or stop - start != 1:
        raise BadDer(f"SGX extension: item {arc} is not a boolean")
    return data[start] != 0
