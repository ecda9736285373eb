"""How a quote is proven, SGX and TDX alike; the formats beside this one say what is in their bodies.

 1. parse: the layout, all lengths in agreement.
 2. chain: the PCK certificate leads to a trusted root, and every certificate is valid at the time.
 3. revocation: none of them is in its issuer's revocation list, known and current at the time.
 4. signature: the attestation key signed header and body.
 5. binding: the QE report holds the hash of that key and is signed by the PCK, and is of Intel's quoting enclave; for
    TDX the module, too, is Intel's.
 6. collateral: TCB info for this platform and QE identity are known, signed, and current.
 7. freshness: report data holds the challenge (`freshness`).

No step waits for another: each is tried with what there is. TCB status is not a step: a platform may be genuine and
old. Not checked, on purpose: MRSERVICETD, attributes, product ids. They are policy's business and in `Claims.bits`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from ratchet.collateral import Collateral
from ratchet.event import BlobId, digest
from ratchet.evidence import freshness
from ratchet.evidence.intel.dcap_appraisal import Module, judge
from ratchet.evidence.intel.platform import Platform, chain_step, platform
from ratchet.evidence.intel.quote import SOURCES, TDX_QUOTE, TEE_SGX, TEE_TDX, BadQuote, Quote, read
from ratchet.evidence.proof import Claims, Evidence, Format, Outcome, Proof, Step, StepName, unreadable
from ratchet.reason import Reason
from ratchet.x509.chain import MAX_CHECKS, Checks, Path, as_der

_ECDSA = ec.ECDSA(SHA256())

_PARSED = {
    (form, version): Step(StepName.PARSE, Outcome.PASSED, f"{form.value} of version {version}", SOURCES[form])
    for form in SOURCES
    for version in (3, 4, 5)
}
_SIGNED = {
    form: Step(StepName.SIGNATURE, Outcome.PASSED, "the attestation key signed header and body", SOURCES[form])
    for form in SOURCES
}


def prove(
    evidence: Evidence,
    collateral: Collateral,
    at: datetime,
    form: Format,
    module: Callable[[Quote], Module | None],
    claims: Callable[[Quote, Platform], Claims],
) -> Proof:
    """The proof of one quote.

    Args:
        evidence: what was received.
        collateral: vendor documents and trusted roots.
        at: aware time to judge at.
        form: what the quote must be.
        module: reads what the body says of the TDX module.
        claims: reads what the body claims.
    """
    raw = evidence.raw
    try:
        quote = read(raw, TEE_TDX if form is TDX_QUOTE else TEE_SGX)
    except BadQuote as error:
        return unreadable(evidence, str(error), form, SOURCES[form])
    checks = Checks(collateral.refused)
    one = platform(quote, evidence.endorsements, collateral, checks)
    said = claims(quote, one)
    if evidence.key is not None:
        said = replace(said, key=freshness.key(said.report_data, evidence.challenge, evidence.key))
    blob = digest(raw)
    signature = _signature(quote, one, form, blob, checks)
    # Only what is signed is worth keeping: others' chains under forged bodies cannot crowd the memo.
    keep = signature.outcome is Outcome.PASSED
    judgement = judge(quote, said.tee, one, module(quote), collateral, at, keep=keep)
    found = one.path
    until = judgement.valid_until
    root = None
    documents = judgement.documents
    if isinstance(found, Path):
        root = found.root
        until = found.valid_until if until is None else min(until, found.valid_until)
    if one.endorsed:
        documents = tuple(sorted({*documents, *map(digest, evidence.endorsements)}))
    return Proof(
        blob,
        form,
        (
            _PARSED[form, quote.version],
            chain_step(one, at),
            judgement.revocation,
            signature,
            judgement.binding,
            judgement.collateral,
            freshness.step(said.report_data, evidence.challenge, SOURCES[form], evidence.key),
        ),
        said,
        judgement.tcb,
        root,
        documents,
        until,
    )


def _signature(quote: Quote, one: Platform, form: Format, blob: BlobId, checks: Checks) -> Step:
    code, got = "signature_invalid", "a signature that does not hold"
    if one.key is None:
        code, got = "attestation_key_invalid", "no point on the curve"
    else:
        check = ("quote", blob)
        if checks.may(check):
            signature = quote.raw[quote.signature : quote.signature + 64]
            try:
                one.key.verify(as_der(signature), quote.raw[: quote.signed], _ECDSA)
            except InvalidSignature:
                checks.refuse(check)
            else:
                return _SIGNED[form]
        elif not checks.refuses(check):
            code, got = "too_many_signatures", f"more than {MAX_CHECKS} signatures to check"
    remedy = "refuse it: these are not the bytes that the quoting enclave signed"
    reason = Reason(code, "quote", got, "a signature by the attestation key", SOURCES[form], remedy)
    return Step(StepName.SIGNATURE, Outcome.FAILED, f"quote signature: {got}", SOURCES[form], (reason,))
