"""Writers that are killed at any moment: what was acknowledged is there, and nothing else is left of them."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest
from faults.checking import check_store
from faults.processes import Writer
from faults.rounds import rounds
from places import new_place

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROUNDS = {"local": rounds(12, 160), "s3": rounds(6, 60), "moto": rounds(4, 20)}
WRITERS = 2
# Garbage is collected after this many rounds, so that what one kill leaves meets the next ones.
CHECKED = 4
STORES = ["local", *(pytest.param(server, marks=pytest.mark.s3) for server in ("s3", "moto"))]


@pytest.mark.parametrize("store", STORES)
def test_killed_writers(
    store: str, tmp_path: Path, request: pytest.FixtureRequest, count: Callable[[str, int], None]
) -> None:
    place = new_place(store, tmp_path, request)
    db = place.open()
    moments = random.Random(1)
    writers = [Writer(place, tmp_path, number) for number in range(WRITERS)]
    kills = 0
    while kills < ROUNDS[store]:
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.wait_for(moments.randrange(1, 8))
        time.sleep(moments.uniform(0, 0.03))
        for writer in writers:
            writer.kill()
            kills += 1
        for writer in writers:
            assert writer.expected.errors == []
            writer.expected.check(place.open("r"))
        if kills // WRITERS % CHECKED == 0:
            check_store(db, [writer.expected for writer in writers])
    check_store(place.open(), [writer.expected for writer in writers])
    assert sum(writer.expected.killed for writer in writers) > 0
    assert sum(writer.expected.acknowledged for writer in writers) > ROUNDS[store] / 2
    count(f"kill -9 of a writer, {store}", kills)
