"""AMD's kind of floor: minima for models and steppings, with bits and mitigations, from reviewed bulletins.

Every minimum whose model and stepping match applies, all of them together. What the evidence does not attest is never
met: `floor_abstains` says so, apart from `below_floor`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from ratchet.event import Json
from ratchet.policy.floor.codes import ABSTAINS, BELOW
from ratchet.policy.floor.provenance import Provenance
from ratchet.reason import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Minimum:
    """What machines of one model and stepping must have.

    Attributes:
        model, stepping: CPUID values that it is for; None for every one.
        tcb: name of a security version, as in `Claims.tcb`, -> the least it may be.
        bits: name of a bit, as in `Claims.bits`, -> the value it must have.
        mitigation: bits that must be set in `mitigation.current` (AMD 56860, CURRENT_MITIGATION_VECTOR); 0 for none.
    """

    model: int | None = None
    stepping: int | None = None
    tcb: Mapping[str, int] = field(default_factory=dict)
    bits: Mapping[str, int] = field(default_factory=dict)
    mitigation: int = 0

    def to_data(self) -> dict[str, Json]:
        """As JSON."""
        return {
            "model": self.model,
            "stepping": self.stepping,
            "tcb": dict(self.tcb),
            "bits": dict(self.bits),
            "mitigation": self.mitigation,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Json]) -> Self:
        """The inverse of `to_data`."""
        return cls(
            model=data["model"],
            stepping=data["stepping"],
            tcb=dict(data["tcb"]),
            bits=dict(data["bits"]),
            mitigation=data["mitigation"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AmdFloor:
    """Minima for one AMD family, from reviewed bulletins.

    Attributes:
        family: `snp/Milan`, `snp/Genoa` or `snp/Turin`.
        minima: all that match apply.
        provenance: where they were read, and by whom.
    """

    family: str
    minima: tuple[Minimum, ...]
    provenance: Provenance

    @property
    def asks(self) -> tuple[str, ...]:
        """Names of the versions that it speaks of."""
        return tuple(sorted({name for minimum in self.minima for name in minimum.tcb}))

    def to_data(self) -> dict[str, Json]:
        """As JSON; see docs/floors.md."""
        return {
            "kind": "amd",
            "family": self.family,
            "minima": [m.to_data() for m in self.minima],
            "provenance": self.provenance.to_data(),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Json]) -> Self:
        """The inverse of `to_data`."""
        return cls(
            family=data["family"],
            minima=tuple(Minimum.from_data(m) for m in data["minima"]),
            provenance=Provenance.from_data(data["provenance"]),
        )


def shortfalls(floor: AmdFloor, tcb: Mapping[str, int], bits: Mapping[str, int]) -> tuple[Reason, ...]:
    """Everything in which a machine falls short of such a floor; see `ratchet.policy.floor.shortfalls`."""
    found: dict[tuple[str, str], Reason] = {}
    source = floor.provenance.place
    for minimum in floor.minima:
        applies, unknown = applicable(minimum, bits)
        for name in unknown:
            key = f"cpuid.{name}"
            found[(ABSTAINS, key)] = Reason(
                ABSTAINS,
                key,
                None,
                getattr(minimum, name),
                source,
                "this report does not say which stepping it is from: send reports of version 3 or later",
            )
        if not applies:
            continue
        for reason in _short_of_minimum(minimum, tcb, bits, source):
            old = found.get((reason.code, reason.component))
            if old is None or (isinstance(reason.want, int) and isinstance(old.want, int) and reason.want > old.want):
                found[(reason.code, reason.component)] = reason
    return tuple(found.values())


def applicable(minimum: Minimum, bits: Mapping[str, int]) -> tuple[bool, tuple[str, ...]]:
    """Whether a minimum is for this machine, and the selectors that it cannot answer for (then it abstains)."""
    unknown = []
    for name in ("model", "stepping"):
        want = getattr(minimum, name)
        if want is None:
            continue
        got = bits.get(f"cpuid.{name}")
        if got is None:
            unknown.append(name)
        elif got != want:
            return False, ()
    return not unknown, tuple(unknown)


def _short_of_minimum(minimum: Minimum, tcb: Mapping[str, int], bits: Mapping[str, int], source: str) -> list[Reason]:
    found = []
    for name, want in sorted(minimum.tcb.items()):
        got = tcb.get(name)
        if got is None:
            found.append(Reason(ABSTAINS, name, None, want, source, "this report does not attest it"))
        elif got < want:
            found.append(Reason(BELOW, name, got, want, source, f"update SEV firmware: {name} {got} -> {want}"))
    for name, value in sorted(minimum.bits.items()):
        seen = bits.get(name)
        if seen is None:
            found.append(Reason(ABSTAINS, name, None, value, source, "this report does not attest it"))
        elif seen != value:
            found.append(Reason(BELOW, name, seen, value, source, f"set {name} to {value} (host firmware settings)"))
    if minimum.mitigation:
        mask = bits.get("mitigation.current")
        want_text = f"{minimum.mitigation:#x}"
        if mask is None:
            remedy = "send reports of version 5: older ones do not attest mitigations"
            found.append(Reason(ABSTAINS, "mitigation.current", None, want_text, source, remedy))
        elif mask & minimum.mitigation != minimum.mitigation:
            remedy = "update host firmware: a mitigation is not active"
            found.append(Reason(BELOW, "mitigation.current", f"{mask:#x}", want_text, source, remedy))
    return found
