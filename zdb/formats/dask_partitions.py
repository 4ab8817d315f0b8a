"""Dask frames read back lazily: a partition reads its rows of the columns that are needed."""

from __future__ import annotations

import uuid
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import dask.config
import dask.dataframe as dd
import numpy as np

from zdb.formats import frames
from zdb.formats.columns import decode_index
from zdb.formats.labels import from_json
from zdb.formats.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    import pandas as pd
    import xarray as xr

    from zdb.formats.columns import Recipe
    from zdb.formats.registry import Selection

__all__ = ["decode"]


def decode(node: xr.Dataset | xr.DataTree, kind: str, recipe: Mapping[str, Any], selection: Selection) -> Any:
    """Make the dask frame that was stored, or read rows of it into a pandas frame.

    Parameters
    ----------
    node : xarray.Dataset
        The stored variables, lazily indexed.
    kind : {"dask.DataFrame", "dask.Series", "dask.Index"}
        What was stored.
    recipe : mapping
        As made by :class:`zdb.formats.dask_tables.PartitionedTable`.
    selection : Selection
        Columns and rows.
    """
    reader = _Reader(node.variables, kind, recipe, selection.columns)
    if selection.rows is not None:
        return reader.read_rows(Rows.of(selection.rows, recipe["rows"]))
    divisions = recipe["divisions"]
    if divisions is not None:
        divisions = tuple(from_json(label) for label in divisions)
    # Without this dask turns columns of strings into a string dtype of its own.
    with dask.config.set({"dataframe.convert-string": False}):
        return dd.from_map(  # type: ignore[no-untyped-call]
            reader,
            range(len(recipe["partitions"])),
            meta=reader.read_rows(Rows(0, 0, step=None)),
            divisions=divisions,
            label="read-table",
        )


class _Reader:
    """Reads partitions; picklable when the variables are. Dask tells it which columns it needs."""

    def __init__(
        self,
        variables: Mapping[Any, xr.Variable],
        kind: str,
        recipe: Mapping[str, Any],
        columns: Sequence[Hashable] | None,
    ) -> None:
        self.variables, self.kind, self.recipe = dict(variables), kind, recipe
        self.columns = columns
        self.ends = np.cumsum([0, *recipe["partitions"]]).tolist()
        self.token = uuid.uuid4().hex

    def __dask_tokenize__(self) -> str:
        # Reading the data to name it would cost more than naming it twice.
        return self.token

    def __call__(self, number: int, columns: Sequence[Hashable] | None = None) -> Any:
        rows = Rows(self.ends[number], self.ends[number + 1])
        return self._read(rows, self._index_recipe(number), columns)

    def _index_recipe(self, number: int) -> Recipe:
        recipe: Recipe = {**self.recipe["index"], **self.recipe["indexes"][number]}
        if recipe["kind"] == "range":
            # Of the whole table, so that the rows of this partition get the labels they had in it.
            start, stop, step = recipe["range"]
            recipe["range"] = [start - step * self.ends[number], stop, step]
        return recipe

    def _read(self, rows: Rows, index: Recipe, columns: Sequence[Hashable] | None = None) -> Any:
        if self.kind == "dask.Index":
            return decode_index(self.variables, index, rows)
        recipe = {**self.recipe, "index": index}
        if self.kind == "dask.Series":
            return frames.decode_series(self.variables, recipe, rows)
        wanted = self.columns if columns is None else list(columns)
        return frames.decode_frame(self.variables, recipe, rows, wanted)

    def read_rows(self, rows: Rows) -> Any:
        """Read rows of any partitions into one pandas object."""
        index = self._read_index(rows)
        if self.kind == "dask.Index":
            return index
        counted = {"kind": "range", "names": [None], "range": [0, rows.stop, 1]}
        value = self._read(rows, counted)
        value.index = index
        return value

    def _read_index(self, rows: Rows) -> pd.Index[Any]:
        index = self.recipe["index"]
        if "values" in index:  # where a partition has a range, its labels are stored too
            return decode_index(self.variables, {**index, "kind": "values"}, rows)
        pieces = [
            decode_index(self.variables, self._index_recipe(number), Rows(max(start, rows.start), min(stop, rows.stop)))
            for number, (start, stop) in enumerate(pairwise(self.ends))
            if start < rows.stop and stop > rows.start
        ]
        if not pieces:
            return decode_index(self.variables, self._index_recipe(0), Rows(0, 0))
        window = pieces[0].append(pieces[1:])
        return window if rows.positions is None else window[rows.positions]
