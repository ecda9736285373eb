"""`canonical` gives RFC 8785's bytes, whichever way it takes to them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from ratchet.event import canonical

TEXTS = st.text() | st.text('09azAZ.,:[{"\\/\b\f\n\r\t\x00\x1f\x7f') | st.from_regex(r'("?:|[,\[])[0-9]{16}[.e]?')
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=20,
)


@given(VALUES)
@example({"\ufb33": 1, "\U0001f600": 2})  # sorted by UTF-16, in which the second comes first
@example([1.0, -0.0, 1e16, 1e21, 1e-7, 123456789012345.6])
@example(1.5)
def test_it_is_rfc_8785(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**53, -(2**53), 10**30, "\ud800", {1, 2}, b"bytes"])
@pytest.mark.parametrize("wrapped", [lambda v: v, lambda v: [0, v], lambda v: {"a": v}])
def test_what_has_no_form_is_refused(value: Any, wrapped: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        canonical(wrapped(value))
