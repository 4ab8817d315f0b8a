"""Run the benchmarks, print the tables and write ``docs/benchmarks.md``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import zdb
from benchmarks import arrays, filling, load, memory, neuro_analysis, neuro_import, ragged, small_values, tables
from benchmarks.harness import Settings
from benchmarks.report import Result, render, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TOPICS = {
    "arrays": arrays.run,
    "tables": tables.run,
    "ragged": ragged.run,
    "small_values": small_values.run,
    "memory": memory.run,
    "load": load.run,
    "filling": filling.run,
    "neuro_import": neuro_import.run,
    "neuro_analysis": neuro_analysis.run,
}
QUICK_SCALE, QUICK_ROUNDS = 1 / 50, 3
DURABILITY = "ZDB_DURABILITY"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the data, in half a minute")
    parser.add_argument("--only", choices=TOPICS, action="append", help="this topic (can be given several times)")
    parser.add_argument("--rounds", type=int, help="how often each operation is done")
    parser.add_argument("--folder", type=Path, help="where the data is written, instead of the temporary folder")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="keep the result of each topic there, as JSON")
    parser.add_argument("--page", type=Path, metavar="FOLDER", help="run nothing: make the page of results kept there")
    parser.add_argument(
        "--output", type=Path, help="write the page there (a run of all topics in full size writes docs/benchmarks.md)"
    )
    given = parser.parse_args(arguments)
    if given.page is not None:
        files = [given.page / f"{name}.json" for name in TOPICS]
        results = [Result.from_json(json.loads(file.read_text(encoding="utf-8"))) for file in files if file.exists()]
        output = given.output or PAGE
    else:
        with unsynced():
            results = measure_topics(given)
        output = given.output or (None if given.quick or given.only else PAGE)
    if output is not None:
        output.write_text(render(results), encoding="utf-8")
        print(f"\nwritten to {output}")


@contextlib.contextmanager
def unsynced() -> Iterator[None]:
    """Let zdb not wait for the disk, here and in other processes: the peers do not do it either."""
    before = os.environ.get(DURABILITY)
    os.environ[DURABILITY] = "none"
    try:
        with zdb.config.set({"durability": "none"}):
            yield
    finally:
        del os.environ[DURABILITY]
        if before is not None:
            os.environ[DURABILITY] = before


def measure_topics(given: argparse.Namespace) -> list[Result]:
    """Run topics one after the other, and print their tables."""
    folder = Path(tempfile.mkdtemp(prefix="zdb-benchmarks-", dir=given.folder))
    rounds = given.rounds or (QUICK_ROUNDS if given.quick else Settings(folder).rounds)
    results = []
    try:
        for name in given.only or TOPICS:
            started = time.perf_counter()
            settings = Settings(folder / name, QUICK_SCALE if given.quick else 1.0, rounds)
            result = Result.of(TOPICS[name](settings), settings)
            shutil.rmtree(settings.folder, ignore_errors=True)
            results.append(result)
            if given.save is not None:
                given.save.mkdir(parents=True, exist_ok=True)
                (given.save / f"{name}.json").write_text(json.dumps(result.to_json(), indent=1), encoding="utf-8")
            print(f"\n{result.topic.title} ({time.perf_counter() - started:.0f} s)")
            print("\n".join(table(result.topic)), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return results


if __name__ == "__main__":
    main(sys.argv[1:])
