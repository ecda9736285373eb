"""On a machine that has Python, venv, make and git, and nothing else: the README's two commands, and the wheel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from machines import BARE, NAMES, ROOT, checkout, registry, run

Machine = Callable[[str], subprocess.CompletedProcess[str]]


@contextmanager
def bare(podman: Path, *volumes: str) -> Iterator[Machine]:
    """A bare machine for as long as the context lasts; what it gives types a line there."""
    mounted = [word for volume in volumes for word in ("-v", volume)]
    # The network is the host's, for the package registry alone.
    started = run(
        podman, "run", "-d", "--init", "--network", "host", *NAMES, *registry(), *mounted, BARE, "sleep", "infinity"
    )
    name = started.stdout.split()[-1]
    try:
        yield lambda line: run(podman, "exec", name, "sh", "-c", line)
    finally:
        subprocess.run([str(podman), "rm", "-f", "-t", "0", name], capture_output=True, check=False)


@pytest.fixture(scope="module")
def machine(podman: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A bare machine with a checkout, and real evidence where this machine has some."""
    place = tmp_path_factory.mktemp("bare")
    folder = checkout(place / "ratchet")
    volumes = [f"{folder}:/src/ratchet"]
    for variable, name in (("RATCHET_CORPUS", "corpus"), ("RATCHET_FEEDS", "feeds")):
        real = Path(os.environ.get(variable) or ROOT.parent / "shared" / name)
        if (real / "MANIFEST.json").is_file():
            volumes.append(f"{real.resolve()}:/src/shared/{name}:ro")
    with bare(podman, *volumes) as typed:
        yield typed


def test_make_demo_finds_what_was_planted(machine: Machine) -> None:
    done = machine("cd /src/ratchet && make demo ONCE=1")
    assert re.search(r"planted +\d+ facts: each was found, and nothing else was reported", done.stdout), done.stdout
    assert re.search(r"receipts +\d+ confirmed", done.stdout)


def test_make_test_passes_and_names_what_it_lacks(machine: Machine) -> None:
    done = machine("cd /src/ratchet && CI=1 make test")
    (last,) = re.findall(r"=+ (.*passed.*) in .* =+", done.stdout)
    assert "failed" not in last
    for way in ("scripts/install-opa", "scripts/install-chromium", "scripts/install-containers"):
        assert f"get it with {way}" in done.stdout or f"get both with {way}" in done.stdout


def test_the_wheel_is_installed_with_its_libraries_and_runs(podman: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT)
    with bare(podman, f"{tmp_path}:/dist:ro") as typed:
        typed("python3 -m venv /venv && /venv/bin/pip install --quiet /dist/ratchet_attest-*.whl")
        done = typed("cd /root && /venv/bin/ratchet demo --once")
        assert "each was found, and nothing else was reported" in done.stdout
        # the demo plants a report without its VCEK, and doctor names it: 4 is its exit for something found
        told = typed("/venv/bin/ratchet doctor --data /root/ratchet-demo; test $? -eq 4").stdout
        assert "libraries load" in told
        assert told.count("WRONG") == 1
