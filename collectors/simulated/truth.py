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
from collectors.simulated.model import BaseScenario, How
from collectors.simulated.plan import plan
from collectors.simulated.registry import KINDS
from collectors.simulated.spec import Judge, Piece

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


def truth(scenario: BaseScenario, limits: Limits = SHIPPED) -> frozenset[Fact]:
    """Everything that must be reported of a scenario."""
    known = _Known(scenario, limits)
    proofs: dict[str, list[Piece]] = defaultdict(list)
    refused: list[Piece] = []
    facts: set[Fact] = set()
    for piece in known.pieces:
        name = piece.machine.name
        gone = name in known.revoked and piece.time >= known.revoked[name]
        if piece.how == "foreign":
            facts.add(Fact(_recognised(piece, proofs, limits), piece.sender))
            facts.update(Fact(fact.rule, piece.sender) for fact in known.of_machine([piece]))
        elif piece.how not in _PROOFS and (piece.how != "unchallenged" or not gone):
            facts.update(Fact(rule, name) for rule in piece.rules)
            if piece.refused:
                refused.append(piece)
        elif gone:
            # A revoked certificate is told of whoever sends it, challenged or not.
            facts.add(Fact("certificate-revoked", name))
            refused.append(piece)
        else:
            proofs[name].append(piece)
    # What it proved last is judged again when the list comes that names its certificate.
    facts.update(Fact("certificate-revoked", name) for name in known.revoked if proofs.get(name))
    for sent in proofs.values():
        facts.update(known.of_machine(sent))
    facts.update(Fact("machine-silent", name) for name in _silent(scenario, proofs, limits))
    facts.update(Fact("failure-burst", f"region:{region}") for region in _bursts(refused, limits))
    return frozenset(facts)


_PROOFS: frozenset[How] = frozenset({"honest", "debug"})
"""What proves something of the machine that it names, good or bad."""


def _recognised(piece: Piece, proofs: Mapping[str, list[Piece]], limits: Limits) -> str:
    """The rule on a foreign machine: its name is another's where that was seen within the time that a proof counts."""
    seen = [proof.time for proof in proofs.get(piece.sender, ())]
    return "name-moved" if seen and piece.time - seen[-1] <= limits.trusted_for else "machine-unknown"


def ticks(scenario: BaseScenario) -> Iterator[datetime]:
    """When the clock ticks, from the start until everything has settled."""
    at = scenario.start
    while at <= scenario.end + SETTLING_TICKS * scenario.tick:
        yield at
        at += scenario.tick


class _Known:
    """What is planned, and what the vendors say of it.

    Attributes:
        pieces: all evidence, in order of time.
        revoked: machine -> since when its certificate is revoked.
    """

    def __init__(self, scenario: BaseScenario, limits: Limits) -> None:
        self._scenario, self._limits = scenario, limits
        self._judges = {g.tee: KINDS[g.tee].judge(scenario) for g in scenario.machines.values()}
        self.pieces = [one for one in plan(scenario) if isinstance(one, Piece)]
        self.revoked: dict[str, datetime] = {}
        for name in scenario.names:
            since = self._judges[scenario.group_of(name).tee].revoked(name)
            if since is not None:
                self.revoked[name] = since

    def judge(self, piece: Piece) -> Judge:
        """Who knows what must be reported of the firmware that it shows."""
        return self._judges[piece.machine.group.tee]

    def of_machine(self, sent: list[Piece]) -> Iterator[Fact]:
        """What genuine evidence of one machine shows, piece by piece, and when it is judged again."""
        yield from self.shown(sent)
        for piece, when in self.judged_again(sent):
            if self.judge(piece).outdated(piece, when):
                yield Fact("tcb-out-of-date", piece.machine.name)

    def shown(self, sent: Iterable[Piece]) -> Iterator[Fact]:
        """What genuine evidence of one machine shows when it comes, piece by piece."""
        highest: dict[str, int] = {}
        for piece in sent:
            name, group, judge = piece.machine.name, piece.machine.group, self.judge(piece)
            if piece.release not in self._scenario.workloads[group.runs]:
                yield Fact("measurement-unknown", name)
            if piece.debug:
                yield from (Fact(rule, name) for rule in piece.rules)
            for component, svn in judge.marks(piece.firmware).items():
                if svn < highest.get(component, 0):
                    yield Fact("firmware-rolled-back", name)
                highest[component] = max(svn, highest.get(component, 0))
            if judge.outdated(piece, piece.time):
                yield Fact("tcb-out-of-date", name)

    def judged_again(self, sent: Iterable[Piece]) -> Iterator[tuple[Piece, datetime]]:
        """The latest piece of each guest of a machine that each of its vendor's publications finds, while it counts.

        A document is applied once all that came by the same tick is there: what is replaced by then is not judged by
        it.
        """
        pieces = list(sent)
        if not pieces:
            return
        gone = self.revoked.get(pieces[0].chip, self._scenario.end)
        for when in self.judge(pieces[0]).publications(pieces[0].machine.group):
            applied = next(tick for tick in ticks(self._scenario) if tick >= when)
            if applied >= gone:
                return  # a machine whose certificate is revoked is that, and nothing else
            latest = {(piece.release, piece.debug): piece for piece in pieces if piece.time <= applied}
            for piece in latest.values():
                if piece.time < when < self.trusted_until(piece):
                    yield piece, when

    def trusted_until(self, piece: Piece) -> datetime:
        """Until when a genuine piece lets its machine be trusted."""
        return self.judge(piece).trusted_until(piece, self._limits.trusted_for)


def _silent(scenario: BaseScenario, proofs: Mapping[str, list[Piece]], limits: Limits) -> Iterator[str]:
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


def tiers(scenario: BaseScenario, trusted_for: timedelta) -> dict[str, str]:
    """How every machine that ever proved itself must stand when all has settled.

    That is the worst of its live guests. Nobody alive, the word that counted longest decides: what was bad stays bad
    and what was good is none. A guest that is debugged is another one than the one beside it. A machine whose firmware
    went back, and has not come back, is degraded; one whose certificate is revoked is not trusted.

    Args:
        scenario: whose machines.
        trusted_for: how long the policy lets proof count.
    """
    end = list(ticks(scenario))[-1]
    known = _Known(scenario, Limits(trusted_for=trusted_for))
    words: dict[str, dict[tuple[str, bool], _Word]] = defaultdict(dict)
    proofs: dict[str, list[Piece]] = defaultdict(list)
    foreign: set[str] = set()
    for piece in known.pieces:
        if piece.how == "foreign":
            foreign.add(piece.sender)
        if piece.how not in _PROOFS:
            continue
        name = piece.machine.name
        if name in known.revoked and piece.time >= known.revoked[name]:
            continue
        tier = _tier(known, piece)
        until = piece.time + BAD_COUNTS if tier == "contraindicated" else known.trusted_until(piece)
        words[name][piece.release, piece.debug] = _Word(piece.time, tier, until)
        proofs[name].append(piece)
    for name, sent in proofs.items():
        for piece, when in known.judged_again(sent):
            guest = piece.release, piece.debug
            word = words[name][guest]
            if word.at == piece.time and known.judge(piece).outdated(piece, when):
                worse = max(word.tier, "warning", key=_WORSE.index)
                words[name][guest] = _Word(word.at, worse, word.until)
    found = {f"{name} (foreign)": "contraindicated" for name in foreign}
    for name, guests in words.items():
        last = max(guests.values(), key=lambda word: word.until)
        live = [word.tier for word in guests.values() if word.until > end]
        tier = max(live, key=_WORSE.index, default="contraindicated" if last.tier == "contraindicated" else "none")
        if tier == "affirming" and _fallen(known, proofs[name]):
            tier = "warning"
        found[name] = "contraindicated" if name in known.revoked else tier
    return found


def _fallen(known: _Known, sent: Iterable[Piece]) -> bool:
    """Whether the firmware of a machine is below a version that it proved, by its latest proof."""
    highest: dict[str, int] = {}
    below: set[str] = set()
    for piece in sent:
        for component, svn in known.judge(piece).marks(piece.firmware).items():
            highest[component] = max(svn, highest.get(component, 0))
            (below.add if svn < highest[component] else below.discard)(component)
    return bool(below)


def _tier(known: _Known, piece: Piece) -> str:
    facts = {fact.rule for fact in known.shown([piece])}
    if "debug-enabled" in facts:
        return "contraindicated"
    return "warning" if facts else "affirming"
