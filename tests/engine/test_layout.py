from __future__ import annotations

import math

import numpy as np
import pytest
import zarr
from hypothesis import assume, given
from hypothesis import strategies as st

from zdb.engine.layout import CHUNK_BYTES, SHARD_BYTES, Layout, choose_codecs, choose_layout, write_unit
from zdb.errors import UnsupportedValueError

DTYPES = st.sampled_from(["bool", "int8", "uint16", "float32", "float64", "complex128"]).map(np.dtype)
SHAPES = st.lists(st.one_of(st.integers(1, 50), st.integers(1, 10**7)), min_size=1, max_size=4).map(tuple)
STRING = np.dtypes.StringDType()


@st.composite
def parts_of(draw, shape):
    """Sizes of the blocks in which an array may arrive."""
    return tuple(draw(st.integers(1, size)) for size in shape)


def nbytes(shape, dtype):
    return math.prod(shape) * dtype.itemsize


def check(layout, shape, dtype):
    assert len(layout.chunks) == len(shape)
    assert all(chunk >= 1 for chunk in layout.chunks)
    assert nbytes(layout.chunks, dtype) <= CHUNK_BYTES
    if layout.shards is not None:
        assert all(shard % chunk == 0 for shard, chunk in zip(layout.shards, layout.chunks, strict=True))
        assert nbytes(layout.shards, dtype) <= SHARD_BYTES
    assert layout.objects == (layout.shards or layout.chunks)


@given(SHAPES, DTYPES)
def test_chunks_divide_shards_and_stay_below_their_sizes(shape, dtype):
    layout = choose_layout(shape, dtype)
    check(layout, shape, dtype)
    if nbytes(shape, dtype) <= CHUNK_BYTES:
        assert layout == Layout(shape, None)
    else:
        assert layout.shards is not None


@given(SHAPES, DTYPES)
def test_sizes_are_near_their_targets(shape, dtype):
    """Not more than a factor of two for each dimension is given away, and nothing where it all fits."""
    assume(nbytes(shape, dtype) > CHUNK_BYTES)
    layout = choose_layout(shape, dtype)
    assert nbytes(layout.chunks, dtype) * 2 > CHUNK_BYTES
    whole = min(nbytes(shape, dtype), SHARD_BYTES)
    assert nbytes(layout.shards, dtype) * 2 ** len(shape) > whole


@given(SHAPES, DTYPES)
def test_the_last_dimension_is_kept_whole_while_a_row_fits(shape, dtype):
    chunks = choose_layout(shape, dtype).chunks
    if shape[-1] * dtype.itemsize <= CHUNK_BYTES:
        assert chunks[-1] == shape[-1]
    else:
        assert chunks[:-1] == (1,) * (len(shape) - 1)


@given(SHAPES, DTYPES)
def test_balanced_chunks_are_square_where_the_shape_allows(shape, dtype):
    layout = choose_layout(shape, dtype, chunks="balanced")
    check(layout, shape, dtype)
    free = [chunk for chunk, size in zip(layout.chunks, shape, strict=True) if chunk < size]
    if free:
        assert max(free) <= 2 * min(free) + 1
        assert max(layout.chunks) <= 2 * max(free) + 1
    if nbytes(shape, dtype) > CHUNK_BYTES:
        assert nbytes(layout.chunks, dtype) * 2 ** len(shape) > CHUNK_BYTES


@given(st.data(), SHAPES, DTYPES)
def test_layouts_for_data_that_arrives_in_blocks(data, shape, dtype):
    parts = data.draw(parts_of(shape))
    layout = choose_layout(shape, dtype, parts=parts)
    check(layout, shape, dtype)
    unit = write_unit(layout.objects, parts, shape)
    for size, whole, obj in zip(unit, shape, layout.objects, strict=True):
        assert size % obj == 0 or size >= whole
        assert size >= 1


@pytest.mark.parametrize(
    ("shape", "parts", "objects"),
    [
        ((1000, 1000), (100, 1000), (1000, 1000)),  # small blocks are joined
        ((10_000, 1000), (1000, 1000), (8_000, 1000)),  # to whole blocks
        ((200, 10**6), (1, 10**6), (8, 10**6)),
        ((10**6,), (10**5,), (10**6,)),
    ],
)
def test_shards_are_made_of_whole_blocks(shape, parts, objects):
    layout = choose_layout(shape, np.dtype("f8"), parts=parts)
    assert all(got >= wanted * 0.5 for got, wanted in zip(layout.objects, objects, strict=True))
    unit = write_unit(layout.objects, parts, shape)
    assert all(u % o == 0 for u, o in zip(unit, layout.objects, strict=True))


@pytest.mark.parametrize(
    ("parts", "layout"),
    [
        ((800, 10_000), Layout((10, 10_000), (800, 10_000))),
        ((2000, 10_000), Layout((10, 10_000), (500, 10_000))),  # several shards for a block
        ((200, 10_000), Layout((10, 10_000), (800, 10_000))),  # several blocks for a shard
        ((800, 5000), Layout((10, 10_000), (800, 10_000))),
        ((809, 10_000), Layout((13, 10_000), (819, 10_000))),  # a prime: the next multiple
    ],
)
def test_chunks_and_shards_fit_the_blocks(parts, layout):
    assert choose_layout((100_000, 10_000), np.dtype("f8"), parts=parts) == layout


def test_the_layouts_of_the_documentation():
    traces = choose_layout((1000, 51_201), np.dtype("f8"))
    assert traces == Layout((2, 51_201), (162, 51_201))
    assert choose_layout((1000, 51_201), np.dtype("f8"), chunks="balanced").chunks == (362, 362)
    assert choose_layout((10,), np.dtype("f8")) == Layout((10,), None)
    assert choose_layout((), np.dtype("f8")) == Layout((), None)


@pytest.mark.parametrize("shape", [(0,), (5, 0), (0, 3, 10**7)])
def test_empty_arrays(shape):
    layout = choose_layout(shape, np.dtype("f8"))
    assert layout.shards is None
    assert all(chunk >= 1 for chunk in layout.chunks)


@given(SHAPES)
def test_strings_are_never_sharded_by_themselves(shape):
    layout = choose_layout(shape, STRING)
    assert layout.shards is None
    assert math.prod(layout.chunks) * 32 <= CHUNK_BYTES


def test_what_the_user_asks_for_is_done():
    shape, dtype = (100, 100), np.dtype("f8")
    assert choose_layout(shape, dtype, chunks=(10, 10), shards=(50, 100)) == Layout((10, 10), (50, 100))
    assert choose_layout(shape, dtype, chunks=(10, 20)).chunks == (10, 20)
    assert choose_layout(shape, dtype, chunks=[200, 1]).chunks == (200, 1)
    assert choose_layout(shape, dtype, chunks=(30, -1), shards=(-1, 100)) == Layout((30, 100), (120, 100))
    large = choose_layout((10**4, 10**4), dtype, chunks=(10, 10))
    assert large.chunks == (10, 10)
    check(large, (10**4, 10**4), dtype)


@pytest.mark.parametrize("option", ["chunks", "shards"])
@pytest.mark.parametrize("wanted", [(10,), (10, 10, 10), (0, 10), (-2, 10), (10.0, 10), ("a", 10), ()])
def test_what_does_not_fit_is_refused(option, wanted):
    with pytest.raises(UnsupportedValueError, match=rf"{option}=.* give 2 positive integers"):
        choose_layout((100, 100), np.dtype("f8"), **{option: wanted})


def test_shards_that_chunks_do_not_divide():
    with pytest.raises(UnsupportedValueError, match=r"shards \(25,\) are not a multiple of chunks \(10,\)"):
        choose_layout((100,), np.dtype("f8"), chunks=(10,), shards=(25,))


# Codecs


def names(codecs):
    return [codec["name"] for codec in codecs]


@pytest.mark.parametrize(
    ("dtype", "compressor"),
    [
        ("float64", {"cname": "lz4", "clevel": 5, "shuffle": "shuffle", "typesize": 8, "blocksize": 0}),
        ("float16", {"cname": "lz4", "clevel": 5, "shuffle": "shuffle", "typesize": 2, "blocksize": 0}),
        ("complex128", {"cname": "lz4", "clevel": 5, "shuffle": "shuffle", "typesize": 8, "blocksize": 0}),
        ("int64", {"cname": "zstd", "clevel": 3, "shuffle": "bitshuffle", "typesize": 8, "blocksize": 0}),
        ("uint16", {"cname": "zstd", "clevel": 3, "shuffle": "bitshuffle", "typesize": 2, "blocksize": 0}),
        ("uint8", {"level": 3, "checksum": False}),
        ("bool", {"level": 3, "checksum": False}),
        (STRING, {"level": 3, "checksum": False}),
    ],
)
def test_the_codec_policy(dtype, compressor):
    codecs = choose_codecs(np.dtype(dtype), Layout((10,), None))
    assert names(codecs)[0] == ("vlen-utf8" if dtype is STRING else "bytes")
    assert codecs[1]["configuration"] == compressor
    assert names(codecs)[-1] == "crc32c"


def test_codecs_of_a_shard_lie_inside_of_it():
    (sharding,) = choose_codecs(np.dtype("f8"), Layout((10,), (100,)))
    assert sharding["name"] == "sharding_indexed"
    assert sharding["configuration"]["chunk_shape"] == [10]
    assert names(sharding["configuration"]["codecs"]) == ["bytes", "blosc", "crc32c"]
    assert names(sharding["configuration"]["index_codecs"]) == ["bytes", "crc32c"]


@pytest.mark.parametrize(
    ("codec", "expected"),
    [
        (False, ["bytes", "crc32c"]),
        (zarr.codecs.GzipCodec(level=1), ["bytes", "gzip", "crc32c"]),
        ({"name": "gzip", "configuration": {"level": 1}}, ["bytes", "gzip", "crc32c"]),
        ([zarr.codecs.GzipCodec(), zarr.codecs.ZstdCodec()], ["bytes", "gzip", "zstd", "crc32c"]),
    ],
)
def test_a_codec_on_request(codec, expected):
    assert names(choose_codecs(np.dtype("f8"), Layout((10,), None), codec)) == expected


@pytest.mark.parametrize("codec", ["lz4", 5, [zarr.codecs.GzipCodec(), "zstd"]])
def test_what_is_no_codec(codec):
    with pytest.raises(UnsupportedValueError, match=r"codec=.* is no codec of zarr; give one such as"):
        choose_codecs(np.dtype("f8"), Layout((10,), None), codec)
