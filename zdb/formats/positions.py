"""Positions along a dimension, as users give them: checked before anything is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zdb.errors import SelectionError

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

__all__ = ["check_positions", "checked_indexers"]


def check_positions(positions: Any, size: int, what: str) -> Any:
    """Return positions that fit a dimension.

    Parameters
    ----------
    positions : int, slice, sequence of int, or sequence of bool
        A mask must be as long as the dimension.
    size : int
        Length of the dimension.
    what : str
        Name of the argument, for the error.

    Returns
    -------
    int, slice or numpy.ndarray of int64

    Raises
    ------
    SelectionError
        They are of another type, or out of bounds.
    """
    if isinstance(positions, slice):
        return positions
    array = np.asarray(positions)
    if array.dtype == bool:
        if array.shape != (size,):
            raise SelectionError(f"{what}: a mask of shape {array.shape} does not fit a dimension of length {size}")
        return np.flatnonzero(array)
    if array.size == 0 and array.ndim == 1:
        return np.zeros(0, np.int64)
    if array.dtype.kind not in "iu" or array.ndim > 1:
        raise SelectionError(f"{what}: positions are a slice, an int, a list of int or a mask, not {positions!r}")
    if array.min() < -size or array.max() >= size:
        raise SelectionError(f"{what}: {positions!r} is out of bounds for length {size}")
    array = array.astype(np.int64)
    array = np.where(array < 0, array + size, array)
    return int(array) if array.ndim == 0 else array


def checked_indexers(isel: Mapping[Hashable, Any], sizes: Mapping[Any, int]) -> dict[Hashable, Any]:
    """Check the positions for each dimension; unknown ones raise :class:`SelectionError`."""
    indexers = {}
    for dim, positions in isel.items():
        if dim not in sizes:
            known = ", ".join(map(repr, sizes)) or "none"
            raise SelectionError(f"isel: there is no dimension {dim!r}; known ones are {known}")
        indexers[dim] = check_positions(positions, sizes[dim], f"isel {dim!r}")
    return indexers
