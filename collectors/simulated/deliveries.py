"""From the plan to bytes: mint each piece and each document, in order of time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import lru_cache

from collectors.simulated import amd, quotes
from collectors.simulated.delivery import Delivery, DeliveryKind
from collectors.simulated.fleet import Machine, chance, measurement, register
from collectors.simulated.intel import Tcb
from collectors.simulated.plan import AmdDocument, IntelBundle, Piece, Review, fmspc_of, plan
from collectors.simulated.scenario import Scenario, SgxGroup, SnpFirmware, SnpGroup, TdxGroup
from collectors.simulated.span import CERTIFICATES_FROM
from collectors.simulated.vendor import Vendor
from ratchet.advisory import MEDIA_TYPE
from ratchet.event import stamp
from ratchet.evidence import MAX_EVIDENCE, Format

_FORMATS = {"sgx": Format("sgx-quote"), "tdx": Format("tdx-quote"), "snp": Format("snp-report")}
_MISLABELLED = {"sgx": Format("tdx-quote"), "tdx": Format("sgx-quote"), "snp": Format("sgx-quote")}
_BODY_AT = {"sgx": (48, 432), "tdx": (54, 632), "snp": (0x90, 0x180)}
"""Signed bytes of each format behind the fields that say which format it is: where a forger flips a bit."""


def deliveries(scenario: Scenario, vendor: Vendor, *, after: datetime | None = None) -> Iterator[Delivery]:
    """Everything that the scenario delivers, in order of time; the same bytes each time.

    Args:
        scenario: who does what.
        vendor: whose keys sign it.
        after: leave out what is due at or before this time, without minting it.
    """
    mint = _Mint(scenario, vendor)
    for one in plan(scenario):
        if after is not None and one.time <= after:
            continue
        match one:
            case Piece():
                yield mint.evidence(one)
            case IntelBundle():
                yield mint.intel(one)
            case AmdDocument():
                yield mint.amd(one)
            case Review():
                yield mint.review(one)


def _label(piece: Piece) -> Format | None:
    """What the sender says that the bytes are."""
    if piece.how == "random":
        return None
    return (_MISLABELLED if piece.how == "wrong-format" else _FORMATS)[piece.machine.group.tee]


class _Mint:
    """Keeps what machines would: their keys, certificates and quoting enclaves."""

    def __init__(self, scenario: Scenario, vendor: Vendor) -> None:
        self._scenario, self._vendor = scenario, vendor
        self._quoter = lru_cache(maxsize=4096)(self._make_quoter)
        self._raw = lru_cache(maxsize=256)(self._honest)

    # Documents.

    def intel(self, one: IntelBundle) -> Delivery:
        """A bundle of Intel's documents."""
        vendor = self._vendor.strangers[0] if one.how == "another-root" else self._vendor.intel
        raw = vendor.bundle(
            tee=one.tee,
            fmspc=one.fmspc,
            ca=one.ca,
            history=one.levels,
            qe=one.qe,
            evaluation=one.evaluation,
            issued=one.issued,
            crl_issued=one.issued if one.how == "future-dated" else one.time,
            revoked=[
                (self._vendor.intel.pck(machine.name, fmspc_of(machine), one.ca, tcb).serial, when)
                for when, machine, tcb in one.revoked
            ],
        )
        if one.how == "truncated":
            raw = raw[: len(raw) // 3]
        elif one.how == "random":
            raw = chance(self._scenario, one.delivery).randbytes(len(raw))
        elif one.how == "forged":
            # The advisory's list of levels as it was signed, and a level more that nobody signed.
            raw = raw.replace(b"OutOfDate", b"UpToDate")
        return self._document(one.time, f"bundle {one.tee} {one.fmspc}", one.delivery, raw)

    def amd(self, one: AmdDocument) -> Delivery:
        """A chain, a CRL or a VCEK."""
        vendor, name = self._vendor.amd, f"{one.what} {one.product}"
        if one.what == "chain":
            raw = vendor.chain(one.product)
        elif one.what == "crl":
            raw = vendor.crl(one.product, self._scenario.start)
        elif one.machine is not None and one.firmware is not None:
            chip = vendor.chip(one.product, one.machine.name)
            raw, name = vendor.vcek(chip, one.firmware), f"{name} {chip.hwid.hex()[:16]}"
        else:
            raise ValueError(f"{one.delivery}: a VCEK of which machine?")
        return self._document(one.time, name, one.delivery, raw)

    def review(self, one: Review) -> Delivery:
        """A reviewed floors file (docs/floors.md)."""
        event = one.event
        document = {
            "format": MEDIA_TYPE,
            "version": 1,
            "vendor": "AMD",
            "bulletin": event.bulletin,
            "title": f"A simulated bulletin: SEV firmware of {event.product}",
            "url": f"https://bulletins.simulated.invalid/{event.bulletin.lower()}",
            "published": stamp(one.time - timedelta(days=1)),
            "reviewer": event.reviewer,
            "reviewed_at": stamp(one.time),
            "floors": [
                {
                    "family": f"snp/{event.product}",
                    "minima": [{"tcb": {f"reported.{name}": svn for name, svn in event.minimum.items()}}],
                }
            ],
        }
        return self._document(one.time, event.bulletin, one.delivery, json.dumps(document, indent=1).encode())

    def _document(self, at: datetime, name: str, delivery: str, raw: bytes) -> Delivery:
        return Delivery(DeliveryKind.DOCUMENT, at, raw, name, None, (), None, delivery, None, None)

    # Evidence.

    def evidence(self, piece: Piece) -> Delivery:
        """One piece, as its sender delivers it."""
        raw, endorsements = self._raw(piece.original) if piece.original is not None else self._bytes(piece)
        return Delivery(
            kind=DeliveryKind.EVIDENCE,
            time=piece.time,
            raw=raw,
            name=piece.sender,
            format=_label(piece),
            endorsements=endorsements,
            challenge=None if piece.how == "unchallenged" else self.challenge(piece),
            delivery=piece.delivery,
            region=piece.machine.region,
            workload=piece.machine.group.runs,
        )

    def challenge(self, piece: Piece) -> bytes:
        """What the collector asked for this delivery: 32 bytes, never the same twice."""
        return hashlib.sha256(f"challenge {self._scenario.name} {piece.delivery}".encode()).digest()

    def _bytes(self, piece: Piece) -> tuple[bytes, tuple[bytes, ...]]:
        """The evidence and what is sent beside it."""
        group, how = piece.machine.group, piece.how
        draw = chance(self._scenario, piece.delivery)
        if how == "random":
            return draw.randbytes(2048), ()
        raw, endorsements = self._honest(piece)
        if how == "bit-flipped":
            at = draw.randrange(*_BODY_AT[group.tee])
            flipped = bytearray(raw)
            flipped[at] ^= 1 << draw.randrange(8)
            raw = bytes(flipped)
        elif how == "truncated":
            raw = raw[: draw.randrange(len(raw) // 4, len(raw) * 3 // 4)]
        elif how == "oversized":
            raw = raw + bytes(MAX_EVIDENCE)
        return raw, endorsements

    def _honest(self, piece: Piece) -> tuple[bytes, tuple[bytes, ...]]:
        """What the machine would send: by another key or under another root, for the pieces that are so."""
        report_data = hashlib.sha512(self.challenge(piece)).digest()
        if isinstance(piece.machine.group, SnpGroup):
            return self._snp(piece, piece.machine.group, report_data)
        return self._quote(piece, piece.machine.group, report_data), ()

    def _quote(self, piece: Piece, group: SgxGroup | TdxGroup, report_data: bytes) -> bytes:
        if not isinstance(piece.firmware, Tcb):
            raise ValueError(f"{piece.machine.name} has no Intel firmware")
        quoter = self._quoter(
            piece.machine, piece.chip, piece.firmware, piece.how == "another-root", self._valid_from(piece)
        )
        if piece.how == "another-key":
            quoter = quoter.by(self._vendor.keys.ec(f"forger/{piece.delivery}", 256))
        tdx = isinstance(group, TdxGroup)
        guest = quotes.Guest(
            measurement=measurement(group.runs, piece.release, group.tee),
            signer=hashlib.sha256(f"simulated signer of {group.runs}".encode()).digest(),
            seam=hashlib.sha384(f"simulated TDX module {piece.firmware.tdx[:2].hex()}".encode()).digest(),
            registers=tuple(register(group.runs, piece.release, n) for n in range(4)) if tdx else (),
            debug=piece.how == "debug",
        )  # fmt: skip
        return quoter.quote(group.quote if isinstance(group, TdxGroup) else 3, guest, report_data)

    def _make_quoter(self, machine: Machine, chip: str, tcb: Tcb, strange: bool, valid_from: datetime) -> quotes.Quoter:
        group = machine.group
        if isinstance(group, SnpGroup):
            raise ValueError(f"{machine.name} has no quoting enclave")
        vendor = self._vendor.strangers[0] if strange else self._vendor.intel
        ca = group.ca if isinstance(group, SgxGroup) else "platform"
        pck = vendor.pck(chip, group.fmspc, ca, tcb, valid_from)
        keys = self._vendor.keys
        key = keys.ec(f"attestation/{chip}/{group.tee}", 256)
        return quotes.Quoter(group.tee, key, pck, tcb, keys.derive(f"qe id/{chip}", 16))

    def _snp(self, piece: Piece, group: SnpGroup, report_data: bytes) -> tuple[bytes, tuple[bytes, ...]]:
        if not isinstance(piece.firmware, SnpFirmware) or piece.machine.committed is None:
            raise ValueError(f"{piece.machine.name} has no AMD firmware")
        strange = piece.how == "another-root"
        vendor = self._vendor.strangers[1] if strange else self._vendor.amd
        chip = self._vendor.amd.chip(group.product, piece.chip)
        key = vendor.vcek_key(chip, piece.firmware)
        if piece.how == "another-key":
            key = self._vendor.keys.ec(f"forger/{piece.delivery}", 384)
        guest = amd.Guest(
            measurement=measurement(group.runs, piece.release, group.tee),
            report_id=self._vendor.keys.derive(
                f"report id/{piece.chip}/{piece.release}{'/debug' * (piece.how == 'debug')}", 32
            ),
            debug=piece.how == "debug",
        )
        raw = amd.report(
            group.report,
            chip,
            guest,
            report_data,
            key,
            reported=piece.firmware,
            committed=piece.machine.committed,
            launch=piece.firmware,
        )
        beside = group.vcek == "sent" or piece.how in ("another-root", "future-dated", "foreign")
        beside = beside and piece.how != "unendorsed"
        certificates = (vendor.vcek(chip, piece.firmware, self._valid_from(piece)),) if beside else ()
        return raw, (*certificates, vendor.ask(group.product)) if strange else certificates

    def _valid_from(self, piece: Piece) -> datetime:
        return piece.time + timedelta(days=30) if piece.how == "future-dated" else CERTIFICATES_FROM
