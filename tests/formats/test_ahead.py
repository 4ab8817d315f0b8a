"""What is read ahead of a file, and when."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

import zdb
from zdb.files.streams import FileReader
from zdb.formats.ahead import PARTS, ReadAhead

CONTENT = np.random.default_rng(0).integers(0, 256, 4000, dtype=np.uint8).tobytes()


class Source:
    """A file of which each part that is asked for is noted."""

    def __init__(self):
        self.asked = []
        self.broken = False

    def read(self, start, stop):
        self.asked.append((start, stop))
        if self.broken and stop > 1000:
            raise OSError("the connection was reset")
        return CONTENT[start:stop]

    def opened(self, block=100):
        return ReadAhead(block, self.read, len(CONTENT))


@pytest.fixture
def source():
    return Source()


def test_one_block_is_read_where_a_file_is_read_here_and_there(source):
    ahead = source.opened()
    for start in (730, 150, 2010, 3990):
        assert ahead.read(start, start + 10) == CONTENT[start : start + 10]
    assert source.asked == [(730, 800), (150, 200), (2010, 2100), (3990, 4000)]
    ahead.close()


def test_steps_back_within_a_block_ask_for_nothing(source):
    ahead = source.opened()
    for start in (50, 20, 0, 90):
        ahead.read(start + 200, start + 205)
    assert source.asked == [(250, 300), (220, 300), (200, 300)]
    ahead.close()


def test_each_byte_is_asked_for_once_from_begin_to_end(source):
    ahead = source.opened()
    read = b"".join(ahead.read(start, start + 30) for start in range(0, 4000, 30))
    ahead.close()
    assert read == CONTENT
    asked = sorted(source.asked)
    assert [start for start, _ in asked] == [0, *(stop for _, stop in asked[:-1])]
    assert len(asked) <= 40


def test_little_is_read_ahead_of_a_short_run(source):
    ahead = source.opened()
    for start in range(0, 200, 10):
        ahead.read(start, start + 10)
    ahead.close()
    assert max(stop for _, stop in source.asked) <= 500


def test_an_error_is_raised_where_it_is_and_the_next_read_asks_again(source):
    ahead = source.opened()
    assert b"".join(ahead.read(start, start + 50) for start in range(0, 400, 50)) == CONTENT[:400]
    source.broken = True
    with pytest.raises(OSError, match="reset"):
        ahead.read(400, 2000)
    source.broken = False
    assert ahead.read(400, 4000) == CONTENT[400:]
    ahead.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forks of processes that have threads
def test_a_fork_reads_on(source):
    ahead = source.opened()
    for start in range(0, 1000, 50):
        ahead.read(start, start + 50)
    child = os.fork()
    if not child:
        same = all(ahead.read(start, start + 50) == CONTENT[start : start + 50] for start in range(1000, 4000, 50))
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
    ahead.close()


class Together:
    """Lets calls of a function go on when so many of them wait at the same time."""

    def __init__(self, function, number):
        self._function = function
        self._barrier = threading.Barrier(number)
        self.reached = False

    def __call__(self, *args):
        if not self.reached:
            try:
                self._barrier.wait(0.5)
                self.reached = True
            except threading.BrokenBarrierError:
                self._barrier.reset()
        return self._function(*args)


@pytest.mark.parametrize("way", ["uri", "stored", "saved"])
def test_parts_of_a_large_file_are_asked_for_at_the_same_time(way, tmp_path, monkeypatch):
    db = zdb.open(tmp_path / "results.zdb")
    source = tmp_path / "source.bin"
    source.write_bytes(CONTENT * 20_000)
    db["a"] = source
    together = Together(zdb.StoredFile.read_part, PARTS - 1)
    monkeypatch.setattr(zdb.StoredFile, "read_part", lambda *args: together(*args))
    if way == "saved":
        db["a"].save(tmp_path / "copy.bin")
        assert (tmp_path / "copy.bin").read_bytes() == source.read_bytes()
    else:
        with zdb.open_file(db.uri("a")) if way == "uri" else db["a"].open() as file:
            assert b"".join(iter(lambda: file.read(1 << 18), b"")) == source.read_bytes()
    assert together.reached


def test_a_file_that_is_closed_asks_for_nothing_more(tmp_path, monkeypatch):
    db = zdb.open(tmp_path / "results.zdb")
    source = tmp_path / "source.bin"
    source.write_bytes(CONTENT * 20_000)
    db["a"] = source
    asked = []
    original = FileReader._fetch_range
    monkeypatch.setattr(
        FileReader, "_fetch_range", lambda file, start, end: asked.append(start) or original(file, start, end)
    )
    with zdb.open_file(db.uri("a")) as file:
        file.read(3 << 20)
        file.read(3 << 20)
    for thread in threading.enumerate():
        if thread.name.startswith("zdb-read-ahead"):
            thread.join()
    seen = len(asked)
    assert 1 < seen < 20
    with pytest.raises(ValueError, match="closed"):
        file.read(1)
    assert len(asked) == seen
