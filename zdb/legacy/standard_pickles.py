"""What pickles of the standard library's types become; for :mod:`zdb.legacy.rebuild`.

Each maker takes only arguments of the types that pickling such an object gives, and calls nothing but the type.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import pathlib
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

from zdb.errors import PickleRefusedError
from zdb.legacy.inert import NOT_SET, Noted, NotedCall

if TYPE_CHECKING:
    from collections.abc import Callable

    from zdb.legacy.inert import Builder

__all__ = ["MAKERS", "NAMED", "is_zone", "plain_arguments", "zone_of"]

NUMPY_TYPES = [
    "bool_",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
    "str_",
    "bytes_",
    "object_",
    "datetime64",
    "timedelta64",
]


def _numpy_type(name: str) -> Any:
    import numpy as np

    return getattr(np, name)


def _same(cls: type) -> type:
    return cls


# Types that pickles name as values.
NAMED: dict[str, Callable[[], Any]] = {
    **{
        f"builtins.{cls.__name__}": partial(_same, cls)
        for cls in (bool, bytes, complex, dict, float, frozenset, int, list, object, set, str, tuple)
    },
    **{f"numpy.{name}": partial(_numpy_type, name) for name in [*NUMPY_TYPES, "dtype", "ndarray"]},
}


def plain_arguments(builder: Builder, noted: Noted, *kinds: type | tuple[type, ...]) -> list[Any]:
    """Return the arguments of a call, which have to be of the given types and no more than these.

    Raises
    ------
    PickleRefusedError
        They are not.
    """
    args = [builder.build(arg) for arg in noted.args]
    fitting = len(args) <= len(kinds) and all(isinstance(arg, kind) for arg, kind in zip(args, kinds, strict=False))
    if not fitting or noted.kwargs or noted.items or noted.pairs or noted.state not in (NOT_SET, None):
        raise PickleRefusedError(f"the pickle makes a {'.'.join(noted.original)} in an unusual way")
    return args


def _calling(cls: Callable[..., Any], *kinds: type | tuple[type, ...]) -> Callable[[Builder, Noted], Any]:
    return lambda builder, noted: cls(*plain_arguments(builder, noted, *kinds))


def _encode(builder: Builder, noted: Noted) -> bytes:
    """Bytes, as pickles of protocol 2 hold them."""
    text, *encoding = plain_arguments(builder, noted, str, str)
    if encoding != ["latin1"]:
        raise PickleRefusedError(f"the pickle encodes text by {encoding}")
    return bytes(text.encode("latin1"))


def _bytes(builder: Builder, noted: Noted) -> bytes:
    return b"".join(plain_arguments(builder, noted, bytes))


def _ordered(builder: Builder, noted: Noted) -> collections.OrderedDict[Any, Any]:
    _require_no_state(noted)
    made: collections.OrderedDict[Any, Any] = collections.OrderedDict()
    pairs = [*_single(builder, noted.args), *noted.pairs]
    made.update((builder.build(key), builder.build(value)) for key, value in pairs)
    return made


def _require_no_state(noted: Noted) -> None:
    if noted.state not in (NOT_SET, None, {}):
        raise PickleRefusedError(f"the pickle gives a state to a {'.'.join(noted.original)}, which has none")


def _single(builder: Builder, args: tuple[Any, ...]) -> list[Any]:
    """The list of a call that has at most one argument, a list."""
    if not args:
        return []
    if len(args) > 1 or not isinstance(args[0], list):
        raise PickleRefusedError("the pickle makes a collection in an unusual way")
    return list(builder.build(args[0]))


def _default_dict(builder: Builder, noted: Noted) -> dict[Any, Any]:
    """A defaultdict becomes a dict; its default has to be one of the types that can be named."""
    _require_no_state(noted)
    if len(noted.args) > 1 or noted.items:
        raise PickleRefusedError("the pickle makes a dict in an unusual way")
    builder.build(noted.args)
    return {builder.build(key): builder.build(value) for key, value in noted.pairs}


def _collection(kind: type) -> Callable[[Builder, Noted], Any]:
    def make(builder: Builder, noted: Noted) -> Any:
        _require_no_state(noted)
        return kind([*_single(builder, noted.args), *map(builder.build, noted.items)])

    return make


def _uuid(builder: Builder, noted: Noted) -> uuid.UUID:
    return uuid.UUID(int=builder.build(noted.state)["int"])


def zone_of(_builder: Builder, noted: Noted) -> Any:
    """A time zone of pytz or zoneinfo by its name."""
    import zoneinfo

    names = [arg for arg in noted.args if isinstance(arg, str)]
    return zoneinfo.ZoneInfo(names[0]) if names else datetime.UTC


def is_zone(noted: Noted) -> bool:
    """Whether it is the call ``getattr(ZoneInfo, "_unpickle")(key, from_cache)``, by which a time zone is pickled."""
    method = noted.args[0] if isinstance(noted, NotedCall) else None
    if not isinstance(method, Noted) or method.name != "builtins.getattr" or len(method.args) != 2:
        return False
    cls, name = method.args
    return isinstance(cls, type) and getattr(cls, "name", "") == "zoneinfo.ZoneInfo" and name == "_unpickle"


NUMBER = (int, float)
MAKERS: dict[str, Callable[[Builder, Noted], Any]] = {
    "_codecs.encode": _encode,
    "builtins.bytes": _bytes,
    "builtins.bytearray": _calling(bytearray, bytes),
    "builtins.complex": _calling(complex, NUMBER, NUMBER),
    "builtins.dict": _default_dict,
    "builtins.float": _calling(float, (int, float, str)),
    "builtins.frozenset": _collection(frozenset),
    "builtins.int": _calling(int, (int, float, str)),
    "builtins.range": _calling(range, int, int, int),
    "builtins.set": _collection(set),
    "builtins.xrange": _calling(range, int, int, int),
    "builtins.slice": _calling(slice, *[(int, type(None))] * 3),
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": _default_dict,
    "datetime.date": _calling(datetime.date, (bytes, int), int, int),
    "datetime.datetime": _calling(datetime.datetime, (bytes, int), (int, datetime.tzinfo), *[int] * 5),
    "datetime.time": _calling(datetime.time, (bytes, int), (int, datetime.tzinfo), *[int] * 2),
    "datetime.timedelta": _calling(datetime.timedelta, int, int, int),
    "datetime.timezone": _calling(datetime.timezone, datetime.timedelta, str),
    "decimal.Decimal": _calling(decimal.Decimal, str),
    "pathlib.PosixPath": lambda r, n: pathlib.PurePosixPath(*plain_arguments(r, n, *[str] * 100)),
    "pathlib.PurePosixPath": lambda r, n: pathlib.PurePosixPath(*plain_arguments(r, n, *[str] * 100)),
    "pytz._UTC": lambda _r, _n: datetime.UTC,
    "pytz._p": zone_of,
    "uuid.UUID": _uuid,
    "zoneinfo.ZoneInfo._unpickle": zone_of,
}
