"""The simulated vendors' keys: one secret in a folder, from which elliptic keys follow, and RSA keys beside it.

Signatures are deterministic, so that the same scenario gives the same bytes each time: ECDSA by RFC 6979, RSA-PSS with
a salt that follows from key and message. This is good enough for a simulator, and for nothing else: the private-key
operation in `RsaKey.sign` does not resist timing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable
from functools import cached_property, lru_cache
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from collectors.simulated import der

_ORDERS = {
    256: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    384: 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
}
"""Orders of P-256 and P-384 (NIST SP 800-186, 3.2.1)."""

_P256 = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
_P384 = ec.ECDSA(hashes.SHA384(), deterministic_signing=True)


class EcKey:
    """A key on P-256 (signing with SHA-256) or P-384 (SHA-384)."""

    def __init__(self, scalar: int, size: int) -> None:
        self.size = size
        self.private = ec.derive_private_key(scalar, ec.SECP256R1() if size == 256 else ec.SECP384R1())
        self.public = self.private.public_key()
        self._algorithm = _P256 if size == 256 else _P384

    @cached_property
    def spki(self) -> bytes:
        """SubjectPublicKeyInfo, DER."""
        return self.public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    @cached_property
    def point(self) -> bytes:
        """x and y, big-endian."""
        numbers = self.public.public_numbers()
        size = self.size // 8
        return numbers.x.to_bytes(size, "big") + numbers.y.to_bytes(size, "big")

    def sign(self, message: bytes) -> bytes:
        """A DER signature, as certificates carry it."""
        return self.private.sign(message, self._algorithm)

    def sign_raw(self, message: bytes) -> tuple[int, int]:
        """r and s."""
        return decode_dss_signature(self.sign(message))

    def sign_quote(self, message: bytes) -> bytes:
        """r and s, big-endian, as Intel's quotes and documents carry it."""
        r, s = self.sign_raw(message)
        return r.to_bytes(self.size // 8, "big") + s.to_bytes(self.size // 8, "big")

    @cached_property
    def algorithm(self) -> bytes:
        """AlgorithmIdentifier of its signatures (RFC 5758, 3.2)."""
        return der.sequence(der.oid("1.2.840.10045.4.3.2" if self.size == 256 else "1.2.840.10045.4.3.3"))


_SHA384 = der.sequence(der.oid("2.16.840.1.101.3.4.2.2"), der.null())
_MGF1 = der.sequence(der.oid("1.2.840.113549.1.1.8"), _SHA384)
_SALT = 48


class RsaKey:
    """An RSA-4096 key that signs by RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 bytes."""

    def __init__(self, private: rsa.RSAPrivateKey) -> None:
        self._numbers = private.private_numbers()
        self._n = self._numbers.public_numbers.n
        self.public = private.public_key()

    @cached_property
    def spki(self) -> bytes:
        """SubjectPublicKeyInfo, DER."""
        return self.public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    @cached_property
    def algorithm(self) -> bytes:
        """AlgorithmIdentifier of its signatures (RFC 4055, 3.1), as AMD's leaf certificates have it."""
        parameters = der.sequence(der.explicit(0, _SHA384), der.explicit(1, _MGF1), der.explicit(2, der.integer(_SALT)))
        return der.sequence(der.oid("1.2.840.113549.1.1.10"), parameters)

    def sign(self, message: bytes) -> bytes:
        """RSASSA-PSS-SIGN (RFC 8017, 8.1.1)."""
        encoded = int.from_bytes(self._encode(message), "big")
        n = self._numbers
        # RSASP1 by the Chinese remainder theorem (RFC 8017, 5.1.2).
        left, right = pow(encoded, n.dmp1, n.p), pow(encoded, n.dmq1, n.q)
        signature = right + n.q * ((left - right) * n.iqmp % n.p)
        return signature.to_bytes((self._n.bit_length() + 7) // 8, "big")

    def _encode(self, message: bytes) -> bytes:
        """EMSA-PSS-ENCODE (RFC 8017, 9.1.1); the salt is an HMAC of the message under the private exponent."""
        bits = self._n.bit_length() - 1
        size = (bits + 7) // 8
        secret = self._numbers.d.to_bytes(size, "big")
        salt = hmac.digest(secret, b"pss salt" + message, "sha384")[:_SALT]
        hashed = hashlib.sha384(bytes(8) + hashlib.sha384(message).digest() + salt).digest()
        block = bytes(size - _SALT - len(hashed) - 2) + b"\x01" + salt
        mask = b"".join(
            hashlib.sha384(hashed + counter.to_bytes(4, "big")).digest() for counter in range(-(-len(block) // 48))
        )
        masked = bytearray(a ^ b for a, b in zip(block, mask, strict=False))
        masked[0] &= 0xFF >> (8 * size - bits)
        return bytes(masked) + hashed + b"\xbc"


class RsassaKey:
    """An RSA-2048 key that signs by RSASSA-PKCS1-v1_5 with SHA-256, which is deterministic (RFC 8017, 8.2)."""

    def __init__(self, private: rsa.RSAPrivateKey) -> None:
        self._private = private
        self.modulus = private.public_key().public_numbers().n

    def sign(self, message: bytes) -> bytes:
        """The signature, as long as the modulus."""
        return self._private.sign(message, padding.PKCS1v15(), hashes.SHA256())


Key = EcKey | RsaKey


class Keyring:
    """Keys by name, the same each time: `secret` in the folder decides the elliptic ones, RSA keys are kept as PEM.

    Files are created once, readable by their owner alone; two processes that create at once end up with the same ones.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._secret = self._kept("secret", lambda: secrets.token_bytes(32))
        self._rsa: dict[str, RsaKey] = {}
        self._rsassa: dict[str, RsassaKey] = {}
        self._issued: dict[str, bytes] = {}
        self.ec = lru_cache(maxsize=4096)(self._ec)

    def derive(self, name: str, size: int) -> bytes:
        """Bytes that follow from the secret and the name: identities, serial numbers and the like."""
        out = b""
        while len(out) < size:
            out += hmac.digest(self._secret, f"{name}/{len(out)}".encode(), "sha512")
        return out[:size]

    def _ec(self, name: str, size: int) -> EcKey:
        scalar = int.from_bytes(self.derive(f"key {size} {name}", size // 8 + 8), "big")
        return EcKey(scalar % (_ORDERS[size] - 1) + 1, size)

    def rsa(self, name: str) -> RsaKey:
        """The RSA-4096 key of that name, made when first asked for."""
        if name not in self._rsa:
            self._rsa[name] = RsaKey(_private(self._kept(f"{name}.pem", lambda: _new_rsa(4096))))
        return self._rsa[name]

    def rsassa(self, name: str) -> RsassaKey:
        """The RSA-2048 key of that name, made when first asked for; the file has a name of its own."""
        if name not in self._rsassa:
            file = f"rsassa-{hashlib.sha256(name.encode()).hexdigest()[:32]}.pem"
            self._rsassa[name] = RsassaKey(_private(self._kept(file, lambda: _new_rsa(2048))))
        return self._rsassa[name]

    def issued(self, name: str, make: Callable[[], bytes]) -> bytes:
        """A certificate of that name, made once and kept: the same bytes at less cost."""
        if name not in self._issued:
            file = f"issued-{hashlib.sha256(name.encode()).hexdigest()[:32]}.der"
            self._issued[name] = self._kept(file, make)
        return self._issued[name]

    def _kept(self, name: str, make: Callable[[], bytes]) -> bytes:
        path = self.folder / name
        try:
            return path.read_bytes()
        except FileNotFoundError:
            pass
        fresh = self.folder / f".{name}.{secrets.token_hex(8)}"
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(make())
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass  # another process was first: its key is the key
        finally:
            fresh.unlink()
        return path.read_bytes()


def _private(pem: bytes) -> rsa.RSAPrivateKey:
    # Our own key, from our own folder: checking it anew would cost more than all else here.
    private = serialization.load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(private, rsa.RSAPrivateKey):
        raise ValueError("a key of the simulated vendors' that is no RSA key")
    return private


def _new_rsa(bits: int) -> bytes:
    private = rsa.generate_private_key(65537, bits)
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
