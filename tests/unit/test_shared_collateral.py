"""A verifier keeps no state of its own: what it remembers is in the caller's `Collateral`, which threads may share."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import intel_world
import pytest
import snp_world

from ratchet.collateral import Collateral, Memo
from ratchet.evidence import Evidence, verify

NOW = intel_world.NOW
INTEL = [
    intel_world.World(tee=tee, ppid=bytes([n]) * 16, pck_serial=500 + n) for n in range(6) for tee in ("sgx", "tdx")
]
AMD = snp_world.World()


def evidence() -> list[Evidence]:
    """Of several machines and formats, some of it forged."""
    good = [Evidence(world.quote(), challenge=intel_world.CHALLENGE) for world in INTEL]
    good += [Evidence(AMD.report(), endorsements=(AMD.vek(), AMD.signer()))]
    forged = [
        Evidence(one.raw[:200] + bytes([one.raw[200] ^ 1]) + one.raw[201:], None, one.endorsements) for one in good
    ]
    return [*good, *forged]


STATEMENTS = [*INTEL[0].collateral().all(), *INTEL[1].collateral().all()]
ROOTS = (INTEL[0].root(), AMD.root())


def known() -> Collateral:
    return Collateral(ROOTS, STATEMENTS)


def seen(one: Evidence, collateral: Collateral) -> str:
    return json.dumps(verify(one, collateral, NOW + timedelta(hours=1)).to_data())


@pytest.mark.parametrize("size", [None, 4])
def test_threads_that_share_it_find_what_one_alone_would(size: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is remembered, by whom, and however soon it makes room."""
    if size is not None:
        monkeypatch.setattr(Memo, "LIMIT", size)
    every = evidence()
    alone = [seen(one, known()) for one in every]
    shared, before = known(), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            for _ in range(5):
                assert list(threads.map(lambda one: seen(one, shared), every * 4)) == alone * 4
    finally:
        sys.setswitchinterval(before)


def test_what_was_verified_before_leaves_nothing_outside_it() -> None:
    every = evidence()
    first = [seen(one, known()) for one in every]
    assert [seen(one, known()) for one in reversed(every)] == first[::-1]
