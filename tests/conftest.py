"""Fixtures for all tests: places in which a database can lie, and the servers for them."""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import stat
import tempfile
from collections import Counter
from typing import TYPE_CHECKING

import hypothesis
import pytest
from places import Place, new_place, shared_folder
from services.seaweedfs import S3Server
from services.supervisor import shared_server

import zdb

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Tests never assert a time: the machine may be busy.
hypothesis.settings.register_profile(
    "zdb", deadline=None, print_blob=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("zdb")

# No test touches the catalog or the settings of the user; other processes inherit this.
_own = tempfile.mkdtemp(prefix="zdb-tests-")
atexit.register(shutil.rmtree, _own, ignore_errors=True)
os.environ["ZDB_CATALOG"] = f"{_own}/catalog"
os.environ["ZDB_CONFIG"] = f"{_own}/config"

STORES = ["local", "memory", pytest.param("s3", marks=pytest.mark.s3)]


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A SeaweedFS server, one for all workers of pytest-xdist."""
    with shared_server("seaweedfs", shared_folder(tmp_path_factory) / "seaweedfs") as info:
        yield S3Server(**info)


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server of another make, also one for all workers."""
    with shared_server("moto_s3", shared_folder(tmp_path_factory) / "moto_s3") as info:
        yield S3Server(**info)


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place on each kind of store."""
    return new_place(request.param, tmp_path, request)


@pytest.fixture(params=STORES[::2])
def shared_place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place on each kind of store that several processes reach."""
    return new_place(request.param, tmp_path, request)


@pytest.fixture
def db(tmp_path: Path) -> zdb.Database:
    """An empty database in a local folder."""
    return zdb.open(tmp_path / "results.zdb")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many rounds of each fault there were; see ``tests/faults``."""
    rounds: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed"):
        rounds.update(dict(_faults(report.user_properties)))
    if rounds:
        terminalreporter.section("faults that nothing was lost by")
        for fault in sorted(rounds):
            terminalreporter.write_line(f"{rounds[fault]:6d} × {fault}")


def _faults(properties: list[tuple[str, object]]) -> Iterator[tuple[str, int]]:
    for name, value in properties:
        if name == "fault":
            fault, number = value  # type: ignore[misc]
            yield fault, number


@pytest.fixture
def only_files_are_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the system refuse to lock folders, as NFS does."""
    import fcntl

    flock = fcntl.flock

    def only_files(descriptor: int, operation: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) and operation != fcntl.LOCK_UN:
            raise OSError(errno.EBADF, "bad")
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", only_files)
