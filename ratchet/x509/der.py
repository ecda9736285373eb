"""DER, read strictly and in one pass: vendors' own extensions, and what `cryptography` does not tell (docs/adr/0012).

Only what those need (ITU-T X.690, clauses 8, 10 and 11): tags below 31, definite lengths in their shortest form.
Nothing recurses; a caller descends where it knows the structure, so hostile nesting costs nothing.
"""

from __future__ import annotations

BOOLEAN = 0x01
INTEGER = 0x02
OCTET_STRING = 0x04
OID = 0x06
SEQUENCE = 0x30

Element = tuple[int, int, int]
"""Tag, and where its content begins and ends."""


class BadDer(ValueError):
    """The bytes are not the DER that was expected."""


def element(data: bytes, at: int, end: int) -> Element:
    """The element that begins at `at` and must end by `end`.

    Raises:
        BadDer: truncated, of indefinite or not the shortest length, or with a tag of several bytes.
    """
    start = at + 2
    if start > end:
        raise BadDer("truncated element")
    tag, length = data[at], data[at + 1]
    if tag & 0x1F == 0x1F:
        raise BadDer("tag of several bytes")
    if length >= 0x80:
        octets = length & 0x7F
        if not 1 <= octets <= 4 or end - start < octets:
            raise BadDer("length that DER does not allow")
        length = int.from_bytes(data[start : start + octets], "big")
        start += octets
        if length < 0x80 or length >> (8 * (octets - 1)) == 0:
            raise BadDer("length not in its shortest form")
    stop = start + length
    if stop > end:
        raise BadDer("element reaches beyond its container")
    return tag, start, stop


def only(data: bytes, tag: int) -> tuple[int, int]:
    """Content of the one element of this tag that fills `data`.

    Raises:
        BadDer: another tag, or bytes behind it.
    """
    found, start, stop = element(data, 0, len(data))
    if found != tag or stop != len(data):
        raise BadDer(f"expected one element of tag 0x{tag:02x}")
    return start, stop


def children(data: bytes, start: int, stop: int, limit: int = 256) -> list[Element]:
    """The elements between `start` and `stop`, which they must fill.

    Raises:
        BadDer: as `element`, or more than `limit` of them.
    """
    found: list[Element] = []
    at = start
    while at < stop:
        if len(found) == limit:
            raise BadDer(f"more than {limit} elements in one container")
        # Most are short: read those here, for `element` is what reading a certificate spends its time in.
        if stop - at > 1 and data[at] & 0x1F != 0x1F and (length := data[at + 1]) < 0x80:
            end = at + 2 + length
            if end > stop:
                raise BadDer("element reaches beyond its container")
            found.append((data[at], at + 2, end))
            at = end
        else:
            one = element(data, at, stop)
            found.append(one)
            at = one[2]
    return found


def integer(data: bytes, one: Element) -> int:
    """A whole number in two's complement.

    Raises:
        BadDer: not an INTEGER, empty, or padded.
    """
    tag, start, stop = one
    if tag != INTEGER or stop == start:
        raise BadDer("expected an INTEGER")
    if stop - start == 1 and data[start] < 0x80:
        return data[start]  # as nearly every one is
    if stop - start > 1 and (
        (data[start] == 0 and data[start + 1] < 0x80) or (data[start] == 0xFF and data[start + 1] >= 0x80)
    ):
        raise BadDer("INTEGER with padding")
    return int.from_bytes(data[start:stop], "big", signed=True)


def octets(data: bytes, one: Element) -> bytes:
    """Content of an OCTET STRING.

    Raises:
        BadDer: another tag.
    """
    tag, start, stop = one
    if tag != OCTET_STRING:
        raise BadDer("expected an OCTET STRING")
    return data[start:stop]
