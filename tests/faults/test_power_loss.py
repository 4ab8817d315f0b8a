"""A real loss of power: what a disk held at a moment is all that is left, and what was acknowledged is there.

The disk is a loop device with ext4. While its writer stands still, the file behind the device is copied: it holds what
the system had written to the disk, and not what it only remembers. The copy is mounted, which replays the journal.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from faults.rounds import rounds
from other_processes import CONTEXT, new_process

import zdb

if TYPE_CHECKING:
    from collections.abc import Iterator

DISK_BYTES = 96 << 20
LOSSES = rounds(8, 60)


def run(*command: str | Path) -> str:
    return subprocess.run([str(one) for one in command], check=True, capture_output=True, text=True).stdout.strip()


@contextlib.contextmanager
def mounted(image: Path, folder: Path) -> Iterator[str]:
    """Mount an image, and yield the name of its device."""
    folder.mkdir(exist_ok=True)
    device = run("losetup", "--find", "--show", image)
    try:
        run("mount", device, folder)
        try:
            yield Path(device).name
        finally:
            run("umount", folder)
    finally:
        run("losetup", "--detach", device)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Path, str]]:
    """The image of an empty disk, where it is mounted, and the name of its device."""
    if (
        shutil.which("mkfs.ext4", path="/sbin:/usr/sbin:/bin:/usr/bin") is None
        or not Path("/dev/loop-control").exists()
    ):
        pytest.skip("a loss of power needs loop devices, and root to mount them")
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(DISK_BYTES)
    run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0", image)
    with mounted(image, tmp_path / "mounted") as device:
        yield image, tmp_path / "mounted", device


Values = dict[str, Any]


def change(number: int) -> tuple[str, str, Any]:
    """The n-th change: what is done, to which key, and the value or the new key."""
    key = f"sub_{number % 3}/key_{number % 7}"
    if number % 5 == 4:
        return ("delete", key, None)
    if number % 11 == 10:
        return ("rename", key, f"renamed/key_{number % 4}")
    return ("set", key, {"number": number} if number % 2 else np.full(20_000 + number % 50, float(number)))


def apply(values: Any, number: int) -> None:
    """Do the n-th change to a database, or to a dict that tells what it holds."""
    what, key, argument = change(number)
    if what == "set":
        values[key] = argument
    elif what == "delete":
        values.pop(key, None)
    elif key in values and argument not in values:
        if isinstance(values, dict):
            values[argument] = values.pop(key)
        else:
            values.rename(key, argument)


def write_forever(folder: Path, durability: Any, acknowledged: Any) -> None:
    db = zdb.open(folder / "x.zdb", durability=durability)
    for number in range(1_000_000):
        apply(db, number)
        acknowledged.value = number + 1


def lose_power(image: Path, device: str, writer: int, copy: Path, acknowledged: Any) -> int:
    """Copy what is on the disk now, while nothing is written, and return how many changes were acknowledged."""
    statistics = Path(f"/sys/block/{device}/stat")
    os.kill(writer, signal.SIGSTOP)
    try:
        while True:
            before = statistics.read_text().split()
            shutil.copyfile(image, copy)
            after = statistics.read_text().split()
            if before[4] == after[4] and before[8] == after[8] == "0":  # no write was done or begun meanwhile
                return int(acknowledged.value)
            time.sleep(0.01)
    finally:
        os.kill(writer, signal.SIGCONT)


def values_on(image: Path, folder: Path) -> tuple[Values, str]:
    """What a database holds when the disk is mounted after the loss, and what is damaged in it."""
    with mounted(image, folder):
        if not (folder / "x.zdb" / "zarr.json").exists():
            return {}, "the database is not there"
        try:
            with zdb.config.set({"catalog": False}):
                db = zdb.open(folder / "x.zdb", "r+")
            found = {key: db[key] for key in db.keys(recursive=True)}
        except zdb.errors.ZdbError as error:
            return {}, str(error)
        before = db.verify()
        busy = db.gc(dry_run=False, grace=0).busy  # the writer lives on here, so gc leaves what it holds the claims of
        after = db.verify()
        whole = before.ok and after.ok and set(after.unfinished) <= set(busy)
        return found, "" if whole else f"{before}\n{after}\n{busy}"


def difference(found: Values, wanted: Values) -> list[str]:
    """Keys that are there and should not be, or the other way round, or have another value."""
    return [
        key
        for key in sorted(found.keys() | wanted.keys())
        if type(found.get(key)) is not type(wanted.get(key)) or not np.array_equal(found.get(key), wanted.get(key))
    ]


def losses(disk: tuple[Path, Path, str], durability: str, number: int) -> list[str]:
    """Let a writer write, and tell for each loss of power what of the acknowledged was not there, "" for nothing."""
    image, folder, device = disk
    acknowledged = CONTEXT.Value("L", 0)
    writer = new_process(write_forever, folder, durability, acknowledged)
    writer.start()
    moments = random.Random(1)
    lost = []
    states: list[Values] = [{}]
    copy = image.with_name("copy")
    try:
        while not acknowledged.value:
            assert writer.is_alive()
            time.sleep(0.01)
        for _ in range(number):
            time.sleep(moments.uniform(0.01, 0.5))
            done = lose_power(image, device, writer.pid or 0, copy, acknowledged)
            while len(states) < done + 2:
                states.append(dict(states[-1]))
                apply(states[-1], len(states) - 2)
            found, damage = values_on(copy, image.with_name("after"))
            # The change that was not acknowledged is done or not.
            wrong = difference(found, states[done]) and difference(found, states[done + 1])
            lost.append(damage or (f"after {done} changes {wrong} of {sorted(found)}" if wrong else ""))
    finally:
        writer.kill()
        writer.join()
    return lost


def test_what_was_acknowledged_survives_a_loss_of_power(disk: tuple[Path, Path, str], count: Any) -> None:
    lost = losses(disk, "commit", LOSSES)
    assert not any(lost), "\n".join(lost)
    count("loss of power", LOSSES)


def test_without_durability_the_same_loses_values(disk: tuple[Path, Path, str]) -> None:
    assert any(losses(disk, "none", 3))
