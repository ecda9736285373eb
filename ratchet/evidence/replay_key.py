"""Replay keys: the hash of the signed bytes and the signature's r, so that changed unsigned bytes do not hide a replay.

Much of evidence is signed by nobody: what follows a quote, the text around its certificates, a certificate table. And
from an ECDSA signature (r, s) anybody makes another, (r, n - s), that holds as well. So the same evidence can be sent
again as other bytes, and a hash of the bytes would take it for fresh proof. What was signed and r cannot be altered
without the key, and r is another each time: the signature's nonce makes it (FIPS 186-5, 6.4.1).
"""

from __future__ import annotations

from ratchet.event import BlobId, digest
from ratchet.evidence import Proof, snp_report
from ratchet.evidence.quote import Quote
from ratchet.evidence.snp_report import SnpReport


def replay_key(raw: bytes, proof: Proof) -> BlobId:
    """The hash of what was signed and of the signature's r; of the bytes where it is not proven that they were signed.

    Args:
        raw: the evidence.
        proof: of it.
    """
    native = proof.claims.native if proof.claims is not None and not proof.unproven else None
    match native:
        case Quote():
            return digest(raw[: native.signed] + raw[native.signature : native.signature + 32])
        case SnpReport():
            return digest(raw[: snp_report.SIGNED] + native.signature_r)
    return proof.evidence
