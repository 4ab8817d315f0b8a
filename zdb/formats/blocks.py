"""The blocks of dask arrays, which are known only when they are computed: each must be what its array promises."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from zdb.errors import UnsupportedValueError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["checked"]

# By the kind that is promised, the kinds whose values it can hold. Of objects, each is looked at by its codec.
HELD = {"b": "b", "u": "bu", "i": "bui", "f": "buif", "c": "buifc", "U": "U", "S": "S"}


def checked(name: str, data: Any) -> Any:
    """Return a dask array that raises when a block is computed that is not what the array promises.

    A block of another dtype is converted if this one holds all its values, such as float32 where float64 is promised.

    Parameters
    ----------
    name : str
        What the array is called, for the error.
    data : dask.array.Array

    Returns
    -------
    dask.array.Array
    """
    import dask.array as da
    from dask.layers import ArraySliceDep

    axes = tuple(range(data.ndim))
    return da.blockwise(  # type: ignore[no-untyped-call]
        partial(_checked_block, name=name, dtype=data.dtype),
        axes,
        data,
        axes,
        ArraySliceDep(data.chunks),
        axes,
        align_arrays=False,
        token="checked",  # noqa: S106 - part of the names of the tasks
        dtype=data.dtype,
        meta=np.empty((0,) * data.ndim, data.dtype),
    )


def _checked_block(block: Any, place: tuple[slice, ...], *, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the block at a place of an array as what is promised of it."""
    found = np.asarray(block)
    shape = tuple(one.stop - one.start for one in place)
    if found.shape != shape:
        raise _broken(name, place, f"has the shape {found.shape}", shape, "give the right chunks")
    if isinstance(block, np.ma.MaskedArray):
        how = "fill it, such as by .filled(), or give the right meta="
        raise _broken(name, place, "is masked", "an array without a mask", how)
    if found.dtype == dtype:
        return found
    if not _holds(dtype, found.dtype):
        how = "convert it by astype() in the function that makes it, or give the right dtype= or meta="
        raise _broken(name, place, f"is of {found.dtype}", dtype, how)
    return found if dtype.kind == "O" else found.astype(dtype)


def _holds(promised: np.dtype[Any], found: np.dtype[Any]) -> bool:
    """Whether all values of a dtype are kept when they are converted."""
    if promised.kind == "O" or np.can_cast(found, promised, "equiv"):
        return True
    is_rounded = found.kind in "ui" and found.itemsize == 8 and promised.kind in "fc"  # numpy calls that safe
    return found.kind in HELD.get(promised.kind, "") and np.can_cast(found, promised, "safe") and not is_rounded


def _broken(name: str, place: tuple[slice, ...], what: str, promised: Any, advice: str) -> UnsupportedValueError:
    where = ", ".join(f"{one.start}:{one.stop}" for one in place)
    return UnsupportedValueError(
        f"the block [{where}] of {name!r} {what}, but its dask array promises {promised}; {advice}"
    )
