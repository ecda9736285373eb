"""A simulated Intel: SGX and TDX machines, their quotes, and the documents that Intel publishes of them."""

from collections.abc import Iterator

from collectors.simulated.intel.documents import IntelJudge, documents, publish
from collectors.simulated.intel.groups import BadDocument, CertificateRevoked, SgxGroup, TcbRecovery, TdxGroup
from collectors.simulated.intel.mint import QuoteMint
from collectors.simulated.intel.pki import Intel, intel_of
from collectors.simulated.intel.plants import PLANTS
from collectors.simulated.keys import Keyring
from collectors.simulated.spec import Kind, SimulatedVendor
from ratchet.collateral.roots import INTEL
from ratchet.x509.anchor import Vendor as Maker


def _roots(keys: Keyring) -> Iterator[tuple[str, Maker, bytes]]:
    yield Intel.ROOT, INTEL, intel_of(keys).root


VENDOR = SimulatedVendor(
    name="intel",
    kinds=(
        Kind(group=SgxGroup, mint=QuoteMint, judge=IntelJudge),
        Kind(group=TdxGroup, mint=QuoteMint, judge=IntelJudge),
    ),
    roots=_roots,
    documents=documents,
    publish=publish,
    events=(CertificateRevoked, TcbRecovery, BadDocument),
    plants=PLANTS,
)
