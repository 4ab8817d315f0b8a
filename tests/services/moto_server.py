"""moto, a second server for S3, which keeps all in its memory; the package ``moto`` brings it."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from services.ports import free_ports
from services.seaweedfs import BUCKET, S3Server

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["start"]

START_SECONDS = 60


def start(folder: Path) -> tuple[dict[str, Any], subprocess.Popen[bytes]]:
    """Start the server; what its users need are the fields of :class:`S3Server`."""
    import s3fs

    (port,) = free_ports(1)
    server = S3Server(f"http://127.0.0.1:{port}", "testkey", "testsecret")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "log").open("wb") as log:
        moto = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    files = s3fs.S3FileSystem(**server.options, skip_instance_cache=True)
    end = time.monotonic() + START_SECONDS
    while moto.poll() is None and time.monotonic() < end:
        try:
            files.makedirs(BUCKET, exist_ok=True)
        except OSError:
            time.sleep(0.1)
        else:
            return asdict(server), moto
    moto.kill()
    raise TimeoutError(f"moto is not ready after {START_SECONDS} s, or ended")
