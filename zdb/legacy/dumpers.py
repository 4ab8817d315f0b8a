"""How the value of a key is read: one function for each dumper of the In Silico Framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zdb.errors import UnreadableValueError
from zdb.legacy import arrays
from zdb.legacy.rebuild import Rebuilder, load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from zdb.legacy.entries import Entry
    from zdb.legacy.trust import Trust

__all__ = ["READERS", "data_files", "read"]

# Objects of these packages become dicts of their attributes.
FRAMEWORK = frozenset({"data_base", "model_data_base", "simrun", "simrun2", "simrun3", "single_cell_parser", "sumatra"})
CLASSIFIERS = frozenset({"sklearn"})


def read(entry: Entry, trust: Trust) -> Any:
    """Read the value of a key.

    Raises
    ------
    PickleRefusedError
        It is a pickle that `trust` does not allow.
    UnreadableValueError
        It is damaged, its files are missing, or its dumper is not known.
    """
    if entry.problem:
        raise UnreadableValueError(entry.problem)
    if entry.dumper not in READERS:
        raise UnreadableValueError(f"no reader knows its dumper {entry.dumper!r}" if entry.dumper else "has no Loader")
    try:
        return READERS[entry.dumper](entry, trust)
    except FileNotFoundError as error:
        raise UnreadableValueError(f"its data file is missing: {error.filename}") from error


def _folder(entry: Entry) -> Path:
    if entry.folder is None:
        raise UnreadableValueError("has no folder")
    return entry.folder


def _row(entry: Entry, trust: Trust) -> Any:
    trust.require_pickle("its row in sqlitedict.db")
    return load(entry.row or b"", "its row in sqlitedict.db", trusted=trust.all)


def _pickle(name: str) -> Callable[[Entry, Trust], Any]:
    def read_pickle(entry: Entry, trust: Trust) -> Any:
        trust.require_pickle(name)
        return load((_folder(entry) / name).read_bytes(), name, trusted=trust.all)

    return read_pickle


def _msgpack(entry: Entry, _trust: Trust) -> Any:
    from zdb.legacy.tables import read_msgpack_files

    return read_msgpack_files(_folder(entry))


def _plain_msgpack(entry: Entry, _trust: Trust) -> Any:
    from zdb.legacy.pandas_msgpack import read_msgpack

    return read_msgpack(_folder(entry) / "to_pickle_dump")


def _msgpack_array(entry: Entry, _trust: Trust) -> NDArray[Any]:
    """An array of one or two dimensions, kept as a table.

    One of a single column is given in one dimension: the file does not say which it was.
    """
    from zdb.legacy.tables import read_msgpack_files

    values: np.ndarray[Any, Any] = read_msgpack_files(_folder(entry)).to_numpy()
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _parquet(entry: Entry, _trust: Trust) -> Any:
    from zdb.legacy.tables import read_parquet

    return read_parquet(_folder(entry))


def _msgpack_parts(entry: Entry, _trust: Trust) -> Any:
    from zdb.legacy.tables import read_msgpack_parts

    loader = entry.loader
    return read_msgpack_parts(_folder(entry), _meta(entry), _plain(loader.get("divisions")), loader.get("index_name"))


def _csv_parts(entry: Entry, _trust: Trust) -> Any:
    from zdb.legacy.tables import read_csv_parts

    meta = _meta(entry)
    if meta is None:
        raise UnreadableValueError("its Loader does not say its columns")
    loader = entry.loader
    return read_csv_parts(_folder(entry), meta, _plain(loader.get("divisions")), loader.get("index_name"))


def _parquet_parts(entry: Entry, _trust: Trust) -> Any:
    from zdb.legacy.tables import read_parquet_parts

    return read_parquet_parts(_folder(entry), _meta(entry))


def _meta(entry: Entry) -> pd.DataFrame | None:
    """The empty frame that the Loader of a partitioned table holds."""
    meta: pd.DataFrame | None = _plain(entry.loader.get("meta"))
    return meta


def _plain(loaded: Any) -> Any:
    return Rebuilder().build(loaded)


def _generation(entry: Entry, trust: Trust) -> tuple[Any, Any]:
    folder = _folder(entry)
    return arrays.read_npz(folder / "parameters.npz", trust), arrays.read_npz(folder / "objectives.npz", trust)


def _reduced_model(entry: Entry, trust: Trust) -> dict[str, Any]:
    """The attributes of a ReducedLdaModel; its classifiers are dicts of theirs."""
    from zdb.legacy.sources import source_of

    source = source_of(_folder(entry))
    if source is None:
        raise UnreadableValueError("its database is missing")
    trust.require_pickle("the reduced model")
    model = _entry_of(source, "Rm")
    content = (_folder(model) / "to_pickle_dump").read_bytes()
    attributes: Any = load(content, "Rm", records=FRAMEWORK | CLASSIFIERS)
    if not isinstance(attributes, dict) or "lda_value_dicts" not in attributes:
        raise UnreadableValueError("Rm: is no reduced model")
    attributes["st"] = read(_entry_of(source, "st"), trust)
    number = 0
    for values in attributes["lda_value_dicts"]:
        for name in values:
            values[name] = read(_entry_of(source, f"lda_value_dicts_{number}"), trust)
            number += 1
    attributes["lda_values"] = [sum(values.values()) for values in attributes["lda_value_dicts"]]
    return dict(attributes)


def _entry_of(source: Any, name: str) -> Entry:
    try:
        entry: Entry = source.entry(name)
    except KeyError as error:
        raise UnreadableValueError(f"its part {name!r} is missing") from error
    return entry


def _cell(entry: Entry, trust: Trust) -> Any:
    """The dict of sections, synapses, recordings, parameters and morphology that a Cell was kept as."""
    trust.require_pickle("cell")
    content = (_folder(entry) / "cell").read_bytes()
    return load(content, "cell", records=FRAMEWORK).iloc[0]


READERS: dict[str, Callable[[Entry, Trust], Any]] = {
    "cell": _cell,
    "dask_to_categorized_msgpack": _msgpack_parts,
    "dask_to_csv": _csv_parts,
    "dask_to_msgpack": _msgpack_parts,
    "dask_to_parquet": _parquet_parts,
    "file": lambda entry, _: _folder(entry),
    "genetic_algorithm_generation": _generation,
    "numpy_to_msgpack": _msgpack_array,
    "numpy_to_npy": lambda entry, trust: arrays.read_npy(_folder(entry) / "np.npy", trust),
    "numpy_to_npz": lambda entry, trust: arrays.read_npz(_folder(entry) / "np.npz", trust),
    "numpy_to_zarr": lambda entry, trust: arrays.read_zarr(_folder(entry) / "obj.zarr", trust),
    "pandas_to_msgpack": _msgpack,
    "pandas_to_parquet": _parquet,
    "pandas_to_pickle": _pickle("pandas_to_pickle.pickle"),
    "raw_array": lambda entry, _: arrays.read_raw(_folder(entry)),
    "reduced_lda_model": _reduced_model,
    "self": _row,
    "to_cloudpickle": _pickle("to_pickle_dump"),
    "to_msgpack": _plain_msgpack,
    "to_pickle": _pickle("to_pickle_dump"),
}


def data_files(entry: Entry) -> list[Path]:
    """The files of a key, without what the old database wrote about it."""
    if entry.folder is None:
        return []
    if not entry.folder.is_dir():
        return [entry.folder]
    return sorted(file for file in entry.folder.rglob("*") if file.is_file())
