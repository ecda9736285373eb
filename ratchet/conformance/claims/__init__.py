"""What each format calls its claims and checks in a manifest, and where Ratchet has them. One module per vendor.

`ratchet corpus check` reads it. A claim that is not in a table is looked for under the same name among the fields of
the evidence, then among Ratchet's bits and versions; found nowhere, it is a disagreement: none is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ratchet.conformance.claims import amd, aws, azure, intel
from ratchet.conformance.claims.seen import Absent, Look, Read, Seen, Tables
from ratchet.event import Json

__all__ = ["CASES", "FORMATS", "SAME", "Absent", "Look", "Read", "Seen", "Tables"]

FORMATS: Mapping[str, Tables] = {**intel.FORMATS, **amd.FORMATS, **azure.FORMATS, **aws.FORMATS}
"""Format -> its tables."""

CASES: Mapping[str, Look] = {**intel.CASES}
"""What a case states beside its status."""


def _named_chain(want: Json, got: Json) -> bool:
    """Chains are named after files: `turin_vcek` and `milan` are VCEKs' alike."""
    return bool((want.removesuffix("_vcek") if isinstance(want, str) else want) == got)


def _same_hex(want: Json, got: Json) -> bool:
    """Upper or lower case, hex says the same (Intel writes FMSPCs both ways, Azure's agents user-data)."""
    return isinstance(want, str) and isinstance(got, str) and want.lower() == got.lower()


_CUT = 400
"""Digits of hex after which a manifest leaves off, where evidence holds more."""


def _same_beginning(want: Json, got: Json) -> bool:
    """The same hex, or all of it that the manifest has room for."""
    if isinstance(want, str) and isinstance(got, str) and len(want) == _CUT:
        return got.lower().startswith(want.lower())
    return bool(want == got) or _same_hex(want, got)


SAME: Mapping[str, Callable[[Json, Json], bool]] = {
    "checks.chain": _named_chain,
    "claims.fmspc": _same_hex,
    "claims.user_data": _same_beginning,
}
"""Comparisons that are not plain equality."""
