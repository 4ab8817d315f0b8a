"""The scheduler of a dask cluster, with leases for locks as short as tests want them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from services.ports import free_ports

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LEASE", "start"]

START_SECONDS = 60
LEASE = 2.0


def start(folder: Path) -> tuple[dict[str, Any], subprocess.Popen[bytes]]:
    """Start a scheduler; return its address."""
    port = free_ports(1)[0]
    (folder / "data").mkdir(exist_ok=True, parents=True)
    address = f"tcp://127.0.0.1:{port}"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", address, "--no-dashboard"]
    environment = {
        **os.environ,
        "DASK_DISTRIBUTED__SCHEDULER__LOCKS__LEASE_TIMEOUT": f"{LEASE}s",
        "DASK_DISTRIBUTED__SCHEDULER__LOCKS__LEASE_VALIDATION_INTERVAL": "200ms",
    }
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=folder / "data", env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    end = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return {"address": address}, server
        except OSError:
            time.sleep(0.05)
    server.kill()
    raise TimeoutError(f"the scheduler is not ready after {START_SECONDS} s, or ended")
