"""Faults are counted, and the counts are printed at the end of a test run."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Callable[[str, int], None]:
    """Count rounds of a fault; the summary of the test run shows how many there were of each."""
    return lambda fault, rounds: record_property("fault", (fault, rounds))


@pytest.fixture(autouse=True)
def no_writer_goes_on() -> Iterator[None]:
    """Kill what a test that failed has left, so that it does not disturb the next ones."""
    yield
    for process in multiprocessing.active_children():
        process.kill()
        process.join()
