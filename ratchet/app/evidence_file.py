"""Evidence from a file or standard input, as bytes or as text that stands for bytes.

People pass quotes around as hex, base64 and PEM; `ratchet verify` takes each, and says which it took. Nothing else
does: what enters the log stays as it was received.
"""

from __future__ import annotations

import re
import sys
from base64 import b64decode
from binascii import Error as NotBase64
from pathlib import Path
from typing import NamedTuple

from ratchet.app.errors import Exit, Fault
from ratchet.evidence import detect
from ratchet.evidence.recognise import recognise

_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----([A-Za-z0-9+/=\s]*)-----END \1-----")
_NOT_EVIDENCE = ("CERTIFICATE", "X509 CRL", "PUBLIC KEY", "PRIVATE KEY")


class EvidenceFile(NamedTuple):
    """What was read.

    Attributes:
        name: as it was given.
        raw: the evidence.
        encoding: `bytes`, or the text form that it was decoded from: `hex`, `base64`, `base64url`, `PEM`.
    """

    name: str
    raw: bytes
    encoding: str


def read(name: str) -> bytes:
    """The bytes of a file, or of standard input where it is called `-`.

    Raises:
        Fault: it cannot be read, or is larger than any evidence or document.
    """
    from collectors.delivery import MAX_DOCUMENT

    try:
        if name == "-":
            data = sys.stdin.buffer.read(MAX_DOCUMENT + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(MAX_DOCUMENT + 1)
    except OSError as error:
        raise Fault("unreadable", f"{name}: {error.strerror}", "name a file that is there", Exit.UNREACHABLE) from error
    if len(data) > MAX_DOCUMENT:
        raise Fault("too-large", f"{name} has more than {MAX_DOCUMENT} bytes", "this is no evidence", Exit.USAGE)
    return data


def read_evidence(name: str) -> EvidenceFile:
    """One piece of evidence, decoded where it is text.

    Raises:
        Fault: as `read`.
    """
    data = read(name)
    return EvidenceFile(name, *decode(data))


def decode(data: bytes) -> tuple[bytes, str]:
    """The evidence that these bytes are, or stand for, and in which form. Text that stands for nothing is returned."""
    if detect(data) is not None:
        return data, "bytes"
    block = _PEM.search(data)
    if block is not None and not block[1].endswith(tuple(kind.encode() for kind in _NOT_EVIDENCE)):
        return b64decode(block[2]), "PEM"
    text = b"".join(data.split())
    known = recognise(data)
    for raw, encoding in () if known is not None else _readings(text):
        if detect(raw) is not None or recognise(raw) is not None:
            return raw, encoding
    return data, "bytes"


def _readings(text: bytes) -> list[tuple[bytes, str]]:
    """What a text may stand for; most are none."""
    found = []
    if re.fullmatch(rb"(0x)?(?:[0-9A-Fa-f]{2})+", text):
        found.append((bytes.fromhex(text.removeprefix(b"0x").decode()), "hex"))
    for alphabet, altchars, encoding in ((rb"A-Za-z0-9+/", None, "base64"), (rb"A-Za-z0-9_-", b"-_", "base64url")):
        if re.fullmatch(rb"[%s]+={0,2}" % alphabet, text):
            body = text.rstrip(b"=")
            try:
                found.append((b64decode(body + b"=" * (-len(body) % 4), altchars), encoding))
            except NotBase64:
                continue
    return found
