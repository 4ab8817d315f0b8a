"""Publishing: what is written in which order, and what a failure leaves behind."""

from __future__ import annotations

import json
import threading

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr

from zdb.engine.claims import Claims
from zdb.engine.conditional import MemoryNodes
from zdb.engine.node import Node
from zdb.engine.nodes import NodeStore
from zdb.engine.options import LayoutOptions
from zdb.engine.reader import open_value
from zdb.engine.store import open_store
from zdb.engine.writer import publish
from zdb.errors import StorageError, UnsupportedValueError, WriteError

OWN = {"zdb_kind": "value", "zdb_version": 1, "zdb_id": "i", "zdb_format": "array"}


@pytest.fixture
def nodes(place):
    return open_store(place.url, place.options)


@pytest.fixture
def local(tmp_path):
    return open_store(tmp_path)


def node(nodes, path="k"):
    data = nodes.get(f"{path}/zarr.json")
    return None if data is None else Node.parse(path, data)


def put(nodes, dataset, path="k", seal=dict, **options):
    def sealed(_, generation):
        return {**OWN, "zdb_generation": generation, **seal()}

    with Claims(nodes).take(path) as claim:
        publish(nodes, claim, dataset, sealed, LayoutOptions(**options))
    return node(nodes, path)


def example(factor=1.0):
    return xr.Dataset({"v": (("x", "y"), np.arange(6.0).reshape(2, 3) * factor)}, attrs={"title": "example"})


def chunk_files(nodes, path="k"):
    return {p for p in nodes.list_objects(path) if not p.endswith(("zarr.json", ".previous.json"))}


def test_what_is_written_is_read(nodes):
    dataset = example().assign(
        whole=((), np.array(5, "int16")),
        text=("s", np.array(["a", "µ", ""], np.dtypes.StringDType())),
        lazy=("t", da.arange(100, chunks=30)),
        empty=("nothing", np.zeros(0, "f4")),
    )
    dataset = dataset.assign_coords(label=("x", np.array([3, 4])))
    dataset["v"].attrs = {"units": "mV", "nested": {"a": [1, None, True]}}
    read = open_value(nodes, put(nodes, dataset))
    assert dict(read.sizes) == dict(dataset.sizes)
    assert read.attrs == dataset.attrs
    assert set(read.coords) == {"label"}
    for name in dataset.variables:
        assert read[name].dtype == dataset[name].dtype
        assert read[name].attrs == dataset[name].attrs
        np.testing.assert_array_equal(read[name].values, dataset[name].values)


def intercept_objects(nodes, monkeypatch, write):
    """Call ``write(path, put_object)`` for each object that is written through the store itself, once."""
    names = ["set"]
    if type(nodes).stage is not NodeStore.stage:
        names.append("stage")
    if not isinstance(nodes, MemoryNodes):  # which sets what it replaces
        names.append("replace")

    def intercepted(put):
        def call(path, *rest, **options):
            done = []
            write(path, lambda: done.append(put(path, *rest, **options)))
            return done[0]

        return call

    for name in names:
        monkeypatch.setattr(nodes, name, intercepted(getattr(nodes, name)))


def test_the_commit_comes_last(nodes, monkeypatch):
    """Chunks, then the metadata of the arrays, then what the seal writes, then one object."""
    order = []

    def note(path, put_object):
        if path.startswith("k/"):
            order.append(path)
        if path == "k/v/zarr.json":
            assert chunk_files(nodes)
        put_object()

    intercept_objects(nodes, monkeypatch, note)

    def seal():
        assert node(nodes) is None
        order.append("seal")
        return {"zdb_created": "now"}

    put(nodes, example(), seal=seal)
    assert order == ["k/v/zarr.json", "seal", "k/zarr.json"]


def test_metadata_is_inline_and_names_dimensions(nodes):
    put(nodes, example().assign_coords(t=("x", [1, 2])))
    document = json.loads(nodes.get("k/zarr.json"))
    inline = document["consolidated_metadata"]
    assert inline["kind"] == "inline"
    assert inline["must_understand"] is False
    assert set(inline["metadata"]) == {"v", "t"}
    assert inline["metadata"]["v"]["dimension_names"] == ["x", "y"]
    assert document["attributes"]["coordinates"] == "t"
    for name, own in inline["metadata"].items():
        assert json.loads(nodes.get(f"k/{name}/zarr.json")) == own


def test_trees(nodes):
    tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs={"a": 1}), "/one": example(), "/one/two": example(2.0)})
    read = open_value(nodes, put(nodes, tree))
    assert isinstance(read, xr.DataTree)
    assert sorted(n.path for n in read.subtree) == ["/", "/one", "/one/two"]
    assert read.attrs == {"a": 1}
    np.testing.assert_array_equal(read["one/two/v"], example(2.0)["v"])


# Generations


def test_two_generations_lie_side_by_side(nodes):
    put(nodes, example(1))
    first = chunk_files(nodes)
    put(nodes, example(2))
    both = chunk_files(nodes)
    assert first < both
    put(nodes, example(3))
    assert not first & chunk_files(nodes)
    for factor in range(4, 12):
        current = put(nodes, example(factor))
        np.testing.assert_array_equal(open_value(nodes, current)["v"], example(factor)["v"])
        assert len(chunk_files(nodes)) == 2


def test_leftovers_of_any_kind_are_cleared_before_the_next_write(nodes):
    put(nodes, example(1))
    kept = set(nodes.list_objects(""))
    for junk in ("k/v/0.0", "k/v/c.0.0", "k/old/zarr.json", "k/old/c/0", "k/.zarr.json.tmp", "k/v/c/0/0.tmp"):
        nodes.set(junk, b"junk")
    put(nodes, example(2))
    put(nodes, example(3))
    put(nodes, example(1))
    assert set(nodes.list_objects("")) - {"k/.previous.json"} >= kept
    assert not [path for path in nodes.list_objects("k") if nodes.get(path) == b"junk"]
    nodes.set("new/v/c/0/0", b"junk of a writer that was killed")
    put(nodes, example(2), "new")
    np.testing.assert_array_equal(open_value(nodes, node(nodes, "new"))["v"], example(2)["v"])


# Failures


class Refusing:
    """Makes a store fail at one path, as a full disk or a lost connection does."""

    def __init__(self, nodes, monkeypatch, failing, *, after=False):
        def write(path, put_object):
            if path != failing or after:
                put_object()
            if path == failing:
                raise StorageError("the store refuses")

        intercept_objects(nodes, monkeypatch, write)


@pytest.mark.parametrize("failing", ["k/v/zarr.json", "k/zarr.json"])
@pytest.mark.parametrize("replacing", [False, True])
def test_a_failing_store_leaves_what_was_there(nodes, monkeypatch, failing, replacing):
    if replacing:
        put(nodes, example(1))
    else:
        put(nodes, example(1), "other")  # makes the groups in which records lie
    before = {path: nodes.get(path) for path in nodes.list_objects("") if path != "k/v/zarr.json"}
    Refusing(nodes, monkeypatch, failing)
    with pytest.raises(StorageError, match="refuses"):
        put(nodes, example(2))
    monkeypatch.undo()
    after = {path: nodes.get(path) for path in nodes.list_objects("") if path != "k/v/zarr.json"}
    if nodes.loses_answers:  # what failed may yet be carried out
        assert before.items() <= after.items()
        new = after.keys() - before.keys()
        assert failing == "k/zarr.json" or all(one.startswith("_zdb/claims/") for one in new)
    else:
        assert after == before
    if replacing:
        np.testing.assert_array_equal(open_value(nodes, node(nodes))["v"], example(1)["v"])
    put(nodes, example(3))
    np.testing.assert_array_equal(open_value(nodes, node(nodes))["v"], example(3)["v"])


@pytest.mark.parametrize("replacing", [False, True])
def test_a_commit_that_came_through_although_it_failed(nodes, monkeypatch, replacing):
    if replacing:
        put(nodes, example(1))
    Refusing(nodes, monkeypatch, "k/zarr.json", after=True)
    with pytest.raises(StorageError, match="refuses"):
        put(nodes, example(2))
    monkeypatch.undo()
    np.testing.assert_array_equal(open_value(nodes, node(nodes))["v"], example(2)["v"])


@pytest.mark.parametrize("failing_seal", [ValueError("no"), KeyboardInterrupt()])
def test_a_failing_seal(nodes, failing_seal):
    put(nodes, example(1))

    def seal():
        raise failing_seal

    with pytest.raises((WriteError, KeyboardInterrupt)):
        put(nodes, example(2), seal=seal)
    np.testing.assert_array_equal(open_value(nodes, node(nodes))["v"], example(1)["v"])
    assert len(chunk_files(nodes)) == 1


def test_a_task_that_still_runs_when_another_has_failed_writes_no_more(nodes):
    """Its chunk would otherwise land in the next attempt, which uses the same paths."""
    failed, done = threading.Event(), threading.Event()

    def compute(block):
        if block[0] == 0:
            raise ValueError("diverged")
        failed.wait(180)
        threading.Timer(0.2, done.set).start()
        return block

    lazy = da.arange(2, chunks=1).map_blocks(compute, dtype=int, meta=np.array((), int))
    with pytest.raises(WriteError, match="diverged"):
        put(nodes, xr.Dataset({"v": ("x", lazy)}), chunks=(1,))
    put(nodes, xr.Dataset({"v": ("x", np.array([7, 8]))}), chunks=(1,))
    failed.set()
    assert done.wait(180)
    assert len(chunk_files(nodes)) == 2
    np.testing.assert_array_equal(open_value(nodes, node(nodes))["v"], [7, 8])


@pytest.mark.parametrize(
    ("dataset", "why"),
    [
        (xr.Dataset({"v": ("x", np.array([1, "a"], object))}), "dtype object cannot be stored"),
        (xr.Dataset({"v": ("x", np.array(["2000"], "M8[s]"))}), r"dtype datetime64\[s\] cannot be stored"),
        (xr.Dataset({"v": ("x", np.arange(3, dtype=">i4"))}), "dtype >i4 cannot be stored"),
        (xr.Dataset({"v": ("x", np.arange(3))}, attrs={"zdb_id": "x"}), "belong to the engine: zdb_id"),
        (xr.Dataset({"v": ("x", np.arange(3))}, attrs={"coordinates": "v"}), "belong to the engine: coordinates"),
        (xr.Dataset({"v": ("x", np.arange(3))}, attrs={"when": np.float32(1)}), "attributes are not plain JSON"),
        (xr.Dataset({"v": ("x", np.arange(3), {"bad": float("nan")})}), "k/v: attributes are not plain JSON"),
        (
            xr.Dataset({"v": ("x", da.arange(9, chunks=3)[da.arange(9, chunks=3) % 2 == 0])}),
            r"chunks of unknown size; call compute_chunk_sizes\(\)",
        ),
    ],
)
def test_what_cannot_be_stored_is_refused_before_anything_is_written(local, dataset, why):
    with pytest.raises(UnsupportedValueError, match=why) as caught:
        put(local, dataset)
    assert str(caught.value).startswith("k")
    assert {path for path in local.list_objects("") if not path.startswith("_zdb/")} == set()


# Bytes


@pytest.mark.parametrize("value", [1.5, np.inf, -np.inf, np.nan, -0.0])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8", "c16"])
def test_scalars_keep_every_bit(local, value, dtype):
    scalar = np.array(value, dtype)
    read = open_value(local, put(local, xr.Dataset({"v": ((), scalar)})))["v"].values
    assert read.dtype == scalar.dtype
    assert read.tobytes() == scalar.tobytes()


def test_the_payload_of_a_nan_is_kept(local):
    bits = np.array([0x7FF8000000000001, 0xFFF0000000000002], "u8")
    for values in (bits.view("f8"), bits[:1].view("f8")[0]):
        dataset = xr.Dataset({"v": xr.Variable(("x",) if np.ndim(values) else (), values)})
        read = open_value(local, put(local, dataset))["v"].values
        assert np.atleast_1d(read).view("u8").tolist() == bits[: np.size(values)].tolist()


@pytest.mark.parametrize("value", ["", "text", "µ\N{BRAIN}", "0x12", "NaN"])
def test_text_without_dimensions(local, value):
    scalar = np.array(value, np.dtypes.StringDType())
    assert str(open_value(local, put(local, xr.Dataset({"v": ((), scalar)})))["v"].values) == value


NAN_WITH_PAYLOAD = np.array([0x7FF8000000000001], "u8").view("f8")[0]


@pytest.mark.parametrize("shards", [None, (4, 4)])
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("value", [0.0, np.nan, NAN_WITH_PAYLOAD, complex(np.nan, np.nan), 0, False])
def test_chunks_of_fill_values_are_written_too(local, value, lazy, shards):
    """Or a lost chunk could not be told from one of zeros."""
    array = np.full((9, 9), value)
    mixed = array.copy()
    mixed[:5] = 1
    for data in (array, mixed):
        variable = da.from_array(data, (6, 6)) if lazy else data
        current = put(local, xr.Dataset({"v": (("x", "y"), variable)}), chunks=(2, 2), shards=shards)
        assert local.missing(list(current.arrays["v"].object_paths())) == []
        assert open_value(local, current)["v"].values.tobytes() == data.tobytes()


def test_lazy_arrays_are_cut_at_shards(local):
    """Blocks that lie across the shards are brought in line, so that no shard is written twice."""
    lazy = da.arange(100, chunks=(7, 50, 13, 30)).reshape(100)
    current = put(local, xr.Dataset({"v": ("x", lazy)}), chunks=(5,), shards=(20,))
    assert len(chunk_files(local)) == 5
    np.testing.assert_array_equal(open_value(local, current)["v"], np.arange(100))


def test_bytes_do_not_depend_on_how_the_data_arrives(local):
    data = np.random.default_rng(0).normal(size=(100, 30))
    chunks = {"chunks": (10, 30), "shards": (50, 30)}
    put(local, xr.Dataset({"v": (("x", "y"), data)}), "eager", **chunks)
    put(local, xr.Dataset({"v": (("x", "y"), da.from_array(data, (17, 11)))}), "lazy", **chunks)
    put(local, xr.Dataset({"v": (("x", "y"), np.asfortranarray(data))}), "fortran", **chunks)
    for place in ("c/0/0", "c/1/0"):
        assert local.get(f"eager/v/{place}") == local.get(f"lazy/v/{place}") == local.get(f"fortran/v/{place}")


def test_each_pipeline_writes_and_reads_the_same(tmp_path, monkeypatch):
    from zdb.engine import chunks

    settings = {"default": {}, "fastest": chunks._fastest_pipeline()}
    local = open_store(tmp_path)
    data = np.random.default_rng(0).normal(size=(100, 30))
    written, read = [], []
    for name, setting in settings.items():
        monkeypatch.setattr(chunks, "_fastest_pipeline", lambda setting=setting: setting)
        put(local, xr.Dataset({"v": (("x", "y"), data)}), name, chunks=(10, 30), shards=(50, 30))
        written.append({p.removeprefix(name): local.get(p) for p in chunk_files(local, name)})
    for setting in settings.values():
        monkeypatch.setattr(chunks, "_fastest_pipeline", lambda setting=setting: setting)
        read += [open_value(local, node(local, other))["v"].values for other in settings]
    assert all(one == written[0] for one in written)
    for one in read:
        np.testing.assert_array_equal(one, data)


def test_options_by_dimension_and_rank(local):
    dataset = xr.Dataset({"a": ("x", np.arange(10)), "b": (("x", "y"), np.zeros((10, 20))), "c": ("z", np.arange(4))})
    arrays = put(local, dataset, chunks={"x": 5}).arrays
    assert [arrays[name].object_shape for name in "abc"] == [(5,), (5, 20), (4,)]
    arrays = put(local, dataset, chunks=(2, 4)).arrays
    assert [arrays[name].object_shape for name in "abc"] == [(10,), (2, 4), (4,)]
    arrays = put(local, dataset, chunks=3).arrays
    assert [arrays[name].object_shape for name in "abc"] == [(3,), (3, 3), (3,)]


@pytest.mark.parametrize("last", [(2, 3), (500, 600)], ids=["small", "large"])
def test_arrays_of_as_many_dimensions_as_numpy_has(nodes, last):
    data = np.arange(np.prod(last), dtype=float).reshape((1,) * 62 + last)
    dims = [f"d{axis}" for axis in range(64)]
    made = put(nodes, xr.Dataset({"v": (dims, data)}))
    np.testing.assert_array_equal(open_value(nodes, made)["v"].values, data)
    put(nodes, xr.Dataset({"v": (dims, data)}).chunk({"d62": -1}), "lazy")
    np.testing.assert_array_equal(open_value(nodes, node(nodes, "lazy"))["v"].values, data)
    with pytest.raises(UnsupportedValueError, match="k/v: shards are for arrays of up to 63 dimensions"):
        put(nodes, xr.Dataset({"v": (dims, data)}), shards=last[1])


def test_plain_zarr_reads_what_was_written(local):
    put(local, example(2.0), chunks=(1, 2), shards=(2, 4))
    array = zarr.open_array(f"{local.root}/k/v", mode="r")
    assert array.chunks == (1, 2)
    assert array.shards == (2, 4)
    np.testing.assert_array_equal(array[:], example(2.0)["v"])


def test_an_array_of_fewer_dimensions_takes_the_place_of_one_of_more(nodes):
    """The first chunk of one is c/0, and that of the other lay in a folder c/0 three generations before."""
    for ndim in (2, 1, 2, 1, 1, 2, 3, 3, 1):
        values = np.arange(6.0).reshape(*[1] * (ndim - 1), 6)
        dataset = xr.Dataset({"v": ([f"d{axis}" for axis in range(ndim)], values)})
        read = open_value(nodes, put(nodes, dataset))
        np.testing.assert_array_equal(read["v"].values, values)
