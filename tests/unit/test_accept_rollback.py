"""What `ratchet alerts --accept` signs is what correlation accepts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from test_correlate import HOUR, MILAN, NOON, forged, signal
from test_correlate_trust import APPROVER, approving, standing

from ratchet.app import decisions
from ratchet.app.errors import Fault
from ratchet.event import Event
from ratchet.ports import Record


def test_an_approver_accepts_a_rollback_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    # given a machine that went back, and an alert of another kind
    world = approving()
    world.hears(signal(), signal(at=NOON + HOUR, tcb={**MILAN, "reported.snp": 22}), forged("n02", NOON + HOUR))
    alerts = {alert["rule"]: alert for alert in world.alerts().values()}
    reader: Any = SimpleNamespace(alerts=lambda *_: SimpleNamespace(rows=list(alerts.values())))
    appended: list[Event] = []
    monkeypatch.setattr(decisions, "append", lambda _, event: appended.append(event))
    place: Any = None

    def accept(rule: str) -> None:
        decisions.accept_rollback(place, reader, alerts[rule]["alert"], "ada", APPROVER, "INC-412")

    # when an approver accepts the rollback
    accept("firmware-rolled-back")
    [over] = world.takes(Record(-1, "decisions", appended[0]))
    # then its alert is over, in the approver's name, and nothing is held against the machine
    assert (over.type, over.data["by"], over.data["comment"]) == ("alert.resolved.v1", "ada", "INC-412")
    assert standing(world)["holds"] == []
    # and nothing but a rollback can be accepted
    with pytest.raises(Fault, match="no rollback"):
        accept("evidence-failed")
