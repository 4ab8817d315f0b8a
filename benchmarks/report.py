"""The results as Markdown."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness import ZDB, Goal, Row, Topic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.harness import Settings

__all__ = ["Result", "render", "table"]

PACKAGES = (
    "zdb",
    "zarr",
    "zarrs",
    "numcodecs",
    "xarray",
    "dask",
    "numpy",
    "pandas",
    "pyarrow",
    "h5py",
    "hdf5plugin",
    "tensorstore",
)
ANSWERS = {True: "yes", False: "**no**", None: "not measured"}


@dataclass(frozen=True)
class Result:
    """A table, and how it came about.

    Attributes
    ----------
    topic : Topic
    rounds : int
    scale : float
        Fraction of the full size of the data.
    machine, versions : str
    """

    topic: Topic
    rounds: int
    scale: float
    machine: str
    versions: str

    @classmethod
    def of(cls, topic: Topic, settings: Settings) -> Result:
        """A result of this process."""
        return cls(topic, settings.rounds, settings.scale, _machine(), _versions())

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Result:
        """Restore what `to_json` made."""
        topic = stored["topic"]
        rows = [Row(**{**row, "goals": [Goal(**goal) for goal in row["goals"]]}) for row in topic["rows"]]
        return cls(**{**stored, "topic": Topic(**{**topic, "rows": rows})})


def render(results: Sequence[Result]) -> str:
    """Return the whole page."""
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench` (`python -m benchmarks`), which writes this page. One topic alone is run by `python -m benchmarks "
        "--only TOPIC --save FOLDER`, and the page made of all results that are kept in a folder by `--page FOLDER`.",
        "",
        "## How it was measured",
        "",
        *(f"- {one}" for one in dict.fromkeys(result.machine for result in results)),
        *(f"- {one}" for one in dict.fromkeys(result.versions for result in results)),
        f"- Medians of {_range([result.rounds for result in results])} rounds. In each round every contender does the "
        "operation once, in another order each time, so that what else goes on in the machine meets all alike.",
        "- Every write goes to a fresh folder, after the disk has finished what was written before; files are not synced "
        'by any contender (zdb: `durability="none"`) where a row does not say so. Reads find the files in the page cache (warm), for all contenders.',
        "- Before each time as much memory as the operation needs is used and given back, because its first use is slow in a "
        "virtual machine.",
        "- Results are compared with the data in the first round, outside of the time.",
        "- The ratio is that to the best peer of the same run: 2 is twice as fast (or half the size), 0.5 half as fast.",
    ]
    if any(result.scale != 1 for result in results):
        sizes = _range([f"{result.scale:.3g}" for result in results])
        lines.append(f"- **The data has {sizes} of its full size**: the goals hold for the full size.")
    topics = [result.topic for result in results]
    lines += ["", "## Goals", "", *_goals(topics)]
    for topic in topics:
        lines += ["", f"## {topic.title}", "", topic.description, ""]
        if topic.left_out:
            lines += [f"Not installed and left out: {', '.join(topic.left_out)}.", ""]
        lines += table(topic)
    return "\n".join(lines) + "\n"


def _range(values: Sequence[Any]) -> str:
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low} to {high}"


def table(topic: Topic) -> list[str]:
    """Return the lines of one table."""
    names = list(dict.fromkeys(name for row in topic.rows for name in row.values))
    peers = [name for name in names if name != ZDB]
    header = ["operation", ZDB, *peers, "ratio to best peer", "goal", "reached"]
    lines = [_line(header), _line(["---"] * len(header))]
    for row in topic.rows:
        values = [_shown(row, name) for name in (ZDB, *peers)]
        goals = "; ".join(goal.text for goal in row.goals)
        reached = "; ".join(ANSWERS[goal.is_reached(row.values)] for goal in row.goals)
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        lines.append(_line([row.operation, *values, ratio, goals, reached]))
    return lines


def _goals(topics: Sequence[Topic]) -> list[str]:
    """Say what was reached and what was not, in the words of the tables."""
    answers = [
        (
            goal.is_reached(row.values),
            f"{topic.title.split(':')[0]}, {row.operation}: {goal.text}{_compared(row, goal.peer)}",
        )
        for topic in topics
        for row in topic.rows
        for goal in row.goals
    ]
    reached = [text for answer, text in answers if answer]
    missed = [text for answer, text in answers if answer is False]
    lines = [f"{len(reached)} of {len(reached) + len(missed)} goals are reached."]
    if missed:
        lines += ["", "Not reached:", "", *(f"- {text}" for text in missed)]
    if reached:
        lines += ["", "Reached:", "", *(f"- {text}" for text in reached)]
    return lines


def _compared(row: Row, peer: str | None) -> str:
    if peer is None:
        return f" (it took {_quantity(row.values[ZDB], row.unit)})"
    if peer not in row.values:
        return ""
    better = "small" if row.unit == "B" else "fast"
    return f" (zdb is {row.values[peer] / row.values[ZDB]:.2f} × as {better})"


def _shown(row: Row, name: str) -> str:
    if name not in row.values:
        return "–"
    value = row.values[name]
    rate = f" ({row.nbytes / value / 1e6:.0f} MB/s)" if row.nbytes else ""
    return _quantity(value, row.unit) + rate


def _quantity(value: float, unit: str) -> str:
    if unit == "B":
        return f"{value / 1e6:.1f} MB"
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.2f} s"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _machine() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo, meminfo = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    memory = ""
    if meminfo.exists():
        memory = f", {int(meminfo.read_text(encoding='ascii').split()[1]) / 2**20:.0f} GiB of memory"
    return f"{model}, {os.cpu_count()} cores{memory}, {platform.platform()}"


def _versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)
