"""Several processes write one large array together, each regions of its own.

``python -m benchmarks.filling CONTENDER URL OPTIONS REGIONS WRITERS WRITER`` is one writer, in a process of its own.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import dask.array
import numpy as np
import xarray as xr

import zdb
from benchmarks.arrays import make_traces
from benchmarks.harness import ZDB, Goal, Row, Settings, Topic
from benchmarks.writers import FLAT_LIMIT, Load, count_requests, run_together, storage, write_all

__all__ = ["fill", "run"]

WRITERS = 4
ROWS, SAMPLES = 800, 10_000
"""The shape of a region, 64 MB of float64."""
REGION_BYTES = 8 * ROWS * SAMPLES
REGIONS = 64
PEER = "xarray to_zarr(region=)"
KEY = "voltage"


def run(settings: Settings) -> Topic:
    """Measure on the local disk and on a server for S3 on this machine."""
    regions = settings.sized(REGIONS)
    nbytes = regions * REGION_BYTES
    label = f"{WRITERS} processes × {nbytes / WRITERS / 1e9:.2g} GB into one array"
    rows: list[Row] = []
    for place in ("local", "S3"):
        seconds, growth = {}, {}
        for contender in (ZDB, PEER):
            with storage(place, settings.folder) as (url, options):
                load = fill(contender, url, options, regions, WRITERS)
            seconds[contender], growth[contender] = load.seconds, load.growth
            if contender == ZDB:
                requests = load.requests * WRITERS / regions
        rows += [
            Row(f"{label}, {place}", seconds, [Goal("1 × xarray", peer=PEER)], nbytes=nbytes),
            Row(
                f"{label}, {place}: growth of memory from the first tenth to the end",
                growth,
                [Goal("≤ 20 MB", limit=FLAT_LIMIT)],
                unit="B",
            ),
        ]
    return Topic(
        "Load: several processes write one array",
        f"An array of {nbytes / 1e9:.2g} GB (float64, membrane potentials) is written by {WRITERS} processes in regions of "
        f"{REGION_BYTES // 10**6} MB. zdb: `create`, `write_region` in each process for `resume(key, job, jobs)`, `finish`; all "
        "three are in the time, which for zdb includes the checks that nothing is missing. xarray: `to_zarr(compute=False)`, "
        "then `to_zarr(region=)` in each process, a chunk for each region. Afterwards all regions are read and compared, "
        "those of zdb verified, too. S3 is SeaweedFS on the same machine, which shares its processors, and got "
        f"{requests:.1f} requests for each region from zdb. Measured once each.",
        rows,
    )


def fill(contender: str, url: str, options: dict[str, Any], regions: int, writers: int) -> Load:
    """Let processes fill one array, and check that all of it is there.

    The seconds are those from the start of the writers to the end of the last, and those to begin and to finish.
    """
    db = zdb.open(url, storage_options=options)
    started = time.perf_counter()
    if contender == ZDB:
        db.create(KEY, template(regions))
    else:
        template(regions).to_dataset().to_zarr(
            f"{url}/xarray", compute=False, consolidated=False, storage_options=options or None
        )
    created = time.perf_counter()
    load = run_together(
        "benchmarks.filling", [contender, url, json.dumps(options), str(regions), str(writers)], writers
    )
    ended = time.perf_counter()
    if contender == ZDB:
        db.finish(KEY)
    load.seconds += time.perf_counter() - ended + created - started
    _check(_read(contender, db, url, options), regions)
    if contender == ZDB:
        assert db.verify().ok
    return load


def template(regions: int) -> xr.DataArray:
    """The array before it is written."""
    empty = dask.array.empty((regions * ROWS, SAMPLES), chunks=(ROWS, SAMPLES), dtype="float64")
    return xr.DataArray(empty, dims=("trial", "time"), name=KEY)


def _part(traces: Any, number: int) -> Any:
    """The data of a region: each has other values of the same kind."""
    return np.roll(traces, number, axis=1)


def _region(number: int) -> dict[str, slice]:
    return {"trial": slice(number * ROWS, (number + 1) * ROWS)}


def _read(contender: str, db: zdb.Database, url: str, options: dict[str, Any]) -> xr.DataArray:
    if contender != ZDB:
        return xr.open_zarr(f"{url}/xarray", consolidated=False, storage_options=options or None)[KEY]
    found = db[KEY]
    assert isinstance(found, xr.DataArray)
    return found


def _check(found: xr.DataArray, regions: int) -> None:
    traces = make_traces(ROWS, SAMPLES)
    assert found.shape == (regions * ROWS, SAMPLES)
    for number in range(regions):
        np.testing.assert_array_equal(found.isel(_region(number)), _part(traces, number))


def _main(contender: str, url: str, options: str, regions: str, writers: str, writer: str) -> None:
    storage_options = json.loads(options)
    traces = make_traces(ROWS, SAMPLES)
    db = zdb.open(url, storage_options=storage_options)

    def write(region: dict[str, slice]) -> None:
        number = region["trial"].start // ROWS
        part = xr.DataArray(_part(traces, number), dims=("trial", "time"), name=KEY)
        if contender == ZDB:
            db.write_region(KEY, part, region=region)
        else:
            part.to_dataset().to_zarr(
                f"{url}/xarray", region=region, consolidated=False, storage_options=storage_options or None
            )

    if contender == ZDB:
        mine = db.resume(KEY, int(writer), int(writers))
    else:
        mine = [_region(number) for number in range(int(writer), int(regions), int(writers))]
    write_all(write, mine, count_requests(db))


if __name__ == "__main__":
    _main(*sys.argv[1:])
