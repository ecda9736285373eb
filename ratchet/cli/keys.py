"""Show or rotate the keys that sign EARs, the tokens for relying parties.

A new key is published (GET /v1/jwks, and the bundle that OPA follows) an hour before it signs; the old one is published
until the last token that it signed has expired. `ratchet up` rotates by itself when the newest key is 30 days old.
--compromised replaces every key at once: tokens that they signed are believed no more.
"""

from __future__ import annotations

import argparse

from ratchet.app.errors import Exit
from ratchet.app.home import home
from ratchet.app.output import print_json

EPILOG = """Example: ratchet keys rotate
Exit: 0 done, 6 the keys cannot be read or made."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("action", nargs="?", choices=("show", "rotate"), default="show")
    parser.add_argument("--compromised", action="store_true", help="with rotate: drop every older key at once")


def run(args: argparse.Namespace) -> int:
    """Show them, after rotating where that was asked."""
    from ratchet.app.composition import held
    from ratchet.app.relying import ear_keys
    from ratchet.app.running import now

    place, at = home(args), now()
    keys = ear_keys(place)
    if args.action == "rotate":
        keys.replace_all(at) if args.compromised else keys.rotate(at)
        for store, revision in held(place):
            store.refresh(revision)
    signer = keys.signer(at).id
    published = keys.jwks(at)
    if args.json:
        print_json({"signer": signer, **published})
        return Exit.DONE
    for one in published["keys"]:
        print(f"{one['kid']}  {'signs' if one['kid'] == signer else 'published'}")
    return Exit.DONE
