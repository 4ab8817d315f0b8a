"""Which rows of stored one-dimensional variables to read, and how to read no more than these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zdb.errors import SelectionError
from zdb.formats.positions import check_positions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

__all__ = ["Rows"]

# Above this share of the window it is faster to read the window and pick from it.
DENSE = 1 / 64


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows to read: a window, and the positions to take within it.

    Attributes
    ----------
    start, stop : int
        The smallest contiguous window that holds all rows.
    positions : ndarray of int64, optional
        Positions counted from `start`, in the order asked for; None takes the window as it is.
    step : int, optional
        Set when the rows are evenly spaced, so that an index of regular times keeps its frequency.
    """

    start: int
    stop: int
    positions: np.ndarray[Any, np.dtype[np.int64]] | None = None
    step: int | None = 1

    @classmethod
    def of(cls, rows: slice | Sequence[int] | None, size: int) -> Rows:
        """Check a selection against the number of rows.

        Parameters
        ----------
        rows : slice, sequence of int or of bool, or None
            Negative positions count from the end; a mask has one entry per row; None means all.
        size : int
            Number of rows that there are.

        Raises
        ------
        SelectionError
            A position is out of bounds, a mask has another length, or it is neither.
        """
        if rows is None:
            return cls(0, size)
        if isinstance(rows, slice):
            wanted = range(*rows.indices(size))
            if not wanted:
                return cls(0, 0, step=wanted.step)
            if wanted.step == 1:
                return cls(wanted.start, wanted.stop)
            low, high = min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1])
            positions = np.arange(wanted.start, wanted.stop, wanted.step, dtype=np.int64) - low
            return cls(low, high + 1, positions, wanted.step)
        positions = check_positions(rows, size, "rows")
        if np.ndim(positions) == 0:
            raise SelectionError(f"rows: give a list of positions, [{rows!r}], not one position")
        if positions.size == 0:
            return cls(0, 0, step=None)
        start = int(positions.min())
        return cls(start, int(positions.max()) + 1, positions - start, None)

    def __len__(self) -> int:
        return self.stop - self.start if self.positions is None else self.positions.size

    def read(self, variable: xr.Variable) -> np.ndarray[Any, Any]:
        """Read these rows of a one-dimensional variable."""
        if self.positions is None or self.positions.size > (self.stop - self.start) * DENSE:
            return self.pick(np.asarray(variable[self.start : self.stop].values))
        unique, inverse = np.unique(self.positions, return_inverse=True)
        return np.asarray(variable[unique + self.start].values)[inverse]

    def pick(self, window: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Pick these rows out of the window that was read."""
        return window if self.positions is None else window[self.positions]
