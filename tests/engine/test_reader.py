"""Opening a value: the Dataset as its format encoded it, or as plain xarray sees it."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
import zarr

import zdb
from zdb.engine.reader import open_plain, open_value


@pytest.fixture
def stored(place):
    db = place.open()
    db["k"] = xr.Dataset(
        {"v": (("x", "t"), np.arange(6.0).reshape(2, 3), {"units": "mV"})},
        {"t": [0.0, 0.1, 0.2], "label": ("x", ["a", "b"]), "two words": ("x", [1, 2])},
        {"title": "example"},
    )
    return db


def opened(db, key, how=open_value):
    return how(db._engine.nodes, db._engine.node(key))


def test_nothing_is_loaded_and_no_index_is_built(stored):
    dataset = opened(stored, "k")
    assert not dataset.xindexes
    assert not any(variable._in_memory for variable in dataset.variables.values() if variable.ndim)
    assert "float64" in repr(dataset)


def test_only_the_attributes_of_formats_are_left(stored):
    own = {name for name in opened(stored, "k").attrs if name.startswith("zdb_")}
    assert own <= {"zdb_type", "zdb_dtype", "zdb_shape", "zdb_recipe"}
    assert "coordinates" not in opened(stored, "k").attrs


def test_coordinates_are_coordinates_also_with_spaces_in_their_names(stored):
    assert len(opened(stored, "k").coords) == 3
    assert set(stored["k"].coords) == {"t", "label", "two words"}


def test_preferred_chunks_are_the_objects_in_the_store(db):
    db.set("k", np.zeros((100, 100)), chunks=(10, 10), shards=(20, 50))
    variable = opened(db, "k")["data"].variable
    assert variable.encoding["preferred_chunks"] == {"dim_0": 20, "dim_1": 50}
    assert opened(db, "k").chunk()["data"].chunks == ((100,), (100,))
    assert opened(db, "k").chunk("auto")["data"].shape == (100, 100)


def test_plain_xarray_sees_dask_arrays(stored):
    plain = opened(stored, "k", open_plain)
    assert plain["v"].chunks is not None
    assert plain["v"].attrs["units"] == "mV"
    np.testing.assert_array_equal(plain["v"], np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(plain["t"], [0.0, 0.1, 0.2])


def test_trees_open_as_trees(place):
    db = place.open()
    db["k"] = xr.DataTree.from_dict({"/one": xr.Dataset({"v": ("t", [1, 2])}), "/one/two": xr.Dataset({"w": 5})})
    for how in (open_value, open_plain):
        tree = opened(db, "k", how)
        assert isinstance(tree, xr.DataTree)
        np.testing.assert_array_equal(tree["one"]["v"], [1, 2])
        assert int(tree["one/two"]["w"]) == 5


@pytest.mark.parametrize("names", [["x", None], None])
def test_a_foreign_array_opens_as_a_data_array(tmp_path, names):
    group = zarr.open_group(tmp_path)
    group.create_array("loose", data=np.arange(6).reshape(2, 3), dimension_names=names, attributes={"units": "mV"})
    array = zdb.open(tmp_path, "r")["loose"]
    assert isinstance(array, xr.DataArray)
    assert array.chunks is not None
    assert array.attrs == {"units": "mV"}
    np.testing.assert_array_equal(array, np.arange(6).reshape(2, 3))
