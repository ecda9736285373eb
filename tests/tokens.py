"""Tokens good and bad, for whoever verifies them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

ISSUER, AUDIENCE = "https://verifier.test", "payments"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECONDS = int(NOW.timestamp())


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True)
class Case:
    """A token that must not be taken."""

    name: str
    token: Any
    constraints: dict[str, Any]


class Keys:
    """One signing key, and what can be made with it."""

    def __init__(self) -> None:
        self.key = ec.derive_private_key(0x5EED, ec.SECP256R1())
        self.other = ec.derive_private_key(0xBAD, ec.SECP256R1())

    @cached_property
    def jwks(self) -> str:
        n = self.key.public_key().public_numbers()
        jwk = {"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "one", "use": "sig"}
        return json.dumps({"keys": [{**jwk, "x": b64(n.x.to_bytes(32, "big")), "y": b64(n.y.to_bytes(32, "big"))}]})

    def constraints(self, **changed: Any) -> dict[str, Any]:
        base = {"cert": self.jwks, "alg": "ES256", "iss": ISSUER, "aud": AUDIENCE, "time": SECONDS * 10**9}
        return {**base, **changed}

    def signed(self, head: Any, body: Any, key: ec.EllipticCurvePrivateKey | None = None) -> str:
        text = ".".join(b64(json.dumps(part).encode()) for part in (head, body))
        r, s = decode_dss_signature((key or self.key).sign(text.encode(), ec.ECDSA(SHA256())))
        return f"{text}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def token(self, **claims: Any) -> str:
        body = {"iss": ISSUER, "aud": AUDIENCE, "iat": SECONDS, "exp": SECONDS + 300, **claims}
        return self.signed({"alg": "ES256", "kid": "one"}, {k: v for k, v in body.items() if v is not ...})

    def bad(self) -> list[Case]:
        good, asks = self.token(), self.constraints()
        head, body, signature = good.split(".")
        other = b64(json.dumps({"iss": ISSUER, "aud": AUDIENCE, "exp": SECONDS + 10**6}).encode())
        none = b64(json.dumps({"alg": "none"}).encode())
        hmac = b64(json.dumps({"alg": "HS256"}).encode())
        return [
            Case(
                "forged",
                self.signed({"alg": "ES256", "kid": "one"}, {"iss": ISSUER, "aud": AUDIENCE}, self.other),
                asks,
            ),
            Case("another payload", f"{head}.{other}.{signature}", asks),
            Case("alg none", f"{none}.{body}.", asks),
            Case("alg HS256", f"{hmac}.{body}.{signature}", asks),
            Case("no signature", f"{head}.{body}.", asks),
            Case("half a signature", f"{head}.{body}.{signature[:40]}", asks),
            Case("expired", self.token(exp=SECONDS), asks),
            Case("not yet", self.token(nbf=SECONDS + 1), asks),
            Case("exp as text", self.token(exp="9999999999"), asks),
            Case("another issuer", self.token(iss="https://else.test"), asks),
            Case("no issuer", self.token(iss=...), asks),
            Case("another audience", self.token(aud="else"), asks),
            Case("no audience", self.token(aud=...), asks),
            Case("audience as a number", self.token(aud=1), asks),
            Case("audience not named by whoever asks", good, {k: v for k, v in asks.items() if k != "aud"}),
            Case("unknown constraint", good, self.constraints(sub="x")),
            Case("no key", good, {k: v for k, v in asks.items() if k != "cert"}),
            Case("keys of nobody", good, self.constraints(cert='{"keys": []}')),
        ]
