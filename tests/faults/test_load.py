"""Many processes at once: no update is lost, and requests and memory do not grow. Its times are a benchmark."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.append(str(Path(__file__).parents[2]))

from faults.rounds import rounds

from benchmarks.filling import REGION_BYTES, fill
from benchmarks.harness import ZDB
from benchmarks.load import set_keys
from benchmarks.writers import FLAT_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from places import Place

WRITERS = 8
KEYS = rounds(20, 1000)
REGIONS = rounds(4, 64)


def test_many_small_values(shared_place: Place, count: Callable[[str, int], None]) -> None:
    load = set_keys(shared_place.url, shared_place.options, WRITERS, KEYS)  # checks all that was written
    assert load.requests <= 4 * KEYS
    assert load.growth < FLAT_LIMIT
    count(f"small values by {WRITERS} processes at once", WRITERS * KEYS)


def test_one_large_value(shared_place: Place, count: Callable[[str, int], None]) -> None:
    load = fill(ZDB, shared_place.url, shared_place.options, REGIONS, 4)  # checks all that was written
    # The peak depends on how many chunks happen to be compressed at once; a writer that kept something of each of its
    # regions would soon hold more than one.
    assert load.growth < REGION_BYTES
    count("MB written into one value by 4 processes at once", REGIONS * REGION_BYTES // 10**6)
