"""Show the configuration in force, its JSON schema, or make a token for a sender of evidence."""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets

from ratchet.app.errors import Exit
from ratchet.app.home import home
from ratchet.app.output import print_json

EPILOG = """Examples: ratchet config
          ratchet config schema > ratchet.schema.json
          ratchet config token"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    what = ("show", "schema", "token")
    parser.add_argument("what", nargs="?", choices=what, default="show", help="show (default), schema or token")


def run(args: argparse.Namespace) -> int:
    """Show it."""
    if args.what == "schema":
        from ratchet.app.configuration import schema

        print(json.dumps(schema(), indent=2))
    elif args.what == "token":
        token = secrets.token_urlsafe(32)
        digest = hashlib.sha256(token.encode()).hexdigest()
        if args.json:
            print_json({"token": token, "token_sha256": digest})
        else:
            print(f"token (give it to the sender; it is kept nowhere): {token}\n")
            print(f'for {home(args).path / "ratchet.toml"}:\n\n[entrance.senders.NAME]\ntoken_sha256 = "{digest}"')
    else:
        said = home(args).config.model_dump(mode="json")
        print_json(said) if args.json else print(json.dumps(said, indent=2))
    return Exit.DONE
