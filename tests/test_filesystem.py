"""``zdb://``: the libraries that know fsspec read and write stored files, wherever the database lies."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import subprocess
import sys
import zipfile

import dask.dataframe as dd
import fsspec
import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import zdb
from zdb.errors import (
    DatabaseNotFoundError,
    InvalidReferenceError,
    IsAFolderError,
    KeyConflictError,
    NoFileError,
    ReadOnlyError,
)

TABLE = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "ü"]})


class Shelf:
    """A database in a place, and how its files are named."""

    def __init__(self, place):
        self.db = place.open()
        self.options = place.options

    def uri(self, key):
        return self.db.uri(key)

    def open(self, key, mode="rb", **more):
        return fsspec.open(self.uri(key), mode, **self.options, **more)

    @property
    def fs(self):
        return fsspec.filesystem("zdb", **self.options)


@pytest.fixture
def shelf(place):
    return Shelf(place)


class TestLibraries:
    def test_pandas(self, shelf):
        TABLE.to_csv(shelf.uri("tables/table.csv"), index=False, storage_options=shelf.options)
        assert pd.read_csv(shelf.uri("tables/table.csv"), storage_options=shelf.options).equals(TABLE)
        TABLE.to_parquet(shelf.uri("tables/table.parquet"), storage_options=shelf.options)
        assert pd.read_parquet(shelf.uri("tables/table.parquet"), storage_options=shelf.options).equals(TABLE)
        assert type(shelf.db["tables/table.csv"]) is zdb.StoredFile
        assert shelf.db["tables/table.csv"].name == "table.csv"

    def test_dask(self, shelf):
        for part in range(3):
            TABLE.to_csv(shelf.uri(f"parts/{part}.csv"), index=False, storage_options=shelf.options)
        found = dd.read_csv(f"{shelf.uri('parts')}/*.csv", storage_options=shelf.options).compute(scheduler="threads")
        assert len(found) == 9
        assert found["a"].sum() == 18

    def test_numpy(self, shelf):
        values = np.arange(12.0).reshape(3, 4)
        with shelf.open("values.npy", "wb") as file:
            np.save(file, values)
        with shelf.open("values.npy") as file:
            assert np.array_equal(np.load(file), values)

    def test_numpy_refuses_pickles(self, shelf):
        with shelf.open("objects.npy", "wb") as file:
            np.save(file, np.array([{}], dtype=object), allow_pickle=True)
        with shelf.open("objects.npy") as file, pytest.raises(ValueError, match="allow_pickle"):
            np.load(file)

    def test_xarray_and_hdf5(self, shelf, tmp_path):
        dataset = xr.Dataset({"v": (("trial", "time"), np.arange(6.0).reshape(2, 3))})
        dataset.to_netcdf(tmp_path / "old.nc", engine="scipy", format="NETCDF3_64BIT")
        dataset.to_netcdf(tmp_path / "new.nc", engine="netcdf4")
        shelf.fs.put(str(tmp_path / "old.nc"), shelf.uri("old.nc"))
        shelf.fs.put(str(tmp_path / "new.nc"), shelf.uri("new.nc"))
        with shelf.open("old.nc") as file, xr.open_dataset(file, engine="scipy") as found:
            assert found.load().identical(dataset)
        with shelf.open("new.nc") as file, h5py.File(file, "r") as found:
            assert np.array_equal(found["v"][1], [3, 4, 5])

    def test_zip_files(self, shelf):
        with shelf.open("texts.zip", "wb") as file, zipfile.ZipFile(file, "w") as archive:
            archive.writestr("inner/a.txt", "first")
            archive.writestr("b.txt", "second")
        with fsspec.open(f"zip://inner/a.txt::{shelf.uri('texts.zip')}", "r", zdb=shelf.options) as file:
            assert file.read() == "first"
        with shelf.open("texts.zip") as file, zipfile.ZipFile(file) as archive:
            assert archive.read("b.txt") == b"second"

    def test_compression_and_text(self, shelf):
        with shelf.open("log.txt.gz", "w", compression="infer", encoding="utf-8") as file:
            file.write("grün\nblau\n")
        with shelf.open("log.txt.gz", "r", compression="infer", encoding="utf-8") as file:
            assert list(file) == ["grün\n", "blau\n"]
        assert shelf.db["log.txt.gz"].read()[:2] == b"\x1f\x8b"

    @pytest.mark.parametrize("options", [{"block_size": 1000}, {"cache_type": "none"}, {"cache_options": {}}])
    def test_how_it_is_read_is_no_option_of_the_store(self, shelf, options):
        with shelf.open("a.bin", "wb", **options) as file:
            file.write(bytes(5000))
        with shelf.open("a.bin", **options) as file:
            assert file.read() == bytes(5000)
            assert file.blocksize == options.get("block_size", 2 * 2**20)
            assert file.cache.name == options.get("cache_type", "zdb-ahead")
        with shelf.fs.open(shelf.uri("a.bin"), **options) as file:
            assert file.read() == bytes(5000)

    def test_caching_by_fsspec(self, shelf, tmp_path):
        with shelf.open("a.txt", "wb") as file:
            file.write(b"first")
        options = {"filecache": {"cache_storage": str(tmp_path / "cache"), "check_files": True}, "zdb": shelf.options}
        for content in (b"first", b"second one"):
            shelf.fs.pipe(shelf.uri("a.txt"), content)
            with fsspec.open(f"filecache::{shelf.uri('a.txt')}", **options) as file:
                assert file.read() == content

    def test_transactions(self, shelf):
        shelf.fs.pipe(shelf.uri("a"), b"old")
        with shelf.fs.transaction:
            shelf.fs.pipe(shelf.uri("a"), b"new")
            shelf.fs.pipe(shelf.uri("b"), b"new")
            assert shelf.db["a"].read() == b"old"
            assert "b" not in shelf.db
        assert shelf.db["a"].read() == shelf.db["b"].read() == b"new"
        transaction = shelf.fs.transaction.__enter__()
        shelf.fs.pipe(shelf.uri("a"), b"never")
        transaction.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
        assert shelf.db["a"].read() == b"new"


PROGRAM = """
import json, sys
import pandas as pd, fsspec
uri, copy, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
assert "zdb" not in sys.modules
table = pd.read_csv(uri, storage_options=options)
table.to_csv(copy, index=False, storage_options=options)
print(json.dumps(table["a"].tolist()))
"""


@pytest.mark.parametrize("by_id", [False, True])
def test_another_process_needs_only_the_uri(shared_place, by_id, tmp_path):
    db = shared_place.open()
    TABLE.to_csv(db.uri("table.csv"), index=False, storage_options=shared_place.options)
    command = [PROGRAM, db.uri("table.csv", by_id=by_id), db.uri("copy.csv", by_id=by_id)]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", *command, json.dumps(shared_place.options)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [1, 2, 3]
    assert db["copy.csv"].read() == db["table.csv"].read()


class TestNames:
    def test_an_id_finds_a_database_that_moved(self, tmp_path):
        db = zdb.open(tmp_path / "old.zdb")
        db["a.bin"] = b"content"
        uri = db.uri("a.bin", by_id=True)
        with fsspec.open(uri) as file:
            assert file.read() == b"content"
        (tmp_path / "old.zdb").rename(tmp_path / "new.zdb")
        zdb.open(tmp_path / "old.zdb")["a.bin"] = b"that of another"
        with pytest.raises(DatabaseNotFoundError, match="not there any more"), fsspec.open(uri):
            pass
        zdb.open(tmp_path / "new.zdb")
        with fsspec.open(uri) as file:
            assert file.read() == b"content"

    def test_a_relative_path(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        zdb.open("results.zdb")["a.bin"] = b"content"
        with fsspec.open("zdb://results.zdb/a.bin") as file:
            assert file.read() == b"content"

    def test_a_database_in_a_zip_file(self, tmp_path):
        db = zdb.open(tmp_path / "results.zdb")
        db["folder/a.bin"] = b"content"
        zdb.export_files(db, tmp_path / "results.zip")
        packed = zdb.open(tmp_path / "results.zip", "r")
        with fsspec.open(packed.uri("folder/a.bin")) as file:
            assert file.read() == b"content"
        with pytest.raises(ReadOnlyError), fsspec.open(packed.uri("folder/a.bin"), "wb"):
            pass

    @pytest.mark.parametrize("by_id", [False, True])
    def test_keys_of_sub_databases(self, tmp_path, by_id):
        sub = zdb.open(tmp_path / "results.zdb").database("runs/1", create=True)
        with fsspec.open(sub.uri("a.txt", by_id=by_id), "w") as file:
            file.write("text")
        assert sub["a.txt"].read_text() == "text"
        assert fsspec.filesystem("zdb").ls(sub.uri(by_id=by_id), detail=False) == [
            sub.uri("a.txt", by_id=by_id).removeprefix("zdb://")
        ]

    def test_what_names_no_database(self, tmp_path):
        fs = fsspec.filesystem("zdb")
        with pytest.raises(InvalidReferenceError, match="names no database"):
            fs.ls("zdb://")
        with pytest.raises(InvalidReferenceError, match="names no database"):
            fs.open(f"zdb://{tmp_path}/a.txt")
        with pytest.raises(DatabaseNotFoundError):
            fs.open(f"zdb://{'0' * 32}/a.txt")
        missing = f"zdb://{str(tmp_path / 'typo.zdb').replace('/', '%2F')}"
        for mode in ("rb", "wb"):
            with pytest.raises(DatabaseNotFoundError):
                fs.open(f"{missing}/a.txt", mode)
        assert not fs.exists(missing)
        assert list(tmp_path.iterdir()) == []
        fs.mkdir(missing)
        assert fs.ls(missing) == []
        assert zdb.open(tmp_path / "typo.zdb", "r").info().kind == "database"
        with pytest.raises(FileExistsError):
            fs.mkdir(missing)
        fs.makedirs(missing, exist_ok=True)


class TestOtherValues:
    @pytest.fixture
    def filled(self, shelf):
        shelf.db["array"] = np.arange(3)
        shelf.db["number"] = 1
        shelf.db["mixed/table"] = TABLE
        shelf.db["mixed/a.bin"] = b"content"
        return shelf

    def test_are_not_there(self, filled):
        assert filled.fs.ls(filled.uri(None), detail=False) == [filled.uri("mixed").removeprefix("zdb://")]
        for key in ("array", "number", "mixed/table"):
            assert not filled.fs.exists(filled.uri(key))
            with pytest.raises(NoFileError, match=r"no file, it holds a value of format '\w+'; read it by"):
                filled.fs.open(filled.uri(key))
        assert not filled.fs.exists(filled.uri("array/data"))
        with pytest.raises(NoFileError):
            filled.fs.info(filled.uri("array/data"))

    def test_are_not_replaced_nor_removed(self, filled):
        for key in ("array", "number", "array/below"):
            with pytest.raises(KeyConflictError):
                filled.fs.open(filled.uri(key), "wb")
            with pytest.raises(FileNotFoundError):
                filled.fs.rm_file(filled.uri(key))
        with pytest.raises(OSError, match=r"not files, such as mixed/table; nothing was removed"):
            filled.fs.rm(filled.uri("mixed"), recursive=True)
        assert filled.db["mixed/a.bin"] == b"content"
        filled.fs.rm(filled.uri("mixed/a.bin"))
        with pytest.raises(OSError, match="is not empty"):
            filled.fs.rmdir(filled.uri("mixed"))
        assert filled.db["mixed/table"].equals(TABLE)
        with pytest.raises(ValueError, match="the database itself"):
            filled.fs.rm(filled.uri(None), recursive=True)

    def test_that_came_while_a_file_was_written(self, shelf):
        file = shelf.fs.open(shelf.uri("key"), "wb")
        file.write(b"data")
        shelf.db["key"] = np.arange(3)
        with pytest.raises(KeyConflictError):
            file.close()
        assert shelf.db["key"].tolist() == [0, 1, 2]


def test_a_file_system_can_be_sent(shared_place):
    db = shared_place.open()
    db["a.bin"] = b"content"
    fs = pickle.loads(pickle.dumps(fsspec.filesystem("zdb", **shared_place.options)))
    assert fs.cat(db.uri("a.bin")) == b"content"
    file = fsspec.open(db.uri("a.bin"), **shared_place.options)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_read, (file,)) == b"content"


def _read(file):
    with file as opened:
        return opened.read()


def test_folders_are_no_files(shelf):
    shelf.fs.mkdir(shelf.uri("folder/inner"))
    for mode in ("rb", "wb"):
        with pytest.raises(IsAFolderError):
            shelf.fs.open(shelf.uri("folder"), mode)
    with pytest.raises(IsAFolderError):
        shelf.fs.rm(shelf.uri("folder"))
    with pytest.raises(ValueError, match="mode r, w, a or x"):
        shelf.fs.open(shelf.uri("a"), "r+b")


def test_options_for_a_file_system_that_is_not_asked_for(db):
    db["a.bin"] = b"content"
    with fsspec.open(db.uri("a.bin"), anon=True) as file:
        assert file.read() == b"content"
