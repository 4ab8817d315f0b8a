"""A database as a folder of files that other programs read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tqdm import tqdm

from zdb.engine.node import Node, node_path
from zdb.errors import (
    CorruptChunkError,
    FormatNotInstalledError,
    KeyExistsError,
    KeyNotFoundError,
    MissingChunkError,
    StaleValueError,
    UnreadableValueError,
    UnsupportedValueError,
    UnsupportedVersionError,
)
from zdb.exchange.loading import local_path
from zdb.exchange.sidecars import remove_temporary
from zdb.exchange.value_files import Exporter
from zdb.exchange.zipping import write_zip
from zdb.keys import normalize
from zdb.transfer.report import TransferReport

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from pathlib import Path

    from zdb.database import Database
    from zdb.keys import Key

__all__ = ["export_files"]

# File formats by format of zdb; the first that can hold the value is taken.
SUFFIXES = {
    "json": (".json",),
    "array": (".npy", ".nc"),
    "dataset": (".nc",),
    "table": (".parquet", ".csv"),
    "ragged": (".parquet", ".nc"),
    "file": ("",),
}
ALL_SUFFIXES = {suffix for suffixes in SUFFIXES.values() for suffix in suffixes}
# Holds the id of the database whose export the folder is.
MARK = ".zdb-export"
BATCH = 256
# What an export names and goes on.
LEFT_OUT = (
    UnsupportedValueError,
    UnsupportedVersionError,
    FormatNotInstalledError,
    UnreadableValueError,
    MissingChunkError,
    CorruptChunkError,
    StaleValueError,
    KeyExistsError,
)


def export_files(
    db: Database,
    target: str | os.PathLike[str],
    key: Key | None = None,
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> TransferReport:
    """Write a database, or what is at a key, to files that other programs read.

    Arrays become ``.npy``, Datasets ``.nc`` (netCDF), tables and ragged data ``.parquet``, JSON values ``.json``, files
    what they were, and sub-databases folders. Beside each file lies ``<file>.zdb.json`` with the format, the remarks
    and the provenance of the value, which :func:`import_files` reads.

    Each file appears when it is whole. When this is called again, only values that are new or changed are written, so
    an export that was interrupted is taken up where it ended. Files of values that are no more stay. A ``.zip`` file is
    written as a whole.

    Parameters
    ----------
    db : Database
    target : path-like
        A folder; for a value, a file whose suffix names the file format; or a ``.zip`` file, which holds the database
        as it is: :func:`zdb.open` and ``xarray.open_zarr`` read it, and nothing is converted.
    key : str or tuple of str, optional
        What to export; by default the whole database.
    overwrite : bool
        Write all values, and replace what is there; other files in the folder stay. If false, only files are replaced
        that are as an earlier export of this database left them.
    progress : bool
        Show a bar on a terminal.

    Returns
    -------
    TransferReport
        ``failed`` has the values that were left out, and why: those that are damaged, that were replaced while they
        were read, that no file format can hold, such as pickles, or whose file was written or changed by others.

    Raises
    ------
    InvalidSettingError
        `target` is a URL.
    KeyNotFoundError
        There is nothing at the key.
    KeyExistsError
        The file or folder exists, is not of an earlier export of the same, and `overwrite` is false.
    UnsupportedValueError
        The file format cannot hold the one value.
    MissingChunkError, CorruptChunkError
        The one value, or one of those for a ``.zip`` file, is damaged.
    """
    place = local_path(target)
    path = None if key is None else normalize(key)
    info = db.info(path)
    report = TransferReport(db.url, str(place))
    if path is not None and info.kind != "database":
        if place.suffix.lower() == ".zip" and info.format != "file":
            raise UnsupportedValueError(f"{path}: is a value; a zip file holds a database")
        if place.is_dir():
            raise KeyExistsError(f"{place}: is a folder; give the name of a file in it")
        _note(report, path, Exporter(db, overwrite=overwrite).export(path, db._require(db._at(path)), [place]))  # noqa: SLF001
        return report
    inner = db if path is None else db.database(path)
    if place.suffix.lower() == ".zip":
        if place.exists() and not overwrite:
            raise KeyExistsError(f"{place}: exists, and overwrite=False was given")
        write_zip(inner, place, report)
        return report
    _prepare(place, inner.info().id, overwrite=overwrite)
    exporter = Exporter(inner, overwrite=overwrite)
    keys = inner.keys(recursive=True)
    for one, node in tqdm(_nodes(inner, keys), "export", len(keys), disable=None if progress else True):
        try:
            _note(report, one, _export(exporter, one, node, place / one))
        except LEFT_OUT as error:
            report.failed[one] = str(error)
        except KeyNotFoundError:  # it was deleted meanwhile
            continue
    return report


def _note(report: TransferReport, key: str, file: Path | None) -> None:
    if file is None:
        report.unchanged += 1
        return
    report.copied.append(key)
    report.objects += 1
    report.nbytes += file.stat().st_size


def _prepare(folder: Path, identifier: str, *, overwrite: bool) -> None:
    """Make the folder, or see that it is of an export of the same database, which is noted in it."""
    if folder.exists() and not folder.is_dir():
        raise KeyExistsError(f"{folder}: is a file; choose a folder")
    mark = folder / MARK
    if not mark.is_file() or mark.read_text("utf-8").strip() != identifier:
        if folder.is_dir() and any(file != mark for file in folder.iterdir()) and not overwrite:
            raise KeyExistsError(f"{folder}: exists and is no export of this database, and overwrite=False was given")
        folder.mkdir(parents=True, exist_ok=True)
        mark.write_text(f"{identifier}\n", "utf-8")
    remove_temporary(folder)


def _nodes(db: Database, keys: list[str]) -> Iterator[tuple[str, Node]]:
    """Yield the keys that are still there with what is in the store."""
    for start in range(0, len(keys), BATCH):
        some = keys[start : start + BATCH]
        paths = [db._at(key) for key in some]  # noqa: SLF001
        found = db._engine.nodes.get_many([node_path(path) for path in paths])  # noqa: SLF001
        yield from (
            (key, Node.read(path, data)) for key, path, data in zip(some, paths, found, strict=True) if data is not None
        )


def _export(exporter: Exporter, key: str, node: Node, stem: Path) -> Path | None:
    """Write a value to a file whose suffix its format says; None if it is there."""
    name = exporter.db._engine.readable(node).format or "zarr"  # noqa: SLF001
    if name not in SUFFIXES:
        raise UnsupportedValueError(
            f"{key}: no file format holds a value of format {name!r}; copy it by zdb cp, or to a .zip file"
        )
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise KeyExistsError(f"{error.filename}: is no folder; move it away") from error
    file = exporter.export(key, node, [stem.with_name(f"{stem.name}{suffix}") for suffix in SUFFIXES[name]])
    if file is not None:
        exporter.remove_others(key, [stem.with_name(f"{stem.name}{suffix}") for suffix in ALL_SUFFIXES])
    return file
