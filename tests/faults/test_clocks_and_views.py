"""Machines whose clocks differ by an hour, and machines that see the listings of some time ago."""

from __future__ import annotations

import datetime as datetimes
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from faults.checking import check_store
from faults.distortion import collect_garbage_skewed, skew_clock, write_seeing_old_listings, write_skewed
from faults.processes import Writer
from faults.rounds import rounds
from other_processes import CONTEXT, new_process

import zdb

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from places import Place

HOUR = 3600
CHANGES = rounds(20, 120)


def test_clocks_that_differ_by_an_hour(shared_place: Place, tmp_path: Path, count: Callable[[str, int], None]) -> None:
    """Garbage is collected meanwhile, with a grace of ten minutes, by the clock of the store."""
    shared_place.open()
    writers = [
        Writer(shared_place, tmp_path, number, partial(write_skewed, skew))
        for number, skew in enumerate((-HOUR, 0, HOUR))
    ]
    stop, collections = CONTEXT.Event(), CONTEXT.Value("L", 0)
    arguments = (HOUR, shared_place, datetimes.timedelta(minutes=10), stop, collections)
    collector = new_process(collect_garbage_skewed, *arguments)
    collector.start()
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.wait_for(CHANGES, acknowledged=True)
    while not collections.value:
        assert collector.is_alive()
        time.sleep(0.05)
    stop.set()
    collector.join()
    assert collector.exitcode == 0
    for writer in writers:
        writer.stop()
        assert writer.expected.errors == []
    check_store(shared_place.open(), [writer.expected for writer in writers])
    store = "S3" if "://" in shared_place.url else "local"
    count(f"changes by writers whose clocks differ by an hour, {store}", len(writers) * CHANGES)


def created_with_a_skew(place: Place) -> None:
    skew_clock(HOUR)
    place.open()["k"] = 1


def test_the_clock_of_a_process_can_be_set_wrong(tmp_path: Path) -> None:
    """The test above shows something."""
    from places import Place

    place = Place(str(tmp_path / "x.zdb"))
    process = new_process(created_with_a_skew, place)
    process.start()
    process.join()
    created = zdb.open(place.url).provenance("k").created
    assert created - datetimes.datetime.now(datetimes.UTC) > datetimes.timedelta(minutes=50)


@pytest.mark.parametrize("seconds", [0.5, 30])
def test_listings_of_some_time_ago(
    shared_place: Place, seconds: float, tmp_path: Path, count: Callable[[str, int], None]
) -> None:
    """Writers are killed, too, so that they find what others left, or do not see it."""
    shared_place.open()
    target = partial(write_seeing_old_listings, seconds)
    writers = [Writer(shared_place, tmp_path, number, target) for number in range(2)]
    kills = 2
    for number in range(kills + 1):
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.wait_for(CHANGES // 4, acknowledged=True)
        for writer in writers:
            writer.kill() if number < kills else writer.stop()
            assert writer.expected.errors == []
    check_store(shared_place.open(), [writer.expected for writer in writers])
    store = "S3" if "://" in shared_place.url else "local"
    count(f"changes by writers that see old listings, {store}", sum(one.expected.acknowledged for one in writers))
