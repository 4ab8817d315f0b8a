"""Folders of files in a database, and their copies on the local disk."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import zdb
from zdb.errors import FolderNotEmptyError, KeyConflictError, KeyExistsError, KeyNotFoundError, NotAFolderError

FILES = {"a.txt": b"first", "sub/b.bin": b"second", "sub/deep/c": b"", "empty.csv": b""}


def write(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def stored(folder):
    return folder.cat("", recursive=True) if folder.find("") else {}


@pytest.fixture
def db(place, tmp_path):
    made = place.open()
    made["folder"] = write(tmp_path / "source", FILES)
    return made


@pytest.fixture
def folder(db):
    return db.folder("folder")


class TestFolder:
    def test_looking(self, folder):
        assert folder.ls("", detail=False) == ["a.txt", "empty.csv", "sub"]
        assert folder.find("") == sorted(FILES)
        assert list(folder.walk("sub")) == [("sub", ["deep"], ["b.bin"]), ("sub/deep", [], ["c"])]
        assert folder.glob("**/*.bin") == ["sub/b.bin"]
        assert folder.isfile("a.txt")
        assert folder.isdir("sub")
        assert folder.isdir("")
        assert not folder.exists("gone")
        assert folder.du("") == sum(map(len, FILES.values()))
        info = folder.info("/sub/b.bin")
        assert (info["name"], info["size"], info["type"], info["original_name"]) == ("sub/b.bin", 6, "file", "b.bin")
        assert folder.modified("a.txt") == info["mtime"].__class__.fromisoformat(folder.created("a.txt").isoformat())
        assert folder.ls("a.txt", detail=False) == ["a.txt"]
        with pytest.raises(FileNotFoundError):
            folder.ls("gone")
        assert repr(folder) == f"<zdb.Folder {folder.url}>"

    def test_reading(self, folder, tmp_path):
        assert folder.cat("", recursive=True) == FILES
        assert folder.head("a.txt", 2) == b"fi"
        assert folder.tail("a.txt", 2) == b"st"
        folder.get("", str(tmp_path / "got"), recursive=True)
        assert contents(tmp_path / "got") == FILES
        assert (tmp_path / "got/a.txt").read_bytes() == b"first"

    def test_changing(self, db, folder, tmp_path):
        folder.put(str(write(tmp_path / "more", {"x": b"1", "y/z": b"2"})), "more", recursive=True)
        assert folder.cat("more/y/z") == b"2"
        folder.cp("a.txt", "copies/a.txt")
        folder.mv("more/x", "moved/x")
        assert not folder.exists("more/x")
        assert folder.cat("moved/x") == b"1"
        folder.mv("copies/a.txt", "moved/x")  # replaces
        assert folder.cat("moved/x") == b"first"
        folder.mv("sub", "sub2", recursive=True)
        assert folder.cat("sub2/b.bin") == b"second"
        folder.rm(["sub2", "more", "moved", "copies"], recursive=True)
        folder.rm("*.csv")
        assert folder.find("", withdirs=True) == ["a.txt"]
        folder.mkdir("new")
        with pytest.raises(KeyExistsError):
            folder.mkdir("new")
        with pytest.raises(FileNotFoundError):
            folder.mkdir("x/y", create_parents=False)
        with pytest.raises(FileExistsError):
            folder.mv("new", "new/below", recursive=True)
        folder.rmdir("new")
        assert list(db["folder"]) == ["a.txt"]

    def test_what_is_filled_while_it_is_removed_stays(self, db, folder, monkeypatch):
        folder.mkdir("new")
        claims = db._engine.claims
        wait_below = claims.wait_below

        def wait_while_another_writes(path, check):
            db._engine.nodes.set("folder/new/late/zarr.json", db._engine.nodes.get("folder/a.txt/zarr.json"))
            wait_below(path, check)

        monkeypatch.setattr(claims, "wait_below", wait_while_another_writes)
        with pytest.raises(FolderNotEmptyError, match="such as folder/new/late; nothing was removed"):
            folder.rmdir("new")
        assert list(db["folder/new"]) == ["late"]

    def test_which_folder(self, db):
        assert db.folder().ls("", detail=False) == ["folder"]
        assert db.database("folder").folder("sub").find("") == ["b.bin", "deep/c"]
        assert db.folder(("folder", "sub")).url == f"{db.url}/folder/sub"
        assert db.folder("made/here", create=True).ls("") == []
        with pytest.raises(KeyNotFoundError, match="did you mean 'folder'"):
            db.folder("foldr")
        with pytest.raises(NotAFolderError):
            db.folder("folder/a.txt")

    def test_uris_open_the_files(self, db, folder):
        assert folder.unstrip_protocol("sub/b.bin") == db.uri("folder/sub/b.bin")

    def test_outside_of_it_is_nothing(self, db, folder):
        db["secret"] = b"secret"
        for path in ("../secret", "/../secret", "sub/../../secret"):
            assert not folder.exists(path)
            with pytest.raises(FileNotFoundError):
                folder.open(path)
            with pytest.raises(ValueError, match="reserved"):
                folder.open(path, "wb")


class TestLocalCopy:
    def test_it_is_there_and_then_gone(self, folder):
        with folder.local_copy() as path:
            assert path.is_dir()
            assert path.name == "folder"
            assert contents(path) == FILES
            (path / "a.txt").write_bytes(b"changed")
            (path / "new").write_bytes(b"new")
        assert not path.parent.exists()
        assert stored(folder) == FILES
        with folder.local_copy("sub") as path:
            assert contents(path) == {"b.bin": b"second", "deep/c": b""}

    def test_another_program_uses_it(self, folder):
        with folder.local_copy(write_back=True) as path:
            code = "from pathlib import Path; Path('out.txt').write_text(Path('a.txt').read_text().upper())"
            subprocess.run([sys.executable, "-c", code], cwd=path, check=True)
        assert folder.cat("out.txt") == b"FIRST"

    def test_changes_come_back(self, db, folder):
        before = db.info("folder/a.txt").generation
        with folder.local_copy(write_back=True) as path:
            (path / "sub/b.bin").write_bytes(b"other")
            (path / "sub/deep/c").unlink()
            (path / "sub/deep").rmdir()
            (path / "empty.csv").unlink()
            write(path, {"new/one": b"1", "My File.txt": b"2"})
            (path / "hollow").mkdir()
        assert stored(folder) == {"a.txt": b"first", "sub/b.bin": b"other", "new/one": b"1", "My_File.txt": b"2"}
        assert folder.ls("hollow") == []
        assert not folder.exists("sub/deep")
        assert db.info("folder/a.txt").generation == before
        with folder.local_copy() as path:
            assert (path / "My File.txt").read_bytes() == b"2"

    def test_files_become_folders_and_back(self, folder):
        with folder.local_copy(write_back=True) as path:
            (path / "a.txt").unlink()
            write(path, {"a.txt/inner": b"1"})
            for name in ("deep/c", "b.bin"):
                (path / "sub" / name).unlink()
            (path / "sub/deep").rmdir()
            (path / "sub").rmdir()
            (path / "sub").write_bytes(b"2")
        assert stored(folder) == {"a.txt/inner": b"1", "sub": b"2", "empty.csv": b""}

    def test_everything_removed(self, folder):
        with folder.local_copy(write_back=True) as path:
            for file in [*path.rglob("*")]:
                if file.is_file():
                    file.unlink()
        assert stored(folder) == {}
        assert folder.isdir("sub/deep")

    def test_an_error_brings_nothing_back(self, folder):
        copy = folder.local_copy(write_back=True)
        path = copy.__enter__()
        (path / "a.txt").write_bytes(b"changed")
        error = ZeroDivisionError()
        assert not copy.__exit__(type(error), error, None)
        assert not path.parent.exists()
        assert stored(folder) == FILES

    def test_what_cannot_come_back_is_kept(self, db, folder):
        db["folder/array"] = np.arange(3)
        copy = folder.local_copy(write_back=True)
        path = copy.__enter__()
        assert not (path / "array").exists()
        write(path, {"array": b"1", "a.txt": b"changed"})
        with pytest.raises(KeyConflictError) as caught:
            copy.__exit__(None, None, None)
        assert stored(folder) == FILES
        assert str(path) in caught.value.__notes__[0]
        assert (path / "array").read_bytes() == b"1"
        assert db["folder/array"].tolist() == [0, 1, 2]

    def test_other_values_stay(self, db, folder):
        db["folder/sub/array"] = np.arange(3)
        with folder.local_copy(write_back=True) as path:
            for name in ("deep/c", "b.bin"):
                (path / "sub" / name).unlink()
            (path / "sub/deep").rmdir()
            (path / "sub").rmdir()
        assert stored(folder) == {"a.txt": b"first", "empty.csv": b""}
        assert db["folder/sub/array"].tolist() == [0, 1, 2]
        copy = folder.local_copy(write_back=True)
        path = copy.__enter__()
        (path / "sub").rmdir()
        (path / "sub").write_bytes(b"x")
        with pytest.raises(FolderNotEmptyError):
            copy.__exit__(None, None, None)
        assert db["folder/sub/array"].tolist() == [0, 1, 2]

    def test_what_others_do_meanwhile(self, db, folder):
        with folder.local_copy(write_back=True) as path:
            folder.pipe("a.txt", b"theirs")
            folder.pipe("theirs", b"too")
            folder.rm("empty.csv")
            (path / "empty.csv").unlink()
            (path / "mine").write_bytes(b"1")
        assert folder.cat("a.txt") == b"theirs"
        assert folder.cat("theirs") == b"too"
        assert folder.cat("mine") == b"1"

    def test_a_file_has_no_copy(self, folder):
        with pytest.raises(NotAFolderError), folder.local_copy("a.txt"):
            pass
        with pytest.raises(FileNotFoundError), folder.local_copy("gone"):
            pass


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "..", ".", "a/b", "C:evil", "nul\0", "..\\evil", "b.txt", "", "x" * 300]
)
def test_names_in_the_database_lead_nowhere_else(tmp_path, name):
    db = zdb.open(tmp_path / "results.zdb")
    db["folder/a.txt"] = write(tmp_path, {"a.txt": b"first"}) / "a.txt"
    db["folder/b.txt"] = write(tmp_path, {"b.txt": b"second"}) / "b.txt"
    node = tmp_path / "results.zdb/folder/a.txt/zarr.json"
    document = json.loads(node.read_bytes())
    document["attributes"]["zdb_name"] = name
    node.write_text(json.dumps(document))
    with db.folder("folder").local_copy() as path:
        assert contents(path) == {"a.txt": b"first", "b.txt": b"second"}
        assert [one.name for one in path.parent.iterdir()] == ["folder"]


def test_names_of_directories_that_are_no_keys_are_passed_over(tmp_path):
    db = zdb.open(tmp_path / "results.zdb")
    db["folder/a.txt"] = b"first"
    stranger = tmp_path / "results.zdb/folder/a b"
    stranger.mkdir()
    (stranger / "zarr.json").write_bytes((tmp_path / "results.zdb/folder/a.txt/zarr.json").read_bytes())
    assert db.folder("folder").find("") == ["a.txt"]
    with db.folder("folder").local_copy() as path:
        assert [file.name for file in Path(path).iterdir()] == ["a.txt"]
