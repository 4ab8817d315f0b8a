"""Sizes of the rows of a ragged array: how they are stored, and which values some rows need."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from zdb.formats.frames import ROW
from zdb.formats.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BLOCK", "VALUE", "Window", "more_row_sizes", "read_window", "row_size_variable"]

VALUE = "value"
# Every so many rows the position of the first value is kept, so that rows in the middle are found without adding up the
# sizes of all before them.
BLOCK = 2**16
# Sizes of no more bytes than this are read at once anyway.
ONE_CHUNK = 2**20


@dataclass(frozen=True)
class Window:
    """Rows to read from a ragged array.

    Attributes
    ----------
    rows : Rows
        The rows themselves.
    row_size : ndarray of int64
        Their sizes.
    values : Rows
        Which of the flat values they hold.
    """

    rows: Rows
    row_size: np.ndarray[Any, np.dtype[np.int64]]
    values: Rows


def row_size_variable(row_size: np.ndarray[Any, Any], values_dim: str) -> xr.Variable:
    """Sizes of rows as the smallest unsigned integers, with the CF attribute of ragged arrays."""
    sizes = row_size.astype(np.min_scalar_type(int(row_size.max(initial=0))))
    attrs: dict[str, Any] = {"long_name": "number of values in each row", "sample_dimension": values_dim}
    if sizes.size >= BLOCK:
        blocks = (sizes[start : start + BLOCK] for start in range(0, sizes.size - BLOCK + 1, BLOCK))
        starts = accumulate((int(block.sum(dtype=np.int64)) for block in blocks), initial=0)
        attrs |= {"block_size": BLOCK, "block_starts": list(starts)}
    encoding = {"chunks": (BLOCK,)} if sizes.nbytes > ONE_CHUNK else {}
    return xr.Variable((ROW,), sizes, attrs, encoding)


def more_row_sizes(stored: xr.Variable, more: np.ndarray[Any, Any], values: int) -> xr.Variable | None:
    """Sizes of rows to be added to a ragged array, with the attributes that all sizes have then.

    Parameters
    ----------
    stored : xarray.Variable
        The sizes of the rows that are there.
    more : ndarray of int
        Sizes of the rows to be added.
    values : int
        Number of values that are there.

    Returns
    -------
    xarray.Variable or None
        None if a row is longer than the dtype of `stored` can tell.
    """
    if more.max(initial=0) > np.iinfo(stored.dtype).max:
        return None
    attrs = dict(stored.attrs)
    rows = stored.size + more.size
    if rows >= BLOCK and ("block_size" in attrs or stored.size < BLOCK):
        size, starts = attrs.get("block_size", BLOCK), attrs.get("block_starts", [0])
        ends = np.cumsum(more, dtype=np.int64) + values
        new = [int(ends[row - stored.size - 1]) for row in range(len(starts) * size, rows + 1, size)]
        attrs |= {"block_size": size, "block_starts": [*starts, *new]}
    return xr.Variable(stored.dims, more.astype(stored.dtype), attrs)


def read_window(row_size: xr.Variable, rows: slice | Sequence[int] | None) -> Window:
    """Find the values of some rows, reading no more sizes than those between the first and the last, and a block.

    Raises
    ------
    SelectionError
        `rows` is out of bounds.
    """
    chosen = Rows.of(rows, row_size.size)
    block, before = divmod(chosen.start, row_size.attrs.get("block_size", row_size.size + 1))
    sizes = np.asarray(row_size[chosen.start - before : chosen.stop].values)
    first = row_size.attrs.get("block_starts", [0])[block] + int(sizes[:before].sum(dtype=np.int64))
    sizes = sizes[before:].astype(np.int64)
    last = first + int(sizes.sum())
    if chosen.positions is None:
        return Window(chosen, sizes, Rows(first, last))
    starts = (np.cumsum(sizes) - sizes)[chosen.positions]
    sizes = sizes[chosen.positions]
    shifts = np.repeat(starts - (np.cumsum(sizes) - sizes), sizes)
    return Window(chosen, sizes, Rows(first, last, shifts + np.arange(shifts.size), None))
