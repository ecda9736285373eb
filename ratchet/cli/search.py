"""Search everything on the log: newest first.

QUERY is made of field:value, AND, OR, NOT, parentheses, ranges and words; docs/search.md has all of it.
"""

from __future__ import annotations

import argparse

from ratchet.app.errors import Exit, Fault
from ratchet.app.home import home
from ratchet.app.output import at_least_one, plain, print_json, short
from ratchet.event import stamp
from ratchet.words import summary

EPILOG = """Examples: ratchet search "type:alert* AND level:high"
          ratchet search "machine:node-3 AND NOT tier:affirming" """


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("query", help="what to look for")
    parser.add_argument("--limit", type=at_least_one, default=50, metavar="N", help="at most so many (default 50)")
    parser.add_argument(
        "--seconds", type=at_least_one, default=60, metavar="S", help="stop after so many seconds (default 60)"
    )


def run(args: argparse.Namespace) -> int:
    """Search."""
    from ratchet.query.language import BadQuery, TooCostly

    reader = home(args).reader()
    found = 0
    try:
        for record in reader.search(args.query, args.limit, args.seconds):
            found += 1
            if args.json:
                print_json(record.event.envelope())
            else:
                e = record.event
                said = plain(summary(e) or e.subject)
                print(f"{stamp(e.time)[:19]}  {short(e.id)}  {e.type:<24} {said}")
    except TooCostly as costly:
        raise Fault("too-costly", f"{args.query!r}: {costly}", "ask for less, or give it more --seconds") from costly
    except BadQuery as bad:
        raise Fault(
            "query", f"{args.query!r} is no query: {bad}", "docs/search.md has the language", Exit.USAGE
        ) from bad
    if not args.json:
        print(f"{found} found" + (f" (at most {args.limit} shown)" if found == args.limit else ""))
    return Exit.DONE
