"""OPA's policy compiled to WebAssembly, run in this process by wasmtime: OPA's own semantics, nothing of the system.

Source: OPA documentation, "Wasm" (ABI 1.2: `opa_eval`, `opa_json_parse`, `opa_heap_ptr_set`, builtins by number). What
OPA does not compile it imports by name; three such functions are given here:

- `io.jwt.decode_verify`: ES256 by JWKS or PEM, with the constraints `cert`, `alg`, `iss`, `aud` and `time` as OPA
  v1.22.2 takes them (v1/topdown/tokens.go). Where OPA's function has an error, the call is undefined, as in OPA;
- `io.jwt.decode`: header and payload, unproven;
- `time.now_ns`: the moment that the caller gives. Nothing here reads a clock.

An input faces an attacker: its size, the memory and the number of instructions are bounded, and whatever goes wrong is
`Undecided`, which callers take for a refusal.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from functools import cache, lru_cache
from typing import Any

import wasmtime
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from ratchet.event import Json

MAX_INPUT = 256 * 1024
"""Bytes of one input; a token with all claims is below 16 KiB."""

MAX_MEMORY = 256 * 1024 * 1024
"""Bytes that one policy and its data may take. Intel's whole set of TCB infos takes about 20 MiB."""

FUEL = 2_000_000_000
"""Instructions of one decision; one over the largest real floor takes about a million."""

_PAGE = 65536


class Undecided(Exception):
    """The policy gave no answer: a bound was met, or it stopped."""


class Compiled:
    """One policy with its data, ready to decide.

    Args:
        module: bytes of the compiled policy.
        data: the document `data`.

    Raises:
        Undecided: not such a policy, or more data than fits.
    """

    def __init__(self, module: bytes, data: Mapping[str, Json]) -> None:
        self._at: datetime | None = None
        try:
            self._store = wasmtime.Store(_engine())
            self._store.set_limits(memory_size=MAX_MEMORY)
            self._store.set_fuel(FUEL)
            self._memory = wasmtime.Memory(self._store, wasmtime.MemoryType(wasmtime.Limits(8, None)))
            self._exports = self._linker().instantiate(self._store, _module(module)).exports(self._store)
            names = json.loads(self._dump(self._call("builtins")))
            self._builtins = {number: name for name, number in names.items()}
            self._data = self._value(json.dumps(data, allow_nan=False).encode())
            self._heap = self._call("opa_heap_ptr_get")
        except (wasmtime.WasmtimeError, wasmtime.Trap, ValueError, KeyError, TypeError, IndexError) as error:
            raise Undecided(f"not a compiled policy that can run: {type(error).__name__}") from error

    def decide(self, value: Json, at: datetime) -> Json:
        """What the policy's entry point says of an input; None where it is undefined.

        Args:
            value: the input.
            at: aware time: what `time.now_ns` gives.

        Raises:
            Undecided: a bound was met, or the policy stopped.
        """
        try:
            raw = json.dumps(value, allow_nan=False).encode()
        except (ValueError, TypeError, RecursionError) as error:
            raise Undecided(f"the input is no JSON: {error}") from error
        if len(raw) > MAX_INPUT:
            raise Undecided(f"an input of {len(raw)} bytes; at most {MAX_INPUT} are read")
        self._at = at
        try:
            self._store.set_fuel(FUEL)
            self._call("opa_heap_ptr_set", self._heap)
            end = self._heap + len(raw)
            if (short := end - self._memory.data_len(self._store)) > 0:
                self._memory.grow(self._store, short // _PAGE + 1)
            self._memory.write(self._store, raw, self._heap)
            answer = self._call("opa_eval", 0, 0, self._data, self._heap, len(raw), end, 0)
            found = json.loads(self._text(answer))
        except (wasmtime.WasmtimeError, wasmtime.Trap, ValueError, IndexError, RecursionError, _Stopped) as error:
            raise Undecided(f"the policy stopped: {type(error).__name__}") from error
        finally:
            self._at = None
        return found[0]["result"] if isinstance(found, list) and found else None

    # Between the two memories

    def _call(self, name: str, *arguments: int) -> int:
        function: Any = self._exports[name]
        result = function(self._store, *arguments)
        return int(result) if result is not None else 0

    def _value(self, raw: bytes) -> int:
        """JSON as a value of the policy's."""
        place = self._call("opa_malloc", len(raw))
        self._memory.write(self._store, raw, place)
        value = self._call("opa_json_parse", place, len(raw))
        if value == 0:
            raise ValueError("not JSON")
        return value

    def _dump(self, value: int) -> str:
        return self._text(self._call("opa_json_dump", value))

    def _text(self, place: int) -> str:
        """A zero-ended text, read in steps: its length is not known."""
        found, size = bytearray(), self._memory.data_len(self._store)
        while place < size:
            piece = self._memory.read(self._store, place, min(place + 4096, size))
            end = piece.find(b"\0")
            if end >= 0:
                return bytes(found + piece[:end]).decode()
            found += piece
            place += len(piece)
        raise ValueError("a text without an end")

    def _linker(self) -> wasmtime.Linker:
        linker, number = wasmtime.Linker(_engine()), wasmtime.ValType.i32()
        linker.define(self._store, "env", "memory", self._memory)
        linker.define_func("env", "opa_abort", wasmtime.FuncType([number], []), self._stop)
        linker.define_func("env", "opa_println", wasmtime.FuncType([number], []), lambda _: None)
        for count in range(5):
            kind = wasmtime.FuncType([number] * (count + 2), [number])
            linker.define_func("env", f"opa_builtin{count}", kind, self._builtin)
        return linker

    def _stop(self, place: int) -> None:
        raise _Stopped(self._text(place))

    def _builtin(self, number: int, _context: int, *arguments: int) -> int:
        """A function that OPA left to its host. 0: undefined."""
        values = [json.loads(self._dump(one)) for one in arguments]
        match self._builtins.get(number), values:
            case "time.now_ns", []:
                if self._at is None:
                    return 0
                result: Json = _nanoseconds(self._at)
            case "io.jwt.decode_verify", [token, constraints]:
                result = decode_verify(token, constraints, self._at)
            case "io.jwt.decode", [token]:
                result = decode(token)
            case _:
                return 0
        return 0 if result is None else self._value(json.dumps(result).encode())


class _Stopped(Exception):
    """The policy called `opa_abort`."""


@cache
def _engine() -> wasmtime.Engine:
    config = wasmtime.Config()
    config.consume_fuel = True
    return wasmtime.Engine(config)


@lru_cache(maxsize=4)
def _module(module: bytes) -> wasmtime.Module:
    """Compiled to machine code once: it takes 0.1 s."""
    return wasmtime.Module(_engine(), module)


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000_000 + at.microsecond * 1000


def decode(token: Json) -> list[Json] | None:
    """`io.jwt.decode`: [header, payload, signature in hex]; None where OPA's has an error."""
    try:
        head, body, signature = _parts(token)
        return [head, body, signature.hex()]
    except ValueError:
        return None


def decode_verify(token: Json, constraints: Json, at: datetime | None) -> list[Json] | None:
    """`io.jwt.decode_verify`: [valid, header, payload]; None where OPA's has an error. ES256 alone."""
    unverified: list[Json] = [False, {}, {}]
    known = {"cert", "alg", "iss", "aud", "time"}
    if not isinstance(constraints, dict) or not set(constraints) <= known or constraints.get("alg") != "ES256":
        return None
    if not all(isinstance(constraints.get(name, ""), str) for name in ("cert", "iss", "aud")):
        return None
    moment = constraints.get("time", _nanoseconds(at) if at is not None else None)
    if isinstance(moment, bool) or not isinstance(moment, int | float):
        return None
    try:
        keys = _keys(constraints["cert"])
        head, body, signature = _parts(token)
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(head.get("alg"), str):
        return None
    if head["alg"] != "ES256":
        return unverified
    signed = str(token).rpartition(".")[0].encode("ascii")
    kid = head.get("kid")
    if not any(_signed_by(key, signed, signature) for key in keys.get(kid) or [k for of in keys.values() for k in of]):
        return unverified
    if constraints.get("iss") and body.get("iss") != constraints["iss"]:
        return unverified
    audience = body.get("aud")
    allowed = [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
    wanted = constraints.get("aud", "")
    if (audience is not None or wanted) and wanted not in [one for one in allowed if isinstance(one, str)]:
        return unverified
    for name in {"exp", "nbf"} & body.keys():
        value, now = body[name], moment / 1e9
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if now >= value if name == "exp" else now < value:
            return unverified
    return [True, head, body]


def _parts(token: Json) -> tuple[dict[str, Json], dict[str, Json], bytes]:
    """Header, payload and signature of a token in compact form.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(token, str) or token.count(".") != 2:
        raise ValueError("not three parts")
    head, body, signature = (_unb64(part) for part in token.split("."))
    parsed = [json.loads(part) for part in (head, body)]
    if not all(isinstance(part, dict) for part in parsed):
        raise ValueError("header and payload are objects")
    return parsed[0], parsed[1], signature


def _unb64(text: str) -> bytes:
    bare = text.rstrip("=")
    return base64.b64decode(bare.encode("ascii") + b"=" * (-len(bare) % 4), b"-_", validate=True)


@lru_cache(maxsize=16)
def _keys(text: str) -> Mapping[str | None, list[ec.EllipticCurvePublicKey]]:
    """Keys by key id, out of a JWKS, a JWK, or a certificate or public key in PEM.

    Raises:
        ValueError: none of these.
    """
    if "-----BEGIN" in text:
        raw = text.encode()
        key = load_pem_x509_certificate(raw).public_key() if "CERTIFICATE" in text else load_pem_public_key(raw)
        return {None: [key]} if isinstance(key, ec.EllipticCurvePublicKey) else {}
    value = json.loads(text)
    found: dict[str | None, list[ec.EllipticCurvePublicKey]] = {}
    for jwk in value.get("keys", [value]):
        if jwk.get("kty") != "EC" or jwk.get("crv") != "P-256" or jwk.get("alg", "ES256") != "ES256":
            continue
        x, y = (int.from_bytes(_unb64(jwk[name]), "big") for name in ("x", "y"))
        key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        found.setdefault(jwk.get("kid"), []).append(key)
    return found


def _signed_by(key: ec.EllipticCurvePublicKey, data: bytes, signature: bytes) -> bool:
    if len(signature) != 64 or not isinstance(key.curve, ec.SECP256R1):
        return False
    r, s = (int.from_bytes(part, "big") for part in (signature[:32], signature[32:]))
    try:
        key.verify(encode_dss_signature(r, s), data, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True
