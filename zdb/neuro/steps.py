"""Equal steps of time, and the step into which a time falls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Steps"]

# The part of a step by which a time may miss the beginning of a step and still count as being there. Steps of 0.025 ms
# have no exact floating-point number; a time that a simulation sums up of them is off by less than that for seconds.
TOLERANCE = 1e-7


@dataclass(frozen=True)
class Steps:
    """Steps that follow each other; each holds its beginning and not its end.

    Attributes
    ----------
    begin : float
        Of the first one, in ms.
    size : float
        Of each, in ms.
    number : int
    """

    begin: float
    size: float
    number: int

    @classmethod
    def between(cls, begin: float, end: float, size: float) -> Steps:
        """As many as reach the end; the last one goes beyond it if they do not fit.

        Raises
        ------
        ValueError
            The size is not positive.
        """
        if not size > 0:
            raise ValueError(f"a step of {size} ms is not positive")
        return cls(begin, size, max(0, int(np.ceil((end - begin) / size - TOLERANCE))))

    @property
    def edges(self) -> NDArray[Any]:
        """Where they begin, and the end of the last one."""
        return self.begin + np.arange(self.number + 1) * self.size

    @property
    def starts(self) -> NDArray[np.float64]:
        return self.edges[:-1].astype(np.float64)

    def places(self, times: NDArray[np.float64], *, with_end: bool = False) -> NDArray[np.int64]:
        """Return the step of each time, -1 for those outside; the end belongs to the last one if asked for."""
        position = times - self.begin
        position *= 1 / self.size
        position += 1 + TOLERANCE  # so that 0 to 1 is before the first step, and rounding towards 0 is rounding down
        np.clip(position, 0, self.number + 2, out=position)
        place = position.astype(np.int64)
        place -= 1
        behind = np.flatnonzero(place >= self.number)
        at_end = with_end & (position[behind] <= self.number + 1 + 2 * TOLERANCE)
        place[behind] = np.where(at_end, self.number - 1, -1)
        return place

    def snapped(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the times, those at the beginning of a step as :attr:`edges` has it."""
        nearest = np.rint((times - self.begin) / self.size)
        near = np.abs((times - self.begin) / self.size - nearest) <= TOLERANCE
        return np.where(near, self.begin + nearest * self.size, times)
