"""The evidence of Azure's virtual machines, honest and otherwise."""

from __future__ import annotations

import uuid
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import get_args

from collectors.simulated import certificates as x509
from collectors.simulated.amd.mint import ReportMint
from collectors.simulated.azure import vtpm
from collectors.simulated.azure.groups import AzureGroup, Bad
from collectors.simulated.intel.mint import QuoteMint
from collectors.simulated.keys import Keyring
from collectors.simulated.model import BaseScenario, How
from collectors.simulated.spec import Piece

_INNER: Mapping[How, How] = {
    **dict.fromkeys(get_args(Bad), "honest"),
    "another-key": "honest",
    "report-by-another-key": "another-key",
}
"""What is done to the hardware report, where it is something else than to the whole."""

_BY_FORGER = ("another-key", "run-time-data-swapped", "above-vmpl-0")
"""Ways in which the forger's key signed the TPM quote."""

_GUEST_VMPL = 2
"""Where guests run, above the paravisor."""

_UP_BEFORE = timedelta(days=3)
"""For how long virtual machines have run when a scenario begins."""


class _VtpmMint:
    """What virtual machines on either hardware have in common: the vTPM, its keys and what it quotes."""

    def __init__(self, scenario: BaseScenario, keys: Keyring) -> None:
        self._scenario, self._keys = scenario, keys

    def evidence(self, piece: Piece, challenge: bytes) -> tuple[bytes, tuple[bytes, ...]]:
        """The JSON that holds all of it; the quote's extraData are the challenge."""
        group, how = piece.machine.group, piece.how
        if not isinstance(group, AzureGroup):
            raise ValueError(f"{piece.machine.name} is not Azure's")
        # A virtual machine that is made anew, to run something else, has another TPM.
        guest = f"{piece.chip}/{piece.release}{'/debug' * piece.debug}"
        ak, forger = self._keys.rsassa(f"azure ak/{guest}"), self._keys.rsassa("azure forger")
        genuine, forged = (self._run_time_data(guest, key.modulus) for key in (ak, forger))
        claimed = forged if how == "above-vmpl-0" else genuine
        report, beside = self.hardware(piece, vtpm.bound(claimed))
        sent = forged if how == "run-time-data-swapped" else claimed
        known = group.bank(piece.release, piece.chip)
        runs = group.bank(f"{piece.release} altered", piece.chip) if how == "pcrs-altered" else known
        clock = piece.time - self._scenario.start + _UP_BEFORE
        signer = self._keys.derive(f"azure signer/{guest}", 32)
        message = vtpm.quote(runs, challenge, signer, clock // timedelta(milliseconds=1))
        signature = (forger if how in _BY_FORGER else ak).sign(message)
        quoted = None if how == "without-quote" else (message, signature, known)
        return vtpm.evidence(vtpm.hcl_report(self.report_type, report, sent), quoted, beside), ()

    report_type: int

    @abstractmethod
    def hardware(self, piece: Piece, report_data: bytes) -> tuple[bytes, dict[str, bytes]]:
        """The hardware report for the HCL report, over these report data, and the member that is sent beside it."""

    def _run_time_data(self, guest: str, ak: int) -> bytes:
        # Nothing here is encrypted to the endorsement key: any odd number will do, and nobody has its private half.
        ek = int.from_bytes(self._keys.derive(f"azure ek/{guest}", 256), "big") | 1 << 2047 | 1
        unique = uuid.UUID(bytes=self._keys.derive(f"azure vm/{guest}", 16))
        return vtpm.run_time_data(ak, ek, str(unique).upper())


def _inner(piece: Piece) -> Piece:
    """The piece as the hardware's vendor has to make it: what is done to the rest is none of its business."""
    return replace(piece, how=_INNER.get(piece.how, piece.how))


class SnpVtpmMint(_VtpmMint):
    """Of machines on SEV-SNP: the SNP report is in the HCL report."""

    report_type = vtpm.SNP

    def __init__(self, scenario: BaseScenario, keys: Keyring) -> None:
        super().__init__(scenario, keys)
        self._reports = ReportMint(scenario, keys)

    def hardware(self, piece: Piece, report_data: bytes) -> tuple[bytes, dict[str, bytes]]:
        """An SNP report; `vcek` has its certificates."""
        vmpl = _GUEST_VMPL if piece.how == "above-vmpl-0" else 0
        report, certificates = self._reports.report(_inner(piece), report_data, vmpl)
        if len(certificates) > 1:
            return report, {"vcek": "".join(map(x509.pem, certificates)).encode()}
        return report, {"vcek": certificates[0]} if certificates else {}


class TdxVtpmMint(_VtpmMint):
    """Of machines on TDX: the HCL report has a TDREPORT, and the TD quote of it comes beside."""

    report_type = vtpm.TDX

    def __init__(self, scenario: BaseScenario, keys: Keyring) -> None:
        super().__init__(scenario, keys)
        self._quotes = QuoteMint(scenario, keys)

    def hardware(self, piece: Piece, report_data: bytes) -> tuple[bytes, dict[str, bytes]]:
        """A TDREPORT; `td_quote` was made of it."""
        held = vtpm.bound(report_data) if piece.how == "another-td-report" else report_data
        return vtpm.td_report(held), {"td_quote": self._quotes.quote(_inner(piece), report_data)}
