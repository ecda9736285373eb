"""A simulated AWS: Nitro enclaves and their attestation documents. It publishes nothing, as AWS does not."""

from collections.abc import Iterator

from collectors.simulated.aws.groups import DocumentExpired, NitroGroup
from collectors.simulated.aws.mint import DocumentMint, LeafJudge
from collectors.simulated.aws.pki import Aws
from collectors.simulated.aws.plants import PLANTS
from collectors.simulated.keys import Keyring
from collectors.simulated.spec import Kind, SimulatedVendor
from ratchet.collateral.roots import AWS
from ratchet.x509.anchor import Vendor as Maker


def _roots(keys: Keyring) -> Iterator[tuple[str, Maker, bytes]]:
    yield "Simulated Nitro root", AWS, Aws(keys).root()


VENDOR = SimulatedVendor(
    name="aws",
    kinds=(Kind(group=NitroGroup, mint=DocumentMint, judge=LeafJudge),),
    roots=_roots,
    events=(DocumentExpired,),
    plants=PLANTS,
)
