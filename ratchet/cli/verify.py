"""Verify evidence from files or standard input, step by step, without keeping anything.

FILE holds the evidence as bytes, or as hex, base64, base64url or PEM text. Uses the vendors' roots, the collateral that
the data directory knows (where there is one) and the files given with --collateral; judges as of --at, by default now,
by the policy of the data directory or of --policy.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ratchet.app.errors import Exit, Fault
from ratchet.app.home import home
from ratchet.app.output import plain, print_json, reason_lines, shown
from ratchet.event import Json

if TYPE_CHECKING:
    from ratchet.app.evidence_file import EvidenceFile
    from ratchet.collateral import Collateral
    from ratchet.evidence import Evidence, Proof
    from ratchet.policy.appraise import Verdict
    from ratchet.policy.policy import Policy
    from ratchet.x509.anchor import Root

EPILOG = """Examples: ratchet verify quote.bin --collateral tcb.json --at 2025-06-20T10:00:35Z
          base64 -d quote.b64 | ratchet verify - --json
          ratchet verify report.bin --challenge 00112233445566778899aabbccddeeff --ear kbs.example
          ratchet verify report.bin --vouch web-2026-03
Exit: 0 all are genuine and good enough, 3 a format that is not supported, 4 refused, 6 a file cannot be read.
Of several files the worst counts: 4 before 6 before 3."""

_MARK = {"passed": "✓", "failed": "✗", "not_possible": "–"}

_WORST_FIRST = (Exit.OURS, Exit.REFUSED, Exit.UNREACHABLE, Exit.USAGE, Exit.UNSUPPORTED)


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="evidence: a quote or a report; - is standard input")
    parser.add_argument("--collateral", action="append", default=[], metavar="FILE", help="a vendor document")
    parser.add_argument("--endorsement", action="append", default=[], metavar="FILE", help="a certificate beside it")
    parser.add_argument("--challenge", metavar="HEX", help="what its report data must hold")
    parser.add_argument("--key", metavar="FILE", help="the public key (DER) or run-time data that it says it binds")
    parser.add_argument(
        "--ear", metavar="AUDIENCE", help="print a signed EAR for whoever relies on it; needs --challenge"
    )
    parser.add_argument(
        "--vouch", metavar="NAME", help="print its measurements as reference values for ratchet.toml, if it is genuine"
    )
    parser.add_argument("--policy", metavar="FILE", help="judge by this policy (TOML or JSON), not the configured one")
    parser.add_argument("--at", metavar="TIME", help="judge as of then (RFC 3339)")


def run(args: argparse.Namespace) -> int:
    """Verify, appraise and show each; exit by the worst of them."""
    from ratchet.app.composition import known_collateral, policy, roots
    from ratchet.app.evidence_file import read, read_evidence
    from ratchet.evidence import Evidence

    place = home(args)
    at = _time(args.at)
    trusted = roots(place)
    judged_by = _policy(args.policy) if args.policy else policy(place)
    collateral = known_collateral(place, trusted)
    for name in args.collateral:
        _add(collateral, name, trusted)
    endorsements = tuple(read(name) for name in args.endorsement)
    challenge = _challenge(args.challenge)
    if args.ear is not None:
        if args.vouch is not None:
            raise Fault("vouch", "--vouch and --ear print one thing each", "ask for one of them", Exit.USAGE)
        return _ear(args, endorsements, challenge)
    key = read(args.key) if args.key else None
    if args.vouch is not None:
        evidence = Evidence(_only_file(args).raw, endorsements=endorsements, challenge=challenge, key=key)
        return _vouch(args, evidence, collateral.judging_by(judged_by.evaluations()), at)
    codes = []
    for position, name in enumerate(args.files):
        if position and not args.json:
            print()
        try:
            file = read_evidence(name)
        except Fault as fault:
            if len(args.files) == 1:
                raise
            print_json(fault.to_data()) if args.json else print(fault.text())
            codes.append(fault.exit)
            continue
        evidence = Evidence(file.raw, endorsements=endorsements, challenge=challenge, key=key)
        codes.append(_one(args, file, evidence, collateral, judged_by, at))
    return min(codes, key=lambda code: _WORST_FIRST.index(code) if code in _WORST_FIRST else len(_WORST_FIRST))


def _ear(args: argparse.Namespace, endorsements: tuple[bytes, ...], challenge: bytes | None) -> Exit:
    """A token for one piece of evidence, signed with the keys of the data directory: the token alone is printed."""
    from ratchet.app.evidence_file import read, read_evidence
    from ratchet.app.relying import RelyingParties
    from ratchet.ear import PROOF_AUDIENCE
    from ratchet.evidence import Evidence
    from ratchet.evidence.freshness import MIN_CHALLENGE

    if len(args.files) != 1 or args.policy or args.at or args.collateral:
        why = "a token is about one file, now, by the policy and the documents of the data directory"
        raise Fault("ear", f"--ear: {why}", "leave --policy, --at and --collateral out", Exit.USAGE)
    if challenge is None or len(challenge) < MIN_CHALLENGE:
        why = f"needs --challenge: the relying party's nonce, at least {MIN_CHALLENGE} bytes"
        raise Fault("ear", f"--ear {why}", "ask it for one; the evidence must hold it", Exit.USAGE)
    if not args.ear or args.ear == PROOF_AUDIENCE:
        raise Fault("ear", "--ear names who will rely on the token", "not empty, and not " + PROOF_AUDIENCE, Exit.USAGE)
    file = read_evidence(args.files[0])
    key = read(args.key) if args.key else None
    evidence = Evidence(file.raw, endorsements=endorsements, challenge=challenge, key=key)
    result = RelyingParties(home(args)).judge(evidence, args.ear, datetime.now(UTC))
    if args.json:
        print_json(result.to_data())
    else:
        print(result.token)
        for line in reason_lines(reason.to_data() for reason in result.verdict.reasons):
            print(line, file=sys.stderr)
    if result.proof.format is None:
        return Exit.UNSUPPORTED
    return Exit.DONE if result.verdict.tier == "affirming" else Exit.REFUSED


def _only_file(args: argparse.Namespace) -> EvidenceFile:
    from ratchet.app.evidence_file import read_evidence
    from ratchet.app.vouching import check_name

    check_name(args.vouch)
    if len(args.files) != 1:
        raise Fault("vouch", "--vouch is about one file", "name one; of others make sets of their own", Exit.USAGE)
    return read_evidence(args.files[0])


def _vouch(args: argparse.Namespace, evidence: Evidence, collateral: Collateral, at: datetime) -> Exit:
    """Reference values for what it measured: they alone are printed."""
    from ratchet.app.vouching import reference_values, toml
    from ratchet.evidence import verify

    values = reference_values(verify(evidence, collateral, at), args.files[0])
    if args.json:
        print_json({"reference_values": {args.vouch: values}})
    else:
        print(toml(args.vouch, values))
    return Exit.DONE


def _one(
    args: argparse.Namespace,
    file: EvidenceFile,
    evidence: Evidence,
    collateral: Collateral,
    policy: Policy,
    at: datetime,
) -> Exit:
    """Verify, appraise and show one piece of evidence."""
    from ratchet.evidence import verify
    from ratchet.policy.appraise import appraise

    proof = verify(evidence, collateral.judging_by(policy.evaluations()), at)
    verdict = appraise(proof, policy, at)
    if args.json:
        print_json(
            {
                "file": file.name,
                "encoding": file.encoding,
                "proof": {**proof.to_data(), "genuine": proof.genuine},
                **verdict.to_data(),
            }
        )
    else:
        _show(file, proof, verdict, at)
    if proof.format is None:
        return Exit.UNSUPPORTED
    return Exit.DONE if verdict.tier == "affirming" else Exit.REFUSED


def _show(file: EvidenceFile, proof: Proof, verdict: Verdict, at: datetime) -> None:
    from ratchet.evidence import FORMATS
    from ratchet.words import standing_in_full

    said = FORMATS[proof.format].title if proof.format else proof.steps[0].detail
    print(f"{plain(file.name)}: {said}, {len(file.raw)} bytes", end="")
    print(
        f" (read as {file.encoding})" if file.encoding != "bytes" else "",
        f", judged as of {at:%Y-%m-%dT%H:%M:%SZ}",
        sep="",
    )
    print(
        f"verdict  {standing_in_full(verdict.tier)}", *(f"{k}={v}" for k, v in sorted(verdict.vector.items())), sep="  "
    )
    if proof.format is None:
        print(f"  do: {proof.steps[0].reasons[0].remedy}")
        return
    for line in reason_lines(reason.to_data() for reason in verdict.reasons):
        print(f"  {line}")
    if proof.root:
        print(f"root     {proof.root.name}{' (SIMULATED)' if proof.root.simulated else ''}")
    if proof.tcb:
        known = proof.tcb.advisories
        advisories = ("advisories unknown",) if known is None else known
        print(f"TCB      {proof.tcb.merged}", *advisories, f"(evaluation {proof.tcb.evaluation})")
    print("proof")
    for step in proof.steps:
        print(f"  {_MARK[step.outcome]} {step.name:<11} {plain(step.detail)}  [{step.source}]")
    if proof.claims:
        print("claims" if proof.genuine else "claims (nothing of this is proven)")
        for name, value in claim_rows(proof.to_data()["claims"]):
            print(f"  {name:<32} {value}")


def claim_rows(rows: Mapping[str, Json]) -> list[tuple[str, str]]:
    """Every claim (of `Proof.to_data`) by its name, in words: identity, measurements, bits and security versions."""
    lines = [
        (name, shown(rows[name]))
        for name in rows
        if name not in ("format", "measurements", "bits", "tcb", *rows["measurements"]) and rows[name] is not None
    ]
    for group in ("measurements", "bits", "tcb"):
        lines += [(name, shown(value)) for name, value in sorted(rows[group].items(), key=_by_number)]
    return lines


def _by_number(item: tuple[str, Json]) -> tuple[str, int]:
    """So that `sgx.2` comes before `sgx.10`."""
    head, _, tail = item[0].rpartition(".")
    return (f"{head}.", int(tail)) if tail.isdecimal() else (item[0], 0)


def _add(collateral: Collateral, name: str, trusted: tuple[Root, ...]) -> None:
    from ratchet.app.evidence_file import read
    from ratchet.collateral import UnknownDocument, parse

    try:
        # Given by hand, so taken as known since for ever: the vendor's own dates still count.
        for known in parse(read(name), datetime.min.replace(tzinfo=UTC), trusted):
            collateral.add(known)
    except UnknownDocument as error:
        raise Fault("no-document", f"{name}: {error}", "see docs/formats.md", Exit.UNSUPPORTED) from error


def _policy(name: str) -> Policy:
    """The policy in a file: TOML or JSON, as a `[policy]` table or its keys alone."""
    import json
    import tomllib

    from ratchet.app.configuration import in_words
    from ratchet.app.evidence_file import read
    from ratchet.policy.policy import Policy

    text = read(name)
    try:
        said = json.loads(text) if text.lstrip().startswith(b"{") else tomllib.loads(text.decode())
    except ValueError as error:  # both parsers' errors, and that of decoding, are kinds of it
        raise Fault("policy", f"{name}: neither TOML nor JSON: {error}", "docs/policy.md has an example") from error
    table = said.get("policy", said)
    try:
        if not isinstance(table, Mapping):
            raise TypeError("`policy` is no table")
        return Policy.from_data(table)
    except (ValueError, TypeError, AttributeError) as error:
        key, _, why = str(error).removeprefix("policy: ").partition(": ")
        wrong = f"{name}: {key}: {in_words(why)}" if why else f"{name}: {error}"
        raise Fault("policy", wrong, "docs/policy.md has its keys") from error


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
