"""Whether a value that was written comes back as it was."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable

    import zdb

__all__ = ["difference"]

BLOCK = 64 * 2**20


def difference(old: Any, new: zdb.Database, key: str) -> str:
    """Read a value back and compare it with the old one; return what differs, or "".

    Large arrays are compared block by block, and partitioned tables partition by partition.
    """
    if isinstance(old, Path):
        return _of_file(old, new[key])
    if isinstance(old, np.ndarray) and old.nbytes > BLOCK and old.ndim:
        return _of_large_array(old, new, key)
    return _difference(old, new[key])


def _of_file(old: Path, new: Any) -> str:
    with old.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return "" if digest == new.sha256 else "the content differs"


def _of_large_array(old: np.ndarray[Any, Any], new: zdb.Database, key: str) -> str:
    rows = max(1, BLOCK * len(old) // old.nbytes)
    for start in range(0, len(old), rows):
        different = _difference(old[start : start + rows], new.get(key, rows=slice(start, start + rows)))
        if different:
            return f"from row {start}: {different}"
    return ""


def _difference(old: Any, new: Any) -> str:
    if type(old).__module__.startswith("dask."):
        return _of_partitions(old, new)
    if isinstance(old, np.ndarray):
        return _of_arrays(old, new)
    if isinstance(old, pd.DataFrame | pd.Series | pd.Index):
        return _of_tables(old, new)
    if type(old) is not type(new):
        return f"a {type(old).__name__} became a {type(new).__name__}"
    if isinstance(old, list | tuple):
        if len(old) != len(new):
            return f"{len(old)} elements became {len(new)}"
        return next(
            (f"[{n}]: {d}" for n, (a, b) in enumerate(zip(old, new, strict=True)) if (d := _difference(a, b))), ""
        )
    if isinstance(old, dict):
        if list(old) != list(new):
            return "the keys of a dict differ"
        return next((f"[{name!r}]: {d}" for name in old if (d := _difference(old[name], new[name]))), "")
    same = repr(old) == repr(new) if isinstance(old, float | complex | np.generic) else old == new
    return "" if same else f"{old!r:.60} became {new!r:.60}"


def _of_arrays(old: np.ndarray[Any, Any], new: Any) -> str:
    if not isinstance(new, np.ndarray):
        return f"an array became a {type(new).__name__}"
    if old.dtype != new.dtype or old.shape != new.shape:
        return f"{old.dtype} {old.shape} became {new.dtype} {new.shape}"
    if old.dtype.hasobject:
        return _difference(old.ravel().tolist(), new.ravel().tolist())
    same = np.array_equal(old, new, equal_nan=old.dtype.kind in "fcmM")
    return "" if same else "the numbers differ"


def _of_tables(old: Any, new: Any) -> str:
    compare: dict[type, Callable[..., None]] = {
        pd.DataFrame: pd.testing.assert_frame_equal,
        pd.Series: pd.testing.assert_series_equal,
    }
    if type(old) is not type(new) and not isinstance(old, pd.Index):
        return f"a {type(old).__name__} became a {type(new).__name__}"
    try:
        if isinstance(old, pd.Index):
            pd.testing.assert_index_equal(old, new, exact=True)
        else:
            compare[type(old)](old, new, check_exact=True, check_freq=False)
    except AssertionError as error:
        return " ".join(str(error).split())[:300]
    return ""


def _of_partitions(old: Any, new: Any) -> str:
    if type(new).__module__.split(".")[0] != "dask":
        return f"a dask table became a {type(new).__name__}"
    if old.npartitions != new.npartitions or old.divisions != new.divisions:
        return "the partitions differ"
    for number in range(old.npartitions):
        one, other = (frame.partitions[number].compute(scheduler="synchronous") for frame in (old, new))
        different = _of_tables(one, other)
        if different:
            return f"in partition {number}: {different}"
    return ""
