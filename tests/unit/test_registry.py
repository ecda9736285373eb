"""A format is one folder and one entry: nothing outside asks which TEE it is, and no entry lacks anything."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ratchet.evidence import FORMATS, TEES
from ratchet.evidence.registry import BadRegistry, identity_forms, is_identity, load
from ratchet.evidence.spec import FormatSpec, Identity, Judge, Tee, problems

ROOT = Path(__file__).resolve().parents[2]
SNP = next(one for one in FORMATS.values() if one.tee.name == "snp")


def outside() -> Iterator[Path]:
    """Everything that runs, but for the folders of formats and of simulated vendors."""
    for folder in ("ratchet", "streams", "collectors", "dashboards"):
        for path in sorted((ROOT / folder).rglob("*")):
            own = re.match(r"(ratchet/evidence|collectors/simulated)/\w+/", path.relative_to(ROOT).as_posix())
            if path.suffix in (".py", ".rego", ".html") and own is None:
                yield path


def asks(source: str, names: frozenset[str]) -> list[str]:
    """Where Python code asks which TEE something is of, or has a table of TEEs."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Compare(left=left, comparators=others):
                sides = [left, *others]
                if any(map(_is_tee, sides)) and any(_texts(side) & names for side in sides):
                    found.append(f"line {node.lineno}: compares a TEE")
            case ast.Match(subject=subject) if _is_tee(subject):
                found.append(f"line {node.lineno}: tells TEEs apart")
            case ast.Dict(keys=keys) if len(keys) > 1 and all(key and _texts(key) & names for key in keys):
                found.append(f"line {node.lineno}: a table of TEEs")
            case ast.Tuple() | ast.List() | ast.Set() if len(_texts(node) & names) > 1:
                found.append(f"line {node.lineno}: a list of TEEs")
    return found


def _is_tee(node: ast.expr) -> bool:
    match node:
        case ast.Name(id="tee") | ast.Attribute(attr="tee") | ast.Subscript(slice=ast.Constant(value="tee")):
            return True
        case ast.Call(args=[ast.Constant(value="tee"), *_]):
            return True
    return False


def _texts(node: ast.expr) -> frozenset[str]:
    match node:
        case ast.Constant(value=str(text)):
            return frozenset({text})
        case ast.Tuple(elts=elements) | ast.List(elts=elements) | ast.Set(elts=elements):
            return frozenset().union(*map(_texts, elements))
    return frozenset()


def test_nothing_outside_its_folder_asks_which_tee_it_is() -> None:
    found = {}
    for path in outside():
        text = path.read_text()
        if path.suffix == ".py":
            wrong = asks(text, frozenset(TEES))
        else:
            names = "|".join(map(re.escape, TEES))
            wrong = re.findall(rf'tee\w*["\')\]]*\s*(?:==|!=|in)\s*["\'(\[{{].*|["\'](?:{names})["\']\s*:', text)
        if wrong:
            found[path.relative_to(ROOT).as_posix()] = wrong
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        'if claims.tee == "snp": pass',
        'x = event["tee"] in ("sgx", "tdx")',
        'x = signal.get("tee") != "snp"',
        'match tee:\n    case "sgx":\n        pass',
        'TABLE = {"sgx": 1, "tdx": 2}',
        'TEES = ("sgx", "tdx", "snp")',
    ],
)
def test_the_check_itself_sees_it(source: str) -> None:
    assert asks(source, frozenset(TEES))


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({"components": SNP.tee.components[1:]}, "nobody orders reported.bl"),
        ({"versions": SNP.tee.versions - {"reported.bl"}}, "it orders reported.bl, which nobody makes"),
        ({"components": ()}, "no versions that a floor could judge"),
        ({"judge": Judge.ISSUER}, "judged by nobody"),
        ({"boot": ()}, "no boot measurement"),
        ({"boot": ("mrtd",)}, "boot names mrtd"),
        ({"runtime": ("rtmr3",)}, "runtime names rtmr3"),
        ({"signers": ("mrsigner",)}, "signers names mrsigner"),
        ({"required": {"policy.no_such": True}}, "required names policy.no_such"),
        ({"launched_as": ("isvsvn",)}, "launched_as names isvsvn"),
        ({"at_least": frozenset({"guest_svn"})}, "at_least names guest_svn"),
        ({"numbers": SNP.tee.numbers | {"reported.snp"}}, "named twice"),
        ({"views": (*SNP.tee.views, replace(SNP.tee.views[0], name="next"))}, "no component is of the view next"),
        ({"behind": (replace(SNP.tee.behind[0], higher="next"),)}, "behind names next"),
        ({"title": ""}, "title or debug_source is empty"),
        ({"texts": frozenset({"mrtd"})}, "texts names mrtd"),
        ({"identities": (Identity(kind="Chip", form="x", label="chip id"),)}, "identity 'Chip'"),
        ({"identities": (Identity(kind="chip", form="", label="chip id"),)}, "identity 'chip'"),
    ],
)
def test_an_entry_that_lacks_something_does_not_load(changed: dict[str, Any], wrong: str) -> None:
    entry = replace(SNP, tee=replace(SNP.tee, **changed))
    found = list(problems([entry]))
    assert any(wrong in one for one in found), found
    with pytest.raises(BadRegistry, match="snp: "):
        load([entry])


def test_two_entries_of_one_name_do_not_load() -> None:
    assert "format snp-report is there twice" in list(problems([SNP, SNP]))
    other = replace(SNP, format=type(SNP.format)("other"), tee=replace(SNP.tee, title="Another"))
    assert "TEE snp is there twice" in list(problems([SNP, other]))


def test_two_kinds_of_identity_of_one_name_do_not_load() -> None:
    other = replace(SNP.tee, name="other", identities=(Identity(kind="chip", form="[0-9]+", label="chip number"),))
    entries = [SNP, replace(SNP, format=type(SNP.format)("other"), tee=other)]
    assert list(problems(entries)) == ["two kinds of identity are called chip"]


def test_every_kind_of_identity_is_known_by_its_form() -> None:
    proven = ("chip:" + "0a" * 8, "chip:" + "0a" * 64, "ppid:" + "0a" * 16, "platform:" + "0a" * 16)
    assert all(map(is_identity, (*proven, "ec2:i-0123456789abcdef0")))
    assert not any(map(is_identity, ("", "chip:", "chip:0a", "hint:node", "ppid:" + "0A" * 16, proven[0] + "\n")))
    assert all(f"{one.partition(':')[0]}: (" in identity_forms() for one in proven)


def test_what_shipped_loads() -> None:
    assert list(problems(FORMATS.values())) == []
    assert all(isinstance(one, FormatSpec) and isinstance(one.tee, Tee) for one in FORMATS.values())
