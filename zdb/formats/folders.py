"""Folders: which files they hold, and under which keys these are kept."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from zdb.errors import UnsupportedValueError
from zdb.formats.files import file_status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["iter_folder", "key_names", "possible_key_names"]

LONGEST_NAME = 120
LONGEST_SUFFIX = 20
_ILLEGAL = re.compile(r"[^A-Za-z0-9._-]")
_RESERVED = {"_zdb", "zarr.json"}


def iter_folder(path: Path) -> Iterator[tuple[str, Path]]:
    """Yield key and path of everything in a folder and the folders below, sorted by key.

    Links are followed. Files keep their name as ``zdb_name``; the key is made from the names of
    file and folders, see :func:`key_names`. Of folders only the empty ones are yielded, so that
    they can be made as empty sub-databases.

    Parameters
    ----------
    path
        The folder.

    Raises
    ------
    UnsupportedValueError
        Something in the folder cannot be kept: a pipe, a broken link, a folder that a link in it
        leads back to. All of it is looked at before the first is yielded.
    """
    if not path.is_dir():
        raise UnsupportedValueError(f"{path} is no folder")
    return iter(_collect(path, "", ()))


def _collect(folder: Path, prefix: str, ancestors: tuple[tuple[int, int], ...]) -> list[tuple[str, Path]]:
    try:
        status = folder.stat()
        paths = {path.name: path for path in folder.iterdir()}
    except OSError as error:
        raise UnsupportedValueError(f"the folder {folder} cannot be read: {error}") from error
    identity = (status.st_dev, status.st_ino)
    if identity in ancestors:
        raise UnsupportedValueError(
            f"{folder} is a link to a folder that it lies in, so that there is no end; remove it"
        )
    found: list[tuple[str, Path]] = []
    names = key_names(paths)
    for original in sorted(paths, key=names.__getitem__):
        path, key = paths[original], prefix + names[original]
        if path.is_dir():
            found += _collect(path, f"{key}/", (*ancestors, identity)) or [(key, path)]
        else:
            file_status(path)
            found.append((key, path))
    return found


def key_names(names: Iterable[str]) -> dict[str, str]:
    """Return a legal and unique name for a key for each name of a file in one folder.

    Legal names stay as they are. In others, characters outside of ``[A-Za-z0-9._-]`` become "_",
    and an "x" is put before names that are reserved. Names that are then too long, or the same but
    for their case, get eight digits of their SHA-256 before the suffix.
    """
    made: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(names, key=lambda name: (_legal(name) != name, name)):
        legal = _legal(name)
        if len(legal) > LONGEST_NAME or legal.casefold() in taken:
            legal = _with_hash(legal, name)
        made[name] = legal
        taken.add(legal.casefold())
    return made


def possible_key_names(name: str) -> list[str]:
    """Return the names that :func:`key_names` may have made of one; the first was made of no other."""
    legal = _legal(name)
    return [_with_hash(legal, name), legal]


def _legal(name: str) -> str:
    legal = _ILLEGAL.sub("_", name)
    if legal.startswith((".", "__")) or legal.casefold() in _RESERVED:
        legal = f"x{legal}"
    return legal


def _with_hash(legal: str, name: str) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    stem, suffix = Path(legal).stem, Path(legal).suffix
    if len(suffix) > LONGEST_SUFFIX:
        stem, suffix = legal, ""
    return f"{stem[: LONGEST_NAME - len(suffix) - len(digest) - 1]}-{digest}{suffix}"
