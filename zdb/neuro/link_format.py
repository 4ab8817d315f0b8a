"""Format ``simrun-link``: where raw files of simulation results are, instead of what is in them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

import zdb
from zdb.neuro.links import FILE_COLUMNS, TRIAL_COLUMNS, SimrunLink

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from zdb import Selection

__all__ = ["LinkFormat", "read_link"]


class LinkFormat(zdb.Format):
    """Raw files by path, size and SHA-256, read when the value is."""

    name = "simrun-link"
    types = ("zdb.SimrunLink",)
    is_reference = True

    def encode(self, value: SimrunLink) -> xr.Dataset:
        """Return a Dataset of the tables of files and trials."""
        variables: dict[str, Any] = {}
        for dim, table in (("file", value.files), ("trial", value.trials)):
            for name, column in table.items():
                stored = column.to_numpy(object if column.dtype.kind in "OUT" else np.int64)
                variables[f"{dim}_{name}"] = (
                    dim,
                    stored.astype(np.dtypes.StringDType()) if stored.dtype == object else stored,
                )
        variables["time"] = ("time", value.time, {"units": "ms"})
        shape = [int(value.trials["rows"].sum()), *([len(value.time)] if value.holds_traces else [])]
        recipe = {"kind": value.kind, "root": value.root, "labels": value.labels}
        attrs = {
            "zdb_type": "zdb.SimrunLink",
            "zdb_dtype": "float64",
            "zdb_shape": json.dumps(shape),
            "zdb_recipe": json.dumps(recipe),
        }
        return xr.Dataset({name: xr.Variable(*parts) for name, parts in variables.items()}, attrs=attrs)

    def decode(self, node: xr.Dataset | xr.DataTree) -> Any:
        """Return what the link stands for: a lazy Dataset of traces, or a Ragged."""
        return _link(node).value()

    def select(self, node: xr.Dataset | xr.DataTree, selection: Selection) -> Any:
        """Read a part: rows and columns of activity, ``isel`` and ``sel`` of traces."""
        link = _link(node)
        if not link.holds_traces:
            selection.require(self.name, "rows", "columns")
            rows = link.value() if selection.rows is None else link.rows(selection.rows)
            columns = rows.columns if selection.columns is None else _chosen(rows.columns, selection.columns)
            return zdb.Ragged(rows.values, rows.row_size, columns)
        selection.require(self.name, "isel", "sel", "columns")
        value = link.value()
        part = value if selection.columns is None else value[list(selection.columns)]
        return part.isel(selection.isel or {}).sel(selection.sel or {})


def read_link(db: zdb.Database, key: str) -> SimrunLink:
    """The link at a key, instead of what it stands for."""
    return _link(db.dataset(key))


def _link(node: xr.Dataset | xr.DataTree) -> SimrunLink:
    recipe = json.loads(node.attrs["zdb_recipe"])
    files, trials = (
        pd.DataFrame({name: _plain(node[f"{dim}_{name}"].to_numpy()) for name in columns})
        for dim, columns in (("file", FILE_COLUMNS), ("trial", TRIAL_COLUMNS))
    )
    return SimrunLink(recipe["kind"], recipe["root"], files, trials, node["time"].to_numpy(), recipe["labels"])


def _chosen(columns: pd.DataFrame, names: Sequence[Hashable]) -> pd.DataFrame:
    missing = [name for name in names if name not in columns]
    if missing:
        known = ", ".join(map(str, columns.columns))
        raise zdb.errors.SelectionError(f"there is no column {missing[0]!r}; there are {known}")
    return columns[list(names)]


def _plain(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values if values.dtype.kind in "iu" else values.astype(object)
