"""CBOR, written: the few types that signed documents are made of, in their shortest form (RFC 8949, 3 and 4.2.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def encode(value: Any) -> bytes:
    """None, an integer, bytes, text, a map or a sequence of these; maps keep their order."""
    if value is None:
        return b"\xf6"
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        return _head(3, len(value.encode())) + value.encode()
    if isinstance(value, Mapping):
        return _head(5, len(value)) + b"".join(encode(one) for entry in value.items() for one in entry)
    if isinstance(value, Sequence):
        return _head(4, len(value)) + b"".join(map(encode, value))
    raise TypeError(f"{type(value).__name__} is not written here")


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes((major << 5 | number,))
    low, size = next((24 + i, 1 << i) for i in range(4) if number < 1 << 8 * (1 << i))
    return bytes((major << 5 | low,)) + number.to_bytes(size, "big")
