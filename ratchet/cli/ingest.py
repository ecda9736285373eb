"""Take evidence and vendor documents from files, folders (with all below them) or standard input (`-`).

What a file is, is seen from its bytes. A vendor document is told from evidence by its form; what is neither goes to the
dead letters, with its bytes, once the pipeline reads it. The delivery id is the file's name and the hash of its bytes:
taking the same file twice changes nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from ratchet.app.errors import Exit, Fault
from ratchet.app.home import home
from ratchet.app.output import print_json, progress

EPILOG = """Examples: ratchet ingest quotes/ tcb.json
          curl -s https://…/tcb | ratchet ingest --document -
Exit: 0 all taken, 3 some were not (each is named), 6 a file is not there or cannot be read."""

SOURCE = "/collectors/files"


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file, a folder, or - for standard input")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--evidence", action="store_true", help="all of it is evidence")
    what.add_argument("--document", action="store_true", help="all of it is vendors' documents")
    parser.add_argument("--name", help="the machine that the evidence comes from (default: the file's name)")
    parser.add_argument("--region", help="where that machine is")
    parser.add_argument("--workload", help="what runs there")
    parser.add_argument(
        "--run", action="store_true", help="run the pipeline on it at once, then end (not while `up` runs)"
    )


def run(args: argparse.Namespace) -> int:
    """Take them."""
    from collectors.delivery import Delivery, Rejected, accept, accept_document
    from ratchet.app.decisions import awake
    from ratchet.event import digest
    from streams.sqlite import SqliteBlobs, SqliteLog

    place = home(args)
    tenant = place.config.tenant
    taken = repeated = 0
    refused: list[dict[str, str]] = []
    unread = False
    files = list(_files(args.paths))
    with closing(place.database()) as database:
        log, blobs = SqliteLog(database), SqliteBlobs(database)
        for name in progress(files, len(files), "ingesting"):
            try:
                raw = _read(name)
            except OSError as error:
                unread = True
                refused.append({"file": name, "code": "unreadable", "why": error.strerror or str(error)})
                continue
            delivery = f"{'stdin' if name == '-' else name} {digest(raw)}"[-256:]
            now = datetime.now(UTC)
            try:
                if args.evidence or (not args.document and _is_evidence(raw)):
                    one = Delivery(
                        id=delivery,
                        name=args.name or _title(name)[:128],
                        raw=raw,
                        region=args.region,
                        workload=args.workload,
                    )
                    event, new = accept(one, log, blobs, SOURCE, tenant, now)
                else:
                    event, new = accept_document(raw, _title(name), name, delivery, log, blobs, SOURCE, tenant, now)
            except Rejected as rejected:
                refused.append({"file": name, "code": rejected.code, "why": rejected.why})
                continue
            taken, repeated = taken + new, repeated + (not new)
            if args.json:
                print_json({"file": name, "id": event.id, "type": event.type, "repeated": not new})
    for one_refused in refused:
        if args.json:
            print_json(one_refused)
        else:
            print(f"not taken: {one_refused['file']}: {one_refused['why']} ({one_refused['code']})", file=sys.stderr)
    if args.run:
        from ratchet.app.running import drain

        drain(place)
    if not args.json:
        print(f"{taken} taken, {repeated} known already, {len(refused)} not taken, in {place.path}")
        if taken and not args.run and not awake(place.reader()):
            print("nothing runs there that reads them: `ratchet up`, or --run")
    if unread:
        return Exit.UNREACHABLE
    return Exit.UNSUPPORTED if refused else Exit.DONE


def _is_evidence(raw: bytes) -> bool:
    """Vendors' documents are JSON, PEM or DER; all else is evidence, if perhaps of no known format."""
    return not raw.lstrip()[:10].startswith((b"{", b"[", b"-----BEGIN", b"\x30"))


def _title(name: str) -> str:
    """What a machine or document is called when nobody says: the file's name."""
    return "stdin" if name == "-" else Path(name).name


def _files(paths: list[str]) -> Iterator[str]:
    """The files that the paths mean, those in folders in order of their names.

    Raises:
        Fault: one is not there: nothing was taken.
    """
    for given in paths:
        path = Path(given)
        if given == "-":
            yield given
        elif path.is_dir():
            yield from (str(inside) for inside in sorted(path.rglob("*")) if inside.is_file())
        elif path.exists():
            yield given
        else:
            raise Fault("unreadable", f"there is no {given}", "nothing was taken: name what is there", Exit.UNREACHABLE)


def _read(name: str) -> bytes:
    from collectors.delivery import MAX_DOCUMENT

    if name == "-":
        return sys.stdin.buffer.read(MAX_DOCUMENT + 1)
    with Path(name).open("rb") as opened:
        return opened.read(MAX_DOCUMENT + 1)
