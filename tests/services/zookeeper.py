"""ZooKeeper, a server for coordination; Debian has its program."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from services.ports import free_ports
from services.programs import require_program

__all__ = ["start"]

START_SECONDS = 90
LIBRARIES = [Path("/usr/share/java/zookeeper.jar"), Path("/usr/share/java/slf4j-simple.jar")]
# Ticks of 0.2 s, so that sessions may be as short as tests want them.
CONFIGURATION = """\
dataDir={folder}/data
clientPort={port}
clientPortAddress=127.0.0.1
tickTime=200
minSessionTimeout=400
maxSessionTimeout=60000
maxClientCnxns=0
admin.enableServer=false
4lw.commands.whitelist=srvr
preAllocSize=1024
"""


def start(folder: Path, port: int | None = None) -> tuple[dict[str, Any], subprocess.Popen[bytes]]:
    """Start one server; return its URL."""
    java = require_program("java")
    missing = [str(file) for file in LIBRARIES if not file.exists()]
    if missing:
        reason = f"{', '.join(missing)} are missing; `make services` installs them"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    port = port or free_ports(1)[0]
    (folder / "data").mkdir(exist_ok=True, parents=True)
    (folder / "zoo.cfg").write_text(CONFIGURATION.format(folder=folder, port=port))
    options = ["-Xms32m", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    options += ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dzookeeper.jmx.log4j.disable=true"]
    path = os.pathsep.join(map(str, LIBRARIES))
    main = "org.apache.zookeeper.server.ZooKeeperServerMain"
    with (folder / "log").open("ab") as log:
        command = [java, *options, "-cp", path, main, str(folder / "zoo.cfg")]
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    end = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
                client.sendall(b"srvr")
                if b"Mode: standalone" in client.makefile("rb").read():
                    return {"url": f"zookeeper://127.0.0.1:{port}", "port": port}, server
        except OSError:
            pass
        time.sleep(0.05)
    server.kill()
    raise TimeoutError(f"ZooKeeper is not ready after {START_SECONDS} s, or ended")
