"""Where the runs and trials of a folder are found."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from zdb.neuro import SimulationFileError, find_simrun

if TYPE_CHECKING:
    from pathlib import Path

    from zdb.neuro.generate import GeneratedSimrun


def rename_trial(run: Path, old: int, new: int) -> None:
    for kind in ("synapses", "presynaptic_cells"):
        (run / f"simulation_run{old:04d}_{kind}.csv").rename(run / f"simulation_run{new:04d}_{kind}.csv")


def test_generated_layout(generated: GeneratedSimrun) -> None:
    found = find_simrun(generated.folder)
    assert found.root == generated.folder
    assert found.trial_index == generated.trial_index
    assert found.filelist == [f"20150815-1530_{process}/{process}_vm_all_traces.csv" for process in (20240, 20241)]
    assert found.unfinished == ()


def test_metadata(generated: GeneratedSimrun) -> None:
    table = find_simrun(generated.folder).metadata()
    assert list(table.columns) == [
        "sim_trial_index",
        "path",
        "trialnr",
        "voltage_traces_file_name",
        "synapses_file_name",
        "cells_file_name",
    ]
    assert list(table["sim_trial_index"]) == generated.trial_index
    assert list(table.loc[4]) == [
        "20150815-1530_20241/000001",
        "20150815-1530_20241",
        "000001",
        "20241_vm_all_traces.csv",
        "simulation_run0001_synapses.csv",
        "simulation_run0001_presynaptic_cells.csv",
    ]


def test_any_depth_and_unfinished_runs(small: GeneratedSimrun) -> None:
    deep = small.folder / "a" / "b"
    deep.mkdir(parents=True)
    runs = sorted(small.folder.glob("2015*"))
    runs[1].rename(deep / runs[1].name)
    shutil.copytree(runs[0], small.folder / "a" / f"{runs[0].name}_running")
    found = find_simrun(small.folder)
    assert [run.path for run in found.runs] == [runs[0].name, f"a/b/{runs[1].name}"]
    assert found.unfinished == (f"a/{runs[0].name}_running",)


def test_linked_folders_are_followed_once(small: GeneratedSimrun, tmp_path: Path) -> None:
    """From outside of the results; what a link inside of them leads to is found anyway."""
    first, second = sorted(small.folder.glob("2015*"))
    elsewhere = tmp_path / "elsewhere" / "deep"
    elsewhere.mkdir(parents=True)
    second.rename(elsewhere / second.name)
    (small.folder / "a_link").symlink_to(first)
    (small.folder / "linked").symlink_to(elsewhere.parent)
    (small.folder / "linked_again").symlink_to(elsewhere)
    (elsewhere / "round").symlink_to(tmp_path)
    (elsewhere / "back").symlink_to(small.folder)
    (small.folder / "gone").symlink_to(tmp_path / "gone")
    assert [run.path for run in find_simrun(small.folder).runs] == [first.name, f"linked/deep/{second.name}"]


def test_a_run_folder_itself(small: GeneratedSimrun) -> None:
    found = find_simrun(small.folder / "20150815-1530_20240")
    assert found.trial_index == ["000000", "000001"]
    assert found.filelist == ["20240_vm_all_traces.csv"]


def test_trials_need_not_be_consecutive(small: GeneratedSimrun) -> None:
    rename_trial(small.folder / "20150815-1530_20240", 1, 17)
    found = find_simrun(small.folder)
    assert [trial.number for trial in found.runs[0].trials] == [0, 17]
    assert found.runs[0].trials[1].synapses == "simulation_run0017_synapses.csv"
    assert found.trial_index[1] == "20150815-1530_20240/000017"


def test_a_header_may_have_the_true_numbers(small: GeneratedSimrun) -> None:
    run = small.folder / "20150815-1530_20240"
    rename_trial(run, 1, 17)
    (run / "simulation_run0000_synapses.csv").unlink()
    (run / "simulation_run0000_presynaptic_cells.csv").unlink()
    voltage = run / "20240_vm_all_traces.csv"
    voltage.write_text(voltage.read_text().replace("Vm run 01", "Vm run 17", 1))
    assert [trial.number for trial in find_simrun(small.folder).runs[0].trials] == [0, 17]


def test_a_trial_without_files_of_one_kind(small: GeneratedSimrun) -> None:
    run = small.folder / "20150815-1530_20240"
    (run / "simulation_run0001_synapses.csv").unlink()
    table = find_simrun(small.folder).metadata()
    assert table["synapses_file_name"].isna().tolist() == [False, True, False, False]
    assert not table["cells_file_name"].isna().any()


def test_a_trial_without_any_files_but_voltage(small: GeneratedSimrun) -> None:
    run = small.folder / "20150815-1530_20240"
    (run / "simulation_run0000_synapses.csv").unlink()
    (run / "simulation_run0000_presynaptic_cells.csv").unlink()
    trials = find_simrun(small.folder).runs[0].trials
    assert [trial.number for trial in trials] == [0, 1]
    assert trials[0].synapses is None
    assert trials[0].cells is None
    assert trials[1].synapses == "simulation_run0001_synapses.csv"


def test_traces_and_files_of_other_trials_are_refused(small: GeneratedSimrun) -> None:
    run = small.folder / "20150815-1530_20240"
    shutil.copy(run / "simulation_run0001_synapses.csv", run / "simulation_run0005_synapses.csv")
    with pytest.raises(SimulationFileError, match=r"traces 0, 1, but .* trials 0, 1, 5") as error:
        find_simrun(small.folder)
    assert "20240_vm_all_traces.csv" in str(error.value)


def test_two_files_of_one_trial_are_refused(small: GeneratedSimrun) -> None:
    run = small.folder / "20150815-1530_20240"
    shutil.copy(run / "simulation_run0001_synapses.csv", run / "simulation_run000001_synapses.csv")
    with pytest.raises(SimulationFileError, match="same trial"):
        find_simrun(small.folder)


def test_two_voltage_files_in_a_run_are_refused(small: GeneratedSimrun) -> None:
    run = small.folder / "20150815-1530_20240"
    np.savez(run / "20240_vm_all_traces.npz", np.zeros((2, 2)))
    with pytest.raises(SimulationFileError, match=r"20240_vm_all_traces.csv, 20240.*npz"):
        find_simrun(small.folder)


def test_dendritic_recordings_are_not_somatic_voltage(small: GeneratedSimrun) -> None:
    run = small.folder / "20150815-1530_20240"
    (run / "20240_sites_ID_000_sec_038_vm_dend_traces.csv").write_text("t\tVm run 00\n")
    assert len(find_simrun(small.folder).runs) == 2


def test_a_folder_without_results(tmp_path: Path) -> None:
    (tmp_path / "run_running").mkdir()
    with pytest.raises(SimulationFileError, match="left out 1 folders"):
        find_simrun(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_simrun(tmp_path / "nowhere")
