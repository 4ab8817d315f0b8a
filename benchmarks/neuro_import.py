"""Import of simulation results: time, peak memory and room on disk, beside the In Silico Framework.

``python -m benchmarks.neuro_import FOLDER DATABASE PARTS`` is one import, in a process of its own; PARTS is "all" or
"traces and activity".
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import zdb
from benchmarks.harness import ZDB, Goal, Row, Settings, Topic, fresh_folder, measure, size_on_disk
from benchmarks.memory import peak_memory

RUNS, MANY = 100, 10
REAL = Path(__file__).parents[2] / "shared" / "data"
MOVED = "/gpfs/soma_fs/scratch/meulemeester/project_src/in_silico_framework/getting_started/example_data"
ISF = "In Silico Framework"
ALL, WITHOUT = "all", "traces and activity"
# What the framework needs for the same 600 trials, measured once on a machine of this type: seconds and bytes.
FRAMEWORK = {WITHOUT: 164.0, ALL: 336.0, "load voltage": 79.0, "memory": 0.97e9, "disk": 45e6 + 67e6 + 76e6}
DIGITS_KEPT = 5


def run(settings: Settings) -> Topic:
    """Measure imports of one campaign, and of one that is ten times as large."""
    runs = settings.sized(RUNS)
    campaign = make_campaign(fresh_folder(settings.folder) / "campaign", runs)

    def framework(operation: str) -> dict[str, float]:
        return {ISF: FRAMEWORK[operation]} if settings.scale == 1.0 else {}

    databases = {parts: settings.folder / f"{parts}.zdb" for parts in (WITHOUT, ALL)}
    rows, memory = [], 0.0
    for parts, database in databases.items():
        seconds, memory = _import_in_a_process(campaign, database, parts)
        goal = Goal("≥ 10 × the framework", peer=ISF, factor=1 / 10)
        rows.append(Row(f"import {6 * runs} trials, {parts}", {ZDB: seconds, **framework(parts)}, [goal]))
    many = make_campaign(settings.folder / "many", MANY * runs, like=campaign)
    large, _ = _import_in_a_process(many, settings.folder / "many.zdb", ALL)
    linear = Goal("linear: ≤ 1.2 × as long per trial", limit=1.2 * MANY * rows[-1].values[ZDB])
    rows.append(Row(f"import {6 * MANY * runs} trials, {ALL}", {ZDB: large}, [linear]))
    shutil.rmtree(settings.folder / "many.zdb")

    db = zdb.open(databases[ALL])
    loads: dict[str, Any] = {
        "voltage": lambda: db["voltage_traces"].load(),
        "synapse activations": lambda: db["synapse_activation"],
        "presynaptic spikes": lambda: db["cell_activation"],
    }
    for name, load in loads.items():
        values = measure({ZDB: load}, settings.rounds)
        goals = []
        if name == "voltage":
            values |= framework("load voltage")
            goals = [Goal("≥ 100 × the framework", peer=ISF, factor=1 / 100)]
        rows.append(Row(f"load {name}", values, goals))
    found: dict[str, float] = {ZDB: memory, **framework("memory")}
    rows.append(Row("peak memory of the import", found, [Goal("≤ 0.5 × the framework", peer=ISF, factor=0.5)], "B"))
    on_disk = sum(
        size_on_disk(databases[ALL] / key) for key in ("voltage_traces", "synapse_activation", "cell_activation")
    )
    found = {ZDB: float(on_disk), **framework("disk")}
    rows.append(Row("traces and activity on disk", found, [Goal("≤ 0.7 × the framework", peer=ISF, factor=0.7)], "B"))
    source = "a real run of 6 trials" if REAL.is_dir() else "a generated run of 6 trials (smaller than a real one)"
    return Topic(
        f"Import of simulation results: {6 * runs} trials in {runs} folders",
        f"Copies of {source}; decimals from the {DIGITS_KEPT}th on are made anew in each, so that copies do not compress "
        "as repetitions. Each import is a process of its own, with the threads of dask, measured once; its start is not "
        f"counted. “{ALL}” includes dendritic recordings and parameter files. The framework is not run: its numbers "
        "are of 600 real trials, measured once on a machine of this type, with its rewriting into an optimized format.",
        rows,
    )


def make_campaign(folder: Path, runs: int, like: Path | None = None) -> Path:
    """Make so many copies of a run of 6 trials; of those in the campaign `like`, by hard links, if one is given."""
    sources = sorted(like.iterdir()) if like else [_one_run(folder.parent / "one")]
    random = np.random.default_rng(0)
    for number in range(runs):
        source = sources[number % len(sources)]
        process, target = f"{20240 + number}", folder / f"20150815-1530_{20240 + number}"
        target.mkdir(parents=True)
        for file in source.iterdir():
            copy = target / file.name.replace(source.name.rpartition("_")[2], process)
            if like:
                os.link(file, copy)
            elif file.suffix == ".csv":
                copy.write_bytes(vary(file.read_bytes(), random))
            else:
                shutil.copy(file, copy)
    return folder


def _one_run(folder: Path) -> Path:
    if REAL.is_dir():
        return next((REAL / "simrun").glob("*/*"))
    from zdb.neuro import generate_simrun

    return next(generate_simrun(folder, runs=1, trials=6, duration=245.0).folder.iterdir())


def vary(data: bytes, random: np.random.Generator) -> bytes:
    """Make the decimals of all numbers anew, from the one after DIGITS_KEPT on."""
    text = np.frombuffer(data, np.uint8)
    positions = np.arange(len(text))
    is_digit = (text >= ord("0")) & (text <= ord("9"))
    last_point = np.maximum.accumulate(np.where(text == ord("."), positions, -1))
    last_other = np.maximum.accumulate(np.where(is_digit, -1, positions))
    decimal = is_digit & (last_point == last_other) & (positions - last_point > DIGITS_KEPT)
    made = text.copy()
    made[decimal] = random.integers(ord("1"), ord("9") + 1, int(decimal.sum()), dtype=np.uint8)
    return made.tobytes()


def _import_in_a_process(campaign: Path, database: Path, parts: str) -> tuple[float, float]:
    """Seconds and peak bytes of one import."""
    os.sync()
    command = [sys.executable, "-m", "benchmarks.neuro_import", str(campaign), str(database), parts]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True, check=True)
    seconds, memory = done.stdout.split()[-2:]
    return float(seconds), float(memory)


def _main(campaign: str, database: str, parts: str) -> None:
    from zdb.neuro import import_simrun

    db = zdb.open(database)
    relocate: dict[str, str | os.PathLike[str]] = {MOVED: REAL / "anatomy"}
    started = time.perf_counter()
    import_simrun(db, campaign, dendrites=parts == ALL, parameters=parts == ALL, relocate=relocate)
    print(time.perf_counter() - started, peak_memory())


if __name__ == "__main__":
    _main(*sys.argv[1:])
