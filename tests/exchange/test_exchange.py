"""A database goes to files that other programs read, and comes back."""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
from typing import TYPE_CHECKING, Any

import dask.array as da
import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from maintenance.samples import damage, fill
from transfer.comparing import assert_same

import zdb
from zdb.cli import main
from zdb.errors import InvalidKeyError, InvalidSettingError, KeyExistsError, KeyNotFoundError, UnsupportedValueError
from zdb.exchange import importing, writers, zipping
from zdb.maintenance import walking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from places import Place

    from zdb import Database


@pytest.fixture
def filled(db: Database) -> Database:
    fill(db)
    db["spikes"] = zdb.Ragged(np.arange(5.0), np.array([2, 3]), {"cell": ["a", "b"]})
    db["set"] = xr.Dataset({"v": ("t", [1.0, 2.0], {"unit": "mV"})}, coords={"t": [0, 1]})
    db.set("parameters", {"dt": 0.025}, attrs={"note": "of the first run"})
    return db


def test_other_programs_read_the_files(filled: Database, tmp_path: Path) -> None:
    report = zdb.export_files(filled, tmp_path / "out")
    assert report.ok
    assert sorted(report.copied) == sorted(filled.keys(recursive=True))
    out = tmp_path / "out"
    assert json.loads((out / "parameters.json").read_text()) == {"dt": 0.025}
    np.testing.assert_array_equal(np.load(out / "run" / "traces.npy"), filled["run/traces"])
    pd.testing.assert_frame_equal(pd.read_parquet(out / "run" / "deep" / "frame.parquet"), filled["run/deep/frame"])
    assert (out / "file").read_bytes() == b"content of a file"
    assert pd.read_parquet(out / "spikes.parquet")["values"].map(list).tolist() == [[0.0, 1.0], [2.0, 3.0, 4.0]]
    with netCDF4.Dataset(out / "set.nc") as file:
        assert file["v"].unit == "mV"
    beside = json.loads((out / "parameters.json.zdb.json").read_text())
    assert beside["attrs"] == {"note": "of the first run"}
    assert beside["provenance"]["user"] == filled.provenance("parameters").user


def test_what_was_exported_comes_back(filled: Database, tmp_path: Path) -> None:
    zdb.export_files(filled, tmp_path / "out")
    copy = zdb.open(tmp_path / "copy.zdb")
    report = zdb.import_files(tmp_path / "out", copy)
    assert sorted(report.copied) == sorted(filled.keys(recursive=True))
    assert copy.keys(recursive=True) == filled.keys(recursive=True)
    for key in filled.keys(recursive=True):
        assert filled.provenance(key) == copy.provenance(key)
        assert filled.info(key).format == copy.info(key).format
        assert filled.info(key).attrs == copy.info(key).attrs
    xr.testing.assert_identical(copy["set"].load(), filled["set"].load())
    xr.testing.assert_identical(copy["forest"].load(), filled["forest"].load())
    pd.testing.assert_frame_equal(copy["spikes"].to_frame(), filled["spikes"].to_frame())
    np.testing.assert_array_equal(copy["run/sharded"], filled["run/sharded"])
    assert copy["file"] == filled["file"] == b"content of a file"
    assert copy.verify().ok
    zdb.import_files(tmp_path / "out", copy, overwrite=True)
    zdb.import_files(tmp_path / "out" / "run", copy, "again")
    np.testing.assert_array_equal(copy["again/traces"], filled["run/traces"])


def test_a_zip_file_is_a_database(place: Place, tmp_path: Path) -> None:
    db = place.open()
    fill(db)
    db.set("pickle", {"a": 1}, format="pickle")
    file = tmp_path / "packed.zip"
    zdb.export_files(db, file)
    packed = zdb.open(file, "r")
    assert_same(db, packed)
    assert not [name for name in zipfile.ZipFile(file).namelist() if "/c/9" in name or ".previous" in name]
    np.testing.assert_array_equal(packed.dataset("spikes")["values"], np.arange(5.0))
    copy = zdb.open(tmp_path / "copy.zdb")
    zdb.import_files(file, copy)
    assert_same(db, copy)
    zdb.export_files(db, tmp_path / "run.zip", "run")
    assert zdb.open(tmp_path / "run.zip", "r").keys(recursive=True) == db.database("run").keys(recursive=True)
    with pytest.raises(KeyExistsError):
        zdb.export_files(db, file)
    zdb.export_files(db, file, overwrite=True)
    with pytest.raises(UnsupportedValueError, match="a zip file holds a database"):
        zdb.export_files(db, tmp_path / "a.zip", "spikes")


def test_damage_in_a_zip_file_is_told_by_the_exit_code(
    db: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db.set("whole", 1)
    db["cut"] = np.arange(5.0)
    (tmp_path / "results.zdb/cut/data/c/0").unlink()
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "results.zdb")
    for number, options in enumerate(([], ["-q"], ["--json"])):
        url = str(tmp_path / f"{number}.zdb")
        assert main(["import", "files", str(tmp_path / "packed.zip"), url, *options]) == 6
        assert re.search("failed.*cut", capsys.readouterr().out, re.DOTALL)
        assert zdb.open(url).keys(recursive=True) == ["whole"]


@pytest.mark.parametrize("name", [None, "v", "x"])
def test_a_dataarray_comes_back_as_one(db: Database, tmp_path: Path, name: str | None) -> None:
    db["v"] = xr.DataArray([1.0, 2.0], {"x": [0, 1], "unit": "mV"}, ["x"], name=name, attrs={"a": 1})
    zdb.export_files(db, tmp_path / "out")
    copy = zdb.open(tmp_path / "copy.zdb")
    zdb.import_files(tmp_path / "out", copy)
    xr.testing.assert_identical(copy["v"].compute(), db["v"].compute())


def test_a_series_and_a_scalar_come_back_as_such(db: Database, tmp_path: Path) -> None:
    db["series"] = pd.Series([1.5, 2.5], ["a", "b"], name="rate")
    db["scalar"], db["array"] = np.float32(1.5), np.array(1.5, "f4")
    zdb.export_files(db, tmp_path / "out")
    copy = zdb.open(tmp_path / "copy.zdb")
    zdb.import_files(tmp_path / "out", copy)
    pd.testing.assert_series_equal(copy["series"], db["series"])
    assert isinstance(copy["scalar"], np.float32)
    assert isinstance(copy["array"], np.ndarray)
    pd.DataFrame({"a": [1, 2], "b": [3, 4]}).to_parquet(tmp_path / "out/series.parquet")  # by somebody else
    zdb.import_files(tmp_path / "out", copy)
    assert copy["series"].shape == (2, 2)


@pytest.mark.parametrize("damage", ["nonsense", "cut off", "changed"])
def test_a_damaged_zip_file_says_so(db: Database, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "files.zip"
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("numbers.bin", bytes(1000))
    data = bytearray(file.read_bytes())
    data[200] ^= 1
    file.write_bytes({"nonsense": b"nonsense", "cut off": bytes(data[:900]), "changed": bytes(data)}[damage])
    with pytest.raises(
        UnsupportedValueError, match=r"files.zip: (is no zip file|cannot be read as a zip file: Bad CRC)"
    ):
        zdb.import_files(file, db, "here")
    assert list(db) == []


def test_a_list_of_arrays_comes_back_as_one(db: Database, tmp_path: Path) -> None:
    db["rows"] = [np.arange(2), np.arange(0), np.arange(3)]
    zdb.export_files(db, tmp_path / "out")
    zdb.export_files(db, tmp_path / "out" / "again.nc", "rows")
    copy = zdb.open(tmp_path / "copy.zdb")
    zdb.import_files(tmp_path / "out" / "rows.parquet", copy, "parquet")
    zdb.import_files(tmp_path / "out" / "again.nc", copy, "nc")
    for key in ("parquet", "nc"):
        assert type(copy[key]) is list
        assert [row.tolist() for row in copy[key]] == [[0, 1], [], [0, 1, 2]]
        assert copy.info(key).dtype == db.info("rows").dtype


@pytest.mark.parametrize("name", [None, "rate"])
def test_a_series_comes_back_as_one(name: str | None, db: Database, tmp_path: Path) -> None:
    db["value"] = value = pd.Series([1.5, 2.5], index=["a", "b"], name=name)
    zdb.export_files(db, tmp_path / "out")
    copy = zdb.open(tmp_path / "copy.zdb")
    zdb.import_files(tmp_path / "out", copy)
    pd.testing.assert_series_equal(copy["value"], value)


@pytest.mark.parametrize("dtype", [object, np.dtypes.StringDType()], ids=["objects", "strings"])
@pytest.mark.parametrize("is_lazy", [False, True])
def test_texts_come_back_as_they_were(is_lazy: bool, dtype: Any, db: Database, tmp_path: Path) -> None:
    value = np.array(["a", "bcd"], dtype)
    db["value"] = da.from_array(value, chunks=1) if is_lazy else value
    zdb.export_files(db, tmp_path / "out")
    copy = zdb.open(tmp_path / "copy.zdb")
    zdb.import_files(tmp_path / "out", copy)
    assert type(copy["value"]) is type(db["value"])
    assert copy["value"].dtype == dtype
    np.testing.assert_array_equal(np.asarray(copy["value"]), value)


def test_missing_texts_do_not_become_empty_ones(db: Database, tmp_path: Path) -> None:
    db["array"] = texts = np.array(["a", None], object)
    db["dataset"] = xr.Dataset({"names": ("t", texts)})
    db["data_array"] = xr.DataArray([1, 2], {"name": ("t", texts)}, ("t",))
    db["tree"] = xr.DataTree.from_dict({"/below": xr.Dataset({"names": ("t", texts)})})
    report = zdb.export_files(db, tmp_path / "out")
    assert sorted(report.failed) == ["array", "data_array", "dataset", "tree"]
    assert "'names' has missing texts" in report.failed["tree"]
    db["array"] = np.array(["a", ""], object)
    assert zdb.export_files(db, tmp_path / "out", overwrite=True).copied == ["array"]


def test_an_import_takes_what_changed(place: Place, tmp_path: Path) -> None:
    db = place.open()
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.json", "sub/b.json", "sub/c.json", "notes.txt"):
        (folder / name).write_text("1")
    zdb.import_files(folder, db)
    again = zdb.import_files(folder, db)
    assert (again.copied, again.unchanged, again.objects) == ([], 4, 0)
    (folder / "a.json").write_text("12")
    os.utime(folder / "sub" / "b.json", (1e9, 1e9))
    (folder / "new.json").write_text("3")
    del db["sub/c"]
    again = zdb.import_files(folder, db)
    assert (sorted(again.copied), again.unchanged) == (["a", "new", "sub/b", "sub/c"], 1)
    assert (db["a"], db["new"], db["sub/c"]) == (12, 3, 1)
    again = zdb.import_files(folder, db, overwrite=True)
    assert (len(again.copied), again.unchanged) == (5, 0)
    assert zdb.import_files(folder / "a.json", db).unchanged == 1


def test_an_import_that_was_killed_is_taken_up(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.json").write_text("1")

    def killed(*args: Any, **options: Any) -> None:
        if args[1] == "here/2":
            raise KeyboardInterrupt
        write(*args, **options)

    write = importing.write
    with monkeypatch.context() as patch:
        patch.setattr(importing, "write", killed)
        assert main(["import", "files", str(folder), db.url, "here"]) == 130
    assert main(["import", "files", str(folder), db.url, "here"]) == 0
    assert "2 copied, 2 unchanged" in capsys.readouterr().out
    assert sorted(db["here"]) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("change", ["set", "append", "other file", "other folder"])
def test_what_others_wrote_is_not_imported_over(db: Database, tmp_path: Path, change: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    np.save(folder / "a.npy", np.arange(3))
    zdb.import_files(folder, db)
    match change:
        case "set":
            db["a"] = np.arange(3)
        case "append":
            db.append("a", np.arange(3))
        case "other file":
            (folder / "a.npy").unlink()
            (folder / "a.json").write_text("1")
        case "other folder":
            folder = folder.rename(tmp_path / "moved")
    (folder / "b.json").write_text("1")
    before = np.asarray(db["a"])
    with pytest.raises(KeyExistsError, match=r"^a: exists"):
        zdb.import_files(folder, db)
    assert list(db) == ["a"]
    np.testing.assert_array_equal(db["a"], before)


def test_remarks_beside_a_file_are_a_part_of_it(db: Database, tmp_path: Path) -> None:
    db.set("a", 1, attrs={"note": "first"})
    zdb.export_files(db, tmp_path / "out")
    copy = zdb.open(tmp_path / "copy.zdb")
    zdb.import_files(tmp_path / "out", copy)
    beside = tmp_path / "out" / "a.json.zdb.json"
    beside.write_text(beside.read_text().replace("first", "second"))
    assert zdb.import_files(tmp_path / "out", copy).copied == ["a"]
    assert copy.info("a").attrs == {"note": "second"}


def test_a_zip_file_of_files_is_imported_once(db: Database, tmp_path: Path) -> None:
    packed = tmp_path / "files.zip"
    for text in ("1", "2"):
        with zipfile.ZipFile(packed, "w") as file:
            file.writestr("a.json", text)
            file.writestr("b.json", '"the same"')
        os.utime(packed, (1e9, 1e9 + int(text)))
        assert zdb.import_files(packed, db).copied == ["a", "b"]
        assert zdb.import_files(packed, db).unchanged == 2
        assert db["a"] == int(text)


def test_a_zip_file_of_files(db: Database, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "files.zip", "w") as file:
        file.writestr("sub/rates.csv", "a,b\n1,2\n")
        file.writestr("notes.txt", "text")
    zdb.import_files(tmp_path / "files.zip", db, "here")
    assert db["here/sub/rates"].to_dict("list") == {"a": [1], "b": [2]}
    assert "here/notes.txt" in db


def test_what_no_file_can_hold_is_named(db: Database, tmp_path: Path) -> None:
    db["good"] = 1
    db.set("x.npy", b"a file of this name", format="file")
    db["x"] = np.arange(3)
    db.set("cut", {"a": 1}, format="pickle")
    report = zdb.export_files(db, tmp_path / "out")
    assert not report.ok
    assert "copy it by zdb cp" in report.failed["cut"]
    assert "another value was written to x.npy" in report.failed["x.npy"]
    assert (tmp_path / "out" / "good.json").exists()


def test_one_value(filled: Database, tmp_path: Path) -> None:
    zdb.export_files(filled, tmp_path / "t.npy", "run/traces")
    zdb.export_files(filled, tmp_path / "t.nc", ("run", "traces"))
    assert zdb.export_files(filled, tmp_path / "t.npy", "run/traces").unchanged == 1
    with pytest.raises(KeyExistsError, match="overwrite=False"):
        zdb.export_files(filled, tmp_path / "t.npy", "run/sharded")
    with pytest.raises(KeyExistsError, match="is a folder"):
        zdb.export_files(filled, tmp_path, "file")
    copy = zdb.open(tmp_path / "copy.zdb")
    zdb.import_files(tmp_path / "t.npy", copy)
    zdb.import_files(tmp_path / "t.nc", copy, "other/place")
    for key in ("traces", "other/place"):
        np.testing.assert_array_equal(copy[key], filled["run/traces"])
    with pytest.raises(KeyNotFoundError):
        zdb.export_files(filled, tmp_path / "no", "no")
    assert not (tmp_path / "no").exists()


def test_nothing_is_written_before_all_names_are_checked(db: Database, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.json").write_text("1")
    (folder / "b c.json").write_text("1")
    with pytest.raises(InvalidKeyError, match=r"b c\.json"):
        zdb.import_files(folder, db)
    (folder / "b c.json").unlink()
    (folder / "a.csv").write_text("x\n1\n")
    with pytest.raises(KeyExistsError, match=r"a\.csv and .*a\.json"):
        zdb.import_files(folder, db)
    (folder / "a.csv").unlink()
    (folder / "a.json.zdb.json").write_text("{}")
    with pytest.raises(UnsupportedValueError, match=r"a\.json\.zdb\.json"):
        zdb.import_files(folder, db)
    assert list(db) == []


def test_an_import_that_fails_leaves_no_empty_key(db: Database, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    db["old/a"] = 2
    (folder / "a.json").write_text("1")
    (folder / "a.csv").write_text("x\n1\n")
    for key in ("new", "old/new", "new/b"):
        with pytest.raises(KeyExistsError, match="would both be at the key a"):
            zdb.import_files(folder, db, key)
    assert db.keys(recursive=True) == ["old/a"]
    assert "new" not in db
    assert list(db["old"]) == ["a"]
    (folder / "a.csv").unlink()
    (folder / "b.json").write_text("{")
    with pytest.raises(UnsupportedValueError, match=r"b\.json: cannot be read as json.*zdb put --as file keeps it"):
        zdb.import_files(folder, db, "new")
    assert db.keys(recursive=True) == ["new/a", "old/a"]


def test_an_export_goes_on_after_a_damaged_value(
    db: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db["a"] = 1
    db.set("b", np.arange(4), chunks=(2,))
    db["c"] = xr.Dataset({"v": ("t", np.arange(4.0))})
    db["d"] = pd.DataFrame({"v": np.arange(4.0)})
    db["e"] = db["f"] = np.arange(3)
    db._engine.nodes.delete(["b/data/c/1", "c/v/c/0", "d/v/c/0"])
    db._engine.nodes.set("e/data/c/0", b"x")
    db._engine.nodes.set("f/zarr.json", b"{")
    db["g"] = 2
    report = zdb.export_files(db, tmp_path / "out")
    assert report.copied == ["a", "g"]
    assert list(report.failed) == ["b", "c", "d", "e", "f"]
    assert {path.name.partition(".")[0] for path in (tmp_path / "out").iterdir() if path.name[0] != "."} == {"a", "g"}
    assert main(["export", db.url, str(tmp_path / "out")]) == 6
    assert "0 copied, 2 unchanged, 0 deleted, 5 failed" in capsys.readouterr().out
    with pytest.raises(zdb.errors.MissingChunkError):
        zdb.export_files(db, tmp_path / "b.npy", "b")
    with pytest.raises((zdb.errors.MissingChunkError, zdb.errors.CorruptChunkError)):  # of the first that is met
        zdb.export_files(db, tmp_path / "out.zip")
    assert {path.name for path in tmp_path.iterdir()} == {"results.zdb", "out"}


@pytest.mark.parametrize("options", [{"chunks": (5,)}, {"chunks": (5,), "shards": (10,)}, {"codec": False}])
def test_no_damaged_chunk_gets_into_a_zip_file(db: Database, tmp_path: Path, options: dict[str, Any]) -> None:
    db["whole"] = np.arange(3)
    db.set("a", np.arange(20.0), **options)
    zdb.export_files(db, tmp_path / "whole.zip")
    damage(db, "a/data/c/0", "flip", 0.5)
    with pytest.raises(zdb.errors.CorruptChunkError, match=r"^a: chunk a/data/c/0 is damaged"):
        zdb.export_files(db, tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()


def test_an_export_goes_on_after_a_value_that_is_replaced(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, other = place.open(), place.open()
    db["a"], db["v"], db["z"] = 1, xr.Dataset({"v": ("x", np.zeros(3))}), 2
    write = writers.write

    def replaced(value: Any, group: str, *arguments: Any) -> None:
        for _ in range(3 if group == "dataset" else 0):
            other["v"] = xr.Dataset({"v": ("x", np.ones(3))})
        write(value, group, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(writers, "write", replaced)
        report = zdb.export_files(db, tmp_path / "out")
    assert report.copied == ["a", "z"]
    assert list(report.failed) == ["v"]
    assert not (tmp_path / "out/v.nc").exists()
    assert zdb.export_files(db, tmp_path / "out").copied == ["v"]


@pytest.mark.parametrize("change", ["replaced", "replaced often", "small", "added to", "deleted"])
def test_a_value_that_changes_is_whole_in_a_zip_file(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    db, other = place.open(), place.open()
    db["before"], db["v"], db["w"] = 1, np.arange(5.0), np.arange(3)
    values: list[Any] = [np.arange(5.0)]

    def walk(engine: Any, path: str) -> Iterator[Any]:
        for found in walking.walk(engine, path):
            if found.path == "v":
                if change == "deleted":
                    del other["v"]
                elif change == "added to":
                    other.append("v", np.arange(2.0))
                else:
                    values.extend(np.arange(n + 6.0) for n in range(4 if change == "replaced often" else 1))
                    for value in values[1:]:
                        other["v"] = "small" if change == "small" else value
            yield found

    monkeypatch.setattr(zipping, "walk", walk)
    report = zdb.export_files(db, tmp_path / "out.zip")
    assert report.ok
    packed = zdb.open(tmp_path / "out.zip", "r")
    assert packed.verify().ok
    np.testing.assert_array_equal(packed["w"], np.arange(3))
    if change == "deleted":
        assert "v" not in packed
    else:
        assert any(np.array_equal(packed["v"], value) for value in values)


def test_a_value_that_changes_all_the_time_is_named(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db["v"], db["w"] = np.arange(3.0), np.arange(3)
    other = zdb.open(db.url)
    look_again = zipping._Writer._look_again

    def replaced(self: Any, nodes: list[Any]) -> Any:
        for _ in range(2):
            other["v"] = np.arange(3.0)
        return look_again(self, nodes)

    monkeypatch.setattr(zipping._Writer, "_look_again", replaced)
    report = zdb.export_files(db, tmp_path / "out.zip")
    assert report.failed == {"v": "was replaced again and again while it was read"}
    packed = zdb.open(tmp_path / "out.zip", "r")
    assert list(packed) == ["w"]
    assert packed.verify().ok


def test_an_export_writes_what_changed(filled: Database, tmp_path: Path) -> None:
    filled["list"] = np.arange(3)
    number = len(filled.keys(recursive=True))
    out = tmp_path / "out"
    zdb.export_files(filled, out)
    assert zdb.export_files(filled, out).unchanged == number
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.is_file()}
    filled["run/traces"] = np.arange(3.0)
    filled.append("list", np.arange(2))
    filled["new"] = 1
    (out / "file").unlink()
    (out / "words.nc").write_text("cut")
    (out / "words.nc.zdb.json").unlink()
    report = zdb.export_files(filled, out)
    assert sorted(report.copied) == ["file", "list", "new", "run/traces"]
    assert list(report.failed) == ["words"]
    assert report.unchanged == number - 4
    touched = {"traces.npy", "list.npy", "new.json", "file", "words.nc"}
    for file, modified in before.items():
        if file.name.removesuffix(".zdb.json") not in touched:
            assert file.stat().st_mtime_ns == modified
    assert len(np.load(out / "list.npy")) == 5
    report = zdb.export_files(filled, out, overwrite=True)
    assert (len(report.copied), report.unchanged) == (number + 1, 0)


def test_a_value_of_another_format_leaves_no_file_of_the_former(place: Place, tmp_path: Path) -> None:
    db = place.open()
    db["a"] = np.arange(3)
    db["b"] = np.arange(3)
    zdb.export_files(db, tmp_path / "out")
    db["a"] = {"x": 1}
    del db["b"]
    zdb.export_files(db, tmp_path / "out")
    files = {file.name for file in (tmp_path / "out").iterdir() if not file.name.startswith(".")}
    assert files == {"a.json", "a.json.zdb.json", "b.npy", "b.npy.zdb.json"}


@pytest.mark.parametrize("ends", ["file", "sidecar"])
def test_an_export_that_was_killed_is_taken_up(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ends: str
) -> None:
    out = tmp_path / "out"
    db["a0"] = 1

    def killed(path: Path, target: Path) -> Path:
        if target.name == ("a2.npy" if ends == "file" else "a2.npy.zdb.json"):
            raise KeyboardInterrupt
        return replace(path, target)

    replace = type(out).replace
    for at in (0, 10):
        for key in ("a1", "a2", "a3"):
            db[key] = np.arange(at, at + 3)
        with monkeypatch.context() as patch:
            patch.setattr(type(out), "replace", killed)
            assert main(["export", db.url, str(out), "--quiet"]) == 130
        (out / ".0123456789abcdef-part.npy").write_text("what kill -9 leaves")
        assert main(["export", db.url, str(out)]) == 0
        assert "2 copied, 2 unchanged" in capsys.readouterr().out
        for key in ("a1", "a2", "a3"):
            np.testing.assert_array_equal(np.load(out / f"{key}.npy"), db[key])
        assert not list(out.glob(".*part*"))


def test_what_others_wrote_is_not_exported_over(
    db: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db["a"] = 1
    db["b/c"] = 2
    other = zdb.open(tmp_path / "other.zdb")
    other["a"] = 3
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("1")
    with pytest.raises(KeyExistsError, match="overwrite=False"):
        zdb.export_files(db, out)
    assert [file.name for file in out.iterdir()] == ["mine.txt"]
    zdb.export_files(db, out, overwrite=True)
    zdb.export_files(db, out)
    with pytest.raises(KeyExistsError, match="exists and is no export of this database, and overwrite=False"):
        zdb.export_files(other, out)
    with pytest.raises(KeyExistsError, match="overwrite=False"):
        zdb.export_files(db, out, "b")
    (out / "a.json").write_text("edited")
    db["a"] = 4
    assert list(zdb.export_files(db, out).failed) == ["a"]
    assert main(["export", db.url, str(out)]) == 6
    assert "a.json: exists; --force replaces it" in capsys.readouterr().out
    assert (out / "a.json").read_text() == "edited"
    zdb.export_files(db, out, overwrite=True)
    assert (out / "a.json").read_text() == "4\n"
    assert (out / "mine.txt").exists()
    db["d"] = 1
    (out / "d.json").mkdir()
    assert list(zdb.export_files(db, out, overwrite=True).failed) == ["d"]
    db["e/f"] = 1
    (out / "e").write_text("1")
    assert list(zdb.export_files(db, out, overwrite=True).failed) == ["d", "e/f"]
    with pytest.raises(KeyExistsError, match="is a file"):
        zdb.export_files(db, out / "mine.txt", overwrite=True)


def test_a_url_is_no_file(filled: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    for key in (None, "parameters"):
        with pytest.raises(InvalidSettingError, match=r"s3://bucket/out: is a URL.*zdb sync"):
            zdb.export_files(filled, "s3://bucket/out", key)
    with pytest.raises(InvalidSettingError, match="is a URL"):
        zdb.import_files("s3://bucket/in", filled)
    url = str(tmp_path / "results.zdb")
    assert main(["get", url, "parameters", "s3://bucket/a.json"]) == 1
    assert main(["get", url, "run", "s3://bucket/run"]) == 1
    assert main(["put", url, "new", "s3://bucket/a.json"]) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_the_commands(filled: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert main(["export", filled.url, out, "run", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["export", filled.url, out]) == 5
    assert main(["export", filled.url, out, "run", "--force", "--json"]) == 0
    capsys.readouterr()
    target = str(tmp_path / "copy.zdb")
    assert main(["import", "files", out, target, "again"]) == 0
    assert "3 copied" in capsys.readouterr().out
    assert zdb.open(target, "r").keys(recursive=True) == ["again/deep/frame", "again/sharded", "again/traces"]
    assert main(["import", "files", out, target, "again"]) == 0
    assert "0 copied, 3 unchanged" in capsys.readouterr().out
    zdb.open(target)["again/traces"] = 1
    assert main(["import", "files", out, target, "again"]) == 5
    assert main(["import", "files", str(tmp_path / "no"), target]) == 1
