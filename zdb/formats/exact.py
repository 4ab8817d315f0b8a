"""Python values as JSON that keeps their types: what attributes, encodings and names consist of."""

from __future__ import annotations

import base64
import datetime
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from zdb.errors import UnsupportedValueError
from zdb.formats.labels import from_json, timezone_from_json, timezone_to_json, to_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["exact_from_json", "exact_to_json", "is_json"]

TEXT = np.dtypes.StringDType()
# Integers beyond these are kept by Python's JSON only.
INTEGERS = range(-(2**63), 2**63)
BUILT_IN_TYPES = {cls.__name__: cls for cls in (bool, int, float, complex, str, bytes)}


def is_json(value: Any) -> bool:
    """Whether `value` is plain JSON: of finite numbers, 64-bit integers and Unicode."""
    kind = type(value)
    if kind is str:
        return _is_unicode(value)
    if kind is int:
        return value in INTEGERS
    if kind is float:
        return math.isfinite(value)
    if kind is list:
        return all(map(is_json, value))
    if kind is dict:
        return all(type(key) is str and is_json(key) and is_json(value[key]) for key in value)
    return value is None or kind is bool


def exact_to_json(value: Any, what: str) -> Any:
    """Turn a value into JSON from which :func:`exact_from_json` restores it with all types.

    Plain JSON other than dicts stays as it is; everything else is a dict that names the type.

    Parameters
    ----------
    value : object
        JSON values, also with NaN and integers of any size; tuples, sets, bytes, complex numbers,
        times of the standard library, numpy and pandas, numpy scalars, arrays and dtypes.
    what : str
        What the value is, for the error.

    Raises
    ------
    UnsupportedValueError
        The value, or a part of it, is of another type.
    """
    kind = type(value)
    if kind is list:
        return [exact_to_json(part, f"{what}[{i}]") for i, part in enumerate(value)]
    if kind is dict:
        items = [[exact_to_json(k, what), exact_to_json(v, f"{what}[{k!r}]")] for k, v in value.items()]
        return {"dict": items}
    if kind in (tuple, set, frozenset):
        parts = sorted(value, key=repr) if kind is not tuple else value
        return {kind.__name__: [exact_to_json(part, what) for part in parts]}
    if is_json(value):
        return value
    if kind is int:
        return {"int": str(value)}
    if kind is str:
        return {"surrogates": base64.b64encode(value.encode("utf-8", "surrogatepass")).decode()}
    if kind is np.str_ and str(np.asarray(value)) == str(value):
        return {"numpy.str_": exact_to_json(str(value), what)}
    if kind is np.bytes_ and bytes(np.asarray(value).item()) == bytes(value):
        return {"numpy.bytes_": base64.b64encode(value).decode()}
    if kind is np.ndarray:
        return {"array": _array_to_json(value, what)}
    if isinstance(value, np.dtype) and value.kind in "biufcmMSU" and value.char not in "gG":
        return {"dtype": value.str}
    if isinstance(value, type):
        return _type_to_json(value, what)
    if kind is datetime.datetime:
        zone = timezone_to_json(value.tzinfo)
        text = value.replace(tzinfo=None).isoformat()
        return {"datetime": text, "zone": zone, "fold": value.fold}
    if kind is datetime.time and value.tzinfo is None:
        return {"time": value.isoformat()}
    if kind is datetime.timedelta:
        return {"duration": [value.days, value.seconds, value.microseconds]}
    try:
        if isinstance(value, np.longdouble | np.clongdouble):
            raise UnsupportedValueError("a long double differs between machines")
        return to_json(value)
    except UnsupportedValueError as error:
        raise UnsupportedValueError(
            f"{what} is a {kind.__module__}.{kind.__qualname__}, which is not kept exactly: "
            f"{value!r:.100}; make it text, a number, a list or a dict of these"
        ) from error


def exact_from_json(stored: Any) -> Any:
    """Restore a value that :func:`exact_to_json` made."""
    if isinstance(stored, list):
        return [exact_from_json(part) for part in stored]
    match stored:
        case {"dict": items}:
            return {exact_from_json(key): exact_from_json(value) for key, value in items}
        case {"tuple": parts}:
            return tuple(map(exact_from_json, parts))
        case {"set": parts}:
            return set(map(exact_from_json, parts))
        case {"frozenset": parts}:
            return frozenset(map(exact_from_json, parts))
        case {"int": text}:
            return int(text)
        case {"surrogates": raw}:
            return base64.b64decode(raw).decode("utf-8", "surrogatepass")
        case {"numpy.str_": text}:
            return np.str_(exact_from_json(text))
        case {"numpy.bytes_": raw}:
            return np.bytes_(base64.b64decode(raw))
        case {"array": array}:
            return _array_from_json(array)
        case {"dtype": text}:
            return np.dtype(text)
        case {"type": name}:
            return BUILT_IN_TYPES.get(name) or np.dtype(name.removeprefix("numpy.")).type
        case {"datetime": text, "zone": zone, "fold": fold}:
            made = datetime.datetime.fromisoformat(text)
            return made.replace(tzinfo=timezone_from_json(zone), fold=fold)
        case {"time": text}:
            return datetime.time.fromisoformat(text)
        case {"duration": [days, seconds, microseconds]}:
            return datetime.timedelta(days, seconds, microseconds)
    return from_json(stored)


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _array_to_json(array: NDArray[Any], what: str) -> dict[str, Any]:
    shape = list(array.shape)
    dtype: Any = array.dtype
    if dtype == np.dtype(object) or dtype == TEXT:
        elements = [exact_to_json(element, what) for element in array.ravel().tolist()]
        return {
            "dtype": "O" if dtype == np.dtype(object) else "T",
            "shape": shape,
            "values": elements,
        }
    if dtype.kind not in "biufcmMSU" or dtype.char in "gG":
        raise UnsupportedValueError(
            f"{what} is an array of dtype {dtype}, which is not kept in attributes; make it a variable"
        )
    raw = base64.b64encode(array.tobytes()).decode()
    return {"dtype": dtype.str, "shape": shape, "base64": raw}


def _array_from_json(stored: dict[str, Any]) -> NDArray[Any]:
    if "values" not in stored:
        raw = base64.b64decode(stored["base64"])
        flat: NDArray[Any] = np.frombuffer(raw, dtype=np.dtype(stored["dtype"])).copy()
        return flat.reshape(stored["shape"])
    elements = np.empty(len(stored["values"]), dtype=object)
    elements[:] = [exact_from_json(element) for element in stored["values"]]
    elements = elements.reshape(stored["shape"])
    return elements if stored["dtype"] == "O" else elements.astype(TEXT)


def _type_to_json(cls: type, what: str) -> dict[str, str]:
    if BUILT_IN_TYPES.get(cls.__name__) is cls:
        return {"type": cls.__name__}
    if issubclass(cls, np.generic) and np.dtype(cls).type is cls and np.dtype(cls).kind in "biufcSU":
        return {"type": f"numpy.{np.dtype(cls).name}"}
    raise UnsupportedValueError(f"{what} is the class {cls!r}, which is not kept; give its name")
