"""`ratchet corpus check`: it agrees where the manifest is right, and says so where it is not."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from snp_world import NOW, World

from ratchet.app.errors import Exit, Fault
from ratchet.cli.corpus import check_file, exit_of, report_json, report_text
from ratchet.cli.main import main
from ratchet.collateral.roots import vendor_roots
from ratchet.conformance.check import NOT_OURS, BadManifest, Report, check
from ratchet.event import Json, stamp

OURS = ["sgx-quote", "tdx-quote", "snp-report", "intel-collateral"]
MILAN = World("Milan")


@pytest.fixture(scope="module")
def manifest(corpus: Path) -> list[dict[str, Json]]:
    return [item for item in json.loads((corpus / "MANIFEST.json").read_bytes()) if item["format"] in OURS]


def checked(corpus: Path, *items: dict[str, Json]) -> Report:
    return check(json.dumps(items).encode(), lambda path: (corpus / path).read_bytes(), vendor_roots())


def by_id(manifest: list[dict[str, Json]], id: str) -> dict[str, Json]:
    return copy.deepcopy(next(item for item in manifest if item["id"] == id))


def test_everything_in_the_corpus_agrees(corpus: Path):
    report = check_file(corpus / "MANIFEST.json", OURS)
    assert [(item.id, item.disagreements) for item in report.disagreeing] == []
    assert exit_of(report) is Exit.DONE
    assert {item.format for item in report.items} == set(OURS)


def altered(value: Json) -> Json:
    """Something else of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return ("f" if value[:1] != "f" else "e") + value[1:]
    if isinstance(value, list):
        return [altered(value[0]), *value[1:]] if value else ["more"]
    if isinstance(value, dict):
        name = next(iter(value))
        return {**value, name: altered(value[name])}
    return "something"


def statements(expected: dict[str, Json]) -> list[tuple[str, ...]]:
    """The path of everything that an item states."""
    found: list[tuple[str, ...]] = []
    for name, value in expected.items():
        if name in ("claims", "checks"):
            found += [(name, inner) for inner in value]
        elif name not in ("cases", "time_cases") and name not in NOT_OURS:
            found.append((name,))
    return found


@pytest.mark.parametrize(
    "id", ["snp-ms-turin", "snp3-trustee-vlek", "sgx-dcapqvl-sample", "tdx5-oe-relaunch", "intelcoll-neg-nextupdate"]
)
def test_no_statement_is_passed_over(corpus: Path, manifest, id: str):
    """Alter each in turn: each time, and only there, they disagree."""
    original = by_id(manifest, id)
    for path in statements(original["expected"]):
        item = copy.deepcopy(original)
        place = item["expected"]
        for name in path[:-1]:
            place = place[name]
        if place[path[-1]] is None:
            continue  # the manifest says nothing
        place[path[-1]] = altered(place[path[-1]])
        (seen,) = checked(corpus, item).items
        wrong = {finding.what for finding in seen.disagreements}
        assert ".".join(path) in wrong, path
        assert len(wrong) <= 2, wrong


def test_each_case_is_compared_alone(corpus: Path, manifest):
    item = by_id(manifest, "sgx-signal-dcap")
    for i, _ in enumerate(item["expected"]["cases"]):
        for name in ("tcb_status", "advisory_ids", "tcb_evaluation_data_number", "detail", "pck_revoked"):
            other = copy.deepcopy(item)
            other["expected"]["cases"][i][name] = altered(item["expected"]["cases"][i][name])
            (seen,) = checked(corpus, other).items
            unknown = [f for f in seen.findings if f.note.startswith("unknown: TCB info of version 2")]
            if name == "advisory_ids" and any(f.expected == other["expected"]["cases"][i][name] for f in unknown):
                continue  # nobody says which there are, and the report says that nobody does
            assert [finding.what.rpartition(": ")[2] for finding in seen.disagreements] == [name]


def test_a_case_may_state_a_signature_too(corpus: Path, manifest):
    item = by_id(manifest, "snp3-trustee-vlek")
    case = {"collateral": item["collateral"], "verification_time": "2027-01-01T00:00:00Z"}
    for expected, agrees in (("invalid", True), ("valid", False)):
        item["expected"]["cases"] = [{**case, "signature": expected}]
        assert bool(checked(corpus, item).disagreeing) is not agrees


def test_a_time_at_which_it_must_be_refused_is_tried(corpus: Path, manifest):
    item = by_id(manifest, "tdx4-dcapqvl-sample")
    (good,) = checked(corpus, item).items
    assert any(finding.what.endswith(": refused") for finding in good.findings)
    item["expected"]["time_cases"][0]["verification_time"] = item["verification_time"]
    (seen,) = checked(corpus, item).items
    assert [finding.seen for finding in seen.disagreements] == ["accepted"]
    item["expected"]["time_cases"] = [{**item["expected"]["time_cases"][0], "expect": "shrug"}]
    assert checked(corpus, item).disagreeing


def test_files_must_be_the_ones_meant(corpus: Path, manifest):
    item = by_id(manifest, "snp-ms-milan")
    item["files"][1]["sha256"] = "0" * 64
    (seen,) = checked(corpus, item).items
    assert [finding.note for finding in seen.disagreements] == ["not the bytes meant"]


# -- expectations of signatures, on evidence made here


def verdict(tmp_path: Path, expected: str, raw: bytes, *beside: bytes, roots=None) -> bool:
    """Whether `expected.signature` agrees with what is seen in this report."""
    files = {"report.bin": raw, **{f"{i}.der": one for i, one in enumerate(beside)}}
    item = {
        "id": "made",
        "format": "snp-report",
        "file": "report.bin",
        "files": [{"path": name} for name in files],
        "collateral": [],
        "verification_time": stamp(NOW),
        "expected": {"signature": expected, "claims": {}},
    }
    report = check(json.dumps([item]).encode(), files.__getitem__, roots or [MILAN.root()])
    return not report.disagreeing


GOOD = (MILAN.report(), MILAN.vek(), MILAN.signer())
FORGED = (MILAN.report()[:-600] + bytes(600), MILAN.vek(), MILAN.signer())
ALONE = (MILAN.report(),)
UNSIGNED = (MILAN.report(patches=[(0x48, b"\x1c")], signed=False), MILAN.vek(), MILAN.signer())


@pytest.mark.parametrize(
    ("expected", "agreeing"),
    [
        ("valid", [GOOD]),
        ("invalid", [FORGED, ALONE, UNSIGNED]),
        ("not signed", [UNSIGNED, ALONE]),
        ("unchecked: nobody here has the key", [ALONE, FORGED, UNSIGNED]),
        ("valid-partial: report only", [ALONE, UNSIGNED]),
        ("magnificent", []),
    ],
)
def test_each_expectation_of_a_signature(tmp_path: Path, expected: str, agreeing: list[tuple[bytes, ...]]):
    for made in (GOOD, FORGED, ALONE, UNSIGNED):
        if expected == "not signed" and made is FORGED:
            continue
        assert verdict(tmp_path, expected, *made) == (made in agreeing), expected


# -- the command


def run(tmp_path: Path, capsys, items: Json, *options: str) -> tuple[int, str]:
    path = tmp_path / "MANIFEST.json"
    path.write_text(items if isinstance(items, str) else json.dumps(items))
    code = main(["corpus", "check", str(path), *options])
    out = capsys.readouterr()
    return code, out.out + out.err


def test_formats_that_are_not_known_are_counted(tmp_path: Path, capsys):
    items = [{"id": str(i), "format": "newtee", "file": "x", "expected": {}} for i in range(3)]
    code, text = run(tmp_path, capsys, items)
    assert code == 3
    assert "3 items of formats not known here: 3 newtee" in text
    code, text = run(tmp_path, capsys, items, "--format", "snp-report")
    assert code == 3
    assert "no item of format snp-report" in text


def test_a_disagreement_shows_both_sides_and_exits_4(tmp_path: Path, capsys):
    (tmp_path / "report.bin").write_bytes(MILAN.report())
    item = {
        "id": "made",
        "format": "snp-report",
        "file": "report.bin",
        "verification_time": stamp(NOW),
        "expected": {"signature": "valid", "claims": {"vmpl": 0, "guest_svn": 9, "colour": "blue"}},
    }
    code, text = run(tmp_path, capsys, [item, {**item, "format": "newtee"}])
    assert code == 4
    assert "claims.guest_svn\n      expected  9\n      seen      0" in text
    assert "claims.colour" in text
    assert "claims.vmpl" not in text
    code, text = run(tmp_path, capsys, [item], "--json")
    lines = [json.loads(line) for line in text.splitlines()]
    assert lines[0]["agrees"] is False
    assert lines[-1]["summary"]["disagree"] == 1


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "{}",
        "[1]",
        '[{"id": "a"}]',
        '[{"id": "a", "format": "snp-report", "file": "gone", "expected": {}}]',
        '[{"id": "a", "format": "snp-report", "file": "../../etc/passwd", "expected": {}}]',
        '[{"id": "a", "format": "snp-report", "file": "M", "expected": {}, "verification_time": "noon"}]',
    ],
)
def test_a_manifest_that_cannot_be_read_exits_6(tmp_path: Path, capsys, text: str):
    (tmp_path / "M").write_bytes(b"x")
    code, said = run(tmp_path, capsys, text)
    assert code == 6
    assert "Traceback" not in said


def test_a_missing_manifest_is_a_fault_that_names_it(tmp_path: Path):
    with pytest.raises(Fault) as caught:
        check_file(tmp_path / "nowhere.json")
    assert caught.value.exit is Exit.UNREACHABLE
    assert "nowhere.json" in caught.value.what


def test_reading_is_given_and_what_it_raises_is_passed_on():
    def away(path: str) -> bytes:
        raise OSError(path)

    read: Callable[[str], bytes] = away
    item = {"id": "a", "format": "snp-report", "file": "f", "expected": {}}
    with pytest.raises(OSError, match="f"):
        check(json.dumps([item]).encode(), read, [])
    with pytest.raises(BadManifest):
        check(b"null", read, [])


def test_text_and_json_tell_the_same(corpus: Path, manifest):
    report = checked(corpus, by_id(manifest, "snp-ms-milan"), by_id(manifest, "tdx4-near-mpc"))
    assert len([line for line in report_text(report) if line.startswith("agrees")]) == 2
    rows = list(report_json(report))
    assert [row["agrees"] for row in rows[:-1]] == [True, True]
    assert rows[-1]["summary"]["exit"] == 0
