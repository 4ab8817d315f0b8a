from __future__ import annotations

import datetime as dt
import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import dask.dataframe as dd
import numpy as np
import pytest
from legacy.legacy_pickles import Made, Ref, dumps, old_array, old_range, range_slice
from legacy.samples import FRAME, TRACES, IsfWriter, MdbWriter, loader_pickle, snapshot, write_isf, write_mdb
from pandas.testing import assert_frame_equal

import zdb
import zdb.legacy
import zdb.neuro

if TYPE_CHECKING:
    import pandas as pd


@pytest.fixture(scope="module")
def isf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_isf(tmp_path_factory.mktemp("old") / "isf")


@pytest.fixture(scope="module")
def mdb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mdb(tmp_path_factory.mktemp("old") / "mdb")


def whole(frame: dd.DataFrame) -> pd.DataFrame:
    made = frame.compute(scheduler="synchronous")
    made.index = made.index.astype(object)  # pandas 3 joins indexes of text into its string dtype
    return made


@pytest.mark.parametrize("key", ["traces", "compressed", "packed", "shared/arr", "sub/deep"])
def test_arrays(isf: Path, key: str) -> None:
    np.testing.assert_array_equal(zdb.legacy.open(isf)[key], TRACES)


@pytest.mark.parametrize("key", ["frame", "old_frame"])
def test_tables(isf: Path, key: str) -> None:
    assert_frame_equal(zdb.legacy.open(isf, allow_pickle="safe")[key], FRAME)


@pytest.mark.parametrize("key", ["parts", "parquet_parts"])
def test_tables_in_partitions_are_lazy(isf: Path, key: str) -> None:
    frame = zdb.legacy.open(isf)[key]
    assert isinstance(frame, dd.DataFrame)
    assert frame.divisions == ("t/0", "t/1", "t/2", "t/2")
    assert frame.partitions[0].compute(scheduler="synchronous").index.dtype == object
    assert_frame_equal(whole(frame), FRAME)


def test_a_partition_is_not_read_before_it_is_needed(tmp_path: Path) -> None:
    path = write_isf(tmp_path / "isf")
    frame = zdb.legacy.open(path)["parts"]
    (path / "parts" / "dask_to_msgpack.2.csv").write_bytes(b"damaged")
    assert_frame_equal(whole(frame.partitions[:2]), FRAME.iloc[:2])
    with pytest.raises(zdb.errors.UnreadableValueError, match=r"dask_to_msgpack\.2\.csv"):
        frame.compute(scheduler="synchronous")


def test_plain_pickles(isf: Path) -> None:
    db = zdb.legacy.open(isf, allow_pickle="safe")
    assert db["parameters"] == {"dt": 0.025, "cells": ["L5", "L2"], "t": (1, 2)}
    time, voltage = db["trace"]
    np.testing.assert_array_equal(time, TRACES[0])
    np.testing.assert_array_equal(voltage, TRACES[1])


def test_pickles_are_read_on_request_only(isf: Path) -> None:
    db = zdb.legacy.open(isf)
    with pytest.raises(zdb.errors.PickleRefusedError, match=r"^parameters: .*allow_pickle='safe'"):
        db["parameters"]
    with pytest.raises(ValueError, match="allow_pickle is False, 'safe' or True"):
        zdb.legacy.open(isf, allow_pickle="yes")


def test_folders_and_stores_are_databases(isf: Path) -> None:
    db = zdb.legacy.open(isf)
    assert list(db["Folder"]) == ["a.txt", "sub"]
    assert db["Folder/sub/x.bin"].read_bytes() == b"\0\1"
    assert db.database("shared").kind == "shared_numpy_store"
    assert isinstance(db["shared", "arr"], np.memmap)
    with pytest.raises(zdb.errors.KeyConflictError, match="traces: holds a value"):
        db.database("traces")


def test_keys(isf: Path) -> None:
    db = zdb.legacy.open(isf)
    assert "gone.deleting.AB12C" not in db
    assert len(db) == len(list(db)) == 12
    recursive = db.keys(recursive=True)
    assert {"traces", "Folder/a.txt", "Folder/sub/x.bin", "shared/arr", "sub/deep"} <= set(recursive)
    assert "sub" not in recursive
    assert ("sub", "deep") in db
    assert "sub/nothing" not in db
    assert "../isf/traces" not in db
    assert 1 not in db
    with pytest.raises(zdb.errors.KeyNotFoundError, match="did you mean 'traces'"):
        db["tracs"]
    assert db.get("nothing", 5) == 5


def test_what_is_known_without_loading(isf: Path) -> None:
    db = zdb.legacy.open(isf)
    info = db.info("traces")
    assert (info.key, info.kind, info.format, info.shape, info.dtype) == (
        "traces",
        "value",
        "numpy_to_npy",
        (4, 6),
        "float64",
    )
    assert info.created == dt.datetime(2023, 5, 17, 9, 30, 1, tzinfo=dt.UTC)
    assert db.info("sub").kind == "database"
    assert db.id == "2023-05-17_1_abcdefg"
    assert db.metadata["traces"]["full-revisionid"].startswith("6c2c82f1")
    assert set(db.metadata) == set(db)
    text = str(db.tree())
    assert text.startswith(f"ISFDataBase {isf} (read only)\n")
    assert "traces" in text
    assert "(4, 6)" in text
    assert "deep" in text
    assert "deep" not in str(db.tree(depth=1))
    assert "… 11 more" in str(db.tree(lines=2))
    assert "<pre>" in db._repr_html_()
    assert repr(db) == str(db.tree(depth=2, lines=40))


def test_provenance(isf: Path) -> None:
    made = zdb.legacy.open(isf).provenance("traces")
    assert made.created == dt.datetime(2023, 5, 17, 9, 30, 1, tzinfo=dt.UTC)
    assert (made.hostname, made.git_state, made.python_version) == ("node7", "clean", "3.8.18")
    assert made.environment["distributions"] == {"numpy": "1.19.2", "pandas": "1.1.3"}
    assert made.history == ("import numpy", "x = 1")
    assert not made.is_post_hoc


def test_columns(isf: Path) -> None:
    db = zdb.legacy.open(isf)
    assert_frame_equal(db.get("frame", columns=["b"]), FRAME[["b"]])
    with pytest.raises(zdb.errors.SelectionError, match="frame: cannot select"):
        db.get("frame", columns=["z"])
    np.testing.assert_array_equal(db.get("traces", rows=slice(1, 3)), TRACES[1:3])
    assert_frame_equal(db.get("frame", rows=[0]), FRAME.iloc[[0]])


def test_what_only_a_database_of_zdb_can_do(isf: Path) -> None:
    db = zdb.legacy.open(isf)
    with pytest.raises(zdb.errors.NotMigratedError, match=r"rename is not for an old database.*zdb migrate"):
        db.rename("traces", "other")
    assert not hasattr(db, "rename")
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = db.nothing


def test_nothing_can_be_changed(isf: Path) -> None:
    db = zdb.open(isf, "r")
    keys = list(db)
    with pytest.raises(zdb.errors.ReadOnlyError, match=r"x: old databases are only read.*`zdb migrate`"):
        db["x"] = 1
    with pytest.raises(zdb.errors.ReadOnlyError, match=r"traces: old databases are only read.*`zdb migrate`"):
        del db["traces"]
    assert list(db) == keys


def test_a_model_data_base(mdb: Path) -> None:
    db = zdb.legacy.open(mdb, allow_pickle="safe")
    assert (db.kind, db.id) == ("ModelDataBase", "2019-01-02_7_hijklmn")
    assert list(db) == ["traces", "Frame 1", "answer", "T", "parts", "sub"]
    np.testing.assert_array_equal(db["traces"], TRACES)
    np.testing.assert_array_equal(db["T/k"], TRACES)
    np.testing.assert_array_equal(db["T", "k"], TRACES)
    np.testing.assert_array_equal(db["sub/deep"], TRACES)
    assert db["answer"] == 42
    assert_frame_equal(db["Frame 1"], FRAME)
    assert_frame_equal(whole(db["parts"]), FRAME)
    assert db.keys(recursive=True) == ["traces", "Frame 1", "answer", "T/k", "parts", "sub/deep"]
    assert db.metadata["T/k"]["dumper"] == "numpy_to_npy"
    assert db.provenance("answer").environment["distributions"]["pandas"] == "1.1.3"


def test_a_model_data_base_without_its_state(mdb: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(mdb, tmp_path / "mdb"))
    (path / "dbcore.pickle").unlink()
    db = zdb.legacy.open(path)
    assert db.id == ""
    np.testing.assert_array_equal(db["traces"], TRACES)


def test_a_model_data_base_without_its_keys(mdb: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(mdb, tmp_path / "mdb"))
    (path / "sqlitedict.db").unlink()
    db = zdb.legacy.open(path, allow_pickle="safe")
    assert db.is_recovered
    assert set(db) == {"traces", "Frame 1", "T", "parts", "sub"}  # not the answer, which was in the file
    np.testing.assert_array_equal(db["T/k"], TRACES)
    assert_frame_equal(db["Frame 1"], FRAME)
    (path / "metadata.db").unlink()
    assert set(zdb.legacy.open(path)) == {"traces", "frame-1", "t-k", "parts", "sub"}


def test_a_sqlite_file_whose_writer_died(tmp_path: Path) -> None:
    source = write_mdb(tmp_path / "mdb")
    connection = sqlite3.connect(source / "sqlitedict.db")
    connection.execute("PRAGMA journal_mode=WAL")
    with connection:
        connection.execute("INSERT INTO unnamed VALUES ('late', ?)", (dumps("here"),))
    path = Path(shutil.copytree(source, tmp_path / "copy"))  # with the log that was not merged yet
    connection.close()
    assert (path / "sqlitedict.db-wal").exists()
    before = snapshot(path)
    assert zdb.legacy.open(path, allow_pickle="safe")["late"] == "here"
    assert snapshot(path) == before


def test_nothing_is_written(isf: Path, mdb: Path) -> None:
    for path in (isf, mdb):
        before = snapshot(path)
        db = zdb.legacy.open(path, allow_pickle="safe")
        for key in db.keys(recursive=True):
            db[key], db.info(key), db.metadata[key]
        str(db.tree())
        assert snapshot(path) == before


@pytest.mark.parametrize("name", ["isf", "mdb"])
def test_zdb_open_tells_what_is_there(name: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(name)
    db = zdb.open(path, mode="r")
    assert isinstance(db, zdb.legacy.LegacyDatabase)
    np.testing.assert_array_equal(db["traces"], TRACES)
    assert zdb.open(path, mode="r", allow_pickle="safe")["sub"].kind == db.kind


@pytest.mark.parametrize("mode", ["a", "r+", "w-"])
@pytest.mark.parametrize("name", ["isf", "mdb"])
def test_zdb_open_does_not_write_into_an_old_database(name: str, mode: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(name)
    before = snapshot(path)
    with pytest.raises(zdb.errors.ReadOnlyError, match=r"In Silico Framework.*mode='r'.*`zdb migrate`"):
        zdb.open(path, mode=mode)
    assert snapshot(path) == before


def test_another_folder_is_no_old_database(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(zdb.errors.DatabaseNotFoundError, match=r"db_state\.json"):
        zdb.legacy.open(tmp_path)
    with pytest.raises(zdb.errors.NotADatabaseError):
        zdb.open(tmp_path)


def test_what_is_damaged_is_named(tmp_path: Path) -> None:
    isf = IsfWriter(tmp_path / "isf")
    isf.key("cut", "to_pickle", {"to_pickle_dump": dumps([1, 2, 3])[:-4]})
    isf.key("lost", "numpy_to_npy")
    isf.key("strange", "to_hdf5")
    isf.key("short", "numpy_to_npy", {"np.npy": b"\x93NUMPY\x01\x00"})
    (isf.path / "bare").mkdir()
    (isf.path / "bare" / "file").write_bytes(b"1")
    (isf.path / "cut" / "metadata.json").write_text("{")
    db = zdb.legacy.open(isf.path, allow_pickle="safe")
    for key, what in {
        "cut": "to_pickle_dump: is no pickle of data, or damaged",
        "lost": "data file is missing",
        "strange": "no reader knows its dumper 'to_hdf5'",
        "short": "npy",
    }.items():
        with pytest.raises(zdb.errors.UnreadableValueError, match=rf"^{key}: .*{what}"):
            db[key]
    assert db["bare/file"].read_bytes() == b"1"  # a folder without a Loader is a folder
    assert "damaged" in db.metadata["cut"]["error"]
    assert db.files("cut") == sorted((isf.path / "cut").iterdir())
    assert "cut" in str(db)


def test_objects_shared_within_a_pickle_stay_shared(tmp_path: Path) -> None:
    inner = [1]
    cyclic: list = [inner, inner]
    cyclic.append(cyclic)
    isf = IsfWriter(tmp_path / "isf")
    isf.key("value", "to_pickle", {"to_pickle_dump": dumps(cyclic)})
    value = zdb.legacy.open(isf.path, allow_pickle="safe")["value"]
    assert value[0] is value[1]
    assert value[2] is value


def python2(text: bytes) -> bytes:
    """A string of bytes, as Python 2 pickled it."""
    return b"U" + bytes([len(text)]) + text


def test_what_python_2_wrote(tmp_path: Path) -> None:
    """Its text was bytes, its classes were made by copy_reg, and numpy's numbers were text."""
    numbers = np.arange(3, dtype="<i2")
    dtype = b"cnumpy\ndtype\n(" + python2(b"i2") + b"I0\nI1\ntR(I3\n" + python2(b"<") + b"NNNI-1\nI-1\nI0\ntb"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\nt" + python2(b"b") + b"tR(I1\n(I3\nt"
        + dtype + b"I00\n" + python2(numbers.tobytes()) + b"tb"
    )  # fmt: skip
    loader = (
        b"ccopy_reg\n_reconstructor\n(cmodel_data_base.IO.LoaderDumper.to_pickle\nLoader\n"
        b"c__builtin__\nobject\nNtR(dS'version'\nI1\nsb."
    )
    mdb = MdbWriter(tmp_path / "mdb")
    content = b"(d" + python2(b"a") + array + b"s" + python2(b"name") + python2(b"L5") + b"s."
    folder = mdb.key("value", "value_abcdefgh_", "to_pickle", {"to_pickle_dump": content})
    (folder / "Loader.pickle").write_bytes(loader)
    value = zdb.legacy.open(mdb.path, allow_pickle="safe")["value"]
    np.testing.assert_array_equal(value["a"], numbers)
    assert value["a"].dtype == numbers.dtype
    assert value["name"] == "L5"


def test_protocol_0_objects(tmp_path: Path) -> None:
    isf = IsfWriter(tmp_path / "isf")
    content = b"ccopy_reg\n_reconstructor\n(cuuid\nUUID\nc__builtin__\nobject\nNtR(dS'int'\nL5L\nsb."
    isf.key("value", "to_pickle", {"to_pickle_dump": content})
    assert zdb.legacy.open(isf.path, allow_pickle="safe")["value"].int == 5


def test_a_cell(tmp_path: Path) -> None:
    """As ``single_cell_parser.serialize_cell`` keeps it; parameters are objects of the framework."""
    parameters = Made(Ref("single_cell_parser.parameters", "NTParameterSet"), (), {"celsius": 37.0}, new=True)
    section = {"recVList": [old_array(TRACES[0])], "recordVars": {}, "label": "Soma", "sec_id": 0, "parent_id": None}
    synapse = {"preCell": {"spikeTimes": [1.5, 2.5]}, "coordinates": [1.0, 2.0, 3.0]}
    cell = {
        "tVec": old_array(TRACES[1]),
        "sections": [section],
        "synapses": {"L5": [synapse]},
        "parameters": parameters,
        "hoc": "create soma",
    }
    state = ([old_range(1)], [old_array(np.array([0], object))], [], {"0.14.1": {}})
    content = old_array(np.array([cell], dtype=object))
    state[3]["0.14.1"] = {"axes": [old_range(1)], "blocks": [{"values": content, "mgr_locs": range_slice(1)}]}
    manager = Made(Ref("pandas.core.internals.managers", "SingleBlockManager"), (), state, new=True)
    series = Made(Ref("pandas.core.series", "Series"), (), {"_mgr": manager, "_name": None}, new=True)
    isf = IsfWriter(tmp_path / "isf")
    isf.key("cell", "cell", {"cell": dumps(series), "Loader.pickle": loader_pickle("cell")})
    found = zdb.legacy.open(isf.path, allow_pickle="safe")["cell"]
    assert found["parameters"] == {"class": "single_cell_parser.parameters.NTParameterSet", "celsius": 37.0}
    made = zdb.neuro.Cell.from_dict(found)
    np.testing.assert_array_equal(made.time, TRACES[1])
    np.testing.assert_array_equal(made.sections[0].voltage[0], TRACES[0])
    assert made.synapses["L5"][0].spike_times.tolist() == [1.5, 2.5]
    assert zdb.legacy.migrate(isf.path, tmp_path / "new.zdb", workers=1).ok
    kept = zdb.open(tmp_path / "new.zdb")["cell"]
    assert kept["sections"][0]["recVList"][0].tolist() == TRACES[0].tolist()


def test_all_pickles_are_loaded_with_trust(tmp_path: Path) -> None:
    isf = IsfWriter(tmp_path / "isf")
    fraction = Made(Ref("fractions", "Fraction"), ("1/3",))
    isf.key("value", "to_cloudpickle", {"to_pickle_dump": dumps({"f": fraction, "old": Ref("numpy", "float64")})})
    with pytest.raises(zdb.errors.PickleRefusedError, match=r"fractions\.Fraction"):
        zdb.legacy.open(isf.path, allow_pickle="safe")["value"]
    value = zdb.legacy.open(isf.path, allow_pickle=True)["value"]
    assert (value["f"].denominator, value["old"]) == (3, np.float64)


def test_rows_that_point_nowhere(tmp_path: Path) -> None:
    mdb = MdbWriter(tmp_path / "mdb")
    wrapper = Ref("data_base.model_data_base.model_data_base", "LoaderWrapper")
    for key, relpath in {"up": "../isf/traces", "root": "/etc", "gone": "gone_abcdefgh_", "self": "."}.items():
        mdb.row(key, dumps(Made(wrapper, (), {"relpath": relpath}, new=True)))
    db = zdb.legacy.open(mdb.path, allow_pickle=True)
    for key in db:
        with pytest.raises(zdb.errors.UnreadableValueError, match=r"no folder of the database|is missing"):
            db[key]
