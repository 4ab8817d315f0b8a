"""Results of a simulation become values of a database."""

from __future__ import annotations

import io
import multiprocessing
import os
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any
from unittest import mock

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import zdb
from zdb.neuro import SimulationFileError, detect_spikes, find_simrun, generate_simrun, import_simrun, writing
from zdb.neuro.imported import KEYS

if TYPE_CHECKING:
    from pathlib import Path

    from zdb.neuro.generate import Activity, GeneratedSimrun


@pytest.fixture(scope="module")
def imported(generated: GeneratedSimrun, tmp_path_factory: pytest.TempPathFactory) -> zdb.Database:
    db = zdb.open(str(tmp_path_factory.mktemp("imported") / "results.zdb"))
    import_simrun(db, generated.folder)
    return db


@pytest.fixture
def db(tmp_path: Path) -> zdb.Database:
    return zdb.open(str(tmp_path / "results.zdb"))


def rows_of(generated: GeneratedSimrun, rows: list[list[Activity]]) -> list[tuple[Any, ...]]:
    """Fields of all rows, after the trial that each is of."""
    trials = zip(generated.trial_index, rows, strict=True)
    return [(trial, *row.fields) for trial, of_trial in trials for row in of_trial]


def assert_activity(ragged: Any, generated: GeneratedSimrun, rows: list[list[Activity]]) -> None:
    assert list(ragged.columns.itertuples(index=False, name=None)) == rows_of(generated, rows)
    times = [row.times for of_trial in rows for row in of_trial]
    np.testing.assert_array_equal(ragged.row_size, [len(row) for row in times])
    np.testing.assert_array_equal(ragged.values, np.concatenate(times))


def test_keys(imported: zdb.Database) -> None:
    assert sorted(imported) == sorted(set(KEYS) - {"parameterfiles"})


def test_trials_and_files(imported: zdb.Database, generated: GeneratedSimrun) -> None:
    assert imported["sim_trial_index"] == generated.trial_index
    assert imported["simresult_path"] == str(generated.folder)
    assert imported["filelist"] == [
        "20150815-1530_20240/20240_vm_all_traces.csv",
        "20150815-1530_20241/20241_vm_all_traces.csv",
    ]
    table = imported["metadata"]
    assert list(table["sim_trial_index"]) == generated.trial_index
    assert list(table["trialnr"]) == ["000000", "000001", "000002"] * 2


def test_voltage(imported: zdb.Database, generated: GeneratedSimrun) -> None:
    traces = imported["voltage_traces"]
    assert traces["voltage"].dims == ("trial", "time")
    assert traces["voltage"].dtype == np.float64
    assert traces["voltage"].attrs["units"] == "mV"
    assert traces["time"].attrs["units"] == "ms"
    np.testing.assert_array_equal(traces["voltage"], generated.voltage)
    np.testing.assert_array_equal(traces["time"], generated.time)
    np.testing.assert_array_equal(traces["trial"], generated.trial_index)


def test_voltage_in_plain_xarray(imported: zdb.Database, generated: GeneratedSimrun) -> None:
    traces = xr.open_zarr(f"{imported.url}/voltage_traces")
    one = traces["voltage"].sel(trial=generated.trial_index[4], time=slice(110, 120))
    since = np.searchsorted(generated.time, 110)
    np.testing.assert_array_equal(one, generated.voltage[4, since : since + 401])


def test_spike_times(imported: zdb.Database, generated: GeneratedSimrun) -> None:
    spikes = imported["spike_times"]
    assert len(spikes) == 6
    for found, truth in zip(spikes, generated.spike_times, strict=True):
        np.testing.assert_array_equal(found, truth)
    assert list(spikes.columns["sim_trial_index"]) == generated.trial_index


def test_activity(imported: zdb.Database, generated: GeneratedSimrun) -> None:
    assert_activity(imported["synapse_activation"], generated, generated.synapses)
    assert_activity(imported["cell_activation"], generated, generated.cells)


def test_columns_of_activity(imported: zdb.Database) -> None:
    columns = imported["synapse_activation"].columns
    assert list(columns) == [
        "sim_trial_index",
        "synapse_type",
        "synapse_ID",
        "soma_distance",
        "section_ID",
        "section_pt_ID",
        "dendrite_label",
    ]
    for name in ("sim_trial_index", "synapse_type", "dendrite_label"):
        assert isinstance(columns[name].dtype, pd.CategoricalDtype), "kept as codes"
    assert columns["soma_distance"].dtype == np.float64
    assert columns["synapse_ID"].dtype == np.int64


@pytest.mark.parametrize("scheduler", ["synchronous", "processes"])
def test_any_scheduler(db: zdb.Database, small: GeneratedSimrun, scheduler: str) -> None:
    with (
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
        dask.config.set(scheduler=scheduler, pool=pool),
    ):
        import_simrun(db, small.folder)
    np.testing.assert_array_equal(db["voltage_traces"]["voltage"], small.voltage)
    assert_activity(db["synapse_activation"], small, small.synapses)


def test_npz(db: zdb.Database, tmp_path: Path) -> None:
    made = generate_simrun(tmp_path / "results", runs=1, trials=2, duration=5.0, voltage_format="npz")
    import_simrun(db, made.folder)
    np.testing.assert_array_equal(db["voltage_traces"]["voltage"], made.voltage)
    np.testing.assert_array_equal(db["voltage_traces"]["time"], made.time)


def test_unfinished_runs_are_left_out_and_named(db: zdb.Database, small: GeneratedSimrun) -> None:
    run = small.folder / "20150815-1530_20241"
    run.rename(small.folder / "20150815-1530_20241_running")
    report = import_simrun(db, small.folder)
    assert report.unfinished == ("20150815-1530_20241_running",)
    assert db["sim_trial_index"] == small.trial_index[:2]
    np.testing.assert_array_equal(db["voltage_traces"]["voltage"], small.voltage[:2])


def test_a_trial_without_synapse_file(db: zdb.Database, small: GeneratedSimrun) -> None:
    (small.folder / "20150815-1530_20240" / "simulation_run0001_synapses.csv").unlink()
    import_simrun(db, small.folder)
    rows = [[] if trial == 1 else of_trial for trial, of_trial in enumerate(small.synapses)]
    assert_activity(db["synapse_activation"], small, rows)
    assert_activity(db["cell_activation"], small, small.cells)


def test_no_synapse_files_at_all(db: zdb.Database, small: GeneratedSimrun) -> None:
    for path in small.folder.rglob("*_synapses.csv"):
        path.unlink()
    import_simrun(db, small.folder)
    assert "synapse_activation" not in db
    assert_activity(db["cell_activation"], small, small.cells)


def snapshot(db: zdb.Database) -> dict[str, Any]:
    """All values of an import, in memory and comparable."""
    values = {key: db[key] for key in db.keys(recursive=True)}
    return {key: value.load() if isinstance(value, xr.Dataset) else value for key, value in values.items()}


def assert_same(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert left.keys() == right.keys()
    for key, value in left.items():
        if isinstance(value, xr.Dataset):
            xr.testing.assert_identical(value, right[key])
        elif isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(value, right[key])
        else:
            assert value == right[key], key


def test_a_second_import_adds_only_new_runs(db: zdb.Database, small: GeneratedSimrun, tmp_path: Path) -> None:
    for name in ("20150815-1530_20239", "20150815-1530_20241x"):  # before the others, and after them
        shutil.copytree(small.folder / "20150815-1530_20240", tmp_path / name)
    import_simrun(db, small.folder)
    for name in ("20150815-1530_20239", "20150815-1530_20241x"):
        shutil.move(tmp_path / name, small.folder / name)
    report = import_simrun(db, small.folder)
    assert report.new_runs == ("20150815-1530_20239", "20150815-1530_20241x")
    assert (report.runs, report.trials) == (4, 8)
    at_once = zdb.open(str(tmp_path / "at_once.zdb"))
    import_simrun(at_once, small.folder)
    assert_same(snapshot(db), snapshot(at_once))


def test_a_third_import_writes_nothing(db: zdb.Database, small: GeneratedSimrun) -> None:
    import_simrun(db, small.folder)
    before = {key: db.info(key).to_dict() for key in db}
    report = import_simrun(db, small.folder)
    assert report.new_runs == ()
    assert {key: db.info(key).to_dict() for key in db} == before


def test_runs_whose_files_are_gone_stay(db: zdb.Database, small: GeneratedSimrun, tmp_path: Path) -> None:
    shutil.move(small.folder / "20150815-1530_20241", tmp_path / "20150815-1530_20241")
    import_simrun(db, small.folder)
    shutil.rmtree(small.folder / "20150815-1530_20240")
    shutil.move(tmp_path / "20150815-1530_20241", small.folder / "20150815-1530_20241")
    import_simrun(db, small.folder)
    assert db["sim_trial_index"] == small.trial_index
    np.testing.assert_array_equal(db["voltage_traces"]["voltage"], small.voltage)
    assert_activity(db["synapse_activation"], small, small.synapses)


def test_a_run_that_changed_is_read_again(db: zdb.Database, small: GeneratedSimrun) -> None:
    import_simrun(db, small.folder)
    path = small.folder / "20150815-1530_20241" / "simulation_run0001_synapses.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    report = import_simrun(db, small.folder)
    assert report.new_runs == ("20150815-1530_20241",)
    rows = [*small.synapses[:3], small.synapses[3][:1]]
    assert_activity(db["synapse_activation"], small, rows)


def test_a_run_that_became_bad_is_taken_out(db: zdb.Database, small: GeneratedSimrun) -> None:
    import_simrun(db, small.folder)
    path = second_voltage_file(small)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(SimulationFileError, match="truncated"):
        import_simrun(db, small.folder)
    assert db["sim_trial_index"] == small.trial_index, "as it was"
    import_simrun(db, small.folder, on_error="report")
    assert db["sim_trial_index"] == small.trial_index[:2]
    np.testing.assert_array_equal(db["voltage_traces"]["voltage"], small.voltage[:2])
    assert_activity(db["synapse_activation"], small, [*small.synapses[:2], [], []])
    assert len(db["spike_times"]) == 2


def test_the_results_of_another_folder_are_not_mixed_in(
    db: zdb.Database, small: GeneratedSimrun, tmp_path: Path
) -> None:
    import_simrun(db, small.folder)
    shutil.copytree(small.folder / "20150815-1530_20240", tmp_path / "other" / "run")
    for path in (tmp_path / "other").rglob("*_cells.csv"):
        path.unlink()
    with pytest.raises(zdb.errors.KeyExistsError, match="overwrite=True"):
        import_simrun(db, tmp_path / "other")
    import_simrun(db, tmp_path / "other", overwrite=True)
    assert db["sim_trial_index"] == ["run/000000", "run/000001"]
    assert "cell_activation" not in db, "it was of the first import"


def test_keys_of_others_are_not_replaced(db: zdb.Database, small: GeneratedSimrun) -> None:
    db["metadata"] = {"mine": 1}
    with pytest.raises(zdb.errors.KeyExistsError, match="metadata: already there"):
        import_simrun(db, small.folder)
    assert db["metadata"] == {"mine": 1}


def test_into_a_sub_database(db: zdb.Database, small: GeneratedSimrun) -> None:
    import_simrun(db.database("first", create=True), small.folder)
    assert db["first/simresult_path"] == str(small.folder)


def test_progress_calls_a_function(db: zdb.Database, small: GeneratedSimrun) -> None:
    calls: list[tuple[str, int, int]] = []
    import_simrun(db, small.folder, progress=lambda *call: calls.append(call))
    reads = [call[1:] for call in calls if call[0] == "read"]
    assert reads
    assert reads[-1][0] == reads[-1][1]
    assert {"read", "synapse_activation", "cell_activation", "voltage_traces"} <= {call[0] for call in calls}


def test_progress_bar_only_in_a_terminal(
    db: zdb.Database, small: GeneratedSimrun, capsys: pytest.CaptureFixture[str]
) -> None:
    import_simrun(db, small.folder, progress=True)
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_bar_names_the_keys(db: zdb.Database, small: GeneratedSimrun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("COLUMNS", "80")
    import_simrun(db, small.folder, progress=True)
    assert "read: 100%" in terminal.getvalue()
    assert "voltage_traces: 100%" in terminal.getvalue()


def assert_no_keys(db: zdb.Database) -> None:
    """Nothing is written but what the next import goes on with."""
    assert set(db) <= {"_simrun_import"}


def second_voltage_file(small: GeneratedSimrun) -> Path:
    return small.folder / "20150815-1530_20241" / "20241_vm_all_traces.csv"


def test_a_run_that_ends_early_is_found(db: zdb.Database, small: GeneratedSimrun) -> None:
    path = second_voltage_file(small)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:101]))
    with pytest.raises(SimulationFileError, match=r"100 samples from 100\.0 to 102\.475 ms") as error:
        import_simrun(db, small.folder)
    assert str(path) in str(error.value)
    assert "20240_vm_all_traces.csv" in str(error.value)
    assert_no_keys(db)


def test_runs_at_other_times_are_refused(db: zdb.Database, small: GeneratedSimrun) -> None:
    path = second_voltage_file(small)
    path.write_text(path.read_text().replace("\n100.025\t", "\n100.024\t"))
    with pytest.raises(SimulationFileError, match="at other times"):
        import_simrun(db, small.folder)
    assert_no_keys(db)


def test_a_truncated_voltage_file_is_found(db: zdb.Database, small: GeneratedSimrun) -> None:
    path = second_voltage_file(small)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(SimulationFileError, match=r"20241_vm_all_traces\.csv: truncated"):
        import_simrun(db, small.folder)
    assert_no_keys(db)


def test_a_truncated_synapse_file_is_found(db: zdb.Database, small: GeneratedSimrun) -> None:
    path = small.folder / "20150815-1530_20241" / "simulation_run0001_synapses.csv"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(SimulationFileError, match=r"simulation_run0001_synapses\.csv: truncated"):
        import_simrun(db, small.folder)
    assert_no_keys(db)


def test_bad_files_are_reported_and_left_out(db: zdb.Database, tmp_path: Path) -> None:
    made = generate_simrun(tmp_path / "results", runs=4, trials=2, duration=5.0)
    runs = sorted(made.folder.iterdir())
    first = runs[0] / "20240_vm_all_traces.csv"  # the first of all, which is not taken for the right one
    first.write_text("".join(first.read_text().splitlines(keepends=True)[:50]))
    synapses = runs[1] / "simulation_run0001_synapses.csv"
    whole = synapses.read_bytes()
    synapses.write_bytes(whole[:-7])
    (runs[2] / "another_vm_all_traces.csv").write_text("")
    report = import_simrun(db, made.folder, on_error="report")
    good = [made.trial_index[row] for row in (2, 6, 7)]
    assert db["sim_trial_index"] == good
    np.testing.assert_array_equal(db["voltage_traces"]["voltage"], made.voltage[[2, 6, 7]])
    assert db["voltage_traces"]["trial"].to_numpy().tolist() == good
    assert list(db["spike_times"].columns["sim_trial_index"]) == good
    assert set(db["synapse_activation"].columns["sim_trial_index"]) <= set(good)
    table = report.problem_table().set_index("path")
    assert table["trials"].to_dict() == {
        runs[2].name: 0,
        f"{runs[0].name}/20240_vm_all_traces.csv": 2,
        f"{runs[1].name}/simulation_run0001_synapses.csv": 1,
    }
    assert "has 49 samples from 100.0 to 101.2 ms" in table["message"][f"{runs[0].name}/20240_vm_all_traces.csv"]
    assert len(db["import_report"]["problems"]) == 3
    assert "left out (1 trials)" in str(report)

    synapses.write_bytes(whole)
    (runs[2] / "another_vm_all_traces.csv").unlink()
    again = import_simrun(db, made.folder, on_error="report")
    assert again.new_runs == (runs[0].name, runs[1].name, runs[2].name)
    assert db["sim_trial_index"] == made.trial_index[2:]
    np.testing.assert_array_equal(db["voltage_traces"]["voltage"], made.voltage[2:])


@pytest.mark.parametrize("truncated", [1, 2, 3])
def test_as_many_truncated_files_as_whole_ones(db: zdb.Database, tmp_path: Path, truncated: int) -> None:
    """The longer time is taken; if more files end early than not, the report says who is left out and for whom."""
    made = generate_simrun(tmp_path / "results", runs=4, trials=1, duration=5.0)
    for number in range(truncated):
        path = made.folder / f"20150815-1530_{20240 + number}" / f"{20240 + number}_vm_all_traces.csv"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:101]))
    report = import_simrun(db, made.folder, on_error="report")
    assert [len(report.problems), report.trials] == ([truncated, 4 - truncated] if truncated < 3 else [1, 3])
    others = {1: "2 other", 2: "1 other", 3: "2 other"}[truncated]
    for problem in report.problems:
        assert f"_vm_all_traces.csv and {others} run" in problem.message
        assert ("these end earlier" in problem.message) == (truncated == 3)


def test_files_that_may_be_truncated_are_noted(db: zdb.Database, small: GeneratedSimrun) -> None:
    """All that can be told: an end between two lines looks like the end of a file."""
    cells = small.folder / "20150815-1530_20240" / "simulation_run0000_presynaptic_cells.csv"
    cells.write_text(f"{cells.read_text()}L1\t99\t{small.time[-1] + 0.02},\n")  # less than a sample later is no doubt
    assert import_simrun(db, small.folder).notes == ()
    run = small.folder / "20150815-1530_20241"
    for number in (0, 1):
        synapses = run / f"simulation_run{number:04d}_synapses.csv"
        synapses.write_text(synapses.read_text().splitlines(keepends=True)[0])
    report = import_simrun(db, small.folder)
    first = "20150815-1530_20241/simulation_run0000_synapses.csv"
    assert report.notes == (f"{first} and 1 more: no rows; nothing was active, or it is truncated",)
    assert report.trials == 4
    assert f"note: {report.notes[0]}" in str(report)

    voltage = second_voltage_file(small)
    voltage.write_text("".join(voltage.read_text().splitlines(keepends=True)[:10]))
    report = import_simrun(db, run, overwrite=True)
    assert report.notes[1:] == ("20241_vm_all_traces.csv: ends before activity of its trials; is it truncated?",)


def test_notes_outlive_a_killed_import(db: zdb.Database, small: GeneratedSimrun) -> None:
    cells = small.folder / "20150815-1530_20241" / "simulation_run0000_presynaptic_cells.csv"
    cells.write_text(cells.read_text().splitlines(keepends=True)[0])
    with (
        mock.patch.object(writing, "_write", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        import_simrun(db, small.folder)
    (note,) = import_simrun(db, small.folder).notes
    assert note.startswith("20150815-1530_20241/simulation_run0000_presynaptic_cells.csv: no rows")


def test_nothing_but_bad_files(db: zdb.Database, small: GeneratedSimrun) -> None:
    for path in small.folder.rglob("*_vm_all_traces.csv"):
        path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(SimulationFileError, match="truncated"):
        import_simrun(db, small.folder, on_error="report")
    assert_no_keys(db)


@pytest.mark.parametrize("prefix", ["{pid}", "seed_{pid}", "1234_{pid}", "seed_1234_{pid}", "seed17_pid{pid}"])
def test_recording_sites(db: zdb.Database, small: GeneratedSimrun, prefix: str) -> None:
    """Files of all naming schemes, two sites; the second is in the second run only."""
    spikes = 0
    for run in small.folder.iterdir():
        pid = run.name.rpartition("_")[2]
        sites = ["a_site_x_0.5_somaDist_92.7", *(["near.soma"] if pid == "20241" else [])]
        for site in sites:
            shutil.copy(run / f"{pid}_vm_all_traces.csv", run / f"{prefix.format(pid=pid)}_{site}_vm_dend_traces.csv")
    import_simrun(db, small.folder, dendritic_threshold=-40)
    first = db["dendritic_recordings/a_site_x_0.5_somaDist_92.7"]
    np.testing.assert_array_equal(first["voltage"], small.voltage)
    assert first["voltage"].attrs["units"] == "mV"
    second = db["dendritic_recordings/near.soma"]
    np.testing.assert_array_equal(second["voltage"], small.voltage[2:])
    assert second["trial"].to_numpy().tolist() == small.trial_index[2:]
    assert sorted(db.database("dendritic_spike_times")) == ["a_site_x_0.5_somaDist_92.7_-40.0", "near.soma_-40.0"]
    crossings = ((small.voltage[:, :-1] < -40) & (small.voltage[:, 1:] >= -40)).sum(axis=1)
    spikes = db["dendritic_spike_times/a_site_x_0.5_somaDist_92.7_-40.0"]
    np.testing.assert_array_equal(spikes.row_size, crossings)

    import_simrun(db, small.folder, dendrites=False, overwrite=True)
    assert "dendritic_recordings" not in db
    assert "dendritic_spike_times" not in db


@pytest.mark.parametrize("overwrite", [False, True])
def test_keys_that_users_set_in_its_folders_stay(db: zdb.Database, small: GeneratedSimrun, overwrite: bool) -> None:
    """When all runs are read again; what an import wrote and would not write again goes."""
    for run in small.folder.iterdir():
        pid = run.name.rpartition("_")[2]
        shutil.copy(run / f"{pid}_vm_all_traces.csv", run / f"{pid}_site_vm_dend_traces.csv")
    import_simrun(db, small.folder)
    db["dendritic_spike_times/site_-20.0"] = detect_spikes(db["dendritic_recordings/site"], threshold=-20)
    db["morphology/mine"] = {"mine": 1}
    import_simrun(db, small.folder, dendritic_threshold=-40, overwrite=overwrite)
    assert sorted(db.database("dendritic_spike_times")) == ["site_-20.0", "site_-40.0"]
    assert db["morphology/mine"] == {"mine": 1}


def test_keys_that_users_set_in_its_folders_stay_when_some_runs_change(
    db: zdb.Database, small: GeneratedSimrun
) -> None:
    voltage = second_voltage_file(small)
    shutil.copy(voltage, site := voltage.with_name("20241_site_vm_dend_traces.csv"))
    import_simrun(db, small.folder)
    db["dendritic_recordings/mine"] = {"mine": 1}
    os.utime(site)
    assert len(import_simrun(db, small.folder).new_runs) == 1
    assert db["dendritic_recordings/mine"] == {"mine": 1}


@pytest.mark.parametrize("option", ["activations", "dendrites"])
def test_leaving_out_what_is_there_needs_overwrite(db: zdb.Database, small: GeneratedSimrun, option: str) -> None:
    voltage = second_voltage_file(small)
    shutil.copy(voltage, voltage.with_name("20241_site_vm_dend_traces.csv"))
    keys = {
        "activations": {"synapse_activation", "cell_activation"},
        "dendrites": {"dendritic_recordings/site", "dendritic_spike_times/site_-30.0"},
    }
    import_simrun(db, small.folder)
    leave_out: dict[str, Any] = {option: False}
    with pytest.raises(zdb.errors.KeyExistsError, match=f"{option}=False.*overwrite=True"):
        import_simrun(db, small.folder, **leave_out)
    assert keys[option] <= set(db.keys(recursive=True))
    import_simrun(db, small.folder, overwrite=True, **leave_out)
    assert not keys[option] & set(db.keys(recursive=True))
    import_simrun(db, small.folder, **leave_out)


@pytest.mark.parametrize("process", ["20240", "1234_20240", "seed17_pid20240"])
@pytest.mark.parametrize("site", ["7_apical", "038_1.0"])
def test_a_site_may_begin_with_a_number(small: GeneratedSimrun, process: str, site: str) -> None:
    """What stands before it in the name of the voltage file is known."""
    run = small.folder / "20150815-1530_20240"
    (run / "20240_vm_all_traces.csv").rename(run / f"{process}_vm_all_traces.csv")
    shutil.copy(run / f"{process}_vm_all_traces.csv", run / f"{process}_{site}_vm_dend_traces.csv")
    assert list(find_simrun(small.folder).runs[0].sites) == [site]


def test_a_truncated_dendritic_file_costs_the_run(db: zdb.Database, small: GeneratedSimrun) -> None:
    voltage = second_voltage_file(small)
    lines = voltage.read_text().splitlines(keepends=True)
    voltage.with_name("20241_site_vm_dend_traces.csv").write_text("".join(lines[:-1]))
    with pytest.raises(SimulationFileError, match=r"20241_site_vm_dend_traces\.csv has 199 samples"):
        import_simrun(db, small.folder)
    import_simrun(db, small.folder, on_error="report")
    assert db["sim_trial_index"] == small.trial_index[:2]


def test_a_site_without_a_legal_name(db: zdb.Database, small: GeneratedSimrun) -> None:
    voltage = second_voltage_file(small)
    shutil.copy(voltage, voltage.with_name("20241_my site_vm_dend_traces.csv"))
    with pytest.raises(SimulationFileError, match="'my site' cannot be the name of a recording site"):
        import_simrun(db, small.folder)
