"""The rules of the house that a reader could break without noticing."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SHELL = {"app", "cli", "conformance"}
CORE = sorted(p for p in (ROOT / "ratchet").rglob("*.py") if p.relative_to(ROOT / "ratchet").parts[0] not in SHELL)

IMPURE_MODULES = {
    "asyncio", "glob", "http", "httpx", "io", "logging", "multiprocessing", "os", "pathlib", "random", "requests",
    "secrets", "shutil", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time", "urllib",
}  # fmt: skip
PURE = {"urllib.parse"}
IMPURE_CALLS = {"now", "utcnow", "today", "open", "print", "input", "getenv", "urandom", "exec", "eval", "__import__"}


def impurities(source: str) -> list[str]:
    """Imports and calls by which code could reach clock, files, network, environment or randomness."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [n.name for n in names if n.name.split(".")[0] in IMPURE_MODULES]
            case ast.ImportFrom(module="pathlib", names=names) if all(n.name.startswith("Pure") for n in names):
                pass  # paths as text
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in IMPURE_MODULES and module not in PURE:
                found.append(module)
            case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)) if name in IMPURE_CALLS:
                found.append(f"{name}()")
    return found


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_reaches_no_clock_file_network_environment_or_chance(path: Path) -> None:
    assert impurities(path.read_text()) == []


def test_the_check_itself_sees_a_clock() -> None:
    seen = impurities("import os\nfrom datetime import datetime\nx = datetime.now()\n")
    assert sorted(seen) == ["now()", "os"]


def test_names_say_what_is_inside() -> None:
    vague = re.compile(r"(utils?|helpers?|common|misc|manager)\.py$")
    folders = ("ratchet", "collectors", "streams", "dashboards", "tests", "bench")
    assert [p for f in folders for p in (ROOT / f).rglob("*.py") if vague.fullmatch(p.name)] == []
    assert not (ROOT / "rules" / "__init__.py").exists()


def test_help_loads_nothing_heavy() -> None:
    heavy = {
        "cryptography",
        "pydantic",
        "starlette",
        "jinja2",
        "sigma",
        "dulwich",
        "wasmtime",
        "yaml",
        "httpx",
        "sqlite3",
    }
    code = "import sys; from ratchet.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "print(' '.join(m for m in sys.modules if '.' not in m), file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "evidence" in run.stdout
    assert heavy & set(run.stderr.split()) == set()
