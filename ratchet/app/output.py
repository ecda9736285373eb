"""What commands print: aligned tables for people, JSON lines for programs, a progress bar on a terminal's stderr."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from shutil import which
from typing import TypeVar

from ratchet.event import Json

T = TypeVar("T")

_SAFE = {c: f"\\x{c:02x}" for c in (*range(32), *range(127, 160))}
"""Control characters as text: what an attester sends must not steer a terminal."""
_SAFE |= {ord(c): f"\\u{ord(c):04x}" for c in "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}

_JSON_SAFE = {c: f"\\u{c:04x}" for c in _SAFE if c > 31}
"""The same in JSON text, where only strings have any; JSON itself escapes those below 32."""


def plain(text: object) -> str:
    """One line of text without control or direction-changing characters."""
    return str(text).translate(_SAFE)


def table(rows: Iterable[Sequence[object]], head: Sequence[str]) -> str:
    """Rows under a heading, columns aligned to their widest cell; the last one as long as it likes."""
    cells = [list(head), *([plain(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)
    return "\n".join(lines)


def short(id: str) -> str:
    """The first and last digits of a long id; `begins` takes it as well as the whole."""
    return id if len(id) <= 16 else f"{id[:8]}…{id[-4:]}"


def begins(id: str, wanted: str) -> bool:
    """Whether `wanted` means this id: all of it, its beginning, or what `short` makes of it."""
    first, _, last = wanted.partition("…")
    return id.startswith(first) and id.endswith(last)


def shown(value: Json) -> str:
    """A JSON value in one line, in words: what a person reads where a program reads `--json`."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "yes" if value else "no"
        case Mapping():
            return "  ".join(f"{key}={shown(inner)}" for key, inner in sorted(value.items())) or "nothing"
        case list() | tuple():
            return ", ".join(shown(inner) for inner in value) or "nothing"
        case _:
            return plain(value)


def reason_lines(reasons: Iterable[Mapping[str, Json]]) -> Iterator[str]:
    """Reasons for people, a line each and what to do below it; the same advice is given once for several in a row."""
    before = ""
    all_reasons = list(reasons)
    unreadable = any(reason["code"] in ("evidence_unreadable", "format_not_supported") for reason in all_reasons)
    for reason in all_reasons:
        if unreadable and reason["code"] == "unparsed":
            continue  # every later step has one: the first reason says it all
        needs = "" if reason["want"] is None else f"needs {shown(reason['want'])}"
        if reason["got"] is not None:
            said = f"is {shown(reason['got'])}" + (f", {needs}" if needs else "")
        else:
            said = f"missing; {needs}" if needs else ""
        yield f"{reason['code']}: {plain(reason['component'])} {said}".rstrip() + f"  [{plain(reason['source'])}]"
        if reason["remedy"] and reason["remedy"] != before:
            yield f"  do: {plain(reason['remedy'])}"
        before = reason["remedy"]


def program() -> str:
    """How to call this program from where we are: `ratchet`, or the path by which it was called."""
    return "ratchet" if which("ratchet") else sys.argv[0] or "ratchet"


def at_least_one(text: str) -> int:
    """A number for `--limit` (an argparse type)."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not 1 or more")
    return int(text)


def print_json(value: Json) -> None:
    """One JSON value on a line of its own."""
    print(json.dumps(value, ensure_ascii=False, sort_keys=True).translate(_JSON_SAFE))


def print_rows(rows: Iterable[Mapping[str, Json]]) -> None:
    """JSON lines."""
    for row in rows:
        print_json(row)


def progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Pass items through; on a terminal, show on stderr how far it is."""
    with bar(total, what) as step:
        for item in items:
            yield item
            step()


@contextmanager
def bar(total: int, what: str) -> Iterator[Callable[[], None]]:
    """A progress bar on a terminal's stderr, nothing elsewhere; gives what to call at each step."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    done, drawn = 0, -1

    def step() -> None:
        nonlocal done, drawn
        done += 1
        filled = min(30, 30 * done // max(1, total))
        if filled != drawn or done % 64 == 0:
            drawn = filled
            sys.stderr.write(f"\r{what} [{'#' * filled}{'.' * (30 - filled)}] {done}/{total} ")
            sys.stderr.flush()

    yield step
    sys.stderr.write("\n")
