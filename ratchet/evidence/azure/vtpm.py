"""Azure's evidence: is the whole genuine, and does each piece belong to the others? Every step is taken.

The hardware report is a proof of its own (`Part`), by the format that it is of. What joins the pieces:

1. parse: the JSON, the HCL report, its run-time data, and the TPM quote can be read, each one way only.
2. binding of the part: report data of the hardware report are the hash of the exact run-time data, filled up with
   zeros; what else ties that report to the virtual machine, its format says (`Kind.bound`).
3. signature: the attestation key in the run-time data signed the quote (RSASSA with SHA-256).
4. binding: the digest in the quote is that of the PCR values.
5. freshness: the quote's extraData hold the challenge. The hardware report is made when the machine starts; its report
   data answer nobody's challenge.

Chain, revocation and collateral are the hardware report's alone: the attestation key needs no certificate, for the
hardware names it. (Azure's AK certificate, in NV index 0x01C101D0, says the same in Azure's word, and is not asked.)

**What this rests on.** Whoever can have the hardware sign report data of his choice can bring an attestation key of his
own, and with it any PCRs. In Azure's confidential virtual machines that is the paravisor alone: on SNP it runs at VMPL
0, and the guest above it gets no report that says so; under TDX it is the L1 VMM, and the guest has no TDREPORT but
through it. But on a machine of his own anybody can start a guest at VMPL 0, or a TD, and be its paravisor (and Azure's
container groups run at VMPL 0). So PCRs are worth as much as the launch measurement beside them: reference values pin
both, or vouch for nothing (`Tee.boot`).

Not checked, on purpose: qualifiedSigner (the AK's parent is not known), clockInfo and firmwareVersion (no statement of
anybody's to hold them against), the header of the HCL report and its padding (nobody signs them).
Sources: Microsoft Learn, "Confidential VM guest attestation design detail"; TPM 2.0 Library, parts 1 and 2;
confidential-containers/trustee, deps/verifier, az_snp_vtpm and az_tdx_vtpm: what they refuse is refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from ratchet.collateral import Collateral
from ratchet.event import BlobId, Json, digest
from ratchet.evidence import freshness
from ratchet.evidence.azure import envelope, hcl, tpm
from ratchet.evidence.azure.envelope import BadEnvelope, Envelope, Place
from ratchet.evidence.azure.hcl import HclReport, RunTimeData
from ratchet.evidence.azure.tpm import TpmQuote
from ratchet.evidence.proof import Claims, Evidence, Field, Format, Outcome, Part, Proof, Step, StepName, unreadable
from ratchet.evidence.tree import joined
from ratchet.reason import Reason
from ratchet.x509.chain import Checks

PCR_NAMES = tuple(f"pcr{n}" for n in range(tpm.PCRS))
"""Names of the PCRs among `Claims.measurements`."""

BOOT_PCRS = tuple(f"pcr{n}" for n in (0, 2, 4, 7, 8, 9, 11, 12, 13, 14))
"""PCRs that say what code was there when the guest began to run, and what may change it.

TCG PC Client Platform Firmware Profile 1.06, 3.3.4: 0 is the firmware, 2 its drivers, 4 boot loaders and kernels that
the firmware started, 7 the keys of secure boot and whether it is on. UAPI Group, Linux TPM PCR Registry: 8 is grub's
commands and with them the kernel's command line, 9 what grub read and the initrd, 11 the parts of a unified kernel
image, 12 its command line where that was overridden, 13 its extensions, 14 shim's keys (MOK), by which the kernel loads
modules.

Left out: 1, 3 and 5 are configuration of what the others measure, 6 names the virtual machine: they differ between
machines of one image. 10 is IMA's, in the order of use; 15 is of this machine's identity; 16 and 23 can be reset by the
guest; 17 to 22 belong to a dynamic launch, which there is none of. A policy may ask for any of them by name. Windows
uses 11 to 14 otherwise (its 12 differs from start to start): its machines cannot be known by these.
"""

MEASUREMENTS = frozenset({*PCR_NAMES, "ak", "ek", "user_data", "vm_unique_id"})
"""What the whole adds to the measurements of its part."""

WORDS = frozenset({"ak", "ek", "hcl", "pcr", "td", "tpm", "vm", *PCR_NAMES})
"""What is written in capitals."""

NUMBERS = frozenset(hcl.FLAGS.values())
"""What the whole adds to the numbers of its part."""

_EXTRA_DATA = "the quote's extraData"
_SEND_QUOTE = "send tpm_quote: TPM2_Quote by the attestation key, over the PCRs of the SHA-256 bank, with their values"
_PADDING = PKCS1v15()
_SHA256 = SHA256()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What differs between a virtual machine on SNP and one on TDX.

    Attributes:
        format: name of the whole.
        tee: as in `Claims.tee`.
        report_type: in the header of the run-time data.
        part: name of the part: `report`, `quote`.
        bytes_of: of the part's evidence, from what came; None where they did not come.
        missing: why there is no part then.
        verify: the part's format.
        endorsements: certificates for it that came in the same JSON.
        bound: what is wrong with the tie between the part and the HCL report, beside the hash of the run-time data.
        binding: how the tie is called where nothing is.
        fields: claims of the part, with their places in its bytes.
        place: the member that has the part's bytes, and where they begin in it.
    """

    format: Format
    tee: str
    report_type: int
    part: str
    bytes_of: Callable[[Envelope, HclReport], bytes | None]
    missing: Reason
    verify: Callable[[Evidence, Collateral, datetime], Proof]
    endorsements: Callable[[Envelope], tuple[bytes, ...]]
    bound: Callable[[HclReport, Claims], Iterator[Reason]]
    binding: str
    fields: Callable[[bytes], tuple[Field, ...]]
    place: tuple[str, int]


@dataclass(frozen=True, slots=True)
class AzureEvidence:
    """The record behind `Claims.native`.

    Attributes:
        hcl: the HCL report.
        data: its run-time data, read.
        quote: the TPM quote; None where none came.
        part: the record of the hardware report's own format.
    """

    hcl: HclReport
    data: RunTimeData
    quote: TpmQuote | None
    part: object


def detect(raw: bytes, report_type: int) -> bool:
    """JSON in one of the forms, whose HCL report is of this type."""
    if not envelope.looks_like_one(raw):
        return False
    try:
        report = envelope.read(raw).hcl_report
    except envelope.UnknownVersion:  # then `prove` says so
        return (b'"td_quote"' in raw) == (report_type == hcl.TDX)
    except BadEnvelope:
        return False
    return report[:4] == hcl.MAGIC and report[hcl.DATA + 8 : hcl.DATA + 12] == report_type.to_bytes(4, "little")


def prove(evidence: Evidence, collateral: Collateral, at: datetime, kind: Kind) -> Proof:
    """Judge the whole; see the module's steps. Never raises for bad bytes."""
    try:
        sent = envelope.read(evidence.raw)
        report = hcl.read(sent.hcl_report)
        if report.report_type != kind.report_type:
            raise hcl.BadReport(f"an HCL report of type {report.report_type}, expected {kind.report_type}")
        known = collateral.memo.get(("azure.run-time", report.bound))
        data = known if isinstance(known, RunTimeData) else hcl.run_time_data(report.data)
        quote = tpm.read(sent.message) if sent.message is not None else None
    except (envelope.UnknownVersion, hcl.UnknownVersion) as newer:
        return _unsupported(evidence, kind, "unsupported_version", newer.version, str(newer), Outcome.NOT_POSSIBLE)
    except tpm.UnsupportedAlgorithm as other:
        return _unsupported(evidence, kind, "unsupported_algorithm", str(other), str(other), Outcome.FAILED)
    except (BadEnvelope, hcl.BadReport, tpm.BadQuote) as wrong:
        source = {hcl.BadReport: hcl.SPEC, tpm.BadQuote: tpm.SPEC}.get(type(wrong), "docs/formats.md, Azure vTPM")
        return unreadable(evidence, str(wrong), kind.format, source)
    blob = digest(evidence.raw)
    part = _part(sent, report, evidence, collateral, at, kind)
    values = tpm.values_of(quote, sent.pcrs) if quote is not None and sent.pcrs is not None else None
    own = [_parsed(sent, report, quote), *_of_quote(blob, sent, data, quote, values, collateral)]
    own.append(_freshness(evidence, quote))
    if part is None:
        own += [
            Step(name, Outcome.NOT_POSSIBLE, f"no {kind.missing.component} came", hcl.SPEC, (kind.missing,))
            for name in (StepName.CHAIN, StepName.REVOCATION, StepName.COLLATERAL, StepName.BINDING)
        ]
    claims = _claims(evidence, kind, AzureEvidence(report, data, quote, None), part, values)
    proof = joined(blob, kind.format, own, [part] if part is not None else [], claims)
    if data is not known and proof.genuine:  # only what is proven: refused bytes cannot crowd the memo
        collateral.memo[("azure.run-time", report.bound)] = data
    return proof


def _unsupported(evidence: Evidence, kind: Kind, code: str, got: Json, detail: str, outcome: Outcome) -> Proof:
    """As `unreadable`, of bytes that may be genuine though they cannot be read here."""
    proof = unreadable(evidence, detail, kind.format, hcl.SPEC)
    why = Reason(code, "parse", got, "what docs/formats.md lists", hcl.SPEC, "update Ratchet, or send what it reads")
    parse = Step(StepName.PARSE, outcome, detail, hcl.SPEC, (why,))
    return replace(proof, steps=(parse, *proof.steps[1:]))


def _part(
    sent: Envelope, report: HclReport, evidence: Evidence, collateral: Collateral, at: datetime, kind: Kind
) -> Part | None:
    raw = kind.bytes_of(sent, report)
    if raw is None:
        return None
    inside = kind.endorsements(sent)
    proof = kind.verify(Evidence(raw, endorsements=(*inside, *evidence.endorsements)), collateral, at)
    if inside:  # what came inside the evidence is no document beside it: whoever has the evidence has it
        ids = frozenset(map(digest, inside)) - frozenset(map(digest, evidence.endorsements))
        proof = replace(proof, collateral=tuple([one for one in proof.collateral if one not in ids]))
    return Part(kind.part, proof, _bound(report, proof.claims, kind))


def _bound(report: HclReport, claims: Claims | None, kind: Kind) -> Step:
    """Is the hardware report of the machine whose run-time data these are?"""
    name = StepName.BINDING
    if claims is None:
        why = Reason("unparsed", kind.part, None, "a hardware report that can be read", hcl.SPEC)
        return Step(name, Outcome.NOT_POSSIBLE, "the hardware report could not be read", hcl.SPEC, (why,))
    reasons = []
    if claims.report_data != report.bound:
        remedy = "refuse it: run-time data, and the key in them, were put there by somebody else"
        got, want = claims.report_data.hex(), f"{report.bound.hex()}, the hash of the run-time data"
        reasons.append(Reason("run_time_data_not_bound", "report_data", got, want, hcl.RUN_TIME_SPEC, remedy))
    reasons += kind.bound(report, claims)
    if reasons:
        detail = "the hardware report is not of these run-time data, or not the paravisor's"
        return Step(name, Outcome.FAILED, detail, hcl.RUN_TIME_SPEC, tuple(reasons))
    return Step(name, Outcome.PASSED, kind.binding, hcl.RUN_TIME_SPEC)


def _parsed(sent: Envelope, report: HclReport, quote: TpmQuote | None) -> Step:
    what = f"a quote of {len(quote.pcrs)} PCRs" if quote is not None else "no TPM quote"
    detail = f"{sent.form}: HCL report of version {report.version}, {what}"
    return Step(StepName.PARSE, Outcome.PASSED, detail, hcl.SPEC)


def _of_quote(
    blob: BlobId,
    sent: Envelope,
    data: RunTimeData,
    quote: TpmQuote | None,
    values: Mapping[int, bytes] | None,
    collateral: Collateral,
) -> tuple[Step, Step]:
    """Signature, and what ties the PCR values to it."""
    if quote is None or sent.message is None or sent.signature is None:
        why = Reason("tpm_quote_missing", "tpm_quote", None, "a TPM quote", hcl.SPEC, _SEND_QUOTE)
        detail = "no TPM quote came: nothing says what runs above the paravisor, nor when"
        return (
            Step(StepName.SIGNATURE, Outcome.NOT_POSSIBLE, detail, tpm.SIGNATURE_SPEC, (why,)),
            Step(StepName.BINDING, Outcome.NOT_POSSIBLE, detail, tpm.QUOTE_SPEC, (why,)),
        )
    return _signed(blob, sent.message, sent.signature, data, collateral), _measured(sent, quote, values)


def _signed(blob: BlobId, message: bytes, signature: bytes, data: RunTimeData, collateral: Collateral) -> Step:
    name, source = StepName.SIGNATURE, tpm.SIGNATURE_SPEC
    if data.key is None:
        want = f"RSA of {hcl.MIN_RSA} to {hcl.MAX_RSA} bits with exponent {hcl.EXPONENT}, to sign with"
        why = Reason("attestation_key_invalid", "ak", data.fault, want, hcl.RUN_TIME_SPEC, "refuse it")
        return Step(name, Outcome.FAILED, f"attestation key: {data.fault}", hcl.RUN_TIME_SPEC, (why,))
    try:
        value = tpm.rsassa(signature, (data.key.key_size + 7) // 8)
    except tpm.UnsupportedAlgorithm as other:
        why = Reason("unsupported_algorithm", "tpm_quote", str(other), "RSASSA with SHA-256", source)
        return Step(name, Outcome.FAILED, str(other), source, (why,))
    except tpm.BadQuote as wrong:
        return _not_signed(str(wrong))
    checks, check = Checks(collateral.refused), ("tpm", blob)
    if not checks.may(check):
        return _not_signed("a signature that does not hold")
    try:
        data.key.verify(value, message, _PADDING, _SHA256)
    except InvalidSignature:
        checks.refuse(check)
        return _not_signed("a signature that does not hold")
    return _SIGNED


_SIGNED = Step(
    StepName.SIGNATURE, Outcome.PASSED, "TPM quote: RSASSA with SHA-256 by the attestation key", tpm.SIGNATURE_SPEC
)


def _not_signed(got: str) -> Step:
    want = f"a signature by {hcl.ATTESTATION_KEY} of the run-time data"
    remedy = "refuse it: these are not the bytes that the vTPM of this machine signed"
    why = Reason("signature_invalid", "tpm_quote", got, want, tpm.SIGNATURE_SPEC, remedy)
    return Step(StepName.SIGNATURE, Outcome.FAILED, f"TPM quote: {got}", tpm.SIGNATURE_SPEC, (why,))


def _measured(sent: Envelope, quote: TpmQuote, values: Mapping[int, bytes] | None) -> Step:
    name, source = StepName.BINDING, tpm.QUOTE_SPEC
    if sent.pcrs is None:
        why = Reason("pcrs_missing", "pcrs", None, "the values of the quoted PCRs", source, _SEND_QUOTE)
        return Step(name, Outcome.NOT_POSSIBLE, "no PCR values came", source, (why,))
    if values is None:
        got = f"{len(sent.pcrs)} values for {len(quote.pcrs)} quoted PCRs, with another digest"
        remedy = "send the values that were quoted: read them again if one was extended meanwhile, and quote again"
        why = Reason("pcr_digest_mismatch", "pcr_digest", got, quote.digest.hex(), source, remedy)
        return Step(name, Outcome.FAILED, "the PCR values are not those that were quoted", source, (why,))
    return Step(name, Outcome.PASSED, f"the digest of {len(quote.pcrs)} PCRs is the quoted one", source)


def _freshness(evidence: Evidence, quote: TpmQuote | None) -> Step:
    if quote is None:
        why = Reason("tpm_quote_missing", "tpm_quote", None, "a TPM quote with the challenge", tpm.SPEC, _SEND_QUOTE)
        detail = "no TPM quote came: nothing answers a challenge"
        return Step(StepName.FRESHNESS, Outcome.NOT_POSSIBLE, detail, tpm.SPEC, (why,))
    held = quote.extra_data.ljust(freshness.SIZE, b"\0")
    return freshness.step(held, evidence.challenge, tpm.SPEC, evidence.key, place=_EXTRA_DATA)


def _claims(
    evidence: Evidence, kind: Kind, native: AzureEvidence, part: Part | None, values: Mapping[int, bytes] | None
) -> Claims | None:
    """What the hardware report says, with what the run-time data and the quote add to it."""
    claims = part.proof.claims if part is not None else None
    if claims is None:
        return None
    data, quote = native.data, native.quote
    named = {"ak": data.ak, "ek": data.ek, "user_data": data.user_data, "vm_unique_id": data.vm_unique_id}
    measurements = {**claims.measurements, **{name: value for name, value in named.items() if value is not None}}
    for number, value in (values or {}).items():
        measurements[PCR_NAMES[number]] = value.hex()
    extra = quote.extra_data if quote is not None else b""
    key = None
    if evidence.key is not None and quote is not None:
        key = freshness.key(extra.ljust(freshness.SIZE, b"\0"), evidence.challenge, evidence.key)
    return replace(
        claims,
        format=kind.format,
        tee=kind.tee,
        instance=data.ak or claims.instance,
        report_data=extra,
        bits={**claims.bits, **data.flags},
        measurements=measurements,
        native=replace(native, part=claims.native),
        key=key,
    )


def replay_key(raw: bytes, proof: Proof) -> BlobId:
    """Over the quote's signed bytes, which name their key and hold the TPM's clock, in milliseconds.

    Nothing of the signature: RSASSA gives one for a message and a key (RFC 8017, 8.2).
    """
    try:
        message = envelope.read(raw).message
    except BadEnvelope:
        return proof.evidence
    return digest(message) if message is not None else proof.evidence


# -- for people


_HEADER = (
    ("hcl_version", "HCL report version", 4, 4),
    ("hcl_report_size", "HCL report size", 8, 4),
    ("hcl_request_type", "HCL request type", 12, 4),
    ("run_time_size", "Run-time data with their header, size", hcl.DATA, 4),
    ("run_time_version", "Run-time data version", hcl.DATA + 4, 4),
    ("report_type", "Hardware report type", hcl.DATA + 8, 4),
    ("hash_type", "Hash of the run-time data, type", hcl.DATA + 12, 4),
    ("run_time_length", "Run-time data, length", hcl.DATA + 16, 4),
)
"""Name, label, offset in the HCL report, length."""


def fields(raw: bytes, kind: Kind) -> tuple[Field, ...]:
    """Every claim with the characters of the JSON that hold it; empty where they cannot be parsed.

    The bytes lie in base64, hexadecimal or lists of numbers: a claim's place is that of the characters without which
    its bytes cannot be read, so two claims that are no multiple of three bytes apart share a character of base64.
    """
    try:
        sent = envelope.read(raw)
        places = envelope.places(raw)
        report = hcl.read(sent.hcl_report)
        data = hcl.run_time_data(report.data)
        quote = tpm.read(sent.message) if sent.message is not None else None
    except (BadEnvelope, hcl.BadReport, tpm.BadQuote):
        return ()
    inside = places["hcl_report"]
    found = [
        _at(inside, name, label, offset, size, int.from_bytes(sent.hcl_report[offset : offset + size], "little"))
        for name, label, offset, size in _HEADER
    ]
    found += _run_time_fields(report, data, inside)
    if quote is not None and sent.message is not None and sent.signature is not None:
        found += _quote_fields(quote, sent.message, places["message"])
        found.append(_at(places["signature"], "tpm_signature", "TPM quote: signature", 0, len(sent.signature),
                         sent.signature.hex()))  # fmt: skip
        numbers = range(tpm.PCRS) if len(sent.pcrs or ()) == tpm.PCRS else quote.pcrs
        for index, (number, value) in enumerate(zip(numbers, sent.pcrs or (), strict=False)):
            found.append(_at(places[f"pcrs.{index}"], f"pcr{number}", f"PCR {number}", 0, len(value), value.hex()))
    bytes_of = kind.bytes_of(sent, report)
    member, begin = kind.place
    for one in kind.fields(bytes_of) if bytes_of is not None else ():
        place = (one.offset + begin, one.length)
        found.append(_at(places[member], f"{kind.part}.{one.name}", one.label, *place, one.value))
    if sent.vcek is not None:
        found.append(_at(places["vcek"], "vcek", "Certificates for the report", 0, len(sent.vcek),
                         f"{len(sent.vcek)} bytes"))  # fmt: skip
    return tuple(sorted(found, key=lambda field: field.offset))


def _run_time_fields(report: HclReport, data: RunTimeData, inside: Place) -> Iterator[Field]:
    shown: list[tuple[str, str, str | None, Json]] = [
        ("ak", "Attestation key (thumbprint)", hcl.ATTESTATION_KEY, data.ak),
        ("ek", "Endorsement key (thumbprint)", hcl.ENCRYPTION_KEY, data.ek),
        ("vm_configuration", "Configuration of the virtual machine", "vm-configuration", data.configuration),
        ("vm_unique_id", "Id of the virtual machine", "vmUniqueId", data.vm_unique_id),
        ("user_data", "User data", "user-data", data.user_data),
    ]
    yield _at(inside, "run_time_data", "Run-time data (JSON)", hcl.JSON, len(report.data), f"{len(report.data)} bytes")
    for name, label, word, value in shown:
        start = report.data.find(f'"{word}"'.encode())
        if value is not None and start >= 0:  # from its name to the end of the member, or of its object
            end = min([e for mark in (b"},", b"}]", b"}}", b'","', b'"}') if (e := report.data.find(mark, start)) > 0],
                      default=len(report.data) - 1)  # fmt: skip
            yield _at(inside, name, label, hcl.JSON + start, end + 1 - start, value)


def _quote_fields(quote: TpmQuote, message: bytes, inside: Place) -> Iterator[Field]:
    signer, extra, at = len(quote.qualified_signer), len(quote.extra_data), quote.offset
    tail = len(message) - 34
    for name, label, offset, size, value in (
        ("tpm_type", "TPM quote: magic and type", 0, 6, message[:6].hex()),
        ("qualified_signer", "TPM quote: qualified name of the key", 8, signer, quote.qualified_signer.hex()),
        ("extra_data", "TPM quote: extraData", 10 + signer, extra, quote.extra_data.hex()),
        ("clock", "TPM quote: clock, ms", at, 8, quote.clock),
        ("reset_count", "TPM quote: resets", at + 8, 4, quote.reset_count),
        ("restart_count", "TPM quote: restarts", at + 12, 4, quote.restart_count),
        ("clock_safe", "TPM quote: clock is safe", at + 16, 1, quote.safe),
        ("tpm_firmware", "TPM quote: firmware version", at + 17, 8, f"{quote.firmware_version:016x}"),
        ("pcr_selection", "TPM quote: PCRs", at + 25, tail - at - 25, list(quote.pcrs)),
        ("pcr_digest", "TPM quote: digest of the PCRs", tail + 2, 32, quote.digest.hex()),
    ):
        if size:
            yield _at(inside, name, label, offset, size, value)


def _at(place: Place, name: str, label: str, offset: int, length: int, value: Json) -> Field:
    return Field(name, label, *place.of(offset, length), value)
