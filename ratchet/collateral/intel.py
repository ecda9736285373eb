"""Intel's collateral: TCB info, enclave identities and revocation lists, from every form in which they are kept.

Source: Intel SGX and TDX PCS API v4, "Get TCB Info", "Get QE Identity", "Get PCK CRL"; SGX DCAP Quote Verification Library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from ratchet.certificate import Path, RevocationList
from ratchet.collateral import Known, Root
from ratchet.collateral.tcb import ModuleLevel, TcbLevel, match, match_module

__all__ = [
    "Crl",
    "ModuleIdentity",
    "ModuleLevel",
    "QeIdentity",
    "TcbInfo",
    "TcbLevel",
    "match",
    "match_module",
    "parse",
]


@dataclass(frozen=True, slots=True)
class ModuleIdentity:
    """Who a TDX module must be (PCS API v4, `tdxModule` and `tdxModuleIdentities`).

    Attributes:
        mrsigner: 48 bytes; compared with MRSIGNERSEAM.
        attributes: 8 bytes; compared with SEAMATTRIBUTES.
        attributes_mask: which bits of it count.
    """

    mrsigner: bytes
    attributes: bytes
    attributes_mask: bytes


@dataclass(frozen=True, slots=True)
class TcbInfo:
    """One TCB info, as signed.

    Attributes:
        tee: `sgx` or `tdx`.
        fmspc, pceid: hex, lower case.
        version: 2 (SGX alone, without advisories) or 3.
        evaluation: tcbEvaluationDataNumber.
        issued, next_update: its dates.
        levels: in the document's order, which is the order in which they are tried.
        modules: TDX module identities' levels by id in capitals (`TDX_03`).
        identities: who each of those modules must be, by the same id; `TDX_00` is the document's `tdxModule`.
        signer: path of the TCB signing certificate; None where its chain leads to no trusted root.
        signed: the exact bytes that the signature is over.
    """

    tee: str
    fmspc: str
    pceid: str
    version: int
    evaluation: int
    issued: datetime
    next_update: datetime
    levels: tuple[TcbLevel, ...]
    modules: Mapping[str, tuple[ModuleLevel, ...]]
    identities: Mapping[str, ModuleIdentity]
    signer: Path | None
    signed: bytes


@dataclass(frozen=True, slots=True)
class QeIdentity:
    """One enclave identity, as signed (PCS API v4, "Get QE Identity").

    Attributes:
        id: `QE`, `TD_QE` or `QVE`.
        version: 2.
        evaluation: tcbEvaluationDataNumber.
        issued, next_update: its dates.
        miscselect, miscselect_mask: 4 bytes.
        attributes, attributes_mask: 16 bytes.
        mrsigner: 32 bytes.
        isvprodid: product id.
        levels: in the document's order.
        signer, signed: as in `TcbInfo`.
    """

    id: str
    version: int
    evaluation: int
    issued: datetime
    next_update: datetime
    miscselect: bytes
    miscselect_mask: bytes
    attributes: bytes
    attributes_mask: bytes
    mrsigner: bytes
    isvprodid: int
    levels: tuple[ModuleLevel, ...]
    signer: Path | None
    signed: bytes


@dataclass(frozen=True, slots=True)
class Crl:
    """One revocation list of Intel's.

    Attributes:
        list: as it stands in its bytes.
        signer: path of its issuer: the root itself, or a PCK CA; None where it leads to no trusted root.
    """

    list: RevocationList
    signer: Path | None


def parse(document: bytes, known_from: datetime, roots: Iterable[Root]) -> tuple[Known, ...]:
    """Every statement of Intel's in a document; none where it is not a document of Intel's."""
    raise NotImplementedError
