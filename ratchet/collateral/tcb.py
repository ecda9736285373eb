"""Intel's TCB levels: which one a platform is at, and what status follows once its parts are merged.

Sources: Intel SGX and TDX PCS API v4, "Get TCB Info" and "Get QE Identity"; Intel SGX DCAP Quote Verification Library,
TcbLevelCheck.cpp, TdxModuleCheck.cpp, TDRelaunchCheck.cpp, EnclaveReportVerifier.cpp (steps 4.1.2.4.17 and 4.1.2.9).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class TcbLevel:
    """One level of a TCB info.

    Attributes:
        sgx: 16 component SVNs, in order.
        pcesvn: of the provisioning certification enclave.
        tdx: 16 component SVNs; None in a TCB info for SGX.
        status: Intel's word for a platform at this level.
        date: TCBs released before it may have known weaknesses.
        advisories: INTEL-SA ids that concern it; empty in version 2, which has none.
    """

    sgx: tuple[int, ...]
    pcesvn: int
    tdx: tuple[int, ...] | None
    status: str
    date: datetime
    advisories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModuleLevel:
    """One level of a TDX module or of a quoting enclave: all that counts is its ISVSVN."""

    isvsvn: int
    status: str
    date: datetime
    advisories: tuple[str, ...]


_SGX = tuple(f"sgx.{i}" for i in range(16))
_TDX = tuple(f"tdx.{i}" for i in range(16))


def match(levels: Sequence[TcbLevel], tcb: Mapping[str, int]) -> TcbLevel | None:
    """The level a platform is at: the first, in the document's order, that it reaches in every component.

    Where `tcb` has `tdx.1` above 0 the TDX module is judged by its own identity, so components 0 and 1 of TDX do not
    count (PCS API v4, "Get TCB Info", step 3.b; TcbLevelCheck.cpp, isTdxTcbHigherOrEqual).

    Args:
        levels: of one TCB info.
        tcb: security versions as in `ratchet.evidence.Claims.tcb`: `sgx.0` to `sgx.15`, `pcesvn`, and for a TDX quote
            `tdx.0` to `tdx.15`. One that is missing counts as below everything.

    Returns:
        None where the platform is below every level, which is not the same as out of date.
    """
    sgx = tuple(tcb.get(name, -1) for name in _SGX)
    tdx = tuple(tcb.get(name, -1) for name in _TDX)
    return first(levels, sgx, tcb.get("pcesvn", -1), tdx)


def first(levels: Sequence[TcbLevel], sgx: Sequence[int], pcesvn: int, tdx: Sequence[int] | None) -> TcbLevel | None:
    """`match` on plain numbers; with `tdx` None, TDX components do not count."""
    start = 2 if tdx is not None and tdx[1] > 0 else 0
    for level in levels:
        if pcesvn < level.pcesvn or any(have < need for have, need in zip(sgx, level.sgx, strict=True)):
            continue
        if (
            tdx is not None
            and level.tdx is not None
            and any(have < need for have, need in zip(tdx[start:], level.tdx[start:], strict=True))
        ):
            continue
        return level
    return None


def match_module(modules: Mapping[str, tuple[ModuleLevel, ...]], tcb: Mapping[str, int]) -> ModuleLevel | None:
    """The level of the TDX module that `tcb` names: `TDX_%02X` of `tdx.1`, first with an ISVSVN of at most `tdx.0`.

    None also where `tdx.1` is 0: such a module has no identity of its own and is judged by the TCB levels.
    """
    version = tcb.get("tdx.1", 0)
    if version <= 0:
        return None
    return first_module(modules.get(f"TDX_{version:02X}", ()), tcb.get("tdx.0", -1))


def first_module(levels: Sequence[ModuleLevel], isvsvn: int) -> ModuleLevel | None:
    """The first level, in the document's order, with an ISVSVN of at most this one."""
    return next((level for level in levels if level.isvsvn <= isvsvn), None)
