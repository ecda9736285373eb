"""What commands print: aligned tables for people, JSON lines for programs, a progress bar on a terminal's stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from ratchet.event import Json

T = TypeVar("T")

_SAFE = {c: f"\\x{c:02x}" for c in (*range(32), *range(127, 160))}
"""Control characters as text: what an attester sends must not steer a terminal."""
_SAFE |= {ord(c): f"\\u{ord(c):04x}" for c in "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}


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
    """The first and last digits of a long id."""
    return id if len(id) <= 16 else f"{id[:8]}…{id[-4:]}"


def print_json(value: Json) -> None:
    """One JSON value on a line of its own."""
    print(json.dumps(value, ensure_ascii=False, sort_keys=True))


def print_rows(rows: Iterable[Mapping[str, Json]]) -> None:
    """JSON lines."""
    for row in rows:
        print_json(row)


def progress(items: Iterable[T], total: int | None, what: str) -> Iterator[T]:
    """Pass items through; on a terminal, show on stderr how far it is."""
    if not sys.stderr.isatty():
        yield from items
        return
    done = 0
    for done, item in enumerate(items, 1):
        yield item
        if done % 64 == 0 or done == total:
            _draw(done, total, what)
    _draw(done, total, what)
    sys.stderr.write("\n")


def _draw(done: int, total: int | None, what: str) -> None:
    if total:
        filled = min(30, 30 * done // total)
        sys.stderr.write(f"\r{what} [{'#' * filled}{'.' * (30 - filled)}] {done}/{total} ")
    else:
        sys.stderr.write(f"\r{what} {done} ")
    sys.stderr.flush()
