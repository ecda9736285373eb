"""The formats that Ratchet reads: one entry each, from the folder that knows it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from ratchet.evidence import amd, aws, azure, intel
from ratchet.evidence.proof import Format
from ratchet.evidence.spec import Component, FormatSpec, Identity, Tee, problems


class BadRegistry(Exception):
    """An entry lacks something or contradicts itself: a fault of ours, found when the program starts."""


def load(formats: Iterable[FormatSpec]) -> Mapping[str, FormatSpec]:
    """The entries by name.

    Raises:
        BadRegistry: says everything that is wrong with them.
    """
    formats = tuple(formats)
    wrong = list(problems(formats))
    if wrong:
        raise BadRegistry("; ".join(wrong))
    return MappingProxyType({one.format: one for one in formats})


FORMATS = load((*intel.FORMATS, *amd.FORMATS, *azure.FORMATS, *aws.FORMATS))
"""Every format by its name, in the order in which bytes are held against them."""

TEES: Mapping[str, Tee] = MappingProxyType({one.tee.name: one.tee for one in FORMATS.values()})
"""Every TEE by its name."""

COMPONENTS: Mapping[str, Component] = MappingProxyType(
    {component.name: component for tee in TEES.values() for component in tee.components}
)
"""Every security version by its name; TEES that share a name mean the same by it."""


IDENTITIES: Mapping[str, Identity] = MappingProxyType(
    {identity.kind: identity for tee in TEES.values() for identity in tee.identities}
)
"""Every kind of identity by its name; TEES that share one mean the same by it."""

_IDENTITY = re.compile("|".join(f"{one.kind}:(?:{one.form})" for one in IDENTITIES.values()))


def is_identity(text: str) -> bool:
    """Is this a name that evidence may prove of a machine: `chip:` and lower-case hex, for one?"""
    return _IDENTITY.fullmatch(text) is not None


def identity_forms() -> str:
    """The kinds of identity, for people: `chip: (chip id), ppid: (PPID)`."""
    return ", ".join(f"{one.kind}: ({one.label})" for one in IDENTITIES.values())


def detect(raw: bytes) -> Format | None:
    """Which format the bytes are of, from their first fields; None where they are of none."""
    return next((one.format for one in FORMATS.values() if one.detect(raw)), None)


def check(tee: str, claim: str) -> None:
    """Can evidence of a TEE make this claim? Asked when a policy is read: a claim that no evidence makes would refuse
    everything, or nothing, and not say so.

    Raises:
        ValueError: no; names the nearest.
    """
    known = TEES[tee].names
    if claim not in known:
        near = difflib.get_close_matches(claim, known, 1)
        hint = f"did you mean {near[0]}?" if near else "docs/formats.md lists them"
        raise ValueError(f"{tee} evidence makes no claim {claim}: {hint}")
