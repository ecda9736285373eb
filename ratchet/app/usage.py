"""What the words after a command mean: its parser, whose complaints are faults like any other."""

from __future__ import annotations

import argparse
from types import ModuleType
from typing import NoReturn

from ratchet.app.errors import Exit, Fault


class Parser(argparse.ArgumentParser):
    """argparse, with its complaints in the words and codes of all others."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments.

        Raises:
            Fault: always.
        """
        raise Fault("usage", f"`{self.prog}`: {message}", f"`{self.prog} --help` has an example", Exit.USAGE)


def parser_of(command: str, module: ModuleType) -> Parser:
    """The parser of a command's options, which its module knows."""
    parser = Parser(
        prog=f"ratchet {command}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=getattr(module, "EPILOG", None),
        allow_abbrev=False,
    )
    where = getattr(module, "DATA", "else RATCHET_DATA, else ./ratchet-data")
    parser.add_argument("--data", metavar="PATH", help=f"the data directory ({where})")
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line where there are many")
    module.configure(parser)
    return parser
