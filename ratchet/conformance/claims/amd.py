"""What manifests call the claims and checks of AMD's formats."""

from __future__ import annotations

from collections.abc import Mapping

from ratchet.collateral.amd import Vek, certificates, vek
from ratchet.conformance.claims.seen import Absent, Look, Seen, Tables, bit, debug, measured, report_data, step_passed
from ratchet.event import Json
from ratchet.evidence import StepName
from ratchet.evidence.amd.snp_report import SnpReport
from ratchet.x509.chain import BadCertificate


def _report(seen: Seen) -> SnpReport:
    """The report's own record."""
    native = seen.claims.native
    if not isinstance(native, SnpReport):
        raise Absent("not an SNP report")
    return native


def _vek(seen: Seen) -> Vek | None:
    """The endorsement key among the certificates beside the report."""
    for document in seen.beside:
        for certificate in certificates(document):
            try:
                leaf = vek(certificate)
            except BadCertificate:
                continue
            if leaf is not None:
                return leaf
    return None


def _snp(name: str) -> Look:
    def look(seen: Seen) -> Json:
        value = getattr(_report(seen), name)
        return value.hex() if isinstance(value, bytes) else value

    return look


def _firmware(which: str) -> Look:
    """`major.minor.build`, from the numbers among the claims."""
    return lambda seen: ".".join(str(seen.claims.bits[f"{which}_{part}"]) for part in ("major", "minor", "build"))


def _family(seen: Seen) -> Json:
    family = seen.claims.family.partition("/")[2]
    return None if family == "unknown" else family


def _snp_tcb(prefix: str) -> Look:
    """The bytes as they lie, and the levels by name as `Claims.tcb` has them."""

    def look(seen: Seen) -> Json:
        raw: bytes = getattr(_report(seen), f"{prefix}_tcb")
        levels = {
            name.partition(".")[2]: level for name, level in seen.claims.tcb.items() if name.partition(".")[0] == prefix
        }
        return {"raw_le_hex": raw.hex(), **levels}

    return look


def _cpuid(seen: Seen) -> Json:
    bits = seen.claims.bits
    return {name: bits.get(f"cpuid.{name}") for name in ("family", "model", "stepping")}


def _leaf(seen: Seen) -> Json:
    """The endorsement certificate beside the report, in the manifest's words; reserved levels by their OID's end."""
    leaf = _vek(seen)
    if leaf is None:
        raise Absent("no VCEK or VLEK came with the report, or it could not be read")
    reserved = {"spl4": "3.4", "spl5": "3.5", "spl6": "3.6", "spl7": "3.7"}
    ext: dict[str, Json] = {"struct_version": leaf.struct_version, "product": leaf.product_name}
    ext |= {reserved.get(name, name): level for name, level in leaf.spl.items()}
    if leaf.hwid is not None:
        ext["hwid"] = leaf.hwid.hex()
    if leaf.csp is not None:
        ext["csp_id"] = leaf.csp
    certificate = leaf.certificate
    return {
        "ext": ext,
        "not_before": certificate.not_before.isoformat(),
        "not_after": certificate.not_after.isoformat(),
        "serial": str(certificate.serial),
    }


def _snp_chain(seen: Seen) -> Json:
    """The name of the chain that led to a root: `milan`, `milan_vlek`, `turin`; None where none did."""
    leaf = _vek(seen)
    if not seen.passed(StepName.CHAIN) or leaf is None:
        return None
    return leaf.product.lower() + ("_vlek" if leaf.kind == "VLEK" else "")


SNP_CLAIMS: Mapping[str, Look] = {
    "version": _snp("version"),
    "guest_svn": bit("guest_svn"),
    "policy": lambda seen: f"{_report(seen).policy:016x}",
    "debug": debug,
    "smt": bit("policy.smt"),
    "migrate_ma": bit("policy.migrate_ma"),
    "single_socket": bit("policy.single_socket"),
    "family_id": measured("family_id"),
    "image_id": measured("image_id"),
    "vmpl": bit("vmpl"),
    "sig_algo": _snp("signature_algo"),
    "author_key_en": bit("signer.author_key"),
    "mask_chip_key": bit("signer.mask_chip_key"),
    "signing_key": _snp("signing_key"),
    "cpuid": _cpuid,
    "family": _family,
    "current_tcb": _snp_tcb("current"),
    "reported_tcb": _snp_tcb("reported"),
    "committed_tcb": _snp_tcb("committed"),
    "launch_tcb": _snp_tcb("launch"),
    "platform_info": lambda seen: f"{_report(seen).platform_info:016x}",
    "report_data": report_data,
    "measurement": measured("measurement"),
    "host_data": measured("host_data"),
    "id_key_digest": measured("id_key_digest"),
    "author_key_digest": measured("author_key_digest"),
    "report_id": _snp("report_id"),
    "report_id_ma": _snp("report_id_ma"),
    "chip_id": _snp("chip_id"),
    "current_fw": _firmware("current"),
    "committed_fw": _firmware("committed"),
    "launch_mit_vector": lambda seen: f"{_report(seen).launch_mitigation:x}",
    "current_mit_vector": lambda seen: f"{_report(seen).current_mitigation:x}",
}

SNP_CHECKS: Mapping[str, Look] = {
    "chain": _snp_chain,
    "report_sig": step_passed(StepName.SIGNATURE),
    "tcb_match": lambda seen: seen.free_of(StepName.BINDING, "tcb_mismatch", "unknown_product"),
    "hwid_match": lambda seen: seen.free_of(StepName.BINDING, "chip_mismatch"),
}

SNP_FACTS: Mapping[str, Look] = {"debug": debug, "report_version": _snp("version"), "leaf": _leaf}


FORMATS: Mapping[str, Tables] = {"snp-report": Tables(SNP_CLAIMS, SNP_CHECKS, SNP_FACTS)}
"""Format -> its tables."""
