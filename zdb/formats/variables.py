"""Arrays of any dtype and chunking as stored variables of a Dataset, and back."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from zdb.errors import UnsupportedValueError
from zdb.formats.dtypes import (
    codec_for,
    codec_from_recipe,
    decode_array,
    encode_array,
    is_lazy,
)
from zdb.formats.names import safe_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "check_chunked_by_numpy",
    "chunks_from_json",
    "chunks_to_json",
    "chunks_to_read",
    "decode_variables",
    "encode_variables",
    "short_dtype",
]

Chunks = tuple[tuple[int, ...], ...]
LONGEST_DTYPE = 60
MOST_DIMS = 64  # of numpy


def encode_variables(
    name: str, dims: Sequence[str], data: Any, taken: set[str]
) -> tuple[dict[str, xr.Variable], dict[str, Any]]:
    """Turn an array into the variables that are stored.

    Parameters
    ----------
    name : str
        Safe name of the main variable, not taken.
    dims : sequence of str
        Safe names of the dimensions.
    data : numpy.ndarray or dask.array.Array
        A lazy array gives lazy variables.
    taken : set of str
        Safe names of all variables and dimensions of the Dataset; new names are added to it.

    Returns
    -------
    variables : dict of str to xarray.Variable
        The first is the main one, with CF attributes where plain xarray needs them.
    recipe : dict
        JSON for :func:`decode_variables`.

    Raises
    ------
    UnsupportedValueError
        The values would not come back exactly.
    """
    codec = codec_for(data)
    if any(data.ndim + len(part.extra) > MOST_DIMS for part in codec.parts):
        raise UnsupportedValueError(
            f"elements of {data.dtype} are kept along dimensions of their own, and the array has {data.ndim} of "
            f"{MOST_DIMS} already; reshape it"
        )
    names = [name]
    if len(codec.parts) > 1 or codec.parts[0].suffix:
        suffixes = [f"{name}.{part.suffix}" if part.suffix else name for part in codec.parts]
        names = safe_names(suffixes, taken - {name})
    variables = {}
    for stored_name, part, stored in zip(names, codec.parts, encode_array(codec, name, data), strict=True):
        taken.add(stored_name)
        extra = safe_names([f"{stored_name}_dim_{axis}" for axis in range(len(part.extra))], taken)
        taken.update(extra)
        encoding = {"element_dims": len(extra)} if extra else {}
        variables[stored_name] = xr.Variable((*dims, *extra), stored, encoding=encoding)
    variables[names[0]].attrs.update(codec.attributes(data))
    return variables, {"variables": names, "codec": codec.recipe()}


def decode_variables(
    variables: Mapping[Any, xr.Variable], recipe: Mapping[str, Any], chunks: Chunks | None = None
) -> Any:
    """Turn stored variables back into the array.

    Parameters
    ----------
    variables : mapping of str to xarray.Variable
        Those of the stored Dataset, or the same part of all of them.
    recipe : mapping
        As :func:`encode_variables` made it.
    chunks : tuple of tuple of int, optional
        Chunks of the dask array to make; without them a numpy array is read.

    Returns
    -------
    numpy.ndarray or dask.array.Array
    """
    stored = [variables[name] for name in recipe["variables"]]
    codec = codec_from_recipe(recipe["codec"])
    if chunks is None:
        return decode_array(codec, [variable.values for variable in stored])
    return decode_array(codec, [_lazy(variable, chunks) for variable in stored])


def chunks_to_json(chunks: Chunks) -> list[Any]:
    """Describe the chunks of a dask array: along each dimension one number if they are regular."""
    return [
        sizes[0]
        if sizes[0] > 0 and all(size == sizes[0] for size in sizes[:-1]) and 0 < sizes[-1] <= sizes[0]
        else list(sizes)
        for sizes in chunks
    ]


def chunks_from_json(described: Sequence[Any], shape: Sequence[int]) -> Chunks:
    """Read what :func:`chunks_to_json` wrote."""
    return tuple(
        tuple(sizes) if isinstance(sizes, list) else _regular(sizes, length)
        for sizes, length in zip(described, shape, strict=True)
    )


def chunks_to_read(variable: xr.Variable, ndim: int) -> Chunks:
    """Chunks by which a stored variable is read best: those that it is stored in."""
    preferred = variable.encoding.get("preferred_chunks", {})
    return tuple(
        _regular(preferred.get(dim, length), length)
        for dim, length in zip(variable.dims[:ndim], variable.shape[:ndim], strict=True)
    )


def check_chunked_by_numpy(data: Any, what: str) -> None:
    """Refuse dask arrays whose chunks have unknown sizes or are no plain numpy arrays.

    Raises
    ------
    UnsupportedValueError
    """
    from dask.array.utils import meta_from_array

    if any(np.isnan(size) for sizes in data.chunks for size in sizes):
        raise UnsupportedValueError(f"{what} has chunks of unknown sizes; call compute_chunk_sizes() on it first")
    meta = meta_from_array(data)  # type: ignore[no-untyped-call]
    if type(meta) is not np.ndarray:
        raise UnsupportedValueError(
            f"the chunks of {what} are {type(meta).__module__}.{type(meta).__qualname__}; only "
            "chunks that are numpy arrays can be kept: convert them with map_blocks()"
        )


def short_dtype(dtype: Any) -> str:
    """Name a dtype for listings."""
    text = str(dtype)
    return text if len(text) <= LONGEST_DTYPE else f"{text[: LONGEST_DTYPE - 1]}…"


def _regular(size: int, length: int) -> tuple[int, ...]:
    if length == 0:
        return (0,)
    full, rest = divmod(length, size)
    return (size,) * full + ((rest,) if rest else ())


def _lazy(variable: xr.Variable, chunks: Chunks) -> Any:
    whole = tuple((length,) for length in variable.shape[len(chunks) :])
    # A fresh name: a task must never be taken for that of an older value under the same key.
    options = {"name": f"zdb-{uuid.uuid4().hex}", "inline_array": True}
    by_dim = dict(zip(variable.dims, chunks + whole, strict=True))
    made = variable.chunk(by_dim, from_array_kwargs=options)
    if is_lazy(made.data):
        return made.data
    import dask.array as da

    return da.from_array(variable.values, chunks=())  # type: ignore[no-untyped-call]
