"""The stages as configured: the one place that makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ratchet.detect.sigma import RuleSet
from ratchet.policy.appraise import Policy
from ratchet.policy.simulate import Bounds
from ratchet.ports import Blobs, Notifier, PolicyStore
from ratchet.rollout.approval import Approvers, DecisionKeys
from ratchet.x509.anchor import Root
from streams.correlate import Correlate
from streams.decide import Decide
from streams.digest import Digest
from streams.notify import Notify
from streams.push import Push
from streams.roll_out import RollOut
from streams.stage import Sink, Stage
from streams.verify import Verify


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the stages need to be told.

    Attributes:
        roots: trust anchors: the vendors' own, and those that the configuration adds.
        policy: the Appraisal Policy, without the floors that changes put in force.
        rules: for detection, read and checked.
        bounds: of what may be tightened without asking.
        approvers: whose signatures count, and how many it takes.
        operators: public keys (hex) that sign what is decided in the console and with the CLI.
        stores: where policy ends, in the order in which they are written (Git before what is built from it).
        notifiers: who is told.
    """

    roots: Sequence[Root]
    policy: Policy
    rules: RuleSet
    bounds: Bounds
    approvers: Approvers
    operators: tuple[str, ...] = ()
    stores: Sequence[PolicyStore] = ()
    notifiers: Sequence[Notifier] = ()

    @property
    def decision_keys(self) -> DecisionKeys:
        """Whose signatures count on decisions that are not about a proposal."""
        return DecisionKeys(operators=self.operators, approvers=self.approvers.keys)


def stages(settings: Settings, blobs: Blobs) -> tuple[Stage, ...]:
    """All stages of the topology but its sinks. Make them anew with each executor: they keep caches."""
    return (
        Digest(settings.roots, blobs),
        Verify(settings.roots, settings.policy, blobs, settings.decision_keys),
        Correlate(settings.rules, settings.decision_keys, settings.policy.holds),
        Decide(settings.roots, settings.policy, settings.bounds, blobs, settings.decision_keys),
        RollOut(
            settings.policy,
            settings.bounds,
            settings.approvers,
            tuple(store.name for store in settings.stores),
            settings.decision_keys,
        ),
        Push(settings.stores),
    )


def sinks(settings: Settings) -> tuple[Sink, ...]:
    """The sinks of the topology."""
    return (Notify(settings.notifiers),)
