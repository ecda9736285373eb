"""The files that a corpus manifest names: those below its folder, and no others. Not a command."""

from __future__ import annotations

from pathlib import Path

from ratchet.conformance.check import BadManifest, Read


def files_below(folder: Path) -> Read:
    """Gives a file's bytes by its path in the manifest; a path that leads out of the folder is `BadManifest`."""

    def read(path: str) -> bytes:
        place = (folder / path).resolve()
        if not place.is_relative_to(folder):
            raise BadManifest(f"{path} lies outside the manifest's folder")
        return place.read_bytes()

    return read
