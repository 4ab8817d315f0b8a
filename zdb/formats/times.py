"""CF attributes by which plain xarray reads stored times as times."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["time_attributes"]

_CF_UNITS = {
    "ns": "nanoseconds",
    "us": "microseconds",
    "ms": "milliseconds",
    "s": "seconds",
    "m": "minutes",
    "h": "hours",
    "D": "days",
}
_NOT_A_TIME = np.iinfo(np.int64).min
# xarray reads times to the nanosecond by default: from 1678 to 2262, and durations as long.
_RANGE_IN_NANOSECONDS = np.iinfo(np.int64).max


def time_attributes(dtype: np.dtype[Any], counts: np.ndarray[Any, Any]) -> dict[str, str]:
    """CF attributes for counts of a datetime64 or timedelta64 unit.

    Parameters
    ----------
    dtype : numpy.dtype
        datetime64 or timedelta64 of any unit.
    counts : ndarray of int
        The times as stored: counts of the unit, since 1970-01-01 for datetime64.

    Returns
    -------
    dict
        Empty if CF has no such unit, or if xarray could not read the times to the nanosecond.
    """
    unit, multiple = np.datetime_data(dtype)
    if unit not in _CF_UNITS or multiple != 1:
        return {}
    if unit != "ns" and counts.size and not _fits_nanoseconds(unit, counts):
        return {}
    if dtype.kind == "M":
        return {"units": f"{_CF_UNITS[unit]} since 1970-01-01", "calendar": "proleptic_gregorian"}
    return {"units": _CF_UNITS[unit], "dtype": "timedelta64[ns]"}


def _fits_nanoseconds(unit: str, counts: np.ndarray[Any, Any]) -> bool:
    one = np.array(1, dtype=f"timedelta64[{unit}]").astype("timedelta64[ns]").astype(np.int64)
    limit = _RANGE_IN_NANOSECONDS // int(one)
    known = counts[counts != _NOT_A_TIME] if counts.min() == _NOT_A_TIME else counts
    return known.size == 0 or bool(known.min() > -limit and known.max() < limit)
