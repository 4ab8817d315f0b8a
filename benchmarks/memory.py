"""Peak memory of a process that writes a dask array which is larger than its memory could be.

``python -m benchmarks.memory CONTENDER NBYTES FOLDER`` is one measurement, in a process of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.harness import ZDB, Goal, Row, Settings, Topic, fresh_folder

SIZES = {"4 GB": 4_000_000_000, "8 GB": 8_000_000_000}
SAMPLES = 10_000
CHUNK_BYTES = 64_000_000
LIMIT = 600_000_000
PEER = "dask to_zarr"


def run(settings: Settings) -> Topic:
    """Measure each contender and size once, in a new process."""
    goal = Goal("≤ 600 MB", limit=LIMIT)
    rows = []
    for label, full in SIZES.items():
        nbytes = settings.sized(full)
        values = {name: _measure_once(name, nbytes, settings.folder / name) for name in (ZDB, PEER)}
        rows.append(Row(f"write {label}", values, [goal], unit="B"))
    return Topic(
        "Memory: peak above the baseline while a dask array is written",
        f"A lazy float64 array in chunks of {CHUNK_BYTES // 10**6} MB, made chunk by chunk by the threaded scheduler "
        "(random integers as float64). The baseline is the peak of the process after it has written a small array in the "
        "same way. “dask to_zarr” is `dask.array.to_zarr`. Measured once each.",
        rows,
    )


def _measure_once(contender: str, nbytes: int, folder: Path) -> float:
    command = [sys.executable, "-m", "benchmarks.memory", contender, str(nbytes), str(fresh_folder(folder))]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True, check=True)
    shutil.rmtree(folder)
    return float(done.stdout.split()[-1])


def _make_block(block_info: Any = None) -> Any:
    import numpy as np

    place = block_info[None]
    rng = np.random.default_rng(place["chunk-location"][0])
    return rng.integers(0, 256, place["chunk-shape"], dtype=np.uint8).astype(np.float64)


def make_lazy(nbytes: int) -> Any:
    """Return a dask array of about this size, made of random blocks."""
    import dask.array

    rows = max(1, nbytes // (8 * SAMPLES))
    step = min(rows, CHUNK_BYTES // (8 * SAMPLES))
    chunks = ((step,) * (rows // step) + ((rows % step,) if rows % step else ()), (SAMPLES,))
    return dask.array.map_blocks(_make_block, chunks=chunks, dtype="float64")


def write(contender: str, array: Any, folder: Path) -> None:
    """Write the array by zdb, or by dask itself."""
    if contender == ZDB:
        import zdb

        zdb.open(folder / "results.zdb")["array"] = array
    else:
        array.to_zarr(str(folder / "array.zarr"))


def peak_memory() -> int:
    """Bytes of memory that this process has had at most."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024
    except OSError:  # not Linux
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _main(contender: str, nbytes: str, folder: str) -> None:
    write(contender, make_lazy(1_000_000), Path(folder, "small"))
    baseline = peak_memory()
    write(contender, make_lazy(int(nbytes)), Path(folder, "large"))
    print(peak_memory() - baseline)


if __name__ == "__main__":
    _main(*sys.argv[1:])
