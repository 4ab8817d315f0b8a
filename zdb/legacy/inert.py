"""Pickles read without running anything: what they ask for is noted down, and done by nobody.

A pickle is a program: it names classes and functions, calls them, and sets the state of what they return. Here every
name becomes a class of its own that only notes its arguments, so that the result is a tree of lists, dicts, text,
numbers and :class:`Noted` objects. No name is imported, so there is nothing that a hostile pickle could call.
:mod:`zdb.legacy.rebuild` makes values of the tree.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import pickletools
import re
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from zdb.errors import PickleRefusedError, UnreadableValueError

__all__ = ["Builder", "Noted", "NotedCall", "object_of", "read_inert"]

# Names that modules had in older Python, numpy and pandas, and the one under which they are known here.
RENAMED_MODULES = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "numpy._core.multiarray": "numpy.core.multiarray",
    "numpy._core.numeric": "numpy.core.numeric",
    "pandas._libs.tslib": "pandas._libs.tslibs.timestamps",
    "pandas.core.index": "pandas.core.indexes.base",
    "pandas.core.indexes.numeric": "pandas.core.indexes.base",
    "pandas.core.internals": "pandas.core.internals.managers",
    "pandas.indexes.base": "pandas.core.indexes.base",
    "pandas.indexes.multi": "pandas.core.indexes.multi",
    "pandas.indexes.numeric": "pandas.core.indexes.base",
    "pandas.indexes.range": "pandas.core.indexes.range",
    "pandas.tseries.index": "pandas.core.indexes.datetimes",
    "pandas.tslib": "pandas._libs.tslibs.timestamps",
}
NOT_SET = object()
TEXT_PUT = re.compile(rb"p(\d{1,20})\n")


class _Fixed(type):
    """A class whose attributes a pickle cannot set."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise PickleRefusedError(f"a pickle tries to set {name!r} of a class")

    def __delattr__(cls, name: str) -> None:
        raise PickleRefusedError(f"a pickle tries to delete {name!r} of a class")


class Noted(metaclass=_Fixed):
    """An object that a pickle asked for: its class or function, the arguments, and what was done to it then.

    Attributes
    ----------
    name : str
        "module.name" of the class or function, as it is known today.
    original : tuple of str
        Module and name as they stand in the pickle.
    args, kwargs
        The arguments.
    called : bool
        Whether the class or function was called; else only ``__new__`` of the class was.
    state
        The argument of ``__setstate__``, or `NOT_SET`.
    items, pairs : list
        What was appended or added to it, and the keys and values that were set.
    """

    name: ClassVar[str] = ""
    original: ClassVar[tuple[str, str]] = ("", "")

    __slots__ = ("args", "called", "items", "kwargs", "pairs", "state")
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    called: bool
    state: Any
    items: list[Any]
    pairs: list[tuple[Any, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = object.__new__(cls)
        self.args, self.kwargs = args, kwargs
        self.called = False
        self.state = NOT_SET
        self.items = []
        self.pairs = []
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002 - noted by __new__
        self.called = True

    def __setstate__(self, state: Any) -> None:
        if self.state is not NOT_SET:
            raise PickleRefusedError(f"a pickle sets the state of a {self.name} twice")
        self.state = state

    def __call__(self, *args: Any, **kwargs: Any) -> NotedCall:
        return NotedCall(self, *args, **kwargs)

    def append(self, item: Any) -> None:
        self.items.append(item)

    add = append

    def extend(self, items: Any) -> None:
        self.items.extend(items)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.pairs.append((key, value))


class Builder(Protocol):
    """Makes values of a tree, for the functions that make one kind of them."""

    def build(self, tree: Any) -> Any: ...


class NotedCall(Noted):
    """A call of what an earlier call returned; `args` begin with that :class:`Noted` object."""

    name = "(result of a call)"
    __slots__ = ()


def read_inert(content: bytes, what: str) -> Any:
    """Read a pickle of any protocol into a tree in which nothing has been imported or called.

    Parameters
    ----------
    content : bytes
    what : str
        File or row that holds it, for errors.

    Raises
    ------
    PickleRefusedError
        It does what no pickle of data does.
    UnreadableValueError
        It is damaged.
    """
    if vars(copyreg)["_inverted_registry"] or _may_reserve_memory(content):
        _refuse_opcodes(content, what)
    try:
        # Python 2 wrote bytes and text alike; latin-1 keeps all bytes of arrays.
        return _Reader(io.BytesIO(content), encoding="latin1").load()
    except PickleRefusedError as error:
        raise PickleRefusedError(f"{what}: {error}") from error
    except Exception as error:
        raise UnreadableValueError(
            f"{what}: is no pickle of data, or damaged ({type(error).__name__}: {error})"
        ) from error


def object_of(tree: Any) -> tuple[str, Any]:
    """Return the name of the class of an object, and its state; "" and None for what is no object of a class."""
    if isinstance(tree, type) and issubclass(tree, Noted):
        return tree.name, {}
    if not isinstance(tree, Noted):
        return "", None
    state = {} if tree.state is NOT_SET else tree.state
    if tree.name == "copyreg._reconstructor" and tree.args:  # what protocols 0 and 1 write
        return object_of(tree.args[0])[0], state
    return tree.name, state


class _Reader(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, *, encoding: str) -> None:
        super().__init__(file, encoding=encoding)
        self._known: dict[tuple[str, str], type[Noted]] = {}

    def find_class(self, module: str, name: str, /) -> type[Noted]:
        key = (module, name)
        if key not in self._known:
            today = f"{RENAMED_MODULES.get(module, module)}.{name}"
            made: Any = _Fixed("Noted", (Noted,), {"__slots__": (), "name": today, "original": key})
            self._known[key] = made
        return self._known[key]

    def persistent_load(self, pid: Any, /) -> Any:
        raise PickleRefusedError(f"a pickle asks for an object outside of it ({pid!r:.60})")


def _may_reserve_memory(content: bytes) -> bool:
    """Whether there may be an opcode that numbers an object beyond the length of the pickle.

    Python would reserve memory for all objects up to that number.
    """
    limit = len(content)
    data = np.frombuffer(content, dtype=np.uint8)
    places = np.flatnonzero(data[: max(limit - 4, 0)] == pickle.LONG_BINPUT[0])
    numbers = sum(data[places + 1 + n].astype(np.int64) << (8 * n) for n in range(4))
    return bool(np.any(numbers > limit)) or any(int(match[1]) > limit for match in TEXT_PUT.finditer(content))


def _refuse_opcodes(content: bytes, what: str) -> None:
    """Refuse what no pickle of data does: numbers beyond its length, and objects from a cache of this process (EXT)."""
    reason = ""
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name.startswith("EXT"):
                reason = f"uses the extension code {opcode.name}"
            elif opcode.name.endswith("PUT") and isinstance(argument, int) and argument > len(content):
                reason = f"of {len(content)} bytes numbers an object {argument}"
            if reason:
                break
    except Exception as error:
        raise UnreadableValueError(f"{what}: is no pickle of data, or damaged ({error})") from error
    if reason:
        raise PickleRefusedError(f"{what}: a pickle {reason}")
