"""Words for people in place of values for programs: the same on the command line, in the console and in logs."""

from __future__ import annotations

from types import MappingProxyType

STANDING = MappingProxyType(
    {
        "affirming": "Trusted",
        "warning": "Degraded",
        "contraindicated": "Not trusted",
        "none": "Unverified",
    }
)
"""AR4SI tier (draft-ietf-rats-ar4si-09, 2.3.2) -> the word for it on a page. Where there is room for a detail, AR4SI's
own word stands in it."""


def standing(tier: str) -> str:
    """A tier in plain words; a word that is no tier stays as it is."""
    return STANDING.get(tier, tier)


def standing_in_full(tier: str) -> str:
    """A tier in plain words, with AR4SI's word behind it: `Trusted (AR4SI: affirming)`."""
    return f"{STANDING[tier]} (AR4SI: {tier})" if tier in STANDING else tier
