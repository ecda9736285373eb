"""Floors that vendors' signed lists set: exact, and nobody's reading of a bulletin."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from ratchet.collateral import Kind, Known
from ratchet.collateral.intel import TcbInfo
from ratchet.policy.floor import IntelFloor
from ratchet.policy.floor.provenance import Provenance, Statement
from ratchet.policy.policy import Policy

TCB_INFO_RULE = "intel.tcb-info/1"
"""How a TCB info is read: its whole list of levels, with the statuses that the policy accepts."""


def floors_from(known: Iterable[Known], policy: Policy, at: datetime) -> tuple[IntelFloor, ...]:
    """The floors that Intel's TCB infos set at `at`, by family: of each family the newest sound and current one.

    Newest is by evaluation number, then issue date (`Known.rank`), so that a stale document that is fetched late
    changes nothing. One that is unsound, not yet known, not yet valid or expired sets nothing.

    Args:
        known: statements of vendors, of any kind.
        policy: says which statuses are good enough.
        at: aware time to judge at.
    """
    newest: dict[str, tuple[Known, TcbInfo]] = {}
    for one in known:
        info = one.parsed
        if one.kind is not Kind.INTEL_TCB_INFO or not isinstance(info, TcbInfo) or one.root is None or one.reasons:
            continue
        if not (one.known_from <= at and one.valid_from <= at <= one.valid_until):
            continue
        family = f"{info.tee}/{info.fmspc}"
        if family not in newest or one.rank > newest[family][0].rank:
            newest[family] = one, info
    return tuple(
        IntelFloor(
            family=family,
            tee=info.tee,
            evaluation=info.evaluation,
            accepted=policy.accepted,
            conditional=policy.conditional,
            levels=info.levels,
            modules=dict(info.modules),
            provenance=Provenance(
                documents=(one.id,),
                pointer="/tcbInfo/tcbLevels",
                rule=TCB_INFO_RULE,
                statements=(Statement(name=f"tcb-info/{family}", rank=one.rank[0], at=one.rank[1], document=one.id),),
            ),
        )
        for family, (one, info) in sorted(newest.items())
    )
