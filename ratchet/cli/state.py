"""`ratchet state digest`: one hash over log, state, archive, Git and bundle, each in a canonical form.

Two data directories that went through the same events have equal digests, whatever crashed on the way.
"""

from __future__ import annotations

import argparse
from contextlib import closing

from ratchet.app.errors import Exit
from ratchet.app.home import home
from ratchet.app.output import print_json

EPILOG = "Example: ratchet state digest --data a; ratchet state digest --data b"


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("what", choices=("digest",), help="the digest and those of its parts")


def run(args: argparse.Namespace) -> int:
    """Compute it."""
    from ratchet.app.composition import stores
    from streams.state_digest import state_digest

    place = home(args)
    place.reader()  # says so where there is no Ratchet
    with closing(place.database()) as database:
        parts = state_digest(database, stores(place))
    if args.json:
        print_json(parts)
    else:
        for name, digest in parts.items():
            print(f"{digest}  {name}")
    return Exit.DONE
