"""Verify one file of evidence, step by step, without keeping anything.

Uses the vendors' roots, the collateral that the data directory knows (where there is one) and the files given with
--collateral; judges as of --at, by default now.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ratchet.cli.errors import Exit, Fault
from ratchet.cli.home import home
from ratchet.cli.output import plain, print_json

if TYPE_CHECKING:
    from ratchet.evidence import Proof

EPILOG = """Example: ratchet verify quote.bin --collateral tcb.json --at 2025-06-20T10:00:35Z
Exit: 0 genuine and good enough, 3 of no known format, 4 refused."""

_MARK = {"passed": "✓", "failed": "✗", "not_possible": "–"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("file", help="the evidence: an SGX or TDX quote, an SNP report")
    parser.add_argument("--collateral", action="append", default=[], metavar="FILE", help="a vendor document")
    parser.add_argument("--endorsement", action="append", default=[], metavar="FILE", help="a certificate beside it")
    parser.add_argument("--challenge", metavar="HEX", help="what its report data must hold")
    parser.add_argument("--at", metavar="TIME", help="judge as of then (RFC 3339)")


def run(args: argparse.Namespace) -> int:
    """Verify, appraise and show."""
    from ratchet.appraise import appraise
    from ratchet.cli.composition import known_collateral, policy, roots
    from ratchet.evidence import Evidence, verify

    place = home(args)
    at = _time(args.at)
    trusted = roots(place)
    collateral = known_collateral(place, trusted)
    for name in args.collateral:
        from ratchet.collateral import UnknownDocument, parse

        try:
            # Given by hand, so taken as known since for ever: the vendor's own dates still count.
            for known in parse(_read(name), datetime.min.replace(tzinfo=UTC), trusted):
                collateral.add(known)
        except UnknownDocument as error:
            raise Fault("no-document", f"{name}: {error}", "see docs/formats.md", Exit.UNSUPPORTED) from error
    evidence = Evidence(
        raw=_read(args.file),
        endorsements=tuple(_read(name) for name in args.endorsement),
        challenge=_challenge(args.challenge),
    )
    proof = verify(evidence, collateral, at)
    verdict = appraise(proof, policy(place), at)
    if args.json:
        print_json({"proof": proof_data(proof), **verdict.to_data()})
    else:
        print(f"{proof.format or 'unknown format'}  judged as of {at:%Y-%m-%dT%H:%M:%SZ}")
        if proof.root:
            print(f"root   {proof.root.name}{' (SIMULATED)' if proof.root.simulated else ''}")
        for step in proof.steps:
            print(f"  {_MARK[step.outcome]} {step.name:<11} {plain(step.detail)}  [{step.source}]")
        if proof.tcb:
            print(f"TCB    {proof.tcb.merged}  {' '.join(proof.tcb.advisories)}")
        print(f"verdict {verdict.tier}  {' '.join(f'{k}={v}' for k, v in sorted(verdict.vector.items()))}")
        for reason in verdict.reasons:
            print(f"  {reason.code}: {reason.component} is {plain(reason.got)}, wanted {plain(reason.want)}")
            if reason.remedy:
                print(f"    do: {reason.remedy}")
    if proof.format is None:
        return Exit.UNSUPPORTED
    return Exit.DONE if verdict.tier == "affirming" else Exit.REFUSED


def proof_data(proof: Proof) -> dict[str, object]:
    """A proof as JSON, for programs."""
    return {
        "evidence": proof.evidence,
        "format": proof.format,
        "genuine": proof.genuine,
        "steps": [
            {
                "name": s.name,
                "outcome": s.outcome,
                "detail": s.detail,
                "source": s.source,
                "reasons": [r.to_data() for r in s.reasons],
            }
            for s in proof.steps
        ],
        "tcb": None
        if proof.tcb is None
        else {"merged": proof.tcb.merged, "advisories": proof.tcb.advisories, "evaluation": proof.tcb.evaluation},
        "root": None if proof.root is None else {"name": proof.root.name, "simulated": proof.root.simulated},
        "collateral": proof.collateral,
    }


def _time(text: str | None) -> datetime:
    from ratchet.event import parse_time

    if text is None:
        return datetime.now(UTC)
    try:
        return parse_time(text)
    except ValueError as error:
        raise Fault("time", f"--at: {error}", "write it like 2025-06-20T10:00:35Z", Exit.USAGE) from error


def _challenge(text: str | None) -> bytes | None:
    try:
        return None if text is None else bytes.fromhex(text)
    except ValueError as error:
        raise Fault("hex", "--challenge is not hex", "write two digits a byte", Exit.USAGE) from error


def _read(name: str) -> bytes:
    from collectors.delivery import MAX_DOCUMENT

    try:
        with Path(name).open("rb") as file:
            data = file.read(MAX_DOCUMENT + 1)
    except OSError as error:
        raise Fault("unreadable", f"{name}: {error.strerror}", "name a file that is there", Exit.UNREACHABLE) from error
    if len(data) > MAX_DOCUMENT:
        raise Fault("too-large", f"{name} has more than {MAX_DOCUMENT} bytes", "this is no evidence", Exit.USAGE)
    return data
