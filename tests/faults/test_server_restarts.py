"""The server of a bucket is killed while others write to it, and comes back with what it had stored."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest
from faults.checking import check_store
from faults.processes import Writer
from faults.rounds import rounds
from places import Place
from services.seaweedfs import SeaweedFS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROUNDS = rounds(2, 5)
WRITERS = 2


@pytest.mark.s3
def test_a_server_that_is_killed_in_mid_write(tmp_path: Path, count: Callable[[str, int], None]) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    seaweedfs = SeaweedFS(folder)
    process = seaweedfs.launch()
    try:
        place = Place(seaweedfs.server.url("restarts.zdb"), seaweedfs.server.options)
        place.open()
        moments = random.Random(1)
        writers = [Writer(place, tmp_path, number) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        for number in range(1, ROUNDS + 1):
            for writer in writers:
                writer.wait_for(5 * number, acknowledged=True)
            time.sleep(moments.uniform(0, 0.2))
            process.kill()
            process.wait()
            time.sleep(moments.uniform(0, 1))
            process = seaweedfs.launch()
        for writer in writers:
            writer.wait_for(5 * ROUNDS + 5, acknowledged=True)
        for writer in writers:
            writer.stop()
        check_store(place.open(), [writer.expected for writer in writers])
    finally:
        process.kill()
        process.wait()
    count("kill of the S3 server in mid-write, and restart", ROUNDS)
