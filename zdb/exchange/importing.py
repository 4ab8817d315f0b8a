"""Files as values of a database."""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tqdm import tqdm

from zdb.engine.node import Node, node_path
from zdb.errors import InvalidKeyError, KeyExistsError, NotADatabaseError, UnsupportedValueError, ZdbError
from zdb.exchange.loading import KIND_OF_SUFFIX, load, local_path
from zdb.exchange.sidecars import SUFFIX, Sidecar, beside, read_sidecar
from zdb.exchange.sources import Source, state_of
from zdb.keys import normalize
from zdb.opening import open as open_database
from zdb.transfer.report import TransferReport
from zdb.write import WriteRequest, write

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from zdb.database import Database
    from zdb.formats.ragged import Ragged
    from zdb.keys import Key

__all__ = ["import_files", "inside"]


class _File(NamedTuple):
    """A file to import, its kind, where it goes, what lies beside it, what is noted, and if it may replace a value."""

    file: Path
    kind: str
    key: str
    known: Sidecar | None
    source: Source
    replaces: bool = False


def import_files(
    source: str | os.PathLike[str],
    db: Database,
    key: Key | None = None,
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> TransferReport:
    """Read files that :func:`export_files` wrote, or any folder, into a database.

    Each value notes its file, and the size and time of that. When this is called again, only files that are new or
    changed are read, so an import that was interrupted is taken up where it ended.

    Parameters
    ----------
    source : path-like
        A folder: files ``.npy``, ``.nc``, ``.parquet``, ``.csv`` and ``.json`` become values under their names without
        suffix, other files are kept as they are, and folders become sub-databases. Hidden files are left out. Or one
        such file. Or a ``.zip`` file of a database or of such a folder.
    db : Database
    key : str or tuple of str, optional
        The sub-database that they go to, which is made if it is missing; for a single file its key.
    overwrite : bool
        Read all files, and replace values that are there. If false, only those are replaced that were imported from the
        same file, which changed since.
    progress : bool
        Show a bar on a terminal.

    Returns
    -------
    TransferReport

    Raises
    ------
    InvalidSettingError
        `source` is a URL.
    InvalidKeyError
        A name of a file cannot be a key. Nothing was written.
    KeyExistsError
        Two files would have one key, or a key is taken by something else than what was imported from this file, and
        `overwrite` is false. Nothing was written.
    UnsupportedValueError
        A file cannot be read. Those before it have been written.
    """
    place, packed_in = local_path(source), None
    with ExitStack() as stack:
        if place.suffix.lower() == ".zip" and place.is_file():
            packed = _open_zip(place)
            if packed is not None:
                target = stack.enter_context(inside(db, key))
                return packed.copy_to(target, overwrite=overwrite, progress=progress)
            packed_in, place = place, Path(stack.enter_context(tempfile.TemporaryDirectory()))
            _unpack(packed_in, place)
        if place.is_dir():
            found = list(_find(place, packed_in))
            target = stack.enter_context(inside(db, key if found else None))
        else:
            one = _describe(place, place.parent, None)
            found, target = [one if key is None else one._replace(key=normalize(key))], db
        _require_unique(found)
        wanted = [one._replace(replaces=True) for one in found] if overwrite else _changed(target, found)
        report = TransferReport(str(source), db.url, unchanged=len(found) - len(wanted))
        for one in tqdm(wanted, desc="import", disable=None if progress else True):
            _import(target, one)
            report.copied.append(one.key)
            report.objects += 1
            report.nbytes += one.file.stat().st_size
    return report


def _open_zip(file: Path) -> Database | None:
    if not zipfile.is_zipfile(file):
        raise UnsupportedValueError(f"{file}: is no zip file, or was cut off")
    try:
        return open_database(file, "r")
    except NotADatabaseError:
        return None


def _unpack(file: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(file) as packed:
            packed.extractall(folder)
    # Damage, a kind of compression that is not known, and a password.
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise UnsupportedValueError(f"{file}: cannot be read as a zip file: {error}") from error


@contextmanager
def inside(db: Database, key: Key | None) -> Iterator[Database]:
    """Yield a sub-database, made if it is missing; if the block fails, what was made and is still empty is removed."""
    if key is None:
        yield db
        return
    names = normalize(key).split("/")
    levels = ["/".join(names[:number]) for number in range(1, len(names) + 1)]
    missing = [level for level in levels if level not in db]
    inner = db.database(key, create=True)
    try:
        yield inner
    except BaseException:
        with suppress(ZdbError):  # others have written there, or the store fails
            for level in reversed(missing):
                db.folder().rmdir(level)
        raise


def _find(folder: Path, packed_in: Path | None) -> Iterator[_File]:
    for file in sorted(folder.rglob("*")):
        is_hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if file.is_file() and not is_hidden and not file.name.endswith(SUFFIX):
            yield _describe(file, folder, packed_in)


def _describe(file: Path, folder: Path, packed_in: Path | None) -> _File:
    relative = file.relative_to(folder)
    if packed_in is None:
        source = Source(str(folder.resolve() / relative), state_of(file, beside(file)))
    else:
        source = Source(str(packed_in.resolve() / relative), state_of(packed_in))
    known = read_sidecar(file)
    is_kept = known is not None and known.format == "file"
    kind = "file" if is_kept else KIND_OF_SUFFIX.get(file.suffix.lower(), "file")
    name = known.key if known is not None else file.name if kind == "file" else file.stem
    try:
        key = normalize((relative.parent / name).as_posix())
    except InvalidKeyError as error:
        raise InvalidKeyError(f"{file}: {error}; rename the file") from error
    return _File(file, kind, key, known, source)


def _require_unique(found: list[_File]) -> None:
    files: dict[str, Path] = {}
    for one in found:
        other = files.setdefault(one.key, one.file)
        if other != one.file:
            raise KeyExistsError(f"{other} and {one.file} would both be at the key {one.key}; move one of them away")


def _changed(db: Database, found: list[_File]) -> list[_File]:
    """Return the files that are not in the database as they are."""
    paths = [db._at(one.key) for one in found]  # noqa: SLF001
    there = db._engine.nodes.get_many([node_path(path) for path in paths])  # noqa: SLF001
    changed = []
    for one, path, data in zip(found, paths, there, strict=True):
        node = None if data is None else Node.read(path, data)
        noted = None if node is None else Source.of(node)
        if node is None or noted is None or noted.file != one.source.file:
            if one.key in db:
                raise KeyExistsError(f"{one.key}: exists, and overwrite=False was given")
        elif noted == one.source and "zdb_lost" not in node.attributes:
            continue
        changed.append(one._replace(replaces=data is not None))
    return changed


def _import(db: Database, one: _File) -> None:
    known = one.known
    with load(str(one.file), one.kind) as loaded:
        value = loaded if known is None else _as_it_was(loaded, one.file, one.kind, known)
        attrs = None if known is None else known.attrs or None
        provenance = None if known is None else known.provenance
        db._before_writing()  # noqa: SLF001
        request = WriteRequest(overwrite=one.replaces, attrs=attrs, provenance=provenance, source=one.source.noted())
        write(db._engine, db._at(one.key), value, request)  # noqa: SLF001


def _as_it_was(loaded: Any, file: Path, kind: str, known: Sidecar) -> Any:
    """Make of what a file holds the kind of value that was exported."""
    match known.format, kind:
        case "file", _ if known.type.endswith("bytes"):
            return file.read_bytes()
        case "array", "nc":
            return _array(loaded["data"].data, known)
        case "array", "npy" if known.type != "numpy.ndarray" and not loaded.ndim:
            return loaded[()]
        case "dataset", "nc" if known.type == "xarray.DataArray":
            return _data_array(loaded)
        case "table", "parquet" if known.type == "pandas.Series" and loaded.shape[1] == 1:
            return _series(loaded)
        case "ragged", "parquet":
            ragged = _ragged_of_parquet(file)
        case "ragged", "nc":
            ragged = _ragged_of_dataset(loaded)
        case _:
            return loaded
    return ragged.to_list() if known.type == "builtins.list" else ragged


def _array(data: Any, known: Sidecar) -> Any:
    """Return an array out of netCDF, which has one kind of texts, and is read lazily."""
    import numpy as np

    if known.type != "dask.array.Array":
        data = np.asarray(data)
    if known.dtype == "object":
        return data.astype(object)
    return data.astype(np.dtypes.StringDType()) if known.dtype == "StringDType()" else data


def _data_array(dataset: Any) -> Any:
    """Return the DataArray that xarray has written as a Dataset."""
    name, marked = "__xarray_dataarray_variable__", "__xarray_dataarray_name__"
    if len(dataset.data_vars) != 1:
        return dataset
    (array,) = dataset.data_vars.values()
    return array.rename(dataset.attrs.get(marked)) if array.name == name else array


def _series(frame: Any) -> Any:
    """Return the Series of which pandas has made a column, which it calls 0 if the Series has no name."""
    name = frame.columns[0]
    return frame[name].rename(None if name == 0 else name)


def _ragged_of_parquet(file: Path) -> Ragged:
    import pyarrow.compute
    import pyarrow.parquet

    from zdb.formats.ragged import Ragged

    table = pyarrow.parquet.read_table(file)
    rows = table["values"].combine_chunks()
    sizes = pyarrow.compute.list_value_length(rows).to_numpy(zero_copy_only=False)
    columns = table.drop_columns(["values"])
    values = rows.flatten().to_numpy(zero_copy_only=False)
    return Ragged(values, sizes, columns.to_pandas() if columns.num_columns else None)


def _ragged_of_dataset(dataset: Any) -> Ragged:
    from zdb.formats.ragged import Ragged

    columns = {name: dataset[name].values for name in dataset.data_vars if name not in ("values", "row_size")}
    return Ragged(dataset["values"].values, dataset["row_size"].values, columns or None)
