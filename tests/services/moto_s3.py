"""moto, a second server for S3, which answers as AWS does: another implementation than SeaweedFS.

It keeps all in memory, does not check signatures, and looks at the condition of a write before it writes, not in one
step with it; so it shows how requests are understood, and not what becomes of writers at the same time.
"""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from services.ports import free_ports
from services.seaweedfs import BUCKET, S3Server

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["start"]

START_SECONDS = 90


def start(folder: Path) -> tuple[dict[str, Any], subprocess.Popen[bytes]]:
    """Start the server; what its users need are the fields of :class:`services.seaweedfs.S3Server`."""
    port = free_ports(1)[0]
    endpoint = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    end = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT")):
                return asdict(S3Server(endpoint, "a", "b")), server
        except OSError:
            time.sleep(0.1)
    server.kill()
    raise TimeoutError(f"moto is not ready after {START_SECONDS} s, or ended")
