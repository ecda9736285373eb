"""What manifests call the claims and checks of Azure's formats, and how their files become evidence.

What they say of the hardware report is in the words of its own format: it is looked up in the part.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace

from ratchet.conformance.claims import amd, intel
from ratchet.conformance.claims.seen import (
    Absent,
    Look,
    Seen,
    Tables,
    alone,
    debug,
    measured,
    report_data,
)
from ratchet.event import Json
from ratchet.evidence import Evidence, Format, Outcome, StepName
from ratchet.evidence.azure import hcl
from ratchet.evidence.azure.tpm import TpmQuote
from ratchet.evidence.azure.vtpm import AzureEvidence
from ratchet.evidence.proof import Part


def assembled(raw: bytes, beside: Mapping[str, bytes], format: Format) -> Evidence:
    """The files of one item in Ratchet's own form: what is no file of the evidence comes beside it."""
    found: dict[str, Json] = {"hcl_report": _base64url(raw)}
    quote: dict[str, Json] = {}
    rest: dict[str, bytes] = {}
    for name, data in beside.items():
        match name.partition(".")[2]:
            case "tpm-quote.msg":
                quote["message"] = _base64url(data)
            case "tpm-quote.sig":
                quote["signature"] = _base64url(data)
            case "pcrs-sha256.json":
                quote["pcrs"] = [_base64url(bytes.fromhex(value)) for value in json.loads(data)]
            case "td-quote.bin":
                found["td_quote"] = _base64url(data)
            case "vcek.der":
                found["vcek"] = _base64url(data)
            case _:
                rest[name] = data
    if quote:
        found["tpm_quote"] = quote
    return alone(json.dumps(found).encode(), rest, format)


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _native(seen: Seen) -> AzureEvidence:
    native = seen.claims.native
    if not isinstance(native, AzureEvidence):
        raise Absent("not Azure's evidence")
    return native


def _quote(seen: Seen) -> TpmQuote:
    quote = _native(seen).quote
    if quote is None:
        raise Absent("no TPM quote came")
    return quote


def _part(seen: Seen) -> Part:
    if seen.proof is None or not seen.proof.parts:
        raise Absent("no hardware report came")
    return seen.proof.parts[0]


def _of_part(look: Look) -> Look:
    """Looked up in the hardware report, which is a proof of its own."""
    return lambda seen: look(replace(seen, proof=_part(seen).proof))


def _all_of(looks: Mapping[str, Look]) -> Look:
    """An object of claims; what the report does not make is left out."""

    def look(seen: Seen) -> Json:
        found: dict[str, Json] = {}
        for name, one in looks.items():
            try:
                found[name] = one(seen)
            except (Absent, KeyError):
                continue
        return found

    return _of_part(look)


def _header(seen: Seen) -> Json:
    report = _native(seen).hcl
    return {
        "version": report.version,
        "report_size": report.report_size,
        "request_type": report.request_type,
        "data_size": report.data_size,
        "runtime_version": report.data_version,
        "report_type": report.report_type,
        "hash_type": report.hash_type,
        "var_size": len(report.data),
        "var_offset": hcl.JSON,
    }


def _user_data(seen: Seen) -> Json:
    if "user_data" not in seen.claims.measurements:
        raise Absent("no user-data in the run-time data")
    return measured("user_data")(seen)


def _free_of(seen: Seen, name: StepName, component: str) -> bool:
    """Whether the step was possible, as far as that component is concerned, and has no reason about it."""
    step = seen.step(name)
    return not any(reason.component == component for reason in step.reasons)


def _bound(seen: Seen) -> Json:
    return _part(seen).binding.outcome is Outcome.PASSED


def _signed(seen: Seen) -> Json:
    return _free_of(seen, StepName.SIGNATURE, "tpm_quote") and _free_of(seen, StepName.SIGNATURE, "ak")


def _measured(seen: Seen) -> Json:
    return _free_of(seen, StepName.BINDING, "pcr_digest") and _free_of(seen, StepName.BINDING, "pcrs")


def _td_quote(seen: Seen) -> Json:
    proof = _part(seen).proof
    passed = (StepName.CHAIN, StepName.SIGNATURE, StepName.BINDING)
    return all(proof.outcome(name) is Outcome.PASSED for name in passed)


def _snp_chain(seen: Seen) -> Json:
    """The name of the chain that led to a root: `milan`; None where none did."""
    proof = _part(seen).proof
    if proof.outcome(StepName.CHAIN) is not Outcome.PASSED or proof.claims is None:
        return None
    return proof.claims.family.partition("/")[2].lower() + ("_vlek" if proof.claims.bits["signer.vlek"] else "")


_CLAIMS: Mapping[str, Look] = {
    "tpm_extra_data": report_data,
    "pcr_selection": lambda seen: list(_quote(seen).pcrs),
    "pcrs": lambda seen: {str(n): seen.claims.measurements[f"pcr{n}"] for n in _quote(seen).pcrs},
    "hcl_header": _header,
    "user_data": _user_data,
    "vm_configuration": lambda seen: _native(seen).data.configuration,
    "snp": _all_of(amd.SNP_CLAIMS),
    "td": _all_of(intel.TDX_CLAIMS),
}

_CHECKS: Mapping[str, Look] = {
    "tpm_quote_sig_by_HCLAkPub": _signed,
    "pcr_digest": _measured,
    "runtime_data_bound_to_report_data": _bound,
    "snp_chain": _snp_chain,
    "snp_report_sig": _of_part(amd.SNP_CHECKS["report_sig"]),
    "snp_tcb_match": _of_part(amd.SNP_CHECKS["tcb_match"]),
    "snp_hwid_match": _of_part(amd.SNP_CHECKS["hwid_match"]),
    "td_quote_chain": _td_quote,
    "td_quote_report_data_equals_hcl": _bound,
}

_TABLES = Tables(_CLAIMS, _CHECKS, {"debug": debug}, assembled)

FORMATS: Mapping[str, Tables] = {"az-snp-vtpm": _TABLES, "az-tdx-vtpm": _TABLES}
"""Format -> its tables."""
