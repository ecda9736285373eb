"""Signing keys in files: Ed25519, PKCS #8 in PEM, for their owner alone."""

from __future__ import annotations

import os
from pathlib import Path

from ratchet.app.errors import Exit, Fault


def make_key(file: Path) -> bool:
    """Make a key there; whether this call made it. One that is there is left alone."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from streams.stores.durable import create_once

    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return create_once(file, pem, 0o600)


def read_key(file: Path) -> bytes:
    """The private key's 32 bytes.

    Raises:
        Fault: it cannot be read, is no Ed25519 key in PEM, belongs to another user, or others may read it.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        with file.open("rb") as opened:
            found = os.fstat(opened.fileno())
            if found.st_mode & 0o077:
                raise Fault("key-open", f"{file}: others than its owner may read it", f"chmod 600 {file}", Exit.REFUSED)
            if found.st_uid != os.geteuid():
                raise Fault(
                    "key-open", f"{file} belongs to another user ({found.st_uid})", "use your own", Exit.REFUSED
                )
            key = load_pem_private_key(opened.read(65536), password=None)
    except OSError as error:
        raise Fault("no-key", f"{file}: {error.strerror}", "name your key with --key PATH", Exit.USAGE) from error
    except (ValueError, TypeError) as error:
        raise Fault("bad-key", f"{file} holds no private key in PEM", "see --new-key", Exit.USAGE) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Fault("bad-key", f"{file} holds another kind of key than Ed25519", "see --new-key", Exit.USAGE)
    return key.private_bytes_raw()


def new_key(file: Path) -> str:
    """Make an Ed25519 signing key (PKCS #8, PEM) for its owner alone; its public key, hex.

    Raises:
        Fault: something is there already.
    """
    from ratchet.rollout.approval import public_key

    if not make_key(file):
        raise Fault("key-exists", f"{file} is there already", "choose another name")
    return public_key(read_key(file))
