"""Redis, a server that keeps what it knows in memory; Debian has its program."""

from __future__ import annotations

import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

from services.ports import free_ports
from services.programs import require_program

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["start"]

START_SECONDS = 30


def start(folder: Path, port: int | None = None, *options: str) -> tuple[dict[str, Any], subprocess.Popen[bytes]]:
    """Start the server, which forgets everything when it ends unless `options` say otherwise; return its URL."""
    port = port or free_ports(1)[0]
    (folder / "data").mkdir(exist_ok=True, parents=True)
    settings = {"port": port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "dir": folder / "data"}
    command = [
        require_program("redis-server"),
        *(text for name, value in settings.items() for text in (f"--{name}", str(value))),
    ]
    with (folder / "log").open("ab") as log:
        server = subprocess.Popen([*command, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    end = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
                client.sendall(b"PING\r\n")
                if client.recv(10).startswith(b"+PONG"):
                    return {"url": f"redis://127.0.0.1:{port}/0", "port": port}, server
        except OSError:
            pass
        time.sleep(0.02)
    server.kill()
    raise TimeoutError(f"Redis is not ready after {START_SECONDS} s, or ended")
