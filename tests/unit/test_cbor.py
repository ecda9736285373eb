"""CBOR and COSE_Sign1: what is read, what is refused, and where it lay."""

from __future__ import annotations

import math
import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nitro_world import cbor as written

from ratchet.cbor import MAX_CHILDREN, MAX_DEPTH, BadCbor, Places, Simple, Tag, decode
from ratchet.cose import BadCose, read_sign1

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=300) | st.text(max_size=80),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.integers(-(2**64), 2**64 - 1) | st.text(max_size=9) | st.binary(max_size=9), inner)
    ),
    max_leaves=20,
)


@given(VALUES)
def test_what_was_written_is_read(value: Any) -> None:
    assert decode(written(value)) == value


# RFC 8949, appendix A
@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("1bffffffffffffffff", 2**64 - 1),
        ("3bffffffffffffffff", -(2**64)),
        ("3903e7", -1000),
        ("f97bff", 65504.0),
        ("fa47c35000", 100000.0),
        ("fbc010666666666666", -4.1),
        ("f97c00", math.inf),
        ("f4", False),
        ("f6", None),
        ("f7", Simple(23)),
        ("f0", Simple(16)),
        ("f8ff", Simple(255)),
        ("c074323031332d30332d32315432303a30343a30305a", Tag(0, "2013-03-21T20:04:00Z")),
        ("d818456449455446", Tag(24, b"dIETF")),
        ("62225c", '"\\'),
        ("64f0908591", "\U00010151"),
        ("a26161016162820203", {"a": 1, "b": [2, 3]}),
        ("5f42010243030405ff", b"\x01\x02\x03\x04\x05"),
        ("7f657374726561646d696e67ff", "streaming"),
        ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]),
        ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
        ("1800", 0),  # not the shortest form, and well formed
        ("9fff", []),
        ("bfff", {}),
        ("5fff", b""),
    ],
)
def test_the_examples_of_the_specification(data: str, value: Any) -> None:
    found = decode(bytes.fromhex(data))
    assert (found, type(found)) == (value, type(value))


def test_not_a_number_is_read() -> None:
    assert math.isnan(decode(b"\xfb" + struct.pack(">d", math.nan)))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("", "truncated"),
        ("18", "truncated"),
        ("1900", "truncated"),
        ("5820ff", "beyond the end"),
        ("8201", "truncated"),
        ("a101", "truncated"),
        ("9f01", "truncated"),
        ("bf01", "truncated"),
        ("5f4101", "truncated"),
        ("0101", "1 bytes behind"),
        ("a2010a010b", "twice"),
        ("bf6161016161f6ff", "twice"),
        ("a1f500", "no integer, text or byte string"),
        ("a1800 0".replace(" ", ""), "no integer, text or byte string"),
        ("a1fb3ff000000000000000", "no integer, text or byte string"),
        ("1c", "nothing begins with"),
        ("1f", "nothing begins with"),
        ("ff", "nothing begins with"),
        ("81ff", "nothing begins with"),
        ("df01", "nothing begins with"),
        ("f800", "not in its one byte"),
        ("f81f", "not in its one byte"),
        ("61ff", "UTF-8"),
        ("a161ff00", "UTF-8"),
        ("5f6161ff", "not strings of its kind"),
        ("5f5f4101ffff", "not strings of its kind"),
        ("7f01ff", "not strings of its kind"),
        ("9affffffff", "members"),
        ("bbffffffffffffffff", "members"),
        ("5bffffffffffffffff", "beyond the end"),
        ("81" * 17 + "01", "nested"),
        ("c1" * 17 + "01", "nested"),
        ("9f" * 17 + "01" + "ff" * 17, "nested"),
    ],
)
def test_what_is_not_well_formed_or_beyond_the_bounds_is_refused(data: str, why: str) -> None:
    with pytest.raises(BadCbor, match=why):
        decode(bytes.fromhex(data))


def test_the_bounds_are_where_they_are_said_to_be() -> None:
    assert decode(b"\x81" * MAX_DEPTH + b"\x01")
    assert len(decode(written([0] * MAX_CHILDREN))) == MAX_CHILDREN
    for begin, member in ((b"\x9f", b"\x00"), (b"\x5f", b"\x40")):
        assert decode(begin + member * MAX_CHILDREN + b"\xff") is not None
        with pytest.raises(BadCbor, match="members"):
            decode(begin + member * (MAX_CHILDREN + 1) + b"\xff")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(BadCbor):
        decode(data)


@given(VALUES, st.data())
def test_no_beginning_of_an_item_is_one(value: Any, data: st.DataObject) -> None:
    whole = written(value)
    with pytest.raises(BadCbor):
        decode(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(VALUES)
def test_places_are_where_the_bytes_are(value: Any) -> None:
    whole, places = written(value), Places()
    assert decode(whole, places) == value
    for path, (start, stop) in places.items():
        here = value
        for step in path:
            here = here[step]
        if isinstance(here, bytes | str):
            assert whole[start:stop] == (here if isinstance(here, bytes) else here.encode())
        else:
            assert whole[start:stop] == written(here)


# -- COSE_Sign1

PROTECTED = b"\xa1\x01\x38\x22"


def test_a_message_is_read_tagged_or_not() -> None:
    whole = written([PROTECTED, {4: b"kid"}, b"payload", b"s" * 96])
    for data in (whole, b"\xd2" + whole, b"\xd8\x12" + whole):
        message = read_sign1(data)
        assert (message.header, message.unprotected) == ({1: -35}, {4: b"kid"})
        assert (message.payload, message.signature) == (b"payload", b"s" * 96)
        assert message.signed == written(["Signature1", PROTECTED, b"", b"payload"])


@pytest.mark.parametrize("size", [0, 23, 24, 255, 256, 65535, 65536])
def test_what_is_signed_is_encoded_in_one_way(size: int) -> None:
    whole = written([b"", {}, bytes(size), b""])
    assert read_sign1(whole).signed == written(["Signature1", b"", b"", bytes(size)])


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (7, "no array of four"),
        ([PROTECTED, {}, b""], "no array of four"),
        ([PROTECTED, [], b"", b""], "another type"),
        (["x", {}, b"", b""], "another type"),
        ([PROTECTED, {}, b"", None], "another type"),
        ([PROTECTED, {}, None, b""], "not in the message"),
        ([b"\x01", {}, b"", b""], "no map"),
        ([b"\xa1\x01", {}, b"", b""], "protected header"),
        ([b"\xa2\x01\x26\x01\x26", {}, b"", b""], "twice"),
        ([PROTECTED, {1: -7}, b"", b""], "both headers"),
        ([b"\xa2\x01\x38\x22\x02\x81\x04", {}, b"", b""], "critical"),
        ([PROTECTED, {2: [4]}, b"", b""], "critical"),
    ],
)
def test_what_is_no_message_is_refused(message: Any, why: str) -> None:
    with pytest.raises(BadCose, match=why):
        read_sign1(written(message))


def test_another_tag_is_another_message() -> None:
    with pytest.raises(BadCose):
        read_sign1(b"\xd1" + written([PROTECTED, {}, b"", b""]))
