"""Results of a simulation become values of a database."""

from __future__ import annotations

import io
import multiprocessing
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import zdb
from zdb.neuro import SimulationFileError, generate_simrun, import_simrun
from zdb.neuro.importer import KEYS

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
    assert sorted(imported) == sorted(KEYS)


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
    found = import_simrun(db, small.folder)
    assert found.unfinished == ("20150815-1530_20241_running",)
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


def test_a_second_import_needs_overwrite(db: zdb.Database, small: GeneratedSimrun) -> None:
    import_simrun(db, small.folder)
    with pytest.raises(zdb.errors.KeyExistsError, match="overwrite=True"):
        import_simrun(db, small.folder)
    shutil.rmtree(small.folder / "20150815-1530_20241")
    for path in small.folder.rglob("*_cells.csv"):
        path.unlink()
    import_simrun(db, small.folder, overwrite=True)
    assert db["sim_trial_index"] == small.trial_index[:2]
    assert "cell_activation" not in db, "it was of the first import"


def test_into_a_sub_database(db: zdb.Database, small: GeneratedSimrun) -> None:
    import_simrun(db.database("first", create=True), small.folder)
    assert db["first/simresult_path"] == str(small.folder)


def test_progress_calls_a_function(db: zdb.Database, small: GeneratedSimrun) -> None:
    calls: list[tuple[str, int, int]] = []
    import_simrun(db, small.folder, progress=lambda *call: calls.append(call))
    of_synapses = [call[1:] for call in calls if call[0] == "synapse_activation"]
    assert of_synapses == [(done, 4) for done in (1, 2, 3, 4)]
    assert {call[0] for call in calls} == {
        "synapse_activation",
        "cell_activation",
        "voltage_traces",
        "spike_times",
    }


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
    assert "synapse_activation: 100%" in terminal.getvalue()
    assert "voltage_traces: 100%" in terminal.getvalue()


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
    assert list(db) == [], "nothing is written"


def test_runs_at_other_times_are_refused(db: zdb.Database, small: GeneratedSimrun) -> None:
    path = second_voltage_file(small)
    path.write_text(path.read_text().replace("\n100.025\t", "\n100.024\t"))
    with pytest.raises(SimulationFileError, match="at other times"):
        import_simrun(db, small.folder)
    assert list(db) == []


def test_a_truncated_voltage_file_is_found(db: zdb.Database, small: GeneratedSimrun) -> None:
    path = second_voltage_file(small)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(SimulationFileError, match=r"20241_vm_all_traces\.csv: truncated"):
        import_simrun(db, small.folder)
    assert list(db) == []


def test_a_truncated_synapse_file_is_found(db: zdb.Database, small: GeneratedSimrun) -> None:
    path = small.folder / "20150815-1530_20241" / "simulation_run0001_synapses.csv"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(SimulationFileError, match=r"simulation_run0001_synapses\.csv: truncated"):
        import_simrun(db, small.folder)
    assert list(db) == []
