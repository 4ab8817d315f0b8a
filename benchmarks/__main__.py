"""Run the benchmarks, print the tables and write ``docs/benchmarks.md``."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import arrays, memory, ragged, small_values, tables
from benchmarks.harness import Settings
from benchmarks.report import render, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.harness import Topic

TOPICS = {
    "arrays": arrays.run,
    "tables": tables.run,
    "ragged": ragged.run,
    "small_values": small_values.run,
    "memory": memory.run,
}
QUICK_SCALE, QUICK_ROUNDS = 1 / 50, 3
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the data, in half a minute")
    parser.add_argument("--only", choices=TOPICS, action="append", help="this topic (can be given several times)")
    parser.add_argument("--rounds", type=int, help="how often each operation is done")
    parser.add_argument("--folder", type=Path, help="where the data is written, instead of the temporary folder")
    parser.add_argument(
        "--output", type=Path, help="write the page there (a run of all topics in full size writes docs/benchmarks.md)"
    )
    given = parser.parse_args(arguments)
    output = given.output or (None if given.quick or given.only else PAGE)
    folder = Path(tempfile.mkdtemp(prefix="zdb-benchmarks-", dir=given.folder))
    rounds = given.rounds or (QUICK_ROUNDS if given.quick else Settings(folder).rounds)
    settings = Settings(folder, QUICK_SCALE if given.quick else 1.0, rounds)
    try:
        topics = run(settings, given.only or list(TOPICS))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if output is not None:
        output.write_text(render(topics, settings), encoding="utf-8")
        print(f"\nwritten to {output}")


def run(settings: Settings, names: Sequence[str]) -> list[Topic]:
    """Run topics one after the other, and print their tables."""
    topics = []
    for name in names:
        started = time.perf_counter()
        topic = TOPICS[name](Settings(settings.folder / name, settings.scale, settings.rounds))
        shutil.rmtree(settings.folder / name, ignore_errors=True)
        topics.append(topic)
        print(f"\n{topic.title} ({time.perf_counter() - started:.0f} s)")
        print("\n".join(table(topic)), flush=True)
    return topics


if __name__ == "__main__":
    main(sys.argv[1:])
