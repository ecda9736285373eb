"""Appraisal Policies: what an operator holds to be good enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ratchet.enrolment import Rules
from ratchet.evaluation import Evaluation
from ratchet.event import Json, canonical, digest
from ratchet.floor import Floor, IntelFloor, accepting, from_data
from ratchet.grace import GivenGrace, Grace
from ratchet.standing import HOLD_TIERS, HOLDS

AR4SI = "draft-ietf-rats-ar4si-09, 2.3.2"
"""Where the values of trustworthiness claims are from."""

NAMEABLE = ("revocation", "collateral", "freshness", "executables", "floor", "identity")
"""What a policy may allow to be impossible. Parsing, chain, signature and binding are never among them."""

NEVER_ACCEPTED = ("Revoked", "NoMatchingTcbLevel")
"""Statuses that no policy can admit."""

KNOWN, CLOSING, CONTRAINDICATED = "known", "closing", "contraindicated"
"""States of a reference value."""

STATES = {KNOWN: 2, CLOSING: 32, CONTRAINDICATED: 96}
"""State of a reference value -> what it makes of executables (AR4SI); 33 where there is none."""

LOOSE_BITS: Mapping[str, Mapping[str, int]] = {
    "snp": {"policy.migrate_ma": False},
    "tdx": {"attributes.sept_ve_disable": True, "attributes.migratable": False},
}
"""Bits that a policy requires unless it says otherwise.

SNP: a migration agent can read the guest's memory (AMD 56860, "Guest Policy", MIGRATE_MA). TDX: without SEPT_VE_DISABLE
the host can inject #VE on private memory; a migratable TD may leave the machine that attested (Intel TDX Module ABI,
"ATTRIBUTES"). SMT, VMPL and ALIAS_CHECK depend on the deployment: a policy may add them."""


_Hex = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2}){1,64}$")]


class _GivenEnrolment(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    window: Annotated[int, Field(ge=0)] = 0
    required: bool = True


class _Given(BaseModel):
    """The types of a policy as people write it. Measurements in capitals would match nothing, and say nothing."""

    model_config = ConfigDict(strict=True, extra="forbid")
    name: str = ""
    trusted_for: int = 1
    accept: dict[str, list[str]] = {}
    may_be_impossible: list[str] = []
    production: bool = True
    require_bits: dict[str, dict[str, bool | int]] = {}
    minimum_evaluation: int | None = None
    evaluation: int | Literal["early", "standard", "newest"] = "early"
    grace: list[GivenGrace] = []
    reference_values: dict[str, dict[_Hex, str]] = {}
    enrolment: _GivenEnrolment = _GivenEnrolment()
    holds: dict[str, str] = {}
    floors: dict[str, dict[str, Any]] = {}


def hash_of(policy: Mapping[str, Json], floors: Mapping[str, str]) -> str:
    """The hash of a policy: SHA-256 over the RFC 8785 bytes of its data, with the digest of each floor's own RFC 8785
    bytes in the place of the floor: so one family's floor can be changed without reading the others again.
    """
    return digest(canonical({**policy, "floors": dict(floors)}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """An Appraisal Policy.

    Attributes:
        name: for people; the hash of its data tells policies apart.
        trusted_for: seconds for which a verdict is believed without fresh proof.
        accept: TCB status -> advisories that it may carry; `*` among them admits any. UpToDate is always accepted.
        may_be_impossible: of `NAMEABLE`, what does not bar affirming when it was not possible.
        production: a debuggable guest is contraindicated, not merely a warning.
        require_bits: tee -> bit -> value that it must have.
        minimum_evaluation: the least tcbEvaluationDataNumber to judge by; None for any.
        evaluation: which of Intel's evaluations becomes a family's floor: `early`, `standard`, `newest` or a number
            (ratchet/evaluation.py). A floor in force says which one its family is judged by, but under `newest`.
        grace: for how long a level that went out of date is still good enough (ratchet/grace.py).
        reference_values: tee -> measurement (hex) -> `known`, `closing` or `contraindicated`.
        enrolment: which machines are ours.
        holds: code of a hold (ratchet/standing.py) -> `warning` or `contraindicated`, where not the default.
        floors: family -> floor in force, each as `bind` gives it.
    """

    name: str = "default"
    trusted_for: int = 24 * 3600
    accept: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    may_be_impossible: tuple[str, ...] = ()
    production: bool = True
    require_bits: Mapping[str, Mapping[str, int]] = field(default_factory=lambda: LOOSE_BITS)
    minimum_evaluation: int | None = None
    evaluation: Evaluation = "early"
    grace: tuple[Grace, ...] = ()
    reference_values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    enrolment: Rules = field(default_factory=Rules)
    holds: Mapping[str, str] = field(default_factory=dict)
    floors: Mapping[str, Floor] = field(default_factory=dict)
    accepted: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """Statuses admitted whatever their advisories, sorted."""
    conditional: Mapping[str, tuple[str, ...]] = field(init=False, repr=False, compare=False)
    """Statuses admitted with at most these advisories."""
    _hash: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in self.may_be_impossible:
            if name not in NAMEABLE:
                raise ValueError(f"may_be_impossible: {name!r} cannot be excused; one of {', '.join(NAMEABLE)}")
        for status in self.accept:
            if status in NEVER_ACCEPTED:
                raise ValueError(f"accept: {status} cannot be admitted by a policy")
        for code, tier in self.holds.items():
            if code not in HOLDS or tier not in HOLD_TIERS:
                raise ValueError(f"holds.{code}: {tier!r}; {', '.join(HOLDS)}, each {' or '.join(HOLD_TIERS)}")
        for tee, values in self.reference_values.items():
            for measurement, state in values.items():
                if state not in STATES:
                    raise ValueError(f"reference_values.{tee}.{measurement}: {state!r} is none of {', '.join(STATES)}")
        if self.trusted_for <= 0:
            raise ValueError("trusted_for: must be above 0 seconds")
        accepted = tuple(sorted({"UpToDate"} | {s for s, allowed in self.accept.items() if "*" in allowed}))
        conditional = {s: tuple(sorted(allowed)) for s, allowed in sorted(self.accept.items()) if s not in accepted}
        object.__setattr__(self, "accepted", accepted)
        object.__setattr__(self, "conditional", conditional)
        object.__setattr__(self, "floors", {family: self.bind(floor) for family, floor in self.floors.items()})

    def admits(self, status: str, advisories: tuple[str, ...] | None) -> bool:
        """Is this TCB status good enough, with these advisories? None: nobody says which, so no list of them is met."""
        if status in self.accepted:
            return True
        allowed = self.conditional.get(status)
        return allowed is not None and advisories is not None and set(advisories) <= set(allowed)

    def bind(self, floor: Floor) -> Floor:
        """A floor as this policy means it: `accept` says which statuses of its levels are good enough, and nothing else
        does, so that a status is accepted or not whether its family has a floor or none.
        """
        return accepting(floor, self.accepted, self.conditional)

    def with_floors(self, floors: Mapping[str, Floor]) -> Self:
        """The same policy with these floors in force instead."""
        return replace(self, floors=dict(floors))

    def evaluations(self) -> dict[str, int]:
        """Family -> the evaluation that it is judged by: that of its floor in force. Nothing where the policy says
        `newest`, nor of families that have no floor yet.
        """
        if self.evaluation == "newest":
            return {}
        return {family: floor.evaluation for family, floor in self.floors.items() if isinstance(floor, IntelFloor)}

    @property
    def hash(self) -> str:
        """What a verdict names as its policy, and an approval as what it pushes (`hash_of`). Computed once."""
        if not self._hash:
            data = self.to_data()
            self._hash.append(hash_of(data, {family: digest(canonical(f)) for family, f in data["floors"].items()}))
        return self._hash[0]

    def to_data(self) -> dict[str, Json]:
        """As JSON."""
        return {
            "name": self.name,
            "trusted_for": self.trusted_for,
            "accept": {status: list(allowed) for status, allowed in self.accept.items()},
            "may_be_impossible": list(self.may_be_impossible),
            "production": self.production,
            "require_bits": {tee: dict(bits) for tee, bits in self.require_bits.items()},
            "minimum_evaluation": self.minimum_evaluation,
            "evaluation": self.evaluation,
            "grace": [rule.to_data() for rule in self.grace],
            "reference_values": {tee: dict(values) for tee, values in self.reference_values.items()},
            "enrolment": self.enrolment.to_data(),
            "holds": dict(self.holds),
            "floors": {family: floor.to_data() for family, floor in self.floors.items()},
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Json]) -> Self:
        """The inverse of `to_data`; what is left out has its default.

        Raises:
            ValueError: a key that is not known, or a value that no policy may have; the text names the key.
        """
        try:
            _Given.model_validate(dict(data))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(step) for step in first["loc"] if step not in ("bool", "int"))
            raise ValueError(f"policy: {place}: {first['msg']}") from error
        given = dict(data)
        if "accept" in given:
            given["accept"] = {status: tuple(allowed) for status, allowed in given["accept"].items()}
        if "may_be_impossible" in given:
            given["may_be_impossible"] = tuple(given["may_be_impossible"])
        if "enrolment" in given:
            given["enrolment"] = Rules.from_data(given["enrolment"])
        if "grace" in given:
            given["grace"] = tuple(Grace.from_data(rule) for rule in given["grace"])
        if "floors" in given:
            try:
                given["floors"] = {family: from_data(floor) for family, floor in given["floors"].items()}
            except (KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"policy: floors: {type(error).__name__} {error}; see docs/floors.md") from error
        return cls(**given)
