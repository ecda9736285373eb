"""`ratchet verify`: what people have in hand, what it says of it, and what scripts rely on: the exit code."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import pytest
from real_evidence import items

from ratchet.app.evidence_file import decode
from ratchet.cli.main import main
from ratchet.policy.appraise import appraise
from ratchet.policy.policy import NAMEABLE, Policy
from tests.unit.snp_world import NOW, World

Capture = pytest.CaptureFixture[str]


class Folder:
    """Evidence of a simulated chip as files, and a data directory whose configuration trusts its vendor."""

    def __init__(self, path: Path) -> None:
        self.path = path
        world = World()
        self.raw = world.report(report_data=b"\x07" * 64)
        self.genuine = self.write("genuine.bin", self.raw)
        self.forged = self.write("forged.bin", self.raw[:0x90] + b"\x00" + self.raw[0x91:])  # another measurement
        self.write("data/ark.der", world.ark)
        toml = "[[trust.roots]]\nname = 'Tests ARK'\nvendor = 'amd'\nfile = 'ark.der'\n"
        self.write("data/ratchet.toml", toml.encode())
        self.lenient = self.write("lenient.toml", f"may_be_impossible = {sorted(NAMEABLE)}\n".encode())
        documents = {"ask.der": world.signer(), "vcek.der": world.vek(), "crl.der": world.crl()}
        files = {name: self.write(name, data) for name, data in documents.items()}
        self.options = ["--data", str(path / "data"), "--at", f"{NOW:%Y-%m-%dT%H:%M:%SZ}"]
        self.options += ["--endorsement", files["vcek.der"], "--endorsement", files["ask.der"]]
        self.options += ["--collateral", files["crl.der"]]

    def write(self, name: str, data: bytes) -> str:
        file = self.path / name
        file.parent.mkdir(mode=0o700, exist_ok=True)
        file.write_bytes(data)
        return str(file)

    def verify(self, *words: str) -> int:
        return main(["verify", *words, *self.options])


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_forgery_is_refused_however_much_of_the_output_is_read(folder: Folder) -> None:
    # given a reader that goes away before anything is written, as in `ratchet verify … | head -0`
    for options in (folder.options, [*folder.options, "--json"]):
        read_end, write_end = os.pipe()
        os.close(read_end)
        # when a forgery is verified
        command = [sys.executable, "-m", "ratchet.cli.main", "verify", folder.forged, *options]
        done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
        os.close(write_end)
        # then it is refused, without a word about the pipe
        assert (done.returncode, done.stderr) == (4, "")


def test_a_command_that_fails_exits_by_its_fault_when_nobody_reads_it(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "ratchet.cli.main", "fleet", "--json", "--data", str(tmp_path / "none")]
    done = subprocess.run(command, stdout=write_end, stderr=write_end, check=False)
    os.close(write_end)
    assert done.returncode == 6


def test_standing_is_a_plain_word_with_the_drafts_word_beside_it(folder: Folder, capsys: Capture) -> None:
    assert folder.verify(folder.genuine, "--policy", folder.lenient) == 0
    assert "Trusted (AR4SI: affirming)" in capsys.readouterr().out
    assert folder.verify(folder.forged, "--policy", folder.lenient) == 4
    out = capsys.readouterr().out
    assert "Not trusted (AR4SI: contraindicated)" in out
    assert "nothing of this is proven" in out


def test_every_claim_is_shown_as_a_table_and_as_json(folder: Folder, capsys: Capture) -> None:
    folder.verify(folder.genuine)
    out = capsys.readouterr().out
    folder.verify(folder.genuine, "--json")
    claims = json.loads(capsys.readouterr().out)["proof"]["claims"]
    assert claims["measurement"] == "5f" * 48
    assert claims["report_data"] == "07" * 64
    assert claims["measurements"]["measurement"] == claims["measurement"]
    assert "host_data" in claims["measurements"]
    assert claims["bits"]
    assert claims["tcb"]["reported.snp"] == 24
    for name in (*claims["bits"], *claims["tcb"], *claims["measurements"]):
        assert out.count(f"\n  {name} ") == 1, name
    assert "None" not in out


def test_a_policy_comes_from_a_file(folder: Folder, capsys: Capture) -> None:
    assert folder.verify(folder.genuine) == 4, "by the configured policy, it is not fresh"
    assert folder.verify(folder.genuine, "--policy", folder.lenient) == 0
    as_table = folder.write("table.toml", f"[policy]\nmay_be_impossible = {sorted(NAMEABLE)}\n".encode())
    assert folder.verify(folder.genuine, "--policy", as_table) == 0
    as_json = folder.write("policy.json", json.dumps({"may_be_impossible": sorted(NAMEABLE)}).encode())
    assert folder.verify(folder.genuine, "--policy", as_json) == 0
    capsys.readouterr()
    for wrong, said in ((b"trusted = 3", "trusted"), (b"policy = 3", "no table"), (b"]", "neither TOML nor JSON")):
        assert folder.verify(folder.genuine, "--policy", folder.write("wrong.toml", wrong)) == 2
        err = capsys.readouterr().err
        assert said in err
        assert "wrong.toml" in err
    assert folder.verify(folder.genuine, "--policy", str(folder.path / "none.toml")) == 6


def test_of_several_files_the_worst_decides(folder: Folder, capsys: Capture) -> None:
    cca = folder.write("cca.cbor", b"\xd9\x01\x8f\xa2" + bytes(4096))
    missing = str(folder.path / "none.bin")
    lenient = ("--policy", folder.lenient)
    assert folder.verify(folder.genuine, folder.genuine, *lenient) == 0
    assert folder.verify(folder.genuine, cca, *lenient) == 3
    assert folder.verify(folder.genuine, missing, cca, *lenient) == 6
    assert folder.verify(folder.genuine, folder.forged, missing, cca, folder.genuine, *lenient) == 4
    out = capsys.readouterr().out
    assert all(name in out for name in ("genuine.bin", "forged.bin", "cca.cbor", "none.bin"))
    folder.verify(folder.genuine, missing, "--json")
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["file"] == folder.genuine
    assert second["error"] == "unreadable"


def test_a_format_that_is_not_read_yet_has_its_name(folder: Folder, capsys: Capture) -> None:
    cca = folder.write("cca.cbor", b"\xd9\x01\x8f\xa2" + bytes(4096))
    assert folder.verify(cca) == 3
    assert "Arm CCA attestation token: not supported yet" in capsys.readouterr().out
    certificate = folder.write("vcek.pem", b"-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n")
    assert folder.verify(certificate) == 3
    assert "X.509 certificate: not evidence" in capsys.readouterr().out
    assert folder.verify(folder.write("noise", b"\x99" * 500)) == 3
    assert "no known format" in capsys.readouterr().out


def _wrapped(text: bytes) -> bytes:
    return "\n".join(textwrap.wrap(text.decode(), 64)).encode() + b"\n"


@pytest.mark.parametrize(
    ("form", "encode"),
    [
        ("bytes", lambda raw: raw),
        ("hex", lambda raw: raw.hex().encode()),
        ("hex", lambda raw: b"0x" + raw.hex().upper().encode() + b"\n"),
        ("hex", lambda raw: _wrapped(raw.hex().encode())),
        ("base64", base64.b64encode),
        ("base64", lambda raw: _wrapped(base64.b64encode(raw))),
        ("base64", lambda raw: base64.b64encode(raw).rstrip(b"=")),
        ("base64url", lambda raw: base64.urlsafe_b64encode(raw + b"\xff\xfe\xff")),
        (
            "PEM",
            lambda raw: (
                b"-----BEGIN SNP REPORT-----\n" + _wrapped(base64.b64encode(raw)) + b"-----END SNP REPORT-----\n"
            ),
        ),
    ],
)
def test_evidence_comes_in_the_forms_in_which_people_have_it(
    form: str, encode: Any, folder: Folder, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = encode(folder.raw)
    assert folder.verify(folder.write("given", text), "--json", "--policy", folder.lenient) == 0
    assert json.loads(capsys.readouterr().out)["encoding"] == form
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert folder.verify("-", "--policy", folder.lenient) == 0
    out = capsys.readouterr().out
    assert out.startswith("-: AMD SEV-SNP attestation report")
    assert (f"(read as {form})" in out) == (form != "bytes")


def test_every_real_quote_is_the_same_in_hex_and_base64(corpus: Path) -> None:
    for item in json.loads((corpus / "MANIFEST.json").read_text()):
        if item["format"] not in ("sgx-quote", "tdx-quote", "snp-report", "nitro", "tpm-quote", "az-snp-vtpm"):
            continue
        raw = (corpus / item["file"]).read_bytes()
        assert decode(raw.hex().encode()) == (raw, "hex"), item["id"]
        assert decode(base64.b64encode(raw))[0] == raw, item["id"]
        assert decode(base64.urlsafe_b64encode(raw))[0] == raw, item["id"]


def _vouched(text: str) -> Policy:
    return Policy.from_data(tomllib.loads(text)["policy"])


def test_what_vouch_prints_makes_that_evidence_known(folder: Folder, capsys: Capture) -> None:
    assert folder.verify(folder.genuine, "--vouch", "web-2026.03") == 0
    policy = _vouched(capsys.readouterr().out)
    [known] = policy.reference_values
    assert known.name == "web-2026.03"
    assert known.by
    assert "genuine.bin" in known.source
    rest = folder.write("vouched.json", json.dumps(policy.to_data()).encode())
    folder.verify(folder.genuine, "--policy", rest, "--json")
    assert json.loads(capsys.readouterr().out)["vector"]["executables"] == 3
    assert folder.verify(folder.genuine, "--vouch", "web", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert list(Policy.from_data(said).reference_values[0].conditions) == list(known.conditions)


@pytest.mark.parametrize("name", ["sgx-oasis-pckchain", "tdx4-near-mpc", "tdx5-oe-relaunch", "snp-ms-turin"])
def test_what_vouch_prints_of_real_evidence_makes_it_known(name: str, corpus: Path, capsys: Capture) -> None:
    item = next(item for item in items(corpus) if item.name == name)
    entry = next(one for one in json.loads((corpus / "MANIFEST.json").read_text()) if one["id"] == name)
    words = ["verify", str(corpus / entry["file"]), "--at", entry["verification_time"], "--vouch", "image"]
    for path in entry["collateral"]:
        words += ["--collateral", str(corpus / path)]
    for one in entry["files"]:
        words += ["--endorsement", str(corpus / one["path"])] if one["path"] != entry["file"] else []
    assert main([*words, "--data", str(corpus / "no such folder")]) == 0
    policy = _vouched(capsys.readouterr().out)
    verdict = appraise(item.proof(), policy, item.at)
    assert (verdict.vector["executables"], verdict.reference) == (2 if verdict.tee == "tdx" else 3, "image")


@pytest.mark.parametrize("what", ["forged", "no collateral", "not evidence", "two files", "a name", "ear"])
def test_nothing_else_is_vouched_for(
    what: str, folder: Folder, request: pytest.FixtureRequest, capsys: Capture
) -> None:
    words, code, said = [folder.forged, "--vouch", "web"], 4, "not genuine (signature did not pass)"
    match what:
        case "no collateral":
            corpus = request.getfixturevalue("corpus")
            item = next(item for item in items(corpus) if item.name == "tdx4-near-mpc")
            words[0], said = folder.write("quote.bin", item.evidence.raw), "nothing is vouched for"
        case "not evidence":
            words[0], code, said = folder.write("note.bin", b"\x00" * 7), 3, "note.bin"
        case "two files":
            words, code, said = [folder.genuine, *words], 2, "one file"
        case "a name":
            words[-1], code, said = "No Name", 2, "cannot name"
        case "ear":
            words, code, said = [*words, "--ear", "kbs", "--challenge", "00" * 32], 2, "one thing each"
    assert folder.verify(*words) == code
    out = capsys.readouterr()
    assert out.out == ""
    assert said in out.err
