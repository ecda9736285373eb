"""Appraisal Policies: what an operator holds to be good enough."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ratchet.event import Json, canonical, digest
from ratchet.evidence import TEES
from ratchet.evidence.registry import check
from ratchet.policy.condition import Condition
from ratchet.policy.enrolment import Rules
from ratchet.policy.evaluation import Evaluation
from ratchet.policy.floor import Floor, IntelFloor, accepting, from_data
from ratchet.policy.grace import GivenGrace, Grace
from ratchet.policy.reference import KNOWN, STATES, ReferenceSet
from ratchet.standing import HOLD_TIERS, HOLDS

__all__ = ["AR4SI", "KNOWN", "NAMEABLE", "NEVER_ACCEPTED", "STATES", "Policy", "hash_of"]

AR4SI = "draft-ietf-rats-ar4si-09, 2.3.2"
"""Where the values of trustworthiness claims are from."""

NAMEABLE = ("revocation", "collateral", "freshness", "executables", "floor", "identity", "enrolment")
"""What a policy may allow to be impossible. Parsing, chain, signature and binding are never among them."""

NEVER_ACCEPTED = ("Revoked", "NoMatchingTcbLevel")
"""Statuses that no policy can admit."""

ANY = "any"
"""In place of a condition: the claim may be anything."""

FLOOR_OF = tuple(dict.fromkeys(view.name for tee in TEES.values() for view in tee.views))
"""Views of versions of which a floor may be asked; a floor is written of a TEE's first one."""


class _GivenSet(BaseModel):
    """A set of reference values as people write it."""

    model_config = ConfigDict(extra="forbid")
    tee: str
    state: str = KNOWN
    conditions: dict[str, Any]
    by: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    source: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    since: Any = None
    until: Any = None


class _GivenEnrolment(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    window: Annotated[int, Field(ge=0)] = 0
    required: bool = True


class _Given(BaseModel):
    """The types of a policy as people write it."""

    model_config = ConfigDict(strict=True, extra="forbid")
    name: str = ""
    trusted_for: int = 1
    accept: dict[str, list[str]] = {}
    may_be_impossible: list[str] = []
    production: bool = True
    require: dict[str, dict[str, Any]] = {}
    minimum_evaluation: int | None = None
    evaluation: int | Literal["early", "standard", "newest"] = "early"
    grace: list[GivenGrace] = []
    reference_values: dict[Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")], _GivenSet] = {}
    floor_of: list[str] = []
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
        require: tee -> conditions that a guest must meet, by claim.
        minimum_evaluation: the least tcbEvaluationDataNumber to judge by; None for any.
        evaluation: which of Intel's evaluations becomes a family's floor: `early`, `standard`, `newest` or a number
            (ratchet/policy/evaluation.py). A floor in force says which one its family is judged by, but under `newest`.
        grace: for how long a level that went out of date is still good enough (ratchet/policy/grace.py).
        reference_values: what may run.
        floor_of: which of SNP's TCB versions must meet the floor: the reported one, and by default also the committed
            one (to which firmware can go back) and the one at launch (under which the guest's memory was prepared).
        enrolment: which machines are ours.
        holds: code of a hold (ratchet/standing.py) -> `warning` or `contraindicated`, where not the default.
        floors: family -> floor in force, each as `bind` gives it.
    """

    name: str = "default"
    trusted_for: int = 24 * 3600
    accept: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    may_be_impossible: tuple[str, ...] = ()
    production: bool = True
    require: Mapping[str, tuple[Condition, ...]] = field(default_factory=lambda: required({}))
    minimum_evaluation: int | None = None
    evaluation: Evaluation = "early"
    grace: tuple[Grace, ...] = ()
    reference_values: tuple[ReferenceSet, ...] = ()
    floor_of: tuple[str, ...] = ("reported", "committed", "launch")
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
        for of in self.floor_of:
            if of not in FLOOR_OF:
                raise ValueError(f"floor_of: {of!r} is none of {', '.join(FLOOR_OF)}")
        if "reported" not in self.floor_of:
            raise ValueError("floor_of: the reported TCB is always held against the floor: name it")
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
            "require": {tee: _require_data(tee, self.require.get(tee, ())) for tee in sorted(TEES)},
            "minimum_evaluation": self.minimum_evaluation,
            "evaluation": self.evaluation,
            "grace": [rule.to_data() for rule in self.grace],
            "reference_values": {one.name: one.to_data() for one in self.reference_values},
            "floor_of": list(self.floor_of),
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
        for name in ("may_be_impossible", "floor_of"):
            if name in given:
                given[name] = tuple(given[name])
        if "enrolment" in given:
            given["enrolment"] = Rules.from_data(given["enrolment"])
        if "grace" in given:
            given["grace"] = tuple(Grace.from_data(rule) for rule in given["grace"])
        if "require" in given:
            given["require"] = required(given["require"])
        if "reference_values" in given:
            given["reference_values"] = tuple(_sets(given["reference_values"]))
        if "floors" in given:
            try:
                given["floors"] = {family: from_data(floor) for family, floor in given["floors"].items()}
            except (KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"policy: floors: {type(error).__name__} {error}; see docs/floors.md") from error
        return cls(**given)


def required(given: Mapping[str, Mapping[str, Json]]) -> Mapping[str, tuple[Condition, ...]]:
    """What a guest must meet: what is required anyway, with what is given for a claim in its place.

    Raises:
        ValueError: no condition; names the key.
    """
    found = {}
    for tee in sorted({*TEES, *given}):
        if tee not in TEES:
            raise ValueError(f"policy: require: {tee!r} is none of {', '.join(TEES)}")
        conditions = []
        for claim, value in sorted({**TEES[tee].required, **given.get(tee, {})}.items()):
            try:
                if value == ANY:
                    check(tee, claim)
                else:
                    conditions.append(Condition.from_data(tee, claim, value))
            except ValueError as error:
                raise ValueError(f"policy: require.{tee}.{claim}: {error}") from error
        found[tee] = tuple(conditions)
    return found


def _require_data(tee: str, conditions: Iterable[Condition]) -> dict[str, Json]:
    """With what is required anyway and was let go, in so many words."""
    return {**dict.fromkeys(TEES[tee].required, ANY), **{one.claim: one.to_data() for one in conditions}}


def _sets(given: Mapping[str, Mapping[str, Json]]) -> Iterator[ReferenceSet]:
    for name, data in sorted(given.items()):
        try:
            yield ReferenceSet.from_data(name, data)
        except ValueError as error:
            raise ValueError(f"policy: reference_values.{name}: {error}") from error
