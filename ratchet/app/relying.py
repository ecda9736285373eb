"""Verdicts for relying parties: evidence and a nonce in, a signed EAR out.

Judged by the policy and the floors in force, by the collateral that the data directory knows now, and never better than
what is known of the machine: a hold or an open critical alert keeps affirming away.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ratchet.app.home import Home

if TYPE_CHECKING:
    from ratchet.collateral import Collateral
    from ratchet.event import Json
    from ratchet.evidence import Evidence, Proof
    from ratchet.policy.appraise import Verdict
    from ratchet.policy.circumstances import Recognition
    from ratchet.policy.policy import Policy
    from ratchet.ports import Reader
    from streams.stores.ear_keys import EarKeys


@dataclass(frozen=True, slots=True)
class Result:
    """One verdict, and its token."""

    verdict: Verdict
    proof: Proof
    token: str

    def to_data(self) -> dict[str, Json]:
        """As the answer of POST /v1/verdict has it."""
        return {
            "ear": self.token,
            "status": self.verdict.tier.value,
            "reasons": [reason.to_data() for reason in self.verdict.reasons],
        }


class RelyingParties:
    """Judges for relying parties, one piece of evidence at a time.

    Args:
        place: the data directory.
    """

    def __init__(self, place: Home) -> None:
        from ratchet.app.composition import policy, roots
        from ratchet.collateral import Collateral

        self._place = place
        self._roots = roots(place)
        self._configured = policy(place)
        self._collateral: Collateral = Collateral(self._roots)
        self._read_to = 0
        self._one_at_a_time = threading.Lock()  # requests come in several threads; the documents are read by one

    def __call__(self, evidence: Evidence, audience: str, at: datetime) -> Mapping[str, Json]:
        """The answer of POST /v1/verdict."""
        with self._one_at_a_time:
            return self.judge(evidence, audience, at).to_data()

    def jwks(self, at: datetime) -> tuple[Mapping[str, Json], int]:
        """The keys of the tokens, and for how many seconds they may be cached; rotated where the newest is old."""
        from streams.stores.ear_keys import CACHED

        keys = ear_keys(self._place)
        keys.keep_young(at)
        return keys.jwks(at), CACHED

    def judge(self, evidence: Evidence, audience: str, at: datetime, *, life: int | None = None) -> Result:
        """Verify, appraise, and sign what came of it.

        Args:
            evidence: with the relying party's nonce as its challenge.
            audience: who will rely on the token.
            at: now.
            life: seconds that the token lives.

        Raises:
            ratchet.ports.Unreachable: the keys cannot be read or made.
        """
        from ratchet import __version__, ear
        from ratchet.evidence import verify
        from ratchet.policy.appraise import appraise
        from ratchet.policy.circumstances import Circumstances, Recognition

        reader = self._place.reader() if self._place.database_path.is_file() else None
        tenant = self._place.config.tenant
        policy = self._in_force(reader, tenant)
        proof = verify(evidence, self._known().judging_by(policy.evaluations()), at)
        identity = proof.claims.platform if proof.claims is not None and not proof.unproven else None
        machine = standing_of(reader, tenant, identity)
        recognition = recognition_of(machine, policy)
        if reader is not None and identity is not None and reader.retired(tenant, identity):
            recognition = Recognition.STRANGER  # its standing ended with the decision: there is no row that says so
        about = Circumstances(received=at, recognition=recognition)
        verdict = ear.answering(appraise(proof, policy, at, about), proof)
        holds = list((machine or {}).get("holds") or ())
        if reader is not None and identity is not None:
            holds += rolled_back(reader.marks(tenant, identity), proof, policy, at)
        verdict = ear.held_down(verdict, holds)
        claims = ear.result(
            verdict,
            proof,
            policy,
            audience=audience,
            tenant=tenant,
            challenge=evidence.challenge or b"",
            build=__version__,
            life=life or ear.LIFE,
        )
        return Result(verdict, proof, ear.sign(claims, ear_keys(self._place).signer(at)))

    def _in_force(self, reader: Reader | None, tenant: str) -> Policy:
        """The policy that the verify stage judges by, with its floors."""
        from ratchet.policy.floor import from_data
        from ratchet.policy.policy import Policy

        kept = reader.judged_by(tenant) if reader is not None else None
        if kept is None:
            return self._configured
        floors = {family: from_data(floor) for family, floor in kept["floors"].items()}
        base = Policy.from_data(kept["policy"]) if kept.get("policy") else self._configured
        return base.with_floors({**self._configured.floors, **floors})

    def _known(self) -> Collateral:
        """The vendors' documents, and those that came since they were last asked for."""
        from ratchet.collateral import UnknownDocument, parse
        from ratchet.event import BlobId
        from streams.sqlite import SqliteBlobs, SqliteLog

        if not self._place.database_path.is_file():
            return self._collateral
        with closing(self._place.database()) as database:
            log, blobs = SqliteLog(database), SqliteBlobs(database)
            while records := log.read(["documents"], self._read_to, 500):
                for record in records:
                    blob = record.event.data.get("blob") if isinstance(record.event.data, dict) else None
                    data = blobs.get(BlobId(blob)) if isinstance(blob, str) else None
                    try:
                        for known in parse(data or b"", record.event.time, self._roots, self._collateral.memo):
                            self._collateral.add(known)
                    except UnknownDocument:
                        pass  # a dead letter: `ratchet dead-letters` shows it
                    self._read_to = record.offset
        return self._collateral


def ear_keys(place: Home) -> EarKeys:
    """The keys that sign EARs."""
    from streams.stores.ear_keys import EarKeys

    place.create()
    return EarKeys(place.path / "keys" / "ear")


def standing_of(reader: Reader | None, tenant: str, identity: str | None) -> Mapping[str, Json] | None:
    """What is known of the machine that evidence proves; None where nothing is."""
    row = reader.machine(identity) if reader is not None and identity is not None else None
    return row if row is not None and row["identity"] == identity and row["tenant"] == tenant else None


def recognition_of(machine: Mapping[str, Json] | None, policy: Policy) -> Recognition:
    """Whether the machine is ours, as its latest proven evidence was judged; all are where the policy asks for none."""
    from ratchet.policy.circumstances import Recognition

    known = Recognition(machine["recognition"]) if machine is not None else Recognition.NOT_ASKED
    return Recognition.OURS if known is Recognition.NOT_ASKED and not policy.enrolment.required else known


def rolled_back(
    marks: Mapping[str, list[Json]], proof: Proof, policy: Policy, at: datetime
) -> list[Mapping[str, Json]]:
    """The hold of a machine whose firmware is below what it proved before: here at once, in its standing a tick later.

    Of the platform alone: what a guest was launched under is held against that guest's own marks by the pipeline.
    """
    from ratchet.detect import firmware
    from ratchet.event import stamp
    from ratchet.standing import HOLDS, ROLLED_BACK

    claims = proof.claims
    if claims is None:
        return []
    compared = firmware.compare(marks, claims.tcb, tee=claims.tee, guest="", at=stamp(at), evidence=proof.evidence)
    tier = policy.holds.get(ROLLED_BACK, HOLDS[ROLLED_BACK].value)
    return [{"code": ROLLED_BACK, "cause": fall.evidence, "tier": tier} for fall in list(compared.fell.values())[:1]]
