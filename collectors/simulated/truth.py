"""What is true of a scenario: every fact that must be reported, and no other may be.

Worked out from the plan alone, with none of the pipeline's code: were the two to share an error, no comparison would
find it. Only the limits of two rules (rules/evidence/machine-silent.yml and failure-burst.yml) are said here again, and
a test holds them against the files.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from collectors.simulated.delivery import Fact
from collectors.simulated.fleet import Machine, histories, revocations
from collectors.simulated.intel import Level, Tcb
from collectors.simulated.plan import REFUSED, Piece, plan
from collectors.simulated.scenario import Scenario, SnpFirmware, SnpGroup

SETTLING_TICKS = 4
"""Ticks after the last delivery: feedback edges take a round each (design: changes to verify, receipts to roll-out)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the rules that count and wait go by.

    Attributes:
        silent_after: without proof for longer, a machine is silent.
        trusted_for: for how long the policy lets proof count. As long, a machine keeps its name, and its evidence is
            judged again when what it is judged by changes.
        burst_senders: so many senders of one region, refused within `burst_window`, are a burst.
    """

    silent_after: timedelta = timedelta(hours=12)
    trusted_for: timedelta = timedelta(hours=12)
    burst_senders: int = 5
    burst_window: timedelta = timedelta(minutes=30)


SHIPPED = Limits()
"""As in rules/."""


def truth(scenario: Scenario, limits: Limits = SHIPPED) -> frozenset[Fact]:
    """Everything that must be reported of a scenario."""
    pieces = [one for one in plan(scenario) if isinstance(one, Piece)]
    revoked = {name: at for at, name in reversed(revocations(scenario))}
    proofs: dict[str, list[Piece]] = defaultdict(list)
    refused: list[Piece] = []
    facts: set[Fact] = set()
    for piece in pieces:
        name = piece.machine.name
        gone = name in revoked and piece.time >= revoked[name]
        if piece.how in REFUSED:
            facts.add(Fact("evidence-failed", name))
            refused.append(piece)
        elif piece.how == "replayed":
            facts.add(Fact("evidence-replayed", name))
        elif piece.how == "unendorsed":
            facts.add(Fact("endorsement-missing", name))
        elif piece.how == "foreign":
            facts.add(Fact(_recognised(piece, proofs, limits), piece.sender))
            facts.update(Fact(fact.rule, piece.sender) for fact in _of_foreign(scenario, piece, limits))
        elif piece.how == "unchallenged":
            # A revoked certificate is told of whoever sends it; else it is only said that nobody knows its age.
            facts.add(Fact("certificate-revoked" if gone else "evidence-age-unknown", name))
            if gone:
                refused.append(piece)
        elif gone:
            facts.add(Fact("certificate-revoked", name))
            refused.append(piece)
        else:
            proofs[name].append(piece)
    published = histories(scenario)
    # What it proved last is judged again when the list comes that names its certificate.
    facts.update(Fact("certificate-revoked", name) for name in revoked if proofs.get(name))
    for sent in proofs.values():
        facts.update(_of_proofs(scenario, sent, published))
        for piece, when in _judged_again(scenario, sent, published, limits.trusted_for):
            if _outdated(scenario, piece, when, published):
                facts.add(Fact("tcb-out-of-date", piece.machine.name))
    facts.update(Fact("machine-silent", name) for name in _silent(scenario, proofs, limits))
    facts.update(Fact("failure-burst", f"region:{region}") for region in _bursts(refused, limits))
    return frozenset(facts)


def _recognised(piece: Piece, proofs: Mapping[str, list[Piece]], limits: Limits) -> str:
    """The rule on a foreign machine: its name is another's where that was seen within the time that a proof counts."""
    seen = [proof.time for proof in proofs.get(piece.sender, ())]
    return "name-moved" if seen and piece.time - seen[-1] <= limits.trusted_for else "machine-unknown"


def _of_foreign(scenario: Scenario, piece: Piece, limits: Limits) -> Iterator[Fact]:
    """What the one piece of a foreign machine shows of it: now, and judged again when Intel publishes."""
    published = histories(scenario)
    yield from _of_proofs(scenario, [piece], published)
    for _, when in _judged_again(scenario, [piece], published, limits.trusted_for):
        if _outdated(scenario, piece, when, published):
            yield Fact("tcb-out-of-date", piece.sender)


def ticks(scenario: Scenario) -> Iterator[datetime]:
    """When the clock ticks, from the start until everything has settled."""
    at = scenario.start
    while at <= scenario.end + SETTLING_TICKS * scenario.tick:
        yield at
        at += scenario.tick


def _of_proofs(
    scenario: Scenario, sent: list[Piece], published: Mapping[str, tuple[tuple[datetime, tuple[Level, ...]], ...]]
) -> Iterator[Fact]:
    """What genuine evidence of one machine shows, piece by piece."""
    highest: dict[str, int] = {}
    for piece in sent:
        name, group = piece.machine.name, piece.machine.group
        if piece.release not in scenario.workloads[group.runs]:
            yield Fact("measurement-unknown", name)
        if piece.how == "debug":
            yield Fact("debug-enabled", name)
        if isinstance(piece.firmware, SnpFirmware):
            for component, svn in piece.firmware.model_dump().items():
                if svn < highest.get(component, 0):
                    yield Fact("firmware-rolled-back", name)
                highest[component] = max(svn, highest.get(component, 0))
        elif out_of_date(scenario, piece.machine, piece.firmware, piece.time, published):
            yield Fact("tcb-out-of-date", name)


def _judged_again(
    scenario: Scenario,
    sent: Iterable[Piece],
    published: Mapping[str, tuple[tuple[datetime, tuple[Level, ...]], ...]],
    trusted_for: timedelta,
) -> Iterator[tuple[Piece, datetime]]:
    """The latest piece of each guest of a machine that each of Intel's publications finds, while it counts.

    A document is applied once all that came by the same tick is there: what is replaced by then is not judged by it.
    """
    pieces = list(sent)
    if not pieces or isinstance(pieces[0].machine.group, SnpGroup):
        return
    gone = next((at for at, name in revocations(scenario) if name == pieces[0].chip), scenario.end)
    for when, _ in published[pieces[0].machine.group.fmspc][1:]:
        applied = next(tick for tick in ticks(scenario) if tick >= when)
        if applied >= gone:
            return  # a machine whose certificate is revoked is that, and nothing else
        latest = {(piece.release, piece.how == "debug"): piece for piece in pieces if piece.time <= applied}
        for piece in latest.values():
            if piece.time < when < piece.time + trusted_for:
                yield piece, when


def _outdated(
    scenario: Scenario,
    piece: Piece,
    when: datetime,
    published: Mapping[str, tuple[tuple[datetime, tuple[Level, ...]], ...]],
) -> bool:
    """Whether a piece shows, judged at another time than its own, firmware that is out of date."""
    return isinstance(piece.firmware, Tcb) and out_of_date(scenario, piece.machine, piece.firmware, when, published)


def out_of_date(
    scenario: Scenario,
    machine: Machine,
    tcb: Tcb,
    at: datetime,
    published: Mapping[str, tuple[tuple[datetime, tuple[Level, ...]], ...]],
) -> bool:
    """Whether an Intel machine lacks something of what Intel asks by then."""
    group = machine.group
    if isinstance(group, SnpGroup):
        return False
    levels = [levels for when, levels in published[group.fmspc] if when <= at][-1]
    newest_qe = max(
        g.firmware.qe for g in scenario.machines.values() if not isinstance(g, SnpGroup) and g.tee == group.tee
    )
    return not levels[0].met_by(tcb, group.tee) or tcb.qe < newest_qe


def _silent(scenario: Scenario, proofs: Mapping[str, list[Piece]], limits: Limits) -> Iterator[str]:
    """Machines of which some tick finds the latest proof too old."""
    all_ticks = list(ticks(scenario))
    for name, sent in proofs.items():
        times = [piece.time for piece in sent]
        for last, following in zip(times, [*times[1:], all_ticks[-1] + timedelta(seconds=1)], strict=True):
            limit = last + limits.silent_after
            if limit < following and any(limit < tick < following for tick in all_ticks):
                yield name
                break


def _bursts(refused: Iterable[Piece], limits: Limits) -> Iterator[str]:
    """Regions with enough refused senders in one window."""
    by_region: dict[str, list[Piece]] = defaultdict(list)
    for piece in sorted(refused, key=lambda one: one.time):
        by_region[piece.machine.region].append(piece)
    for region, pieces in by_region.items():
        for last in pieces:
            begin = last.time - limits.burst_window
            if len({p.machine.name for p in pieces if begin < p.time <= last.time}) >= limits.burst_senders:
                yield region
                break


_WORSE = ("affirming", "none", "warning", "contraindicated")

BAD_COUNTS = timedelta(hours=24)
"""For how long a guest that says no end of its own (it is contraindicated) counts beside other guests."""


@dataclass(frozen=True, slots=True)
class _Word:
    """What one guest's latest evidence makes of it, and until when that counts."""

    at: datetime
    tier: str
    until: datetime


def tiers(scenario: Scenario, trusted_for: timedelta) -> dict[str, str]:
    """How every machine that ever proved itself must stand when all has settled.

    That is the worst of its live guests. Nobody alive, the word that counted longest decides: what was bad stays bad
    and what was good is none. A guest that is debugged is another one than the one beside it. A machine whose firmware
    went back, and has not come back, is degraded; one whose certificate is revoked is not trusted.

    Args:
        scenario: whose machines.
        trusted_for: how long the policy lets proof count.
    """
    end = list(ticks(scenario))[-1]
    revoked = {name: at for at, name in reversed(revocations(scenario))}
    published = histories(scenario)
    words: dict[str, dict[tuple[str, bool], _Word]] = defaultdict(dict)
    proofs: dict[str, list[Piece]] = defaultdict(list)
    foreign: set[str] = set()
    for piece in plan(scenario):
        if isinstance(piece, Piece) and piece.how == "foreign":
            foreign.add(piece.sender)
        if not isinstance(piece, Piece) or piece.how not in ("honest", "debug"):
            continue
        name = piece.machine.name
        if name in revoked and piece.time >= revoked[name]:
            continue
        tier = _tier(scenario, piece, published)
        until = piece.time + (BAD_COUNTS if tier == "contraindicated" else trusted_for)
        words[name][piece.release, piece.how == "debug"] = _Word(piece.time, tier, until)
        proofs[name].append(piece)
    for name, sent in proofs.items():
        for piece, when in _judged_again(scenario, sent, published, trusted_for):
            guest = piece.release, piece.how == "debug"
            word = words[name][guest]
            if word.at == piece.time and _outdated(scenario, piece, when, published):
                worse = max(word.tier, "warning", key=_WORSE.index)
                words[name][guest] = _Word(word.at, worse, word.until)
    found = {f"{name} (foreign)": "contraindicated" for name in foreign}
    for name, guests in words.items():
        last = max(guests.values(), key=lambda word: word.until)
        live = [word.tier for word in guests.values() if word.until > end]
        tier = max(live, key=_WORSE.index, default="contraindicated" if last.tier == "contraindicated" else "none")
        if tier == "affirming" and _fallen(proofs[name]):
            tier = "warning"
        found[name] = "contraindicated" if name in revoked else tier
    return found


def _fallen(sent: Iterable[Piece]) -> bool:
    """Whether the firmware of a machine is below a version that it proved, by its latest proof."""
    highest: dict[str, int] = {}
    below: set[str] = set()
    for piece in sent:
        if isinstance(piece.firmware, SnpFirmware):
            for component, svn in piece.firmware.model_dump().items():
                highest[component] = max(svn, highest.get(component, 0))
                (below.add if svn < highest[component] else below.discard)(component)
    return bool(below)


def _tier(
    scenario: Scenario, piece: Piece, published: Mapping[str, tuple[tuple[datetime, tuple[Level, ...]], ...]]
) -> str:
    facts = {fact.rule for fact in _of_proofs(scenario, [piece], published)}
    if "debug-enabled" in facts:
        return "contraindicated"
    return "warning" if facts else "affirming"
