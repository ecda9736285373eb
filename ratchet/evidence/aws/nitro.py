"""AWS Nitro Enclaves: is this attestation document genuine? Every proof step is taken, whatever came of the others.

1. parse: COSE_Sign1, ES384, and every rule of AWS's syntactical validation (`document`).
2. chain: leaf -> CA bundle -> a trusted root, each for what AWS made it for, all valid at the time (3.2.3). That one is
   no longer valid, or not yet, accuses nobody: a leaf lives for three hours, so every document comes to that.
3. revocation: passed with the chain. AWS uses no revocation lists here and says that verifiers must not ask for any
   (3.2.4: "We do not use CRL, so it must be disabled"), though some intermediates name one. What AWS does instead is to
   issue a leaf for hours and to stop: `valid_until` is the leaf's end.
4. signature: ES384 over the COSE Sig_structure, the payload as it came, by the leaf's key (RFC 9052, 4.4).
5. binding: leaf, parent instance and PCR4 are of the enclave that the document names; the document's time lies within
   the chain's validity, and not ahead of the clock.
6. collateral: none is needed beside the root, which is pinned.
7. freshness: `nonce` or `user_data` holds the challenge.

The instance's certificate is a CA whose key is on the machine, so a leaf is believed of an enclave of that instance
alone. Not checked, on purpose: PCR3, the role, which is no secret and no identity; whether the leaf's serial number
repeats the enclave's id, which AWS does not promise.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timedelta
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

from ratchet.collateral import Collateral
from ratchet.event import BlobId, digest, stamp
from ratchet.evidence import freshness
from ratchet.evidence.aws import document as layout
from ratchet.evidence.aws.certificates import Chain, chain, remember
from ratchet.evidence.aws.document import NITRO, PCR_NAMES, SOURCE, BadDocument, Document, extended, fields, read
from ratchet.evidence.proof import Claims, Evidence, Outcome, Proof, Step, StepName
from ratchet.evidence.spec import SIGNER, FormatSpec, Freshness, Identity, Judge, Subject, Tee
from ratchet.reason import Reason
from ratchet.x509.chain import MAX_CHECKS, Checks, Path

AHEAD = timedelta(minutes=5)
"""By how much a document's clock may be ahead of ours: as for any event (`time_in_future`)."""

CHAIN_SPEC = "AWS Nitro Enclaves attestation process, 3.2.3 (semantical validation)"
CRL_SPEC = "AWS Nitro Enclaves attestation process, 3.2.4 (certificates chain)"
SIGNATURE_SPEC = "RFC 9053, 2.1 (ES384); RFC 9052, 4.4"
PCR_SPEC = 'AWS Nitro Enclaves user guide, "Where to get an enclave\'s measurements"'
DEBUG_SPEC = 'AWS Nitro Enclaves user guide, "nitro-cli run-enclave" (--debug-mode)'
_NONCE_SPEC = "AWS Nitro Enclaves attestation process, 2.2.2 (nonce, user data, public key)"

_REFUSE = "do not trust this machine: find out who can sign in the name of another"
_ECDSA = ECDSA(SHA384())
_ZEROS = bytes(48)
"""Of a PCR before anything was measured into it."""

_MODULE = re.compile(r"(i-[0-9a-f]{8,32})-enc[0-9a-f]{1,32}")
"""Module id: parent instance and enclave (user guide, "Nitro Enclaves concepts", Enclave ID)."""

_UNREVOKED = Step(
    StepName.REVOCATION, Outcome.PASSED, "AWS uses no revocation lists here: a leaf lives for hours", CRL_SPEC
)
_SIGNED = Step(StepName.SIGNATURE, Outcome.PASSED, "ES384 by the key of the leaf certificate", SIGNATURE_SPEC)
_BOUND = Step(StepName.BINDING, Outcome.PASSED, "certificates and PCR4 are of this enclave's instance", PCR_SPEC)
_NOTHING_NEEDED = Step(StepName.COLLATERAL, Outcome.PASSED, "none is needed beside the root", CHAIN_SPEC)


def verify(evidence: Evidence, collateral: Collateral, at: datetime) -> Proof:
    """Judge one document; see the module's steps. Never raises for bad bytes."""
    blob = digest(evidence.raw)
    try:
        document = read(evidence.raw)
    except BadDocument as wrong:
        return _unparsed(blob, evidence, wrong)
    checks = Checks(collateral.refused)
    found = chain(document, collateral, checks)
    signature = _signature_step(blob, document, found, checks)
    if signature is _SIGNED and isinstance(found.way, Path):
        remember(document, found, collateral)  # only what was signed and leads to a trusted root: bounded by AWS
    places, instance = _places(document), _instance(document.module_id)
    bound = evidence.key if evidence.key != document.public_key else None
    way = found.way
    return Proof(
        evidence=blob,
        format=NITRO,
        steps=(
            _parsed(len(document.pcrs)),
            _chain_step(found, at),
            _UNREVOKED if isinstance(way, Path) else _without_chain(StepName.REVOCATION, CRL_SPEC),
            signature,
            _binding_step(document, found, instance, at),
            _NOTHING_NEEDED,
            freshness.step_in(places, evidence.challenge, _NONCE_SPEC, bound),
        ),
        claims=_claims(document, found, instance, _key(document, places, evidence.challenge, bound)),
        root=way.root if isinstance(way, Path) else None,
        valid_until=way.valid_until if isinstance(way, Path) else None,
    )


@lru_cache(maxsize=layout.MAX_PCRS)
def _parsed(pcrs: int) -> Step:
    return Step(StepName.PARSE, Outcome.PASSED, f"Nitro attestation document, {pcrs} PCRs", SOURCE)


def _unparsed(blob: BlobId, evidence: Evidence, wrong: BadDocument) -> Proof:
    """A newer document may be perfectly genuine; one that breaks a rule is none."""
    missing = Reason("unparsed", "document", None, "a document that can be read", SOURCE)
    steps = [
        Step(
            StepName.PARSE, Outcome.NOT_POSSIBLE if wrong.newer else Outcome.FAILED, wrong.detail, SOURCE, wrong.reasons
        )
    ]
    steps += [
        Step(name, Outcome.NOT_POSSIBLE, "the document could not be read", SOURCE, (missing,))
        for name in StepName
        if name not in (StepName.PARSE, StepName.FRESHNESS)
    ]
    steps.append(freshness.step(None, evidence.challenge, _NONCE_SPEC, place="nonce"))
    return Proof(blob, NITRO, tuple(steps))


def _places(document: Document) -> dict[str, bytes]:
    """Where a challenge may be."""
    found = {"nonce": document.nonce, "user_data": document.user_data}
    return {name: held for name, held in found.items() if held is not None}


def _key(document: Document, places: dict[str, bytes], challenge: bytes | None, bound: bytes | None) -> str | None:
    """Which key is bound: one that its sender names and that a place holds, else the document's own `public_key`."""
    named = freshness.key_in(places, challenge, bound) if bound is not None else None
    if named is not None or document.public_key is None:
        return named
    return hashlib.sha256(document.public_key).hexdigest()


def _without_chain(name: StepName, source: str) -> Step:
    why = Reason("chain_unproven", "certificate", None, "a chain to a trusted root", source)
    return Step(name, Outcome.NOT_POSSIBLE, "without a chain there is no issuer to ask", source, (why,))


def _chain_step(found: Chain, at: datetime) -> Step:
    name, way = StepName.CHAIN, found.way
    if not isinstance(way, Path):
        remedy = "take a document from the Nitro Secure Module, and send it whole and unaltered"
        why = Reason(way.code, "certificate", way.got, way.want, CHAIN_SPEC, remedy)
        return Step(name, Outcome.FAILED, "the certificate leads to no trusted root", CHAIN_SPEC, (why,))
    if way.valid_from <= at <= way.valid_until:
        return Step(name, Outcome.PASSED, found.detail, CHAIN_SPEC)
    late = at > way.valid_until
    code = "certificate_expired" if late else "certificate_not_yet_valid"
    want = f"at most {stamp(way.valid_until)}" if late else f"at least {stamp(way.valid_from)}"
    remedy = "let the enclave make a new document: its certificate lives for hours" if late else "set the clocks right"
    why = Reason(code, "certificate", stamp(at), want, "RFC 5280, 4.1.2.5", remedy)
    detail = f"{way.detail}, {'expired' if late else 'not valid yet'}"
    return Step(name, Outcome.NOT_POSSIBLE, detail, CHAIN_SPEC, (why,))


def _signature_step(blob: BlobId, document: Document, found: Chain, checks: Checks) -> Step:
    name, source = StepName.SIGNATURE, SIGNATURE_SPEC
    key = found.leaf.key if found.leaf is not None else None
    if not isinstance(key, EllipticCurvePublicKey):
        why = Reason("chain_unproven", "certificate", None, "a certificate with a P-384 key", source)
        return Step(name, Outcome.NOT_POSSIBLE, "no key to check it with", source, (why,))
    check = ("document", blob)  # the key is within those bytes
    if checks.may(check):
        signature = document.message.signature
        r, s = int.from_bytes(signature[:48], "big"), int.from_bytes(signature[48:], "big")
        try:
            key.verify(encode_dss_signature(r, s), document.message.signed, _ECDSA)
            return _SIGNED
        except InvalidSignature:
            checks.refuse(check)
    elif not checks.refuses(check):
        why = Reason("too_many_signatures", "document", None, f"at most {MAX_CHECKS} signatures to check", source)
        return Step(name, Outcome.FAILED, "too many certificates came with it", source, (why,))
    remedy = "take a new document; if it fails again, the enclave or the way from it is not to be trusted"
    why = Reason("signature_invalid", "document", None, "a signature by the key of its certificate", source, remedy)
    return Step(name, Outcome.FAILED, "not signed by the key of its certificate", source, (why,))


def _instance(module: str) -> str | None:
    """The parent instance in a module id; None where it is of another form."""
    found = _MODULE.fullmatch(module)
    return found[1] if found is not None else None


def _binding_step(document: Document, found: Chain, instance: str | None, at: datetime) -> Step:
    name, leaf, way, made = StepName.BINDING, found.leaf, found.way, document.made
    if leaf is None:
        why = Reason("chain_unproven", "certificate", None, "a certificate that can be read", CHAIN_SPEC)
        return Step(name, Outcome.NOT_POSSIBLE, "no certificate to compare with", CHAIN_SPEC, (why,))
    reasons = []
    since, until = (way.valid_from, way.valid_until) if isinstance(way, Path) else (leaf.not_before, leaf.not_after)
    if not since <= made <= until:
        want = f"{stamp(since)} to {stamp(until)}"
        reasons.append(Reason("timestamp_outside_certificate", "timestamp", stamp(made), want, CHAIN_SPEC, _REFUSE))
    module = document.module_id
    if not leaf.subject_name.startswith(f"{module}."):
        reasons.append(Reason("module_mismatch", "certificate", leaf.subject_name, module, CHAIN_SPEC, _REFUSE))
    if found.instance is not None and found.instance != instance:
        reasons.append(Reason("module_mismatch", "cabundle", found.instance, module, CHAIN_SPEC, _REFUSE))
    pcr4 = document.pcrs.get(4)
    if instance is not None and pcr4 is not None and len(pcr4) == 48 and pcr4 != _ZEROS:
        measured = found.pcr4 if found.instance == instance and found.pcr4 is not None else extended(instance)
        if pcr4 != measured:
            reasons.append(Reason("module_mismatch", "pcr4", pcr4.hex(), measured.hex(), PCR_SPEC, _REFUSE))
    if reasons:
        return Step(name, Outcome.FAILED, "certificates, time or PCR4 are of another", CHAIN_SPEC, tuple(reasons))
    if made > at + AHEAD:
        remedy = "set the clocks right"
        why = Reason("document_from_future", "timestamp", stamp(made), f"at most {stamp(at)}", CHAIN_SPEC, remedy)
        return Step(name, Outcome.NOT_POSSIBLE, "made in the future, by its own word", CHAIN_SPEC, (why,))
    return _BOUND


def _claims(document: Document, found: Chain, instance: str | None, key: str | None) -> Claims:
    """What the document says; with it the region, which its certificate alone says."""
    pcrs, module = document.pcrs, document.module_id
    measurements = dict(zip(map(PCR_NAMES.__getitem__, pcrs), map(bytes.hex, pcrs.values()), strict=True))
    if found.region is not None:
        measurements["region"] = found.region
    signer = measurements.get("pcr8")
    return Claims(
        format=NITRO,
        tee="nitro",
        family=f"nitro/{found.partition or 'unknown'}",
        platform=f"ec2:{instance}" if instance is not None else None,
        instance=module,
        measurement=measurements.get("pcr0", ""),
        signer=signer if signer is not None and signer.strip("0") else None,
        # An enclave in debug mode has zeros there (DEBUG_SPEC). One whose document does not speak of them may be one.
        debug=not any(any(pcrs.get(index, b"")) for index in (0, 1, 2)),
        report_data=document.user_data or b"",
        tcb={},
        bits={},
        native=document,
        measurements=measurements,
        key=key,
    )


def _replay_key(raw: bytes, proof: Proof) -> BlobId:
    """Over what was signed and the signature's r: tag, lengths and s can be altered by anybody."""
    document = proof.claims.native if proof.claims is not None else None
    if not isinstance(document, Document):
        return proof.evidence
    return digest(document.message.signed + document.message.signature[:48])


def _concerns(subject: Subject, kind: str, about: str) -> bool:
    """No vendor's statement concerns a document: all that it rests on is in it, but for the root."""
    return False


NITRO_ENCLAVE = Tee(
    name="nitro",
    title="Nitro",
    judge=Judge.ISSUER,  # AWS updates its hypervisors and attests no versions of them
    versions=frozenset(),
    components=(),
    numbers=frozenset(),
    measurements=frozenset((*PCR_NAMES, "region")),
    texts=frozenset({"region"}),
    # An instance keeps its id for its life, also when it is stopped and started on another host; nothing in a document
    # names the host.
    identities=(Identity(kind="ec2", form="i-[0-9a-f]{8,32}", label="EC2 instance id"),),
    signers=("pcr8",),
    # PCR0 is the image file, PCR1 kernel and boot ramfs, PCR2 the application (PCR_SPEC).
    boot=("pcr0", "pcr1", "pcr2"),
    # Of an image that was signed PCR8 is the signing certificate, which AWS's key service takes in their stead; of one
    # that was not it is zero, which is no signer.
    boot_instead=frozenset({SIGNER}),
    # The hypervisor locks 0 to 15: every document has them. The enclave may extend the others (NSM API, ExtendPCR),
    # which are in a document once it has locked them (LockPCR; attestation process, 2.2, pcrs).
    runtime=PCR_NAMES[16:],
    platform_measurements=frozenset({"pcr3", "pcr4", "region"}),
    draws_instance=True,  # the hypervisor names an enclave when it is launched (user guide, concepts, Enclave ID)
    required={},
    debug_source=DEBUG_SPEC,
    brings_key=True,
    concerns=_concerns,
    shown_by={
        "cabundle": ("cabundle_3", "cabundle_2", "cabundle_1", "cabundle_0"),
        "debug": ("pcr0",),
        "document": ("signature",),
        "freshness": ("nonce", "user_data"),
        "measurement": ("pcr0",),
        "signer": ("pcr8",),
    },
    words=frozenset({"aws", "ec2", "pcr", *PCR_NAMES}),
)
"""What attestation documents can say, and how it is judged."""

_FIRST = frozenset({0x84, 0x98, 0x9F, 0xD2, 0xD8})
"""First bytes of an array of four (of any form of length), or of the tag 18 before it (RFC 8949, 3)."""


def detect(raw: bytes) -> bool:
    """A COSE_Sign1 message with a `module_id`, which AWS writes first, or else with a `cabundle` beside it (2.2).

    Documents of NitroTPM, which have `nitrotpm_pcrs`, are of another format.
    """
    if not raw or raw[0] not in _FIRST or b"module_id" not in raw or b"nitrotpm_pcrs" in raw:
        return False
    return b"module_id" in raw[:64] or b"cabundle" in raw


SPEC = FormatSpec(
    format=NITRO,
    title="AWS Nitro attestation document",
    tee=NITRO_ENCLAVE,
    detect=detect,
    verify=verify,
    fields=fields,
    replay_key=_replay_key,
    freshness=Freshness(place="nonce or user_data", size=layout.SIZES["nonce"][1], hashed=True, source=_NONCE_SPEC),
    family="nitro/<partition>",
    simulated="aws",
    source=SOURCE,
)
"""Nitro documents among the formats."""
