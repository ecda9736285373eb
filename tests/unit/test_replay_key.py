"""Evidence that was signed once has one replay key, whatever is put around it; signed twice, it has two."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from snp_world import World

from ratchet.collateral import Collateral, parse
from ratchet.collateral.roots import vendor_roots
from ratchet.evidence import Evidence, Proof, replay_key, verify

P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
P384 = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
"""Orders of the curves (SEC 2, 2.4.2 and 2.5.1)."""

QUOTES = {"sgx-signal-dcap": 436, "tdx4-dcapqvl-sample": 636}
"""Where the signature begins."""


@pytest.fixture(params=sorted(QUOTES))
def quote(request: pytest.FixtureRequest, corpus: Path) -> tuple[bytes, int, Callable[[bytes], Proof]]:
    """A real quote, where its signature is, and what proves it."""
    entries = {e["id"]: e for e in json.loads((corpus / "MANIFEST.json").read_text())}
    entry = entries[request.param]
    at = datetime.fromisoformat(entry["verification_time"])
    documents = [one for one in entry.get("collateral") or () if isinstance(one, str)]
    known = [k for one in documents for k in parse((corpus / one).read_bytes(), at, vendor_roots())]

    def prove(raw: bytes) -> Proof:
        return verify(Evidence(raw), Collateral(vendor_roots(), known), at)

    return (corpus / entry["file"]).read_bytes(), QUOTES[request.param], prove


def test_a_quote_dressed_otherwise_is_the_same_replay_key(quote: tuple[bytes, int, Callable[[bytes], Proof]]) -> None:
    raw, place, prove = quote
    s = int.from_bytes(raw[place + 32 : place + 64], "big")
    turned = raw[: place + 32] + (P256 - s).to_bytes(32, "big") + raw[place + 64 :]
    first = replay_key(raw, prove(raw))
    for other in (raw + b"\0", raw + b"anything", turned):
        proof = prove(other)
        assert proof.unproven == (), "it is proven as the first was"
        assert proof.evidence != prove(raw).evidence
        assert replay_key(other, proof) == first


def test_what_is_not_proven_is_known_by_its_bytes(quote: tuple[bytes, int, Callable[[bytes], Proof]]) -> None:
    """So a forgery that borrows somebody's r cannot be taken for what it was borrowed from, nor the reverse."""
    raw, place, prove = quote
    forged = raw[: place + 40] + bytes([raw[place + 40] ^ 1]) + raw[place + 41 :]
    assert replay_key(forged, prove(forged)) == prove(forged).evidence != replay_key(raw, prove(raw))
    assert replay_key(b"nothing", prove(b"nothing")) == prove(b"nothing").evidence


def test_a_report_dressed_otherwise_has_the_same_replay_key_and_another_report_is_not() -> None:
    world = World("Milan")
    raw = world.report()
    s = int.from_bytes(raw[0x2E8:0x330], "little")
    turned = raw[:0x2E8] + (P384 - s).to_bytes(72, "little") + raw[0x330:]
    beside = (world.vek(), world.signer())
    first = replay_key(raw, world.judge(raw, *beside))
    for other in (raw + b"\0" * 7, turned):
        proof = world.judge(other, *beside)
        assert proof.unproven == ()
        assert replay_key(other, proof) == first
    again = world.report()
    assert again != raw, "the same report, signed once more"
    assert replay_key(again, world.judge(again, *beside)) != first
