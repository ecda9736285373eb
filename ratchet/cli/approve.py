"""Sign PROPOSAL with your key. A tightening goes on with one approval, a loosening with its quorum.

Shows first whom it would refuse, machine by machine, and asks. The signature is Ed25519 over the proposal's hash: what
you saw is what you signed.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ratchet.app.errors import Exit, Fault
from ratchet.app.home import home
from ratchet.app.key_file import new_key
from ratchet.app.output import print_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ratchet.event import Json
    from ratchet.ports import Reader

EPILOG = """Make a key:  ratchet approve --new-key alice.key   (prints the line for [approvers.keys] in ratchet.toml)
Example:     ratchet approve 7c2e01ab --as alice --key alice.key --reason "SB-3019, see INC-412"
Exit: 0 signed (with --wait: and done), 4 not yours to approve, 5 signed but not done when --wait was over."""

_ASK = 0.25
"""Seconds between two looks while waiting."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("proposal", nargs="?", help="its id or the beginning of it")
    parser.add_argument("--as", dest="name", metavar="NAME", help="your name among the approvers")
    parser.add_argument("--key", metavar="PATH", help="your Ed25519 signing key, PEM (default: keys/NAME.key)")
    parser.add_argument("--reason", default="", metavar="TEXT", help="kept with the signature")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--reject", action="store_true", help="sign a rejection instead")
    kind.add_argument("--halt", action="store_true", help="halt its rollout instead")
    kind.add_argument("--roll-back", action="store_true", help="roll it back instead")
    parser.add_argument("--dry-run", action="store_true", help="show the effect, sign nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--wait",
        type=float,
        metavar="SECONDS",
        help="wait until every store confirmed it (of a rejection: until it took)",
    )
    parser.add_argument("--new-key", metavar="PATH", help="make a signing key there, and nothing else")


def run(args: argparse.Namespace) -> int:
    """Show, ask, sign, and put it on the log."""
    place = home(args)
    if args.new_key:
        file = Path(args.new_key)
        name, public = args.name or file.stem, new_key(file)
        if args.json:
            print_json({"name": name, "public_key": public, "file": str(file)})
        else:
            print(f'[approvers.keys]\n{name} = "{public}"')
        return Exit.DONE
    if not args.proposal:
        raise Fault("no-proposal", "which proposal?", "`ratchet proposals` lists them", Exit.USAGE)

    from ratchet.app.decisions import approver_key, follows, say_of_proposal, whoami
    from ratchet.app.proposal_text import describe, find
    from ratchet.rollout.approval import sign

    reader = place.reader()
    row = find(reader.proposals(), args.proposal)
    kind = "rejected" if args.reject else "halted" if args.halt else "rolled_back" if args.roll_back else "approved"
    if not args.json:
        print(describe(row))
    if args.dry_run:
        return Exit.DONE
    if kind == "approved" and row["state"] not in ("proposed", "halted"):
        # Nothing asks for it, and it could be used when something does: a signature is kept for its whole attempt.
        raise Fault("not-asked-for", f"it is {row['state']}: there is nothing to approve", "", Exit.REFUSED)
    name = args.name or whoami()
    key = approver_key(place, name, args.key)
    if not args.yes:
        if not sys.stdin.isatty():
            raise Fault("not-asked", "nobody is there to be asked", "say --yes", Exit.USAGE)
        if input(f"\nsign as {name}: {kind}? [y/N] ").strip().lower() not in ("y", "yes"):
            raise Fault("not-signed", "nothing was signed", "", Exit.REFUSED)
    said, attempt = row["proposal"], row["rollout"]["attempt"]
    policy = {"approved": row["pushes"], "rolled_back": row["returns"]}.get(kind)
    signature = sign(key, kind, said["hash"], attempt, policy)
    event = say_of_proposal(place, said, row["tenant"], kind, name, attempt, policy, signature, args.reason)
    if args.json:
        print_json(event.envelope())
    else:
        counted = _counted(row, name) if kind == "approved" else ""
        print(
            f"{kind} by {name}{counted}: {follows(reader)}; "
            f"`ratchet proposals {said['proposal'][:8]}` shows what became of it"
        )
    if args.wait is not None:
        _wait(reader, said["proposal"], "enforced" if kind == "approved" else kind, args.wait)
    return Exit.DONE


def _counted(row: Mapping[str, Json], name: str) -> str:
    """How many of the approvals that it needs there are with this one; nothing where one is enough."""
    quorum = row.get("quorum") or 1
    given = {one["by"] for one in row["approvals"]} | {name}
    return f", {len(given)} of {quorum} approvals" if quorum > 1 else ""


def _wait(reader: Reader, proposal: str, wanted: str, seconds: float) -> None:
    """Look until the proposal is in the state that the decision was meant to bring.

    Raises:
        Fault: it is not when the time is over.
    """
    from ratchet.app.proposal_text import find

    until = time.monotonic() + seconds
    while (row := find(reader.proposals(), proposal))["state"] != wanted:
        if time.monotonic() >= until:
            raise Fault(
                "unconfirmed",
                f"signed, but after {seconds:g} s it is {row['state']} and not {wanted}",
                f"`ratchet proposals {proposal[:8]}` shows what it waits for",
                Exit.UNCONFIRMED,
            )
        time.sleep(_ASK)
