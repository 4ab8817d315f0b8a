"""Format ``ragged``: rows of different length as a CF contiguous ragged array, and their class."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pandas as pd
import xarray as xr

from zdb.errors import UnsupportedValueError
from zdb.formats import frames
from zdb.formats.columns import decode_array, encode_array
from zdb.formats.frames import ROW, Parts
from zdb.formats.jagged import VALUE, read_window, row_size_variable
from zdb.formats.labels import USE_PICKLE
from zdb.formats.ragged_dataset import encode_dataset
from zdb.formats.registry import Format, Selection, require_types

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    import dask.dataframe as dd

__all__ = ["Ragged", "RaggedFormat"]

Array = np.ndarray[Any, Any]
SHOWN_ROWS = 6


class Ragged:
    """Rows of different length, held as one flat array, with a table of one line for each row.

    Spike times are the usual case: a row for each trial or each cell.

    Parameters
    ----------
    values : array_like
        All values, row after row; one dimension, of any dtype of numbers, booleans or times.
    row_size : array_like of int
        Number of values in each row.
    columns : pandas.DataFrame or mapping, optional
        One line for each row, such as the trial and the cell.

    Raises
    ------
    ValueError
        Sizes do not fit together.

    Examples
    --------
    >>> spikes = Ragged.from_lists([[1.5, 2.5], [], [0.5]], columns={"trial": [3, 4, 9]})
    >>> spikes[0]
    array([1.5, 2.5])
    >>> len(spikes[spikes.row_size > 0])
    2
    """

    def __init__(self, values: Any, row_size: Any, columns: pd.DataFrame | Mapping[Any, Any] | None = None) -> None:
        values, sizes = np.asarray(values), np.asarray(row_size)
        if values.ndim != 1 or sizes.ndim != 1:
            raise ValueError(f"values and row_size have one dimension each, not {values.ndim} and {sizes.ndim}")
        if sizes.size and (sizes.dtype.kind not in "iu" or sizes.min() < 0):
            raise ValueError("row_size holds the number of values of each row: integers from 0 on")
        self._values: Array = values
        self._offsets = np.zeros(sizes.size + 1, dtype=np.int64)
        np.cumsum(sizes, dtype=np.int64, out=self._offsets[1:])
        if self._offsets[-1] != values.size:
            raise ValueError(f"row_size adds up to {self._offsets[-1]}, but there are {values.size} values")
        if columns is None or (not isinstance(columns, pd.DataFrame) and not columns):
            columns = pd.DataFrame(index=pd.RangeIndex(sizes.size))
        self._columns = columns if isinstance(columns, pd.DataFrame) else pd.DataFrame(columns)
        if len(self._columns) != sizes.size:
            raise ValueError(f"columns has {len(self._columns)} lines for {sizes.size} rows")

    @classmethod
    def from_lists(
        cls,
        rows: Sequence[Any],
        columns: pd.DataFrame | Mapping[Any, Any] | None = None,
        dtype: Any = None,
    ) -> Ragged:
        """Make ragged values of a list of arrays or lists.

        Parameters
        ----------
        rows : sequence of array_like
            One-dimensional rows.
        columns : pandas.DataFrame or mapping, optional
            One line for each row.
        dtype : numpy.dtype, optional
            Of the values; the one that holds all rows by default, float64 if there are none.
        """
        arrays = [np.asarray(row, dtype=dtype) for row in rows]
        for i, array in enumerate(arrays):
            if array.ndim != 1:
                raise ValueError(f"row {i} has {array.ndim} dimensions, not one")
        filled = [array for array in arrays if array.size] or arrays[:1]
        flat = np.concatenate(filled, dtype=dtype) if filled else np.zeros(0, dtype=dtype)
        return cls(flat, np.fromiter(map(len, arrays), dtype=np.int64), columns)

    @property
    def values(self) -> Array:
        """All values, row after row."""
        return self._values

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        dtype: np.dtype[Any] = self._values.dtype
        return dtype

    @property
    def row_size(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Number of values in each row."""
        return np.diff(self._offsets)

    @property
    def offsets(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Where each row begins in `values`, and at the end where the last one ends."""
        return self._offsets

    @property
    def columns(self) -> pd.DataFrame:
        """One line for each row; without columns if none were given."""
        return self._columns

    def __len__(self) -> int:
        return self._offsets.size - 1

    def __iter__(self) -> Iterator[Array]:
        return (self._values[first:last] for first, last in pairwise(self._offsets.tolist()))

    @overload
    def __getitem__(self, key: int | np.integer[Any]) -> Array: ...
    @overload
    def __getitem__(self, key: str) -> pd.Series[Any]: ...
    @overload
    def __getitem__(self, key: slice | Sequence[int] | Array | pd.Series[Any]) -> Ragged: ...
    def __getitem__(self, key: Any) -> Any:
        """One row by position, a column by name, or rows by a slice, positions or a mask."""
        if isinstance(key, str):
            return self._columns[key]
        if isinstance(key, slice):
            return self._take(np.arange(len(self))[key])
        positions = np.asarray(key)
        if positions.ndim == 0:
            if positions.dtype.kind not in "iu":
                raise TypeError(f"a row is picked by its position, not by {key!r}")
            row = range(len(self))[int(positions)]
            return self._values[self._offsets[row] : self._offsets[row + 1]]
        if positions.size == 0:
            positions = positions.astype(np.int64)
        return self._take(np.arange(len(self))[positions])

    def _take(self, rows: Array) -> Ragged:
        columns = self._columns.iloc[rows]
        sizes = self.row_size[rows]
        if rows.size and np.array_equal(rows, np.arange(rows[0], rows[0] + rows.size)):
            first, last = self._offsets[rows[0]], self._offsets[rows[-1] + 1]
            return Ragged(self._values[first:last], sizes, columns)
        ends = np.cumsum(sizes)
        shifts = np.repeat(self._offsets[rows] - (ends - sizes), sizes)
        return Ragged(self._values[shifts + np.arange(shifts.size)], sizes, columns)

    def to_list(self) -> list[Array]:
        """The rows as a list of arrays, which share the memory of `values`."""
        return list(self)

    def to_awkward(self) -> Any:
        """The values as an ``awkward.Array``; without the columns."""
        import awkward as ak

        content = ak.contents.NumpyArray(self._values)
        return ak.Array(ak.contents.ListOffsetArray(ak.index.Index64(self._offsets), content))

    @overload
    def to_frame(self) -> pd.DataFrame: ...
    @overload
    def to_frame(self, npartitions: int) -> dd.DataFrame: ...
    def to_frame(self, npartitions: int | None = None) -> Any:
        """A wide table: the columns, and then the values of each row in columns 0, 1, 2 ...

        Parameters
        ----------
        npartitions : int, optional
            Return a dask DataFrame of so many parts with about the same number of rows; each is
            made wide when it is computed, so that the whole table need not fit into memory.

        Returns
        -------
        pandas.DataFrame or dask.dataframe.DataFrame
            Short rows are filled with NaN, times with NaT. Integers and booleans become float64.
        """
        width = int(self.row_size.max(initial=0))
        if npartitions is None:
            return self._wide(slice(None), width)
        import dask.config
        import dask.dataframe as dd

        if npartitions < 1:
            raise ValueError(f"npartitions is a number from 1 on, not {npartitions}")
        ends = np.linspace(0, len(self), min(npartitions, max(1, len(self))) + 1).astype(int).tolist()
        parts = [slice(first, last) for first, last in pairwise(ends)]
        # Without this dask turns columns of strings into a string dtype of its own.
        with dask.config.set({"dataframe.convert-string": False}):
            return dd.from_map(self._wide, parts, width=width, meta=self._wide(slice(0), width))  # type: ignore[no-untyped-call]

    def _wide(self, rows: slice, width: int) -> pd.DataFrame:
        part = self if rows == slice(None) else self[rows]
        dtype = self.dtype
        fill: Any = np.nan
        if dtype.kind in "mM":
            fill = np.array("NaT", dtype=dtype)
        elif dtype.kind in "biu":
            dtype = np.dtype(np.float64)
        table = np.full((len(part), width), fill, dtype=dtype)
        table[np.arange(width) < part.row_size[:, np.newaxis]] = part.values
        wide = pd.DataFrame(table, index=part.columns.index)
        return pd.concat([part.columns, wide], axis=1)

    def equals(self, other: object) -> bool:
        """Whether values, dtype, sizes and columns are the same; NaN equals NaN."""
        return (
            isinstance(other, Ragged)
            and self.dtype == other.dtype
            and np.array_equal(self.offsets, other.offsets)
            and _equal(self.values, other.values)
            and self.columns.equals(other.columns)
        )

    def __eq__(self, other: object) -> bool:
        return self.equals(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        lines = [f"Ragged: {len(self)} rows, {self._values.size} values of {self.dtype}"]
        if len(self._columns.columns):
            named = (f"{n} ({d})" for n, d in self._columns.dtypes.items())
            lines.append(f"columns: {', '.join(named)}")
        with np.printoptions(threshold=6, edgeitems=3):
            lines += [f"{i}: {self[i]}" for i in range(min(len(self), SHOWN_ROWS))]
        if len(self) > SHOWN_ROWS:
            lines.append("...")
        return "\n".join(lines)


def _equal(left: Array, right: Array) -> bool:
    return np.array_equal(left, right, equal_nan=left.dtype.kind in "fcmM")


class RaggedFormat(Format):
    """Lists of arrays, :class:`Ragged`, and awkward arrays with one level of lists."""

    name = "ragged"
    types = ("zdb.Ragged", "awkward.Array", "builtins.list")

    def accepts(self, value: Any) -> bool:
        """Of lists, take those with arrays in them."""
        return not isinstance(value, list) or any(isinstance(row, np.ndarray) for row in value)

    def encode(self, value: Any) -> xr.Dataset:
        """Turn rows into ``values`` (along ``value``), ``row_size`` and columns (along ``row``).

        A Dataset in this layout, which may be lazy, becomes a Ragged: ``db.set(key, dataset, format="ragged")``, see
        :func:`zdb.formats.ragged_dataset.encode_dataset`.
        """
        if isinstance(value, xr.Dataset):
            encoded = encode_dataset(value)
            return _dataset("zdb.Ragged", encoded, str(value["values"].dtype), encoded.recipe["rows"])
        if isinstance(value, Ragged):
            return _dataset("zdb.Ragged", _encode(value), str(value.dtype), len(value))
        if isinstance(value, list):
            ragged = _from_list(value)
            return _dataset("builtins.list", _encode(ragged), str(ragged.dtype), len(value))
        require_types(self, value)
        from zdb.formats import awkward_arrays  # needs awkward, which is an extra

        parts = awkward_arrays.encode(value)
        return _dataset("awkward.Array", parts, str(value.type.content), len(value))

    def decode(self, node: xr.Dataset | xr.DataTree) -> Any:
        """Restore the list of arrays, the awkward array or the Ragged."""
        return self.select(node, Selection())

    def select(self, node: xr.Dataset | xr.DataTree, selection: Selection) -> Any:
        """Read some rows, and some columns of a Ragged or fields of an awkward record."""
        kind = node.attrs["zdb_type"]
        selection.require(self.name, *(["rows"] if kind == "builtins.list" else ["columns", "rows"]))
        recipe = json.loads(node.attrs["zdb_recipe"])
        if kind == "awkward.Array":
            from zdb.formats import awkward_arrays

            return awkward_arrays.decode(node.variables, recipe, selection)
        ragged = _decode(node.variables, recipe, selection.rows, selection.columns)
        return ragged.to_list() if kind == "builtins.list" else ragged


def _from_list(rows: list[Any]) -> Ragged:
    dtype: Any = None
    for i, row in enumerate(rows):
        if type(row) is not np.ndarray or row.ndim != 1:
            shape = f" with {row.ndim} dimensions" if isinstance(row, np.ndarray) else ""
            raise UnsupportedValueError(
                f"a ragged list holds one-dimensional numpy arrays, but row {i} is a "
                f"{type(row).__qualname__}{shape}; convert it, {USE_PICKLE}"
            )
        dtype = row.dtype if dtype is None else dtype
        if row.dtype != dtype:
            raise UnsupportedValueError(
                f"a ragged list holds arrays of one dtype, but row {i} is {row.dtype} and row 0 "
                f"is {dtype}; convert them by astype, {USE_PICKLE}"
            )
    return Ragged.from_lists(rows, dtype=dtype)


def _encode(ragged: Ragged) -> Parts:
    if ragged.dtype.kind not in "biufcmM":
        raise UnsupportedValueError(f"ragged rows hold numbers, booleans or times, not {ragged.dtype}; {USE_PICKLE}")
    if type(ragged.columns) is not pd.DataFrame:
        raise UnsupportedValueError(
            f"columns is a {type(ragged.columns).__qualname__}; convert it by pandas.DataFrame(columns)"
        )
    values, recipe = encode_array(ragged.values, "values", VALUE, "values")
    table = frames.encode_frame(ragged.columns, taken=["values", "row_size", VALUE])
    variables = {**values, "row_size": row_size_variable(ragged.row_size, VALUE), **table.variables}
    stored = {"rows": len(ragged), "values": recipe, "columns": table.recipe}
    return Parts(variables, table.coords, stored)


def _decode(
    variables: Mapping[Any, xr.Variable],
    recipe: Mapping[str, Any],
    rows: slice | Sequence[int] | None,
    columns: Sequence[Hashable] | None,
) -> Ragged:
    window = read_window(variables["row_size"], rows)
    values = decode_array(variables, recipe["values"], window.values)
    table = frames.decode_frame(variables, recipe["columns"], window.rows, columns)
    return Ragged(values, window.row_size, table)


def _dataset(kind: str, parts: Parts, dtype: str, rows: int) -> xr.Dataset:
    return parts.dataset(
        {
            "zdb_type": kind,
            "zdb_dtype": dtype,
            "zdb_shape": json.dumps([rows]),
            "zdb_recipe": json.dumps({"dimension": ROW, **parts.recipe}, allow_nan=False),
        }
    )
