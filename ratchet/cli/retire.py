"""Say that a machine is gone: it counts no more for proposals, is not missed, and is yours no longer.

A signed event on the log, like every decision. Evidence that it sends later is a stranger's until somebody enrols it.
"""

from __future__ import annotations

import argparse

from ratchet.app.errors import Exit, Fault
from ratchet.app.home import home
from ratchet.app.output import print_json

EPILOG = """Example: ratchet retire node-3 --comment "sold, see ASSET-77"
Exit: 0 written, 2 not exactly one machine of that name."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("machine", help="its identity, its name or a unique prefix of either")
    parser.add_argument("--comment", default="", metavar="TEXT", help="kept with it")


def run(args: argparse.Namespace) -> int:
    """Put it on the log."""
    from ratchet.app.decisions import follows, operate

    place = home(args)
    reader = place.reader()
    machine = reader.machine(args.machine)
    if machine is None:
        raise Fault(
            "no-machine",
            f"{args.machine!r} does not name exactly one machine",
            "`ratchet fleet` lists them",
            Exit.USAGE,
        )
    identity = machine["identity"]
    data = {"identity": identity, "comment": args.comment}
    event = operate(place, "retired", identity, data, machine.get("tenant") or place.config.tenant)
    if args.json:
        print_json(event.envelope())
    else:
        print(f"retired: {machine['hint']} ({identity}); {follows(reader)}")
    return Exit.DONE
