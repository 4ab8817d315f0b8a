"""Chunks and codecs of values that get longer: those that a value has, or those that suit more than it holds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from zdb.engine.layout import CHUNK_BYTES, SHARD_BYTES, Layout
from zdb.formats.jagged import VALUE

if TYPE_CHECKING:
    import xarray as xr

    from zdb.engine.node import ArrayNode, Node

__all__ = ["ROWS", "is_cut_along", "is_cut_to_size", "is_in_one_shard", "layout_along", "may_be_cut", "with_layout_of"]

# Rows in a chunk of a value that was too small for chunks; fewer of strings, which are decoded one by one.
ROWS, TEXT_ROWS = 2**16, 2**10


def is_cut_to_size(node: Node) -> bool:
    """Whether a value to which nothing was added yet has arrays that are objects of just their size.

    Small ones would be followed by objects as small. Others are shards, each of which would be written with every part.
    """
    return "zdb_appends" not in node.attributes and any(map(_is_one_object, node.arrays.values()))


def may_be_cut(node: Node) -> bool:
    """Whether :func:`is_cut_along` may be true for a value, along whatever dimension."""
    return "zdb_appends" not in node.attributes and node.nbytes <= SHARD_BYTES


def is_cut_along(node: Node, axes: dict[str, int]) -> bool:
    """Whether arrays that get longer along these axes are small objects of just their size, as in `is_cut_to_size`."""
    growing = [(node.arrays[name], axis) for name, axis in axes.items()]
    return (
        may_be_cut(node)
        and sum(array.nbytes for array, _ in growing) < CHUNK_BYTES
        and any(array.object_shape[axis] == max(1, array.shape[axis]) for array, axis in growing)
    )


def layout_along(array: ArrayNode, axis: int, itemsize: int) -> Layout:
    """The chunks of an array that gets longer along an axis, if it is now one object."""
    inner, outer = array.inner_shape, array.object_shape
    if inner != outer or outer[axis] != max(1, array.shape[axis]):
        return Layout(inner, outer if outer != inner else None)
    beside = math.prod(outer) // outer[axis]
    rows = TEXT_ROWS // beside if array.dtype == "string" else CHUNK_BYTES // (beside * itemsize)
    return Layout((*outer[:axis], max(outer[axis], rows), *outer[axis + 1 :]), None)


def is_in_one_shard(array: ArrayNode) -> bool:
    """Whether an array that gets longer is one shard of a size that was chosen for just this array."""
    if len(array.shape) != 1 or array.nbytes <= CHUNK_BYTES or array.inner_shape == array.object_shape:
        return False
    (inner,), (outer,) = array.inner_shape, array.object_shape
    return _gets_longer(array.dims) and outer == math.ceil(array.shape[0] / inner) * inner


def with_layout_of(node: Node, encoded: xr.Dataset) -> xr.Dataset:
    """Return what is written in place of a value, to get chunks for growing and the codecs of this value."""
    for name, variable in encoded.variables.items():
        before = node.arrays.get(str(name))
        variable.encoding = {"zdb_layout": _growing_layout(before, variable)} if _gets_longer(variable.dims) else {}
        dtype = "string" if variable.dtype.kind == "T" else variable.dtype.name
        if before is not None and before.dtype == dtype:
            variable.encoding["zdb_codec"] = before.compressors
    return encoded


def _is_one_object(array: ArrayNode) -> bool:
    is_one_chunk = _gets_longer(array.dims) and array.object_shape == (max(1, *array.shape),)
    return is_one_chunk or is_in_one_shard(array)


def _gets_longer(dims: tuple[Any, ...]) -> bool:
    """Whether there is more along a dimension with every row, other than with categories and labels."""
    return not str(dims[0]).endswith((".category", ".label"))


def _growing_layout(before: ArrayNode | None, variable: xr.Variable) -> Layout:
    """The chunks that an array has already, or those of a long one."""
    if before is not None and is_in_one_shard(before):
        (inner,), itemsize = before.inner_shape, variable.dtype.itemsize
        outer = max(1, CHUNK_BYTES // (inner * itemsize)) * inner
        return Layout((inner,), (outer,) if outer != inner else None)
    if before is not None and not _is_one_object(before):
        return Layout(before.inner_shape, before.object_shape if before.inner_shape != before.object_shape else None)
    if variable.dtype.kind == "T":
        return Layout((TEXT_ROWS,), None)
    is_flat = str(variable.dims[0]) == VALUE or str(variable.dims[0]).endswith((f".{VALUE}", ".byte"))
    return Layout((CHUNK_BYTES // variable.dtype.itemsize if is_flat else ROWS,), None)
