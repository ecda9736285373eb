"""Machines by what is known of them now: worst first, or one of them whole.

Standing is affirming only until `trusted until`: without fresh proof it lapses to none.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from ratchet.cli.errors import Exit, Fault
from ratchet.cli.home import home
from ratchet.cli.output import at_least_one, print_json, print_rows, shown, table
from ratchet.event import Json
from ratchet.ports import Reader

EPILOG = """Examples: ratchet fleet --standing contraindicated
          ratchet fleet node-3"""

TIERS = ("affirming", "warning", "contraindicated", "none")
"""As AR4SI has them."""

_WORST_FIRST = ("contraindicated", "warning", "none", "affirming")


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("machine", nargs="?", help="one machine: its name, identity or a unique prefix")
    parser.add_argument("--standing", choices=TIERS, help="only these")
    parser.add_argument("--family", help="only these: snp/Milan, tdx/90c06f000000")
    parser.add_argument("--limit", type=at_least_one, default=100, metavar="N", help="at most so many (default 100)")


def run(args: argparse.Namespace) -> int:
    """Show them."""
    reader = home(args).reader()
    if args.machine:
        one = reader.machine(args.machine)
        if one is None:
            raise Fault(
                "no-machine", f"no machine is called {args.machine!r}", "`ratchet fleet` lists them", Exit.USAGE
            )
        if args.json:
            print_json(one)
        else:
            for key, value in one.items():
                if key != "guests":
                    print(f"{key:<14} {shown(value)}")
        return Exit.DONE
    rows = machines(reader, args.standing, args.family, args.limit)
    if args.json:
        print_rows(rows)
        return Exit.DONE
    counts = reader.counts()
    if not sum(counts.get(tier, 0) for tier in TIERS):
        print("no machine has proved itself yet")
        if counts.get("evidence"):
            print(f"{counts['evidence']} pieces of evidence came: see `ratchet search 'type:verdict*'`")
        return Exit.DONE
    print(
        table(
            (
                (
                    row["hint"],
                    row["tier"] + (" (simulated root)" if row["simulated"] else ""),
                    row["family"] or "-",
                    (row["trusted_until"] or "-")[:19],
                    row["region"] or "-",
                    ", ".join(row["reasons"]),
                )
                for row in rows
            ),
            ("MACHINE", "STANDING", "FAMILY", "TRUSTED UNTIL", "REGION", "WHY"),
        )
    )
    print(f"\n{len(rows)} shown; in all " + ", ".join(f"{counts.get(t, 0)} {t}" for t in TIERS))
    return Exit.DONE


def machines(reader: Reader, standing: str | None, family: str | None, limit: int) -> list[Mapping[str, Json]]:
    """Machines, worst standing first, then by name."""
    found: list[Mapping[str, Json]] = []
    for tier in (standing,) if standing else _WORST_FIRST:
        if len(found) < limit:
            found += sorted(reader.fleet(tier, family, None, limit - len(found)).rows, key=lambda row: str(row["hint"]))
    return found
