"""The benchmarks run, and the page is made of kept results."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))

from benchmarks import __main__ as command
from benchmarks.harness import ZDB, Goal, Row, Topic
from benchmarks.report import Result, render


@pytest.mark.parametrize("name", ["small_values", "ragged"])
def test_a_page_of_kept_results(name, tmp_path, monkeypatch, capsys):
    """Each contender returns what was written, or the benchmark fails."""
    monkeypatch.setattr(command, "QUICK_SCALE", 1 / 500)
    page = tmp_path / "page.md"
    command.main(["--quick", "--rounds", "1", "--only", name, "--save", str(tmp_path), "--folder", str(tmp_path)])
    command.main(["--page", str(tmp_path), "--output", str(page)])
    text = page.read_text()
    assert "Medians of 1 rounds" in text
    assert "has 0.002 of its full size" in text
    assert [line for line in text.splitlines() if line.startswith("## ")][2:] == [
        line for line in text.splitlines() if line.startswith(("## Small values: 20", "## Ragged: 4000"))
    ]
    assert not list(tmp_path.glob("zdb-benchmarks-*"))
    printed = capsys.readouterr().out
    assert all(line in printed for line in text.splitlines() if line.startswith("| "))


def test_goals_that_are_not_reached_come_first():
    goals = [
        Goal("≥ 3 × peer", peer="peer", factor=1 / 3),
        Goal("≤ 600 MB", limit=600e6),
        Goal("≥ 1 × gone", peer="gone"),
    ]
    rows = [Row("read", {ZDB: 1.0, "peer": 2.0}, goals[:1]), Row("write", {ZDB: 5e8, "peer": 7e8}, goals[1:], "B")]
    result = Result(Topic("Array: 1 GB", "What it is.", rows, ["gone"]), 3, 1.0, "a machine", "Python")
    text = render([Result.from_json(result.to_json())])
    assert render([result]) == text
    assert text.index("1 of 2 goals are reached") < text.index("Array, read: ≥ 3 × peer (zdb is 2.00 × as fast)")
    assert text.index("Not reached:") < text.index("Reached:") < text.index("(it took 500.0 MB)")
    assert "Not installed and left out: gone." in text
