"""The quotes of Intel machines, honest and otherwise."""

from __future__ import annotations

import hashlib
from datetime import datetime
from functools import lru_cache

from collectors.simulated.intel.documents import hardware
from collectors.simulated.intel.pki import STRANGER, Tcb, intel_of
from collectors.simulated.intel.quotes import Guest, Quoter
from collectors.simulated.keys import Keyring
from collectors.simulated.model import BaseScenario
from collectors.simulated.spec import Machine, Piece


class QuoteMint:
    """Keeps what machines would: their certificates and quoting enclaves."""

    def __init__(self, scenario: BaseScenario, keys: Keyring) -> None:
        self._keys = keys
        self._quoter = lru_cache(maxsize=4096)(self._make_quoter)

    def evidence(self, piece: Piece, challenge: bytes) -> tuple[bytes, tuple[bytes, ...]]:
        """A quote that holds the SHA-512 of the challenge; its PCK chain is in it."""
        return self.quote(piece, hashlib.sha512(challenge).digest()), ()

    def quote(self, piece: Piece, report_data: bytes) -> bytes:
        """The quote of a piece, over any 64 bytes of report data."""
        group, tcb = hardware(piece.machine), piece.firmware
        if not isinstance(tcb, Tcb):
            raise ValueError(f"{piece.machine.name} has no Intel firmware")
        quoter = self._quoter(piece.machine, piece.chip, tcb, piece.how == "another-root", piece.certified_from)
        if piece.how == "another-key":
            quoter = quoter.by(self._keys.ec(f"forger/{piece.delivery}", 256))
        image, *registers = group.measured(piece.release)
        guest = Guest(
            measurement=image,
            signer=hashlib.sha256(f"simulated signer of {group.runs}".encode()).digest(),
            seam=hashlib.sha384(f"simulated TDX module {tcb.tdx[:2].hex()}".encode()).digest(),
            registers=tuple(registers),
            debug=piece.debug,
        )
        return quoter.quote(group.quote_version(), guest, report_data)

    def _make_quoter(self, machine: Machine, chip: str, tcb: Tcb, strange: bool, valid_from: datetime) -> Quoter:
        group = hardware(machine)
        vendor = intel_of(self._keys, STRANGER) if strange else intel_of(self._keys)
        pck = vendor.pck(chip, group.fmspc, group.pck_ca(), tcb, valid_from)
        key = self._keys.ec(f"attestation/{chip}/{group.PLATFORM}", 256)
        return Quoter(group.PLATFORM, key, pck, tcb, self._keys.derive(f"qe id/{chip}", 16))
