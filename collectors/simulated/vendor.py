"""The simulated vendors' keys in one folder: trusted where configured, and nowhere else."""

from __future__ import annotations

from pathlib import Path

from collectors.simulated.keys import Keyring
from collectors.simulated.registry import VENDORS
from ratchet.collateral.roots import root_from
from ratchet.x509.anchor import Root


class Vendor:
    """The PKI of a simulated fleet, whoever its vendors are.

    Args:
        folder: of the keys, made when first needed, readable by their owner alone. All bytes that a scenario mints
            follow from this folder and the scenario.
    """

    def __init__(self, folder: Path) -> None:
        self.keys = Keyring(folder)

    def roots(self) -> tuple[Root, ...]:
        """The trust anchors, for a data directory's configuration to name; each is marked as simulated."""
        source = f"{self.keys.folder} (simulated)"
        return tuple(
            root_from(name, maker, der, source, simulated=True)
            for vendor in VENDORS.values()
            for name, maker, der in vendor.roots(self.keys)
        )
