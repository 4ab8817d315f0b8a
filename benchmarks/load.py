"""Many processes write small values to one database, each to keys of its own.

``python -m benchmarks.load URL OPTIONS KEYS DURABILITY WRITER`` is one writer, in a process of its own.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import zdb
from benchmarks.harness import ZDB, Goal, Row, Settings, Topic
from benchmarks.writers import FLAT_LIMIT, Load, count_requests, run_together, storage, write_all

__all__ = ["run", "set_keys"]

KEY_WRITERS, KEYS = 8, 1000


def run(settings: Settings) -> Topic:
    """Measure on the local disk and on a server for S3 on this machine."""
    keys = settings.sized(KEYS)
    rows: list[Row] = []
    requests: dict[str, float] = {}
    label = f"{KEY_WRITERS} × {keys} small values"
    for place, durability in (("local", "none"), ("local", "commit"), ("S3", "commit")):
        with storage(place, settings.folder) as (url, options):
            load = set_keys(url, options, KEY_WRITERS, keys, durability)
        where = f"{place}, synced" if place == "local" and durability == "commit" else place
        rows += [
            Row(f"{label}, {where}", {ZDB: load.seconds}),
            Row(
                f"{label}, {where}: growth of memory from the first tenth to the end",
                {ZDB: load.growth},
                [Goal("≤ 20 MB", limit=FLAT_LIMIT)],
                unit="B",
            ),
        ]
        requests[place] = load.requests / keys
    return Topic(
        "Load: many processes write one database",
        f"Each of {KEY_WRITERS} processes sets {keys} small values one by one. All begin together, and the time is that from "
        "the first to the last; afterwards all keys are listed, verified, and a part of them compared. S3 is SeaweedFS on the "
        f"same machine, which shares its processors, and got {requests['S3']:.1f} requests for each value. Measured once each.",
        rows,
    )


def set_keys(url: str, options: dict[str, Any], writers: int, keys: int, durability: str = "none") -> Load:
    """Let processes set small values, and check that all of them are there."""
    db = zdb.open(url, storage_options=options)
    load = run_together("benchmarks.load", [url, json.dumps(options), str(keys), durability], writers)
    assert sorted(db) == sorted(f"writer_{writer}" for writer in range(writers))
    for writer in range(writers):
        mine = db.database(f"writer_{writer}")
        assert len(mine) == keys
        for number in range(0, keys, max(1, keys // 50)):
            assert mine[f"key_{number}"] == {"writer": writer, "number": number}
    assert db.verify().ok
    return load


def _main(url: str, options: str, keys: str, durability: Any, writer: str) -> None:
    db = zdb.open(url, storage_options=json.loads(options), durability=durability)
    sent = count_requests(db)

    def write(number: int) -> None:
        db[f"writer_{writer}/key_{number}"] = {"writer": int(writer), "number": number}

    write(0)
    write_all(write, range(int(keys)), sent)


if __name__ == "__main__":
    _main(*sys.argv[1:])
