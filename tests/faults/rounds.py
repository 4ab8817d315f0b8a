"""How often a fault is made: a little in each test run, and often in ``make faults``."""

from __future__ import annotations

import os

__all__ = ["FULL", "rounds"]

FULL = os.environ.get("ZDB_FAULTS") == "full"


def rounds(quick: int, full: int) -> int:
    """Choose the number of rounds."""
    return full if FULL else quick
