"""Backends for the tests of locks, each with its real server."""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from lock_kinds import Kind
from other_processes import CONTEXT
from services.programs import require_program
from services.supervisor import shared_server

if TYPE_CHECKING:
    from collections.abc import Iterator

PROCESSES = 8
KINDS = ["file", "redis", "zookeeper", pytest.param("s3", marks=pytest.mark.s3), "dask"]
PROGRAMS = {"redis": "redis-server", "zookeeper": "java"}


def _server(service: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    if service in PROGRAMS:
        require_program(PROGRAMS[service])
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with shared_server(service, folder / service) as info:
        yield info


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    yield from _server("redis", tmp_path_factory)


@pytest.fixture(scope="session")
def zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    yield from _server("zookeeper", tmp_path_factory)


@pytest.fixture(scope="session")
def dask_scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    yield from _server("dask_scheduler", tmp_path_factory)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Kind]:
    """Each backend; those with a server have a lease."""
    name = request.param
    if name == "file":
        yield Kind(name, f"file:{tmp_path / 'locks'}", has_lease=False)
    elif name == "s3":
        server = request.getfixturevalue("s3")
        yield Kind(name, server.url("locks"), server.options)
    elif name == "dask":
        kind = Kind(name, "dask:", scheduler=request.getfixturevalue("dask_scheduler")["address"], has_shared=False)
        yield kind
        import distributed

        with contextlib.suppress(ValueError):  # the test did not ask for one
            distributed.get_client().close()
    else:
        yield Kind(name, request.getfixturevalue(name)["url"])


@pytest.fixture(scope="session")
def workers() -> Iterator[ProcessPoolExecutor]:
    """Processes that work at the same time."""
    with ProcessPoolExecutor(PROCESSES, CONTEXT) as pool:
        yield pool
