"""References to stored files: ``reldb://``, ``mdb://``, and files in archives."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import fsspec
import pytest

import zdb
from zdb.errors import (
    DatabaseNotFoundError,
    InvalidReferenceError,
    NoFileError,
    ReadOnlyError,
    UnreadableValueError,
    ZdbError,
)


@pytest.fixture
def db(place):
    made = place.open()
    made["syn_folder/a.syn"] = b"synapses"
    made["con_folder/a.con"] = b"reldb://syn_folder/a.syn"
    made["runs/1/con_folder/a.con"] = b"reldb://syn_folder/a.syn"
    made["runs/2/con_folder/a.con"] = b"reldb://syn_folder/a.syn"
    made["runs/2/syn_folder/a.syn"] = b"synapses of run 2"
    return made


def content(uri, place, mode="rb", **options):
    with zdb.open_file(uri, mode, storage_options=place.options, **options) as file:
        return file.read()


class TestRelative:
    @pytest.mark.parametrize(
        ("holder", "expected"),
        [
            ("con_folder/a.con", b"synapses"),
            ("runs/1/con_folder/a.con", b"synapses"),
            ("runs/2/con_folder/a.con", b"synapses of run 2"),
        ],
    )
    def test_to_the_nearest_database_above_that_has_it(self, db, place, holder, expected):
        reference = db[holder].decode()
        assert content(reference, place, base=db.uri(holder)) == expected
        if "://" not in place.url:
            assert content(reference, place, base=Path(place.url) / holder) == expected

    def test_to_a_database(self, db, place):
        assert content("reldb://syn_folder/a.syn", place, base=db) == b"synapses"
        assert content("reldb://syn_folder/a.syn", place, base=db.database("runs/2")) == b"synapses of run 2"
        assert content("reldb://syn_folder/a.syn", place, base=db.uri()) == b"synapses"
        with pytest.raises(NoFileError):
            content("reldb://syn_folder/a.syn", place, base=db.database("runs/1"))
        with zdb.open_file("reldb://new/b.txt", "w", base=db) as file:
            file.write("text")
        assert db["new/b.txt"].read() == b"text"

    def test_what_leads_nowhere(self, db, place):
        with pytest.raises(InvalidReferenceError, match="base="):
            content("reldb://syn_folder/a.syn", place)
        with pytest.raises(InvalidReferenceError, match="relative itself"):
            content("reldb://syn_folder/a.syn", place, base="reldb://con_folder/a.con")
        with pytest.raises(NoFileError, match="gone"):
            content("reldb://gone/a.syn", place, base=db.uri("runs/1/con_folder/a.con"))
        for bad in ("reldb://", "reldb:///", "reldb://../a", "reldb://syn_folder/../../a", "reldb://."):
            with pytest.raises(InvalidReferenceError):
                content(bad, place, base=db.database("runs"))

    def test_absolute_ones_stay_inside(self, db, place):
        with pytest.raises(NoFileError):
            content("reldb:///etc/passwd", place, base=db)
        assert content("reldb:///syn_folder/./a.syn", place, base=db) == b"synapses"


class TestById:
    def test_it_is_made_and_resolved(self, shared_place):
        db = shared_place.open()
        db["runs/a.txt"] = b"text"
        uri = zdb.create_mdb(db.uri("runs/a.txt"), shared_place.options)
        assert uri == f"mdb://{db.info().id}/runs/a.txt"
        assert zdb.create_mdb(uri) == uri
        assert content(uri, shared_place) == b"text"
        assert content(uri, shared_place, "r") == "text"
        assert zdb.create_reldb(uri, shared_place.options) == "reldb://runs/a.txt"
        with zdb.open_file(uri, "a", storage_options=shared_place.options) as file:
            file.write("!")
        assert db["runs/a.txt"].read() == b"text!"

    def test_making_one_registers_the_database(self, tmp_path, monkeypatch):
        monkeypatch.setenv("ZDB_CATALOG", str(tmp_path / "catalog"))
        zdb.config.refresh()
        try:
            db = zdb.open(tmp_path / "results.zdb")
            db["a.txt"] = b"text"
            zdb.catalog.forget(db.info().id)
            uri = f"mdb://{db.info().id}/a.txt"
            with pytest.raises(DatabaseNotFoundError, match=r"zdb\.catalog\.search"):
                zdb.open_file(uri)
            assert zdb.create_mdb(tmp_path / "results.zdb/a.txt") == uri
            (tmp_path / "results.zdb").rename(tmp_path / "moved.zdb")
            zdb.catalog.search(tmp_path)
            with zdb.open_file(uri) as file:
                assert file.read() == b"text"
        finally:
            monkeypatch.undo()
            zdb.config.refresh()

    @pytest.mark.parametrize("bad", ["mdb://", "mdb:///a", "mdb://{id}", "mdb://{id}/", "mdb://{id}/../a"])
    def test_what_leads_nowhere(self, tmp_path, bad):
        uri = bad.format(id=zdb.open(tmp_path / "results.zdb").info().id)
        with pytest.raises(ZdbError):
            zdb.open_file(uri)

    def test_ids_are_no_paths(self):
        for id in ("..", "../../etc", "%2e%2e", "a b"):
            with pytest.raises(ZdbError):
                zdb.open_file(f"mdb://{id}/a")


class TestMaking:
    def test_of_paths_into_a_database(self, tmp_path):
        zdb.open(tmp_path / "results.zdb")["runs/1/a.txt"] = b"text"
        assert zdb.create_reldb(tmp_path / "results.zdb/runs/1/a.txt") == "reldb://runs/1/a.txt"
        assert zdb.create_reldb(tmp_path / "results.zdb/runs/1") == "reldb://runs/1"
        assert zdb.create_reldb("reldb://runs/1/a.txt") == "reldb://runs/1/a.txt"
        with zdb.open_file(tmp_path / "results.zdb/runs/1/a.txt", "r") as file:
            assert file.read() == "text"

    def test_of_what_is_not_there(self, tmp_path, monkeypatch):
        db = zdb.open(tmp_path / "results.zdb")
        db["a.txt"] = b"text"
        (tmp_path / "loose.txt").write_text("text")
        monkeypatch.chdir(tmp_path)
        for make in (zdb.create_reldb, zdb.create_mdb):
            for bad in ("results.zdb/a.txt", "a.txt", "", ".", tmp_path / "results.zdb/../a", "s3://bucket/a"):
                with pytest.raises(InvalidReferenceError):
                    make(bad)
            with pytest.raises(InvalidReferenceError, match="names no file"):
                make(tmp_path / "results.zdb")
            for bad in (tmp_path / "loose.txt", "/", tmp_path / "gone/a.txt"):
                with pytest.raises(DatabaseNotFoundError):
                    make(bad)
            for bad in (tmp_path / "results.zdb/gone.txt", db.uri("gone")):
                with pytest.raises(NoFileError):
                    make(bad)
        with pytest.raises(InvalidReferenceError, match="give a path, or the URI"):
            zdb.create_mdb("reldb://a.txt")


class TestOtherFiles:
    def test_plain_paths_and_urls(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with zdb.open_file("a.txt", "w", encoding="utf-16", newline="\r\n") as file:
            file.write("ü\n")
        with zdb.open_file(tmp_path / "a.txt", "r", encoding="utf-16", newline="") as file:
            assert file.read() == "ü\r\n"
        with zdb.open_file(f"file://{tmp_path}/a.txt") as file:
            assert len(file.read()) == 8
        with fsspec.open("memory://references/b.txt", "w") as file:
            file.write("text")
        with zdb.open_file("memory://references/b.txt", "r") as file:
            assert file.read() == "text"
        with pytest.raises(FileNotFoundError):
            zdb.open_file("gone.txt")

    def test_uris(self, db, place):
        assert content(db.uri("syn_folder/a.syn"), place) == b"synapses"
        with pytest.raises(NoFileError):
            content(db.uri("syn_folder/gone"), place)


def tar(files, mode="w"):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return made.getvalue()


@pytest.fixture
def archives(place):
    inner = tar({"folder/deep file.txt": b"deep", "core.tar": tar({"c": b"core"})})
    files = {"folder/a.txt": b"first", "b.txt": b"second", "folder/inner.tar": inner, "../evil": b"evil"}
    made = place.open()
    for key, mode in {"a.tar": "w", "a.tar.gz": "w:gz", "a.tar.xz": "w:xz"}.items():
        made[key] = tar(files, mode)
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("x/y.txt", "zipped")
        archive.writestr("t.tar", tar({"z": b"tar in zip"}))
    made["a.zip"] = zipped.getvalue()
    made["folder.tar/a.txt"] = b"a folder with this name"
    return made


class TestArchives:
    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("a.tar/b.txt", b"second"),
            ("a.tar/folder/a.txt", b"first"),
            ("a.tar.gz/folder/a.txt", b"first"),
            ("a.tar.xz/folder/a.txt", b"first"),
            ("a.tar/folder/inner.tar/folder/deep file.txt", b"deep"),
            ("a.tar/folder/inner.tar/core.tar/c", b"core"),
            ("folder.tar/a.txt", b"a folder with this name"),
        ],
    )
    def test_in_paths(self, archives, place, path, expected):
        assert content(archives.uri(path.partition("/")[0]) + "/" + path.partition("/")[2], place) == expected
        assert content(f"reldb://{path}", place, "r", base=archives) == expected.decode()
        if "://" not in place.url:
            assert content(f"{place.url}/{path}", place) == expected

    def test_of_the_local_disk(self, archives, tmp_path):
        (tmp_path / "b.tar").write_bytes(archives["a.tar"])
        with zdb.open_file(tmp_path / "b.tar/folder/inner.tar/core.tar/c") as file:
            assert file.seek(1) == 1
            assert file.read() == b"ore"

    def test_by_chaining(self, archives, place):
        def chained(url):
            with zdb.open_file(url, storage_options={"zdb": place.options}) as file:
                return file.read()

        assert chained(f"zip://x/y.txt::{archives.uri('a.zip')}") == b"zipped"
        assert chained(f"tar://folder/a.txt::{archives.uri('a.tar')}") == b"first"
        assert chained(f"zip://t.tar/z::{archives.uri('a.zip')}") == b"tar in zip"

    def test_what_is_not_there(self, archives, place):
        for path in ("a.tar/gone", "a.tar/folder", "a.tar/gone.tar/x", "gone.tar/x", "a.zip/x/y.txt"):
            with pytest.raises(NoFileError):
                content(f"reldb://{path}", place, base=archives)
        with pytest.raises(ReadOnlyError):
            content("reldb://a.tar/b.txt", place, "w", base=archives)
        with pytest.raises(InvalidReferenceError):
            content("reldb://a.tar/../evil", place, base=archives)

    @pytest.mark.parametrize("data", [b"", b"no archive" * 100, b"\x1f\x8b" + bytes(50)])
    @pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.tar.xz", "x.tar.bz2"])
    def test_damaged_ones(self, tmp_path, name, data):
        db = zdb.open(tmp_path / "results.zdb")
        db[name] = data
        with pytest.raises((UnreadableValueError, NoFileError)):
            zdb.open_file(f"reldb://{name}/a", base=db)

    def test_references_to_them(self, archives, place):
        assert zdb.create_reldb(archives.uri("a.tar") + "/folder/a.txt", place.options) == "reldb://a.tar/folder/a.txt"
