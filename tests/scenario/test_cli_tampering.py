"""Somebody gets at the data directory: what is changed, replaced or left open is said, and not worked on quietly."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ratchet.app.home import Home
from ratchet.app.running import drain
from ratchet.cli.main import main
from streams.stores.git import GitStore
from streams.stores.rego import RegoInProcess

Run = tuple[int, str, str]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory in which a small scenario has run."""
    from collectors.simulated.generate import generate
    from collectors.simulated.scenario import dump

    folder = tmp_path_factory.mktemp("tampering")
    scenario = folder / "scenario.yml"
    scenario.write_text(dump(generate(3)))
    assert main(["demo", "--once", "--json", "--scenario", str(scenario), "--data", str(folder / "data")]) == 0
    return folder / "data"


@pytest.fixture
def place(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to do harm to."""
    return shutil.copytree(whole, tmp_path / "data")


@pytest.fixture
def ratchet(place: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    def type_(*words: str) -> Run:
        capsys.readouterr()
        code = main([words[0], "--data", str(place), *words[1:]])
        out, err = capsys.readouterr()
        return code, out, err

    return type_


def checks(run: Run) -> dict[str, Any]:
    return {row["check"]: row for row in map(json.loads, run[1].splitlines())}


def change(place: Path, script: str) -> None:
    with closing(sqlite3.connect(place / "ratchet.db")) as attacker:
        attacker.executescript(script)


def test_doctor_finds_the_directory_whole_and_compares_its_history(ratchet: Callable[..., Run]) -> None:
    found = checks(ratchet("doctor", "--json"))
    assert found["database"]["well"]
    assert found["history"]["well"]
    assert not found["history"]["said"].startswith("no round")
    assert "; 0 heads" not in found["history"]["said"], "alerts and commits carry the head"
    code, out, _ = ratchet("doctor", "--json", "--head", "7")
    assert (code, checks((code, out, ""))["history"]["well"]) == (4, False)


@pytest.mark.parametrize(
    "script",
    [
        "UPDATE log SET data = replace(data, 'contraindicated', 'affirming') WHERE topic = 'verdicts'",
        "DELETE FROM log WHERE topic = 'alerts' AND offset = (SELECT max(offset) FROM log WHERE topic = 'alerts')",
        'UPDATE state SET value = replace(value, \'"tier":"warning"\', \'"tier":"affirming"\')'
        " WHERE key LIKE 'standing/%'; UPDATE state SET value = replace(value, 'a', 'b') WHERE key LIKE 'alert/%'",
        "UPDATE blobs SET data = zeroblob(length(data)) WHERE id = (SELECT min(id) FROM blobs)",
    ],
)
def test_doctor_finds_what_was_changed(place: Path, ratchet: Callable[..., Run], script: str) -> None:
    change(place, script)
    run = ratchet("doctor", "--json")
    assert run[0] == 4
    assert not checks(run)["database"]["well"]


def test_doctor_finds_that_an_older_copy_was_restored(place: Path, ratchet: Callable[..., Run]) -> None:
    """A copy from before an alert makes it as if it had never been raised. What was sent out says otherwise."""
    aside = place / "ratchet.db.older"
    with closing(sqlite3.connect(place / "ratchet.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(place / "ratchet.db", aside)
    drain(Home(place, {}))
    newest = checks(ratchet("doctor", "--json"))["history"]["said"].partition(";")[0]
    assert ratchet("doctor", "--json", "--head", newest)[0] in (0, 4)
    for name in ("ratchet.db-wal", "ratchet.db-shm"):
        (place / name).unlink(missing_ok=True)
    os.replace(aside, place / "ratchet.db")
    found = checks(ratchet("doctor", "--json", "--head", newest))
    assert found["database"]["well"], "within itself it agrees"
    assert not found["history"]["well"]
    assert "an older copy was restored" in found["history"]["said"]


def test_what_was_sent_out_carries_the_head(place: Path) -> None:
    last = json.loads((place / "alerts.ndjson").read_text().splitlines()[-1])
    number, _, hash = last["attestation"]["head"].partition(":")
    assert int(number) > 0
    assert len(hash) == 64
    assert list(GitStore(place / "policy.git", RegoInProcess()).heads()), "commits have it as a trailer"


@pytest.mark.parametrize("command", ["fleet", "search", "up", "alerts"])
def test_a_directory_that_is_open_to_others_is_refused(place: Path, ratchet: Callable[..., Run], command: str) -> None:
    """Whoever can write there approves, signs and judges in our name."""
    place.chmod(0o770)
    code, _, err = ratchet(command, *(["x"] if command == "search" else []))
    assert code == 4
    assert "(open-directory)" in err
    assert f"chmod 700 {place}" in err


def test_a_directory_of_another_user_is_refused(
    place: Path, ratchet: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    code, _, err = ratchet("fleet")
    assert code == 4
    assert "(foreign-directory)" in err
    assert "54321" in err


def test_a_private_key_that_others_may_read_is_refused(place: Path, ratchet: Callable[..., Run]) -> None:
    key = next((place / "keys").glob("*.key"))
    key.chmod(0o644)
    (proposal, *_) = [json.loads(line) for line in ratchet("proposals", "--json")[1].splitlines()]
    code, _, err = ratchet("approve", proposal["proposal"]["proposal"], "--as", key.stem, "--reason", "x", "--yes")
    assert code == 4, err
    assert "(key-open)" in err or "(not-asked-for)" in err
    from ratchet.app.errors import Fault
    from ratchet.app.key_file import read_key

    with pytest.raises(Fault, match="others than its owner"):
        read_key(key)


def test_a_damaged_file_ends_in_a_sentence(place: Path, ratchet: Callable[..., Run]) -> None:
    raw = bytearray((place / "ratchet.db").read_bytes())
    for page in range(1, len(raw) // 4096):
        raw[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    for name in ("ratchet.db-wal", "ratchet.db-shm"):
        (place / name).unlink(missing_ok=True)
    (place / "ratchet.db").write_bytes(raw)
    for words in (("fleet",), ("search", "level:high")):
        code, _, err = ratchet(*words)
        assert code == 4, err
        assert "(corrupt)" in err
        assert "Traceback" not in err
