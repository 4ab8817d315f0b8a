from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from zdb.engine.node import DATABASE, FOREIGN, VALUE, ArrayNode, Node, dump, key_encoding, node_path
from zdb.errors import CorruptChunkError


def array_node(shape=(4,), objects=(2,), generation=0, dtype="float64", path="k/data", **metadata):
    document = {
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(objects)}},
        "chunk_key_encoding": key_encoding(generation),
        **metadata,
    }
    return ArrayNode(path, document)


def test_paths_of_nodes():
    assert node_path("") == "zarr.json"
    assert node_path("a/b") == "a/b/zarr.json"


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"{}", b'{"zarr_format": 2, "node_type": "group"}', b'{"zarr_format": 3}', b"\xff\xfe",
     b'{"zarr_format": 3, "node_type": "table"}', b'{"zarr_format": 3, "node_type": "gro'],
)  # fmt: skip
def test_metadata_that_is_damaged(data):
    with pytest.raises(CorruptChunkError, match=r"a/k/zarr\.json is not valid Zarr metadata"):
        Node.parse("a/k", data)


def test_kinds_of_nodes():
    def parse(**attributes):
        return Node.parse("k", dump({"zarr_format": 3, "node_type": "group", "attributes": attributes}))

    assert parse().kind == FOREIGN
    assert parse(zdb_kind="database", zdb_id="x").kind == DATABASE
    value = parse(zdb_kind="value", zdb_generation=3, zdb_format="array", zdb_version=2, zdb_id="y")
    assert (value.kind, value.generation, value.format, value.version, value.id) == (VALUE, 3, "array", 2, "y")
    assert value.arrays == {}
    assert value.nbytes == 0
    without = Node.parse("k", b'{"zarr_format": 3, "node_type": "group"}')
    assert without.attributes == {}
    assert without.groups == {"": {}}


def test_arrays_and_groups_of_a_value():
    array = array_node().metadata
    document = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {"top": 1},
        "consolidated_metadata": {
            "metadata": {"data": array, "inner": {"node_type": "group", "attributes": {"x": 2}}, "inner/data": array}
        },
    }
    node = Node.parse("a/k", json.dumps(document).encode())
    assert list(node.arrays) == ["data", "inner/data"]
    assert node.arrays["inner/data"].path == "a/k/inner/data"
    assert node.groups == {"": {"top": 1}, "inner": {"x": 2}}
    assert node.nbytes == 2 * 4 * 8


def test_metadata_is_written_as_strict_json():
    assert dump({"µ": [1, 2]}) == '{"µ":[1,2]}'.encode()
    with pytest.raises(ValueError, match="JSON"):
        dump({"x": float("nan")})


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(0, 30))
def test_object_paths_are_those_of_zarr(grid, generation):
    """Of every generation and rank: zarr writes its chunks exactly there."""
    node = array_node([2 * n for n in grid], [2] * len(grid), generation)
    assert node.grid == tuple(grid)
    encoding = zarr.core.chunk_key_encodings.parse_chunk_key_encoding(key_encoding(generation))
    expected = [f"k/data/{encoding.encode_chunk_key(index)}" for index in product(*map(range, grid))]
    assert list(node.object_paths()) == expected


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(0, 30))
def test_three_generations_in_a_row_share_no_object(grid, generation):
    shape = [2 * n for n in grid]
    paths = [set(array_node(shape, [2] * len(grid), generation + i).object_paths()) for i in range(3)]
    assert not paths[0] & paths[1]
    assert not paths[0] & paths[2]
    assert not paths[1] & paths[2]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_nor_do_they_if_the_rank_changes(grid, next_grid):
    for generation, later in product(range(3), (1, 2)):
        old = array_node([2 * n for n in grid], [2] * len(grid), generation)
        new = array_node([2 * n for n in next_grid], [2] * len(next_grid), generation + later)
        assert not set(old.object_paths()) & set(new.object_paths())


@pytest.mark.parametrize("shape", [(0,), (3, 0), ()])
def test_arrays_without_objects(shape):
    assert list(array_node(shape, [1] * len(shape)).object_paths()) == []


def test_default_separators_of_foreign_arrays():
    for name, expected in (("default", "k/data/c/0/1"), ("v2", "k/data/0.1")):
        node = array_node((4, 4), (2, 2), chunk_key_encoding={"name": name})
        assert node.object_path((0, 1)) == expected


@pytest.mark.parametrize(
    ("dtype", "size"),
    [("bool", 1), ("int8", 1), ("uint16", 2), ("float16", 2), ("float64", 8), ("complex64", 8), ("complex128", 16),
     ("string", 16)],
)  # fmt: skip
def test_sizes(dtype, size):
    assert array_node((3, 5), (1, 1), dtype=dtype).nbytes == 15 * size


def test_a_data_type_with_a_configuration():
    node = array_node(dtype={"name": "numpy.datetime64", "configuration": {"unit": "s", "scale_factor": 1}})
    assert node.dtype == "numpy.datetime64"


def test_dimensions_without_names():
    assert array_node((2, 2), (1, 1)).dims == ("dim_0", "dim_1")
    assert array_node((2, 2), (1, 1), dimension_names=["x", None]).dims == ("x", "dim_1")
    assert np.prod(array_node((2, 2), (1, 1)).grid) == 4
