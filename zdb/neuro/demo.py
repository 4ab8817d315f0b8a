"""Generate simulation results, import them, look at them: ``python -m zdb.neuro.demo FOLDER``."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import zdb
from zdb.neuro.activations import bin_activations
from zdb.neuro.generate import STIMULUS, generate_simrun
from zdb.neuro.importer import import_simrun
from zdb.neuro.plot import plot_activation, plot_psth, plot_voltage_and_raster


def main(arguments: list[str] | None = None) -> None:
    """Run the demo.

    Parameters
    ----------
    arguments : list of str, optional
        Of the command line: the folder for the results.
    """
    parser = argparse.ArgumentParser(prog="python -m zdb.neuro.demo", description=__doc__)
    parser.add_argument("folder", type=Path, help="gets simrun/, demo.zdb/ and the picture")
    folder: Path = parser.parse_args(arguments).folder

    _title("A folder of simulation results (4 runs of 6 trials, generated from a seed)")
    made = generate_simrun(folder / "simrun")
    files = [path for path in made.folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    print(f"{made.folder}: {len(files)} files, {size / 1e6:.1f} MB")

    path = folder / "demo.zdb"
    _title(f"zdb import simrun {made.folder} {path}")
    db = zdb.open(str(path))
    import_simrun(db, made.folder, overwrite=True, progress=True)

    _title("print(db.tree())")
    print(db.tree())

    _title('db.provenance("synapse_activation")')
    print(db.provenance("synapse_activation"))

    _title(f'xarray.open_zarr("{path}/voltage_traces"), without zdb')
    traces = xr.open_zarr(f"{path}/voltage_traces")
    print(traces)

    picture = folder / "voltage_and_raster.png"
    _title(f"Voltage traces above a spike raster: {picture}")
    spike_times = db["spike_times"]
    counts = np.array([len(times) for times in spike_times])
    busiest = np.sort(np.argsort(-counts, kind="stable")[:3])
    trials = [made.trial_index[row] for row in busiest]
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    voltage, raster = plot_voltage_and_raster(traces, spike_times, trials, figure)
    stimulus = made.time[0] + STIMULUS
    for ax in (voltage, raster):
        ax.axvline(stimulus, color="black", linestyle=":", linewidth=1)
    voltage.text(stimulus - 1, -40, "stimulus", ha="right", fontsize="small")
    figure.savefig(picture, dpi=150)
    print(f"{int(counts.sum())} spikes in {len(counts)} trials")

    picture = folder / "activations.png"
    _title(f"Synapse activations by cell type, and by distance from the soma: {picture}")
    begin, end = made.time[0], made.time[-1]
    by_type, by_distance = (
        bin_activations(db, groupby, min_time=begin, max_time=end) for groupby in ("celltype", "binned_somadist")
    )
    print(by_type)
    figure = Figure(figsize=(9, 7), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    plot_psth(by_type, ax=above).axvline(stimulus, color="black", linestyle=":", linewidth=1)
    above.spines[["top", "right"]].set_visible(False)
    above.set_xlabel("")
    plot_activation(by_distance, ax=below)
    figure.savefig(picture, dpi=150)


def _title(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m")


if __name__ == "__main__":
    main()
