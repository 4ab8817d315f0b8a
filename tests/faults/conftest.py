"""Faults are counted, and the counts are printed at the end of a test run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Callable[[str, int], None]:
    """Count rounds of a fault; the summary of the test run shows how many there were of each."""
    return lambda fault, rounds: record_property("fault", (fault, rounds))
