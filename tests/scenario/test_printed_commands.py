"""Every command that a document, a page or a message prints runs as it is printed.

What stands for something of the reader's own (ID, MANIFEST.json, node-3) is replaced by such a thing of a small fleet;
the table below says by what. A command that this file cannot run must be named in `ELSEWHERE`, with who runs it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ratchet.app import running, serving
from ratchet.app.home import Home
from ratchet.app.usage import parser_of
from ratchet.cli import demo as demo_command
from ratchet.cli.main import main, module_of
from ratchet.event import BlobId, digest
from tests.printed_commands import ROOT, Printed, printed
from tests.unit import snp_world

SMALL = Path(__file__).with_name("small.yml")

ELSEWHERE = {
    "docker compose up": ("docs/not-run.md", "docker-compose.yml"),
    "opa fmt": ("tests/services/test_opa.py", '"fmt"'),
    "opa check --strict": ("tests/services/test_opa.py", '"check", "--strict"'),
    "make demo": ("tests/scenario/test_cli.py", '"demo", "--once"'),
    "make demo ONCE=1": ("tests/scenario/test_cli.py", '"demo", "--once"'),
    "make test": (".ci/run", "make test"),
}
"""Commands that need a server, a container or minutes -> the file that runs them (or says that nobody has yet), and how
it speaks of them. That make knows the target is looked at here."""

NAMES = {
    "ratchet approve",
    "ratchet approve --new-key",
    "ratchet corpus check",
    "ratchet corpus replay",
    "ratchet enrol",
    "ratchet explain",
    "ratchet ingest",
    "ratchet ingest --document",
    "ratchet retire",
    "ratchet search",
    "ratchet search --seconds",
    "ratchet verify",
    "ratchet verify --collateral",
    "ratchet verify --vouch",
}
"""Code spans that name a command or an option of it, with nothing to run: the name must exist."""

NO_COMMANDS = {"ratchet {__version__}", "ratchet {command}", "ratchet {name}"}
"""Text that is put together from a command's name: `ratchet --version`, the name of a parser, an error's place."""

EXITS = {
    "approve": {
        0,
        4,
        5,
    },  # 5: signed and written, while nothing runs that could carry it out; 4: there is nothing to undo
    "corpus": {0, 3},  # 3: the manifest has nothing of a format that was asked for
    "doctor": {0, 4},  # 4: a demo's time stands still, and nothing listens
    "verify": {0, 4},  # 4: it came without a challenge
    "watch": {0, 130},  # 130: ended by Ctrl-C
}
"""Command -> what it may exit with here, where that is more than 0."""


class World:
    """A folder with everything that printed commands speak of, and a data directory in which a fleet has run."""

    def __init__(self, folder: Path) -> None:
        from collectors.simulated.amd.groups import FirmwareRollsBack, SnpGroup
        from collectors.simulated.scenario import dump, load

        self.folder = folder
        scenario = load(SMALL)
        snp = [name for name in scenario.names if isinstance(scenario.group_of(name), SnpGroup)][-1]
        back = FirmwareRollsBack(
            event="firmware-rolls-back", at=timedelta(hours=9), machine=snp, component="ucode", to=1
        )
        scenario = scenario.model_copy(update={"timeline": (*scenario.timeline, back)})
        self.write("my.yml", dump(scenario).encode())
        self.data = folder / "original"
        assert main(["demo", "--once", "--scenario", str(folder / "my.yml"), "--data", str(self.data), "--json"]) == 0
        reader = Home(self.data, {}).reader()
        self.alert = reader.alerts("open").rows[0]["alert"]
        self.rollback = next(
            row["alert"] for row in reader.alerts("open").rows if row["rule"] == "firmware-rolled-back"
        )
        self.proposals = {row["state"]: row["proposal"]["proposal"] for row in reader.proposals()}
        machine = next(row for row in reader.fleet("affirming").rows if row["tee"] == "tdx")
        self.machine, self.identity = str(machine["hint"]), str(machine["identity"])
        record = reader.event(str(machine["evidence"]))
        assert record is not None
        self.at = record.event.time
        quote = reader.blob(BlobId(record.event.data["blob"]))
        self.write("quote.bin", quote or b"")
        self.write("quotes/one.bin", quote or b"")
        self.write("report.bin", quote or b"")
        bundle = next(
            r for r in reader.search("topic:documents", 1000) if str(r.event.data["document"]).startswith("bundle")
        )
        for name in ("tcb.json", "tcb-info.json"):
            self.write(name, reader.blob(BlobId(bundle.event.data["blob"])) or b"")
        amd = snp_world.World()
        self.write("vcek.der", amd.vek())
        self.write("crls/milan.der", amd.crl())
        chain = [x509.load_der_x509_certificate(der) for der in (amd.signer(), amd.ark)]
        self.write("ask_ark_milan.pem", b"".join(one.public_bytes(Encoding.PEM) for one in chain))
        self.write("machines.csv", f"identity,name\n{self.identity},node-3\n".encode())
        self.write("noise.json", b'{"tcbInfo": [[[')
        assert main(["ingest", "--run", "--data", str(self.data), str(folder / "noise.json")]) == 0
        self.letter = Home(self.data, {}).reader().dead_letters().rows[0]["blob"]
        entry: dict[str, Any] = {"id": "one", "format": "tdx-quote", "file": "quote.bin"}
        entry |= {"expected": {"signature": "unchecked: its root is simulated"}}
        entry |= {"files": [], "collateral": ["tcb.json"], "verification_time": f"{self.at:%Y-%m-%dT%H:%M:%SZ}"}
        self.write("MANIFEST.json", json.dumps([entry]).encode())
        reader.close()

    def write(self, name: str, data: bytes) -> None:
        file = self.folder / name
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_bytes(data)

    def means(self, command: str) -> str:
        """A printed command with the world's things in the place of the reader's own."""
        proposal = self.proposals["proposed"]
        subject = proposal if command.startswith(("ratchet approve", "ratchet proposals")) else self.alert
        if "--roll-back" in command:
            subject = self.proposals["enforced"]
        if "--accept" in command:
            subject = self.rollback
        if "dead-letters" in command:
            subject = self.letter
        for pattern, thing in (
            (r" \[--format F,…\]", ""),
            (r"curl -s https://…/tcb", "cat tcb.json"),
            (r"base64 -d quote.b64", "cat quote.bin"),
            (r"\| jq .*", ""),
            (r"\{''\.join\(words\)\}", f"--limit 2 --after {self.identity}"),
            (r"\{near\[0\]\}|COMMAND", "fleet --help" if "near" in command else "fleet"),
            (r"fleet \{name\} …", f"fleet --data {self.data}"),
            (r"\{hold\['cause'\]\}", self.alert[:12]),
            (r"\{place\.path\}|\{self\.path\}|\{file\}", "mine"),
            (r"\b(ALERT|ID|3f9c01ab|7c2e01ab)\b", subject[:12]),
            (r"\{\{ p\.id\[:16\] \}\}|\{proposal\[:8\]\}|\{said\['proposal'\]\[:8\]\}", subject[:16]),
            (r"--as (NAME|alice --key alice\.key)", "--as demo"),
            (r"\benrol IDENTITY\b", f"enrol {self.identity}"),
            (r"\{claims\.platform\}|\{host\.id\}", self.identity),
            (r"node-3\b", self.machine),
            (r"chip:38d1\b", self.identity),
            (r"\bQUERY\b", "type:alert*"),
            (r"\bFILE\b", "tcb.json"),
            (r"/tmp/mine", "demo-data"),
            (r"/var/lib/ratchet", "data"),
            (r"--data (a|b)\b", "--data data"),
            (r"../shared/corpus/", ""),
            (r"2025-06-20T10:00:35Z", f"{self.at:%Y-%m-%dT%H:%M:%SZ}"),
            (r"<the expected revision, from the alert>", "$(git -C policy.git rev-parse main)"),
        ):
            command = re.sub(pattern, lambda _, thing=thing: thing, command)
        return command


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("printed"))


@pytest.fixture
def place(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh copy of the world's folder, as the working directory, with its data directory as the environment's."""
    shutil.copytree(world.folder, tmp_path / "here", symlinks=True)
    here = tmp_path / "here"
    shutil.move(here / "original", here / "data")
    monkeypatch.chdir(here)
    monkeypatch.setenv("RATCHET_DATA", str(here / "data"))
    monkeypatch.setenv("RATCHET_ENTRANCE__LISTEN", "127.0.0.1:0")
    monkeypatch.setenv("RATCHET_CONSOLE__LISTEN", "127.0.0.1:0")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return here


def ratchet(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """One of our own commands, in this process; what never ends by itself ends when it has begun to wait."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    monkeypatch.setattr(running, "run_live", lambda *_: None)
    if words[0] == "demo":
        words = [*words, *("--once", "--json"), *(() if "--scenario" in words else ("--scenario", "my.yml"))]
        if "--data" not in words:
            words += ["--data", "demo-data"]
    if words[:2] == ["approve", "--new-key"] or words[0] != "approve":
        return main(words)
    yes = [] if "--reason" in words else ["--reason", "INC-412"]
    return main([*words, *([] if "--as" in words else ["--as", "demo"]), *yes, "--yes", "--wait", "0"])


COMMANDS = printed()


@pytest.mark.parametrize("one", COMMANDS, ids=lambda one: one.command[:60])
def test_it_runs_as_printed(one: Printed, world: World, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if one.command in NO_COMMANDS:
        return
    if one.command in ELSEWHERE:
        assert_runs_elsewhere(one.command)
        return
    command = world.means(one.command)
    first, *rest = shlex.split(command)
    if one.command in NAMES:
        assert_names_something(rest)
    elif first == "ratchet" and not re.search(r"[|>;]|\$\(", command):
        try:
            code = ratchet(rest, monkeypatch)
        except SystemExit as end:  # --help
            code = int(end.code or 0)
        assert code in EXITS.get(rest[0], {0}), f"{one.place} prints `{one.command}`; `{command}` exits with {code}"
    elif first == "make":
        dry_run([first, "-n", *rest])
    elif first.startswith("scripts/"):
        assert os.access(ROOT / first, os.X_OK), one.place
        dry_run(["bash", "-n", first]) if b"bash" in (ROOT / first).read_bytes()[:40] else None
    else:
        OTHERS[first](command, place)


def assert_runs_elsewhere(command: str) -> None:
    """The file that is said to run it speaks of it."""
    file, text = ELSEWHERE[command]
    assert text in (ROOT / file).read_text(), f"{file} does not run `{command}`"
    if command.startswith("make"):
        dry_run(["make", "-n", *command.split()[1:]])


def assert_names_something(words: list[str]) -> None:
    """The command exists, and each option that is named."""
    parser = parser_of(words[0], module_of(words[0]))
    said = parser.format_help()
    for word in words[1:]:
        assert word in said, f"ratchet {words[0]} has no {word}"


def dry_run(words: list[str]) -> None:
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def shell(command: str, place: Path) -> None:
    """A line as a shell runs it."""
    data = place / "data"
    where = data if command.startswith("git -C policy.git") else place
    done = subprocess.run(["bash", "-euc", command], cwd=where, capture_output=True, text=True, check=False)
    allowed = {0, 4} if "ratchet verify" in command else {0}
    assert done.returncode in allowed, f"{command}: {done.stderr}"


def make_directory(command: str, place: Path) -> None:
    os.environ["RATCHET_DATA"] = str(place / "new")
    try:
        shell(command, place)
    finally:
        os.environ["RATCHET_DATA"] = str(place / "data")
    assert (place / "new").stat().st_mode & 0o077 == 0


def change_mode(command: str, place: Path) -> None:
    (place / "webhook.secret").write_text("whsec_")
    (place / "mine").mkdir()
    shell(command, place)


def send(command: str, place: Path) -> None:
    """The request of the README, with curl, to an entrance that runs."""
    if shutil.which("curl") is None:
        pytest.skip("no curl on the PATH")
    shutil.copy(place / "quote.bin", place / "report.bin")
    with entrance(place / "data") as (address, token):
        url = command.replace("127.0.0.1:8642", address)
        variables = {**os.environ, "TOKEN": token}
        words = ["bash", "-euc", f"{url} --silent --show-error --fail-with-body"]
        done = subprocess.run(words, cwd=place, capture_output=True, text=True, check=False, env=variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["repeated"] is False


@contextmanager
def entrance(data: Path) -> Iterator[tuple[str, str]]:
    """POST /v1/evidence of a data directory, with a sender of its own: its address, and the sender's token."""
    token = "a-token-of-the-tests"
    with (data / "ratchet.toml").open("a") as toml:
        toml.write(f"\n[entrance.senders.agents]\ntoken_sha256 = '{digest(token.encode())}'\n")
    server, sockets = serving.entrance(Home(data, os.environ))
    thread = threading.Thread(target=server.run, kwargs={"sockets": sockets}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{sockets[0].getsockname()[1]}", token
    finally:
        server.should_exit = True
        thread.join(10)


def serve_opa(command: str, place: Path) -> None:
    """The arguments are those with which the tests of the real OPA start it."""
    tested = (ROOT / "tests/services/test_opa.py").read_text()
    for argument in shlex.split(command):
        if argument.startswith("--") or argument.endswith(".rego"):
            assert argument.partition("=")[0].rpartition("/")[2] in tested, argument


OTHERS: dict[str, Callable[[str, Path], None]] = {
    "base64": shell,
    "cat": shell,
    "chmod": change_mode,
    "curl": send,
    "git": shell,
    "mkdir": make_directory,
    "opa": serve_opa,
    "python3": shell,
    "ratchet": shell,
}
"""First word -> how it is run here."""


def test_the_demo_prints_commands_that_run(world: World, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fed = type("Fed", (), {"evidence": 0, "documents": 0, "ticks": 0})()
    from collectors.simulated.scenario import load

    summary = demo_command.summarise(Home(place / "data", {}), load(SMALL), fed, 0.0)
    assert len(summary.next()) == 3
    for words in summary.next():
        assert ratchet([*shlex.split(words), "--data", summary.data], monkeypatch) in {0, 5}


def test_the_next_page_of_the_fleet_is_a_command_that_runs(
    world: World, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    families = [str(row["family"]) for row in Home(place / "data", {}).reader().fleet("affirming").rows]
    family = max(families, key=families.count)
    main(["fleet", "--limit", "1", "--standing", "trusted", "--family", family])
    command = capsys.readouterr().out.strip().splitlines()[-1].rpartition(" more: ratchet ")[2]
    assert main(shlex.split(command)) == 0
    assert "1 shown" in capsys.readouterr().out


def test_nothing_is_on_a_list_that_nobody_prints() -> None:
    known = {one.command for one in COMMANDS}
    assert {*ELSEWHERE, *NAMES, *NO_COMMANDS} <= known
