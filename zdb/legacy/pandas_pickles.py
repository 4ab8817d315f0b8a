"""What pickles of pandas become, of versions since 0.20; for :mod:`zdb.legacy.rebuild`.

A frame is made anew from its axes and blocks by the constructors of the installed pandas, with the dtypes that it had:
text stays ``object``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from zdb.errors import PickleRefusedError, UnreadableValueError
from zdb.legacy.inert import NOT_SET, Noted

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from zdb.legacy.inert import Builder

__all__ = ["MAKERS", "frame_of_blocks", "index_of", "periods_of"]

BASE = "pandas.core.indexes.base"
PLAIN_INDEXES = frozenset(
    ["pandas.Index", *(f"{BASE}.{name}" for name in ("Index", "Int64Index", "UInt64Index", "Float64Index"))]
)
RESOLUTIONS = {7: "s", 8: "ms", 9: "us", 10: "ns"}


def index_of(values: Any, name: Hashable = None, dtype: Any = None) -> pd.Index[Any]:
    """Return an index that keeps the dtype of the values; text stays ``object``, and tuples stay tuples."""
    if isinstance(values, np.ndarray) and dtype is None:
        dtype = values.dtype
    made: pd.Index[Any] = pd.Index(values, dtype=dtype, name=name, tupleize_cols=False)
    return made


def periods_of(ordinals: Any, freq: str, name: Hashable) -> Any:
    """Return an index of periods."""
    cls: Any = pd.PeriodIndex
    return cls.from_ordinals(ordinals, freq=freq, name=name)


def _class_name(cls: Any) -> str:
    if not (isinstance(cls, type) and issubclass(cls, Noted)):
        raise PickleRefusedError(f"the pickle asks for an index of {cls!r:.60}")
    return cls.name


def _new_index(builder: Builder, noted: Noted) -> Any:
    """``_new_Index(cls, attributes)``, and those of times and periods."""
    cls, attributes = noted.args
    parts = builder.build(attributes)
    return _index(_class_name(cls), parts)


def _index(cls: str, parts: dict[str, Any]) -> Any:
    name: Any = parts.get("name")
    data: Any = parts.get("data")
    if cls in PLAIN_INDEXES:
        return index_of(data, name)
    kind = cls.rpartition(".")[2]
    if kind == "RangeIndex":
        return pd.RangeIndex(parts["start"], parts["stop"], parts["step"], name=name)
    if kind == "MultiIndex":
        codes = parts["codes"] if "codes" in parts else parts["labels"]
        return pd.MultiIndex(levels=list(parts["levels"]), codes=list(codes), names=list(parts["names"]))
    if kind == "DatetimeIndex":
        return _datetime_index(data, parts.get("tz"), name)
    if kind == "TimedeltaIndex":
        return pd.TimedeltaIndex(data, name=name)
    if kind == "CategoricalIndex":
        return pd.CategoricalIndex(data, name=name)
    if kind == "PeriodIndex" and isinstance(data, np.ndarray):
        return periods_of(data, str(parts["freq"]), name)
    raise PickleRefusedError(f"the pickle holds a {cls}, which is not read")


def _datetime_index(data: Any, zone: Any, name: Hashable) -> pd.DatetimeIndex:
    made = pd.DatetimeIndex(data, name=name)
    if zone is not None and made.tz is None:
        made = made.tz_localize("UTC").tz_convert(zone)
    return made


def _manager(builder: Builder, noted: Noted) -> tuple[list[Any], list[tuple[Any, Any]]]:
    """Axes, and pairs of values and places, of a BlockManager or SingleBlockManager."""
    if noted.args:  # since pandas 1.3: (blocks, axes), of which a single one is no tuple
        blocks, axes, *_ = noted.args
        blocks = blocks if isinstance(blocks, tuple | list) else (blocks,)
        axes = builder.build(axes)
        return list(axes) if isinstance(axes, list) else [axes], [builder.build(block) for block in blocks]
    state = noted.state
    if not isinstance(state, tuple) or len(state) < 4 or "0.14.1" not in state[3]:
        raise UnreadableValueError("a table of pandas before 0.14 is not read")
    kept = builder.build(state[3]["0.14.1"])
    return kept["axes"], [(block["values"], block["mgr_locs"]) for block in kept["blocks"]]


def _block(builder: Builder, noted: Noted) -> tuple[Any, Any]:
    """``_unpickle_block(values, placement, ndim)``."""
    values, places, *_ = builder.build(noted.args)
    return values, places


def _attributes(builder: Builder, noted: Noted) -> tuple[list[Any], list[tuple[Any, Any]], dict[str, Any]]:
    state = noted.state
    if not isinstance(state, dict):
        raise UnreadableValueError("a table has no state")
    manager = state.get("_mgr", state.get("_data"))
    if not isinstance(manager, Noted):
        raise UnreadableValueError("a table has no blocks")
    axes, blocks = builder.build(manager)
    return axes, blocks, state


def _frame(builder: Builder, noted: Noted) -> pd.DataFrame:
    (columns, index), blocks, _ = _attributes(builder, noted)
    return frame_of_blocks(columns, index, blocks)


def frame_of_blocks(columns: pd.Index[Any], index: pd.Index[Any], blocks: Iterable[tuple[Any, Any]]) -> pd.DataFrame:
    """Return a frame of pairs of values (2-D: columns by rows; or a 1-D pandas array) and places among the columns."""
    parts = [_part(values, _places(places, len(columns)), len(index)) for values, places in blocks]
    if not parts:
        return pd.DataFrame(index=index, columns=columns)
    made = parts[0] if len(parts) == 1 else pd.concat(parts, axis=1)
    order: list[Any] = list(range(len(columns)))
    if list(made.columns) != order:
        made = made[order]
    made.columns = columns
    made.index = index
    return made


def _places(places: Any, number: int) -> list[int]:
    """Places are a slice or positions; both say which columns a block holds."""
    made = range(*places.indices(number)) if isinstance(places, slice) else np.asarray(places).tolist()
    if any(not 0 <= place < number for place in made):
        raise UnreadableValueError("a block of a table lies outside of it")
    return list(made)


def _part(values: Any, places: list[int], rows: int) -> pd.DataFrame:
    if isinstance(values, np.ndarray):
        values = values.reshape(len(places), rows)
        return pd.DataFrame(values.T, columns=places, dtype=values.dtype)
    if getattr(values, "ndim", 1) == 2:
        values = values.reshape(-1)
    if isinstance(values, pd.Index):
        values = values.array
    if len(places) != 1 or len(values) != rows:
        raise UnreadableValueError("a block of a table does not fit into it")
    return pd.DataFrame({places[0]: values})


def _series(builder: Builder, noted: Noted) -> Any:
    (index, *_), blocks, state = _attributes(builder, noted)
    name = builder.build(state.get("_name", state.get("name")))
    ((values, _),) = blocks
    if isinstance(values, pd.Index):
        values = values.array
    if isinstance(values, np.ndarray):
        return pd.Series(values.reshape(-1), index=index, name=name, dtype=values.dtype)
    return pd.Series(values, index=index, name=name)


def _parts(builder: Builder, noted: Noted) -> dict[str, Any]:
    """The attributes of a pandas array: a dict, or (data, dtype, others)."""
    state = builder.build(noted.state) if noted.state is not NOT_SET else {}
    if isinstance(state, dict):
        return state
    if isinstance(state, tuple) and len(state) >= 2:
        data, dtype = state[:2]
        if isinstance(dtype, np.ndarray):  # they come either way round
            data, dtype = dtype, data
        return {"_ndarray": data, "_dtype": dtype}
    raise UnreadableValueError(f"the state of a {type(noted).name} is not known")


def _categorical_dtype(builder: Builder, noted: Noted) -> pd.CategoricalDtype:
    parts = _parts(builder, noted)
    args = builder.build(noted.args)
    categories = parts.get("categories", args[0] if args else None)
    ordered = parts.get("ordered", args[1] if len(args) > 1 else False)
    return pd.CategoricalDtype(categories, bool(ordered))


def _categorical(builder: Builder, noted: Noted) -> pd.Categorical:
    parts = _parts(builder, noted)
    dtype = parts.get("_dtype")
    if dtype is None:  # before pandas 0.21
        dtype = pd.CategoricalDtype(parts["_categories"], bool(parts.get("_ordered", False)))
    codes = parts.get("_codes", parts.get("_ndarray"))
    return pd.Categorical.from_codes(np.asarray(codes).reshape(-1), dtype=dtype)


def _zoned_dtype(builder: Builder, noted: Noted) -> pd.DatetimeTZDtype:
    parts = _parts(builder, noted)
    args = builder.build(noted.args)
    unit = parts.get("unit", args[0] if args else "ns")
    return pd.DatetimeTZDtype(unit, parts.get("tz", args[1] if len(args) > 1 else None))


def _times(builder: Builder, noted: Noted) -> Any:
    parts = _parts(builder, noted)
    data = np.asarray(parts.get("_ndarray", parts.get("_data")))
    made = pd.DatetimeIndex(data.reshape(-1))
    zone = getattr(parts.get("_dtype"), "tz", None)
    return (made if zone is None else made.tz_localize("UTC").tz_convert(zone)).array


def _durations(builder: Builder, noted: Noted) -> Any:
    parts = _parts(builder, noted)
    return pd.TimedeltaIndex(np.asarray(parts.get("_ndarray", parts.get("_data"))).reshape(-1)).array


def _masked(cls: Callable[..., Any]) -> Callable[[Builder, Noted], Any]:
    def make(builder: Builder, noted: Noted) -> Any:
        return cls(builder.build(_attribute(noted, "_data")), builder.build(_attribute(noted, "_mask")))

    return make


def _text(builder: Builder, noted: Noted) -> Any:
    return pd.array(list(builder.build(_attribute(noted, "_ndarray"))), dtype="string")


def _attribute(noted: Noted, name: str) -> Any:
    """One attribute of the state; the dtype of such an array follows from its class and numbers."""
    if not isinstance(noted.state, dict) or name not in noted.state:
        raise UnreadableValueError(f"the state of a {type(noted).name} is not known")
    return noted.state[name]


def _timestamp(builder: Builder, noted: Noted) -> Any:
    """``Timestamp(value, freq, tz)``, or ``_unpickle_timestamp(value, freq, tz, reso)``."""
    value, _, zone, *resolution = [*map(builder.build, noted.args), None, None][:4]
    unit: Any = RESOLUTIONS[resolution[0]] if resolution and resolution[0] is not None else "ns"
    made = pd.Timestamp(np.datetime64(int(value), unit))
    return made if zone is None else made.tz_localize("UTC").tz_convert(zone)


def _timedelta(builder: Builder, noted: Noted) -> Any:
    value, *resolution = builder.build(noted.args)
    unit: Any = RESOLUTIONS[resolution[0]] if resolution else "ns"
    return pd.Timedelta(np.timedelta64(int(value), unit))


def _frozen(builder: Builder, noted: Noted) -> list[Any]:
    return [part for arg in noted.args for part in builder.build(arg)] + [builder.build(i) for i in noted.items]


def _backed(builder: Builder, noted: Noted) -> Any:
    """``__pyx_unpickle_NDArrayBacked(cls, checksum, state)``, by which pandas since 1.3 makes its arrays."""
    cls, _, state = noted.args
    name = _class_name(cls)
    if name not in MAKERS or not name.endswith(("Array", "Categorical")):
        raise PickleRefusedError(f"the pickle asks for an array of {name}")
    made = cls.__new__(cls)
    made.state = state if noted.state is NOT_SET else noted.state
    return MAKERS[name](builder, made)


ARRAYS = "pandas.core.arrays"
TIMES = "pandas._libs.tslibs"
MAKERS: dict[str, Callable[[Builder, Noted], Any]] = {
    "pandas.core.frame.DataFrame": _frame,
    "pandas.core.series.Series": _series,
    "pandas.core.internals.managers.BlockManager": _manager,
    "pandas.core.internals.managers.SingleBlockManager": _manager,
    "pandas._libs.internals._unpickle_block": _block,
    "pandas._libs.arrays.__pyx_unpickle_NDArrayBacked": _backed,
    "pandas.core.indexes.base._new_Index": _new_index,
    "pandas.core.indexes.datetimes._new_DatetimeIndex": _new_index,
    "pandas.core.indexes.period._new_PeriodIndex": _new_index,
    "pandas.core.indexes.frozen.FrozenList": _frozen,
    "pandas.core.dtypes.dtypes.CategoricalDtype": _categorical_dtype,
    "pandas.core.dtypes.dtypes.DatetimeTZDtype": _zoned_dtype,
    f"{ARRAYS}.categorical.Categorical": _categorical,
    "pandas.core.categorical.Categorical": _categorical,
    f"{ARRAYS}.datetimes.DatetimeArray": _times,
    f"{ARRAYS}.timedeltas.TimedeltaArray": _durations,
    f"{ARRAYS}.integer.IntegerArray": _masked(pd.arrays.IntegerArray),
    f"{ARRAYS}.floating.FloatingArray": _masked(pd.arrays.FloatingArray),
    f"{ARRAYS}.boolean.BooleanArray": _masked(pd.arrays.BooleanArray),
    f"{ARRAYS}.string_.StringArray": _text,
    f"{TIMES}.timestamps.Timestamp": _timestamp,
    f"{TIMES}.timestamps._unpickle_timestamp": _timestamp,
    f"{TIMES}.timedeltas.Timedelta": _timedelta,
    f"{TIMES}.timedeltas._timedelta_unpickle": _timedelta,
    f"{TIMES}.nattype.__nat_unpickle": lambda _r, _n: pd.NaT,
    f"{TIMES}.nattype._nat_unpickle": lambda _r, _n: pd.NaT,
}
# The frequency of an index of times is not kept: it follows from the times.
FREQUENCIES = ("Day", "Hour", "Minute", "Second", "Milli", "Micro", "Nano", "BusinessDay", "Week", "MonthBegin",
               "MonthEnd", "QuarterBegin", "QuarterEnd", "YearBegin", "YearEnd")  # fmt: skip
MAKERS |= {
    f"{module}.{name}": lambda builder, noted: builder.build(noted.args) and None
    for module in (f"{TIMES}.offsets", "pandas.tseries.offsets")
    for name in FREQUENCIES
}
# Since pandas 3 its classes are named by the package alone.
PUBLIC = (
    "DataFrame", "Series", "CategoricalDtype", "DatetimeTZDtype", "Categorical", "Timestamp", "Timedelta",
)  # fmt: skip
MAKERS |= {f"pandas.{name.rpartition('.')[2]}": maker for name, maker in MAKERS.items() if name.endswith(PUBLIC)}
MAKERS |= {
    f"pandas.arrays.{name.rpartition('.')[2]}": maker for name, maker in MAKERS.items() if name.endswith("Array")
}
