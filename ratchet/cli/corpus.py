"""Check a manifest of real evidence, or replay it through the whole pipeline."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ratchet.app.errors import Exit, Fault
from ratchet.app.output import plain, print_json, progress
from ratchet.conformance import replay as corpus_replay

if TYPE_CHECKING:
    from ratchet.conformance.check import Checked, Finding, Report

EPILOG = """\
check compares what Ratchet sees in every item with what the manifest says is there.

Exit: 0 all agree; 3 they do, but items of formats not known here were left out; 4 one disagrees; 6 the manifest
or a file that it names cannot be read.

Example: ratchet corpus check ../shared/corpus/MANIFEST.json --format snp-report,az-snp-vtpm
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """`check` and `replay`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="compare what is seen in each item with what the manifest says")
    check.add_argument("manifest", type=Path, help="MANIFEST.json; paths in it are below its folder")
    check.add_argument("--format", metavar="F,…", help="only items of these formats")
    check.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON, one object an item")
    replay = actions.add_parser("replay", help="put the items through the whole pipeline, in order of time")
    replay.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON object")
    corpus_replay.configure(replay)


def run(args: argparse.Namespace) -> int:
    """Do it."""
    if args.action == "replay":
        return corpus_replay.run(args)
    formats = [name.strip() for name in args.format.split(",") if name.strip()] if args.format else None
    report = check_file(args.manifest, formats)
    for line in report_json(report) if args.json else report_text(report):
        print_json(line) if args.json else print(line)
    return int(exit_of(report))


def check_file(manifest: Path, formats: list[str] | None = None) -> Report:
    """`corpus_check.check` on a file, with the vendors' roots that ship with Ratchet.

    Raises:
        Fault: the manifest, or a file that it names, cannot be read.
    """
    from ratchet.collateral.roots import vendor_roots
    from ratchet.conformance.check import BadManifest, check
    from ratchet.conformance.replay import files_below

    folder = manifest.resolve().parent
    try:
        return check(manifest.read_bytes(), files_below(folder), vendor_roots(), formats, _shown)
    except BadManifest as bad:
        raise Fault(
            "manifest", f"{manifest} is no manifest: {bad}", "see docs/corpus.md for its schema", Exit.UNREACHABLE
        ) from None
    except OSError as away:
        why = away.strerror or str(away)
        raise Fault("manifest", f"{away.filename or manifest}: {why}", "check the path", Exit.UNREACHABLE) from None


def _shown(items: list[dict[str, object]]) -> Iterable[dict[str, object]]:
    return progress(items, len(items), "checking")


def exit_of(report: Report) -> Exit:
    """Disagreement before what was left out."""
    if report.disagreeing:
        return Exit.REFUSED
    return Exit.UNSUPPORTED if report.unsupported or report.unknown else Exit.DONE


def report_text(report: Report) -> Iterable[str]:
    """A line an item, more where it disagrees, then a summary."""
    for item in report.items:
        yield _line(item)
        for finding in item.disagreements:
            yield f"    {plain(finding.what)}"
            yield f"      expected  {_short(finding.expected)}"
            yield f"      seen      {_short(finding.seen)}{_note(finding)}"
        for finding in item.findings:
            if finding.agrees and finding.what == "leaf" and finding.note:
                yield f"    {plain(finding.what)}: {plain(finding.note)}"
    compared = sum(len(item.findings) for item in report.items)
    yield ""
    yield (
        f"{len(report.items)} items, {compared} comparisons: "
        f"{len(report.items) - len(report.disagreeing)} agree, {len(report.disagreeing)} disagree"
    )
    if report.unsupported:
        listed = ", ".join(f"{n} {name}" for name, n in sorted(report.unsupported.items()))
        yield f"{sum(report.unsupported.values())} items of formats not known here: {listed}"
    for name in report.unknown:
        yield f"no item of format {plain(name)}"


def _line(item: Checked) -> str:
    by_name = {finding.what: finding for finding in item.findings}
    shown = []
    for name in ("signature", "tcb_status"):
        finding = by_name.get(name)
        if finding is not None:
            agree = finding.expected == finding.seen
            shown.append(_short(finding.seen) if agree else f"{_short(finding.expected)}: {_short(finding.seen)}")
    notes = {finding.note for finding in item.findings if finding.what == "signature" and finding.note}
    mark = "  DISAGREES" if item.disagreements else "agrees"
    tail = f"  ({'; '.join(sorted(map(plain, notes)))})" if notes else ""
    return f"{mark:<11} {plain(item.id):<32} {len(item.findings):>3}  {', '.join(shown)}{tail}"


def _short(value: object) -> str:
    text = plain(value) if isinstance(value, str) else plain(repr(value))
    return text if len(text) <= 400 else f"{text[:400]}…"


def _note(finding: Finding) -> str:
    return f"  ({plain(finding.note)})" if finding.note else ""


def report_json(report: Report) -> Iterable[dict[str, object]]:
    """The same as JSON: one object an item, then the summary."""
    for item in report.items:
        yield {
            "id": item.id,
            "format": item.format,
            "agrees": not item.disagreements,
            "findings": [
                {"what": f.what, "expected": f.expected, "seen": f.seen, "agrees": f.agrees, "note": f.note}
                for f in item.findings
            ],
        }
    yield {
        "summary": {
            "items": len(report.items),
            "agree": len(report.items) - len(report.disagreeing),
            "disagree": len(report.disagreeing),
            "comparisons": sum(len(item.findings) for item in report.items),
            "unsupported": dict(report.unsupported),
            "unknown_formats": list(report.unknown),
            "exit": int(exit_of(report)),
        }
    }
