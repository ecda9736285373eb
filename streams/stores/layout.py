"""How an intent becomes files that people read and OPA loads. Pure.

In the Git repository, below the tenant's folder:

    change.json                      which change, when, why
    floors/<tee>/<product>.json      one floor each, with its provenance
    policy.json                      the rest of the appraisal policy that evidence is judged by
    opa/ratchet/decision.rego        what decides
    opa/ratchet_policy/data.json     what it reads: the floors, and the hash of the whole policy with its floors

What is below `opa/` is, byte for byte, what goes into the bundle; the published keys are put beside it (`KEYS`).
"""

from __future__ import annotations

import importlib.resources
import json
import re
from collections.abc import Mapping
from functools import cache

from ratchet.ear import WITHOUT_EVALUATIONS
from ratchet.event import Json, stamp
from ratchet.policy.policy import Policy
from ratchet.ports import Intent, Refused

MAX_DATA = 16 * 1024 * 1024
"""Bytes of one tenant's policy data. Intel's whole set of TCB infos is below 1 MiB."""

SERVED = "opa/"
"""The folder, below the tenant's, whose content is the bundle."""

RULES = "ratchet/decision.rego"
"""Where the policy lies in a bundle."""

DATA = "ratchet_policy/data.json"
"""Where its data lie."""

KEYS = "ratchet_keys/data.json"
"""Where the published keys lie in a bundle. They rotate, so no commit holds them."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}(?:\.[A-Za-z0-9_-]{1,32}){0,4}")
"""Of tenants, families' parts and TEEs: no path may leave its folder, none may be hidden."""


def files_of(intent: Intent) -> dict[str, bytes]:
    """Every file of the tenant's folder, by path below it.

    Raises:
        Refused: a name that cannot be a path, or more data than a store takes.
    """
    _named("tenant", intent.tenant)
    _named("change", intent.change)
    files = {
        "change.json": readable(
            {"change": intent.change, "tenant": intent.tenant, "at": stamp(intent.at), "reason": intent.reason}
        ),
        f"{SERVED}{RULES}": policy(),
        f"{SERVED}{DATA}": readable(
            {
                "change": intent.change,
                "tenant": intent.tenant,
                "policy": policy_hash(intent),
                "floors": intent.floors,
                "without_evaluations": sorted(WITHOUT_EVALUATIONS),
            }
        ),
        "policy.json": readable(intent.policy),
    }
    for family, floor in intent.floors.items():
        tee, slash, product = family.partition("/")
        if not slash:
            raise Refused(f"family {family!r} is not <tee>/<product>")
        files[f"floors/{_named('family', tee)}/{_named('family', product)}.json"] = readable(floor)
    if sum(map(len, files.values())) > MAX_DATA:
        raise Refused(f"more than {MAX_DATA} bytes of policy for tenant {intent.tenant}")
    return files


def policy_hash(intent: Intent) -> str:
    """The hash that tokens carry which were judged by this policy with these floors.

    Raises:
        Refused: it is none.
    """
    try:
        return Policy.from_data({**intent.policy, "floors": intent.floors}).hash
    except (ValueError, TypeError, AttributeError) as why:
        raise Refused(f"not a policy: {why}") from why


def served(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The bundle's files, out of a tenant's."""
    return {path.removeprefix(SERVED): data for path, data in files.items() if path.startswith(SERVED)}


def readable(value: Json) -> bytes:
    """One form for each value: sorted keys, two spaces, flat lists on one line, UTF-8, a newline at the end.

    So Git shows a raised component as one changed line.
    """
    return _text(value, "\n").encode("utf-8", "strict") + b"\n"


def _text(value: Json, line: str) -> str:
    if isinstance(value, Mapping) and value:
        inner = (f"{_text(str(key), line)}: {_text(value[key], line + '  ')}" for key in sorted(value))
        return f"{{{line}  {f',{line}  '.join(inner)}{line}}}"
    if isinstance(value, list | tuple) and any(isinstance(one, Mapping | list | tuple) for one in value):
        return f"[{line}  {f',{line}  '.join(_text(one, line + '  ') for one in value)}{line}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


@cache
def policy() -> bytes:
    """The Rego that every bundle carries: `decision.rego` beside this module."""
    return importlib.resources.files("streams.stores").joinpath("decision.rego").read_bytes()


def _named(what: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise Refused(
            f"{what} {name[:80]!r} cannot be the name of a file: letters, digits, '_', '-' and inner dots only"
        )
    return name
