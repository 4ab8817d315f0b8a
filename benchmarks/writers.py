"""Processes that write one database at the same time, and where they write it."""

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

from benchmarks.harness import fresh_folder
from benchmarks.memory import peak_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import zdb

__all__ = ["FLAT_LIMIT", "Load", "count_requests", "run_together", "storage", "wait_for_start", "write_all"]

ROOT = Path(__file__).parents[1]
FLAT_LIMIT = 20_000_000


class Load:
    """What writers did: seconds from the first to the last, and of each writer its requests and growth of memory."""

    def __init__(self, seconds: float, writers: list[dict[str, float]]) -> None:
        self.seconds = seconds
        self.growth = max(one["growth"] for one in writers)
        self.requests = statistics.mean(one["requests"] for one in writers)


def run_together(module: str, arguments: Sequence[str], writers: int) -> Load:
    """Run ``python -m module ARGUMENTS WRITER`` as processes that begin when all are ready."""
    command = [sys.executable, "-m", module, *arguments]
    running = [
        subprocess.Popen([*command, str(writer)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
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


def wait_for_start() -> None:
    """Say in a writer that it is ready, and wait until all are."""
    print("ready", flush=True)
    sys.stdin.readline()


def write_all(write: Callable[[Any], None], parts: Sequence[Any], sent: Sequence[str]) -> None:
    """Write the parts of one writer when all are ready, and say how many requests and how much memory it took."""
    wait_for_start()
    before = len(sent)
    early = 0
    for number, part in enumerate(parts):
        write(part)
        if number == len(parts) // 10:
            early = peak_memory()
    print(json.dumps({"requests": len(sent) - before, "growth": peak_memory() - early}), flush=True)


def count_requests(db: zdb.Database) -> list[str]:
    """Return a list that grows by each request that is sent to S3."""
    from zarr.core.sync import sync

    sent: list[str] = []
    store = getattr(db._engine.nodes, "store", None)
    if store is not None:
        client = sync(store.fs.set_session())
        client.meta.events.register("before-send.s3", lambda event_name, **_: sent.append(event_name))
    return sent


@contextlib.contextmanager
def storage(place: str, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """A new place, "local" or "S3", and the options for it; the server for S3 is the one of the tests."""
    name = f"{uuid.uuid4().hex}.zdb"
    if place == "local":
        fresh_folder(folder / "local")
        yield str(folder / "local" / name), {}
        shutil.rmtree(folder / "local")
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
