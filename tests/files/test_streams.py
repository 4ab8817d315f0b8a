"""What is read from an open file, and when what is written to one is published."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading

import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import zdb
from zdb.engine.remote import ZarrNodes
from zdb.errors import CorruptChunkError, KeyExistsError, NoFileError, ReadOnlyError
from zdb.files import streams
from zdb.files.streams import FileReader, NotPublishedWarning

CONTENT = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()


@pytest.fixture
def folder(place):
    return place.open().folder("files", create=True)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder in which files are written before they are published."""
    made = tmp_path / "temporary"
    made.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(made))
    return made


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A file of several chunks that is read by blocks."""
    db = zdb.open(tmp_path_factory.mktemp("large") / "results.zdb")
    path = tmp_path_factory.mktemp("source") / "large.bin"
    path.write_bytes(CONTENT)
    db.set("large.bin", path, chunks=(7_000,), shards=(28_000,))
    return db.folder()


class TestReading:
    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("seek"), st.integers(0, 310_000), st.just(os.SEEK_SET)),
                st.tuples(st.just("seek"), st.integers(-300_000, 0), st.just(os.SEEK_END)),
                st.tuples(st.just("read"), st.integers(-1, 40_000), st.just(0)),
                st.tuples(st.just("readline"), st.just(0), st.just(0)),
                st.tuples(st.just("readinto"), st.integers(0, 20_000), st.just(0)),
            )
        ),
        st.sampled_from([1, 1000, 10_000, 10**6]),
    )
    def test_seeks_and_reads_are_those_of_a_file_in_memory(self, large, steps, block_size):
        expected = io.BytesIO(CONTENT)
        with large.open("large.bin", block_size=block_size) as file:
            for verb, number, whence in steps:
                if verb == "seek":
                    assert file.seek(number, whence) == expected.seek(number, whence)
                elif verb == "read":
                    assert file.read(number) == expected.read(number)
                elif verb == "readline":
                    assert file.readline() == expected.readline()
                else:
                    one, other = bytearray(number), bytearray(number)
                    assert file.readinto(one) == expected.readinto(other)
                    assert one == other
                assert file.tell() == expected.tell()

    @given(st.lists(st.tuples(*[st.one_of(st.none(), st.integers(-310_000, 310_000))] * 2), max_size=8))
    def test_parts(self, large, parts):
        starts, ends = [list(one) for one in zip(*parts, strict=True)] or [[], []]
        wanted = [CONTENT[start:end] for start, end in parts]
        assert large.cat_ranges(["large.bin"] * len(parts), starts, ends) == wanted
        assert [large.cat_file("large.bin", start, end) for start, end in parts] == wanted

    def test_errors_of_parts(self, large):
        found = large.cat_ranges(["large.bin", "gone"], 0, [2, 2])
        assert found[0] == CONTENT[:2]
        assert isinstance(found[1], NoFileError)
        with pytest.raises(NoFileError):
            large.cat_ranges(["gone"], 0, 2, on_error="raise")
        with pytest.raises(ValueError, match="2 paths"):
            large.cat_ranges(["large.bin", "gone"], [0], 2)

    def test_only_what_is_asked_for_is_read(self, tmp_path, monkeypatch):
        folder = zdb.open(tmp_path / "results.zdb").folder()
        source = tmp_path / "source.bin"
        source.write_bytes(bytes(64 << 20))
        folder.put(str(source), "a.bin")
        read = []
        original = FileReader._fetch_range
        monkeypatch.setattr(
            FileReader, "_fetch_range", lambda file, start, end: read.append(end - start) or original(file, start, end)
        )
        with folder.open("a.bin") as file:
            file.seek(30 << 20)
            assert file.read(10) == bytes(10)
        assert sum(read) <= streams.BLOCK_SIZE + 10

    def test_a_small_file_is_checked(self, tmp_path):
        db = zdb.open(tmp_path / "results.zdb")
        db.set("a.bin", CONTENT, codec=False)
        (chunk,) = (path for path in (tmp_path / "results.zdb/a.bin/content").rglob("*") if path.name == "0")
        chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
        with pytest.raises(CorruptChunkError):
            db.folder().open("a.bin")

    def test_it_is_like_other_files(self, folder):
        folder.pipe("a.txt", b"one\ntwo\n")
        with folder.open("a.txt") as file:
            assert file.readable()
            assert file.seekable()
            assert not file.writable()
            assert (file.name, file.path, file.mode, file.size) == ("a.txt", "a.txt", "rb", 8)
        with folder.open("a.txt", "r", newline="") as file:
            assert file.readlines() == ["one\n", "two\n"]


class TestWriting:
    def test_modes(self, folder, temporary):
        with folder.open("a.txt", "x") as file:
            file.write("one\n")
        with folder.open("a.txt", "a") as file:
            file.write("two\n")
        with folder.open("new.txt", "ab") as file:
            file.write(b"x")
        assert folder.cat("a.txt") == b"one\ntwo\n"
        with pytest.raises(KeyExistsError):
            folder.open("a.txt", "x")
        with folder.open("a.txt", "w") as file:
            file.write("three\n")
            assert folder.cat("a.txt") == b"one\ntwo\n"
        assert folder.cat("a.txt") == b"three\n"
        assert folder.cat("new.txt") == b"x"
        folder.touch("empty")
        assert folder.cat("empty") == b""
        assert not list(temporary.iterdir())

    def test_seeking_while_writing(self, folder):
        with folder.open("a.bin", "wb") as file:
            file.write(b"....data")
            file.seek(0)
            file.write(b"head")
            assert file.tell() == 4
            file.seek(0, os.SEEK_END)
            file.truncate(6)
        assert folder.cat("a.bin") == b"headda"
        with pytest.raises(ValueError, match="closed"):
            file.write(b"more")

    @pytest.mark.parametrize("mode", ["wb", "w", "ab", "a"])
    def test_an_error_publishes_nothing(self, folder, temporary, mode):
        folder.pipe("a", b"old")
        data = b"new" if "b" in mode else "new"

        def fail(file):
            file.write(data)
            raise ZeroDivisionError

        for open_it in (lambda: folder.open("a", mode), lambda: folder.open("fresh", mode)):
            with pytest.raises(ZeroDivisionError), open_it() as file:
                fail(file)
        assert folder.cat("a") == b"old"
        assert not folder.exists("fresh")
        assert not list(temporary.iterdir())

    def test_an_error_that_a_library_does_not_pass_on(self, db, temporary):
        def fail():
            with fsspec.open(db.uri("a.txt"), "w") as file:
                file.write("new")
                raise ZeroDivisionError

        warned = pytest.warns(NotPublishedWarning, match="closed while ZeroDivisionError was handled")
        with warned, pytest.raises(ZeroDivisionError):
            fail()
        assert "a.txt" not in db
        assert not list(temporary.iterdir())

    def test_while_another_error_is_handled(self, db):
        try:
            _ = 1 / 0
        except ZeroDivisionError:
            with fsspec.open(db.uri("report.txt"), "w") as file:
                file.write("it failed")
        assert db["report.txt"].read() == b"it failed"

    @pytest.mark.parametrize("mode", ["wb", "w"])
    def test_a_file_that_is_never_closed_is_not_published(self, db, temporary, mode):
        file = db.folder().open("a", mode)
        file.write("new" if mode == "w" else b"new")
        files = [file]
        del file
        with pytest.warns(NotPublishedWarning, match="never closed"):
            files.clear()
        assert "a" not in db
        assert not list(temporary.iterdir())

    def test_refused_before_anything_is_written(self, place, temporary):
        place.open()["folder/a"] = b"old"
        folder = place.open("r").folder()
        for change in (
            lambda: folder.open("folder/a", "w"),
            lambda: folder.rm("folder/a"),
            lambda: folder.rm("folder", recursive=True),
            lambda: folder.mkdir("new"),
            lambda: folder.mv("folder/a", "b"),
            lambda: folder.cp_file("folder/a", "b"),
            lambda: folder.rmdir("folder"),
            lambda: folder.local_copy(write_back=True).__enter__(),
        ):
            with pytest.raises(ReadOnlyError):
                change()
        writable = place.open().folder()
        for key in ("../a", "a b", ".hidden", "_zdb/a", "a//b", "zarr.json"):
            with pytest.raises(ValueError, match="key"):
                writable.open(key, "w")
            assert not writable.exists(key)
            assert not writable.isdir(key)
        assert writable.find("") == ["folder/a"]
        assert not list(temporary.iterdir())

    def test_a_writer_that_is_killed_leaves_the_old_file(self, shared_place):
        folder = shared_place.open().folder()
        folder.pipe("a", b"old")
        program = (
            "import sys, json, fsspec\n"
            "f = fsspec.open(sys.argv[1], 'wb', **json.loads(sys.argv[2])).open()\n"
            "f.write(b'new'); f.flush(); print('written', flush=True); input()\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program, folder.unstrip_protocol("a"), json.dumps(shared_place.options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout.readline() == b"written\n"
            process.send_signal(signal.SIGKILL)
        assert folder.cat("a") == b"old"

    def test_readers_see_the_old_or_the_new_file(self, folder):
        contents = {bytes([n]) * 50_000 for n in range(20)}
        folder.pipe("a", next(iter(contents)))
        seen = set()
        done = threading.Event()

        def read():
            while not done.is_set():
                seen.add(folder.cat("a"))
                with folder.open("a") as file:
                    seen.add(file.read())

        reader = threading.Thread(target=read)
        reader.start()
        try:
            for content in contents:
                folder.pipe("a", content)
        finally:
            done.set()
            reader.join()
        assert seen
        assert seen <= contents


def test_the_server_is_asked_little(shared_place, monkeypatch):
    """Listing, looking up and reading take no more requests than said in docs/files.md."""
    if "://" not in shared_place.url:
        pytest.skip("the local disk is not asked over a network")
    asked = []
    for name in ("get", "get_many", "list_names"):
        original = getattr(ZarrNodes, name)
        monkeypatch.setattr(
            ZarrNodes,
            name,
            lambda self, *args, name=name, original=original: asked.append(name) or original(self, *args),
        )
    folder = shared_place.open().folder()
    for n in range(3):
        folder.pipe(f"{n}", b"content")
    asked.clear()
    assert len(folder.ls("")) == 3
    assert sorted(asked) == ["get", "get_many", "list_names"]
    asked.clear()
    assert folder.info("1")["size"] == 7
    assert asked == ["get"]
