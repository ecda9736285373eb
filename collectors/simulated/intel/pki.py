"""A simulated Intel: its PKI, its TCB info, QE identities and CRLs, all in the bytes of the real ones.

Sources: Intel SGX PKI: PCK certificate and CRL profile 1.6 (certificates, CRLs, the SGX extension); Intel PCS API v4
(TCB info v3, QE identity v2, issuer chains, collateral as verifiers bundle it); the rest is as in what Intel published.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Literal

from collectors.simulated import certificates as x509
from collectors.simulated import der
from collectors.simulated.certificates import CERTIFICATES_FROM, CERTIFICATES_UNTIL
from collectors.simulated.keys import EcKey, Keyring
from ratchet.event import stamp

Ca = Literal["platform", "processor"]
Tee = Literal["sgx", "tdx"]

SGX_EXTENSION = "1.2.840.113741.1.13.1"
"""Intel SGX PCK certificate and CRL profile, table 6."""

BASE_EVALUATION = 17
"""tcbEvaluationDataNumber of the documents that a simulated fleet begins with."""

DOCUMENT_LIFE = timedelta(days=30)
"""From issueDate to nextUpdate, as Intel has it."""

QE_SIGNER = {
    "sgx": "8c4f5775d796503e96137f77c68a829a0056ac8ded70140b081b094490c57bff",
    "tdx": "dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5",
}
"""MRSIGNER of Intel's quoting enclaves, as in the QE identities that Intel publishes."""

QE_PRODUCT = {"sgx": 1, "tdx": 2}
"""ISVPRODID of the same."""


@dataclass(frozen=True, slots=True)
class Tcb:
    """Security versions of an Intel machine: what its PCK certificate says, and its quotes.

    Attributes:
        microcode, pcesvn, qe, module, module_svn: see `groups.IntelFirmware`.
    """

    microcode: int
    pcesvn: int
    qe: int
    module: int = 0
    module_svn: int = 0

    @property
    def sgx(self) -> bytes:
        """The 16 SGX TCB components."""
        return bytes((self.microcode, self.microcode, 2, 2, 3, 1, 0, 5)) + bytes(8)

    @property
    def tdx(self) -> bytes:
        """The 16 TDX TCB components, TEE_TCB_SVN."""
        return bytes((self.module_svn, self.module, self.microcode)) + bytes(13)


@dataclass(frozen=True, slots=True)
class Level:
    """One state of the art: what Intel asks of a platform from `date` on, and the advisory that made it so."""

    microcode: int
    pcesvn: int
    module_svn: int
    date: datetime
    advisory: str | None

    def met_by(self, tcb: Tcb, tee: Tee) -> bool:
        """Whether a machine has all of it (Intel PCS API v4, "Determining the TCB status")."""
        enough = tcb.microcode >= self.microcode and tcb.pcesvn >= self.pcesvn
        return enough and (tee == "sgx" or tcb.module_svn >= self.module_svn)


@dataclass(frozen=True, slots=True)
class Pck:
    """A machine's PCK certificate: chain as quotes carry it, the leaf's key and serial number."""

    chain: bytes
    key: EcKey
    serial: int


def _name(common: str) -> x509.Name:
    return x509.Name(
        (("CN", common), ("O", "Ratchet Simulated Intel"), ("L", "Santa Clara"), ("ST", "CA"), ("C", "US"))
    )


class Intel:
    """The vendor. Everything follows from the keyring; nothing is kept but caches.

    Args:
        keys: whose keys.
        label: of this vendor's keys in the ring, so that a stranger of the same names has others.
    """

    ROOT = "Simulated Intel SGX Root CA"
    SIGNING = "Simulated Intel SGX TCB Signing"
    CAS: ClassVar[dict[Ca, str]] = {
        "platform": "Simulated Intel SGX PCK Platform CA",
        "processor": "Simulated Intel SGX PCK Processor CA",
    }

    def __init__(self, keys: Keyring, label: str = "intel") -> None:
        self._keys, self._label = keys, label
        self.pck = lru_cache(maxsize=8192)(self._pck)
        self.ca = lru_cache(maxsize=2)(self._ca)

    def _key(self, name: str) -> EcKey:
        return self._keys.ec(f"{self._label}/{name}", 256)

    def _serial(self, name: str) -> int:
        # 20 octets at most, and positive (RFC 5280, 4.1.2.2).
        return int.from_bytes(self._keys.derive(f"{self._label}/serial/{name}", 20), "big") >> 1 | 1

    @cached_property
    def root(self) -> bytes:
        """The root certificate, DER."""
        return x509.certificate(
            serial=self._serial("root"),
            issuer=self._root_issuer,
            subject=_name(self.ROOT),
            key=self._key("root"),
            valid_from=CERTIFICATES_FROM,
            valid_until=datetime(2049, 12, 31, 23, 59, 59, tzinfo=CERTIFICATES_FROM.tzinfo),
            extensions=self._extensions("root", ("keyCertSign", "cRLSign"), ca=True, path_length=1),
        )

    @property
    def _root_issuer(self) -> x509.Issuer:
        return x509.Issuer(_name(self.ROOT), self._key("root"))

    def _extensions(
        self, key: str, usage: tuple[str, ...], *, ca: bool, path_length: int | None = None
    ) -> tuple[bytes, ...]:
        return (
            x509.authority_key_id(self._key("root")),
            x509.distribution_point("https://certificates.simulated.invalid/IntelSGXRootCA.der"),
            x509.subject_key_id(self._key(key)),
            x509.key_usage(*usage),
            x509.basic_constraints(ca, path_length),
        )

    def _ca(self, ca: Ca) -> bytes:
        """A PCK CA's certificate, DER."""
        return x509.certificate(
            serial=self._serial(ca),
            issuer=self._root_issuer,
            subject=_name(self.CAS[ca]),
            key=self._key(ca),
            valid_from=CERTIFICATES_FROM,
            valid_until=CERTIFICATES_UNTIL,
            extensions=self._extensions(ca, ("keyCertSign", "cRLSign"), ca=True, path_length=0),
        )

    @cached_property
    def _signing(self) -> bytes:
        return x509.certificate(
            serial=self._serial("tcb signing"),
            issuer=self._root_issuer,
            subject=_name(self.SIGNING),
            key=self._key("tcb signing"),
            valid_from=CERTIFICATES_FROM,
            valid_until=CERTIFICATES_UNTIL,
            extensions=self._extensions("tcb signing", ("digitalSignature", "nonRepudiation"), ca=False),
        )

    def _pck(self, machine: str, fmspc: str, ca: Ca, tcb: Tcb, valid_from: datetime = CERTIFICATES_FROM) -> Pck:
        """The PCK certificate of a machine at a TCB; patched firmware has a new certificate."""
        # The module and the quoting enclave are no part of a PCK certificate's TCB.
        name = f"pck/{machine}/{fmspc}/{ca}/{tcb.microcode}/{tcb.pcesvn}/{stamp(valid_from)}"
        key, serial = self._key(name), self._serial(name)
        leaf = x509.certificate(
            serial=serial,
            issuer=x509.Issuer(_name(self.CAS[ca]), self._key(ca)),
            subject=_name("Simulated Intel SGX PCK Certificate"),
            key=key,
            valid_from=valid_from,
            valid_until=max(CERTIFICATES_UNTIL, valid_from + timedelta(days=365)),
            extensions=(
                x509.authority_key_id(self._key(ca)),
                x509.distribution_point(
                    f"https://api.simulated.invalid/sgx/certification/v4/pckcrl?ca={ca}&encoding=der"
                ),
                x509.subject_key_id(key),
                x509.key_usage("digitalSignature", "nonRepudiation"),
                x509.basic_constraints(False),
                x509.extension(SGX_EXTENSION, self._sgx_extension(machine, fmspc, ca, tcb)),
            ),
        )
        chain = "".join(x509.pem(one) for one in (leaf, self.ca(ca), self.root))
        return Pck(chain.encode() + b"\0", key, serial)

    def ppid(self, machine: str) -> bytes:
        """The platform provisioning id, 16 bytes."""
        return self._keys.derive(f"{self._label}/ppid/{machine}", 16)

    def _sgx_extension(self, machine: str, fmspc: str, ca: Ca, tcb: Tcb) -> bytes:
        def entry(number: str, value: bytes) -> bytes:
            return der.sequence(der.oid(f"{SGX_EXTENSION}.{number}"), value)

        components = (entry(f"2.{n}", der.integer(svn)) for n, svn in enumerate(tcb.sgx, 1))
        parts = [
            entry("1", der.octets(self.ppid(machine))),
            entry(
                "2",
                der.sequence(*components, entry("2.17", der.integer(tcb.pcesvn)), entry("2.18", der.octets(tcb.sgx))),
            ),
            entry("3", der.octets(bytes(2))),
            entry("4", der.octets(bytes.fromhex(fmspc))),
            entry("5", der.enumerated(1 if ca == "platform" else 0)),
        ]
        if ca == "platform":
            flags = (entry("7.1", der.boolean(True)), entry("7.2", der.boolean(False)), entry("7.3", der.boolean(True)))
            parts += [
                entry("6", der.octets(self._keys.derive(f"{self._label}/platform/{machine}", 16))),
                entry("7", der.sequence(*flags)),
            ]
        return der.sequence(*parts)

    def root_crl(self, issued: datetime) -> bytes:
        """The root's CRL, valid for a year."""
        return x509.crl(issuer=self._root_issuer, number=1, issued=issued, next_update=issued + timedelta(days=365))

    def pck_crl(self, ca: Ca, issued: datetime, revoked: Iterable[tuple[int, datetime]] = ()) -> bytes:
        """A PCK CA's CRL, valid for 30 days."""
        return x509.crl(
            issuer=x509.Issuer(_name(self.CAS[ca]), self._key(ca)),
            number=1,
            issued=issued,
            next_update=issued + DOCUMENT_LIFE,
            revoked=revoked,
        )

    def bundle(
        self,
        *,
        tee: Tee,
        fmspc: str,
        ca: Ca,
        history: Sequence[Level],
        qe: int,
        evaluation: int,
        issued: datetime,
        crl_issued: datetime,
        revoked: Iterable[tuple[int, datetime]] = (),
    ) -> bytes:
        """TCB info, QE identity, CRLs and issuer chains in one JSON document, as verifiers keep them.

        Args:
            tee, fmspc, ca: of which platform.
            history: levels, newest first; the first is up to date, every other out of date.
            qe: ISVSVN of the quoting enclave that is up to date.
            evaluation: tcbEvaluationDataNumber of both documents.
            issued: issueDate of both.
            crl_issued: thisUpdate of the PCK CRL.
            revoked: serial numbers on it, with their dates.
        """
        tcb_info = _compact(_tcb_info(tee, fmspc, history, evaluation, issued))
        identity = _compact(_qe_identity(tee, qe, evaluation, issued))
        signing = x509.pem(self._signing) + x509.pem(self.root)
        key = self._key("tcb signing")
        document = {
            "tcb_info": tcb_info,
            "tcb_info_signature": key.sign_quote(tcb_info.encode()).hex(),
            "tcb_info_issuer_chain": signing,
            "qe_identity": identity,
            "qe_identity_signature": key.sign_quote(identity.encode()).hex(),
            "qe_identity_issuer_chain": signing,
            "root_ca_crl": self.root_crl(_half_year(issued)).hex(),
            "pck_crl": self.pck_crl(ca, crl_issued, revoked).hex(),
            "pck_crl_issuer_chain": x509.pem(self.ca(ca)) + x509.pem(self.root),
        }
        return json.dumps(document, indent=1).encode()


@lru_cache(maxsize=8)
def intel_of(keys: Keyring, label: str = "intel") -> Intel:
    """The vendor of a keyring: one, so that what it caches serves everybody."""
    return Intel(keys, label)


STRANGER = "strange-intel"
"""Label of a vendor of the same names, under a root that nobody trusts."""


def _compact(document: dict[str, Any]) -> str:
    """JSON without white space: signed as it is, byte for byte."""
    return json.dumps(document, separators=(",", ":"))


def _half_year(at: datetime) -> datetime:
    """When the root's CRL of that time was issued: twice a year, so that the latest is valid for months to come."""
    return CERTIFICATES_FROM + (at - CERTIFICATES_FROM) // timedelta(days=180) * timedelta(days=180)


def _when(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


_SGX_KINDS: tuple[dict[str, str], ...] = (
    {"category": "BIOS", "type": "Early Microcode Update"},
    {"category": "OS/VMM", "type": "SGX Late Microcode Update"},
    {"category": "OS/VMM", "type": "TXT SINIT"},
    {"category": "BIOS"},
    {"category": "BIOS"},
    {"category": "BIOS"},
    {},
    {"category": "OS/VMM", "type": "SEAMLDR ACM"},
)
_TDX_KINDS: tuple[dict[str, str], ...] = (
    {"category": "OS/VMM", "type": "TDX Module"},
    {"category": "OS/VMM", "type": "TDX Module"},
    {"category": "OS/VMM", "type": "TDX Late Microcode Update"},
)


def _components(svns: bytes, kinds: tuple[dict[str, str], ...]) -> list[dict[str, Any]]:
    return [{"svn": svn, **(kinds[n] if n < len(kinds) else {})} for n, svn in enumerate(svns)]


def _verdicts(history: Sequence[Level]) -> list[dict[str, Any]]:
    """Date, status and advisories of each level: what came after a level is what it lacks."""
    return [
        {
            "tcbDate": _when(level.date),
            "tcbStatus": "OutOfDate" if n else "UpToDate",
            **({"advisoryIDs": sorted({one.advisory for one in history[:n] if one.advisory})} if n else {}),
        }
        for n, level in enumerate(history)
    ]


def _tcb_info(tee: Tee, fmspc: str, history: Sequence[Level], evaluation: int, issued: datetime) -> dict[str, Any]:
    """TCB info, version 3 (Intel PCS API v4, TCBInfoV3)."""
    levels = []
    for level, verdict in zip(history, _verdicts(history), strict=True):
        tcb = Tcb(level.microcode, level.pcesvn, 0, 0, level.module_svn)
        at: dict[str, Any] = {"sgxtcbcomponents": _components(tcb.sgx, _SGX_KINDS), "pcesvn": level.pcesvn}
        if tee == "tdx":
            at["tdxtcbcomponents"] = _components(tcb.tdx, _TDX_KINDS)
        levels.append({"tcb": at, **verdict})
    info: dict[str, Any] = {
        "id": tee.upper(),
        "version": 3,
        "issueDate": _when(issued),
        "nextUpdate": _when(issued + DOCUMENT_LIFE),
        "fmspc": fmspc.upper(),
        "pceId": "0000",
        "tcbType": 0,
        "tcbEvaluationDataNumber": evaluation,
    }
    if tee == "tdx":
        module = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
        own = [
            {"tcb": {"isvsvn": level.module_svn}, **verdict}
            for level, verdict in zip(history, _verdicts(history), strict=True)
        ]
        # A level that repeats the one before it can never be the first to match.
        kept = [one for n, one in enumerate(own) if one["tcb"] not in [before["tcb"] for before in own[:n]]]
        info["tdxModule"] = module
        info["tdxModuleIdentities"] = [{"id": f"TDX_{n:02X}", **module, "tcbLevels": kept} for n in (3, 1)]
    return {**info, "tcbLevels": levels}


def _qe_identity(tee: Tee, qe: int, evaluation: int, issued: datetime) -> dict[str, Any]:
    """QE identity, version 2 (Intel PCS API v4, EnclaveIdentityV2)."""
    first = _when(CERTIFICATES_FROM)
    levels: list[dict[str, Any]] = [{"tcb": {"isvsvn": qe}, "tcbDate": first, "tcbStatus": "UpToDate"}]
    if qe > 1:
        levels.append(
            {"tcb": {"isvsvn": 1}, "tcbDate": first, "tcbStatus": "OutOfDate", "advisoryIDs": ["INTEL-SA-00615"]}
        )
    return {
        "id": "TD_QE" if tee == "tdx" else "QE",
        "version": 2,
        "issueDate": _when(issued),
        "nextUpdate": _when(issued + DOCUMENT_LIFE),
        "tcbEvaluationDataNumber": evaluation,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11" + "00" * 15,
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": QE_SIGNER[tee].upper(),
        "isvprodid": QE_PRODUCT[tee],
        "tcbLevels": levels,
    }
