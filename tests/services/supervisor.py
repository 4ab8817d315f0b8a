"""Share one server among all processes of a test run (the workers of pytest-xdist).

A supervisor, this file run as a program, holds the server: each user keeps a shared lock on a file, and when the
supervisor gets the exclusive one, all users are gone, however they ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["shared_server"]


@contextlib.contextmanager
def shared_server(name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Use the server that the module ``services.<name>`` starts; all who name the folder share it.

    Parameters
    ----------
    name : str
        Of a module with ``start(folder)``, which starts the server, waits until it is ready and returns what its users
        need to know, as a dict that JSON can show, and its :class:`subprocess.Popen`, or an object with the methods
        ``poll``, ``kill`` and ``wait`` of one. It is stopped by ``kill``. What it stores goes to ``folder / "data"``,
        its log to ``folder / "log"``.
    folder : Path
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "users").open("a") as users, (folder / "starting").open("a") as starting:
        fcntl.flock(users, fcntl.LOCK_SH)
        fcntl.flock(starting, fcntl.LOCK_EX)
        ready = folder / "server.json"
        if not ready.exists():
            _start_supervisor(name, folder, ready)
        fcntl.flock(starting, fcntl.LOCK_UN)
        yield json.loads(ready.read_text())


def _start_supervisor(name: str, folder: Path, ready: Path) -> None:
    command = [sys.executable, "-m", "services.supervisor", name, str(folder)]
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    with (folder / "supervisor.log").open("wb") as log:
        supervisor = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
    while not ready.exists():
        if supervisor.poll() is not None:
            logs = [file.read_text()[-4000:] for file in (folder / "supervisor.log", folder / "log") if file.exists()]
            raise RuntimeError("\n".join([f"the server {name}, which the tests need, did not start:", *logs]))
        time.sleep(0.05)
    supervisor.returncode = 0  # it outlives this process, and nobody waits for it


def _supervise(name: str, folder: Path) -> None:
    """Run the server until its users are gone, then kill it and remove its data."""
    info, server = importlib.import_module(f"services.{name}").start(folder)
    try:
        partial = folder / "server.json.partial"
        partial.write_text(json.dumps(info))
        partial.rename(folder / "server.json")
        with (folder / "users").open("a") as users:
            while server.poll() is None:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                time.sleep(0.2)
    finally:
        (folder / "server.json").unlink(missing_ok=True)
        server.kill()
        server.wait()
        shutil.rmtree(folder / "data", ignore_errors=True)


if __name__ == "__main__":
    _supervise(sys.argv[1], Path(sys.argv[2]))
