"""Writing values of a database to files, in the file format that their suffix names."""

from __future__ import annotations

import contextlib
import errno
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from zdb.errors import KeyExistsError, UnsupportedValueError
from zdb.exchange.listing import list_keys
from zdb.exchange.loading import KIND_OF_SUFFIX, local_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zdb.database import Database

__all__ = ["Part", "export"]

# File formats by format of zdb. The first one is printed where no suffix says which.
_KINDS = {
    "json": ("json",),
    "array": ("npy", "csv", "nc"),
    "dataset": ("nc",),
    "table": ("csv", "parquet"),
    "ragged": ("csv", "parquet", "nc"),
    "file": (),
}


class Part(NamedTuple):
    """The part of a value that is written; None for all of it."""

    columns: list[str] | None = None
    rows: slice | None = None


def export(db: Database, key: str, target: str, *, kind: str | None, part: Part, force: bool) -> int | None:
    """Write a value to a file, or a sub-database of files to a folder.

    Parameters
    ----------
    db : Database
    key : str
    target : str
        Path of the file or folder, "-" for standard output.
    kind : str or None
        "npy", "csv", "parquet", "nc" or "json"; by default what the suffix says.
    part : Part
    force : bool
        Replace a file that exists, or write into a folder that is not empty.

    Returns
    -------
    int or None
        Size of the file or files in bytes; None on standard output.

    Raises
    ------
    InvalidSettingError
        `target` is a URL.
    KeyNotFoundError
        There is nothing at the key.
    KeyExistsError
        The file exists.
    UnsupportedValueError
        The file format cannot hold the value.
    FormatNotInstalledError
        A package for the file format is missing.
    """
    info = db.info(key)
    is_stdout = target == "-"
    if info.kind == "database":
        if is_stdout or kind or any(part):
            raise UnsupportedValueError(f"{key}: is a sub-database, which is written to a folder as a whole")
        return _export_folder(db.database(key), local_path(target), force=force)
    path = local_path(target)
    value = db.get(key, columns=part.columns, rows=part.rows)
    group = info.format if info.format in _KINDS else _group_of(value)
    if group == "file":
        if kind:
            raise UnsupportedValueError(f"{key}: is a file, which is written as it is, without --as")
        return _export_content(value, path, is_stdout=is_stdout, force=force)
    kind = kind or (_KINDS[group][0] if is_stdout else KIND_OF_SUFFIX.get(path.suffix.lower()))
    if kind not in _KINDS[group]:
        known = " or ".join(f".{name}" for name in _KINDS[group])
        asked = f".{kind}" if kind else path.suffix or "a file without suffix"
        holds = "" if group == info.format else f", which holds one of format {group!r},"
        raise UnsupportedValueError(
            f"{key}: a value of format {info.format!r}{holds} is written as {known}, not as {asked}"
        )
    with _destination(path, is_stdout=is_stdout, force=force) as temporary:
        _write(key, value, group, kind, temporary)
        return None if is_stdout else temporary.stat().st_size


def _group_of(value: Any) -> str:
    """Return the built-in format that keeps a value that came out of another one, such as a pickle."""
    from zdb.formats import registry

    name = registry.for_value(value).name
    if name not in _KINDS:
        raise UnsupportedValueError(f"values of format {name!r} are not written to files; read them in Python")
    return name


def _write(key: str, value: Any, group: str, kind: str, path: Path) -> None:
    from zdb.exchange import writers

    try:
        writers.write(value, group, kind, path)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise UnsupportedValueError(f"{key}: cannot be written as .{kind}: {error}") from error


@contextlib.contextmanager
def _destination(path: Path, *, is_stdout: bool, force: bool) -> Iterator[Path]:
    """Yield a path to write to; what is there at the end becomes the file at once, or goes to standard output."""
    if is_stdout:
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder, "value")
            yield temporary
            _print(temporary)
        return
    _require_place(path, force=force)
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _print(path: Path) -> None:
    with path.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)


def _require_place(path: Path, *, force: bool) -> None:
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path.parent))
    if path.is_dir():
        raise KeyExistsError(f"{path}: is a folder; give the name of a file in it")
    if path.exists() and not force:
        raise KeyExistsError(f"{path}: exists; --force replaces it")


def _export_content(value: Any, path: Path, *, is_stdout: bool, force: bool) -> int | None:
    """Write a stored file, or bytes."""
    from zdb.formats.stored_file import StoredFile

    if not isinstance(value, StoredFile):
        with _destination(path, is_stdout=is_stdout, force=force) as temporary:
            temporary.write_bytes(value)
        return None if is_stdout else len(value)
    if is_stdout:
        # Saved first, so that nothing is printed that does not match its SHA-256.
        with tempfile.TemporaryDirectory() as folder:
            _print(value.save(Path(folder, "content")))
        return None
    _require_place(path / value.name if path.is_dir() else path, force=force)
    return value.save(path, overwrite=force).stat().st_size


def _export_folder(db: Database, folder: Path, *, force: bool) -> int:
    """Write all files of a sub-database under the names that they had; nothing if there is anything but files."""
    rows = list_keys(db)
    for row in rows:
        if row["kind"] != "database" and row["format"] != "file":
            raise UnsupportedValueError(
                f"{row['key']}: is no file, so {db.url} cannot be written to a folder; get its keys one by one"
            )
    is_taken = folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))
    if is_taken and not (force and folder.is_dir()):
        raise KeyExistsError(f"{folder}: exists and is not an empty folder; --force writes into a folder")
    if is_taken:
        return _write_files(db, rows, folder, force=True)
    temporary = folder.with_name(f".{secrets.token_hex(8)}.part")
    try:
        temporary.mkdir(parents=True)
        written = _write_files(db, rows, temporary, force=False)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return written


def _write_files(db: Database, rows: list[dict[str, Any]], folder: Path, *, force: bool) -> int:
    written = 0
    for row in rows:
        path = folder / row["key"]
        if row["kind"] == "database":
            path.mkdir(exist_ok=True)
            continue
        value = db[row["key"]]
        # A stored file takes the name that it had, which may be none that a key can have.
        place = path.parent if hasattr(value, "name") else path
        written += _export_content(value, place, is_stdout=False, force=force) or 0
    return written
