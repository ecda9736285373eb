"""How an intent becomes files that people read and OPA loads. Pure.

In the Git repository, below the tenant's folder:

    change.json                      which change, when, why
    floors/<tee>/<product>.json      one floor each, with its provenance
    reference-values/<tee>.json      measurement -> known, closing or contraindicated
    opa/ratchet/decision.rego        the policy
    opa/ratchet_policy/data.json     the same floors and values, as the policy reads them

What is below `opa/` is, byte for byte, what goes into the bundle.
"""

from __future__ import annotations

import importlib.resources
import json
import re
from collections.abc import Mapping
from functools import cache

from ratchet.event import Json, stamp
from ratchet.ports import Intent, Refused

MAX_DATA = 16 * 1024 * 1024
"""Bytes of one tenant's policy data. Intel's whole set of TCB infos is below 1 MiB."""

SERVED = "opa/"
"""The folder, below the tenant's, whose content is the bundle."""

RULES = "ratchet/decision.rego"
"""Where the policy lies in a bundle."""

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
        "opa/ratchet_policy/data.json": readable(
            {
                "change": intent.change,
                "floors": intent.floors,
                "reference_values": intent.reference_values,
            }
        ),
    }
    for family, floor in intent.floors.items():
        tee, slash, product = family.partition("/")
        if not slash:
            raise Refused(f"family {family!r} is not <tee>/<product>")
        files[f"floors/{_named('family', tee)}/{_named('family', product)}.json"] = readable(floor)
    for tee, values in intent.reference_values.items():
        files[f"reference-values/{_named('tee', tee)}.json"] = readable(values)
    if sum(map(len, files.values())) > MAX_DATA:
        raise Refused(f"more than {MAX_DATA} bytes of policy for tenant {intent.tenant}")
    return files


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
