"""Good enough? What a policy makes of a proof: an AR4SI vector, a tier, every reason, and until when to believe it.

`appraise` never asks whether evidence is genuine (`ratchet.evidence.verify` did) and never forgets the answer: a
genuine machine that is too old has hardware 32, a forged one 99, and neither is ever reported as the other.

The vector (draft-ietf-rats-ar4si-09, 2.3.2; the choice of values is this project's):

| claim | 2 | 32 | 33 | 96 | 99 | 0 |
|---|---|---|---|---|---|---|
| instance-identity | machine named, evidence fresh | | | certificate revoked | not authentic | weak, or not fresh |
| hardware | UpToDate or admitted, floor met | other status, below floor | | Revoked | not authentic | not checked |
| configuration | nothing loosened | ConfigurationNeeded, loose bits | | debug in production | | not proven |
| executables | known | window closing | unknown | contraindicated | | not judged |

The merged tier is the worst of the four. A claim of 0 bars `affirming`, unless it is 0 because of something that the
policy allows to be impossible.

Not done, on purpose: no age limit on collateral beside the vendor's own dates. A fixed limit in days has refused whole
fleets when one list was served again for a week; the vendor's dates are what `verify` checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from ratchet import grace
from ratchet.admission import judge_measurement, objections, presented
from ratchet.circumstances import Circumstances, Recognition
from ratchet.event import Json, digest, stamp
from ratchet.evidence import Claims, Outcome, Proof, StepName, TcbStatus
from ratchet.floor import ABSTAINS, IntelFloor, is_open, merged_status, shortfalls
from ratchet.policy import AR4SI, KNOWN, NAMEABLE, NEVER_ACCEPTED, STATES, Policy
from ratchet.reason import Reason
from ratchet.standing import Tier, tier_of

__all__ = [
    "CONFIGURATION",
    "EAR_PROFILE",
    "EXECUTABLES",
    "HARDWARE",
    "IDENTITY",
    "KNOWN",
    "NAMEABLE",
    "Circumstances",
    "Policy",
    "Recognition",
    "Verdict",
    "appraise",
    "objections",
    "presented",
]

EAR_PROFILE = "tag:ietf.org,2026:rats/ear#04"
"""draft-ietf-rats-ear-04, eat_profile."""

IDENTITY, CONFIGURATION, EXECUTABLES, HARDWARE = "instance-identity", "configuration", "executables", "hardware"
"""Names of the vector's claims (draft-ietf-rats-ar4si-09, 2.3.1)."""


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
            "trusted_until": stamp(self.trusted_until) if self.trusted_until else None,
        }


@dataclass(slots=True)
class _Finding:
    """What is gathered on the way: the worst value of each claim, reasons, and what bars affirming."""

    policy: Policy
    vector: dict[str, int]
    reasons: list[Reason]
    barred: list[str]
    at: datetime
    until: datetime | None = None

    def worse(self, claim: str, value: int, *reasons: Reason) -> None:
        """Lower a claim, never raise it."""
        self.vector[claim] = max(self.vector[claim], value)
        self.reasons.extend(reasons)

    def not_checked(self, claim: str, what: str, *reasons: Reason) -> None:
        """A claim that could not be checked is 0 unless something worse is known; bars affirming unless excused."""
        if self.vector[claim] < 32:
            self.vector[claim] = 0
        self.reasons.extend(reasons)
        if what not in self.policy.may_be_impossible and what not in self.barred:
            self.barred.append(what)


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
    found = _Finding(policy, dict.fromkeys((IDENTITY, CONFIGURATION, EXECUTABLES, HARDWARE), 2), [], [], at)
    for step in proof.steps:
        found.reasons.extend(step.reasons)
    claims = proof.claims
    if claims is None or proof.unproven:
        _unproven(proof, found)
    else:
        _steps(proof, found, about)
        _identity(claims, found)
        _recognition(claims, found, about)
        _hardware(proof, claims, found)
        _configuration(proof, claims, found)
        _executables(claims, found)
    until = about.received + timedelta(seconds=policy.trusted_for)
    too_old = until <= at
    if too_old and not proof.unproven:
        found.not_checked(IDENTITY, "age", _too_old(about, at - timedelta(seconds=policy.trusted_for)))
    tier = _merged(found)
    until = min([until, *[end for end in (proof.valid_until, found.until) if end is not None]])
    if tier in (Tier.AFFIRMING, Tier.WARNING) and until <= at:
        if proof.valid_until is not None and proof.valid_until <= at:
            # Expired collateral fails a step of its own; this is for what expires in the very instant of judging.
            found.not_checked(HARDWARE, "validity", _over(proof, at))
        tier = _merged(found)
    if too_old and tier is Tier.WARNING:
        tier = Tier.NONE  # it was a warning for as long as it was believed; what it proved then is nobody's word now
    return Verdict(
        evidence=proof.evidence,
        tee=claims.tee if claims else None,
        vector=found.vector,
        tier=tier,
        barred=tuple(found.barred),
        reasons=tuple(dict.fromkeys(_hashable(found.reasons))),
        trusted_until=until if until > at and tier in (Tier.AFFIRMING, Tier.WARNING) else None,
        at=at,
        policy=policy.hash,
    )
    # Not judged: launch TCB against the floor. A guest that migrated in may have launched on another machine, and the
    # platform's reported TCB is what its key is derived from; a lower launch TCB is a reason without weight.


def _hashable(reasons: list[Reason]) -> Iterator[Reason]:
    """Reasons whose values can be keys: lists (a step may show one) as text."""
    for r in reasons:
        if isinstance(r.got, list | dict) or isinstance(r.want, list | dict):
            got, want = (str(v) if isinstance(v, list | dict) else v for v in (r.got, r.want))
            yield Reason(r.code, r.component, got, want, r.source, r.remedy)
        else:
            yield r


def _merged(found: _Finding) -> Tier:
    worst = tier_of(max(found.vector.values()))  # none is negative here, so the greatest is the worst
    if worst in (Tier.CONTRAINDICATED, Tier.WARNING):
        return worst
    return Tier.NONE if found.barred else Tier.AFFIRMING


def _over(proof: Proof, at: datetime) -> Reason:
    got = stamp(proof.valid_until) if proof.valid_until else None
    return Reason(
        "validity_over", "validity", got, f"after {stamp(at)}", "docs/design.md, standing", "fetch newer collateral"
    )


def _too_old(about: Circumstances, oldest: datetime) -> Reason:
    got, want = stamp(about.received), f"evidence from after {stamp(oldest)}"
    return Reason("proof_too_old", "age", got, want, "docs/policy.md, trusted_for", "let the machine attest again")


def _unproven(proof: Proof, found: _Finding) -> None:
    """Step 1. A parse that failed says nothing of hardware: bytes that are no evidence accuse nobody."""
    for claim in found.vector:
        found.vector[claim] = 0
    found.barred.extend(name.value for name in proof.unproven)
    crypto = (StepName.CHAIN, StepName.SIGNATURE, StepName.BINDING)
    if any(s.name in crypto and s.outcome is Outcome.FAILED for s in proof.steps):
        found.vector[HARDWARE] = found.vector[IDENTITY] = 99
    elif any(s.name is StepName.REVOCATION and s.outcome is Outcome.FAILED for s in proof.steps):
        # A revoked chain is a fact about the certificate, whatever else could not be had.
        found.vector[HARDWARE] = found.vector[IDENTITY] = 96
    if not found.barred:
        found.barred.append(StepName.PARSE.value)


def _steps(proof: Proof, found: _Finding, about: Circumstances) -> None:
    """Step 2."""
    for step in proof.steps:
        if step.outcome is Outcome.PASSED:
            continue
        failed = step.outcome is Outcome.FAILED
        if not failed and step.name in found.policy.may_be_impossible:
            continue  # not asked for: what was checked beside it stands
        match step.name:
            case StepName.REVOCATION if failed:
                found.worse(HARDWARE, 96)
                found.worse(IDENTITY, 96)
            case StepName.REVOCATION:
                found.not_checked(HARDWARE, "revocation")
            case StepName.COLLATERAL:
                # Expired or unsound collateral is no better than none, and never excused.
                found.not_checked(HARDWARE, "collateral (failed)" if failed else "collateral")
            case StepName.FRESHNESS if about.vouched and not failed:
                pass
            case StepName.FRESHNESS:
                found.not_checked(IDENTITY, "freshness (failed)" if failed else "freshness")


def _identity(claims: Claims, found: _Finding) -> None:
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


def _recognition(claims: Claims, found: _Finding, about: Circumstances) -> None:
    """Step 3, whose machine it is. 97: not recognised, and the verifier believes that it should be (AR4SI)."""
    match about.recognition:
        case Recognition.WAITING:
            code, want = "machine_waits_for_enrolment", "an enrolled machine"
        case Recognition.STRANGER:
            code, want = "machine_not_enrolled", "an enrolled machine"
        case Recognition.MOVED:
            code, want = "machine_name_moved", "the machine that goes by this name"
        case _:
            return
    remedy = f"if it is yours: `ratchet enrol {claims.platform}`; else find out who runs it under this name"
    found.worse(IDENTITY, 97, Reason(code, "enrolment", claims.platform, want, AR4SI, remedy))


class _Status(NamedTuple):
    """What one of Intel's TCB statuses does to the vector, and what to do about it."""

    code: str
    hardware: bool
    configuration: bool
    remedy: str


_STATUSES = {
    "SWHardeningNeeded": _Status(
        "tcb_sw_hardening_needed",
        hardware=True,
        configuration=False,
        remedy="harden the workload as the advisories say, then admit them in the policy",
    ),
    "ConfigurationNeeded": _Status(
        "tcb_configuration_needed",
        hardware=False,
        configuration=True,
        remedy="change the firmware settings that the advisories name",
    ),
    "ConfigurationAndSWHardeningNeeded": _Status(
        "tcb_configuration_and_sw_hardening_needed",
        hardware=True,
        configuration=True,
        remedy="change the firmware settings and harden the workload",
    ),
    "OutOfDate": _Status(
        "tcb_out_of_date",
        hardware=True,
        configuration=False,
        remedy="update microcode and firmware (BIOS), then provision the PCK certificate anew",
    ),
    "OutOfDateConfigurationNeeded": _Status(
        "tcb_out_of_date_configuration_needed",
        hardware=True,
        configuration=True,
        remedy="update microcode and firmware, and change the settings",
    ),
    "TDRelaunchAdvised": _Status(
        "tcb_relaunch_advised",
        hardware=True,
        configuration=False,
        remedy="relaunch the TD: it started under an older TDX module",
    ),
    "TDRelaunchAdvisedConfigurationNeeded": _Status(
        "tcb_relaunch_advised_configuration_needed",
        hardware=True,
        configuration=True,
        remedy="relaunch the TD, and change the firmware settings",
    ),
    "NoMatchingTcbLevel": _Status(
        "tcb_no_matching_level",
        hardware=True,
        configuration=False,
        remedy="update firmware: it is below every level that Intel lists",
    ),
}
"""Intel's statuses (PCS API v4, "Get TCB info", tcbStatus; TDX DCAP library for the relaunch ones)."""


def _hardware(proof: Proof, claims: Claims, found: _Finding) -> None:
    """Step 4."""
    policy = found.policy
    if claims.tee in ("sgx", "tdx"):
        _intel_status(proof, claims, found)
    else:
        _snp_versions(claims, found)
    floor = policy.floors.get(claims.family)
    if floor is not None and not is_open(floor):
        short = shortfalls(floor, claims.tcb, claims.bits, proof.tcb.qe if proof.tcb is not None else None)
        if short and isinstance(floor, IntelFloor) and _floor_in_grace(floor, proof.tcb, claims, found):
            short = ()
        if any(r.code != ABSTAINS for r in short):
            found.worse(HARDWARE, 32, *short)
        elif short:
            found.not_checked(HARDWARE, "floor (abstains)", *short)
    elif claims.tee == "snp":
        # Intel's status is a judgement of the versions; AMD publishes none, so without a floor nothing judged them.
        found.not_checked(
            HARDWARE,
            "floor",
            Reason(
                "no_floor",
                claims.family,
                None,
                "a floor in force",
                "docs/floors.md",
                "enter a reviewed advisory and approve its proposal, or let the policy name `floor`",
            ),
        )


def _floor_in_grace(floor: IntelFloor, tcb: TcbStatus | None, claims: Claims, found: _Finding) -> bool:
    """Would the floor's own list let it pass for a while yet?"""
    if tcb is None or not found.policy.grace or any(r.code == ABSTAINS for r in shortfalls(floor, claims.tcb, {})):
        return False
    by_floor = merged_status(floor, claims.tcb, tcb.qe)
    end = grace.ends(found.policy.grace, claims.family, by_floor.merged, by_floor.advisories, by_floor.superseded)
    if end is None or found.at >= end:
        return False
    found.until = min(found.until, end) if found.until else end
    return floor.admits(grace.IN_GRACE[by_floor.merged], by_floor.advisories)


def _intel_status(proof: Proof, claims: Claims, found: _Finding) -> None:
    tcb, policy = proof.tcb, found.policy
    if tcb is None:
        # Never excused: without the QE identity, any enclave that the PCK vouches for may have made this quote.
        found.not_checked(
            HARDWARE,
            "tcb_status",
            Reason("tcb_unknown", "tcb_info", None, "TCB info for this platform", "Intel PCS API v4, Get TCB info",
                   "fetch TCB info and QE identity"),
        )  # fmt: skip
        return
    if policy.minimum_evaluation is not None and tcb.evaluation < policy.minimum_evaluation:
        found.not_checked(
            HARDWARE,
            "evaluation",
            Reason(
                "evaluation_too_old",
                "tcb_info",
                tcb.evaluation,
                policy.minimum_evaluation,
                tcb.document,
                "fetch TCB info of a newer evaluation",
            ),
        )
    merged = tcb.merged
    end = grace.ends(policy.grace, claims.family, merged, tcb.advisories, tcb.superseded)
    if end is not None and found.at < end:
        remedy = f"update microcode and firmware before {stamp(end)[:10]}"
        found.reasons.append(Reason("tcb_in_grace", "tcb_status", merged, f"until {stamp(end)}", tcb.document, remedy))
        found.until = min(found.until, end) if found.until else end
        merged = grace.IN_GRACE[merged]
    if merged == "UpToDate":
        return
    want = ", ".join((*policy.accepted, *policy.conditional))
    with_advisories = f"{merged} ({', '.join(tcb.advisories)})" if tcb.advisories else merged
    if merged == "Revoked":
        found.worse(HARDWARE, 96, Reason("tcb_revoked", "tcb_status", with_advisories, want, tcb.document,
                                         "take the machine out of service"))  # fmt: skip
        return
    status = _STATUSES.get(merged)
    if status is None:
        found.not_checked(
            HARDWARE, "tcb_status",
            Reason("tcb_status_unrecognised", "tcb_status", with_advisories, want, tcb.document, "update Ratchet"),
        )  # fmt: skip
        return
    if merged not in NEVER_ACCEPTED and policy.admits(merged, tcb.advisories):
        found.reasons.append(Reason("tcb_status_admitted", "tcb_status", with_advisories, want, tcb.document))
        return
    found.reasons.append(Reason(status.code, "tcb_status", with_advisories, want, tcb.document, status.remedy))
    if status.hardware:
        found.worse(HARDWARE, 32)
    if status.configuration:
        found.worse(CONFIGURATION, 32)


class _Behind(NamedTuple):
    """Two of SNP's TCB versions, of which the first ought to have caught up with the second."""

    lower: str
    higher: str
    code: str
    remedy: str


_COMPONENTS = ("bl", "fmc", "snp", "tee", "ucode")
"""Of an SNP TCB version; `fmc` on Turin alone (AMD 57230, "TCB version")."""

_ORDERED = (
    # AMD 56860, "TCB version", SNP_SET_CONFIG and SNP_COMMIT.
    _Behind(
        "reported", "current", "reported_below_current", "raise the reported TCB (SNP_SET_CONFIG), fetch the new VCEK"
    ),
    _Behind(
        "committed", "current", "current_not_committed", "commit the firmware (SNP_COMMIT): until then it can go back"
    ),
    _Behind("launch", "current", "launched_on_older_tcb", "relaunch the guest: it started under older firmware"),
)


_PAIRS = tuple((pair, f"{pair.lower}.{one}", f"{pair.higher}.{one}") for pair in _ORDERED for one in _COMPONENTS)


def _snp_versions(claims: Claims, found: _Finding) -> None:
    """Reported, committed and launch TCB against the current one: component by component, for they are no integers.

    Lower ones are reasons without weight: what counts is the reported TCB, from which the signing key is derived, and
    the floor judges that. A reported or committed version above the current one cannot come about on sound firmware
    (AMD 56860, SNP_SET_CONFIG and SNP_COMMIT), so it is a warning.
    """
    versions = claims.tcb.get
    for pair, name, higher in _PAIRS:
        got, want = versions(name), versions(higher)
        if got == want or got is None or want is None:
            continue
        if got < want:
            found.reasons.append(Reason(pair.code, name, got, want, "AMD 56860, ATTESTATION_REPORT", pair.remedy))
        elif pair.lower != "launch":
            reason = Reason(
                "tcb_inconsistent",
                name,
                got,
                f"at most {want}, as {pair.higher}",
                "AMD 56860, ATTESTATION_REPORT",
                "look at the host: its firmware went back without a reset, or lies",
            )
            found.worse(HARDWARE, 32, reason)


def _configuration(proof: Proof, claims: Claims, found: _Finding) -> None:
    """Step 5."""
    if claims.debug:
        reason = Reason(
            "debug_enabled",
            "debug",
            True,
            False,
            {"sgx": "Intel SDM 3D, ATTRIBUTES.DEBUG", "tdx": "Intel TDX Module ABI, ATTRIBUTES.TUD.DEBUG"}.get(
                claims.tee, "AMD 56860, Guest Policy, DEBUG"
            ),
            "relaunch without debug, with new secrets: the host may have read the old ones",
        )
        found.worse(CONFIGURATION, 96 if found.policy.production else 32, reason)
    required = found.policy.require_bits.get(claims.tee)
    for name, want in sorted(required.items()) if required else ():
        got = claims.bits.get(name)
        if got is None:
            reason = Reason("bit_not_attested", name, None, want, AR4SI, "this evidence does not attest it")
            found.not_checked(CONFIGURATION, name, reason)
        elif got != want:
            remedy = f"relaunch with {name} {want}" if not name.startswith("platform.") else f"set {name} to {want}"
            found.worse(CONFIGURATION, 32, Reason("bit_loosened", name, got, want, AR4SI, remedy))


def _executables(claims: Claims, found: _Finding) -> None:
    """Step 6."""
    values = found.policy.reference_values.get(claims.tee)
    if not values:
        found.not_checked(
            EXECUTABLES,
            "executables",
            Reason(
                "measurement_not_judged",
                "measurement",
                claims.measurement,
                f"reference values for {claims.tee}",
                AR4SI,
                "add reference values to the policy, or let it name `executables`",
            ),
        )
        return
    reason = judge_measurement(claims.tee, claims.measurement, values)
    state = values.get(claims.measurement)
    if reason is not None:
        found.worse(EXECUTABLES, 33 if state is None else STATES[state], reason)
