"""Minimum versions in force, and where each comes from: vendor document and place, or who reviewed what."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from ratchet.cli.errors import Exit
from ratchet.cli.home import home
from ratchet.cli.output import print_rows, short, table
from ratchet.event import Json

EPILOG = """Example: ratchet floors --json | jq .floor.provenance"""


def configure(parser: argparse.ArgumentParser) -> None:
    """It has no options of its own."""


def run(args: argparse.Namespace) -> int:
    """Show them."""
    reader = home(args).reader()
    until = {row["proposal"]["proposal"]: row["expires"] for row in reader.proposals()}
    rows = [{**row, "until": until.get(row["proposal"])} for row in reader.floors()]
    if args.json:
        print_rows(rows)
        return Exit.DONE
    print(
        table(
            (
                (
                    row["floor"]["family"],
                    summary(row["floor"]) + (f" (LOOSENED until {row['until'][:19]}Z)" if row["until"] else ""),
                    row["since"][:19],
                    provenance(row["floor"]["provenance"]),
                    ", ".join(f"{store}@{revision[:8]}" for store, revision in row["stores"].items()) or "-",
                )
                for row in rows
            ),
            ("FAMILY", "AT LEAST", "SINCE", "FROM", "ENFORCED BY"),
        )
        if rows
        else "no floor is in force yet"
    )
    return Exit.DONE


def summary(floor: Mapping[str, Json] | None) -> str:
    """A floor in a few words."""
    if floor is None:
        return "nothing"
    if floor["kind"] == "intel":
        admitted = sum(1 for level in floor["levels"] if level["status"] in floor["accepted"])
        return f"evaluation {floor['evaluation']}, {admitted} of {len(floor['levels'])} levels accepted"
    parts = []
    for minimum in floor["minima"]:
        which = "".join(f" {k} {minimum[k]}" for k in ("model", "stepping") if minimum[k] is not None)
        asked = [f"{name} {value:#x}" for name, value in sorted(minimum["tcb"].items())]
        asked += [f"{name} {int(value)}" for name, value in sorted(minimum["bits"].items())]
        asked += [f"mitigation {minimum['mitigation']:#x}"] if minimum["mitigation"] else []
        parts.append(", ".join(asked) + which)
    return "; ".join(parts)


def provenance(said: Mapping[str, Json]) -> str:
    """Where a floor comes from, in a few words."""
    if said["reviewed_by"]:
        return f"{said['bulletin'] or said['url']}, reviewed by {said['reviewed_by']}"
    return ", ".join(short(document) for document in said["documents"]) + f" {said['pointer']}"
