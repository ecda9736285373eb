"""Typed conditions on claims: what reference values and requirements are made of.

| as written | met by a claim that is |
|---|---|
| a text, number or truth value | equal to it |
| a list, or `{one_of = [...]}` | equal to one of them |
| `{at_least = 3}` | a number, this or greater |
| `{mask = "ff00", value = "1200"}` | equal to the value in the bits of the mask, which are the only ones that count |
| `{signed_by = "..."}`, under `signer` | the digest of the key that vouches for the guest |

A claim that evidence does not make is not false: it meets no condition, unless that says `unattested = "admit"`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from ratchet.event import Json
from ratchet.evidence import TEES, Claims
from ratchet.evidence.registry import check
from ratchet.evidence.spec import SIGNER

Value = str | int
"""Lower-case hex, or a whole number; truth values are 0 and 1."""

MAX_VALUES = 256
"""Of one condition."""

_HEX = re.compile(r"([0-9a-f]{2}){1,64}")


class Answer(StrEnum):
    """What a claim is to a condition."""

    MET = "met"
    NOT_MET = "not_met"
    UNATTESTED = "unattested"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What one claim must be.

    Attributes:
        claim: a name in `Claims.measurements`, `Claims.bits` or `Claims.tcb`; or `signer`.
        one_of: values of which it must be one.
        at_least: the least that it may be.
        mask, value: bits that count, and what they must be.
        admit_unattested: evidence that does not make the claim meets it all the same.
    """

    claim: str
    one_of: tuple[Value, ...] = ()
    at_least: int | None = None
    mask: Value | None = None
    value: Value | None = None
    admit_unattested: bool = False

    def answer(self, claims: Claims) -> Answer:
        """Is it met?"""
        if self.claim == SIGNER:
            got = values_of(claims, SIGNER)
            if got:
                return Answer.MET if any(map(self._holds, got)) else Answer.NOT_MET
        else:
            value = _value_of(claims, self.claim)
            if value is not None:
                return Answer.MET if self._holds(value) else Answer.NOT_MET
        return Answer.MET if self.admit_unattested else Answer.UNATTESTED

    def _holds(self, got: Value) -> bool:
        if self.at_least is not None:
            return isinstance(got, int) and got >= self.at_least
        if self.mask is not None and self.value is not None:
            if isinstance(got, str) != isinstance(self.mask, str) or isinstance(got, str) != isinstance(
                self.value, str
            ):
                return False
            if isinstance(got, str) and len(got) != len(str(self.mask)):
                return False
            return _number(got) & _number(self.mask) == _number(self.value)
        return got in self.one_of

    @property
    def exact(self) -> bool:
        """Does it pin the claim to values that somebody named?"""
        return bool(self.one_of)

    @property
    def want(self) -> Json:
        """What is asked, for a Reason."""
        if self.at_least is not None:
            return f"at least {self.at_least}"
        if self.mask is not None:
            return f"{self.value} under the mask {self.mask}"
        if len(self.one_of) == 1:
            return self.one_of[0]
        shown = ", ".join(map(str, self.one_of[:3]))
        return f"one of {shown}" + (f" and {len(self.one_of) - 3} more" if len(self.one_of) > 3 else "")

    def to_data(self) -> dict[str, Json]:
        """As JSON, in one form for each condition."""
        data: dict[str, Json] = {}
        if self.one_of:
            data["one_of"] = list(self.one_of)
        if self.at_least is not None:
            data["at_least"] = self.at_least
        if self.mask is not None:
            data |= {"mask": self.mask, "value": self.value}
        if self.admit_unattested:
            data["unattested"] = "admit"
        return data

    @classmethod
    def from_data(cls, tee: str, claim: str, data: Json) -> Self:
        """Read one.

        Raises:
            ValueError: no claim of that TEE, or not a condition on it; says what is wrong.
        """
        check(tee, claim)
        given: Mapping[str, Json] = data if isinstance(data, Mapping) else {"one_of": data}
        unknown = sorted(set(given) - {"one_of", "at_least", "mask", "value", "signed_by", "unattested"})
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no part of a condition: one_of, at_least, mask with value, signed_by")
        kinds = [name for name in ("one_of", "at_least", "mask", "signed_by") if name in given]
        if len(kinds) != 1 or ("mask" in given) != ("value" in given):
            raise ValueError("a condition is one of: a value, one_of, at_least, mask with value, signed_by")
        if (claim == SIGNER) != (kinds[0] == "signed_by"):
            signers = ", ".join(TEES[tee].signers) or "none"
            raise ValueError(f"signed_by is said of `signer`, and nothing else is: {signers}")
        if given.get("unattested", "refuse") not in ("refuse", "admit"):
            raise ValueError('unattested is "refuse" or "admit"')
        bytes_ = claim == SIGNER or claim in TEES[tee].measurements
        text = claim in TEES[tee].texts
        admit = given.get("unattested") == "admit"
        if kinds[0] == "at_least":
            if bytes_:
                raise ValueError("at_least is for numbers, and this claim is a string of bytes")
            return cls(claim=claim, at_least=_checked(given["at_least"], bytes_, claim, text), admit_unattested=admit)  # type: ignore[arg-type]  # a number, by `bytes_`
        if kinds[0] == "mask":
            mask, value = (_checked(given[name], bytes_, claim, text) for name in ("mask", "value"))
            if isinstance(mask, str) and len(mask) != len(str(value)):
                raise ValueError("mask and value are of one length")
            if _number(value) & ~_number(mask):
                raise ValueError("the value has bits that the mask leaves out: nothing could meet it")
            return cls(claim=claim, mask=mask, value=value, admit_unattested=admit)
        listed = given[kinds[0]]
        several = listed if isinstance(listed, list | tuple) else [listed]
        if not 1 <= len(several) <= MAX_VALUES:
            raise ValueError(f"1 to {MAX_VALUES} values")
        values = tuple(dict.fromkeys(_checked(one, bytes_, claim, text) for one in several))
        return cls(claim=claim, one_of=values, admit_unattested=admit)


def _checked(value: Json, bytes_: bool, claim: str, text: bool) -> Value:
    if bytes_:
        if not isinstance(value, str) or not (text or _HEX.fullmatch(value)) or len(value) > 128:
            raise ValueError(f"{claim} is {'text' if text else 'lower-case hex'}, and {value!r} is not")
        return value
    if not isinstance(value, int) or not 0 <= value < 2**53:
        raise ValueError(f"{claim} is a number or a truth value, and {value!r} is not")
    return int(value)


def _number(value: Value) -> int:
    return int(value, 16) if isinstance(value, str) else value


def values_of(claims: Claims, name: str) -> tuple[Value, ...]:
    """What evidence says of a claim: one value, several for `signer`, none where it does not make it."""
    if name == SIGNER:
        found = (claims.measurements.get(one) for one in TEES[claims.tee].signers)
        return tuple(value for value in found if value is not None and value.strip("0"))
    value = _value_of(claims, name)
    return () if value is None else (int(value) if isinstance(value, bool) else value,)


def _value_of(claims: Claims, name: str) -> Value | None:
    """What evidence says of a claim; truth values as they are."""
    value: Value | None = claims.bits.get(name)
    if value is None:
        value = claims.measurements.get(name)
    return claims.tcb.get(name) if value is None else value
