"""Labels (names of columns, values of short indexes, attributes) as JSON with their types."""

from __future__ import annotations

import base64
import datetime
import importlib
import math
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from zdb.errors import UnsupportedValueError

__all__ = ["from_json", "json_exactly", "timezone_from_json", "timezone_to_json", "to_json"]

USE_PICKLE = 'or keep the whole value by set(key, value, format="pickle")'


def to_json(label: Any) -> Any:
    """Turn a label into JSON from which `from_json` restores it with its type.

    Strings, integers, booleans, None and finite floats are themselves; everything else is an object
    that names its type, such as ``{"tuple": ["soma", 1]}``.

    Raises
    ------
    UnsupportedValueError
        The type is not one of those that occur as labels.
    """
    kind = type(label)
    if label is None or kind in (bool, int, str):
        return label
    if kind is float:
        return label if math.isfinite(label) else {"float": repr(label)}
    if kind is complex:
        return {"complex": [to_json(label.real), to_json(label.imag)]}
    if kind is bytes:
        return {"bytes": base64.b64encode(label).decode("ascii")}
    if kind is tuple:
        return {"tuple": [to_json(part) for part in label]}
    if label is pd.NA:
        return {"missing": "NA"}
    if label is pd.NaT:
        return {"missing": "NaT"}
    if kind is pd.Timestamp:
        zone = timezone_to_json(label.tz)
        return {"timestamp": int(label.asm8.astype(np.int64)), "unit": label.unit, "zone": zone}
    if kind is pd.Timedelta:
        return {"timedelta": int(label.asm8.astype(np.int64)), "unit": label.unit}
    if kind is pd.Period:
        return {"period": label.ordinal, "freq": label.freqstr}
    if kind is pd.Interval:
        ends = [to_json(label.left), to_json(label.right)]
        return {"interval": ends, "closed": label.closed}
    if kind is datetime.date:
        return {"date": label.isoformat()}
    if isinstance(label, np.generic) and label.dtype.kind in "biufcmM":
        raw = base64.b64encode(label.tobytes()).decode("ascii")
        return {"numpy": label.dtype.str, "base64": raw, "text": str(label)}
    raise UnsupportedValueError(
        f"the label {label!r} is a {kind.__module__}.{kind.__qualname__}, which is not kept "
        f"exactly; use a string, a number, a time or a tuple of these, {USE_PICKLE}"
    )


def from_json(stored: Any) -> Any:
    """Restore a label that `to_json` made."""
    if not isinstance(stored, dict):
        return stored
    match stored:
        case {"float": text}:
            return float(text)
        case {"complex": [real, imag]}:
            return complex(from_json(real), from_json(imag))
        case {"bytes": text}:
            return base64.b64decode(text)
        case {"tuple": parts}:
            return tuple(from_json(part) for part in parts)
        case {"missing": name}:
            return pd.NA if name == "NA" else pd.NaT
        case {"timestamp": value, "unit": unit, "zone": zone}:
            stamp = pd.Timestamp(np.datetime64(value, unit))
            if zone is None:
                return stamp
            return stamp.tz_localize("UTC").tz_convert(timezone_from_json(zone))
        case {"timedelta": value, "unit": unit}:
            return pd.Timedelta(np.timedelta64(value, unit))
        case {"period": ordinal, "freq": freq}:
            return pd.Period(ordinal=ordinal, freq=freq)
        case {"interval": [left, right], "closed": closed}:
            return pd.Interval(from_json(left), from_json(right), closed=closed)
        case {"date": text}:
            return datetime.date.fromisoformat(text)
        case {"numpy": dtype, "base64": raw}:
            return np.frombuffer(base64.b64decode(raw), dtype=np.dtype(dtype))[0]
    raise UnsupportedValueError(f"unknown label {stored!r}: written by a newer version of zdb?")


def timezone_to_json(zone: datetime.tzinfo | None) -> Any:
    """Describe a time zone by the library that made it and its name or its offset.

    Raises
    ------
    UnsupportedValueError
        The zone has no name by which an equal one can be made.
    """
    if zone is None:
        return None
    if isinstance(zone, ZoneInfo) and zone.key:
        return {"zoneinfo": zone.key}
    if zone is datetime.UTC:
        return {"utc": True}
    if type(zone) is datetime.timezone:
        offset = zone.utcoffset(None)
        stored: dict[str, Any] = {"offset": offset.total_seconds()}
        if repr(zone) != repr(datetime.timezone(offset)):
            stored["name"] = zone.tzname(None)
        return stored
    if type(zone).__module__.partition(".")[0] == "pytz" and getattr(zone, "zone", None):
        return {"pytz": str(zone)}
    raise UnsupportedValueError(
        f"the time zone {zone!r} cannot be kept exactly; use zoneinfo.ZoneInfo or datetime.timezone, {USE_PICKLE}"
    )


def timezone_from_json(stored: Any) -> datetime.tzinfo | None:
    """Restore a time zone that `timezone_to_json` described."""
    match stored:
        case None:
            return None
        case {"zoneinfo": key}:
            return ZoneInfo(key)
        case {"utc": True}:
            return datetime.UTC
        case {"offset": seconds}:
            offset = datetime.timedelta(seconds=seconds)
            return datetime.timezone(offset, stored["name"]) if "name" in stored else datetime.timezone(offset)
        case {"pytz": name}:
            zone: datetime.tzinfo = importlib.import_module("pytz").timezone(name)
            return zone
    raise UnsupportedValueError(f"unknown time zone {stored!r}: written by a newer version of zdb?")


def json_exactly(value: Any, what: str) -> Any:
    """Return `value` if JSON keeps it exactly.

    That is str, int, finite float, bool, None, and lists and dicts of these.

    Raises
    ------
    UnsupportedValueError
        It holds anything else; the message says where.
    """
    kind = type(value)
    if value is None or kind in (bool, int, str) or (kind is float and math.isfinite(value)):
        return value
    if kind is list:
        return [json_exactly(part, f"{what}[{i}]") for i, part in enumerate(value)]
    if kind is dict and all(type(key) is str for key in value):
        return {key: json_exactly(part, f"{what}[{key!r}]") for key, part in value.items()}
    raise UnsupportedValueError(
        f"{what} is a {kind.__module__}.{kind.__qualname__} that JSON does not keep exactly; make "
        f"it text, a finite number, a list or a dict with text keys, {USE_PICKLE}"
    )
