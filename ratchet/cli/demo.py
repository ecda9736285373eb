"""Run a week of a simulated fleet through the whole pipeline, then open the console on 127.0.0.1.

More than 200 machines send evidence in the real binary formats, signed under a simulated vendor's roots, and things go
wrong as the scenario says: firmware goes back, a quote is forged, a certificate is revoked, a TCB recovery comes. The
pipeline sees bytes alone; at the end what it reported is held against what was planted.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ratchet.cli.errors import Exit, Fault
from ratchet.cli.home import Home
from ratchet.cli.output import print_json, progress, table

if TYPE_CHECKING:
    from collectors.simulated.drive import Comparison
    from collectors.simulated.scenario import Scenario
    from ratchet.cli.running import Engine

EPILOG = """Examples: ratchet demo --once
          ratchet demo --scenario my.yml --data /tmp/mine
Exit: 0 every planted fact was found and nothing else reported, 1 not so."""

MARK = "demo"
"""A file in the data directory of a demo: only such a directory is emptied and used again."""

APPROVER = "demo"


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.set_defaults(data=None)
    parser.add_argument("--once", action="store_true", help="end with a summary and an exit code; no console")
    parser.add_argument("--scenario", metavar="FILE", help="another scenario (docs/scenarios.md)")
    parser.add_argument("--as-written", action="store_true", help="at the scenario's own dates, not ending now")
    parser.add_argument("--port", type=int, default=8643, help="of the console (default 8643)")


def run(args: argparse.Namespace) -> int:
    """Run it."""
    import os

    from ratchet.cli.running import engine, run_live
    from ratchet.cli.serving import console

    began = time.monotonic()
    scenario = _scenario(args)
    place = Home(Path(args.data or "ratchet-demo"), os.environ)
    _prepare(place, scenario)
    with engine(place) as running:
        fed = _feed(place, running, scenario)
        summary = _summary(place, running, scenario, fed, time.monotonic() - began)
        if args.json:
            print_json(summary)
        else:
            _print(summary)
        if args.once:
            return Exit.DONE if summary["agrees"] else Exit.OURS
        served, address, token = console(place, args.port)
        print(
            f"\nconsole  {address}\ntoken    {token}   (opens it once, within ten minutes)\nCtrl-C ends it.", flush=True
        )
        run_live(place, running, [served])
    return Exit.DONE


def _scenario(args: argparse.Namespace) -> Scenario:
    from collectors.simulated.shipped import week

    from collectors.simulated import scenario as scenarios
    from ratchet.cli.running import now

    try:
        found = scenarios.load(Path(args.scenario)) if args.scenario else week()
    except scenarios.ScenarioError as error:
        raise Fault("scenario", str(error), "docs/scenarios.md has all keys") from error
    except OSError as error:
        raise Fault("no-scenario", f"{args.scenario}: {error.strerror}", "name a file that is there") from error
    if args.as_written:
        return found
    ends = now().replace(second=0, microsecond=0) - timedelta(minutes=2) - 5 * found.tick
    return found.model_copy(update={"start": ends - found.duration})


def _prepare(place: Home, scenario: Scenario) -> None:
    """A fresh data directory whose configuration trusts the simulated vendor, and says so."""
    from collectors.simulated.policy import reference_values

    from collectors.simulated.vendor import Vendor
    from ratchet.cli.approve import new_key

    mark = place.path / MARK
    if place.path.exists() and any(place.path.iterdir()) and not mark.exists():
        raise Fault(
            "not-a-demo",
            f"{place.path} holds something that is no demo's",
            "name a folder that may be emptied with --data",
            Exit.REFUSED,
        )
    vendor = place.path / "vendor"
    if place.path.exists():
        for old in place.path.iterdir():
            if old != vendor:  # its keys take seconds to make, and serve again
                shutil.rmtree(old) if old.is_dir() else old.unlink()
    place.create()
    mark.write_text("made by `ratchet demo`, which empties this folder when it runs again\n")
    lines = [
        "# Written by `ratchet demo`. The roots below are simulated: whatever rests on them is marked so everywhere.",
        "",
        "[bounds]",
        "max_refused = 3",
        "max_fraction = 0.05",
        "",
        "[approvers]",
        "quorum = 1",
        f'keys = {{ {APPROVER} = "{new_key(place.below(f"keys/{APPROVER}.key"))}" }}',
        "",
        "[policy]",
        'name = "demo"',
        f"trusted_for = {int(timedelta(hours=12).total_seconds())}",
        "",
    ]
    for tee, values in sorted(reference_values(scenario).items()):
        lines += [f"[policy.reference_values.{tee}]"]
        lines += [f'{measurement} = "{state}"' for measurement, state in sorted(values.items())] + [""]
    for root in Vendor(vendor).roots():
        file = place.path / "roots" / f"{root.name.replace(' ', '-')}.der"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(root.der)
        lines += ["[[trust.roots]]", f'name = "{root.name}"', f'vendor = "{root.vendor}"']
        lines += [f'file = "roots/{file.name}"', "simulated = true", ""]
    (place.path / "ratchet.toml").write_text("\n".join(lines))


def _feed(place: Home, running: Engine, scenario: Scenario) -> dict[str, int]:
    """Put the week on the log, closing a round at each simulated tick."""
    from collectors.simulated.drive import drive, expected_ticks
    from collectors.simulated.vendor import Vendor
    from streams.clock import tick

    database = running.database
    bar = progress(iter(int, 1), expected_ticks(scenario), "simulating")

    def close(at: datetime) -> None:
        database.log.append([("ticks", tick(at))])
        running.executor.drain()
        next(bar)

    fed = drive(
        scenario, Vendor(place.path / "vendor"), database.log, database.blobs, close, tenant=place.config.tenant
    )
    running.sinks.drain()
    return {"evidence": fed.evidence, "documents": fed.documents, "ticks": fed.ticks}


def _summary(
    place: Home, running: Engine, scenario: Scenario, fed: dict[str, int], seconds: float
) -> dict[str, object]:
    from collectors.simulated.truth import truth

    reader = place.reader()
    alerts = reader.alerts(None, None, 100_000).rows
    compared = compare(scenario, alerts)
    proposals = reader.proposals()
    receipts = [receipt for row in proposals for receipt in row["receipts"].values()]
    return {
        "scenario": scenario.name,
        "machines": len(scenario.names),
        **fed,
        "seconds": round(seconds, 1),
        "standing": {
            tier: reader.counts().get(tier, 0) for tier in ("affirming", "warning", "contraindicated", "none")
        },
        "planted": len(truth(scenario)),
        "found": len(compared.found),
        "missed": sorted(f"{fact.rule} {fact.subject}" for fact in compared.missed),
        "unexpected": sorted(f"{fact.rule} {fact.subject}" for fact in compared.unexpected),
        "agrees": compared.agrees,
        "facts": sorted(f"{fact.rule} {fact.subject}" for fact in compared.found),
        "proposals": [
            {
                "proposal": row["proposal"]["proposal"],
                "state": row["state"],
                "family": row["proposal"]["family"],
                "refuses": len(row["proposal"]["blast"]["refused"]),
            }
            for row in proposals
        ],
        "receipts": {
            outcome: sum(r["outcome"] == outcome for r in receipts) for outcome in {r["outcome"] for r in receipts}
        },
        "dead_letters": reader.counts().get("dead_letters", 0),
        "data": str(place.path),
    }


def compare(scenario: Scenario, alerts: list[dict[str, object]]) -> Comparison:
    """Planted against reported."""
    from collectors.simulated.drive import compare as held_against
    from collectors.simulated.truth import truth

    return held_against(truth(scenario), alerts)


def _print(said: dict[str, object]) -> None:
    standing = said["standing"]
    assert isinstance(standing, dict)
    print(
        f"\n{said['scenario']}: {said['machines']} machines, {said['evidence']} pieces of evidence in {said['seconds']} s"
    )
    print("standing   " + ", ".join(f"{n} {tier}" for tier, n in standing.items()))
    print(f"planted    {said['planted']} facts; found {said['found']}")
    for key, verb in (("missed", "MISSED"), ("unexpected", "UNEXPECTED")):
        for fact in said[key]:  # type: ignore[attr-defined]  # a list of text
            print(f"  {verb} {fact}")
    for fact in said["facts"]:  # type: ignore[attr-defined]  # a list of text
        print(f"  ✓ {fact}")
    print(
        table(
            ((p["proposal"][:8], p["state"], p["family"], p["refuses"]) for p in said["proposals"]),  # type: ignore[attr-defined]
            ("PROPOSAL", "STATE", "FAMILY", "REFUSES"),
        )
    )
    print(f"receipts   {said['receipts']}   dead letters {said['dead_letters']}")
    print(f"data       {said['data']}: look with `ratchet alerts --data {said['data']}`, `ratchet fleet --data …`")
    print(
        "every planted fact was found, and nothing else was reported" if said["agrees"] else "NOT as planted",
        file=sys.stdout,
    )
