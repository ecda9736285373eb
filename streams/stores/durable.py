"""Files that are whole or not there: written aside, synced, then put in place in one step."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make a folder's entries safe: a rename is on disk only once its folder is (fsync(2), notes)."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_fresh(path: Path, data: bytes, mode: int = 0o644) -> None:
    """A new file of its own inode with these bytes, on disk when this returns; a leftover of that name goes first."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def replace(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Put these bytes at `path` in one step: a reader sees the old file or the new one, also after a crash.

    Callers hold a lock (`held`): the file written aside has a fixed name, so that a crash leaves at most one.
    """
    aside = path.with_name(path.name + ".new")
    write_fresh(aside, data, mode)
    os.replace(aside, path)
    sync_folder(path.parent)


def create_once(path: Path, data: bytes, mode: int = 0o644) -> bool:
    """Create `path` with these bytes unless it is there already; whole or absent. Whether this call made it."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.new")
    write_fresh(aside, data, mode)
    try:
        os.link(aside, path)
    except FileExistsError:
        return False
    finally:
        aside.unlink()
    sync_folder(path.parent)
    return True


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold an advisory lock (flock(2)) on `path`, made if absent. The kernel lets go of it when the process dies."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
