"""Run the pipeline, the evidence entrance and the console, until interrupted.

Everything is in one data directory, made where there is none; nothing listens beyond loopback unless ratchet.toml says
so. The console's login token is printed at start: it opens the console once, within ten minutes.
"""

from __future__ import annotations

import argparse
import sys

from ratchet.app.errors import Exit
from ratchet.app.home import home
from ratchet.app.output import print_json

EPILOG = """Example: ratchet up --data /var/lib/ratchet
Exit: 0 ended by Ctrl-C or SIGTERM, 2 something in ratchet.toml is wrong, 4 another process runs on it, 6 an address is
taken."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--no-console", action="store_true", help="without the console")
    parser.add_argument("--no-entrance", action="store_true", help="without POST /v1/evidence")


def run(args: argparse.Namespace) -> int:
    """Run it."""
    from ratchet.app.running import engine, run_live
    from ratchet.app.serving import bundle, console, entrance

    place = home(args)
    with engine(place) as running:
        servers = []
        toml = place.path / "ratchet.toml"
        said = {"data": str(place.path), "settings": str(toml) if toml.is_file() else f"defaults: there is no {toml}"}
        if not args.no_entrance:
            servers.append(entrance(place))
            said["entrance"] = f"http://{place.config.entrance.listen}/v1/evidence"
            if not place.config.entrance.senders:
                said["senders"] = "nobody may send yet: `ratchet config token`, then [entrance.senders.NAME]"
        published = bundle(place)
        if published is not None:
            servers.append(published)
            said["bundle"] = f"http://{place.config.bundle.listen}/ratchet.tar.gz"
        if not args.no_console:
            served, said["console"], said["token"] = console(place)
            servers.append(served)
        if args.json:
            print_json(said)
            sys.stdout.flush()
        else:
            for key, value in said.items():
                print(f"{key:<9} {value}", flush=True)
        run_live(place, running, servers)
    return Exit.DONE
