"""Follow alerts, verdicts and changes as they come, until interrupted."""

from __future__ import annotations

import argparse
import sys
import time

from ratchet.app.errors import Exit
from ratchet.app.home import home
from ratchet.app.output import plain, print_json
from ratchet.event import Event, stamp
from ratchet.words import summary

EPILOG = """Examples: ratchet watch
          ratchet watch --all --json | jq .data.tier"""

_QUIET = frozenset({"clock.ticked.v1", "signals.batched.v1", "evidence.received.v1", "collateral.known.v1"})


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--all", action="store_true", help="verdicts of healthy machines, evidence and ticks too")
    parser.add_argument("--from-start", action="store_true", help="begin with the oldest record")
    parser.add_argument("--once", action="store_true", help="stop at the end of the log")
    parser.add_argument("--every", type=float, default=0.5, metavar="SECONDS", help="how often to look (default 0.5)")


def run(args: argparse.Namespace) -> int:
    """Follow."""
    reader = home(args).reader()
    offset = 0 if args.from_start else reader.head()
    while True:
        records = reader.since(offset)
        for record in records:
            offset = record.offset
            if args.all or _speaks(record.event):
                if args.json:
                    print_json(record.event.envelope())
                else:
                    print(line(record.event))
        sys.stdout.flush()
        if getattr(sys.stdout, "gone", False):  # `ratchet watch | head`
            return Exit.DONE
        if not records:
            if args.once:
                return Exit.DONE
            time.sleep(max(0.05, args.every))


def _speaks(event: Event) -> bool:
    healthy = event.type == "verdict.reached.v1" and event.data["tier"] == "affirming"
    return event.type not in _QUIET and not healthy


def line(event: Event) -> str:
    """One event in one line."""
    return f"{stamp(event.time)[:19]}  {event.type:<22}  {plain(summary(event) or event.subject)}"
