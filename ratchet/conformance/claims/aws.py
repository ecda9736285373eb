"""What manifests call the claims and checks of AWS's formats."""

from __future__ import annotations

from collections.abc import Mapping

from ratchet.cbor import decode
from ratchet.collateral.roots import AWS
from ratchet.conformance.claims.seen import Absent, Look, Seen, Tables, debug, field_of, step_passed
from ratchet.event import Json
from ratchet.evidence import StepName
from ratchet.evidence.aws.document import Document

_TIMES = frozenset({"certificate_expired", "certificate_not_yet_valid"})


def _document(seen: Seen) -> Document:
    """The document's own record."""
    native = seen.claims.native
    if not isinstance(native, Document):
        raise Absent("not an attestation document")
    return native


def _own(name: str) -> Look:
    def look(seen: Seen) -> Json:
        value = getattr(_document(seen), name)
        return value.hex() if isinstance(value, bytes) else value

    return look


def _pcrs(seen: Seen) -> Json:
    """Those that are not zero, by index."""
    found = {name: value for name, value in seen.claims.measurements.items() if name.startswith("pcr")}
    return {name.removeprefix("pcr"): value for name, value in found.items() if value.strip("0")}


def _pcr_size(seen: Seen) -> Json:
    sizes = {len(value) for value in _document(seen).pcrs.values()}
    return sizes.pop() if len(sizes) == 1 else sorted(sizes)


def _keys(seen: Seen) -> Json:
    """The fields of the payload, absent ones among them where they are null."""
    return list(decode(_document(seen).message.payload))


def _tag(seen: Seen) -> Json:
    raise Absent("no tag") if seen.fields["protected"].offset == 2 else Absent("a tag")


def _leaf(limit: str) -> Look:
    return lambda seen: field_of("certificate")(seen)[limit]


def _root_pinned(seen: Seen) -> Json:
    root = seen.proof.root if seen.proof is not None else None
    return root is not None and root.vendor == AWS and not root.simulated


def _chains(seen: Seen) -> Json:
    """Whether the certificates lead to a trusted root, whenever that was so."""
    return all(reason.code in _TIMES for reason in seen.step(StepName.CHAIN).reasons)


CLAIMS: Mapping[str, Look] = {
    "module_id": _own("module_id"),
    "digest": _own("digest"),
    "timestamp_ms": _own("timestamp"),
    "timestamp": field_of("timestamp"),
    "pcrs": _pcrs,
    "pcr_count": lambda seen: len(_document(seen).pcrs),
    "pcr_len": _pcr_size,
    "public_key": _own("public_key"),
    "user_data": _own("user_data"),
    "nonce": _own("nonce"),
    "keys": _keys,
    "cose_tag": _tag,
    "indefinite_map": lambda seen: _document(seen).message.payload[:1] == b"\xbf",
    "leaf_not_before": _leaf("not_before"),
    "leaf_not_after": _leaf("not_after"),
    "cabundle_len": lambda seen: len(_document(seen).cabundle),
}

CHECKS: Mapping[str, Look] = {
    "cose_signature": step_passed(StepName.SIGNATURE),
    "alg": lambda seen: _document(seen).message.header[1],
    "root_pinned": _root_pinned,
    "chain": _chains,
    "all_valid_at_timestamp": lambda seen: seen.free_of(StepName.BINDING, "timestamp_outside_certificate"),
    "certificate_parses": lambda seen: seen.free_of(StepName.CHAIN, "certificate_unreadable"),
}

FACTS: Mapping[str, Look] = {
    "debug": debug,
    "chain_at_verification_time": lambda seen: "valid" if seen.passed(StepName.CHAIN) else "invalid",
}

FORMATS: Mapping[str, Tables] = {"nitro": Tables(CLAIMS, CHECKS, FACTS)}
"""Format -> its tables."""
