"""A simulated AMD: SEV-SNP machines, their reports, and the certificates that AMD publishes."""

from collections.abc import Iterator

from collectors.simulated.amd.documents import AmdJudge, documents, publish
from collectors.simulated.amd.groups import BulletinReviewed, FirmwareRollsBack, Product, SnpGroup
from collectors.simulated.amd.mint import ReportMint
from collectors.simulated.amd.pki import amd_of
from collectors.simulated.amd.plants import PLANTS
from collectors.simulated.keys import Keyring
from collectors.simulated.spec import Kind, SimulatedVendor
from ratchet.collateral.roots import AMD
from ratchet.x509.anchor import Vendor as Maker

PRODUCTS: tuple[Product, ...] = ("Milan", "Genoa", "Turin")


def _roots(keys: Keyring) -> Iterator[tuple[str, Maker, bytes]]:
    for product in PRODUCTS:
        yield f"Simulated ARK-{product}", AMD, amd_of(keys).ark(product)


VENDOR = SimulatedVendor(
    name="amd",
    kinds=(Kind(group=SnpGroup, mint=ReportMint, judge=AmdJudge),),
    roots=_roots,
    documents=documents,
    publish=publish,
    events=(FirmwareRollsBack, BulletinReviewed),
    plants=PLANTS,
)
