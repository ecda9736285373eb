"""Approvals: who may let a floor change, and the signature that says so.

What is signed is ASCII: `ratchet-approve:<verb>:<hash of the proposal>:<attempt>:<hash of the policy>`, by Ed25519 (RFC
8032, "pure"). The first hash covers what changes, what it takes the place of and the machines that it would refuse; the
second is that of the whole policy, with all floors, that would be pushed (`-` where a decision pushes nothing): so an
approver signs what was shown, and what is pushed is what was signed. The
attempt is how many changes were sent for it so far: every sending and every going back makes another, so nobody who can
write decisions can say again, later and unasked, what an approver said once.

Decisions about alerts and machines are signed too (`decision`): over `ratchet-decision:<type>:<SHA-256 of the RFC 8785
bytes of the data without the signature>`, by the data directory's operator key, or by an approver's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ratchet.event import Event, Json, canonical, derived_id, digest, stamp
from ratchet.policy.policy import Policy
from ratchet.reason import Reason

VERBS = ("approved", "rejected", "halted", "rolled_back")
"""What can be said of a proposal; the middle of the decision's event type."""

PUSHING = ("approved", "rolled_back")
"""Those of `VERBS` that push a policy to the stores."""

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


_HASHED = ("proposal", "family", "floor", "before", "policy", "policy_before", "impact")


def proposal_hash(data: Mapping[str, Json]) -> str:
    """What an approver signs: SHA-256 over the RFC 8785 bytes of {proposal, family, floor, before, policy,
    policy_before, impact}; what a proposal does not have is null.
    """
    return digest(canonical({name: data.get(name) for name in _HASHED}))


def message(verb: str, hash: str, attempt: int, policy: str | None) -> bytes:
    """The bytes that are signed.

    Raises:
        ValueError: not a verb of `VERBS`, not a hash, not a number of changes, or a policy where none is pushed.
    """
    if verb not in VERBS:
        raise ValueError(f"{verb!r} is none of {', '.join(VERBS)}")
    for one in (hash, policy) if policy is not None else (hash,):
        if len(one) != 64 or set(one) - set("0123456789abcdef"):
            raise ValueError("a hash is 64 lower-case hex digits")
    if (policy is not None) != (verb in PUSHING):
        raise ValueError(f"what is {verb} names the policy that it pushes, if it pushes one")
    if attempt < 0:
        raise ValueError("an attempt is the number of changes that were sent")
    return f"ratchet-approve:{verb}:{hash}:{attempt}:{policy or '-'}".encode("ascii")


def sign(key: bytes, verb: str, hash: str, attempt: int, policy: str | None) -> str:
    """The signature, hex.

    Args:
        key: the approver's private key, 32 bytes.
        verb: of `VERBS`.
        hash: the proposal's.
        attempt: how many changes were sent for it when it was looked at.
        policy: hash of the whole policy that it pushes (`Policy.hash`, floors and all); None of other verbs.
    """
    return Ed25519PrivateKey.from_private_bytes(key).sign(message(verb, hash, attempt, policy)).hex()


def objection(
    approvers: Approvers, verb: str, hash: str, attempt: int, by: str, signature: str, policy: str | None
) -> Reason | None:
    """Why a signed decision does not count; None when it does. Raises for nothing that was sent."""
    key = approvers.keys.get(by)
    if key is None:
        remedy = "add the key under [approvers.keys] in the configuration"
        return Reason("not_an_approver", "decision", by[:128], "a named approver", _SOURCE, remedy)
    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
        public.verify(bytes.fromhex(signature), message(verb, hash, attempt, policy))
    except (InvalidSignature, ValueError):
        remedy = "sign again: `ratchet approve` signs the proposal as it is now"
        return Reason(
            "approval_signature_invalid", "decision", signature[:128], f"a signature by {by}", _SOURCE, remedy
        )
    return None


def misplaced(decision: Mapping[str, Json], *, verb: str, hash: str, attempt: int, pushes: str | None) -> Reason | None:
    """Why a decision about a proposal does not fit it as it is now; None where it does. Signatures are asked apart.

    Args:
        decision: its data.
        verb: of it.
        hash: of the proposal.
        attempt: how many changes of it were sent.
        pushes: hash of the whole policy that it would push now; None of a verb that pushes nothing.
    """
    if decision["hash"] != hash:
        remedy = "look at the proposal again: what was signed is not what is proposed"
        want = f"{decision['hash']} is not the proposal's hash"
        return Reason("decision_hash_mismatch", "decision", decision["hash"], want, _SOURCE, remedy)
    if type(said := decision.get("attempt")) is not int or said != attempt:
        remedy = "look at the proposal again, then sign: what was signed before has been used, or is not asked now"
        want = f"signed for attempt {str(said)[:16]}; {attempt} changes were sent"
        return Reason("decision_out_of_turn", "decision", str(said)[:16], want, _SOURCE, remedy)
    if decision.get("policy") != pushes:
        remedy = "look at the proposal again, then sign: something else changed what would be pushed"
        want = f"signed for the policy {str(decision.get('policy'))[:64]}; it would push {pushes}"
        return Reason("decision_policy_mismatch", "decision", str(decision.get("policy"))[:64], want, _SOURCE, remedy)
    return None


OPERATED = ("acknowledged", "resolved", "enrolled", "retired", "configured")
"""Decisions of whoever may read the data directory: signed by its operator key. `by` is the user who was logged in."""

APPROVED = ("accepted",)
"""Decisions that take an approver's own key; `by` is the name that the configuration knows it under."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionKeys:
    """Whose signatures count on decisions that are not about a proposal.

    Attributes:
        operators: public keys, Ed25519, 32 bytes as hex: that of the data directory.
        approvers: name -> public key, as in `Approvers`.
    """

    operators: tuple[str, ...] = ()
    approvers: Mapping[str, str] = field(default_factory=dict)


def public_key(key: bytes) -> str:
    """The public half of an Ed25519 private key, hex."""
    return Ed25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw().hex()


def sign_decision(key: bytes, type: str, data: Mapping[str, Json]) -> str:
    """The signature over a decision, hex: over everything in `data` but the signature.

    Args:
        key: private key, 32 bytes.
        type: of the event, such as `decision.resolved.v1`.
        data: of the event; it holds `tenant` and `at`, so that it cannot be said again elsewhere or later.
    """
    return Ed25519PrivateKey.from_private_bytes(key).sign(_signed_bytes(type, data)).hex()


def decision(
    key: bytes, verb: str, subject: str, data: Mapping[str, Json], *, tenant: str, at: datetime, source: str
) -> Event:
    """A signed decision, ready for the log.

    Args:
        key: the operator's or the approver's private key, 32 bytes.
        verb: of `OPERATED` or `APPROVED`.
        subject: what it is about: an alert or a machine.
        data: what is decided, and `by`.
        tenant: whose.
        at: event time.
        source: who appends it.
    """
    type = f"decision.{verb}.v1"
    whole = {**data, "tenant": tenant, "at": stamp(at)}
    signature = sign_decision(key, type, whole)
    return Event(_decision_id(type, signature), source, type, subject, at, tenant, {**whole, "signature": signature})


def decision_objection(keys: DecisionKeys, event: Event) -> Reason | None:
    """Why a decision that is not about a proposal does not count; None when it does. Raises for nothing that was sent.

    The event's id follows from its signature, so that the same words appended again are the same event; its time and
    tenant are those that were signed.
    """
    data, verb = event.data, event.type.removeprefix("decision.").removesuffix(".v1")
    by, signature = data.get("by"), data.get("signature")
    if not isinstance(by, str) or not isinstance(signature, str) or not 1 <= len(by) <= 128:
        return _refused("decision_unsigned", None, "`by` and `signature`")
    if verb in APPROVED:
        own = keys.approvers.get(by)
        if own is None:
            remedy = "add the key under [approvers.keys] in the configuration"
            return Reason("not_an_approver", "decision", by, "a named approver", _SOURCE, remedy)
        candidates: tuple[str, ...] = (own,)
    else:
        candidates = keys.operators if verb in OPERATED else ()
    try:
        message = _signed_bytes(event.type, data)
        moment = stamp(event.time)
    except (ValueError, TypeError, RecursionError):
        return _refused("decision_malformed", None, "data of JSON's own types, and a time with zone")
    if not any(_verifies(key, signature, message) for key in candidates):
        return _refused("decision_signature_invalid", signature[:128], "a signature by a key of this data directory")
    if (data.get("tenant"), data.get("at")) != (event.tenant, moment) or event.id != _decision_id(
        event.type, signature
    ):
        return _refused("decision_out_of_place", event.id, "the tenant, time and id that were signed")
    return None


def configuration_objection(keys: DecisionKeys, event: Event) -> Reason | None:
    """As `decision_objection`, of decision.configured.v1: its policy must be one, too."""
    wrong = decision_objection(keys, event)
    if wrong is not None:
        return wrong
    try:
        Policy.from_data(event.data["policy"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return Reason("decision_malformed", "policy", str(error)[:200], "a policy", _SOURCE, "see docs/policy.md")
    return None


def _refused(code: str, got: Json, want: str) -> Reason:
    remedy = "decide in the console or with the CLI, on the machine that has the data directory"
    return Reason(code, "decision", got, want, _SOURCE, remedy)


def _signed_bytes(type: str, data: Mapping[str, Json]) -> bytes:
    said = {name: value for name, value in data.items() if name != "signature"}
    return f"ratchet-decision:{type}:{digest(canonical(said))}".encode()


def _decision_id(type: str, signature: str) -> str:
    return derived_id("decision", type, signature)


def _verifies(key: str, signature: str, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True
