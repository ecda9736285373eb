"""What the documents promise is what the code has."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from ratchet.cli.main import COMMANDS, overview
from streams.topology import mermaid

ROOT = Path(__file__).resolve().parents[2]


def test_the_picture_in_the_readme_is_the_topology() -> None:
    readme = (ROOT / "README.md").read_text()
    drawn = re.search(r"<!-- picture: make picture -->\n```mermaid\n(.*?)```\n<!-- /picture -->", readme, re.S)
    assert drawn is not None
    assert drawn[1] == mermaid(), "make picture"


def fault_codes() -> set[str]:
    """The first argument of every `Fault(...)` in the command line."""
    codes: set[str] = set()
    for file in (path for folder in ("app", "cli", "conformance") for path in (ROOT / "ratchet" / folder).glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Fault":
                first = node.args[0]
                assert isinstance(first, ast.Constant), f"{file}: the code of a Fault is a literal"
                codes.add(str(first.value))
    return codes


def test_every_error_code_is_documented_and_no_other() -> None:
    documented = set(re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs" / "errors.md").read_text(), re.M))
    assert documented == fault_codes() | {"unknown-command", "internal"}


def test_every_command_has_a_module_and_help() -> None:
    for name in COMMANDS:
        module = ROOT / "ratchet" / "cli" / f"{name.replace('-', '_')}.py"
        assert module.exists() or module.with_suffix("").is_dir(), name
        assert f"  {name} " in overview()


def test_links_between_documents_lead_somewhere() -> None:
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} -> {target}"
