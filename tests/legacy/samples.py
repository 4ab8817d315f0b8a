"""Small old databases, written file by file as the In Silico Framework does."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pandas as pd
from legacy.legacy_pickles import Made, Ref, dumps, old_array, old_frame, old_index, old_range

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "legacy"
WRITTEN = (2023, 5, 17, 9, 30, 1, 2, 137, -1)
METADATA = {
    "time": list(WRITTEN),
    "module_list": "Package   Version\n--------- -------\nnumpy     1.19.2\npandas    1.1.3\n",
    "module_versions": {"numpy": "1.19.2", "distutils": "3.8.18"},
    "history": ["import numpy", "x = 1"],
    "hostname": "node7\n",
    "metadata_creation_time": "together_with_new_key",
    "version": "heads/master+0.g6c2c82f1",
    "full-revisionid": "6c2c82f110d882e7734b2cf1ad02ad8af87c0d03",
    "dirty": False,
    "error": None,
}
TRACES = np.arange(24, dtype="f8").reshape(4, 6)
FRAME = pd.DataFrame(
    {
        "a": [1, 2, 3],
        "b": [1.5, np.nan, 3.0],
        "s": pd.Series(["x", "yy", None], dtype=object),
    },
)
FRAME.index = pd.Index(["t/0", "t/1", "t/2"], dtype=object, name="sim_trial_index")
FRAME.columns = pd.Index(list(FRAME.columns), dtype=object)


def old_pickled_frame() -> Made:
    """`FRAME`, as pandas 1.1 pickled it."""
    blocks = [
        (old_array(FRAME[["a"]].to_numpy().T), slice(0, 1, 1)),
        (old_array(FRAME[["b"]].to_numpy().T), slice(1, 2, 1)),
        (old_array(FRAME[["s"]].to_numpy(dtype=object).T), slice(2, 3, 1)),
    ]
    index = old_index(FRAME.index.to_numpy(dtype=object), "sim_trial_index")
    return old_frame(old_index(FRAME.columns.to_numpy(dtype=object)), index, blocks)


def pack_array(array: np.ndarray) -> dict[str, Any]:
    """An array in the msgpack format of pandas, without compression."""
    data = array.ravel().tolist() if array.dtype == object else msgpack.ExtType(0, array.tobytes())
    return {
        "typ": "ndarray",
        "shape": array.shape,
        "ndim": array.ndim,
        "dtype": str(array.dtype),
        "data": data,
        "compress": None,
    }


def pack_frame(frame: pd.DataFrame) -> bytes:
    """A frame in the msgpack format of pandas."""
    blocks = []
    for position in range(frame.shape[1]):
        column = frame.iloc[:, position].to_numpy()[None]
        packed = pack_array(column)
        locations = pack_array(np.array([position]))
        block = {"locs": locations, "values": packed["data"], "shape": column.shape, "dtype": str(column.dtype)}
        blocks.append({**block, "klass": "Block", "compress": None})
    axes = [pack_index(frame.columns), pack_index(frame.index)]
    return msgpack.packb({"typ": "block_manager", "klass": "DataFrame", "axes": axes, "blocks": blocks})


def pack_index(index: pd.Index) -> dict[str, Any]:
    values = index.to_numpy()
    packed = pack_array(values)
    return {
        "typ": "index",
        "klass": "Index",
        "name": index.name,
        "dtype": str(values.dtype),
        "data": packed["data"],
        "compress": None,
    }


class IsfWriter:
    """Writes an ISFDataBase."""

    def __init__(self, path: Path, unique_id: str = "2023-05-17_1_abcdefg") -> None:
        self.path = path
        path.mkdir(parents=True)
        state = {"_registeredDumpers": [], "_unique_id": unique_id, "_registered_to_path": "/gpfs/old"}
        (path / "db_state.json").write_text(json.dumps(state))

    def key(self, name: str, dumper: str, files: dict[str, bytes] | None = None, **loader: Any) -> Path:
        """Make the folder of a key; its Loader is JSON, unless there is a Loader.pickle among the files."""
        folder = self.path / name
        folder.mkdir()
        (folder / "metadata.json").write_text(json.dumps({"dumper": dumper, **METADATA}))
        if not files or "Loader.pickle" not in files:
            loader = {"Loader": f"data_base.isf_data_base.IO.LoaderDumper.{dumper}", **loader}
            (folder / "Loader.json").write_text(json.dumps(loader))
        for file, content in (files or {}).items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(content)
        return folder


def write_isf(path: Path) -> Path:
    """Write an ISFDataBase with a key of most dumpers."""
    isf = IsfWriter(path)
    np.save(isf.key("traces", "numpy_to_npy") / "np.npy", TRACES)
    np.savez(isf.key("compressed", "numpy_to_npz") / "np.npz", TRACES)
    isf.key("packed", "numpy_to_msgpack", {"pandas_to_msgpack": pack_frame(pd.DataFrame(TRACES))})
    isf.key("old_frame", "to_cloudpickle", {"to_pickle_dump": dumps(old_pickled_frame(), 2)})
    isf.key("frame", "pandas_to_msgpack", {"pandas_to_msgpack": pack_frame(FRAME)})
    parts = {f"dask_to_msgpack.{i}.csv": pack_frame(FRAME.iloc[i : i + 1]) for i in range(3)}
    divisions = ["t/0", "t/1", "t/2", "t/2"]
    folder = isf.key("parts", "dask_to_categorized_msgpack", parts, index_name="sim_trial_index", divisions=divisions)
    write_meta(folder, FRAME)
    folder = isf.key("parquet_parts", "dask_to_parquet")
    for i in range(3):
        FRAME.iloc[i : i + 1].to_parquet(folder / f"pandas_to_parquet.3.{i}.parquet")
    write_meta(folder, FRAME)
    (folder / "divisions.json").write_text(json.dumps(divisions))
    isf.key("parameters", "to_pickle", {"to_pickle_dump": dumps({"dt": 0.025, "cells": ["L5", "L2"], "t": (1, 2)}, 2)})
    isf.key("trace", "to_cloudpickle", {"to_pickle_dump": dumps((old_array(TRACES[0]), old_array(TRACES[1])), 4)})
    isf.key("Folder", "just_create_folder", {"a.txt": b"hello\n", "sub/x.bin": b"\0\1"})
    store = isf.key("shared", "shared_numpy_store", {"Loader.pickle": loader_pickle("shared_numpy_store")})
    TRACES.tofile(store / "arr__4_6__float64")
    below = IsfWriter(isf.key("sub", "just_create_isf_db") / "db")
    np.save(below.key("deep", "numpy_to_npy") / "np.npy", TRACES)
    (path / "gone.deleting.AB12C").mkdir()
    return path


def write_meta(folder: Path, frame: pd.DataFrame) -> None:
    meta = {
        "columns": [str(c) for c in frame.columns],
        "column_name_dtypes": [f"<U{len(c)}" for c in frame.columns],
        "index_dtype": str(frame.index.dtype),
        "dtypes": [str(d) for d in frame.dtypes],
        "index_name": frame.index.name,
        "index_name_dtype": "<U15",
    }
    (folder / "object_meta.json").write_text(json.dumps(meta))


def loader_pickle(dumper: str, package: str = "data_base.model_data_base", **attributes: Any) -> bytes:
    cls = Ref(f"{package}.IO.LoaderDumper.{dumper}", "Loader")
    return dumps(Made(cls, (), attributes or None, new=True), 2)


class MdbWriter:
    """Writes a ModelDataBase."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        dumper = Made(Ref("cloudpickle.cloudpickle", "subimport"), ("data_base.IO.LoaderDumper.to_cloudpickle",))
        core = {"_registeredDumpers": [dumper], "_unique_id": "2019-01-02_7_hijklmn", "_registered_to_path": "/old"}
        (path / "dbcore.pickle").write_bytes(dumps(core))
        for name in ("sqlitedict.db", "metadata.db"):
            self._execute(name, 'CREATE TABLE "unnamed" (key TEXT PRIMARY KEY, value BLOB)')

    def _execute(self, name: str, *command: Any) -> None:
        connection = sqlite3.connect(self.path / name)
        with connection:
            connection.execute(*command)
        connection.close()

    def row(self, key: str, content: bytes, dumper: str = "self", metadata: bytes | None = None) -> None:
        self._execute("sqlitedict.db", "INSERT INTO unnamed VALUES (?, ?)", (key, content))
        known = {"dumper": dumper, **METADATA, "time": WRITTEN, "conda_list": METADATA["module_list"]}
        content = dumps(known) if metadata is None else metadata
        self._execute("metadata.db", "INSERT INTO unnamed VALUES (?, ?)", (key, content))

    def key(self, key: str, folder: str, dumper: str, files: dict[str, bytes] | None = None, **attributes: Any) -> Path:
        made = self.path / folder
        made.mkdir()
        (made / "Loader.pickle").write_bytes(loader_pickle(dumper, **attributes))
        for file, content in (files or {}).items():
            (made / file).write_bytes(content)
        wrapper = Made(
            Ref("data_base.model_data_base.model_data_base", "LoaderWrapper"), (), {"relpath": folder}, new=True
        )
        self.row(key, dumps(wrapper, 5), dumper)
        return made


def write_mdb(path: Path) -> Path:
    """Write a ModelDataBase with keys in folders and in the sqlite file, a tuple as key, and a sub-database."""
    mdb = MdbWriter(path)
    np.save(mdb.key("traces", "traces_ab12cd34_", "numpy_to_npy") / "np.npy", TRACES)
    mdb.key("Frame 1", "frame-1_abcdefgh_", "to_cloudpickle", {"to_pickle_dump": dumps(old_pickled_frame(), 2)})
    mdb.row("answer", dumps(42))
    np.save(mdb.key("T@k", "t-k_x1y2z3a4_", "numpy_to_npy") / "np.npy", TRACES)
    meta = old_frame(
        old_index(FRAME.columns.to_numpy(dtype=object)),
        old_index(FRAME.index.to_numpy(dtype=object)[:0], "sim_trial_index"),
        [
            (old_array(np.empty((1, 0), "i8")), slice(0, 1, 1)),
            (old_array(np.empty((1, 0), "f8")), slice(1, 2, 1)),
            (old_array(np.empty((1, 0), object)), slice(2, 3, 1)),
        ],
    )
    parts = {f"dask_to_msgpack.{i}.csv": pack_frame(FRAME.iloc[i : i + 1]) for i in range(3)}
    mdb.key(
        "parts", "parts_p0p0p0p0_", "dask_to_msgpack", parts, meta=meta, index_name="sim_trial_index", divisions=None
    )
    below = MdbWriter(mdb.key("sub", "sub_12345678_", "just_create_mdb") / "mdb")
    np.save(below.key("deep", "deep_abcd1234_", "numpy_to_npy") / "np.npy", TRACES)
    return path


def range_frame() -> Made:
    return old_frame(old_range(6), old_range(4), [(old_array(TRACES.T.copy()), slice(0, 6, 1))])


def snapshot(path: Path) -> dict[str, tuple[int, float]]:
    """All files below a path, to see that nothing was written."""
    return {str(file): (file.stat().st_size, file.stat().st_mtime) for file in sorted(path.rglob("*"))}


def written_at() -> float:
    return time.mktime(WRITTEN)
