"""Say that machines are yours: genuine evidence of any other is not recognised once the first day is over.

A machine is named by what its evidence proves: `chip:`, `ppid:` or `platform:` and hex; or by its name or a unique
prefix, once it has sent genuine evidence. --file takes a list made beforehand: one machine a line, its identity and,
behind it, its name; `#` begins a remark. What is said again changes nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from ratchet.cli.errors import Exit, Fault
from ratchet.cli.home import Home, home
from ratchet.cli.output import plain, print_json

EPILOG = """Examples: ratchet enrol node-3 --comment "rack 4, see ASSET-77"
          ratchet enrol --file machines.txt
Exit: 0 written, 2 something is no machine: nothing was written, 6 the file cannot be read."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("machines", nargs="*", metavar="MACHINE", help="an identity, a name, or a unique prefix")
    parser.add_argument("--file", metavar="FILE", help="a list of machines")
    parser.add_argument("--comment", default="", metavar="TEXT", help="kept with it")


def run(args: argparse.Namespace) -> int:
    """Put a decision for each on the log; all of them, or none where one is no machine."""
    from ratchet.cli.decisions import follows, operate

    place = home(args)
    wanted = [_known(place, machine) for machine in args.machines]
    wanted += list(_listed(args.file)) if args.file else []
    if not wanted:
        raise Fault(
            "usage", "`ratchet enrol`: no machine is named", "`ratchet enrol --help` has an example", Exit.USAGE
        )
    for identity, name in dict(wanted).items():
        data = {"identity": identity, "name": name, "comment": args.comment}
        event = operate(place, "enrolled", identity, data, place.config.tenant)
        if args.json:
            print_json(event.envelope())
        else:
            print(f"enrolled: {plain(name or identity)}" + (f" ({identity})" if name else ""))
    if not args.json:
        print(follows(place.reader()))
    return Exit.DONE


def _known(place: Home, machine: str) -> tuple[str, str | None]:
    """The identity, and the name that the machine goes by where it is known."""
    from ratchet.enrolment import is_identity

    row = place.reader().machine(machine) if place.database_path.is_file() else None
    if row is not None and is_identity(str(row["identity"])):
        return str(row["identity"]), str(row["hint"])
    if is_identity(machine):
        return machine, None
    raise Fault(
        "no-machine",
        f"{machine!r} is no identity, and no machine, or several, go by that name",
        "`ratchet fleet` lists those that have sent genuine evidence",
        Exit.USAGE,
    )


def _listed(file: str) -> Iterator[tuple[str, str | None]]:
    from ratchet.enrolment import is_identity

    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Fault("unreadable", f"{file}: {error}", "name a list of machines", Exit.UNREACHABLE) from error
    for number, line in enumerate(lines, 1):
        identity, _, name = line.partition("#")[0].strip().partition(" ")
        if not identity:
            continue
        if not is_identity(identity) or len(name.strip()) > 128:
            raise Fault(
                "no-machine",
                f"{file}, line {number}: {plain(line)[:80]!r} is no identity with a name",
                "write chip:, ppid: or platform: and hex, then a name",
                Exit.USAGE,
            )
        yield identity, name.strip() or None
