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
