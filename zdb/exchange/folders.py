"""A database as a folder of files that other programs read."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from zdb.errors import FormatNotInstalledError, KeyExistsError, UnsupportedValueError
from zdb.exchange.exporting import Part, export
from zdb.exchange.sidecars import write_sidecar
from zdb.exchange.zipping import write_zip
from zdb.keys import normalize
from zdb.transfer.report import TransferReport

if TYPE_CHECKING:
    import os

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

    Parameters
    ----------
    db : Database
    target : path-like
        A folder; for a value, a file whose suffix names the file format; or a ``.zip`` file, which holds the database
        as it is: :func:`zdb.open` and ``xarray.open_zarr`` read it, and nothing is converted.
    key : str or tuple of str, optional
        What to export; by default the whole database.
    overwrite : bool
        Replace what is there; other files in the folder stay.
    progress : bool
        Show a bar on a terminal.

    Returns
    -------
    TransferReport
        ``failed`` has the values that no file format can hold, such as pickles, and why.

    Raises
    ------
    KeyNotFoundError
        There is nothing at the key.
    KeyExistsError
        The file or folder exists, and `overwrite` is false.
    UnsupportedValueError
        The file format cannot hold the value.
    MissingChunkError, CorruptChunkError
        A value is damaged.
    """
    place = Path(target)
    path = None if key is None else normalize(key)
    info = db.info(path)
    report = TransferReport(db.url, str(place))
    if path is not None and info.kind != "database":
        if place.suffix.lower() == ".zip" and info.format != "file":
            raise UnsupportedValueError(f"{path}: is a value; a zip file holds a database")
        export(db, path, str(place), kind=None, part=Part(), force=overwrite)
        write_sidecar(db, path, place)
        report.copied.append(path)
        report.objects, report.nbytes = 1, place.stat().st_size
        return report
    inner = db if path is None else db.database(path)
    is_empty = place.is_dir() and not any(place.iterdir())
    if place.exists() and not is_empty and not overwrite:
        raise KeyExistsError(f"{place}: exists, and overwrite=False was given")
    if place.suffix.lower() == ".zip":
        write_zip(inner, place, report)
    elif place.exists() and not is_empty:
        _export_into(inner, place, report, overwrite=overwrite, progress=progress)
    else:
        _export_whole(inner, place, report, progress=progress)
    return report


def _export_whole(db: Database, folder: Path, report: TransferReport, *, progress: bool) -> None:
    """Write a new folder, which appears when all is in it."""
    temporary = folder.with_name(f".{secrets.token_hex(8)}.part")
    try:
        temporary.mkdir(parents=True)
        _export_into(db, temporary, report, overwrite=False, progress=progress)
        if folder.is_dir():
            folder.rmdir()
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _export_into(db: Database, folder: Path, report: TransferReport, *, overwrite: bool, progress: bool) -> None:
    written: set[Path] = set()
    for key in tqdm(db.keys(recursive=True), desc="export", disable=None if progress else True):
        try:
            file = _export_value(db, key, folder / key, written, overwrite=overwrite)
        except (UnsupportedValueError, FormatNotInstalledError) as error:
            report.failed[key] = str(error)
            continue
        report.copied.append(key)
        report.objects += 1
        report.nbytes += file.stat().st_size


def _export_value(db: Database, key: str, stem: Path, written: set[Path], *, overwrite: bool) -> Path:
    name = db.info(key).format
    suffixes = SUFFIXES.get(name, ())
    stem.parent.mkdir(parents=True, exist_ok=True)
    why: Exception = UnsupportedValueError(
        f"{key}: no file format holds a value of format {name!r}; copy it by zdb cp, or to a .zip file"
    )
    for suffix in suffixes:
        file = stem.with_name(f"{stem.name}{suffix}")
        if file in written:
            raise UnsupportedValueError(f"{key}: another value was written to {file.name}; rename one of them")
        try:
            export(db, key, str(file), kind=None, part=Part(), force=overwrite)
        except UnsupportedValueError as error:
            why = error
            continue
        write_sidecar(db, key, file)
        written.add(file)
        return file
    raise why
