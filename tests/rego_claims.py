"""Random floors and claims, near each other, for holding every evaluator of the policy against the core."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from ratchet import ear
from ratchet.collateral.tcb import ModuleLevel, TcbLevel
from ratchet.event import BlobId
from ratchet.policy.floor import AmdFloor, IntelFloor, Minimum, from_data
from ratchet.policy.floor.provenance import Provenance
from ratchet.ports import Intent
from streams.stores.layout import DATA, files_of, served
from streams.stores.samples import FAULTS, OneKey, question

AT = datetime(2026, 3, 1, tzinfo=UTC)
FROM = Provenance(documents=(BlobId("ab" * 32),), pointer="/tcbInfo/tcbLevels", rule="test/1")
REVIEWED = Provenance(documents=(), pointer="/0", rule="amd.reviewed/1", reviewed_by="Zoë <z@x>\u2028", url=None)
STATUSES = ("UpToDate", "SWHardeningNeeded", "OutOfDate", "Revoked")
ADVISORIES = ("INTEL-SA-00615", "INTEL-SA-00837")

small = st.integers(0, 3)
status = st.sampled_from(STATUSES)
advisories = st.lists(st.sampled_from(ADVISORIES), unique=True, max_size=2).map(tuple)
named = st.one_of(st.none(), advisories)
"""Of a level: version 2 of TCB info does not say which."""


@st.composite
def sixteen(draw: st.DrawFn) -> tuple[int, ...]:
    """Components of which two or three say anything: random ones would never meet each other."""
    values = [0] * 16
    for place in (0, 1, draw(st.integers(2, 15))):
        values[place] = draw(small)
    return tuple(values)


@st.composite
def intel(draw: st.DrawFn, tee: str) -> IntelFloor:
    levels = [
        TcbLevel(
            draw(sixteen()),
            draw(small),
            draw(st.one_of(st.none(), sixteen())) if tee == "tdx" else None,
            draw(status),
            AT,
            draw(named),
        )
        for _ in range(draw(st.integers(0, 4)))
    ]
    modules = {
        name: tuple(ModuleLevel(draw(small), draw(status), AT, draw(named)) for _ in range(draw(small)))
        for name in draw(st.lists(st.sampled_from(["TDX_01", "TDX_03", "TDX_1A"]), unique=True))
    }
    return IntelFloor(
        family=f"{tee}/90c06f000000",
        tee=tee,
        evaluation=20,
        accepted=tuple(draw(st.lists(status, unique=True, max_size=2))),
        conditional=draw(st.dictionaries(status, advisories, max_size=2)),
        levels=tuple(levels),
        modules=modules if tee == "tdx" else {},
        provenance=FROM,
    )


@st.composite
def amd(draw: st.DrawFn) -> AmdFloor:
    selector = st.one_of(st.none(), st.integers(0, 2))
    names = st.sampled_from(["reported.snp", "committed.ucode", "launch.tee"])
    minima = [
        Minimum(
            model=draw(selector),
            stepping=draw(selector),
            tcb=draw(st.dictionaries(names, small, max_size=3)),
            bits=draw(
                st.dictionaries(st.sampled_from(["platform.alias_check", "policy.smt", "vmpl"]), flag, max_size=2)
            ),
            mitigation=draw(st.sampled_from([0, 0, 1, 3, 2**40])),
        )
        for _ in range(draw(st.integers(0, 3)))
    ]
    return AmdFloor(family="snp/Milan", minima=tuple(minima), provenance=REVIEWED)


flag = st.one_of(st.booleans(), st.integers(0, 1))


@st.composite
def claims(draw: st.DrawFn, family: str) -> dict[str, Any]:
    tee = family.partition("/")[0]
    tcb: dict[str, Any] = {}
    bits: dict[str, Any] = {}
    if tee == "snp":
        for name in ("reported.snp", "committed.ucode", "launch.tee"):
            if draw(st.integers(0, 5)):
                tcb[name] = draw(small)
        for name in ("cpuid.model", "cpuid.stepping"):
            if draw(st.integers(0, 3)):
                bits[name] = draw(st.integers(0, 2))
        for name in ("platform.alias_check", "policy.smt", "vmpl"):
            if draw(st.integers(0, 3)):
                bits[name] = draw(flag)
        if draw(st.booleans()):
            bits["mitigation.current"] = draw(st.sampled_from([0, 1, 2, 3, 2**40, 2**53 - 1]))
    else:
        tcb = {f"sgx.{n}": v for n, v in enumerate(draw(sixteen()))} | {"pcesvn": draw(small)}
        if tee == "tdx":
            tcb |= {f"tdx.{n}": v for n, v in enumerate(draw(sixteen()))}
            tcb["tdx.1"] = draw(st.sampled_from([0, 0, 1, 3, 26]))
        if not draw(st.integers(0, 9)):
            del tcb[draw(st.sampled_from(sorted(tcb)))]
    mostly = st.sampled_from([True, True, True, True, False])
    found: dict[str, Any] = {
        "family": family if draw(mostly) else "snp/Naples",
        "tee": tee,
        "status": draw(st.sampled_from(["affirming"] * 6 + ["none", "warning", "contraindicated"])),
        "debug": not draw(mostly),
        "genuine": draw(mostly),
        "tcb": tcb,
        "bits": bits,
    }
    if not draw(st.integers(0, 5)):
        found["fault"] = draw(st.sampled_from(FAULTS))
    if not draw(st.integers(0, 15)):
        del found[draw(st.sampled_from(sorted({"family", "debug", "genuine"})))]
    return found


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Intent, list[dict[str, Any]]]:
    """What a store is to hold, and some claims to ask it about."""
    floors = [draw(intel("sgx")), draw(intel("tdx")), draw(amd())]
    held = {floor.family: floor.to_data() for floor in floors}
    asked = [draw(claims(floor.family)) for floor in floors for _ in range(4)]
    return Intent("c" * 64, "default", held, AT, "random"), asked


def wanted(intent: Intent, ask: Mapping[str, Any]) -> set[tuple[str, str]]:
    """(code, component) of every reason that the core has for refusing; of Intel's levels, the code alone.

    The core names the components that are too low; the Rego names the status that follows from them.
    """
    files, minter = served(files_of(intent)), OneKey()
    question_ = question(ask, files, minter, AT)
    try:
        claims = ear.opened(question_["token"], minter.jwks(AT), AT)
    except ear.BadToken as bad:
        return {(bad.code if bad.code == "token_key_unknown" else "token_refused", "token")}
    asked = ear.Asked(audience=question_["audience"], tenant=question_["tenant"], nonce=question_["nonce"])
    held, floors = json.loads(files[DATA]), {family: from_data(data) for family, data in intent.floors.items()}
    why = ear.refusals(claims, asked, floors, tenant=held["tenant"], policy=held["policy"])
    return {_short(r.code, r.component, ask) for r in why}


def _short(code: str, component: str, ask: Mapping[str, Any]) -> tuple[str, str]:
    levels = not str(ask.get("family")).startswith("snp/") and not component.startswith("tdx_")
    return (code, "levels" if code == "below_floor" and levels else component)


def seen(reasons: tuple[Mapping[str, Any], ...], ask: Mapping[str, Any]) -> set[tuple[str, str]]:
    """The same of what an evaluator answered."""
    return {_short(r["code"], r["component"], ask) for r in reasons}
