"""Dask frames are written partition by partition, each computed once.

How long the strings of a partition are, and what its categories are, is known only when it was computed. So a frame is
written in two steps: every partition is computed, encoded and put aside (spooled) on the worker that computed it; then
a Dataset of dask arrays, with all sizes known, reads these payloads back and is written as any other.
:mod:`zdb.formats.dask_partitions` reads it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd
from dask.base import compute
from dask.delayed import delayed

from zdb.formats.dask_joining import join_categories, join_recipes, join_variables
from zdb.formats.dask_parts import PartInfo, encode_part
from zdb.formats.frames import Parts
from zdb.formats.labels import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import dask.dataframe as dd
    import xarray as xr
    from dask.delayed import Delayed

__all__ = ["PartitionedTable", "encode_in_memory"]


class PartitionedTable:
    """A dask frame on its way into the database.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame, Series or Index
        Nothing of it is computed here.

    Examples
    --------
    >>> table = PartitionedTable(frame)
    >>> infos = dask.compute(*table.parts(spool))  # spool(index, payload) runs on the workers
    >>> dataset = table.finish(infos, load)  # load(index, start, length) runs on the workers
    """

    def __init__(self, frame: dd.DataFrame | dd.Series | dd.Index) -> None:
        self.frame = frame
        self.meta: Any = frame._meta  # noqa: SLF001

    def parts(self, spool: Callable[[int, bytes], None]) -> list[Delayed]:
        """One task for each partition: it computes and spools it, and returns its PartInfo.

        Parameters
        ----------
        spool : callable
            ``spool(index, payload)`` keeps the bytes of a partition until the table is written;
            picklable.
        """
        store = delayed(_spool, pure=False)
        return [store(part, number, spool) for number, part in enumerate(self.encoded())]

    def encoded(self) -> list[Delayed]:
        """One task for each partition: it computes it, and returns its PartInfo and payload."""
        encode = delayed(encode_part, pure=False)
        meta = delayed(self.meta, traverse=False)
        partitions = self.frame.to_delayed()  # type: ignore[no-untyped-call]
        return [encode(partition, number, meta) for number, partition in enumerate(partitions)]

    def finish(self, infos: Sequence[PartInfo], load: Callable[[int, int, int], bytes]) -> xr.Dataset:
        """Lay out the table as dask arrays that read the payloads.

        Parameters
        ----------
        infos : sequence of PartInfo
            The results of `parts`, in order.
        load : callable
            ``load(index, start, length)`` returns a part of the payload that was spooled; picklable.

        Raises
        ------
        UnsupportedValueError
            Partitions do not fit together; the message names the first that does not.
        """
        unions = join_categories(infos)
        recipe, categories = join_recipes(infos, unions)
        divisions = self.frame.divisions if self.frame.known_divisions else None
        recipe["divisions"] = divisions and [to_json(label) for label in divisions]
        variables = {**join_variables(infos, unions, load), **categories}
        coords = {name for info in infos for name, shape in info.shapes.items() if shape.is_coord}
        shape = [recipe["rows"], *self.meta.shape[1:]]
        return Parts(
            {name: v for name, v in variables.items() if name not in coords},
            {name: v for name, v in variables.items() if name in coords},
            recipe,
        ).dataset(
            {
                "zdb_type": f"dask.{_kind(self.meta)}",
                "zdb_dtype": str(getattr(self.meta, "dtype", "")),
                "zdb_shape": json.dumps(shape),
                "zdb_recipe": json.dumps(recipe, allow_nan=False),
            }
        )


def encode_in_memory(frame: dd.DataFrame | dd.Series | dd.Index) -> xr.Dataset:
    """Encode a frame whose encoded partitions fit into memory."""
    table = PartitionedTable(frame)
    encoded = compute(*table.encoded())  # type: ignore[no-untyped-call]
    payloads = [payload for _, payload in encoded]
    return table.finish([info for info, _ in encoded], lambda number, at, length: payloads[number][at : at + length])


def _kind(meta: Any) -> str:
    if isinstance(meta, pd.DataFrame):
        return "DataFrame"
    return "Series" if isinstance(meta, pd.Series) else "Index"


def _spool(encoded: tuple[PartInfo, bytes], number: int, spool: Callable[[int, bytes], None]) -> PartInfo:
    info, payload = encoded
    spool(number, payload)
    return info
