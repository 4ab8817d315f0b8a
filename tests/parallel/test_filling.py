"""Filling one value part by part, in one process."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

import zdb
from zdb.engine.claim_record import claim_path, given_back
from zdb.engine.held_record import HeldRecord
from zdb.engine.node import node_path
from zdb.errors import (
    CorruptChunkError,
    InvalidSettingError,
    KeyClaimedError,
    KeyConflictError,
    KeyExistsError,
    KeyNotFoundError,
    MisalignedRegionError,
    MissingChunkError,
    MissingPartsError,
    NotFillingError,
    PartMismatchError,
    StorageError,
    UnsupportedValueError,
)
from zdb.parallel.plan import read_plan
from zdb.parallel.records import Attempt, Part
from zdb.provenance import Provenance

if TYPE_CHECKING:
    from places import Place

TRIALS, STEPS, UNIT = 300, 40, 64


def full() -> xr.Dataset:
    random = np.random.default_rng(1)
    return xr.Dataset(
        {
            "voltage": (("trial", "time"), random.normal(size=(TRIALS, STEPS)).astype("f4"), {"units": "mV"}),
            "onset": ("trial", np.datetime64("2020-01-01", "ns") + np.arange(TRIALS)),
            "label": ("trial", np.array([f"trial {i}" for i in range(TRIALS)])),
            "gain": ("time", np.linspace(0, 1, STEPS)),
        },
        coords={"trial": np.arange(TRIALS) * 10, "time": np.arange(STEPS) * 0.1, "cell": ("trial", np.arange(TRIALS))},
        attrs={"model": "L5"},
    )


def template(chunk: int = UNIT) -> xr.Dataset:
    lazy = {
        name: (one.dims, da.empty(one.shape, dtype=one.dtype, chunks=(chunk, *one.shape[1:])), one.attrs)
        for name, one in full().data_vars.items()
        if name != "gain"
    }
    return full().assign(lazy)


def fill_all(db: Any, key: str, value: Any) -> None:
    for region in db.resume(key):
        db.write_region(key, value.isel(region), region)


def test_a_dataset_is_filled_and_comes_back(place: Place) -> None:
    db = place.open()
    progress = db.create("run/v", template(), attrs={"note": 1})
    assert progress.total == 5
    assert progress.regions[1] == {"trial": slice(64, 128)}
    assert db.resume("run/v") == progress.regions
    assert "run/v" not in db
    assert list(db.keys(recursive=True)) == []
    for region in progress.regions[::-1]:
        place.open("r+").write_region("run/v", full().isel(region))  # its labels tell where
        assert "run/v" not in db
    assert db.progress("run/v").complete
    assert db.progress("run/v").fraction == 1
    db.finish("run/v")
    xr.testing.assert_identical(db["run/v"].compute(), full())
    assert db["run/v"]["voltage"].chunks == ((64, 64, 64, 64, 44), (40,))
    assert db.info("run/v").attrs == {"note": 1}
    assert db.verify().ok
    assert db._engine.nodes.list_objects("_zdb/fills") == []
    provenance = json.loads(db._engine.node("run/v").attributes["zdb_parts"])
    assert provenance["number"] == 5
    assert sum(one["parts"] for one in provenance["by"]) == 5
    made = db.provenance("run/v")
    assert made.parts == provenance
    assert "  parts" in repr(made)
    assert f"5: 5 by {made.user}@{made.hostname}" in repr(made)
    assert Provenance.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    assert json.loads(str(made.recorded().attributes["zdb_parts"])) == provenance
    with pytest.raises(NotFillingError, match="run/v"):
        db.progress("run/v")
    with pytest.raises(NotFillingError, match="run/v"):
        db.write_region("run/v", full())


def test_what_is_written_is_what_plain_xarray_reads(tmp_path) -> None:
    import zdb

    db = zdb.open(tmp_path / "x.zdb")
    db.create("v", template())
    fill_all(db, "v", full())
    db.finish("v")
    plain = xr.open_zarr(tmp_path / "x.zdb" / "v")
    np.testing.assert_array_equal(plain["voltage"], full()["voltage"])
    np.testing.assert_array_equal(plain["onset"], full()["onset"])
    assert isinstance(zarr.open_group(tmp_path / "x.zdb", mode="r")["v/voltage"], zarr.Array)


def test_the_old_value_stays_until_the_new_one_is_finished(place: Place) -> None:
    db = place.open()
    db["v"] = xr.zeros_like(full())
    old = db["v"].compute()
    with pytest.raises(KeyExistsError, match="overwrite"):
        db.create("v", template())
    db.create("v", template(), overwrite=True)
    lazy = db["v"]
    for region in db.resume("v"):
        db.write_region("v", full().isel(region))
        xr.testing.assert_identical(place.open("r")["v"].compute(), old)
    assert db.verify().ok
    db.finish("v")
    xr.testing.assert_identical(db["v"].compute(), full())
    xr.testing.assert_identical(lazy.compute(), old)  # its chunks are the generation before
    assert db.verify().ok


@pytest.mark.parametrize("claim_too", [False, True])
def test_a_store_that_fails_while_a_value_is_finished(
    place: Place, monkeypatch: pytest.MonkeyPatch, claim_too: bool
) -> None:
    db = place.open()
    db.create("v", template())
    fill_all(db, "v", full())
    nodes: Any = db._engine.nodes
    get, replace = nodes.get, nodes.replace
    is_taken = False

    def fail_to_get(path: str) -> Any:
        if is_taken and path.endswith("/plan/zarr.json"):
            raise StorageError("no connection")
        return get(path)

    def fail_to_give_back(path: str, data: bytes, tag: Any, **options: Any) -> Any:
        nonlocal is_taken
        if is_taken and claim_too and path == claim_path("v"):
            raise StorageError("no connection")
        is_taken = is_taken or path == claim_path("v")
        return replace(path, data, tag, **options)

    with monkeypatch.context() as patch:
        patch.setattr(nodes, "get", fail_to_get)
        patch.setattr(nodes, "replace", fail_to_give_back)
        with pytest.raises(StorageError):
            db.finish("v")
    with pytest.raises(KeyClaimedError, match="being filled"):
        db["v"] = 1
    db.finish("v")
    xr.testing.assert_identical(db["v"].compute(), full())


REQUESTS = (
    "get", "get_many", "read_tagged", "read_tagged_many", "set", "stage", "sync", "replace", "list_objects",
    "list_status", "delete", "prune",
)  # fmt: skip


@pytest.mark.parametrize("ending", ["finish", "discard"])
@pytest.mark.parametrize("kind", ["arrays", "table"])
def test_a_filling_goes_on_whichever_request_fails(
    place: Place, ending: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = place.open()
    frame = pd.DataFrame({"a": [1.5, 2.5]})
    if kind == "table":
        db.create("v", frame, npartitions=1)
        db.write_region("v", frame, 0)
    else:
        db.create("v", template())
        fill_all(db, "v", full())
    nodes = db._engine.nodes
    real = {name: getattr(nodes, name) for name in REQUESTS}
    left, failed = 0, 0

    def fail_once(name: str, *args: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            raise StorageError("no connection")
        return real[name](*args, **options)

    while True:
        failed += 1
        left = failed
        with monkeypatch.context() as patch:
            for name in REQUESTS:
                patch.setattr(nodes, name, partial(fail_once, name))
            try:
                getattr(db, ending)("v")
            except StorageError:
                pass
            except NotFillingError:
                assert ending == "discard"  # it was done, and the claim could not be given back
                break
            else:
                break
        with pytest.raises(KeyClaimedError, match="discard"):
            place.open()["v"] = 1
    assert failed > 5
    assert ("v" in db) == (ending == "finish")
    if ending == "finish" and kind == "table":
        pd.testing.assert_frame_equal(db["v"].compute(), frame)
    elif ending == "finish":
        xr.testing.assert_identical(db["v"].compute(), full())
    db["v"] = 1


def test_a_filling_outlives_a_claim_above_it(place: Place) -> None:
    db, other = place.open(), place.open()
    db.create("sub/v", template())
    fill_all(db, "sub/v", full())
    above = other._engine.claim("sub")  # of who deletes or renames the sub-database, and finds that he may not
    with ThreadPoolExecutor(1) as pool:
        finishing = pool.submit(db.finish, "sub/v")
        while other._engine.claims.state("sub/v").state == "filling":
            pass
        above.release()
        finishing.result()
    xr.testing.assert_identical(db["sub/v"].compute(), full())


def test_nobody_else_writes_a_key_that_is_filled(place: Place) -> None:
    db = place.open()
    db["v"] = np.arange(3)
    db.create("v", template(), overwrite=True)
    other = place.open("r+")
    for write in (
        lambda: other.set("v", 1),
        lambda: other.set("v", np.arange(4)),
        lambda: other.create("v", template(), overwrite=True),
        lambda: other.append("v", np.arange(4)),
        lambda: other.__delitem__("v"),
        lambda: other.rename("v", "w"),
    ):
        with pytest.raises(KeyClaimedError, match=r"being filled.*discard"):
            write()
    np.testing.assert_array_equal(other["v"], np.arange(3))
    other.discard("v")
    other["v"] = 1
    assert db["v"] == 1
    assert db._engine.nodes.list_objects("_zdb/fills") == []


def test_discarding_leaves_nothing(place: Place) -> None:
    db = place.open()
    db["keep"] = 1
    db.create("v", template())
    db.write_region("v", full().isel(trial=slice(0, 64)))
    db.discard("v")
    assert list(db) == ["keep"]
    assert db._engine.nodes.list_objects("v") == []
    with pytest.raises(NotFillingError):
        db.finish("v")
    with pytest.raises(NotFillingError):
        db.write_region("v", full().isel(trial=slice(0, 64)))
    db.create("v", template())
    assert db.progress("v").done == 0
    fill_all(db, "v", full())
    db.finish("v")
    xr.testing.assert_identical(db["v"].compute(), full())


@pytest.mark.parametrize("ending", ["finish", "discard"])
def test_a_process_that_dies_when_all_is_done_blocks_nobody(
    place: Place, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = place.open()
    db.create("v", template())
    fill_all(db, "v", full())

    def die(self: object, path: str) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(type(db._engine.nodes), "delete_tree", die)
        with pytest.raises(SystemExit):
            getattr(db, ending)("v")
    assert ("v" in db) == (ending == "finish")
    with pytest.raises(NotFillingError):
        db.progress("v")
    db["v"] = 1
    db.gc(dry_run=False, grace=0)
    assert db._engine.nodes.list_objects("_zdb/fills") == []


@pytest.mark.parametrize("ending", ["finish", "discard"])
def test_the_plan_stays_while_others_see_it_in_the_claim(
    place: Place, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = place.open()
    db.create("v", template())
    fill_all(db, "v", full())

    def fail(self: object, record: object) -> None:
        raise StorageError("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(HeldRecord, "_give_back", fail)
        getattr(db, ending)("v")
    given_back.clear()  # what other processes do not know
    with pytest.raises(KeyClaimedError, match=r"finish that, or discard it"):
        db["v"] = 1
    getattr(db, ending)("v")
    assert ("v" in db) == (ending == "finish")
    db["v"] = 1
    assert db._engine.nodes.list_objects("_zdb/fills") == []


def test_a_handle_sees_that_a_key_is_filled_anew(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    db, other = place.open(), place.open()
    db.create("v", template())
    fill_all(db, "v", full())

    def fail(self: object, path: str) -> None:
        raise StorageError("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(type(db._engine.nodes), "delete_tree", fail)  # so that the old plan stays
        other.finish("v")
    with pytest.raises(NotFillingError, match="not being filled"):
        db.write_region("v", full().isel(trial=slice(0, 64)))
    other.create("v", template(), overwrite=True)
    fill_all(db, "v", full())
    db.finish("v")
    xr.testing.assert_identical(db["v"].compute(), full())


def test_a_discard_that_failed_can_be_tried_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    db = place.open()
    db.create("v", template())
    fill_all(db, "v", full())

    def fail(self: object, path: str) -> None:
        raise StorageError("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(type(db._engine.nodes), "prune", fail)
        with pytest.raises(StorageError):
            db.discard("v")
    with pytest.raises(KeyClaimedError):
        db["v"] = 1
    db.discard("v")
    db["v"] = 1
    assert db._engine.nodes.list_objects("_zdb/fills") == []


def test_finishing_names_what_is_missing(place: Place) -> None:
    db = place.open()
    db.create("v", template())
    db.write_region("v", full().isel(trial=slice(64, 128)))
    with pytest.raises(MissingPartsError, match=r"4 of 5 parts are missing: trial 0–64; trial 128–192"):
        db.finish("v")
    db.write_region("v", full()[["voltage", "onset"]])
    with pytest.raises(MissingPartsError, match="4 of 5"):
        db.finish("v")
    progress = db.progress("v")
    assert 0 < progress.fraction < 1
    db.write_region("v", full()[["label"]])
    db.finish("v")
    xr.testing.assert_identical(db["v"].compute(), full())


@pytest.mark.parametrize("trials", [3, 4, 9])
def test_regions_name_their_dimension_whatever_their_number(place: Place, trials: int) -> None:
    db = place.open()
    empty = da.empty((trials, 50), chunks=(3, 50))
    rest = xr.DataArray(da.empty(50, chunks=50), dims="time")
    db.create("v", xr.Dataset({"rest": rest, "v": (("trial", "time"), empty)}))
    assert [region["trial"].start for region in db.resume("v")] == list(range(0, trials, 3))
    assert len({tuple(region) for region in db.resume("v")}) == 1
    for region in db.resume("v"):
        size = region["trial"].stop - region["trial"].start
        db.write_region("v", xr.Dataset({"v": (("trial", "time"), np.ones((size, 50)))}), region)
    missing = f"trial 0–{min(3, trials)}"
    with pytest.raises(MissingPartsError, match=missing):
        db.finish("v")
    assert missing in str(db.progress("v"))
    db.write_region("v", xr.Dataset({"rest": ("time", np.zeros(50))}))
    db.finish("v")
    np.testing.assert_array_equal(db["v"]["v"], np.ones((trials, 50)))


def test_regions_whose_objects_are_lost_are_missing(place: Place) -> None:
    db = place.open()
    db.create("v", template())
    fill_all(db, "v", full())
    db._engine.nodes.delete(["v/voltage/c/1/0", "v/onset/c/3"])
    with pytest.raises(MissingChunkError, match=r"2 of 5 .* trial 64–128; trial 192–256.*v/voltage/c/1/0.*db.resume"):
        db.finish("v")
    progress = place.open().progress("v")
    assert progress.missing == [{"trial": slice(64, 128)}, {"trial": slice(192, 256)}]
    assert (progress.done, progress.begun) == (3, [])
    assert progress.fraction < 1
    with pytest.raises(MissingPartsError, match="2 of 5"):
        db.finish("v")
    fill_all(db, "v", full())
    db.finish("v")
    xr.testing.assert_identical(db["v"].compute(), full())
    assert db.verify().ok


def test_a_lost_region_of_which_a_part_is_written_again_is_still_missing(place: Place) -> None:
    db = place.open()
    db.create("v", template())
    db.write_region("v", full())
    db._engine.nodes.delete(["v/voltage/c/1/0"])
    with pytest.raises(MissingChunkError, match="trial 64–128"):
        db.finish("v")
    db.write_region("v", full().isel(trial=slice(60, 70)), realign=True)
    assert db.resume("v") == [{"trial": slice(64, 128)}]
    db.write_region("v", full()[["voltage"]].isel(trial=slice(64, 128)))
    db.finish("v")
    xr.testing.assert_identical(db["v"].compute(), full())


def test_a_coordinate_that_is_lost_cannot_be_written_again(place: Place) -> None:
    db = place.open()
    db.create("v", template())
    fill_all(db, "v", full())
    (lost,) = [one for one in db._engine.nodes.list_objects("v/gain") if "/c/" in one]
    db._engine.nodes.delete([lost])
    with pytest.raises(MissingChunkError, match=r"'gain' was written by db.create.*db.discard\('v'\)"):
        db.finish("v")
    db.discard("v")


def test_half_of_what_a_dead_job_left_is_still_missing(place: Place) -> None:
    db = place.open()
    db.create("v", template())
    db.write_region("v", full())
    plan = read_plan(db._engine, "v")
    part = Part.of(plan, {"trial": slice(64, 192), "time": slice(0, STEPS)}, full().data_vars)
    Attempt(db._engine.nodes, plan, part).begin()  # and the job dies
    db.write_region("v", full().isel(trial=slice(64, 128)))
    assert db.resume("v") == [{"trial": slice(128, 192)}]
    db.write_region("v", full().isel(trial=slice(128, 192)))
    assert db.resume("v") == []


def test_a_region_that_shares_objects_says_which_boundaries_to_use(place: Place) -> None:
    db = place.open()
    db.create("v", template())
    with pytest.raises(MisalignedRegionError, match=r"trial 100–200.*multiples of 64 along trial, such as 64–256"):
        db.write_region("v", full().isel(trial=slice(100, 200)))
    assert db.progress("v").begun == []
    for start, stop in ((0, 30), (200, 300), (30, 100), (100, 200)):
        db.write_region("v", full().isel(trial=slice(start, stop)), realign=True)
    db.finish("v")
    xr.testing.assert_identical(db["v"].compute(), full())
    assert db.verify().ok


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda part: part.assign(voltage=part["voltage"].astype("f8")),
            r"'voltage' of the part has dtype float64, not float32.*astype",
        ),
        (lambda part: part.transpose(), "'voltage' of the part has the dimensions time, trial, not trial, time"),
        (lambda part: part.assign(more=1), "no variable 'more'"),
        (lambda part: part.assign(gain=part["gain"] * 2), "'gain' of the part differs"),
        (lambda part: part.assign_coords(cell=part["cell"] + 1), "'cell' of the part differs"),
        (lambda part: part.assign_coords(trial=part["trial"] + 1), "label 1 of the part is not among those of trial"),
        (lambda part: part.isel(trial=slice(None, None, -1)), "not in the order"),
        (lambda part: part.isel(time=slice(0, 5)), "share|cuts"),
        (lambda part: part[["gain"]], "none of the variables to fill"),
        (lambda part: part.rename(trial="run"), "no dimension 'run'"),
        (lambda part: part["voltage"].values, "a Dataset"),
        (lambda part: 3, "a Dataset"),
    ],
)
def test_a_part_that_does_not_fit_says_why(db, change, message) -> None:
    db.create("v", template())
    part = full().isel(trial=slice(0, 64))
    with pytest.raises((PartMismatchError, MisalignedRegionError), match=message):
        db.write_region("v", change(part))
    assert db.progress("v").done == 0
    db.write_region("v", part)


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ({"trial": slice(0, 63)}, "63 elements, and the part has 64"),
        ({"trial": slice(300, 364)}, "no region"),
        ({"cell": slice(0, 64)}, "no dimension 'cell'"),
        ({"trial": 3}, "not a slice"),
        ("all", "neither 'auto' nor"),
        (50, "region=50 is neither 'auto' nor slices, such as"),
        ([slice(0, 64)], "neither 'auto' nor slices"),
        ({"trial": slice("0", "64")}, "not a slice of whole numbers"),
    ],
)
def test_a_region_that_is_none_says_why(db, region, message) -> None:
    db.create("v", template())
    part = full().isel(trial=slice(0, 64))
    with pytest.raises(PartMismatchError, match=message):
        db.write_region("v", part, region)
    db.write_region("v", part, {"trial": slice(0, 64), "time": "auto"})


@pytest.mark.parametrize(
    "value",
    [
        np.arange(1000.0).reshape(100, 10),
        np.arange(100).astype("M8[s]"),
        np.array([f"é{i}" for i in range(100)]),
        np.array([(i, i / 2) for i in range(100)], dtype=[("a", "i4"), ("b", "f8")]),
        np.arange(100, dtype=np.longdouble),
        np.arange(100) % 2 == 0,
        np.array(["a", "bc"] * 50, dtype=np.dtypes.StringDType()),
    ],
    ids=lambda value: str(value.dtype),
)
@pytest.mark.parametrize("lazy", [False, True])
def test_arrays_of_any_dtype(db, value, lazy) -> None:
    db.create("a", np.empty_like(value), npartitions=3)
    for region in db.resume("a"):
        part = value[region["dim_0"]]
        db.write_region("a", da.from_array(part, chunks=7) if lazy else part, region["dim_0"])
    db.finish("a")
    found = db["a"].compute()
    assert found.dtype == value.dtype
    np.testing.assert_array_equal(found, value)
    assert db.verify().ok


@pytest.mark.parametrize(
    ("chunks", "starts"),
    [
        ((334, 333, 333), [0, 334, 668]),
        ((333, 334, 333), [0, 334, 668]),
        ((300, 300, 400), [0, 300, 600, 900]),
        ((400, 200, 400), [0, 200, 400, 600, 800]),
        ((1000,), [0]),
    ],
)
def test_regions_are_like_the_chunks_of_the_template(db, chunks, starts) -> None:
    progress = db.create("v", da.empty((1000, 3), chunks=(chunks, (3,))))
    assert [region["dim_0"].start for region in progress.regions] == starts
    for region in progress.regions:
        db.write_region("v", np.ones((region["dim_0"].stop - region["dim_0"].start, 3)), region)
    db.finish("v")
    np.testing.assert_array_equal(db["v"], np.ones((1000, 3)))


def test_chunks_without_a_common_size_are_refused(db) -> None:
    template = da.empty((1000, 3), chunks=((10, 501, 489), (3,)))
    with pytest.raises(UnsupportedValueError, match=r"v: the chunks \(10, 501, 489\) along 'dim_0'.* such as by 334"):
        db.create("v", template)
    assert db._engine.nodes.list_objects("_zdb/fills") == []
    assert db.create("v", template, npartitions=4).total == 4
    db.discard("v")
    assert db.create("v", template, shards=(100, 3), chunks=(50, 3)).total == 10


def test_large_shards_and_two_divided_dimensions(place: Place) -> None:
    value = xr.DataArray(np.random.default_rng(0).normal(size=(96, 130, 50)), dims=("a", "b", "c"), name="v")
    db = place.open()
    empty = xr.DataArray(da.empty(value.shape, chunks=(32, 50, -1)), dims=value.dims, name="v")
    progress = db.create("v", empty, chunks={"a": 8, "b": 25})
    assert len(progress.regions) == 9
    assert progress.grid == (3, 3)
    for region in progress.regions:
        db.write_region("v", value.isel(region).chunk({"a": 10}), region)
    assert str(db.progress("v")).count("█") == 9
    db.finish("v")
    xr.testing.assert_identical(db["v"].compute(), value)
    assert db.verify().ok


def test_the_picture_shows_what_is_there(db) -> None:
    db.create("v", template())
    db.write_region("v", full().isel(trial=slice(64, 128)))
    progress = db.progress("v")
    assert "│ █   │" in str(progress)
    assert "1 of 5 parts" in str(progress)
    assert "missing  trial 0–64" in str(progress)
    assert "<b>zdb.Progress v" in progress._repr_html_()
    plain = json.loads(json.dumps(progress.to_dict()))
    assert plain["missing"][0] == {"trial": [0, 64]}
    assert plain["parts"][0]["region"] == "trial 64–128"
    assert progress.parts[0].hostname


def test_a_job_that_died_leaves_its_part_missing(place: Place) -> None:
    db = place.open()
    db.create("v", template())
    fill_all(db, "v", full())

    def fail(block: Any) -> Any:
        raise RuntimeError("no license")

    broken = full().isel(trial=slice(0, 64)).chunk({"trial": 16})
    broken["voltage"] = broken["voltage"].copy(data=broken["voltage"].data.map_blocks(fail, dtype="f4"))
    with pytest.raises(RuntimeError, match="no license"):
        db.write_region("v", broken)
    assert db.resume("v") == [{"trial": slice(0, 64)}]
    assert [one.region for one in db.progress("v").begun] == ["trial 0–64"]
    with pytest.raises(MissingPartsError, match="Begun and not done: trial 0–64"):
        db.finish("v")
    db.write_region("v", full().isel(trial=slice(0, 64)))
    db.finish("v")
    xr.testing.assert_identical(db["v"].compute(), full())


def test_a_job_whose_region_was_written_while_it_computed_changes_nothing(place: Place) -> None:
    db = place.open()
    db.create("v", da.empty((40, 4), chunks=(10, 4)))
    computing, written = Event(), Event()

    def slow(block: Any) -> Any:
        computing.set()
        assert written.wait(60)
        return block

    zeros = da.zeros((40, 4), chunks=(10, 4))
    part = zeros.map_blocks(slow, meta=np.zeros((0, 0)))
    region = {"dim_0": slice(0, 40)}
    with ThreadPoolExecutor(1) as pool:
        slower = pool.submit(place.open().write_region, "v", part, region)
        assert computing.wait(60)
        db.write_region("v", np.ones((40, 4)), region)
        written.set()
        with pytest.raises(NotFillingError, match="another job has begun to write this region anew"):
            slower.result()
    assert db.progress("v").complete
    db.finish("v")
    np.testing.assert_array_equal(db["v"], np.ones((40, 4)))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (xr.DataTree(), "DataTree"),
        ({"a": 1}, "no template"),
        (np.array(["a", None], dtype=object), "dtype object"),
        (xr.Dataset({"a": ("x", pd.Categorical(["a"]))}), "pandas dtype"),
        (xr.Dataset(coords={"x": [1]}), "no variable"),
        (np.array(3.0), "no dimension"),
        (np.zeros((0, 3)), r"shape \(0, 3\).* nothing to fill"),
        (da.zeros((4, 0)), r"shape \(4, 0\).* nothing to fill"),
        (xr.DataArray(np.zeros(3), dims=[("x", 1)]), "are str"),
        (pd.DataFrame({"a": [1]}), "npartitions"),
    ],
)
def test_what_cannot_be_filled_says_why(db, value, message) -> None:
    with pytest.raises(UnsupportedValueError, match=message):
        db.create("v", value)
    assert db._engine.nodes.list_objects("v") == []
    db["v"] = 1


@pytest.mark.parametrize("npartitions", [0, -1, "3", 2.5, True])
@pytest.mark.parametrize("value", [np.empty(10), pd.DataFrame({"a": [1]})], ids=["array", "table"])
def test_a_number_of_partitions_that_is_none(db, value, npartitions) -> None:
    with pytest.raises(InvalidSettingError, match="v: npartitions is a whole number from 1 on"):
        db.create("v", value, npartitions=npartitions)
    assert db._engine.nodes.list_objects("_zdb/fills") == []
    db["v"] = 1


@pytest.mark.parametrize(("job", "jobs"), [("0", "2"), (2, 2), (-1, 2), (0, 0), (0.0, 2)])
def test_a_job_that_is_none(db, job, jobs) -> None:
    db.create("v", template())
    with pytest.raises(InvalidSettingError, match=r"v: job=.* of jobs=.*whole numbers"):
        db.resume("v", job, jobs)
    assert db.resume("v", np.int64(1), np.int64(2)) == db.resume("v")[1::2]


def test_a_partition_is_given_once_and_for_a_table(db) -> None:
    db.create("v", template())
    with pytest.raises(PartMismatchError, match="v: partition=3 and region='auto': only a table has partitions"):
        db.write_region("v", full(), partition=3)
    frame = pd.DataFrame({"a": [1.0]})
    db.create("t", frame, npartitions=2)
    with pytest.raises(PartMismatchError, match="t: partition=0 and region=1: give the number once"):
        db.write_region("t", frame, 1, partition=0)
    assert db.progress("v").parts + db.progress("t").parts == []


def test_the_name_of_a_part(db) -> None:
    part = xr.DataArray(np.ones(2), dims="x", name="v")
    for key, name in (("v", "v"), ("unnamed", None)):
        db.create(key, xr.DataArray(da.empty(4, chunks=2), dims="x", name=name))
        db.write_region(key, part.rename(None), {"x": slice(0, 2)})
        db.write_region(key, part, {"x": slice(2, 4)})
        db.write_region(key, xr.DataArray(da.ones(2), dims="x"), {"x": slice(2, 4)})  # takes the name of its dask array
    with pytest.raises(PartMismatchError, match=r"v: the part is named 'w', and the value 'v'.*rename\('v'\)"):
        db.write_region("v", part.rename("w"), {"x": slice(0, 2)})
    db.create("a", np.zeros((2, 2)))
    with pytest.raises(PartMismatchError, match=r"a: the part is no array: .*inhomogeneous"):
        db.write_region("a", [[1.0], [1.0, 2.0]], slice(0, 2))
    db.finish("v")
    assert db["v"].name == "v"


@pytest.mark.parametrize("step", [1, 2])
def test_parts_of_many_variables(db, step: int) -> None:
    names = [f"cell_{number}" for number in range(300)]
    whole = xr.Dataset({name: ("x", np.full(4, float(number))) for number, name in enumerate(names)})
    lazy = xr.Dataset({name: ("x", da.zeros(4, chunks=2)) for name in names})
    db.create("v", lazy)
    for region in db.resume("v"):
        db.write_region("v", whole.isel(region)[names[step:]], region)
        db.write_region("v", whole.isel(region)[names[::step]], region)
        db.write_region("v", whole.isel(region)[names[:2]], region)
        assert region not in db.resume("v")
    assert db.progress("v").fraction == 1
    db.finish("v")
    xr.testing.assert_identical(db["v"].compute(), whole)


def test_more_dimensions_than_a_name_can_hold(db) -> None:
    lazy = xr.Dataset({f"cell_{number}": (f"x_{number}", da.zeros(1000, chunks=500)) for number in range(30)})
    with pytest.raises(UnsupportedValueError, match=r"^v: there are 30 dimensions and 30 variables to fill, too many"):
        db.create("v", lazy)


def test_labels_that_repeat_need_a_region(db) -> None:
    value = xr.DataArray(np.arange(8.0).reshape(4, 2), dims=("trial", "x"), coords={"trial": [1, 1, 2, 3]})
    db.create("v", value.chunk({"trial": 2}))
    with pytest.raises(PartMismatchError, match="v: labels along trial repeat, so region= must say"):
        db.write_region("v", value[:2])
    fill_all(db, "v", value)
    db.finish("v")
    xr.testing.assert_identical(db["v"].compute(), value)


def test_chunks_are_cut_to_fit_the_shards_that_are_given(db) -> None:
    progress = db.create("v", np.empty((10, 3)), npartitions=4, shards=(5, 3))
    assert progress.regions == [{"dim_0": slice(0, 5)}, {"dim_0": slice(5, 10)}]
    fill = np.arange(30.0).reshape(10, 3)
    for region in progress.regions:
        db.write_region("v", fill[region["dim_0"]], region)
    db.finish("v")
    np.testing.assert_array_equal(db["v"], fill)


def test_a_key_that_is_being_filled_says_so(place: Place) -> None:
    db = place.open()
    db.create("run/v", template())
    reader = place.open("r")
    for look in (lambda: reader["run/v"], lambda: reader.info("run/v"), lambda: db.append("run/v", full(), "trial")):
        with pytest.raises(KeyNotFoundError, match=r"'run/v' is not in .* yet; it is being filled: see db.progress"):
            look()
    db.discard("run/v")
    with pytest.raises(KeyNotFoundError) as caught:
        reader["run/v"]
    assert "filled" not in str(caught.value)


@pytest.mark.parametrize("more", [{"attrs": {"a": object()}}, {"chunks": (1, 2, 3)}])
def test_what_cannot_be_planned_names_the_key_once(db, more) -> None:
    with pytest.raises(UnsupportedValueError, match=r"^v: (?!v: )"):
        db.create("v", np.zeros((3, 3)), **more)


def test_keys_that_cannot_take_a_value(db) -> None:
    db["a/b"] = 1
    with pytest.raises(KeyConflictError):
        db.create("a", template())
    with pytest.raises(KeyConflictError):
        db.create("a/b/c", template())
    with pytest.raises(KeyNotFoundError):
        db.append("nothing", np.zeros(3))


def test_tables_by_partitions(place: Place) -> None:
    frame = pd.DataFrame(
        {
            "time": np.linspace(0, 1, 90),
            "cell": pd.Categorical(["L4", "L5", "L6"] * 30),
            "name": [f"é {i}" for i in range(90)],
            "count": pd.array([1, None, 3] * 30, dtype="Int64"),
        }
    )
    db = place.open()
    db.create("t", frame, npartitions=3)
    with pytest.raises(PartMismatchError, match=r"the template has .*; give it the same columns and index$"):
        db.write_region("t", frame[["time"]], partition=0)
    with pytest.raises(PartMismatchError, match="from 0 to 2, not 3"):
        db.write_region("t", frame, partition=3)
    with pytest.raises(PartMismatchError, match=r"partition 1: column 'time' has dtype float32.*template has float64"):
        db.write_region("t", frame.astype({"time": "f4"}), partition=1)
    with pytest.raises(PartMismatchError, match="partition 0: it has"):
        db.write_region("t", frame[["time"]], partition=0)
    for number in (2, 0):
        db.write_region("t", frame.iloc[:5], partition=number)  # written again by a job that is started again
        place.open("r+").write_region("t", frame.iloc[30 * number : 30 * number + 30], partition=number)
    assert db.resume("t") == [1]
    with pytest.raises(MissingPartsError, match="partition 1"):
        db.finish("t")
    assert "t" not in db
    db.write_region("t", frame.iloc[30:60], 1)
    db.finish("t")
    assert db["t"].npartitions == 3
    pd.testing.assert_frame_equal(db["t"].compute(), frame)
    assert db.verify().ok
    assert db._engine.nodes.list_objects("_zdb/fills") == []
    assert db._engine.nodes.list_objects("_zdb/spool") == []


@pytest.mark.parametrize("damage", ["no chunk", "no node", "empty chunk", "other chunk", "no record", "damaged record"])
def test_a_partition_that_is_lost_is_missing(place: Place, damage: str) -> None:
    frame = pd.DataFrame({"time": np.linspace(0, 1, 90)})
    db = place.open()
    db.create("t", frame, npartitions=3)
    for number in range(3):
        db.write_region("t", frame.iloc[30 * number : 30 * number + 30], partition=number)
    plan, nodes = read_plan(db._engine, "t"), db._engine.nodes
    record = node_path(f"{plan.path}/parts/1-2")
    frame_path = json.loads(nodes.get(record) or b"")["attributes"]["frame"]
    (chunk,) = [one for one in nodes.list_objects(f"{frame_path}/time") if not one.endswith("zarr.json")]
    data = bytearray(nodes.get(chunk) or b"")
    data[10] ^= 1
    match damage:
        case "no chunk":
            nodes.delete([chunk])
        case "no node":
            nodes.delete([node_path(frame_path)])
        case "no record":
            nodes.set(record, b"{}")
        case "damaged record":
            nodes.set(record, b"")
        case _:
            nodes.set(chunk, bytes(data) if damage == "other chunk" else b"")
    error = CorruptChunkError if damage == "other chunk" else MissingChunkError
    with pytest.raises(error, match=r"partition 1.*written.*resume"):
        db.finish("t")
    assert "t" not in db
    assert db.resume("t") == [1]
    db.write_region("t", frame.iloc[30:60], partition=np.int64(1))
    db.finish("t")
    pd.testing.assert_frame_equal(db["t"].compute(), frame)
    assert db.verify().ok


def test_a_table_that_lost_its_columns_says_so(db) -> None:
    frame = pd.DataFrame({"time": [0.5]})
    db.create("t", frame, npartitions=1)
    db._engine.nodes.delete([node_path(f"{read_plan(db._engine, 't').path}/template")])
    other = zdb.open(db.url)
    with pytest.raises(MissingChunkError, match=r"t: the columns of the table are lost.*discard"):
        other.write_region("t", frame, partition=0)


def test_what_cannot_be_finished_can_be_discarded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"time": [0.5]})
    db = place.open()
    db.create("t", frame, npartitions=1)
    db.write_region("t", frame, partition=0)

    def refuse(*_: Any) -> None:
        raise UnsupportedValueError("these partitions do not fit together")

    monkeypatch.setattr("zdb.formats.dask_tables.PartitionedTable.finish", refuse)
    with pytest.raises(UnsupportedValueError, match="do not fit"):
        db.finish("t")
    db.write_region("t", frame, partition=0)
    with pytest.raises(UnsupportedValueError, match="do not fit"):
        db.finish("t")
    db.discard("t")
    db["t"] = 1


def test_a_damaged_record_of_a_part_hides_nothing(db) -> None:
    db.create("a", da.empty((4, 3), chunks=(2, 3)))
    for start in (0, 2):
        db.write_region("a", np.ones((2, 3)), slice(start, start + 2))
    plan = read_plan(db._engine, "a")
    db._engine.nodes.set(node_path(f"{plan.path}/parts/0-2_0-3"), b"")
    progress = db.progress("a")
    assert progress.complete
    assert len(progress.parts) == 1
    db.finish("a")
    np.testing.assert_array_equal(db["a"], np.ones((4, 3)))


def test_garbage_and_repair_spare_a_value_that_is_filled(place: Place) -> None:
    db = place.open()
    db.create("v", template())
    db.write_region("v", full().isel(trial=slice(0, 64)))
    db["old"] = np.zeros(1000)
    db.create("old", template(), overwrite=True)
    fill_all(db, "old", full())
    assert db.verify().ok
    db.repair(dry_run=False)
    db.gc(dry_run=False, grace=0)
    np.testing.assert_array_equal(db["old"], np.zeros(1000))
    fill_all(db, "v", full())
    for key in ("v", "old"):
        db.finish(key)
        xr.testing.assert_identical(db[key].compute(), full())
    assert db.verify().ok


def test_what_is_left_of_a_filling_is_garbage(place: Place) -> None:
    db = place.open()
    db.create("v", template())
    plan = db._engine.claims.state("v").plan
    db.write_region("v", full().isel(trial=slice(0, 64)))
    kept = {path: db._engine.nodes.get(path) for path in db._engine.nodes.list_objects(plan)}
    db.discard("v")
    for path, data in kept.items():  # of a job that came back when all was over
        db._engine.nodes.set(path, data)
    assert db.verify().ok
    db.gc(dry_run=False, grace=0)
    assert db._engine.nodes.list_objects("_zdb/fills") == []


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("part", ["", "/plan"])
def test_a_damaged_record_of_a_filling(place: Place, part: str, lost: bool) -> None:
    db = place.open()
    db.create("a", da.empty((4, 3), chunks=(2, 3)))
    db.write_region("a", np.ones((2, 3)), {"dim_0": slice(0, 2)})
    assert db.verify().ok
    path = node_path(read_plan(db._engine, "a").path + part)
    data = db._engine.nodes.get(path) or b""
    if lost:
        db._engine.nodes.delete([path])
    else:
        db._engine.nodes.set(path, data[:-9])
    db = place.open()
    for report in (db.verify(), db.verify("a")):
        assert [one[:3] for one in report.problems] == [("a", "filling", path)]
    (repair,) = db.repair(dry_run=False).repairs
    assert (repair.key, repair.action) == ("a", "none")
    assert "db.discard" in repair.message
    with pytest.raises((CorruptChunkError, NotFillingError), match="a: "):
        db.write_region("a", np.ones((2, 3)), {"dim_0": slice(2, 4)})
    with pytest.raises(KeyClaimedError, match="discard it"):
        db["a"] = 1
    db.discard("a")
    assert db.verify().ok
    db["a"] = 1
    assert db["a"] == 1
    db.gc(dry_run=False, grace=0)
    assert not [one for one in db._engine.nodes.list_objects("") if "fills/" in one or "a/data" in one]


def test_finishing_makes_a_damaged_state_again(place: Place) -> None:
    db = place.open()
    db.create("a", da.empty((4, 3), chunks=(2, 3)))
    db.write_region("a", np.ones((4, 3)), {})
    db._engine.nodes.set(node_path(read_plan(db._engine, "a").path), b"{")
    place.open().finish("a")
    np.testing.assert_array_equal(db["a"], np.ones((4, 3)))
    assert db.verify().ok
