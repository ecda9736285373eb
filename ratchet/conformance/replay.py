"""Replay a manifest of real evidence: every item through the whole pipeline, in order of time, as it might have come.

A vendor's document comes when the vendor dated it; evidence at its `verification_time` and again at the time of each of
its `cases` and `time_cases`. The same bytes twice are a replay to whoever watches one fleet, so evidence that comes
again comes for another tenant (`again-1`, `again-2`, …), who sees it for the first time.

What comes out is told one line a fact: verdicts, alerts, proposals, dead letters.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from pathlib import Path

from ratchet.app.errors import Exit, Fault
from ratchet.app.floor_text import summary
from ratchet.app.home import Home
from ratchet.app.output import plain, print_json, progress
from ratchet.conformance.check import BadManifest, evidence_of, is_root, items_of, paths_of, time_of
from ratchet.conformance.claims import Read
from ratchet.event import Event, Json, delivery_id, digest, stamp
from ratchet.evidence import FORMATS, Evidence
from ratchet.ports import Blobs, Log

SOURCE = "/collectors/corpus"
TENANT = "corpus"

EVERY, QUIET = timedelta(hours=1), timedelta(days=28)
"""Between ticks: while something comes, and in the months when nothing does."""

_POLICY = """\
# Written by `ratchet corpus replay`: nobody gave these machines a challenge, nor vouches for what they ran.
tenant = "corpus"

[bounds]
max_refused = 1
max_fraction = 0.5
unseen_after = 315360000  # ten years: each machine here is seen once or twice in five

[retention]
evidence_days = 36500  # all of what is told is looked at, at the end
alerts_days = 36500

[policy]
name = "corpus"
evaluation = "newest"
may_be_impossible = ["freshness", "revocation", "executables", "floor", "identity"]
enrolment = {required = false}
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("manifest", type=Path, help="MANIFEST.json; paths in it are below its folder")
    parser.add_argument("--golden", type=Path, metavar="FILE", help="compare with what is written there")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the data directory there (must not exist)")


def run(args: argparse.Namespace) -> int:
    """Replay, tell, and compare where that is asked for."""
    if args.keep and args.keep.exists():
        raise Fault("keep-exists", f"{args.keep} exists", "name a folder that does not")
    folder = args.manifest.resolve().parent
    with nullcontext(args.keep) if args.keep else tempfile.TemporaryDirectory() as kept:
        place = Home(Path(kept), {})
        try:
            told = replay(place, args.manifest.read_bytes(), files_below(folder))
        except BadManifest as bad:
            raise Fault(
                "manifest", f"{args.manifest} is no manifest: {bad}", "see docs/corpus.md", Exit.UNREACHABLE
            ) from None
        except OSError as away:
            why = f"{away.filename or args.manifest}: {away.strerror or away}"
            raise Fault("manifest", why, "check the path", Exit.UNREACHABLE) from None
    if args.json:
        print_json({"lines": told.lines, "left_out": told.left_out})
    else:
        print("\n".join(told.lines))
        left = ", ".join(f"{n} {name}" for name, n in sorted(told.left_out.items()))
        print(
            f"\n{len(told.lines)} lines" + (f"; items of formats not known yet were left out: {left}" if left else "")
        )
    if args.golden is None:
        return Exit.DONE
    try:
        wanted = args.golden.read_text().splitlines()
    except OSError as away:
        raise Fault("unreadable", f"{args.golden}: {away.strerror}", "check the path", Exit.UNREACHABLE) from None
    if wanted == told.lines:
        print(f"as {args.golden} has it")
        return Exit.DONE
    from difflib import unified_diff

    print("\n".join(unified_diff(wanted, told.lines, str(args.golden), "seen now", lineterm="", n=0)))
    return Exit.REFUSED


@dataclass(frozen=True, slots=True)
class Told:
    """What came out.

    Attributes:
        lines: one a fact, in the order of the log.
        left_out: items of each format that Ratchet does not know.
    """

    lines: list[str]
    left_out: dict[str, int]


def replay(place: Home, manifest: bytes, read: Read) -> Told:
    """Run a manifest through a fresh data directory.

    Args:
        place: where; its ratchet.toml is written here.
        manifest: JSON, in the corpus's schema.
        read: gives a file's bytes by its path in the manifest.

    Raises:
        BadManifest: it is not in that schema.
    """
    from ratchet.app.running import engine
    from streams.clock import drive

    items = items_of(manifest)
    ours = [item for item in items if item["format"] in {*FORMATS, "intel-collateral"}]
    left_out: dict[str, int] = {}
    for item in items:
        if item not in ours and item["format"] != "collateral":  # what vendors' documents are called there
            left_out[item["format"]] = left_out.get(item["format"], 0) + 1
    place.create()
    (place.path / "ratchet.toml").write_text(_POLICY)
    with engine(place) as running:
        database = running.database
        arriving = sorted(_arriving(ours, read, database.blobs), key=lambda o: (o[1].time, o[1].id))
        moments = list(drive(arriving, EVERY, QUIET))
        for output in progress(moments, len(moments), "replaying"):
            database.log.append([output])
            if output[0] == "ticks":
                running.executor.drain()
        return Told(list(_tell(database.log)), left_out)


def _arriving(items: Iterable[Mapping[str, Json]], read: Read, blobs: Blobs) -> Iterator[tuple[str, Event]]:
    """Everything that comes from outside, in no promised order."""
    from ratchet.collateral.roots import vendor_roots

    needed: dict[str, datetime] = {}
    for item in items:
        expected = item["expected"]
        if item["format"] == "intel-collateral":
            needed.setdefault(item["file"], time_of(item.get("verification_time"), item["id"]) or _EPOCH)
            continue
        comings = [(time_of(item.get("verification_time"), item["id"]), paths_of(item))]
        for case in (*(expected.get("cases") or ()), *(expected.get("time_cases") or ())):
            comings.append((time_of(case.get("verification_time"), item["id"]), paths_of(case)))
        times = sorted({at for at, _ in comings if at is not None}) or [_EPOCH]
        for at, paths in comings:
            for path in paths:
                needed[path] = min(needed.get(path, at or times[0]), at or times[0])
        evidence = evidence_of(item, read)
        for again, at in enumerate(times):
            yield "evidence", _evidence(item, evidence, again, at, blobs)
    for path, at in sorted(needed.items()):
        document = read(path)
        if not is_root(document, vendor_roots()):
            yield "documents", _document(path, document, at, blobs)


_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""When evidence comes that the manifest gives no time."""


def _evidence(item: Mapping[str, Json], evidence: Evidence, again: int, at: datetime, blobs: Blobs) -> Event:
    tenant = TENANT if again == 0 else f"again-{again}"
    delivery = f"{item['id']} {stamp(at)}"
    data = {
        "blob": blobs.put(evidence.raw),
        "size": len(evidence.raw),
        "format": item["format"],
        "endorsements": [blobs.put(one) for one in evidence.endorsements],
        "challenge": None,
        "vouched": True,  # the manifest says when it was made, and that is the time it is given here
        "delivery": delivery,
        "hint": {"name": item["id"]},
        "late": False,
    }
    return Event(delivery_id(tenant, SOURCE, delivery), SOURCE, "evidence.received.v1", item["id"], at, tenant, data)


def _document(path: str, raw: bytes, needed: datetime, blobs: Blobs) -> Event:
    """A vendor's document, known from when the vendor dated it; when it is needed, if it says no such thing.

    Bundles were put together by people, now and then with a revocation list younger than the rest: that does not count.
    """
    from ratchet.collateral import Kind, UnknownDocument, parse
    from ratchet.collateral.roots import vendor_roots

    try:
        statements = parse(raw, needed, vendor_roots())
        dates = [known.valid_from for known in statements if known.kind is not Kind.INTEL_CRL]
        dated = max(dates, default=needed)
    except UnknownDocument:
        dated = needed
    name = path.rpartition("/")[2]
    data = {"blob": blobs.put(raw), "size": len(raw), "document": name, "origin": path, "delivery": digest(raw)}
    id = delivery_id(TENANT, SOURCE, f"{path} {digest(raw)}")
    return Event(id, SOURCE, "document.fetched.v1", f"{SOURCE}/{name}", dated, TENANT, data)


def _tell(log: Log) -> Iterator[str]:
    """One line a fact, in order of time; at one time, in the order of the log."""
    after, told = 0, []
    while records := log.read(("documents", "verdicts", "alerts", "proposals", "receipts", "dead-letters"), after, 500):
        for record in records:
            after = record.offset
            said = _line(record.topic, record.event)
            if said:
                whose = "" if record.event.tenant == TENANT else f"  ({record.event.tenant})"
                told.append((record.event.time, f"{record.event.time:%Y-%m-%d %H:%M}  {plain(said)}{whose}"))
    for _, line in sorted(told, key=itemgetter(0)):
        yield line


def _line(topic: str, event: Event) -> str:
    data = event.data
    match topic:
        case "documents":
            return f"document  {data['document']}"
        case "verdicts":
            status = data["tcb"]["merged"] if data["tcb"] else (data["tee"] or "-")
            evaluation = f" (evaluation {data['tcb']['evaluation']})" if data["tcb"] else ""
            codes = ", ".join(dict.fromkeys(r["code"] for r in data["reasons"]))
            kind = "again    " if data["rejudged"] else "verdict  "
            return f"{kind} {data['hint']['name']:<28} {data['tier']:<15} {status}{evaluation}  {codes}".rstrip()
        case "alerts":
            kind = event.type.split(".")[1]
            return f"alert     {kind:<8} [{data['level']}] {data['rule']}: {data['title']}"
        case "proposals":
            refused = ", ".join(one["hint"] for one in data["impact"]["refused"]) or "nobody"
            return f"proposal  {data['family']}: {summary(data['floor'])}; refuses {refused}; {data['why']}"
        case "receipts":
            return f"receipt   {data['store']} {data['outcome']}: {data['detail']}"
        case _:
            return f"letter    {data['origin']}: {data['code']}: {data['detail']}"


def files_below(folder: Path) -> Read:
    """Gives a file's bytes by its path in the manifest; a path that leads out of the folder is `BadManifest`."""

    def read(path: str) -> bytes:
        place = (folder / path).resolve()
        if not place.is_relative_to(folder):
            raise BadManifest(f"{path} lies outside the manifest's folder")
        return place.read_bytes()

    return read
