"""Alerts, worst and newest first; acknowledge or resolve one.

What you say is a signed event on the log: what, when, and the user who runs this command stay.
"""

from __future__ import annotations

import argparse

from ratchet.app.errors import Exit
from ratchet.app.home import home
from ratchet.app.output import at_least_one, print_json, print_rows, short, table
from ratchet.words import simulated

EPILOG = """Examples: ratchet alerts --status open
          ratchet alerts --acknowledge 3f9c01ab --comment "INC-412"
          ratchet alerts --accept 3f9c01ab --as alice --key alice.key --comment "the vendor ordered it"
An alert is open, acknowledged or resolved; `ratchet explain ALERT` says why it is there."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--status", choices=("open", "acknowledged", "resolved"), help="only these")
    parser.add_argument("--limit", type=at_least_one, default=100, metavar="N", help="at most so many (default 100)")
    act = parser.add_mutually_exclusive_group()
    act.add_argument("--acknowledge", metavar="ALERT", help="say that somebody looks at it")
    act.add_argument("--resolve", metavar="ALERT", help="say that it is over")
    act.add_argument("--accept", metavar="ALERT", help="accept a firmware rollback, as an approver")
    parser.add_argument("--as", dest="name", metavar="NAME", help="with --accept: your name among the approvers")
    parser.add_argument("--key", metavar="PATH", help="with --accept: your signing key, PEM (default: keys/NAME.key)")
    parser.add_argument("--comment", default="", metavar="TEXT", help="kept with it")


def run(args: argparse.Namespace) -> int:
    """Show them, or decide one."""
    place = home(args)
    reader = place.reader()
    wanted = args.acknowledge or args.resolve or args.accept
    if wanted:
        from ratchet.app.decisions import accept_rollback, approver_key, follows, say_of_alert, whoami

        kind = "acknowledged" if args.acknowledge else "resolved" if args.resolve else "accepted"
        if args.accept:
            name = args.name or whoami()
            key = approver_key(place, name, args.key)
            said = accept_rollback(place, reader, wanted, name, key, args.comment)
        else:
            said = say_of_alert(place, reader, wanted, kind, args.comment)
        if args.json:
            print_json(said)
        else:
            print(f"{kind}: {said['alert']}; {follows(reader)}")
        return Exit.DONE
    rows = reader.alerts(args.status, None, args.limit).rows
    if args.json:
        print_rows(rows)
        return Exit.DONE
    print(
        table(
            (
                (short(r["alert"]), r["level"], r["status"], r["updated"][:19], r["rule"], r["title"] + simulated(r))
                for r in rows
            ),
            ("ALERT", "LEVEL", "STATUS", "UPDATED", "RULE", "WHAT"),
        )
        if rows
        else "no alerts"
    )
    return Exit.DONE
