"""From observations to alerts: the one way on which anything reaches people, through a rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from ratchet.detect import alerts, wording
from ratchet.detect import observation as observed
from ratchet.detect.alerts import Hit
from ratchet.detect.observation import Observation
from ratchet.detect.sigma import Rule, RuleSet
from ratchet.detect.store import StateStore
from ratchet.event import Event, Json


class Raising:
    """The rules, sorted by what they can see."""

    def __init__(self, rules: RuleSet) -> None:
        self.plain = tuple(r for r in rules if r.options.silence is None and r.options.burst is None)
        self.silence = tuple(r for r in rules if r.options.silence is not None)
        self.bursts = tuple((r, r.options.burst) for r in rules if r.options.burst is not None)
        self.by_name = {r.name: r for r in rules}
        self.by_action: dict[str, tuple[Rule, ...]] = {
            action: tuple(r for r in self.plain if r.actions is None or action in r.actions)
            for action in observed.ACTIONS
        }

    def alert(
        self,
        state: StateStore,
        rule: Rule,
        matched: Sequence[Observation],
        *,
        tenant: str,
        subject: str,
        causes: tuple[str, ...],
        at: datetime,
        why: Sequence[Mapping[str, Json]] = (),
        guest: str = "",
        machines: tuple[str, ...] | None = None,
    ) -> list[Event]:
        """Raise or revise a rule's alert for observations that it matched."""
        if machines is None:
            machines = tuple(dict.fromkeys(o["host.name"] for o in matched if "host.name" in o))
        found = Hit(
            rule=rule,
            tenant=tenant,
            subject=subject,
            causes=causes,
            at=at,
            title=wording.title(rule, matched),
            facts=wording.facts(rule, matched),
            reasons=wording.reasons(rule, matched, why),
            machines=machines,
            guest=guest,
        )
        return alerts.hit(state, found)

    def of(self, state: StateStore, seen: Observation, *, subject: str, cause: str, at: datetime) -> list[Event]:
        """Put one observation to every rule that can see it."""
        outputs = []
        for rule in self.by_action[seen["event.action"]]:
            if rule.matches(seen):
                tenant = seen["organization.id"]
                outputs += self.alert(state, rule, [seen], tenant=tenant, subject=subject, causes=(cause,), at=at)
        return outputs

    def ended(self, state: StateStore, tenant: str, subject: str, at: datetime, *, cause: str) -> list[Event]:
        """Whatever evidence may end on this subject, ends."""
        outputs = []
        for name in alerts.open_rules(state, tenant, subject):
            if rule := self.by_name.get(name):
                outputs += alerts.clear(state, rule, tenant, subject, at, cause=cause)
        return outputs
