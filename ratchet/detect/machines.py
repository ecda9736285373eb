"""Machines: what fresh genuine evidence makes of their standing, their firmware marks, and what is held against them.

Only evidence of which it is known that it was made now comes here; see `engine`. `known/<tenant>/<identity>` holds:

- marks: firmware marks (`firmware`);
- due: when the machine's due entries lie, by kind;
- fallen: mark -> what fell below it and has not come back: {component, value, cause, since};
- revoked: {cause, since, evidence} of the evidence that showed the machine's certificate revoked;
- unrecognised: {code, cause, since} of evidence that showed it to be none of ours.

The last three, and every open alert of level critical, are holds of its standing (`ratchet.standing`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from ratchet import standing as standings
from ratchet.detect import alerts, firmware
from ratchet.detect import observation as observed
from ratchet.detect.finding import found, judged
from ratchet.detect.holds import holds_of, unrecognised
from ratchet.detect.observation import Signal
from ratchet.detect.raising import Raising
from ratchet.detect.sigma import Rule
from ratchet.detect.sigma.options import spelled
from ratchet.detect.store import StateStore, due_key
from ratchet.event import Event, Json, parse_time, stamp
from ratchet.guest import guest_of
from ratchet.policy.circumstances import Recognition
from ratchet.reason import Reason
from ratchet.standing import Standing, Tier

LAPSE = "lapse"
"""Kind of the due entry at which a standing's next word ends."""

_INTRODUCED = frozenset({Recognition.OURS.value, Recognition.NOT_ASKED.value})

_ROLLED_BACK = frozenset({observed.ROLLED_BACK})


class Machines:
    """What the rules and the policy's holds make of machines."""

    def __init__(self, raising: Raising, holds: Mapping[str, str]) -> None:
        self._raising = raising
        self._holds = holds

    def judge_by(self, state: StateStore, change: Event) -> None:
        """Keep what the policy in force says of holds (change.due.v1)."""
        policy = change.data.get("intent", {}).get("policy") or {}
        if "holds" in policy:
            state.put(f"holds/{change.tenant}", policy["holds"])

    def proven(self, state: StateStore, signal: Signal, at: datetime) -> list[Event]:
        """Fresh genuine evidence, seen for the first time."""
        tenant, identity = signal["tenant"], signal["subject"]
        known = _known(state, tenant, identity)
        compared = firmware.compare(
            known["marks"],
            signal.get("tcb") or {},
            tee=signal.get("tee") or "",
            guest=guest_of(signal),
            at=signal["time"],
            evidence=signal["evidence"],
        )
        now = self._renewed(state, signal)
        fallen = _fallen(known["fallen"], compared, signal, now)
        latest = now.verdict == signal["id"]
        self._remember(
            state,
            now,
            {
                **known,
                "marks": compared.marks,
                "fallen": fallen,
                "revoked": None if latest else known["revoked"],
                "unrecognised": unrecognised(signal, known) if latest else known["unrecognised"],
            },
        )
        seen = [observed.of_signal(signal, observed.APPRAISED)]
        why = list(signal.get("why") or ())
        for regression in compared.fell.values():
            seen.append(observed.of_regression(signal, regression))
            why.append(_reason(regression))
        others = set(now.guests) - {guest_of(signal)}

        def ends(rule: Rule) -> set[str] | None:
            if rule.actions == _ROLLED_BACK:  # it is about the platform: whichever guest shows the version back
                return None if fallen else set()
            return others if judged(signal) else None

        outputs = found(self._raising, state, signal, at, seen, subject=identity, why=why, ends=ends)
        if latest:
            outputs += self._spoke(state, tenant, identity, at, cause=signal["id"])
        return outputs + self._introduced(state, signal, at)

    def judged_again(self, state: StateStore, signal: Signal, at: datetime) -> list[Event]:
        """Fresh genuine evidence, judged by what is known now. It replaces its guest's word, and proves nothing anew:
        it raises no mark, uses up no replay key, and says of no machine that it speaks."""
        tenant, identity = signal["tenant"], signal["subject"]
        before = state.get(_standing(tenant, identity))
        now = self._renewed(state, signal)
        if before is not None and now.to_data() == before:
            return []  # its guest has said something since
        known = _known(state, tenant, identity)
        if now.verdict == signal["id"]:
            revoked = known["revoked"]
            if revoked and revoked["evidence"] == signal["evidence"]:
                revoked = None
            known = {**known, "revoked": revoked, "unrecognised": unrecognised(signal, known)}
        self._remember(state, now, known)
        others = set(now.guests) - {guest_of(signal)}

        def ends(rule: Rule) -> set[str] | None:
            return others if judged(signal) and rule.actions != _ROLLED_BACK else None

        seen = [observed.of_signal(signal, observed.APPRAISED)]
        outputs = found(self._raising, state, signal, at, seen, subject=identity, ends=ends)
        return outputs + self._introduced(state, signal, at)

    def revoked(self, state: StateStore, signal: Signal, at: datetime) -> list[Event]:
        """The vendor vouches no longer for this machine: it loses its standing now, not when that would have ended."""
        tenant, identity = signal["tenant"], signal["subject"]
        before = state.get(_standing(tenant, identity))
        if before and signal["rejudged"] and parse_time(signal["received"]) < Standing.from_data(before).seen:
            # It has proved itself since, by evidence that is judged by itself: only this word ends.
            standing = Standing.from_data(before)
            if not any(guest.evidence == signal["evidence"] for guest in standing.guests.values()):
                return []
            now = standings.end(standing, signal)
            if now is not standing:
                self._remember(state, now, _known(state, tenant, identity))
                return []
        if before:
            standing = Standing.from_data(before)
            now = standings.revoke(standing, signal)
            if now is not standing:
                known = _known(state, tenant, identity)
                since = {"cause": signal["id"], "since": signal["time"], "evidence": signal["evidence"]}
                self._remember(state, now, {**known, "revoked": known["revoked"] or since})
        seen = [observed.of_signal(signal, observed.REFUSED)]
        return found(self._raising, state, signal, at, seen, subject=identity)

    def unproven_again(self, state: StateStore, signal: Signal) -> str | None:
        """Evidence that was proven is so no longer, judged again: the word that came of it is void.

        Returns:
            The machine that it had spoken for; None where it counted for none.
        """
        claims = signal["proof"]["claims"] or {}
        masked = standings.masked(signal.get("sender") or "", signal["hint"])
        named = dict.fromkeys((signal["subject"], claims.get("platform"), masked))
        for identity in map(str, filter(None, named)):
            before = state.get(_standing(signal["tenant"], identity))
            if before is None:
                continue
            standing = Standing.from_data(before)
            now = standings.withdraw(standing, signal)
            if now is not standing and now.to_data() != before:
                self._remember(state, now, _known(state, signal["tenant"], identity))
                return identity
        return None

    def accept(self, state: StateStore, event: Event) -> list[Event]:
        """Somebody who may accepts that a machine's firmware went back (decision.accepted.v1): its marks follow."""
        tenant, identity = event.tenant, event.data.get("identity")
        rule = self._raising.by_name.get(str(event.data.get("rule")))
        if not isinstance(identity, str) or rule is None or rule.actions != _ROLLED_BACK:
            return []
        known = _known(state, tenant, identity)
        at = stamp(event.time)
        accepted = {key: fall for key, fall in known["fallen"].items() if fall["since"] <= at}
        if not accepted:
            return []
        marks = known["marks"]
        for key, fall in accepted.items():
            marks = firmware.accept(marks, key, fall["value"], at=at, evidence=event.id)
        fallen = {key: fall for key, fall in known["fallen"].items() if key not in accepted}
        state.put(f"known/{tenant}/{identity}", {**known, "marks": marks, "fallen": fallen})
        outputs = alerts.accept(state, event, rule, identity) if not fallen else []
        self.settle(state, tenant, identity, event.time)
        return outputs

    def settle(self, state: StateStore, tenant: str, identity: str, at: datetime) -> None:
        """Bring a machine's holds up to what is known of it and to the alerts that are open on it."""
        before = state.get(_standing(tenant, identity))
        if before is None:
            return
        known = _known(state, tenant, identity)
        said: Mapping[str, str] = state.get(f"holds/{tenant}") or self._holds
        tiers = {**standings.HOLDS, **{code: Tier(tier) for code, tier in said.items()}}
        holds = holds_of(known, alerts.opened(state, tenant, identity), tiers)
        standing = Standing.from_data(before)
        now = _lapsed(state, standings.held(standing, holds, at))
        if now is not standing:
            state.put(_standing(tenant, identity), now.to_data())

    # Time

    def lapse(self, state: StateStore, tenant: str, identity: str, at: datetime) -> None:
        """A machine's due entry has come up: a word of it may have ended."""
        before = state.get(_standing(tenant, identity))
        if before is None:
            return
        standing = Standing.from_data(before)
        now = standings.lapse(standing, at)
        if now is not standing:
            state.put(_standing(tenant, identity), now.to_data())
            known = _known(state, tenant, identity)
            if known["fallen"] != (left := _living(known["fallen"], now)):
                state.put(f"known/{tenant}/{identity}", {**known, "fallen": left})
        _again(state, LAPSE, tenant, identity, standings.due(now))

    def silent(self, state: StateStore, kind: str, tenant: str, identity: str, at: datetime) -> list[Event]:
        """A machine's due entry has come up: it may have been away for longer than a rule allows."""
        rule = self._raising.by_name.get(kind.removeprefix("silent:"))
        before = state.get(_standing(tenant, identity))
        if rule is None or rule.options.silence is None or before is None:
            _again(state, kind, tenant, identity, None)
            return []
        standing = Standing.from_data(before)
        if (limit := standing.seen + rule.options.silence.after) >= at:
            _again(state, kind, tenant, identity, limit)
            return []
        _again(state, kind, tenant, identity, None)
        if _known(state, tenant, identity)["unrecognised"]:
            return []  # whoever is none of ours may stay away
        seen = observed.of_standing(standing, observed.SILENT, stamp(at))
        seen["attestation.silent_hours"] = (at - standing.seen) // timedelta(hours=1)
        if not rule.matches(seen):
            return []
        got, want = f"latest proof at {stamp(standing.seen)}", f"proof every {spelled(rule.options.silence.after)}"
        why = Reason("machine_silent", "evidence", got, want, rule.path).to_data()
        return self._raising.alert(
            state, rule, [seen], tenant=tenant, subject=identity, causes=(standing.verdict,), at=at, why=[why]
        )

    # Parts

    def _renewed(self, state: StateStore, signal: Signal) -> Standing:
        before = state.get(_standing(signal["tenant"], signal["subject"]))
        now = standings.renew(Standing.from_data(before) if before else None, signal)
        assert now is not None  # renew gives one for fresh genuine evidence
        return _lapsed(state, now)

    def _remember(self, state: StateStore, now: Standing, known: Mapping[str, Any]) -> None:
        """Keep what is known, and see that a Tick looks at this machine early enough."""
        tenant, identity = now.tenant, now.identity
        state.put(_standing(tenant, identity), now.to_data())
        wanted: dict[str, datetime] = {}
        if (lapses := standings.due(now)) is not None:
            wanted[LAPSE] = lapses
        for rule in self._raising.silence:
            if rule.options.silence is not None:
                wanted[f"silent:{rule.name}"] = now.seen + rule.options.silence.after
        due = dict(known["due"])
        for kind, when in wanted.items():
            if kind in due and due[kind] <= stamp(when):
                continue
            if kind in due:
                state.delete(due_key(due[kind], kind, tenant, identity))
            due[kind] = stamp(when)
            state.put(due_key(when, kind, tenant, identity), [kind, tenant, identity])
        if (whole := {**known, "due": due}) != _known(state, tenant, identity):
            state.put(f"known/{tenant}/{identity}", whole)

    def _spoke(self, state: StateStore, tenant: str, identity: str, at: datetime, *, cause: str) -> list[Event]:
        outputs = []
        for rule in self._raising.silence:
            outputs += alerts.clear(state, rule, tenant, identity, at, cause=cause)
        return outputs

    def _introduced(self, state: StateStore, signal: Signal, at: datetime) -> list[Event]:
        """A sender has proved which machine it is: what its unproven evidence raised under its name alone may end.

        Not by a machine that is none of ours: it may be any, under a name that it chose.
        """
        hinted = f"hint:{signal['hint']}"
        if signal["subject"] == hinted or signal.get("recognition") not in (None, *_INTRODUCED):
            return []
        return self._raising.ended(state, signal["tenant"], hinted, at, cause=signal["id"])


def _standing(tenant: str, identity: str) -> str:
    return f"standing/{tenant}/{identity}"


def _known(state: StateStore, tenant: str, identity: str) -> dict[str, Any]:
    nothing: dict[str, Any] = {"marks": {}, "due": {}, "fallen": {}, "revoked": None, "unrecognised": None}
    return nothing | (state.get(f"known/{tenant}/{identity}") or {})


def _lapsed(state: StateStore, standing: Standing) -> Standing:
    """As of the latest Tick: evidence that came late may be out of trust already."""
    clock = state.get("clock")
    return standings.lapse(standing, parse_time(clock)) if clock is not None else standing


def _again(state: StateStore, kind: str, tenant: str, identity: str, when: datetime | None) -> None:
    """A machine's due entry has come up: the next one of its kind, or none."""
    known = _known(state, tenant, identity)
    due = {name: time for name, time in known["due"].items() if name != kind}
    if when is not None:
        due[kind] = stamp(when)
        state.put(due_key(when, kind, tenant, identity), [kind, tenant, identity])
    state.put(f"known/{tenant}/{identity}", {**known, "due": due})


def _fallen(before: Mapping[str, Any], compared: firmware.Comparison, signal: Signal, now: Standing) -> dict[str, Any]:
    """What is below its mark once these versions are proven; `since` and `cause` stay those of the first fall."""
    left = {
        key: fall
        for key, fall in before.items()
        if key not in compared.reached or fall["since"] > signal["time"]  # late evidence shows what was before the fall
    }
    for key, regression in compared.fell.items():
        first = left.get(key) or {"cause": signal["id"], "since": signal["time"]}
        left[key] = {**first, "component": regression.component, "value": regression.value}
    return _living(left, now)


def _living(fallen: Mapping[str, Any], now: Standing) -> dict[str, Any]:
    """Without what fell of guests that are no more: they never come back."""
    return {key: fall for key, fall in fallen.items() if "/" not in key or key.rpartition("/")[0] in now.guests}


def _reason(regression: firmware.Regression) -> dict[str, Json]:
    want = f"at least {regression.was}, proved at {regression.since}"
    remedy = f"bring {regression.component} back to {regression.was} or above, and find out who lowered it"
    component, evidence = regression.component, regression.evidence
    return Reason("firmware_rolled_back", component, regression.now, want, evidence, remedy).to_data()
