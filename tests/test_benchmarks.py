"""The benchmark runs, and the document shows what it measured."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.results import PUBLISHED, Results, read_results, table

ROOT = Path(__file__).parents[1]


def test_the_table_in_the_document_is_that_of_the_published_results() -> None:
    assert table(read_results(PUBLISHED)) in (ROOT / "docs" / "performance.md").read_text()


def test_a_ratio_is_of_times_of_the_same_round() -> None:
    results = Results(
        {"processor": "p", "cores": 2, "load": 0.1},
        images=10,
        size=75,
        seconds={
            "the articles' way": [4.0, 8.0, 12.0],
            "ours": [2.0, 2.0, 3.0],
            "products of matrices": [1.0, 1.0, 1.5],
        },
    )
    assert results.ratios("ours", "the articles' way") == [2.0, 4.0, 4.0]
    assert "| ours | 5.0 | 4.00 (2.00 to 4.00) | 0.50 (0.50 to 0.50) |" in table(results)


@pytest.mark.long
def test_each_precision_of_this_machine_is_compared_with_float32() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.precision", "--short"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    rows = [line.split(" | ") for line in process.stdout.splitlines() if line.startswith("| ")][2:]
    assert rows[0][:2] == ["| float32", "openvino"]
    assert [row[0] for row in rows if row[1] == "keras"] == ["| float32", "| bfloat16", "| float16"]
    for row in rows:
        assert 0.8 < float(row[4]) <= float(row[3]) < 1.00001


@pytest.mark.long
def test_the_short_benchmark_runs(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.extraction", "--short", "--out", out],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    results = read_results(out)
    assert len(results.seconds) == 6
    assert table(results) in process.stdout
