"""One table: what each format calls its claims and checks, and where Ratchet has them.

`ratchet corpus check` reads it. A claim that is not in the table is looked for under the same name among the fields of
the evidence, then among Ratchet's bits and versions; found nowhere, it is a disagreement: none is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from ratchet.collateral import Kind, Known
from ratchet.collateral.amd import Vek
from ratchet.collateral.intel import TcbInfo
from ratchet.collateral.tcb import NO_MATCH
from ratchet.event import Json
from ratchet.evidence import Claims, Field, Outcome, Proof, Step, StepName
from ratchet.evidence.amd.snp_report import SnpReport
from ratchet.evidence.intel import pck
from ratchet.evidence.intel.quote import PCK_CHAIN, Quote
from ratchet.x509.anchor import Vendor
from ratchet.x509.chain import BadCertificate, Certificate, read_chain


class Absent(Exception):
    """Ratchet has nothing under that name; says why."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What Ratchet made of one piece of evidence.

    Attributes:
        proof: of `verify`.
        fields: of `fields`, by name.
        leaf: the endorsement key that came with an SNP report.
        known: statements in a document of collateral.
    """

    proof: Proof | None = None
    fields: Mapping[str, Field] = field(default_factory=dict)
    leaf: Vek | None = None
    known: tuple[Known, ...] = ()

    @property
    def claims(self) -> Claims:
        """Of the proof."""
        if self.proof is None or self.proof.claims is None:
            raise Absent("the evidence could not be parsed")
        return self.proof.claims

    @property
    def report(self) -> SnpReport:
        """The SNP report's own record."""
        native = self.claims.native
        if not isinstance(native, SnpReport):
            raise Absent("not an SNP report")
        return native

    def step(self, name: StepName) -> Step:
        """One proof step."""
        if self.proof is None:
            raise Absent("nothing was verified")
        return next(step for step in self.proof.steps if step.name is name)

    def passed(self, name: StepName) -> bool:
        """Whether that proof step passed."""
        return self.step(name).outcome is Outcome.PASSED

    def free_of(self, name: StepName, *codes: str) -> bool:
        """Whether that step was possible, and none of these codes is among its reasons."""
        step = self.step(name)
        return step.outcome is not Outcome.NOT_POSSIBLE and not any(r.code in codes for r in step.reasons)


Look = Callable[[Seen], Json]


def _snp(name: str) -> Look:
    def look(seen: Seen) -> Json:
        value = getattr(seen.report, name)
        return value.hex() if isinstance(value, bytes) else value

    return look


def _bit(name: str) -> Look:
    def look(seen: Seen) -> Json:
        value = seen.claims.bits[name]
        return bool(value) if isinstance(value, bool) else value

    return look


def _measured(name: str) -> Look:
    """A claim that is a string of bytes, as `Claims.measurements` has it."""
    return lambda seen: seen.claims.measurements[name]


def _firmware(which: str) -> Look:
    """`major.minor.build`, from the numbers among the claims."""
    return lambda seen: ".".join(str(seen.claims.bits[f"{which}_{part}"]) for part in ("major", "minor", "build"))


def _debug(seen: Seen) -> Json:
    return seen.claims.debug


def _family(seen: Seen) -> Json:
    family = seen.claims.family.partition("/")[2]
    return None if family == "unknown" else family


def _snp_tcb(prefix: str) -> Look:
    """The bytes as they lie, and the levels by name as `Claims.tcb` has them."""

    def look(seen: Seen) -> Json:
        raw: bytes = getattr(seen.report, f"{prefix}_tcb")
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
    leaf = seen.leaf
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
    if not seen.passed(StepName.CHAIN) or seen.leaf is None:
        return None
    return seen.leaf.product.lower() + ("_vlek" if seen.leaf.kind == "VLEK" else "")


SNP_CLAIMS: Mapping[str, Look] = {
    "version": _snp("version"),
    "guest_svn": _bit("guest_svn"),
    "policy": lambda seen: f"{seen.report.policy:016x}",
    "debug": _debug,
    "smt": _bit("policy.smt"),
    "migrate_ma": _bit("policy.migrate_ma"),
    "single_socket": _bit("policy.single_socket"),
    "family_id": _measured("family_id"),
    "image_id": _measured("image_id"),
    "vmpl": _bit("vmpl"),
    "sig_algo": _snp("signature_algo"),
    "author_key_en": _bit("signer.author_key"),
    "mask_chip_key": _bit("signer.mask_chip_key"),
    "signing_key": _snp("signing_key"),
    "cpuid": _cpuid,
    "family": _family,
    "current_tcb": _snp_tcb("current"),
    "reported_tcb": _snp_tcb("reported"),
    "committed_tcb": _snp_tcb("committed"),
    "launch_tcb": _snp_tcb("launch"),
    "platform_info": lambda seen: f"{seen.report.platform_info:016x}",
    "report_data": lambda seen: seen.claims.report_data.hex(),
    "measurement": _measured("measurement"),
    "host_data": _measured("host_data"),
    "id_key_digest": _measured("id_key_digest"),
    "author_key_digest": _measured("author_key_digest"),
    "report_id": _snp("report_id"),
    "report_id_ma": _snp("report_id_ma"),
    "chip_id": _snp("chip_id"),
    "current_fw": _firmware("current"),
    "committed_fw": _firmware("committed"),
    "launch_mit_vector": lambda seen: f"{seen.report.launch_mitigation:x}",
    "current_mit_vector": lambda seen: f"{seen.report.current_mitigation:x}",
}

SNP_CHECKS: Mapping[str, Look] = {
    "chain": _snp_chain,
    "report_sig": lambda seen: seen.passed(StepName.SIGNATURE),
    "tcb_match": lambda seen: seen.free_of(StepName.BINDING, "tcb_mismatch", "unknown_product"),
    "hwid_match": lambda seen: seen.free_of(StepName.BINDING, "chip_mismatch"),
}

SNP_FACTS: Mapping[str, Look] = {"debug": _debug, "report_version": _snp("version"), "leaf": _leaf}


def _field(name: str) -> Look:
    return lambda seen: seen.fields[name].value


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
            }
    raise Absent("no PCK certificate in the quote")


def _vendor_root(seen: Seen) -> Json:
    root = seen.proof.root if seen.proof is not None else None
    return root is not None and root.vendor is Vendor.INTEL and not root.simulated


_QUOTE_CHECKS: Mapping[str, Look] = {
    "quote_sig_ok": lambda seen: seen.passed(StepName.SIGNATURE),
    "ak_bound": lambda seen: seen.free_of(StepName.BINDING, "ak_not_bound"),
    "qe_report_sig_ok": lambda seen: seen.free_of(StepName.BINDING, "qe_report_signature_invalid", "pck_missing"),
    "chain_ok": lambda seen: seen.passed(StepName.CHAIN),
    "root_is_intel": _vendor_root,
}

_QUOTE_FACTS: Mapping[str, Look] = {
    "debug": _debug,
    "quote_version": _quote("version"),
    "body_type": _quote("body_type"),
    "cert_data_type": _quote("certification"),
    "trailing_bytes": _quote("trailing"),
    "chain_in_order": _in_order,
}

SGX_CLAIMS: Mapping[str, Look] = {
    "mrenclave": _measured("mrenclave"),
    "mrsigner": _measured("mrsigner"),
    "isvprodid": _bit("isvprodid"),
    "isvsvn": _bit("isvsvn"),
    "attributes": _measured("attributes"),
    "miscselect": _measured("miscselect"),
    "cpusvn": _field("cpusvn"),
    "report_data": lambda seen: seen.claims.report_data.hex(),
    "qe_isvsvn": _quote("qe_isvsvn"),
    "pck": _pck,
}

TDX_CLAIMS: Mapping[str, Look] = {
    "report_data": lambda seen: seen.claims.report_data.hex(),
    "tee_tcb_svn": lambda seen: _svns(seen, "tdx"),
    "tee_tcb_svn2": lambda seen: _svns(seen, "tdx2"),
    "mrseam": _measured("mrseam"),
    "mrsignerseam": _measured("mrsignerseam"),
    "tdattributes": _measured("tdattributes"),
    "xfam": _measured("xfam"),
    "mrtd": _measured("mrtd"),
    "mrconfigid": _measured("mrconfigid"),
    "mrowner": _measured("mrowner"),
    "mrownerconfig": _measured("mrownerconfig"),
    "mrservicetd": _measured("mrservicetd"),
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


def _named_chain(want: Json, got: Json) -> bool:
    """Chains are named after files: `turin_vcek` and `milan` are VCEKs' alike."""
    return bool((want.removesuffix("_vcek") if isinstance(want, str) else want) == got)


def _same_hex(want: Json, got: Json) -> bool:
    """Upper or lower case, hex says the same (Intel writes FMSPCs both ways)."""
    return isinstance(want, str) and isinstance(got, str) and want.lower() == got.lower()


@dataclass(frozen=True, slots=True)
class Tables:
    """What one format calls things: claims, checks (proof steps), and facts that stand beside them."""

    claims: Mapping[str, Look]
    checks: Mapping[str, Look]
    facts: Mapping[str, Look]


FORMATS: Mapping[str, Tables] = {
    "sgx-quote": Tables(SGX_CLAIMS, _QUOTE_CHECKS, _QUOTE_FACTS),
    "tdx-quote": Tables(TDX_CLAIMS, _QUOTE_CHECKS, _QUOTE_FACTS),
    "snp-report": Tables(SNP_CLAIMS, SNP_CHECKS, SNP_FACTS),
    "intel-collateral": Tables(COLLATERAL_CLAIMS, COLLATERAL_CHECKS, {}),
}
"""Format -> its tables."""

CASES: Mapping[str, Look] = {
    "tcb_evaluation_data_number": _tcb("evaluation"),
    "pck_revoked": _revoked,
    "detail": _parts,
}
"""What a case states beside its status."""

SAME: Mapping[str, Callable[[Json, Json], bool]] = {"checks.chain": _named_chain, "claims.fmspc": _same_hex}
"""Comparisons that are not plain equality."""
