"""Dask workers that are jobs of Slurm, and end as these do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask_jobqueue import SLURMCluster
from distributed import Client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.slurm import SlurmCluster

    import zdb

pytestmark = pytest.mark.slurm


@pytest.fixture
def client(slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of two workers, each of them a job."""
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    with (
        SLURMCluster(
            cores=1,
            processes=1,
            memory="1 GiB",
            walltime="00:10:00",
            interface="lo",
            local_directory=str(tmp_path),
            log_directory=str(tmp_path),
            scheduler_options={"dashboard_address": ":0"},
            silence_logs=50,
        ) as cluster,
        Client(cluster) as client,
    ):
        cluster.scale(jobs=2)
        client.wait_for_workers(2, timeout=120)
        yield client


def test_tasks_record_worker_and_job(client: Client, db: zdb.Database) -> None:
    def write(db: Any, number: int) -> int:
        import os

        time.sleep(0.5)
        db[f"task-{number}"] = number
        return int(os.environ["SLURM_JOB_ID"])

    expected = client.gather([client.submit(write, db, number, key=f"write-{number}") for number in range(4)])
    addresses = set(client.scheduler_info()["workers"])
    for number, job in enumerate(expected):
        jobs = db.provenance(f"task-{number}").jobs
        assert jobs["dask_task"] == f"write-{number}"
        assert jobs["dask_worker"] in addresses
        assert jobs["slurm_job_id"] == str(job)
        assert jobs["slurm_node"] in {"node1", "node2"}
    assert len(set(expected)) == 2


def test_another_worker_takes_over_when_a_job_is_cancelled(
    client: Client, db: zdb.Database, slurm: SlurmCluster, tmp_path: Path
) -> None:
    log = tmp_path / "computed"
    log.touch()

    def block(data: np.ndarray, block_info: Any = None) -> np.ndarray:
        import os

        time.sleep(0.2)
        number = block_info[0]["chunk-location"][0]
        with log.open("a") as file:
            file.write(f"{number} {os.environ['SLURM_JOB_ID']}\n")
            file.flush()
            if number == 9 and not (tmp_path / "killed").exists():
                (tmp_path / "killed").touch()
                os.system(f"scancel --full --signal=KILL {os.environ['SLURM_JOB_ID']}")
                time.sleep(60)
        return data + number

    db["k"] = np.zeros(3)
    db.set("k", da.zeros((20, 100), chunks=(1, 100)).map_blocks(block, dtype=float), chunks=(1, 100))
    computed = [line.split() for line in log.read_text().splitlines()]
    assert len({job for _, job in computed}) >= 2
    assert sum(number == "9" for number, _ in computed) == 2
    assert len(computed) <= 20 + 4
    with dask.config.set(scheduler="threads"):
        np.testing.assert_array_equal(db["k"], np.repeat(np.arange(20.0)[:, None], 100, axis=1))
    assert db.verify().ok
