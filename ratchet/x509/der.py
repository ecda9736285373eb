"""DER, read strictly and in one pass: what certificates, revocation lists and their extensions are written in.

Only what X.509 needs (ITU-T X.690, clauses 8, 10 and 11): tags below 31, definite lengths in their shortest form.
Nothing recurses; a caller descends where it knows the structure, so hostile nesting costs nothing.
"""

from __future__ import annotations

from datetime import datetime

BOOLEAN = 0x01
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
NULL = 0x05
OID = 0x06
ENUMERATED = 0x0A
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30
SET = 0x31

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


def bits(data: bytes, one: Element) -> bytes:
    """Content of a BIT STRING of whole bytes.

    Raises:
        BadDer: another tag, or unused bits.
    """
    tag, start, stop = one
    if tag != BIT_STRING or stop == start or data[start] != 0:
        raise BadDer("expected a BIT STRING of whole bytes")
    return data[start + 1 : stop]


def oid(data: bytes, one: Element) -> str:
    """An object identifier as dotted text.

    Raises:
        BadDer: another tag, or not minimal.
    """
    tag, start, stop = one
    if tag != OID or not 1 <= stop - start <= 64:
        raise BadDer("expected an OBJECT IDENTIFIER")
    content = data[start:stop]
    known = _OIDS.get(content)
    return known if known is not None else _dotted(content)


def _dotted(content: bytes) -> str:
    arcs: list[int] = []
    value, fresh = 0, True
    for byte in content:
        if fresh and byte == 0x80:
            raise BadDer("OBJECT IDENTIFIER with padding")
        value = value << 7 | byte & 0x7F
        fresh = byte < 0x80
        if fresh:
            arcs.append(value)
            value = 0
    if not fresh:
        raise BadDer("truncated OBJECT IDENTIFIER")
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


_OIDS: dict[bytes, str] = {
    content: _dotted(content)
    for content in map(
        bytes.fromhex,
        (
            "550403",  # common name
            "551d0e",  # subject key identifier
            "551d0f",  # key usage
            "551d13",  # basic constraints
            "551d1f",  # CRL distribution points
            "551d23",  # authority key identifier
            "2a8648ce3d040302",  # ecdsa-with-SHA256
            "2a864886f84d010d01",  # Intel SGX extensions
        ),
    )
}
"""The few that every chain repeats, so that they need not be spelt out each time."""


def moment(data: bytes, one: Element) -> datetime:
    """UTCTime or GeneralizedTime as RFC 5280, 4.1.2.5, allows them: in seconds and in UTC (`Z`).

    Raises:
        BadDer: any other form, or no such date.
    """
    tag, start, stop = one
    text = data[start:stop]
    if tag == UTC_TIME and len(text) == 13:
        # RFC 5280, 4.1.2.5.1: years 50 to 99 are of the twentieth century.
        text = (b"19" if text[0] >= 0x35 else b"20") + text
    elif tag != GENERALIZED_TIME:
        raise BadDer("expected a time")
    if len(text) != 15 or text[14] != 0x5A or not text[:14].isdigit():
        raise BadDer("time not in UTC and seconds")
    try:
        # 14 digits and a Z: read so in a third of the time that six calls of `int` take.
        return datetime.fromisoformat(f"{text[:8].decode()}T{text[8:].decode()}")
    except ValueError as error:
        raise BadDer(f"no such time: {error}") from None
