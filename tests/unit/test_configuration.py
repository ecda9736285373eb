"""Configuration: one file, variables over it, and errors that name the key and where it was said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ratchet.app.composition import policy
from ratchet.app.configuration import load, markdown, schema
from ratchet.app.errors import Fault
from ratchet.app.home import Home
from ratchet.app.running import drain
from ratchet.policy.floor import AmdFloor, Minimum
from ratchet.policy.floor.provenance import Provenance

ROOT = Path(__file__).resolve().parents[2]


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "ratchet.toml"
    file.write_text(text)
    return file


def test_without_a_file_everything_has_a_default_that_is_safe(tmp_path: Path) -> None:
    config = load(tmp_path / "ratchet.toml", {})
    assert config.console.listen.startswith("127.0.0.1:")
    assert config.entrance.listen.startswith("127.0.0.1:")
    assert config.entrance.senders == {}
    assert config.bounds.max_refused == 0
    assert config.trust.roots == []


def test_a_variable_replaces_one_key_of_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, '[console]\nlisten = "127.0.0.1:1"\nhosts = ["a"]\n')
    config = load(file, {"RATCHET_CONSOLE__LISTEN": "127.0.0.1:2", "RATCHET_BOUNDS__MAX_REFUSED": "7", "HOME": "/"})
    assert (config.console.listen, config.console.hosts, config.bounds.max_refused) == ("127.0.0.1:2", ["a"], 7)


def test_variables_that_are_no_keys_are_left_alone(tmp_path: Path) -> None:
    assert load(tmp_path / "none", {"RATCHET_DATA": "/x", "RATCHET_REQUIRE": "all"}).tenant == "default"


@pytest.mark.parametrize(
    ("text", "variables", "names"),
    [
        ("[consle]\n", {}, ("consle", "ratchet.toml")),
        ("[bounds]\nmax_refused = -1\n", {}, ("bounds.max_refused", "ratchet.toml")),
        ('[entrance.senders.a]\ntoken_sha256 = "x"\n', {}, ("entrance.senders.a.token_sha256", "ratchet.toml")),
        ("tenant = \n", {}, ("ratchet.toml",)),
        ("", {"RATCHET_CLOCK__INTERVAL": "soon"}, ("clock.interval", "RATCHET_CLOCK__INTERVAL")),
        ("", {"RATCHET_TENANT__NAME": "x", "RATCHET_TENANT": "y"}, ("RATCHET_TENANT",)),
    ],
)
def test_an_error_names_the_key_and_where_it_was_said(
    tmp_path: Path, text: str, variables: dict[str, str], names: tuple[str, ...]
) -> None:
    with pytest.raises(Fault) as caught:
        load(written(tmp_path, text), variables)
    for name in names:
        assert name in caught.value.text()
    assert caught.value.exit == 2


def test_every_key_is_described_and_the_page_says_so() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert page == markdown(), "make docs"
    assert "| |" not in page


def test_the_schema_forbids_what_is_not_a_key() -> None:
    said = schema()
    assert said["additionalProperties"] is False
    assert "senders" in said["$defs"]["EntranceTable"]["properties"]


def test_a_changed_configuration_is_not_in_force_at_the_next_start(tmp_path: Path) -> None:
    floor = AmdFloor(
        family="snp/Genoa",
        minima=(Minimum(tcb={"reported.snp": 9}),),
        provenance=Provenance(documents=(), pointer="", rule="test/1", reviewed_by="Ada"),
    )
    floors = {"RATCHET_POLICY__FLOORS": json.dumps({"snp/Genoa": floor.to_data()})}
    (tmp_path / "ratchet.toml").write_text("[policy]\ntrusted_for = 3600\n")
    tmp_path.chmod(0o700)
    drain(Home(tmp_path, floors))
    (tmp_path / "ratchet.toml").write_text("[policy]\ntrusted_for = 7200\n")
    for _ in range(2):  # at the start, and after it
        now = policy(Home(tmp_path, {}))
        assert (now.trusted_for, dict(now.floors)) == (3600, {"snp/Genoa": floor})
        drain(Home(tmp_path, {}))
    waiting = [row["proposal"]["family"] for row in Home(tmp_path, {}).reader().proposals("proposed")]
    assert waiting == ["policy"]
