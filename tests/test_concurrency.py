"""Several processes and crashes: a reader sees whole values only, a killed writer leaves the old or the new one."""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from other_processes import CONTEXT, new_process

import zdb
from zdb.errors import StaleValueError, StorageError, WriteError

if TYPE_CHECKING:
    from pathlib import Path

    from places import Place

pytestmark = pytest.mark.slow

REPLACES = {"local": 200, "s3": 80}
KILLS = 50


def version(number: int, kind: str = "array") -> Any:
    """A value whose every element, and whose size, tells its version."""
    data = np.full((20 + number % 7, 50), float(number))
    if kind == "dataset":
        return xr.Dataset({"a": (("x", "y"), data), "b": (("x", "y"), data)}, attrs={"version": number})
    return data


def replaces(place: Place) -> int:
    return REPLACES["s3" if "://" in place.url else "local"]


def replace_again_and_again(place: Place, kind: str, ready: Any) -> None:
    db = place.open("r+")
    ready.set()
    for number in range(1, replaces(place) + 1):
        db.set("k", version(number, kind), chunks=(5, 50))
        if kind == "dataset":
            time.sleep(0.05)  # a lazy value is to be loaded before it is replaced twice


def write_forever(place: Place, ready: Any) -> None:
    db = place.open("r+")
    number = int(db["k"].flat[0])
    ready.set()
    while True:
        number += 1
        db.set("k", version(number), chunks=(1, 10))


@pytest.mark.parametrize("kind", ["array", "dataset"])
def test_a_reader_during_replaces_sees_whole_versions(shared_place: Place, kind: str) -> None:
    db = shared_place.open()
    db.set("k", version(0, kind), chunks=(5, 50))
    ready = CONTEXT.Event()
    writer = new_process(replace_again_and_again, shared_place, kind, ready)
    writer.start()
    assert ready.wait(180)
    seen = set()
    last = 0
    while writer.is_alive():
        try:
            found = db["k"].load() if kind == "dataset" else db["k"]
        except StaleValueError:
            # A lazy value that was replaced twice before it was loaded says so.
            assert kind == "dataset"
            continue
        number = found.attrs["version"] if kind == "dataset" else int(found.flat[0])
        expected = version(number, kind)
        if kind == "dataset":
            xr.testing.assert_identical(found, expected)
        else:
            np.testing.assert_array_equal(found, expected)
        assert number >= last
        last = number
        seen.add(number)
    writer.join()
    assert writer.exitcode == 0
    assert len(seen) > 3
    final = shared_place.open("r")["k"]
    assert np.all((final["a"] if kind == "dataset" else final) == replaces(shared_place))


def test_a_plain_reader_that_opens_anew_sees_whole_versions(tmp_path: Path) -> None:
    db = zdb.open(tmp_path / "x.zdb")
    db.set("k", version(0, "dataset"), chunks=(5, 50))
    for number in range(1, 40):
        opened = xr.open_zarr(tmp_path / "x.zdb" / "k", chunks=None)
        db.set("k", version(number, "dataset"), chunks=(5, 50))
        # One replace after it was opened, all that it saw is still there.
        assert set(np.unique(opened["a"])) == {number - 1}
        assert set(np.unique(opened["b"])) == {number - 1}


def kill_a_writer(place: Place, after: float) -> None:
    ready = CONTEXT.Event()
    writer = new_process(write_forever, place, ready)
    writer.start()
    assert ready.wait(180)
    time.sleep(after)
    os.kill(writer.pid or 0, signal.SIGKILL)
    writer.join()
    assert writer.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(("store", "kills"), [("local", KILLS), pytest.param("s3", KILLS // 10, marks=pytest.mark.s3)])
def test_a_killed_writer_leaves_a_whole_value(
    store: str, kills: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from places import new_place

    place = new_place(store, tmp_path, request)
    db = place.open()
    db.set("k", version(0), chunks=(1, 10))
    number = 0
    moments = random.Random(1)
    for _ in range(kills):
        kill_a_writer(place, moments.uniform(0, 0.05))
        found = place.open("r")["k"]
        assert int(found.flat[0]) >= number
        number = int(found.flat[0])
        np.testing.assert_array_equal(found, version(number))
        # What the dead writer left does not keep the next one from writing.
        number += 1
        db.set("k", version(number), chunks=(1, 10))
        np.testing.assert_array_equal(db["k"], version(number))
    assert list(db) == ["k"]
    node = db._engine.node("k")
    assert node is not None
    # Nothing is left of writers that died, but the generation before.
    left = {p for p in db._engine.nodes.list_objects("k") if "/.zarr.json." not in p}
    current = set(node.arrays["data"].object_paths())
    assert current <= left
    assert len(left) <= 2 * max(len(current), 27 * 5) + 2


def die_at_the_fourth(block: np.ndarray, block_info: Any = None) -> np.ndarray:
    if block_info[0]["chunk-location"][0] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return block


def write_and_die(place: Place) -> None:
    lazy = da.ones((40, 10), chunks=(5, 10)).map_blocks(die_at_the_fourth, dtype=float)
    with dask.config.set(scheduler="synchronous"):
        place.open("r+").set("k", lazy, chunks=(5, 10))


def test_a_first_write_that_is_killed_leaves_no_key(tmp_path: Path) -> None:
    from places import Place

    db = zdb.open(tmp_path / "x.zdb")
    writer = new_process(write_and_die, Place(str(tmp_path / "x.zdb")))
    writer.start()
    writer.join()
    assert writer.exitcode == -signal.SIGKILL
    assert any((tmp_path / "x.zdb" / "k").rglob("*"))
    assert list(db) == []
    assert "k" not in db
    db["k"] = np.arange(3)
    np.testing.assert_array_equal(db["k"], np.arange(3))
    assert len(db._engine.nodes.list_objects("k")) == 3


def test_lazy_values_can_be_assigned_to_their_own_key(place: Place) -> None:
    db = place.open()
    dataset = xr.Dataset({"v": (("x", "y"), np.arange(2000.0).reshape(40, 50))})
    db.set("k", dataset, chunks=(10, 50))
    db["a"] = da.arange(100, chunks=10)
    for _ in range(4):
        db["k"] = db["k"] + 1
        db["a"] = db["a"] + 1
    xr.testing.assert_identical(db["k"].load(), dataset + 4)
    np.testing.assert_array_equal(db["a"].compute(), np.arange(100) + 4)


@pytest.mark.parametrize("store", ["local", "s3"])
def test_workers_of_other_processes_read_and_write(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    import distributed
    from places import new_place

    db = new_place(store, tmp_path, request).open()
    db["a"] = da.arange(1000, chunks=100)
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
    )
    with cluster, distributed.Client(cluster) as client:
        db["b"] = db["a"] * 2
        pids = client.run(os.getpid)
        assert os.getpid() not in pids.values()
        total = client.submit(lambda database: int(database["b"].sum().compute(scheduler="synchronous")), db).result()
    assert total == 2 * sum(range(1000))


def test_a_database_in_memory_cannot_be_reached_from_another_process(tmp_path: Path) -> None:
    db = zdb.open("memory://alone")
    db["k"] = 1
    assert pickle.loads(pickle.dumps(db))["k"] == 1
    (tmp_path / "db.pickle").write_bytes(pickle.dumps(db))
    code = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "db.pickle")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "StorageError" in done.stderr
    assert "memory of process" in done.stderr


def test_a_graph_that_fails_half_way_leaves_the_old_value(place: Place) -> None:
    db = place.open()
    db["k"] = np.arange(30)

    def fail(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        if block_info[0]["chunk-location"][0] == 2:
            raise ZeroDivisionError("half-way")
        return block

    lazy = da.arange(40, chunks=10).map_blocks(fail, dtype=int)
    with pytest.raises(WriteError, match=r"k: .*half-way"):
        db.set("k", lazy, chunks=(10,))
    with pytest.raises(WriteError, match=r"new/k: .*half-way"):
        db.set("new/k", lazy, chunks=(10,))
    np.testing.assert_array_equal(db["k"], np.arange(30))
    assert list(db) == ["k"]
    assert len(db._engine.nodes.list_objects("k")) == 3


def test_a_full_disk_leaves_the_old_value(tmp_path: Path) -> None:
    """A file system of 4 MB in memory; mounting it takes the rights of root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=True)
    try:
        db = zdb.open(disk / "x.zdb")
        old = np.random.default_rng(0).random(100_000)
        db["k"] = old
        for size in (1_000_000, 10_000_000):
            with pytest.raises(StorageError, match=r"k.*free some space"):
                db["k"] = np.random.default_rng(1).random(size)
        with pytest.raises(StorageError, match=r"other.*free some space"):
            db["other"] = np.random.default_rng(1).random(1_000_000)
        np.testing.assert_array_equal(db["k"], old)
        assert list(db) == ["k"]
        db["k"] = old + 1
        np.testing.assert_array_equal(db["k"], old + 1)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
