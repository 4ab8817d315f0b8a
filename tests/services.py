"""Servers that the tests need, started on free ports of loopback and killed when nobody uses them any more.

All processes of one test run (the workers of pytest-xdist) share one server. A supervisor, this file run as a program,
holds it: each user keeps a shared lock on a file, and when the supervisor gets the exclusive one, all users are gone,
however they ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["S3Server", "shared_seaweedfs"]

BUCKET = "zdb-tests"
START_SECONDS = 90


@dataclass(frozen=True)
class S3Server:
    """A running S3 server and the credentials for it."""

    endpoint: str
    key: str
    secret: str

    @property
    def options(self) -> dict[str, Any]:
        """What ``storage_options`` takes."""
        client = {"endpoint_url": self.endpoint, "region_name": "us-east-1"}
        return {"key": self.key, "secret": self.secret, "client_kwargs": client}

    def url(self, name: str) -> str:
        return f"s3://{BUCKET}/{name}"


@contextlib.contextmanager
def shared_seaweedfs(folder: Path) -> Iterator[S3Server]:
    """Use the SeaweedFS server of a folder, which all who name the folder share; the first one starts it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "users").open("a") as users, (folder / "starting").open("a") as starting:
        fcntl.flock(users, fcntl.LOCK_SH)
        fcntl.flock(starting, fcntl.LOCK_EX)
        ready = folder / "server.json"
        if not ready.exists():
            _start_supervisor(folder, ready)
        fcntl.flock(starting, fcntl.LOCK_UN)
        yield S3Server(**json.loads(ready.read_text()))


def _start_supervisor(folder: Path, ready: Path) -> None:
    command = [sys.executable, __file__, str(folder)]
    with (folder / "supervisor.log").open("wb") as log:
        supervisor = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    while not ready.exists():
        if supervisor.poll() is not None:
            logs = "\n".join((folder / name).read_text()[-4000:] for name in ("supervisor.log", "weed.log"))
            raise RuntimeError(f"the SeaweedFS server, which the tests need, did not start:\n{logs}")
        time.sleep(0.05)
    supervisor.returncode = 0  # it outlives this process, and nobody waits for it


def _supervise(folder: Path) -> None:
    """Run the server until its users are gone, then kill it and remove its data."""
    server, weed = _start_seaweedfs(folder)
    try:
        _wait_until_ready(server, weed)
        partial = folder / "server.json.partial"
        partial.write_text(json.dumps(asdict(server)))
        partial.rename(folder / "server.json")
        with (folder / "users").open("a") as users:
            while weed.poll() is None:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                time.sleep(0.2)
    finally:
        (folder / "server.json").unlink(missing_ok=True)
        weed.send_signal(signal.SIGKILL)  # it takes ten seconds to end on SIGTERM
        weed.wait()
        shutil.rmtree(folder / "data", ignore_errors=True)


def _start_seaweedfs(folder: Path) -> tuple[S3Server, subprocess.Popen[bytes]]:
    program = Path(sysconfig.get_path("scripts")) / "weed"
    if not program.exists():
        raise FileNotFoundError(f"{program} is missing; install what the tests need: pip install -e '.[test]'")
    names = [f"{service}.{port}" for service in ("master", "volume", "filer", "s3") for port in ("port", "port.grpc")]
    options: dict[str, Any] = dict(zip(names, _free_ports(len(names)), strict=True))
    server = S3Server(f"http://127.0.0.1:{options['s3.port']}", "testkey", "testsecret")
    credentials = {"accessKey": server.key, "secretKey": server.secret}
    identity = {"name": "tests", "credentials": [credentials], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir(exist_ok=True)
    options |= {
        "dir": folder / "data",
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "filer": "true",
        "filer.localSocket": folder / "filer.sock",
        "s3": "true",
        "s3.config": folder / "s3.json",
        "s3.localSocket": folder / "s3.sock",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 1024,
        "master.volumePreallocate": "false",
        "volume.max": 0,
        "volume.preStopSeconds": 0,
    }
    command = [str(program), "-logtostderr=true", "server", *(f"-{name}={value}" for name, value in options.items())]
    environment = {**os.environ, "GOMEMLIMIT": "400MiB"}
    with (folder / "weed.log").open("wb") as log:
        weed = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    return server, weed


def _free_ports(number: int) -> list[int]:
    """Ports below the ephemeral range, so that no client takes them before the server does."""
    found: list[int] = []
    while len(found) < number:
        port = random.randint(15000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
    return found


def _wait_until_ready(server: S3Server, weed: subprocess.Popen[bytes]) -> None:
    """Wait until a bucket can be made and written to."""
    import s3fs

    end = time.monotonic() + START_SECONDS
    while weed.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"{server.endpoint}/healthz", timeout=1):
                break
        except OSError:
            time.sleep(0.05)
    files = s3fs.S3FileSystem(**server.options, skip_instance_cache=True)
    while weed.poll() is None and time.monotonic() < end:
        try:
            files.makedirs(BUCKET, exist_ok=True)
            files.pipe_file(f"{BUCKET}/ready", b"yes")
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"SeaweedFS is not ready after {START_SECONDS} s, or ended")


if __name__ == "__main__":
    _supervise(Path(sys.argv[1]))
