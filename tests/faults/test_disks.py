"""Disks that are full, and folders that cannot be written any more, while others write."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from faults.checking import check_store
from faults.processes import Writer
from faults.rounds import rounds
from places import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ROUNDS = rounds(4, 25)
WRITERS = 2

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


def mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True)


@contextlib.contextmanager
def mounted(folder: Path, *arguments: object) -> Iterator[None]:
    folder.mkdir()
    mount(*arguments, folder)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def disturb(place: Place, folder: Path, begin: Callable[[], None], end: Callable[[], None], error: str) -> list[Writer]:
    """Let writers write, make them fail with an error and work again by turns, and return them when they have ended."""
    writers = [Writer(place, folder, number) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    for number in range(1, ROUNDS + 1):
        for writer in writers:
            writer.wait_for(12 * number, acknowledged=True)
        begin()
        for writer in writers:
            writer.wait_for_errors(number)
        end()
    for writer in writers:
        writer.wait_for(12 * ROUNDS + 12, acknowledged=True)
    for writer in writers:
        writer.stop()
        assert writer.expected.errors
        assert all(error in one for one in writer.expected.errors), writer.expected.errors
    return writers


@needs_root
def test_a_full_disk(tmp_path: Path, count: Callable[[str, int], None]) -> None:
    disk = tmp_path / "disk"
    place = Place(str(disk / "x.zdb"))
    moments = random.Random(1)

    def fill() -> None:
        """Leave little or nothing, so that writes fail early or late."""
        free = os.statvfs(disk)
        left = moments.choice([0, 1, 2, 3, 5, 8, 13]) * free.f_frsize
        with contextlib.suppress(OSError), (disk / "filler").open("wb") as file:
            file.write(bytes(max(0, free.f_bavail * free.f_frsize - left)))

    def clear() -> None:
        (disk / "filler").unlink(missing_ok=True)  # there may have been no room for it

    with mounted(disk, "-t", "tmpfs", "-o", "size=8m", "tmpfs"):
        place.open()
        writers = disturb(place, tmp_path, fill, clear, "free some space")
        check_store(place.open(), [writer.expected for writer in writers])
    count("full disk", ROUNDS)


@needs_root
def test_a_folder_that_becomes_read_only(tmp_path: Path, count: Callable[[str, int], None]) -> None:
    """A mount that is read-only stops even root."""
    disk = tmp_path / "disk"
    place = Place(str(disk / "x.zdb"))

    def remount(option: str) -> None:
        end = time.monotonic() + 60
        while True:
            try:
                return mount("-o", f"remount,{option}", disk)
            except subprocess.CalledProcessError:  # a file is just being written
                assert time.monotonic() < end

    with mounted(disk, "-t", "tmpfs", "-o", "size=64m", "tmpfs"):
        place.open()
        writers = disturb(place, tmp_path, lambda: remount("ro"), lambda: remount("rw"), "no permission to write")
        check_store(place.open(), [writer.expected for writer in writers])
    count("read-only folder", ROUNDS)
