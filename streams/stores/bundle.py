"""OPA bundles: packed to equal bytes from equal content, signed, and read back with every hash checked. Pure.

Sources: OPA documentation, "Bundles" (file format, signing); the digest of structured files as OPA v1.22.2 takes it
(v1/bundle/hash.go: the JSON value with sorted keys and no white space; of other files, their bytes); JWS compact form
(RFC 7515) with ES256 (RFC 7518, 3.4). Signatures are deterministic (RFC 6979), so that a push repeated after a crash
gives the same bundle.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Mapping
from typing import Protocol

from ratchet.ear import base64url, from_base64url
from ratchet.event import Json
from streams.stores.rego import Policy

MAX_PACKED, MAX_UNPACKED, MAX_FILES = 16 << 20, 64 << 20, 64
"""Bounds of a bundle that is read: nobody but us writes it, and nobody else's may fill the memory."""

ROOTS = ("ratchet", "ratchet_keys", "ratchet_policy")
"""What the bundle owns in OPA's tree of documents: nothing else may write there."""

_MANIFEST, _SIGNATURES = ".manifest", ".signatures.json"


class Key(Protocol):
    """Signs bundles, and knows its own signatures again."""

    @property
    def id(self) -> str:
        """What OPA's configuration calls it (`keyid`)."""

    def sign(self, data: bytes) -> bytes:
        """ES256: r and s, 32 bytes each; the same for the same data."""

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Whether this key made that signature."""


class BadBundle(ValueError):
    """Not a bundle of ours: says why."""


def contents(policy: Policy, key: Key) -> dict[str, bytes]:
    """Every file of the bundle, manifest and signature among them."""
    manifest: Json = {"revision": policy.revision, "roots": list(ROOTS), "rego_version": 1}
    files = {_MANIFEST: _compact(manifest), **policy.files}
    claims = [{"name": path, "hash": _hash(path, data), "algorithm": "SHA-256"} for path, data in sorted(files.items())]
    signed = f"{base64url(_compact({'alg': 'ES256', 'kid': key.id}))}.{base64url(_compact({'files': claims}))}"
    token = f"{signed}.{base64url(key.sign(signed.encode('ascii')))}"
    return files | {_SIGNATURES: _compact({"signatures": [token]})}


def pack(files: Mapping[str, bytes]) -> bytes:
    """A gzipped tar, in order of path, without times, owners or names: equal content gives equal bytes."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, data in sorted(files.items()):
            entry = tarfile.TarInfo("/" + path)  # as `opa build` names them
            entry.size, entry.mode, entry.mtime = len(data), 0o644, 0
            tar.addfile(entry, io.BytesIO(data))
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as out:
        out.write(plain.getvalue())
    return packed.getvalue()


def unpack(packed: bytes) -> dict[str, bytes]:
    """The files of a bundle.

    Raises:
        BadBundle: not a gzipped tar of plain files within the bounds.
    """
    if len(packed) > MAX_PACKED:
        raise BadBundle(f"{len(packed)} bytes, at most {MAX_PACKED} are read")
    try:
        inflate = zlib.decompressobj(wbits=31)  # a gzip header and trailer
        plain = inflate.decompress(packed, MAX_UNPACKED)
        if not inflate.eof:
            raise BadBundle(f"cut off, or more than {MAX_UNPACKED} bytes unpacked")
        files: dict[str, bytes] = {}
        with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as tar:
            for entry in tar:
                path = entry.name.removeprefix("/")
                body = tar.extractfile(entry) if entry.isreg() else None
                if body is None or path in files or len(files) >= MAX_FILES:
                    raise BadBundle(f"{path[:120]!r} is not a plain file, or there twice, or one too many")
                files[path] = body.read()
        return files
    except (zlib.error, tarfile.TarError, EOFError, OSError) as why:
        raise BadBundle(f"not a gzipped tar: {why}") from why


def opened(packed: bytes, key: Key) -> Policy:
    """The policy in a bundle that this key signed, every file of it hashed.

    Raises:
        BadBundle: unreadable, unsigned, signed by another key, or changed since.
    """
    files = unpack(packed)
    try:
        tokens = json.loads(files.pop(_SIGNATURES))["signatures"]
        head, body, signature = (from_base64url(part) for part in _only(tokens).split("."))
        header, claims = json.loads(head), json.loads(body)
        if header != {"alg": "ES256", "kid": key.id}:
            raise BadBundle(f"signed by a key that is not {key.id}")
        if not key.verify(_only(tokens).rpartition(".")[0].encode("ascii"), signature):
            raise BadBundle("the signature is not that of its content")
        wanted = {one["name"]: (one["algorithm"], one["hash"]) for one in claims["files"]}
        found = {path: ("SHA-256", _hash(path, data)) for path, data in files.items()}
        if wanted != found:
            odd = sorted(p for p in wanted.keys() | found.keys() if wanted.get(p) != found.get(p))
            raise BadBundle(f"changed since it was signed: {', '.join(odd)[:200]}")
        manifest = json.loads(files.pop(_MANIFEST))
        if manifest["roots"] != list(ROOTS) or not isinstance(manifest["revision"], str):
            raise BadBundle("the manifest is not one of ours")
        return Policy(manifest["revision"], files)
    except BadBundle:
        raise
    except (KeyError, ValueError, TypeError, RecursionError) as why:
        raise BadBundle(f"no signed bundle: {type(why).__name__} {why}") from why


def configuration(key: Key, public: str) -> bytes:
    """A configuration with which OPA follows the bundle over HTTP (`streams.stores.publish`) and takes no other's.

    Where it is and the token for it come from OPA's environment: RATCHET_BUNDLES, RATCHET_BUNDLES_TOKEN. The key id
    stands beside the bundle explicitly: without it OPA would believe the id that the bundle itself names
    (GHSA-g2pf-6v5v-qcc8). JSON, which YAML readers read.
    """
    value = {
        "services": {
            "ratchet": {
                "url": "${RATCHET_BUNDLES}",
                "credentials": {"bearer": {"token": "${RATCHET_BUNDLES_TOKEN}"}},
            }
        },
        "keys": {key.id: {"algorithm": "ES256", "key": public}},
        "bundles": {
            "ratchet": {
                "service": "ratchet",
                "resource": "ratchet.tar.gz",
                "signing": {"keyid": key.id},
                "polling": {"min_delay_seconds": 5, "max_delay_seconds": 10},
            }
        },
        "status": {"console": True},
    }
    return json.dumps(value, indent=2).encode() + b"\n"


def _hash(path: str, data: bytes) -> str:
    """As OPA takes it: of `.manifest` and `data.json` the value counts, of other files the bytes."""
    if path.rpartition("/")[2] in (_MANIFEST, "data.json"):
        data = _compact(json.loads(data))
    return hashlib.sha256(data).hexdigest()


def _compact(value: Json) -> bytes:
    """JSON without white space, keys sorted, as Go's encoder writes it without HTML escapes (U+2028 and U+2029 are)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").encode()


def _only(tokens: Json) -> str:
    if not isinstance(tokens, list) or len(tokens) != 1 or not isinstance(tokens[0], str):
        raise BadBundle("exactly one signature is expected")
    return tokens[0]
