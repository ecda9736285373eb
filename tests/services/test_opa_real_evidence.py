"""A real OPA and real evidence: it admits what appraisal affirms, and nothing else, as the compiled policy does."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import httpx
from real_evidence import asked, held, items, policies
from test_opa import POLICY, TOKEN, running

from ratchet.standing import Tier
from streams.stores.samples import OneKey

ASKED = ("default", "strict, own floor", "lenient, own floor", "lenient, open floor")


def test_opa_admits_of_the_corpus_what_is_affirmed(opa: str, corpus: Path, tmp_path: Path) -> None:
    keys, seen = OneKey(), Counter[tuple[str, bool]]()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with running(opa, tmp_path, str(POLICY)) as url, httpx.Client(base_url=url, headers=headers) as client:
        for item in items(corpus):
            if " " in item.name:
                continue  # the same evidence with other collateral: in process it is asked, too
            for name, policy in policies(item):
                if name not in ASKED:
                    continue
                # A server has a clock of its own: the token is dated now, the verdict in it as of the item's time.
                proofs = [(item.name, item.proof(policy=policy))]
                store, [one] = asked(item, proofs, policy, keys, dated=datetime.now(UTC))
                for place, value in zip(("ratchet_policy", "ratchet_keys"), held(store), strict=True):
                    client.put(f"/v1/data/{place}", json=value).raise_for_status()
                answer = client.post("/v1/data/ratchet/decision", json={"input": one.question}).json()["result"]
                affirmed = one.verdict.tier is Tier.AFFIRMING
                assert answer["allow"] is affirmed or (affirmed and one.lost), f"{one.what}, {name}: {answer}"
                seen[name, answer["allow"]] += 1
    assert seen["default", True] == 0
    assert seen["strict, own floor", True] > 5
    assert seen["lenient, own floor", True] > 20
    assert seen["lenient, own floor", False] > 5
