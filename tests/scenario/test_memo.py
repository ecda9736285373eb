"""What is remembered changes how long an answer takes, never the answer."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from collectors.simulated.deliveries import deliveries
from collectors.simulated.delivery import DeliveryKind
from collectors.simulated.scenario import week
from collectors.simulated.vendor import Vendor
from ratchet.collateral import Collateral, parse
from ratchet.collateral.roots import vendor_roots
from ratchet.evidence import Evidence, verify
from ratchet.policy.appraise import Policy, appraise


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Vendor:
    return Vendor(tmp_path_factory.getbasetemp() / "simulated-vendor")


def test_a_cold_memo_a_warm_one_and_one_warmed_in_another_order_agree(vendor: Vendor) -> None:
    # given two days of the shipped week, a recovery and a revocation among them
    scenario = week()
    roots = (*vendor_roots(), *vendor.roots())
    warm, shuffled = Collateral(roots), Collateral(roots)
    pieces = []
    for one in deliveries(scenario, vendor):
        if one.kind is DeliveryKind.DOCUMENT:
            try:
                for known in parse(one.raw, one.time, roots):
                    warm.add(known)
                    shuffled.add(known)
            except ValueError:
                continue
        elif random.Random(one.delivery).random() < 0.15:
            pieces.append((Evidence(one.raw, one.format, tuple(one.endorsements), one.challenge), one.time))
    policy = Policy(trusted_for=int(timedelta(hours=12).total_seconds()))
    in_another_order = list(range(len(pieces)))
    random.Random(5).shuffle(in_another_order)
    other = {}
    for i in in_another_order:
        evidence, at = pieces[i]
        other[i] = verify(evidence, shuffled, at)
    # when each is judged with what the others left behind, and with nothing
    for i, (evidence, at) in enumerate(pieces):
        remembered = verify(evidence, warm, at)
        warm_again = verify(evidence, warm, at)
        kept, warm.memo = warm.memo, type(warm.memo)()
        cold = verify(evidence, warm, at)
        warm.memo = kept
        # then the proof is the same, and so is the verdict
        assert remembered == cold == warm_again == other[i]
        assert appraise(remembered, policy, at) == appraise(cold, policy, at)
    assert len(pieces) > 1000
