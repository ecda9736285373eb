"""The key that signs bundles: made once in the data directory, readable by its owner alone."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from ratchet.ports import Unreachable
from streams.stores.durable import create_once


class BundleKey:
    """An ECDSA P-256 key pair: a `streams.stores.bundle.Key`.

    Args:
        private: the key.
    """

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self._private, self._public = private, private.public_key()
        spki = self._public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.id = "ratchet-" + hashlib.sha256(spki).hexdigest()[:16]

    @classmethod
    def kept_in(cls, folder: Path) -> BundleKey:
        """The key of a data directory's `keys/`, made at its first use.

        `bundle.pem` is the private key (PKCS #8, mode 0600), `bundle.pub.pem` what OPA needs.

        Raises:
            Unreachable: it cannot be read or made, is none, or others may read it.
        """
        path = folder / "bundle.pem"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                create_once(path, private_pem(ec.generate_private_key(ec.SECP256R1())), 0o600)
            key = cls.read(path)
            create_once(folder / "bundle.pub.pem", key.public_pem().encode("ascii"))
            return key
        except (OSError, ValueError, TypeError) as why:
            raise Unreachable(str(path), str(why)) from why

    @classmethod
    def read(cls, path: Path) -> BundleKey:
        """The key in a file.

        Raises:
            Unreachable: it cannot be read, is none, or others may read it.
        """
        try:
            if os.stat(path).st_mode & 0o077:
                raise Unreachable(str(path), "others may read this private key; chmod 600 it, or make a new one")
            private = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as why:
            raise Unreachable(str(path), str(why)) from why
        if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
            raise Unreachable(str(path), "not a P-256 key")
        return cls(private)

    @property
    def public(self) -> ec.EllipticCurvePublicKey:
        """The public key."""
        return self._public

    def sign(self, data: bytes) -> bytes:
        """ES256 with the nonce of RFC 6979, r and s of 32 bytes each (RFC 7518, 3.4)."""
        signature = self._private.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        r, s = decode_dss_signature(signature)
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Whether this key made that signature."""
        if len(signature) != 64:
            return False
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        try:
            self._public.verify(encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    def public_pem(self) -> str:
        """The public key, for OPA's configuration."""
        pem = self._public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        return pem.decode("ascii")


def private_pem(private: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as its file holds it: PKCS #8, not encrypted."""
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
