"""Fixtures that every test may ask for: where the real evidence lies, and what this machine can start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _beside(variable: str, folder: str) -> Path:
    given = os.environ.get(variable)
    path = Path(given) if given else ROOT.parent / "shared" / folder
    if not (path / "MANIFEST.json").is_file():
        pytest.skip(f"no {folder} at {path}: set {variable} to a folder with a MANIFEST.json")
    return path


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real evidence."""
    return _beside("RATCHET_CORPUS", "corpus")


@pytest.fixture(scope="session")
def feeds() -> Path:
    """The folder of real vendor documents."""
    return _beside("RATCHET_FEEDS", "feeds")


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """With RATCHET_REQUIRE=all a skip is a failure: what matters cannot be passed over."""
    if os.environ.get("RATCHET_REQUIRE") == "all" and call.excinfo and call.excinfo.errisinstance(pytest.skip.Exception):
        call.excinfo = pytest.ExceptionInfo.from_exception(
            AssertionError(f"RATCHET_REQUIRE=all, and this was skipped: {call.excinfo.value}")
        )
