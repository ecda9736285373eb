"""EARs: signed Attestation Results, for whoever releases something to a machine. Made, signed and read here; pure.

A relying party gives a nonce, the machine binds it into evidence, and the verdict on that evidence becomes a token with
a short life (draft-ietf-rats-ear-04; JWS compact form, RFC 7515, with ES256, RFC 7518, 3.4). The token carries what a
policy store needs to check it by itself: the audience, the nonce, the hash of the policy with its floors that it was
judged by, the evaluation, and the attested versions.

    {"iss", "aud", "iat", "exp", "jti", "eat_nonce", "eat_profile", "ear_verifier_id",
     "submods": {"<tee>": {"ear_status", "ear_trustworthiness_vector", "ear_appraisal_policy_ids", "ratchet": {…}}}}

`ratchet` in a submodule: tenant, identity, family, tcb, bits, measurements, key, debug, policy (hash), floor (hash of
the family's floor, or null), evaluation (number, or null), evidence (blob id), reference (name of the reference values
that it is of, or null), in_grace (the policy's grace makes it good enough for a while), reasons (the first codes).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from ratchet.event import Json, canonical, digest
from ratchet.evidence import TEES, Outcome, Proof, StepName
from ratchet.evidence.spec import Judge
from ratchet.policy.appraise import EAR_PROFILE, Verdict
from ratchet.policy.finding import IDENTITY
from ratchet.policy.floor import Floor, IntelFloor, shortfalls
from ratchet.policy.policy import Policy
from ratchet.reason import Reason
from ratchet.standing import Tier, lowered

ISSUER = "urn:ratchet:verifier"
"""`iss` of every token."""

PROOF_AUDIENCE = "urn:ratchet:proof"
"""`aud` of the tokens with which a store is shown to refuse and to admit; nobody releases anything for it."""

LIFE = 300
"""Seconds for which a token is believed, unless asked otherwise."""

MAX_LIFE = 3600
"""Seconds for which a token is believed, at most: an old key is kept that long after its last signature."""

MAX_TOKEN = 64 * 1024
"""Bytes of a token that is read; one with every claim of a TDX quote has about 8 KiB."""

MAX_REASONS = 32
"""Codes of reasons in a token."""

_EXACT = 2**53 - 1


class Signer(Protocol):
    """Signs tokens."""

    @property
    def id(self) -> str:
        """`kid` in the header and in the JWKS."""

    def sign(self, data: bytes) -> bytes:
        """ES256: r and s, 32 bytes each."""


class BadToken(ValueError):
    """Not a token to rely on: `code` is stable, the text says why."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a relying party asks a token about.

    Attributes:
        audience: its own name.
        tenant: whose machine.
        nonce: hex, that it gave.
        policy: hash of the policy that it wants applied; None: the store's own.
        evaluation: the least of Intel's evaluations that it accepts; None: any.
    """

    audience: str
    tenant: str
    nonce: str
    policy: str | None = None
    evaluation: int | None = None


def nonce_of(challenge: bytes) -> str:
    """`eat_nonce` of a challenge: hex in lower case; of one above 44 bytes its SHA-256.

    Source: RFC 9711, 4.1: a nonce in JSON has 8 to 88 characters.
    """
    return challenge.hex() if len(challenge) <= 44 else digest(challenge)


def result(
    verdict: Verdict,
    proof: Proof,
    policy: Policy,
    *,
    audience: str,
    tenant: str,
    challenge: bytes,
    build: str,
    life: int = LIFE,
) -> dict[str, Json]:
    """The claims of the token for one verdict.

    Args:
        verdict, proof: of the evidence; the token is issued at `verdict.at`.
        policy: that it was judged by.
        audience: who will rely on it.
        tenant: whose machine it is.
        challenge: that the relying party gave; `verdict` is affirming only if the evidence holds it.
        build: version of the verifier.
        life: seconds, at most `MAX_LIFE`; it ends earlier where the verdict does.

    Raises:
        ValueError: a life out of bounds.
    """
    if not 0 < life <= MAX_LIFE:
        raise ValueError(f"a token lives 1 to {MAX_LIFE} seconds")
    base = verdict.ear(developer=DEVELOPER, build=build)
    ends = verdict.at + timedelta(seconds=life)
    if verdict.trusted_until is not None:
        ends = min(ends, verdict.trusted_until)
    claims = proof.claims
    family = claims.family if claims is not None else None
    floor = policy.floors.get(family) if family is not None else None
    tee, submodule = next(iter(base["submods"].items()))
    evaluation = proof.tcb.evaluation if proof.tcb is not None else None
    if isinstance(floor, IntelFloor):
        evaluation = floor.evaluation
    # Numbers that not every JSON reader takes exactly are left out: nothing in a store compares them.
    bits = {k: v for k, v in claims.bits.items() if abs(v) <= _EXACT} if claims is not None else {}
    submodule["ratchet"] = {
        "tenant": tenant,
        "identity": claims.platform if claims is not None and not proof.unproven else None,
        "family": family,
        "tcb": dict(claims.tcb) if claims is not None else {},
        "bits": bits,
        "measurements": dict(claims.measurements) if claims is not None else {},
        "key": claims.key if claims is not None else None,
        "debug": claims.debug if claims is not None else None,
        "policy": verdict.policy,
        "floor": digest(canonical(floor.to_data())) if floor is not None else None,
        "evaluation": evaluation,
        "evidence": verdict.evidence,
        "reference": verdict.reference,
        "in_grace": verdict.in_grace,
        "reasons": list(dict.fromkeys(r.code for r in verdict.reasons))[:MAX_REASONS],
    }
    body: dict[str, Json] = {
        "iss": ISSUER,
        "aud": audience,
        "iat": int(verdict.at.timestamp()),
        "exp": int(ends.timestamp()),
        "eat_nonce": nonce_of(challenge),
        "eat_profile": EAR_PROFILE,
        "ear_verifier_id": base["ear_verifier_id"],
        "submods": {tee: submodule},
    }
    return {**body, "jti": digest(canonical(body))}


DEVELOPER = "https://github.com/ratchet-attest/ratchet"
"""`ear_verifier_id.developer` (draft-ietf-rats-ear, 3.1)."""


def answering(verdict: Verdict, proof: Proof) -> Verdict:
    """The same verdict, saying nothing good unless the evidence holds the nonce.

    A policy may believe evidence of unknown age, but a token says of this nonce that the evidence was made for it.
    """
    if verdict.tier not in (Tier.AFFIRMING, Tier.WARNING) or proof.outcome(StepName.FRESHNESS) is Outcome.PASSED:
        return verdict
    vector, barred = {**verdict.vector, IDENTITY: 0}, (*verdict.barred, StepName.FRESHNESS.value)
    return replace(verdict, tier=Tier.NONE, vector=vector, barred=barred, trusted_until=None)


def held_down(verdict: Verdict, holds: Iterable[Mapping[str, Json]]) -> Verdict:
    """The same verdict, no better than what is known of the machine beside this evidence.

    Args:
        verdict: of the evidence alone.
        holds: of the machine's standing (`ratchet.standing.Hold`), open critical alerts among them.
    """
    holds, why = tuple(holds), list(verdict.reasons)
    worst = lowered(verdict.tier, [Tier(hold["tier"]) for hold in holds])
    for hold in holds:
        remedy = f"`ratchet explain {hold['cause']}` shows the cause; the hold ends when that is gone"
        source = "docs/relying-parties.md"
        why.insert(0, Reason("machine_held", "standing", hold["code"], "no hold", source, remedy))
    until = verdict.trusted_until if worst in (Tier.AFFIRMING, Tier.WARNING) else None
    return replace(verdict, tier=worst, reasons=tuple(why), trusted_until=until)


def sign(claims: Mapping[str, Json], signer: Signer) -> str:
    """The token: JWS compact form."""
    header = {"alg": "ES256", "kid": signer.id, "typ": "JWT"}
    signed = f"{base64url(_json(header))}.{base64url(_json(claims))}"
    return f"{signed}.{base64url(signer.sign(signed.encode('ascii')))}"


def jwk(public: ec.EllipticCurvePublicKey, kid: str) -> dict[str, Json]:
    """A public key as JWKS has it (RFC 7517; RFC 7518, 6.2)."""
    numbers = public.public_numbers()
    x, y = (base64url(n.to_bytes(32, "big")) for n in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid, "x": x, "y": y}


def opened(token: str, jwks: Mapping[str, Json], at: datetime) -> dict[str, Json]:
    """The claims of a token that one of these keys signed and that has not expired at `at`.

    Raises:
        BadToken: `token_malformed`, `token_forged` (algorithm or signature), `token_key_unknown` or `token_expired`.
    """
    if len(token) > MAX_TOKEN:
        raise BadToken("token_malformed", f"more than {MAX_TOKEN} characters")
    try:
        first, second, third = token.split(".")
        header, claims, signature = (
            json.loads(from_base64url(first)),
            json.loads(from_base64url(second)),
            from_base64url(third),
        )
    except (ValueError, RecursionError) as error:
        raise BadToken("token_malformed", "not a JWS in compact form") from error
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise BadToken("token_malformed", "header and payload are JSON objects")
    if header.get("alg") != "ES256" or "crit" in header:
        raise BadToken("token_forged", f"algorithm {str(header.get('alg'))[:20]!r}; only ES256 is taken")
    keys = [one for one in jwks.get("keys", ()) if one.get("kid") == header.get("kid")]
    if not keys:
        raise BadToken("token_key_unknown", f"no key {str(header.get('kid'))[:64]!r} is published")
    signed = token.rpartition(".")[0].encode("ascii")
    if not any(_signed_by(one, signed, signature) for one in keys):
        raise BadToken("token_forged", "the signature is not that of its content")
    issued, ends = claims.get("iat"), claims.get("exp")
    if type(issued) is not int or type(ends) is not int:
        raise BadToken("token_malformed", "iat and exp are whole seconds")
    if not issued - SKEW <= at.timestamp() < ends or ends - issued > MAX_LIFE:
        raise BadToken("token_expired", f"it is believed from {issued} to {ends} (seconds since 1970)")
    return claims


def refusals(
    claims: Mapping[str, Json], asked: Asked, floors: Mapping[str, Floor], *, tenant: str, policy: str
) -> tuple[Reason, ...]:
    """Why a store with these floors releases nothing for an opened token; empty: it does. decision.rego says the same.

    Args:
        claims: as `opened` gives them.
        asked: by the relying party.
        floors, tenant, policy: what the store holds; `policy` is the hash of the whole policy with its floors.
    """
    found: list[Reason] = []

    def kept_back(code: str, component: str, got: Json, want: Json, remedy: str) -> None:
        found.append(Reason(code, component, got, want, "docs/stores.md", remedy))

    submods = claims.get("submods")
    tee, submodule = next(iter(submods.items())) if isinstance(submods, dict) and len(submods) == 1 else ("", {})
    machine = submodule.get("ratchet") if isinstance(submodule, dict) else None
    if claims.get("iss") != ISSUER or claims.get("aud") != asked.audience or not isinstance(machine, dict):
        want = "a token that this verifier signed for this audience, and that has not expired"
        kept_back("token_refused", "token", None, want, "ask for one, for this audience")
        return tuple(found)
    if len(asked.nonce) < MIN_NONCE or claims.get("eat_nonce") != asked.nonce:
        kept_back(
            "nonce_mismatch", "eat_nonce", claims.get("eat_nonce"), asked.nonce, "ask for a token with this nonce"
        )
    if not machine.get("tenant") == asked.tenant == tenant:
        kept_back("tenant_mismatch", "tenant", machine.get("tenant"), asked.tenant, "ask the tenant's own store")
    if submodule.get("ear_status") != Tier.AFFIRMING.value:
        got = submodule.get("ear_status")
        kept_back("not_affirming", "ear_status", got, Tier.AFFIRMING.value, "see the reasons in the token")
    wanted = asked.policy if asked.policy is not None else policy
    if machine.get("policy") != wanted:
        kept_back("policy_mismatch", "policy", machine.get("policy"), wanted, "ask for a token by the policy in force")
    if asked.evaluation is not None and tee not in WITHOUT_EVALUATIONS:
        got = machine.get("evaluation")
        if not isinstance(got, int | float) or isinstance(got, bool) or got < asked.evaluation:
            kept_back("evaluation_too_low", "evaluation", got, asked.evaluation, "let a later evaluation be in force")
    if machine.get("debug") is not False:
        kept_back("debug_enabled", "debug", machine.get("debug"), False, "relaunch without debug")
    family = machine.get("family")
    floor = floors.get(family) if isinstance(family, str) else None
    if machine.get("in_grace") is True and machine.get("policy") == policy:
        return tuple(found)  # appraisal alone knows until when; another policy's grace is not the store's
    if floor is None:
        kept_back("no_floor", "family", family, "a family that has a floor", "push a floor for it, or an open one")
    else:
        found += shortfalls(floor, machine.get("tcb") or {}, machine.get("bits") or {})
    return tuple(found)


WITHOUT_EVALUATIONS = frozenset(tee.name for tee in TEES.values() if tee.judge is not Judge.STATUS)
"""TEEs whose vendors number no evaluations: a least evaluation asks nothing of them."""

MIN_NONCE = 32
"""Characters of a nonce: 16 bytes in hex."""

SKEW = 60
"""Seconds by which the clock of whoever relies on a token may be behind ours."""


def _signed_by(one: Mapping[str, Json], data: bytes, signature: bytes) -> bool:
    if one.get("kty") != "EC" or one.get("crv") != "P-256" or len(signature) != 64:
        return False
    try:
        x, y = (int.from_bytes(from_base64url(one[name]), "big") for name in ("x", "y"))
        key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        key.verify(encode_dss_signature(r, s), data, ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError, KeyError, TypeError, AttributeError):
        return False
    return True


def _json(value: Mapping[str, Json]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def base64url(data: bytes) -> str:
    """base64url without padding (RFC 7515, 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_base64url(text: str) -> bytes:
    """base64url without padding (RFC 7515, 2), in its one form: a token with other spare bits is another text.

    Raises:
        ValueError: it is not that.
    """
    try:
        data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("not base64url") from error
    if base64url(data) != text:
        raise ValueError("not base64url")
    return data
