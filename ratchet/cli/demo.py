"""Run a week of a simulated fleet through the whole pipeline, then open the console on 127.0.0.1.

More than 200 machines send evidence in the real binary formats, signed under a simulated vendor's roots, and things go
wrong as the scenario says: firmware goes back, a quote is forged, a certificate is revoked, a TCB recovery comes. The
pipeline sees bytes alone; at the end what it reported is held against what was planted.
"""

from __future__ import annotations

import argparse
import shutil
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ratchet.app.errors import Exit, Fault
from ratchet.app.home import Home
from ratchet.app.output import bar, print_json, program, table
from ratchet.words import standing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from collectors.simulated.delivery import Fact
    from collectors.simulated.drive import Driven
    from collectors.simulated.scenario import Scenario
    from ratchet.app.running import Engine

EPILOG = """Examples: ratchet demo --once
          ratchet demo --scenario my.yml --data /tmp/mine
Exit: 0 every planted fact was found and nothing else reported, 1 not so."""

DATA = "else ./ratchet-demo, whatever RATCHET_DATA says: it is emptied"
"""What its help says of --data."""

MARK = "demo"
"""A file in the data directory of a demo: only such a directory is emptied and used again."""

APPROVER = "demo"


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--once", action="store_true", help="end with a summary and an exit code; no console")
    parser.add_argument("--scenario", metavar="FILE", help="another scenario (docs/scenarios.md)")
    parser.add_argument("--as-written", action="store_true", help="at the scenario's own dates, not ending now")
    parser.add_argument("--port", type=int, default=8643, help="of the console (default 8643)")


def run(args: argparse.Namespace) -> int:
    """Run it."""
    import os

    from ratchet.app.running import engine, run_live
    from ratchet.app.serving import console, listen

    began = time.monotonic()
    scenario = _scenario(args)
    place = Home(Path(args.data or "ratchet-demo"), os.environ)
    # Found out before a week is simulated, not after it: an address that is taken.
    listening = None if args.once else listen(f"127.0.0.1:{args.port}", "--port")
    prepare(place, scenario)
    with engine(place) as running:
        fed = _feed(place, running, scenario)
        summary = summarise(place, scenario, fed, time.monotonic() - began)
        if args.json:
            print_json(asdict(summary))
        else:
            print(summary.text())
        if listening is None:
            return Exit.DONE if summary.agrees else Exit.OURS
        served, address, token = console(place, listening)
        print(
            f"\nconsole  {address}\ntoken    {token}   (opens it once, within ten minutes)\nCtrl-C ends it.", flush=True
        )
        run_live(place, running, [served])
    return Exit.DONE


def _scenario(args: argparse.Namespace) -> Scenario:
    from collectors.simulated import scenario as scenarios
    from ratchet.app.running import now

    try:
        found = scenarios.load(Path(args.scenario)) if args.scenario else scenarios.week()
    except scenarios.ScenarioError as error:
        raise Fault("scenario", str(error), "docs/scenarios.md has all keys") from error
    except OSError as error:
        raise Fault("no-scenario", f"{args.scenario}: {error.strerror}", "name a file that is there") from error
    if args.as_written:
        return found
    ends = now().replace(second=0, microsecond=0) - timedelta(minutes=2) - 5 * found.tick
    return found.model_copy(update={"start": ends - found.duration})


def prepare(place: Home, scenario: Scenario) -> None:
    """A fresh data directory whose configuration trusts the simulated vendor, and says so.

    Raises:
        Fault: it holds something that is no demo's, or another process runs on it.
    """
    from collectors.simulated.fleet import reference_values
    from collectors.simulated.vendor import Vendor
    from ratchet.app.key_file import new_key
    from ratchet.app.running import claimed

    mark = place.path / MARK
    if place.path.exists() and any(place.path.iterdir()) and not mark.exists():
        raise Fault(
            "not-a-demo",
            f"{place.path} holds something that is no demo's",
            "name a folder that may be emptied with --data",
            Exit.REFUSED,
        )
    vendor = place.path / "vendor"
    place.create()
    with claimed(place) as claim:
        for old in place.path.iterdir():
            # The vendor's keys take seconds to make, and serve again; the claim is what other processes look at.
            if old not in (vendor, claim.path):
                shutil.rmtree(old) if old.is_dir() else old.unlink()
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
        'evaluation = "newest"  # show at once whom a TCB recovery concerns',
        'may_be_impossible = ["floor"]  # AMD families have no floor until somebody approves one',
        "",
    ]
    for name, known in sorted(reference_values(scenario).items()):
        lines += [f'[policy.reference_values."{name}"]', f'tee = "{known["tee"]}"', f'by = "{known["by"]}"']
        lines += [f'source = "{known["source"]}"', f'[policy.reference_values."{name}".conditions]']
        lines += [f'{claim} = "{value}"' for claim, value in known["conditions"].items()] + [""]
    for root in Vendor(vendor).roots():
        file = place.path / "roots" / f"{root.name.replace(' ', '-')}.der"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(root.der)
        lines += ["[[trust.roots]]", f'name = "{root.name}"', f'vendor = "{root.vendor}"']
        lines += [f'file = "roots/{file.name}"', "simulated = true", ""]
    (place.path / "ratchet.toml").write_text("\n".join(lines))


def _feed(place: Home, running: Engine, scenario: Scenario) -> Driven:
    """Put the week on the log, closing a round at each simulated tick."""
    from collectors.simulated.drive import drive, expected_ticks
    from collectors.simulated.vendor import Vendor
    from streams.clock import tick

    database = running.database
    vendor = Vendor(place.path / "vendor")
    with bar(expected_ticks(scenario), "simulating") as step:

        def close(at: datetime) -> None:
            database.log.append([("ticks", tick(at))])
            running.executor.drain()
            step()

        fed = drive(
            scenario,
            vendor,
            database.log,
            database.blobs,
            close,
            tenant=place.config.tenant,
            together=database.transaction,
        )
    running.sinks.drain()
    return fed


@dataclass(frozen=True, slots=True)
class Change:
    """One proposal, and how far it came."""

    proposal: str
    state: str
    family: str
    refuses: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What went in, what came out, and how it compares with what was planted. Facts are `rule subject`."""

    scenario: str
    machines: int
    evidence: int
    documents: int
    ticks: int
    seconds: float
    standing: dict[str, int]
    found: tuple[str, ...]
    missed: tuple[str, ...]
    unexpected: tuple[str, ...]
    proposals: tuple[Change, ...]
    receipts: dict[str, int]
    dead_letters: int
    data: str

    @property
    def agrees(self) -> bool:
        """Every planted fact was found, and nothing else was reported."""
        return not self.missed and not self.unexpected

    def next(self) -> list[str]:
        """What to type now."""
        waiting = [p.proposal[:8] for p in self.proposals if p.state == "proposed"]
        return ["alerts", "fleet --standing degraded", *(f"approve {id} --as {APPROVER}" for id in waiting[:1])]

    def text(self) -> str:
        """For a terminal."""
        rows = [(p.proposal[:8], p.state, p.family, p.refuses) for p in self.proposals]
        said = f"planted    {len(self.found) + len(self.missed)} facts: "
        said += "each was found, and nothing else was reported" if self.agrees else "NOT as planted"
        return "\n".join(
            [
                f"{self.scenario}: {self.machines} machines, {self.evidence} pieces of evidence, {self.seconds} s",
                "standing   " + ", ".join(f"{n} {standing(tier).lower()}" for tier, n in self.standing.items()),
                said,
                *(f"  ✓ {fact}" for fact in self.found),
                *(f"  MISSED {fact}" for fact in self.missed),
                *(f"  UNEXPECTED {fact}" for fact in self.unexpected),
                table(rows, ("PROPOSAL", "STATE", "FAMILY", "REFUSES")),
                "receipts   " + ", ".join(f"{n} {outcome}" for outcome, n in self.receipts.items()),
                f"not read   {self.dead_letters} dead letters",
                f"data       {self.data}; look at it, or approve what waits:",
                *(f"  {program()} {words} --data {self.data}" for words in self.next()),
            ]
        )


def summarise(place: Home, scenario: Scenario, fed: Driven, seconds: float) -> Summary:
    """Read the results, and hold the alerts against the truth that the scenario carries."""
    from collectors.simulated.drive import compare
    from collectors.simulated.truth import truth

    reader = place.reader()
    compared = compare(truth(scenario), reader.alerts(None, None, 100_000).rows)
    rows = reader.proposals()
    outcomes = [receipt["outcome"] for row in rows for receipt in row["receipts"].values()]
    counts = reader.counts()

    def named(facts: Iterable[Fact]) -> tuple[str, ...]:
        return tuple(sorted(f"{fact.rule} {fact.subject}" for fact in facts))

    return Summary(
        scenario=scenario.name,
        machines=len(scenario.names),
        evidence=fed.evidence,
        documents=fed.documents,
        ticks=fed.ticks,
        seconds=round(seconds, 1),
        standing={tier: counts.get(tier, 0) for tier in ("affirming", "warning", "contraindicated", "none")},
        found=named(compared.found),
        missed=named(compared.missed),
        unexpected=named(compared.unexpected),
        proposals=tuple(
            Change(
                row["proposal"]["proposal"],
                row["state"],
                row["proposal"]["family"],
                len(row["proposal"]["impact"]["refused"]),
            )
            for row in rows
        ),
        receipts={outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))},
        dead_letters=counts.get("dead_letters", 0),
        data=str(place.path),
    )
