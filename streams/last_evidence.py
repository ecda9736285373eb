"""The last evidence of every machine and of every sender that has proved nothing yet, and what must be judged again.

When what evidence is judged by changes (collateral, the policy in force, enrolment) or ends, the last evidence of
whomever that concerns is judged again from its bytes. What has to be is a queue in the verify stage's state, of which
each round takes a bounded part, so that no round stalls; in order of time and place, so that it follows from the log.
What is concluded again as it was before is not told again.

State (a place is `last/…` or `sender/…`):
- `last/<tenant>/<identity>/<guest>/<source>` -> the last fresh genuine evidence of a guest from one source, so that
  what another sends in its name, a replay for example, takes nothing's place: {event, data, late, judged, revision,
  verdict, outcome, tier, until, identity, family, tee, root, broken, platform, crls, ends}. At most `MAX_GUESTS` of a
  machine; of those that nobody believes any more only the last to speak. About 1,000 bytes each, and the labels of its
  hint.
- `sender/<tenant>/<source>/<name>` -> the last evidence that came from a source under a name and proved nothing of a
  machine, with what is missing: the same, and {row}. At most `MAX_SENDERS` of a source, so that none displaces what
  another sent; 4,000 bytes each at most. Gone when fresh genuine evidence comes from the source under the name.
- `ends/<time>/<place>` -> when the first thing ends that the proof rests on.
- `again/<time>/<place>` -> {cause, revision}: the queue.
- `revision` -> how many changes were taken; evidence that was judged after a change is not judged again because of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote

from ratchet.event import Event, Json, canonical, digest, parse_time, stamp
from ratchet.evidence import TEES, Outcome, Proof, StepName
from ratchet.evidence.spec import Subject
from ratchet.guest import guest_of
from streams.stage import State

MAX_GUESTS = 64
"""Of one machine, as in `ratchet.standing`."""

GUEST_KEPT = timedelta(days=2)
"""For how long a guest that is silent is kept at least, beside others of its machine; longer, where the policy believes
it for longer."""

MAX_SENDERS = 2048
"""Names of one source; those heard of longest ago make room."""

SENDER_WAITS = timedelta(days=7)
"""For how long the last evidence of a sender that has proved nothing is judged again when a document comes."""

MAX_REASONS = 8
"""Of what a sender is missing."""

_KEPT = ("blob", "format", "endorsements", "challenge", "key", "vouched", "hint")
"""Of an evidence event's data: what judging it asks for."""


@dataclass(frozen=True, slots=True)
class Due:
    """One piece of evidence that is to be judged again.

    Attributes:
        place: its key.
        entry: what is kept of it.
        cause: id of the event because of which.
        at: the time of that event, or of the last judgement if that is later.
    """

    place: str
    entry: Mapping[str, Json]
    cause: str
    at: datetime

    @property
    def event(self) -> Event:
        """The evidence event, as far as judging needs it."""
        said = self.entry["event"]
        return Event(
            said["id"], said["source"], "evidence.received.v1", said["subject"], parse_time(said["time"]),
            self.place.split("/")[1], self.entry["data"],
        )  # fmt: skip

    @property
    def identity(self) -> str | None:
        """The machine that it proved; None of a sender that has proved nothing."""
        return self.entry["identity"] if self.place.startswith("last/") else None


def remember(
    state: State,
    event: Event,
    verdict: Event,
    proof: Proof,
    crls: Iterable[str],
    *,
    ends: datetime | None,
    believed: timedelta,
    before: str | None,
) -> str:
    """Keep evidence that was just judged, if it is the last of its guest or sender: its place.

    Args:
        event: the evidence event.
        verdict: what became of it, with its `late` and `judged`.
        proof: of it.
        crls: keys of the revocation lists among the documents that were used.
        ends: when the first thing ends that the judgement rests on.
        believed: for how long the policy believes a proof.
        before: its place until now, where it was judged again.
    """
    data, tenant = verdict.data, event.tenant
    source = quote(event.source, safe="")
    names = f"sender/{tenant}/{source}/"
    waits = names + data["hint"]["name"]
    proved = bool(data["fresh"] and data["genuine"])
    if before is not None and before.startswith("last/"):
        place = before  # what it proved once, it still speaks of
    elif proved:
        place = f"{_machine(tenant, verdict.subject)}{_guest(data)}/{source}"
    else:
        place = waits
    if before is not None and before != place:
        forget(state, before)
    kept = state.get(place)
    if kept is not None and _order(kept) > (stamp(event.time), event.id):
        return place  # evidence that came late
    if kept is not None:
        _unschedule(state, place, kept)
    asked = proof.outcome(StepName.REVOCATION) is not Outcome.NOT_POSSIBLE
    broken = _broken(proof)
    if broken:
        ends = None
    entry: dict[str, Json] = {
        "event": {"id": event.id, "source": event.source, "subject": event.subject, "time": stamp(event.time)},
        "data": {key: event.data[key] for key in _KEPT if key in event.data},
        "late": data["late"],
        "judged": stamp(verdict.time),
        "revision": state.get("revision") or 0,
        "verdict": verdict.id,
        "outcome": outcome(data),
        "tier": data["tier"],
        "until": data["trusted_until"],
        "identity": verdict.subject,
        "family": data["family"],
        "tee": data["tee"],
        "broken": broken,
        "root": proof.root.name if proof.root else None,
        "platform": proof.claims.platform if proof.claims else None,
        "crls": sorted(crls) if asked else None,
        "ends": stamp(ends) if ends else None,
    }
    if not place.startswith("last/"):
        entry["row"] = _row(event, verdict, kept)
    state.put(place, entry)
    if ends is not None:
        state.put(f"ends/{stamp(ends)}/{place}", True)
    if place.startswith("last/"):
        _make_room(state, place.rsplit("/", 2)[0] + "/", place, event.time - max(GUEST_KEPT, believed))
        sender = state.get(waits)
        if sender is not None and _order(sender) <= _order(entry):
            forget(state, waits)
    elif kept is None:
        _bound_senders(state, names)
    return place


def outcome(verdict: Mapping[str, Json]) -> str:
    """The same for two verdicts on one piece of evidence that conclude the same."""
    names = ("identity", "genuine", "recognition", "tier", "vector", "barred", "trusted_until")
    codes = sorted({reason["code"] for reason in verdict["reasons"]})
    status = [verdict["tcb"]["merged"], verdict["tcb"]["advisories"]] if verdict["tcb"] else None
    return digest(canonical([codes, status, *(verdict[name] for name in names)]))[:32]


def is_accused(verdict: Mapping[str, Json]) -> bool:
    """Did a step fail that bytes alone decide, or a certificate's time? Evidence that held once is no forgery later."""
    failed = {step["name"] for step in verdict["steps"] if step["outcome"] == Outcome.FAILED.value}
    return bool(failed & {"parse", "chain", "signature", "binding"})


def is_over(verdict: Mapping[str, Json]) -> bool:
    """Can it not be proven any more, and that only because its own certificate has ended? Then nothing new is known."""
    steps = {step["name"]: step for step in verdict["steps"]}
    chain = steps[StepName.CHAIN.value]
    codes = {reason["code"] for reason in chain["reasons"]}
    possible = Outcome.NOT_POSSIBLE.value not in {
        steps[name.value]["outcome"] for name in (StepName.PARSE, StepName.SIGNATURE, StepName.BINDING)
    }
    return possible and chain["outcome"] == Outcome.NOT_POSSIBLE.value and codes == {"certificate_expired"}


def forget(state: State, place: str) -> None:
    """Keep nothing of it."""
    kept = state.get(place)
    if kept is not None:
        _unschedule(state, place, kept)
        state.delete(place)


def touched_by_document(state: State, kind: str, key: str, at: datetime) -> Iterator[str]:
    """Places of what a vendor's sound statement may change: those of its root and its family, issuer or chip.

    Of senders that have proved nothing, only those that were heard of in the last `SENDER_WAITS` before `at`.
    """
    heard = stamp(at - SENDER_WAITS)
    root, _, about = key.partition("/")
    for prefix in ("last/", "sender/"):
        for place, entry in state.scan(prefix):
            if prefix == "sender/" and entry["event"]["time"] < heard:
                continue
            if entry["root"] in (None, root) and not entry["broken"] and _concerns(entry, kind, about):
                yield place


def touched_by_policy(state: State, tenant: str, families: Iterable[str] | None) -> Iterator[str]:
    """Places of the machines of these families; of all machines of the tenant where it is None."""
    chosen = None if families is None else frozenset(families)
    for place, entry in state.scan(f"last/{tenant}/"):
        if chosen is None or entry["family"] in chosen:
            yield place


def everybody(state: State) -> list[str]:
    """Every place, of machines and of senders that have proved nothing, but for what no statement can mend."""
    return [place for prefix in ("last/", "sender/") for place, kept in state.scan(prefix) if not kept["broken"]]


def of_machine(state: State, tenant: str, identity: str) -> Iterator[str]:
    """Places of one machine's guests."""
    return (place for place, _ in state.scan(_machine(tenant, identity)))


def ended(state: State, at: datetime) -> list[str]:
    """Places of what rests on something that has ended before `at`; each is told once."""
    found = []
    for key, _ in state.scan("ends/"):
        when, _, place = key.removeprefix("ends/").partition("/")
        if when >= stamp(at):
            break
        found.append((key, place))
    for key, _ in found:
        state.delete(key)
    return [place for _, place in found]


def queue(state: State, places: Iterable[str], cause: str, at: datetime) -> None:
    """Have these judged again, because of an event and as of its time."""
    places = list(places)
    if not places:
        return
    revision = (state.get("revision") or 0) + 1
    state.put("revision", revision)
    for place in places:
        key = f"again/{stamp(at)}/{place}"
        first = state.get(key)
        state.put(key, {"cause": first["cause"] if first else cause, "revision": revision})


def take(state: State, limit: int) -> list[Due]:
    """The next of the queue, at most `limit`: each once, as of the last change that waits for it."""
    queued = [(key, *key.removeprefix("again/").partition("/")[::2], waiting) for key, waiting in state.scan("again/")]
    latest = {place: (when, waiting) for _, when, place, waiting in queued}
    found: dict[str, Due] = {}
    for key, _, place, _ in queued:
        if len(found) == limit and place not in found:
            break
        state.delete(key)
        entry = state.get(place)
        when, waiting = latest[place]
        if place not in found and entry is not None and entry["revision"] < waiting["revision"]:
            found[place] = Due(place, entry, waiting["cause"], parse_time(max(when, entry["judged"])))
            state.put(place, {**entry, "revision": state.get("revision")})
    return list(found.values())


def _machine(tenant: str, identity: str) -> str:
    """What the places of a machine's guests begin with; a name that stands for a machine may hold slashes."""
    return f"last/{tenant}/{quote(identity, safe=':')}/"


def _broken(proof: Proof) -> bool:
    """Do the bytes and the challenge decide that it proves nothing? Then no statement of a vendor can mend it.

    Evidence that brings the key of its signature cannot be mended; of other evidence the certificate may have been
    another's, and the right one come later.
    """
    tee = TEES.get(proof.claims.tee) if proof.claims is not None else None
    failed = {step.name for step in proof.steps if step.outcome is Outcome.FAILED}
    brought = tee is not None and tee.brings_key
    return bool(failed & {StepName.PARSE, StepName.FRESHNESS}) or (brought and StepName.SIGNATURE in failed)


def _concerns(entry: Mapping[str, Json], kind: str, about: str) -> bool:
    """May a vendor's statement change what was concluded? The entry of the TEE says so."""
    tee = TEES.get(entry["tee"] or "")
    if tee is None:
        return False
    crls = None if entry["crls"] is None else tuple(entry["crls"])
    return tee.concerns(Subject(family=entry["family"], platform=entry["platform"], crls=crls), kind, about)


def _guest(verdict: Mapping[str, Json]) -> str:
    """The guest that evidence speaks of, as correlation tells them apart."""
    return guest_of({**verdict["claims"], "instance": verdict["instance"], "hint": verdict["hint"]["name"]})


def _order(entry: Mapping[str, Json]) -> tuple[str, str]:
    return entry["event"]["time"], entry["event"]["id"]


def _unschedule(state: State, place: str, entry: Mapping[str, Json]) -> None:
    if entry["ends"] is not None:
        state.delete(f"ends/{entry['ends']}/{place}")


def _make_room(state: State, prefix: str, newest: str, old: datetime) -> None:
    """Never at the cost of a word that was told to be trusted still, unless there are too many even of those."""
    kept = dict(state.scan(prefix))
    last, now = max(map(_order, kept.values())), _order(kept[newest])[0]
    living = {place for place, entry in kept.items() if (entry["until"] or "") > now}
    others = sorted((place in living, _order(entry), place) for place, entry in kept.items() if place != newest)
    silent = [p for lives, order, p in others if not lives and parse_time(order[0]) < old and order != last]
    for place in silent + [p for _, _, p in others if p not in silent][: -(MAX_GUESTS - 1)]:
        forget(state, place)


def _bound_senders(state: State, names: str) -> None:
    places = [(_order(entry), place) for place, entry in state.scan(names)]
    for _, place in sorted(places)[:-MAX_SENDERS]:
        forget(state, place)


def _row(event: Event, verdict: Event, before: Mapping[str, Json] | None) -> dict[str, Json]:
    """What people see of a sender that has proved nothing yet."""
    data = verdict.data
    hint = data["hint"]
    steps = [reason for step in data["steps"] if step["outcome"] != Outcome.PASSED.value for reason in step["reasons"]]
    missing = [*(r for r in steps if r["remedy"]), *(r for r in data["reasons"] if r["remedy"])]
    unique = list({(r["code"], r["component"]): r for r in reversed(missing)}.values())[::-1]
    return {
        "tenant": event.tenant,
        "identity": f"hint:{hint['name']}",
        "hint": hint["name"],
        "source": event.source,
        "region": hint.get("region"),
        "workload": hint.get("workload"),
        "tee": data["tee"],
        "family": data["family"],
        "tier": "none",
        "genuine": data["genuine"],
        "fresh": data["fresh"],
        "since": before["row"]["since"] if before else stamp(event.time),
        "seen": stamp(event.time),
        "evidence": event.id,
        "verdict": verdict.id,
        "reasons": sorted({r["code"] for r in data["reasons"]}),
        "missing": [_short(r) for r in unique[:MAX_REASONS]],
        "simulated": bool(data["root"] and data["root"]["simulated"]),
    }


def _short(reason: Mapping[str, Json]) -> dict[str, Json]:
    """A reason with values of bounded length; a remedy may hold a whole URL."""
    return {
        key: str(value)[: 400 if key == "remedy" else 120] if isinstance(value, str | list | dict) else value
        for key, value in reason.items()
    }
