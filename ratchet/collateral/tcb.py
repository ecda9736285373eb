"""Intel's TCB levels: which one a platform is at, and what status follows once its parts are merged.

Sources: Intel SGX and TDX PCS API v4, "Get TCB Info" and "Get QE Identity"; Intel SGX DCAP Quote Verification Library,
(QVL) EvaluateTcb.cpp, TcbLevelCheck.cpp, TdxModuleCheck.cpp, TDRelaunchCheck.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
        advisories: INTEL-SA ids that concern it; None in version 2, which does not say: unknown, not none.
    """

    sgx: tuple[int, ...]
    pcesvn: int
    tdx: tuple[int, ...] | None
    status: str
    date: datetime
    advisories: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class ModuleLevel:
    """One level of a TDX module or of a quoting enclave: all that counts is its ISVSVN."""

    isvsvn: int
    status: str
    date: datetime
    advisories: tuple[str, ...] | None


_SGX = tuple(f"sgx.{i}" for i in range(16))
_TDX = tuple(f"tdx.{i}" for i in range(16))


def match(levels: Sequence[TcbLevel], tcb: Mapping[str, int]) -> TcbLevel | None:
    """The level a platform is at: the first, in the document's order, that it reaches in every component.

    Where `tcb` has `tdx.1` above 0 the TDX module is judged by its own identity, so components 0 and 1 of TDX do not
    count (PCS API v4, "Get TCB Info", step 3.b; QVL, TcbLevelCheck.cpp).

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
        advisories: of every level that was matched; sorted, each once. None where one of them does not say.
        date: of the TCB info's level; None where none fits.
        superseded: since when what is out of date is so (`superseded_at`), the earliest of platform, module and quoting
            enclave; None where nothing is out of date, or where the lists do not say since when.
        launch, current: merged, by what the TDX module was at the TD's launch and by what it is now; None where the
            quote does not tell the two apart.
        current_module: the module's status by what it is now; None likewise.
    """

    merged: str
    platform: str
    qe: str
    module: str | None
    advisories: tuple[str, ...] | None
    date: datetime | None
    superseded: datetime | None = None
    launch: str | None = None
    current: str | None = None
    current_module: str | None = None


_FINE = ("UpToDate", "SWHardeningNeeded")
_CONFIGURABLE = ("ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded")


def converge(platform: str, *parts: str) -> str:
    """The platform's status once its parts (a TDX module, the quoting enclave) are taken into account.

    A part of no level leaves no level; a revoked one revokes the whole; one that is out of date, or of a status that is
    not known here, makes the whole out of date (QVL, EvaluateTcb.cpp, convergeTcbStatuses).
    """
    if NO_MATCH in parts:
        return NO_MATCH
    if "Revoked" in parts:
        return "Revoked"
    if any(part != "UpToDate" for part in parts):
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
    """Intel's whole evaluation of one quote (QVL, EvaluateTcb.cpp and TcbLevelCheck.cpp, steps 4.1.2.5.19 and .20).

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
    launch = _evaluate(levels, modules, qe, sgx, pcesvn, qe_isvsvn, tdx)
    if tdx2 is None:
        return launch
    current = launch if tdx2 == tdx else _evaluate(levels, modules, qe, sgx, pcesvn, qe_isvsvn, tdx2)
    parts = replace(launch, launch=launch.merged, current=current.merged, current_module=current.module)
    worse = worsened(launch.merged, current.merged)
    if worse == launch.merged:
        return replace(parts, merged=relaunch(launch.merged, current.merged))
    since = [one.superseded for one in (launch, current) if one.merged.startswith("OutOfDate")]
    known = [one for one in since if one is not None]
    return replace(
        parts,
        merged=worse,
        advisories=_union(launch.advisories, current.advisories),
        date=min([d for d in (launch.date, current.date) if d is not None], default=None),
        superseded=min(known) if known and len(known) == len(since) else None,
    )


def _evaluate(
    levels: Sequence[TcbLevel],
    modules: Mapping[str, tuple[ModuleLevel, ...]],
    qe: Sequence[ModuleLevel],
    sgx: Sequence[int],
    pcesvn: int,
    qe_isvsvn: int,
    tdx: Sequence[int] | None,
) -> Merged:
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
    parts = [qe_status] if module_status is None else [module_status, qe_status]
    advisories = _union(*[one.advisories for one in (level, module_level, qe_level) if one is not None])
    since = [superseded_at(levels, level)] if level.status.startswith("OutOfDate") else []
    if module_level is not None and tdx is not None and module_level.status.startswith("OutOfDate"):
        since.append(superseded_at(modules[f"TDX_{tdx[1]:02X}"], module_level))
    if qe_level is not None and qe_level.status.startswith("OutOfDate"):
        since.append(superseded_at(qe, qe_level))
    known = [one for one in since if one is not None]
    return Merged(
        converge(level.status, *parts),
        level.status,
        qe_status,
        module_status,
        advisories,
        level.date,
        min(known) if known and len(known) == len(since) else None,
    )


def superseded_at(levels: Sequence[TcbLevel | ModuleLevel], level: TcbLevel | ModuleLevel) -> datetime | None:
    """Since when a level is out of date: the tcbDate of the next level above it in the list that is of a later date.

    A list has its levels from the highest down, and a level goes out of date with the TCB recovery that brought the
    next one (Intel PCS API v4, "Get TCB info", tcbDate). None where no later level is above it.
    """
    above = levels[: levels.index(level)] if level in levels else ()
    return next((one.date for one in reversed(above) if one.date > level.date), None)


def _union(*several: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """All of them, sorted, each once; None where one of them is unknown."""
    if None in several:
        return None
    return tuple(sorted({advisory for some in several if some is not None for advisory in some}))


_SEVERITY = {
    "UpToDate": 0,
    "SWHardeningNeeded": 1,
    "ConfigurationNeeded": 2,
    "ConfigurationAndSWHardeningNeeded": 3,
    "OutOfDate": 4,
    "OutOfDateConfigurationNeeded": 5,
    "Revoked": 7,
    NO_MATCH: 8,
}
"""Intel's statuses, the milder first; one that is not known here comes just before Revoked."""


def worsened(launch: str, current: str) -> str:
    """The status once what the TDX module is now has been taken into account, where that is worse than at launch.

    Intel's verifier asks TEE_TCB_SVN2 only whether a relaunch would help, so a TD whose module was fine at launch and
    is at a revoked or older level now would stay UpToDate. The module that runs now keeps its memory: the worse counts.
    """
    if _SEVERITY.get(current, 6) <= _SEVERITY.get(launch, 6):
        return launch
    if current == "OutOfDate" and launch in _CONFIGURABLE:
        return "OutOfDateConfigurationNeeded"
    if current == "ConfigurationNeeded" and launch == "SWHardeningNeeded":
        return "ConfigurationAndSWHardeningNeeded"
    return current


def relaunch(launch: str, current: str) -> str:
    """Out of date only because the TD was launched before its TDX module was updated? Then relaunching it is enough.

    Source: QVL, TDRelaunchCheck.cpp, checkForRelaunch.

    Args:
        launch: the status by what the module was when the TD was launched.
        current: by what it is now.
    """
    if launch not in ("OutOfDate", "OutOfDateConfigurationNeeded") or current not in (*_FINE, *_CONFIGURABLE):
        return launch
    configure = launch == "OutOfDateConfigurationNeeded" or current in _CONFIGURABLE
    return "TDRelaunchAdvisedConfigurationNeeded" if configure else "TDRelaunchAdvised"
