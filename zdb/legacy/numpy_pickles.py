"""What pickles of numpy become; for :mod:`zdb.legacy.rebuild`.

Nothing of numpy gets a state from the pickle: dtypes are made anew from checked text, arrays from their bytes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from zdb.errors import PickleRefusedError, UnreadableValueError
from zdb.legacy.inert import NOT_SET, Noted

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from zdb.legacy.inert import Builder

__all__ = ["MAKERS", "array_from_bytes"]

DTYPE = re.compile(r"[<>=|]?(b1|[iu][1248]|f(2|4|8|12|16)|c(8|16|24|32)|[mM]8|[OSUV]\d*|b|B)")
UNITS = frozenset(["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "μs", "ns", "ps", "fs", "as"])
PLAIN_ARRAYS = frozenset({"numpy.ndarray", "numpy.core.memmap.memmap", "numpy.memmap", "numpy.matrix"})
FROZEN_ARRAY = "pandas.core.indexes.frozen.FrozenNDArray"


def _dtype(builder: Builder, noted: Noted) -> np.dtype[Any]:
    spec = noted.args[0] if noted.args else None
    if isinstance(spec, bytes):
        spec = spec.decode("latin1")
    if not isinstance(spec, str) or not DTYPE.fullmatch(spec):
        raise PickleRefusedError(f"the pickle names the dtype {spec!r:.60}")
    if noted.state is NOT_SET:
        return np.dtype(spec)
    state = noted.state
    if not isinstance(state, tuple) or not 8 <= len(state) <= 9:
        raise UnreadableValueError(f"the state of a dtype is {state!r:.60}")
    _, order, nested, names, fields, size, _, _, *metadata = state
    if nested is not None:
        return np.dtype((builder.build(nested[0]), builder.build(nested[1])))
    if names:
        return _structure([str(name) for name in names], builder.build(fields), int(size))
    if spec.lstrip("<>=|")[0] in "mM":
        spec = f"{spec}[{_unit(builder.build(metadata[0]))}]"
    elif spec.lstrip("<>=|") in ("S", "U", "V") and size > 0:
        spec = f"{spec}{size // (4 if spec.endswith('U') else 1)}"
    made = np.dtype(spec)
    return made.newbyteorder(order) if order in ("<", ">") else made


def _structure(names: list[str], fields: dict[str, Any], size: int) -> np.dtype[Any]:
    formats = [fields[name][0] for name in names]
    offsets = [int(fields[name][1]) for name in names]
    titles = [fields[name][2] if len(fields[name]) > 2 else None for name in names]
    spec: Any = {"names": names, "formats": formats, "offsets": offsets, "itemsize": size}
    if any(titles):
        spec["titles"] = titles
    made: np.dtype[Any] = np.dtype(spec)
    return made


def _unit(metadata: Any) -> str:
    # ({}, (unit, number, denominator, event)); the unit is bytes in pickles of Python 2
    unit, number, *_ = metadata[1]
    unit = unit.decode("latin1") if isinstance(unit, bytes) else unit
    if unit not in UNITS or not isinstance(number, int):
        raise UnreadableValueError(f"a time has the unit {unit!r:.20}")
    return f"{number}{unit}"


def array_from_bytes(raw: Any, dtype: np.dtype[Any], shape: tuple[int, ...], order: str = "C") -> NDArray[Any]:
    """Return an array of its bytes (latin-1 text in pickles of Python 2), or of the list of its objects.

    Raises
    ------
    PickleRefusedError
        The bytes would be pointers to objects.
    UnreadableValueError
        They do not fill the shape.
    """
    shape = tuple(int(n) for n in shape)
    if isinstance(raw, list) and dtype == np.dtype(object):
        made = np.empty(len(raw), dtype=object)
        for position, element in enumerate(raw):
            made[position] = element
    else:
        if dtype.hasobject:
            raise PickleRefusedError(f"an array of dtype {dtype} is given as bytes")
        content = raw.encode("latin1") if isinstance(raw, str) else bytes(raw)
        if dtype.itemsize == 0:
            return np.zeros(shape, dtype=dtype)
        if len(content) != dtype.itemsize * int(np.prod(shape, dtype=object)):
            raise UnreadableValueError(f"{len(content)} bytes are no array of dtype {dtype} and shape {shape}")
        made = np.frombuffer(content, dtype=dtype).copy()
    return made.reshape(shape, order="F" if order == "F" else "C")


def _reconstruct(builder: Builder, noted: Noted) -> NDArray[Any]:
    """``numpy.core.multiarray._reconstruct(cls, (0,), b"b")`` and its state."""
    cls = noted.args[0] if noted.args else None
    name = getattr(cls, "name", "")
    if not (isinstance(cls, type) and issubclass(cls, Noted)) or name not in {*PLAIN_ARRAYS, FROZEN_ARRAY}:
        raise PickleRefusedError(f"the pickle asks for an array of the class {name or cls!r:.60}")
    state = noted.state
    if name == FROZEN_ARRAY and isinstance(state, tuple) and len(state) == 2:
        state = state[0]
    if not isinstance(state, tuple) or len(state) < 5:
        raise UnreadableValueError("an array has no state")
    _, shape, dtype, fortran, raw = state[:5]
    made = array_from_bytes(builder.build(raw), builder.build(dtype), builder.build(shape), "F" if fortran else "C")
    return made.view(np.matrix) if name == "numpy.matrix" else made


def _frombuffer(builder: Builder, noted: Noted) -> NDArray[Any]:
    """``numpy.core.numeric._frombuffer(buffer, dtype, shape, order)``, of protocol 5."""
    raw, dtype, shape, order = builder.build(noted.args)
    return array_from_bytes(raw, dtype, shape, order)


def _scalar(builder: Builder, noted: Noted) -> Any:
    """``numpy.core.multiarray.scalar(dtype, bytes)``; numpy would unpickle the bytes of an object scalar."""
    dtype, *raw = builder.build(noted.args)
    if dtype.hasobject or not raw:
        raise PickleRefusedError("the pickle holds a numpy scalar of dtype object")
    return array_from_bytes(raw[0], dtype, ())[()]


MAKERS: dict[str, Callable[[Builder, Noted], Any]] = {
    "numpy.dtype": _dtype,
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _frombuffer,
}
