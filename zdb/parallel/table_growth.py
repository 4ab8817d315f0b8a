"""Rows that are added to a table: behind its columns where these can stay as they are, or all anew.

Rows of pandas are added as pandas.concat does it, those of dask as partitions of their own.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd

from zdb.errors import PartMismatchError, UnsupportedValueError
from zdb.formats import registry
from zdb.formats.dask_parts import check_part
from zdb.formats.frames import ROW, UNNAMED, encode_head
from zdb.formats.labels import to_json
from zdb.formats.more_rows import more_of_frame, more_of_partition
from zdb.formats.registry import Selection
from zdb.parallel.growing_layout import ROWS, is_cut_to_size, is_in_one_shard, with_layout_of
from zdb.parallel.growth import Growth
from zdb.parallel.tables import said_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import xarray as xr
    from dask.delayed import Delayed

    from zdb.engine.node import Node
    from zdb.formats.columns import Recipe
    from zdb.formats.dask_parts import PartInfo
    from zdb.formats.dask_tables import PartitionedTable
    from zdb.formats.more_rows import More

__all__ = ["WithLayout", "check_rows", "growth_of_table", "with_rows"]


def check_rows(node: Node, stored: xr.Dataset, part: Any, dim: Any) -> None:
    """Refuse a part whose rows are not like those of a table.

    Raises
    ------
    PartMismatchError
        It is of another class, has other columns or dtypes, or is to be added along something else than rows.
    UnsupportedValueError
        The table is of a kind to which no rows can be added.
    """
    kind = node.attributes["zdb_type"]
    if kind not in ("pandas.DataFrame", "pandas.Series", "dask.DataFrame", "dask.Series"):
        raise UnsupportedValueError(f"{node.path}: rows cannot be added to a {kind}; DataFrame and Series can grow")
    if dim not in (None, ROW):
        raise PartMismatchError(f"{node.path}: rows are added to a table, along {ROW!r}, not along {dim!r}")
    is_lazy = hasattr(part, "_meta")
    try:
        check_part(part._meta if is_lazy else part, _without_rows(stored))  # noqa: SLF001
    except UnsupportedValueError as error:
        raise PartMismatchError(f"{node.path}: the part: {said_of(error, 'the value')}") from error
    if is_lazy and kind.startswith("pandas."):
        raise PartMismatchError(f"{node.path}: is a table of pandas, and the part is one of dask; give part.compute()")


def _without_rows(stored: xr.Dataset) -> Any:
    return registry.by_name("table").select(stored, Selection(rows=slice(0, 0)))


def growth_of_table(node: Node, stored: xr.Dataset, part: Any) -> Growth | None:
    """Return what rows add to the arrays of a table; None if it has to be written anew as a whole.

    Parameters
    ----------
    node : Node
    stored : xarray.Dataset
        The table.
    part
        Was found to fit by :func:`check_rows`.
    """
    recipe = json.loads(node.attributes["zdb_recipe"])
    if hasattr(part, "_meta") or _has_no_room(node, recipe["rows"]):
        return None
    is_lazy = node.attributes["zdb_type"].startswith("dask.")
    added = (_more_partitions if is_lazy else _more_rows)(node, stored, recipe, part)
    if added is None:
        return None
    more, grown = added
    if not len(part):
        return Growth(0) if grown == recipe else None
    shape = [grown["rows"], *json.loads(node.attributes["zdb_shape"])[1:]]
    return Growth(
        len(part),
        {name: (0, data) for name, data in more.items()},
        {"zdb_shape": json.dumps(shape), "zdb_recipe": json.dumps(grown, allow_nan=False)},
    )


def _has_no_room(node: Node, rows: int) -> bool:
    """Whether a table is better written with other chunks once than with every part that is added."""
    return is_cut_to_size(node) and (rows < ROWS or any(map(is_in_one_shard, node.arrays.values())))


def _more_rows(node: Node, stored: xr.Dataset, recipe: Recipe, part: Any) -> tuple[More, Recipe] | None:  # noqa: ARG001
    if not recipe["rows"]:  # pandas leaves some empty frames out
        return None
    whole, rows = _without_rows(stored), part.iloc[:0]
    made = pd.concat([whole, rows])
    if not _dtypes(whole) == _dtypes(rows) == _dtypes(made) or made.index.dtype == object:  # pandas guesses another
        return None
    if list(made.index.names) != list(whole.index.names):
        return None
    kept = {key: recipe[key] for key in ("rows", "index", "values")}
    return more_of_frame(stored.variables, {**encode_head(made), **kept}, _as_frame(part))


def _dtypes(table: Any) -> list[Any]:
    return [*(table.dtypes if table.ndim == 2 else [table.dtype]), table.index.dtype]


def _as_frame(table: Any) -> pd.DataFrame:
    if table.ndim == 2:
        return table  # type: ignore[no-any-return]
    return table.to_frame(UNNAMED if table.name is None else table.name)  # type: ignore[no-any-return]


def _more_partitions(node: Node, stored: xr.Dataset, recipe: Recipe, part: Any) -> tuple[More, Recipe] | None:
    head = encode_head(part)
    if any(head.get(key) != recipe.get(key) for key in ("attrs", "unique")):
        return None
    made = with_rows(node, stored, part)
    dtypes = zip(_dtypes(made._meta), _dtypes(part), strict=True)  # noqa: SLF001
    has_other_dtypes = any(one != other and one != "category" for one, other in dtypes)
    if has_other_dtypes or made.npartitions != len(recipe["partitions"]) + 1:
        return None
    added = more_of_partition(stored.variables, recipe, _as_frame(part))
    if added is None:
        return None
    more, grown = added
    grown["divisions"] = [to_json(label) for label in made.divisions] if made.known_divisions else None
    return more, grown


def with_rows(node: Node, stored: xr.Dataset, part: Any) -> Any:
    """Return a table with the rows of a part behind its own: lazy if it is a dask frame.

    Raises
    ------
    PartMismatchError
        The part has other categories, or labels would repeat that must not.
    """
    table: Any = registry.by_name("table").decode(stored)
    if hasattr(table, "_meta"):
        import dask.config
        import dask.dataframe as dd

        with dask.config.set({"dataframe.convert-string": False}):
            more = part if hasattr(part, "_meta") else dd.from_pandas(part, npartitions=1, sort=False)  # type: ignore[no-untyped-call]
            return dd.concat([table, more])  # type: ignore[no-untyped-call]
    try:
        made: Any = pd.concat([table, part])
    except (ValueError, TypeError, KeyError) as error:  # the latter where pandas cannot name labels that repeat
        raise PartMismatchError(f"{node.path}: pandas cannot add these rows: {error}") from error
    for one, other in zip(_dtypes(table)[:-1], _dtypes(made)[:-1], strict=True):
        if one != other:
            raise PartMismatchError(
                f"{node.path}: the part has other categories than the value ({one}); give it the same by "
                ".cat.set_categories"
            )
    return made


class WithLayout:
    """A dask frame that is written in place of a value, with chunks for growing and the codecs of this value."""

    def __init__(self, node: Node, table: PartitionedTable) -> None:
        self.node, self.table = node, table

    def parts(self, spool: Callable[[int, bytes], None]) -> list[Delayed]:
        """As :meth:`PartitionedTable.parts`."""
        return self.table.parts(spool)

    def finish(self, infos: Sequence[PartInfo], load: Callable[[int, int, int], bytes]) -> xr.Dataset:
        """As :meth:`PartitionedTable.finish`."""
        return with_layout_of(self.node, self.table.finish(infos, load))
