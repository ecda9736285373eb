"""The README's own path, from an empty data directory, with real evidence: what a newcomer does, and what they see."""

from __future__ import annotations

import json
import os
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ratchet.app import serving
from ratchet.app.home import Home
from ratchet.app.running import drain
from ratchet.cli.main import main
from ratchet.event import digest

TOKEN = "a-token-of-the-tests"


class Newcomer:
    """Somebody with a data directory that is empty but for a ratchet.toml with one sender."""

    def __init__(self, path: Path, corpus: Path, capsys: pytest.CaptureFixture[str], sender: str) -> None:
        self.data, self.corpus, self.capsys = path / "data", corpus, capsys
        self.data.mkdir(mode=0o700)
        table = f"[entrance.senders.agents]\ntoken_sha256 = '{digest(TOKEN.encode())}'\n{sender}"
        (self.data / "ratchet.toml").write_text(f"[entrance]\nlisten = '127.0.0.1:0'\n{table}")
        self.sent = 0

    @contextmanager
    def entrance(self) -> Iterator[str]:
        server, sockets = serving.entrance(Home(self.data, os.environ))
        thread = threading.Thread(target=server.run, kwargs={"sockets": sockets}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}/v1/evidence"
        finally:
            server.should_exit = True
            thread.join(10)

    def sends(self, report: str) -> None:
        """As the README's curl does, then the pipeline runs."""
        self.sent += 1
        raw = (self.corpus / report).read_bytes()
        head = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/vnd.ratchet.snp-report"}
        head |= {"Ratchet-Delivery": f"delivery-{self.sent}", "Ratchet-Name": "node-3"}
        with self.entrance() as url:
            request = urllib.request.Request(url, data=raw, headers=head)
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert answer.status == 201
        drain(Home(self.data, {}))

    def types(self, *words: str) -> list[dict[str, Any]]:
        self.capsys.readouterr()
        assert main([words[0], "--json", "--data", str(self.data), *words[1:]]) == 0
        return [json.loads(line) for line in self.capsys.readouterr().out.splitlines()]

    def ingests(self, *documents: str) -> None:
        self.types("ingest", "--run", *(str(self.corpus / document) for document in documents))

    def row(self) -> dict[str, Any]:
        (row,) = (row for row in self.types("fleet") if row["hint"] == "node-3")
        return row

    def alerts(self) -> set[str]:
        return {alert["rule"] for alert in self.types("alerts", "--status", "open")}


REPORT, VCEK = "snp-report/snp3-dstack-milan.bin", "snp-report/snp3-dstack-milan.vcek.der"
CHAIN = "collateral/amd/ask_ark_milan.pem"


@pytest.mark.parametrize("sender", ["", "vouches_freshness = true\n"], ids=["of unknown age", "vouched for"])
def test_what_is_missing_is_said_with_its_address_and_judged_again_once_it_is_there(
    sender: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newcomer = Newcomer(tmp_path, corpus, capsys, sender)
    # given a real report that comes without its VCEK
    newcomer.sends(REPORT)
    # then its sender is listed as unverified, with what is missing, and where to get it
    row = newcomer.row()
    assert row["tier"] == "none"
    (missing,) = (reason for reason in row["missing"] if reason["code"] == "no_endorsement_key")
    assert "https://kdsintf.amd.com/vcek/v1/Milan/" in missing["remedy"]
    first = newcomer.types("explain", row["evidence"])[0][0]
    assert not first["data"]["genuine"]
    assert main(["fleet", "--data", str(newcomer.data)]) == 0
    assert "https://kdsintf.amd.com/vcek/v1/Milan/" in capsys.readouterr().out
    assert "evidence-failed" not in newcomer.alerts(), "what could not be proven accuses nobody"
    # when that is ingested
    newcomer.ingests(VCEK, CHAIN)
    # then the same evidence is judged again, and is genuine now
    again = newcomer.types("explain", row["evidence"])[0][0]
    assert again["id"] != first["id"]
    assert again["data"]["evidence"] == row["evidence"]
    assert again["data"]["genuine"]
    assert not any(reason["code"] == "no_endorsement_key" for reason in newcomer.row().get("missing", ()))
    assert "endorsement-missing" not in newcomer.alerts(), "what was missing is there"
    # when it is sent again, as an agent does that knows nothing of this
    before = newcomer.alerts()
    newcomer.sends(REPORT)
    # then nobody is alarmed
    assert newcomer.alerts() <= before
    assert not newcomer.alerts() & {"evidence-failed", "evidence-replayed"}
