"""Analysis of the results of many simulations: binning of synapse activations and detection of spikes."""

from __future__ import annotations

import shutil
from pathlib import Path

import zdb
from benchmarks.harness import ZDB, Goal, Row, Settings, Topic, fresh_folder, measure
from zdb.neuro import bin_activations, detect_spikes, generate_simrun, import_simrun

RUNS, TRIALS = 100, 6
DURATION = 245.0  # ms, as in the real simulation
REAL = Path(__file__).parents[2] / "shared" / "data" / "simrun"
# Seconds that the In Silico Framework took for 600 trials of the real simulation on a machine of this kind.
ORIGINAL = "original (600 trials)"
SECONDS = {"EI": 42.0, "celltype": 58.0, "spikes": 66.0}


def run(settings: Settings) -> Topic:
    """Bin and detect; the results of 600 trials are imported once, which is not timed."""
    folder = fresh_folder(settings.folder)
    runs = settings.sized(RUNS)
    source = make_results(folder / "simrun", runs)
    db = zdb.open(folder / "results.zdb")
    import_simrun(db, source, parameters=False, dendrites=False)
    rows = []
    for groupby, factor in (("EI", 50), ("celltype", 50)):
        seconds = measure({ZDB: lambda name=groupby: bin_activations(db, name)}, settings.rounds)
        rows.append(_row(f"bin activations by {groupby}", seconds, SECONDS[groupby], factor))
    seconds = measure({ZDB: lambda: detect_spikes(db["voltage_traces"])}, settings.rounds)
    rows.append(_row("detect spikes", seconds, SECONDS["spikes"], 20))
    return Topic(
        f"Neuron simulations: analysis of {runs * TRIALS} trials",
        f"Copies of {'the real simulation' if REAL.is_dir() else 'a generated simulation'}, imported before. Activations are "
        "read, counted per trial, group and ms, and written; voltage traces are read and spikes detected. The original is "
        "the In Silico Framework, which was measured once with 600 trials of the real simulation on a machine of this kind, "
        "not in this run.",
        rows,
    )


def make_results(folder: Path, runs: int) -> Path:
    """Make a folder of runs of six trials: copies of the real one where it is found, generated ones elsewhere."""
    if not REAL.is_dir():
        return generate_simrun(folder, runs=runs, trials=TRIALS, duration=DURATION).folder
    [[real]] = [list(results.iterdir()) for results in REAL.iterdir()]
    for number in range(runs):
        shutil.copytree(real, folder / f"{real.name}_{number:04d}")
    return folder


def _row(operation: str, seconds: dict[str, float], original: float, factor: int) -> Row:
    goal = Goal(f"≥ {factor} × the original", peer=ORIGINAL, factor=1 / factor)
    return Row(operation, {**seconds, ORIGINAL: original}, [goal])
