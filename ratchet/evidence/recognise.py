"""Names for attestation formats that Ratchet knows but does not verify yet, told from their first bytes.

For people alone: a sender of a CCA token should read "Arm CCA attestation token: not supported yet", not that its bytes
are of no known format. Nothing is verified here, and no verdict rests on it.
"""

from __future__ import annotations

import json
from binascii import Error as NotBase64
from collections.abc import Mapping
from typing import NamedTuple

from ratchet.event import Json

MAX_RECOGNISED = 512 * 1024
"""Bytes of JSON or XML that are looked at; larger ones are not named."""


class Recognised(NamedTuple):
    """What bytes are.

    Attributes:
        name: the format, in its vendor's words.
        evidence: whether it is evidence or an attestation token; else it is something that belongs beside evidence.
        next: what its sender can do, imperative.
    """

    name: str
    evidence: bool = True
    next: str = "send a format that docs/formats.md lists, or wait for a version that reads this one"


_CERTIFICATE = Recognised(
    "X.509 certificate", False, "send it beside the evidence, as an endorsement, not in its place"
)
_COLLATERAL = Recognised("vendor document", False, "give it to `ratchet ingest`, or to `ratchet verify --collateral`")
_RIM = Recognised("reference integrity manifest (SWID tag)", False)
_QUOTE_WITHIN = "send the report or quote that is inside it by itself, as bytes"
_HCL = Recognised(
    "Azure HCL report ({}) without its TPM quote",
    False,
    "send it in JSON with the TPM quote, the PCR values, and the VCEK or TD quote: docs/formats.md, Azure vTPM",
)
_AZURE = Recognised(
    "Azure vTPM evidence (JSON) in no form that is known", next="send a form of docs/formats.md, Azure vTPM"
)


def recognise(raw: bytes) -> Recognised | None:
    """What the bytes are, where they are of a known format that Ratchet does not verify; None where nobody knows.

    Sources, per format: see each branch's helper.
    """
    for look in (_magic, _event_log, _cbor, _text):
        if (found := look(raw)) is not None:
            return found
    return None


def _magic(raw: bytes) -> Recognised | None:
    """Formats with a magic number at their beginning."""
    if raw.startswith(b"HCLA"):  # Azure CVM guest attestation design, "HCL report": magic; request type at offset 12
        kind = {2: "SEV-SNP", 4: "TDX"}.get(int.from_bytes(raw[12:16], "little"))
        if len(raw) >= 0x4CC:  # the type in the run-time data's header says it too, where that is there
            kind = {2: "SEV-SNP", 4: "TDX"}.get(int.from_bytes(raw[0x4C8:0x4CC], "little"), kind)
        return _HCL._replace(name=_HCL.name.format(kind or "confidential virtual machine"))
    if raw.startswith(b"\xffTCG"):  # TPM 2.0 Library part 2, 10.12.12 TPMS_ATTEST: TPM_GENERATED, then its type
        return Recognised("TPM quote" if raw[4:6] == b"\x80\x18" else "TPM attestation structure")
    if raw[:4] == b"\x11\xe0\x01\xff" and raw[37:39] == b"\x11\x60":  # DMTF DSP0274 1.1: GET_MEASUREMENTS, MEASUREMENTS
        return Recognised("NVIDIA GPU or switch attestation report (SPDM measurements)")
    if raw[:4] in (b"\x00\x14\x00\x0b", b"\x00\x14\x00\x0c", b"\x00\x18\x00\x0b", b"\x00\x18\x00\x0c"):
        return Recognised("TPM signature", False)  # TPM 2.0 Library part 2, 11.3.4 TPMT_SIGNATURE: RSASSA or ECDSA
    if raw[:2] == b"\x30\x82" and int.from_bytes(raw[2:4], "big") + 4 == len(raw):
        return _CERTIFICATE if b"\x06\x03\x55\x04" in raw[:512] else Recognised("ASN.1 DER structure", False)
    return None


def _event_log(raw: bytes) -> Recognised | None:
    """TCG event logs: PCR (or MR) index, event type, SHA-1 digest, size (TCG PC Client PFP, 10)."""
    index, type = int.from_bytes(raw[:4], "little"), int.from_bytes(raw[4:8], "little")
    if type == 3 and raw[32:47] == b"Spec ID Event03":
        return Recognised("event log of a confidential virtual machine (CCEL)" if index else "TCG event log")
    place = 0
    for _ in range(3):  # the older form has no header: three plausible events in a row
        index, type = (int.from_bytes(raw[place + i : place + i + 4], "little") for i in (0, 4))
        size = int.from_bytes(raw[place + 28 : place + 32], "little")
        if place + 32 + size > len(raw) or index > 23 or not (0 < type < 0x20 or 0x8000_0000 < type < 0x8000_0100):
            return None
        place += 32 + size
    return Recognised("TCG event log")


def _head(raw: bytes, place: int) -> tuple[int, int, int] | None:
    """Major type, argument and what follows, of the CBOR data item there (RFC 8949, 3); None at the end."""
    if place >= len(raw):
        return None
    major, low = raw[place] >> 5, raw[place] & 31
    if low < 24 or low == 31:
        return major, low, place + 1
    size = 1 << (low - 24) if low < 28 else 0
    if not size or place + 1 + size > len(raw):
        return None
    return major, int.from_bytes(raw[place + 1 : place + 1 + size], "big"), place + 1 + size


def _cbor(raw: bytes) -> Recognised | None:
    """Formats in CBOR: COSE_Sign1 (RFC 9052, 4.2) by what it holds, CCA tokens, CoRIM and CMW."""
    head = _head(raw, 0)
    if head is None:
        return None
    if head[:2] == (6, 399):  # draft-ffm-rats-cca-token: a CMW collection of platform (44234) and realm (44241) tokens
        return Recognised("Arm CCA attestation token")
    if head[:2] == (6, 501):  # draft-ietf-rats-corim: unsigned-corim-map
        return Recognised("CoRIM (reference values and endorsements)", False)
    if head[:2] == (6, 18):
        head = _head(raw, head[2])
    if head is not None and head[:2] == (4, 4):
        protected = _head(raw, head[2])
        if protected is not None and protected[0] == 2:
            header = raw[protected[2] : protected[2] + protected[1]]
            return _signed(header, raw[protected[2] + protected[1] : 4096])
    return _message_wrapper(raw)


def _signed(header: bytes, rest: bytes) -> Recognised | None:
    """COSE_Sign1, by its protected header and the beginning of its payload."""
    if b"nitrotpm_pcrs" in rest:  # AWS EC2 user guide, "Validate a NitroTPM Attestation Document"
        return Recognised("AWS NitroTPM attestation document")
    if b"module_id" in rest[:64] or b"cabundle" in rest:
        return None  # a document of Nitro Enclaves, which is read
    if b"rim+cbor" in header or b"corim" in header:  # draft-ietf-rats-corim, COSE content type
        return Recognised("signed CoRIM (reference values and endorsements)", False)
    if b"cmw" in header or b"cmw" in rest[:64] or (len(rest) < 16 and b"ta" in header):
        return Recognised("signed RATS conceptual message wrapper (CMW)")
    # RFC 9783: psa-implementation-id is 2396; profile 1 of draft-tschofenig-rats-psa-token used -75000 to -75010.
    if b"\x19\x09\x5c" in rest or b"\x3a\x00\x01\x24" in rest or b"arm.com/psa" in rest:
        return Recognised("Arm PSA attestation token")
    return Recognised("signed CBOR message (COSE_Sign1)")


def _message_wrapper(raw: bytes) -> Recognised | None:
    """A CMW record, or a collection whose first member is one (draft-ietf-rats-msg-wrap): [type, bytes, ?indicator]."""
    head = _head(raw, 0)
    if head is not None and head[0] == 5 and 0 < head[1] < 24:
        key = _head(raw, head[2])
        if key is None or key[0] not in (0, 1, 3):
            return None
        head = _head(raw, key[2] + (key[1] if key[0] == 3 else 0))
    if head is None or head[0] != 4 or head[1] not in (2, 3):
        return None
    type = _head(raw, head[2])
    if type is None or type[0] not in (0, 2, 3):
        return None
    text = raw[type[2] : type[2] + type[1]] if type[0] == 3 else b""
    value = _head(raw, type[2] + (type[1] if type[0] else 0))
    plausible = b"/" in text if type[0] == 3 else (value is not None and value[0] == 2) or type[0] == 2
    return Recognised("RATS conceptual message wrapper (CMW)", next=_QUOTE_WITHIN) if plausible else None


def _text(raw: bytes) -> Recognised | None:
    """Formats that are text: tokens, JSON, XML and PEM."""
    if len(raw) > MAX_RECOGNISED:
        return None
    text = raw.strip()
    if text.startswith(b"<") and b"<SoftwareIdentity" in text[:512]:  # ISO/IEC 19770-2, as NVIDIA publishes its RIMs
        return _RIM
    if text.startswith(b"-----BEGIN "):
        return _CERTIFICATE if b"CERTIFICATE" in text[:40] else Recognised("PEM text", False)
    if text[:1] in (b"{", b"["):
        try:
            return _json(json.loads(text))
        except (ValueError, RecursionError):
            return None
    return _token(text)


def _token(text: bytes) -> Recognised | None:
    """A JSON Web Token (RFC 7519), by who issued it and what it says."""
    parts = text.split(b".")
    if len(parts) != 3 or not parts[0].startswith(b"ey"):
        return None
    try:
        claims = json.loads(_base64url(parts[1]))
    except (ValueError, RecursionError):
        return None
    return _claims(claims) if isinstance(claims, dict) else None


def _base64url(text: bytes) -> bytes:
    from base64 import urlsafe_b64decode

    try:
        return urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except NotBase64 as error:
        raise ValueError("not base64url") from error


def _claims(claims: Mapping[str, Json]) -> Recognised:
    issuer, profile = str(claims.get("iss", "")), str(claims.get("eat_profile", ""))
    if "x-ms-attestation-type" in claims or ".attest.azure.net" in issuer:
        return Recognised("Microsoft Azure Attestation token (JWT)")
    if issuer == "https://confidentialcomputing.googleapis.com" or "confidential-computing" in profile:
        return Recognised("Google Confidential Space token (JWT)")
    if any(name.startswith(("amber_", "tdx_mr", "sgx_mr")) for name in claims) or "trustauthority" in issuer:
        return Recognised("Intel Trust Authority token (JWT)")
    if issuer.startswith("https://nras.attestation.nvidia.com"):
        return Recognised("NVIDIA Remote Attestation Service token (JWT)")
    if ("submods" in claims and ("ear.verifier-id" in claims or "/ear" in profile)) or "veraison" in " ".join(claims):
        return Recognised("EAR attestation result (JWT)")
    return Recognised("Entity Attestation Token (JWT)" if profile or "eat_nonce" in claims else "JSON Web Token")


def _json(value: Json) -> Recognised | None:
    if isinstance(value, list):
        # RFC 9711, 4.2.18.2: a detached EAT bundle is ["JWT", token] and the claims sets that it digests.
        if value and isinstance(value[0], list) and value[0][:1] == ["JWT"]:
            token = str(value[0][1]).encode() if len(value[0]) > 1 else b""
            if (issued := _token(token)) is not None and "NVIDIA" in issued.name:
                return Recognised("NVIDIA Remote Attestation Service token (detached EAT)")
            return Recognised("Entity Attestation Token (detached bundle)")
        wrapper = len(value) in (2, 3) and isinstance(value[0], str) and "/" in value[0]
        return Recognised("RATS conceptual message wrapper (CMW)", next=_QUOTE_WITHIN) if wrapper else None
    if not isinstance(value, dict):
        return None
    if "tpm_quote" in value or "hcl_report" in value:
        return _AZURE
    if {"tcb_info", "tcbInfo", "enclaveIdentity", "qe_identity"} & value.keys():
        return _COLLATERAL
    if isinstance(value.get("keys"), list):
        return Recognised("JSON Web Key Set", False)
    if "auxblob" in value or "outblob" in value:  # Linux configfs-tsm, Documentation/ABI/testing/configfs-tsm-report
        return Recognised("configfs-tsm report (JSON)", next="send its `outblob`, decoded, and its `auxblob` after it")
    if "eat_nonce" in value or "eat_profile" in value:
        return Recognised("unsigned EAT claims (JSON)")
    if value and all(isinstance(inner, list) and _json(inner) is not None for inner in value.values()):
        return Recognised("RATS conceptual message wrapper (CMW)", next=_QUOTE_WITHIN)
    return None
