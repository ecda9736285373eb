"""Fixtures that every test may ask for: where the real evidence lies, and what this machine can start."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# People's runs look for what nobody has seen yet; a gate must not depend on luck.
settings.register_profile("gate", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile("gate" if os.environ.get("CI") else "search")


def _beside(variable: str, folder: str) -> Path:
    given = os.environ.get(variable)
    path = Path(given) if given else ROOT.parent / "shared" / folder
    if not (path / "MANIFEST.json").is_file():
        pytest.skip(f"no {folder} at {path}: set {variable} to a folder with a MANIFEST.json")
    return path


SEED = "RATCHET_SEED"
"""From which seed on scenarios are generated; drawn anew in each run unless it is given."""


def pytest_configure() -> None:
    """Draw the seed once, before the workers of a parallel run are started: they inherit it."""
    os.environ.setdefault(SEED, str(secrets.randbelow(2**31)))


def pytest_report_header() -> str:
    """Say how to repeat the run."""
    return f"generated scenarios: from seed {first_seed()} on; {SEED}={first_seed()} repeats them"


def first_seed() -> int:
    """Of this run's generated scenarios."""
    return int(os.environ[SEED])


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real evidence."""
    return _beside("RATCHET_CORPUS", "corpus")


@pytest.fixture(scope="session")
def feeds() -> Path:
    """The folder of real vendor documents."""
    return _beside("RATCHET_FEEDS", "feeds")


def _program(variable: str, names: tuple[str, ...], script: str) -> str:
    for name in (os.environ.get(variable), *names):
        found = name and shutil.which(name)
        if found:
            return found
    pytest.skip(f"no {names[0]} on the PATH nor in {variable}: get it with {script}")


@pytest.fixture(scope="session")
def opa() -> str:
    """The path of a real OPA."""
    return _program("RATCHET_OPA", ("opa", str(ROOT / ".cache/bin/opa")), "scripts/install-opa")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a real browser."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return _program("RATCHET_CHROMIUM", names, "scripts/install-chromium")


def _a_skip_fails(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get("RATCHET_REQUIRE") == "all" and report.skipped:
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"RATCHET_REQUIRE=all, and this was skipped: {why}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """With RATCHET_REQUIRE=all a skip is a failure: what matters cannot be passed over."""
    report = yield
    _a_skip_fails(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    """The same for a module that skips itself."""
    report = yield
    _a_skip_fails(report)
    return report
