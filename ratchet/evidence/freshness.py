"""Freshness: was this made for us, now? Report data must hold the challenge that the collector gave (RFC 9334, 10.2).

Report data are 64 bytes that the attester chooses, filled up with zeros behind what is meant. With C the challenge, K
the key that the sender says is bound, and H one of SHA-256, SHA-384 and SHA-512, they may be

1. C, or H(C);
2. H(C || K): Intel Trust Authority's clients (SHA-512 over the nonce, its time, and the data that the attester holds; C
   is then both parts of the nonce);
3. H(K || C): agents that append the nonce to the DER of their TLS key;
4. SHA-256(K) || C, with C of at most 32 bytes: RA-TLS of rats-tls and its kin;
5. H(K), where K is run-time data in JSON that hold C themselves as `nonce`: Trustee's KBS protocol, "Attestation"
   (SHA-384 over canonical JSON with `nonce` and `tee-pubkey`);
6. H(K) alone: plain RA-TLS (Gramine, Open Enclave). It proves whose key it is, not when it was made.

Nothing looser: a challenge found "somewhere inside" would let the attester choose what stands around it. The collector
gave C, so its length is known, and no byte can move between C and K. C has at least 16 bytes: a shorter one can be
guessed, or met again by chance.

Which key was bound is a claim of its own (`key`). For run-time data it is the RFC 7638 thumbprint of their
`tee-pubkey`, for anything else the SHA-256 of K.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from hmac import compare_digest

from ratchet.event import Json, canonical
from ratchet.evidence.proof import Outcome, Step, StepName
from ratchet.reason import Reason

SIZE = 64
"""Bytes of report data in SGX and TDX quotes and in SNP reports."""

MIN_CHALLENGE = 16
"""Bytes (NIST SP 800-63B, 5.1.4.1, asks 128 bits of a nonce that nobody may guess)."""

MAX_KEY = 8192
"""Bytes of a key or of run-time data; an RSA-8192 key has 1062."""

_SOURCE = "RFC 9334, 10.2 (nonces)"
_HASHES = (("sha256", "SHA-256"), ("sha384", "SHA-384"), ("sha512", "SHA-512"))
_THUMBPRINT = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}
"""Members that a JWK thumbprint is over (RFC 7638, 3.2; RFC 8037, 2)."""


def step(
    report_data: bytes | None,
    challenge: bytes | None,
    source: str = _SOURCE,
    bound: bytes | None = None,
    *,
    place: str = "report data",
) -> Step:
    """The freshness step.

    Args:
        report_data: as the evidence has it; None where the evidence could not be parsed.
        challenge: what the collector asked to be bound; None, or empty, where it asked nothing.
        source: where the format's specification defines report data.
        bound: the key or run-time data that the sender says is bound; None where it says nothing.
        place: what the format calls that which is given as report data, for people.
    """
    name = StepName.FRESHNESS
    if not challenge:
        if bound is None or report_data is None:
            return _unasked(source)
        if _hash_of(report_data, bound) is not None:
            return Step(name, Outcome.NOT_POSSIBLE, f"{place} binds the key; no challenge was given", source,
                        _unasked(source).reasons)  # fmt: skip
        detail = f"no challenge was given, and {place} does not bind the key"
        return Step(name, Outcome.NOT_POSSIBLE, detail, source, (*_unasked(source).reasons, _unbound(report_data)))
    if report_data is None:
        reason = Reason("unparsed", "freshness", None, place, source, "send evidence that can be parsed")
        return Step(name, Outcome.NOT_POSSIBLE, f"no {place} could be read", source, (reason,))
    held = holds(report_data, challenge)
    with_key = binding(report_data, challenge, bound) if bound is not None else None
    if held is not None or with_key is not None:
        if len(challenge) < MIN_CHALLENGE:
            reason = Reason(
                "challenge_too_short",
                "freshness",
                len(challenge),
                f"at least {MIN_CHALLENGE} bytes",
                _SOURCE,
                "let the collector give a longer challenge",
            )
            return Step(name, Outcome.NOT_POSSIBLE, "the challenge could have been guessed", source, (reason,))
        said = (_unbound(report_data),) if bound is not None and with_key is None else ()
        return Step(name, Outcome.PASSED, f"{place} is {with_key or held}", source, said)
    if bound is not None and _hash_of(report_data, bound) is not None:
        reason = Reason(
            "challenge_not_bound",
            "freshness",
            report_data.hex(),
            "the challenge bound together with the key",
            source,
            "let the agent hash the challenge with its key: this proves whose key it is, not when it was made",
        )
        return Step(name, Outcome.NOT_POSSIBLE, f"{place} binds the key, without the challenge", source, (reason,))
    reason = Reason(
        "challenge_mismatch",
        "freshness",
        report_data.hex(),
        f"{challenge[:SIZE].hex()}, or its SHA-256, SHA-384 or SHA-512, zero-filled; or with the key that is bound",
        source,
        "ask for new evidence: this was made for another challenge, or is replayed; or send the key that it binds",
    )
    return Step(name, Outcome.FAILED, f"{place} does not hold the challenge", source, (reason,))


def step_in(
    places: Mapping[str, bytes], challenge: bytes | None, source: str = _SOURCE, bound: bytes | None = None
) -> Step:
    """The freshness step of a format with several places for what the attester chose, each as long as it likes.

    Each may hold what report data may, with or without the zeros behind it, or a longer challenge as it is. The place
    that holds most counts: what stands in the others is for somebody else.

    Args:
        places: what the format calls them -> what they hold.
        challenge, source, bound: as in `step`.
    """
    steps = [step(_filled(held), challenge, source, bound, place=place) for place, held in places.items()]
    if not steps:
        return step(b"", challenge, source, bound, place="the evidence")
    order = (Outcome.PASSED, Outcome.NOT_POSSIBLE, Outcome.FAILED)
    return min(steps, key=lambda one: (order.index(one.outcome), len(one.reasons)))


def key_in(places: Mapping[str, bytes], challenge: bytes | None, bound: bytes) -> str | None:
    """As `key`, of a format with several places."""
    found = (key(_filled(held), challenge, bound) for held in places.values())
    return next((one for one in found if one is not None), None)


def _filled(held: bytes) -> bytes:
    return held.ljust(SIZE, b"\0")


@lru_cache(maxsize=16)
def _unasked(source: str) -> Step:
    reason = Reason("no_challenge", "freshness", None, "a challenge", _SOURCE, "let the collector give a challenge")
    return Step(StepName.FRESHNESS, Outcome.NOT_POSSIBLE, "no challenge was given to compare with", source, (reason,))


def _unbound(report_data: bytes) -> Reason:
    remedy = "send the very key or run-time data that the agent hashed, or none"
    return Reason("key_not_bound", "freshness", report_data.hex(), "a hash over the key that was sent", _SOURCE, remedy)


def holds(report_data: bytes, challenge: bytes) -> str | None:
    """How the challenge alone is held, in words; None where it is not. An empty challenge is never held."""
    if not challenge or len(report_data) < SIZE:
        return None
    if len(report_data) > SIZE:  # of a format whose place is longer (`step_in`)
        return "the challenge" if compare_digest(report_data, challenge) else None
    if len(challenge) <= SIZE and compare_digest(report_data, challenge.ljust(SIZE, b"\0")):
        return "the challenge"
    label = _hash_of(report_data, challenge)
    return None if label is None else f"the {label} of the challenge"


def binding(report_data: bytes, challenge: bytes, bound: bytes) -> str | None:
    """How the challenge is held together with the key, in words; None where it is not."""
    if not challenge or not bound or len(report_data) != SIZE or len(bound) > MAX_KEY:
        return None
    for content, words in (
        (challenge + bound, "the challenge and the key"),
        (bound + challenge, "the key and the challenge"),
    ):
        label = _hash_of(report_data, content)
        if label is not None:
            return f"the {label} of {words}"
    joined = hashlib.sha256(bound).digest() + challenge
    if len(joined) <= SIZE and compare_digest(report_data, joined.ljust(SIZE, b"\0")):
        return "the SHA-256 of the key, then the challenge"
    data = _run_time_data(bound)
    if data is not None and _is_nonce(data.get("nonce"), challenge):
        for content in (bound, canonical(data)):
            label = _hash_of(report_data, content)
            if label is not None:
                return f"the {label} of run-time data with the challenge in them"
    return None


def key(report_data: bytes, challenge: bytes | None, bound: bytes) -> str | None:
    """What `Claims.key` says: which key is bound, in hex; None where none is.

    Report data that are the challenge, or its hash, bind no key: whoever chose the challenge could have made it of any.
    """
    if not bound or len(bound) > MAX_KEY or len(report_data) != SIZE:
        return None
    data = _run_time_data(bound)
    held = binding(report_data, challenge, bound) if challenge else None
    if held is None and challenge and holds(report_data, challenge) is not None:
        return None
    held = held or _hash_of(report_data, bound)
    if held is None and data is not None:
        held = _hash_of(report_data, canonical(data))
    if held is None:
        return None
    return (thumbprint(data.get("tee-pubkey")) if data is not None else None) or hashlib.sha256(bound).hexdigest()


def thumbprint(jwk: Json) -> str | None:
    """SHA-256 thumbprint of a JWK, in hex (RFC 7638); None where it is none."""
    kind = jwk.get("kty") if isinstance(jwk, dict) else None
    names = _THUMBPRINT.get(kind) if isinstance(kind, str) else None
    if names is None or not all(isinstance(jwk.get(name), str) for name in names):
        return None
    return hashlib.sha256(canonical({name: jwk[name] for name in names})).hexdigest()


def _hash_of(report_data: bytes, content: bytes) -> str | None:
    """Which hash of this fills report data; None where none does."""
    for name, label in _HASHES:
        if compare_digest(report_data, hashlib.new(name, content).digest().ljust(SIZE, b"\0")):
            return label
    return None


def _run_time_data(bound: bytes) -> dict[str, Json] | None:
    """The JSON object that these bytes are, read one way only; None where they are none that can be written again."""
    if bound[:1] != b"{":
        return None
    try:
        found = json.loads(bound, object_pairs_hook=_unique)
        canonical(found)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("two members of one object have the same name")
    return found


def _is_nonce(text: Json, challenge: bytes) -> bool:
    """Is this text the challenge: in base64 or base64url, padded or not, in hex, or as it is?"""
    if not isinstance(text, str) or len(text) > 4 * SIZE:
        return False
    if text.encode() == challenge:
        return True
    try:
        if bytes.fromhex(text) == challenge:
            return True
    except ValueError:
        pass
    try:
        plain = text.rstrip("=").replace("-", "+").replace("_", "/")
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True) == challenge
    except (binascii.Error, ValueError):
        return False
