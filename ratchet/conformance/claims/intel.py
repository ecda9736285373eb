"""What manifests call the claims and checks of Intel's formats and of Intel's collateral."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from ratchet.collateral import Kind, Known
from ratchet.collateral.intel import TcbInfo
from ratchet.collateral.roots import INTEL
from ratchet.collateral.tcb import NO_MATCH
from ratchet.conformance.claims.seen import (
    Absent,
    Look,
    Seen,
    Tables,
    bit,
    debug,
    field_of,
    measured,
    report_data,
    step_passed,
)
from ratchet.event import Json
from ratchet.evidence import Outcome, StepName
from ratchet.evidence.intel import pck
from ratchet.evidence.intel.quote import PCK_CHAIN, Quote
from ratchet.x509.chain import BadCertificate, Certificate, read_chain


def _quote(name: str) -> Look:
    return lambda seen: getattr(_native_quote(seen), name)


def _native_quote(seen: Seen) -> Quote:
    native = seen.claims.native
    if not isinstance(native, Quote):
        raise Absent("not a quote")
    return native


def _chain(seen: Seen) -> tuple[Certificate, ...]:
    quote = _native_quote(seen)
    if quote.certification != PCK_CHAIN:
        return ()
    try:
        return read_chain(quote.certification_data)
    except BadCertificate as wrong:
        raise Absent(f"the certificate chain: {wrong}") from None


def _in_order(seen: Seen) -> Json:
    """Whether each certificate of the chain is issued by the one after it; None where there is no chain."""
    chain = _chain(seen)
    if not chain:
        return None
    return all(one.issuer == issuer.subject for one, issuer in pairwise(chain))


def _pck(seen: Seen) -> Json:
    for certificate in _chain(seen):
        if pck.SGX_EXTENSION in certificate.extensions:
            found = pck.read(certificate)
            return {
                "fmspc": found.fmspc.hex(),
                "tcbcomp": list(found.sgx),
                "pcesvn": found.pcesvn,
                "issuer": certificate.issuer_name,
                "serial": f"{certificate.serial:x}",
                "ppid": found.ppid.hex(),
                "cpusvn": found.cpusvn.hex(),
                "pceid": found.pceid.hex(),
                "sgxType": None if found.sgx_type is None else f"{found.sgx_type:02x}",
                "platformInstanceId": None if found.instance is None else found.instance.hex(),
            }
    raise Absent("no PCK certificate in the quote")


def _vendor_root(seen: Seen) -> Json:
    root = seen.proof.root if seen.proof is not None else None
    return root is not None and root.vendor == INTEL and not root.simulated


_QUOTE_CHECKS: Mapping[str, Look] = {
    "quote_sig_ok": step_passed(StepName.SIGNATURE),
    "ak_bound": lambda seen: seen.free_of(StepName.BINDING, "ak_not_bound"),
    "qe_report_sig_ok": lambda seen: seen.free_of(StepName.BINDING, "qe_report_signature_invalid", "pck_missing"),
    "chain_ok": step_passed(StepName.CHAIN),
    "root_is_intel": _vendor_root,
}

_QUOTE_FACTS: Mapping[str, Look] = {
    "debug": debug,
    "quote_version": _quote("version"),
    "body_type": _quote("body_type"),
    "cert_data_type": _quote("certification"),
    "trailing_bytes": _quote("trailing"),
    "chain_in_order": _in_order,
}

SGX_CLAIMS: Mapping[str, Look] = {
    "mrenclave": measured("mrenclave"),
    "mrsigner": measured("mrsigner"),
    "isvprodid": bit("isvprodid"),
    "isvsvn": bit("isvsvn"),
    "attributes": measured("attributes"),
    "miscselect": measured("miscselect"),
    "cpusvn": field_of("cpusvn"),
    "report_data": report_data,
    "qe_isvsvn": _quote("qe_isvsvn"),
    "pck": _pck,
}

TDX_CLAIMS: Mapping[str, Look] = {
    "report_data": report_data,
    "tee_tcb_svn": lambda seen: _svns(seen, "tdx"),
    "tee_tcb_svn2": lambda seen: _svns(seen, "tdx2"),
    "mrseam": measured("mrseam"),
    "mrsignerseam": measured("mrsignerseam"),
    "tdattributes": measured("tdattributes"),
    "xfam": measured("xfam"),
    "mrtd": measured("mrtd"),
    "mrconfigid": measured("mrconfigid"),
    "mrowner": measured("mrowner"),
    "mrownerconfig": measured("mrownerconfig"),
    "mrservicetd": measured("mrservicetd"),
    "rtmr": lambda seen: [seen.claims.measurements[f"rtmr{i}"] for i in range(4)],
    "qe_isvsvn": _quote("qe_isvsvn"),
    "pck": _pck,
}


def _svns(seen: Seen, prefix: str) -> Json:
    return bytes(int(seen.claims.tcb[f"{prefix}.{i}"]) for i in range(16)).hex()


def _statements(seen: Seen, kind: Kind) -> list[Known]:
    found = [known for known in seen.known if known.kind is kind]
    if not found:
        raise Absent(f"no {kind.value} in the document")
    return found


def _sound(kind: Kind, *, issued_by_root: bool | None = None) -> Look:
    """Whether the signatures on all statements of that kind lead to a trusted root."""

    def look(seen: Seen) -> Json:
        found = _statements(seen, kind)
        if issued_by_root is not None:
            found = [one for one in found if one.key.partition("/")[2].endswith("Root CA") == issued_by_root]
        return bool(found) and all(known.root is not None and not known.reasons for known in found)

    return look


def _tcb_info(name: str) -> Look:
    def look(seen: Seen) -> Json:
        parsed = _statements(seen, Kind.INTEL_TCB_INFO)[0].parsed
        if not isinstance(parsed, TcbInfo):
            raise Absent("the TCB info cannot be read")
        return getattr(parsed, name)

    return look


COLLATERAL_CLAIMS: Mapping[str, Look] = {"fmspc": _tcb_info("fmspc"), "tcb_eval": _tcb_info("evaluation")}

COLLATERAL_CHECKS: Mapping[str, Look] = {
    "tcb_info_signature": _sound(Kind.INTEL_TCB_INFO),
    "qe_identity_signature": _sound(Kind.INTEL_QE_IDENTITY),
    "pck_crl_signature": _sound(Kind.INTEL_CRL, issued_by_root=False),
    "root_ca_crl_signature": _sound(Kind.INTEL_CRL, issued_by_root=True),
}


def _tcb(name: str) -> Look:
    def look(seen: Seen) -> Json:
        if seen.proof is None or seen.proof.tcb is None:
            raise Absent("no TCB status could be had")
        return getattr(seen.proof.tcb, name)

    return look


def _revoked(seen: Seen) -> Json:
    """Whether a certificate of the chain is revoked; None where there was no list to say so."""
    step = seen.step(StepName.REVOCATION)
    if step.outcome is Outcome.NOT_POSSIBLE:
        return None
    return step.outcome is Outcome.FAILED


def _parts(seen: Seen) -> Json:
    """The statuses before they are merged: `TDX_03:UpToDate platform:OutOfDate qe:UpToDate`."""
    if seen.proof is None or seen.proof.tcb is None:
        raise Absent("no TCB status could be had")
    tcb = seen.proof.tcb
    if tcb.platform == NO_MATCH:
        return "platform TCB below every level"
    module = [f"TDX_{seen.claims.tcb['tdx.1']:02X}:{tcb.module}"] if tcb.module is not None else []
    return " ".join([*module, f"platform:{tcb.platform}", f"qe:{tcb.qe}"])


FORMATS: Mapping[str, Tables] = {
    "sgx-quote": Tables(SGX_CLAIMS, _QUOTE_CHECKS, _QUOTE_FACTS),
    "tdx-quote": Tables(TDX_CLAIMS, _QUOTE_CHECKS, _QUOTE_FACTS),
    "intel-collateral": Tables(COLLATERAL_CLAIMS, COLLATERAL_CHECKS, {}),
}
"""Format -> its tables."""

CASES: Mapping[str, Look] = {
    "tcb_evaluation_data_number": _tcb("evaluation"),
    "pck_revoked": _revoked,
    "detail": _parts,
}
"""What a case states beside its status."""
