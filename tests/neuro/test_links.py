"""Results linked to their raw files are read on demand, checked, and can be brought in."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import xarray as xr

import zdb
from tests.neuro.test_importer import assert_same, snapshot
from zdb.neuro import SimulationFileError, activations, bin_activations, import_simrun

if TYPE_CHECKING:
    from pathlib import Path

    from zdb.neuro.generate import GeneratedSimrun

LINKED = ("cell_activation", "dendritic_recordings/site", "synapse_activation", "voltage_traces")


@pytest.fixture
def made(small: GeneratedSimrun) -> GeneratedSimrun:
    """Two runs of two trials, one without synapses, and a recording site in the second run."""
    run = small.folder / "20150815-1530_20241"
    shutil.copy(run / "20241_vm_all_traces.csv", run / "20241_site_vm_dend_traces.csv")
    (run / "simulation_run0000_synapses.csv").unlink()
    return small


@pytest.fixture
def copied(made: GeneratedSimrun, tmp_path: Path) -> zdb.Database:
    db = zdb.open(str(tmp_path / "copied.zdb"))
    import_simrun(db, made.folder)
    return db


@pytest.fixture
def linked(made: GeneratedSimrun, tmp_path: Path) -> zdb.Database:
    db = zdb.open(str(tmp_path / "linked.zdb"))
    import_simrun(db, made.folder, mode="link")
    return db


def without_runs(db: zdb.Database) -> dict[str, object]:
    values = snapshot(db)
    del values["imported_runs"]  # it tells one mode from the other
    return values


def test_links_stand_for_what_a_copy_holds(copied: zdb.Database, linked: zdb.Database) -> None:
    assert [key for key in linked.keys(recursive=True) if linked.info(key).format == "simrun-link"] == list(LINKED)
    assert_same(without_runs(linked), without_runs(copied))


def test_parts_of_links(copied: zdb.Database, linked: zdb.Database) -> None:
    columns = ["synapse_type", "synapse_ID"]
    part = linked.get("synapse_activation", rows=slice(3, 9), columns=columns)
    assert part == copied.get("synapse_activation", rows=slice(3, 9), columns=columns)
    trial = linked["sim_trial_index"][2]
    xr.testing.assert_identical(
        linked.get("voltage_traces", sel={"trial": trial}, isel={"time": slice(5)}).load(),
        copied["voltage_traces"].sel(trial=trial).isel(time=slice(5)).load(),
    )


@pytest.mark.parametrize("rows", [slice(3, 9), slice(None, None, -7), slice(0, 0), [-1, 0, 5, 5], []])
def test_rows_are_those_of_a_copy(copied: zdb.Database, linked: zdb.Database, rows: slice | list[int]) -> None:
    for key in ("synapse_activation", "cell_activation"):
        assert linked.info(key).shape == copied.info(key).shape
        assert linked.get(key, rows=rows) == copied.get(key, rows=rows)


def test_rows_and_columns_that_are_not_there(linked: zdb.Database) -> None:
    [total] = linked.info("synapse_activation").shape or ()
    with pytest.raises(zdb.errors.SelectionError, match=f"beyond the {total} rows"):
        linked.get("synapse_activation", rows=[total])
    with pytest.raises(zdb.errors.SelectionError, match="'colour'"):
        linked.get("synapse_activation", columns=["colour"])


def test_rows_read_no_files_of_other_trials(made: GeneratedSimrun, linked: zdb.Database) -> None:
    expected = linked.get("synapse_activation", rows=slice(3, 9))
    (made.folder / "20150815-1530_20241" / "simulation_run0001_synapses.csv").unlink()
    assert linked.get("synapse_activation", rows=slice(3, 9)) == expected
    with pytest.raises(SimulationFileError, match="is gone"):
        linked.get("synapse_activation", rows=[-1])


def test_all_rows_are_binned(copied: zdb.Database, linked: zdb.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    [rows] = copied.info("synapse_activation").shape or ()
    monkeypatch.setattr(activations, "ROWS_AT_ONCE", rows // 3)
    monkeypatch.setattr(activations, "BLOCK_ROWS", rows // 3)
    found, expected = (bin_activations(db, "celltype", max_time=105) for db in (linked, copied))
    assert (expected["activations"].sum(("group", "time")) > 0).sum() == 3
    xr.testing.assert_equal(found.load(), expected.load())


def test_new_runs_are_linked_too(made: GeneratedSimrun, copied: zdb.Database, tmp_path: Path) -> None:
    run = made.folder / "20150815-1530_20240"
    run.rename(tmp_path / run.name)
    db = zdb.open(str(tmp_path / "grown.zdb"))
    import_simrun(db, made.folder, mode="link")
    (tmp_path / run.name).rename(run)
    assert import_simrun(db, made.folder, mode="link").new_runs == (run.name,)
    assert_same(without_runs(db), without_runs(copied))


@pytest.mark.parametrize("key", LINKED)
def test_a_materialized_value_needs_no_files(
    made: GeneratedSimrun, copied: zdb.Database, linked: zdb.Database, key: str
) -> None:
    attrs = linked.info(key).attrs
    linked.materialize(key)
    linked.materialize(key)
    assert linked.info(key).attrs == attrs
    assert attrs["made_by"] == "zdb.neuro.import_simrun"
    shutil.rmtree(made.folder)
    assert linked.info(key).format == copied.info(key).format
    value, expected = linked[key], copied[key]
    if isinstance(expected, zdb.Ragged):
        assert value == expected
    else:
        xr.testing.assert_identical(value.load(), expected.load())


def test_a_file_that_changed_is_not_read(made: GeneratedSimrun, linked: zdb.Database) -> None:
    run = made.folder / "20150815-1530_20240"
    cells = run / "simulation_run0001_presynaptic_cells.csv"
    data = cells.read_bytes()
    cells.write_bytes(data.replace(b"1", b"2", 1))
    with pytest.raises(SimulationFileError, match=r"simulation_run0001_presynaptic_cells\.csv: has changed"):
        _ = linked["cell_activation"]
    traces = linked["voltage_traces"]
    (run / "20240_vm_all_traces.csv").unlink()
    np.testing.assert_array_equal(traces["voltage"][2:], made.voltage[2:])
    with pytest.raises(SimulationFileError, match=r"20240_vm_all_traces\.csv: is gone"):
        traces.load()
    with pytest.raises(zdb.errors.ZdbError, match="is gone"):
        linked.materialize("voltage_traces")
    assert linked.info("voltage_traces").format == "simrun-link", "as it was"


def test_links_and_data_are_not_mixed(made: GeneratedSimrun, linked: zdb.Database) -> None:
    run = made.folder / "20150815-1530_20240"
    shutil.rmtree(run)
    with pytest.raises(zdb.errors.KeyExistsError, match="overwrite=True"):
        import_simrun(linked, made.folder)
    import_simrun(linked, made.folder, overwrite=True)
    assert linked.info("voltage_traces").format == "dataset"


def test_nothing_is_copied(linked: zdb.Database, copied: zdb.Database) -> None:
    for key in LINKED:
        stored = linked.dataset(key)
        assert stored.nbytes - stored["time"].nbytes < 500, key
        assert copied.info(key).nbytes > 3000, key


def test_a_process_that_knows_only_zdb_reads_links(linked: zdb.Database) -> None:
    code = f"import zdb; print(zdb.open({linked.url!r}, 'r')['voltage_traces']['voltage'].shape)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(linked["voltage_traces"]["voltage"].shape)
