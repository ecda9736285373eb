"""The attestation documents of Nitro enclaves, honest and otherwise, and until when one lets its machine be trusted."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from collectors.simulated.aws.groups import NitroGroup
from collectors.simulated.aws.pki import LEAF_LIFE, STRANGER, Aws
from collectors.simulated.cbor import encode
from collectors.simulated.keys import Keyring
from collectors.simulated.model import BaseScenario
from collectors.simulated.spec import Judge, Piece

_PROTECTED = encode({1: -35})
"""alg: ES384 (RFC 9053, 2.1)."""


LATE = LEAF_LIFE + timedelta(hours=1)
"""How long an expired document was on its way."""


class DocumentMint:
    """Documents, each under a leaf that was issued when it was made."""

    def __init__(self, scenario: BaseScenario, keys: Keyring) -> None:
        self._keys = keys
        self._vendor, self._stranger = Aws(keys), Aws(keys, STRANGER)

    def evidence(self, piece: Piece, challenge: bytes) -> tuple[bytes, tuple[bytes, ...]]:
        """A document with the challenge as its nonce; nothing is sent beside it."""
        group = piece.machine.group
        if not isinstance(group, NitroGroup):
            raise ValueError(f"{piece.machine.name} is not AWS's")
        vendor = self._stranger if piece.how == "another-root" else self._vendor
        guest = f"{piece.release}{'/debug' * piece.debug}"
        enclave = self._vendor.enclave(piece.chip, guest, piece.machine.region)
        made = piece.time - LATE if piece.how == "expired" else piece.time
        since = piece.certified_from if piece.how == "future-dated" else made
        measured = group.measurements(piece.release)
        pcrs = dict.fromkeys(range(16), bytes(48))
        if not piece.debug:
            pcrs |= {i: bytes.fromhex(measured[f"pcr{i}"]) for i in range(3)}
            pcrs[8] = _extended(f"signer of {group.runs}") if group.signed_image else bytes(48)
        pcrs[4] = _extended(enclave.instance)
        payload = encode(
            {
                "module_id": enclave.module,
                "digest": "SHA384",
                "timestamp": int(made.timestamp() * 1000),
                "pcrs": pcrs,
                "certificate": vendor.leaf(enclave, since),
                "cabundle": vendor.bundle(enclave, since),
                "public_key": self._keys.ec(f"key of {enclave.module}", 384).spki,
                "user_data": None,
                "nonce": challenge,
            }
        )
        key = vendor.key(enclave.subject)
        if piece.how == "another-key":
            key = self._keys.ec(f"forger/{piece.delivery}", 384)
        signature = key.sign_quote(encode(["Signature1", _PROTECTED, b"", payload]))  # RFC 9052, 4.4
        return encode([_PROTECTED, {}, payload, signature]), ()


def _extended(text: str) -> bytes:
    """A register into which one text was measured (user guide, "Where to get an enclave's measurements")."""
    return hashlib.sha384(bytes(48) + text.encode()).digest()


class LeafJudge(Judge):
    """AWS attests no versions and publishes nothing: what ends is the leaf."""

    def trusted_until(self, piece: Piece, trusted_for: timedelta) -> datetime:
        """No longer than its leaf lives."""
        return piece.time + min(trusted_for, LEAF_LIFE)
