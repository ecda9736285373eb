"""The stage that turns signals into standing and alerts: order, and nothing else; what it all means is the core's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from ratchet.detect.engine import Correlator
from ratchet.detect.sigma import RuleSet
from ratchet.event import Event, Json, parse_time
from ratchet.ports import Record
from ratchet.rollout.approval import DecisionKeys, decision_objection
from streams.dead_letters import dead
from streams.stage import Output, State

_ORDER = {"signals": 0, "changes": 1, "receipts": 2, "decisions": 3, "ticks": 4}
"""Of topics at equal time, as in streams/topology.py: a Tick comes after everything that happened by then."""

_OURS = frozenset(f"decision.{verb}.v1" for verb in ("acknowledged", "resolved", "accepted", "retired"))


class Correlate:
    """Reads signals, changes, receipts, decisions and ticks; writes alerts and dead letters; keeps standing."""

    name = "correlate"

    def __init__(self, rules: RuleSet, keys: DecisionKeys, holds: Mapping[str, str] | None = None) -> None:
        """`keys` are those whose signatures count on decisions about alerts and machines; `holds` are the policy's."""
        self._correlator = Correlator(rules, holds)
        self._keys = keys

    def step(self, batch: Sequence[Record], state: State, watermark: datetime) -> list[Output]:
        """Take every signal at its own time, wherever batches begin and end, between the other events.

        A signals record covers many verdicts, so its signals are sorted in with everything else by (time, topic, id);
        one that comes twice in a round is taken once. `watermark` is not looked at: Ticks are among the events.
        """
        items: dict[tuple[str, str], tuple[datetime, int, str, Json]] = {}
        letters: list[Output] = []
        for record in batch:
            event = record.event
            if record.topic == "decisions" and event.type in _OURS:
                wrong = decision_objection(self._keys, event)
                if wrong is not None:
                    letters.append(
                        dead(record, self.name, wrong.code, f"{event.type}: wanted {wrong.want}", wrong.remedy)
                    )
                    continue
            if record.topic != "signals":
                items.setdefault((record.topic, event.id), (event.time, _ORDER[record.topic], event.id, event))
                continue
            for signal in event.data["signals"]:
                items.setdefault(("signals", signal["id"]), (parse_time(signal["time"]), 0, signal["id"], signal))
        alerts: list[Event] = []
        for time, topic, _, item in sorted(items.values(), key=lambda i: i[:3]):
            if topic == _ORDER["signals"]:
                alerts += self._correlator.signal(state, item)
            elif topic == _ORDER["changes"]:
                alerts += self._correlator.change(state, item)
            elif topic == _ORDER["receipts"]:
                alerts += self._correlator.receipt(state, item)
            elif topic == _ORDER["decisions"]:
                alerts += self._correlator.decision(state, item)
            else:
                alerts += self._correlator.tick(state, time)
        return [*(("alerts", alert) for alert in alerts), *letters]
