"""Real evidence as each item of the corpus has it, and policies that affirm as much of it as any policy can."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ratchet import ear
from ratchet.collateral import Collateral, Known, UnknownDocument, parse
from ratchet.collateral.roots import vendor_roots
from ratchet.conformance.check import evidence_of, items_of, paths_of, time_of
from ratchet.event import Json
from ratchet.evidence import FORMATS, TEES, Evidence, Proof, verify
from ratchet.evidence.spec import Judge
from ratchet.policy.appraise import Circumstances, Recognition, Verdict, appraise
from ratchet.policy.floor import AmdFloor, Floor, Minimum, open_floor, shortfalls
from ratchet.policy.floor.provenance import Provenance
from ratchet.policy.policy import ANY, NAMEABLE, Policy
from ratchet.policy.vendor_floors import floors_from
from ratchet.ports import Intent
from streams.stores.layout import DATA, KEYS, files_of, policy_hash, served
from streams.stores.rego import Policy as Held
from streams.stores.rego import _compiled, _data, decision_of
from streams.stores.samples import OneKey, keys_file
from streams.stores.wasm import Compiled

CHALLENGE = bytes(range(32))
STATUSES = (
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "TDRelaunchAdvised",
    "TDRelaunchAdvisedConfigurationNeeded",
)
KNOWN_FROM = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Item:
    """One piece of real evidence, with what proves it and when that is asked."""

    name: str
    evidence: Evidence
    statements: tuple[Known, ...]
    at: datetime
    collateral: Collateral = field(compare=False)

    def proof(self, raw: bytes | None = None, policy: Policy | None = None) -> Proof:
        """What is proven of it, or of other bytes in its place."""
        evidence = self.evidence if raw is None else Evidence(raw, endorsements=self.evidence.endorsements)
        known = self.collateral.judging_by(policy.evaluations()) if policy is not None else self.collateral
        return verify(evidence, known, self.at)

    def with_statements(self, changed: Callable[[Known], Known | None]) -> Item:
        """The same evidence, had its vendor said something else."""
        found = tuple(new for one in self.statements if (new := changed(one)) is not None)
        return Item(self.name, self.evidence, found, self.at, Collateral(vendor_roots(), found))


def items(corpus: Path) -> Iterator[Item]:
    """Every item of the formats that are read, with its collateral at its time."""
    parsed: dict[str, tuple[Known, ...]] = {}

    def read(path: str) -> bytes:
        return (corpus / path).read_bytes()

    def statements(path: str) -> tuple[Known, ...]:
        if path not in parsed:
            try:
                parsed[path] = parse(read(path), KNOWN_FROM, vendor_roots())
            except UnknownDocument:
                parsed[path] = ()
        return parsed[path]

    entries = items_of(read("MANIFEST.json"))
    times = [at for one in entries if (at := time_of(one.get("verification_time"), one["id"])) is not None]
    for one in entries:
        if one["format"] not in FORMATS:
            continue
        evidence = evidence_of(one, read)
        for nth, case in enumerate((one, *(one["expected"].get("cases") or ()))):
            at = time_of(case.get("verification_time"), one["id"]) or max(times)
            known = tuple(said for path in paths_of(case) for said in statements(path))
            name = f"{one['id']} {nth}" if nth else str(one["id"])
            yield Item(name, evidence, known, at, Collateral(vendor_roots(), known))


def reference(proof: Proof, name: str = "own", **more: Json) -> dict[str, Json]:
    """A set of reference values that knows exactly what this evidence measured; nothing where nothing was read."""
    claims = proof.claims
    if claims is None:
        return {}
    asked = (*TEES[claims.tee].boot, *TEES[claims.tee].runtime)
    conditions = {one: claims.measurements[one] for one in asked if one in claims.measurements}
    return {name: {"tee": claims.tee, "conditions": conditions, "by": "ann", "source": "itself", **more}}


LENIENT: Mapping[str, Json] = {
    "accept": {status: ["*"] for status in STATUSES},
    "may_be_impossible": list(NAMEABLE),
    "production": False,
    "require": {name: dict.fromkeys(tee.required, ANY) for name, tee in TEES.items()},
    "enrolment": {"required": False},
}
"""Affirms as much as a policy can, with reference values and floors beside it."""


def own_floor(item: Item, proof: Proof, policy: Policy) -> dict[str, Floor]:
    """Intel's list as the item's collateral has it; of an SNP family the versions of the item itself."""
    claims = proof.claims
    if claims is None:
        return {}
    if TEES[claims.tee].judge is Judge.STATUS:
        return {floor.family: floor for floor in floors_from(item.statements, policy, item.at)}
    least = Minimum(tcb={name: value for name, value in claims.tcb.items() if name.startswith("reported.")})
    said = Provenance(documents=(), pointer="/floors/0", rule="amd.reviewed/1", reviewed_by="Ada")
    return {claims.family: AmdFloor(family=claims.family, minima=(least,), provenance=said)}


def policies(item: Item) -> Iterator[tuple[str, Policy]]:
    """The default one, and some that affirm what they can of this item, each with another kind of floor."""
    yield "default", Policy()
    proof = item.proof()
    claims = proof.claims
    own = reference(proof)
    excused = {"may_be_impossible": ["freshness"], "reference_values": own}
    strict = Policy.from_data({**excused, "enrolment": {"required": False}})
    yield "strict, own floor", strict.with_floors(own_floor(item, proof, strict))
    lenient = Policy.from_data({**LENIENT, "reference_values": own})
    yield "lenient, own floor", lenient.with_floors(own_floor(item, proof, lenient))
    if claims is not None:
        yield "lenient, open floor", lenient.with_floors({claims.family: open_floor(claims.family, "by status alone")})
        listed = {"accept": {status: ["INTEL-SA-00615", "INTEL-SA-00828"] for status in STATUSES}}
        some = Policy.from_data({**LENIENT, **listed, "reference_values": own})
        yield "some advisories, own floor", some.with_floors(own_floor(item, proof, some))
    for status in STATUSES:
        one = Policy.from_data({**LENIENT, "accept": {status: ["*"]}, "reference_values": own})
        yield f"{status} alone, own floor", one.with_floors(own_floor(item, proof, one))
    yield "lenient, no floor", lenient


class Store:
    """What a store holds once a policy is pushed, and the verifier whose tokens it is shown."""

    def __init__(self, policy: Policy, at: datetime, keys: OneKey) -> None:
        data = policy.to_data()
        floors = data.pop("floors")
        intent = Intent("c1", "default", floors, at, "all", data)
        assert policy_hash(intent) == policy.hash
        self.policy, self.keys = policy, keys
        self.files = {**served(files_of(intent)), KEYS: keys_file(keys.jwks(at))}
        self.data = self.files[DATA]

    def compiled(self) -> Compiled:
        """It decides in this process."""
        return Compiled(_compiled(), _data(Held("r", self.files)))

    def question(self, verdict: Verdict, proof: Proof, dated: datetime | None = None) -> dict[str, Json]:
        """What a relying party asks it about that verdict; `dated` as if the token were of that time."""
        claims = ear.result(
            verdict, proof, self.policy, audience="kbs", tenant="default", challenge=CHALLENGE, build="0"
        )
        if dated is not None:
            life, second = claims["exp"] - claims["iat"], int(dated.timestamp())
            claims |= {"iat": second, "exp": second + life}
        token = ear.sign(claims, self.keys.signer(dated or verdict.at))
        return {"token": token, "audience": "kbs", "tenant": "default", "nonce": CHALLENGE.hex()}


@dataclass(frozen=True)
class Asked:
    """One verdict on real evidence, and what a store is asked about it."""

    what: str
    verdict: Verdict
    proof: Proof
    policy: Policy
    question: Mapping[str, Json]

    @property
    def lost(self) -> bool:
        """What docs/stores.md names: affirmed, and yet no store admits it, which holds the floor against the versions.

        A family without a floor; a floor that cannot be answered; a merged status that is accepted where the status of
        a part, of the platform or the TDX module, is not.
        """
        claims = self.proof.claims
        floor = self.policy.floors.get(claims.family) if claims is not None else None
        return claims is None or floor is None or bool(shortfalls(floor, claims.tcb, claims.bits))


def judged(item: Item, proof: Proof, policy: Policy, recognition: Recognition) -> Verdict:
    """As of the item's own time."""
    return appraise(proof, policy, item.at, Circumstances(received=item.at, recognition=recognition))


def asked(
    item: Item,
    proofs: Iterable[tuple[str, Proof]],
    policy: Policy,
    keys: OneKey,
    *,
    recognition: Recognition = Recognition.OURS,
    dated: datetime | None = None,
) -> tuple[Store, list[Asked]]:
    """One store, and what it is asked about each of these."""
    store = Store(policy, item.at, keys)
    found = []
    for what, proof in proofs:
        verdict = judged(item, proof, policy, recognition)
        found.append(Asked(what, verdict, proof, policy, store.question(verdict, proof, dated)))
    return store, found


def decides(store: Store) -> Callable[[Asked], tuple[bool, set[str]]]:
    """The compiled policy's answer: admitted or not, and the codes of its reasons."""
    compiled = store.compiled()

    def decide(one: Asked) -> tuple[bool, set[str]]:
        answer = decision_of(compiled.decide(one.question, one.verdict.at))
        return answer.allow, {str(reason.get("code")) for reason in answer.reasons}

    return decide


def held(store: Store) -> tuple[Json, Json]:
    """`ratchet_policy` and `ratchet_keys`, as a server is told them."""
    return json.loads(store.data), json.loads(store.files[KEYS])
