"""Minimum versions in force, and where each comes from: vendor document and place, or who reviewed what."""

from __future__ import annotations

import argparse

from ratchet.app.errors import Exit
from ratchet.app.floor_text import provenance, summary
from ratchet.app.home import home
from ratchet.app.output import print_rows, table

EPILOG = """Example: ratchet floors --json | jq .floor.provenance"""


def configure(parser: argparse.ArgumentParser) -> None:
    """It has no options of its own."""


def run(args: argparse.Namespace) -> int:
    """Show them."""
    reader = home(args).reader()
    until = {row["proposal"]["proposal"]: row["expires"] for row in reader.proposals()}
    rows = [{**row, "until": until.get(row["proposal"])} for row in reader.floors()]
    if args.json:
        print_rows(rows)
        return Exit.DONE
    print(
        table(
            (
                (
                    row["floor"]["family"],
                    summary(row["floor"]) + (f" (LOOSENED until {row['until'][:19]}Z)" if row["until"] else ""),
                    row["since"][:19],
                    provenance(row["floor"]["provenance"]),
                    ", ".join(f"{store}@{revision[:8]}" for store, revision in row["stores"].items()) or "-",
                )
                for row in rows
            ),
            ("FAMILY", "AT LEAST", "SINCE", "FROM", "ENFORCED BY"),
        )
        if rows
        else "no floor is in force yet"
    )
    return Exit.DONE
