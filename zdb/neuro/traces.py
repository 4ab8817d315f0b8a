"""Voltage traces, whatever they come in, read block by block."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
import xarray as xr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike, NDArray

__all__ = ["Traces", "traces_of"]

BLOCK_BYTES = 64 << 20
Result = TypeVar("Result")


@dataclass(frozen=True)
class Traces:
    """Voltage traces of trials.

    Attributes
    ----------
    data : array, shape (trials, samples)
        In mV; a numpy or dask array, or a lazy xarray variable.
    time : ndarray of float64, shape (samples,)
        In ms.
    trials : pandas.Index or None
        Labels of the trials where they are known.
    is_single : bool
        One trace was given, without a dimension of trials.
    """

    data: Any
    time: NDArray[np.float64]
    trials: pd.Index[Any] | None
    is_single: bool

    def map_blocks(self, function: Callable[[NDArray[Any]], Result]) -> list[Result]:
        """Call a function for blocks of whole traces, from the first to the last.

        Blocks of dask arrays are computed in parallel by the scheduler that is set; of other arrays, one after the
        other, no more than 64 MiB are in memory.
        """
        if hasattr(self.data, "to_delayed"):
            from dask.base import compute
            from dask.delayed import delayed

            blocks = self.data.rechunk({1: -1}).to_delayed()[:, 0]
            return list(compute(*(delayed(function)(block) for block in blocks)))  # type: ignore[no-untyped-call]
        row_bytes = max(1, self.data.shape[1] * self.data.dtype.itemsize)
        step = max(1, BLOCK_BYTES // row_bytes)
        starts = range(0, max(1, self.data.shape[0]), step)
        return [function(np.asarray(self.data[start : start + step])) for start in starts]

    def sum_blocks(self, function: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
        """Add up what a function returns for blocks of whole traces.

        No more results are in memory than blocks are computed at once, however many blocks there are.
        """
        total: NDArray[Any] | None = None
        for some in self._in_turns():
            for part in some.map_blocks(function):
                total = part if total is None else total + part
        assert total is not None
        return total

    def _in_turns(self) -> Iterator[Traces]:
        if hasattr(self.data, "to_delayed"):
            from dask.system import CPU_COUNT

            starts = np.cumsum([0, *self.data.chunks[0][:-1]])[::CPU_COUNT].tolist()
        else:
            step = max(1, BLOCK_BYTES // max(1, self.data.shape[1] * self.data.dtype.itemsize))
            starts = list(range(0, max(1, self.data.shape[0]), step))
        for start, end in itertools.pairwise([*starts, self.data.shape[0]]):
            yield replace(self, data=self.data[start:end])


def traces_of(voltage: Any, time: ArrayLike | None = None) -> Traces:
    """Bring voltage traces into their common form.

    Parameters
    ----------
    voltage : array_like, pandas.DataFrame, xarray.DataArray, xarray.Dataset, dask array or dask DataFrame
        Trials × samples, or one trace; in mV. Of a Dataset, the variable ``voltage`` is taken.
    time : array_like, optional
        In ms. Not needed where the columns of a table, or the coordinate ``time``, say it.

    Raises
    ------
    ValueError
        The shapes do not fit each other, or nothing says the times.
    """
    trials: pd.Index[Any] | None = None
    if isinstance(voltage, xr.Dataset):
        voltage = voltage["voltage"]
    if isinstance(voltage, xr.DataArray):
        found = voltage.transpose(..., "time") if "time" in voltage.dims else voltage
        time = found["time"].to_numpy() if time is None and "time" in found.coords else time
        if found.ndim == 2 and found.dims[0] in found.indexes:
            trials = found.indexes[found.dims[0]]
        data: Any = found.data if found.chunks is not None else found.variable
    elif isinstance(voltage, (pd.DataFrame, pd.Series)):
        named = voltage.columns if isinstance(voltage, pd.DataFrame) else voltage.index
        time = np.asarray(named, dtype=np.float64) if time is None else time
        trials = voltage.index if isinstance(voltage, pd.DataFrame) else None
        data = voltage.to_numpy()
    elif hasattr(voltage, "to_dask_array"):
        time = np.asarray(voltage.columns, dtype=np.float64) if time is None else time
        trials = voltage.index.compute()
        data = voltage.to_dask_array(lengths=True)
    else:
        data = voltage if hasattr(voltage, "to_delayed") else np.asarray(voltage)
    if time is None:
        raise ValueError("nothing says the times of the samples: give them as the second argument, in ms")
    samples = np.asarray(time, dtype=np.float64)
    is_single = data.ndim == 1
    if is_single:
        data = np.asarray(data)[np.newaxis]
    if data.ndim != 2 or samples.shape != (data.shape[1],):
        raise ValueError(
            f"voltage of shape {tuple(data.shape)} and time of shape {samples.shape} do not fit; "
            "expected (trials, samples) and (samples,)"
        )
    return Traces(data, samples, trials, is_single)
