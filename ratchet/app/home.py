"""The data directory: everything that one Ratchet keeps, and how the commands open it."""

from __future__ import annotations

import argparse
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ratchet.app.errors import Exit, Fault

if TYPE_CHECKING:
    from ratchet.app.configuration import Config
    from ratchet.ports import Reader
    from streams.sqlite import Database

DEFAULT = "ratchet-data"

OPERATOR_KEY = "operator.key"
"""In the data directory, for its owner alone: signs what is decided in the console and with the CLI."""


@dataclass(frozen=True)
class Home:
    """A data directory.

    Attributes:
        path: the folder: ratchet.toml, ratchet.db, operator.key, policy.git/, bundles/, keys/, alerts.ndjson.
        environment: where RATCHET_… variables are read.
    """

    path: Path
    environment: Mapping[str, str]

    @cached_property
    def config(self) -> Config:
        """What ratchet.toml and the variables say.

        Raises:
            Fault: names the key and the file.
        """
        from ratchet.app.configuration import load

        return load(self.path / "ratchet.toml", self.environment)

    def said(self, key: str) -> str:
        """A key, and where its value was said: ratchet.toml, or the variable that replaces it there."""
        from ratchet.app.configuration import origin

        return f"{key} in {origin(key, self.path / 'ratchet.toml', self.environment)}"

    @property
    def database_path(self) -> Path:
        """Of the log, the blobs and the state."""
        return self.path / "ratchet.db"

    def below(self, name: str) -> Path:
        """A configured path: as it is when absolute, else below the data directory."""
        return self.path / Path(name).expanduser()

    def create(self) -> None:
        """Make the folder, for its owner alone; safe to repeat."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Fault(
                "data-directory", f"{self.path}: {error.strerror}", "choose another with --data", Exit.UNREACHABLE
            ) from error
        self.guard()

    def guard(self) -> None:
        """Refuse a folder that is not ours alone: who can write there signs, approves and judges in our name.

        Raises:
            Fault: it belongs to another user, or others may read or write it: who did is worth a look.
        """
        found = self.path.stat()
        if found.st_uid != os.geteuid():
            raise Fault(
                "foreign-directory",
                f"{self.path} belongs to user {found.st_uid}, and this process is user {os.geteuid()}",
                f"run as its owner, or chown -R {os.geteuid()} {self.path} if you trust what is in it",
                Exit.REFUSED,
            )
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o077:
            raise Fault(
                "open-directory",
                f"{self.path} is open to others than its owner (mode {mode:o})",
                f"chmod 700 {self.path}",
                Exit.REFUSED,
            )

    def operator_key(self) -> bytes:
        """The key that signs what whoever may read this directory decides: 32 bytes, made where there is none.

        Raises:
            Fault: it cannot be read, is no Ed25519 key, or others may read it.
        """
        from ratchet.app.key_file import make_key, read_key

        self.create()
        file = self.path / OPERATOR_KEY
        if not file.exists():
            make_key(file)  # another process may be first: then its key is the one
        return read_key(file)

    def database(self) -> Database:
        """The database, made where there is none.

        Raises:
            Fault: it cannot be opened, or is none of ours.
        """
        import sqlite3

        from streams.retention import Retention
        from streams.sqlite import Database
        from streams.sqlite_file import BadDatabase

        self.create()
        keeps = Retention(self.config.retention.evidence_days, self.config.retention.alerts_days)
        try:
            return Database(self.database_path, keeps)
        except (BadDatabase, sqlite3.DatabaseError, OSError) as error:
            raise Fault(
                "database",
                str(error) if isinstance(error, BadDatabase) else f"{self.database_path}: {error}",
                "choose another data directory with --data",
                Exit.UNREACHABLE,
            ) from error

    def reader(self) -> Reader:
        """The read side.

        Raises:
            Fault: there is no data directory yet.
        """
        from streams.archive.sqlite import SqliteReader

        if not self.database_path.is_file():
            raise Fault(
                "no-data",
                f"there is no Ratchet at {self.path}",
                "`ratchet up` makes one there; --data or RATCHET_DATA names another; `ratchet demo` shows one at work",
                Exit.UNREACHABLE,
            )
        self.guard()
        return SqliteReader(self.database_path)

    def room(self) -> bool:
        """Whether the disk has room for more evidence: above the reserve, counting what the database has to spare."""
        import shutil

        reserve = self.config.disk.reserve_mib << 20
        if shutil.disk_usage(self.path).free >= reserve:
            return True
        from streams.sqlite_file import spare

        return shutil.disk_usage(self.path).free + spare(self.database_path) >= reserve


def home(args: argparse.Namespace) -> Home:
    """The data directory that the command line or the environment names."""
    return Home(Path(args.data or os.environ.get("RATCHET_DATA") or DEFAULT), os.environ)
