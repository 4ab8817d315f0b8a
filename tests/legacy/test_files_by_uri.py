"""Files in old databases: by ``zdb://``, ``mdb://`` and ``reldb://``, by path, and by ``folder``."""

from __future__ import annotations

import tarfile
from urllib.parse import quote

import fsspec
import numpy as np
import pytest
from legacy.samples import TRACES, MdbWriter, write_isf

import zdb
from zdb.errors import (
    DatabaseNotFoundError,
    InvalidReferenceError,
    IsAFolderError,
    KeyConflictError,
    NoFileError,
    NotAFolderError,
    ReadOnlyError,
    UnreadableValueError,
)

ISF_ID, MDB_ID = "2023-05-17_1_abcdefg", "2019-01-02_7_hijklmn"


def write_folders_of_mdb(path):
    mdb = MdbWriter(path)
    folder = mdb.key("Folder", "folder_ab12cd34_", "just_create_folder", {"a.txt": b"hello\n"})
    (folder / "sub").mkdir()
    (folder / "sub" / "x.bin").write_bytes(b"\0\1")
    np.save(mdb.key("traces", "traces_ab12cd34_", "numpy_to_npy") / "np.npy", TRACES)
    return path


def contents(path):
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture(params=["isf", "mdb"])
def old(request, tmp_path, monkeypatch):
    monkeypatch.setenv("ZDB_CATALOG", str(tmp_path / "catalog"))
    zdb.config.refresh()
    (tmp_path / "old").mkdir()
    path = (write_isf if request.param == "isf" else write_folders_of_mdb)(tmp_path / "old" / request.param)
    zdb.catalog.search(tmp_path / "old")
    before = contents(path)
    yield zdb.open(path, "r")
    assert contents(path) == before
    monkeypatch.undo()
    zdb.config.refresh()


def ways(old):
    """URIs of the database."""
    return [f"zdb://{quote(old.url, safe='')}", f"zdb://{old.id}", f"mdb://{old.id}"]


def test_files_in_folders(old):
    for database in ways(old):
        with zdb.open_file(f"{database}/Folder/a.txt", "r") as file:
            assert file.read() == "hello\n"
        with zdb.open_file(f"{database}/Folder/sub/x.bin") as file:
            assert file.seek(1) == 1
            assert file.read() == b"\1"


def test_every_library_that_knows_fsspec(old):
    for database in ways(old)[:2]:
        with fsspec.open(f"{database}/Folder/a.txt", "r") as file:
            assert file.readlines() == ["hello\n"]
        files = fsspec.filesystem("zdb")
        root = database.removeprefix("zdb://")
        assert files.ls(f"{database}/Folder", detail=False) == [f"{root}/Folder/a.txt", f"{root}/Folder/sub"]
        assert files.find(f"{database}/Folder") == [f"{root}/Folder/a.txt", f"{root}/Folder/sub/x.bin"]
        assert files.info(f"{database}/Folder/a.txt")["size"] == 6
        assert files.isdir(f"{database}/Folder")
        assert files.cat(f"{database}/Folder", recursive=True) == {
            f"{root}/Folder/a.txt": b"hello\n",
            f"{root}/Folder/sub/x.bin": b"\0\1",
        }


def test_relative_references(old):
    for base in (old, f"{old.url}/Folder/sub/x.bin", f"mdb://{old.id}/Folder/a.txt"):
        with zdb.open_file("reldb://Folder/a.txt", base=base) as file:
            assert file.read() == b"hello\n"
    with pytest.raises(InvalidReferenceError):
        zdb.open_file("reldb://../Folder/a.txt", base=old)


def test_references_are_made(old):
    file = f"{ways(old)[0]}/Folder/sub/x.bin"
    assert zdb.create_reldb(file) == "reldb://Folder/sub/x.bin"
    assert zdb.create_mdb(file) == f"mdb://{old.id}/Folder/sub/x.bin"
    with zdb.open_file(zdb.create_mdb(file)) as opened:
        assert opened.read() == b"\0\1"
    with pytest.raises(NoFileError):
        zdb.create_mdb(f"{ways(old)[0]}/Folder/gone")


def test_a_folder(old, tmp_path):
    folder = old.folder("Folder")
    assert folder.ls("", detail=False) == ["a.txt", "sub"]
    assert folder.find("") == ["a.txt", "sub/x.bin"]
    assert folder.unstrip_protocol("a.txt") == f"{ways(old)[0]}/Folder/a.txt"
    with folder.local_copy() as path:
        assert (path / "sub" / "x.bin").read_bytes() == b"\0\1"
    folder.get("", str(tmp_path / "copy"), recursive=True)
    assert (tmp_path / "copy" / "a.txt").read_text() == "hello\n"
    with pytest.raises(NotAFolderError):
        old.folder("Folder/a.txt")
    with pytest.raises(NoFileError):
        old.folder("gone")


def test_files_are_copied_to_another_database(old, tmp_path):
    db = zdb.open(tmp_path / "new.zdb")
    fsspec.filesystem("zdb").cp_file(f"{ways(old)[0]}/Folder/a.txt", db.uri("a.txt"))
    assert db["a.txt"].read() == b"hello\n"
    assert db["a.txt"] == old.folder().tree.read("Folder/a.txt")


def test_nothing_is_written(old):
    files = fsspec.filesystem("zdb")
    for database in ways(old)[:2]:
        for change, *paths in (
            (files.touch, "Folder/new.txt"),
            (files.rm, "Folder/a.txt"),
            (files.mkdir, "new"),
            (files.mv, "Folder/a.txt", "Folder/b.txt"),
        ):
            with pytest.raises(ReadOnlyError):
                change(*(f"{database}/{path}" for path in paths))
    folder = old.folder("Folder")
    for change in (
        lambda: folder.open("new.txt", "w"),
        lambda: folder.rm("sub", recursive=True),
        lambda: folder.pipe("a.txt", b"new"),
        lambda: folder.makedirs("a/b"),
        lambda: folder.local_copy(write_back=True).__enter__(),
    ):
        with pytest.raises(ReadOnlyError):
            change()


def test_values_are_no_files_but_their_own_files_are(old):
    database = ways(old)[0]
    with zdb.open_file(f"{database}/traces/np.npy") as file:
        assert np.array_equal(np.load(file), TRACES)
    with pytest.raises(NoFileError, match="numpy_to_npy"):
        zdb.open_file(f"{database}/traces")
    with pytest.raises(IsAFolderError):
        zdb.open_file(f"{database}/Folder")
    assert not fsspec.filesystem("zdb").exists(f"{database}/traces")
    for name in ("gone", "Folder/gone", "traces/gone", "traces/../traces/np.npy"):
        with pytest.raises((NoFileError, InvalidReferenceError)):
            zdb.open_file(f"{database}/{name}")


def test_archives_are_looked_into(old, tmp_path):
    (tmp_path / "a.txt").write_text("deep")
    target = next(path for path in old.path.rglob("a.txt")).parent / "a.tar"
    with tarfile.open(target, "w") as archive:
        archive.add(tmp_path / "a.txt", "inner/a.txt")
    try:
        for database in ways(old):
            with zdb.open_file(f"{database}/Folder/a.tar/inner/a.txt") as file:
                assert file.read() == b"deep"
    finally:
        target.unlink()


@pytest.mark.parametrize("key", ["Folder/link", "traces/link"])
def test_links_lead_nowhere_outside(old, tmp_path, key):
    (tmp_path / "secret").write_text("secret")
    folder = next(path for path in old.path.rglob("a.txt" if key.startswith("F") else "np.npy")).parent
    (folder / "link").symlink_to(tmp_path / "secret")
    try:
        for database in ways(old):
            with pytest.raises((NoFileError, UnreadableValueError)):
                zdb.open_file(f"{database}/{key}")
        assert f"{key}" not in str(fsspec.filesystem("zdb").find(ways(old)[0]))
    finally:
        (folder / "link").unlink()


def test_a_reference_to_a_database_without_id(tmp_path):
    (tmp_path / "old" / "Folder").mkdir(parents=True)
    (tmp_path / "old" / "db_state.json").write_text("{}")
    (tmp_path / "old" / "Folder" / "a.txt").write_text("hello")
    assert zdb.create_reldb(tmp_path / "old/Folder/a.txt") == "reldb://Folder/a.txt"
    with pytest.raises(DatabaseNotFoundError, match="no id"):
        zdb.create_mdb(tmp_path / "old/Folder/a.txt")


def test_a_folder_of_a_value(old):
    with pytest.raises((NoFileError, KeyConflictError)):
        old.folder("traces")
