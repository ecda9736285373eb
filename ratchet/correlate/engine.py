"""Correlation: what one signal, change, receipt, decision or Tick means, given everything before it.

The step functions make observations; every alert passes through a rule on them, so that people read and tune all of it
in rules/. Nothing here looks at a clock: a Tick says what time it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from ratchet import standing as standings
from ratchet.correlate import alerts, firmware, wording
from ratchet.correlate import observation as observed
from ratchet.correlate.alerts import Hit
from ratchet.correlate.memory import Memory, due_key, due_until
from ratchet.correlate.observation import Observation, Signal
from ratchet.correlate.retirement import retire
from ratchet.event import Event, Json, parse_time, stamp
from ratchet.reason import Reason
from ratchet.sigma import Rule, RuleSet
from ratchet.sigma.options import Burst, spelled
from ratchet.standing import Standing, Tier

ACCUSING = frozenset({"parse", "chain", "revocation", "signature", "binding", "freshness"})
"""Steps whose failure is the evidence's own. `collateral` is the vendor's, or our feed's: it accuses no machine."""

MAX_BURST = 1000
"""Senders of one place that a burst keeps; the oldest make room."""

_LAPSE = "lapse"


class Correlator:
    """The rules, and what they make of events. Holds no memory of its own: that is `Memory`'s."""

    def __init__(self, rules: RuleSet) -> None:
        self._plain = tuple(r for r in rules if r.options.silence is None and r.options.burst is None)
        self._silence = tuple(r for r in rules if r.options.silence is not None)
        self._bursts = tuple((r, r.options.burst) for r in rules if r.options.burst is not None)
        self._by_name = {r.name: r for r in rules}
        self._by_action: dict[str, tuple[Rule, ...]] = {
            action: tuple(r for r in self._plain if r.actions is None or action in r.actions)
            for action in observed.ACTIONS
        }

    def signal(self, memory: Memory, signal: Signal) -> list[Event]:
        """A verdict on one piece of evidence."""
        tenant, at = signal["tenant"], parse_time(signal["time"])
        # By its bytes too: others' certificates beside them are no other evidence, and then it is not proven again.
        marks = {f"blob/{tenant}/{signal['blob']}", f"replay/{tenant}/{signal.get('replay_key') or signal['blob']}"}
        first = next((seen for mark in sorted(marks) if (seen := memory.get(mark)) is not None), None)
        if first is not None:
            return self._replayed(memory, signal, at, first)
        failed = ACCUSING & set(signal.get("failed") or ())
        if not failed:
            # What failed once may be sent again; it fails again, which is not a replay.
            for mark in sorted(marks):
                memory.put(mark, [signal["evidence"], signal["time"], signal["hint"]])
        if signal["genuine"]:
            return self._proven(memory, signal, at)
        if set(signal.get("failed") or ()) == {"revocation"} and not signal.get("weak"):
            self._revoked(memory, signal)
            return self._found(
                memory, signal, at, [observed.of_signal(signal, observed.REFUSED)], subject=signal["subject"]
            )
        action = observed.REFUSED if failed else observed.COLLATERAL if signal.get("failed") else observed.UNPROVEN
        return self._found(memory, signal, at, [observed.of_signal(signal, action)], subject=f"hint:{signal['hint']}")

    def change(self, memory: Memory, event: Event) -> list[Event]:
        """What the stores are to hold: a loosening is told when it is sent, and until all have proved what ends it.

        There is one event for each store. The first tells; the others only add who has to prove.
        """
        tenant, family, change = event.tenant, event.data["family"], event.data["change"]
        key = f"loosened/{tenant}/{family}"
        kept = memory.get(key)
        loosens = event.data.get("loosens") is not None
        if kept is None and not loosens:
            return []
        if kept is not None and kept["change"] == change:
            if not loosens:
                memory.put(key, {**kept, "waiting": [*kept["waiting"], event.data["store"]]})
            return []
        if kept is not None:
            memory.delete(f"tightened/{tenant}/{kept['change']}")  # it is no longer the latest, and ends nothing
        memory.put(key, {"change": change, "waiting": [] if loosens else [event.data["store"]]})
        if not loosens:
            memory.put(f"tightened/{tenant}/{change}", family)
            return []
        seen = observed.of_change(event)
        outputs = []
        for rule in self._by_action[observed.LOOSENED]:
            if rule.matches(seen):
                outputs += self._alert(
                    memory, rule, [seen], tenant=tenant, subject=_floor(family), causes=(event.id,), at=event.time
                )
        return outputs

    def receipt(self, memory: Memory, event: Event) -> list[Event]:
        """What a store proved, or failed to."""
        subject = f"store:{event.data.get('store') or event.subject}"
        if event.type == "receipt.confirmed.v1":
            proved = self._ended(memory, event.tenant, subject, event.time, cause=event.id)
            return proved + self._tightened(memory, event)
        seen = observed.of_receipt(event)
        outputs = []
        for rule in self._by_action[seen["event.action"]]:
            if rule.matches(seen):
                outputs += self._alert(
                    memory, rule, [seen], tenant=event.tenant, subject=subject, causes=(event.id,), at=event.time
                )
        return outputs

    def decision(self, memory: Memory, event: Event) -> list[Event]:
        """A person's word on an alert or a machine; decisions on proposals are not for here."""
        if event.type == "decision.retired.v1":
            return retire(memory, event)
        if event.type not in ("decision.acknowledged.v1", "decision.resolved.v1"):
            return []
        return alerts.decide(memory, event)

    def tick(self, memory: Memory, at: datetime) -> list[Event]:
        """Time has come to `at`: what lapsed, who is silent, which bursts are over."""
        if (clock := memory.get("clock")) is not None and stamp(at) < clock:
            return []
        memory.put("clock", stamp(at))
        outputs = []
        for when, kind, tenant, subject in due_until(memory, at):
            if kind == _LAPSE:
                self._lapse(memory, when, tenant, subject, at)
            elif kind.startswith("silent:"):
                outputs += self._silent(memory, kind, tenant, subject, at)
            else:
                outputs += self._burst_over(memory, kind, tenant, subject, at)
        return outputs

    # Signals

    def _replayed(self, memory: Memory, signal: Signal, at: datetime, first: Sequence[str]) -> list[Event]:
        """Old evidence, however dressed, proves nothing now: it renews nothing, and tells only who sent it."""
        evidence, time, sender = first
        if evidence == signal["evidence"]:
            return []
        seen = observed.of_signal(signal, observed.REPLAYED)
        seen["attestation.first_seen"], seen["attestation.first_sender"] = time, sender
        got, want = f"evidence first sent by {sender} at {time}", "evidence made anew"
        why = Reason("evidence_replayed", "evidence", got, want, evidence).to_data()
        return self._found(memory, signal, at, [seen], subject=f"hint:{signal['hint']}", why=[why])

    def _proven(self, memory: Memory, signal: Signal, at: datetime) -> list[Event]:
        tenant, identity = signal["tenant"], signal["subject"]
        key = f"standing/{tenant}/{identity}"
        before = memory.get(key)
        known = memory.get(f"known/{tenant}/{identity}") or {"marks": {}, "due": {}}
        marks, falls = firmware.compare(
            known["marks"],
            signal.get("tcb") or {},
            guest=signal.get("instance") or "",
            at=signal["time"],
            evidence=signal["evidence"],
        )
        now = standings.renew(Standing.from_data(before) if before else None, signal)
        assert now is not None  # renew gives one for proven evidence
        if (clock := memory.get("clock")) is not None:
            now = standings.lapse(now, parse_time(clock))  # evidence that came late may be out of trust already
        memory.put(key, now.to_data())
        self._schedule(memory, tenant, identity, known, marks, now)
        seen = [observed.of_signal(signal, observed.APPRAISED)]
        why = list(signal.get("why") or ())
        for fall in falls:
            one = observed.of_signal(signal, observed.ROLLED_BACK)
            one["attestation.component"], one["attestation.was"], one["attestation.now"] = (
                fall.component,
                fall.was,
                fall.now,
            )
            seen.append(one)
            why.append(_fallen(fall))
        live = {name for name in now.guests if name != _guest(signal)}
        outputs = self._found(memory, signal, at, seen, subject=identity, why=why, live=live)
        if now.verdict == signal["id"]:
            for rule in self._silence:
                outputs += alerts.clear(memory, rule, tenant, identity, at, cause=signal["id"])
        if identity != (hinted := f"hint:{signal['hint']}"):
            outputs += self._ended(memory, tenant, hinted, at, cause=signal["id"])
        return outputs

    def _revoked(self, memory: Memory, signal: Signal) -> None:
        """The vendor vouches no longer for this machine: it loses its standing now, not when that would have ended."""
        key = f"standing/{signal['tenant']}/{signal['subject']}"
        before = memory.get(key)
        if before:
            memory.put(key, standings.revoke(Standing.from_data(before), signal).to_data())

    def _found(
        self,
        memory: Memory,
        signal: Signal,
        at: datetime,
        seen: Sequence[Observation],
        *,
        subject: str,
        why: Sequence[Mapping[str, Json]] | None = None,
        live: set[str] | None = None,
    ) -> list[Event]:
        """Put observations of one signal to every rule; `live` is given where the signal may also end alerts."""
        tenant, cause = signal["tenant"], signal["id"]
        why = list(signal.get("why") or ()) if why is None else why
        opened = set(alerts.open_rules(memory, tenant, subject)) if live is not None else set()
        rules = {r.name: r for o in seen for r in self._by_action[o["event.action"]]}
        outputs: list[Event] = []
        for name in sorted({*rules, *(opened & {r.name for r in self._plain})}):
            rule = self._by_name[name]
            matched = [o for o in seen if rule.matches(o)]
            if matched:
                outputs += self._alert(
                    memory,
                    rule,
                    matched,
                    tenant=tenant,
                    subject=subject,
                    causes=(cause,),
                    at=at,
                    why=why,
                    guest=_guest(signal),
                )
            elif live is not None and name in opened and signal["tier"] != Tier.NONE:
                # Evidence that could not be judged ends nothing.
                outputs += alerts.clear(memory, rule, tenant, subject, at, cause=cause, live=live)
        actions = {o["event.action"] for o in seen}
        for rule, burst in self._bursts:
            if actions & set(burst.of):
                outputs += self._burst(memory, rule, burst, signal, at, seen[0])
        return outputs

    def _alert(
        self,
        memory: Memory,
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
        return alerts.hit(memory, found)

    def _ended(self, memory: Memory, tenant: str, subject: str, at: datetime, *, cause: str) -> list[Event]:
        """Whatever evidence may end on this subject, ends."""
        outputs = []
        for name in alerts.open_rules(memory, tenant, subject):
            if rule := self._by_name.get(name):
                outputs += alerts.clear(memory, rule, tenant, subject, at, cause=cause)
        return outputs

    def _tightened(self, memory: Memory, receipt: Event) -> list[Event]:
        """A store confirms a change; where that ends a loosening and this store is the last, it is over."""
        tenant, ending = receipt.tenant, f"tightened/{receipt.tenant}/{receipt.data.get('change')}"
        family = memory.get(ending)
        if family is None:
            return []
        key = f"loosened/{tenant}/{family}"
        kept = memory.get(key) or {"waiting": []}
        waiting = [store for store in kept["waiting"] if store != receipt.data.get("store")]
        if waiting:
            memory.put(key, {**kept, "waiting": waiting})
            return []
        memory.delete(key)
        memory.delete(ending)
        return self._ended(memory, tenant, _floor(family), receipt.time, cause=receipt.id)

    # Time

    def _schedule(
        self,
        memory: Memory,
        tenant: str,
        identity: str,
        known: Mapping[str, Json],
        marks: firmware.Marks,
        now: Standing,
    ) -> None:
        """Keep the marks, and see that a Tick looks at this machine early enough."""
        wanted: dict[str, datetime] = {}
        if (lapses := standings.due(now)) is not None:
            wanted[_LAPSE] = lapses
        for rule in self._silence:
            if rule.options.silence is not None:
                wanted[f"silent:{rule.name}"] = now.seen + rule.options.silence.after
        due = dict(known["due"])
        for kind, when in wanted.items():
            if kind in due and due[kind] <= stamp(when):
                continue
            if kind in due:
                memory.delete(due_key(due[kind], kind, tenant, identity))
            due[kind] = stamp(when)
            memory.put(due_key(when, kind, tenant, identity), [kind, tenant, identity])
        if due != known["due"] or marks is not known["marks"]:
            memory.put(f"known/{tenant}/{identity}", {"marks": marks, "due": due})

    def _again(self, memory: Memory, kind: str, tenant: str, identity: str, when: datetime | None) -> None:
        """A machine's due entry has come up: the next one of its kind, or none."""
        known = memory.get(f"known/{tenant}/{identity}") or {"marks": {}, "due": {}}
        due = {name: time for name, time in known["due"].items() if name != kind}
        if when is not None:
            due[kind] = stamp(when)
            memory.put(due_key(when, kind, tenant, identity), [kind, tenant, identity])
        memory.put(f"known/{tenant}/{identity}", {**known, "due": due})

    def _lapse(self, memory: Memory, when: str, tenant: str, identity: str, at: datetime) -> None:
        key = f"standing/{tenant}/{identity}"
        before = memory.get(key)
        if before is None:
            return
        standing = Standing.from_data(before)
        now = standings.lapse(standing, at)
        if now is not standing:
            memory.put(key, now.to_data())
        self._again(memory, _LAPSE, tenant, identity, standings.due(now))

    def _silent(self, memory: Memory, kind: str, tenant: str, identity: str, at: datetime) -> list[Event]:
        rule = self._by_name.get(kind.removeprefix("silent:"))
        before = memory.get(f"standing/{tenant}/{identity}")
        if rule is None or rule.options.silence is None or before is None:
            self._again(memory, kind, tenant, identity, None)
            return []
        standing = Standing.from_data(before)
        if (limit := standing.seen + rule.options.silence.after) >= at:
            self._again(memory, kind, tenant, identity, limit)
            return []
        self._again(memory, kind, tenant, identity, None)
        seen = observed.of_standing(standing, observed.SILENT, stamp(at))
        hours = (at - standing.seen) // timedelta(hours=1)
        seen["attestation.silent_hours"] = hours
        if not rule.matches(seen):
            return []
        got, want = f"latest proof at {stamp(standing.seen)}", f"proof every {spelled(rule.options.silence.after)}"
        why = Reason("machine_silent", "evidence", got, want, rule.path).to_data()
        return self._alert(
            memory, rule, [seen], tenant=tenant, subject=identity, causes=(standing.verdict,), at=at, why=[why]
        )

    # Bursts

    def _burst(
        self, memory: Memory, rule: Rule, burst: Burst, signal: Signal, at: datetime, seen: Observation
    ) -> list[Event]:
        place = seen.get(burst.by)
        place = "unknown" if place is None else str(place)
        key = f"burst/{rule.name}/{signal['tenant']}/{place}"
        senders = dict(memory.get(key) or {})
        if senders.get(signal["hint"], [""])[0] <= signal["time"]:
            senders[signal["hint"]] = [signal["time"], signal["id"]]
        senders = _within(senders, max(time for time, _ in senders.values()), burst)
        memory.put(key, senders)
        if len(senders) < burst.machines:
            return []
        one: Observation = {
            "@timestamp": signal["time"],
            "event.action": observed.BURST,
            "event.category": "host",
            "event.outcome": "failure",
            "organization.id": signal["tenant"],
            burst.by: place,
            "attestation.machines": len(senders),
            "attestation.tee": signal.get("tee"),
        }
        if not rule.matches(one):
            return []
        subject = f"{burst.by.rpartition('.')[2]}:{place}"
        causes = tuple(verdict for _, verdict in sorted(senders.values()))
        if rule.name in alerts.open_rules(memory, signal["tenant"], subject):
            causes = (signal["id"],)
        else:
            kind = f"burst:{rule.name}"
            due = due_key(_over(senders, burst), kind, signal["tenant"], place)
            memory.put(due, [kind, signal["tenant"], place])
        got, want = f"{len(senders)} senders within {spelled(burst.window)}", f"fewer than {burst.machines}"
        why = Reason("failure_burst", place, got, want, rule.path).to_data()
        return self._alert(
            memory,
            rule,
            [one],
            tenant=signal["tenant"],
            subject=subject,
            causes=causes,
            at=at,
            why=[why],
            machines=tuple(sorted(senders, key=lambda name: senders[name])),
        )

    def _burst_over(self, memory: Memory, kind: str, tenant: str, place: str, at: datetime) -> list[Event]:
        rule = self._by_name.get(kind.removeprefix("burst:"))
        if rule is None or rule.options.burst is None:
            return []
        burst = rule.options.burst
        key = f"burst/{rule.name}/{tenant}/{place}"
        senders = memory.get(key) or {}
        left = _within(senders, stamp(at), burst)
        if len(left) >= burst.machines:
            memory.put(due_key(_over(left, burst), kind, tenant, place), [kind, tenant, place])
            return []
        if left:
            memory.put(key, left)
        else:
            memory.delete(key)
        subject = f"{burst.by.rpartition('.')[2]}:{place}"
        return alerts.clear(
            memory, rule, tenant, subject, at, cause=f"fewer than {burst.machines} within {spelled(burst.window)}"
        )


def _floor(family: str) -> str:
    """The subject of what concerns a family's floor."""
    return f"policy:{family}"


def _guest(signal: Signal) -> str:
    """The name of a signal's guest in `Standing.guests`."""
    return signal.get("instance") or signal.get("measurement") or ""


def _fallen(fall: firmware.Fall) -> dict[str, Json]:
    want = f"at least {fall.was}, proved at {fall.since}"
    remedy = f"bring {fall.component} back to {fall.was} or above, and find out who lowered it"
    return Reason("firmware_rolled_back", fall.component, fall.now, want, fall.evidence, remedy).to_data()


def _within(senders: Mapping[str, Json], until: str, burst: Burst) -> dict[str, Json]:
    """Those of the window that ends then, at most MAX_BURST, in order of time."""
    begin = stamp(parse_time(until) - burst.window)
    kept = sorted((entry, name) for name, entry in senders.items() if entry[0] > begin)[-MAX_BURST:]
    return {name: entry for entry, name in kept}


def _over(senders: Mapping[str, Json], burst: Burst) -> datetime:
    """When so many have left the window that it is no burst any more."""
    times = sorted((time for time, _ in senders.values()), reverse=True)
    return parse_time(times[burst.machines - 1]) + burst.window
