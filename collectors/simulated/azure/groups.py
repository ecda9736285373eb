"""Azure's virtual machines in a scenario: their groups, and what happens to them alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, get_args
from zlib import crc32

from collectors.simulated.amd.groups import SnpHardware
from collectors.simulated.azure import vtpm
from collectors.simulated.intel.groups import TdxHardware
from collectors.simulated.model import FAILED, Group, Happened, How, MachineName, Ways
from ratchet.evidence import Format

Bad = Literal[
    "pcrs-altered",
    "run-time-data-swapped",
    "report-by-another-key",
    "without-quote",
    "above-vmpl-0",
    "another-td-report",
]
"""In which ways Azure's evidence alone can be bad.

- `pcrs-altered`: the values beside the quote are the known image's, the quoted ones are another's;
- `run-time-data-swapped`: the run-time data name a forger's attestation key, which signed the quote, and the hardware
  report is of the genuine ones;
- `report-by-another-key`: nobody certified the key that signed the hardware report;
- `without-quote`: the TPM quote is left out;
- `above-vmpl-0`: on SNP, a guest above the paravisor asked for the report itself, with run-time data of its own;
- `another-td-report`: on TDX, the TD quote was made of another TDREPORT than came with it.
"""

_PARTICULAR: Mapping[str, str] = MappingProxyType({"above-vmpl-0": "az-snp", "another-td-report": "az-tdx"})
"""Ways that only machines of one kind know."""

_FIRMWARE_PCRS = (0, 2, 7, 13, 14)
"""PCRs that are the same on every machine: virtual firmware and its keys, and what no image here extends."""

_IMAGE_PCRS = (4, 8, 9, 11, 12)
"""PCRs that are the same on every machine that runs an image: boot loader, kernel and command line."""

_RESET = MappingProxyType({16: bytes(32), 23: bytes(32), **dict.fromkeys(range(17, 23), b"\xff" * 32)})
"""What PCRs hold that nothing was measured into (TCG PC Client Platform TPM Profile 1.05, 4.6.2)."""


class AzureGroup(Group):
    """Virtual machines whose paravisor has a TPM for them."""

    def bank(self, release: str, machine: str) -> tuple[bytes, ...]:
        """What the PCRs of the SHA-256 bank hold: some follow from the release, some from the machine."""

        def measured(number: int) -> bytes:
            what = f"{self.runs} {release}" if number in _IMAGE_PCRS else f"machine {machine}"
            if number in _FIRMWARE_PCRS:
                what = "virtual firmware"
            return hashlib.sha256(f"simulated PCR{number} of {what}".encode()).digest()

        return tuple(_RESET[n] if n in _RESET else measured(n) for n in range(vtpm.PCRS))

    def image(self, release: str) -> dict[str, str]:
        """PCRs of a release and of what is below it: name -> hex."""
        bank = self.bank(release, "")
        return {f"pcr{n}": bank[n].hex() for n in sorted(_FIRMWARE_PCRS + _IMAGE_PCRS)}

    def ways(self) -> Ways:
        """Its hardware's, and its own."""
        own = [way for way in get_args(Bad) if _PARTICULAR.get(way, self.tee) == self.tee]
        rules = {way: ("evidence-unproven",) if way == "without-quote" else (FAILED,) for way in own}
        return {**super().ways(), **rules}


class AzureSnpGroup(AzureGroup, SnpHardware):
    """Confidential virtual machines on SEV-SNP; a VCEK that is `sent` is in the JSON."""

    FORMAT = Format("az-snp-vtpm")
    MISLABELLED = Format("snp-report")
    SAMPLES: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "azure-milan": {"tee": "az-snp", "product": "Milan"},
            "azure-genoa": {
                "tee": "az-snp",
                "product": "Genoa",
                "vcek": "fetched",
                "firmware": {"bl": 10, "ucode": 84},
            },
        }
    )

    tee: Literal["az-snp"]

    def measured(self, release: str) -> bytes:
        """The paravisor's measurement, whatever runs above it."""
        return hashlib.sha384(b"simulated paravisor on snp").digest()

    def measurements(self, release: str) -> dict[str, str]:
        """The paravisor's, and the PCRs of the image above it."""
        return {"measurement": self.measured(release).hex(), **self.image(release)}

    def signed(self, raw: bytes) -> range:
        """In the SNP report from the measurement to the chip id; or in another signed part: which, the bytes decide."""
        parts = (vtpm.inside(raw, "hcl_report", vtpm.REPORT + 0x90, vtpm.REPORT + 0x180), *vtpm.joined(raw))
        return parts[crc32(raw) % len(parts)]


class AzureTdxGroup(AzureGroup, TdxHardware):
    """Confidential virtual machines on TDX."""

    FORMAT = Format("az-tdx-vtpm")
    MISLABELLED = Format("az-snp-vtpm")
    SAMPLES: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "azure-sapphire": {"tee": "az-tdx", "fmspc": "51806f050000"},
            "azure-emerald": {"tee": "az-tdx", "fmspc": "51c06f000000", "firmware": {"module": 3, "module_svn": 6}},
        }
    )

    tee: Literal["az-tdx"]

    def measured(self, release: str) -> tuple[bytes, ...]:
        """The paravisor's MRTD; it leaves the RTMRs alone."""
        return (hashlib.sha384(b"simulated paravisor on tdx").digest(), *[bytes(48)] * 4)

    def measurements(self, release: str) -> dict[str, str]:
        """The paravisor's, and the PCRs of the image above it."""
        return {"mrtd": self.measured(release)[0].hex(), **self.image(release)}

    def signed(self, raw: bytes) -> range:
        """In the TD report; or in another signed part: which, the bytes decide."""
        held = vtpm.inside(raw, "hcl_report", vtpm.REPORT + vtpm.REPORT_DATA.start, vtpm.REPORT + vtpm.REPORT_DATA.stop)
        parts = (vtpm.inside(raw, "td_quote", 54, 632), held, *vtpm.joined(raw))
        return parts[crc32(raw) % len(parts)]


class BadVtpmEvidence(Happened):
    """One piece under the machine's name whose parts do not belong together, or are not all there (`Bad`)."""

    event: Literal["bad-vtpm-evidence"]
    machine: MachineName
    how: Bad

    @property
    def way(self) -> How:
        """As the file says."""
        return self.how
