"""An import that was killed goes on where it stopped; any dask scheduler does the reading."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

import zdb
from tests.neuro.test_importer import assert_same, snapshot
from zdb.neuro import batches, generate_simrun, import_simrun, staging

if TYPE_CHECKING:
    from pathlib import Path

    from zdb.neuro.generate import GeneratedSimrun

pytestmark = pytest.mark.slow

RUNS = 8

KILLED = """
import sys, time
import dask, zdb
from zdb.neuro import batches, import_simrun, staging, writing

step, url, folder = sys.argv[1:]
batches.BATCH_BYTES = 1
read, write = staging.read_batch, writing._write

def slow_read(*arguments):
    time.sleep(0.2)
    return read(*arguments)

def slow_write(db, name, *arguments):
    write(db, name, *arguments)
    if name == step:
        print("wrote", name, flush=True)
        time.sleep(60)

staging.read_batch, writing._write = slow_read, slow_write
with dask.config.set(scheduler="synchronous"):
    import_simrun(zdb.open(url), folder)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> GeneratedSimrun:
    return generate_simrun(tmp_path_factory.mktemp("results") / "results", runs=RUNS, trials=2, duration=5.0)


def start(tmp_path: Path, step: str, url: str, folder: Path) -> subprocess.Popen[str]:
    script = tmp_path / "importing.py"
    script.write_text(KILLED)
    return subprocess.Popen(
        [sys.executable, str(script), step, url, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL


def staged(db: zdb.Database) -> int:
    if staging.STAGING not in db:
        return 0
    return sum(f"{staging.STAGING}/{name}/{staging.RECORD}" in db for name in db.database(staging.STAGING))


def test_it_goes_on_where_it_was_killed(made: GeneratedSimrun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = str(tmp_path / "killed.zdb")
    process = start(tmp_path, "", url, made.folder)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if os.path.isdir(url) and staged(zdb.open(url)) >= 2:  # noqa: PTH112
            break
        time.sleep(0.05)
    kill(process)
    db = zdb.open(url)
    before = staged(db)
    assert 2 <= before < RUNS
    assert "voltage_traces" not in db

    read: list[str] = []
    original = staging.read_batch

    def counting(root: Path, runs: list[zdb.neuro.simrun.Run], *others: object) -> object:
        read.extend(run.path for run in runs)
        return original(root, runs, *others)

    monkeypatch.setattr(staging, "read_batch", counting)
    monkeypatch.setattr(batches, "BATCH_BYTES", 1)
    import_simrun(db, made.folder)
    assert len(read) == RUNS - before, "what was read before the kill is not read again"
    at_once = zdb.open(str(tmp_path / "at_once.zdb"))
    import_simrun(at_once, made.folder)
    assert_same(snapshot(db), snapshot(at_once))


@pytest.mark.parametrize("step", ["voltage_traces", "synapse_activation"])
def test_killed_between_two_keys(made: GeneratedSimrun, tmp_path: Path, step: str) -> None:
    """First import, and one that adds to what is there; the second kill leaves keys of both."""
    folder = tmp_path / "results"
    shutil.copytree(made.folder, folder)
    later = sorted(folder.iterdir())[::2]
    url = str(tmp_path / "killed.zdb")
    for run in later:
        run.rename(tmp_path / run.name)
    import_simrun(zdb.open(url), folder)
    for run in later:
        (tmp_path / run.name).rename(run)
    process = start(tmp_path, step, url, folder)
    assert process.stdout is not None
    assert process.stdout.readline() == f"wrote {step}\n", process.communicate()[1]
    kill(process)
    db = zdb.open(url)
    assert len(db["sim_trial_index"]) == RUNS, "not written yet"
    assert db["voltage_traces"].sizes["trial"] == 2 * RUNS
    report = import_simrun(db, folder)
    assert len(report.new_runs) == RUNS // 2
    np.testing.assert_array_equal(db["voltage_traces"]["voltage"], made.voltage)
    at_once = zdb.open(str(tmp_path / "at_once.zdb"))
    import_simrun(at_once, folder)
    assert_same(snapshot(db), snapshot(at_once))


def test_a_batch_of_a_run_that_changed_is_not_used(
    made: GeneratedSimrun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "results"
    shutil.copytree(made.folder, folder)
    monkeypatch.setattr(batches, "BATCH_BYTES", 1)
    db = zdb.open(str(tmp_path / "results.zdb"))
    *_, last = sorted(folder.iterdir())
    bad = last / "simulation_run0000_synapses.csv"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:-7])
    with pytest.raises(zdb.neuro.SimulationFileError, match="truncated"):
        import_simrun(db, folder)
    first = min(folder.iterdir()) / "simulation_run0000_synapses.csv"
    first.write_text("".join(first.read_text().splitlines(keepends=True)[:2]))
    bad.write_bytes(whole)
    import_simrun(db, folder)
    counts = db["synapse_activation"].columns["sim_trial_index"].value_counts()
    assert counts[made.trial_index[0]] == 1
    assert counts[made.trial_index[-2]] == len(made.synapses[-2])


def test_distributed(made: GeneratedSimrun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import Client, LocalCluster

    monkeypatch.setattr(batches, "BATCH_BYTES", 1)
    calls: list[tuple[str, int, int]] = []
    db = zdb.open(str(tmp_path / "results.zdb"))
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=True, dashboard_address=":0") as cluster,
        Client(cluster),
    ):
        import_simrun(db, made.folder, progress=lambda *call: calls.append(call))
    np.testing.assert_array_equal(db["voltage_traces"]["voltage"], made.voltage)
    reads = [call[1:] for call in calls if call[0] == "read"]
    assert reads == [(number + 1, len(reads)) for number in range(len(reads))]
    assert len(reads) == RUNS
