"""Hypothesis strategies for values: dtypes, arrays, dask arrays, attributes, Datasets."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

UNITS = ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as", "25s", "3D"]
TEXT = st.text('aAbz09 ._-/\\"\nßµ字\N{BRAIN}\x7f\uffff', max_size=5)
NAN = float("nan")
NA_OBJECTS = [None, NAN, pd.NA, "absent"]


def simple_dtypes() -> st.SearchStrategy[np.dtype]:
    """Every dtype but the structured ones, objects and StringDType."""
    return st.one_of(
        hnp.boolean_dtypes(),
        hnp.integer_dtypes(endianness="?"),
        hnp.unsigned_integer_dtypes(endianness="?"),
        hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
        hnp.complex_number_dtypes(endianness="?", sizes=(64, 128)),
        hnp.byte_string_dtypes(endianness="?", min_len=1, max_len=5),
        hnp.unicode_string_dtypes(endianness="?", min_len=1, max_len=5),
        st.sampled_from([f"{order}{kind}8[{u}]" for u in UNITS for kind in "mM" for order in "<>"]),
        st.sampled_from(["V1", "V7", "g", "G"]),
    ).map(np.dtype)


def dtypes() -> st.SearchStrategy[np.dtype]:
    """Simple dtypes, and structured ones of them with subarrays and fields in fields."""
    field_names = st.lists(
        st.one_of(st.sampled_from(["a", "A", "time", "x y", "µ", "zarr.json", "a.b"]), TEXT),
        min_size=1,
        max_size=3,
        unique=True,
    ).filter(lambda names: "" not in names)

    def structured(children: st.SearchStrategy[np.dtype]) -> st.SearchStrategy[np.dtype]:
        shapes = st.sampled_from([(), (), (2,), (2, 1)])
        return field_names.flatmap(
            lambda names: st.builds(
                lambda formats, aligned: np.dtype(
                    [(n, d, s) for n, (d, s) in zip(names, formats, strict=True)], align=aligned
                ),
                st.lists(st.tuples(children, shapes), min_size=len(names), max_size=len(names)),
                st.booleans(),
            )
        )

    return st.one_of(simple_dtypes(), st.recursive(simple_dtypes(), structured, max_leaves=4))


def shapes(max_dims: int = 3) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes from 0-d, with empty dimensions among them."""
    return st.lists(st.integers(0, 4), max_size=max_dims).map(tuple)


@st.composite
def arrays(draw: st.DrawFn, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Arrays of any dtype and memory order; the bytes are drawn, so that every value occurs."""
    dtype = draw(dtypes())
    if shape is None:
        shape = draw(shapes())
    array = _fill(draw, dtype, shape)
    order = draw(st.sampled_from(["C", "F", "reversed", "strided"]))
    if order == "F":
        return np.asfortranarray(array)
    if order == "reversed" and array.ndim:
        return array[::-1]
    if order == "strided" and array.ndim:
        return np.repeat(array, 2, axis=0)[::2]
    return array


@st.composite
def text_arrays(draw: st.DrawFn, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Arrays of objects or StringDType that hold strings, with missing ones of every kind."""
    if shape is None:
        shape = draw(shapes(2))
    size = int(np.prod(shape))
    kind = draw(st.sampled_from(["object", "string", *range(len(NA_OBJECTS))]))
    element = TEXT
    if kind == "object":
        element = st.one_of(TEXT, TEXT.map(np.str_), st.sampled_from([None, NAN, pd.NA, pd.NaT]))
    elif kind != "string":
        element = st.one_of(TEXT, st.just(NA_OBJECTS[kind]))
    flat = np.empty(size, dtype=object)
    for position in range(size):
        flat[position] = draw(element)
    if kind == "object":
        return flat.reshape(shape)
    if kind == "string":
        return flat.astype(np.dtypes.StringDType()).reshape(shape)
    return flat.astype(np.dtypes.StringDType(na_object=NA_OBJECTS[kind])).reshape(shape)


@st.composite
def chunks(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Chunks of a dask array: regular, irregular and empty ones."""
    result = []
    for length in shape:
        cuts = sorted(draw(st.lists(st.integers(0, length), max_size=3)))
        edges = [0, *cuts, length]
        result.append(tuple(b - a for a, b in pairwise(edges)))
    return tuple(result)


def json_values() -> st.SearchStrategy[Any]:
    """JSON, with NaN, Inf and integers of any size."""
    leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT)
    return st.recursive(
        leaves,
        lambda children: st.one_of(st.lists(children, max_size=3), st.dictionaries(TEXT, children, max_size=3)),
        max_leaves=6,
    )


def attribute_values() -> st.SearchStrategy[Any]:
    """Values of attributes: JSON, tuples, bytes, numpy scalars and arrays, times."""
    small = st.one_of(
        hnp.from_dtype(np.dtype("float32")),
        hnp.from_dtype(np.dtype(">i2")),
        hnp.from_dtype(np.dtype("bool")),
        hnp.from_dtype(np.dtype("datetime64[ms]")),
        TEXT.map(np.str_),
    )
    return st.one_of(
        json_values(),
        st.binary(max_size=4),
        st.complex_numbers(),
        st.tuples(json_values(), st.integers()),
        small,
        hnp.arrays(st.sampled_from(["f4", ">i2", "U3", "S2", "M8[D]", "?"]), hnp.array_shapes(max_side=3)),
        st.datetimes(),
        st.timedeltas(),
        st.sampled_from([pd.Timestamp("2000-01-01", tz="Europe/Berlin"), pd.NaT, pd.NA]),
    )


def attributes() -> st.SearchStrategy[dict[Any, Any]]:
    """Attributes, some with names that CF gives a meaning."""
    names = st.one_of(
        TEXT,
        st.sampled_from(["_FillValue", "scale_factor", "units", "calendar", "coordinates", "dtype", "bounds"]),
        st.integers(0, 9),
        st.tuples(TEXT, st.integers()),
    )
    dangerous = st.sampled_from(["days since 2000-01-01", "seconds", "timedelta64[ns]", "x y"])
    return st.dictionaries(names, st.one_of(attribute_values(), dangerous), max_size=4)


def names() -> st.SearchStrategy[Any]:
    """Names of variables and dimensions: any hashable."""
    return st.one_of(
        st.sampled_from(["x", "X", "time", "a/b", ".hidden", "__x", "zarr.json", "µ", "data"]),
        TEXT,
        st.integers(-3, 3),
        st.none(),
        st.tuples(st.integers(0, 2), TEXT),
    )


@st.composite
def datasets(draw: st.DrawFn) -> xr.Dataset:
    """Datasets with index coordinates, other coordinates, data variables and attributes."""
    dims = draw(st.lists(names(), min_size=1, max_size=3, unique=True))
    sizes = {dim: draw(st.integers(0, 4)) for dim in dims}
    coords: dict[Any, Any] = {}
    for dim in dims:
        # xarray makes indexes for dimensions with names of str only.
        if isinstance(dim, str) and draw(st.booleans()):
            coords[dim] = xr.Variable((dim,), _labels(draw, sizes[dim]), draw(attributes()))
    data: dict[Any, Any] = {}
    for name in draw(st.lists(names(), max_size=4, unique=True)):
        if name in dims:
            continue
        own = draw(st.lists(st.sampled_from(dims), max_size=2, unique=True))
        shape = tuple(sizes[dim] for dim in own)
        values = draw(st.one_of(_dataset_arrays(shape), text_arrays(shape)))
        if draw(st.booleans()):
            import dask.array as da

            values = da.from_array(values, chunks=draw(chunks(shape)))
        target = coords if draw(st.booleans()) else data
        target[name] = xr.Variable(own, values, draw(attributes()))
    return xr.Dataset(data, coords, draw(attributes()))


def _labels(draw: st.DrawFn, size: int) -> Any:
    kind = draw(st.sampled_from(["int", "float", "text", "time", "range", "category", "period"]))
    if kind == "int":
        return np.array(draw(_lists(st.integers(-5, 5), size)), dtype="int32")
    if kind == "float":
        return np.array(draw(_lists(st.floats(width=32), size)), dtype="float32")
    if kind == "text":
        return np.array(draw(_lists(TEXT, size)), dtype="U5")
    if kind == "time":
        return pd.date_range("2000-01-01", periods=size, freq="12h")
    if kind == "range":
        return pd.RangeIndex(3, 3 + 2 * size, 2)
    if kind == "category":
        return pd.CategoricalIndex(draw(_lists(st.sampled_from("ab"), size)), categories=list("ba"))
    return pd.period_range("2000-01", periods=size, freq="M")


def _lists(elements: st.SearchStrategy[Any], size: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(elements, min_size=size, max_size=size)


def _dataset_arrays(shape: tuple[int, ...]) -> st.SearchStrategy[np.ndarray]:
    kinds = ["?", "i1", ">u2", "f2", "f4", ">f8", "c8", "M8[s]", "M8[ns]", "m8[ms]", "U3", "S2"]
    return st.sampled_from(kinds).flatmap(lambda kind: hnp.arrays(kind, shape))


def _fill(draw: st.DrawFn, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """An array of drawn bytes, or of drawn text."""
    if dtype.names is not None:
        array = np.zeros(shape, dtype)
        for name in dtype.names:
            base, own = dtype[name].base, dtype[name].shape
            array[name] = _fill(draw, base, shape + own)
        return array
    size = int(np.prod(shape))
    if dtype.kind == "U":
        return np.array(draw(_lists(TEXT, size)), dtype).reshape(shape)
    small = dtype.kind == "b" or dtype.char in "gG"
    width = 1 if small else dtype.itemsize
    raw = np.frombuffer(draw(st.binary(min_size=size * width, max_size=size * width)), np.uint8)
    values = (raw % 2).astype(dtype) if small else raw.view(dtype)
    return values.reshape(shape).copy()
