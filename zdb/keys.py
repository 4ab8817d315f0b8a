"""Keys: names joined by ``/``, and the rules that keep them safe on every store."""

from __future__ import annotations

import re

from zdb.errors import InvalidKeyError

__all__ = ["Key", "check_name", "is_listed", "join", "normalize", "split"]

Key = str | tuple[str, ...]

MAX_NAME_LENGTH = 120
RESERVED_NAMES = frozenset({"_zdb", "zarr.json"})
_ALLOWED = re.compile(r"[A-Za-z0-9._-]+")


def check_name(name: object) -> str:
    """Return a name of a key, or raise :class:`~zdb.errors.InvalidKeyError` and say which rule it breaks."""
    if not isinstance(name, str):
        raise InvalidKeyError(f"{name!r} is no name: names of keys are str, not {type(name).__name__}")
    if not name:
        raise InvalidKeyError("a name of a key is empty")
    if not _ALLOWED.fullmatch(name):
        wrong = sorted(set(_ALLOWED.sub("", name)))
        raise InvalidKeyError(f"{name!r} contains {', '.join(map(repr, wrong))}: names are made of A-Z a-z 0-9 . _ -")
    if name.startswith((".", "__")):
        raise InvalidKeyError(f"{name!r} starts with '.' or '__', which is reserved")
    if name in RESERVED_NAMES:
        raise InvalidKeyError(f"{name!r} is reserved")
    if len(name) > MAX_NAME_LENGTH:
        raise InvalidKeyError(f"{name!r} has {len(name)} characters; at most {MAX_NAME_LENGTH} are allowed")
    return name


def normalize(key: object) -> str:
    """Return a key, given as ``"a/b"`` or ``("a", "b")``, as a path.

    Raises
    ------
    InvalidKeyError
        The key is neither text nor a tuple, or one of its names breaks a rule.
    """
    if isinstance(key, str):
        names = key.split("/")
    elif isinstance(key, tuple) and key:
        names = list(key)
    else:
        raise InvalidKeyError(f"{key!r} is no key: a key is a str or a non-empty tuple of str")
    for name in names:
        try:
            check_name(name)
        except InvalidKeyError as error:
            raise InvalidKeyError(f"key {key!r}: {error}") from None
    return "/".join(names)


def is_listed(name: str) -> bool:
    """Whether a name found in the store can be that of a key."""
    return not name.startswith((".", "__")) and name not in RESERVED_NAMES


def join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def split(path: str) -> tuple[str, str]:
    """Split a path into the database it lies in and its last name."""
    parent, _, name = path.rpartition("/")
    return parent, name
