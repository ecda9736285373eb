"""Changes of floors that wait or have gone; one of them whole, with every machine that it would refuse and why."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from ratchet.app.errors import Exit
from ratchet.app.floor_text import summary
from ratchet.app.home import home
from ratchet.app.output import print_json, print_rows, short, table
from ratchet.app.proposal_text import describe, explanation, find
from ratchet.event import Json
from ratchet.rollout.advance import State

EPILOG = """Examples: ratchet proposals --state proposed
          ratchet proposals 7c2e01ab"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("proposal", nargs="?", help="one proposal: its id or the beginning of it")
    parser.add_argument("--state", choices=[str(state) for state in State], help="only those in this state")


def run(args: argparse.Namespace) -> int:
    """Show them."""
    rows = home(args).reader().proposals(args.state)
    if args.proposal:
        row = find(rows, args.proposal)
        if args.json:
            print_json(row)
        else:
            print(describe(row))
        return Exit.DONE
    if args.json:
        print_rows(rows)
        return Exit.DONE
    print(
        table(
            (
                (
                    short(row["proposal"]["proposal"]),
                    row["state"],
                    row["proposal"]["family"],
                    _at_least(row["proposal"]),
                    len(row["proposal"]["impact"]["refused"]),
                    explanation(row),
                )
                for row in rows
            ),
            ("PROPOSAL", "STATE", "FAMILY", "AT LEAST", "REFUSES", "WHY"),
        )
        if rows
        else "no proposals"
    )
    return Exit.DONE


def _at_least(said: Mapping[str, Json]) -> str:
    """What is asked, in a few words."""
    if said["floor"] is not None:
        return summary(said["floor"])
    return f"{len(said['diff'])} differences" if len(said["diff"]) != 1 else str(said["diff"][0])
