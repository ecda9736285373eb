"""JSON from a sender who may mean ill: read one way only, and bounded before it is read."""

from __future__ import annotations

import json

from ratchet.event import Json

MAX_BRACKETS = 128
"""Objects and arrays in one text, and so the depth of it, too. The oldest form of evidence, whose PCRs are arrays of
numbers, has 31; run-time data have 8."""


class BadJson(ValueError):
    """Not a JSON object, or one that two readers could read in two ways; says why."""


def read_object(text: bytes) -> dict[str, Json]:
    """The object that these bytes are: UTF-8 without a byte order mark, no name twice in one object, no NaN.

    RFC 8259, 4, leaves open what a name means that is there twice: a reader that takes the first and one that takes the
    last would see two different keys in one signed text.

    Raises:
        BadJson: they are none.
    """
    if text.count(b"{") + text.count(b"[") > MAX_BRACKETS:
        raise BadJson(f"more than {MAX_BRACKETS} objects and arrays")
    try:
        found = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise BadJson("not UTF-8") from None
    except (ValueError, RecursionError) as wrong:
        raise BadJson(f"not JSON: {wrong}") from None
    if not isinstance(found, dict):
        raise BadJson("not an object")
    return found


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadJson("two members of one object have the same name")
    return found


def _no_constant(name: str) -> Json:
    raise BadJson(f"{name} is no JSON number")
