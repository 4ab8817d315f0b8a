"""Pickles as other programs and older pandas wrote them, also hostile ones: any name, any opcode."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Ref:
    """The name of a class or function."""

    module: str
    name: str

    def __call__(self) -> None:
        raise AssertionError("only its name is pickled")


@dataclass(eq=False)
class Made:
    """A call of `ref` (or of its ``__new__``), and what is done to the result."""

    ref: Any
    args: tuple = ()
    state: Any = None
    new: bool = False
    items: list = field(default_factory=list)


class _Pickler(pickle._Pickler):
    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Ref):
            if self.proto >= 4:
                self.save(obj.module)
                self.save(obj.name)
                self.write(pickle.STACK_GLOBAL)
            else:
                self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Made) and id(obj) not in self.memo:
            self.save(obj.ref)
            self.save(obj.args)
            self.write(pickle.NEWOBJ if obj.new and self.proto >= 2 else pickle.REDUCE)
            self.memoize(obj)
            for item in obj.items:
                self.save(item)
                self.write(pickle.APPEND)
            if obj.state is not None:
                self.save(obj.state)
                self.write(pickle.BUILD)
        else:
            super().save(obj, save_persistent_id)


def dumps(value: Any, protocol: int = 4) -> bytes:
    """Pickle a value that may hold `Ref` and `Made`."""
    file = io.BytesIO()
    _Pickler(file, protocol).dump(value)
    return file.getvalue()


# What numpy and pandas 1.1 wrote

NDARRAY = Ref("numpy", "ndarray")


def old_dtype(spec: str) -> Made:
    order = "|" if spec[0] in "ObSUV" else "<"
    return Made(Ref("numpy", "dtype"), (spec, False, True), (3, order, None, None, None, -1, -1, 0))


def old_array(array: Any) -> Made:
    """As ``numpy.ndarray.__reduce__`` of numpy 1.19."""
    if array.dtype == object:
        spec, raw = "O8", list(array.ravel())
    else:
        spec, raw = f"{array.dtype.kind}{array.dtype.itemsize}", array.tobytes()
    state = (1, array.shape, old_dtype(spec), False, raw)
    return Made(Ref("numpy.core.multiarray", "_reconstruct"), (NDARRAY, (0,), b"b"), state)


def old_index(values: Any, name: Any = None, cls: str = "Index") -> Made:
    module = "pandas.core.indexes.numeric" if cls.endswith("64Index") else "pandas.core.indexes.base"
    return Made(
        Ref("pandas.core.indexes.base", "_new_Index"), (Ref(module, cls), {"data": old_array(values), "name": name})
    )


def old_range(stop: int) -> Made:
    cls = Ref("pandas.core.indexes.range", "RangeIndex")
    return Made(
        Ref("pandas.core.indexes.base", "_new_Index"), (cls, {"name": None, "start": 0, "stop": stop, "step": 1})
    )


def old_frame(columns: Made, index: Made, blocks: list[tuple[Made, slice]]) -> Made:
    """As ``pandas.DataFrame.__reduce__`` of pandas 1.1."""
    kept = {"axes": [columns, index], "blocks": [{"values": v, "mgr_locs": _slice(s)} for v, s in blocks]}
    state = ([columns, index], [v for v, _ in blocks], [], {"0.14.1": kept})
    manager = Made(Ref("pandas.core.internals.managers", "BlockManager"), (), state, new=True)
    attributes = {"_mgr": manager, "_typ": "dataframe", "_metadata": [], "attrs": {}}
    return Made(Ref("pandas.core.frame", "DataFrame"), (), attributes, new=True)


def range_slice(stop: int) -> Made:
    """``slice(0, stop, 1)``."""
    return _slice(slice(0, stop, 1))


def _slice(places: slice) -> Made:
    return Made(Ref("builtins", "slice"), (places.start, places.stop, places.step))
