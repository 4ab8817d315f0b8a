"""The scripts of ``docs/hpc.md`` run on a cluster, as they stand there."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import dask
import numpy as np
import pytest

import zdb
from zdb.errors import KeyNotFoundError

if TYPE_CHECKING:
    from services.slurm import SlurmCluster

pytestmark = pytest.mark.slurm

PAGE = (Path(__file__).parents[2] / "docs" / "hpc.md").read_text()
SCRIPT = re.compile(r"^File `(\S+)`:\n\n```(?:py|bash)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with all scripts of the page."""
    for name, text in SCRIPT.findall(PAGE):
        (tmp_path / name).write_text(text)
    return tmp_path


def test_all_scripts_are_found() -> None:
    names = [name for name, _ in SCRIPT.findall(PAGE)]
    assert len(names) == len(set(names)) == PAGE.count("File `") == 9
    assert PAGE.count("```py\n") == sum(name.endswith(".py") for name in names)


def trials_of(number: int) -> np.ndarray:
    rows = [np.random.default_rng(trial).normal(-70, 5, 50_000) for trial in range(number)]
    return np.stack(rows).astype("float32")


def test_a_job_array_is_restarted_after_some_tasks_were_cancelled(slurm: SlurmCluster, folder: Path) -> None:
    slurm.run("python", "create.py", folder=folder)
    db = zdb.open(folder / "results.zdb", mode="r")
    job = slurm.submit("--hold", "fill.sh", folder=folder)
    slurm.run("scancel", f"{job}_[2,5]", folder=folder)
    slurm.run("scontrol", "release", str(job), folder=folder)
    end = time.monotonic() + 120
    while not db.progress("voltage").done:
        assert time.monotonic() < end
        time.sleep(0.05)
    slurm.run("scancel", "--state=RUNNING", "--name=fill", folder=folder)  # whatever runs at this moment
    with pytest.raises(AssertionError, match=r"MissingPartsError.*parts are missing"):
        slurm.complete(f"--dependency=afterany:{job}", "finish.sh", folder=folder)

    completed = {task for task, state in slurm.states(job, folder).items() if state == "COMPLETED"}
    assert completed < set("013467")
    progress = db.progress("voltage")
    assert 0 < progress.done < progress.total == 8
    written = {(part.job, part.region, part.created) for part in progress.parts}
    assert {f"{job}_{task}" for task in completed} <= {part_job for part_job, *_ in written}
    with pytest.raises(KeyNotFoundError):
        db["voltage"]

    slurm.complete("fill.sh", folder=folder)
    parts = {(part.job, part.region, part.created) for part in db.progress("voltage").parts}
    assert len(parts) == 8
    assert written < parts  # what was there was not written again
    slurm.run("bash", "submit.sh", folder=folder)
    voltage = db["voltage"]
    np.testing.assert_array_equal(voltage.values, trials_of(24))
    assert voltage.attrs == {"units": "mV"}
    assert db.verify().ok
    jobs = db.provenance("voltage").jobs
    assert int(jobs["slurm_job_id"]) > job
    assert jobs["slurm_node"] in {"node1", "node2"}


def test_a_dask_cluster_of_jobs(slurm: SlurmCluster, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The nodes of the test cluster are reached by the loopback.
    monkeypatch.setenv("DASK_JOBQUEUE__SLURM__INTERFACE", "lo")
    monkeypatch.setenv("DASK_JOBQUEUE__SLURM__LOCAL_DIRECTORY", str(folder))
    slurm.complete("cluster.sh", folder=folder)
    db = zdb.open(folder / "cluster.zdb", mode="r")
    rows = np.arange(64.0)[:, None]
    with dask.config.set(scheduler="threads"):
        np.testing.assert_array_equal(db["squares"], np.repeat(rows**2, 10_000, axis=1))
        np.testing.assert_array_equal(db["roots"], np.repeat(rows, 10_000, axis=1))
    assert db.verify().ok


def test_ranks_of_mpi(slurm: SlurmCluster, folder: Path) -> None:
    slurm.complete("ranks.sh", folder=folder)
    db = zdb.open(folder / "ranks.zdb", mode="r")
    np.testing.assert_array_equal(db["field"], np.repeat(np.arange(32.0)[:, None], 20_000, axis=1))
    assert db.verify().ok
    jobs = db.provenance("field").jobs
    assert (jobs["mpi_rank"], jobs["mpi_size"]) == (0, 4)
    assert jobs["slurm_job_id"]
