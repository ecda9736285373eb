"""For the tests that run in containers: podman as scripts/install-containers sets it up, and what is put into it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PODMAN = ROOT / "scripts" / "podman"
BARE, OPA = "localhost/ratchet-bare:trixie", "localhost/ratchet-opa:1.22.2"

NAMES = ("-v", "/etc/resolv.conf:/etc/resolv.conf:ro", "-v", "/etc/hosts:/etc/hosts:ro")
"""Names resolve in containers and builds as they do on this machine."""


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; a failure shows all that it said."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    named = "\n".join(line[:300] for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR ")))
    said = f"{named}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    assert done.returncode == 0, f"{' '.join(map(str, command))[:400]}\n{said}"
    return done


def checkout(folder: Path) -> Path:
    """What a clone holds of this checkout, with what is not committed yet."""
    listed = run("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    run("git", "init", "-q", folder)
    return folder


def registry() -> list[str]:
    """Options that let pip in a container ask the registry which this machine asks."""
    return [
        f"--env={name}={os.environ[name]}" for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL") if os.environ.get(name)
    ]
