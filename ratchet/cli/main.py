"""`ratchet`: finds the command, imports that one alone, and turns faults into text and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from ratchet.app.errors import Fault

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("Try it", "Run a week of a simulated fleet through the whole pipeline"),
    "up": ("Run it", "Run the pipeline, the evidence entrance and the console"),
    "ingest": ("Run it", "Take evidence and vendor documents from files, folders or standard input"),
    "doctor": ("Run it", "Check the data directory, its configuration and what it reaches"),
    "config": ("Run it", "Show the configuration in force or its JSON schema, or make a sender's token"),
    "verify": ("Look", "Verify one file of evidence, step by step, without keeping anything"),
    "watch": ("Look", "Follow alerts, verdicts and changes as they come"),
    "search": ("Look", "Search everything on the log"),
    "explain": ("Look", "From an alert, verdict or piece of evidence back to the bytes"),
    "fleet": ("Look", "Machines by what is known of them now"),
    "alerts": ("Look", "Alerts; acknowledge or resolve one"),
    "dead-letters": ("Look", "What could not be read, with its bytes"),
    "floors": ("Decide", "Minimum versions in force, and where each comes from"),
    "proposals": ("Decide", "Changes of floors that wait or have gone, machine by machine"),
    "enrol": ("Decide", "Say that machines are yours; list those that wait"),
    "retire": ("Decide", "Say that a machine is gone"),
    "keys": ("Decide", "Show or rotate the keys that sign tokens for relying parties"),
    "approve": ("Decide", "Sign a proposal (or reject it) with your key"),
    "state": ("Prove", "Digest of log, state, archive, Git and bundle"),
    "corpus": ("Prove", "Check or replay a manifest of real evidence"),
}
"""Command -> (group, one line). A command's module is `ratchet.cli.<command>`, with `_` for `-`."""

COMMON = """\
Every command takes --data PATH (the data directory; else RATCHET_DATA, else ./ratchet-data) and --json, after its name.
Exit: 0 done, 1 a fault of ours, 2 usage, 3 not supported or skipped, 4 refused, 5 written but not confirmed,
6 unreachable.
"""


def overview() -> str:
    """What `ratchet --help` prints."""
    lines = ["Usage: ratchet COMMAND [OPTIONS]", "", "  Watches attestation evidence and revokes trust.", ""]
    group = ""
    for name, (its_group, line) in COMMANDS.items():
        if its_group != group:
            group = its_group
            lines.append(f"{group}:")
        lines.append(f"  {name:<13} {line}")
    return "\n".join([*lines, "", "`ratchet COMMAND --help` says more, with an example.", COMMON])


class _Output:
    """A stream whose reader may go away, as in `ratchet verify … | head`: what is written afterwards is dropped.

    The command goes on to its end, because what it exits with is its answer: a forgery is refused and a folder is
    ingested whole, however much of the output was read.
    """

    gone = False
    """Whether its reader went away: `watch`, which has no end of its own, ends then."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or drop."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        """Flush, or drop."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._drop()

    def _drop(self) -> None:
        """Let the descriptor lead nowhere: what is buffered, and what Python flushes at its end, goes there too."""
        self.gone = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


@contextmanager
def _whoever_reads() -> Iterator[None]:
    before = sys.stdout, sys.stderr
    if None in before:  # started with a descriptor closed: Python itself drops what is printed
        yield
        return
    sys.stdout, sys.stderr = streams = _Output(before[0]), _Output(before[1])
    try:
        yield
    finally:
        for stream in streams:
            stream.flush()
        sys.stdout, sys.stderr = before


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code; never shows a traceback for a person's mistake."""
    with _whoever_reads():
        return _main(argv)


def _main(argv: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(overview())
        return 0
    if words[0] in ("-V", "--version"):
        from ratchet import __version__

        print(f"ratchet {__version__}")
        return 0
    name = words[0]
    if name not in COMMANDS:
        return _unknown(name)

    from ratchet.app.errors import Exit, Fault, fault_of
    from ratchet.app.usage import parser_of

    try:
        module = module_of(name)
        args = parser_of(name, module).parse_args(words[1:])
        return int(module.run(args))
    except Fault as fault:
        return _told(fault, words)
    except KeyboardInterrupt:
        print("ratchet: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `ratchet dead-letters --bytes … | head`: the reader has seen enough
        return 0
    except Exception as error:
        if os.environ.get("RATCHET_TRACEBACK"):
            raise
        if (known := fault_of(error)) is not None:
            return _told(known, words)
        print(
            f"ratchet: a fault of ours in `ratchet {name}`: {type(error).__name__}: {error}\n"
            f"  next: run it again with RATCHET_TRACEBACK=1 and report what it prints\n  (internal)",
            file=sys.stderr,
        )
        return int(Exit.OURS)


def module_of(command: str) -> ModuleType:
    """The module of a command."""
    return import_module(f"ratchet.cli.{command.replace('-', '_')}")


def _told(fault: Fault, words: Sequence[str]) -> int:
    """Say what a person can mend, for people and with `--json` for programs; the exit code."""
    if "--json" in words:
        import json

        print(json.dumps(fault.to_data()))
    print(fault.text(), file=sys.stderr)
    return int(fault.exit)


def _unknown(name: str) -> int:
    from difflib import get_close_matches

    near = get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean `ratchet {near[0]}`?" if near else "`ratchet --help` lists the commands"
    if name.startswith("-"):
        hint = f"options come after the command, as in `ratchet fleet {name} …`"
    print(f"ratchet: there is no command {name!r}\n  next: {hint}\n  (unknown-command)", file=sys.stderr)
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
