"""A file of ECS documents, one a line, that log shippers follow. Each id once, whatever crashes.

A line counts when it ends with its newline and is on disk; what a crash cut off is taken away before the next one is
written. The file may be rotated by others (renamed, or truncated): then a new one is begun.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ratchet.event import Event
from ratchet.ports import Unreachable
from streams.siem.ecs import Mapper, with_head
from streams.stores.durable import held, sync_folder

if TYPE_CHECKING:
    from ratchet.detect.sigma.rule import Rule

_ID = re.compile(rb'\{"event":\{"id":"([0-9a-f]{64})"')
"""How every line of ours begins, so that ids are found without parsing a file of any size."""


class NdjsonFile:
    """A `ratchet.ports.Notifier`.

    Args:
        path: of the file; made at the first alert.
        rules: see `Mapper`.
        name: among the notifiers.
        head: the newest link of the hash chain (streams/chain.py), written along.
    """

    def __init__(
        self,
        path: Path,
        *,
        rules: Iterable[Rule] = (),
        name: str = "ndjson",
        head: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._path, self._name, self._mapper, self._head = path, name, Mapper(rules), head
        self._seen: set[bytes] = set()
        self._at: tuple[int, int, int] | None = None

    @property
    def name(self) -> str:
        """For receipts and errors."""
        return self._name

    def send(self, event: Event) -> None:
        """Append the event, unless its id is in the file.

        Raises:
            Unreachable: the file cannot be written.
            Refused: not an event that is told.
        """
        document = with_head(self._mapper.document(event), self._head())
        line = b'{"event":' + _json(document.pop("event")) + b"," + _json(document)[1:] + b"\n"
        if not _ID.match(line):
            raise ValueError(f"an event's id is 64 hex digits, not {event.id!r}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with held(self._path.with_name(self._path.name + ".lock")):
                self._append(line, bytes.fromhex(event.id))
        except OSError as why:
            self._at = None
            raise Unreachable(str(self._path), str(why.strerror or why)) from why

    def _append(self, line: bytes, id: bytes) -> None:
        new = not self._path.exists()
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        with os.fdopen(handle, "r+b", buffering=0) as file:
            now = os.fstat(handle)
            if self._at != (now.st_dev, now.st_ino, now.st_size):
                self._read(handle)
            if id not in self._seen:
                _write(handle, line)
                os.fsync(handle)
                self._seen.add(id)
            now = os.fstat(file.fileno())
            self._at = (now.st_dev, now.st_ino, now.st_size)
        if new:
            sync_folder(self._path.parent)

    def _read(self, handle: int) -> None:
        """Learn which ids are there, and cut off what is no whole line."""
        self._seen.clear()
        whole = 0
        with os.fdopen(os.dup(handle), "rb") as file:
            file.seek(0)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                if found := _ID.match(line):
                    self._seen.add(bytes.fromhex(found[1].decode("ascii")))
        if whole != os.fstat(handle).st_size:
            os.ftruncate(handle, whole)
            os.fsync(handle)


def _write(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
