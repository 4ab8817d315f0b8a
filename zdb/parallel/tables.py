"""Tables that many jobs fill, a partition each: kept one by one, and joined at the end."""

from __future__ import annotations

import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

from zdb.engine.node import Node, node_path
from zdb.engine.options import LayoutOptions
from zdb.errors import CorruptChunkError, MissingChunkError, PartMismatchError, UnsupportedValueError
from zdb.formats import registry
from zdb.parallel.progress import lost
from zdb.parallel.records import Attempt, Part, mark_lost

if TYPE_CHECKING:
    import pandas as pd

    from zdb.engine.plain import PlainEngine
    from zdb.parallel.plan import Plan

__all__ = [
    "empty_frame",
    "is_table",
    "joined",
    "layout_options",
    "plain_options",
    "read_empty",
    "said_of",
    "write_frame",
    "write_partition",
]


def is_table(value: Any) -> bool:
    """Whether a template is a DataFrame of pandas or dask."""
    package = type(value).__module__.partition(".")[0]
    return type(value).__name__ == "DataFrame" and package in ("pandas", "dask")


def empty_frame(value: Any, npartitions: int | None) -> tuple[pd.DataFrame, int]:
    """Return columns and dtypes of a template, and how many partitions there will be."""
    if type(value).__module__.partition(".")[0] == "dask":
        return value._meta, npartitions or value.npartitions  # noqa: SLF001
    if npartitions is None:
        raise UnsupportedValueError("a pandas DataFrame as a template needs npartitions=, how many parts there will be")
    return value.iloc[:0], npartitions


def write_frame(engine: PlainEngine, path: str, frame: pd.DataFrame) -> None:
    """Keep a frame below the plan."""
    chosen = registry.by_name("table")
    encoded = chosen.encode(frame)

    def seal(previous: Node | None, generation: int) -> dict[str, Any]:
        return engine.value_attributes(chosen.name, chosen.version, previous, generation)

    with engine.claim(path) as claim:
        engine.publish(claim, encoded, seal, LayoutOptions())


def read_frame(engine: PlainEngine, path: str) -> pd.DataFrame:
    """Read a frame that :func:`write_frame` wrote."""
    node = engine.node(path)
    if node is None:
        raise MissingChunkError(f"{node_path(path)} is not in the store any more")
    frame: pd.DataFrame = registry.by_name("table").decode(engine.open_value(node))
    return frame


def read_empty(engine: PlainEngine, plan: Plan) -> pd.DataFrame:
    """Read columns and dtypes of the table."""
    try:
        return read_frame(engine, f"{plan.path}/template")
    except (MissingChunkError, CorruptChunkError) as error:
        advice = f"give the filling up by db.discard({plan.key!r}) and begin it again"
        raise type(error)(f"{plan.key}: the columns of the table are lost: {error}; {advice}") from error


def write_partition(engine: PlainEngine, plan: Plan, empty: pd.DataFrame, frame: Any, number: Any) -> None:
    """Write one partition; errors as in :meth:`zdb.Database.write_region`."""
    from zdb.formats.dask_parts import check_part

    started = time.perf_counter()
    if isinstance(number, bool) or not hasattr(number, "__index__") or not 0 <= number < plan.partitions:
        raise PartMismatchError(
            f"{plan.key}: is a table in {plan.partitions} partitions, so partition= is a number from 0 to "
            f"{plan.partitions - 1}, not {number!r}"
        )
    number = int(number)
    try:
        check_part(frame, empty)
    except UnsupportedValueError as error:
        message = said_of(error, "the template")
        raise PartMismatchError(f"{plan.key}: partition {number}: {message}") from error
    attempt = Attempt(engine.nodes, plan, _part(number))
    attempt.begin()
    path = f"{plan.path}/frames/{number}-{uuid.uuid4().hex[:12]}"
    write_frame(engine, path, frame)
    attempt.done(round(time.perf_counter() - started, 6), {"frame": path})


def said_of(error: UnsupportedValueError, what: str) -> str:
    """What is wrong with a partition, said of another thing that it has to be like."""
    text = str(error).replace("the dask frame promises", f"{what} has")
    text = text.replace("convert it by map_partitions, or give the right meta=", "convert it by .astype()")
    return text.replace("give the right meta=", "give it the same columns and index")


def _part(number: int) -> Part:
    return Part(f"{number}-{number + 1}", ((number, number + 1),), None)


def joined(engine: PlainEngine, plan: Plan) -> Any:
    """Return the table as a lazy dask frame of its partitions.

    Raises
    ------
    MissingChunkError
        Partitions that were written are not there any more; they count as missing from now on.
    """
    import dask.config
    import dask.dataframe

    numbers = range(plan.partitions)
    places = [f"{plan.path}/parts/{_part(number).name}" for number in numbers]
    records = _read(engine, places)
    paths = [record.attributes.get("frame", place) for place, record in zip(places, records, strict=True)]
    there = {one.path for one in engine.nodes.list_status(f"{plan.path}/frames") if one.size}
    frames = _read(engine, paths)
    gone = [
        n for n, frame in zip(numbers, frames, strict=True) if frame.error or not there.issuperset(frame.object_paths())
    ]
    if gone:
        raise lost(engine, plan, map(_part, gone), "what is kept of them is not in the store any more, or damaged")
    with dask.config.set({"dataframe.convert-string": False}):
        return dask.dataframe.from_map(  # type: ignore[no-untyped-call]
            partial(_read_partition, engine, plan), numbers, paths, meta=read_empty(engine, plan)
        )


def _read(engine: PlainEngine, paths: list[str]) -> list[Node]:
    found = engine.nodes.get_many(list(map(node_path, paths)))
    return [Node.read(path, data or b"") for path, data in zip(paths, found, strict=True)]


def _read_partition(engine: PlainEngine, plan: Plan, number: int, path: str) -> pd.DataFrame:
    try:
        return read_frame(engine, path)
    except (MissingChunkError, CorruptChunkError) as error:
        mark_lost(engine.nodes, plan, [_part(number)])
        raise type(error)(
            f"{plan.key}: partition {number}, which was written, cannot be read: {error}. It counts as missing from "
            f"now on; write what db.resume({plan.key!r}) returns"
        ) from error


def plain_options(options: LayoutOptions) -> dict[str, Any]:
    """Return options as JSON."""
    codec = options.codec
    if codec is not None and codec is not False:
        wanted = codec if isinstance(codec, list | tuple) else [codec]
        codec = [one if isinstance(one, dict) else one.to_dict() for one in wanted]
    return {"chunks": options.chunks, "shards": options.shards, "codec": codec}


def layout_options(plan: Plan) -> LayoutOptions:
    """Return the options with which the table is written."""
    stored = LayoutOptions(**plan.options)
    return LayoutOptions.of(stored)  # in JSON tuples are lists
