"""Intel's TCB levels: which one a platform is at, and what status follows once its parts are merged.

Sources: Intel SGX and TDX PCS API v4, "Get TCB Info" and "Get QE Identity"; Intel SGX DCAP Quote Verification Library,
TcbLevelCheck.cpp, TdxModuleCheck.cpp, TDRelaunchCheck.cpp, EnclaveReportVerifier.cpp (steps 4.1.2.4.17 and 4.1.2.9).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import ge


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
        if pcesvn < level.pcesvn or not all(map(ge, sgx, level.sgx)):
            continue
        if tdx is not None and level.tdx is not None and not all(map(ge, tdx[start:], level.tdx[start:])):
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


NO_MATCH = "NoMatchingTcbLevel"
"""Below every level that Intel lists: not the same as out of date."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What Intel's verifier would say of one quote's TCB.

    Attributes:
        merged: the word that counts.
        platform: of the TCB info's level alone.
        qe: of the quoting enclave's.
        module: of the TDX module's; None where none is judged.
        advisories: of every level that was matched; sorted, each once.
        date: of the TCB info's level; None where none fits.
    """

    merged: str
    platform: str
    qe: str
    module: str | None
    advisories: tuple[str, ...]
    date: datetime | None


_FINE = ("UpToDate", "SWHardeningNeeded")
_CONFIGURABLE = ("ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded")
_CONFIGURATION_NEEDED = (*_CONFIGURABLE, "OutOfDateConfigurationNeeded", "TDRelaunchAdvisedConfigurationNeeded")


def converge(platform: str, part: str) -> str:
    """The platform's status once a part (a TDX module, the quoting enclave) is taken into account.

    A part that is out of date makes the whole so; a revoked one revokes it; one of no level leaves none
    (TdxModuleCheck.cpp, convergeTcbStatusWithTdxModuleStatus; TcbLevelCheck.cpp, convergeTcbStatusWithQeTcbStatus).
    """
    if part == NO_MATCH or part == "Revoked":
        return part
    if part != "UpToDate":
        if platform in _FINE:
            return "OutOfDate"
        if platform in _CONFIGURABLE:
            return "OutOfDateConfigurationNeeded"
    return platform


def evaluate(
    levels: Sequence[TcbLevel],
    modules: Mapping[str, tuple[ModuleLevel, ...]],
    qe: Sequence[ModuleLevel],
    sgx: Sequence[int],
    pcesvn: int,
    qe_isvsvn: int,
    tdx: Sequence[int] | None = None,
    tdx2: Sequence[int] | None = None,
) -> Merged:
    """Intel's whole evaluation of one quote (QVL, checkTcbLevel, steps 4.1.2.4.17.1 to .5).

    Args:
        levels: of the TCB info, in its order.
        modules: TDX module identities' levels by id.
        qe: levels of the enclave identity, in its order.
        sgx: the platform's 16 component SVNs, from the PCK certificate.
        pcesvn: from the PCK certificate.
        qe_isvsvn: from the QE report.
        tdx: TEE_TCB_SVN of a TDX quote; None for SGX.
        tdx2: TEE_TCB_SVN2 of a TD 1.5 body: what the TDX module is now, `tdx` being what it was at the TD's launch.
    """
    level = first(levels, sgx, pcesvn, tdx)
    qe_level = first_module(qe, qe_isvsvn)
    qe_status = qe_level.status if qe_level is not None else NO_MATCH
    module_level = None
    module_status = None
    if tdx is not None and tdx[1] > 0:
        module_level = first_module(modules.get(f"TDX_{tdx[1]:02X}", ()), tdx[0])
        module_status = module_level.status if module_level is not None else NO_MATCH
    if level is None:
        return Merged(NO_MATCH, NO_MATCH, qe_status, module_status, (), None)
    status = level.status if module_status is None else converge(level.status, module_status)
    if tdx is not None and tdx2 is not None and status not in (NO_MATCH, "Revoked"):
        base = first(levels, sgx, pcesvn, None)
        if base is not None and qe_status == "UpToDate":
            status = _relaunch(status, base.status, module_status, levels[0], modules, tdx2)
    if status != "Revoked":
        status = converge(status, qe_status)
    found = [one.advisories for one in (level, module_level, qe_level) if one is not None]
    advisories = tuple(sorted({advisory for several in found for advisory in several}))
    return Merged(status, level.status, qe_status, module_status, advisories, level.date)


def _relaunch(
    status: str,
    base: str,
    module: str | None,
    latest: TcbLevel,
    modules: Mapping[str, tuple[ModuleLevel, ...]],
    tdx2: Sequence[int],
) -> str:
    """Out of date only because the TD was launched before its TDX module was updated? Then relaunching it is enough.

    Source: QVL, TDRelaunchCheck.cpp, checkForRelaunch (step 4.1.2.4.17.4.3).

    Args:
        status: of the platform and the module it was launched with.
        base: of the platform by its SGX components alone.
        module: of the module at launch.
        latest: the first TCB level of the document.
        modules: TDX module identities' levels by id.
        tdx2: what the module is now.
    """
    if base not in (*_FINE, *_CONFIGURABLE) or module != "OutOfDate":
        return status
    if status not in ("OutOfDate", "OutOfDateConfigurationNeeded") or latest.tdx is None:
        return status
    if tdx2[1] == 0:
        needed = latest.tdx[0]
    else:
        current = modules.get(f"TDX_{tdx2[1]:02X}", ())
        if not current:
            return NO_MATCH  # a module that Intel does not list: STATUS_TDX_MODULE_MISMATCH
        needed = current[0].isvsvn
    if tdx2[0] < needed or tdx2[2] < latest.tdx[2]:
        return status
    configure = base in _CONFIGURATION_NEEDED or status in _CONFIGURATION_NEEDED
    return "TDRelaunchAdvisedConfigurationNeeded" if configure else "TDRelaunchAdvised"
