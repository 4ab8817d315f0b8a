from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import cloudpickle
import dask.dataframe as dd
import numpy as np
import pytest
from legacy.legacy_pickles import Made, Ref, dumps, old_array
from legacy.samples import FRAME, SHARED, TRACES, IsfWriter, MdbWriter, snapshot, write_isf, write_mdb
from legacy.test_expected import described, expected
from pandas.testing import assert_frame_equal

import zdb
import zdb.legacy
from zdb.legacy import migration

if TYPE_CHECKING:
    from pathlib import Path


def outcomes(report: zdb.legacy.MigrationReport) -> dict[str, str]:
    return {key.old: key.outcome for key in report.keys}


def migrate_alone(old: Path, new: Any, **options: Any) -> zdb.legacy.MigrationReport:
    """In this process, which is faster for few keys."""
    return zdb.legacy.migrate(old, new, workers=1, **options)


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return tmp_path / "new.zdb"


def test_an_isf_data_base(tmp_path: Path, new: Path) -> None:
    old = write_isf(tmp_path / "isf")
    before = snapshot(old)
    report = zdb.legacy.migrate(old, new, workers=2)
    assert report.ok
    assert set(outcomes(report).values()) == {"converted"}
    assert report.left_behind == ["gone.deleting.AB12C"]
    assert snapshot(old) == before

    db = zdb.open(new, mode="r")
    source = zdb.legacy.open(old, allow_pickle="safe")
    assert {*db.keys(recursive=True)} == {*source.keys(recursive=True), "migration_report"}
    for key in ("traces", "compressed", "packed", "shared/arr", "sub/deep"):
        np.testing.assert_array_equal(db[key], TRACES)
    for key in ("frame", "old_frame"):
        assert_frame_equal(db[key], FRAME)
    for key in ("parts", "parquet_parts"):
        assert isinstance(db[key], dd.DataFrame)
        assert db[key].divisions == source[key].divisions
        assert_frame_equal(db[key].partitions[1].compute(scheduler="synchronous"), FRAME.iloc[1:2])
    assert db["parameters"] == source["parameters"]
    assert [part.tolist() for part in db["trace"]] == TRACES[:2].tolist()
    assert db["Folder/sub/x.bin"].read() == b"\0\1"
    assert list(db["Folder"]) == ["a.txt", "sub"]  # not what the old database wrote beside the files


def test_metadata_becomes_provenance(tmp_path: Path, new: Path) -> None:
    old = write_isf(tmp_path / "isf")
    migrate_alone(old, new)
    db = zdb.open(new, mode="r")
    for key in ("traces", "parts", "parameters"):
        made = db.provenance(key)
        assert made.created == dt.datetime(2023, 5, 17, 9, 30, 1, tzinfo=dt.UTC)
        assert made.imported > made.created
        assert made.imported_from.startswith(f"ISFDataBase {old}, key {key}, dumper ")
        assert (made.hostname, made.git_commit[:8], made.git_state) == ("node7", "6c2c82f1", "clean")
        assert made.environment["distributions"]["pandas"] == "1.1.3"
        assert made.history == ("import numpy", "x = 1")
        assert not made.is_post_hoc
    assert db.provenance("shared/arr").is_post_hoc  # a raw array has the time stamp of its file only


def test_a_model_data_base(tmp_path: Path, new: Path) -> None:
    old = write_mdb(tmp_path / "mdb")
    (old / "orphan_abcdefgh_").mkdir()
    report = migrate_alone(old, new)
    assert report.ok
    assert report.left_behind == ["orphan_abcdefgh_"]
    assert (report.kind, report.id) == ("ModelDataBase", "2019-01-02_7_hijklmn")
    db = zdb.open(new, mode="r")
    assert db["answer"] == 42
    np.testing.assert_array_equal(db["T/k"], TRACES)
    assert_frame_equal(db["Frame_1"], FRAME)
    assert [(key.old, key.new) for key in report.keys if key.is_renamed] == [("Frame 1", "Frame_1")]
    assert "renamed  Frame 1 -> Frame_1" in str(report)


def test_keys_that_are_not_legal_today(tmp_path: Path, new: Path) -> None:
    mdb = MdbWriter(tmp_path / "mdb")
    names = [
        "a*b",
        "a?b",
        "trace",
        "Trace",
        "_zdb",
        ".dot",
        "__x",
        "ünï cødé",
        "x" * 200,
        "migration_report",
        "a/b",
        "@",
    ]
    for name in names:
        mdb.row(name, dumps(name))
    report = migrate_alone(mdb.path, new)
    assert report.ok
    db = zdb.open(new, mode="r")
    found = {key.old: key.new for key in report.keys}
    assert len(set(found.values())) == len(names)
    for key in report.keys:
        stored = db[key.new]
        assert stored == key.old or tuple(stored.split("@")) == tuple(key.old.split("/"))
    assert db["migration_report"]["kind"] == "ModelDataBase"
    assert db["a_b"] == "a*b"


def test_what_cannot_be_converted_is_kept_as_its_files(tmp_path: Path, new: Path) -> None:
    isf = IsfWriter(tmp_path / "isf")
    hostile = dumps(Made(Ref("os", "system"), ("touch marker",)))
    isf.key("hostile", "to_pickle", {"to_pickle_dump": hostile})
    isf.key("strange", "to_hdf5", {"data.h5": b"HDF", "inner/more.txt": b"x"})
    isf.key("damaged", "numpy_to_npy", {"np.npy": b"\x93NUMPY"})
    isf.key("lost", "numpy_to_npy")
    np.save(isf.key("good", "numpy_to_npy") / "np.npy", TRACES)
    report = migrate_alone(isf.path, new)
    assert not report.ok
    assert outcomes(report) == dict.fromkeys(["hostile", "strange", "damaged", "lost"], "raw") | {"good": "converted"}
    reasons = {key.old: key.reason for key in report.keys}
    assert "os.system" in reasons["hostile"]
    assert "no reader knows its dumper 'to_hdf5'" in reasons["strange"]
    assert "damaged" in reasons["damaged"]
    assert "missing" in reasons["lost"]
    db = zdb.open(new, mode="r")
    assert db["hostile/to_pickle_dump"].read() == hostile
    assert db["strange/inner/more.txt"].read() == b"x"
    assert json.loads(db["damaged/metadata.json"].read())["dumper"] == "numpy_to_npy"
    assert "hostile" in db.provenance("hostile/to_pickle_dump").imported_from
    assert db["migration_report"] == report.to_dict()
    for reason in reasons.values():
        assert reason in str(report)
    assert report.to_frame().outcome.value_counts()["raw"] == 4
    assert outcomes(migrate_alone(isf.path, new)) == outcomes(report) | {"good": "present"}


def test_a_row_that_cannot_be_converted(tmp_path: Path, new: Path) -> None:
    mdb = MdbWriter(tmp_path / "mdb")
    content = dumps(Made(Ref("os", "system"), ("touch marker",)))
    mdb.row("row", content)
    mdb.row("gone", dumps(Made(Ref("x.model_data_base", "LoaderWrapper"), (), {"relpath": "gone_abcdefgh_"}, new=True)))
    report = migrate_alone(mdb.path, new)
    assert outcomes(report) == {"row": "raw", "gone": "failed"}
    db = zdb.open(new, mode="r")
    assert db["row/row.pickle"].read() == content
    assert "gone" not in db


def test_raw_files_give_way_when_they_can_be_converted(tmp_path: Path, new: Path) -> None:
    isf = IsfWriter(tmp_path / "isf")
    fraction = Made(Ref("fractions", "Fraction"), ("1/3",))
    isf.key("number", "to_cloudpickle", {"to_pickle_dump": dumps(fraction)})
    assert outcomes(migrate_alone(isf.path, new)) == {"number": "raw"}
    report = migrate_alone(isf.path, new, allow_pickle=True)
    assert outcomes(report) == {"number": "converted"}
    assert "allow_pickle=True" in report.keys[0].note
    assert zdb.open(new, mode="r", allow_pickle=True)["number"].denominator == 3


def test_functions_are_kept_with_trust(tmp_path: Path, new: Path) -> None:
    isf = IsfWriter(tmp_path / "isf")
    isf.key("f", "to_cloudpickle", {"to_pickle_dump": cloudpickle.dumps(lambda x: 2 * x + 1)})
    assert zdb.legacy.open(isf.path, allow_pickle=True)["f"](3) == 7
    assert migrate_alone(isf.path, new, allow_pickle=True).ok
    assert zdb.open(new, mode="r", allow_pickle=True)["f"](3) == 7


def test_without_pickles(tmp_path: Path, new: Path) -> None:
    old = write_isf(tmp_path / "isf")
    report = migrate_alone(old, new, allow_pickle=False)
    assert {key.old for key in report.keys if key.outcome == "raw"} == {"old_frame", "parameters", "trace"}


def test_what_does_not_come_back_equal_is_not_kept(tmp_path: Path, new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isf = IsfWriter(tmp_path / "isf")
    np.save(isf.key("traces", "numpy_to_npy") / "np.npy", TRACES)
    monkeypatch.setattr(migration, "difference", lambda old, new, key: "the numbers differ")
    report = migrate_alone(isf.path, new)
    assert outcomes(report) == {"traces": "raw"}
    assert report.keys[0].reason == "does not come back equal: the numbers differ"
    assert zdb.open(new, mode="r")["traces/np.npy"].read()[:6] == b"\x93NUMPY"


def test_a_value_is_compared_with_what_was_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zdb.legacy import compare

    monkeypatch.setattr(compare, "BLOCK", 64)
    db = zdb.open(tmp_path / "new.zdb")
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    values = {
        "array": TRACES,
        "text": np.array(["a", "b"], object),
        "table": FRAME,
        "parts": dd.from_pandas(FRAME.reset_index(drop=True), npartitions=2),
        "json": {"a": [1, float("nan")]},
        "tuple": (1, TRACES, {2}),
        "file": path,
    }
    for key, value in values.items():
        db[key] = value
        assert compare.difference(value, db, key) == ""
    changed = TRACES.copy()
    changed[3, 5] = -1
    path.write_bytes(b"abd")
    others = {
        "array": (changed, "from row 3: the numbers differ"),
        "text": (np.array(["a", "c"], object), "'c' became 'b'"),
        "table": (FRAME.rename(columns={"a": "z"}), "DataFrame.columns"),
        "parts": (dd.from_pandas(FRAME.reset_index(drop=True).assign(a=0), npartitions=2), "in partition 0"),
        "json": ({"a": [1.0, float("nan")]}, "a float became a int"),
        "tuple": ((1, changed, {2}), r"\[1\]: the numbers differ"),
        "file": (path, "the content differs"),
    }
    for key, (value, what) in others.items():
        with pytest.raises(AssertionError, match=what):
            assert compare.difference(value, db, key) == "", compare.difference(value, db, key)


def test_what_is_in_the_new_database_stays(tmp_path: Path, new: Path) -> None:
    old = write_isf(tmp_path / "isf")
    db = zdb.open(new)
    db["traces"] = "mine"
    db["parameters/mine"] = 1
    db["other"] = 2
    report = migrate_alone(old, new)
    failed = {key.old: key.reason for key in report.keys if key.outcome == "failed"}
    assert set(failed) == {"traces", "parameters"}
    assert all("not of this migration" in reason for reason in failed.values())
    assert (db["traces"], db["parameters/mine"], db["other"]) == ("mine", 1, 2)


def test_links_to_other_places_are_not_copied(tmp_path: Path, new: Path) -> None:
    (tmp_path / "secret").write_text("mine")
    isf = IsfWriter(tmp_path / "isf")
    (isf.key("strange", "to_hdf5") / "link").symlink_to(tmp_path / "secret")
    (isf.key("folder", "just_create_folder", {"a": b"1"}) / "link").symlink_to(tmp_path / "secret")
    report = migrate_alone(isf.path, new)
    assert outcomes(report) == {"strange": "failed", "folder/a": "converted", "folder/link": "failed"}
    assert all("mine" not in str(file.read_bytes()) for file in new.rglob("*") if file.is_file())


def test_a_database_in_memory(tmp_path: Path) -> None:
    url = "memory://migrated"
    report = zdb.legacy.migrate(write_isf(tmp_path / "isf"), url)
    assert report.ok
    np.testing.assert_array_equal(zdb.open(url, mode="r")["traces"], TRACES)


def test_no_old_database(tmp_path: Path, new: Path) -> None:
    with pytest.raises(zdb.errors.DatabaseNotFoundError):
        zdb.legacy.migrate(tmp_path, new)
    assert not new.exists()


def test_what_was_written_and_not_compared_is_compared(
    tmp_path: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer may die between the two."""
    isf = IsfWriter(tmp_path / "isf")
    np.save(isf.key("traces", "numpy_to_npy") / "np.npy", TRACES)
    with monkeypatch.context() as patched:
        patched.setattr(migration, "difference", lambda old, new, key: "")
        patched.setattr(zdb.legacy.LegacyDatabase, "__getitem__", lambda self, key: TRACES + 1)
        migrate_alone(isf.path, new)
    np.testing.assert_array_equal(zdb.open(new)["traces"], TRACES + 1)
    assert outcomes(migrate_alone(isf.path, new)) == {"traces": "converted"}
    np.testing.assert_array_equal(zdb.open(new)["traces"], TRACES)


def test_keys_that_came_since(tmp_path: Path, new: Path) -> None:
    mdb = MdbWriter(tmp_path / "mdb")
    mdb.row("a", dumps(1))
    migrate_alone(mdb.path, new)
    mdb.row("b", dumps(2))
    assert outcomes(migrate_alone(mdb.path, new)) == {"a": "present", "b": "converted"}


def test_a_table_of_which_a_partition_is_damaged(tmp_path: Path, new: Path) -> None:
    old = write_isf(tmp_path / "isf")
    (old / "parts" / "dask_to_msgpack.1.csv").write_bytes(b"damaged")
    report = migrate_alone(old, new, allow_pickle=True)
    (bad,) = (key for key in report.keys if key.outcome != "converted")
    assert (bad.old, bad.outcome) == ("parts", "raw")
    assert "dask_to_msgpack.1.csv" in bad.reason
    assert zdb.open(new)["parts/dask_to_msgpack.1.csv"].read() == b"damaged"


PROGRAM = """
import sys, zdb.legacy
if __name__ == "__main__":
    zdb.legacy.migrate(sys.argv[1], sys.argv[2], workers=2)
"""


def test_a_migration_that_was_killed_is_taken_up(tmp_path: Path, new: Path) -> None:
    isf = IsfWriter(tmp_path / "isf")
    rng = np.random.default_rng(1)
    arrays = {f"key{n}": rng.random((200, 200)) for n in range(60)}
    for key, array in arrays.items():
        isf.key(key, "to_cloudpickle", {"to_pickle_dump": dumps(old_array(array))})
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    running = subprocess.Popen([sys.executable, str(program), str(isf.path), str(new)], start_new_session=True)
    try:
        while len(list(new.glob("key*/zarr.json"))) < 10:
            assert running.poll() is None, "it ended before it was killed"
            time.sleep(0.002)
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    done = len(list(new.glob("key*/zarr.json")))
    assert done < len(arrays)
    written = {file: file.stat().st_mtime_ns for file in new.glob("key*/zarr.json")}
    report = migrate_alone(isf.path, new)
    assert report.ok
    assert report.count("present") == done
    assert {file: file.stat().st_mtime_ns for file in written} == written
    db = zdb.open(new, mode="r")
    assert set(db) == {*arrays, "migration_report"}
    for key, array in arrays.items():
        np.testing.assert_array_equal(db[key], array)
    assert db.verify(progress=False).ok


@pytest.mark.skipif(not SHARED.is_dir(), reason="the old databases are not there")
@pytest.mark.parametrize("name", ["isf", "mdb"])
def test_what_the_framework_wrote(name: str, new: Path) -> None:
    report = migrate_alone(SHARED / name, new)
    assert {key.old for key in report.keys if key.outcome != "converted"} == {"cloudpickle_function"}
    db = zdb.open(new, mode="r")
    for key, entry in expected(name).items():
        if key.startswith("__") or key in ("Rm", "folder", "shared_store", "cloudpickle_function"):
            continue
        if entry.get("written", True):
            found = json.loads(json.dumps(described(db[key.replace("@", "/")])))
            assert found == entry["expected"], key
    assert {part: described(db["shared_store"][part]) for part in db["shared_store"]} == expected(name)["shared_store"][
        "expected"
    ]
    assert db["Rm"]["clfs"]["classifier_"][0]["class"].endswith("LinearDiscriminantAnalysis")
    assert db.provenance("npy_f8_2d").git_commit == "6c2c82f110d882e7734b2cf1ad02ad8af87c0d03"
    assert db.provenance("npy_f8_2d").git_state == "dirty"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the old databases are not there")
@pytest.mark.parametrize("name", ["example_18k_trials", "example_voltage_traces"])
def test_what_its_users_have(name: str, new: Path) -> None:
    assert migrate_alone(SHARED / name, new).ok
    assert zdb.open(new, mode="r").verify(progress=False).ok


class TestReferencesToTheOldDatabase:
    @pytest.fixture(autouse=True)
    def own_catalog(self, tmp_path):
        with zdb.config.set({"catalog": str(tmp_path / "catalog")}):
            yield

    @pytest.fixture
    def old(self, tmp_path):
        isf = IsfWriter(tmp_path / "old" / "isf")
        isf.key(
            "cells", "just_create_folder", {"a.hoc": b"cell", "my cell (1).hoc": b"cell 1", "sub dir/b.syn": b"syn"}
        )
        isf.key("con", "just_create_folder", {"a.con": b"connections"})
        zdb.catalog.search(tmp_path / "old")
        return zdb.open(isf.path, "r")

    FILES = {"cells/a.hoc": b"cell", "cells/my cell (1).hoc": b"cell 1", "cells/sub dir/b.syn": b"syn"}  # noqa: RUF012

    @staticmethod
    def content(uri, base=None):
        with zdb.open_file(uri, base=base) as file:
            return file.read()

    def test_lead_to_the_new_one(self, old, tmp_path):
        id = old.id
        migrate_alone(old.path, tmp_path / "new.zdb")
        shutil.rmtree(old.path)
        new = zdb.open(id=id)
        assert new.url == str(tmp_path / "new.zdb")
        for key, wanted in self.FILES.items():
            assert self.content(f"mdb://{id}/{key}") == wanted
            for base in (new, f"mdb://{id}/con/a.con", f"{new.url}/con/a.con"):
                assert self.content(f"reldb://{key}", base) == wanted
        for gone in ("cells/gone (1).hoc", "gone/a.hoc", "cells/my_cell.hoc"):
            with pytest.raises(zdb.errors.NoFileError):
                self.content(f"mdb://{id}/{gone}")

    def test_lead_to_the_file_meant_where_names_become_alike(self, tmp_path):
        names = ["a_b.hoc", "a b.hoc", "A_B.hoc", "a(b.hoc", "x y/c.hoc", "x_y/c.hoc", "x y/only it.hoc"]
        isf = IsfWriter(tmp_path / "isf")
        isf.key("cells", "just_create_folder", {name: name.encode() for name in names})
        id = zdb.open(isf.path, "r").id
        migrate_alone(isf.path, tmp_path / "new.zdb")
        for name in names:
            assert self.content(f"mdb://{id}/cells/{name}") == name.encode()
        for gone in ("a)b.hoc", "x_y/only it.hoc"):
            with pytest.raises(zdb.errors.NoFileError):
                self.content(f"mdb://{id}/cells/{gone}")

    def test_also_as_long_as_the_old_one_is_there(self, old, tmp_path):
        migrate_alone(old.path, tmp_path / "new.zdb")
        assert zdb.open(id=old.id).url == str(tmp_path / "new.zdb")
        assert zdb.catalog.search(tmp_path / "old").state.tolist() == ["copy"]
        assert zdb.open(id=old.id).url == str(tmp_path / "new.zdb")

    def test_without_a_catalog(self, old, tmp_path):
        with zdb.config.set({"catalog": False}):
            assert migrate_alone(old.path, tmp_path / "new.zdb").ok
        new = zdb.open(tmp_path / "new.zdb")
        assert zdb.open(id=old.id).url == new.url

    def test_of_an_id_that_is_none(self, tmp_path):
        isf = IsfWriter(tmp_path / "isf", unique_id="../../x")
        assert migrate_alone(isf.path, tmp_path / "new.zdb").ok
