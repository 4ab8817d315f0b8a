"""Tables and series in the msgpack format that pandas had until version 1.0 (and ``isf_pandas_msgpack`` after it).

The file is nested maps, each with a "typ"; the numbers of an array are one binary field, mostly compressed by blosc.
"""

from __future__ import annotations

import datetime
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from zdb.errors import FormatNotInstalledError, UnreadableValueError, ZdbError
from zdb.legacy.numpy_pickles import array_from_bytes
from zdb.legacy.pandas_pickles import frame_of_blocks, index_of, periods_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["read_msgpack", "read_pandas_msgpack"]

PACKED = 0  # the only extension type: the bytes of an array


def read_pandas_msgpack(path: Path) -> Any:
    """Read one file: a DataFrame, Series, Index or array.

    Raises
    ------
    UnreadableValueError
        The file is damaged or holds a type that is not read.
    FormatNotInstalledError
        The package msgpack is missing.
    """
    return _unpack(path, "no table of pandas in msgpack", unicode_errors="surrogateescape", object_hook=_decode)


def read_msgpack(path: Path) -> Any:
    """Read one file of plain msgpack: numbers, text, bytes, lists and dicts of them.

    Raises
    ------
    UnreadableValueError
        The file is damaged or holds an extension type.
    FormatNotInstalledError
        The package msgpack is missing.
    """
    return _unpack(path, "no msgpack", ext_hook=_refuse)


def _unpack(path: Path, wrong: str, **hooks: Any) -> Any:
    try:
        import msgpack
    except ImportError as error:
        raise FormatNotInstalledError(f"{path.name}: is msgpack; install it by pip install 'zdb[legacy]'") from error
    try:
        return msgpack.unpackb(path.read_bytes(), raw=False, strict_map_key=False, **hooks)
    except (OSError, MemoryError):
        raise
    except ZdbError as error:
        raise type(error)(f"{path.name}: {error}") from error
    except Exception as error:
        raise UnreadableValueError(f"{path.name}: is {wrong}, or damaged ({type(error).__name__}: {error})") from error


def _refuse(code: int, _data: bytes) -> Any:
    raise UnreadableValueError(f"holds the extension type {code} of msgpack, which is not read")


def _decode(packed: dict[Any, Any]) -> Any:
    kind = packed.get("typ")
    if kind is None:
        return packed
    if kind not in _DECODERS:
        raise UnreadableValueError(f"holds a {kind!r:.60} of pandas, which is not read")
    return _DECODERS[kind](packed)


def _array(values: Any, dtype_name: str, compress: str | None, shape: Any = None) -> Any:
    """Values are bytes, a list of objects, or already a pandas array."""
    if isinstance(values, pd.Categorical | pd.Index):
        return values
    if dtype_name.startswith("datetime64[") and "," in dtype_name:
        unit, zone = dtype_name.removeprefix("datetime64[").removesuffix("]").split(", ")
        times = pd.DatetimeIndex(_array(values, f"datetime64[{unit}]", compress))
        return times.tz_localize("UTC").tz_convert(zone).array
    dtype = np.dtype(dtype_name)
    if not dtype.hasobject:
        values = _unpacked(values, compress)
    number = len(values) if dtype.hasobject else len(values) // max(dtype.itemsize, 1)
    return array_from_bytes(values, dtype, (number,) if shape is None else tuple(shape))


def _unpacked(values: Any, compress: str | None) -> bytes:
    content: bytes
    if isinstance(values, str):  # written by Python 2
        content = values.encode("latin1")
    elif isinstance(values, bytes):
        content = values
    elif isinstance(values, list):
        raise UnreadableValueError("the numbers of an array are a list")
    else:
        if values.code != PACKED:
            raise UnreadableValueError(f"holds the extension type {values.code} of msgpack, which is not read")
        content = values.data
    if compress == "zlib":
        return zlib.decompress(content)
    if compress == "blosc":
        return _decompressed(content)
    if compress is not None:
        raise UnreadableValueError(f"is compressed by {compress!r:.20}, which is not read")
    return content


def _decompressed(content: bytes) -> bytes:
    from numcodecs import blosc

    size = int.from_bytes(content[4:8], "little")  # of the content, as the header of blosc says
    return bytes(blosc.decompress(content)) if size else b""


def _plain_array(packed: dict[str, Any]) -> Any:
    return _array(packed["data"], packed["dtype"], packed.get("compress"), packed["shape"])


def _index(packed: dict[str, Any]) -> pd.Index[Any]:
    data = _array(packed["data"], packed["dtype"], packed.get("compress"))
    if isinstance(data, pd.Categorical):
        return pd.CategoricalIndex(data, name=packed["name"])
    return index_of(data, packed["name"])


def _range_index(packed: dict[str, Any]) -> pd.RangeIndex:
    return pd.RangeIndex(packed["start"], packed["stop"], packed["step"], name=packed["name"])


def _multi_index(packed: dict[str, Any]) -> pd.MultiIndex:
    labels = [tuple(label) for label in packed["data"]]
    if not labels:
        return pd.MultiIndex.from_arrays([[] for _ in packed["names"]], names=packed["names"])
    return pd.MultiIndex.from_tuples(labels, names=packed["names"])


def _datetime_index(packed: dict[str, Any]) -> pd.DatetimeIndex:
    made = pd.DatetimeIndex(_array(packed["data"], "datetime64[ns]", packed.get("compress")), name=packed["name"])
    zone = packed.get("tz")
    return made if zone is None else made.tz_localize("UTC").tz_convert(zone)


def _period_index(packed: dict[str, Any]) -> Any:
    ordinals = _array(packed["data"], "int64", packed.get("compress"))
    return periods_of(ordinals, str(packed["freq"]), packed["name"])


def _categorical(packed: dict[str, Any]) -> pd.Categorical:
    return pd.Categorical.from_codes(packed["codes"], categories=packed["categories"], ordered=packed["ordered"])


def _series(packed: dict[str, Any]) -> pd.Series[Any]:
    data = _array(packed["data"], packed["dtype"], packed.get("compress"))
    dtype = data.dtype if isinstance(data, np.ndarray) else None
    return pd.Series(data, index=packed["index"], name=packed["name"], dtype=dtype)


def _frame(packed: dict[str, Any]) -> pd.DataFrame:
    columns, index = packed["axes"]
    blocks = [
        (_array(block["values"], block["dtype"], block.get("compress"), block["shape"]), _locations(block, columns))
        for block in packed["blocks"]
    ]
    return frame_of_blocks(columns, index, blocks)


def _locations(block: dict[str, Any], columns: pd.Index[Any]) -> Any:
    if "locs" in block:
        return block["locs"]
    return columns.get_indexer(block["items"])  # before pandas 0.18


def _timestamp(packed: dict[str, Any]) -> Any:
    made = pd.Timestamp(np.datetime64(int(packed["value"]), "ns"))
    zone = packed.get("tz")
    return made if zone is None else made.tz_localize("UTC").tz_convert(zone)


def _timedelta(packed: dict[str, Any]) -> datetime.timedelta:
    days, seconds, microseconds = packed["data"]
    return datetime.timedelta(days, seconds, microseconds)


_DECODERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "block_manager": _frame,
    "category": _categorical,
    "date": lambda packed: datetime.datetime.fromisoformat(packed["data"]).date(),
    "datetime": lambda packed: datetime.datetime.fromisoformat(packed["data"]),
    "datetime64": lambda packed: np.datetime64(packed["data"]),
    "datetime_index": _datetime_index,
    "index": _index,
    "multi_index": _multi_index,
    "nat": lambda _: pd.NaT,
    "ndarray": _plain_array,
    "np_complex": lambda packed: np.dtype(packed.get("sub_typ", "complex128")).type(
        complex(float(packed["real"]), float(packed["imag"]))
    ),
    "np_scalar": lambda packed: np.dtype(packed["dtype"]).type(packed["data"]),
    "period_index": _period_index,
    "range_index": _range_index,
    "series": _series,
    "timedelta": _timedelta,
    "timedelta64": lambda packed: np.timedelta64(int(packed["data"]), "ns"),
    "timestamp": _timestamp,
}
