"""A stored folder as a folder on the local disk, and its changes back."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

from zdb.engine.concurrency import concurrently
from zdb.errors import FolderNotEmptyError, NoFileError, NotAFolderError
from zdb.formats.folders import iter_folder, key_names
from zdb.keys import join

if TYPE_CHECKING:
    from pathlib import Path

    from zdb.files.tree import Entry, FileTree

__all__ = ["copy_out", "write_back_changes"]

_NOT_IN_NAMES = frozenset("/\\\0:")


def copy_out(tree: FileTree, key: str, root: Path) -> dict[str, str]:
    """Copy all files of a folder to a new local folder.

    Returns
    -------
    dict of str to str
        The SHA-256 of each file by its key, relative to the folder; "" for folders.
    """
    if not tree.entry(key).is_folder:
        raise NotAFolderError(f"{key!r} in {tree.url} is a file, not a folder")
    root.mkdir(parents=True)
    copied: dict[str, str] = {}
    files: list[tuple[str, Path]] = []
    waiting = [("", root)]
    while waiting:
        above, folder = waiting.pop()
        entries = tree.children("/".join(filter(None, (key, above))))
        for name, local in local_names(entries).items():
            relative, path = join(above, name), folder / local
            copied[relative] = entries[name].sha256
            if entries[name].is_folder:
                path.mkdir()
                waiting.append((relative, path))
            else:
                files.append((relative, path))
    for _ in concurrently(lambda file: tree.reading(join(key, file[0]), lambda stored: stored.save(file[1])), files):
        pass
    return copied


def local_names(entries: dict[str, Entry]) -> dict[str, str]:
    """Return the name on the local disk for each name of a key in one folder.

    It is the one that the file had before it was stored, if the key was made of that name and the name is harmless: it
    comes from the database, which may come from anyone.
    """
    original = {name: entry.name for name, entry in entries.items() if is_harmless(entry.name)}
    made = key_names(set(original.values()))
    names = {name: original[name] if made.get(original.get(name, "")) == name else name for name in entries}
    back = key_names(names.values())
    return names if all(back[local] == name for name, local in names.items()) else {name: name for name in entries}


def is_harmless(name: str) -> bool:
    """Whether a name leads to nowhere but into the folder in which it is used."""
    return bool(name) and name not in {".", ".."} and not set(name) & _NOT_IN_NAMES


def write_back_changes(tree: FileTree, key: str, root: Path, copied: dict[str, str]) -> None:
    """Store what is new or different in a local folder, and remove what is gone.

    Parameters
    ----------
    tree : FileTree
    key : str
        Of the folder.
    root : Path
    copied : dict of str to str
        What :func:`copy_out` returned.
    """
    found: dict[str, Path] = {}
    folders: set[str] = set()
    for relative, path in iter_folder(root) if any(root.iterdir()) else ():
        folders.update(_above(relative))
        if path.is_dir():
            folders.add(relative)
        else:
            found[relative] = path
    changed = {relative: path for relative, path in found.items() if copied.get(relative) != _sha256(path)}
    was_folder = {relative for relative, sha256 in copied.items() if not sha256}
    now_files = was_folder & found.keys()
    now_folders = (copied.keys() - was_folder) & folders
    replaced = now_files | now_folders
    for relative in changed:
        if not replaced & {relative, *_above(relative)}:
            tree.check_vacant(join(key, relative), overwrite=True)
    for relative in now_files:
        tree.remove_folder(join(key, relative), with_files=True)
    for relative in now_folders:
        tree.remove_file(join(key, relative))
    for relative in folders - copied.keys() | now_folders:
        tree.make_folder(join(key, relative), exist_ok=True)
    for relative, path in changed.items():
        tree.publish(join(key, relative), path)
    gone = {relative for relative in copied.keys() - found.keys() - folders if not now_files & set(_above(relative))}
    for relative in sorted(gone, reverse=True):  # what is in a folder before the folder
        with contextlib.suppress(NoFileError, FolderNotEmptyError):  # others may have removed or added something
            if relative in was_folder:
                tree.remove_folder(join(key, relative), with_files=False)
            else:
                tree.remove_file(join(key, relative))


def _above(relative: str) -> list[str]:
    """The folders in which a file lies."""
    names = relative.split("/")
    return ["/".join(names[:i]) for i in range(1, len(names))]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
