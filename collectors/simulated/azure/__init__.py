"""A simulated Azure: confidential virtual machines on the simulated AMD's and Intel's processors.

It has no trust anchor and publishes nothing: its evidence is as good as the hardware report in it.
"""

from collections.abc import Iterator

from collectors.simulated.amd.documents import AmdJudge
from collectors.simulated.azure.groups import AzureSnpGroup, AzureTdxGroup, BadVtpmEvidence
from collectors.simulated.azure.mint import SnpVtpmMint, TdxVtpmMint
from collectors.simulated.azure.plants import PLANTS
from collectors.simulated.intel.documents import IntelJudge
from collectors.simulated.keys import Keyring
from collectors.simulated.spec import Kind, SimulatedVendor
from ratchet.x509.anchor import Vendor as Maker


def _no_roots(keys: Keyring) -> Iterator[tuple[str, Maker, bytes]]:
    yield from ()


VENDOR = SimulatedVendor(
    name="azure",
    kinds=(
        Kind(group=AzureSnpGroup, mint=SnpVtpmMint, judge=AmdJudge),
        Kind(group=AzureTdxGroup, mint=TdxVtpmMint, judge=IntelJudge),
    ),
    roots=_no_roots,
    events=(BadVtpmEvidence,),
    plants=PLANTS,
)
