"""Every command that a document, a page or a message prints, read from where it is printed.

From Markdown: indented and fenced blocks, and code spans. From the console's pages: `<code>` and `<pre>`. From Python
and rules: code spans in text (help, errors, remedies) and the examples of `--help`. Docstrings of functions are for
programmers and are left out, as are comments.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent

FIRST = ("ratchet", "make", "scripts/", "git", "curl", "opa", "docker", "podman", "python3", "base64", "chmod", "mkdir")
"""What a command begins with; a code span that begins otherwise is a name, a file or a value."""

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs")
SOURCES = ("ratchet", "streams", "collectors", "dashboards", "rules")


class Printed(NamedTuple):
    """A command and where it stands."""

    command: str
    place: str


def printed() -> list[Printed]:
    """All of them, each once, with the first place of each."""
    found: dict[str, str] = {}
    for command, place in (*_documents(), *_sources()):
        text = " ".join(command.split())
        if _is_command(text):
            found.setdefault(text, place)
    return [Printed(command, place) for command, place in sorted(found.items())]


def _is_command(text: str) -> bool:
    words = text.split()
    if len(words) < 2 and not text.startswith("scripts/"):
        return False  # a bare `make` or `git` names the program
    return any(words[0] == first or (first.endswith("/") and words[0].startswith(first)) for first in FIRST)


def _documents() -> Iterator[tuple[str, str]]:
    for name in DOCUMENTS:
        path = ROOT / name
        for page in [path] if path.is_file() else sorted(path.glob("*.md")):  # decisions of the past are no guide
            place = str(page.relative_to(ROOT))
            text = page.read_text()
            for command in (*_blocks(text), *_spans(re.sub(r"```.*?```", "", text, flags=re.S))):
                yield command.removeprefix(".venv/bin/"), place


def _blocks(text: str) -> Iterator[str]:
    """Lines of indented blocks that begin with a command, with their continuations and without remarks."""
    joined = re.sub(r"\\\n\s*", "", text)
    for line in joined.splitlines():
        if re.match(r"    \S", line) and not re.match(r"\s+[-*] ", line):
            yield re.sub(r"\s{2,}#.*$", "", line).strip().removeprefix("$ ")


def _spans(text: str) -> Iterator[str]:
    for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", text):
        yield span.strip()


def _sources() -> Iterator[tuple[str, str]]:
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*")):
            place = str(path.relative_to(ROOT))
            if path.suffix == ".html":
                for inner in re.findall(r"<(?:code|pre)[^>]*>(.*?)</(?:code|pre)>", path.read_text(), re.S):
                    yield unescape(re.sub(r"<[^>]+>", "", inner)), place
            elif path.suffix == ".yml":
                for command in _spans(path.read_text()):
                    yield command, place
            elif path.suffix == ".py":
                for text in _texts(ast.parse(path.read_text()), help=place.startswith("ratchet/cli/")):
                    for command in (*_spans(text), *_examples(text)):
                        yield command, place


def _examples(text: str) -> Iterator[str]:
    """`Example: ratchet …`, the lines below it, remedies that are a command, and the command for what is left over."""
    for line in text.splitlines():
        match = re.match(r"\s*(?:Examples?: *|Make a key: *|)(?=ratchet |base64 |curl |chmod )(.*)$", line)
        if match:
            yield re.sub(r"\s{2,}\(.*$", "", match[1]).strip()
        elif (more := re.search(r" more: (ratchet .*)$", line)) is not None:
            yield more[1]


def _texts(module: ast.Module, help: bool) -> Iterator[str]:
    """Strings that people may see: all but docstrings, of which only a command's own is its help."""
    hidden = {
        id(node.body[0].value)
        for node in ast.walk(module)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
        and not (help and isinstance(node, ast.Module))
    }
    # A string that stands for itself describes the name above it.
    hidden |= {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr) and node is not module.body[0]}
    inside = {id(part) for node in ast.walk(module) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(module):
        if id(node) in hidden or id(node) in inside:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(
                part.value if isinstance(part, ast.Constant) else "{" + ast.unparse(part.value).replace(" ", "") + "}"
                for part in node.values
                if isinstance(part, ast.Constant | ast.FormattedValue)
            )
