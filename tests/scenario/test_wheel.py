"""The built wheel, in an environment that has nothing of this checkout, does what the checkout does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from collectors.simulated.generate import generate
from collectors.simulated.scenario import dump

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("ratchet", "collectors", "streams", "dashboards")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel in an environment of its own; of ours it sees the libraries alone, not the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("ratchet_attest-*.whl")
    environment = folder / "venv"
    venv.create(environment, with_pip=False, symlinks=True)
    python = environment / "bin" / "python"
    # A path file adds the libraries; path files among those (the editable install of this checkout) are not followed.
    (Path(own_packages(python)) / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(python),
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            str(wheel),
        ],
        check=True,
        capture_output=True,
    )
    return environment


def own_packages(python: Path) -> str:
    found = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return found.stdout.strip()


def run(command: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "RATCHET_"))}
    return subprocess.run([str(command), *words], cwd=cwd, env=environment, capture_output=True, text=True)


def test_the_wheel_holds_all_of_it_and_nothing_else(installed: Path) -> None:
    packages = Path(own_packages(installed / "bin" / "python"))
    here = {
        p.relative_to(ROOT) for f in ("ratchet", "collectors", "streams", "dashboards") for p in (ROOT / f).rglob("*")
    }
    wanted = {str(p) for p in here if (ROOT / p).is_file() and "__pycache__" not in p.parts}
    wanted |= {f"ratchet/_rules/{p.relative_to(ROOT / 'rules')}" for p in (ROOT / "rules").rglob("*") if p.is_file()}
    got = {
        str(p.relative_to(packages))
        for f in PACKAGES
        for p in (packages / f).rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    assert got == wanted
    assert not (packages / "tests").exists()


def test_a_scenario_runs_from_the_wheel_as_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.yml"
    scenario.write_text(dump(generate(11)))
    words = ("demo", "--once", "--json", "--as-written", "--scenario", str(scenario), "--data")
    ours = run(Path(sys.executable).with_name("ratchet"), *words, str(tmp_path / "ours"), cwd=ROOT)
    theirs = run(installed / "bin" / "ratchet", *words, str(tmp_path / "theirs"), cwd=tmp_path)
    assert (ours.returncode, theirs.returncode) == (0, 0), theirs.stderr
    a, b = json.loads(ours.stdout), json.loads(theirs.stdout)
    for said in (a, b):
        for key in ("seconds", "data"):
            del said[key]
        for proposal in said["proposals"]:
            del proposal["proposal"]  # follows from the simulated vendor's keys, which differ
    assert a == b


def test_the_corpus_reads_the_same_from_the_wheel(installed: Path, corpus: Path, tmp_path: Path) -> None:
    words = ("corpus", "check", str(corpus / "MANIFEST.json"), "--json", "--format")
    formats = "sgx-quote,tdx-quote,snp-report,intel-collateral"
    ours = run(Path(sys.executable).with_name("ratchet"), *words, formats, cwd=ROOT)
    theirs = run(installed / "bin" / "ratchet", *words, formats, cwd=tmp_path)
    assert theirs.returncode == 0, theirs.stderr
    assert ours.stdout == theirs.stdout
