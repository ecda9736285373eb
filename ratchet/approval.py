"""Approvals: who may let a floor change, and the signature that says so.

What is signed is ASCII: `ratchet-approve:<verb>:<hash of the proposal>:<attempt>`, by Ed25519 (RFC 8032, "pure"). The
hash covers the floor, the floor before it and the machines it would refuse, so an approver signs what was shown. The
attempt is how many changes were sent for it so far: every sending and every going back makes another, so nobody who can
write decisions can say again, later and unasked, what an approver said once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ratchet.event import Json, canonical, digest
from ratchet.reason import Reason

VERBS = ("approved", "rejected", "halted", "rolled_back")
"""What can be said of a proposal; the middle of the decision's event type."""

_SOURCE = "docs/events.md, decision.*.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approvers:
    """Who may approve, and how many it takes.

    Attributes:
        keys: name -> Ed25519 public key, 32 bytes as hex.
        quorum: approvals that a loosening needs; a tightening needs one.
        loosening_lasts: seconds until a loosening ends by itself.
    """

    keys: Mapping[str, str] = field(default_factory=dict)
    quorum: int = 2
    loosening_lasts: int = 7 * 24 * 3600

    def __post_init__(self) -> None:
        if self.quorum < 1 or self.loosening_lasts < 1:
            raise ValueError("approvers: quorum and loosening_lasts must be at least 1")
        for name, key in self.keys.items():
            try:
                Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
            except ValueError:
                raise ValueError(f"approvers.keys.{name}: not an Ed25519 public key in hex") from None
        if len({bytes.fromhex(key) for key in self.keys.values()}) != len(self.keys):
            raise ValueError("approvers.keys: one key under two names would count twice")

    def to_data(self) -> dict[str, Json]:
        """As JSON."""
        return {"keys": dict(self.keys), "quorum": self.quorum, "loosening_lasts": self.loosening_lasts}

    @classmethod
    def from_data(cls, data: Mapping[str, Json]) -> Self:
        """The inverse of `to_data`; what is left out has its default."""
        return cls(**data)


def proposal_hash(data: Mapping[str, Json]) -> str:
    """What an approver signs: SHA-256 over the RFC 8785 bytes of {proposal, family, floor, before, blast}."""
    return digest(canonical({name: data[name] for name in ("proposal", "family", "floor", "before", "blast")}))


def message(verb: str, hash: str, attempt: int) -> bytes:
    """The bytes that are signed.

    Raises:
        ValueError: not a verb of `VERBS`, not a hash, or not a number of changes.
    """
    if verb not in VERBS:
        raise ValueError(f"{verb!r} is none of {', '.join(VERBS)}")
    if len(hash) != 64 or set(hash) - set("0123456789abcdef"):
        raise ValueError("a proposal's hash is 64 lower-case hex digits")
    if attempt < 0:
        raise ValueError("an attempt is the number of changes that were sent")
    return f"ratchet-approve:{verb}:{hash}:{attempt}".encode("ascii")


def sign(key: bytes, verb: str, hash: str, attempt: int) -> str:
    """The signature, hex.

    Args:
        key: the approver's private key, 32 bytes.
        verb: of `VERBS`.
        hash: the proposal's.
        attempt: how many changes were sent for it when it was looked at.
    """
    return Ed25519PrivateKey.from_private_bytes(key).sign(message(verb, hash, attempt)).hex()


def objection(approvers: Approvers, verb: str, hash: str, attempt: int, by: str, signature: str) -> Reason | None:
    """Why a signed decision does not count; None when it does. Raises for nothing that was sent."""
    key = approvers.keys.get(by)
    if key is None:
        remedy = "add the key under [approvers.keys] in the configuration"
        return Reason("not_an_approver", "decision", by[:128], "a named approver", _SOURCE, remedy)
    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
        public.verify(bytes.fromhex(signature), message(verb, hash, attempt))
    except (InvalidSignature, ValueError):
        remedy = "sign again: `ratchet approve` signs the proposal as it is now"
        return Reason(
            "approval_signature_invalid", "decision", signature[:128], f"a signature by {by}", _SOURCE, remedy
        )
    return None
