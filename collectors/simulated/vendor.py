"""The simulated vendors in one folder: an Intel and an AMD, trusted where configured, and strangers that never are."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from collectors.simulated.amd import Amd
from collectors.simulated.intel import Intel
from collectors.simulated.keys import Keyring
from collectors.simulated.scenario import Product
from ratchet.collateral.roots import root_from
from ratchet.x509.anchor import Root
from ratchet.x509.anchor import Vendor as Maker

PRODUCTS: tuple[Product, ...] = ("Milan", "Genoa", "Turin")


class Vendor:
    """The PKI of a simulated fleet.

    Args:
        folder: of the keys, made when first needed, readable by their owner alone. All bytes that a scenario mints
            follow from this folder and the scenario.
    """

    def __init__(self, folder: Path) -> None:
        self.keys = Keyring(folder)
        self.intel = Intel(self.keys)
        self.amd = Amd(self.keys)

    @cached_property
    def strangers(self) -> tuple[Intel, Amd]:
        """Vendors of the same names under roots that nobody trusts."""
        return Intel(self.keys, "strange-intel"), Amd(self.keys, "strange-amd")

    def roots(self, products: Iterable[Product] = PRODUCTS) -> tuple[Root, ...]:
        """The trust anchors, for a data directory's configuration to name; each is marked as simulated."""
        source = f"{self.keys.folder} (simulated)"
        found = [(Intel.ROOT, Maker.INTEL, self.intel.root)]
        found += [(f"Simulated ARK-{product}", Maker.AMD, self.amd.ark(product)) for product in products]
        return tuple(root_from(name, maker, der, source, simulated=True) for name, maker, der in found)
