"""JSON values, and any other object as a pickle.

JSON is written with the literals ``NaN``, ``Infinity`` and ``-Infinity``, as :mod:`json` does, and
with integers of any size. :func:`encode_attributes` and :func:`decode_attributes` need no xarray,
so that small values are written and read without importing it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from zdb.errors import CorruptChunkError, UnsupportedValueError
from zdb.formats.registry import Format

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

__all__ = ["JsonFormat", "PickleFormat", "decode_attributes", "encode_attributes"]

_SCALARS = frozenset({type(None), bool, int, float, str})
_ADVICE = {
    "tuple": "make it a list",
    "set": "make it a sorted list",
    "frozenset": "make it a sorted list",
    "bytes": "keep it under a key of its own, or as text",
    "datetime": "keep its isoformat()",
    "ndarray": "keep it under a key of its own, or as a list by .tolist()",
}
# Lists and dicts may be nested this deep: readers, Python among them, give up at some depth.
DEEPEST_NESTING = 200
_DEEPEST_SEARCH = 2000
_PICKLE_ADVICE = 'or keep the whole value by set(key, value, format="pickle")'


class JsonFormat(Format):
    """None, bool, int, float, str, and lists and dicts of these: one attribute, no array."""

    name = "json"
    types = tuple(f"builtins.{name}" for name in ("NoneType", "bool", "int", "float", "str", "list", "dict"))

    def accepts(self, value: Any) -> bool:
        """Leave numpy scalars, some of which are floats, and lists of arrays to other formats."""
        if type(value) is list and value:
            return not all(_is_array(element) for element in value)
        return not _is_of_numpy(type(value))

    def encode(self, value: Any) -> xr.Dataset:
        """Return a Dataset that has attributes only."""
        import xarray as xr

        return xr.Dataset(attrs=encode_attributes(value))

    def decode(self, node: xr.Dataset | xr.DataTree) -> Any:
        """Return the value; lists and dicts are new ones."""
        return decode_attributes(node.attrs)


def encode_attributes(value: Any) -> dict[str, str]:
    """Return the attributes that keep a JSON value.

    Parameters
    ----------
    value
        None, bool, int, float, str, or lists and dicts (with str keys) of these; exactly these
        types, no subclasses.

    Raises
    ------
    UnsupportedValueError
        Something inside would not come back exactly; the message tells where it is.
    """
    try:
        exact = _is_exact(value)
        text = json.dumps(value, ensure_ascii=False) if exact else ""
    except RecursionError:
        raise UnsupportedValueError(_why_too_deep(value)) from None
    except ValueError:  # integers beyond sys.get_int_max_str_digits()
        text = _dump(value)
    if not exact:
        raise UnsupportedValueError(_explain(value))
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UnsupportedValueError(_explain(value)) from None
    # Few brackets cannot be nested deeply, and to count them takes no time.
    if text.count("[") + text.count("{") > DEEPEST_NESTING and _depth(value) > DEEPEST_NESTING:
        raise UnsupportedValueError(_why_too_deep(value))
    kind = type(value)
    return {
        "zdb_type": kind.__name__,
        "zdb_dtype": "",
        "zdb_shape": f"[{len(value)}]" if kind is list or kind is dict else "[]",
        "zdb_recipe": "{}",
        "zdb_value": text,
    }


def decode_attributes(attributes: Mapping[Any, Any]) -> Any:
    """Return the JSON value that :func:`encode_attributes` put into a mapping of attributes."""
    text = attributes["zdb_value"]
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise CorruptChunkError(f"the attribute zdb_value is no JSON: {error}") from error
    except ValueError:  # integers beyond sys.get_int_max_str_digits()
        return json.loads(text, parse_int=_parse_integer)


def _is_exact(value: Any) -> bool:
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is list:
        return all(map(_is_exact, value))
    if kind is dict:
        return all(type(key) is str for key in value) and all(map(_is_exact, value.values()))
    return False


def _depth(value: Any) -> int:
    if type(value) is dict:
        value = list(value.values())
    elif type(value) is not list:
        return 0
    return 1 + max(map(_depth, value), default=0)


def _explain(value: Any) -> str:
    try:
        return _find_problem(value, "")
    except RecursionError:
        return _why_too_deep(value)


def _find_problem(value: Any, path: str) -> str:
    """Return the message for the first thing that JSON would not keep; "" if there is none."""
    kind = type(value)
    if kind is str:
        return _problem_of_text(value, path)
    if kind in _SCALARS:
        return ""
    if kind is list:
        problems = (_find_problem(element, f"{path}[{i}]") for i, element in enumerate(value))
        return next(filter(None, problems), "")
    if kind is dict:
        for key, element in value.items():
            if type(key) is not str:
                return (
                    f"JSON keeps dicts with str keys only: the key {key!r}{_at(path)} is of type "
                    f"{_type_name(type(key))}; make it a str, {_PICKLE_ADVICE}"
                )
            problem = _problem_of_text(key, path) or _find_problem(element, f"{path}[{key!r}]")
            if problem:
                return problem
        return ""
    return f"JSON does not keep a {_type_name(kind)}{_at(path)}; {_advice(kind)}, {_PICKLE_ADVICE}"


def _problem_of_text(text: str, path: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return (
            f"the str{_at(path)} has a lone surrogate ({text[error.start]!a} at position "
            f"{error.start}), which UTF-8 cannot hold; keep it as bytes, by "
            'text.encode("utf-8", "surrogateescape")'
        )
    return ""


def _advice(kind: type) -> str:
    for base in kind.__mro__:
        if base.__name__ in _ADVICE:
            return _ADVICE[base.__name__]
    if _is_of_numpy(kind):
        return "make it a Python number or str by .item()"
    for base in kind.__mro__[1:]:
        if base in _SCALARS or base is list or base is dict:
            return f"make it a plain {base.__name__}"
    return "make it a dict, list, str or number, or keep it under a key of its own"


def _why_too_deep(value: Any) -> str:
    """Return the message for a value in which lists or dicts contain themselves, or almost."""
    open_containers: dict[int, str] = {}
    pending = [(value, "", False)]
    while pending:
        item, path, is_done = pending.pop()
        if is_done:
            del open_containers[id(item)]
            continue
        if type(item) is not list and type(item) is not dict:
            continue
        if id(item) in open_containers:
            inside = path[len(open_containers[id(item)]) :]
            return (
                f"the {type(item).__name__}{_at(open_containers[id(item)])} contains itself "
                f"({inside[:80]}), which JSON cannot keep; break the cycle, {_PICKLE_ADVICE}"
            )
        if len(open_containers) == _DEEPEST_SEARCH:
            break
        open_containers[id(item)] = path
        pending.append((item, path, True))
        children = item.items() if type(item) is dict else enumerate(item)
        pending += [(child, f"{path}[{key!r}]", False) for key, child in children]
    return (
        f"lists and dicts are nested more than {DEEPEST_NESTING} levels deep, which not every "
        f"reader of JSON takes; flatten the value, {_PICKLE_ADVICE}"
    )


def _at(path: str) -> str:
    return f" at {path}" if path else ""


def _type_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _is_of_numpy(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "numpy"


def _is_array(value: Any) -> bool:
    return any(_is_of_numpy(base) and base.__name__ == "ndarray" for base in type(value).__mro__)


# To guard servers against slow conversions, Python refuses to convert integers of more than 4300
# digits (640 at the strictest setting) at once. These convert them by halves.
_DIGITS = 600


def _dump(value: Any) -> str:
    kind = type(value)
    if kind is int:
        return ("-" if value < 0 else "") + _decimal(abs(value)).lstrip("0")
    if kind is list:
        return f"[{', '.join(map(_dump, value))}]"
    if kind is dict:
        return "{" + ", ".join(f"{_dump(key)}: {_dump(value[key])}" for key in value) + "}"
    return json.dumps(value, ensure_ascii=False)


def _decimal(number: int) -> str:
    if number < 10**_DIGITS:
        return str(number)
    half = int(number.bit_length() * 0.30103) // 2
    high, low = divmod(number, 10**half)
    return _decimal(high) + _decimal(low).zfill(half)


def _parse_integer(digits: str) -> int:
    if len(digits) <= _DIGITS:
        return int(digits)
    if digits.startswith("-"):
        return -_parse_integer(digits[1:])
    half = len(digits) // 2
    shift: int = 10**half
    return _parse_integer(digits[:-half]) * shift + _parse_integer(digits[-half:])


class PickleFormat(Format):
    """Any object as bytes of cloudpickle, only by ``format="pickle"``; reading it can run code."""

    name = "pickle"
    executes_code = True

    def encode(self, value: Any) -> xr.Dataset:
        """Return a Dataset with the pickle (protocol 5) as `content`."""
        import cloudpickle
        import numpy as np
        import xarray as xr

        kind = _type_name(type(value))
        try:
            content = cloudpickle.dumps(value, protocol=5)
        except Exception as error:  # whatever the object's own code raises
            raise UnsupportedValueError(f"the {kind} cannot be pickled: {type(error).__name__}: {error}") from error
        attributes = {
            "zdb_type": kind,
            "zdb_dtype": "",
            "zdb_shape": "[]",
            "zdb_recipe": "{}",
        }
        array = np.frombuffer(content, dtype=np.uint8)
        return xr.Dataset({"content": ("byte", array)}, attrs=attributes)

    def decode(self, node: xr.Dataset | xr.DataTree) -> Any:
        """Load the pickle. It runs the code that it names: only for databases that are trusted."""
        import pickle

        import numpy as np

        content = np.asarray(node["content"].values)
        try:
            return pickle.loads(content.data)
        except (ImportError, AttributeError) as error:
            error.add_note(
                f"It was raised while a pickled {node.attrs['zdb_type']} was loaded: the module or "
                "class that it needs is not there, or has changed."
            )
            raise
