"""Machines by what is known of them now: worst first, or one of them whole.

Standing is affirming only until `trusted until`: without fresh proof it lapses to none.
"""

from __future__ import annotations

import argparse

from ratchet.cli.errors import Exit, Fault
from ratchet.cli.home import home
from ratchet.cli.output import plain, print_json, print_rows, table

EPILOG = "Example: ratchet fleet --standing contraindicated"


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("machine", nargs="?", help="one machine: its name, identity or a unique prefix")
    tiers = ("affirming", "warning", "contraindicated", "none")
    parser.add_argument("--standing", choices=tiers, help="only these")
    parser.add_argument("--family", help="only these: snp/Milan, tdx/90c06f000000")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many (default 100)")


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
                    print(f"{key:<14} {plain(value)}")
        return Exit.DONE
    page = reader.fleet(args.standing, args.family, None, args.limit)
    if args.json:
        print_rows(page.rows)
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
                for row in page.rows
            ),
            ("MACHINE", "STANDING", "FAMILY", "TRUSTED UNTIL", "REGION", "WHY"),
        )
    )
    counts = reader.counts()
    print(f"\n{len(page.rows)} shown; in all " + ", ".join(f"{counts.get(t, 0)} {t}" for t in TIERS))
    return Exit.DONE


TIERS = ("affirming", "warning", "contraindicated", "none")
