"""Intel's TCB info and enclave identities as they are written: JSON in, typed records out; nothing is proven here.

Source: Intel SGX and TDX PCS API v4, "Get TCB Info" and "Get QE Identity".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from ratchet.collateral.tcb import ModuleLevel, TcbLevel
from ratchet.event import Json, parse_time
from ratchet.x509.chain import Path

_MAX_LEVELS = 512
_MAX_MODULES = 64


class Malformed(ValueError):
    """A statement that does not have the form that it must have; the text says what is wrong."""


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


def issue_date(value: Json) -> datetime:
    """When a statement was made.

    Raises:
        Malformed: it does not say.
    """
    return _date(_mapping(value), "issueDate")


def read_tcb_info(value: Json, signed: bytes, signer: Path | None) -> TcbInfo:
    """TCB info from its parsed JSON; unknown members are passed over.

    Raises:
        ValueError: a member that counts is missing or of another form, or the version is not 2 or 3.
    """
    value = _mapping(value)
    version = _number(value, "version", 2**16)
    if version not in (2, 3):
        raise Malformed(f"version {version}, expected 2 or 3")
    of = _text(value, "id") if version == 3 else "SGX"
    if of not in ("SGX", "TDX"):
        raise Malformed("id is neither SGX nor TDX")
    modular = of == "TDX"
    if _number(value, "tcbType", 2**16) != 0:
        raise Malformed("tcbType is not 0, the one that is defined")
    modules: dict[str, tuple[ModuleLevel, ...]] = {}
    identities: dict[str, ModuleIdentity] = {}
    if modular:
        identities["TDX_00"] = _module_identity(_mapping(value.get("tdxModule")))
        for one in _list(value, "tdxModuleIdentities", _MAX_MODULES, absent_ok=True):
            one = _mapping(one)
            name = _text(one, "id").upper()
            if name in modules or name == "TDX_00":
                raise Malformed("a TDX module identity twice")
            identities[name] = _module_identity(one)
            modules[name] = tuple(map(_module_level, _list(one, "tcbLevels", _MAX_LEVELS)))
    return TcbInfo(
        tee=of.lower(),
        fmspc=_bytes(value, "fmspc", 6).hex(),
        pceid=_bytes(value, "pceId", 2).hex(),
        version=version,
        evaluation=_number(value, "tcbEvaluationDataNumber", 2**31),
        issued=_date(value, "issueDate"),
        next_update=_date(value, "nextUpdate"),
        levels=tuple(_tcb_level(_mapping(one), version, modular) for one in _list(value, "tcbLevels", _MAX_LEVELS)),
        modules=modules,
        identities=identities,
        signer=signer,
        signed=signed,
    )


def _tcb_level(value: Mapping[str, Json], version: int, modular: bool) -> TcbLevel:
    tcb = _mapping(value.get("tcb"))
    if version == 2:
        sgx = tuple(_number(tcb, name, 256) for name in _V2_COMPONENTS)
    else:
        sgx = _components(tcb, "sgxtcbcomponents")
    return TcbLevel(
        sgx=sgx,
        pcesvn=_number(tcb, "pcesvn", 2**16),
        tdx=_components(tcb, "tdxtcbcomponents") if modular else None,
        status=_text(value, "tcbStatus"),
        date=_date(value, "tcbDate"),
        advisories=_advisories(value) if version > 2 else None,
    )


_V2_COMPONENTS = tuple(f"sgxtcbcomp{i:02}svn" for i in range(1, 17))


def _components(tcb: Mapping[str, Json], name: str) -> tuple[int, ...]:
    try:
        given = [one["svn"] for one in tcb[name]]
        svns = tuple(bytes(given))  # bytes: whole numbers below 256, or an error
    except (KeyError, TypeError, ValueError):
        raise Malformed(f"{name} is not a list of components") from None
    if len(svns) != 16 or bool in map(type, given):
        raise Malformed(f"{name} is not 16 SVNs")
    return svns


def _module_identity(value: Mapping[str, Json]) -> ModuleIdentity:
    return ModuleIdentity(
        _bytes(value, "mrsigner", 48), _bytes(value, "attributes", 8), _bytes(value, "attributesMask", 8)
    )


def _module_level(value: Json) -> ModuleLevel:
    value = _mapping(value)
    return ModuleLevel(
        isvsvn=_number(_mapping(value.get("tcb")), "isvsvn", 2**16),
        status=_text(value, "tcbStatus"),
        date=_date(value, "tcbDate"),
        advisories=_advisories(value),
    )


def read_identity(value: Json, signed: bytes, signer: Path | None) -> QeIdentity:
    """An enclave identity from its parsed JSON; unknown members are passed over.

    Raises:
        ValueError: a member that counts is missing or of another form, or the version is not 2.
    """
    value = _mapping(value)
    version = _number(value, "version", 2**16)
    name = _text(value, "id")
    if version != 2 or name not in ("QE", "TD_QE", "QVE"):
        raise Malformed(f"identity {name} of version {version}, expected QE, TD_QE or QVE of version 2")
    return QeIdentity(
        id=name,
        version=version,
        evaluation=_number(value, "tcbEvaluationDataNumber", 2**31),
        issued=_date(value, "issueDate"),
        next_update=_date(value, "nextUpdate"),
        miscselect=_bytes(value, "miscselect", 4),
        miscselect_mask=_bytes(value, "miscselectMask", 4),
        attributes=_bytes(value, "attributes", 16),
        attributes_mask=_bytes(value, "attributesMask", 16),
        mrsigner=_bytes(value, "mrsigner", 32),
        isvprodid=_number(value, "isvprodid", 2**16),
        levels=tuple(map(_module_level, _list(value, "tcbLevels", _MAX_LEVELS))),
        signer=signer,
        signed=signed,
    )


def _mapping(value: Json) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise Malformed("an object is missing")
    return value


def _list(value: Mapping[str, Json], name: str, limit: int, *, absent_ok: bool = False) -> list[Json]:
    found = value.get(name, [] if absent_ok else None)
    if not isinstance(found, list) or len(found) > limit:
        raise Malformed(f"{name} is not a list of at most {limit}")
    return found


def _number(value: Mapping[str, Json], name: str, below: int) -> int:
    found = value.get(name)
    if type(found) is not int or not 0 <= found < below:
        raise Malformed(f"{name} is not a whole number below {below}")
    return found


def _text(value: Mapping[str, Json], name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str) or len(found) > 64 or not found.isascii():
        raise Malformed(f"{name} is not a short text")
    return found


def _bytes(value: Mapping[str, Json], name: str, size: int) -> bytes:
    try:
        found = bytes.fromhex(_text_or_long(value, name))
    except ValueError:
        raise Malformed(f"{name} is not hex") from None
    if len(found) != size:
        raise Malformed(f"{name} is not {size} bytes")
    return found


def _text_or_long(value: Mapping[str, Json], name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str) or len(found) > 128:
        raise ValueError
    return found


_moment = lru_cache(maxsize=1024)(parse_time)
"""Intel's dates repeat from level to level and from document to document."""


def _date(value: Mapping[str, Json], name: str) -> datetime:
    try:
        return _moment(_text(value, name))
    except (ValueError, OverflowError):
        raise Malformed(f"{name} is not a time with a zone") from None


def _advisories(value: Mapping[str, Json]) -> tuple[str, ...]:
    found = value.get("advisoryIDs", [])
    if not isinstance(found, list) or len(found) > _MAX_LEVELS:
        raise Malformed("advisoryIDs is not a list")
    try:
        text = "".join(found)
    except TypeError:
        raise Malformed("advisoryIDs are not texts") from None
    if not text.isascii() or (found and max(map(len, found)) > 64):
        raise Malformed("advisoryIDs are not short texts")
    return tuple(found)
