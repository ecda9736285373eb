"""Verifications a second on one core: verify and appraise, from bytes to objects, beside the bare signature checks.

Three rows for each format. cold: nothing is cached on either side: collateral and certificates are read from their
bytes and every signature below the root is checked, in each call; only the roots' own certificates, which both are
given before, have been read. first: a machine's first evidence, where the vendor's statements are known. repeat: a
machine's next evidence. dcap-qvl keeps nothing between calls, so its cold figure is its figure; it reads no SNP
reports, and none of Azure's evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from unittest.mock import patch

import dcap_qvl

from bench.checks import checks, run
from bench.specimens import INTEL as INTEL_KINDS
from bench.specimens import Specimen, specimens
from bench.timing import Work, rates
from ratchet.collateral import Collateral, parse, roots
from ratchet.collateral.roots import INTEL
from ratchet.evidence import verify
from ratchet.policy.appraise import Policy, appraise

POLICY = Policy(name="bench")

Row = dict[str, float | None]


def measure(seconds: float, say: Callable[[str], None]) -> dict[str, dict[str, Row]]:
    """Every row of every format; `seconds` for each row, about."""
    found: dict[str, dict[str, Row]] = {}
    for kind, specimen in specimens().items():
        say(f"{kind}: {specimen.source}")
        bare = checks(kind, specimen)
        ours = {"cold": _cold(specimen), "first": _first(specimen), "repeat": _repeat(specimen)}
        found[kind] = {}
        for row, work in ours.items():
            # A process reads the shipped issuers and links them to their roots once, which spares it two signatures in
            # each quote and two certificates: not so where nothing is cached.
            forgotten = [patch.object(roots, "known_links", dict)] * (row == "cold")
            works: dict[str, Work] = {"rate": work, "bare": partial(run, bare[row])}
            if kind in INTEL_KINDS:
                works["peer"] = _peer(specimen)
            with ExitStack() as without:
                for one in forgotten:
                    without.enter_context(one)
                seen = rates(works, seconds)
            found[kind][row] = {"rate": seen["rate"], "bare": seen["bare"], "peer": seen.get("peer")}
            say(
                f"  {row:<7} {seen['rate']:8.0f}/s  {seen['rate'] / seen['bare']:5.0%} of {len(bare[row])} bare checks"
                + (f"  {seen['rate'] / seen['peer']:5.2f} x dcap-qvl" if "peer" in seen else "")
            )
    return found


def _judge(specimen: Specimen, collateral: Collateral) -> None:
    proof = verify(specimen.evidence, collateral, specimen.at)
    appraise(proof, POLICY, specimen.at)
    if not proof.genuine:
        raise AssertionError(f"{specimen.source} is not genuine: the figure would be of something else")


def _collateral(specimen: Specimen) -> Collateral:
    collateral = Collateral(specimen.roots)
    for document in specimen.documents:
        for known in parse(document, specimen.at, specimen.roots, collateral.memo):
            collateral.add(known)
    return collateral


def _cold(specimen: Specimen) -> Work:
    return lambda: _judge(specimen, _collateral(specimen))


def _first(specimen: Specimen) -> Work:
    """The vendor's statements, and what was worked out from them alone, are known; the machine is new each time."""
    collateral = _collateral(specimen)
    known = dict(collateral.memo)

    def work() -> None:
        collateral.memo.clear()
        collateral.memo.update(known)
        _judge(specimen, collateral)

    return work


def _repeat(specimen: Specimen) -> Work:
    collateral = _collateral(specimen)
    return lambda: _judge(specimen, collateral)


def _peer(specimen: Specimen) -> Work:
    root = next(root for root in specimen.roots if root.vendor == INTEL and _is_root_of(specimen, root.der))
    text = next(d for d in specimen.documents if d.startswith(b"{")).decode()
    raw, now = specimen.evidence.raw, int(specimen.at.timestamp())

    def work() -> None:
        collateral = dcap_qvl.QuoteCollateralV3.from_json(text)
        dcap_qvl.verify_with_root_ca(raw, collateral, root.der, now)

    return work


def _is_root_of(specimen: Specimen, der: bytes) -> bool:
    from base64 import b64encode

    return b64encode(der)[100:160] in specimen.evidence.raw.replace(b"\n", b"")
