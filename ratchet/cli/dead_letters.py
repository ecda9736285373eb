"""What could not even be an event or evidence: why, where from, and the bytes.

Nothing is thrown away: `--bytes ID` writes the raw bytes to standard output.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from ratchet.app.errors import Exit, Fault
from ratchet.app.home import home
from ratchet.app.output import at_least_one, begins, print_rows, short, table
from ratchet.event import BlobId, Json
from ratchet.ports import Reader

EPILOG = """Examples: ratchet dead-letters
          ratchet dead-letters --bytes 3f9c01ab > letter.bin"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--limit", type=at_least_one, default=100, metavar="N", help="at most so many (default 100)")
    parser.add_argument("--bytes", metavar="BLOB", help="write a letter's bytes: its blob's id, or the beginning of it")


def run(args: argparse.Namespace) -> int:
    """Show them."""
    reader = home(args).reader()
    if args.bytes:
        blobs = {row["blob"] for row in reader.dead_letters(None, 10_000).rows if row["blob"]}
        found = {blob for blob in blobs if begins(blob, args.bytes)} or {args.bytes}
        data = reader.blob(BlobId(found.pop())) if len(found) == 1 else None
        if data is None:
            raise Fault("no-blob", f"{args.bytes!r} does not name exactly one letter's bytes", "copy the whole id")
        sys.stdout.buffer.write(data)
        return Exit.DONE
    rows = reader.dead_letters(None, args.limit).rows
    if args.json:
        print_rows(rows)
        return Exit.DONE
    print(
        table(
            (
                (
                    r["time"][:19],
                    r["code"],
                    r["origin"],
                    name(reader, r),
                    r["size"],
                    short(r["blob"] or "-"),
                    r["detail"],
                )
                for r in rows
            ),
            ("TIME", "CODE", "FROM", "NAME", "BYTES", "BLOB", "WHY"),
        )
        if rows
        else "no dead letters"
    )
    return Exit.DONE


def name(reader: Reader, letter: Mapping[str, Json]) -> str:
    """What its sender called it: a document, a machine."""
    record = reader.event(letter["event"]) if letter["event"] else None
    data = record.event.data if record else {}
    return str(data.get("document") or data.get("hint", {}).get("name") or "-")
