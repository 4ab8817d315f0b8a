"""A value is computed once, however many ask, and one who fails or dies leaves nothing but a free place."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from other_processes import CONTEXT, new_process

import zdb
from zdb.errors import ClaimTimeoutError, InvalidSettingError, KeyClaimedError, KeyConflictError, ReadOnlyError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from places import Place

WAIT_SECONDS = 300


class Counted:
    """A function that counts how often it is called, across processes."""

    def __init__(self, folder: Path, value: Any, seconds: float = 0.0) -> None:
        self.folder = folder
        self.value = value
        self.seconds = seconds
        folder.mkdir(exist_ok=True)

    def __call__(self) -> Any:
        (self.folder / f"{os.getpid()}.{threading.get_ident()}.{time.monotonic_ns()}").touch()
        time.sleep(self.seconds)
        return self.value

    @property
    def calls(self) -> int:
        return len(list(self.folder.iterdir()))


def wait_until(is_true: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not is_true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def counted(tmp_path: Path) -> Counted:
    return Counted(tmp_path / "calls", 7)


@pytest.mark.parametrize(
    "value", [7, {"a": [1, None]}, np.arange(12.0).reshape(3, 4), pd.DataFrame({"x": [1, 2], "y": ["a", None]})]
)
def test_it_returns_what_is_kept_and_calls_once(place: Place, tmp_path: Path, value: Any) -> None:
    db = place.open()
    function = Counted(tmp_path / "calls", value)
    for _ in range(2):
        found = db.compute("sub/key", function)
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(found, value)
        elif isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(found, value)
        else:
            assert found == value
    assert function.calls == 1


def test_arguments_are_passed(place: Place) -> None:
    db = place.open()
    assert db.compute("k", lambda *args, **kwargs: [args, kwargs][0][0] + kwargs["key"], 1, 2, key=3) == 4


def test_force_replaces(place: Place) -> None:
    db = place.open()
    db["k"] = np.arange(3)
    assert db.compute("k", lambda: 5, force=True) == 5
    np.testing.assert_array_equal(db.compute("k", lambda: np.arange(4), force=True), np.arange(4))
    assert db.verify().ok


def test_a_lazy_result_is_computed_once_and_comes_back_lazy(place: Place, tmp_path: Path) -> None:
    db = place.open()
    blocks = Counted(tmp_path / "calls", None)

    def block(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        blocks()
        return x + 1

    made = db.compute("k", lambda: da.zeros((4, 4), chunks=(2, 4)).map_blocks(block, meta=np.empty((0, 0))))
    assert isinstance(made, da.Array)
    assert made.sum().compute() == 16
    assert blocks.calls == 2


def test_a_folder_becomes_a_sub_database(place: Place, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "a.txt").write_text("a")
    db = place.open()
    for _ in range(2):
        assert db.compute("folder", lambda: tmp_path / "made")["a.txt"].read() == b"a"


def test_a_failure_is_not_kept(place: Place, counted: Counted) -> None:
    db = place.open()
    with pytest.raises(ZeroDivisionError):
        db.compute("k", lambda: 1 / 0)
    assert "k" not in db
    assert db.keys(recursive=True) == []
    assert db.compute("k", counted) == 7


def test_a_value_that_cannot_be_kept_leaves_nothing(place: Place, counted: Counted) -> None:
    db = place.open()
    with pytest.raises(zdb.errors.UnsupportedValueError):
        db.compute("k", lambda: np.array([1, "a", None], dtype=object))
    assert db.compute("k", counted) == 7


def test_what_is_there_is_read_also_from_a_database_open_for_reading(place: Place, counted: Counted) -> None:
    place.open()["k"] = 1
    db = place.open("r")
    assert db.compute("k", counted) == 1
    with pytest.raises(ReadOnlyError):
        db.compute("other", counted)
    assert counted.calls == 0


def test_nothing_is_computed_for_a_key_that_cannot_take_it(place: Place, counted: Counted) -> None:
    db = place.open()
    db["value"] = 1
    db["sub/k"] = 1
    with pytest.raises(KeyConflictError, match="value"):
        db.compute("value/below", counted)
    with pytest.raises(KeyConflictError, match="sub"):
        db.compute("sub", counted, force=True)
    with pytest.raises(zdb.errors.InvalidKeyError):
        db.compute("SUB", counted)
    assert counted.calls == 0


def put_late(db: zdb.Database, key: str) -> None:
    """Put a small value whose writer looked at the claim before it was taken."""
    db["other"] = "set"
    document = db._engine.nodes.get("other/zarr.json")
    assert document is not None
    del db["other"]
    db._engine.nodes.set(f"{key}/zarr.json", document)


@pytest.mark.parametrize("kind", ["small", "array", "folder"])
def test_a_small_value_that_comes_meanwhile_stays(place: Place, tmp_path: Path, kind: str) -> None:
    db = place.open()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("computed")

    def function() -> Any:
        put_late(db, "k")
        return {"small": 7, "array": np.arange(90), "folder": tmp_path / "folder"}[kind]

    assert db.compute("k", function) == db["k"] == "set"
    assert db.verify().ok
    assert db._engine.nodes.list_objects("k") == ["k/zarr.json"]


def test_force_replaces_a_small_value_that_comes_meanwhile(place: Place) -> None:
    db = place.open()
    db["k"] = 1

    def function() -> int:
        put_late(db, "k")
        return 7

    assert db.compute("k", function, force=True) == db["k"] == 7


def test_a_function_that_asks_for_its_own_key_is_told(place: Place) -> None:
    db = place.open()
    with pytest.raises(KeyClaimedError, match="this very thread"):
        db.compute("k", lambda: db.compute("k", lambda: 1))
    with pytest.raises(KeyClaimedError, match="this very thread"):
        db.compute("k", lambda: db.set("k", 1))
    assert "k" not in db


def test_what_the_function_reads_is_kept_as_the_inputs(place: Place, tmp_path: Path) -> None:
    db = place.open()
    other = zdb.open(tmp_path / "other.zdb")
    db["a"], db["sub/b"], db["unread"], other["c"] = np.arange(3), 2, 3, 4
    sub = db.database("sub")
    total = db.compute(
        "total", lambda: int(db["a"].sum()) + sub["b"] + other["c"] + db.compute("inner", lambda: db["a"].size)
    )
    assert total == 3 + 2 + 4 + 3
    assert db.provenance("total").inputs == ("a", "sub/b", f"{other.url}/c", "inner")
    assert db.provenance("inner").inputs == ("a",)
    assert list(db.find(inputs="sub/b")["key"]) == ["total"]
    db["after"] = db["a"]
    assert db.provenance("after").inputs == ()


@pytest.mark.parametrize("timeout", ["a", -1, float("nan")])
def test_a_timeout_that_is_none(place: Place, counted: Counted, timeout: Any) -> None:
    db = place.open()
    with pytest.raises(InvalidSettingError, match="a: timeout is a number of seconds"):
        db.compute("a", counted, timeout=timeout)
    assert counted.calls == 0
    assert list(db) == []


def test_functions_that_wait_for_each_other_end_by_the_timeout(place: Place) -> None:
    place.open()
    both = threading.Barrier(2)

    def compute(key: str, other: str) -> Any:
        db = place.open("r+")

        def function() -> Any:
            both.wait(WAIT_SECONDS)
            return db.compute(other, lambda: 1)

        return db.compute(key, function, timeout=1)

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(compute, *keys) for keys in (("a", "b"), ("b", "a"))]
        ended = [one.exception() for one in running]
    assert any(isinstance(error, ClaimTimeoutError) for error in ended)
    assert place.open().compute("a", lambda: 1) == 1


def test_threads_wait_for_the_one_that_computes(place: Place, tmp_path: Path) -> None:
    db = place.open()
    function = Counted(tmp_path / "calls", 7, seconds=0.3)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(db.compute("k", function))) for _ in range(6)]
    for thread in threads:
        thread.start()
    wait_until(lambda: function.calls > 0)
    with pytest.raises(KeyClaimedError, match="k: is being written"):
        db.compute("k", function, wait=False)
    with pytest.raises(ClaimTimeoutError, match="k: is being written"):
        db.compute("k", function, timeout=0.01)
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert found == [7] * 6
    assert function.calls == 1


def ask(place: Place, function: Counted, results: Any) -> None:
    results.put(place.open().compute("k", function)[3])


def test_of_many_processes_one_computes(shared_place: Place, tmp_path: Path) -> None:
    function = Counted(tmp_path / "calls", np.arange(10), seconds=1)
    shared_place.open()
    processes = 50 if "://" not in shared_place.url else 12
    results = CONTEXT.Queue()
    asking = [new_process(ask, shared_place, function, results) for _ in range(processes)]
    for process in asking:
        process.start()
    assert [results.get(timeout=WAIT_SECONDS) for _ in asking] == [3] * processes
    for process in asking:
        process.join(WAIT_SECONDS)
    assert function.calls == 1
    assert shared_place.open().verify().ok


def test_another_computes_when_the_one_who_did_is_killed(shared_place: Place, tmp_path: Path) -> None:
    shared_place.open()
    stuck = Counted(tmp_path / "stuck", np.arange(10), seconds=1000)
    results = CONTEXT.Queue()
    first = new_process(ask, shared_place, stuck, results)
    first.start()
    wait_until(lambda: stuck.calls == 1)
    function = Counted(tmp_path / "calls", np.arange(10))
    others = [new_process(ask, shared_place, function, results) for _ in range(3)]
    for process in others:
        process.start()
    os.kill(first.pid or 0, signal.SIGKILL)
    first.join()
    assert [results.get(timeout=WAIT_SECONDS) for _ in others] == [3] * 3
    for process in others:
        process.join(WAIT_SECONDS)
    assert function.calls == 1


def test_tasks_of_dask_compute_once(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    place = tmp_path / "results.zdb"
    db = zdb.open(place)
    function = Counted(tmp_path / "calls", np.arange(10), seconds=0.2)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        tasks = [client.submit(lambda _: int(db.compute("k", function)[3]), number, pure=False) for number in range(8)]
        assert client.gather(tasks) == [3] * 8
    assert function.calls == 1
