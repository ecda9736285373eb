"""The bench runs, and its last line is one JSON object with every figure. What the figures are is not for a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_last_line_has_every_figure() -> None:
    words = [sys.executable, "-W", "ignore", "-m", "bench", "--seconds", "0.2", "--probes", "3"]
    run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    said = json.loads(run.stdout.splitlines()[-1])
    assert set(said) == {"verify", "pipeline"}
    assert {"sgx", "tdx", "snp", "nitro"} <= set(said["verify"]) <= {"sgx", "tdx", "snp", "nitro", "az-snp", "az-tdx"}
    for kind, rows in said["verify"].items():
        assert list(rows) == ["cold", "first", "repeat"]
        for row in rows.values():
            assert set(row) == {"rate", "bare", "peer"}
            assert row["rate"] > 0
            assert row["bare"] > 0
            assert (row["peer"] is None) == (kind not in ("sgx", "tdx")), "dcap-qvl reads Intel's quotes"
    assert set(said["pipeline"]) == {"rate", "p50_ms", "p99_ms"}
    assert 0 < said["pipeline"]["p50_ms"] <= said["pipeline"]["p99_ms"]
