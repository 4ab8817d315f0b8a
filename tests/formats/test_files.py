from __future__ import annotations

import hashlib
import io
import os
import pickle
import socket
import zipfile
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import dask.array as da
import numpy as np
import pytest
from formats.memory import elements_read, roundtrip, store
from hypothesis import given
from hypothesis import strategies as st

from zdb.errors import (
    CorruptChunkError,
    InvalidKeyError,
    KeyExistsError,
    SelectionError,
    UnsupportedValueError,
    WriteError,
)
from zdb.formats import Selection, files, for_value, stored_file
from zdb.formats.files import FileFormat, StoredFile

FORMAT = FileFormat()
CONTENT = bytes(range(256)) * 40


@pytest.fixture
def small_blocks(monkeypatch):
    """Treat files of more than 100 bytes as large, and read them by 100 bytes."""
    monkeypatch.setattr(stored_file, "BLOCK_SIZE", 100)
    monkeypatch.setattr(files, "BLOCK_SIZE", 100)
    monkeypatch.setattr(files, "LARGEST_IN_MEMORY", 100)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def stored(path):
    return roundtrip(FORMAT, path)


def corrupt(node):
    values = node["content"].values.copy()
    values[0] ^= 1
    return node.assign(content=("byte", values))


class TestBytes:
    @given(st.binary(max_size=300))
    def test_bytes_come_back(self, value):
        back = roundtrip(FORMAT, value)
        assert type(back) is bytes
        assert back == value

    @given(st.binary(max_size=300))
    def test_bytearrays_come_back_and_are_copied(self, value):
        array = bytearray(value)
        dataset = FORMAT.encode(array)
        array += b"more"
        array[:1] = b"x"
        back = FORMAT.decode(store(dataset))
        assert type(back) is bytearray
        assert back == value
        back.append(1)

    def test_what_is_stored(self):
        dataset = FORMAT.encode(b"abc")
        assert dataset["content"].dims == ("byte",)
        assert dataset["content"].dtype == np.uint8
        assert dataset["content"].values.tobytes() == b"abc"
        assert dataset.attrs == {
            "zdb_type": "bytes",
            "zdb_dtype": "",
            "zdb_shape": "[3]",
            "zdb_recipe": "{}",
            "zdb_name": "",
            "zdb_size": 3,
            "zdb_sha256": hashlib.sha256(b"abc").hexdigest(),
        }

    def test_corrupt_bytes_are_not_returned(self):
        with pytest.raises(CorruptChunkError, match="SHA-256"):
            FORMAT.decode(corrupt(store(FORMAT.encode(b"abc"))))

    def test_the_format_is_found_by_type(self, path):
        for value in (b"a", bytearray(), path, roundtrip(FORMAT, path)):
            assert for_value(value).name == "file"

    @pytest.mark.parametrize("value", [memoryview(b"a"), PurePosixPath("a"), io.BytesIO(b"a")])
    def test_others_are_refused(self, value):
        with pytest.raises(UnsupportedValueError):
            for_value(value)

    def test_subclasses_of_bytes_are_refused(self):
        class Packet(bytes):
            pass

        assert not FORMAT.accepts(Packet(b"a"))
        assert not FORMAT.accepts(np.bytes_(b"a"))

    def test_there_are_no_parts(self):
        with pytest.raises(SelectionError, match="'file'"):
            FORMAT.select(store(FORMAT.encode(b"a")), Selection(rows=[0]))


class TestPaths:
    def test_a_file_comes_back_as_stored_file(self, path):
        os.utime(path, ns=(0, 1_700_000_000_123_456_789))
        dataset = FORMAT.encode(path)
        assert dataset.attrs["zdb_type"] == "pathlib.Path"
        assert dataset.attrs["zdb_name"] == "data.bin"
        stored = FORMAT.decode(store(dataset))
        assert type(stored) is StoredFile
        assert stored.name == "data.bin"
        assert stored.size == len(CONTENT)
        assert stored.sha256 == hashlib.sha256(CONTENT).hexdigest()
        assert stored.modified == datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)
        assert stored.read() == CONTENT

    @pytest.mark.usefixtures("small_blocks")
    @pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 200, 1234])
    def test_files_of_every_size(self, tmp_path, size):
        path = tmp_path / "x"
        path.write_bytes(CONTENT[:size])
        stored = roundtrip(FORMAT, path)
        assert stored.size == size
        assert stored.read() == CONTENT[:size]
        assert stored.open().read() == CONTENT[:size]
        assert stored.save(tmp_path / "copy").read_bytes() == CONTENT[:size]
        again = roundtrip(FORMAT, stored)
        assert again == stored
        assert again.read() == CONTENT[:size]

    @pytest.mark.usefixtures("small_blocks")
    def test_a_large_file_is_mapped_not_read(self, path):
        content = FORMAT.encode(path)["content"].variable.data
        bases = [content]
        while getattr(bases[-1], "base", None) is not None:
            bases.append(bases[-1].base)
        assert any(isinstance(base, np.memmap) for base in bases)

    @pytest.mark.usefixtures("small_blocks")
    def test_a_large_stored_file_is_copied_lazily(self, stored):
        dataset = FORMAT.encode(stored)
        assert isinstance(dataset["content"].data, da.Array)
        back = FORMAT.decode(store(dataset))
        assert back.read() == CONTENT
        assert (back.name, back.modified) == (stored.name, stored.modified)

    def test_links_are_followed(self, path):
        link = path.with_name("link")
        link.symlink_to(path)
        stored = roundtrip(FORMAT, link)
        assert stored.name == "link"
        assert stored.read() == CONTENT

    def test_unicode_names(self, tmp_path):
        path = tmp_path / "größe 漢.txt"
        path.write_text("x")
        assert roundtrip(FORMAT, path).name == "größe 漢.txt"

    def test_names_that_are_no_text_are_refused(self, tmp_path):
        path = tmp_path / os.fsdecode(b"caf\xe9")
        path.write_text("x")
        with pytest.raises(UnsupportedValueError, match="UTF-8"):
            FORMAT.encode(path)

    def test_what_is_no_file_is_refused(self, tmp_path):
        pipe, link = tmp_path / "pipe", tmp_path / "link"
        os.mkfifo(pipe)
        link.symlink_to("missing")
        server = socket.socket(socket.AF_UNIX)
        with server:
            server.bind(os.path.relpath(tmp_path / "socket"))
            for path, message in [
                (tmp_path / "missing", "there is no file"),
                (Path("missing"), "working directory"),
                (link, "link to missing"),
                (tmp_path, "folder"),
                (pipe, "named pipe"),
                (tmp_path / "socket", "socket"),
                (Path("/dev/null"), "device"),
                (Path("a\0b"), "null"),
                (tmp_path / ("x" * 300), "too long"),
            ]:
                with pytest.raises(UnsupportedValueError, match=message):
                    FORMAT.encode(path)

    def test_a_file_that_cannot_be_read_is_refused(self, path, monkeypatch):
        def refuse(self):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(UnsupportedValueError, match="Permission denied"):
            FORMAT.encode(path)

    def test_a_file_that_changes_while_it_is_stored_is_found_out(self, path):
        dataset = FORMAT.encode(path)
        FileFormat().check_written(dataset)
        FileFormat().check_written(FORMAT.encode(b"x"))
        path.write_bytes(CONTENT + b"more")
        with pytest.raises(WriteError, match="changed"):
            FileFormat().check_written(dataset)
        path.unlink()
        with pytest.raises(WriteError, match="vanished"):
            FileFormat().check_written(dataset)


class TestStoredFile:
    def test_text(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_bytes("µ\r\n".encode())
        assert roundtrip(FORMAT, path).read_text() == "µ\r\n"
        path.write_bytes("µ".encode("latin-1"))
        stored = roundtrip(FORMAT, path)
        assert stored.read_text("latin-1") == "µ"
        assert stored.read_text(errors="replace") == "\ufffd"

    def test_nothing_is_read_until_asked_for(self, path):
        node = store(FORMAT.encode(path))
        stored = FORMAT.decode(node)
        repr(stored)
        assert stored == stored
        stored.open()
        assert elements_read(node) == 0

    def test_opened_files_read_what_they_need(self, path, monkeypatch):
        monkeypatch.setattr(stored_file, "_BUFFER_SIZE", 64)
        node = store(FORMAT.encode(path))
        with FORMAT.decode(node).open() as file:
            file.seek(1000)
            assert file.read(10) == CONTENT[1000:1010]
        assert elements_read(node) == 64

    @pytest.mark.usefixtures("small_blocks")
    @given(data=st.data())
    def test_opened_files_behave_as_in_memory(self, tmp_path_factory, data):
        content = data.draw(st.binary(max_size=500))
        path = tmp_path_factory.mktemp("files") / "x"
        path.write_bytes(content)
        ours, theirs = roundtrip(FORMAT, path).open(), io.BytesIO(content)
        for _ in range(data.draw(st.integers(0, 10))):
            action = data.draw(st.sampled_from(["seek", "read", "readline", "readinto", "end"]))
            number = data.draw(st.integers(0, 600))
            if action == "seek":
                assert ours.seek(number) == theirs.seek(number)
            elif action == "end":
                back = -min(number, len(content))
                assert ours.seek(back, os.SEEK_END) == theirs.seek(back, os.SEEK_END)
            elif action == "readinto":
                first, second = bytearray(number), bytearray(number)
                assert ours.readinto(first) == theirs.readinto(second)
                assert first == second
            else:
                assert getattr(ours, action)(number) == getattr(theirs, action)(number)
            assert ours.tell() == theirs.tell()
        assert ours.read() == theirs.read()

    def test_other_libraries_read_opened_files(self, tmp_path):
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.txt", "hello")
        with zipfile.ZipFile(roundtrip(FORMAT, path).open()) as archive:
            assert archive.read("a.txt") == b"hello"
        np.save(tmp_path / "a.npy", np.arange(5))
        assert np.load(roundtrip(FORMAT, tmp_path / "a.npy").open()).tolist() == [0, 1, 2, 3, 4]

    def test_opened_files_are_closed_and_read_only(self, stored):
        file = stored.open()
        assert file.readable()
        assert file.seekable()
        assert not file.writable()
        assert file.name == "data.bin"
        with pytest.raises(ValueError, match="before the start"):
            file.raw.seek(-1)
        with pytest.raises(ValueError, match="whence"):
            file.raw.seek(0, 7)
        file.close()
        for call in (file.read, file.tell, file.raw.readall, file.raw.tell):
            with pytest.raises(ValueError, match="closed"):
                call()

    def test_saved_to_a_path_or_a_folder(self, stored, tmp_path):
        assert stored.save(tmp_path / "a") == tmp_path / "a"
        folder = tmp_path / "folder"
        folder.mkdir()
        assert stored.save(str(folder)) == folder / "data.bin"
        assert (folder / "data.bin").read_bytes() == CONTENT
        assert [p.name for p in folder.iterdir()] == ["data.bin"]

    def test_an_existing_file_is_kept_unless_told_otherwise(self, stored, tmp_path):
        target = tmp_path / "a"
        target.write_text("old")
        with pytest.raises(KeyExistsError, match="overwrite=True"):
            stored.save(target)
        assert target.read_text() == "old"
        assert stored.save(target, overwrite=True).read_bytes() == CONTENT

    @pytest.mark.parametrize("name", ["../x", "/etc/x", "a\\b", "..", "", "a\0b"])
    def test_a_name_never_leads_out_of_the_folder(self, stored, tmp_path, name):
        stored.name = name
        folder = tmp_path / "folder"
        folder.mkdir()
        with pytest.raises(InvalidKeyError, match="no name for a file"):
            stored.save(folder)
        assert not [*folder.iterdir()]
        assert stored.save(folder / "x").read_bytes() == CONTENT

    @pytest.mark.usefixtures("small_blocks")
    @pytest.mark.parametrize("overwrite", [True, False])
    def test_corrupt_content_is_not_returned_nor_saved(self, path, overwrite):
        stored = FORMAT.decode(corrupt(store(FORMAT.encode(path))))
        with pytest.raises(CorruptChunkError, match=r"data\.bin"):
            stored.read()
        with pytest.raises(CorruptChunkError):
            stored.save(path.with_name("copy"), overwrite=overwrite)
        assert [p.name for p in path.parent.iterdir()] == ["data.bin"]
        with pytest.raises(CorruptChunkError):
            stored.save(path, overwrite=True)
        assert path.read_bytes() == CONTENT

    def test_content_of_another_length_is_corrupt(self, path):
        node = store(FORMAT.encode(path))
        for part in (node.isel(byte=slice(10)), node.isel(byte=np.arange(len(CONTENT) + 1) // 2)):
            with pytest.raises(CorruptChunkError):
                FORMAT.decode(part).read()

    def test_equality_is_that_of_the_content(self, stored, tmp_path):
        (tmp_path / "other").write_bytes(CONTENT)
        (tmp_path / "third").write_bytes(b"x")
        other = roundtrip(FORMAT, tmp_path / "other")
        assert stored == other
        assert hash(stored) == hash(other)
        assert stored != roundtrip(FORMAT, tmp_path / "third")
        assert stored != CONTENT

    def test_it_is_pickled(self, stored):
        back = pickle.loads(pickle.dumps(stored))
        assert back == stored
        assert back.read() == CONTENT

    def test_its_text(self, stored):
        digest = hashlib.sha256(CONTENT).hexdigest()
        assert repr(stored) == f"<zdb.StoredFile 'data.bin', 10240 bytes, sha256 {digest[:12]}…>"
