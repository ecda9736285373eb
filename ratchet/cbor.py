"""CBOR (RFC 8949), read strictly and bounded: what COSE messages, EAT claims and attestation documents are written in.

Strict: one data item that fills its bytes, well formed (RFC 8949, appendix C), text in UTF-8, and no map with the same
key twice (5.6: such a map is invalid, and readers that take the first or the last of them disagree). Both definite and
indefinite lengths are read, and lengths that are not the shortest: whoever hashes or compares does so over the bytes as
they came, never over bytes encoded again.

Bounded: every length is checked before it is used, containers nest `MAX_DEPTH` deep at most and have `MAX_CHILDREN`
members at most, and no item costs more memory than the bytes that it came in. Tags are kept and not interpreted.
"""

from __future__ import annotations

import struct
from collections.abc import Hashable
from typing import Any, NamedTuple

MAX_DEPTH = 16
"""Containers and tags within each other; the deepest evidence known (EAT submodules) has seven."""

MAX_CHILDREN = 1024
"""Members of one array, entries of one map, or pieces of one string of indefinite length."""

Value = Any
"""int, float, bytes, str, bool, None, `Simple`, list, dict or `Tag`."""

Path = tuple[Hashable, ...]
"""From the outermost item to one within: keys of maps and indices of arrays; a tag's content is at the tag's path."""

Places = dict[Path, tuple[int, int]]
"""Where items lie: the content of definite strings, the whole of anything else; begin and end."""

_BREAK = 0xFF
_KEYS = (int, str, bytes)


class BadCbor(ValueError):
    """The bytes are not the CBOR that is read here; says why."""


class Tag(NamedTuple):
    """A tagged item (RFC 8949, 3.4).

    Attributes:
        number: of the tag.
        value: what it is about.
    """

    number: int
    value: Value


class Simple(NamedTuple):
    """A simple value with no Python value of its own (RFC 8949, 3.3); 23 is `undefined`."""

    number: int


def decode(data: bytes, places: Places | None = None) -> Value:
    """The one data item that these bytes are.

    Args:
        data: all of it: bytes behind the item are an error.
        places: is given where every item lies; None spares the work.

    Raises:
        BadCbor: not well formed, not valid, or beyond the bounds.
    """
    try:
        value, end = _item(data, 0, MAX_DEPTH, places, ())
    except IndexError:
        raise BadCbor("truncated") from None
    if end != len(data):
        raise BadCbor(f"{len(data) - end} bytes behind the item")
    return value


def _item(data: bytes, at: int, depth: int, places: Places | None, path: Path) -> tuple[Value, int]:
    """The item that begins at `at`, and where it ends."""
    head = data[at]
    major, low, start = head >> 5, head & 31, at + 1
    if low < 24:
        number = low
    elif low < 28:
        size = 1 << (low - 24)
        start += size
        if start > len(data):
            raise BadCbor("truncated")
        number = int.from_bytes(data[at + 1 : start], "big")
    elif low == 31 and 2 <= major <= 5:
        return _indefinite(data, at, major, depth, places, path)
    else:
        raise BadCbor(f"initial byte 0x{head:02x}, which nothing begins with")
    value: Value
    if major == 2 or major == 3:
        end = start + number
        if end > len(data):
            raise BadCbor("a string reaches beyond the end")
        value = data[start:end] if major == 2 else _text(data[start:end])
        if places is not None:
            places[path] = start, end
        return value, end
    end = start
    if major == 0:
        value = number
    elif major == 1:
        value = -1 - number
    elif major == 7:
        value = _simple(low, number, data[at + 1 : start])
    elif depth == 0:
        raise BadCbor(f"nested more than {MAX_DEPTH} deep")
    elif major == 4:
        value, end = _array(data, start, _few(number), depth - 1, places, path)
    elif major == 5:
        value, end = _map(data, start, _few(number), depth - 1, places, path)
    else:
        content, end = _item(data, start, depth - 1, places, path)
        value = Tag(number, content)
    if places is not None:
        places[path] = at, end
    return value, end


def _few(number: int) -> int:
    if number > MAX_CHILDREN:
        raise BadCbor(f"a container with {number} members, at most {MAX_CHILDREN} are read")
    return number


def _array(
    data: bytes, at: int, count: int | None, depth: int, places: Places | None, path: Path
) -> tuple[list[Value], int]:
    """`count` members, or as many as there are before a break."""
    found: list[Value] = []
    while len(found) != count:
        if count is None and data[at] == _BREAK:
            return found, at + 1
        if len(found) == MAX_CHILDREN:
            _few(len(found) + 1)
        value, at = _item(data, at, depth, places, (*path, len(found)) if places is not None else path)
        found.append(value)
    return found, at


def _map(
    data: bytes, at: int, count: int | None, depth: int, places: Places | None, path: Path
) -> tuple[dict[Hashable, Value], int]:
    """`count` entries, or as many as there are before a break."""
    found: dict[Hashable, Value] = {}
    while len(found) != count:
        if count is None and data[at] == _BREAK:
            return found, at + 1
        if len(found) == MAX_CHILDREN:
            _few(len(found) + 1)
        key: Hashable
        # Most keys are small numbers or short texts, and most values short byte strings: these are read here, for calls
        # are what reading a map spends its time in.
        first = data[at]
        if first < 0x18:
            key, at = first, at + 1
        elif 0x60 <= first < 0x78 and at + first - 0x5F <= len(data):
            key, at = _text(data[at + 1 : at + first - 0x5F]), at + first - 0x5F
        else:
            key, at = _item(data, at, depth, None, path)
            if not isinstance(key, _KEYS) or isinstance(key, bool):
                raise BadCbor("a map's key that is no integer, text or byte string")
        if key in found:
            raise BadCbor(f"the key {str(key)[:64]!r} twice in one map")
        if places is None and data[at] == 0x58 and (end := at + 2 + data[at + 1]) <= len(data):
            found[key], at = data[at + 2 : end], end
        else:
            found[key], at = _item(data, at, depth, places, (*path, key) if places is not None else path)
    return found, at


def _indefinite(data: bytes, at: int, major: int, depth: int, places: Places | None, path: Path) -> tuple[Value, int]:
    """What ends with a break (RFC 8949, 3.2)."""
    if depth == 0:
        raise BadCbor(f"nested more than {MAX_DEPTH} deep")
    value: Value
    if major == 4:
        value, end = _array(data, at + 1, None, depth - 1, places, path)
    elif major == 5:
        value, end = _map(data, at + 1, None, depth - 1, places, path)
    else:
        value, end = _pieces(data, at + 1, major, depth - 1, path)
    if places is not None:
        places[path] = at, end
    return value, end


def _pieces(data: bytes, at: int, major: int, depth: int, path: Path) -> tuple[Value, int]:
    """A string whose pieces are strings of its kind, each of definite length (RFC 8949, 3.2.3)."""
    pieces: list[Value] = []
    while data[at] != _BREAK:
        if data[at] >> 5 != major or data[at] & 31 == 31:
            raise BadCbor("a string of pieces that are not strings of its kind")
        _few(len(pieces) + 1)
        piece, at = _item(data, at, depth, None, path)
        pieces.append(piece)
    return (b"" if major == 2 else "").join(pieces), at + 1


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise BadCbor("text that is not UTF-8") from None


def _simple(low: int, number: int, content: bytes) -> Value:
    """Simple values and floating-point numbers (RFC 8949, 3.3)."""
    if low == 24 and number < 32:
        raise BadCbor("a simple value that is not in its one byte")
    if low in _FLOATS:
        return struct.unpack(_FLOATS[low], content)[0]
    return _CONSTANTS[number] if number in _CONSTANTS else Simple(number)


_FLOATS = {25: ">e", 26: ">f", 27: ">d"}
_CONSTANTS: dict[int, Value] = {20: False, 21: True, 22: None}
