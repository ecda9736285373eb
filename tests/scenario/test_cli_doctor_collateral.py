"""`ratchet doctor` fails while vendor documents are missing or out of date: which, for whom, and where to get them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ratchet.cli import doctor
from ratchet.cli.main import main
from tests.unit.snp_world import World

Capture = pytest.CaptureFixture[str]

NOW = datetime.now(UTC).replace(microsecond=0)
"""A document is known from when it was taken, so the documents are of today."""


class Place:
    """A data directory that trusts a simulated AMD, at a moment of the test's choosing."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
        self.path, self.capsys, self.monkeypatch = path, capsys, monkeypatch
        self.data = path / "data"
        self.data.mkdir(mode=0o700)
        self.world = World()
        (self.data / "ark.der").write_bytes(self.world.ark)
        root = "[[trust.roots]]\nname = 'Tests ARK-Milan'\nvendor = 'amd'\nfile = 'ark.der'\n"
        (self.data / "ratchet.toml").write_text(root)

    def ingest(self, name: str, data: bytes, *words: str) -> None:
        (self.path / name).write_bytes(data)
        assert main(["ingest", "--run", "--data", str(self.data), *words, str(self.path / name)]) == 0

    def doctor(self, at: datetime | None = None) -> tuple[int, dict[str, Any]]:
        moment = type("Clock", (), {"now": staticmethod(lambda zone: at or datetime.now(zone))})
        self.monkeypatch.setattr(doctor, "datetime", moment)
        self.capsys.readouterr()
        code = main(["doctor", "--json", "--data", str(self.data)])
        rows = [json.loads(line) for line in self.capsys.readouterr().out.splitlines()]
        assert all(row["well"] for row in rows if row["check"] != "collateral")
        return code, next(row for row in rows if row["check"] == "collateral")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Place:
    return Place(tmp_path, monkeypatch, capsys)


def test_missing_documents_are_named_with_who_needs_them_and_their_address(place: Place) -> None:
    # given a report that came without its VCEK
    world = place.world
    place.ingest("report.bin", world.report(), "--name", "node-3")
    # then doctor fails, and says what to fetch, for whom, and where
    code, found = place.doctor()
    assert code == 4
    assert not found["well"]
    (vcek,) = (line for line in found["detail"] if "kdsintf.amd.com/vcek/v1/Milan/" in line)
    assert vcek.startswith("missing: ")
    assert "for node-3; fetch https://" in vcek
    # when the VCEK is there, the revocation list is what is missing
    for name, document in (("vcek.der", world.vek()), ("ask.der", world.signer())):
        place.ingest(name, document)
    code, found = place.doctor()
    assert code == 4
    assert all("/crl" in line for line in found["detail"]), found["detail"]
    # when that is there too, nothing is missing, and doctor says what will end first
    place.ingest("crl.der", world.crl(start=NOW - timedelta(days=1), end=NOW + timedelta(days=30)))
    code, found = place.doctor()
    assert (code, found["well"]) == (0, True)
    assert f"{NOW + timedelta(days=30):%Y-%m-%d}" in found["said"]


def test_a_document_that_has_ended_says_when_and_where_to_fetch_it_again(place: Place) -> None:
    world = place.world
    for name, document in (
        ("vcek.der", world.vek()),
        ("ask.der", world.signer()),
        ("crl.der", world.crl(start=NOW - timedelta(days=1), end=NOW + timedelta(days=30))),
    ):
        place.ingest(name, document)
    for name in ("node-1", "node-2", "node-3", "node-4", "node-5"):
        place.ingest(f"{name}.bin", world.report(report_data=name.encode().ljust(64, b"\0")), "--name", name)
    assert place.doctor()[0] == 0
    code, found = place.doctor(NOW + timedelta(days=31))
    assert code == 4
    (line,) = found["detail"]
    assert line.startswith(f"ended {NOW + timedelta(days=30):%Y-%m-%d}")
    assert "fetch https://kdsintf.amd.com/vcek/v1/Milan/crl" in line


def test_an_empty_data_directory_misses_nothing(place: Place) -> None:
    place.ingest("ask.der", place.world.signer())
    assert place.doctor()[1]["well"]
