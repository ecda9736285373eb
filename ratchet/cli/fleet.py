"""Machines by what is known of them now, worst first, then by name; or one of them in full.

A machine is trusted only until TRUSTED UNTIL: without fresh proof its standing lapses to unverified.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Mapping

from ratchet.app.errors import Exit, Fault
from ratchet.app.home import home
from ratchet.app.output import at_least_one, plain, print_json, print_rows, reason_lines, shown, table
from ratchet.event import Json
from ratchet.ports import Reader
from ratchet.words import STANDING, because, standing, standing_in_full

EPILOG = """Examples: ratchet fleet --standing not-trusted
          ratchet fleet --limit 20 --after chip:38d1
          ratchet fleet node-3
Standing: trusted, degraded, not-trusted, unverified (AR4SI: affirming, warning, contraindicated, none)."""

TIERS = ("affirming", "warning", "contraindicated", "none")
"""As AR4SI has them."""

_MOST_SENDERS = 20
"""Senders that have proved nothing yet, of which the table says what is missing."""

_WORST_FIRST = ("contraindicated", "warning", "none", "affirming")

_CHOICES = {word.lower().replace(" ", "-"): tier for tier, word in STANDING.items()} | {tier: tier for tier in TIERS}
"""What --standing takes: the plain words, and AR4SI's."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("machine", nargs="?", help="one machine: its name, identity or a unique prefix")
    parser.add_argument("--standing", choices=_CHOICES, metavar="STANDING", help="only these: see below")
    parser.add_argument("--family", help="only these: snp/Milan, tdx/90c06f000000")
    parser.add_argument("--limit", type=at_least_one, default=100, metavar="N", help="at most so many (default 100)")
    parser.add_argument("--after", metavar="MACHINE", help="go on behind this one: its identity, from the page before")


def run(args: argparse.Namespace) -> int:
    """Show them."""
    reader = home(args).reader()
    if args.machine:
        one = reader.machine(args.machine) or _sender(reader, args.machine)
        if one is None:
            raise Fault(
                "no-machine", f"no machine is called {args.machine!r}", "`ratchet fleet` lists them", Exit.USAGE
            )
        if args.json:
            print_json(one)
        else:
            for key, value in one.items():
                if key in ("holds", "missing"):
                    continue
                if key != "guests":
                    print(f"{key:<14} {standing_in_full(str(value)) if key == 'tier' else shown(value)}")
            for why in because(one):
                print(f"{'why':<14} {why}")
            for line in reason_lines(one.get("missing") or ()):
                print(f"  {line}")
        return Exit.DONE
    tier = _CHOICES[args.standing] if args.standing else None
    rows, more = machines(reader, tier, args.family, args.limit, args.after)
    unproven = _unproven(reader, tier, args.family) if args.after is None else []
    if args.json:
        print_rows([*rows, *unproven])
        return Exit.DONE
    counts = reader.counts()
    if not sum(counts.get(tier, 0) for tier in TIERS):
        print("no machine has proved itself yet")
        if unproven:
            _show_unproven(unproven)
        elif counts.get("evidence"):
            print(f"{counts['evidence']} pieces of evidence came: see `ratchet search 'type:verdict*'`")
        return Exit.DONE
    print(
        table(
            (
                (
                    row["hint"],
                    standing(row["tier"]) + (" (simulated root)" if row["simulated"] else ""),
                    row["family"] or "-",
                    (row["trusted_until"] or "-")[:19],
                    row["region"] or "-",
                    "; ".join((*because(row), ", ".join(row["reasons"]))).removesuffix("; "),
                )
                for row in rows
            ),
            ("MACHINE", "STANDING", "FAMILY", "TRUSTED UNTIL", "REGION", "WHY"),
        )
    )
    print(f"\n{len(rows)} shown; in all " + ", ".join(f"{counts.get(t, 0)} {standing(t).lower()}" for t in TIERS))
    if more:
        words = [f"--standing {args.standing}"] * bool(args.standing) + [f"--family {args.family}"] * bool(args.family)
        words += [f"--limit {args.limit} --after {shlex.quote(str(rows[-1]['identity']))}"]
        print(f"{more} more: ratchet fleet {' '.join(words)}")
    if unproven:
        _show_unproven(unproven)
    return Exit.DONE


def _sender(reader: Reader, name: str) -> Mapping[str, Json] | None:
    return next((row for row in reader.senders() if name in (row["hint"], row["identity"])), None)


def _unproven(reader: Reader, tier: str | None, family: str | None) -> list[Mapping[str, Json]]:
    """Senders that have proved nothing yet: unverified, whatever they sent."""
    if tier not in (None, "none"):
        return []
    return [row for row in reader.senders() if family in (None, row["family"])]


def _show_unproven(rows: list[Mapping[str, Json]]) -> None:
    print(f"\n{standing('none')}: these have proved nothing yet")
    for row in rows[:_MOST_SENDERS]:
        print(f"\n{plain(row['hint'])}  {row['family'] or 'of no known family'}  last heard of {row['seen'][:19]}")
        print(f"  from {plain(row['source'])}")
        for line in reason_lines(row["missing"]):
            print(f"  {line}")
    if len(rows) > _MOST_SENDERS:
        print(f"\n{len(rows) - _MOST_SENDERS} more: ratchet fleet --json")


def machines(
    reader: Reader, tier: str | None, family: str | None, limit: int, after: str | None = None
) -> tuple[list[Mapping[str, Json]], int]:
    """One page of machines, worst standing first, then by name; and how many come behind it.

    Args:
        reader: the read side.
        tier, family: only these.
        limit: at most so many.
        after: identity of the last machine of the page before.

    Raises:
        Fault: no machine of that identity is on the list.
    """
    every: list[Mapping[str, Json]] = []
    for one in (tier,) if tier else _WORST_FIRST:
        every += sorted(_all(reader, one, family), key=lambda row: (str(row["hint"]), str(row["identity"])))
    begin = 0
    if after is not None:
        places = [i for i, row in enumerate(every) if str(row["identity"]).startswith(after)]
        if len(places) != 1:
            raise Fault("no-machine", f"--after: no machine here is {after!r}", "copy the identity whole", Exit.USAGE)
        begin = places[0] + 1
    return every[begin : begin + limit], max(0, len(every) - begin - limit)


def _all(reader: Reader, tier: str, family: str | None) -> Iterator[Mapping[str, Json]]:
    """Every machine of a standing, whatever a page of the read side holds."""
    after: str | None = None
    while True:
        page = reader.fleet(tier, family, after, 1000)
        yield from page.rows
        after = page.after
        if after is None:
            return
