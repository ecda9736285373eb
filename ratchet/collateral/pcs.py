"""Where Intel's statements are in a document: the forms in which PCS answers are kept, taken apart, not judged.

- bundles as verifiers store them: flat JSON with `tcb_info`, `qe_identity`, their signatures and issuer chains,
  `pck_crl`, `root_ca_crl`; names in any case, with or without underscores; several platforms in a list `platforms`;
- one PCS answer, `{"tcbInfo": {...}, "signature": "..."}` or with `enclaveIdentity`, with its issuer chain beside it in
  the same object (`issuerChain`, or the header's own name), or in `headers` beside a `body`, URL-encoded or not;
- a CRL in DER, or in PEM with the certificates of its issuer.

What a signature covers is the exact text of the inner JSON object as it came, so it is cut out of the document and
never written anew (PCS API v4, "Get TCB Info": "signature calculated over tcbInfo body without whitespaces").
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from ratchet.event import Json
from ratchet.x509.chain import BadCertificate, pem_blocks

MAX_DOCUMENT = 4 * 1024 * 1024
MAX_PLATFORMS = 256
"""In one document; Intel has published fewer than a hundred FMSPCs."""

TCB_INFO, QE_IDENTITY, CRL = "tcb_info", "qe_identity", "crl"


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, not yet judged.

    Attributes:
        what: `TCB_INFO`, `QE_IDENTITY` or `CRL`.
        value: what `signed` says, parsed; None for a CRL, and where it is no JSON.
        signed: the bytes that the signature covers; of a CRL the whole DER, or what stands in its place.
        named: whether the document calls it so; a file that merely looks like a CRL may be somebody else's.
        signature: 64 bytes, r and s; empty where it is missing or malformed, and for a CRL, which holds its own.
        chain: certificates that came with it, as PEM; empty where none did.
    """

    what: str
    value: Json
    signed: bytes
    signature: bytes
    chain: bytes
    named: bool = True


class NotIntel(ValueError):
    """The document has nothing of Intel's in it, or not in a way that can be read one way only."""


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """An object whose members have a name each: of two of one name, readers take different ones (RFC 8259, 4)."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("two members of one object have the same name")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)
_SPACE = " \t\r\n"
_OPEN = re.compile(r"[ \t\r\n]*\{[ \t\r\n]*(\})?")
_NAME = re.compile(r'[ \t\r\n]*"([^"\\\x00-\x1f]*)"[ \t\r\n]*:[ \t\r\n]*')
_BEHIND = re.compile(r"[ \t\r\n]*([,}])")
"""What is around the members of an object. A name with an escape in it is none that is looked for: refused."""

_INNER = {"tcbinfo": TCB_INFO, "enclaveidentity": QE_IDENTITY, "qeidentity": QE_IDENTITY, "qveidentity": QE_IDENTITY}
"""Names under which the signed objects stand, and what they are."""

_CHAINS = {
    TCB_INFO: ("tcbinfoissuerchain", "sgxtcbinfoissuerchain", "issuerchain"),
    QE_IDENTITY: (
        "qeidentityissuerchain",
        "enclaveidentityissuerchain",
        "sgxenclaveidentityissuerchain",
        "issuerchain",
    ),
    CRL: ("pckcrlissuerchain", "sgxpckcrlissuerchain", "issuerchain"),
}


def statements(document: bytes) -> tuple[Statement, ...]:
    """What there is in the document, in its order.

    Raises:
        NotIntel: nothing.
    """
    if len(document) > MAX_DOCUMENT:
        raise NotIntel(f"{len(document)} bytes, at most {MAX_DOCUMENT} are read")
    start = document[:64].lstrip()
    try:
        if start.startswith(b"{"):
            found = tuple(_of_object(document.decode("utf-8"), {}, nested=False))
        elif start.startswith(b"-----BEGIN "):
            found = tuple(
                Statement(CRL, None, crl, b"", document, named=False) for crl in pem_blocks(document, b"X509 CRL")
            )
        else:
            found = (Statement(CRL, None, document, b"", b"", named=False),) if document[:1] == b"\x30" else ()
    except (BadCertificate, RecursionError, ValueError) as error:
        raise NotIntel(str(error)) from None
    if not found:
        raise NotIntel("no TCB info, identity or revocation list")
    return found


@dataclass(frozen=True, slots=True)
class _Member:
    """A member of a JSON object, and where its value stands in the text."""

    value: Json
    start: int
    end: int


def _members(text: str) -> dict[str, _Member]:
    """The members of the object that fills `text`, by name in small letters, without - and _.

    Raises:
        ValueError: not one object, or two members whose names come out equal.
    """
    found: dict[str, _Member] = {}
    begin = _OPEN.match(text)
    if begin is None:
        raise ValueError("not a JSON object")
    at, more = begin.end(), begin.group(1) is None
    while more:
        name = _NAME.match(text, at)
        if name is None:
            raise ValueError("malformed JSON object")
        value, end = _DECODER.raw_decode(text, name.end())
        key = _plain(name.group(1))
        if key in found:
            raise ValueError(f"two members are called {key}")
        found[key] = _Member(value, name.end(), end)
        behind = _BEHIND.match(text, end)
        if behind is None:
            raise ValueError("malformed JSON object")
        at, more = behind.end(), behind.group(1) == ","
    if text[at:].strip(_SPACE):
        raise ValueError("something follows the JSON object")
    return found


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _of_object(text: str, headers: Mapping[str, str], *, nested: bool) -> Iterator[Statement]:
    """Statements of one JSON object.

    Args:
        text: the object.
        headers: issuer chains that came outside it, by the names used in `_CHAINS`.
        nested: already inside a member of another object: one level is all that real documents have.
    """
    members = _members(text)
    chains = dict(headers)
    for holder in ("headers", "header", "responseheaders"):
        if holder in members:
            chains.update(_headers(members[holder].value))
    chains.update({name: m.value for name, m in members.items() if isinstance(m.value, str) and name.endswith("chain")})

    for name, what in _INNER.items():
        member = members.get(name)
        if member is None:
            continue
        chain = _chain(what, chains)
        if isinstance(member.value, dict):
            signature = _signature(members, f"{name}signature", "signature")
            yield Statement(
                what, member.value, text[member.start : member.end].encode("utf-8", "replace"), signature, chain
            )
        elif isinstance(member.value, str):
            value = _value(member.value)
            if isinstance(value, dict) and "signature" in value:  # the PCS answer itself, kept as text
                inner = _members(member.value)
                whole = next((inner[n] for n in _INNER if n in inner), None)
                start, end = (whole.start, whole.end) if whole is not None else (0, 0)
                signed = member.value[start:end].encode("utf-8", "replace")
                yield Statement(what, whole and whole.value, signed, _signature(inner, "signature"), chain)
            else:
                signature = _signature(members, f"{name}signature", "signature")
                yield Statement(what, value, member.value.encode("utf-8", "replace"), signature, chain)

    for name in ("rootcacrl", "pckcrl", "crl"):
        member = members.get(name)
        if member is not None and isinstance(member.value, str):
            chain = _chain(CRL, chains)
            for crl in _crls(member.value):
                yield Statement(CRL, None, crl, b"", chain)

    if not nested:
        yield from _of_members(members, chains)


def _of_members(members: Mapping[str, _Member], chains: Mapping[str, str]) -> Iterator[Statement]:
    """Statements one level down: the body of a recorded HTTP answer, and platforms listed in one document."""
    body = members.get("body")
    if body is not None and isinstance(body.value, str):
        if body.value.lstrip().startswith("{"):
            yield from _of_object(body.value, chains, nested=True)
        else:
            for crl in _crls(body.value):
                yield Statement(CRL, None, crl, b"", _chain(CRL, chains))
    platforms = members.get("platforms")
    if platforms is not None and isinstance(platforms.value, list):
        if len(platforms.value) > MAX_PLATFORMS:
            raise ValueError(f"more than {MAX_PLATFORMS} platforms")
        for platform in platforms.value:
            # What is signed stands inside strings here, so writing the object around them anew alters no signed byte.
            if isinstance(platform, dict) and all(isinstance(v, str | int) for v in platform.values()):
                yield from _of_object(json.dumps(platform), {}, nested=True)


def _headers(value: Json) -> dict[str, str]:
    """Recorded HTTP headers, one value each or lists of them."""
    found: dict[str, str] = {}
    if isinstance(value, dict):
        for name, content in value.items():
            one = content[0] if isinstance(content, list) and content else content
            if isinstance(one, str):
                found[_plain(name)] = one
    return found


def _value(text: str) -> Json:
    try:
        return _DECODER.decode(text)
    except (RecursionError, ValueError):
        return None


def _chain(what: str, chains: Mapping[str, str]) -> bytes:
    """The issuer chain for a statement; PCS sends it URL-encoded in a header."""
    text = next((chains[name] for name in _CHAINS[what] if name in chains), "")
    return (unquote(text) if "%" in text else text).encode("utf-8", "replace")


def _signature(members: Mapping[str, _Member], *names: str) -> bytes:
    """64 bytes as hex, or as a list of numbers; empty where there is none of that kind."""
    member = next((members[n] for n in names if n in members), None)
    value = member.value if member is not None else None
    try:
        if isinstance(value, str):
            raw = bytes.fromhex(value)
        elif isinstance(value, list):
            raw = bytes(value)
        else:
            return b""
    except (TypeError, ValueError):
        return b""
    return raw if len(raw) == 64 else b""


def _crls(text: str) -> list[bytes]:
    """Revocation lists written as PEM, as hex or as base64 of DER (or of PEM)."""
    text = text.strip()
    raw = text.encode("ascii", "replace")
    if not text:
        return []
    if not text.startswith("-----BEGIN "):
        try:
            raw = bytes.fromhex(text)
        except ValueError:
            try:
                raw = base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError):
                return [raw]  # no list; whoever reads it will say so
    try:
        return (pem_blocks(raw, b"X509 CRL") or [raw]) if raw.startswith(b"-----BEGIN ") else [raw]
    except BadCertificate:
        return [raw]
