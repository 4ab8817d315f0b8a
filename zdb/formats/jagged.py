"""Sizes of the rows of a ragged array: how they are stored, and which values some rows need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from zdb.formats.frames import ROW
from zdb.formats.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["VALUE", "Window", "read_window", "row_size_variable"]

VALUE = "value"


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
    smallest = np.min_scalar_type(int(row_size.max(initial=0)))
    attrs = {"long_name": "number of values in each row", "sample_dimension": values_dim}
    return xr.Variable((ROW,), row_size.astype(smallest), attrs)


def read_window(row_size: xr.Variable, rows: slice | Sequence[int] | None) -> Window:
    """Find the values of some rows, reading no sizes after the last of them.

    Raises
    ------
    SelectionError
        `rows` is out of bounds.
    """
    chosen = Rows.of(rows, row_size.size)
    sizes = np.asarray(row_size[: chosen.stop].values)
    first = int(sizes[: chosen.start].sum(dtype=np.int64))
    sizes = sizes[chosen.start :].astype(np.int64)
    last = first + int(sizes.sum())
    if chosen.positions is None:
        return Window(chosen, sizes, Rows(first, last))
    starts = (np.cumsum(sizes) - sizes)[chosen.positions]
    sizes = sizes[chosen.positions]
    shifts = np.repeat(starts - (np.cumsum(sizes) - sizes), sizes)
    return Window(chosen, sizes, Rows(first, last, shifts + np.arange(shifts.size), None))
