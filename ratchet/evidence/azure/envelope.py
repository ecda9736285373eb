"""The JSON that carries Azure's evidence: Trustee's forms, as agents in the field send them, and one of our own.

| form | told by | `hcl_report`, `td_quote`, `vcek` | members of the TPM quote |
|---|---|---|---|
| Ratchet's | no `version`; text | base64url | base64url |
| Trustee's, version 1 and 2 | `version` | base64url; `vcek` is DER | hexadecimal |
| Trustee's, version 0 | no `version`; arrays | arrays of numbers; `vcek` is PEM | arrays of numbers |

Version 0 of SNP evidence has other names: `report` and `quote`. In version 2 the guest also put the challenge into the
`user-data` of the run-time data; the form is that of version 1. Base64 may have its padding or not. Members that are
not named here are passed over.

Sources: docs/formats.md, Azure vTPM; confidential-containers/guest-components, attester/src/az_snp_vtpm and
az_tdx_vtpm (what is sent); confidential-containers/trustee, deps/verifier, their `compat.rs` (what is read).
"""

from __future__ import annotations

import re
from binascii import Error as NotBase64
from binascii import a2b_base64
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ratchet.event import Json
from ratchet.evidence.azure.strict_json import BadJson, read_object

VERSIONS = (1, 2)
"""Of Trustee's form, where it names one."""

MAX_HCL_REPORT = 16 * 1024
"""Bytes. The vTPM's NV index holds 2600 of them."""

MAX_PIECE = 16 * 1024
"""Bytes of any other member; the largest real one is a TD quote of 5006."""

MAX_QUOTE = 1024
"""Bytes of a TPM quote, and of its signature: a TPMS_ATTEST of one bank has below 200, RSA-4096 signs with 512."""

PCRS = 24
"""Registers of a PC Client TPM (TCG PC Client Platform TPM Profile 1.05, 4.6.1)."""

PCR_SIZE = 32
"""Bytes of one in the SHA-256 bank."""


class BadEnvelope(ValueError):
    """Not JSON in any of the forms; says why."""


class UnknownVersion(BadEnvelope):
    """A form that names a version which is not read here."""

    def __init__(self, version: Json) -> None:
        super().__init__(f"evidence of version {version!r} is not known here")
        self.version = version


class Envelope(NamedTuple):
    """What came in it, decoded.

    Attributes:
        form: for people.
        hcl_report: the HCL report.
        message, signature: of the TPM quote; None where none came.
        pcrs: values of the PCRs, in order of their numbers; None where none came.
        td_quote: a TD quote; None where none came.
        vcek: certificates, DER or PEM; None where none came.
    """

    form: str
    hcl_report: bytes
    message: bytes | None
    signature: bytes | None
    pcrs: tuple[bytes, ...] | None
    td_quote: bytes | None
    vcek: bytes | None


def looks_like_one(raw: bytes) -> bool:
    """May these bytes be such JSON? A look at them that costs little."""
    return raw[:1] in (b"{", b" ", b"\n", b"\r", b"\t") and (b'"hcl_report"' in raw or b'"report"' in raw)


def read(raw: bytes) -> Envelope:
    """Decode it.

    Raises:
        BadEnvelope: it is in none of the forms.
        UnknownVersion: it is of a version that is not read here.
    """
    try:
        data = read_object(raw)
    except BadJson as wrong:
        raise BadEnvelope(str(wrong)) from None
    form = _form(data)
    quote = data.get(form.quote)
    if quote is not None and not isinstance(quote, dict):
        raise BadEnvelope(f"{form.quote} is not an object")
    parts: Mapping[str, Json] = quote or {}
    if quote is not None and not {"message", "signature"} <= parts.keys():
        raise BadEnvelope(f"{form.quote} has no message or no signature")
    report = _decoded(data, form.report, form.decode, MAX_HCL_REPORT)
    if report is None:
        raise BadEnvelope(f"no {form.report}")
    return Envelope(
        form.words,
        report,
        _decoded(parts, "message", form.decode_quote, MAX_QUOTE),
        _decoded(parts, "signature", form.decode_quote, MAX_QUOTE),
        _pcrs(parts.get("pcrs"), form.decode_quote),
        _decoded(data, "td_quote", form.decode, MAX_PIECE),
        _decoded(data, "vcek", form.decode_vcek, MAX_PIECE),
    )


_Decode = Callable[[Json], bytes]


class _Form(NamedTuple):
    words: str
    report: str
    quote: str
    decode: _Decode
    decode_quote: _Decode
    decode_vcek: _Decode


def _form(data: Mapping[str, Json]) -> _Form:
    version = data.get("version")
    if version is not None:
        if type(version) is not int or version not in VERSIONS:
            raise UnknownVersion(version)
        return _Form(f"Trustee's form, version {version}", "hcl_report", "tpm_quote", _base64url, _hex, _base64url)
    if isinstance(data.get("report"), list):
        return _Form("Trustee's form, version 0", "report", "quote", _numbers, _numbers, _pem)
    if isinstance(data.get("hcl_report"), list):
        return _Form("Trustee's form, version 0", "hcl_report", "tpm_quote", _numbers, _numbers, _pem)
    return _Form("Ratchet's form", "hcl_report", "tpm_quote", _base64url, _base64url, _base64url)


def _decoded(data: Mapping[str, Json], name: str, decode: _Decode, most: int) -> bytes | None:
    value = data.get(name)
    if value is None:
        return None
    try:
        found = decode(value)
    except (ValueError, TypeError) as wrong:
        raise BadEnvelope(f"{name}: {wrong}") from None
    if len(found) > most:
        raise BadEnvelope(f"{name} has {len(found)} bytes, at most {most}")
    return found


def _pcrs(values: Json, decode: _Decode) -> tuple[bytes, ...] | None:
    if values is None:
        return None
    if not isinstance(values, list) or len(values) > PCRS:
        raise BadEnvelope(f"pcrs is not a list of at most {PCRS} values")
    try:
        if decode is _base64url and all(isinstance(value, str) and len(value) == _TEXT_OF_A_PCR for value in values):
            # All in one go, which is faster: 43 characters and a zero stand for 33 bytes.
            row = decode("".join([value + "A" for value in values]))
            return tuple([row[at : at + PCR_SIZE] for at in range(0, len(row), PCR_SIZE + 1)])
        found = tuple([decode(value) for value in values])
    except (ValueError, TypeError) as wrong:
        raise BadEnvelope(f"pcrs: {wrong}") from None
    if any(len(value) != PCR_SIZE for value in found):
        raise BadEnvelope(f"pcrs: a value has not {PCR_SIZE} bytes, which those of the SHA-256 bank have")
    return found


_TEXT_OF_A_PCR = 43
"""Characters of one in base64url without padding (RFC 4648, 5)."""

_STANDARD = bytes.maketrans(b"-_+/", b"+/!!")
"""From base64url's alphabet to that of base64; what base64url has not becomes what base64 has not."""

_PADDING = (b"", b"", b"==", b"=")
"""By the length of the text, modulo 4; a text of 4n+1 characters stands for no bytes, and is refused by the decoder."""


def _base64url(value: Json) -> bytes:
    if not isinstance(value, str):
        raise ValueError("not text in base64url")
    text = value.encode().translate(_STANDARD).rstrip(b"=")
    try:
        return a2b_base64(text + _PADDING[len(text) & 3], strict_mode=True)
    except NotBase64 as wrong:
        raise ValueError(f"not base64url: {wrong}") from None


def _hex(value: Json) -> bytes:
    if not isinstance(value, str):
        raise ValueError("not text in hexadecimal")
    found = bytes.fromhex(value)
    if 2 * len(found) != len(value):
        raise ValueError("spaces between hexadecimal digits")
    return found


def _numbers(value: Json) -> bytes:
    if not isinstance(value, list) or any(type(one) is not int for one in value):
        raise ValueError("not a list of whole numbers")
    return bytes(value)


def _pem(value: Json) -> bytes:
    if not isinstance(value, str):
        raise ValueError("not PEM text")
    return value.encode("ascii", "strict")


class Place(NamedTuple):
    """Where bytes of a member lie in the text of the evidence.

    Attributes:
        start: of the member's text.
        length: of all of it.
        each: characters for a number of bytes: (4, 3) in base64, (2, 1) in hexadecimal; None where the bytes cannot be
            told apart in the text.
        numbers: where each byte is a number by itself: start and end of each.
    """

    start: int
    length: int
    each: tuple[int, int] | None = None
    numbers: tuple[tuple[int, int], ...] = ()

    def of(self, offset: int, length: int) -> tuple[int, int]:
        """Offset and length of the characters that hold these bytes of the member; of all of it where none do alone."""
        if self.numbers and 0 < offset + length <= len(self.numbers) and length:
            start, end = self.numbers[offset][0], self.numbers[offset + length - 1][1]
            return start, end - start
        if self.each is None:
            return self.start, self.length
        characters, size = self.each
        start, end = offset * characters // size, -(-(offset + length) * characters // size)
        return self.start + start, min(end, self.length) - start


def places(raw: bytes) -> Mapping[str, Place]:
    """Where each member's bytes are in the text: `hcl_report`, `message`, `signature`, `td_quote`, `vcek`, `pcrs.0`...

    For people: a text whose letters are escaped, which no agent writes, is shown as one whole.

    Raises:
        BadEnvelope: as `read`.
    """
    read(raw)
    data = read_object(raw)
    form = _form(data)
    quote: Mapping[str, Json] = data.get(form.quote) or {}
    found = {
        "hcl_report": _place(raw, form.report, data[form.report], form.decode),
        "td_quote": _place(raw, "td_quote", data.get("td_quote"), form.decode),
        "vcek": _place(raw, "vcek", data.get("vcek"), form.decode_vcek),
    }
    for name in ("message", "signature"):
        found[name] = _place(raw, name, quote.get(name), form.decode_quote)
    begin = raw.find(b'"pcrs"')
    for index, value in enumerate(quote.get("pcrs") or ()):
        found[f"pcrs.{index}"] = place = _place(raw, "pcrs", value, form.decode_quote, begin)
        begin = place.start + place.length
    return found


def _place(raw: bytes, name: str, value: Json, decode: _Decode, begin: int = 0) -> Place:
    whole = Place(0, len(raw))
    if isinstance(value, str):
        start = raw.find(b'"' + value.encode("utf-8", "replace") + b'"', max(begin, 0))
        each = (4, 3) if decode is _base64url else (2, 1) if decode is _hex else None
        return whole if start < 0 else Place(start + 1, len(value), each)
    if isinstance(value, list):
        start = begin if begin > 0 and name == "pcrs" else raw.find(b'"' + name.encode() + b'"')
        numbers = [one.span() for one, _ in zip(_NUMBER.finditer(raw, max(start, 0)), value, strict=False)]
        if numbers and len(numbers) == len(value):
            return Place(numbers[0][0], numbers[-1][1] - numbers[0][0], None, tuple(numbers))
    return whole


_NUMBER = re.compile(rb"\d+")
