"""The generator: the same seed makes the same files, and they look like a simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from zdb.neuro import generate_simrun, read_voltage

if TYPE_CHECKING:
    from pathlib import Path

    from zdb.neuro.generate import GeneratedSimrun


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_seed_makes_the_same_files(tmp_path: Path) -> None:
    sizes = {"runs": 1, "trials": 2, "duration": 10.0}
    for name, seed in [("a", 1), ("b", 1), ("c", 2)]:
        generate_simrun(tmp_path / name, seed=seed, **sizes)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")
    before = contents(tmp_path / "a")
    generate_simrun(tmp_path / "a", seed=1, **sizes)
    assert contents(tmp_path / "a") == before


def test_files_of_a_run(generated: GeneratedSimrun) -> None:
    names = sorted(contents(generated.folder))
    assert len(names) == 2 * (1 + 2 * 3)
    assert names[:2] == [
        "20150815-1530_20240/20240_vm_all_traces.csv",
        "20150815-1530_20240/simulation_run0000_presynaptic_cells.csv",
    ]


def test_it_looks_like_a_simulation(generated: GeneratedSimrun) -> None:
    assert generated.time[0] == 100.0
    assert generated.time[-1] == 179.975
    assert -70 < np.median(generated.voltage) < -55
    assert 10 < generated.voltage.max() < 30
    ends = [t for rows in generated.cells for row in rows for t in row.times]
    assert min(ends) >= 0
    assert max(ends) < 180
    synapses = [row for rows in generated.synapses for row in rows]
    assert {row.fields[5] for row in synapses} == {"ApicalDendrite", "Dendrite", "Soma"}


def test_npz_holds_the_same_voltage(tmp_path: Path) -> None:
    made = generate_simrun(tmp_path, runs=1, trials=2, duration=5.0, voltage_format="npz")
    [path] = tmp_path.rglob("*.npz")
    time, voltage = read_voltage(path)
    np.testing.assert_array_equal(time, made.time)
    np.testing.assert_array_equal(voltage, made.voltage)


def test_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'csv' or 'npz', not 'txt'"):
        generate_simrun(tmp_path, voltage_format="txt")
