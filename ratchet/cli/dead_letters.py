"""What could not even be an event or evidence: why, where from, and the bytes.

Nothing is thrown away: `--bytes ID` writes the raw bytes to standard output.
"""

from __future__ import annotations

import argparse
import sys

from ratchet.cli.errors import Exit, Fault
from ratchet.cli.home import home
from ratchet.cli.output import print_rows, short, table
from ratchet.event import BlobId

EPILOG = "Example: ratchet dead-letters --bytes 3f9c01ab… > letter.bin"


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many (default 100)")
    parser.add_argument("--bytes", metavar="BLOB", help="write this blob's bytes")


def run(args: argparse.Namespace) -> int:
    """Show them."""
    reader = home(args).reader()
    if args.bytes:
        data = reader.blob(BlobId(args.bytes))
        if data is None:
            raise Fault("no-blob", f"there are no bytes under {args.bytes!r}", "copy the whole id", Exit.USAGE)
        sys.stdout.buffer.write(data)
        return Exit.DONE
    rows = reader.dead_letters(None, args.limit).rows
    if args.json:
        print_rows(rows)
        return Exit.DONE
    print(
        table(
            (
                (r.get("time", "")[:19], r["code"], r["origin"], r["size"], short(r["blob"] or "-"), r["detail"])
                for r in rows
            ),
            ("TIME", "CODE", "FROM", "BYTES", "BLOB", "WHY"),
        )
        if rows
        else "no dead letters"
    )
    return Exit.DONE
