"""Every code that a Reason or a dead letter may bear is in docs/reasons.md, with what it means and what to do.

Codes are read off the source: wherever a parameter or a field is called `code`, what is given for it is followed back
to the constants that it can be. A code that cannot be followed fails the test: write it as a constant.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "reasons.md"

ELSEWHERE = {
    # Made of the names of rules and of the reasons of verdicts, so checked below by themselves.
    "ratchet/detect/wording.py",
    # Holds, whose codes are in docs/rules.md (test_rules.py).
    "ratchet/detect/holds.py",
    "ratchet/standing.py",
}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("ratchet", "streams"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            # The command line's and the rules' own errors have codes and places of another kind.
            if (
                not name.startswith(("ratchet/app/", "ratchet/cli/", "ratchet/conformance/", "ratchet/detect/sigma/"))
                and name not in ELSEWHERE
            ):
                yield name, ast.parse(path.read_text(encoding="utf-8"))


class Codes:
    """What is given for `code`, anywhere."""

    def __init__(self) -> None:
        self.found: dict[str, set[str]] = defaultdict(set)
        self.lost: list[str] = []
        self._modules = dict(sources())
        self._takes: dict[str, list[tuple[str, list[str], list[str]]]] = defaultdict(list)
        self._globals: dict[str, ast.expr] = {}
        for name, module in self._modules.items():
            self._index(name, module)
        self._wanted = [(callee, "code") for callee, all in self._takes.items() if any("code" in one[1] for one in all)]
        for callee, parameter in self._wanted:  # grows as parameters turn out to be passed on
            self._follow(callee, parameter)
        self._replaced()

    def _index(self, name: str, module: ast.Module) -> None:
        for node in module.body:
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                self._globals[node.targets[0].id] = node.value
        for node in ast.walk(module):
            if isinstance(node, ast.FunctionDef) and node.name != "__init__":
                self._takes[node.name].append((name, _parameters(node), []))
            if isinstance(node, ast.ClassDef):
                made = [f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"]
                fields = [
                    n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
                ]
                self._takes[node.name].append((name, _parameters(made[0]) if made else fields, []))

    def _replaced(self) -> None:
        """`replace(reason, code=…)`."""
        for name, module in self._modules.items():
            for function, call in _calls(module):
                if _name(call.func) == "replace":
                    for given in (k.value for k in call.keywords if k.arg == "code"):
                        self._resolve(name, function, given)

    def _follow(self, callee: str, parameter: str) -> None:
        for name, module in self._modules.items():
            homes = [one for one in self._takes[callee] if parameter in one[1]]
            # A private name is its own module's, and so is one that the module defines itself.
            own = callee.startswith("_") or any(one[0] == name for one in self._takes[callee])
            here = [one for one in homes if one[0] == name] if own else homes
            for function, call in _calls(module):
                if _name(call.func) != callee or not here:
                    continue
                given = [k.value for k in call.keywords if k.arg == parameter]
                place = here[0][1].index(parameter)
                if not given and len(call.args) > place and not any(isinstance(a, ast.Starred) for a in call.args):
                    given = [call.args[place]]
                for value in given:
                    self._resolve(name, function, value)

    def _resolve(self, name: str, function: ast.FunctionDef | None, value: ast.expr) -> None:
        match value:
            case ast.Constant(value=str(code)):
                self.found[code].add(name)
            case ast.IfExp():
                self._resolve(name, function, value.body)
                self._resolve(name, function, value.orelse)
            case ast.Attribute(attr="code"):
                pass  # of something that was made with a code, which is followed where it was made
            case ast.Name(id=text):
                self._variable(name, function, text, value)
            case _:
                self.lost.append(f"{name}:{value.lineno}: {ast.unparse(value)}")

    def _variable(self, name: str, function: ast.FunctionDef | None, text: str, value: ast.expr) -> None:
        assigned = list(_assigned(function, text)) if function else []
        if assigned:
            for one in assigned:
                self._resolve(name, function, one)
        elif function and text in _parameters(function):
            if (function.name, text) not in self._wanted:
                self._wanted.append((function.name, text))
        elif text in self._globals:
            self._resolve(name, None, self._globals[text])
        else:
            self.lost.append(f"{name}:{value.lineno}: {text}")


def _parameters(function: ast.FunctionDef) -> list[str]:
    names = [a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def _name(func: ast.expr) -> str | None:
    return func.id if isinstance(func, ast.Name) else func.attr if isinstance(func, ast.Attribute) else None


def _calls(tree: ast.AST, function: ast.FunctionDef | None = None) -> Iterator[tuple[ast.FunctionDef | None, ast.Call]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call):
            yield function, node
        yield from _calls(node, node if isinstance(node, ast.FunctionDef) else function)


def _assigned(function: ast.FunctionDef, text: str) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            if isinstance(target, ast.Name) and target.id == text:
                yield node.value
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                for left, right in zip(target.elts, node.value.elts, strict=True):
                    if isinstance(left, ast.Name) and left.id == text:
                        yield right


@pytest.fixture(scope="module")
def codes() -> Codes:
    return Codes()


def documented() -> dict[str, tuple[str, str]]:
    rows = re.findall(r"^\| `([^`]+)` \| (.+?) \| (.+?) \|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert len({code for code, _, _ in rows}) == len(rows), "a code is there twice"
    return {code: (meaning, remedy) for code, meaning, remedy in rows}


def rules() -> set[str]:
    """What an alert says where its verdict gave no reason: the rule's own name."""
    return {path.stem.replace("-", "_") for path in (ROOT / "rules").rglob("*.yml") if ".cases" not in path.name}


def test_every_code_can_be_read_off_the_source(codes: Codes) -> None:
    assert codes.lost == []


def test_the_page_has_every_code_and_no_other(codes: Codes) -> None:
    used = set(codes.found) | rules()
    assert sorted(used - set(documented())) == [], "used, and not explained"
    assert sorted(set(documented()) - used) == [], "explained, and not used"


def test_codes_are_written_alike(codes: Codes) -> None:
    for code in {*codes.found, *documented()}:
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", code), code


def test_the_known_ones_are_found(codes: Codes) -> None:
    """The reader of the source is itself read: constants, tables, tuples, and what is passed on."""
    for code in ("below_floor", "tcb_out_of_date", "certificate_not_yet_valid", "crl_not_yet_valid", "blob_missing"):
        assert code in codes.found, code
