"""The layout of an AWS Nitro attestation document: a map in CBOR, signed as COSE_Sign1.

Source: AWS Nitro Enclaves, "Nitro Enclaves attestation process" (github.com/aws/aws-nitro-enclaves-nsm-api,
docs/attestation_process.md, and "Verifying the root of trust" in the user guide), 2.2 (specification), 3.1 (COSE) and
3.2.2 (syntactical validation). Every rule of 3.2.2 is checked, and every one that is broken is a Reason.

Where 2.2 and 3.2.2 differ, 3.2.2 counts, which is the narrower: `user_data` and `nonce` have at most 512 bytes (2.2:
1024). 3.2.2.1 says that no field may be null; the hypervisor writes null for optional fields that the enclave did not
give, in every document seen, and so does AWS's own library: for those alone null is as if the field were absent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ratchet import cbor, cose
from ratchet.cbor import BadCbor, Value
from ratchet.cose import BadCose, Sign1
from ratchet.event import Json
from ratchet.evidence.proof import Field, Format
from ratchet.reason import Reason
from ratchet.x509.certificate import BadCertificate, read_certificate

NITRO = Format("nitro")

SOURCE = "AWS Nitro Enclaves attestation process, 2.2 and 3.2"
SYNTAX = "AWS Nitro Enclaves attestation process, 3.2.2 (syntactical validation)"
COSE_SOURCE = "AWS Nitro Enclaves attestation process, 3.1 (COSE and CBOR)"

MANDATORY = ("module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle")
OPTIONAL = ("public_key", "user_data", "nonce")
_KNOWN = frozenset((*MANDATORY, *OPTIONAL))

MAX_PAYLOAD = 16384
"""Bytes of the document within the message (3.1)."""
SIGNATURE = 96
"""Bytes of an ES384 signature: r and s, 48 each (RFC 9053, 2.1)."""
MAX_PCRS = 32
PCR_SIZES = (32, 48, 64)
MAX_CERTIFICATE = 1024
MAX_BUNDLE = 15
"""Certificates of a CA bundle that are read; AWS gives no limit, and uses four."""
SIZES = {"public_key": (1, 1024), "user_data": (0, 512), "nonce": (0, 512)}
"""Least and most bytes of optional fields (3.2.2.2)."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = int((datetime(9999, 12, 31, tzinfo=UTC) - EPOCH).total_seconds()) * 1000
"""Milliseconds; later moments cannot be compared with others."""

PCR_NAMES = tuple(f"pcr{i}" for i in range(MAX_PCRS))
"""Names of `Claims.measurements`, by index."""

_REMEDY = "take a document from the Nitro Secure Module, and send it whole and unaltered"
_HEADER = {cose.ALGORITHM: cose.ES384}


class BadDocument(Exception):
    """The bytes are no attestation document; `detail` is for people, `reasons` say every rule that they break.

    `newer`: all that is wrong is a field that is not known here.
    """

    def __init__(self, detail: str, reasons: tuple[Reason, ...], *, newer: bool = False) -> None:
        super().__init__(detail)
        self.detail, self.reasons, self.newer = detail, reasons, newer


@dataclass(frozen=True, slots=True)
class Document:
    """An attestation document, in AWS's words.

    Attributes:
        message: the COSE_Sign1 message that it came in.
        module_id: of the enclave.
        digest: hash function of the PCRs.
        timestamp: when it was made, in milliseconds since 1970.
        pcrs: platform configuration registers by index.
        certificate: of the key that signed it, DER.
        cabundle: its issuers, DER, the root first.
        public_key, user_data, nonce: what the enclave asked to be signed; None where it did not.
    """

    message: Sign1
    module_id: str
    digest: str
    timestamp: int
    pcrs: Mapping[int, bytes]
    certificate: bytes
    cabundle: tuple[bytes, ...]
    public_key: bytes | None
    user_data: bytes | None
    nonce: bytes | None

    @property
    def made(self) -> datetime:
        """When it was made, by its own word."""
        return EPOCH + timedelta(milliseconds=self.timestamp)


def read(raw: bytes) -> Document:
    """An attestation document from its bytes.

    Raises:
        BadDocument: it is none; says every rule that it breaks.
    """
    try:
        message = cose.read_sign1(raw)
        fields = cbor.decode(message.payload)
    except (BadCose, BadCbor) as wrong:
        reason = Reason("evidence_unreadable", "parse", str(wrong), "a signed CBOR message", COSE_SOURCE, _REMEDY)
        raise BadDocument(str(wrong), (reason,)) from None
    if not isinstance(fields, dict):
        raise BadDocument("the payload is no map", (_wrong("payload", fields, "a map"),))
    faults = [*_message_faults(message), *_field_faults(fields)]
    if faults:
        raise BadDocument(f"{faults[0].component} is not as specified", tuple(faults))
    unknown = fields.keys() - _KNOWN
    if unknown:
        names = sorted(str(name)[:64] for name in unknown)
        reason = Reason("field_unknown", "document", names, sorted(_KNOWN), SYNTAX, "update Ratchet")
        raise BadDocument(f"a field that is not known here: {names[0]}", (reason,), newer=True)
    return Document(
        message,
        fields["module_id"],
        fields["digest"],
        fields["timestamp"],
        fields["pcrs"],
        fields["certificate"],
        tuple(fields["cabundle"]),
        fields.get("public_key"),
        fields.get("user_data"),
        fields.get("nonce"),
    )


def _message_faults(message: Sign1) -> Iterator[Reason]:
    """3.1: the protected header says ES384 and nothing else, the unprotected one nothing."""
    if message.header != _HEADER:
        algorithm = message.header.get(cose.ALGORITHM)
        if algorithm != cose.ES384:
            got = algorithm if isinstance(algorithm, int | str) else None
            yield Reason("unsupported_algorithm", "algorithm", got, "-35 (ES384)", COSE_SOURCE, _REMEDY)
        else:
            yield _wrong("protected", f"{len(message.header)} parameters", "alg alone", COSE_SOURCE)
    if message.unprotected:
        yield _wrong("unprotected", f"{len(message.unprotected)} parameters", "none", COSE_SOURCE)
    if not 1 <= len(message.payload) <= MAX_PAYLOAD:
        yield _wrong("payload", message.payload, f"1 to {MAX_PAYLOAD} bytes", COSE_SOURCE)
    if len(message.signature) != SIGNATURE:
        yield _wrong("signature", message.signature, f"{SIGNATURE} bytes", COSE_SOURCE)


def _field_faults(fields: Mapping[Hashable, Value]) -> Iterator[Reason]:
    """3.2.2.1 and 3.2.2.2."""
    for name in MANDATORY:
        if fields.get(name) is None:
            want = f"{name}, not null"
            yield Reason("field_missing", name, "null" if name in fields else None, want, SYNTAX, _REMEDY)
    module, digest, timestamp = fields.get("module_id"), fields.get("digest"), fields.get("timestamp")
    if module is not None and (not isinstance(module, str) or not module):
        yield _wrong("module_id", module, "text that is not empty")
    if digest is not None and digest != "SHA384":
        yield _wrong("digest", digest, "SHA384")
    if timestamp is not None and not (isinstance(timestamp, int) and 0 < timestamp <= _LAST and timestamp is not True):
        yield _wrong("timestamp", timestamp, "milliseconds since 1970, above 0")
    yield from _pcr_faults(fields.get("pcrs"))
    certificate = fields.get("certificate")
    if certificate is not None and not _fits(certificate, 1, MAX_CERTIFICATE):
        yield _wrong("certificate", certificate, f"1 to {MAX_CERTIFICATE} bytes")
    yield from _bundle_faults(fields.get("cabundle"))
    for name, (least, most) in SIZES.items():
        value = fields.get(name)
        if value is not None and not _fits(value, least, most):
            yield _wrong(name, value, f"{least} to {most} bytes")


def _pcr_faults(pcrs: Value) -> Iterator[Reason]:
    if pcrs is None:
        return
    if not isinstance(pcrs, dict) or not 1 <= len(pcrs) <= MAX_PCRS:
        yield _wrong("pcrs", pcrs, f"a map of 1 to {MAX_PCRS} registers")
        return
    for index, value in pcrs.items():
        if not isinstance(index, int) or not 0 <= index < MAX_PCRS:
            yield _wrong("pcrs", index, f"an index of 0 to {MAX_PCRS - 1}")
        elif not isinstance(value, bytes) or len(value) not in PCR_SIZES:
            yield _wrong(f"pcr{index}", value, "32, 48 or 64 bytes")


def _bundle_faults(bundle: Value) -> Iterator[Reason]:
    if bundle is None:
        return
    if not isinstance(bundle, list) or not 1 <= len(bundle) <= MAX_BUNDLE:
        yield _wrong("cabundle", bundle, f"1 to {MAX_BUNDLE} certificates")
        return
    for i, one in enumerate(bundle):
        if not _fits(one, 1, MAX_CERTIFICATE):
            yield _wrong(f"cabundle_{i}", one, f"1 to {MAX_CERTIFICATE} bytes")


def _fits(value: Value, least: int, most: int) -> bool:
    return isinstance(value, bytes) and least <= len(value) <= most


def _wrong(component: str, got: Value, want: Json, source: str = SYNTAX) -> Reason:
    return Reason("field_not_as_specified", component, _said(got), want, source, _REMEDY)


def _said(value: Value) -> Json:
    """What was found, for people."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, str):
        return value[:64]
    if isinstance(value, int | float):
        return str(value)[:64]
    return f"{len(value)} entries" if isinstance(value, list | dict) else type(value).__name__


def extended(text: str) -> bytes:
    """A PCR into which one text was measured: zeros, then the text (user guide, as `_PCR_LABELS`; of PCR3 and PCR4)."""
    return hashlib.sha384(bytes(48) + text.encode()).digest()


def fields(raw: bytes) -> tuple[Field, ...]:
    """Every claim with its place in the bytes; empty where they are no document that can be read."""
    try:
        document = read(raw)
    except BadDocument:
        return ()
    outer: cbor.Places = {}
    cbor.decode(raw, outer)
    if (2,) not in outer or outer[2,][1] - outer[2,][0] != len(document.message.payload):
        return ()  # a payload in pieces, which nobody makes: its claims lie in no one place
    inner: cbor.Places = {}
    cbor.decode(document.message.payload, inner)
    base = outer[2,][0]
    found = [_placed("protected", "Protected header (ES384)", outer[0,], 0, document.message.protected.hex())]
    for name, label, value in _shown(document):
        path: cbor.Path = (name,)
        if name in PCR_NAMES:
            path = ("pcrs", PCR_NAMES.index(name))
        elif name.startswith("cabundle_"):
            path = ("cabundle", int(name.partition("_")[2]))
        found.append(_placed(name, label, inner[path], base, value))
    found.append(_placed("signature", "Signature, r and s", outer[3,], 0, document.message.signature.hex()))
    return tuple(sorted(found, key=lambda one: one.offset))


def _placed(name: str, label: str, place: tuple[int, int], base: int, value: Json) -> Field:
    return Field(name, label, base + place[0], place[1] - place[0], value)


def _shown(document: Document) -> Iterator[tuple[str, str, Json]]:
    """Name, label and value of every claim within the payload."""
    yield "module_id", "Module ID (parent instance and enclave)", document.module_id
    yield "digest", "Hash function of the PCRs", document.digest
    yield "timestamp", "Made at", document.made.isoformat()
    for index, value in document.pcrs.items():
        yield PCR_NAMES[index], _PCR_LABELS.get(index, f"PCR{index}"), value.hex()
    yield "certificate", "Certificate of the signing key", _certificate(document.certificate)
    for i, one in enumerate(document.cabundle):
        yield f"cabundle_{i}", "CA bundle, root" if i == 0 else f"CA bundle, intermediate {i}", _certificate(one)
    for name, label, chosen in (
        ("public_key", "Public key of the enclave", document.public_key),
        ("user_data", "User data", document.user_data),
        ("nonce", "Nonce", document.nonce),
    ):
        if chosen is not None:
            yield name, label, chosen.hex()


_PCR_LABELS = {
    0: "PCR0 (enclave image)",
    1: "PCR1 (kernel and boot ramfs)",
    2: "PCR2 (application)",
    3: "PCR3 (IAM role of the parent instance)",
    4: "PCR4 (id of the parent instance)",
    8: "PCR8 (certificate that signed the image)",
}
"""What AWS measures where (user guide, "Where to get an enclave's measurements")."""


def _certificate(der: bytes) -> Json:
    try:
        one = read_certificate(der)
    except BadCertificate as wrong:
        return {"unreadable": str(wrong)}
    return {
        "subject": one.subject_name,
        "not_before": one.not_before.isoformat(),
        "not_after": one.not_after.isoformat(),
    }
