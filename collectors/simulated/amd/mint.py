"""The SEV-SNP reports of AMD machines, honest and otherwise."""

from __future__ import annotations

import hashlib

from collectors.simulated.amd.groups import SnpFirmware, SnpHardware
from collectors.simulated.amd.pki import STRANGER, amd_of
from collectors.simulated.amd.report import Guest, report
from collectors.simulated.keys import Keyring
from collectors.simulated.model import BaseScenario
from collectors.simulated.spec import Piece


class ReportMint:
    """Reports, and the VCEK beside them."""

    def __init__(self, scenario: BaseScenario, keys: Keyring) -> None:
        self._scenario, self._keys = scenario, keys
        self._committed: dict[str, SnpFirmware] = {}

    def evidence(self, piece: Piece, challenge: bytes) -> tuple[bytes, tuple[bytes, ...]]:
        """A report that holds the SHA-512 of the challenge."""
        return self.report(piece, hashlib.sha512(challenge).digest())

    def report(self, piece: Piece, report_data: bytes, vmpl: int = 0) -> tuple[bytes, tuple[bytes, ...]]:
        """The report of a piece, over any 64 bytes of report data, and the certificates beside it.

        Args:
            piece: who sends it, and when.
            report_data: what it is over.
            vmpl: privilege level of whoever asks for it in the guest.
        """
        machine, group, firmware = piece.machine, piece.machine.group, piece.firmware
        if not isinstance(group, SnpHardware) or not isinstance(firmware, SnpFirmware):
            raise ValueError(f"{machine.name} is not AMD's")
        if machine.name not in self._committed:
            self._committed[machine.name] = group.committed(self._scenario, machine.name)
        strange = piece.how == "another-root"
        vendor = amd_of(self._keys, STRANGER) if strange else amd_of(self._keys)
        chip = amd_of(self._keys).chip(group.product, piece.chip)
        key = vendor.vcek_key(chip, firmware)
        if piece.how == "another-key":
            key = self._keys.ec(f"forger/{piece.delivery}", 384)
        guest = Guest(
            measurement=group.measured(piece.release),
            report_id=self._keys.derive(f"report id/{piece.chip}/{piece.release}{'/debug' * piece.debug}", 32),
            debug=piece.debug,
            vmpl=vmpl,
        )
        raw = report(
            group.report,
            chip,
            guest,
            report_data,
            key,
            reported=firmware,
            committed=self._committed[machine.name],
            launch=firmware,
        )
        beside = group.vcek == "sent" or piece.how in ("another-root", "future-dated", "foreign")
        beside = beside and piece.how != "unendorsed"
        certificates = (vendor.vcek(chip, firmware, piece.certified_from),) if beside else ()
        return raw, (*certificates, vendor.ask(group.product)) if strange else certificates
