"""Five years of real evidence and vendors' documents through the whole pipeline, held against a page that people read.

Where a change of the code is meant to change what comes out, write the page anew and read the difference:
`ratchet corpus replay MANIFEST.json --json | python -c '…lines…' > tests/golden/corpus-replay.txt`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ratchet.app.home import Home
from ratchet.conformance.replay import Told, replay

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "corpus-replay.txt"


@pytest.fixture(scope="module")
def told(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Told:
    place = Home(tmp_path_factory.mktemp("replay"), {})
    return replay(place, (corpus / "MANIFEST.json").read_bytes(), lambda path: (corpus / path).read_bytes())


def test_what_comes_out_is_what_the_page_says(told: Told) -> None:
    assert told.lines == GOLDEN.read_text().splitlines()


def test_quotes_fall_out_of_date_from_one_evaluation_to_the_next(told: Told) -> None:
    seen = [line for line in told.lines if " verdict " in line and " tdx4-dcapqvl-sample " in line]
    assert "UpToDate (evaluation 17)" in seen[0]
    assert any("OutOfDate (evaluation 20)" in line for line in seen)


def test_an_snp_report_below_its_current_version_says_so(told: Told) -> None:
    (seen,) = (line for line in told.lines if " verdict " in line and " snp2-trustee-milan " in line)
    assert "reported_below_current" in seen


def test_a_new_evaluation_names_the_machines_that_it_would_refuse(told: Told) -> None:
    assert any("tdx/00806f050000: evaluation 18" in line and "refuses tdx4-gotdx-cos113" in line for line in told.lines)
