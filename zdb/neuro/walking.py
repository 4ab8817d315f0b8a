"""Walk through a folder and all below it, also through linked folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["walk"]


def walk(root: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """As :func:`os.walk`, sorted, and through links; each folder is visited once.

    A link to a folder below `root` is not followed: that folder is visited where it lies.
    """
    inside = os.path.realpath(root)
    visited: set[str] = set()
    for parent, folders, files in os.walk(root, followlinks=True):
        place = os.path.realpath(parent)
        if place in visited:
            folders.clear()
            continue
        visited.add(place)
        folders[:] = sorted(name for name in folders if not _leads_back(Path(parent, name), inside))
        yield parent, folders, sorted(files)


def _leads_back(folder: Path, inside: str) -> bool:
    return folder.is_symlink() and Path(os.path.realpath(folder)).is_relative_to(inside)
