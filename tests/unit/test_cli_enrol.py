"""Machines become ours on the command line, and senders that have proved nothing yet are in the fleet."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import intel_world
import pytest
import snp_world
from cryptography.hazmat.primitives.serialization import Encoding

from ratchet.app.home import Home
from ratchet.app.running import drain
from ratchet.cli.main import main
from ratchet.event import Event, delivery_id
from streams.archive.sqlite import SqliteReader


class Place:
    """A data directory of a fleet below the tests' own AMD root, to which first use enrols nobody."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys, self.amd, self.sent = folder, capsys, snp_world.World(), 0
        folder.mkdir()
        folder.chmod(0o700)
        (folder / "ark.der").write_bytes(self.amd.ark)
        (folder / "ratchet.toml").write_text(
            '[[trust.roots]]\nname = "Tests ARK-Milan"\nvendor = "amd"\nfile = "ark.der"\n\n'
            '[policy]\nmay_be_impossible = ["executables", "floor"]\nenrolment = {window = 0}\n'
        )
        self.home = Home(folder, {})

    def types(self, *words: str) -> tuple[int, str, str]:
        self.capsys.readouterr()
        code = main([words[0], "--data", str(self.folder), *words[1:]])
        out, err = self.capsys.readouterr()
        return code, out, err

    def appends(self, topic: str, type_: str, subject: str, **data: Any) -> None:
        self.sent += 1
        database = self.home.database()
        data["blob"] = database.blobs.put(data.pop("raw"))
        id, at = delivery_id("default", "/t", str(self.sent)), datetime.now(UTC)
        database.log.append([(topic, Event(id, "/t", type_, subject, at, "default", data))])
        database.close()

    def attests(self, name: str) -> None:
        raw = self.amd.report(report_data=intel_world.CHALLENGE.ljust(64, b"\0"))
        hint = {"name": name, "region": "eu-1"}
        challenge = intel_world.CHALLENGE.hex()
        self.appends("evidence", "evidence.received.v1", name, raw=raw, hint=hint, challenge=challenge)

    def amd_says(self, *ders: bytes) -> None:
        for der in ders:
            self.appends("documents", "document.fetched.v1", "amd/doc", raw=der)

    def chain(self) -> bytes:
        load = snp_world.x509.load_der_x509_certificate
        return b"".join(load(c).public_bytes(Encoding.PEM) for c in (self.amd.signer(), self.amd.ark))

    @property
    def reader(self) -> SqliteReader:
        return SqliteReader(self.home.database_path)

    def standing(self) -> dict[str, str]:
        return {str(row["hint"]): str(row["tier"]) for row in self.reader.fleet().rows}


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Place:
    return Place(tmp_path / "data", capsys)


def test_a_sender_is_listed_with_what_is_missing_until_that_is_there(place: Place) -> None:
    place.amd_says(place.chain(), place.amd.crl(end=snp_world.NOW + 2000 * snp_world.DAY))
    place.attests("node-1")
    drain(place.home)
    code, out, _ = place.types("fleet")
    assert code == 0
    assert "Unverified: these have proved nothing yet" in out
    assert "node-1  snp/Milan" in out
    assert "no_endorsement_key" in out
    assert "https://kdsintf.amd.com/vcek/v1/Milan/" in out
    (row,) = (json.loads(line) for line in place.types("fleet", "--standing", "unverified", "--json")[1].splitlines())
    assert (row["hint"], row["tier"]) == ("node-1", "none")
    assert place.types("fleet", "node-1")[0] == 0
    # when it is ingested
    place.amd_says(place.amd.vek())
    drain(place.home)
    assert "proved nothing" not in place.types("fleet")[1]
    assert "node-1" in place.standing()


def test_a_machine_that_waits_is_shown_and_enrolled_by_name_or_identity(place: Place) -> None:
    place.amd_says(place.chain(), place.amd.crl(end=snp_world.NOW + 2000 * snp_world.DAY), place.amd.vek())
    drain(place.home)
    place.attests("node-1")
    drain(place.home)
    assert place.standing() == {"node-1": "contraindicated"}
    code, out, _ = place.types("enrol", "--list")
    assert code == 0
    assert all(said in out for said in ("node-1", f"chip:{place.amd.hwid.hex()}", "snp/Milan", "eu-1"))
    assert place.types("enrol", "nobody")[0] == 2
    assert place.types("enrol", "node-1", "--comment", "rack 7")[0] == 0
    drain(place.home)
    assert "no machine waits" in place.types("enrol", "--list")[1]
    (decided,) = place.reader.history("decisions", f"chip:{place.amd.hwid.hex()}")
    assert (decided.event.type, decided.event.data["comment"]) == ("decision.enrolled.v1", "rack 7")
    assert place.reader.machine("node-1")["recognition"] == "ours"


def test_a_machine_under_the_name_of_another_is_enrolled_by_its_identity_alone(place: Place) -> None:
    identity, row = "chip:" + "ab" * 64, {"name": "node-3", "recognition": "moved", "moved_from": "chip:" + "cd" * 64}
    text = json.dumps({**row, "identity": identity, "since": "2026-05-01T00:00:00Z"})
    database = place.home.database()
    database.change_state({("verify", f"waiting/default/{identity}"): text})
    database.close()
    code, _, err = place.types("enrol", "node-3")
    assert (code, identity in err) == (2, True)
    assert place.reader.history("decisions", identity) == []
    assert place.types("enrol", identity)[0] == 0


@pytest.mark.parametrize("form", ["plain", "csv", "lines", "list"])
def test_the_machines_of_a_file_are_enrolled_before_they_are_seen(place: Place, tmp_path: Path, form: str) -> None:
    chip, ppid = f"chip:{place.amd.hwid.hex()}", "ppid:" + "0a" * 16
    rows = [{"identity": chip, "name": "node-1"}, {"identity": ppid, "comment": "spare"}, {"identity": chip}]
    text = {
        "plain": f"# rack 4\n{chip} node-1\n{ppid}\n",
        "csv": f"identity,name,comment\n{chip},node-1,\n{ppid},,spare\n{chip},,\n",
        "lines": "\n".join(json.dumps(row) for row in rows),
        "list": json.dumps(rows),
    }[form]
    file = tmp_path / "machines"
    file.write_text(text)
    place.home.database().close()
    code, out, _ = place.types("enrol", "--file", str(file))
    assert (code, out.count("enrolled:")) == (0, 2)
    place.amd_says(place.chain(), place.amd.crl(end=snp_world.NOW + 2000 * snp_world.DAY), place.amd.vek())
    drain(place.home)
    place.attests("node-1")
    drain(place.home)
    assert place.reader.waiting() == []
    assert place.reader.machine("node-1")["recognition"] == "ours"


@pytest.mark.parametrize("text", ["", "identity\nchip:zz\n", "name\nnode-1\n", "[1]", "{", '{"identity": 7}'])
def test_a_file_with_something_that_is_no_machine_enrols_nobody(place: Place, tmp_path: Path, text: str) -> None:
    file = tmp_path / "machines"
    file.write_text("identity\n" + "ppid:" + "0a" * 16 + "\nchip:zz\n" if text.startswith("identity") else text)
    place.home.database().close()
    code, _, err = place.types("enrol", "--file", str(file))
    assert code == 2
    assert "next:" in err
    assert list(place.home.database().log.read(["decisions"], 0, 9)) == []
