"""Several real processes fill one value or add to it; some are killed, some stand still."""

from __future__ import annotations

import os
import random
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from other_processes import CONTEXT, new_process

from zdb import Ragged
from zdb.errors import KeyNotFoundError, NotFillingError, StaleValueError, ZdbError
from zdb.parallel import records

if TYPE_CHECKING:
    from places import Place

pytestmark = pytest.mark.slow

ROWS, COLUMNS, UNIT = 640, 200, 16
PROCESSES = 8
MISALIGNED_ROUNDS = 40


def value() -> xr.DataArray:
    data = np.random.default_rng(3).normal(size=(ROWS, COLUMNS))
    return xr.DataArray(data, dims=("row", "column"), coords={"row": np.arange(ROWS)}, name="v")


def template() -> xr.DataArray:
    return value().copy(data=da.empty((ROWS, COLUMNS), chunks=(UNIT, -1)))


def started(target: Any, *arguments: Any) -> Any:
    process = new_process(target, *arguments)
    process.start()
    return process


def ended(processes: list[Any]) -> None:
    for process in processes:
        process.join()
        assert process.exitcode == 0


def fill_some(place: Place, first: int, step: int, slowly: bool) -> None:
    db = place.open("r+")
    whole = value()
    for region in db.progress("v").regions[first::step]:
        db.write_region("v", whole.isel(region))
        if slowly:
            time.sleep(0.02)


def fill_the_rest(place: Place, first: int, step: int) -> None:
    db = place.open("r+")
    whole = value()
    for region in db.resume("v", first, step):
        db.write_region("v", whole.isel(region))


def test_killed_jobs_are_started_again(shared_place: Place) -> None:
    db = shared_place.open()
    db["v"] = 1
    db.create("v", template(), overwrite=True)
    moments = random.Random(1)
    jobs = [started(fill_some, shared_place, n, PROCESSES, True) for n in range(PROCESSES)]
    while db.progress("v").done < 4:
        time.sleep(0.01)
    for job in jobs[::2]:
        time.sleep(moments.uniform(0, 0.05))
        os.kill(job.pid, signal.SIGKILL)
    ended(jobs[1::2])
    for job in jobs:
        job.join()
    assert db["v"] == 1
    progress = db.progress("v")
    assert 4 <= progress.done < progress.total
    assert progress.missing == db.resume("v")
    with pytest.raises(ZdbError, match="parts are missing"):
        db.finish("v")
    ended([started(fill_the_rest, shared_place, n, 4) for n in range(4)])
    db.finish("v")
    xr.testing.assert_identical(db["v"].compute(), value())
    assert db.verify().ok
    assert db._engine.nodes.list_objects("_zdb/fills") == []


def write_misaligned(place: Place, number: int, start: int, stop: int, gate: Any) -> None:
    db = place.open("r+")
    db.progress(f"v{number}")
    gate.wait()
    part = np.full((stop - start, 8), float(start + 1))
    db.write_region(f"v{number}", part, {"dim_0": slice(start, stop)}, realign=True)


def misaligned_rounds(place: Place, own: int, rounds: int, gate: Any) -> None:
    edges = [0, 7, 21, 30, 50]
    for number in range(rounds):
        write_misaligned(place, number, edges[own], edges[own + 1], gate)


def test_misaligned_writers_lose_no_update(shared_place: Place) -> None:
    rounds = MISALIGNED_ROUNDS if "://" not in shared_place.url else MISALIGNED_ROUNDS // 4
    db = shared_place.open()
    for number in range(rounds):
        db.create(f"v{number}", np.empty((50, 8)), shards=(32, 8), chunks=(4, 8))
    gate = CONTEXT.Barrier(4)
    ended([started(misaligned_rounds, shared_place, n, rounds, gate) for n in range(4)])
    expected = np.repeat([1.0, 8.0, 22.0, 31.0], [7, 14, 9, 20])
    for number in range(rounds):
        db.finish(f"v{number}")
        np.testing.assert_array_equal(db[f"v{number}"][:, 3].compute(), expected)
    assert db.verify().ok


def append_rows(place: Place, own: int, number: int) -> None:
    db = place.open("r+")
    for step in range(number):
        db.append("runs", run(own, step), "trial")
        db.append("spikes", spikes(own, step))
        db.append("table", table(own, step))


def table(own: int, step: int, rows: int = 3) -> pd.DataFrame:
    """Rows that sometimes have a name that is new, or is missing."""
    mark = own * 1000 + step
    names = [f"name {own}" if step % 4 else None] * rows
    return pd.DataFrame({"mark": np.full(rows, mark), "name": pd.array(names, dtype="str")})


def spikes(own: int, step: int, rows: int = 3) -> Ragged:
    """Rows that are sometimes longer than those before, and of another cell for each writer."""
    mark = own * 1000 + step
    sizes = np.arange(rows) + mark % 5 + 300 * (step % 7 == 6)
    columns = {"mark": np.full(rows, mark), "cell": pd.Categorical([f"cell {own}"] * rows)}
    return Ragged(np.full(sizes.sum(), float(mark)), sizes, columns)


def run(own: int, step: int, rows: int = 3) -> xr.Dataset:
    mark = own * 1000 + step
    return xr.Dataset({"v": (("trial", "x"), np.full((rows, 5), float(mark))), "mark": ("trial", np.full(rows, mark))})


def test_several_processes_add_to_one_value_and_none_is_lost(shared_place: Place) -> None:
    number = 12 if "://" not in shared_place.url else 4
    db = shared_place.open()
    db.set("runs", run(9, 0), chunks={"trial": 4})
    db.set("spikes", spikes(9, 0), chunks={"row": 4, "value": 16})
    db.set("table", table(9, 0), chunks={"row": 4})
    jobs = [started(append_rows, shared_place, own, number) for own in range(4)]
    seen = 0
    while any(job.is_alive() for job in jobs):
        found = db["runs"].compute()
        check_whole(found)
        check_spikes(db["spikes"])
        check_table(db["table"])
        assert found.sizes["trial"] >= seen
        seen = found.sizes["trial"]
    ended(jobs)
    found = db["runs"].compute()
    check_whole(found)
    marks, counts = np.unique(found["mark"], return_counts=True)
    assert set(marks) == {own * 1000 + step for own in range(4) for step in range(number)} | {9000}
    assert set(counts) == {3}
    rows = db["spikes"]
    check_spikes(rows)
    check_table(db["table"])
    assert sorted(rows["mark"]) == sorted(found["mark"].values) == sorted(db["table"]["mark"])
    for own in range(4):  # each process' own in their order
        assert np.all(np.diff(found["mark"].values[found["mark"].values // 1000 == own]) >= 0)
    assert db.verify().ok


def check_whole(found: xr.Dataset) -> None:
    """Every part is there with all its rows, one after the other, and both variables agree."""
    np.testing.assert_array_equal(found["v"], found["mark"].values[:, None] * np.ones(5))
    marks = found["mark"].values.reshape(-1, 3)
    assert (marks == marks[:, :1]).all()


def check_table(found: pd.DataFrame) -> None:
    """Every part is there with all its rows, as it was added."""
    marks = found["mark"].tolist()[::3]
    pd.testing.assert_frame_equal(found, pd.concat([table(mark // 1000, mark % 1000) for mark in marks]))


def check_spikes(found: Ragged) -> None:
    """Every part is there with all its rows, as it was added."""
    for start in range(0, len(found), 3):
        rows = found[start : start + 3]
        own, step = divmod(int(rows["mark"].iloc[0]), 1000)
        expected = spikes(own, step)
        np.testing.assert_array_equal(rows.row_size, expected.row_size)
        np.testing.assert_array_equal(rows.values, expected.values)
        assert rows["mark"].tolist() == expected["mark"].tolist()
        assert rows["cell"].tolist() == expected["cell"].tolist()
    assert found.columns.index.equals(pd.RangeIndex(len(found)))


def append_for_ever(place: Place, ready: Any) -> None:
    db = place.open("r+")
    ready.set()
    step = 0
    while True:
        db.append("runs", run(0, step), "trial")
        db.append("spikes", spikes(0, step))
        db.append("table", table(0, step))
        step += 1


@pytest.mark.parametrize(("store", "kills"), [("local", 20), pytest.param("s3", 4, marks=pytest.mark.s3)])
def test_a_killed_appender_leaves_the_old_extent(store: str, kills: int, tmp_path, request, monkeypatch) -> None:
    from places import new_place

    place = new_place(store, tmp_path, request)
    db = place.open()
    db.set("runs", run(9, 0), chunks={"trial": 4}, shards={"trial": 16})
    db.set("spikes", spikes(9, 0), chunks={"row": 4, "value": 16}, shards={"row": 16, "value": 64})
    db.set("table", table(9, 0), chunks={"row": 4}, shards={"row": 16})
    moments = random.Random(2)
    length = rows = 3
    for _ in range(kills):
        ready = CONTEXT.Event()
        job = started(append_for_ever, place, ready)
        assert ready.wait(180)
        time.sleep(moments.uniform(0, 0.3))
        os.kill(job.pid, signal.SIGKILL)
        job.join()
        found = place.open("r")["runs"].compute()
        check_whole(found)
        assert found.sizes["trial"] >= length
        length = found.sizes["trial"]
        ragged = place.open("r")["spikes"]
        check_spikes(ragged)
        assert len(ragged) >= rows
        rows = len(ragged) + 3
        db.append("runs", run(1, 0), "trial")
        db.append("spikes", spikes(1, 0))
        assert len(db["spikes"]) == rows
        check_table(place.open("r")["table"])
        db.append("table", table(1, 0))
        assert db["table"]["mark"].tolist()[-3:] == [1000] * 3
        length += 3
        assert db["runs"].sizes["trial"] == length
    check_whole(db["runs"].compute())
    assert db.verify().ok


def write_partition(place: Place, number: int) -> None:
    place.open("r+").write_region("t", partition(number), partition=number)


def partition(number: int) -> pd.DataFrame:
    rows = 10 + number
    names = [f"cell {number} {i}" for i in range(rows)]
    return pd.DataFrame(
        {
            "part": np.full(rows, number),
            "name": names,
            "kind": pd.Categorical(["a", "b"] * (rows // 2) + ["b"] * (rows % 2)),
        }
    )


def test_a_table_by_partitions_of_processes(shared_place: Place) -> None:
    db = shared_place.open()
    db.create("t", partition(0), npartitions=6)
    ended([started(write_partition, shared_place, number) for number in range(6)])
    db.finish("t")
    pd.testing.assert_frame_equal(db["t"].compute(), pd.concat([partition(n) for n in range(6)]))
    assert db.verify().ok


class _Stopping(records.RegionGuard):
    """A guard after whose permission to write the first object the process stands still."""

    def __init__(self, stopped: Any, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.stopped = stopped
        self.calls = 0

    def __call__(self) -> None:
        super().__call__()
        self.calls += 1
        if self.calls == 2:  # the first one was that to begin
            self.stopped.set()
            os.kill(os.getpid(), signal.SIGSTOP)


def stand_still(place: Place, stopped: Any, answers: Any) -> None:
    """Write other data to a region, stand still before an object is written, and say how it ended."""
    records.RegionGuard = partial(_Stopping, stopped)  # type: ignore[assignment,misc]
    try:
        place.open("r+").write_region("v", value().isel(row=slice(0, 2 * UNIT)) * -1.0)
        answers.put("written")
    except NotFillingError as error:
        answers.put(str(error))


def go_on_without(place: Place, ending: str) -> None:
    """What others do while a job stands still."""
    db = place.open("r+")
    fill_the_rest(place, 0, 1)
    if ending in ("discard", "fill again"):
        db.discard("v")
    if ending == "fill again":
        db.create("v", template())
        fill_the_rest(place, 0, 1)
    if ending in ("finish", "fill again"):
        db.finish("v")


@pytest.mark.parametrize("ending", ["finish", "discard", "fill again", "still open"])
def test_a_job_that_stood_still_does_no_damage(shared_place: Place, ending: str) -> None:
    db = shared_place.open()
    db.create("v", template())
    stopped, answers = CONTEXT.Event(), CONTEXT.Queue()
    job = started(stand_still, shared_place, stopped, answers)
    try:
        assert stopped.wait(180)
        go_on_without(shared_place, ending)
        os.kill(job.pid, signal.SIGCONT)
        answer = answers.get(timeout=60)
        ended([job])
    finally:
        job.kill()
    whole = value()
    anew = "another job has begun to write this region anew" in answer
    # A look at the filling that was on its way when the process stopped may still have found it open.
    assert anew or (ending != "still open" and "the filling is over" in answer)
    if ending == "still open":
        db.finish("v")
    if ending == "discard":
        with pytest.raises(KeyNotFoundError):
            db["v"]
        db["v"] = value()
    xr.testing.assert_identical(db["v"].compute(), whole)
    assert db.verify().ok


def test_readers_see_the_old_or_the_new_value(shared_place: Place) -> None:
    db = shared_place.open()
    db["v"] = xr.zeros_like(value())
    for number in range(1, 4):
        db.create("v", template(), overwrite=True)
        job = started(fill_multiples, shared_place, number)
        seen = set()
        while job.is_alive():
            try:
                found = shared_place.open("r")["v"].compute()
            except StaleValueError:
                continue
            seen.add(which(found))
        ended([job])
        assert seen <= {number - 1, number}
        assert which(db["v"].compute()) == number


def which(found: xr.DataArray) -> float:
    factor = found.values[0, 0] / value().values[0, 0]
    np.testing.assert_allclose(found, value() * factor)
    return float(round(factor))


def fill_multiples(place: Place, number: int) -> None:
    db = place.open("r+")
    for region in db.resume("v"):
        db.write_region("v", value().isel(region) * number)
    db.finish("v")


def finish_for_ever(place: Place, ready: Any) -> None:
    db = place.open("r+")
    ready.set()
    while True:
        db.create("v", template(), overwrite=True)
        for region in db.resume("v"):
            db.write_region("v", value().isel(region))
        db.finish("v")


def test_a_finish_that_was_killed_is_taken_up(shared_place: Place) -> None:
    moments = random.Random(4)
    rounds = 10 if "://" not in shared_place.url else 3
    db = shared_place.open()
    for _ in range(rounds):
        ready = CONTEXT.Event()
        job = started(finish_for_ever, shared_place, ready)
        assert ready.wait(180)
        time.sleep(moments.uniform(0.2, 0.8))
        os.kill(job.pid, signal.SIGKILL)
        job.join()
        try:
            for region in db.resume("v"):
                db.write_region("v", value().isel(region))
            db.finish("v")
        except NotFillingError as error:
            if "finish" in str(error) and "being finished" in str(error):
                db.finish("v")
        if "v" in db:
            xr.testing.assert_identical(db["v"].compute(), value())
        db["v"] = value()
        xr.testing.assert_identical(db["v"].compute(), value())
        assert db.verify().ok
