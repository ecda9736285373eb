"""Correlation: what one signal, change, receipt, decision or Tick means, given everything before it.

The step functions make observations; every alert passes through a rule on them, so that people read and tune all of it
in rules/. Nothing here looks at a clock: a Tick says what time it is.

Who may change what, by what is proven of a signal:

| signal | replay key | marks, standing, holds | alerts about |
|---|---|---|---|
| genuine and fresh | used up | changed | the machine |
| fresh, and revocation alone failed | used up | standing lowered | the machine |
| genuine, of unknown age | | | its sender |
| not proven | | | its sender |
| the bytes of fresh evidence once more | | | its sender: a replay, and nothing else |
| genuine and fresh, judged again | used up, if not yet | standing; holds of recognition and revocation | the machine |
| a replay, judged again | | | |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from ratchet.detect import alerts, bursts, sender_limit, stores
from ratchet.detect import observation as observed
from ratchet.detect.finding import found
from ratchet.detect.forgetting import forget
from ratchet.detect.machines import LAPSE, Machines
from ratchet.detect.observation import Signal
from ratchet.detect.raising import Raising
from ratchet.detect.retirement import retire
from ratchet.detect.sigma import Rule, RuleSet
from ratchet.detect.store import StateStore, due_until
from ratchet.event import Event, parse_time, stamp
from ratchet.reason import Reason

ACCUSING = frozenset({"parse", "chain", "revocation", "signature", "binding", "freshness"})
"""Steps whose failure is the evidence's own. `collateral` is the vendor's, or our feed's: it accuses no machine."""

_UNPROVEN = frozenset({observed.UNPROVEN})


class Correlator:
    """The rules, and what they make of events. Holds no state of its own: that is `StateStore`'s."""

    def __init__(self, rules: RuleSet, holds: Mapping[str, str] | None = None) -> None:
        """`holds` as in the configured policy, which is in force until a change brings another."""
        self._raising = Raising(rules)
        self._machines = Machines(self._raising, holds or {})

    def signal(self, state: StateStore, signal: Signal) -> list[Event]:
        """A verdict on one piece of evidence."""
        at = parse_time(signal["time"])
        outputs = self._judged_again(state, signal, at) if signal["rejudged"] else self._first(state, signal, at)
        return self._settled(state, outputs, at, (signal["tenant"], signal["subject"]))

    def change(self, state: StateStore, event: Event) -> list[Event]:
        """What the stores are to hold: a loosening is told when it is sent, and until all have proved what ends it."""
        self._machines.judge_by(state, event)
        return stores.change(self._raising, state, event)

    def receipt(self, state: StateStore, event: Event) -> list[Event]:
        """What a store proved, or failed to."""
        return stores.receipt(self._raising, state, event)

    def decision(self, state: StateStore, event: Event) -> list[Event]:
        """A person's word on an alert or a machine; decisions on proposals are not for here."""
        match event.type:
            case "decision.accepted.v1":
                outputs = self._machines.accept(state, event)
            case "decision.retired.v1":
                outputs = retire(state, event)
            case "decision.acknowledged.v1" | "decision.resolved.v1":
                outputs = alerts.decide(state, event)
            case _:
                return []
        return self._settled(state, outputs, event.time)

    def tick(self, state: StateStore, at: datetime) -> list[Event]:
        """Time has come to `at`: what lapsed, who is silent, which bursts are over."""
        if (clock := state.get("clock")) is not None and stamp(at) < clock:
            return []
        state.put("clock", stamp(at))
        forget(state, clock, at)
        outputs: list[Event] = []
        touched: set[tuple[str, str]] = set()
        for _, kind, tenant, subject in due_until(state, at):
            if kind == LAPSE:
                self._machines.lapse(state, tenant, subject, at)
                touched.add((tenant, subject))
            elif kind.startswith("silent:"):
                outputs += self._machines.silent(state, kind, tenant, subject, at)
            else:
                outputs += bursts.over(self._raising, state, kind, tenant, subject, at)
        return self._settled(state, outputs, at, *sorted(touched))

    def _settled(self, state: StateStore, outputs: list[Event], at: datetime, *touched: tuple[str, str]) -> list[Event]:
        """Whatever changed about a machine or its alerts, its standing knows."""
        for tenant, subject in sorted({*touched, *[(event.tenant, event.subject) for event in outputs]}):
            self._machines.settle(state, tenant, subject, at)
        return outputs

    # Signals

    def _first(self, state: StateStore, signal: Signal, at: datetime) -> list[Event]:
        first = _first_use(state, signal)
        if first is not None:
            return self._replayed(state, signal, at, first)
        revoked = _revoked(signal)
        if signal["fresh"] and (signal["genuine"] or revoked):
            _use_up(state, signal)
            if revoked:
                return self._machines.revoked(state, signal, at)
            return self._machines.proven(state, signal, at)
        return self._of_sender(state, signal, at)

    def _replayed(self, state: StateStore, signal: Signal, at: datetime, first: Sequence[str]) -> list[Event]:
        """Old evidence, however dressed, proves nothing now: it renews nothing, and tells only who sent it."""
        evidence, time, sender, *waited = first
        if evidence == signal["evidence"] or (waited and waited[0] == signal.get("sender")):
            return []
        seen = observed.of_signal(signal, observed.REPLAYED)
        seen["attestation.first_seen"], seen["attestation.first_sender"] = time, sender
        got, want = f"evidence first sent by {sender} at {time}", "evidence made anew"
        why = Reason("evidence_replayed", "evidence", got, want, evidence).to_data()
        subject = sender_limit.subject_of(state, signal, at)
        outputs = found(self._raising, state, signal, at, [seen], subject=subject, why=[why])
        sender_limit.count(state, signal, at, outputs)
        return outputs

    def _judged_again(self, state: StateStore, signal: Signal, at: datetime) -> list[Event]:
        first = _first_use(state, signal)
        if first is not None and first[0] != signal["evidence"]:
            return []  # a replay, and it stays one
        if first is None and signal["fresh"] and (signal["genuine"] or _revoked(signal)):
            # Proved late: whoever else sends it replays it. Its sender may have tried again until it was believed.
            _use_up(state, signal, waited=signal.get("sender"))
        if signal["fresh"] and signal["genuine"]:
            return self._machines.judged_again(state, signal, at)
        if signal["fresh"] and _revoked(signal):
            return self._machines.revoked(state, signal, at)
        # It may still be told under the machine that it proved once (`subject`).
        identity = self._machines.unproven_again(state, signal)
        if identity is None and not signal["genuine"]:
            return []  # it was unproven before, and said so then
        accused = not signal["genuine"] and bool(set(signal.get("failed") or ()) & ACCUSING)
        # What was proven once is no forgery now: what it was proven by is gone (a trust anchor, a certificate's time).
        outputs = [] if identity is not None and accused else self._of_sender(state, signal, at)
        return self._settled(state, outputs, at, *([(signal["tenant"], identity)] if identity else ()))

    def _of_sender(self, state: StateStore, signal: Signal, at: datetime) -> list[Event]:
        """What speaks of no machine: a forgery, what cannot be checked, and genuine evidence of unknown age."""
        failed = set(signal.get("failed") or ())
        if signal["genuine"]:
            action = observed.AGE_UNKNOWN
        elif failed & ACCUSING:
            action = observed.REFUSED
        else:
            action = observed.COLLATERAL if failed else observed.UNPROVEN

        def ends(rule: Rule) -> set[str] | None:
            # What was missing to prove it is there now; nothing else of the sender is known any better.
            return set() if signal["genuine"] and rule.actions == _UNPROVEN else None

        seen = [observed.of_signal(signal, action)]
        subject = sender_limit.subject_of(state, signal, at)
        outputs = found(self._raising, state, signal, at, seen, subject=subject, ends=ends)
        sender_limit.count(state, signal, at, outputs)
        return outputs


def _keys(signal: Signal) -> list[str]:
    """By its bytes too: others' certificates beside them are no other evidence, and then it is not proven again."""
    tenant = signal["tenant"]
    return sorted({f"blob/{tenant}/{signal['blob']}", f"replay/{tenant}/{signal['replay_key']}"})


def _first_use(state: StateStore, signal: Signal) -> Sequence[str] | None:
    """Which evidence brought these signed bytes first, when, and from whom; None where none did."""
    return next((seen for key in _keys(signal) if (seen := state.get(key)) is not None), None)


def _use_up(state: StateStore, signal: Signal, waited: str | None = None) -> None:
    """Only of fresh evidence that proved something: of others nobody can say that they were sent before.

    Args:
        waited: the source of evidence that waited to be proven, which may send it once more and proves nothing by it.
    """
    for key in _keys(signal):
        state.put(key, [signal["evidence"], signal["time"], signal["hint"], *([waited] if waited else [])])


def _revoked(signal: Signal) -> bool:
    """Whether revocation is all that failed: then it is the machine's own evidence, and its vendor disowns it."""
    return set(signal.get("failed") or ()) == {"revocation"} and not signal.get("weak")
