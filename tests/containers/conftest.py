"""The engine of the tests that run in containers; without it they skip and say how to get it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from machines import BARE, OPA, PODMAN


@pytest.fixture(scope="session")
def podman() -> Path:
    """Runs containers from the two images."""
    for image in (BARE, OPA):
        there = shutil.which("podman") and subprocess.run(
            [str(PODMAN), "image", "exists", image], capture_output=True, check=False
        )
        if not there or there.returncode != 0:
            pytest.skip(f"no podman with the image {image}: get both with scripts/install-containers")
    return PODMAN
