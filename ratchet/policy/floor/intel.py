"""Intel's kind of floor: the whole list of TCB levels, with the statuses that are accepted.

A component may go down in a later list, so there is no maximum for each. Rules, in the order in which they are applied:

1. The first level in list order whose components are all met decides (Intel PCS API v4, "Get TCB info", tcbLevels). Its
   status must be accepted, or accepted with every advisory that the level names.
2. With a TDX module version (`tdx.1` > 0) TDX components 0 and 1 are not compared; the module identity
   `TDX_<version>` must have a level with an ISVSVN no higher than `tdx.0`, of an accepted status (ibid.,
   tdxModuleIdentities).
3. Where the status of the quoting enclave is known too, the merged status is what must be accepted (QVL,
   EvaluateTcb.cpp): so `accept` means the same whether a family has a floor or none.
4. What the evidence does not attest is never met: `floor_abstains` says so, apart from `below_floor`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from ratchet.collateral.tcb import Merged, ModuleLevel, TcbLevel, evaluate, match, match_module
from ratchet.event import Json, parse_time, stamp
from ratchet.policy.floor.codes import ABSTAINS, BELOW
from ratchet.policy.floor.provenance import Provenance
from ratchet.reason import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class IntelFloor:
    """Intel's list of TCB levels, and which statuses are good enough.

    Attributes:
        family: `sgx/<fmspc>` or `tdx/<fmspc>`.
        tee: `sgx` or `tdx`.
        evaluation: tcbEvaluationDataNumber of the list.
        accepted: statuses accepted whatever their advisories.
        conditional: status -> the advisories it may carry.
        levels: in the document's order.
        modules: TDX module identity -> its levels in the document's order.
        provenance: where it was read.
    """

    family: str
    tee: str
    evaluation: int
    accepted: tuple[str, ...]
    conditional: Mapping[str, tuple[str, ...]]
    levels: tuple[TcbLevel, ...]
    modules: Mapping[str, tuple[ModuleLevel, ...]]
    provenance: Provenance

    def admits(self, status: str, advisories: tuple[str, ...] | None) -> bool:
        """Is a level of this status, naming these advisories, good enough? None: nobody says which they are."""
        if status in self.accepted:
            return True
        allowed = self.conditional.get(status)
        return allowed is not None and advisories is not None and set(advisories) <= set(allowed)

    def match(self, tcb: Mapping[str, int]) -> TcbLevel | None:
        """The level that a platform is at: the first in list order that it reaches."""
        return match(self.levels, tcb)

    @property
    def modular(self) -> bool:
        """Do its levels ask for components of a TDX module, too? (Intel PCS API v4, tdxtcbcomponents.)"""
        return any(level.tdx is not None for level in self.levels)

    @property
    def asks(self) -> tuple[str, ...]:
        """Names of the versions that it speaks of."""
        return _TDX if self.modular else _SGX

    def to_data(self) -> dict[str, Json]:
        """As JSON; see docs/floors.md."""
        return {
            "kind": "intel",
            "family": self.family,
            "tee": self.tee,
            "evaluation": self.evaluation,
            "accepted": list(self.accepted),
            "conditional": {status: list(allowed) for status, allowed in self.conditional.items()},
            "levels": [
                {
                    "sgx": list(level.sgx),
                    "pcesvn": level.pcesvn,
                    "tdx": None if level.tdx is None else list(level.tdx),
                    "status": level.status,
                    "date": stamp(level.date),
                    "advisories": _listed(level.advisories),
                }
                for level in self.levels
            ],
            "modules": {
                name: [
                    {
                        "isvsvn": level.isvsvn,
                        "status": level.status,
                        "date": stamp(level.date),
                        "advisories": _listed(level.advisories),
                    }
                    for level in levels
                ]
                for name, levels in self.modules.items()
            },
            "provenance": self.provenance.to_data(),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Json]) -> Self:
        """The inverse of `to_data`."""
        return cls(
            family=data["family"],
            tee=data["tee"],
            evaluation=data["evaluation"],
            accepted=tuple(data["accepted"]),
            conditional={status: tuple(allowed) for status, allowed in data["conditional"].items()},
            levels=tuple(
                TcbLevel(
                    sgx=tuple(level["sgx"]),
                    pcesvn=level["pcesvn"],
                    tdx=None if level["tdx"] is None else tuple(level["tdx"]),
                    status=level["status"],
                    date=parse_time(level["date"]),
                    advisories=_given(level["advisories"]),
                )
                for level in data["levels"]
            ),
            modules={
                name: tuple(
                    ModuleLevel(
                        isvsvn=level["isvsvn"],
                        status=level["status"],
                        date=parse_time(level["date"]),
                        advisories=_given(level["advisories"]),
                    )
                    for level in levels
                )
                for name, levels in data["modules"].items()
            },
            provenance=Provenance.from_data(data["provenance"]),
        )


def _listed(advisories: tuple[str, ...] | None) -> list[str] | None:
    """As JSON: null where they are unknown."""
    return None if advisories is None else list(advisories)


def _given(advisories: list[str] | None) -> tuple[str, ...] | None:
    """The inverse of `_listed`."""
    return None if advisories is None else tuple(advisories)


def shortfalls(floor: IntelFloor, tcb: Mapping[str, int], qe: str | None = None) -> tuple[Reason, ...]:
    """Everything in which a machine falls short of such a floor; see `ratchet.policy.floor.shortfalls`."""
    found = _by_level(floor, tcb)
    if qe is None or any(reason.code == ABSTAINS for reason in found):
        return found
    merged = merged_status(floor, tcb, qe)
    if floor.admits(merged.merged, merged.advisories):
        return ()
    if found:
        return found
    remedy = "see the level's advisories; an operator may admit its status in the policy"
    return (Reason(BELOW, "tcb_status", merged.merged, _statuses(floor), floor.provenance.place, remedy),)


def merged_status(floor: IntelFloor, tcb: Mapping[str, int], qe: str) -> Merged:
    """What Intel's verifier would say of a platform by the list of this floor.

    Args:
        floor: its levels and modules count.
        tcb: as in `Claims.tcb`, whole.
        qe: the status of the quoting enclave, by its own identity; its advisories are judged where that is.
    """
    quoting = (ModuleLevel(isvsvn=0, status=qe, date=floor.levels[0].date, advisories=()),) if floor.levels else ()
    sgx = [tcb[f"sgx.{n}"] for n in range(16)]
    tdx = [tcb[f"tdx.{n}"] for n in range(16)] if floor.modular else None
    tdx2 = [tcb[f"tdx2.{n}"] for n in range(16)] if tdx is not None and "tdx2.0" in tcb else None
    return evaluate(floor.levels, floor.modules, quoting, sgx, tcb["pcesvn"], 0, tdx, tdx2)


_SGX = (*(f"sgx.{n}" for n in range(16)), "pcesvn")
_TDX = (*_SGX, *(f"tdx.{n}" for n in range(16)))


def _by_level(floor: IntelFloor, tcb: Mapping[str, int]) -> tuple[Reason, ...]:
    missing = [name for name in floor.asks if name not in tcb]
    if missing:
        return tuple(
            Reason(ABSTAINS, name, None, "a security version", floor.provenance.place, "send whole evidence")
            for name in missing
        )
    found: list[Reason] = []
    level = floor.match(tcb)
    if level is None or not floor.admits(level.status, level.advisories):
        found += _short_of_level(floor, tcb, level)
    if floor.modular and tcb["tdx.1"] > 0:
        module = match_module(floor.modules, tcb)
        if module is None or not floor.admits(module.status, module.advisories):
            found.append(_short_of_module(floor, tcb, module))
    return tuple(found)


def _short_of_level(floor: IntelFloor, tcb: Mapping[str, int], level: TcbLevel | None) -> list[Reason]:
    """Component by component, against the nearest accepted level; the status itself where no component is low."""
    nearest: tuple[int, list[tuple[str, int, int]]] | None = None
    for index, other in enumerate(floor.levels):
        if not floor.admits(other.status, other.advisories):
            continue
        low = [(name, tcb[name], want) for name, want in _components(other, tcb) if tcb[name] < want]
        # On equal counts the later entry of the list is the lower level, hence the shorter way.
        if nearest is None or len(low) <= len(nearest[1]):
            nearest = (index, low)
    if nearest is None or not nearest[1]:
        got = level.status if level else "NoMatchingTcbLevel"
        return [
            Reason(
                BELOW,
                "tcb_status",
                got,
                _statuses(floor),
                floor.provenance.place,
                "see the level's advisories; an operator may admit its status in the policy",
            )
        ]
    index, low = nearest
    source = f"{floor.provenance.place}/{index}"
    return [
        Reason(BELOW, name, got, want, source, f"update firmware: {name} {got} -> {want}") for name, got, want in low
    ]


def _short_of_module(floor: IntelFloor, tcb: Mapping[str, int], module: ModuleLevel | None) -> Reason:
    name = f"TDX_{tcb['tdx.1']:02X}"
    good = [m.isvsvn for m in floor.modules.get(name, ()) if floor.admits(m.status, m.advisories)]
    want: Json = min(good) if good else "a TDX module that the list accepts"
    remedy = f"update the TDX module to ISVSVN {want}" if good else "move to a TDX module that Intel lists"
    source = floor.provenance.place.rsplit("#", 1)[0] + "#/tcbInfo/tdxModuleIdentities"
    return Reason(BELOW, name.lower(), module.status if module and not good else tcb["tdx.0"], want, source, remedy)


def _components(level: TcbLevel, tcb: Mapping[str, int]) -> list[tuple[str, int]]:
    """(name, least) of everything that the level compares for a machine with these versions."""
    pairs = [(f"sgx.{n}", want) for n, want in enumerate(level.sgx)] + [("pcesvn", level.pcesvn)]
    if level.tdx is not None:
        first = 2 if tcb["tdx.1"] > 0 else 0
        pairs += [(f"tdx.{n}", want) for n, want in enumerate(level.tdx) if n >= first]
    return pairs


def _statuses(floor: IntelFloor) -> str:
    return ", ".join(list(floor.accepted) + [f"{s} with known advisories" for s in sorted(floor.conditional)])
