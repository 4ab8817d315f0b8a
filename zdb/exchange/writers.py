"""How values are written as npy, csv, parquet, netCDF and JSON."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

from zdb.exchange.loading import require_netcdf
from zdb.exchange.partitions import partitions_to_csv, partitions_to_parquet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa

    from zdb.formats.ragged import Ragged

__all__ = ["write"]

# What a ragged value has besides its columns.
VALUES, ROW_SIZE = "values", "row_size"


def write(value: Any, group: str, kind: str, path: Path) -> None:
    """Write a value to a new file.

    Parameters
    ----------
    value
        As a database gives it.
    group : str
        Name of the built-in format that keeps it.
    kind : str
        "npy", "csv", "parquet", "nc" or "json", one that fits the group.
    path : Path

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        The file format cannot hold the value.
    FormatNotInstalledError
        A package for the file format is missing.
    """
    _WRITERS[group, kind](value, path)


def _json(value: Any, path: Path) -> None:
    from zdb.formats.objects import encode_attributes

    text = encode_attributes(value)["zdb_value"]
    try:
        json.dumps(json.loads(text), allow_nan=False)
    except ValueError:
        raise ValueError("JSON has neither NaN nor infinity; read the value in Python") from None
    path.write_text(f"{text}\n", "utf-8")


def _array_to_npy(value: Any, path: Path) -> None:
    import numpy as np

    _refuse_masked(value)
    if isinstance(value.dtype, np.dtypes.StringDType):
        raise ValueError("texts of any length are no type of .npy")
    if isinstance(value, np.ndarray | np.generic) or not value.size:
        with path.open("wb") as file:
            np.save(file, np.asarray(value), allow_pickle=False)
        return
    import dask.array

    file_map = np.lib.format.open_memmap(path, mode="w+", dtype=value.dtype, shape=value.shape)
    dask.array.store(value, file_map, lock=False)
    file_map.flush()


def _array_to_csv(value: Any, path: Path) -> None:
    import numpy as np
    import pandas as pd

    _refuse_masked(value)
    if not 1 <= value.ndim <= 2:
        raise ValueError(f"a csv file holds arrays of one or two dimensions, not of {value.ndim}")
    data = np.asarray(value)
    pd.DataFrame(data).to_csv(path, index=False, header=data.dtype.names is not None)


def _array_to_netcdf(value: Any, path: Path) -> None:
    import xarray as xr

    _refuse_masked(value)
    _to_netcdf(xr.Dataset({"data": xr.Variable([f"dim_{i}" for i in range(value.ndim)], value)}), path)


def _refuse_masked(value: Any) -> None:
    import numpy as np

    if isinstance(value, np.ma.MaskedArray):
        raise ValueError("a masked array would lose its mask; read it in Python")


def _refuse_missing_texts(value: Any) -> None:
    """Raise ValueError for a text that is None, of which netCDF would make an empty one."""
    for node in getattr(value, "subtree", (value,)):
        variables = [*node.coords.values(), *(node.data_vars.values() if hasattr(node, "data_vars") else (node,))]
        for one in variables:
            if one.dtype.kind == "O" and bool(one.variable.isnull().any()):
                raise ValueError(f"{one.name!r} has missing texts, which would become empty ones; read it in Python")


def _to_netcdf(value: Any, path: Path) -> None:
    require_netcdf()
    _refuse_missing_texts(value)
    with warnings.catch_warnings():
        # The dtypes of zarr name the byte order of this machine, which netCDF4 takes for another than "native".
        warnings.filterwarnings("ignore", message="endian-ness of dtype and endian kwarg do not match")
        # Text of which no length is known is read to find out that it is text.
        warnings.filterwarnings("ignore", message=".*dask array with dtype=object")
        # Lazy variables are written by their chunks, not as a whole.
        value.chunk({}).to_netcdf(path, engine="netcdf4")


def _table_to_csv(value: Any, path: Path) -> None:
    import pandas as pd

    if hasattr(value, "partitions"):
        partitions_to_csv(value, path)
        return
    frame = _as_frame(value)
    is_plain = isinstance(frame.index, pd.RangeIndex) and frame.index.name is None
    frame.to_csv(path, index=not is_plain)


def _as_frame(value: Any) -> pd.DataFrame:
    import pandas as pd

    if not isinstance(value, pd.DataFrame | pd.Series | pd.Index):
        value = value.to_pandas()
    if isinstance(value, pd.Index):
        return value.to_frame(index=False)
    return value.to_frame() if isinstance(value, pd.Series) else value


def _table_to_parquet(value: Any, path: Path) -> None:
    import pyarrow.parquet

    if hasattr(value, "partitions"):
        partitions_to_parquet(value, path)
        return
    package = type(value).__module__.partition(".")[0]
    if package not in ("polars", "pyarrow"):
        _as_frame(value).to_parquet(path, engine="pyarrow")
        return
    pyarrow.parquet.write_table(_as_arrow(value), path)


def _as_arrow(value: Any) -> pa.Table:
    import pyarrow as pa

    if isinstance(value, pa.Table):
        return value
    if isinstance(value, pa.RecordBatch):
        return pa.Table.from_batches([value])
    return (value if hasattr(value, "columns") else value.to_frame()).to_arrow()


def _ragged_to_csv(value: Any, path: Path) -> None:
    _as_ragged(value).to_frame().to_csv(path, index=False)


def _ragged_to_parquet(value: Any, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    ragged = _as_ragged(value)
    _require_unused(ragged, VALUES)
    rows = pa.LargeListArray.from_arrays(ragged.offsets, pa.array(ragged.values))
    if not len(ragged.columns.columns):
        table = pa.table({VALUES: rows})
    else:
        table = pa.Table.from_pandas(ragged.columns).append_column(VALUES, rows)
    pyarrow.parquet.write_table(table, path)


def _ragged_to_netcdf(value: Any, path: Path) -> None:
    """Write a contiguous ragged array as the CF conventions have it."""
    import numpy as np
    import xarray as xr

    ragged = _as_ragged(value)
    _require_unused(ragged, VALUES, ROW_SIZE)
    sizes = xr.Variable("row", ragged.row_size, {"sample_dimension": "value"})
    columns = {name: ("row", np.asarray(column)) for name, column in ragged.columns.items()}
    _to_netcdf(xr.Dataset({VALUES: ("value", ragged.values), ROW_SIZE: sizes, **columns}), path)


def _as_ragged(value: Any) -> Ragged:
    from zdb.formats.ragged import Ragged

    if isinstance(value, Ragged):
        return value
    if isinstance(value, list):
        return Ragged.from_lists(value)
    raise ValueError("an awkward array is written in Python, by awkward.to_parquet")


def _require_unused(ragged: Ragged, *names: str) -> None:
    for name in names:
        if name in ragged.columns:
            raise ValueError(f"the column {name!r} has the name under which {name} are written; leave it out")


_WRITERS: dict[tuple[str, str], Callable[[Any, Path], None]] = {
    ("json", "json"): _json,
    ("array", "npy"): _array_to_npy,
    ("array", "csv"): _array_to_csv,
    ("array", "nc"): _array_to_netcdf,
    ("dataset", "nc"): _to_netcdf,
    ("table", "csv"): _table_to_csv,
    ("table", "parquet"): _table_to_parquet,
    ("ragged", "csv"): _ragged_to_csv,
    ("ragged", "parquet"): _ragged_to_parquet,
    ("ragged", "nc"): _ragged_to_netcdf,
}
