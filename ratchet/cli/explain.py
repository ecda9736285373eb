"""From an alert back to rule, verdict, claims, collateral and bytes; or from any link of that chain.

ID is the id of an alert, verdict, piece of evidence or proposal, or the beginning of one (8 digits or more).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from ratchet.app.errors import Exit, Fault
from ratchet.app.home import Home, home
from ratchet.app.output import plain, print_json, reason_lines, short, shown
from ratchet.event import BlobId, Event, Json, stamp
from ratchet.ports import Reader
from ratchet.words import standing_in_full

EPILOG = """Examples: ratchet explain 3f9c01ab
          ratchet explain 3f9c01ab --bytes"""

_MARK = {"passed": "✓", "failed": "✗", "not_possible": "–"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("id", help="of an alert, a verdict, evidence or a proposal")
    parser.add_argument("--bytes", action="store_true", help="the evidence's bytes, in hex, with every claim's place")


def run(args: argparse.Namespace) -> int:
    """Explain."""
    place = home(args)
    reader = place.reader()
    record = reader.event(args.id.partition("…")[0])
    if record is None:
        raise Fault(
            "no-event",
            f"nothing, or more than one thing, has the id {args.id!r}",
            "`ratchet search` finds ids; give 8 digits of one or more",
            Exit.USAGE,
        )
    chain = with_verdicts(reader, record.event)
    if args.json:
        print_json([event.envelope() for event in chain])
        return Exit.DONE
    for event in chain:
        print(f"\n{event.type}  {stamp(event.time)}  {event.id}")
        for line in _lines(place, reader, event):
            print(f"  {line}")
        if event.type == "evidence.received.v1" and args.bytes:
            _bytes(reader, event)
    return Exit.DONE


def with_verdicts(reader: Reader, event: Event) -> list[Event]:
    """The chain to show: of evidence, its latest verdict comes before it; of all else, `trace`."""
    if event.type == "evidence.received.v1":
        query = f"topic:verdicts AND evidence:{event.id}"
        latest = next(iter(reader.search(query, 1)), None)
        if latest is not None:
            return [latest.event, event]
    return trace(reader, event)


def trace(reader: Reader, event: Event) -> list[Event]:
    """The chain from this event back to where it began: alert, verdict, evidence; change, proposal, its cause."""
    chain = [event]
    data = event.data
    following = None
    if event.type.startswith("alert."):
        following = next((cause for cause in (data["first_cause"], *data["causes"]) if reader.event(cause)), None)
    elif event.type == "verdict.reached.v1":
        following = data["evidence"]
    elif event.type == "change.due.v1":
        following = data["proposal"]
    elif event.type == "proposal.made.v1":
        following = data["cause"]
    found = reader.event(following) if following else None
    if found is not None and found.event.id != event.id:
        chain += trace(reader, found.event)
    return chain


def _lines(place: Home, reader: Reader, event: Event) -> list[str]:
    data = event.data
    if event.type.startswith("alert."):
        times = "once" if data["count"] == 1 else f"{data['count']} times"
        return [
            f"[{data['level']}, {data['status']}] {plain(data['title'])}",
            *_rule(place, data["rule"]),
            f"{times} since {data['opened'][:19]}; subject {plain(data['subject'])}",
            *_reasons(data["reasons"]),
        ]
    if event.type == "verdict.reached.v1":
        root = data["root"]
        return [
            f"{plain(data['hint']['name'])}: {standing_in_full(data['tier'])}, as {data['identity']}"
            + (f", trusted until {data['trusted_until'][:19]}" if data["trusted_until"] else ""),
            "root "
            + (f"{root['name']}{' (SIMULATED)' if root['simulated'] else ''}" if root else "none that is trusted"),
            *(f"{_MARK[s['outcome']]} {s['name']:<11} {plain(s['detail'])}  [{s['source']}]" for s in data["steps"]),
            *_reasons(data["reasons"]),
            *_claims(data),
            *(f"judged by document {blob}{_statements(reader, blob)}" for blob in data["collateral"]),
            f"policy {data['policy']}  code {data['code']}",
        ]
    if event.type == "evidence.received.v1":
        challenge = f"challenge {data['challenge']}" if data["challenge"] else "no challenge"
        return [f"{data['size']} bytes from {event.source}, blob {data['blob']}", challenge]
    if event.type == "proposal.made.v1":
        from ratchet.app.proposal_text import describe

        return [line for row in reader.proposals() if row["proposal"] == data for line in describe(row).splitlines()]
    return [f"{key}: {shown(value)}" for key, value in data.items()]


def _rule(place: Home, name: str) -> list[str]:
    """What the rule of that name says of itself, and where people change it."""
    import yaml

    from ratchet.app.composition import rule_texts

    for path, text in rule_texts(place).items():
        if path.rpartition("/")[2] == f"{name}.yml":
            said = yaml.safe_load(text)
            return [f"rule {name} ({path}): {plain(' '.join(str(said.get('description', '')).split()))}"]
    return [f"rule {name}, which is not among the rules any more"]


def _statements(reader: Reader, blob: str) -> str:
    """What a vendor's document says, in a few words."""
    found = (record.event.data for record in reader.search(f"type:collateral* AND blob:{blob}", 8))
    said = dict.fromkeys(f"{one['kind']} {short(plain(one['key']))}" for one in found)
    return f": {', '.join(said)}" if said else ""


def _reasons(reasons: list[Mapping[str, Json]]) -> list[str]:
    return [line if line.startswith("  ") else f"because {line}" for line in reason_lines(reasons)]


def _claims(data: Mapping[str, Json]) -> list[str]:
    claims = data["claims"]
    if not claims:
        return []
    lines = [f"measurement {shown(claims['measurement'])}", f"debug {shown(claims['debug'])}"]
    lines += [f"tcb {shown(claims['tcb'])}", f"bits {shown(claims['bits'])}"]
    if data["tcb"]:
        advisories = data["tcb"]["advisories"]
        named = "advisories unknown" if advisories is None else " ".join(advisories)
        lines.append(f"status {data['tcb']['merged']} {named}".rstrip())
    return lines


def _bytes(reader: Reader, event: Event) -> None:
    from ratchet.evidence import Evidence, fields

    raw = reader.blob(BlobId(event.data["blob"]))
    if raw is None:
        print("  the bytes are gone: retention has passed")
        return
    for one in fields(Evidence(raw)):
        said = raw[one.offset : one.offset + one.length].hex()
        said = said if len(said) <= 64 else f"{said[:60]}…"
        print(f"  {one.offset:#06x} +{one.length:<4} {one.label:<28} {said}  {plain(one.value)[:80]}")
