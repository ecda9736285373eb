"""Faults that a person can act on: what happened, to which thing, what to do next, and a stable code."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes (docs/design.md, Frozen)."""

    DONE = 0
    OURS = 1
    USAGE = 2
    UNSUPPORTED = 3
    REFUSED = 4
    UNCONFIRMED = 5
    UNREACHABLE = 6


class Fault(Exception):
    """Something that a person can mend.

    Attributes:
        code: stable, `kebab-case`; listed in docs/errors.md (a test keeps the two equal).
        what: what happened and to which thing, one sentence without a full stop.
        next: what to do now, imperative.
        exit: the exit code.
        detail: further lines, shown indented.
    """

    def __init__(self, code: str, what: str, next: str, exit: Exit = Exit.USAGE, detail: tuple[str, ...] = ()) -> None:
        super().__init__(what)
        self.code, self.what, self.next, self.exit, self.detail = code, what, next, exit, detail

    def text(self) -> str:
        """For a terminal."""
        lines = [f"ratchet: {self.what}", *(f"  {line}" for line in self.detail)]
        if self.next:
            lines.append(f"  next: {self.next}")
        return "\n".join(lines) + f"\n  ({self.code})"

    def to_data(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "error": self.code,
            "what": self.what,
            "detail": list(self.detail),
            "next": self.next,
            "exit": int(self.exit),
        }


def fault_of(error: BaseException) -> Fault | None:
    """What a full disk or a damaged database is to a person; None for other errors."""
    import sqlite3

    from ratchet.ports import Damaged, NoSpace
    from streams.sqlite_file import fault_of as storage_fault

    if isinstance(error, sqlite3.DatabaseError):
        from pathlib import Path

        error = storage_fault(error, Path("the database")) or error
    if isinstance(error, NoSpace):
        return Fault(
            "disk-full",
            f"the disk takes no more: {error}",
            "make room, then start again: what was acknowledged is kept, and the round is computed anew",
            Exit.UNREACHABLE,
        )
    if isinstance(error, Damaged):
        return Fault(
            "corrupt",
            f"what is stored is not what was written: {error}",
            "`ratchet doctor` says what else; restore the data directory from a copy",
            Exit.REFUSED,
        )
    return None
