"""Generate a small folder of simulation results whose content is known, for demos and tests.

The model is a sketch of a cortical neuron in vivo. Presynaptic cells of several types fire at
random, more after a stimulus; their synapses release with a given probability; the membrane
potential fluctuates, and spikes are placed at known samples. The files have the layout that
:mod:`zdb.neuro.simrun` describes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GeneratedSimrun", "generate_simrun"]

STIMULUS = 45.0  # ms after the start of the recording
TIME_STEP = 0.025  # ms
RELEASE_PROBABILITY = 0.6
REFRACTORY = 8.0  # ms between two spikes


class Population(NamedTuple):
    """Presynaptic cells of one type: how many, how they fire, and where their synapses are."""

    cell_type: str
    cells: int
    rate: float  # spikes per s and cell
    evoked: float  # probability that a cell answers the stimulus
    latency: float  # ms
    dendrite: str
    distance: tuple[float, float]  # µm from the soma


POPULATIONS = (
    Population("L2_C2", 40, 1.0, 0.15, 12.0, "ApicalDendrite", (900.0, 1500.0)),
    Population("L4ss_C2", 60, 1.5, 0.35, 10.0, "ApicalDendrite", (100.0, 700.0)),
    Population("L5tt_C2", 50, 4.0, 0.40, 13.0, "Dendrite", (20.0, 300.0)),
    Population("L5tt_D2", 30, 4.0, 0.15, 16.0, "Dendrite", (20.0, 300.0)),
    Population("L6cc_C2", 50, 1.0, 0.50, 9.0, "Dendrite", (20.0, 400.0)),
    Population("SymLocal4_C2", 40, 8.0, 0.60, 11.0, "Soma", (0.0, 0.0)),
    Population("VPM_C2", 40, 2.0, 0.80, 8.0, "Dendrite", (40.0, 500.0)),
)

SYNAPSE_HEADER = (
    "synapse type",
    "synapse ID",
    "soma distance",
    "section ID",
    "section pt ID",
    "dendrite label",
    "activation times",
)
CELL_HEADER = ("presynaptic cell type", "cell ID", "spike times")


class Activity(NamedTuple):
    """One row of a synapse or cell file: the fields before the times, and the times (ms)."""

    fields: tuple[str | int | float, ...]
    times: tuple[float, ...]


@dataclass(frozen=True)
class GeneratedSimrun:
    """What the generated files say.

    Attributes
    ----------
    folder : Path
        Root of the results.
    trial_index : list of str
        ``sim_trial_index`` of the trials.
    time : ndarray, shape (samples,)
        In ms.
    voltage : ndarray, shape (trials, samples)
        In mV.
    spike_times : list of ndarray
        Per trial, in ms.
    synapses, cells : list of list of Activity
        Per trial, the rows of its files.
    """

    folder: Path
    trial_index: list[str]
    time: NDArray[np.float64]
    voltage: NDArray[np.float64]
    spike_times: list[NDArray[np.float64]]
    synapses: list[list[Activity]]
    cells: list[list[Activity]]


def generate_simrun(
    folder: str | Path,
    *,
    runs: int = 4,
    trials: int = 6,
    duration: float = 145.0,
    seed: int = 0,
    voltage_format: str = "csv",
) -> GeneratedSimrun:
    """Write a folder of simulation results.

    Parameters
    ----------
    folder : path
        Created if missing. Files of an earlier call with the same arguments are written again,
        with the same content.
    runs, trials : int
        Number of run folders, and of trials in each.
    duration : float
        Length of a trial in ms; the recording starts at 100 ms, and the stimulus comes at 145 ms.
    seed : int
        Of the random numbers. The same seed and sizes make the same files.
    voltage_format : {"csv", "npz"}
        File type of the voltage traces.

    Returns
    -------
    GeneratedSimrun
        What the files say, exactly.
    """
    if voltage_format not in ("csv", "npz"):
        raise ValueError(f"voltage_format is 'csv' or 'npz', not {voltage_format!r}")
    folder = Path(folder)
    samples = round(duration / TIME_STEP)
    time = np.round(100.0 + TIME_STEP * np.arange(samples), 3)
    made = GeneratedSimrun(folder, [], time, np.empty((runs * trials, samples)), [], [], [])
    for run in range(runs):
        process = f"{20240 + run}"
        path = folder / f"20150815-1530_{process}"
        path.mkdir(parents=True, exist_ok=True)
        for trial in range(trials):
            row = run * trials + trial
            random = np.random.default_rng([seed, row])
            cells = _cell_spikes(random, duration)
            synapses = _synapse_activations(random, cells, 100.0 + duration)
            made.voltage[row], spike_times = _voltage(random, time)
            made.trial_index.append(f"{path.name}/{trial:06d}")
            made.spike_times.append(spike_times)
            made.cells.append(cells)
            made.synapses.append(synapses)
            name = f"simulation_run{trial:04d}"
            _write_activity(path / f"{name}_synapses.csv", SYNAPSE_HEADER, synapses)
            _write_activity(path / f"{name}_presynaptic_cells.csv", CELL_HEADER, cells)
        rows = slice(run * trials, (run + 1) * trials)
        table = np.column_stack([time, made.voltage[rows].T])
        if voltage_format == "npz":
            np.savez(path / f"{process}_vm_all_traces.npz", table)
        else:
            _write_voltage(path / f"{process}_vm_all_traces.csv", table)
    return made


def _cell_spikes(random: np.random.Generator, duration: float) -> list[Activity]:
    """Poisson firing, and in some cells a spike after the stimulus; a row per cell that fired."""
    end = 100.0 + duration
    rows = []
    for population in POPULATIONS:
        for cell in range(population.cells):
            ongoing = random.uniform(0.0, end, random.poisson(population.rate * end / 1000.0))
            answers = random.random() < population.evoked
            jitter = random.gamma(3.0, 1.0)
            evoked = [100.0 + STIMULUS + population.latency + jitter] if answers else []
            times = np.sort(np.round(np.concatenate([ongoing, evoked]), 9))
            times = times[times < end]
            if len(times):
                rows.append(Activity((population.cell_type, cell), tuple(times.tolist())))
    return rows


def _synapse_activations(random: np.random.Generator, cells: list[Activity], end: float) -> list[Activity]:
    """Release, or not, at the synapses of the cells that fired; a row per active synapse."""
    populations = {population.cell_type: population for population in POPULATIONS}
    rows = []
    for (cell_type, cell), times in cells:
        population = populations[str(cell_type)]
        for contact in range(int(random.integers(1, 4))):
            synapse = 3 * int(cell) + contact
            released = [round(t + 0.5, 9) for t in times if random.random() < RELEASE_PROBABILITY and t + 0.5 < end]
            if released:
                distance = round(float(random.uniform(*population.distance)), 8)
                place = int(random.integers(0, 80)), int(random.integers(0, 40))
                fields = (population.cell_type, synapse, distance, *place, population.dendrite)
                rows.append(Activity(fields, tuple(released)))
    return rows


def _voltage(random: np.random.Generator, time: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A fluctuating membrane potential that answers the stimulus, and spikes at chosen samples."""
    since = time - (100.0 + STIMULUS + 8.0)
    evoked = np.where(since > 0, since / 12.0 * np.exp(1.0 - since / 12.0), 0.0)
    noise = _filtered_noise(random, len(time), time_constant=8.0)
    slow = _filtered_noise(random, len(time), time_constant=60.0)
    voltage = -66.0 + 1.8 * noise + 2.0 * slow + random.uniform(5.0, 9.0) * evoked
    voltage = np.minimum(voltage, -52.0 + 0.1 * (voltage + 52.0))  # spikes are placed, never by chance

    rate = (3.0 + random.uniform(20.0, 90.0) * evoked) / 1000.0  # per ms
    candidates = np.flatnonzero(random.random(len(time)) < rate * TIME_STEP)
    crossings: list[int] = []
    for sample in candidates.tolist():
        apart = not crossings or (sample - crossings[-1]) * TIME_STEP >= REFRACTORY
        if apart and 2.0 <= sample * TIME_STEP <= time[-1] - time[0]:
            crossings.append(sample)
    for sample in crossings:
        _add_spike(voltage, sample, peak=random.uniform(17.0, 27.0))
    return np.round(voltage, 10), time[crossings]


def _filtered_noise(random: np.random.Generator, samples: int, time_constant: float) -> NDArray[np.float64]:
    """White noise through an exponential with this time constant (ms); its variance is 1."""
    kernel = np.exp(-np.arange(0.0, 5.0 * time_constant, TIME_STEP) / time_constant)
    kernel /= np.sqrt((kernel**2).sum())
    white = random.standard_normal(samples + len(kernel) - 1)
    length = len(white) + len(kernel) - 1
    product = np.fft.rfft(white, length) * np.fft.rfft(kernel, length)
    return np.fft.irfft(product, length)[len(kernel) - 1 : len(kernel) - 1 + samples]


def _add_spike(voltage: NDArray[np.float64], crossing: int, peak: float) -> None:
    """Add an action potential (peak in mV) that first reaches 0 mV at the sample `crossing`."""
    since = TIME_STEP * (np.arange(len(voltage)) - crossing)
    before, top, after = since < 0, (since >= 0) & (since < 0.2), since >= 0.2
    voltage[before] += (0.5 - voltage[before]) * np.exp(since[before] / 0.35)
    voltage[top] = 0.5 + (peak - 0.5) * np.sin(np.pi / 2 * since[top] / 0.2)
    decay, undershoot = np.exp((0.2 - since[after]) / 0.4), 8.0 * np.exp((0.2 - since[after]) / 7.0)
    voltage[after] += (peak + 8.0 - voltage[after]) * decay - undershoot


def _write_activity(path: Path, header: tuple[str, ...], rows: list[Activity]) -> None:
    lines = ["# " + "\t".join(header)]
    lines += ["\t".join(map(str, row.fields)) + "\t" + "".join(f"{time!r}," for time in row.times) for row in rows]
    path.write_text("\n".join(lines) + "\n")


def _write_voltage(path: Path, table: NDArray[np.float64]) -> None:
    names = ["t", *(f"Vm run {trial:02d}" for trial in range(table.shape[1] - 1))]
    lines = ["\t".join(names), *("\t".join(map(repr, row)) for row in table.tolist())]
    path.write_text("\n".join(lines) + "\n")
