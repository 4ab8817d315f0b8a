"""Locks in tasks of dask, and in processes that are forked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

import pytest

import zdb

if TYPE_CHECKING:
    from pathlib import Path

    from lock_kinds import Kind

pytestmark = pytest.mark.slow

PATIENCE = 60
FORKS = """
import json, os, sys, time, zdb
options = json.loads(sys.argv[1])
lock = zdb.lock(**options)
other = zdb.lock(**options)
assert lock.acquire()
child = os.fork()
if child == 0:
    try:
        lock.release()
    except zdb.errors.LockUsageError as error:
        assert "forked" in str(error), error
    assert lock.token is None and not lock.owned()
    assert lock.locked()
    assert not other.acquire(blocking=False)
    del lock
    os._exit(17)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 17
lock.check()
assert not other.acquire(blocking=False)
lock.release()
assert other.acquire()
other.release()
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_holds_nothing(kind: Kind) -> None:
    if kind.scheduler:
        pytest.skip("clients of dask do not survive a fork")
    options = {"name": uuid.uuid4().hex, "url": kind.url, "storage_options": kind.options or None}
    command = [sys.executable, "-c", FORKS, json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == "done\n", done.stderr


@pytest.mark.parametrize("shared", [False, True])
def test_a_file_is_free_when_the_parent_is_gone_and_the_child_is_not(tmp_path: Path, shared: bool) -> None:
    program = f"""
import os, time, zdb
lock = zdb.lock("a", url="file:{tmp_path}", shared={shared})
assert lock.acquire()
if os.fork() == 0:
    print(os.getpid(), flush=True)
    time.sleep({PATIENCE})
    os._exit(0)
time.sleep({PATIENCE})
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        lock = zdb.lock("a", url=f"file:{tmp_path}")
        assert not lock.acquire(blocking=False)
        parent.kill()
        parent.wait()
        assert lock.acquire(timeout=PATIENCE / 2)
        lock.release()
    finally:
        parent.kill()
        os.kill(child, signal.SIGKILL)
        parent.communicate()


@pytest.mark.parametrize("where", ["dask", "file"])
def test_tasks_of_dask_exclude_each_other(where: str, tmp_path: Path) -> None:
    import distributed

    (tmp_path / "number").write_text("0")
    url = "dask:" if where == "dask" else f"file:{tmp_path / 'locks'}"
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        lock = zdb.lock("a", url=url, timeout=PATIENCE)

        def increment(_: int, lock: zdb.Lock) -> str:
            with lock:
                number = int((tmp_path / "number").read_text())
                (tmp_path / "number").write_text(str(number + 1))
                return lock.backend

        found = client.gather(client.map(increment, range(40), lock=lock))
        assert set(found) == {where}
    assert (tmp_path / "number").read_text() == "40"
