"""Say that machines are yours: genuine evidence of any other is not recognised once first use enrols no more.

A machine is named by what its evidence proves: `chip:` (SNP), `ppid:` or `platform:` (Intel) and hex; or by its name or
a unique prefix, once it has sent genuine evidence. --list shows those that wait. --file takes a list made beforehand:

- plain: one machine a line, its identity and, behind it, its name; `#` begins a remark;
- CSV with a head line of `identity` and perhaps `name` and `comment`;
- JSON: objects with the same keys, one a line or in a list.

Where a line names no machine, nothing is written. What is said again changes nothing.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from ratchet.app.errors import Exit, Fault
from ratchet.app.home import Home, home
from ratchet.app.output import plain, print_json, print_rows, table
from ratchet.event import Json
from ratchet.ports import Reader

EPILOG = """Examples: ratchet enrol node-3 --comment "rack 4, see ASSET-77"
          ratchet enrol --file machines.csv
          ratchet enrol --list
Exit: 0 written or shown, 2 something is no machine: nothing was written, 6 the file cannot be read."""

MAX_FILE = 16 * 1024 * 1024
"""Bytes: some 50,000 machines."""

_COMMENT = 500
"""Characters of a comment in a file that are kept."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("machines", nargs="*", metavar="MACHINE", help="an identity, a name, or a unique prefix")
    parser.add_argument("--file", metavar="FILE", help="a list of machines: plain, CSV or JSON")
    parser.add_argument("--list", action="store_true", help="show the machines that wait to be enrolled")
    parser.add_argument("--comment", default="", metavar="TEXT", help="kept with it")


def run(args: argparse.Namespace) -> int:
    """Put a decision for each on the log; all of them, or none where one is no machine."""
    from ratchet.app.decisions import follows, operate

    place = home(args)
    if args.list:
        return _show(place.reader(), args.json)
    wanted = [(*_known(place, machine), args.comment) for machine in args.machines]
    wanted += [(id, name, comment or args.comment) for id, name, comment in _listed(args.file)] if args.file else []
    if not wanted:
        raise Fault(
            "usage", "`ratchet enrol`: no machine is named", "`ratchet enrol --help` has an example", Exit.USAGE
        )
    for identity, name, comment in {one[0]: one for one in wanted}.values():
        data = {"identity": identity, "name": name, "comment": comment}
        event = operate(place, "enrolled", identity, data, place.config.tenant)
        if args.json:
            print_json(event.envelope())
        else:
            print(f"enrolled: {plain(name or identity)}" + (f" ({identity})" if name else ""))
    if not args.json:
        print(follows(place.reader()))
    return Exit.DONE


def _show(reader: Reader, as_json: bool) -> int:
    rows = reader.waiting()
    if as_json:
        print_rows(rows)
    elif not rows:
        print("no machine waits to be enrolled")
    else:
        cells = [
            (r["name"], r["family"], r["region"] or "-", str(r["since"])[:19], _why(r), r["identity"]) for r in rows
        ]
        print(table(cells, ("NAME", "FAMILY", "REGION", "SINCE", "WHY", "IDENTITY")))
        print(f"\n{len(rows)} shown; `ratchet enrol` with an identity or a name makes a machine yours")
    return Exit.DONE


def _why(row: Mapping[str, Json]) -> str:
    return "uses another machine's name" if row["recognition"] == "moved" else "first use enrols no more"


def _known(place: Home, machine: str) -> tuple[str, str | None]:
    """The identity, and the name that the machine goes by where it is known."""
    from ratchet.evidence.registry import is_identity

    reader = place.reader() if place.database_path.is_file() else None
    waiting = reader.waiting() if reader is not None else ()
    exact = [row for row in waiting if machine in (row["identity"], row["name"])]
    if len(exact) == 1 and machine == exact[0]["name"] and exact[0]["recognition"] == "moved":
        raise Fault(
            "no-machine",
            f"{machine!r} is the name of a machine that is yours, and another one uses it: {exact[0]['identity']}",
            "if that took its place, enrol it by its identity; else find out who sends under the name",
            Exit.USAGE,
        )
    if len(exact) == 1:
        return str(exact[0]["identity"]), str(exact[0]["name"])
    row = reader.machine(machine) if reader is not None else None
    if row is not None and is_identity(str(row["identity"])):
        return str(row["identity"]), str(row["hint"])
    if is_identity(machine):
        return machine, None
    raise Fault(
        "no-machine",
        f"{machine!r} is no identity, nor the name of exactly one machine",
        "`ratchet enrol --list` shows those that wait, `ratchet fleet` those that have sent genuine evidence",
        Exit.USAGE,
    )


def _listed(file: str) -> Iterator[tuple[str, str | None, str]]:
    from ratchet.evidence.registry import identity_forms, is_identity

    try:
        with Path(file).open("rb") as opened:
            text = opened.read(MAX_FILE + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise Fault("unreadable", f"{file}: {error}", "name a list of machines", Exit.UNREACHABLE) from error
    if len(text) > MAX_FILE:
        raise Fault("too-large", f"{file}: more than {MAX_FILE} bytes", "split it", Exit.USAGE)
    for number, row in _rows(file, text):
        identity, name, comment = row.get("identity"), row.get("name") or "", row.get("comment") or ""
        texts = isinstance(identity, str) and isinstance(name, str) and isinstance(comment, str)
        if not texts or not is_identity(str(identity).strip()) or len(name.strip()) > 128:
            raise Fault(
                "no-machine",
                f"{file}, line {number}: {plain(identity)[:80]!r} is no identity with a name",
                f"write an identity, then a name; kinds of identity: {identity_forms()}",
                Exit.USAGE,
            )
        yield str(identity).strip(), name.strip() or None, comment[:_COMMENT]


def _rows(file: str, text: str) -> Iterator[tuple[int, Mapping[str, Json]]]:
    """Machines with the numbers of their lines (in a JSON list: their places in it)."""
    lines = text.splitlines()
    begin = text.lstrip()[:1]
    try:
        if begin == "[":
            found = list(enumerate(json.loads(text), 1))
        elif begin == "{":
            found = [(number, json.loads(line)) for number, line in enumerate(lines, 1) if line.strip()]
        elif lines and "identity" in lines[0].lower().split(","):
            table = csv.DictReader(io.StringIO(text))
            found = [(table.line_num, row) for row in table]
        else:
            found = [(number, _plain(line)) for number, line in enumerate(lines, 1) if line.partition("#")[0].strip()]
    except (ValueError, RecursionError, csv.Error) as error:
        raise Fault("bad-file", f"{file}: {error}", "`ratchet enrol --help` has the forms", Exit.USAGE) from error
    if not found or not all(isinstance(row, dict) for _, row in found):
        raise Fault("bad-file", f"{file}: no list of machines", "`ratchet enrol --help` has the forms", Exit.USAGE)
    yield from found


def _plain(line: str) -> Mapping[str, Json]:
    identity, _, name = line.partition("#")[0].strip().partition(" ")
    return {"identity": identity, "name": name}
