"""A fleet whose evidence goes through every stage that makes its standing: digest, verify, correlate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from test_correlate import shipped
from test_judged_again import EASY, OPERATOR, Changes, Fleet

from ratchet.event import Json
from ratchet.policy.appraise import Policy
from ratchet.ports import Record
from ratchet.rollout.approval import DecisionKeys, public_key
from ratchet.x509.anchor import Root
from streams.correlate import Correlate
from streams.digest import Digest
from streams.embedded import Embedded
from streams.stage import Output, State
from streams.verify import Verify


class Sent(Changes):
    """Changes as correlation reads them, too."""

    def step(self, batch: Sequence[Record], state: State, watermark: Any) -> list[Output]:
        out = super().step(batch, state, watermark)
        return [(topic, replace(e, data={**e.data, "family": None, "loosens": None})) for topic, e in out]


class WholeFleet(Fleet):
    """`Fleet` with correlation behind it."""

    def __init__(self, path: Path, policy: Policy = EASY) -> None:
        self.asked = 0
        super().__init__(path, policy)
        self.changes = Sent()
        self.restart()

    def restart(self, roots: Sequence[Root] = ()) -> None:
        anchors, blobs = tuple(roots) or (self.intel.root(), self.amd.root()), self.database.blobs
        keys = DecisionKeys(operators=(public_key(OPERATOR),))
        self.verify, correlate = Verify(anchors, self.policy, blobs, keys), Correlate(shipped(), keys)
        self.executor = Embedded(self.database, [Digest(anchors, blobs), self.verify, self.changes, correlate])

    def quotes(self, **more: Any) -> str:
        """A quote for a challenge of its own, sent."""
        self.asked += 1
        challenge = bytes([self.asked]) * 32
        return self.sends(self.intel.quote(report_data=challenge, **more), challenge=challenge.hex())

    def sends_with_its_vcek(self, raw: bytes, **more: Any) -> str:
        return self.sends(raw, endorsements=[self.database.blobs.put(self.amd.vek())], **more)

    def puts_in_force(self, policy: Policy) -> None:
        """From the next round on; and what it concerns is judged again."""
        self.changes.due = [policy]
        for _ in range(3):
            self.passes()

    @property
    def standings(self) -> dict[str, dict[str, Json]]:
        found = self.database.state("correlate")
        return {key.split("/", 2)[2]: value for key, value in found.items() if key.startswith("standing/")}

    @property
    def one(self) -> dict[str, Json]:
        """The standing of the only machine."""
        (found,) = self.standings.values()
        return found

    @property
    def alerts(self) -> set[tuple[str, str, str]]:
        """(rule, subject, status)."""
        found = self.database.state("correlate")
        return {(v["rule"], v["subject"], v["status"]) for key, v in found.items() if key.startswith("alert/")}
