"""Samples as a store is asked them: claims become tokens for `urn:ratchet:proof`, signed as any other token is.

A sample is a machine as `policy.simulate.samples` gives it. `genuine: false` gives a token that another key signed:
to a store, a forgery. `status` is what appraisal made of everything but the floor; `fault` is what is wrong with an
otherwise good token (`FAULTS`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec

from ratchet.ear import ISSUER, MAX_LIFE, PROOF_AUDIENCE, Signer, jwk, sign
from ratchet.event import Json, canonical, digest
from ratchet.standing import Tier
from streams.stores.keys import BundleKey
from streams.stores.layout import DATA

FAULTS = (
    "expired",
    "long_lived",
    "replayed",
    "audience",
    "issuer",
    "tenant",
    "older_policy",
    "not_affirming",
    "no_kid",
)
"""What may be wrong with a token: each must be refused by any store."""


class Minter(Protocol):
    """Makes tokens that a store can check."""

    def jwks(self, at: datetime) -> Mapping[str, Json]:
        """The keys that are published."""

    def signer(self, at: datetime) -> Signer:
        """The one that signs now."""


class OneKey:
    """A minter with one key of its own, for a store that is decided in this process and is handed its keys."""

    def __init__(self) -> None:
        self._key = BundleKey(ec.generate_private_key(ec.SECP256R1()))

    def jwks(self, at: datetime) -> Mapping[str, Json]:
        """See `Minter.jwks`."""
        return {"keys": [jwk(self._key.public, self._key.id)]}

    def signer(self, at: datetime) -> BundleKey:
        """See `Minter.signer`."""
        return self._key


def keys_file(jwks: Mapping[str, Json]) -> bytes:
    """The published keys as the policy reads them: `ratchet_keys/data.json` of a bundle."""
    text = json.dumps(jwks, sort_keys=True, separators=(",", ":"))
    kids = sorted(str(one["kid"]) for one in jwks["keys"])
    return json.dumps({"jwks": text, "kids": kids}, indent=2, sort_keys=True).encode() + b"\n"


def question(sample: Mapping[str, Json], files: Mapping[str, bytes], minter: Minter, at: datetime) -> dict[str, Json]:
    """What a store that holds these files is asked about a sample, as of `at`. Of nothing, nothing is asked.

    Raises:
        ValueError: the sample is no JSON.
    """
    if not sample:
        return {}
    held = json.loads(files[DATA])
    nonce, now, fault = digest(canonical(dict(sample))), int(at.timestamp()), sample.get("fault")
    status = sample.get("status") or Tier.AFFIRMING.value
    machine = {name: value for name, value in sample.items() if name not in ("genuine", "status", "fault", "tee")}
    machine |= {
        "tenant": "another" if fault == "tenant" else held["tenant"],
        "policy": "0" * 64 if fault == "older_policy" else held["policy"],
    }
    submodule = {"ear_status": "warning" if fault == "not_affirming" else status, "ratchet": machine}
    claims = {
        "iss": "urn:another" if fault == "issuer" else ISSUER,
        "aud": "another" if fault == "audience" else PROOF_AUDIENCE,
        "iat": now - 2 * MAX_LIFE if fault == "expired" else now - 1,
        "exp": now - MAX_LIFE if fault == "expired" else now + (2 * MAX_LIFE if fault == "long_lived" else 60),
        "eat_nonce": "0" * 64 if fault == "replayed" else nonce,
        "submods": {str(sample.get("tee")): submodule},
    }
    signer = minter.signer(at)
    by: Signer = signer if sample.get("genuine") is True else _Forger(signer.id)
    token = sign(claims, _Named(by) if fault == "no_kid" else by)
    return {"token": token, "audience": PROOF_AUDIENCE, "tenant": held["tenant"], "nonce": nonce}


class _Forger:
    """Signs with a key that nobody published, under the name of one that is."""

    def __init__(self, id: str) -> None:
        self.id = id

    def sign(self, data: bytes) -> bytes:
        """A signature that is not that of the key of this name."""
        return _stranger().sign(data)


class _Named:
    """Signs with a published key, under a name that none has."""

    def __init__(self, by: Signer) -> None:
        self.id, self._by = "ratchet-unknown", by

    def sign(self, data: bytes) -> bytes:
        """As the published key does."""
        return self._by.sign(data)


@cache
def _stranger() -> BundleKey:
    return BundleKey(ec.generate_private_key(ec.SECP256R1()))
