"""What people get wrong on the command line, and what it says then: which thing, where it was said, what to do next."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from ratchet.app.composition import stores
from ratchet.app.errors import Fault
from ratchet.app.home import Home
from ratchet.app.running import drain, engine
from ratchet.cli.main import main
from streams.embedded import DataDirectoryLock

Capture = pytest.CaptureFixture[str]


def test_a_missing_data_directory_says_what_to_do(tmp_path: Path, capsys: Capture) -> None:
    assert main(["fleet", "--data", str(tmp_path / "none")]) == 6
    assert "ratchet up" in capsys.readouterr().err


def test_a_fault_is_json_where_json_was_asked_for(tmp_path: Path, capsys: Capture) -> None:
    main(["fleet", "--json", "--data", str(tmp_path / "none")])
    assert json.loads(capsys.readouterr().out)["error"] == "no-data"
    main(["fleet", "--json", "--standing", "good"])
    assert json.loads(capsys.readouterr().out)["error"] == "usage"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["fleet", "--nope"], "ratchet fleet --help"),
        (["fleet", "--limit", "0"], "is not 1 or more"),
        (["corpus", "check"], "ratchet corpus check --help"),
        (["proposals", "--state", "lost"], "superseded"),
        (["flet"], "ratchet fleet"),
        (["--data", "x", "fleet"], "options come after the command"),
    ],
)
def test_a_slip_of_the_keyboard_gets_a_hint_and_exit_code_2(words: list[str], hint: str, capsys: Capture) -> None:
    assert main(words) == 2
    assert hint in capsys.readouterr().err


def test_the_demo_empties_no_folder_but_its_own(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["demo", "--once", "--data", str(tmp_path)]) == 4
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert "not-a-demo" in capsys.readouterr().err


def test_the_demo_empties_no_folder_on_which_another_process_runs(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "demo").write_text("")
    (tmp_path / "ratchet.db").write_text("in use")
    running = DataDirectoryLock(tmp_path / "ratchet.db")
    try:
        assert main(["demo", "--once", "--data", str(tmp_path)]) == 4
    finally:
        running.release()
    assert "already-running" in capsys.readouterr().err
    assert (tmp_path / "ratchet.db").read_text() == "in use"


def test_a_demo_finds_out_that_its_address_is_taken_before_it_does_anything(tmp_path: Path, capsys: Capture) -> None:
    assert main(["demo", "--port", "70000", "--data", str(tmp_path / "demo")]) == 6
    assert "--port" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(
    ("toml", "variables", "said"),
    [
        ("[rules]\nfolder = 'none'\n", {}, "rules.folder in {toml}"),
        ("[rules]\nfolder = 'empty'\n", {}, "rules.folder in {toml}"),
        ("[policy]\ntrusted = 3\n", {}, "policy.trusted in {toml}: there is no such key"),
        ("", {"RATCHET_POLICY__TRUSTED_FOR": "long"}, "policy.trusted_for in RATCHET_POLICY__TRUSTED_FOR"),
        ("[opa]\nurl = 'http://opa.example'\n", {}, "opa.url in {toml}"),
        ("[opa]\nurl = 'http://127.0.0.1:1'\ntoken_file = 'none'\n", {}, "opa.token_file in {toml}"),
        ("[alerts.webhook]\nurl = 'https://siem.example'\n", {}, "alerts.webhook.secret_file in {toml}"),
        ("[[trust.roots]]\nname = 'a'\nvendor = 'amd'\nfile = 'none'\n", {}, "trust.roots[0].file in {toml}"),
        ("[approvers.keys]\nann = 'ff'\n", {}, "approvers.keys.ann in {toml}: this must be 64 lower-case hex digits"),
        ("[entrance]\nlisten = '0.0.0.0:8642'\n", {}, "entrance.listen in {toml}"),
    ],
)
def test_whatever_is_wrong_with_the_configuration_is_named_by_key_and_place(
    tmp_path: Path,
    toml: str,
    variables: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "ratchet.toml").write_text(toml)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(["up", "--no-console", "--data", str(tmp_path)]) in (2, 4)
    assert said.format(toml=tmp_path / "ratchet.toml") in capsys.readouterr().err


def test_a_new_data_directory_is_its_owners_alone(tmp_path: Path) -> None:
    place = Home(tmp_path / "data", {})
    with engine(place):
        pass
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o700


def test_doctor_makes_nothing_where_there_is_nothing(tmp_path: Path, capsys: Capture) -> None:
    assert main(["doctor", "--data", str(tmp_path / "none")]) == 4
    assert "`ratchet up` makes it" in capsys.readouterr().out
    assert not (tmp_path / "none").exists()


def test_doctor_names_who_no_longer_takes_alerts(tmp_path: Path, capsys: Capture) -> None:
    noise = tmp_path / "noise.bin"
    noise.write_bytes(b"no evidence at all")
    data = tmp_path / "data"
    (data / "alerts.ndjson").mkdir(parents=True)  # nothing can be written to it
    data.chmod(0o700)
    assert main(["ingest", "--run", "--data", str(data), str(noise)]) == 0
    capsys.readouterr()
    assert main(["doctor", "--data", str(data)]) == 4
    wrong = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WRONG")]
    assert len(wrong) == 1
    assert "ndjson took nothing since" in wrong[0]


def test_ingest_takes_all_or_says_what_is_not_there(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "a.bin").write_bytes(b"a")
    data = str(tmp_path / "data")
    assert main(["ingest", "--data", data, str(tmp_path / "a.bin"), str(tmp_path / "b.bin")]) == 6
    assert "b.bin" in capsys.readouterr().err
    assert main(["search", "--data", data, "topic:evidence"]) == 6, "nothing was taken"
    capsys.readouterr()
    assert main(["ingest", "--data", data, str(tmp_path / "a.bin")]) == 0
    out = capsys.readouterr().out
    assert f"in {data}" in out
    assert "ratchet up" in out, "nothing runs there yet"


def test_a_fleet_that_proved_nothing_says_where_its_evidence_went(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "a.bin").write_bytes(b"a")
    data = str(tmp_path / "data")
    main(["ingest", "--data", data, str(tmp_path / "a.bin"), "--name", "node-1"])
    drain(Home(Path(data), {}))
    capsys.readouterr()
    assert main(["fleet", "--data", data]) == 0
    out = capsys.readouterr().out
    assert "no machine has proved itself yet" in out
    assert "node-1" in out, "its evidence is listed under the name that it was sent with"
    assert main(["search", "--data", data, "type:verdict*"]) == 0
    assert "node-1 unverified: evidence_unreadable" in capsys.readouterr().out


def test_a_new_key_is_json_too(tmp_path: Path, capsys: Capture) -> None:
    words = ["approve", "--new-key", str(tmp_path / "ann.key"), "--data", str(tmp_path)]
    assert main([*words, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["name"], len(made["public_key"])) == ("ann", 64)
    assert stat.S_IMODE((tmp_path / "ann.key").stat().st_mode) == 0o600
    assert main(words) == 2, "a key is never written over another"


def test_a_manifest_reads_no_file_beside_its_folder(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    folder = tmp_path / "corpus"
    folder.mkdir()
    item = {"id": "a", "format": "snp-report", "file": "../secret", "files": [], "collateral": [], "expected": {}}
    item |= {"verification_time": "2026-01-01T00:00:00Z"}
    (folder / "MANIFEST.json").write_text(json.dumps([item]))
    for action in ("check", "replay"):
        assert main(["corpus", action, str(folder / "MANIFEST.json")]) == 6
        assert "outside the manifest's folder" in capsys.readouterr().err


def test_plain_http_to_opa_beyond_loopback_is_asked_for_by_name_and_needs_a_token(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "token").write_text("secret\n")
    settings = tmp_path / "ratchet.toml"
    settings.write_text('[opa]\nurl = "http://opa:8181"\ntoken_file = "token"\n')
    with pytest.raises(Fault) as refused:
        stores(Home(tmp_path, {}))
    assert "opa.dangerous_plain_http" in refused.value.next
    settings.write_text('[opa]\nurl = "http://opa:8181"\ndangerous_plain_http = true\n')
    with pytest.raises(Fault, match=r"without opa\.token_file"):
        stores(Home(tmp_path, {}))
    settings.write_text('[opa]\nurl = "http://opa:8181"\ndangerous_plain_http = true\ntoken_file = "token"\n')
    assert [store.name for store in stores(Home(tmp_path, {}))] == ["git", "opa"]
