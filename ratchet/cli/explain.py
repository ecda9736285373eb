"""From an alert back to rule, verdict, claims, collateral and bytes; or from any link of that chain.

ID is the id of an alert, verdict, piece of evidence or proposal, or the beginning of one (8 digits or more).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from ratchet.cli.errors import Exit, Fault
from ratchet.cli.home import home
from ratchet.cli.output import plain, print_json
from ratchet.event import BlobId, Event, Json, stamp
from ratchet.ports import Reader

EPILOG = "Example: ratchet explain 3f9c01ab"

_MARK = {"passed": "✓", "failed": "✗", "not_possible": "–"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("id", help="of an alert, a verdict, evidence or a proposal")
    parser.add_argument("--bytes", action="store_true", help="the evidence's bytes, in hex, with every claim's place")


def run(args: argparse.Namespace) -> int:
    """Explain."""
    reader = home(args).reader()
    record = reader.event(args.id)
    if record is None:
        raise Fault("no-event", f"nothing has the id {args.id!r}", "`ratchet search` finds ids", Exit.USAGE)
    chain = trace(reader, record.event)
    if args.json:
        print_json([event.envelope() for event in chain])
        return Exit.DONE
    for event in chain:
        print(f"\n{event.type}  {stamp(event.time)}  {event.id}")
        for line in _lines(event):
            print(f"  {line}")
        if event.type == "evidence.received.v1" and args.bytes:
            _bytes(reader, event)
    return Exit.DONE


def trace(reader: Reader, event: Event) -> list[Event]:
    """The chain from this event back to the evidence: alert, verdict, evidence."""
    chain = [event]
    data = event.data
    following = None
    if event.type.startswith("alert."):
        following = next((cause for cause in (data["first_cause"], *data["causes"]) if reader.event(cause)), None)
    elif event.type == "verdict.reached.v1":
        following = data["evidence"]
    found = reader.event(following) if following else None
    if found is not None and found.event.id != event.id:
        chain += trace(reader, found.event)
    return chain


def _lines(event: Event) -> list[str]:
    data = event.data
    if event.type.startswith("alert."):
        return [
            f"[{data['level']}, {data['status']}] {plain(data['title'])}",
            f"rule {data['rule']}; {data['count']} times since {data['opened'][:19]}; subject {plain(data['subject'])}",
            *_reasons(data["reasons"]),
        ]
    if event.type == "verdict.reached.v1":
        root = data["root"]
        return [
            f"{plain(data['hint']['name'])} is {data['tier']} as {data['identity']}"
            + (f", trusted until {data['trusted_until'][:19]}" if data["trusted_until"] else ""),
            "root "
            + (f"{root['name']}{' (SIMULATED)' if root['simulated'] else ''}" if root else "none that is trusted"),
            *(f"{_MARK[s['outcome']]} {s['name']:<11} {plain(s['detail'])}  [{s['source']}]" for s in data["steps"]),
            *_reasons(data["reasons"]),
            *_claims(data),
            *(f"judged by document {blob}" for blob in data["collateral"]),
            f"policy {data['policy']}  code {data['code']}",
        ]
    if event.type == "evidence.received.v1":
        return [f"{data['size']} bytes from {event.source}, blob {data['blob']}", f"challenge {data['challenge']}"]
    return [f"{key}: {plain(value)}" for key, value in data.items()]


def _reasons(reasons: list[Mapping[str, Json]]) -> list[str]:
    lines = []
    for reason in reasons:
        if isinstance(reason, str):
            lines.append(f"because {reason}")
            continue
        lines.append(
            f"because {reason['code']}: {reason['component']} is {plain(reason['got'])}, "
            f"wanted {plain(reason['want'])}  [{reason['source']}]"
        )
        if reason["remedy"]:
            lines.append(f"  do: {reason['remedy']}")
    return lines


def _claims(data: Mapping[str, Json]) -> list[str]:
    claims = data["claims"]
    if not claims:
        return []
    lines = [f"measurement {claims['measurement']}", f"debug {claims['debug']}"]
    lines.append("tcb " + " ".join(f"{k}={v}" for k, v in sorted(claims["tcb"].items())))
    lines.append("bits " + " ".join(f"{k}={v}" for k, v in sorted(claims["bits"].items())))
    if data["tcb"]:
        lines.append(f"status {data['tcb']['merged']} {' '.join(data['tcb']['advisories'])}")
    return lines


def _bytes(reader: Reader, event: Event) -> None:
    from ratchet.evidence import Evidence, fields

    raw = reader.blob(BlobId(event.data["blob"]))
    if raw is None:
        print("  the bytes are gone: retention has passed")
        return
    for one in fields(Evidence(raw)):
        shown = raw[one.offset : one.offset + one.length].hex()
        shown = shown if len(shown) <= 64 else f"{shown[:60]}…"
        print(f"  {one.offset:#06x} +{one.length:<4} {one.label:<28} {shown}  {plain(one.value)[:80]}")
