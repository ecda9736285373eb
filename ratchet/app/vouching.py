"""Reference values for what genuine evidence measured, as TOML to be pasted into ratchet.toml (`--vouch`)."""

from __future__ import annotations

import getpass
import json
import re
from typing import TYPE_CHECKING

from ratchet.app.errors import Exit, Fault
from ratchet.app.output import plain, reason_lines
from ratchet.event import Json

if TYPE_CHECKING:
    from ratchet.evidence import Proof

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""Of a set of reference values (ratchet/policy/policy.py)."""


def check_name(name: str) -> None:
    """Can a set of reference values have this name?

    Raises:
        Fault: it cannot.
    """
    if not _NAME.fullmatch(name):
        what = f"--vouch: {plain(name)[:80]!r} cannot name reference values"
        raise Fault("vouch", what, "up to 64 of a-z, 0-9, '.', '_' and '-', the first a letter or a digit", Exit.USAGE)


def reference_values(proof: Proof, file: str) -> dict[str, Json]:
    """A set that pins every boot and run-time measurement that this evidence makes.

    Args:
        proof: of the evidence.
        file: that it was read from.

    Raises:
        Fault: it is not proven who made these measurements, so nobody should vouch for them.
    """
    from ratchet.evidence import TEES

    claims = proof.claims
    if proof.format is None or claims is None:
        why = proof.steps[0].reasons[0].remedy if proof.steps[0].reasons else "see docs/formats.md"
        exit = Exit.UNSUPPORTED if proof.format is None else Exit.REFUSED
        raise Fault("not-genuine", f"{plain(file)}: {plain(proof.steps[0].detail)}", why, exit)
    wrong = _doubt(proof)
    if wrong is not None:
        lines = tuple(reason_lines(r.to_data() for step in proof.steps for r in step.reasons))
        next = "vouch for evidence that `ratchet verify` finds genuine; --collateral and --endorsement add documents"
        raise Fault("not-genuine", f"{plain(file)}: {wrong}, so nothing is vouched for", next, Exit.REFUSED, lines)
    tee = TEES[claims.tee]
    missing = [name for name in tee.boot if name not in claims.measurements]
    if missing:
        why = f"{plain(file)} does not attest {', '.join(missing)}, so nothing would say what runs there"
        raise Fault("not-attested", why, "vouch for evidence that attests all of it", Exit.REFUSED)
    if not any(claims.measurements.get(name, "").strip("0") for name in tee.boot):
        next = "launch it without debug, then measure it again"
        raise Fault(
            "not-genuine", f"{plain(file)}: nothing was measured: its measurements are zero", next, Exit.REFUSED
        )
    return {
        "tee": claims.tee,
        "by": _whoever_runs_this(),
        "source": f"measured in {plain(file)[:120]}, SHA-256 {proof.evidence}",
        "conditions": {
            name: claims.measurements[name] for name in (*tee.boot, *tee.runtime) if name in claims.measurements
        },
    }


def _doubt(proof: Proof) -> str | None:
    """Why the measurements may be anybody's word; None where they are not."""
    from ratchet.evidence import TEES

    if not proof.genuine:
        names = dict.fromkeys((*proof.unproven, *(s.name for s in proof.steps if s.outcome == "failed")))
        return f"not genuine ({', '.join(names)} did not pass)"
    if proof.claims is not None and TEES[proof.claims.tee].judge == "status":
        # Without the QE identity any enclave on that machine may have signed it; with a revoked one, anybody.
        if proof.tcb is None:
            return "not known whose quoting enclave signed it: there is no TCB info or QE identity for it"
        if proof.tcb.merged == "Revoked":
            return "Intel has revoked what signed it"
    return None


def _whoever_runs_this() -> str:
    try:
        return plain(getpass.getuser())[:64] or "nobody named"
    except (OSError, KeyError):  # no login name: a container
        return "nobody named"


def toml(name: str, values: dict[str, Json]) -> str:
    """A table of `[policy.reference_values]`."""
    table = f'policy.reference_values."{name}"'
    lines = [f"[{table}]", *(f"{key} = {_text(values[key])}" for key in ("tee", "by", "source"))]
    lines += [f"[{table}.conditions]", *(f"{key} = {_text(value)}" for key, value in values["conditions"].items())]
    return "\n".join(lines)


def _text(value: str) -> str:
    """A basic string. JSON's escapes are TOML's, but for halves of surrogate pairs, which no text here has."""
    return json.dumps(value.encode("utf-8", "backslashreplace").decode(), ensure_ascii=False)
