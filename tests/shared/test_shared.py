"""Arrays that processes of one machine share."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import zdb
from zdb.cli import main
from zdb.errors import KeyNotFoundError, NotMappableError, SelectionError, StorageError
from zdb.records import CatalogWarning
from zdb.shared import pool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from places import Place

RANDOM = np.random.default_rng(7)
CUBE = RANDOM.random((30, 40, 50))
ARRAYS = {
    "floats": CUBE,
    "fortran": np.asfortranarray(CUBE),
    "dask": da.from_array(CUBE, chunks=(7, 40, 50)),
    "big endian": CUBE.astype(">f4"),
    "bool": CUBE > 0.5,
    "complex": CUBE.astype(complex),
    "times": np.array(["2020", "NaT"], "M8[s]"),
    "text": np.array(["ab", "c"]),
    "structured": np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]),
    "scalar": np.float64(3),
    "no dimensions": np.array(3.5),
    "empty": np.empty((0, 3)),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """The folder of the shared arrays, for this process and those that it starts."""
    with pytest.MonkeyPatch.context() as patch, zdb.config.set({"shared": str(tmp_path / "pool")}):
        patch.setenv("ZDB_SHARED", str(tmp_path / "pool"))
        yield tmp_path / "pool"
        gc.collect()


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back(db: zdb.Database, name: str) -> None:
    value = ARRAYS[name]
    db["value"] = value
    found = db.shared("value")
    assert type(found) is np.ndarray
    assert found.dtype == value.dtype
    np.testing.assert_array_equal(found, np.asarray(value))
    with pytest.raises(ValueError, match="read-only"):
        found[...] = found


def test_every_store(place: Place) -> None:
    db = place.open()
    db["value"] = CUBE
    np.testing.assert_array_equal(db.shared("value"), CUBE)


def test_all_chunkings_are_read_by_whole_objects(db: zdb.Database) -> None:
    value = RANDOM.random((700, 900))
    for chunks in ("balanced", (1, 900), (700, 1), (333, 444)):
        db.set("value", value, chunks=chunks)
        np.testing.assert_array_equal(db.shared("value"), value)


def test_variables_and_columns(db: zdb.Database) -> None:
    times = pd.date_range("2020", periods=40)
    db["dataset"] = xr.Dataset({"v": (("t", "x"), CUBE[0]), "é": ("t", np.arange(40))}, {"t": times})
    np.testing.assert_array_equal(db.shared("dataset", "v"), CUBE[0])
    np.testing.assert_array_equal(db.shared("dataset", "é"), np.arange(40))
    np.testing.assert_array_equal(db.shared("dataset", "t"), times.to_numpy())
    db["lazy"] = db["dataset"].chunk({"t": 7})
    np.testing.assert_array_equal(db.shared("lazy", "v"), CUBE[0])
    db["array"] = xr.DataArray(CUBE[0], dims=("a", "b"), coords={"data": ("a", np.arange(40))}, name="w")
    np.testing.assert_array_equal(db.shared("array"), CUBE[0])
    np.testing.assert_array_equal(db.shared("array", "data"), np.arange(40))
    frame = pd.DataFrame({"x": np.arange(10.0), 3: np.arange(10), "s": list("abcdefghij")})
    db["table"] = frame
    np.testing.assert_array_equal(db.shared("table", "x"), frame["x"])
    np.testing.assert_array_equal(db.shared("table", 3), frame[3])
    db["partitions"] = dd.from_pandas(frame[["x"]], npartitions=3)
    np.testing.assert_array_equal(db.shared("partitions", "x"), frame["x"])
    db["series"] = frame["x"]
    np.testing.assert_array_equal(db.shared("series"), frame["x"])


def test_what_cannot_be_shared_says_why(db: zdb.Database, folder: Path) -> None:
    db["table"] = pd.DataFrame({"x": [1.0], "s": ["a"]})
    db["dataset"] = xr.Dataset({"v": ("t", [1])})
    db["array"] = CUBE
    db["masked"] = np.ma.array([1, 2], mask=[True, False])
    db["objects"] = np.array(["a", None], object)
    db["json"] = {"a": 1}
    db.database("below", create=True)
    for key, name, error, words in [
        ("table", None, NotMappableError, "table: .*columns 'x', 's'"),
        ("table", "s", NotMappableError, "table: .*no plain array"),
        ("table", "y", SelectionError, "table: .*no column 'y'"),
        ("dataset", None, NotMappableError, "dataset: .*name one of 'v'"),
        ("dataset", "w", SelectionError, "dataset: .*no variable 'w'.*'v'"),
        ("array", "v", SelectionError, "array: .*leave the name out"),
        ("masked", None, NotMappableError, "masked: "),
        ("objects", None, NotMappableError, "objects: .*no fixed size"),
        ("json", None, NotMappableError, "json: .*format 'json'"),
        ("below", None, NotMappableError, "below: is no value"),
        ("nothing", None, KeyNotFoundError, "'nothing' is not in"),
    ]:
        with pytest.raises(error, match=words):
            db.shared(key, name)
    assert not folder.exists() or not list(folder.iterdir())


def test_the_command_frees_what_nobody_uses(db: zdb.Database, capsys: pytest.CaptureFixture[str]) -> None:
    db["used"], db["unused"] = CUBE, CUBE * 2
    used = db.shared("used")
    db.shared("unused")
    gc.collect()
    assert main(["clear-shared", "--unused-for", "1h"]) == 0
    assert capsys.readouterr().out == "0 B freed\n"
    assert main(["clear-shared", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"freed": CUBE.nbytes}
    np.testing.assert_array_equal(used, CUBE)


def test_an_array_stays_when_its_key_is_written_again(db: zdb.Database, folder: Path) -> None:
    db["value"] = CUBE
    old = db.shared("value")
    assert db.shared("value").ctypes.data == old.ctypes.data  # mapped once in a process
    for factor in (2, 3, 4, 5):
        db["value"] = CUBE * factor
        np.testing.assert_array_equal(db.shared("value"), CUBE * factor)
    del db["value"]
    np.testing.assert_array_equal(old, CUBE)
    with pytest.raises(KeyNotFoundError):
        db.shared("value")
    gc.collect()
    assert len(list(folder.iterdir())) == 5
    assert pool.clear_shared() == 4 * CUBE.nbytes  # nobody has those of the generations in between
    assert len(list(folder.iterdir())) == 1
    np.testing.assert_array_equal(old, CUBE)
    del old
    gc.collect()
    assert pool.clear_shared() == CUBE.nbytes


def test_copies_of_a_database_do_not_meet(tmp_path: Path, db: zdb.Database) -> None:
    db["value"] = CUBE
    subprocess.run(["cp", "-r", db.url, tmp_path / "copy.zdb"], check=True)
    db["value"] = CUBE + 1
    with pytest.warns(CatalogWarning, match="one is a copy"):
        other = zdb.open(tmp_path / "copy.zdb")
    other["value"] = CUBE + 2
    np.testing.assert_array_equal(db.shared("value"), CUBE + 1)
    np.testing.assert_array_equal(other.shared("value"), CUBE + 2)


def test_memory_does_not_grow_with_the_array(db: zdb.Database) -> None:
    db["value"] = da.zeros((48, 1 << 20), chunks=(8, 1 << 20))  # 384 MiB in shards of 64 MiB
    db["warm"] = CUBE
    db.shared("warm")
    tracemalloc.start()
    try:
        found = db.shared("value")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.shape == (48, 1 << 20)
    assert peak < 2.5 * (64 << 20)


COUNTED = """
import os, sys, time
import zdb
from zdb.shared.blocks import Blocks

made = 0
copy_to = Blocks.copy_to


def counting(self, target):
    global made
    made += 1
    print("making", flush=True)
    if "slowly" in sys.argv:
        sys.stdin.readline()
    copy_to(self, target)


Blocks.copy_to = counting
db = zdb.open(sys.argv[1], mode="r")
array = db.shared("value")
inodes = {line.split()[4] for line in open("/proc/self/maps") if sys.argv[2] in line}
print("made", made, float(array.sum()), *inodes, flush=True)
sys.stdin.readline()
if "abort" in sys.argv:
    os.kill(os.getpid(), 9)
"""


def start(db: zdb.Database, folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", COUNTED, db.url, str(folder), *words]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("made"):
            return line.split()[1:]
    raise AssertionError("it died")


def leave(process: subprocess.Popen[str]) -> None:
    process.communicate("\n")
    assert process.returncode in (0, -signal.SIGKILL)


def test_of_many_processes_one_makes_it_and_the_last_removes_it(db: zdb.Database, folder: Path) -> None:
    db["value"] = CUBE
    processes = [start(db, folder) for _ in range(6)]
    found = [said(process) for process in processes]
    assert sorted(made for made, *_ in found) == ["0"] * 5 + ["1"]
    assert len({(total, inode) for _, total, inode in found}) == 1
    for number, process in enumerate(processes):
        assert len(list(folder.iterdir())) == 1, number
        leave(process)
    assert not list(folder.iterdir())


def test_when_the_maker_dies_the_next_one_goes_on(db: zdb.Database, folder: Path) -> None:
    db["value"] = CUBE
    first = start(db, folder, "slowly")
    assert first.stdout is not None
    assert first.stdout.readline() == "making\n"
    others = [start(db, folder) for _ in range(3)]
    waiting = {str(process.pid) for process in others}
    while not waiting <= {line.split()[5] for line in locks() if "->" in line}:  # until they wait for the lock
        time.sleep(0.05)
    first.kill()
    first.communicate()
    found = [said(process) for process in others]
    assert sorted(made for made, *_ in found) == ["0", "0", "1"]
    assert {float(total) for _, total, _ in found} == {float(CUBE.sum())}
    for process in others:
        leave(process)
    assert not list(folder.iterdir())


def locks() -> list[str]:
    return Path("/proc/locks").read_text().splitlines()


def test_what_a_killed_process_leaves_is_removed(db: zdb.Database, folder: Path) -> None:
    db["value"] = CUBE
    db["other"] = CUBE[0]
    leave_by_kill = start(db, folder, "abort")
    said(leave_by_kill)
    leave(leave_by_kill)
    begun = start(db, folder, "slowly")
    (left,) = folder.iterdir()
    os.utime(left)
    said(begun)  # it was there, nothing had to be made
    begun.kill()
    begun.communicate()
    assert list(folder.iterdir()) == [left]
    os.utime(left, (0, 0))  # unused for long
    db.shared("other")
    assert not left.exists()


def test_begun_files_of_dead_processes_are_removed_at_once(db: zdb.Database, folder: Path) -> None:
    db["value"] = CUBE
    process = start(db, folder, "slowly")
    assert process.stdout is not None
    assert process.stdout.readline() == "making\n"
    (begun,) = folder.iterdir()
    db["other"] = CUBE[0]
    db.shared("other")
    assert begun.exists()  # it is being made
    process.kill()
    process.communicate()
    db["more"] = CUBE[1]
    db.shared("more")
    assert not begun.exists()


def child(found: Any) -> None:
    assert float(found.sum()) == float(CUBE.sum())
    sys.exit(0)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_leaves_it_to_the_others(db: zdb.Database, folder: Path) -> None:
    db["value"] = CUBE
    found = db.shared("value")
    process = multiprocessing.get_context("fork").Process(target=child, args=(found,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert len(list(folder.iterdir())) == 1
    assert pool.clear_shared() == 0  # still locked by this process
    np.testing.assert_array_equal(found, CUBE)


def test_a_maker_that_fails_leaves_nothing(db: zdb.Database, folder: Path) -> None:
    db["value"] = CUBE
    Path(db.url, "value/data/c/0/0/0").unlink()
    with pytest.raises(zdb.errors.MissingChunkError, match="value"):
        db.shared("value")
    assert not list(folder.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes the rights of root")
def test_no_room_is_an_error_and_unused_arrays_make_room(db: zdb.Database, tmp_path: Path) -> None:
    disk = tmp_path / "small"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", str(disk)], check=True)
    try:
        with zdb.config.set({"shared": str(disk)}):
            db["a"], db["b"], db["large"] = np.ones(400_000), np.ones(300_000), np.ones(600_000)
            first = db.shared("a")
            with pytest.raises(StorageError, match=r"2400000 bytes cannot be shared, \d+ bytes are free.*ZDB_SHARED"):
                db.shared("b")
            assert first.sum() == 400_000
            del first
            gc.collect()
            assert db.shared("b").sum() == 300_000  # nobody used the other
            with pytest.raises(StorageError, match="4800000 bytes"):
                db.shared("large")
            gc.collect()
            pool.clear_shared()
            assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_folder_of_others_is_refused(db: zdb.Database, folder: Path) -> None:
    db["value"] = CUBE
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(StorageError, match="this user alone"):
        db.shared("value")
    folder.rmdir()
    folder.write_text("a file")
    with pytest.raises(StorageError, match="folder of shared arrays"):
        db.shared("value")


def test_by_default_it_lies_in_memory() -> None:
    with zdb.config.set({"shared": None}):
        assert str(pool.folder()) == f"/dev/shm/zdb-{os.getuid()}"
