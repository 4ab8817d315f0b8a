"""A server for S3 that ignores the conditions of conditional writes is refused for writing."""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from locks.lock_proxy import Proxy
from moto.server import ThreadedMotoServer
from services.seaweedfs import BUCKET, S3Server

import zdb
from zdb.engine.store import open_store
from zdb.errors import ClaimsUnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    """A server that does not check signatures, so that what is sent to it can be changed on its way."""
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    endpoint = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT")):
        yield S3Server(endpoint, "a", "b")
    server.stop()


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[Proxy]:
    """A way to the server on which conditions can be lost."""
    made = Proxy(int(s3.endpoint.rpartition(":")[2]))
    yield made
    made.close()


def options(s3: S3Server, proxy: Proxy) -> dict[str, Any]:
    return S3Server(f"http://127.0.0.1:{proxy.port}", s3.key, s3.secret).options


@pytest.mark.parametrize("header", [b"If-None-Match", b"If-Match"])
def test_a_server_that_ignores_conditions(s3: S3Server, proxy: Proxy, header: bytes) -> None:
    name = f"ignores-{header.decode().lower()}.zdb"
    proxy.change = (header, b"X" + header[1:])
    with pytest.raises(ClaimsUnsupportedError, match=r"ignores the conditions.*ZDB_CLAIMS=none"):
        zdb.open(s3.url(name), "a", options(s3, proxy))
    # What is there can be read, and not written.
    db = zdb.open(s3.url(name), "a", s3.options)
    db["small"], db["array"] = 1, np.arange(3)
    before = open_store(s3.url(name), s3.options).list_objects("")
    refused = zdb.open(s3.url(name), "a", options(s3, proxy))
    for change in (
        lambda: refused.set("small", 2),
        lambda: refused.set("array", np.arange(4)),
        lambda: refused.set("new/one", np.arange(4)),
        lambda: refused.rename("small", "other"),
        lambda: refused.rename("array", "other"),
        lambda: refused.__delitem__("small"),
        lambda: refused.__delitem__("array"),
    ):
        with pytest.raises(ClaimsUnsupportedError):
            change()
    assert open_store(s3.url(name), s3.options).list_objects("") == before
    assert db["small"] == refused["small"] == 1
    np.testing.assert_array_equal(db["array"], np.arange(3))
    with zdb.config.set({"claims": "none"}):
        refused["small"], refused["array"] = 2, np.arange(4)
    assert db["small"] == 2
    np.testing.assert_array_equal(db["array"], np.arange(4))
