"""Many processes write small values to one database, each to keys of its own.

``python -m benchmarks.load URL OPTIONS WRITER KEYS DURABILITY`` is one writer, in a process of its own.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zdb
from benchmarks.harness import ZDB, Goal, Row, Settings, Topic, fresh_folder
from benchmarks.memory import peak_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Load", "run", "set_keys"]

ROOT = Path(__file__).parents[1]
KEY_WRITERS, KEYS = 8, 1000
FLAT_LIMIT = 20_000_000


class Load:
    """What writers did: seconds from the first to the last, and of each writer its requests and growth of memory."""

    def __init__(self, seconds: float, writers: list[dict[str, float]]) -> None:
        self.seconds = seconds
        self.growth = max(one["growth"] for one in writers)
        self.requests = statistics.mean(one["requests"] for one in writers)


def run(settings: Settings) -> Topic:
    """Measure on the local disk and on a server for S3 on this machine."""
    keys = settings.sized(KEYS)
    folder = fresh_folder(settings.folder)
    rows: list[Row] = []
    requests: dict[str, float] = {}
    label = f"{KEY_WRITERS} × {keys} small values"
    for place, durability in (("local", "none"), ("local", "commit"), ("S3", "commit")):
        with _storage(place, folder) as (url, options):
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
    load = _together(url, options, writers, keys, durability)
    assert sorted(db) == sorted(f"writer_{writer}" for writer in range(writers))
    for writer in range(writers):
        mine = db.database(f"writer_{writer}")
        assert len(mine) == keys
        for number in range(0, keys, max(1, keys // 50)):
            assert mine[f"key_{number}"] == {"writer": writer, "number": number}
    assert db.verify().ok
    return load


def _together(url: str, options: dict[str, Any], writers: int, keys: int, durability: str) -> Load:
    """Run writers as processes that begin when all are ready."""
    command = [sys.executable, "-m", "benchmarks.load", url, json.dumps(options)]
    running = [
        subprocess.Popen(
            [*command, str(writer), str(keys), durability],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for writer in range(writers)
    ]
    pipes = [(one.stdin, one.stdout) for one in running]
    try:
        for _, output in pipes:
            assert output is not None
            assert output.readline() == "ready\n"
        started = time.perf_counter()
        for signal, _ in pipes:
            assert signal is not None
            signal.write("go\n")
            signal.flush()
        told = [one.communicate()[0] for one in running]
        seconds = time.perf_counter() - started
    finally:
        for one in running:
            one.kill()
            one.wait()
    assert not any(one.returncode for one in running)
    return Load(seconds, [json.loads(one) for one in told])


def _main(url: str, options: str, writer: str, keys: str, durability: Any) -> None:
    db = zdb.open(url, storage_options=json.loads(options), durability=durability)
    sent = _count_requests(db)

    def write(number: int) -> None:
        db[f"writer_{writer}/key_{number}"] = {"writer": int(writer), "number": number}

    write(0)
    print("ready", flush=True)
    sys.stdin.readline()
    sent.clear()
    early = 0
    for number in range(int(keys)):
        write(number)
        if number == int(keys) // 10:
            early = peak_memory()
    told = {"requests": len(sent), "growth": peak_memory() - early}
    print(json.dumps(told), flush=True)


def _count_requests(db: zdb.Database) -> list[str]:
    """Return a list that grows by each request that is sent to S3."""
    from zarr.core.sync import sync

    sent: list[str] = []
    store = getattr(db._engine.nodes, "store", None)
    if store is not None:
        client = sync(store.fs.set_session())
        client.meta.events.register("before-send.s3", lambda event_name, **_: sent.append(event_name))
    return sent


@contextlib.contextmanager
def _storage(place: str, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """A new place, and the options for it; the server for S3 is the one of the tests."""
    name = f"{uuid.uuid4().hex}.zdb"
    if place == "local":
        yield str(folder / name), {}
        return
    sys.path.append(str(ROOT / "tests"))
    from services.seaweedfs import S3Server, start

    home = fresh_folder(folder / "s3")
    info, server = start(home)
    try:
        yield S3Server(**info).url(name), S3Server(**info).options
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(home)


if __name__ == "__main__":
    _main(*sys.argv[1:])
