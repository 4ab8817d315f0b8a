"""The test cluster works as a cluster does, and jobs record who they are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

import zdb

if TYPE_CHECKING:
    from pathlib import Path

    from services.slurm import SlurmCluster

pytestmark = pytest.mark.slurm

WRITE = "import os, sys, zdb; zdb.open('results.zdb')[sys.argv[1]] = dict(os.environ)"


def recorded(folder: Path, key: str) -> tuple[dict[str, Any], dict[str, str]]:
    """What the provenance of a value says of its job, and the environment of the process that wrote it."""
    db = zdb.open(folder / "results.zdb", mode="r")
    return dict(db.provenance(key).jobs), db[key]


def script(folder: Path, *lines: str) -> str:
    (folder / "write.py").write_text(WRITE)
    (folder / "job.sh").write_text("\n".join(["#!/bin/bash", "#SBATCH --output=%x-%j.out", "set -e", *lines]))
    return "job.sh"


def test_jobs_run_on_both_nodes(slurm: SlurmCluster, tmp_path: Path) -> None:
    printed = slurm.run("srun", "--nodes=2", "printenv", "SLURMD_NODENAME", folder=tmp_path)
    assert sorted(printed.split()) == ["node1", "node2"]


def test_a_job_that_fails_says_so(slurm: SlurmCluster, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="so it ended"):
        slurm.complete(script(tmp_path, "echo so it ended", "exit 3"), folder=tmp_path)


def test_one_task_of_an_array_is_cancelled(slurm: SlurmCluster, tmp_path: Path) -> None:
    job = slurm.submit("--array=0-1", "--hold", script(tmp_path, "touch task-$SLURM_ARRAY_TASK_ID"), folder=tmp_path)
    slurm.run("scancel", f"{job}_1", folder=tmp_path)
    slurm.run("scontrol", "release", str(job), folder=tmp_path)
    slurm.complete(f"--dependency=afterany:{job}", "--wrap=true", folder=tmp_path)
    assert slurm.states(job, tmp_path).items() >= {("0", "COMPLETED")}
    assert [file.name for file in tmp_path.glob("task-*")] == ["task-0"]


def test_a_job_records_its_id(slurm: SlurmCluster, tmp_path: Path) -> None:
    slurm.complete(script(tmp_path, "python write.py job"), folder=tmp_path)
    jobs, environment = recorded(tmp_path, "job")
    assert jobs == {"slurm_job_id": environment["SLURM_JOB_ID"], "slurm_node": environment["SLURMD_NODENAME"]}
    assert jobs["slurm_node"] in {"node1", "node2"}


def test_tasks_of_an_array_record_which_they_are(slurm: SlurmCluster, tmp_path: Path) -> None:
    job = script(tmp_path, "python write.py task-$SLURM_ARRAY_TASK_ID")
    slurm.complete("--array=3-4", job, folder=tmp_path)
    ids = set()
    for task in ("3", "4"):
        jobs, environment = recorded(tmp_path, f"task-{task}")
        assert jobs["slurm_array_task_id"] == task
        assert jobs["slurm_array_job_id"] == environment["SLURM_ARRAY_JOB_ID"]
        ids.add((jobs["slurm_array_job_id"], jobs["slurm_job_id"]))
    assert len({array for array, _ in ids}) == 1
    assert len(ids) == 2


@pytest.mark.parametrize("launch", ["mpirun", "srun --mpi=pmi2"])
def test_ranks_are_recorded(launch: str, slurm: SlurmCluster, tmp_path: Path) -> None:
    """By srun without the help of an MPI library, which Debian's does not give to Open MPI."""
    rank = "${OMPI_COMM_WORLD_RANK:-$PMI_RANK}"
    line = f"{launch} bash -c 'python write.py rank-{rank}'"
    job = script(tmp_path, "python -c 'import zdb; zdb.open(\"results.zdb\")'", line)
    slurm.complete("--nodes=2", "--ntasks=4", job, folder=tmp_path)
    found = [recorded(tmp_path, f"rank-{rank}")[0] for rank in range(4)]
    assert [jobs["mpi_rank"] for jobs in found] == [0, 1, 2, 3]
    assert {jobs["mpi_size"] for jobs in found} == {4}
    assert {jobs["slurm_node"] for jobs in found} == {"node1", "node2"}
    assert len({jobs["slurm_job_id"] for jobs in found}) == 1
    assert os.environ.get("SLURM_JOB_ID") is None
