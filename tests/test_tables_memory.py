"""The memory that a write of a dask table needs does not grow with the table."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

WRITE = """
import sys
from pathlib import Path

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import zdb

PARTITION_ROWS = 1 << 20


def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


def make(number):
    return pd.DataFrame({"time": np.arange(PARTITION_ROWS) + number, "cell": np.full(PARTITION_ROWS, number * 1.0)})


def frame(partitions):
    return dd.from_map(make, range(partitions), meta=make(0)[:0])


db = zdb.open(sys.argv[1])
with dask.config.set(scheduler="threads", num_workers=2):
    db["first"] = frame(2)  # imports, thread pools
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM counts anew
    db["table"] = frame(int(sys.argv[2]))
    print("peak", status("VmHWM") - before)
assert db.info("table").shape[0] == PARTITION_ROWS * int(sys.argv[2])
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak of a part of a run")
def test_memory_does_not_grow_with_the_number_of_partitions(tmp_path: Path) -> None:
    def peak(partitions: int) -> int:
        command = [sys.executable, "-c", WRITE, str(tmp_path / f"{partitions}.zdb"), str(partitions)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = re.search(r"peak (\d+)", done.stdout)
        assert found is not None
        return int(found[1])

    few, many = peak(20), peak(80)
    # 60 partitions of 16 MiB are added, and memory for less than one object of the store.
    assert many < few + (64 << 20)
    assert many < 256 << 20  # for each of two threads an object of the store, and what it is encoded to
