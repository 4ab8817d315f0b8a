"""Chunks without zarr: what is written is what zarr reads, what zarr wrote is read, and damage never passes."""

from __future__ import annotations

import itertools
import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import zdb
from zdb.engine import direct_reading
from zdb.engine.chunks import ArrayTarget, ValueSource, open_array
from zdb.engine.direct_reading import DamagedChunkError, DirectReader
from zdb.engine.direct_writing import DirectWriter
from zdb.engine.gate import Gate
from zdb.engine.layout import choose_codecs, choose_layout
from zdb.engine.local import LocalNodes
from zdb.engine.node import ArrayNode
from zdb.engine.packing import Packing
from zdb.errors import MissingChunkError, StorageError

DTYPES = ["?", "i1", "u1", "i2", "u4", "i8", "f2", "f4", "f8", "c8", "c16"]
ZSTD = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
numbers = itertools.count()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    return LocalNodes(tmp_path_factory.mktemp("arrays"))


@pytest.fixture(autouse=True)
def several_threads(monkeypatch):
    """Small chunks are shared among threads too."""
    monkeypatch.setattr(direct_reading, "BATCH_BYTES", 1)
    monkeypatch.setattr(direct_reading, "processors", lambda: 3)


def make_node(shape, dtype, chunks, shards, codec):
    layout = choose_layout(shape, np.dtype(dtype), chunks=chunks, shards=shards)
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": np.dtype(dtype).name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(layout.objects)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": False if dtype == "?" else [0, 0] if dtype[0] == "c" else 0,
        "codecs": choose_codecs(np.dtype(dtype), layout, codec),
        "attributes": {},
        "dimension_names": [f"dim_{axis}" for axis in range(len(shape))],
        "storage_transformers": [],
    }
    return ArrayNode(f"array_{next(numbers)}", json.loads(json.dumps(metadata)))


@st.composite
def arrays(draw):
    """An array, and metadata in which its chunks and shards need not fit its shape."""
    shape = draw(hnp.array_shapes(max_dims=3, max_side=9))
    chunks = tuple(draw(st.integers(1, size + 1)) for size in shape)
    shards = draw(st.none() | st.tuples(*(st.integers(1, 3).map(lambda n, c=c: n * c) for c in chunks)))
    dtype = draw(st.sampled_from(DTYPES))
    codec = draw(st.sampled_from([None, False, ZSTD]))
    data = draw(hnp.arrays(dtype, shape))
    if draw(st.booleans()):
        data = np.asfortranarray(data)
    return make_node(shape, dtype, chunks, shards, codec), data


def outer_index(draw, shape):
    """Slices that run forward, and an array of integers for one dimension at most."""
    index = [draw(st.slices(size).filter(lambda s: s.step is None or s.step > 0)) for size in shape]
    if draw(st.booleans()):
        axis = draw(st.integers(0, len(shape) - 1))
        positions = st.integers(-shape[axis], shape[axis] - 1)
        index[axis] = np.array(draw(st.lists(positions, max_size=12)), int)
    return tuple(index)


@given(st.data(), arrays(), st.booleans(), st.booleans())
def test_reading_and_writing_agree_with_zarr(nodes, data, made, write_directly, read_directly):
    node, values = made
    packing = Packing.of(node)
    if write_directly:
        DirectWriter(nodes, node, packing).write((slice(None),) * values.ndim, values)
    else:
        open_array(nodes, node, reading=False)[...] = values
    index = outer_index(data.draw, values.shape)
    read = (
        DirectReader(nodes, node, packing).read(index)
        if read_directly
        else open_array(nodes, node, reading=True).oindex[index]
    )
    assert read.dtype == values.dtype
    np.testing.assert_array_equal(read, values[index])


@given(st.data(), arrays())
def test_regions_of_whole_objects(nodes, data, made):
    """Written region by region, in any order, as dask does."""
    node, values = made
    edges = [
        sorted({0, size, *data.draw(st.lists(st.integers(0, size // part).map(lambda n, p=part: n * p), max_size=3))})
        for size, part in zip(values.shape, node.object_shape, strict=True)
    ]
    regions = list(itertools.product(*([slice(*pair) for pair in itertools.pairwise(along)] for along in edges)))
    target = ArrayTarget(nodes, node, Gate())
    for region in data.draw(st.permutations(regions)):
        assert target._is_whole(region, values[region])
        target[region] = values[region]
    np.testing.assert_array_equal(open_array(nodes, node, reading=True)[...], values)
    # Nothing else lies there than the objects of the array.
    assert set(nodes.list_objects(node.path)) == set(node.object_paths())


def test_a_region_of_parts_of_objects_is_left_to_zarr(nodes):
    node = make_node((10, 4), "f8", (2, 4), (4, 4), None)
    target = ArrayTarget(nodes, node, Gate())
    target[(slice(0, 10), slice(0, 4))] = np.zeros((10, 4))
    for region in [(slice(0, 2), slice(0, 4)), (slice(2, 10), slice(0, 4)), (slice(0, 8, 2), slice(0, 4))]:
        ones = np.ones((10, 4))[region]
        assert not target._is_whole(region, ones)
        target[region] = ones
    found = open_array(nodes, node, reading=True)[...]
    assert found.sum() == (2 + 8) * 4
    assert not target._is_whole((slice(0, 4),), np.ones((1, 4)))  # would be repeated by numpy


@pytest.mark.parametrize(
    "change",
    [
        {"data_type": "string", "codecs": [{"name": "vlen-utf8"}, {"name": "crc32c"}]},
        {"codecs": [{"name": "bytes", "configuration": {"endian": "big"}}, {"name": "crc32c"}]},
        {"codecs": [{"name": "bytes", "configuration": {"endian": "little"}}]},
        {"codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "gzip"}, {"name": "crc32c"}]},
        {"codecs": [{"name": "transpose"}, {"name": "bytes"}, ZSTD, {"name": "crc32c"}]},
        {"codecs": [{"name": "bytes"}, {"name": "zstd"}, {"name": "crc32c"}]},
        {"shape": []},
    ],
)
def test_arrays_of_other_kinds_are_left_to_zarr(change):
    node = make_node((4,), "f8", (2,), None, None)
    assert Packing.of(node) is not None
    assert Packing.of(ArrayNode("k", {**node.metadata, **change})) is None


def test_a_shard_of_another_kind_is_left_to_zarr():
    node = make_node((8,), "f8", (2,), (4,), None)
    for change in ({"index_location": "start"}, {"index_codecs": [{"name": "bytes"}]}):
        codecs = json.loads(json.dumps(node.metadata["codecs"]))
        codecs[0]["configuration"] |= change
        assert Packing.of(ArrayNode("k", {**node.metadata, "codecs": codecs})) is None


def test_which_indices_are_left_to_zarr(nodes):
    node = make_node((4, 4), "f8", (2, 2), None, None)
    reader = DirectReader(nodes, node, Packing.of(node))
    two = np.array([0, 1])
    for index in [(two, two), (np.array([4]), slice(None)), (slice(None), np.array([-5]))]:
        assert reader.read(index) is None


def test_the_usual_arrays_are_read_directly(db):
    """No array that zdb lays out by itself takes the long way but text."""
    values = {
        "traces": np.random.default_rng(0).normal(size=(300, 1000)),
        "counts": np.arange(300_000),
        "flags": np.ones(10, bool),
        "bytes": b"abc" * 1000,
        "ragged": [np.arange(3), np.arange(5)],
    }
    for key, value in values.items():
        db[key] = value
        node = db._engine.node(key)
        source = ValueSource(db._engine.nodes, node)
        for array in node.arrays.values():
            assert isinstance(source.nodes, LocalNodes)
            assert Packing.of(array) is not None, key


# Damage


@settings(max_examples=300)
@given(st.data(), st.booleans())
def test_no_damage_passes(nodes, data, shards):
    """Any change of any bytes of an object is noticed, or the right numbers are read."""
    values = np.random.default_rng(0).integers(0, 9, (6, 5)).astype("f8")
    codec = data.draw(
        st.sampled_from([None, False, {"name": "zstd", "configuration": {"level": 3, "checksum": False}}])
    )
    node = make_node(values.shape, "f8", (3, 5), (6, 5) if shards else None, codec)
    reader = DirectReader(nodes, node, Packing.of(node))
    DirectWriter(nodes, node, reader.packing).write((slice(None), slice(None)), values)
    path = next(iter(node.object_paths()))
    content = bytearray(nodes.get(path))
    how = data.draw(st.sampled_from(["change", "cut", "lengthen", "replace"]))
    place = data.draw(st.integers(0, len(content) - 1))
    if how == "change":
        content[place] ^= data.draw(st.integers(1, 255))
    elif how == "cut":
        del content[place:]
    elif how == "lengthen":
        content += data.draw(st.binary(min_size=1, max_size=80))
    else:
        content = bytearray(data.draw(st.binary(max_size=len(content))))
    nodes.set(path, bytes(content))
    with pytest.raises(DamagedChunkError) as caught:
        reader.read((slice(None), slice(None)))
    assert caught.value.path == path


def test_a_chunk_that_is_no_part_of_its_shard(nodes):
    """Zarr takes it for the fill value; zdb writes every chunk."""
    node = make_node((8,), "f8", (2,), (8,), None)
    array = open_array(nodes, node, reading=False)
    with zarr.config.set({"array.write_empty_chunks": False}):
        zarr.Array(zarr.AsyncArray(array.metadata, array.store_path))[:4] = 1.0
    reader = DirectReader(nodes, node, Packing.of(node))
    np.testing.assert_array_equal(reader.read((slice(0, 4),)), np.ones(4))
    with pytest.raises(MissingChunkError, match=rf"chunk {node.path}/c/0 is not in the store: part \(2,\)"):
        reader.read((slice(3, 5),))


def test_a_disk_that_fails_is_no_damage(nodes):
    node = make_node((4,), "f8", (2,), None, None)
    DirectWriter(nodes, node, Packing.of(node)).write((slice(None),), np.arange(4.0))
    place = Path(nodes.root, node.object_path((1,)))
    place.unlink()
    place.mkdir()
    with pytest.raises(StorageError, match="c/1: Is a directory") as caught:
        DirectReader(nodes, node, Packing.of(node)).read((slice(None),))
    assert not isinstance(caught.value, MissingChunkError)


def test_after_a_failed_write_nothing_more_is_packed(nodes, monkeypatch):
    node = make_node((100_000,), "f8", (100,), (200,), None)
    packed = []
    pack = Packing.pack

    def count(self, chunk):
        packed.append(1)
        time.sleep(0.002)
        return pack(self, chunk)

    def fail(self, path, parts):
        next(iter(parts))
        raise StorageError("the disk is full")

    monkeypatch.setattr(Packing, "pack", count)
    monkeypatch.setattr(LocalNodes, "set_parts", fail)
    with pytest.raises(StorageError, match="the disk is full"):
        DirectWriter(nodes, node, Packing.of(node)).write((slice(None),), np.zeros(100_000))
    assert len(packed) < 1000


def test_after_an_error_no_thread_goes_on(nodes, monkeypatch):
    node = make_node((1000,), "f8", (1,), None, None)
    DirectWriter(nodes, node, Packing.of(node)).write((slice(None),), np.arange(1000.0))
    Path(nodes.root, node.object_path((1,))).unlink()
    read = []
    unpack = Packing.unpack

    def count(self, data, target):
        read.append(threading.get_ident())
        return unpack(self, data, target)

    monkeypatch.setattr(Packing, "unpack", count)
    with pytest.raises(MissingChunkError, match="c/1 "):
        DirectReader(nodes, node, Packing.of(node)).read((slice(None),))
    assert len(read) < 900


def test_values_of_zarr_alone_and_of_zdb_are_the_same(tmp_path):
    """A shard that zdb packed is a shard of Zarr: plain zarr reads it and writes into it."""
    db = zdb.open(tmp_path)
    values = np.random.default_rng(0).normal(size=(700, 1000))
    db["k"] = values
    plain = zarr.open_array(tmp_path / "k" / "data", mode="r+")
    np.testing.assert_array_equal(plain[...], values)
    plain[5:7] = 1.0
    np.testing.assert_array_equal(db.get("k", rows=slice(4, 8)), np.vstack([values[4], *np.ones((2, 1000)), values[7]]))
