"""The command line, from a fleet's week back to single bytes: what people type, what they see, what it exits with."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from dulwich.repo import Repo

from ratchet.app.decisions import whoami
from ratchet.app.home import Home
from ratchet.app.output import short
from ratchet.app.running import drain
from ratchet.cli import approve
from ratchet.cli.main import COMMANDS, main
from ratchet.event import digest

Run = tuple[int, str, str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory in which a small scenario has run, with something to decide and something to look at."""
    scenario = Path(__file__).with_name("small.yml")
    data = tmp_path_factory.mktemp("cli") / "data"
    assert main(["demo", "--once", "--json", "--scenario", str(scenario), "--data", str(data)]) == 0
    return data


@pytest.fixture
def ratchet(place: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Types one command at that data directory."""
    capsys.readouterr()

    def type_(*words: str) -> Run:
        code = main([words[0], "--data", str(place), *words[1:]])
        out, err = capsys.readouterr()
        return code, out, err

    return type_


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        with pytest.raises(SystemExit) as end:
            main([name, "--help"])
        said = capsys.readouterr().out
        assert end.value.code == 0
        assert "--json" in said
        assert re.search(rf"Examples?:? .*ratchet {name}", said), f"{name} teaches nothing"


def test_an_alert_leads_back_to_its_bytes(ratchet: Any) -> None:
    code, out, _ = ratchet("alerts", "--json")
    assert code == 0
    alert = next(row for row in rows(out) if row["rule"] not in ("machine-silent", "failure-burst"))
    code, out, _ = ratchet("explain", "--json", alert["alert"][:12])
    (chain,) = rows(out)
    kinds = [event["type"].split(".")[2] for event in chain]
    assert code == 0
    assert kinds == ["alert", "verdict", "evidence"]
    verdict, evidence = chain[1]["data"], chain[2]["data"]
    assert {"parse", "chain", "signature", "freshness"} <= {step["name"] for step in verdict["steps"]}
    assert verdict["evidence"] == chain[2]["id"]
    assert verdict["blob"] == evidence["blob"]
    code, out, _ = ratchet("explain", alert["alert"][:12], "--bytes")
    assert re.search(rf"rule {alert['rule']} \(rules/.*\.yml\): \w", out), "the rule, where it is, and what it finds"
    assert "None" not in out, "no word of Python's"
    assert ratchet("explain", short(alert["alert"]))[0] == 0, "as the tables show it"
    assert "0x0000" in out or verdict["format"] is None


def test_the_fleet_names_its_machines_and_marks_simulated_roots(ratchet: Any) -> None:
    code, out, _ = ratchet("fleet", "--json")
    machines = rows(out)
    assert code == 0
    assert all(machine["simulated"] for machine in machines if machine["root"])
    name = machines[0]["hint"]
    assert rows(ratchet("fleet", "--json", name)[1])[0]["hint"] == name
    assert "(simulated root)" in ratchet("fleet")[1]
    worst_first = ["contraindicated", "warning", "none", "affirming"]
    assert [m["tier"] for m in machines] == sorted((m["tier"] for m in machines), key=worst_first.index)
    assert ratchet("fleet", "nobody")[0] == 2


def test_the_fleet_comes_in_pages_that_leave_nobody_out(ratchet: Any) -> None:
    whole = [machine["identity"] for machine in rows(ratchet("fleet", "--json")[1])]
    assert len(whole) > 7
    for size in (1, 3, 7, len(whole)):
        pages: list[str] = []
        while True:
            after = ("--after", pages[-1]) if pages else ()
            page = [m["identity"] for m in rows(ratchet("fleet", "--json", "--limit", str(size), *after)[1])]
            if not page:
                break
            pages += page
        assert pages == whole, "in one order, whatever a page holds"
    out = ratchet("fleet", "--limit", "3")[1]
    (following,) = re.findall(r"(\d+) more: ratchet (.*)", out)
    assert int(following[0]) == len(whole) - 3
    words = shlex.split(following[1])
    assert rows(ratchet(*words, "--json")[1])[0]["identity"] == whole[3]
    assert ratchet("fleet", "--after", "chip:none")[0] == 2


def test_standing_is_asked_for_in_plain_words_or_in_the_drafts(ratchet: Any) -> None:
    for plain, tier in (("trusted", "affirming"), ("degraded", "warning"), ("unverified", "none")):
        assert ratchet("fleet", "--json", "--standing", plain) == ratchet("fleet", "--json", "--standing", tier)
    assert "not trusted" in ratchet("fleet")[1].splitlines()[-1]
    assert "(AR4SI: affirming)" in ratchet("fleet", rows(ratchet("fleet", "--json")[1])[-1]["hint"])[1]


def test_evidence_is_explained_by_its_verdict(ratchet: Any) -> None:
    evidence = next(machine for machine in rows(ratchet("fleet", "--json")[1]) if machine["reasons"])["evidence"]
    code, out, _ = ratchet("explain", "--json", evidence)
    (chain,) = rows(out)
    assert code == 0
    assert [event["type"].split(".")[2] for event in chain] == ["verdict", "evidence"]
    assert chain[0]["data"]["evidence"] == evidence == chain[1]["id"]
    assert "\n  because " in ratchet("explain", evidence)[1]


def test_floors_say_where_they_come_from(ratchet: Any) -> None:
    code, out, _ = ratchet("floors", "--json")
    assert code == 0
    for row in rows(out):
        provenance = row["floor"]["provenance"]
        assert provenance["documents"] or provenance["reviewed_by"]
    assert "/tcbInfo/tcbLevels" in ratchet("floors")[1]


def test_a_waiting_proposal_is_approved_by_a_key_and_takes_effect(place: Path, ratchet: Any, tmp_path: Path) -> None:
    review = {"format": "application/vnd.ratchet.advisory+json", "version": 1, "vendor": "AMD", "title": "A test"}
    review |= {"bulletin": "AMD-SB-9041", "url": "https://amd.example/sb", "reviewer": "Ada Lovelace"}
    review |= {"published": "2026-01-01T00:00:00Z", "reviewed_at": "2026-01-01T12:00:00Z"}
    review |= {"floors": [{"family": "snp/Genoa", "minima": [{"tcb": {"reported.snp": 1}}]}]}
    (tmp_path / "review.json").write_text(json.dumps(review))
    assert ratchet("ingest", "--run", str(tmp_path / "review.json"))[0] == 0
    waiting = rows(ratchet("proposals", "--json", "--state", "proposed")[1])
    assert waiting, "what a person read waits for approval"
    id = waiting[0]["proposal"]["proposal"]
    assert ratchet("approve", id[:10], "--as", "mallory", "--yes")[0] == 4
    assert ratchet("approve", id[:10], "--as", "demo", "--dry-run")[0] == 0
    code, out, err = ratchet("approve", id[:10], "--as", "demo", "--yes", "--reason", "INC-412", "--wait", "0")
    assert code == 5, "signed and written, but nothing runs that could carry it out"
    assert "refuses" in out
    assert "(unconfirmed)" in err
    drain(Home(place, {}))
    after = rows(ratchet("proposals", "--json", id)[1])[0]
    assert after["state"] == "enforced"
    assert "waits" in after["proposal"]["why"]
    (now,) = (line for line in ratchet("proposals", id)[1].splitlines() if line.startswith("state "))
    assert "waits" not in now, "what is enforced waits for nobody"
    assert "waits" not in ratchet("proposals", "--state", "enforced")[1]
    assert after["approvals"][0]["by"] == "demo"
    assert {receipt["outcome"] for receipt in after["receipts"].values()} == {"confirmed"}


def test_an_approval_says_how_many_there_are_now() -> None:
    row = {"quorum": 2, "approvals": [{"by": "ann"}]}
    assert approve._counted(row, "ben") == ", 2 of 2 approvals"
    assert approve._counted(row, "ann") == ", 1 of 2 approvals"
    assert approve._counted({"quorum": 1, "approvals": []}, "ann") == ""


def test_a_loosened_floor_says_until_when(place: Path, ratchet: Any, tmp_path: Path) -> None:
    review = {"format": "application/vnd.ratchet.advisory+json", "version": 1, "vendor": "AMD", "title": "A test"}
    review |= {"bulletin": "AMD-SB-9042", "url": "https://amd.example/sb", "reviewer": "Ada Lovelace"}
    review |= {"published": "2026-01-01T00:00:00Z"}
    states = []
    for day, least in ((2, 9), (3, 8)):
        review |= {"reviewed_at": f"2026-01-0{day}T00:00:00Z"}
        review |= {"floors": [{"family": "snp/Genoa", "minima": [{"tcb": {"reported.snp": least}}]}]}
        file = tmp_path / "review.json"
        file.write_text(json.dumps(review))
        assert ratchet("ingest", "--run", str(file))[0] == 0
        waiting = rows(ratchet("proposals", "--json", "--state", "proposed")[1])
        id = next(row["proposal"]["proposal"] for row in waiting if row["proposal"]["family"] == "snp/Genoa")
        assert ratchet("approve", short(id), "--as", "demo", "--yes")[0] == 0
        drain(Home(place, {}))
        states.append(ratchet("proposals", id)[1])
    assert "LOOSER" in states[1]
    assert "then what it loosens returns" in states[1]
    assert "then what it loosens returns" not in states[0]
    assert "LOOSENED until" in ratchet("floors")[1]


def test_an_alert_is_acknowledged_by_who_is_logged_in(place: Path, ratchet: Any) -> None:
    alert = rows(ratchet("alerts", "--json", "--status", "open")[1])[0]["alert"]
    assert ratchet("alerts", "--acknowledge", alert, "--by", "alice")[0] == 2, "nobody says who they are"
    assert ratchet("alerts", "--acknowledge", alert, "--comment", "looking")[0] == 0
    drain(Home(place, {}))
    seen = next(row for row in rows(ratchet("alerts", "--json")[1]) if row["alert"] == alert)
    assert (seen["status"], seen["by"], seen["comment"]) == ("acknowledged", whoami(), "looking")
    code, _, err = ratchet("alerts", "--acknowledge", short(alert))
    assert code == 4
    assert f"by {whoami()}" in err
    assert (place / "operator.key").stat().st_mode & 0o777 == 0o600


def test_bad_input_is_kept_with_its_bytes(place: Path, ratchet: Any, tmp_path: Path) -> None:
    bad = tmp_path / "tcb.json"
    bad.write_bytes(b'{"tcbInfo": [[[')
    assert ratchet("ingest", str(bad))[0] == 0
    assert "1 known already" in ratchet("ingest", str(bad))[1]
    noise = tmp_path / "noise.bin"
    noise.write_bytes(bytes(range(256)) * 8)
    assert ratchet("ingest", str(noise), "--name", "node-77", "--run")[0] == 0
    letter = next(row for row in rows(ratchet("dead-letters", "--json")[1]) if row["size"] == len(bad.read_bytes()))
    assert letter["code"]
    line = next(line for line in ratchet("dead-letters")[1].splitlines() if short(letter["blob"]) in line)
    assert "tcb.json" in line, "what its sender called it"
    assert ratchet("dead-letters", "--bytes", "00")[0] == 2
    found = ratchet("search", "--json", "type:verdict* AND subject:hint\\:node-77")
    assert found[0] == 0
    (verdict,) = rows(found[1])
    assert verdict["data"]["tier"] != "affirming"


def test_search_says_where_a_query_is_wrong(ratchet: Any) -> None:
    code, _, err = ratchet("search", "(level:high")
    assert code == 2
    assert "(query)" in err


def test_the_digest_is_of_the_data_and_doctor_finds_it_well(ratchet: Any) -> None:
    first, again = ratchet("state", "digest", "--json"), ratchet("state", "digest", "--json")
    assert first == again
    code, out, _ = ratchet("doctor", "--json")
    wrong = {row["check"]: row["detail"] for row in rows(out) if not row["well"]}
    # One sender of the scenario never sends its VCEK: that is all that doctor finds, with the address to fetch it from.
    assert set(wrong) == {"collateral"}
    assert all("https://kdsintf.amd.com/vcek/v1/" in line for line in wrong["collateral"])
    assert code == 4


def test_doctor_looks_and_changes_nothing(place: Path, ratchet: Any, tmp_path: Path) -> None:
    """Not even keys whose turn has come: whoever looks at a copy of a machine's disk leaves it as it was."""
    moved = tmp_path / "moved"
    (place / "keys" / "ear").rename(moved)
    try:
        before = files(place)
        ratchet("doctor")
        assert files(place) == before
    finally:
        moved.rename(place / "keys" / "ear")
    (place / "keys" / "bundle.pem").rename(moved)
    try:
        before = files(place)
        found = {row["check"]: row for row in rows(ratchet("doctor", "--json")[1])}
        assert "keys/bundle.pem" in found["stores"]["said"]
        assert not found["stores"]["well"]
        assert files(place) == before
    finally:
        moved.rename(place / "keys" / "bundle.pem")


def files(folder: Path) -> dict[str, str]:
    """Every file below it by the hash of its bytes; not what SQLite keeps beside a database while it is open."""
    return {
        str(path.relative_to(folder)): digest(path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def test_doctor_sees_that_somebody_else_wrote_to_a_store(place: Path, ratchet: Any) -> None:
    main_ref = place / "policy.git" / "refs" / "heads" / "main"
    ours = main_ref.read_text()
    with Repo(str(place / "policy.git")) as repo:
        parent = repo[ours.strip().encode()].parents[0]
    main_ref.write_text(f"{parent.decode()}\n")
    try:
        code, out, _ = ratchet("doctor", "--json")
        assert code == 4
        assert [row["check"] for row in rows(out) if not row["well"]] == ["collateral", "stores"]
    finally:
        main_ref.write_text(ours)
    assert [row["check"] for row in rows(ratchet("doctor", "--json")[1]) if not row["well"]] == ["collateral"]


def test_bytes_of_a_dead_letter_come_out_as_they_came_in(
    place: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    torn = tmp_path / "torn.json"
    torn.write_bytes(b'{"tcbInfo": {"id": "TDX", \xff')
    assert main(["ingest", "--run", str(torn), "--data", str(place)]) == 0
    capfdbinary.readouterr()
    main(["dead-letters", "--json", "--data", str(place)])
    letter = json.loads(capfdbinary.readouterr().out.splitlines()[0])
    for wanted in (letter["blob"], letter["blob"][:10], short(letter["blob"])):
        assert main(["dead-letters", "--data", str(place), "--bytes", wanted]) == 0
        assert digest(capfdbinary.readouterr().out) == letter["blob"]


def test_watch_shows_what_happened_and_no_healthy_verdict(ratchet: Any) -> None:
    code, out, _ = ratchet("watch", "--from-start", "--once")
    assert code == 0
    assert "alert.raised.v1" in out
    assert "affirming" not in out


def test_a_file_of_real_evidence_is_verified(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = {entry["id"]: entry for entry in json.loads((corpus / "MANIFEST.json").read_text())}
    item = manifest["tdx4-near-mpc"]
    words = ["verify", str(corpus / item["file"]), "--at", item["verification_time"], "--data", str(tmp_path), "--json"]
    for document in item["collateral"]:
        words += ["--collateral", str(corpus / document)]
    assert main(words) == 4  # genuine and up to date; but nobody gave a challenge, nor vouches for its measurement
    said = json.loads(capsys.readouterr().out)
    assert said["proof"]["genuine"] is True
    assert said["proof"]["tcb"]["merged"] == "UpToDate"
    assert said["vector"]["hardware"] == 2


def test_a_changed_configuration_is_a_proposal_and_not_in_force_until_it_is_approved(place: Path, ratchet: Any) -> None:
    toml = place / "ratchet.toml"
    before = toml.read_text()
    image = "5a" * 48
    known = f'tee = "snp"\nby = "team"\nsource = "a build"\nconditions = {{ measurement = "{image}" }}'
    toml.write_text(f"{before}\n[policy.reference_values.mine]\n{known}\n")
    try:
        drain(Home(place, {}))
        (row,) = [r for r in rows(ratchet("proposals", "--json")[1]) if r["proposal"]["family"] == "policy"]
        id = row["proposal"]["proposal"]
        assert row["state"] == "proposed"
        assert "snp.mine is known" in ratchet("proposals", id)[1]
        assert row["pushes"] in ratchet("approve", id, "--dry-run")[1], "what is signed is shown"

        def in_force() -> bool:
            record = Home(place, {}).reader().policy("default")
            return record is not None and image in json.dumps(record["policy"]["reference_values"])

        assert not in_force()
        assert ratchet("approve", short(id), "--as", "demo", "--yes")[0] == 0
        drain(Home(place, {}))
        assert in_force()
        assert "policy" in ratchet("proposals")[1]
        assert "enforced" in ratchet("proposals", id)[1]
    finally:
        toml.write_text(before)


def test_a_machine_is_retired_by_who_is_logged_in(place: Path, ratchet: Any) -> None:
    machine = rows(ratchet("fleet", "--json")[1])[0]
    assert ratchet("retire", "no such machine")[0] == 2
    assert ratchet("retire", machine["identity"], "--comment", "sold")[0] == 0
    drain(Home(place, {}))
    assert machine["identity"] not in {row["identity"] for row in rows(ratchet("fleet", "--json")[1])}
