"""Values made of dask collections are written by the scheduler that is active, also when it loses workers."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import dask.dataframe as dd
import distributed
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from places import new_place

import zdb
from zdb.engine.chunks import ArrayTarget
from zdb.engine.gate import Gate, close_gate
from zdb.errors import WriteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from places import Place


@contextlib.contextmanager
def workers(number: int = 2, **options: Any) -> Iterator[distributed.Client]:
    """A cluster of processes with a thread each, which restarts those that die."""
    with (
        distributed.LocalCluster(
            n_workers=number, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50, **options
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@contextlib.contextmanager
def workers_without_nanny(number: int, folder: Path) -> Iterator[list[subprocess.Popen]]:
    """A cluster whose workers are gone for ever when they die."""
    with (
        distributed.LocalCluster(n_workers=0, processes=True, dashboard_address=":0", silence_logs=50) as cluster,
        distributed.Client(cluster) as client,
        contextlib.ExitStack() as stack,
    ):
        command = [sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address, "--no-nanny"]
        command += ["--nthreads=1", "--no-dashboard", f"--local-directory={folder}"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # they import this module
        processes = []
        for _ in range(number):
            with (folder / "log").open("ab") as log:
                process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
            processes.append(process)
        client.wait_for_workers(number, timeout=120)
        yield processes


@pytest.fixture(scope="module")
def client() -> Iterator[distributed.Client]:
    with workers() as client, client.as_current():
        yield client


def waiting_for(path: Path) -> None:
    end = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < end, f"{path} has not come"
        time.sleep(0.02)


class Blocks:
    """Blocks that leave a line in a file each time that one is computed: its number and by which process."""

    def __init__(self, folder: Path, after: Callable[[int], None] = lambda _: None) -> None:
        self.log = folder / "computed"
        self.log.touch()
        self.after = after

    def __call__(self, block: np.ndarray, block_info: Any = None) -> np.ndarray:
        number = block_info[0]["chunk-location"][0]
        with self.log.open("a") as file:
            file.write(f"{number} {os.getpid()}\n")
        self.after(number)
        return block + number

    def array(self, number: int, size: int = 100) -> da.Array:
        return da.zeros((number, size), chunks=(1, size)).map_blocks(self, dtype=float)

    def computed(self) -> list[tuple[int, int]]:
        return [tuple(map(int, line.split())) for line in self.log.read_text().splitlines()]  # type: ignore[misc]


def expected(number: int, size: int = 100) -> np.ndarray:
    return np.repeat(np.arange(float(number))[:, None], size, axis=1)


@pytest.mark.parametrize(
    ("scheduler", "store"),
    [
        ("synchronous", "local"),
        ("threads", "local"),
        ("processes", "local"),
        ("distributed", "local"),
        pytest.param("distributed", "s3", marks=pytest.mark.s3),
    ],
)
def test_all_schedulers_write_the_same(
    scheduler: str, store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if scheduler == "distributed":
        request.getfixturevalue("client")
    data = np.random.default_rng(0).random((40, 50))
    lazy = da.from_array(data, chunks=(7, 20))
    dataset = xr.Dataset({"twice": (("x", "y"), lazy * 2), "sum": ("x", lazy.sum(axis=1)), "n": ("x", range(40))})
    table = dd.from_pandas(pd.DataFrame({"a": np.arange(100.0), "s": [f"{i % 9}" for i in range(100)]}), npartitions=3)
    db = new_place(store, tmp_path, request).open()
    with dask.config.set(scheduler=scheduler, num_workers=2):
        db["dataset"] = dataset
        db["table"] = table
    with dask.config.set(scheduler="synchronous"):
        xr.testing.assert_identical(db["dataset"].compute(), dataset.compute())
        pd.testing.assert_frame_equal(db["table"].compute(), table.compute())
    assert db.verify().ok


def test_workers_write_and_not_the_client(
    client: distributed.Client, db: zdb.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ArrayTarget, "__setitem__", lambda *_: pytest.fail("the client writes"))
    blocks = Blocks(tmp_path)
    db.set("k", blocks.array(8), chunks=(1, 100))
    np.testing.assert_array_equal(db["k"].compute(), expected(8))
    assert len(blocks.computed()) == 8
    assert os.getpid() not in {process for _, process in blocks.computed()}


def test_memory_is_bounded(tmp_path: Path) -> None:
    """1 GiB goes through two workers of 400 MiB, of which Python itself takes a half, and not through the client."""
    row = 1 << 20
    # Nothing is spilled to disk; a worker that would need more is killed.
    limits = {f"distributed.worker.memory.{name}": False for name in ("target", "spill")}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with dask.config.set(limits), workers(memory_limit="400MiB") as client:
        db = zdb.open(tmp_path / "x.zdb")
        pids = set(client.run(os.getpid).values())
        db.set("k", da.full((128, row), 3.0, chunks=(1, row)), chunks=(1, row // 8), shards=(2, row))
        assert set(client.run(os.getpid).values()) == pids, "a worker was restarted"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10
    assert all((db["k"][n] == 3).all().compute() for n in (0, 63, 127))


@pytest.mark.parametrize("kind", ["array", "table"])
def test_workers_are_killed_in_mid_write(kind: str, tmp_path: Path) -> None:
    """Two of three workers die for ever; what was written by then is not computed again."""
    number = 40

    def slowly(_: int) -> None:
        time.sleep(0.1)

    blocks = Blocks(tmp_path, slowly)
    frame = pd.DataFrame({"a": np.repeat(np.arange(float(number)), 3)})

    def partition(n: int) -> pd.DataFrame:
        block = blocks(np.zeros(3), [{"chunk-location": (n,)}])
        return pd.DataFrame({"a": block}, index=range(3 * n, 3 * n + 3))

    with workers_without_nanny(3, tmp_path) as processes:
        db = zdb.open(tmp_path / "x.zdb")
        killer = _Killer(blocks, processes[:2], after=(8, 20))
        with killer:
            if kind == "array":
                db.set("k", blocks.array(number), chunks=(1, 100))
            else:
                db["k"] = dd.from_map(partition, range(number), meta=frame[:0])
        assert killer.killed == 2
        if kind == "array":
            np.testing.assert_array_equal(db["k"].compute(), expected(number))
        else:
            pd.testing.assert_frame_equal(db["k"].compute(), frame)
        assert db.verify().ok
    computed = blocks.computed()
    assert {n for n, _ in computed} == set(range(number))
    assert len(computed) - number <= number // 2  # what they had in hand, and not all that they had written


class _Killer:
    """Kills processes, one each time that so many blocks were computed."""

    def __init__(self, blocks: Blocks, processes: list[subprocess.Popen], after: tuple[int, ...]) -> None:
        self.killed = 0
        self._work = threading.Thread(target=self._run, args=(blocks, processes, after))

    def _run(self, blocks: Blocks, processes: list[subprocess.Popen], after: tuple[int, ...]) -> None:
        for process, number in zip(processes, after, strict=True):
            while len(blocks.computed()) < number:
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
            self.killed += 1

    def __enter__(self) -> None:
        self._work.start()

    def __exit__(self, *_: object) -> None:
        self._work.join(120)


def test_a_nanny_restarts_workers_that_are_killed(tmp_path: Path) -> None:
    """Each block kills its worker when it is first computed."""
    attempts = tmp_path / "attempts"
    attempts.mkdir()

    def die_once(number: int) -> None:
        with contextlib.suppress(FileExistsError):
            (attempts / str(number)).touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)

    blocks = Blocks(tmp_path, die_once)
    with workers():
        db = zdb.open(tmp_path / "x.zdb")
        db.set("k", blocks.array(3), chunks=(1, 100))
        np.testing.assert_array_equal(db["k"].compute(), expected(3))
    assert len(blocks.computed()) >= 6
    assert db.verify().ok


def test_a_worker_that_dies_before_it_reports_is_written_again(tmp_path: Path) -> None:
    flag, chunks = tmp_path / "died", tmp_path / "x.zdb" / "k"

    def die_after_writing() -> None:
        write = ArrayTarget.__setitem__

        def once(self: ArrayTarget, region: Any, data: Any) -> None:
            write(self, region, data)
            with contextlib.suppress(FileExistsError):
                flag.touch(exist_ok=False)
                written = next(one for one in chunks.rglob("*") if one.is_file() and one.name != "zarr.json")
                flag.write_bytes(str(written).encode() + b"\n" + written.read_bytes())
                os.kill(os.getpid(), signal.SIGKILL)

        ArrayTarget.__setitem__ = once  # type: ignore[method-assign]

    with workers() as client:
        db = zdb.open(tmp_path / "x.zdb")
        client.run(die_after_writing)
        blocks = Blocks(tmp_path)
        db.set("k", blocks.array(6), chunks=(1, 100))
        np.testing.assert_array_equal(db["k"].compute(), expected(6))
    assert len(blocks.computed()) > 6
    name, _, content = flag.read_bytes().partition(b"\n")
    assert Path(name.decode()).read_bytes() == content
    assert db.verify().ok


def test_a_graph_that_kills_all_workers_leaves_the_old_value(tmp_path: Path) -> None:
    db = zdb.open(tmp_path / "x.zdb")
    db["k"] = np.arange(5)
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), workers():
        lazy = Blocks(tmp_path, lambda _: os.kill(os.getpid(), signal.SIGKILL)).array(2)
        with pytest.raises(WriteError, match=r"k: .*KilledWorker"):
            db["k"] = lazy
        np.testing.assert_array_equal(db["k"], np.arange(5))
        db["k"] = da.arange(7)
        np.testing.assert_array_equal(db["k"].compute(), np.arange(7))


def test_what_a_failed_write_left_running_does_not_meet_the_next(
    client: distributed.Client, db: zdb.Database, tmp_path: Path
) -> None:
    """Both use the same generation, and so the same paths."""
    started, go, late = tmp_path / "started", tmp_path / "go", tmp_path / "late"

    def fail_or_wait(number: int) -> None:
        if number == 0:
            waiting_for(started)
            raise ZeroDivisionError("half-way")
        if number == 1:
            started.touch()
            waiting_for(go)
            late.touch()

    db["k"] = np.zeros(3)
    with pytest.raises(WriteError, match="half-way"):
        db.set("k", Blocks(tmp_path, fail_or_wait).array(2), chunks=(1, 100))
    np.testing.assert_array_equal(db["k"], np.zeros(3))
    with dask.config.set(scheduler="threads"):
        db.set("k", da.full((2, 100), 7.0, chunks=(1, 100)), chunks=(1, 100))
    go.touch()
    waiting_for(late)
    end = time.monotonic() + 60
    while any(client.run(lambda dask_worker: dask_worker.state.executing_count).values()):
        assert time.monotonic() < end
        time.sleep(0.05)
    np.testing.assert_array_equal(db["k"].compute(scheduler="threads"), np.full((2, 100), 7.0))


def test_a_task_writes_a_lazy_value_where_there_is_one_thread(tmp_path: Path) -> None:
    def write(db: Any) -> dict[str, Any]:
        db.set("inner", da.arange(20, chunks=5) + 1, chunks=(5,))
        db["table"] = dd.from_pandas(pd.DataFrame({"a": range(9)}), npartitions=3)
        return dict(db.provenance("inner").jobs)

    with workers(1) as client:
        db = zdb.open(tmp_path / "x.zdb")
        future = client.submit(write, db, key="outer")
        jobs = future.result(timeout=300)
        assert jobs == {"dask_task": "outer", "dask_worker": next(iter(client.run(os.getpid)))}
    np.testing.assert_array_equal(db["inner"].compute(), np.arange(20) + 1)
    assert db["table"]["a"].compute().tolist() == list(range(9))


def test_handles_travel_to_workers(client: distributed.Client, shared_place: Place) -> None:
    shared_place.open().database("sub", create=True)["k"] = {1, 2}
    sub = shared_place.open("r", allow_pickle=True)["sub"]

    def look(db: zdb.Database) -> tuple[Any, ...]:
        return db.url, db.mode, db.read_only, db["k"], os.getpid()

    *found, process = client.submit(look, sub).result()
    assert found == [sub.url, "r", True, {1, 2}]
    assert process != os.getpid()


def test_a_closed_gate_stays_closed_for_what_comes_later() -> None:
    gate = Gate()
    make, arguments = gate.__reduce__()
    assert make(*arguments) is gate  # type: ignore[operator]
    close_gate(gate.id)
    with pytest.raises(WriteError), gate:
        pass
    del gate
    with pytest.raises(WriteError), make(*arguments):  # type: ignore[operator]
        pass
