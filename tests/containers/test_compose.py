"""docker-compose.yml, run: evidence in, a floor approved, a receipt by its OPA, and all of it there after a restart."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from machines import BARE, NAMES, OPA, checkout, registry, run

from collectors.simulated.amd.groups import SnpFirmware
from collectors.simulated.amd.pki import amd_of
from collectors.simulated.amd.report import Guest, report
from collectors.simulated.vendor import Vendor

BULLETIN = "ratchet/advisory/amd/amd-sb-3019.json"
PATIENCE = 120.0
"""Seconds that anything may take on a busy machine."""

T = TypeVar("T")


def until(asked: Callable[[], T | None], what: str, otherwise: Callable[[], str]) -> T:
    """Ask until there is an answer."""
    pause, end = threading.Event(), time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if (answer := asked()) is not None:
            return answer
        pause.wait(0.5)
    pytest.fail(f"{what}: not within {PATIENCE} s\n{otherwise()}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class Composed:
    """The services of docker-compose.yml, under a name of their own."""

    def __init__(self, podman: Path, folder: Path) -> None:
        self.podman, self.folder = podman, folder
        self.project = f"ratchet{secrets.token_hex(4)}"
        self.ports = {name: free_port() for name in ("RATCHET_PORT", "CONSOLE_PORT", "OPA_PORT")}
        self.tokens = {name: secrets.token_hex(24) for name in ("opa", "bundle")}
        for name, token in self.tokens.items():
            (folder / f"{name}.token").write_text(token + "\n")
        self.environment = os.environ | {name: str(port) for name, port in self.ports.items()}
        self.environment |= {"BASE_IMAGE": BARE, "OPA_IMAGE": OPA, "NO_PROXY": "127.0.0.1"}
        self.environment |= {"OPA_TOKEN": self.tokens["opa"], "BUNDLE_TOKEN": self.tokens["bundle"]}

    def compose(self, *words: str) -> str:
        command = [
            sys.executable,
            "-m",
            "podman_compose",
            "--podman-path",
            str(self.podman),
            "-p",
            self.project,
            *words,
        ]
        return run(*command, cwd=self.folder, env=self.environment).stdout

    def build(self) -> None:
        """Steps that install need the host's network and its names."""
        options = ["--isolation", "chroot", "--layers=false", "--pull=never", "--network", "host", *NAMES, *registry()]
        self.compose("--podman-build-args", " ".join(options), "build", "ratchet")

    def typed(self, *words: str, given: bytes = b"", service: str = "ratchet") -> str:
        """A command in a service's container."""
        command = [self.podman, "exec", "-i", self.container(service), *words]
        done = subprocess.run([str(word) for word in command], input=given, capture_output=True, check=False)
        assert done.returncode == 0, f"{words}\n{done.stdout.decode()}\n{done.stderr.decode()}"
        return done.stdout.decode()

    def container(self, service: str) -> str:
        return f"{self.project}_{service}_1"

    def logs(self, service: str = "ratchet") -> str:
        done = subprocess.run(
            [str(self.podman), "logs", self.container(service)], capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    def everything_said(self) -> str:
        return "\n".join(f"{service}:\n{self.logs(service)[-4000:]}" for service in ("ratchet", "opa"))

    def up(self) -> None:
        self.compose("up", "-d", "--no-build")
        self.answers("RATCHET_PORT", "/healthz")
        self.answers("OPA_PORT", "/health")

    def answers(self, port: str, path: str) -> None:
        def asked() -> bool | None:
            try:
                return (
                    httpx.get(f"http://127.0.0.1:{self.ports[port]}{path}", trust_env=False).status_code == 200 or None
                )
            except httpx.HTTPError:
                return None

        until(asked, f"{port}{path} answers", self.everything_said)

    def opa(self, method: str, path: str, body: Any = None, token: str | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token or self.tokens['opa']}"}
        url = f"http://127.0.0.1:{self.ports['OPA_PORT']}{path}"
        return httpx.request(method, url, json=body, headers=headers, trust_env=False)

    def rows(self, *words: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.typed("ratchet", *words, "--json").splitlines()]


@pytest.fixture(scope="module")
def composed(podman: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    """Built and started from a checkout; removed with its volumes."""
    composed = Composed(podman, checkout(tmp_path_factory.mktemp("compose") / "ratchet"))
    composed.build()
    try:
        composed.up()
        yield composed
    finally:
        composed.compose("down", "-v", "-t", "5")


def configured(composed: Composed, vendor: Vendor) -> str:
    """Write a ratchet.toml that trusts the simulated vendor, one sender and one approver; the sender's token."""
    sender = json.loads(composed.typed("ratchet", "config", "token", "--json"))
    approver = json.loads(composed.typed("ratchet", "approve", "--new-key", "/data/keys/alice.key", "--json"))
    settings = f"""
[entrance.senders.collector]
token_sha256 = "{sender["token_sha256"]}"
gives_challenges = true

[approvers.keys]
alice = "{approver["public_key"]}"

[[trust.roots]]
name = "Simulated ARK-Milan"
vendor = "amd"
file = "ark.der"
"""
    composed.typed("sh", "-c", "umask 077; cat > /data/ratchet.toml", given=settings.encode())
    composed.typed("sh", "-c", "cat > /data/ark.der", given=amd_of(vendor.keys).ark("Milan"))
    return str(sender["token"])


def sent(composed: Composed, vendor: Vendor, token: str) -> dict[str, Any]:
    """Post evidence of a machine whose firmware meets the bulletin, bound to a challenge."""
    chip, firmware, challenge = amd_of(vendor.keys).chip("Milan", "node-1"), SnpFirmware(), secrets.token_bytes(32)
    guest = Guest(bytes.fromhex("5a" * 48), secrets.token_bytes(32))
    raw = report(
        5, chip, guest, challenge.ljust(64, b"\0"), amd_of(vendor.keys).vcek_key(chip, firmware),
        reported=firmware, committed=firmware, launch=firmware,
    )  # fmt: skip
    answer = httpx.post(
        f"http://127.0.0.1:{composed.ports['RATCHET_PORT']}/v1/evidence",
        headers={"Authorization": f"Bearer {token}"},
        json={
            "delivery": secrets.token_hex(8),
            "name": "node-1",
            "evidence": b64(raw),
            "endorsements": [b64(amd_of(vendor.keys).vcek(chip, firmware))],
            "challenge": challenge.hex(),
        },
        trust_env=False,
    )
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def b64(raw: bytes) -> str:
    import base64

    return base64.b64encode(raw).decode()


def head(composed: Composed) -> str:
    """The newest link of the log's hash chain."""
    script = "from pathlib import Path; from streams.chain import head_of; print(head_of(Path('/data/ratchet.db')))"
    return composed.typed("python", "-c", script).strip()


def links(composed: Composed) -> list[str]:
    """Every link of it."""
    script = (
        "import sqlite3; [print(f'{number}:{link}') for number, link in"
        " sqlite3.connect('file:/data/ratchet.db?mode=ro', uri=True).execute('SELECT round, hash FROM chain')]"
    )
    return composed.typed("python", "-c", script).split()


def facts(composed: Composed) -> dict[str, Any]:
    """What nobody may lose: machines and their standing, proposals with approvals and receipts, floors."""
    return {name: composed.rows(name) for name in ("fleet", "proposals", "floors")}


def test_opa_runs_before_there_is_a_policy_and_admits_nothing(composed: Composed) -> None:
    answer = composed.opa("POST", "/v1/data/ratchet/decision", {"input": {"genuine": True}})
    assert answer.status_code == 200
    assert answer.json().get("result") in (None, {"allow": False, "reasons": []})
    assert composed.opa("POST", "/v1/data/ratchet/decision", {"input": {}}, token="guessed").status_code == 401
    status = json.loads(run(composed.podman, "inspect", composed.container("opa")).stdout)[0]
    assert status["State"]["Status"] == "running"
    assert status["RestartCount"] < 60, "it waits for its configuration, and then stays"


def test_opa_sees_the_bundles_alone(composed: Composed) -> None:
    mounts = json.loads(run(composed.podman, "inspect", composed.container("opa")).stdout)[0]["Mounts"]
    volumes = {mount["Destination"]: mount["Name"] for mount in mounts if mount["Type"] == "volume"}
    assert volumes == {"/bundles": f"{composed.project}_bundles"}
    assert "opa.json" in composed.typed("ls", "/data/bundles").split()
    assert {"bundle.pem", "operator.key"}.isdisjoint(composed.typed("ls", "-R", "/data/bundles").split())


def test_an_approved_floor_is_proved_by_opa_and_nothing_is_lost_by_a_restart(
    composed: Composed, tmp_path: Path
) -> None:
    # given a collector, an approver, and a vendor's documents
    vendor = Vendor(tmp_path / "vendor")
    token = configured(composed, vendor)
    composed.compose("restart", "-t", "10", "ratchet")
    composed.answers("RATCHET_PORT", "/healthz")
    for name, document in (
        ("chain.pem", amd_of(vendor.keys).chain("Milan")),
        ("milan.crl", amd_of(vendor.keys).crl("Milan", datetime.now(UTC).replace(microsecond=0))),
        ("bulletin.json", (composed.folder / BULLETIN).read_bytes()),
    ):
        composed.typed("sh", "-c", f"cat > /tmp/{name} && ratchet ingest --document /tmp/{name}", given=document)

    # when evidence is posted, the machine is known, and the bulletin's floor waits for somebody
    sent(composed, vendor, token)
    waiting = until(
        lambda: next(iter(composed.rows("proposals", "--state", "proposed")), None),
        "a proposal",
        lambda: composed.everything_said() + composed.typed("ratchet", "doctor"),
    )
    assert waiting["proposal"]["family"] == "snp/Milan"
    # and is approved
    id_ = waiting["proposal"]["proposal"]
    composed.typed("ratchet", "approve", id_[:12], "--as", "alice", "--yes", "--wait", str(PATIENCE))

    # then both stores confirmed it, and the OPA of this file was who decided
    (row,) = [one for one in composed.rows("proposals") if one["proposal"]["proposal"] == id_]
    assert row["state"] == "enforced"
    assert {store: one["outcome"] for store, one in row["receipts"].items()} == {"git": "confirmed", "opa": "confirmed"}
    status = composed.opa("GET", "/v1/status").json()["result"]["bundles"]["ratchet"]
    assert status["active_revision"] == row["receipts"]["opa"]["revision"]
    asked = [line for line in composed.logs("opa").splitlines() if "/v1/data/ratchet/decision" in line]
    assert any('"resp_status":200' in line for line in asked), composed.logs("opa")[-4000:]

    # when everything is taken down and started again
    before, newest = facts(composed), head(composed)
    composed.compose("down", "-t", "10")
    composed.up()
    # then the log goes on where it ended, and what it says is the same
    assert newest in links(composed)
    assert facts(composed) == before
    assert composed.typed("ratchet", "doctor")
    served = until(
        lambda: composed.opa("GET", "/v1/status").json()["result"]["bundles"]["ratchet"].get("active_revision"),
        "OPA serves the policy again",
        composed.everything_said,
    )
    assert served == status["active_revision"]
