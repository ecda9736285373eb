"""Good enough? What a policy makes of a proof: an AR4SI vector, a tier, every reason, and until when to believe it.

`appraise` never asks whether evidence is genuine (`ratchet.evidence.verify` did) and never forgets the answer: a
genuine machine that is too old has hardware 32, a forged one 99, and neither is ever reported as the other.

The vector (draft-ietf-rats-ar4si-09, 2.3.2; the choice of values is this project's):

| claim | 2 | 3 | 32 | 33 | 96 | 97 | 99 | 0 |
|---|---|---|---|---|---|---|---|---|
| instance-identity | ours, fresh | | | | certificate revoked | not enrolled | not authentic | weak, or not fresh |
| hardware | UpToDate or admitted, floor met | | other status, below floor | | Revoked | | not authentic | not checked |
| configuration | as required | | ConfigurationNeeded, a requirement not met | | debug in production | | | not proven |
| executables | known, run time too | known at boot | window closing | unknown | contraindicated | | | not judged |

Every claim begins at 0 and rises by checks that were made; the merged tier is the worst of the four. A claim of 0 bars
`affirming`, unless it is 0 because of something that the policy allows to be impossible.

Not done, on purpose: no age limit on collateral beside the vendor's own dates. A fixed limit in days has refused whole
fleets when one list was served again for a week; the vendor's dates are what `verify` checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from ratchet.event import Json, digest, stamp
from ratchet.evidence import TEES, Claims, Outcome, Proof, StepName
from ratchet.policy import reference
from ratchet.policy.circumstances import Circumstances, Recognition
from ratchet.policy.condition import Answer, values_of
from ratchet.policy.finding import CONFIGURATION, EXECUTABLES, HARDWARE, IDENTITY, Finding
from ratchet.policy.hardware import hardware, not_judged
from ratchet.policy.policy import AR4SI, NAMEABLE, Policy
from ratchet.policy.reference import Executables
from ratchet.reason import Reason
from ratchet.standing import Tier, tier_of

__all__ = [
    "CONFIGURATION",
    "EAR_PROFILE",
    "EXECUTABLES",
    "HARDWARE",
    "IDENTITY",
    "NAMEABLE",
    "Circumstances",
    "Policy",
    "Recognition",
    "Verdict",
    "appraise",
]


EAR_PROFILE = "tag:ietf.org,2026:rats/ear#04"
"""draft-ietf-rats-ear-04, eat_profile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The Attestation Result of one piece of evidence at one instant, under one policy.

    Attributes:
        evidence: blob id.
        tee: `sgx`, `tdx`, `snp`; None where the bytes were not understood.
        vector: AR4SI claim -> value.
        tier: merged.
        barred: what kept `affirming` away though no claim is worse than 0: step names and the like.
        reasons: all of them, the proof's own first; none hides another.
        trusted_until: when affirming or warning ends without fresh proof; None for the other tiers.
        at: judged at.
        policy: hash of the policy.
        reference: name of the reference values that it is of; None where it is of none.
        in_grace: it is good enough for a while yet, by the policy's `grace`.
        turns: when a window of reference values opens or ends that makes another of it; None where none does.
    """

    evidence: str
    tee: str | None
    vector: Mapping[str, int]
    tier: Tier
    barred: tuple[str, ...]
    reasons: tuple[Reason, ...]
    trusted_until: datetime | None
    at: datetime
    policy: str
    reference: str | None = None
    in_grace: bool = False
    turns: datetime | None = None

    def ear(self, *, developer: str, build: str, nonce: bytes | None = None) -> dict[str, Json]:
        """The unsigned EAR claims set, in its JSON form.

        Source: draft-ietf-rats-ear-04, section 3 (claims), 3.2 (submods), JSON names. `iat` is in whole seconds,
        `eat_nonce` lower-case hex of the challenge (RFC 9711, 4.1, asks for 8 to 88 characters: a shorter one is left
        out, a longer one is its SHA-256).

        Args:
            developer, build: `ear_verifier_id`: who made the verifier, and which version of it ran.
            nonce: the challenge, where one was given.
        """
        claims: dict[str, Json] = {
            "eat_profile": EAR_PROFILE,
            "iat": int(self.at.timestamp()),
            "ear_verifier_id": {"developer": developer, "build": build},
            "submods": {
                self.tee or "unknown": {
                    "ear_status": self.tier.value,
                    "ear_trustworthiness_vector": dict(sorted(self.vector.items())),
                    "ear_appraisal_policy_ids": [f"urn:ratchet:policy:{self.policy}"],
                }
            },
        }
        if nonce is not None and len(nonce) >= 4:
            claims["eat_nonce"] = nonce.hex() if len(nonce) <= 44 else digest(nonce)
        if self.trusted_until is not None:
            claims["exp"] = int(self.trusted_until.timestamp())
        return claims

    def to_data(self) -> dict[str, Json]:
        """As JSON: the part of verdict.reached.v1 that appraisal gives."""
        return {
            "tier": self.tier.value,
            "vector": dict(sorted(self.vector.items())),
            "barred": list(self.barred),
            "reasons": [r.to_data() for r in self.reasons],
            "policy": self.policy,
            "reference": self.reference,
            "in_grace": self.in_grace,
            "trusted_until": stamp(self.trusted_until) if self.trusted_until else None,
        }


def appraise(proof: Proof, policy: Policy, at: datetime, circumstances: Circumstances | None = None) -> Verdict:
    """Judge what was proven, as of `at`. Pure, and raises for no evidence whatever.

    1. Not authentic: hardware and identity 99 where something failed, all else 0. Nothing in the claims counts.
    2. Proof steps that failed or were not possible though the evidence is authentic.
    3. Identity. 4. Hardware: TCB status, floor. 5. Configuration. 6. Executables.
    7. The tier, and until when.

    Args:
        proof: what `verify` found: the claims with their proof steps.
        policy: what is good enough.
        at: aware time to judge at.
        circumstances: when the evidence came, who vouches for it, and whose machine it is; without, it came at `at`,
            nobody vouches, and nobody asked whose machine it is.

    Raises:
        ValueError: `at` has no zone.
    """
    if at.tzinfo is None:
        raise ValueError("at= has no time zone: pass an aware datetime")
    about = circumstances or Circumstances(received=at)
    found, what_runs = Finding(policy, at), Executables(0, None, ())
    for step in proof.steps:
        found.reasons.extend(step.reasons)
    claims, unproven = proof.claims, proof.unproven
    if claims is None or unproven:
        _unproven(proof, found)
    else:
        _steps(proof, about, found)
        _identity(claims, about, found)
        hardware(proof, claims, found)
        _configuration(claims, found)
        what_runs = _executables(claims, at, found)
    until = about.received + timedelta(seconds=policy.trusted_for)
    too_old = until <= at
    if too_old and not unproven:
        found.not_checked(IDENTITY, "age", _too_old(about, at - timedelta(seconds=policy.trusted_for)))
    vector = found.vector
    found.bar_what_nobody_checked(vector)
    tier = _merged(found, vector)
    ends = (proof.valid_until, found.until, _turns_worse(what_runs, policy))
    until = min([until, *[end for end in ends if end is not None]])
    if tier in (Tier.AFFIRMING, Tier.WARNING) and until <= at:
        if proof.valid_until is not None and proof.valid_until <= at:
            # Expired collateral fails a step of its own; this is for what expires in the very instant of judging.
            found.not_checked(HARDWARE, "validity", _over(proof, at))
            vector = found.vector
        tier = _merged(found, vector)
    if too_old and tier is Tier.WARNING:
        tier = Tier.NONE  # it was a warning for as long as it was believed; what it proved then is nobody's word now
    return Verdict(
        evidence=proof.evidence,
        tee=claims.tee if claims else None,
        vector=vector,
        tier=tier,
        barred=tuple(found.barred),
        reasons=_unique(found.reasons),
        trusted_until=until if until > at and tier in (Tier.AFFIRMING, Tier.WARNING) else None,
        at=at,
        policy=policy.hash,
        reference=what_runs.set,
        in_grace=found.until is not None,
        turns=what_runs.turns[0][0] if what_runs.turns else None,
    )


def _unique(reasons: list[Reason]) -> tuple[Reason, ...]:
    """Each once, in order; lists among their values (a step may show one) as text."""
    if any(type(r.got) in _PLURAL or type(r.want) in _PLURAL for r in reasons):
        reasons = [r._replace(got=_flat(r.got), want=_flat(r.want)) for r in reasons]
    if len({(r.code, r.component) for r in reasons}) == len(reasons):
        return tuple(reasons)
    return tuple(dict.fromkeys(reasons))


_PLURAL = (list, dict)


def _flat(value: Json) -> Json:
    return str(value) if isinstance(value, _PLURAL) else value


def _merged(found: Finding, vector: Mapping[str, int]) -> Tier:
    worst = tier_of(max(vector.values()))  # none is negative here, so the greatest is the worst
    if worst in (Tier.CONTRAINDICATED, Tier.WARNING):
        return worst
    return Tier.NONE if found.barred else Tier.AFFIRMING


def _turns_worse(what_runs: Executables, policy: Policy) -> datetime | None:
    """When windows of reference values first make a worse tier of it than now."""
    if not what_runs.turns:
        return None
    now = _tier_of_executables(what_runs.value, policy)
    for when, value in what_runs.turns:
        then = _tier_of_executables(value, policy)
        if then not in (Tier.AFFIRMING, now):
            return when
    return None


def _tier_of_executables(value: int, policy: Policy) -> Tier:
    return Tier.AFFIRMING if value == 0 and "executables" in policy.may_be_impossible else tier_of(value)


def _over(proof: Proof, at: datetime) -> Reason:
    got = stamp(proof.valid_until) if proof.valid_until else None
    return Reason(
        "validity_over", "validity", got, f"after {stamp(at)}", "docs/design.md, standing", "fetch newer collateral"
    )


def _too_old(about: Circumstances, oldest: datetime) -> Reason:
    got, want = stamp(about.received), f"evidence from after {stamp(oldest)}"
    return Reason("proof_too_old", "age", got, want, "docs/policy.md, trusted_for", "let the machine attest again")


def _unproven(proof: Proof, found: Finding) -> None:
    """Step 1. A parse that failed says nothing of hardware: bytes that are no evidence accuse nobody."""
    found.barred.extend(name.value for name in proof.unproven)
    crypto = (StepName.CHAIN, StepName.SIGNATURE, StepName.BINDING)
    if any(s.name in crypto and s.outcome is Outcome.FAILED for s in proof.steps):
        found.worse(HARDWARE, 99)
        found.worse(IDENTITY, 99)
    elif any(s.name is StepName.REVOCATION and s.outcome is Outcome.FAILED for s in proof.steps):
        # A revoked chain is a fact about the certificate, whatever else could not be had.
        found.worse(HARDWARE, 96)
        found.worse(IDENTITY, 96)
    if not found.barred:
        found.barred.append(StepName.PARSE.value)


def _steps(proof: Proof, about: Circumstances, found: Finding) -> None:
    """Step 2. A step that is not there was not taken: a format that forgets one gains nothing by it."""
    revocation = collateral = freshness = False
    for step in proof.steps:
        name = step.name
        if name is _REVOCATION:
            revocation = True
        elif name is _COLLATERAL:
            collateral = True
        elif name is _FRESHNESS:
            freshness = True
        else:
            continue
        if step.outcome is not _PASSED:
            _step(name, step.outcome, about, found)
    for name, there in ((_REVOCATION, revocation), (_COLLATERAL, collateral), (_FRESHNESS, freshness)):
        if not there:
            _step(name, Outcome.NOT_POSSIBLE, about, found)


_REVOCATION, _COLLATERAL, _FRESHNESS = StepName.REVOCATION, StepName.COLLATERAL, StepName.FRESHNESS
_PASSED = Outcome.PASSED


def _step(name: StepName, outcome: Outcome, about: Circumstances, found: Finding) -> None:
    """What a step that has not passed means."""
    failed = outcome is Outcome.FAILED
    if name is StepName.FRESHNESS and about.vouched and not failed:
        return
    if not failed and name in found.policy.may_be_impossible:
        return  # not asked for: what was checked beside it stands
    match name:
        case StepName.REVOCATION if failed:
            found.worse(HARDWARE, 96)
            found.worse(IDENTITY, 96)
        case StepName.REVOCATION:
            found.not_checked(HARDWARE, "revocation")
        case StepName.COLLATERAL:
            # Expired or unsound collateral is no better than none, and never excused.
            found.not_checked(HARDWARE, "collateral (failed)" if failed else "collateral")
        case StepName.FRESHNESS:
            found.not_checked(IDENTITY, "freshness (failed)" if failed else "freshness")


def _identity(claims: Claims, about: Circumstances, found: Finding) -> None:
    """Step 3."""
    if claims.platform is None:
        found.not_checked(
            IDENTITY,
            "identity",
            Reason(
                "identity_masked",
                "identity",
                None,
                "a chip id, PPID or platform instance",
                AR4SI,
                "unmask the chip id (SNP: MASK_CHIP_ID off), or let the policy name `identity`",
            ),
        )
    match about.recognition:
        case Recognition.WAITING:
            code, want = "machine_waits_for_enrolment", "an enrolled machine"
        case Recognition.STRANGER:
            code, want = "machine_not_enrolled", "an enrolled machine"
        case Recognition.MOVED:
            code, want = "machine_name_moved", "the machine that goes by this name"
        case _:
            found.passed(IDENTITY)
            if about.recognition is Recognition.NOT_ASKED and claims.platform and found.policy.enrolment.required:
                remedy = (
                    "send it with a challenge to `ratchet up`, which knows your machines, "
                    "or let the policy name `enrolment`"
                )
                reason = Reason(
                    "enrolment_not_judged", "enrolment", claims.platform, "an enrolled machine", AR4SI, remedy
                )
                found.not_checked(IDENTITY, "enrolment", reason)
            return
    # AR4SI 97: not recognised, and the verifier believes that it should be.
    remedy = f"if it is yours: `ratchet enrol {claims.platform}`; else find out who runs it under this name"
    found.worse(IDENTITY, 97, Reason(code, "enrolment", claims.platform, want, AR4SI, remedy))


def _configuration(claims: Claims, found: Finding) -> None:
    """Step 5."""
    tee = TEES.get(claims.tee)
    if tee is None:  # what it would have to be configured as, nobody has written down
        found.not_checked(CONFIGURATION, "tee", not_judged(claims.tee))
    if claims.debug:
        reason = Reason(
            "debug_enabled",
            "debug",
            True,
            False,
            tee.debug_source if tee is not None else AR4SI,
            "relaunch without debug, with new secrets: the host may have read the old ones",
        )
        found.worse(CONFIGURATION, 96 if found.policy.production else 32, reason)
    found.passed(CONFIGURATION)
    for condition in found.policy.require.get(claims.tee, ()):
        answer = condition.answer(claims)
        if answer is Answer.MET:
            continue
        name, want, got = condition.claim, condition.want, values_of(claims, condition.claim)
        if answer is Answer.UNATTESTED:
            remedy = 'this evidence does not attest it; the policy may say unattested = "admit" of it'
            found.not_checked(CONFIGURATION, name, Reason("requirement_not_attested", name, None, want, AR4SI, remedy))
        else:
            remedy = f"relaunch the guest so that {name} is {want}"
            if name.startswith("platform."):
                remedy = f"set {name} to {want} (host firmware settings)"
            found.worse(CONFIGURATION, 32, Reason("requirement_not_met", name, got[0], want, AR4SI, remedy))


def _executables(claims: Claims, at: datetime, found: Finding) -> Executables:
    """Step 6: which reference values it is of."""
    judged = reference.judge(claims, found.policy.reference_values, at)
    if judged.value == 0:
        found.passed(EXECUTABLES)
        found.not_checked(EXECUTABLES, "executables", *judged.reasons)
    else:
        found.worse(EXECUTABLES, judged.value, *judged.reasons)
    return judged
